"""Named quality rules for bars shorter than a session: what is refused, what is kept and shown.

What belongs here: judging bars by themselves and beside the others of their session. What does not: daily bars
(`research/bars/quality/`), choosing between versions.

Nothing is dropped unseen: a rejected row is in the issues with its figures and the rule it broke, a suspect one is in
both. The limits were looked up in real files, and say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from trading_pipeline.research.bars.quality.rows import PRICES, Detail, row_faults, text
from trading_pipeline.research.intraday.phases import INTERVALS, length_of

Severity = Literal["rejected", "suspect"]

WICK_SHARE = 0.01
"""A wick below 1 % of the price is never stray: ordinary spreads before the open are as wide."""
WICK_RANGES = 10.0
"""Median ranges of the session's extended-hours bars that a stray wick exceeds. SPY of 2025-07-08 has a low of 579.85
at 16:45 beside prices of 620.4: 6.5 %, hundreds of median ranges; a trade reported late or at an average price."""
JUMP_SHARE = 0.02
"""A move from bar to bar that needs volume to be believed."""
SETTLED = timedelta(hours=3)
"""After so long without another bar a session's volume can be judged as a whole: no live feed is that far behind."""
BASIS_SHARE = 0.005
"""Beyond the day's range by this share of it a close is not that day's: odd lots and rounding stay well within. A split
of 21 for 20 on a day that moves 2 % is seen, and so are all larger ones."""
SPIKE_MEDIANS = 50.0
SPIKE_BARS = 20
"""Regular bars before one whose volume can be called a spike: openings and half-hours are lively."""

_ISSUE_COLUMNS = (
    "session", "instrument_id", "interval", "started_at", "rule", "severity", "detail",
    "open", "high", "low", "close", "volume", "provider",
)  # fmt: skip
_BAR = ["instrument_id", "provider", "interval", "started_at"]
_DAY = ["instrument_id", "provider", "interval", "session"]
_SERIES = ["instrument_id", "provider", "interval", "session", "phase"]


@dataclass(frozen=True)
class IntradayRule:
    """A rule: rejected rows are kept in the issues alone, suspect ones are kept and shown."""

    name: str
    severity: Severity
    description: str
    reason: str


_CONSTRAINT = "The numbers contradict themselves: there is nothing to compute from"
_ALL = (
    IntradayRule("null_bar", "rejected", "A price is null or not a number", _CONSTRAINT),
    IntradayRule("non_positive_price", "rejected", "A price is zero, negative or below 0.00005", _CONSTRAINT),
    IntradayRule("negative_volume", "rejected", "Volume is a negative number", _CONSTRAINT),
    IntradayRule(
        "ohlc_inconsistent",
        "rejected",
        "Open or close lies outside low to high by more than one part in a million",
        _CONSTRAINT,
    ),
    IntradayRule(
        "not_a_session", "rejected", "The exchange did not trade on that local date", "It belongs to no partition"
    ),
    IntradayRule(
        "outside_hours",
        "rejected",
        "The bar begins outside pre-market, regular hours and post-market",
        "Other venues trade then, or the clock was misread: New York times read as UTC land there",
    ),
    IntradayRule(
        "off_grid",
        "rejected",
        "The bar does not begin on a multiple of its interval",
        "Vendors send the price of this moment as a last, partial bar at an odd second: it is no bar of that length",
    ),
    IntradayRule(
        "not_begun", "rejected", "The bar begins after it was received", "The clock was misread: nobody knows it yet"
    ),
    IntradayRule(
        "duplicate_row",
        "rejected",
        "Another row tells the same bar; the one with the larger volume is kept, the later one of two alike",
        "A bar holds one row; the fuller of two is the later one",
    ),
    IntradayRule(
        "unknown_basis",
        "rejected",
        "Most regular closes of the session lie more than 0.5 % outside its daily bar",
        "A provider divides the past by a split as soon as it trades, hours before anyone tells the split: what was "
        "traded cannot be known until then, and the session is asked for again",
    ),
    IntradayRule(
        "shifted_clock",
        "suspect",
        "More volume before the open than in regular hours, seen three hours or more after the last bar",
        "New York times read as UTC put the open at 05:30; told once a session, at its first bar",
    ),
    IntradayRule(
        "stray_wick",
        "suspect",
        "An extended-hours high or low lies more than 1 % and 10 median ranges beyond open and close",
        "Trades reported late or at average prices do this; ranges are taken from open and close instead",
    ),
    IntradayRule(
        "jump_without_volume",
        "suspect",
        "A regular bar moved 2 % or more from the one before and has no volume",
        "A price that moved so far was traded: the volume or the price is wrong",
    ),
    IntradayRule(
        "volume_spike",
        "suspect",
        "A regular bar has more volume than all before it that day together, and 50 medians of them",
        "Some vendors put the running total of the day into one bar; a block trade can do it too",
    ),
)
RULES: dict[str, IntradayRule] = {rule.name: rule for rule in _ALL}
"""Every rule by name, in the order in which a row that breaks several is judged."""


class Assessment(NamedTuple):
    """The rows kept, with the columns they came with, and the issues found."""

    kept: pl.DataFrame
    issues: pl.DataFrame


def assess(bars: pl.DataFrame, daily: pl.DataFrame | None = None) -> Assessment:
    """Judge placed bars.

    bars: [session, instrument_id, provider, interval, started_at, phase, open, high, low, close, volume, known_at], as
    `placed` makes them (session and phase null where it found none), and whatever else. Rows of several receipts are
    judged together only where that is wanted: two rows of one instrument, provider, interval, start and `known_at` are
    duplicates.
    daily: [session, instrument_id, high, low] as traded, of sessions that are over; a session that is not in it may be
    in any basis. None: the bars are known to be as traded.

    kept: rows that no rejecting rule names, in their order. issues: [session, instrument_id, interval, started_at,
    rule, severity, detail, open, high, low, close, volume, provider] by start; one row a bar and rule, the first
    rejecting one alone. `session` is null where the bar belongs to none.
    """
    rows = bars.with_row_index("_row")
    numbers = {name: rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in (*PRICES, "volume")}
    found: list[tuple[str, np.ndarray, pl.Series]] = []
    refused = np.zeros(rows.height, dtype=np.bool_)

    def refuse(rule: str, mask: np.ndarray, detail: Detail) -> None:
        where = np.flatnonzero(mask & ~refused)
        refused[where] = True
        found.append((rule, where, detail(where)))

    for rule, (mask, detail) in row_faults(numbers).items():
        refuse(rule, mask, detail)
    at = pl.col("started_at").dt.strftime("%Y-%m-%d %H:%M:%S UTC")
    moments = rows.select(at).to_series().gather
    refuse("not_a_session", rows["session"].is_null().to_numpy(), moments)
    refuse("outside_hours", rows["phase"].is_null().to_numpy(), moments)
    refuse("off_grid", rows.select(_off_grid()).to_series().to_numpy(), moments)
    refuse("not_begun", (rows["started_at"] > rows["known_at"]).fill_null(False).to_numpy(), moments)
    refuse("duplicate_row", _duplicates(rows, refused), lambda row: text("another row of it is kept", length=len(row)))
    if daily is not None:
        beside = _beside(rows, refused, daily)
        refuse("unknown_basis", beside["elsewhere"].to_numpy(), beside["detail"].gather)

    sound = rows.filter(pl.Series(~refused)).sort(*_BAR, "known_at", "_row")
    marks, details = _suspicions(sound)
    for rule in marks.columns:
        where = np.flatnonzero(marks[rule].to_numpy())
        found.append((rule, sound["_row"].to_numpy()[where].astype(np.int64), details[rule].gather(where)))
    return Assessment(bars.filter(pl.Series(~refused, dtype=pl.Boolean)), _issues(rows, found))


def believed_extremes(over: list[str]) -> tuple[pl.Expr, pl.Expr]:
    """High and low without stray wicks, as expressions: of a bar with one, what open and close reached.

    over: columns that hold together the extended-hours bars whose median range is the yardstick. The caller decides
    which bars those are: none that came after the moment it looks from.
    """
    top, bottom = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close")
    limit = _wick_limit(over)
    high = pl.when(pl.col("high") - top > limit).then(top).otherwise("high")
    low = pl.when(bottom - pl.col("low") > limit).then(bottom).otherwise("low")
    return high, low


def as_bar_issues(issues: pl.DataFrame, tickers: pl.DataFrame) -> pl.DataFrame:
    """Issues in the columns of the table `bar_issues`: one row a session, instrument and rule, by these.

    tickers: [session, instrument_id, ticker]. The figures are those of the first bar at fault, the detail says how many
    there are. Issues of no session are not told there.
    """
    told = (
        issues.filter(pl.col("session").is_not_null())
        .sort("session", "instrument_id", "rule", "started_at", "interval")
        .group_by("session", "instrument_id", "rule", maintain_order=True)
        .agg(
            pl.col("severity", "detail", *PRICES, "volume", "provider").first(),
            first=pl.col("started_at").first().dt.strftime("%H:%M:%S UTC"),
            interval=pl.col("interval").first(),
            count=pl.len(),
        )
    )
    names = tickers.select("session", "instrument_id", "ticker").unique(["session", "instrument_id"])
    return told.join(names, on=["session", "instrument_id"], how="inner", maintain_order="left").select(
        "session",
        "instrument_id",
        "ticker",
        pl.col("session").alias("bar_session"),
        "rule",
        "severity",
        pl.format("{} bars, the first of {} at {}: {}", "count", "interval", "first", "detail").alias("detail"),
        *PRICES,
        "volume",
        "provider",
    )


def _off_grid() -> pl.Expr:
    start = pl.col("started_at")
    of_interval = pl.any_horizontal(
        (pl.col("interval") == name) & (start.dt.truncate(length) != start) for name, length in INTERVALS.items()
    )
    return of_interval | ~pl.col("interval").is_in(list(INTERVALS))


def _duplicates(rows: pl.DataFrame, refused: np.ndarray) -> np.ndarray:
    """Rows beside which another of the same bar and receipt is better: larger volume, or later in the frame."""
    sound = rows.filter(pl.Series(~refused, dtype=pl.Boolean))
    key = [*_BAR, "known_at"]
    mask = np.zeros(rows.height, dtype=np.bool_)
    if sound.select(key).is_duplicated().any():
        best = sound.sort(*key, pl.col("volume").fill_null(-1.0), "_row").unique(key, keep="last")
        mask[sound["_row"].to_numpy()] = True
        mask[best["_row"].to_numpy()] = False
    return mask


def _beside(rows: pl.DataFrame, refused: np.ndarray, daily: pl.DataFrame) -> pl.DataFrame:
    """[elsewhere, detail], a row a bar: whether most regular closes of its session are no prices of its daily bar."""
    close = pl.col("close")
    outside = (close > pl.col("day_high") * (1 + BASIS_SHARE)) | (close < pl.col("day_low") * (1 - BASIS_SHARE))
    days = daily.select("session", "instrument_id", day_high="high", day_low="low")
    told = (
        rows.filter(pl.Series(~refused, dtype=pl.Boolean) & (pl.col("phase") == "regular"))
        .join(days, on=["session", "instrument_id"])
        .group_by(_DAY)
        .agg(
            elsewhere=outside.mean() > 0.5,
            middle=close.median(),
            high=pl.col("day_high").first(),
            low=pl.col("day_low").first(),
        )
    )
    detail = pl.format(
        "closes around {} beside a daily bar of {} to {}",
        *(pl.col(name).round(4) for name in ("middle", "low", "high")),
    )
    told = told.select(*_DAY, "elsewhere", detail=detail)
    joined = rows.select(_DAY).join(told, on=_DAY, how="left", maintain_order="left")
    return joined.select(pl.col("elsewhere").fill_null(value=False), "detail")


def _wick_limit(over: list[str]) -> pl.Expr:
    span = pl.when(pl.col("phase") != "regular").then(pl.col("high") - pl.col("low"))
    limit = pl.max_horizontal(WICK_SHARE * pl.col("close"), WICK_RANGES * span.median().over(over))
    return pl.when(pl.col("phase") != "regular").then(limit).otherwise(float("inf"))


def _suspicions(sound: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Masks and details of the rules that compare a bar with others, a column a rule, over rows sorted by bar."""
    top, bottom = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close")
    wick = pl.max_horizontal(pl.col("high") - top, bottom - pl.col("low"))
    regular = pl.col("phase") == "regular"
    before = pl.col("close").shift(1).over(_SERIES)
    near = pl.col("started_at") - pl.col("started_at").shift(1).over(_SERIES) <= 2 * length_of(pl.col("interval"))
    move = pl.col("close") / before - 1
    volume = pl.col("volume").fill_null(0.0)
    earlier = volume.cum_sum().over(_SERIES) - volume
    count = pl.int_range(pl.len()).over(_SERIES)
    # Median of the whole day's bars: a spike does not move it, and the day is over when this is judged or soon will be.
    median = volume.median().over(_SERIES)
    of_day = {phase: volume.filter(pl.col("phase") == phase).sum().over(_DAY) for phase in ("pre", "regular")}
    settled = pl.col("known_at").max().over(_DAY) - pl.col("started_at").max().over(_DAY) >= SETTLED
    first = pl.int_range(pl.len()).over(_DAY) == 0
    shifted = first & settled & (of_day["regular"] > 0) & (of_day["pre"] > of_day["regular"])
    marks = sound.select(
        shifted_clock=shifted,
        stray_wick=wick > _wick_limit(_DAY),
        jump_without_volume=regular & near & (move.abs() >= JUMP_SHARE) & (pl.col("volume") == 0),
        volume_spike=regular & (count >= SPIKE_BARS) & (volume > earlier) & (volume > SPIKE_MEDIANS * median),
    ).with_columns(pl.all().fill_null(False))
    details = sound.select(
        shifted_clock=pl.format(
            "volume {} before the open, {} in regular hours",
            *(of_day[phase].cast(pl.Int64, strict=False) for phase in ("pre", "regular")),
        ),
        stray_wick=pl.format(
            "low {} and high {} beside open {} and close {}",
            *(pl.col(name).round(4) for name in ("low", "high", "open", "close")),
        ),
        jump_without_volume=pl.format(
            "{} % from {} to {} with no volume", (100 * move).round(2), before.round(4), "close"
        ),
        volume_spike=pl.format(
            "volume {} after {} so far",
            pl.col("volume").cast(pl.Int64, strict=False),
            earlier.cast(pl.Int64, strict=False),
        ),
    )
    return marks, details


def _issues(rows: pl.DataFrame, found: list[tuple[str, np.ndarray, pl.Series]]) -> pl.DataFrame:
    parts = [
        rows[where].with_columns(
            rule=pl.lit(rule), severity=pl.lit(RULES[rule].severity), detail=details.cast(pl.String)
        )
        for rule, where, details in found
        if len(where)
    ]
    if not parts:
        empty = rows.clear().with_columns(
            *(pl.lit(None, pl.String).alias(name) for name in ("rule", "severity", "detail"))
        )
        return empty.select(_ISSUE_COLUMNS)
    return pl.concat(parts).select(_ISSUE_COLUMNS).sort("started_at", "instrument_id", "interval", "provider", "rule")
