"""The health of the day's feed: how fresh its bars were, when entries were not allowed and why, missing ticks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from trading_pipeline.reports.trading_day.day import TradingDay

STALE = timedelta(seconds=90)
"""Age of the newest bar from which the loop calls its feed stale."""
MISSING = "no tick was made"


@dataclass(frozen=True)
class Span:
    """Time in which no entry could be made."""

    start: datetime
    end: datetime
    why: str

    @property
    def minutes(self) -> int:
        """Its length, rounded."""
        return round((self.end - self.start) / timedelta(minutes=1))


@dataclass(frozen=True)
class Feed:
    """ticks, expected: made, and on the grid from open to close. stale: minutes whose newest bar was older than STALE.

    worst: the most names without a fresh bar at one tick, of `symbols`; worst_at: when. spans: when no entry could be
    made, missing ticks included. slowest, usual: milliseconds of computing, the largest and the median; None: unknown.
    """

    ticks: int
    expected: int
    stale: int
    worst: int
    worst_at: datetime | None
    symbols: int
    spans: tuple[Span, ...]
    slowest: float | None
    usual: float | None

    @property
    def missing(self) -> int:
        """Ticks that were not made."""
        return max(self.expected - self.ticks, 0)


def feed(day: TradingDay) -> Feed:
    """How the feed of the day was."""
    ticks = day.live_ticks.sort("tick_at")
    opens, closes = day.hours
    step = day.step
    behind = ticks.with_columns(lacking=pl.col("symbols") - pl.col("fresh"))
    worst = behind.sort("lacking", "tick_at", descending=[True, False]).head(1)
    lacking = int(worst["lacking"][0]) if worst.height else 0
    stale = ticks.filter((pl.col("tick_at") - pl.col("newest_bar_at")) > STALE).height
    took = ticks["compute_ms"].drop_nulls()
    return Feed(
        ticks=ticks.height,
        expected=(closes - opens) // step,
        stale=round(stale * step / timedelta(minutes=1)),
        worst=lacking,
        worst_at=worst["tick_at"][0] if lacking else None,
        symbols=max(ticks["symbols"].to_list(), default=0),
        spans=tuple(_spans(ticks, opens, closes, step)),
        slowest=float(took.max()) if took.len() else None,  # type: ignore[arg-type]
        usual=float(took.median()) if took.len() else None,  # type: ignore[arg-type]
    )


def _spans(ticks: pl.DataFrame, opens: datetime, closes: datetime, step: timedelta) -> list[Span]:
    """Neighbouring ticks with one reason as one span; each tick stands for the time until the next one is due."""
    found: list[Span] = []

    def add(start: datetime, end: datetime, why: str) -> None:
        end = min(end, closes)
        if end <= start:
            return
        if found and found[-1].why == why and found[-1].end == start:
            found[-1] = Span(found[-1].start, end, why)
        else:
            found.append(Span(start, end, why))

    due = opens + step
    for at, allowed, why in ticks.select("tick_at", "entries_allowed", "why_not").iter_rows():
        add(due, at, MISSING)
        if not allowed:
            add(at, at + step, why or "no reason was given")
        due = at + step
    if ticks.height:
        add(due, closes, MISSING)
    return found
