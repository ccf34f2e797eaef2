"""The nights on which everything is backtested anew: after each session, and on no other day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from trading_pipeline.assets.backtests import configurations, sweep_parts
from trading_pipeline.automation import backtest_runs
from trading_pipeline.definitions import build_definitions
from trading_pipeline.markets import ASX, MARKETS, US, Market
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import load_settings

NEW_YORK = ZoneInfo("America/New_York")
SYDNEY = ZoneInfo("Australia/Sydney")
NAMES = ["mine", "momentum-hrp"]
PARTS = ["mine/1-of-2", "mine/2-of-2"]

Tick = Callable[[str, datetime], "list[dg.RunRequest] | str"]


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return build_definitions(load_settings()).get_repository_def()


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> dg.DagsterInstance:
    """An instance on which two configurations are registered in each market, one with a sweep in two parts."""
    instance = dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("home")))
    for market in MARKETS.values():
        instance.add_dynamic_partitions(str(configurations(market).name), NAMES)
        instance.add_dynamic_partitions(str(sweep_parts(market).name), PARTS)
    return instance


@pytest.fixture
def tick(repository: dg.RepositoryDefinition, instance: dg.DagsterInstance) -> Tick:
    """What a schedule asks for at a moment, or why nothing, as Dagster evaluates it."""

    def answer(name: str, moment: datetime) -> list[dg.RunRequest] | str:
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=moment, repository_def=repository
        )
        data = repository.get_schedule_def(name).evaluate_tick(context)
        return list(data.run_requests) if data.run_requests else str(data.skip_message)

    return answer


@pytest.mark.parametrize(
    ("market", "moment"),
    [
        (US, datetime(2026, 11, 20, 22, tzinfo=NEW_YORK)),  # a Friday
        (US, datetime(2026, 11, 27, 22, tzinfo=NEW_YORK)),  # a half-day
        (US, datetime(2026, 3, 9, 22, tzinfo=NEW_YORK)),  # the first session of summer time
        (US, datetime(2026, 11, 2, 22, tzinfo=NEW_YORK)),  # the first of winter time
        (ASX, datetime(2026, 10, 6, 22, tzinfo=SYDNEY)),  # Sydney's summer time begins
        (ASX, datetime(2026, 4, 7, 22, tzinfo=SYDNEY)),  # and ends
        (ASX, datetime(2026, 12, 24, 22, tzinfo=SYDNEY)),  # a half-day
    ],
)
def test_after_a_session_every_configuration_and_part_is_asked_for(
    tick: Tick, market: Market, moment: datetime
) -> None:
    day = moment.date()
    for what, keys in (("backtests", NAMES), ("sweeps", PARTS)):
        requests = tick(f"{market.name}_{what}", moment)
        assert [request.partition_key for request in requests] == keys
        assert [request.run_key for request in requests] == [f"{market.name}/{what}/{key}/{day}" for key in keys]


@pytest.mark.parametrize(
    ("market", "moment", "why"),
    [
        (US, datetime(2026, 11, 21, 22, tzinfo=NEW_YORK), "XNYS does not trade on Saturday 21 November 2026."),
        (US, datetime(2026, 11, 22, 22, tzinfo=NEW_YORK), "does not trade on Sunday"),
        (US, datetime(2026, 11, 26, 22, tzinfo=NEW_YORK), "does not trade on Thursday 26 November"),  # Thanksgiving
        (US, datetime(2026, 3, 8, 22, tzinfo=NEW_YORK), "does not trade on Sunday"),  # the clock changes
        (US, datetime(2026, 11, 1, 22, tzinfo=NEW_YORK), "does not trade on Sunday"),  # and back
        (ASX, datetime(2026, 10, 4, 22, tzinfo=SYDNEY), "does not trade on Sunday"),
        (ASX, datetime(2026, 1, 26, 22, tzinfo=SYDNEY), "does not trade on Monday 26 January"),  # Australia Day
    ],
)
def test_on_a_closed_day_nothing_is(tick: Tick, market: Market, moment: datetime, why: str) -> None:
    for what in ("backtests", "sweeps"):
        assert why in tick(f"{market.name}_{what}", moment)


def test_the_sweeps_come_before_the_pages_that_show_their_maps_and_both_after_the_bars(
    repository: dg.RepositoryDefinition,
) -> None:
    """On the exchange's own clock, which the two changes of the year do not move."""
    for market in MARKETS.values():
        names = (f"{market.name}_end_of_day", f"{market.name}_sweeps", f"{market.name}_backtests")
        schedules = [repository.get_schedule_def(name) for name in names]
        assert {schedule.execution_timezone for schedule in schedules} == {str(calendar(market.exchange).timezone)}
        minutes = [str(schedule.cron_schedule).split()[:2] for schedule in schedules]
        times = [int(hour) * 60 + int(minute) for minute, hour in minutes]
        assert times == sorted(times)


def test_where_nothing_is_registered_nothing_is_asked_for(repository: dg.RepositoryDefinition, tmp_path: Path) -> None:
    """The sensor registers a configuration once there are bars enough for it."""
    context = dg.build_schedule_context(
        instance=dg.DagsterInstance.local_temp(str(tmp_path)),
        scheduled_execution_time=datetime(2026, 11, 20, 22, tzinfo=NEW_YORK),
        repository_def=repository,
    )
    data = repository.get_schedule_def("us_backtests").evaluate_tick(context)
    assert not data.run_requests
    assert "None is registered" in str(data.skip_message)


def test_schedules_run_for_the_markets_in_the_settings(repository: dg.RepositoryDefinition) -> None:
    running = {market.name: backtest_runs.schedules(market, dg.DefaultScheduleStatus.RUNNING) for market in (US, ASX)}
    assert {each.name for each in running["us"]} == {"us_backtests", "us_sweeps"}
    status = {name: repository.get_schedule_def(f"{name}_backtests").default_status for name in MARKETS}
    assert status == {
        name: dg.DefaultScheduleStatus.RUNNING if name in load_settings().markets else dg.DefaultScheduleStatus.STOPPED
        for name in MARKETS
    }
