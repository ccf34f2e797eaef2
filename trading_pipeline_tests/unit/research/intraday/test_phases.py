"""Where a bar lies in time: session, phase, the exchange's clock, and whether it was over when received."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from trading_pipeline.research.intraday import ExtendedHours, forming, placed
from trading_pipeline.research.intraday.phases import MOMENT
from trading_pipeline.sessions import calendar
from trading_pipeline_tests.mornings import NEW_YORK, XNYS, days_of

DAYS = days_of(XNYS.between(date(2025, 2, 24), date(2025, 12, 5)))


def at(*local: str, timezone: str = NEW_YORK) -> pl.DataFrame:
    """Bars that begin at those local times."""
    moments = [datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC) for text in local]
    return pl.DataFrame({"started_at": moments}, schema={"started_at": MOMENT})


@pytest.mark.parametrize(
    ("local", "phase"),
    [
        ("2025-09-17T03:59", None),
        ("2025-09-17T04:00", "pre"),
        ("2025-09-17T09:29", "pre"),
        ("2025-09-17T09:30", "regular"),
        ("2025-09-17T15:59", "regular"),
        ("2025-09-17T16:00", "post"),
        ("2025-09-17T19:59", "post"),
        ("2025-09-17T20:00", None),
        ("2025-11-28T12:59", "regular"),
        ("2025-11-28T13:00", "post"),
        ("2025-11-28T16:59", "post"),
        ("2025-11-28T17:00", None),
        ("2025-11-27T10:00", None),
    ],
)
def test_a_moment_belongs_to_what_it_begins_and_half_days_end_early(local, phase):
    assert placed(at(local), DAYS, NEW_YORK)["phase"].to_list() == [phase]


def test_the_phases_of_a_day_stay_by_the_exchanges_clock_across_clock_changes():
    """14:00 UTC is before the open in winter and in regular hours in summer."""
    moments = ["2025-03-07T14:00", "2025-03-10T14:00", "2025-10-31T14:00", "2025-11-03T14:00"]
    bars = at(*moments, timezone="UTC")
    assert placed(bars, DAYS, NEW_YORK)["phase"].to_list() == ["pre", "regular", "regular", "pre"]


def test_the_session_is_the_exchanges_local_date_not_that_of_utc():
    bars = placed(at("2025-11-03T19:30"), DAYS, NEW_YORK)
    assert bars["started_at"].dt.date().to_list() == [date(2025, 11, 4)]
    assert (bars["session"].to_list(), bars["phase"].to_list()) == ([date(2025, 11, 3)], ["post"])


def test_a_session_of_sydney_begins_on_the_day_before_in_utc():
    xasx = calendar("XASX")
    days = pl.DataFrame(
        {
            "session": [date(2025, 11, 4)],
            "opened_at": [xasx.open_at(date(2025, 11, 4))],
            "closed_at": [xasx.close_at(date(2025, 11, 4))],
        }
    )
    bars = at("2025-11-04T10:00", "2025-11-04T16:05", timezone="Australia/Sydney")
    told = placed(bars, days, "Australia/Sydney", ExtendedHours(timedelta(), timedelta(minutes=15)))
    assert told["phase"].to_list() == ["regular", "post"]
    assert told["exchange_time"][0] == "2025-11-04T10:00:00+11:00"
    assert told["started_at"][0] == datetime(2025, 11, 3, 23, tzinfo=UTC)


def test_a_day_without_trading_has_no_session_but_keeps_its_time():
    told = placed(at("2025-11-27T10:00", "2025-11-29T10:00"), DAYS, NEW_YORK)
    assert told["session"].to_list() == [None, None]
    assert told["exchange_time"].to_list() == ["2025-11-27T10:00:00-05:00", "2025-11-29T10:00:00-05:00"]


def test_the_exchanges_clock_is_told_with_its_offset():
    told = placed(at("2025-10-31T09:30", "2025-11-03T09:30"), DAYS, NEW_YORK)
    assert told["exchange_time"].to_list() == ["2025-10-31T09:30:00-04:00", "2025-11-03T09:30:00-05:00"]


def test_rows_keep_their_order_and_other_columns_and_old_marks_are_replaced():
    bars = at("2025-09-17T16:00", "2025-09-17T04:00", "2025-09-17T16:00").with_columns(
        symbol=pl.Series(["B", "A", "A"]), phase=pl.lit("wrong")
    )
    told = placed(bars, DAYS, NEW_YORK)
    assert told["symbol"].to_list() == ["B", "A", "A"]
    assert told["phase"].to_list() == ["post", "pre", "post"]
    assert placed(bars.clear(), DAYS, NEW_YORK).is_empty()


def test_a_bar_is_forming_until_it_is_over():
    start = datetime(2025, 9, 17, 13, 30, tzinfo=UTC)
    bars = pl.DataFrame(
        {"started_at": [start] * 4, "interval": ["1m", "5m", "5m", "15m"], "seconds": [60, 299, 300, 899]}
    ).with_columns(received=pl.col("started_at") + pl.duration(seconds="seconds"))
    assert bars.select(forming(pl.col("interval"), pl.col("received"))).to_series().to_list() == [
        False, True, False, True,
    ]  # fmt: skip
