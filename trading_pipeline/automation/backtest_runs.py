"""When backtests are computed: jobs, the nightly schedules, and the sensor that knows the configurations.

What belongs here: partitions of configurations and of sweep parts, and what is asked for when. What does not: what a
configuration may say, and what is computed of it (`backtesting/`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from functools import cache
from typing import TYPE_CHECKING, Any

import dagster as dg

from trading_pipeline.assets.backtests import GROUP, configurations, sweep_parts
from trading_pipeline.assets.common import key_of
from trading_pipeline.automation.jobs import MARTS, backtest_marts
from trading_pipeline.backtesting.configurations import Found, found
from trading_pipeline.backtesting.sweeps import parts_of
from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import (
    BACKTESTS,
    DAILY_BARS,
    MONTE_CARLO,
    PARAMETER_SWEEPS,
    STRATEGY_COMPARISON,
    WALK_FORWARD,
)
from trading_pipeline.world import World

if TYPE_CHECKING:
    from trading_pipeline.research.backtest import Configuration

SWEEPS_NIGHTLY = "30 21 * * *"
NIGHTLY = "0 22 * * *"
PARTITION = "dagster/partition"
LEADERBOARD = dg.AssetKey([MARTS, "strategy_leaderboard"])


def backtests_name(market: Market) -> str:
    """Name of the job that computes the results of one configuration."""
    return f"{market.name}_backtests"


def sweeps_name(market: Market) -> str:
    """Name of the job that computes one part of a sweep."""
    return f"{market.name}_sweeps"


def comparison_name(market: Market) -> str:
    """Name of the job that compares the configurations and ranks them."""
    return f"{market.name}_strategy_comparison"


@cache
def jobs(market: Market) -> tuple[Any, ...]:
    """The backtest jobs of a market; the same objects each time, for Dagster takes two of one name for two jobs."""
    sweeps = dg.AssetSelection.assets(key_of(market, PARAMETER_SWEEPS.name))
    comparison = dg.AssetSelection.assets(key_of(market, STRATEGY_COMPARISON.name))
    group = dg.AssetSelection.key_prefixes([market.name]) & dg.AssetSelection.groups(GROUP)
    return (
        dg.define_asset_job(
            backtests_name(market),
            selection=group - sweeps - comparison,
            description="One configuration: its backtest, walk-forward, Monte Carlo and page.",
        ),
        dg.define_asset_job(sweeps_name(market), selection=sweeps, description="One part of a parameter sweep."),
        dg.define_asset_job(
            comparison_name(market),
            selection=comparison | backtest_marts(),
            description="All configurations side by side, and ranked.",
        ),
    )


def runs_of(market: Market, configuration: Configuration) -> list[tuple[str, str]]:
    """Job and partition of each run that a configuration takes, its sweep first: the page shows the sweep's map."""
    return [
        *((sweeps_name(market), part) for part in parts_of(configuration)),
        (backtests_name(market), configuration.name),
    ]


def succeeded(instance: dg.DagsterInstance, job: str, partition: str) -> bool:
    """Whether the last run of a job for a partition ended well, whoever started it."""
    last = instance.get_run_records(dg.RunsFilter(job_name=job, tags={PARTITION: partition}), limit=1)
    return bool(last) and last[0].dagster_run.status is dg.DagsterRunStatus.SUCCESS


def registered(instance: dg.DagsterInstance, market: Market, told: Found) -> dict[str, Configuration]:
    """Make the partitions those of the configurations there are; the configurations of the market, by name.

    A partition whose file is gone, or cannot be used, goes too; what was computed of it stays in the tables.
    """
    own = told.of(market)
    for partitions, keys in (
        (configurations(market), list(own)),
        (sweep_parts(market), [part for each in own.values() for part in parts_of(each)]),
    ):
        assert partitions.name is not None
        there = instance.get_dynamic_partitions(partitions.name)
        if new := [key for key in keys if key not in there]:
            instance.add_dynamic_partitions(partitions.name, new)
        for gone in set(there) - set(keys):
            instance.delete_dynamic_partition(partitions.name, gone)
    return own


def sensor(
    market: Market, open_world: Callable[[], World], status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED
) -> dg.SensorDefinition:
    """Registers each configuration file as a partition, once there are bars enough for it, and asks for the result of
    each that is new or was changed."""

    @dg.sensor(
        name=f"{market.name}_configurations",
        jobs=[*jobs(market)[:2]],
        minimum_interval_seconds=60,
        default_status=status,
        description="Backtest configurations: a file that is added or changed is registered and backtested.",
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        from trading_pipeline.automation.sensors import request_of

        world = open_world()
        try:
            sessions, now = world.lake.sessions(market.name, DAILY_BARS), world.now()
            told = found(world.settings).with_bars(market, sessions)
            own = registered(context.instance, market, told)
        finally:
            world.close()
        for fault in told.faults:
            context.log.warning(fault)
        if not sessions:
            return dg.SensorResult(skip_reason=_skipped("There are no bars yet to backtest on.", told))
        seen: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        now_told = {name: _fingerprint(each) for name, each in own.items()}
        cursor, requests = json.dumps(now_told), []
        for name, each in own.items():
            if seen.get(name) == now_told[name]:
                continue
            wanted = f"{market.name}/backtest/{name}"
            requests += [
                request_of(f"{wanted}/{key}" if key != name else wanted, now, job_name=job, partition_key=key)
                for job, key in runs_of(market, each)
            ]
        if not requests:
            return dg.SensorResult(skip_reason=_skipped("No configuration is new or changed.", told), cursor=cursor)
        return dg.SensorResult(requests, cursor=cursor)

    return tick


def _fingerprint(configuration: Configuration) -> str:
    """Of all that is worth a new result: what decides it, its title, the parts of its sweep."""
    return f"{configuration.hash} {len(parts_of(configuration))} {configuration.title}"


def _skipped(reason: str, told: Found) -> dg.SkipReason:
    waiting = f" Waiting: {'; '.join(f'{name}: {why}' for name, why in told.waiting.items())}." if told.waiting else ""
    faults = f" {len(told.faults)} cannot be used: {'; '.join(told.faults)}" if told.faults else ""
    return dg.SkipReason(reason + waiting + faults)


def schedules(
    market: Market, status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.STOPPED
) -> list[dg.ScheduleDefinition]:
    """Every configuration and every part of a sweep, whole, after each session."""
    return [
        _nightly(market, "backtests", backtests_name(market), configurations(market), NIGHTLY, status),
        _nightly(market, "sweeps", sweeps_name(market), sweep_parts(market), SWEEPS_NIGHTLY, status),
    ]


def _nightly(
    market: Market,
    what: str,
    job: str,
    partitions: dg.DynamicPartitionsDefinition,
    cron: str,
    status: dg.DefaultScheduleStatus,
) -> dg.ScheduleDefinition:
    exchange = calendar(market.exchange)

    @dg.schedule(
        name=f"{market.name}_{what}",
        job_name=job,
        cron_schedule=cron,
        execution_timezone=str(exchange.timezone),
        default_status=status,
        description=f"After every {market.exchange} session: all {what} computed anew, whole.",
    )
    def tick(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        day = exchange.local_date(context.scheduled_execution_time)
        if not exchange.is_session(day):
            return dg.SkipReason(f"{market.exchange} does not trade on {day:%A %d %B %Y}.")
        keys = partitions.get_partition_keys(dynamic_partitions_store=context.instance)
        if not keys:
            return dg.SkipReason("None is registered: the sensor of configurations does, once there are bars for it.")
        return [dg.RunRequest(run_key=f"{market.name}/{what}/{key}/{day}", partition_key=key) for key in keys]

    return tick


def comparisons(running: Collection[str]) -> dg.AutomationConditionSensorDefinition:
    """Compares the configurations and ranks them once their results are there."""
    compared = dg.AssetSelection.assets(*(key_of(market, STRATEGY_COMPARISON.name) for market in MARKETS.values()))
    return dg.AutomationConditionSensorDefinition(
        name="strategy_comparisons",
        target=compared | backtest_marts(),
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description="All configurations side by side and ranked, once a result is new and none is being computed.",
    )


def overdue(instance: dg.DagsterInstance, market: Market) -> bool:
    """Whether a result of the market is newer than their comparison or the leaderboard."""
    results = [key_of(market, table.name) for table in (BACKTESTS, WALK_FORWARD, MONTE_CARLO)]
    of_all = [key_of(market, STRATEGY_COMPARISON.name), LEADERBOARD]
    made = {
        record.asset_entry.asset_key: record.asset_entry.last_materialization_storage_id or 0
        for record in instance.get_asset_records([*results, *of_all])
    }
    return max(made.get(key, 0) for key in results) > min(made.get(key, 0) for key in of_all)
