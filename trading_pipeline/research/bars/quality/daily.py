"""The rules that judge daily sessions, in one array pass over sessions x instruments.

What belongs here: rules that need nothing but as-traded bars and actions up to the session (and, where the registry
says so, one or two bars after it). What does not: rules that read a provider's adjusted close (`history.py`).

Point in time: every statistic of a session comes from strictly earlier sessions of the instrument, or from the other
instruments on the same session. Nothing depends on another rule's verdict on an earlier bar, so that the history a
verdict needs is finite: `LOOKBACK` sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trading_pipeline.research.bars.quality.rows import PRICES, number, percent, row_faults, text
from trading_pipeline.research.bars.quality.rules import (
    DIVIDEND_SIGMAS,
    GOOD,
    RULES,
    SEVERITIES,
    UNIT,
    UNIT_TOLERANCE,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

WINDOW = 63
"""Sessions of earlier returns behind a sigma: a quarter."""
LONGEST_GAP = 5
"""A bar is compared with the one before it if that is no more than so many sessions old."""
LOOKBACK = WINDOW + 3 * LONGEST_GAP
"""Sessions of history the judged sessions need: two bars back for what a later bar decides, each with its own sigma
and each return in it with its own bar before."""

REFERENCE_WINDOW = 21
JUMP_SIGMAS = 12.0
STALE_SESSIONS = 5
QUIET_TRADING = 3.0
_MIN_OBSERVATIONS = 20  # fewer returns give no sigma: a young listing is not judged by one
_MIN_REFERENCE = 3
_MIN_CROSS_SECTION = 20  # fewer instruments give no market median
_SIGMA_FLOOR = 0.005  # half a per cent a session: a quiet or thinly traded share still moves by ticks
_MAD = 1.4826  # makes a median absolute deviation a standard deviation under normality
SPLIT_RATIOS = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50)
_DECIMALS = 9  # decisions are taken on rounded values: a range run and day-by-day runs agree

PAYMENTS = ("dividend", "capital_gain")
_BIT = {name: np.int64(1) << position for position, name in enumerate(RULES)}

ISSUE_SCHEMA = pl.Schema(
    {
        "session": pl.Date(),
        "instrument_id": pl.String(),
        "ticker": pl.String(),
        "bar_session": pl.Date(),
        "rule": pl.String(),
        "severity": pl.String(),
        "detail": pl.String(),
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
        "provider": pl.String(),
    }
)
_ISSUE_KEY = ["session", "instrument_id", "bar_session", "rule"]


class Assessment(NamedTuple):
    """The verdict on the judged sessions.

    bars: the rows kept, as given, plus `data_quality` (good, suspect, bad) and `rules` (names, comma-separated).
    issues: one row per finding, by the session on which it could first be seen; columns of `ISSUE_SCHEMA`.
    actions: [session, instrument_id, kind, rules] of the actions with an ex-date among the judged sessions.
    """

    bars: pl.DataFrame
    issues: pl.DataFrame
    actions: pl.DataFrame


def assess(
    bars: pl.DataFrame,
    actions: pl.DataFrame,
    expected: pl.DataFrame,
    sessions: Sequence[date],
    lookback: Sequence[date] = (),
    *,
    listings: pl.DataFrame | None = None,
    halts: pl.DataFrame | None = None,
    basis_breaks: pl.DataFrame | None = None,
) -> Assessment:
    """Judge the bars of `sessions` by what was available by then.

    bars: long, as traded: [session, instrument_id, ticker, open, high, low, close, volume, currency, provider,
    provisional] and any further columns, which pass through. It holds the judged sessions and `LOOKBACK` sessions
    before them (fewer at the start of history), every instrument of the market: the market's median move of a session
    is taken over all of them. Rows later than the last judged session are ignored.
    actions: [session (ex-date), instrument_id, kind (split, dividend, capital_gain), value] and optionally `currency`,
    those known by the judged sessions; split: new shares per old; payments: amount per share after that day's split.
    expected: [session, instrument_id, ticker] who should have a bar. An instrument without a bar in the 63 sessions
    before, and without a listing, is a matter of coverage and raises no issue.
    sessions: the judged sessions, ascending. lookback: the sessions before them, ascending; all from the exchange's
    calendar.
    listings: [instrument_id, first, last] first and last session of the listing (null: open).
    halts: [session, instrument_id] known trading halts.
    basis_breaks: [session, instrument_id, ticker, factor] breaks found on receipt, by the session they were seen.

    The same rows come out whether a session is judged alone or among others. Raises ValueError on unordered sessions.
    """
    axis = np.array([*lookback, *sessions], dtype="datetime64[D]")
    if len(axis) > 1 and not bool((np.diff(axis) > np.timedelta64(0, "D")).all()):
        raise ValueError("lookback and sessions must be ascending, without repetition, one after the other")
    panel = _Panel.of(bars, actions, expected, axis, len(lookback))
    findings = _Findings(panel)
    _reject_rows(panel, findings)
    if len(sessions):
        _judge_bars(panel, findings)
        _judge_absence(panel, findings, listings, halts)
    return Assessment(_kept_bars(panel, findings), findings.issues(basis_breaks), findings.actions())


@dataclass
class _Panel:
    """Bars as arrays: `t` runs over the sessions of the axis, `i` over instruments. NaN where there is no sound bar."""

    axis: NDArray[np.datetime64]
    first_judged: int
    ids: list[str]
    rows: pl.DataFrame
    row_t: Ints
    row_i: Ints
    actions: pl.DataFrame
    action_t: Ints
    action_i: Ints
    expected: pl.DataFrame
    expected_t: Ints
    expected_i: Ints
    row_of: NDArray[np.int32] = field(init=False)
    null_row: Bools = field(init=False)
    kept: Bools = field(init=False)
    price: dict[str, Floats] = field(init=False)
    volume: Floats = field(init=False)

    @classmethod
    def of(
        cls, bars: pl.DataFrame, actions: pl.DataFrame, expected: pl.DataFrame, axis: NDArray[np.datetime64], first: int
    ) -> _Panel:
        low, high = (axis[0], axis[-1]) if len(axis) else (np.datetime64("9999-01-01"), np.datetime64("0001-01-01"))
        inside = pl.col("session").is_between(pl.lit(low.astype(object)), pl.lit(high.astype(object)))
        bars, actions, expected = (frame.filter(inside) for frame in (bars, actions, expected))
        judged = (
            expected.filter(pl.col("session") >= pl.lit(axis[first].astype(object))) if first < len(axis) else expected
        )
        ids = pl.concat([bars["instrument_id"].unique(), judged["instrument_id"].unique()]).unique().sort()
        actions = actions.filter(pl.col("instrument_id").is_in(ids.implode()))

        def place(frame: pl.DataFrame) -> tuple[Ints, Ints]:
            days = frame["session"].to_numpy().astype("datetime64[D]")
            codes = frame["instrument_id"].cast(pl.Enum(ids)).to_physical()
            return np.searchsorted(axis, days).astype(np.int64), codes.to_numpy().astype(np.int64)

        return cls(axis, first, ids.to_list(), bars, *place(bars), actions, *place(actions), judged, *place(judged))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.axis), len(self.ids)

    def dense(self, values: Any, where: Bools, empty: float = np.nan) -> Floats:
        out = np.full(self.shape, empty)
        out[self.row_t[where], self.row_i[where]] = values[where]
        return out


@dataclass
class _Findings:
    """What the rules found so far: issues as pieces of a frame, marks on bars as bits, marks on actions by row."""

    panel: _Panel
    pieces: list[pl.DataFrame] = field(default_factory=list)
    action_rules: dict[int, list[str]] = field(default_factory=dict)
    marks: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.marks = np.zeros(self.panel.shape, dtype=np.int64)

    def rows(self, rule: str, row: Ints, detail: pl.Series, seen: Ints | None = None) -> None:
        """An issue of rows of the input, seen at their own session unless `seen` gives another."""
        panel = self.panel
        seen = panel.row_t[row] if seen is None else seen
        judged = (seen >= panel.first_judged) & (seen < len(panel.axis))
        if not judged.any():
            return
        source = panel.rows[row[judged]]
        self.pieces.append(
            source.select(
                pl.Series("session", panel.axis[seen[judged]]).cast(pl.Date),
                "instrument_id",
                "ticker",
                pl.col("session").alias("bar_session"),
                pl.lit(rule).alias("rule"),
                pl.lit(RULES[rule].severity).alias("severity"),
                detail.filter(pl.Series(judged)).alias("detail"),
                *(pl.col(name).cast(pl.Float64) for name in (*PRICES, "volume")),
                "provider",
            )
        )

    def cells(self, rule: str, t: Ints, i: Ints, detail: pl.Series, seen: Ints | None = None) -> None:
        """An issue of sound bars, which are marked too if the rule marks bars."""
        row = self.panel.row_of[t, i].astype(np.int64)
        self.rows(rule, row, detail, t if seen is None else seen)
        if RULES[rule].target == "bar":
            self.marks[t, i] |= _BIT[rule]

    def issues(self, basis_breaks: pl.DataFrame | None) -> pl.DataFrame:
        pieces = [ISSUE_SCHEMA.to_frame(), *self.pieces]
        if basis_breaks is not None:
            first = self.panel.first_judged
            pieces.append(_basis_break_issues(basis_breaks, self.panel.axis[first:]))
        found = pl.concat([piece.select(ISSUE_SCHEMA.names()) for piece in pieces], how="vertical")
        return found.unique(_ISSUE_KEY, keep="first", maintain_order=True).sort(_ISSUE_KEY)

    def actions(self) -> pl.DataFrame:
        panel = self.panel
        names = np.full(panel.actions.height, "", dtype=object)
        for row, rules in self.action_rules.items():
            names[row] = ",".join(sorted(rules, key=list(RULES).index))
        judged = pl.Series(panel.action_t >= panel.first_judged)
        return (
            panel.actions.select("session", "instrument_id", "kind", pl.Series("rules", names, dtype=pl.String))
            .filter(judged)
            .sort("session", "instrument_id", "kind")
        )


def _basis_break_issues(breaks: pl.DataFrame, judged: NDArray[np.datetime64]) -> pl.DataFrame:
    rule = RULES["basis_break"]
    none = [pl.lit(None, dtype=pl.Float64).alias(name) for name in (*PRICES, "volume")]
    return breaks.filter(pl.col("session").is_in(pl.Series(judged).cast(pl.Date).implode())).select(
        "session",
        "instrument_id",
        "ticker",
        pl.col("session").alias("bar_session"),
        pl.lit(rule.name).alias("rule"),
        pl.lit(rule.severity).alias("severity"),
        pl.format("history moved by a factor of {}", pl.col("factor").round_sig_figs(6)).alias("detail"),
        *none,
        pl.lit(None, dtype=pl.String).alias("provider"),
    )


def _reject_rows(panel: _Panel, findings: _Findings) -> None:
    """Quarantine what breaks a constraint, and fill the arrays with the rest."""
    rows, t, i = panel.rows, panel.row_t, panel.row_i
    on_axis = panel.axis[np.minimum(t, len(panel.axis) - 1)] == rows["session"].to_numpy() if rows.height else t >= 0
    numbers = {name: rows[name].cast(pl.Float64).to_numpy() for name in (*PRICES, "volume")}
    faults = row_faults(numbers)
    for rule, (mask, detail) in faults.items():
        row = np.flatnonzero(mask & on_axis)
        findings.rows(rule, row, detail(row))
    null = faults["null_bar"][0] & on_axis
    if not on_axis.all():
        row = np.flatnonzero(~on_axis)
        findings.rows("not_a_session", row, text("the exchange did not trade that day", length=len(row)), seen=t[row])

    kept = on_axis & ~np.logical_or.reduce([mask for mask, _ in faults.values()])
    cell = t * len(panel.ids) + i
    counts = np.bincount(cell[on_axis], minlength=panel.shape[0] * panel.shape[1])
    if counts.size and counts.max() > 1:
        kept &= _fullest(
            panel, findings, np.flatnonzero(on_axis & (counts[np.minimum(cell, counts.size - 1)] > 1)), kept
        )

    panel.kept = kept
    panel.row_of = np.full(panel.shape, -1, dtype=np.int32)
    panel.row_of[t[on_axis], i[on_axis]] = np.flatnonzero(on_axis)
    panel.row_of[t[kept], i[kept]] = np.flatnonzero(kept)
    panel.null_row = np.zeros(panel.shape, dtype=bool)
    panel.null_row[t[null], i[null]] = True
    panel.price = {name: panel.dense(numbers[name], kept) for name in PRICES}
    panel.volume = panel.dense(np.nan_to_num(numbers["volume"]), kept)


def _fullest(panel: _Panel, findings: _Findings, repeated: Ints, sound: Bools) -> Bools:
    """Of several rows with the same key, keep the sound one with the largest volume; report the key once."""
    order = [*(pl.col(name) for name in ("volume", *reversed(PRICES))), pl.col("row")]
    group = (
        panel.rows[repeated]
        .select("session", "instrument_id", *PRICES, "volume")
        .with_columns(pl.Series("row", repeated), pl.Series("sound", sound[repeated]))
        .sort(pl.col("sound"), *order, descending=[True] * 6 + [False], nulls_last=True)
    )
    keys = ["session", "instrument_id"]
    different = pl.struct("volume", *PRICES).n_unique()
    summary = group.group_by(keys, maintain_order=True).agg(
        pl.col("row").first().alias("kept"), pl.len().alias("rows"), different.alias("versions")
    )
    kept_row = summary["kept"].to_numpy().astype(np.int64)
    detail = summary.select(
        pl.format("{} rows, {} of them different; the one with the largest volume is kept", "rows", "versions")
    )
    findings.rows("duplicate_bar", kept_row, detail.to_series())
    keep = np.ones(panel.rows.height, dtype=bool)
    keep[repeated] = False
    keep[kept_row] = True
    return keep


@dataclass
class _Returns:
    """Returns from bar to bar (NaN without a bar no more than `LONGEST_GAP` sessions before) and their scale.

    plain: as traded. explained: net of the splits and payments in between, as far as that makes the move
    smaller (what they leave unexplained is for `split_not_applied` and the dividend rules).
    residual: explained, net of the session's market median. level: log close in one split basis.
    previous, following: the neighbouring bar's `t`, -1 where there is none near enough.
    """

    plain: Floats
    residual: Floats
    market: Floats
    cross_section: Floats
    level: Floats
    split: Floats
    previous: Ints
    following: Ints

    def sigma(self, t: Ints, i: Ints) -> Floats:
        """Robust scale of the residuals of the `WINDOW` sessions before, NaN where fewer than 20 are known.

        No less than the dispersion of all instruments on that very session (on a day when everything moves, nothing
        stands out), nor than half a per cent.
        """
        own = _MAD * _median_before(np.abs(self.residual), t, i, WINDOW, _MIN_OBSERVATIONS)
        return np.where(np.isnan(own), np.nan, np.maximum(np.maximum(own, self.cross_section[t]), _SIGMA_FLOOR))


def _before(values: Floats, t: Ints, i: Ints, window: int) -> Floats:
    """The `window` sessions before each cell, as rows of a matrix; NaN before the axis begins."""
    at = t[:, None] - np.arange(1, window + 1)
    return np.where(at >= 0, values[np.maximum(at, 0), i[:, None]], np.nan)


def row_median(values: Floats, least: int = 1) -> Floats:
    """Median along the rows of a matrix, NaN where fewer than `least` values are there."""
    ordered = np.sort(values, axis=1)
    count = values.shape[1] - np.isnan(ordered).sum(axis=1)
    at = np.arange(len(values))
    some = np.maximum(count, 1)
    median = (ordered[at, (some - 1) // 2] + ordered[at, some // 2]) / 2
    return np.where(count >= least, median, np.nan)


def _median_before(values: Floats, t: Ints, i: Ints, window: int, least: int) -> Floats:
    return row_median(_before(values, t, i, window), least)


def unremarkable(volume: Floats, turnover: Floats, usual_volume: Floats, usual_turnover: Floats) -> Bools:
    """Whether trading was near its usual: a split makes no news, a collapse does.

    Volume or turnover (one of them is in another share basis) within three times its median, or no volume known.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        quiet: Bools = (volume <= QUIET_TRADING * usual_volume) | (turnover <= QUIET_TRADING * usual_turnover)
    return quiet | ~(usual_volume > 0)


@dataclass
class _ActionCells:
    """Actions by the bar that first trades without them.

    t, i: that bar. ratio: product of the splits, log. paid: sum of the payments. shares: fraction of the price before,
    in that bar's share basis. members: rows of the panel's actions, one list a bar.
    """

    t: Ints
    i: Ints
    ratio: Floats
    paid: Floats
    share: Floats
    members: list[list[int]]


def _cells_of_actions(panel: _Panel, previous: Ints, valid: Bools, level_close: Floats) -> _ActionCells:
    sessions = panel.shape[0]
    t, i = panel.action_t.copy(), panel.action_i
    for _ in range(LONGEST_GAP):  # an ex-date without a bar is judged by the next bar
        inside = t < sessions
        absent = inside.copy()
        absent[inside] = ~valid[t[inside], i[inside]]
        t = np.where(absent, t + 1, t)
    found = t < sessions
    found[found] = valid[t[found], i[found]] & (previous[t[found], i[found]] >= 0)
    kind = panel.actions["kind"].to_numpy()
    value = panel.actions["value"].cast(pl.Float64).to_numpy()
    usable = np.flatnonzero(found & np.isfinite(value) & (value > 0))
    cell, inverse = np.unique(t[usable] * panel.shape[1] + i[usable], return_inverse=True)
    ratio, paid = np.zeros(len(cell)), np.zeros(len(cell))
    is_split = kind[usable] == "split"
    np.add.at(ratio, inverse[is_split], np.log(value[usable[is_split]]))
    np.add.at(paid, inverse[~is_split], value[usable[~is_split]])
    members: list[list[int]] = [[] for _ in cell]
    for position, row in zip(inverse.tolist(), usable.tolist(), strict=True):
        members[position].append(row)
    ct, ci = np.divmod(cell, max(panel.shape[1], 1))
    before = np.exp(level_close[previous[ct, ci], ci] - ratio)
    return _ActionCells(ct, ci, ratio, paid, paid / before, members)


def _returns(panel: _Panel, valid: Bools) -> tuple[_Returns, _ActionCells]:
    sessions, instruments = panel.shape
    index = np.arange(sessions, dtype=np.int64)[:, None]
    last = np.maximum.accumulate(np.where(valid, index, -1), axis=0)
    previous = np.vstack([np.full((1, instruments), -1), last[:-1]])
    previous[index - previous > LONGEST_GAP] = -1
    nearest = np.minimum.accumulate(np.where(valid, index, sessions + LONGEST_GAP)[::-1], axis=0)[::-1]
    following = np.vstack([nearest[1:], np.full((1, instruments), sessions + LONGEST_GAP)])
    following[following - index > LONGEST_GAP] = -1
    following[following >= sessions] = -1

    log_close = np.log(panel.price["close"])
    plain = log_close - np.take_along_axis(log_close, np.maximum(previous, 0), axis=0)
    plain[previous < 0] = np.nan
    cells = _cells_of_actions(panel, previous, valid, log_close)

    split = np.zeros(panel.shape)
    np.add.at(split, (cells.t, cells.i), cells.ratio)
    level = log_close + np.cumsum(split, axis=0) if len(cells.t) else log_close

    explained = plain.copy()
    move = plain[cells.t, cells.i]
    unsplit = move + cells.ratio
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = np.where(cells.share < 1, unsplit - np.log1p(-np.minimum(cells.share, 0.999999)), unsplit)
    choices = np.stack([move, unsplit, whole, unsplit + cells.ratio])  # the last: the split applied twice
    best = np.argmin(np.abs(choices), axis=0) if len(move) else np.zeros(0, dtype=np.int64)
    explained[cells.t, cells.i] = choices[best, np.arange(len(move))]

    market = np.nan_to_num(row_median(explained, _MIN_CROSS_SECTION))
    residual = explained - market[:, None]
    cross_section = np.nan_to_num(_MAD * row_median(np.abs(residual), _MIN_CROSS_SECTION))
    return _Returns(plain, residual, market, cross_section, level, split, previous, following), cells


def _judge_bars(panel: _Panel, findings: _Findings) -> None:
    valid = ~np.isnan(panel.price["close"])
    returns, cells = _returns(panel, valid)
    _judge_units(panel, findings, valid, returns)
    _judge_trading(panel, findings, valid, returns)
    _judge_jumps(panel, findings, returns)
    _judge_actions(panel, findings, returns, cells)
    _judge_marks_of_rows(panel, findings, valid, returns)


def _judge_units(panel: _Panel, findings: _Findings, valid: Bools, returns: _Returns) -> None:
    """Each price against the median close of the sessions before, in one split basis."""
    if not valid.any():
        return
    basis = returns.level - np.log(panel.price["close"])
    least = np.log(UNIT * (1 - UNIT_TOLERANCE))
    highest = np.fmax.reduce(np.log(panel.price["high"]) + basis, axis=0)
    lowest = np.fmin.reduce(np.log(panel.price["low"]) + basis, axis=0)
    wide = np.flatnonzero(np.nan_to_num(highest - lowest) >= least)  # only these can hold a factor of 100
    t, at = np.nonzero(valid[:, wide])
    i = wide[at]
    reference = _median_before(returns.level, t, i, REFERENCE_WINDOW, _MIN_REFERENCE)
    worst = np.full(len(t), np.nan)
    for name in PRICES:
        distance = np.log(panel.price[name][t, i]) + basis[t, i] - reference
        worst = np.where(is_unit(distance) & np.isnan(worst), distance, worst)
    hit = ~np.isnan(worst)
    ratio = np.exp(worst[hit])
    detail = text(
        "a price is {} times the median close of the {} sessions before",
        number(ratio),
        _same(REFERENCE_WINDOW, hit.sum()),
        length=int(hit.sum()),
    )
    findings.cells("unit_error", t[hit], i[hit], detail)


def _same(value: Any, length: int) -> pl.Series:
    return pl.Series([value] * int(length))


def is_unit(log_ratio: Floats) -> Bools:
    """Whether a log ratio is that of a unit error: 100 or 1/100, within the tolerance."""
    with np.errstate(invalid="ignore"):
        distance = np.round(np.abs(np.abs(log_ratio) - np.log(UNIT)), _DECIMALS)
        hit: Bools = distance <= np.log1p(UNIT_TOLERANCE)
    return hit


def _judge_trading(panel: _Panel, findings: _Findings, valid: Bools, returns: _Returns) -> None:
    """Frozen bars, bars without volume, quotes gone stale."""
    frozen = valid & (returns.previous >= 0) & (returns.split == 0)
    for name in ("close", "high", "low", "open"):
        t, i = np.nonzero(frozen)  # fewer with every column compared
        frozen[t, i] = panel.price[name][t, i] == panel.price[name][returns.previous[t, i], i]
    idle = valid & (panel.volume == 0)
    t, i = np.nonzero(idle)
    traded = np.nan_to_num(_before(panel.volume, t, i, REFERENCE_WINDOW)).max(axis=1, initial=0) > 0
    hit = traded | frozen[t, i]
    findings.cells("zero_volume", t[hit], i[hit], text("no volume", length=int(hit.sum())))
    t, i = np.nonzero(frozen)
    close = number(panel.price["close"][t, i], 7)
    findings.cells("frozen_bar", t, i, text("the same prices as the bar before, close {}", close, length=len(t)))
    still = frozen & idle
    run = still.copy()
    for shift in range(1, STALE_SESSIONS):
        run[shift:] &= still[:-shift]
        run[:shift] = False
    t, i = np.nonzero(run)
    close = number(panel.price["close"][t, i], 7)
    findings.cells(
        "stale_price", t, i, text(f"no trade at {{}} for {STALE_SESSIONS} sessions or more", close, length=len(t))
    )


def _judge_jumps(panel: _Panel, findings: _Findings, returns: _Returns) -> None:
    """Jumps at their own session; those taken back, or that look like a split, when the next bars come."""
    with np.errstate(invalid="ignore"):
        t, i = np.nonzero(np.abs(returns.residual) > JUMP_SIGMAS * _SIGMA_FLOOR)
    move, sigma = returns.residual[t, i], returns.sigma(t, i)
    # A return to where the price was last week is the end of somebody else's jump.
    away = returns.level[t, i] - _median_before(returns.level, t, i, LONGEST_GAP, 1)
    with np.errstate(invalid="ignore"):
        hit = (np.round(np.abs(move) / sigma, _DECIMALS) > JUMP_SIGMAS) & (np.round(away / move, _DECIMALS) > 0.5)
    t, i, move, sigma = t[hit], i[hit], move[hit], sigma[hit]
    size = percent(np.expm1(move))
    detail = text("{} % net of the market, {} sigma", size, number(np.abs(move) / sigma, 3), length=len(t))
    findings.cells("jump", t, i, detail)

    plain = returns.level[t, i] - returns.level[returns.previous[t, i], i]
    start = returns.level[t, i] - plain
    after, reached = _next_level(returns, t, i)
    with np.errstate(invalid="ignore"):
        back = np.round(np.abs(reached - start) / np.abs(plain), _DECIMALS) <= 0.25
    detail = text("{} %, taken back by the next bar", size.filter(pl.Series(back)), length=int(back.sum()))
    findings.cells("jump_reversed", t[back], i[back], detail, seen=after[back])

    second, settled = _next_level(returns, after, i)
    with np.errstate(invalid="ignore"):
        distance = np.abs(np.abs(move)[:, None] - np.log(np.array(SPLIT_RATIOS)))
        like = np.round(distance.min(axis=1), _DECIMALS) <= np.clip(2 * sigma, 0.02, 0.05)
        stays = np.maximum(np.abs(reached - returns.level[t, i]), np.abs(settled - returns.level[t, i]))
        like &= np.round(stays / np.abs(plain), _DECIMALS) <= 0.25
        before = returns.previous[t, i]
        turnover = panel.volume * panel.price["close"]
        like &= unremarkable(
            panel.volume[t, i],
            turnover[t, i],
            _median_before(panel.volume, t, i, REFERENCE_WINDOW, 1),
            _median_before(turnover, t, i, REFERENCE_WINDOW, 1),
        )
        like &= np.where(
            plain < 0,
            panel.price["high"][t, i] < panel.price["low"][before, i],
            panel.price["low"][t, i] > panel.price["high"][before, i],
        )
    ratio = np.array(SPLIT_RATIOS)[distance.argmin(axis=1)] if len(t) else np.zeros(0)
    direction = np.where(plain < 0, ratio, 1 / ratio)
    detail = text("moved as by a split of {} and stayed there", number(direction[like]), length=int(like.sum()))
    findings.cells("split_not_announced", t[like], i[like], detail, seen=second[like])


def _next_level(returns: _Returns, t: Ints, i: Ints) -> tuple[Ints, Floats]:
    """The bar after each cell and its level; -1 and NaN where it has not come."""
    after = np.where(t >= 0, returns.following[np.maximum(t, 0), i], -1)
    return after, np.where(after >= 0, returns.level[np.maximum(after, 0), i], np.nan)


def _judge_actions(panel: _Panel, findings: _Findings, returns: _Returns, cells: _ActionCells) -> None:
    """Splits and payments against the move of the bar that first trades without them."""
    t, i = cells.t, cells.i
    if not len(t):
        return
    sigma = returns.sigma(t, i)
    sigma = np.where(np.isnan(sigma), 4 * _SIGMA_FLOOR, sigma)
    seen_move = returns.plain[t, i] - returns.market[t] + cells.ratio
    with np.errstate(invalid="ignore", divide="ignore"):
        paid = np.log1p(-np.minimum(cells.share, 0.999999))
        left = np.where(np.abs(seen_move - paid) < np.abs(seen_move), seen_move - paid, seen_move)
        size = np.abs(cells.ratio)
        unapplied = (np.round(size / sigma, _DECIMALS) > DIVIDEND_SIGMAS) & (
            np.minimum(np.abs(left - cells.ratio), np.abs(left + cells.ratio)) < np.abs(left)
        )
        unapplied &= np.round(np.abs(left) / sigma, _DECIMALS) > DIVIDEND_SIGMAS
    expected_move = percent(np.expm1(-cells.ratio[unapplied]))
    real_move = percent(np.expm1(returns.plain[t, i][unapplied]))
    findings.cells(
        "split_not_applied",
        t[unapplied],
        i[unapplied],
        text("the split calls for {} %, the close moved {} %", expected_move, real_move, length=int(unapplied.sum())),
    )
    _mark_actions(findings, cells, unapplied, "split_not_applied", ("split",))

    verdict = dividend_verdict(np.where(unapplied, np.nan, seen_move), cells.share, sigma)
    foreign = _paid_in_another_currency(panel, cells)
    # With a split on the same day a payment that the price does not show is the split's value booked twice (DHR's
    # spin-off of 2016-07-05), not a payment in another unit.
    verdict = np.where((cells.ratio != 0) & (verdict == "dividend_unit"), "dividend_implausible", verdict)
    verdict = np.where(foreign, "dividend_unit", verdict)
    observed = percent(np.expm1(seen_move))
    share = percent(cells.share)
    for rule in ("dividend_implausible", "dividend_unit"):
        hit = verdict == rule
        pick = pl.Series(hit)
        why = np.where(foreign[hit], "; paid in another currency than the quote", "")
        detail = text(
            "{} % of the price, the bar moved {} % net of the market{}",
            share.filter(pick),
            observed.filter(pick),
            pl.Series(why.astype(object), dtype=pl.String),
            length=int(hit.sum()),
        )
        findings.cells(rule, t[hit], i[hit], detail)
        _mark_actions(findings, cells, hit, rule, PAYMENTS)


def dividend_verdict(move: Floats, share: Floats, sigma: Floats) -> NDArray[np.object_]:
    """What an ex-date move says of the payment: "", "dividend_implausible" or "dividend_unit".

    move: log return over the ex-date, splits undone. share: payment / price before, in the same basis. sigma: trailing
    scale of a session's return. A payment is doubted if it is no less than the price, or if it is larger than
    `DIVIDEND_SIGMAS` sigma, the move misses it by more than that, and the move is nearer to no payment than to it. It
    is in the wrong unit if a hundredth of it fits within that margin, or if it is invisible while 100 times of it is
    not, and fits within a third of the margin.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.log1p(-np.minimum(share, 0.999999))
        missed = np.abs(move - expected)
        limit = DIVIDEND_SIGMAS * sigma
        visible = np.round(np.abs(expected) - limit, _DECIMALS) > 0
        doubted = (share >= 1) | (visible & (np.round(missed - limit, _DECIMALS) > 0) & (np.abs(move) < missed))
        smaller = np.abs(move - np.log1p(-np.minimum(share / UNIT, 0.999999))) <= limit
        hundredfold = np.where(share * UNIT < 0.9, np.log1p(-np.minimum(share * UNIT, 0.9)), np.nan)
        larger = (np.abs(hundredfold) > limit) & (np.abs(move - hundredfold) <= limit / 3) & (missed > limit)
    paying = share > 0
    verdict = np.full(len(share), "", dtype=object)
    verdict[paying & doubted] = "dividend_implausible"
    verdict[paying & ((doubted & smaller) | larger)] = "dividend_unit"
    return verdict


def _paid_in_another_currency(panel: _Panel, cells: _ActionCells) -> Bools:
    foreign = np.zeros(len(cells.t), dtype=bool)
    if "currency" not in panel.actions.columns:
        return foreign
    paid_in = panel.actions["currency"].to_list()
    kind = panel.actions["kind"].to_list()
    quoted_in = panel.rows["currency"][panel.row_of[cells.t, cells.i]].to_list()
    for position, (members, quote) in enumerate(zip(cells.members, quoted_in, strict=True)):
        foreign[position] = any(
            kind[row] in PAYMENTS and None not in (paid_in[row], quote) and paid_in[row] != quote for row in members
        )
    return foreign


def _mark_actions(findings: _Findings, cells: _ActionCells, hit: Bools, rule: str, kinds: tuple[str, ...]) -> None:
    """Mark the actions of the hit bars, those whose ex-date is that very session: a later bar marks nothing earlier."""
    panel = findings.panel
    kind = panel.actions["kind"].to_list()
    for position in np.flatnonzero(hit).tolist():
        for row in cells.members[position]:
            if kind[row] in kinds and panel.action_t[row] == cells.t[position]:
                findings.action_rules.setdefault(row, []).append(rule)


def _judge_marks_of_rows(panel: _Panel, findings: _Findings, valid: Bools, returns: _Returns) -> None:
    """What the rows say of themselves: a forming bar, another currency."""
    if panel.rows["provisional"].any():
        forming = np.flatnonzero(panel.kept & panel.rows["provisional"].fill_null(False).to_numpy())
        detail = text("received before the close plus the provider's lag", length=len(forming))
        findings.cells("forming_bar", panel.row_t[forming], panel.row_i[forming], detail)
    if panel.rows["currency"].n_unique() > 1:
        names = panel.rows["currency"].fill_null("")
        codes = names.rank("dense").to_numpy().astype(np.float64)
        code = panel.dense(codes, panel.kept)
        t, i = np.nonzero(valid & (returns.previous >= 0))
        before = returns.previous[t, i]
        changed = code[t, i] != code[before, i]
        t, i, before = t[changed], i[changed], before[changed]
        detail = text("{} after {}", names[panel.row_of[t, i]], names[panel.row_of[before, i]], length=len(t))
        findings.cells("currency_change", t, i, detail)


def _judge_absence(
    panel: _Panel, findings: _Findings, listings: pl.DataFrame | None, halts: pl.DataFrame | None
) -> None:
    """Sub-classify every expected bar that is not there."""
    t, i = panel.expected_t, panel.expected_i
    null = panel.null_row[t, i]
    gone = null | (panel.row_of[t, i] < 0)
    expected, t, i, null = panel.expected.filter(pl.Series(gone)), t[gone], i[gone], null[gone]
    if not len(t):
        return
    valid = ~np.isnan(panel.price["close"])
    last = np.maximum.accumulate(np.where(valid, np.arange(panel.shape[0])[:, None], -1), axis=0)
    last_bar = np.where(t > 0, last[np.maximum(t - 1, 0), i], -1)
    covered = (last_bar >= 0) & (t - last_bar <= WINDOW)
    listed, unlisted = _inside_listing(expected, listings)
    rows = expected.select("session", "instrument_id")
    halted = np.zeros(len(t), dtype=bool)
    if halts is not None:
        known = halts.select("session", "instrument_id", pl.lit(True).alias("halted")).unique(
            ["session", "instrument_id"]
        )
        joined = rows.join(known, on=["session", "instrument_id"], how="left", maintain_order="left")
        halted |= joined["halted"].fill_null(False).to_numpy()
    at = np.maximum(last_bar, 0)
    stopped = (findings.marks[at, i] & _BIT["frozen_bar"] != 0) & (findings.marks[at, i] & _BIT["zero_volume"] != 0)
    halted |= covered & stopped
    rule = np.select(
        [null, unlisted, halted, covered | listed],
        [f"missing_session_{name}" for name in ("vendor_null", "not_listed", "halted", "absent_row")],
        default="",
    )
    hit = rule != ""
    since = pl.Series("last", np.where(covered, panel.axis[at], np.datetime64("NaT"))).cast(pl.Date)
    none = [pl.lit(None, dtype=pl.Float64).alias(name) for name in (*PRICES, "volume")]
    findings.pieces.append(
        expected.select(
            "session",
            "instrument_id",
            "ticker",
            pl.col("session").alias("bar_session"),
            pl.Series("rule", rule.astype(object), dtype=pl.String),
            pl.lit(RULES["missing_session_absent_row"].severity).alias("severity"),
            pl.format("last bar {}", since.cast(pl.String).fill_null(f"more than {WINDOW} sessions ago")).alias(
                "detail"
            ),
            *none,
            pl.lit(None, dtype=pl.String).alias("provider"),
        ).filter(pl.Series(hit))
    )


def _inside_listing(expected: pl.DataFrame, listings: pl.DataFrame | None) -> tuple[Bools, Bools]:
    """Whether each expected bar lies inside, or outside, a known listing; neither where the listing is unknown."""
    if listings is None:
        return np.zeros(expected.height, dtype=bool), np.zeros(expected.height, dtype=bool)
    spans = listings.select("instrument_id", "first", "last", pl.lit(True).alias("known"))
    joined = expected.select("session", "instrument_id").join(
        spans, on="instrument_id", how="left", maintain_order="left"
    )
    inside = (pl.col("session") >= pl.col("first").fill_null(pl.date(1, 1, 1))) & (
        pl.col("session") <= pl.col("last").fill_null(pl.date(9999, 12, 31))
    )
    known = pl.col("known").fill_null(False)
    verdict = joined.select((known & inside).alias("in"), (known & ~inside).alias("out"))
    return verdict["in"].to_numpy(), verdict["out"].to_numpy()


def _kept_bars(panel: _Panel, findings: _Findings) -> pl.DataFrame:
    """The judged rows that were kept, with their quality.

    High and low are widened to hold open and close where they miss by no more than a part in a million: the vendor's
    rounding, which a constraint would refuse. A null volume becomes zero (`zero_volume` says so).
    """
    chosen = np.flatnonzero(panel.kept & (panel.row_t >= panel.first_judged))
    marks = findings.marks[panel.row_t[chosen], panel.row_i[chosen]]
    distinct, inverse = np.unique(marks, return_inverse=True)
    names = [[name for name, bit in _BIT.items() if mark & bit] for mark in distinct]
    rank = {severity: position for position, severity in enumerate(SEVERITIES)}
    quality = [max((RULES[name].severity for name in broken), key=rank.__getitem__, default=GOOD) for broken in names]
    rules = pl.Series("rules", [",".join(broken) for broken in names], dtype=pl.String)
    return panel.rows[chosen].with_columns(
        pl.max_horizontal(*PRICES).alias("high"),
        pl.min_horizontal(*PRICES).alias("low"),
        pl.col("volume").fill_nan(None).fill_null(0),
        pl.Series("data_quality", quality, dtype=pl.String)[inverse],
        rules[inverse],
    )
