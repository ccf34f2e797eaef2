"""What a question about sessions means, and what an answer may hold: shared by all providers of intraday bars."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from trading_pipeline.errors import LiveOnly, UnknownSession
from trading_pipeline.markets import ASX, US
from trading_pipeline.providers.intraday import INTRADAY_SCHEMA
from trading_pipeline.providers.intraday_answers import (
    Span,
    of_sessions,
    off_grid,
    spans_of,
    told_once,
    traded,
    unknown_outside_hours,
    within_reach,
)

LATER = datetime(2030, 1, 1, tzinfo=UTC)


def at(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)  # type: ignore[arg-type]


def rows(*starts: datetime, symbol="A", price: float | None = 1.0, volume: float | None = 5.0) -> pl.DataFrame:
    return pl.DataFrame(
        [(symbol, start, price, price, price, price, volume) for start in starts], schema=INTRADAY_SCHEMA, orient="row"
    )


def test_neighbouring_sessions_are_one_span_from_midnight_to_midnight():
    monday, friday = date(2025, 7, 7), date(2025, 7, 11)
    days = [monday + timedelta(days=day) for day in range(5)]
    assert spans_of(US, days, now=LATER) == [Span(at(2025, 7, 7, 4), at(2025, 7, 12, 4))]
    assert spans_of(US, [friday, monday], now=LATER) == [
        Span(at(2025, 7, 7, 4), at(2025, 7, 8, 4)),
        Span(at(2025, 7, 11, 4), at(2025, 7, 12, 4)),
    ]


def test_a_weekend_lies_inside_a_span_and_a_change_of_the_clock_too():
    assert spans_of(US, [date(2025, 3, 7), date(2025, 3, 10)], now=LATER) == [
        Span(at(2025, 3, 7, 5), at(2025, 3, 11, 4))
    ]


def test_no_span_is_longer_than_a_request_may_be():
    days = [day for day in (date(2025, 7, 7) + timedelta(days=n) for n in range(19)) if day.weekday() < 5]
    spans = spans_of(US, days, now=LATER, longest=timedelta(days=7))
    assert all(span.end - span.start <= timedelta(days=7) for span in spans)
    assert [(span.start.day, span.end.day) for span in spans] == [(7, 12), (14, 19), (21, 26)]


def test_nothing_before_since_or_after_now_is_asked_for():
    day = date(2025, 7, 8)
    since, now = at(2025, 7, 8, 14), at(2025, 7, 8, 15)
    assert spans_of(US, [day], now=now, since=since) == [Span(since, now)]
    assert spans_of(US, [day], now=at(2025, 7, 8, 1)) == []


def test_a_closed_day_is_refused():
    with pytest.raises(UnknownSession, match="holiday"):
        spans_of(US, [date(2025, 7, 4)], now=LATER)


def test_a_session_belongs_to_the_exchanges_date():
    sydney_open = at(2025, 7, 8, 23, 59)
    assert of_sessions(rows(sydney_open), ASX, [date(2025, 7, 9)], None).height == 1
    assert of_sessions(rows(sydney_open), US, [date(2025, 7, 8)], None).height == 1
    assert of_sessions(rows(at(2025, 7, 9, 0)), US, [date(2025, 7, 8)], at(2025, 7, 9, 0)).height == 1
    assert of_sessions(rows(at(2025, 7, 9, 0)), US, [date(2025, 7, 8)], at(2025, 7, 9, 1)).is_empty()


def test_what_is_further_back_than_the_reach_is_live_only():
    now, reach = at(2025, 7, 31, 12), timedelta(days=29)
    within_reach("It", reach, US, [date(2025, 7, 3)], "1m", now=now)
    with pytest.raises(LiveOnly, match=r"bars of 1m for 29 days, and 2025-07-02 is further back.*from 2025-07-03 on"):
        within_reach("It", reach, US, [date(2025, 7, 2), date(2025, 7, 30)], "1m", now=now)
    within_reach("It", reach, US, [date(2025, 7, 2)], "1m", now=now, since=at(2025, 7, 2, 13))
    within_reach("It", None, US, [date(2020, 7, 2)], "1m", now=now)


def test_a_zero_volume_is_unknown_outside_regular_hours_alone():
    starts = [at(2025, 7, 3, *clock) for clock in ((13, 29), (13, 30), (16, 59), (17, 0), (18, 0))]  # a half-day
    told = unknown_outside_hours(rows(*starts, volume=0.0), US)
    assert told["volume"].to_list() == [None, 0.0, 0.0, None, None]
    assert unknown_outside_hours(rows(*starts), US)["volume"].to_list() == [5.0] * 5
    assert unknown_outside_hours(rows(at(2025, 7, 4, 14), volume=0.0), US)["volume"].to_list() == [None]
    assert unknown_outside_hours(rows(), US).schema == INTRADAY_SCHEMA


def test_a_minute_without_a_trade_is_no_bar_and_a_bar_of_nulls_is_one():
    start = at(2025, 7, 8, 14)
    assert traded(rows(start, price=None, volume=None)).is_empty()
    assert traded(rows(start, price=None, volume=0.0)).is_empty()
    assert traded(rows(start, price=None, volume=7.0)).height == 1


def test_further_rows_of_a_bar_are_told_apart_and_kept():
    first, second = at(2025, 7, 8, 14), at(2025, 7, 8, 14, 1)
    bars, again = told_once(pl.concat([rows(second, first), rows(first, price=2.0)]))
    assert bars["started_at"].to_list() == [first, second] and bars["open"].to_list() == [1.0, 1.0]
    assert again.select("started_at", "open").rows() == [(first, 2.0)]


def test_the_grid_is_that_of_the_interval():
    told = rows(at(2025, 7, 8, 14, 5), at(2025, 7, 8, 14, 6), at(2025, 7, 8, 14, 6, 1))
    flags = {interval: told.select(off_grid(interval)).to_series().to_list() for interval in ("1m", "5m", "15m")}
    assert flags == {"1m": [False, False, True], "5m": [False, True, True], "15m": [True, True, True]}
