"""The one way to read bars: as of a moment, on a clock, adjusted by the actions visible then.

What belongs here: choosing the versions of bars and actions that were visible. What does not: the arithmetic of
adjustment (`research/bars/adjustment.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Literal, TypeAlias

import polars as pl

from trading_pipeline.errors import InputRefused
from trading_pipeline.research.bars.adjustment import How
from trading_pipeline.research.bars.adjustment import adjust as adjusted
from trading_pipeline.storage.lake import Lake
from trading_pipeline.storage.versions import aware
from trading_pipeline.tables import CORPORATE_ACTIONS, DAILY_BARS, MOMENT

Clock: TypeAlias = Literal["available", "known"]

_CLOCKS = {"available": "available_at", "known": "known_at"}
_HOW = ("none", "splits", "total_return")


def bars(
    lake: Lake,
    market: str,
    sessions: Sequence[date],
    *,
    as_of: datetime,
    adjust: How = "none",
    clock: Clock = "available",
    instruments: Sequence[str] | None = None,
    include_bad: bool = False,
) -> pl.DataFrame:
    """The bars of `sessions` as they stood at `as_of`: the columns of `daily_bars`, one row an instrument and session.

    as_of: zone-aware; `InputRefused` otherwise. clock: `available`, what the public could know, so that a fresh
    install can look at 2020; `known`, what we had received. adjust: `none` as traded; `splits`; `total_return` (splits,
    dividends and capital gains), by the actions visible on the same clock, each instrument's last bar of the range left
    as traded, volume adjusted for splits. instruments: ids to keep, None for all. Bad bars are left out unless
    `include_bad`; suspect ones are in. Rows come in no particular order.
    """
    moment = aware(as_of)
    if clock not in _CLOCKS or adjust not in _HOW:
        raise InputRefused(
            f"There is no clock {clock!r} or no adjustment {adjust!r}",
            f"Clocks: {', '.join(_CLOCKS)}; adjustments: {', '.join(_HOW)}",
        )
    if not sessions:
        return DAILY_BARS.empty()
    first, last = min(sessions), max(sessions)
    visible = _visible(moment, _CLOCKS[clock])
    among = None if instruments is None else pl.col("instrument_id").is_in(list(instruments))
    asked = pl.col("session").is_in(pl.Series(sorted(set(sessions)), dtype=pl.Date).implode())
    wanted = visible & asked if include_bad else visible & asked & (pl.col("data_quality") != "bad")
    rows = lake.read(market, DAILY_BARS, first, last, predicate=among)
    # Mostly every row is wanted: looking first saves the copy that filtering makes, half the time of reading.
    mask = rows.select(wanted).to_series()
    if not mask.all():
        rows = rows.filter(mask)
    if adjust == "none":
        return rows
    actions = lake.read(market, CORPORATE_ACTIONS, first, last, predicate=visible if among is None else visible & among)
    return adjusted(rows, actions, adjust)


def _visible(as_of: datetime, clock: str) -> pl.Expr:
    """The version in force at that moment: visible by then and not yet followed by another."""
    moment = pl.lit(as_of.astimezone(UTC), MOMENT)
    return (pl.col(clock) <= moment) & (pl.col("superseded_at").is_null() | (pl.col("superseded_at") > moment))
