"""The watchlist: a text file, kept as dated entries, so that a past session sees the list that was in force then."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import ASX, US
from trading_pipeline.tables import RECEIVED_WATCHLIST, UNIVERSE_MEMBERS
from trading_pipeline.universes import parse_watchlist, watchlist_changes, watchlist_members

FRIDAY, MONDAY, TUESDAY = date(2024, 3, 8), date(2024, 3, 11), date(2024, 3, 12)
FRIDAY_NOON = datetime(2024, 3, 8, 17, tzinfo=UTC)
FRIDAY_EVENING = datetime(2024, 3, 8, 23, tzinfo=UTC)
MONDAY_NOON = datetime(2024, 3, 11, 16, tzinfo=UTC)


def tickers(entries: pl.DataFrame, session: date) -> list[str]:
    return watchlist_members(entries, [session], US)["ticker"].to_list()


def test_one_ticker_a_line_comments_and_blank_lines_aside() -> None:
    text = "\ufeff# mine\nAAPL\n\n  msft  # cloud\nBRK-B\nBRK.B\n^VIX\nBHP.AX\n"
    assert parse_watchlist(text, US) == ["AAPL", "MSFT", "BRK.B", "^VIX"]
    assert parse_watchlist(text, ASX) == ["BHP.AX"]
    assert parse_watchlist("", US) == []


def test_every_malformed_line_is_named_with_what_is_wrong() -> None:
    with pytest.raises(InputRefused) as refused:
        parse_watchlist("AAPL\nMSFT, NVDA\n'; DROP TABLE x\nBAD!\nAAPL;MSFT\n", US, "mine.txt")
    assert refused.value.problem == (
        "mine.txt: line 2: 'MSFT, NVDA' is more than one word; line 3: \"'; DROP TABLE x\" is more than one word; "
        "line 4: 'BAD!' is not a ticker; line 5: 'AAPL;MSFT' is more than one word"
    )


def test_a_change_is_in_force_from_the_first_session_that_had_not_closed() -> None:
    none = RECEIVED_WATCHLIST.empty()
    assert watchlist_changes(none, ["AAPL"], US, FRIDAY_NOON)["session"].to_list() == [FRIDAY]
    assert watchlist_changes(none, ["AAPL"], US, FRIDAY_EVENING)["session"].to_list() == [MONDAY]


def test_members_are_those_of_the_list_in_force() -> None:
    first = watchlist_changes(RECEIVED_WATCHLIST.empty(), ["AAPL", "FB"], US, FRIDAY_NOON)
    second = watchlist_changes(first, ["META", "NVDA"], US, FRIDAY_EVENING)
    entries = pl.concat([first, second])
    assert second.select("ticker", "listed").rows() == [("AAPL", False), ("NVDA", True)]
    assert tickers(entries, date(2024, 3, 7)) == []
    assert tickers(entries, FRIDAY) == ["AAPL", "META"]
    assert tickers(entries, MONDAY) == ["META", "NVDA"]
    assert watchlist_members(entries, [MONDAY, FRIDAY], US).height == 4


def test_reading_the_same_list_again_adds_nothing() -> None:
    entries = watchlist_changes(RECEIVED_WATCHLIST.empty(), ["AAPL", "BRK.B"], US, FRIDAY_NOON)
    assert watchlist_changes(entries, ["BRK-B", "AAPL"], US, MONDAY_NOON).is_empty()


def test_a_ticker_may_leave_return_and_the_list_become_empty() -> None:
    entries = watchlist_changes(RECEIVED_WATCHLIST.empty(), ["AAPL"], US, FRIDAY_NOON)
    for wanted, moment in ([], FRIDAY_EVENING), (["AAPL"], MONDAY_NOON), ([], datetime(2024, 3, 11, 22, tzinfo=UTC)):
        entries = pl.concat([entries, watchlist_changes(entries, wanted, US, moment)])
    assert [tickers(entries, day) for day in (FRIDAY, MONDAY, TUESDAY)] == [["AAPL"], ["AAPL"], []]


def test_rows_fit_their_tables() -> None:
    entries = watchlist_changes(RECEIVED_WATCHLIST.empty(), ["AAPL", "MSFT"], US, FRIDAY_NOON)
    assert RECEIVED_WATCHLIST.conform(entries).height == 2
    assert UNIVERSE_MEMBERS.conform(watchlist_members(entries, [FRIDAY], US)).height == 2
    assert UNIVERSE_MEMBERS.conform(watchlist_members(RECEIVED_WATCHLIST.empty(), [FRIDAY], US)).is_empty()
