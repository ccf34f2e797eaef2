"""Which days an exchange trades: the committed tables against the library they were generated from."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from trading_pipeline.errors import UnknownName, UnknownSession
from trading_pipeline.sessions import calendar

XNYS = calendar("XNYS")
XASX = calendar("XASX")


@pytest.mark.parametrize("exchange", ["XNYS", "XASX"])
def test_the_committed_table_is_the_librarys(exchange: str) -> None:
    """Every session, open and close agrees with exchange_calendars, and the table is what the generator writes."""
    import exchange_calendars

    from trading_pipeline.calendars import generate

    ours = calendar(exchange)
    theirs = exchange_calendars.get_calendar(
        exchange, start=ours.first_session.isoformat(), end=ours.last_day.isoformat()
    )
    assert ours.sessions.tolist() == [stamp.date() for stamp in theirs.sessions]
    assert [ours.open_at(day) for day in ours.sessions.tolist()] == list(theirs.opens.dt.to_pydatetime())
    assert [ours.close_at(day) for day in ours.sessions.tolist()] == list(theirs.closes.dt.to_pydatetime())
    assert len(generate.rows(exchange)) == len(ours.holidays) + len(ours.half_days)


@pytest.mark.parametrize(
    ("day", "says"),
    [
        (date(2026, 11, 21), "2026-11-21 is a weekend on XNYS. The sessions around it are 2026-11-20 and 2026-11-23"),
        (date(2026, 11, 26), "2026-11-26 is a holiday on XNYS. The sessions around it are 2026-11-25 and 2026-11-27"),
        (date(2031, 1, 2), "lies outside the XNYS session table (2010-01-04 to 2028-12-31)"),
        (date(2009, 12, 31), "lies outside the XNYS session table"),
    ],
)
def test_a_day_without_trading_says_what_it_is(day: date, says: str) -> None:
    """A holiday, a weekend and a date beyond the table each get an answer a person can act on."""
    assert not XNYS.is_session(day)
    with pytest.raises(UnknownSession) as caught:
        XNYS.require(day)
    assert says in str(caught.value)


def test_an_unknown_exchange_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="Known: XASX, XNYS"):
        calendar("XLON")


def test_a_half_day_closes_early_and_the_next_morning_is_the_next_session() -> None:
    """The day after Thanksgiving closes at 13:00 New York."""
    friday = date(2026, 11, 27)
    assert XNYS.close_at(friday) == datetime(2026, 11, 27, 18, 0, tzinfo=UTC)
    assert XNYS.latest_closed(datetime(2026, 11, 27, 18, 0, tzinfo=UTC)) == friday
    assert XNYS.latest_closed(datetime(2026, 11, 27, 17, 59, tzinfo=UTC)) == date(2026, 11, 25)
    assert XNYS.offset(friday, 1) == date(2026, 11, 30)


@pytest.mark.parametrize(
    ("exchange", "before", "after", "shift"),
    [
        ("XNYS", date(2026, 3, 6), date(2026, 3, 9), -1),
        ("XNYS", date(2026, 10, 30), date(2026, 11, 2), 1),
        ("XASX", date(2026, 4, 2), date(2026, 4, 7), 1),
        ("XASX", date(2026, 10, 2), date(2026, 10, 6), -1),
    ],
)
def test_a_clock_change_moves_the_close_in_utc_only(exchange: str, before: date, after: date, shift: int) -> None:
    """The local close stays, its UTC hour moves with daylight saving."""
    ours = calendar(exchange)
    assert ours.close_at(after).hour - ours.close_at(before).hour == shift
    assert (
        ours.close_at(after).astimezone(ours.timezone).time() == ours.close_at(before).astimezone(ours.timezone).time()
    )


def test_a_lag_holds_the_session_back() -> None:
    close = XNYS.close_at(date(2026, 11, 20))
    assert XNYS.latest_closed(close, timedelta(minutes=90)) == date(2026, 11, 19)
    assert XNYS.latest_closed(close + timedelta(minutes=90), timedelta(minutes=90)) == date(2026, 11, 20)


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="zone-aware"):
        XNYS.latest_closed(datetime(2026, 11, 20, 18, 0))  # noqa: DTZ001


def test_many_closes_at_once_are_the_single_ones() -> None:
    days = XASX.between(date(2026, 4, 1), date(2026, 4, 30))
    many = XASX.closes(days)
    assert [moment.item().replace(tzinfo=UTC) for moment in many] == [XASX.close_at(day) for day in days]
