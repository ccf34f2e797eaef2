"""Which versions of reference facts are new: the specification of a receipt."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from trading_pipeline.ingest_reference import ReferenceReport, no_longer_told, store, versions_to_add
from trading_pipeline.providers.base import Failure
from trading_pipeline.providers.errors import NotFound
from trading_pipeline.providers.reference import EARNINGS_SCHEMA, ReferenceBatch
from trading_pipeline.storage.lake import Lake
from trading_pipeline.tables import MOMENT, RECEIVED_EARNINGS

MONDAY = datetime(2025, 3, 3, 22, tzinfo=UTC)
TUESDAY = MONDAY + timedelta(days=1)
FRIDAY = MONDAY + timedelta(days=4)


def report(available_at: datetime, *, symbol: str = "Q1001", day: int = 24, estimate: float | None = 1.0, **other):
    return {
        "symbol": symbol,
        "report_date": date(2025, 4, day),
        "timing": "amc",
        "fiscal_period": "2025Q1",
        "eps_estimate": estimate,
        "eps_actual": None,
        "revenue_estimate": None,
        "revenue_actual": None,
        "confirmed": None,
        "available_at": available_at,
        **other,
    }


def told(*rows: dict) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=EARNINGS_SCHEMA, orient="row")


def as_received(rows: pl.DataFrame, known_at: datetime) -> pl.DataFrame:
    return rows.with_columns(
        instrument_id="us:" + pl.col("symbol"),
        provider=pl.lit("finnhub"),
        withdrawn=pl.lit(False),
        known_at=pl.lit(known_at, MOMENT),
    ).select(RECEIVED_EARNINGS.names)


def test_what_is_told_first_is_new_from_when_it_was_available():
    rows, revised = versions_to_add(
        RECEIVED_EARNINGS, RECEIVED_EARNINGS.empty(), as_received(told(report(MONDAY)), TUESDAY), TUESDAY
    )
    assert rows["available_at"].to_list() == [MONDAY]
    assert revised == 0


def test_what_says_the_same_as_the_version_in_force_adds_nothing():
    stored = as_received(told(report(MONDAY)), MONDAY)
    again = as_received(told(report(TUESDAY)), TUESDAY)
    assert versions_to_add(RECEIVED_EARNINGS, stored, again, TUESDAY)[0].is_empty()


def test_what_says_otherwise_is_a_version_of_its_own():
    stored = as_received(told(report(MONDAY)), MONDAY)
    moved = as_received(told(report(TUESDAY, day=25)), TUESDAY)
    rows, revised = versions_to_add(RECEIVED_EARNINGS, stored, moved, TUESDAY)
    assert rows["report_date"].to_list() == [date(2025, 4, 25)]
    assert rows["available_at"].to_list() == [TUESDAY]
    assert revised == 1


def test_there_and_back_again_are_two_versions():
    stored = pl.concat([as_received(told(report(MONDAY)), MONDAY), as_received(told(report(TUESDAY, day=25)), TUESDAY)])
    back = as_received(told(report(FRIDAY)), FRIDAY)
    assert versions_to_add(RECEIVED_EARNINGS, stored, back, FRIDAY)[0].height == 1


def test_a_contradiction_of_the_past_counts_from_when_we_heard_it():
    """A statement restated under its old filing date: nobody could have had the new figure then."""
    stored = as_received(told(report(MONDAY)), MONDAY)
    restated = as_received(told(report(MONDAY, estimate=2.0)), FRIDAY)
    rows, _ = versions_to_add(RECEIVED_EARNINGS, stored, restated, FRIDAY)
    assert rows["available_at"].to_list() == [FRIDAY]


def test_the_contradiction_itself_is_stored_once():
    stored = as_received(told(report(MONDAY)), MONDAY)
    restated = as_received(told(report(MONDAY, estimate=2.0)), TUESDAY)
    first, _ = versions_to_add(RECEIVED_EARNINGS, stored, restated, TUESDAY)
    again = as_received(told(report(MONDAY, estimate=2.0)), FRIDAY)
    assert versions_to_add(RECEIVED_EARNINGS, pl.concat([stored, first]), again, FRIDAY)[0].is_empty()


def test_a_history_of_versions_may_come_at_once_and_only_changes_are_kept():
    history = told(report(MONDAY), report(TUESDAY), report(FRIDAY, day=28))
    rows, revised = versions_to_add(RECEIVED_EARNINGS, RECEIVED_EARNINGS.empty(), as_received(history, FRIDAY), FRIDAY)
    assert rows["available_at"].to_list() == [MONDAY, FRIDAY]
    assert revised == 0
    assert versions_to_add(RECEIVED_EARNINGS, rows, as_received(history, FRIDAY), FRIDAY)[0].is_empty()


class TestWhatIsNoLongerTold:
    """A coming report that its provider, asked about the name, does not mention any more."""

    TODAY = date(2025, 4, 24)

    def of(self, stored: pl.DataFrame, answer: pl.DataFrame, answered=("us:Q1001",), provider="finnhub"):
        return no_longer_told(stored, answer, provider, answered, self.TODAY)["report_date"].to_list()

    def test_a_coming_report_that_is_not_mentioned(self):
        assert self.of(as_received(told(report(MONDAY, day=28)), MONDAY), told()) == [date(2025, 4, 28)]

    def test_not_one_that_is_mentioned(self):
        assert self.of(as_received(told(report(MONDAY, day=28)), MONDAY), told(report(TUESDAY, day=29))) == []

    def test_not_one_that_took_place_though_it_was_once_dated_later(self):
        """Providers that tell coming reports alone fall silent about it, and the older date is still in the future."""
        moved = [as_received(told(report(MONDAY, day=28)), MONDAY), as_received(told(report(TUESDAY, day=23)), TUESDAY)]
        assert self.of(pl.concat(moved), told()) == []

    def test_not_one_of_a_name_that_was_not_answered_or_of_another_provider(self):
        stored = as_received(told(report(MONDAY, day=28)), MONDAY)
        assert self.of(stored, told(), answered=()) == []
        assert self.of(stored, told(), provider="yahoo") == []

    def test_not_one_that_is_withdrawn_already(self):
        stored = as_received(told(report(MONDAY, day=28)), MONDAY)
        gone = stored.with_columns(withdrawn=pl.lit(True), available_at=pl.lit(TUESDAY, MOMENT))
        assert self.of(pl.concat([stored, gone]), told()) == []


@pytest.fixture
def lake(warehouse, tmp_path):
    return Lake(str(tmp_path / "lake"), warehouse)


class TestAReceipt:
    IDS = {"Q1001": "us:Q1001", "Q1002": "us:Q1002"}  # noqa: RUF012

    def receive(self, lake: Lake, batch: ReferenceBatch, now: datetime, gone: pl.DataFrame | None = None):
        counted = ReferenceReport(RECEIVED_EARNINGS.name)
        place = {"lake": lake, "market": "us", "table": RECEIVED_EARNINGS, "provider": "finnhub", "ids": self.IDS}
        store(counted, batch, now=now, gone=gone, **place)
        return counted

    def test_it_counts_what_was_asked_answered_and_failed(self, lake):
        failure = Failure("Q1002", NotFound("Q1002 is unknown to finnhub", "Check the spelling"))
        counted = self.receive(lake, ReferenceBatch(told(report(MONDAY)), [failure], 3), TUESDAY)
        assert (counted.wanted, counted.answered, counted.new, counted.http_calls) == (2, 1, 1, 3)
        assert counted.failed == {"not_found": 1}
        assert counted.coverage == 0.5
        assert counted.metadata()["failures"] == ["Q1002: Q1002 is unknown to finnhub"]

    def test_rows_of_symbols_nobody_asked_for_are_left_out(self, lake):
        self.receive(lake, ReferenceBatch(told(report(MONDAY, symbol="OTHER"))), TUESDAY)
        assert lake.read("us", RECEIVED_EARNINGS).is_empty()

    def test_receiving_twice_stores_once(self, lake):
        batch = ReferenceBatch(told(report(MONDAY)))
        self.receive(lake, batch, TUESDAY)
        assert self.receive(lake, batch, FRIDAY).unchanged == 1
        assert lake.read("us", RECEIVED_EARNINGS).height == 1

    def test_what_is_no_longer_told_is_withdrawn_and_not_erased(self, lake):
        self.receive(lake, ReferenceBatch(told(report(MONDAY))), TUESDAY)
        standing = lake.read("us", RECEIVED_EARNINGS)
        counted = self.receive(lake, ReferenceBatch(told(), answered=("Q1001",)), FRIDAY, gone=standing)
        rows = lake.read("us", RECEIVED_EARNINGS).sort("known_at")
        assert counted.withdrawn == 1
        assert rows["withdrawn"].to_list() == [False, True]
        assert rows["available_at"].to_list() == [MONDAY, FRIDAY]
