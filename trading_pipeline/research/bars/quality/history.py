"""The audit of a history as a provider sent it, with its adjusted close.

What belongs here: rules that need the whole of what was received. What does not: verdicts of a single session
(`daily.py`).

Everything read here was known at the moment of receipt, so a finding is dated to the receipt, not to the bar at fault.
The audit looks for three kinds of fault, in bars of any interval:

- levels: rows in another basis than the latest ones, by the ratio of an announced split or by 100. They show as jumps
  of the provider's own total-return series (adjusted close), which should have none, since it explains every action;
- payments whose amount, adjustment (the step of adjusted close / close) and ex-date move contradict one another;
- rows that contradict themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trading_pipeline.research.bars.as_traded import Basis
from trading_pipeline.research.bars.quality.daily import (
    ISSUE_SCHEMA,
    PAYMENTS,
    REFERENCE_WINDOW,
    SPLIT_RATIOS,
    dividend_verdict,
    is_unit,
    row_median,
    unremarkable,
)
from trading_pipeline.research.bars.quality.rows import PRICES, number, percent, row_faults, text
from trading_pipeline.research.bars.quality.rules import RULES, UNIT, UNIT_TOLERANCE

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_MAD = 1.4826
_SIGMA_FLOOR = 0.005
_PAYMENT_SIGMA_FLOOR = 0.01  # a payment is not judged by finer moves than 1 %: an intraday sigma knows no nights
_UNKNOWN_SIGMA = 0.02  # with fewer than 20 moves
_FEW = 20
_STEP_SIGMAS = 5.0  # a jump between levels stands out by as much
_NEAR_BARS = 10  # a split applied late or early: within two weeks of its ex-date
_NEAR_SHARE = 0.25  # then the ratio may hide a genuine move, if it explains three quarters of the jump
_FAR_SIGMAS = 3.0  # elsewhere a whole bar must gap by the ratio itself, within noise, and a third at least
_FAR_RATIO = np.log(1.5)
_FAR_LIMIT = 0.05
_SMALLEST_RATIO = np.log(1.1)  # spin-offs and stock dividends below 10 % cannot be told from a move
_UNANNOUNCED_SIGMAS = 12.0
_ANCHOR_ROWS = 5  # the latest basis is the one that held in most of the last five rows
_AGREEMENT = 0.20
_STEP_FLOOR = 1e-4
_NOISE_QUANTILE, _NOISE_MARGIN = 0.9, 4.0  # steps without an action are the rounding of the two closes
_MISSING_STEP = 2e-3
_COARSE = 4 * 86_400e6  # microseconds between bars
_TINY = 1e-3  # a payment below a tenth of a per cent of the price
_REPEAT_DAYS = 4
_RECORD_PRIOR = 3.0  # log odds: an adjustment left out is commoner than a payment invented
_POOLED_ODDS = 3.0  # log odds that 100 times the payments is the truth: 20 to 1
_FEW_PAYMENTS = 3
_TYPICAL_SHARE = 0.01  # of the price, a payment; a factor of e either way is common


class HistoryAssessment(NamedTuple):
    """What a received history contradicts.

    issues: one row per event (a payment, a run of rows), columns of `ISSUE_SCHEMA`; `session` is the receipt's.
    rows: [instrument_id, session, rule, part] every received row that is wrong by an event: part `price`,
    `adjusted_close`, `action` or `row` (contradicts itself). Grouped by rule and part.
    """

    issues: pl.DataFrame
    rows: pl.DataFrame


def assess_history(
    bars: pl.DataFrame, actions: pl.DataFrame, basis: Basis = "split_adjusted", seen: date | None = None
) -> HistoryAssessment:
    """Audit histories of one or many instruments as they were received. Nothing is repaired.

    bars: [instrument_id, ticker, session, open, high, low, close, volume, provider] and, where the provider gives it,
    `adj_close`; as received, in any order, of any interval: `session` may be a date or a moment.
    actions: [instrument_id, session, kind, value] as received, `session` of the same type; in the provider's own basis.
    basis: `split_adjusted` (Yahoo: prices divided by every later split) or `as_traded`.
    seen: session of the receipt; by default the last session of each instrument.

    A finding says which rows are wrong as seen from the latest basis of the history. Where a payment and its adjustment
    differ, the ex-date moves of all payments with the same contradiction decide which of the two is wrong.
    """
    history = _History.of(bars, actions, basis)
    findings = _Findings(history, seen)
    _judge_rows(history, findings)
    if history.count:
        _judge_levels(history, findings)
        _judge_payments(history, findings)
    return findings.result()


@dataclass
class _History:
    """Rows with usable prices, sorted by instrument and session; `group` codes the instrument."""

    received: pl.DataFrame
    row: Ints  # rows of `received`
    group: Ints
    ids: pl.Series  # instrument of each group
    first: Bools  # first row of its instrument
    moments: Ints  # distinct sessions, ascending
    order: Ints  # group and session in one ascending number
    actions: pl.DataFrame
    close: Floats
    typical: Floats
    fields: dict[str, Floats]
    log_ratio: Floats  # log of adjusted close / close
    volume: Floats
    splits: pl.DataFrame
    coarse: Bools = field(init=False)  # rows of instruments with weekly or longer bars
    offset: Floats = field(init=False)  # log distance of each row from the latest basis

    @property
    def count(self) -> int:
        return len(self.row)

    @classmethod
    def of(cls, bars: pl.DataFrame, actions: pl.DataFrame, basis: Basis) -> _History:
        # Sorting by codes is three times faster than by strings.
        codes = pl.col("instrument_id").cast(pl.Enum(bars["instrument_id"].unique().sort())).to_physical()
        order = ["_code", "session", "volume", "close"]
        received = bars.with_columns(codes.alias("_code")).sort(order, descending=[False, False, True, True])
        received = received.drop("_code")
        numbers = {name: received[name].cast(pl.Float64).to_numpy() for name in (*PRICES, "volume")}
        faults = row_faults(numbers)
        repeated = _repeats(received)
        row = np.flatnonzero(~faults["null_bar"][0] & ~faults["non_positive_price"][0] & ~repeated)
        sound = received[row]
        first = (
            sound.select((pl.col("instrument_id") != pl.col("instrument_id").shift(1)).fill_null(True))
            .to_series()
            .to_numpy()
        )
        group = np.cumsum(first) - 1
        actions = actions.filter(pl.col("value").is_finite() & (pl.col("value") > 0))
        splits = actions.filter((pl.col("kind") == "split") & (pl.col("value") != 1))
        fields = {name: numbers[name][row] for name in PRICES}
        if basis == "as_traded":
            later = _later_splits(sound, splits)
            fields = {name: values / later for name, values in fields.items()}
        stack = np.sort(np.stack(list(fields.values())), axis=0)
        close = fields["close"]
        adjusted = np.full(len(row), np.nan)
        if "adj_close" in sound.columns and basis == "split_adjusted":
            given = sound["adj_close"].cast(pl.Float64).to_numpy()
            with np.errstate(invalid="ignore"):
                adjusted = np.where(given > 0, given, np.nan)
        when = _moments(sound)
        moments = pl.Series(when).unique().sort().to_numpy()
        history = cls(
            received,
            row,
            group,
            sound["instrument_id"].filter(pl.Series(first)),
            first,
            moments,
            group * (len(moments) + 1) + np.searchsorted(moments, when),
            actions,
            close,
            (stack[1] + stack[2]) / 2,
            fields,
            np.log(adjusted / close),
            np.nan_to_num(numbers["volume"][row]),
            splits,
        )
        spacing, _ = history.per_group(history.steps(when.astype(np.float64)), np.ones(len(row), dtype=bool))
        history.coarse = np.nan_to_num(spacing) > _COARSE
        return history

    def steps(self, values: Floats) -> Floats:
        """Change from the row before of the same instrument; NaN on the first."""
        out = np.full(self.count, np.nan)
        out[1:] = values[1:] - values[:-1]
        out[self.first] = np.nan
        return out

    def per_group(self, values: Floats, keep: Bools, quantile: float = 0.5) -> tuple[Floats, Floats]:
        """Median (or another quantile) of `values[keep]` of each row's instrument, and how many there were."""
        keep = keep & ~np.isnan(values)
        chosen = pl.DataFrame({"group": self.group[keep], "value": values[keep]})
        found = chosen.group_by("group").agg(pl.col("value").quantile(quantile, "linear"), pl.len().alias("count"))
        at = found["group"].to_numpy()
        median, count = np.full(len(self.ids), np.nan), np.zeros(len(self.ids))
        median[at], count[at] = found["value"].to_numpy(), found["count"].to_numpy()
        return median[self.group], count[self.group]

    def at(self, events: pl.DataFrame) -> Ints:
        """Row position of the first bar at or after each event's `session`; -1 where there is none."""
        group = events["instrument_id"].replace_strict(
            self.ids, np.arange(len(self.ids)), default=-1, return_dtype=pl.Int64
        )
        code = group.to_numpy()
        moment = np.searchsorted(self.moments, _moments(events))
        place = np.searchsorted(self.order, code * (len(self.moments) + 1) + moment)
        inside = np.minimum(place, self.count - 1)
        return np.where((code >= 0) & (place < self.count) & (self.group[inside] == code), place, -1)


def _moments(frame: pl.DataFrame) -> Ints:
    """`session` in microseconds."""
    return frame["session"].cast(pl.Datetime("us")).to_physical().to_numpy()


def _repeats(received: pl.DataFrame) -> Bools:
    """Rows of the sorted frame with the key of the row before."""
    same = (pl.col(name) == pl.col(name).shift(1) for name in ("instrument_id", "session"))
    return received.select(pl.all_horizontal(*same).fill_null(False)).to_series().to_numpy()


def _later_splits(bars: pl.DataFrame, splits: pl.DataFrame) -> Floats:
    """Product of the ratios of all splits after each row."""
    if splits.is_empty():
        return np.ones(bars.height)
    joined = (
        bars.select("instrument_id", "session")
        .with_row_index("row")
        .join(splits.select("instrument_id", pl.col("session").alias("ex"), "value"), on="instrument_id", how="left")
        .with_columns(pl.when(pl.col("ex") > pl.col("session")).then("value").otherwise(1.0))
    )
    return joined.group_by("row").agg(pl.col("value").product()).sort("row")["value"].to_numpy()


@dataclass
class _Findings:
    history: _History
    seen: date | None
    issues: list[pl.DataFrame] = field(default_factory=list)
    rows: dict[tuple[str, str], list[Ints]] = field(default_factory=dict)

    def event(self, rule: str, at: Ints, detail: pl.Series) -> None:
        """An issue at each of these rows (of the sound ones)."""
        self.event_of_received(rule, self.history.row[at], detail)

    def event_of_received(self, rule: str, row: Ints, detail: pl.Series) -> None:
        if not len(row):
            return
        self.issues.append(
            self.history.received[row].select(
                "instrument_id",
                "ticker",
                pl.col("session").dt.date().alias("bar_session"),
                pl.lit(rule).alias("rule"),
                pl.lit(RULES[rule].severity).alias("severity"),
                detail.alias("detail"),
                *(pl.col(name).cast(pl.Float64) for name in (*PRICES, "volume")),
                "provider",
            )
        )

    def wrong(self, rule: str, part: str, at: Ints) -> None:
        """These rows (of the sound ones) are wrong by that rule."""
        self.wrong_received(rule, part, self.history.row[at])

    def wrong_received(self, rule: str, part: str, row: Ints) -> None:
        self.rows.setdefault((rule, part), []).append(row)

    def wrong_before(self, rule: str, at: Ints) -> None:
        """The adjusted close of every row before these events is wrong by them."""
        history = self.history
        until = np.full(int(history.group[-1]) + 1, -1, dtype=np.int64)
        np.maximum.at(until, history.group[at], at)
        self.wrong(rule, "adjusted_close", np.flatnonzero(np.arange(history.count) < until[history.group]))

    def result(self) -> HistoryAssessment:
        received = self.history.received
        last = received.group_by("instrument_id").agg(pl.col("session").dt.date().max().alias("session"))
        if self.seen is not None:
            last = last.with_columns(pl.lit(self.seen).alias("session"))
        empty = ISSUE_SCHEMA.to_frame().drop("session")
        issues = (
            pl.concat([empty, *self.issues])
            .join(last, on="instrument_id")
            .select(ISSUE_SCHEMA.names())
            .unique(["instrument_id", "bar_session", "rule"], keep="first", maintain_order=True)
            .sort("instrument_id", "bar_session", "rule")
        )
        keys = received.select("instrument_id", "session")
        pieces = [keys.head(0).with_columns(pl.lit("").alias("rule"), pl.lit("").alias("part"))]
        for (rule, part), found in self.rows.items():
            wrong = np.zeros(keys.height, dtype=bool)
            wrong[np.concatenate(found)] = True
            pieces.append(
                keys.filter(pl.Series(wrong)).with_columns(pl.lit(rule).alias("rule"), pl.lit(part).alias("part"))
            )
        rows = pl.concat(pieces)
        return HistoryAssessment(issues, rows)


def _judge_rows(history: _History, findings: _Findings) -> None:
    received = history.received
    for rule, (mask, detail) in row_faults(
        {name: received[name].cast(pl.Float64).to_numpy() for name in (*PRICES, "volume")}
    ).items():
        row = np.flatnonzero(mask)
        findings.event_of_received(rule, row, detail(row))
        findings.wrong_received(rule, "row", row)
    row = np.flatnonzero(_repeats(received))
    findings.event_of_received("duplicate_bar", row, text("repeats another row of the session", length=len(row)))
    findings.wrong_received("duplicate_bar", "row", row)


def _judge_levels(history: _History, findings: _Findings) -> None:
    """Find the jumps between levels, and from the latest level back which rows lie on another."""
    total = np.log(history.typical) + np.nan_to_num(history.log_ratio)
    move = history.steps(total)
    median, _ = history.per_group(np.abs(move), np.ones(history.count, dtype=bool))
    sigma = np.maximum(_MAD * np.nan_to_num(median), _SIGMA_FLOOR)
    with np.errstate(invalid="ignore"):
        large = np.flatnonzero((np.abs(move) > _STEP_SIGMAS * sigma) & (np.abs(move) > _SMALLEST_RATIO))
    by_split = _match_splits(history, large, move[large], sigma[large])
    unit = is_unit(move[large]) & np.isnan(by_split)
    history.offset = np.zeros(history.count)
    explained = np.zeros(history.count, dtype=bool)
    for rule, jumps, size in (
        ("split_not_applied", large[~np.isnan(by_split)], by_split[~np.isnan(by_split)]),
        ("unit_error", large[unit], np.log(UNIT) * np.ones(int(unit.sum()))),
    ):
        explained[jumps] = True
        offset = _offsets(history, jumps, np.sign(move[jumps]) * size)
        history.offset += offset
        _report_levels(history, findings, rule, offset)
    _judge_fields(history, findings)
    _judge_unannounced(history, findings, large[~explained[large]], move, sigma)


def _gapped(history: _History, at: Ints, move: Floats) -> Bools:
    """Whether the ranges of each row and the one before do not touch, in total-return terms."""
    scale = np.exp(np.nan_to_num(history.log_ratio))
    high, low = history.fields["high"] * scale, history.fields["low"] * scale
    apart: Bools = np.where(move < 0, high[at] < low[at - 1], low[at] > high[at - 1])
    return apart


def _match_splits(history: _History, at: Ints, move: Floats, sigma: Floats) -> Floats:
    """The size (absolute log ratio) of the announced split that explains each jump, NaN where none does."""
    size = np.full(len(at), np.nan)
    if not len(at) or history.splits.is_empty():
        return size
    ex = history.splits.with_columns(pl.Series("ex_at", history.at(history.splits)))
    jumps = history.received[history.row[at]].select(
        "instrument_id",
        gapped=pl.Series(_gapped(history, at, move)),
        jump=pl.Series(np.arange(len(at))),
        at=pl.Series(at),
        move=pl.Series(move),
        sigma=pl.Series(sigma),
    )
    ratio = pl.col("value").log().abs()
    distance = (pl.col("move").abs() - ratio).abs()
    bars_away = (pl.col("at") - pl.col("ex_at")).abs()
    near = (pl.col("ex_at") >= 0) & (bars_away <= _NEAR_BARS) & (distance < _NEAR_SHARE * pl.col("move").abs())
    exact = distance <= pl.min_horizontal(_FAR_SIGMAS * pl.col("sigma"), _FAR_LIMIT)
    exact &= pl.col("gapped") & (ratio >= _FAR_RATIO)
    visible = (ratio >= _SMALLEST_RATIO) & (ratio > _STEP_SIGMAS * pl.col("sigma"))
    best = (
        jumps.join(ex.select("instrument_id", "value", "ex_at"), on="instrument_id")
        .with_columns(distance.alias("distance"), ratio.alias("ratio"))
        .filter(visible & (near | exact))
        .sort("jump", "distance")
        .group_by("jump", maintain_order=True)
        .first()
    )
    size[best["jump"].to_numpy()] = best["ratio"].to_numpy()
    return size


def _offsets(history: _History, jumps: Ints, size: Floats) -> Floats:
    """Log distance of each row from the latest level, given the signed jumps between levels."""
    if not len(jumps):
        return np.zeros(history.count)
    at = np.flatnonzero(np.isin(history.group, history.group[jumps]))
    jump = np.zeros(history.count)
    jump[jumps] = size
    frame = pl.DataFrame({"group": history.group[at], "jump": jump[at]}).with_columns(
        (pl.col("jump").cum_sum().over("group") - pl.col("jump").sum().over("group")).round(6).alias("level")
    )
    tail = frame.group_by("group", maintain_order=True).agg(pl.col("level").tail(_ANCHOR_ROWS))
    levels = tail.explode("level").group_by("group", "level", maintain_order=True).agg(pl.len().alias("rows"))
    # Of two levels that held equally often the later one wins: it comes last in the order of appearance.
    anchor = levels.with_row_index("order").sort("group", "rows", "order").group_by("group", maintain_order=True).last()
    joined = frame.join(anchor.select("group", pl.col("level").alias("anchor")), on="group", maintain_order="left")
    offset = np.zeros(history.count)
    offset[at] = (joined["level"] - joined["anchor"]).to_numpy()
    return offset


def _report_levels(history: _History, findings: _Findings, rule: str, offset: Floats) -> None:
    off = np.round(offset, 6) != 0
    at = np.flatnonzero(off)
    findings.wrong(rule, "price", at)
    if not len(at):
        return
    starts = np.flatnonzero(off & (history.first | ~np.roll(off, 1) | (np.round(offset - np.roll(offset, 1), 6) != 0)))
    length = np.diff(np.append(np.searchsorted(at, starts), len(at)))
    factor = number(np.exp(offset[starts]))
    findings.event(
        rule, starts, text("{} rows from here are {} times the latest basis", length, factor, length=len(starts))
    )


def _judge_fields(history: _History, findings: _Findings) -> None:
    """Single prices 100 times too large or small among their neighbours."""
    every = [np.log(values) - history.offset for values in history.fields.values()]
    starts = np.flatnonzero(history.first)
    top = np.maximum.reduceat(np.maximum.reduce(every), starts)
    bottom = np.minimum.reduceat(np.minimum.reduce(every), starts)
    suspect = np.flatnonzero((top - bottom >= np.log(UNIT * (1 - UNIT_TOLERANCE)))[history.group])
    if not len(suspect):
        return
    level = np.log(history.typical) - history.offset
    around = (
        pl.DataFrame({"group": history.group[suspect], "level": level[suspect]})
        .select(pl.col("level").rolling_median(5, min_samples=1, center=True).over("group"))
        .to_series()
        .to_numpy()
    )
    wrong = np.zeros(len(suspect), dtype=bool)
    for values in every:
        wrong |= is_unit(values[suspect] - around)
    at = suspect[wrong]
    findings.wrong("unit_error", "price", at)
    findings.event("unit_error", at, text("a price is 100 times off the bars around it", length=len(at)))


def _judge_unannounced(history: _History, findings: _Findings, at: Ints, move: Floats, sigma: Floats) -> None:
    """Whole bars that gapped by the ratio of a split and stayed there, on a day without an action."""
    at = at[np.abs(move[at]) > _UNANNOUNCED_SIGMAS * sigma[at]]
    at = at[at + 2 < history.count]
    at = at[history.group[at + 2] == history.group[at]]
    acted = history.at(history.actions)
    at = at[~np.isin(at, acted)]
    if not len(at):
        return
    level = np.log(history.typical) + np.nan_to_num(history.log_ratio)
    size = np.abs(move[at])
    distance = np.abs(size[:, None] - np.log(np.array(SPLIT_RATIOS)))
    like = distance.min(axis=1) <= np.clip(2 * sigma[at], 0.02, _FAR_LIMIT)
    for later in (1, 2):
        like &= np.abs(level[at + later] - level[at]) <= 0.25 * size
    like &= _gapped(history, at, move[at])
    like &= unremarkable(history.volume[at], history.volume[at] * history.close[at], *_usual_trading(history, at))
    ratio = np.array(SPLIT_RATIOS)[distance.argmin(axis=1)]
    ratio = np.where(move[at] < 0, ratio, 1 / ratio)[like]
    found = at[like]
    detail = text("moved as by a split of {} and stayed there", number(ratio), length=len(found))
    findings.event("split_not_announced", found, detail)
    findings.wrong("split_not_announced", "action", found)


def _usual_trading(history: _History, at: Ints) -> tuple[Floats, Floats]:
    """Median volume and turnover of the 21 rows before each."""
    before = at[:, None] - np.arange(1, REFERENCE_WINDOW + 1)
    same = (before >= 0) & (history.group[np.maximum(before, 0)] == history.group[at][:, None])
    volume = np.where(same, history.volume[np.maximum(before, 0)], np.nan)
    turnover = volume * history.close[np.maximum(before, 0)]
    return row_median(volume), row_median(turnover)


@dataclass
class _Payments:
    """Payments by the bar they go ex on. All arrays run over those bars.

    share: payment / close before; least, most: what it may have been where the bar hides the day.
    step: the fall the provider's adjustment implies, as a fraction (NaN: unknown).
    move: median log return to the open, the close and the next close (weekly bars: to the next close).
    sigma: scale of a bar's return. tolerance: what rounding of the two closes leaves open in `step`.
    """

    at: Ints
    amount: Floats
    share: Floats
    least: Floats
    most: Floats
    step: Floats
    move: Floats
    sigma: Floats
    tolerance: Floats

    def fit(self, share: Floats) -> Floats:
        """Log likelihood of the ex-date moves if the payments were these shares of the price.

        Student's t with 4 degrees of freedom: one wild day cannot outvote the others. Zero where the bar says nothing.
        """
        z = (self.move - np.log1p(-np.clip(share, 0, 0.95))) / self.sigma
        return np.nan_to_num(-2.5 * np.log1p(z * z / 4))

    def prior(self, share: Floats, usual: Floats | float = _TYPICAL_SHARE) -> Floats:
        """Log prior of a payment's share of the price: around the usual one, with heavy tails on the log scale."""
        z = np.log(np.maximum(share, 1e-9) / usual)
        return -1.5 * np.log1p(z * z / 2)


def _judge_payments(history: _History, findings: _Findings) -> None:
    step = history.steps(history.log_ratio)
    acted = _acted(history)
    usual = history.per_group(np.abs(step), ~acted, _NOISE_QUANTILE)[0]
    tolerance = np.maximum(_NOISE_MARGIN * np.nan_to_num(usual), _STEP_FLOOR)
    payments = _payments(history, step, tolerance)
    _judge_missing(history, findings, np.where(acted, np.nan, step), tolerance)
    if not len(payments.at):
        return
    with np.errstate(invalid="ignore"):
        slack = _AGREEMENT * payments.share + payments.tolerance
        agrees = (payments.step >= payments.least - slack) & (payments.step <= payments.most + slack)
    agrees |= np.isnan(payments.step)
    _judge_contradictions(history, findings, payments, ~agrees)
    repeated = _judge_repeats(history, findings, payments)
    _judge_amounts(history, findings, payments, agrees & ~repeated)


def _payments(history: _History, step: Floats, tolerance: Floats) -> _Payments:
    paid = history.actions.filter(pl.col("kind").is_in(PAYMENTS))
    at = history.at(paid)
    inside = at >= 0
    inside[inside] = ~history.first[at[inside]]
    place, inverse = np.unique(at[inside], return_inverse=True)
    amount = np.zeros(len(place))
    np.add.at(amount, inverse, paid["value"].cast(pl.Float64).to_numpy()[inside])
    before = place - 1
    after = np.minimum(place + 1, history.count - 1)
    same = history.group[after] == history.group[place] if len(place) else np.zeros(0, dtype=bool)
    same &= after > place
    close = np.log(history.close) - history.offset
    start = close[before]
    opened = np.log(history.fields["open"][place]) - history.offset[place]
    later = np.where(same, close[after], close[place])
    move = np.median(np.stack([opened, close[place], later]) - start, axis=0) if len(place) else np.zeros(0)
    move = np.where(history.coarse[place], later - start, move)  # inside a weekly bar the ex-date may be its last day
    untraded = (history.volume[place] == 0) & (close[place] == start)
    share = amount / np.exp(start)
    # The ratio of a weekly bar is that of its first day, so that a payment inside the week steps one bar later, and the
    # price it was divided by is any of that week; two weeks in a row may each step by their own.
    weekly = history.coarse[place]
    following = np.where(same, step[after], np.nan)
    choices = np.stack([step[place], following, step[place] + following])
    distance = np.where(np.isnan(choices), np.inf, np.abs(-np.expm1(-choices) - share))
    nearest = np.take_along_axis(choices, np.argmin(distance, axis=0)[None], axis=0)[0]
    fall = np.where(weekly, np.where(same, nearest, np.nan), step[place])
    high, low = (np.log(history.fields[name][place]) - history.offset[place] for name in ("high", "low"))
    least = np.where(weekly, amount / np.exp(np.maximum(high, start)), share)
    most = np.where(weekly, amount / np.exp(np.minimum(low, start)), share)
    returns = history.steps(close)
    median, moves = history.per_group(np.abs(returns), returns != 0)
    sigma = np.maximum(_MAD * np.nan_to_num(median), _PAYMENT_SIGMA_FLOOR)
    sigma = np.where(moves < _FEW, np.maximum(sigma, _UNKNOWN_SIGMA), sigma)
    return _Payments(
        place,
        amount,
        share,
        least,
        most,
        -np.expm1(-fall),
        np.where(untraded, np.nan, move),
        sigma[place],
        tolerance[place],
    )


def _acted(history: _History) -> Bools:
    """Rows on which an action may step the adjustment: the bar that goes ex and, among weekly bars, the next."""
    at = history.at(history.actions)
    acted = np.zeros(history.count, dtype=bool)
    acted[at[at >= 0]] = True
    acted[1:] |= acted[:-1] & history.coarse[1:]
    return acted


def _judge_missing(history: _History, findings: _Findings, step: Floats, tolerance: Floats) -> None:
    """Steps of the adjustment on bars without any action (`step` is NaN on the others)."""
    with np.errstate(invalid="ignore"):
        at = np.flatnonzero(np.abs(step) > np.maximum(_MISSING_STEP, 2 * tolerance))
    fall = percent(-np.expm1(-step[at]))
    findings.event(
        "dividend_missing", at, text("adjusted as for {} % of the price, without an action", fall, length=len(at))
    )
    findings.wrong("dividend_missing", "action", at)


def _judge_contradictions(history: _History, findings: _Findings, payments: _Payments, differs: Bools) -> None:
    """Payments that are not what the adjusted close steps by: in another unit, or not applied."""
    pick = np.flatnonzero(differs)
    if not len(pick):
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(np.maximum(payments.step[pick], 0) / payments.share[pick])
    splits = history.splits.select("instrument_id", pl.col("value").log().abs().alias("size"))
    sizes = (
        history.received[history.row[payments.at[pick]]]
        .select("instrument_id")
        .with_row_index("row")
        .join(splits, on="instrument_id", how="inner")
    )
    unit = is_unit(ratio)
    for row, size in sizes.select("row", "size").iter_rows():
        unit[row] |= bool(size >= _SMALLEST_RATIO and abs(abs(ratio[row]) - size) <= _FAR_LIMIT)
    absent = payments.step[pick] <= payments.tolerance[pick]
    usual = _usual_share(history, payments, ~differs)
    believed = payments.prior(payments.share, usual) - payments.prior(payments.step, usual)
    believed = np.where(unit, believed[pick], _RECORD_PRIOR)
    odds = (payments.fit(payments.share) - payments.fit(payments.step))[pick] + believed
    kind = np.where(unit, "dividend_unit", "dividend_not_applied")
    pooled = (
        pl.DataFrame({"group": history.group[payments.at[pick]], "kind": kind, "up": ratio > 0, "odds": odds})
        .select(pl.col("odds").sum().over("group", "kind", "up"))
        .to_series()
        .to_numpy()
    )
    recorded = pooled >= 0
    side = np.where(recorded, "the adjusted close before it is wrong", "the amount is wrong")
    for rule in ("dividend_unit", "dividend_not_applied"):
        hit = kind == rule
        at = payments.at[pick[hit]]
        detail = text(
            "{} % of the price, adjusted as for {} %: {}",
            percent(payments.share[pick[hit]]),
            percent(np.where(absent[hit], 0.0, payments.step[pick[hit]])),
            pl.Series(side[hit].astype(object), dtype=pl.String),
            length=len(at),
        )
        findings.event(rule, at, detail)
        findings.wrong_before(rule, at[recorded[hit]])
        findings.wrong(rule, "action", at[~recorded[hit]])


def _usual_share(history: _History, payments: _Payments, undisputed: Bools) -> Floats:
    """Median share of the price of the instrument's undisputed payments; 1 % where there are fewer than three."""
    frame = pl.DataFrame({"group": history.group[payments.at], "share": payments.share, "sound": undisputed})
    sound = pl.col("share").filter(pl.col("sound"))
    usual = pl.when(pl.col("sound").sum() >= _FEW_PAYMENTS).then(sound.median()).otherwise(_TYPICAL_SHARE)
    return frame.select(usual.over("group")).to_series().to_numpy()


def _judge_repeats(history: _History, findings: _Findings, payments: _Payments) -> Bools:
    """A payment sent twice, a few days apart: the one that fits its move less is the phantom, in doubt the later."""
    repeated = np.zeros(len(payments.at), dtype=bool)
    if len(payments.at) < 2:
        return repeated
    days = history.received["session"].dt.date().gather(history.row[payments.at]).to_numpy().astype("datetime64[D]")
    apart = (days[1:] - days[:-1]).astype(np.int64)
    same = history.group[payments.at[1:]] == history.group[payments.at[:-1]]
    alike = np.abs(np.log(payments.amount[1:] / payments.amount[:-1])) <= np.log1p(_AGREEMENT)
    later = 1 + np.flatnonzero(same & alike & (apart <= _REPEAT_DAYS))
    fit = payments.fit(payments.share)
    phantom = np.where(fit[later - 1] < fit[later] - 1, later - 1, later)
    at = payments.at[phantom]
    detail = text("{} % of the price repeats another of these days", percent(payments.share[phantom]), length=len(at))
    findings.event("dividend_implausible", at, detail)
    findings.wrong("dividend_implausible", "action", at)
    findings.wrong_before("dividend_implausible", at)
    repeated[phantom] = True
    return repeated


def _judge_amounts(history: _History, findings: _Findings, payments: _Payments, agreed: Bools) -> None:
    """Payments that the adjusted close believes, against the moves: too large one by one, too small in company."""
    verdict = dividend_verdict(np.where(agreed, payments.move, np.nan), payments.share, payments.sigma)
    verdict[verdict == "dividend_unit"] = np.where(
        payments.share[verdict == "dividend_unit"] * UNIT < 1, "", "dividend_unit"
    )
    split = np.isin(payments.at, history.at(history.splits))
    verdict[split & (verdict == "dividend_unit")] = "dividend_implausible"
    tiny = agreed & (payments.share < _TINY)
    evidence = pl.DataFrame(
        {
            "group": history.group[payments.at],
            "tiny": tiny,
            "odds": payments.fit(payments.share * UNIT) - payments.fit(payments.share),
            "prior": payments.prior(payments.share * UNIT) - payments.prior(payments.share),
        }
    ).select(
        ((pl.col("tiny").sum() >= _FEW_PAYMENTS) & (2 * pl.col("tiny").sum() > pl.len())).over("group").alias("most"),
        pl.col("odds").filter(pl.col("tiny")).sum().over("group").alias("odds"),
        pl.col("prior").filter(pl.col("tiny")).median().over("group").fill_null(0).alias("prior"),
    )
    # Each move is evidence of its own and must speak for it; that all payments are tiny has one cause and counts once.
    odds, prior = evidence["odds"].to_numpy(), evidence["prior"].to_numpy()
    hundredfold = tiny & evidence["most"].to_numpy() & (odds > 0) & (odds + prior > _POOLED_ODDS)
    verdict[hundredfold] = "dividend_unit"
    for rule in ("dividend_implausible", "dividend_unit"):
        hit = np.flatnonzero(agreed & (verdict == rule))
        at = payments.at[hit]
        detail = text(
            "{} % of the price, the bars moved {} %",
            percent(payments.share[hit]),
            percent(np.expm1(payments.move[hit])),
            length=len(at),
        )
        findings.event(rule, at, detail)
        findings.wrong(rule, "action", at)
        findings.wrong_before(rule, at)
