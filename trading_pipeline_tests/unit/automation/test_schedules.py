"""What the wall clock starts, and what it does not: a Friday, a weekend, a holiday, half-days, both clock changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from trading_pipeline.automation import schedules
from trading_pipeline.definitions import build_definitions
from trading_pipeline.markets import ASX, MARKETS, US, Market
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import load_settings

NEW_YORK = ZoneInfo("America/New_York")
SYDNEY = ZoneInfo("Australia/Sydney")


Tick = Callable[[dg.ScheduleDefinition, datetime], dg.RunRequest | dg.SkipReason]


@pytest.fixture(scope="module")
def tick() -> Tick:
    """What a schedule answers at a moment, as Dagster evaluates it: a partition that is not there is an error."""
    repository = build_definitions(load_settings()).get_repository_def()

    def answer(schedule: dg.ScheduleDefinition, moment: datetime) -> dg.RunRequest | dg.SkipReason:
        context = dg.build_schedule_context(scheduled_execution_time=moment, repository_def=repository)
        data = schedule.evaluate_tick(context)
        if data.run_requests:
            (request,) = data.run_requests
            return request
        return dg.SkipReason(data.skip_message)

    return answer


@pytest.mark.parametrize(
    ("market", "moment", "session"),
    [
        (US, datetime(2026, 11, 20, 18, tzinfo=NEW_YORK), "2026-11-20"),  # a Friday
        (US, datetime(2026, 11, 27, 18, tzinfo=NEW_YORK), "2026-11-27"),  # a half-day, closed since 13:00
        (US, datetime(2026, 3, 9, 18, tzinfo=NEW_YORK), "2026-03-09"),  # the first session of summer time
        (US, datetime(2026, 11, 2, 18, tzinfo=NEW_YORK), "2026-11-02"),  # the first of winter time
        (ASX, datetime(2026, 10, 6, 18, tzinfo=SYDNEY), "2026-10-06"),  # Sydney's summer time begins
        (ASX, datetime(2026, 4, 7, 18, tzinfo=SYDNEY), "2026-04-07"),  # and ends
        (ASX, datetime(2026, 12, 24, 18, tzinfo=SYDNEY), "2026-12-24"),  # a half-day, closed since 14:10
    ],
)
def test_a_session_is_asked_for_by_name(tick: Tick, market: Market, moment: datetime, session: str) -> None:
    request = tick(schedules.end_of_day(market), moment)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == session
    assert request.run_key == f"{market.name}/{session}"


@pytest.mark.parametrize(
    ("market", "moment", "why"),
    [
        (US, datetime(2026, 11, 21, 18, tzinfo=NEW_YORK), "XNYS does not trade on Saturday 21 November 2026."),
        (US, datetime(2026, 11, 22, 18, tzinfo=NEW_YORK), "does not trade on Sunday"),
        (US, datetime(2026, 11, 26, 18, tzinfo=NEW_YORK), "does not trade on Thursday 26 November"),  # Thanksgiving
        (US, datetime(2026, 3, 8, 18, tzinfo=NEW_YORK), "does not trade on Sunday"),  # the clock changes
        (US, datetime(2026, 11, 1, 18, tzinfo=NEW_YORK), "does not trade on Sunday"),  # and back
        (ASX, datetime(2026, 10, 4, 18, tzinfo=SYDNEY), "does not trade on Sunday"),
        (ASX, datetime(2026, 1, 26, 18, tzinfo=SYDNEY), "does not trade on Monday 26 January"),  # Australia Day
    ],
)
def test_a_closed_day_is_skipped_with_its_reason(tick: Tick, market: Market, moment: datetime, why: str) -> None:
    """Never a run for a session of the future, which is what `end_offset=1` would open."""
    answer = tick(schedules.end_of_day(market), moment)
    assert isinstance(answer, dg.SkipReason)
    assert why in str(answer.skip_message)


@pytest.mark.parametrize("market", MARKETS.values(), ids=lambda market: market.name)
def test_a_year_of_ticks_asks_for_each_session_once(tick: Tick, market: Market) -> None:
    """Through every weekend, holiday, half-day and clock change of 2025."""
    exchange = calendar(market.exchange)
    schedule = schedules.end_of_day(market)
    moments = [datetime.combine(day, datetime.min.time(), exchange.timezone).replace(hour=18) for day in _days(2025)]
    asked = [answer.partition_key for moment in moments if isinstance(answer := tick(schedule, moment), dg.RunRequest)]
    assert asked == [day.isoformat() for day in exchange.between(date(2025, 1, 1), date(2025, 12, 31))]


def test_the_lag_of_the_providers_holds_a_late_close_back(tick: Tick) -> None:
    """A tick before the close plus the lag waits: the bars are still forming."""
    answer = tick(schedules.end_of_day(US), datetime(2026, 11, 20, 17, tzinfo=NEW_YORK))
    assert isinstance(answer, dg.SkipReason)
    assert "not final before 22:30 UTC" in str(answer.skip_message)


def test_sunday_looks_back_on_the_weeks_last_session(tick: Tick) -> None:
    """Also where Friday was a holiday."""
    for sunday, session in ((22, "2026-11-20"), (29, "2026-11-27")):
        request = tick(schedules.market_week(US), datetime(2026, 11, sunday, 12, tzinfo=NEW_YORK))
        assert isinstance(request, dg.RunRequest)
        assert request.partition_key == session
    request = tick(schedules.market_week(US), datetime(2026, 4, 5, 12, tzinfo=NEW_YORK))  # after Good Friday
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-04-02"


@pytest.mark.parametrize(
    ("market", "day", "at"),
    [
        (US, date(2026, 11, 20), "2026-11-20T13:30:00+00:00"),
        (US, date(2026, 11, 27), "2026-11-27T13:30:00+00:00"),  # a half-day opens as every day
        (US, date(2026, 3, 9), "2026-03-09T12:30:00+00:00"),  # summer time
        (ASX, date(2026, 10, 6), "2026-10-05T21:30:00+00:00"),
    ],
)
def test_a_session_is_prepared_an_hour_before_new_york_opens(tick: Tick, market: Market, day: date, at: str) -> None:
    schedule = schedules.premarket(market)
    moment = datetime.combine(day, market.premarket_at, calendar(market.exchange).timezone)
    assert moment.astimezone(ZoneInfo("UTC")).isoformat() == at
    assert schedule.cron_schedule == "30 8 * * *"
    request = tick(schedule, moment)
    assert isinstance(request, dg.RunRequest)
    assert (request.partition_key, request.run_key) == (day.isoformat(), f"{market.name}/premarket/{day}")


def test_minutes_are_received_after_the_post_market(tick: Tick) -> None:
    request = tick(schedules.minutes(US), datetime(2026, 11, 20, 20, 30, tzinfo=NEW_YORK))
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-11-20"


@pytest.mark.parametrize("make", [schedules.premarket, schedules.minutes, schedules.live])
@pytest.mark.parametrize("day", [21, 22, 26])  # a weekend, Thanksgiving
def test_nothing_is_prepared_for_a_closed_day(tick: Tick, make: Callable[..., dg.ScheduleDefinition], day: int) -> None:
    answer = tick(make(US), datetime(2026, 11, day, 8, 30, tzinfo=NEW_YORK))
    assert isinstance(answer, dg.SkipReason)
    assert "does not trade" in str(answer.skip_message)


def test_the_runs_of_a_session_have_keys_of_their_own(tick: Tick) -> None:
    """Dagster starts one run a key: two schedules with the same one would leave the later run out."""
    made = [make(US) for make in (schedules.end_of_day, schedules.premarket, schedules.minutes, schedules.live)]
    asked = [tick(schedule, datetime(2026, 11, 20, 20, 30, tzinfo=NEW_YORK)) for schedule in made]
    keys = [request.run_key for request in asked if isinstance(request, dg.RunRequest)]
    assert keys == ["us/2026-11-20", *(f"us/{kind}/2026-11-20" for kind in ("premarket", "minutes", "live"))]


def _days(year: int) -> list[date]:
    first = date(year, 1, 1).toordinal()
    return [date.fromordinal(day) for day in range(first, date(year + 1, 1, 1).toordinal())]
