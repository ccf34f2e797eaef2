"""What the inputs of several pages share: the year of prices that is drawn, and the check that nothing is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Final

import polars as pl

from trading_pipeline.sessions import ExchangeCalendar

YEAR: Final = 252
AVERAGE: Final = 200
"""Sessions read before the year that is drawn, for the longest average."""


def year_of(exchange: ExchangeCalendar, session: date) -> tuple[date, Sequence[date]]:
    """(the first session of the year that ends with `session`, the sessions to read for it and its averages)."""
    first = exchange.offset(session, 1 - YEAR)
    return first, exchange.between(exchange.offset(first, -AVERAGE), session)


def averaged(prices: pl.DataFrame, since: date) -> pl.DataFrame:
    """[session, instrument_id, close, sma_50, sma_200] from `since` on, by instrument and session."""
    return (
        prices.select("session", "instrument_id", "close")
        .drop_nulls()
        .sort("instrument_id", "session")
        .with_columns(
            pl.col("close").rolling_mean(50).over("instrument_id").alias("sma_50"),
            pl.col("close").rolling_mean(AVERAGE).over("instrument_id").alias("sma_200"),
        )
        .filter(pl.col("session") >= since)
    )


def refuse_incomplete(
    page: str, frames: Iterable[tuple[str, pl.DataFrame, Sequence[str]]], moments: Mapping[str, datetime]
) -> None:
    """`ValueError` where a frame lacks columns, or a moment its time zone. frames: name, frame, columns it needs."""
    for name, frame, columns in frames:
        missing = [column for column in columns if column not in frame.columns]
        if missing:
            raise ValueError(f"the {page}'s {name} frame lacks {', '.join(missing)}")
    for name, moment in moments.items():
        if moment.tzinfo is None:
            raise ValueError(f"the {page}'s {name} is naive: {moment!r}; pass a zone-aware datetime")
