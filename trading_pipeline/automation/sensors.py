"""Sensors: what is started because something was noticed.

One recovery path each: a run requested here is never also retried by Dagster. A run key never repeats for a request that
should run again, since Dagster drops a repeated one for ever.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from trading_pipeline.assets.common import key_of
from trading_pipeline.automation import jobs
from trading_pipeline.automation.reaper import reap
from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.partitions import sessions_of
from trading_pipeline.sessions import calendar
from trading_pipeline.world import World

OpenWorld = Callable[[], World]

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
ATTEMPTS_A_DAY = 3
UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def range_tags(first: date, last: date) -> dict[str, str]:
    """Run tags that make one run of the sessions from `first` to `last`."""
    return {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}


def materialized_sessions(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[date]:
    """Sessions of which the asset has been materialized, ascending."""
    return sessions_of(list(instance.get_materialized_partitions(key)))


def missed_sessions(market: Market, materialized: Sequence[date], latest: date) -> list[date]:
    """Sessions that should be there and are not: after the first materialized one, up to `latest`.

    Never before the first: catching up is not backfilling. Nothing when nothing was ever materialized.
    """
    if not materialized:
        return []
    have = set(materialized)
    return [session for session in calendar(market.exchange).between(min(have), latest) if session not in have]


def under_way(instance: dg.DagsterInstance, *job_names: str) -> bool:
    """Whether a run of one of those jobs is queued or at work."""
    return any(
        instance.get_run_records(dg.RunsFilter(job_name=name, statuses=UNDER_WAY), limit=1) for name in job_names
    )


def _attempts(instance: dg.DagsterInstance, job: str, tag: str, value: str, now: datetime) -> int:
    return len(
        instance.get_run_records(
            dg.RunsFilter(job_name=job, tags={tag: value}, created_after=now - timedelta(days=1)), limit=ATTEMPTS_A_DAY
        )
    )


def catch_up(market: Market, open_world: OpenWorld) -> dg.SensorDefinition:
    """Requests the sessions that closed and were never materialized, the oldest gap first."""
    job = jobs.end_of_day_name(market)

    @dg.sensor(
        name=f"{market.name}_catch_up",
        job_name=job,
        minimum_interval_seconds=900,
        description="Sessions that were missed, for instance while the machine was off: one run for each gap.",
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if under_way(context.instance, job):
            return dg.SkipReason("A run of the day is under way.")
        world = open_world()
        try:
            latest = world.latest_session(market)
            now = world.now()
        finally:
            world.close()
        done = materialized_sessions(context.instance, key_of(market, "dip_opportunities"))
        missed = missed_sessions(market, done, latest)
        if not missed:
            return dg.SkipReason(f"Every session up to {latest} is there.")
        gap = _first_gap(market, missed)
        name = f"{gap[0]}/{gap[-1]}"
        attempts = _attempts(context.instance, job, "catch_up", name, now)
        if attempts >= ATTEMPTS_A_DAY:
            return dg.SkipReason(f"{name} was tried {attempts} times in a day: read the last run's error, then run it.")
        return dg.RunRequest(
            run_key=f"{market.name}/catch_up/{name}/{now:%Y%m%dT%H%M%S}",
            tags={**range_tags(gap[0], gap[-1]), "catch_up": name},
        )

    return tick


def _first_gap(market: Market, missed: Sequence[date]) -> list[date]:
    exchange = calendar(market.exchange)
    gap = [missed[0]]
    for session in missed[1:]:
        if exchange.offset(gap[-1], 1) != session:
            break
        gap.append(session)
    return gap


def revisions(market: Market, open_world: OpenWorld) -> dg.SensorDefinition:
    """Re-runs the sessions that a provider's revision touches, and every decision made on them since."""
    job = jobs.end_of_day_name(market)

    @dg.sensor(
        name=f"{market.name}_revisions",
        job_name=job,
        minimum_interval_seconds=300,
        description="A provider changed a bar or an action: the sessions from there on are computed again.",
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        from trading_pipeline.ingest import revised_sessions

        if under_way(context.instance, job):
            return dg.SkipReason("A run of the day is under way.")
        since = datetime.fromisoformat(context.cursor) if context.cursor else datetime.min.replace(tzinfo=UTC)
        world = open_world()
        try:
            touched, newest = revised_sessions(world.lake, market.name, since)
        finally:
            world.close()
        done = materialized_sessions(context.instance, key_of(market, "daily_bars"))
        again = sorted(set(touched) & set(done))
        cursor = (newest or since).isoformat()
        if not again:
            return dg.SensorResult(skip_reason=dg.SkipReason("Nothing was revised."), cursor=cursor)
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(run_key=f"{market.name}/revised/{cursor}", tags=range_tags(again[0], done[-1]))
            ],
            cursor=cursor,
        )

    return tick


def reaper(open_world: OpenWorld) -> dg.SensorDefinition:
    """Fails runs whose process is gone and frees their slots."""

    @dg.sensor(
        name="reaper",
        minimum_interval_seconds=60,
        description="A killed worker stays STARTED and keeps its slot for ever; this ends it.",
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        world = open_world()
        try:
            reaped = reap(context.instance, world, world.now())
        finally:
            world.close()
        return dg.SkipReason(f"Ended {len(reaped)} dead runs: {', '.join(reaped)}." if reaped else "No run is dead.")

    return tick


def run_failures(open_world: OpenWorld) -> dg.SensorDefinition:
    """Notes every failed run, with its error in one line, where the briefing and the marts can show it."""

    @dg.run_failure_sensor(
        name="run_failures",
        monitor_all_code_locations=True,
        description="Every failed run, with its error in one line, in the warehouse's run_failures.",
    )
    def tick(context: dg.RunFailureSensorContext) -> None:
        world = open_world()
        try:
            world.warehouse.note_run_failure(
                run_id=context.dagster_run.run_id,
                job_name=context.dagster_run.job_name,
                failed_at=world.now(),
                error=(context.failure_event.message or "no message").splitlines()[0][:500],
            )
        finally:
            world.close()

    return tick


def build(open_world: OpenWorld) -> list[dg.SensorDefinition]:
    """Every sensor of every market."""
    from trading_pipeline.automation import inbox

    return [
        *(catch_up(market, open_world) for market in MARKETS.values()),
        *(revisions(market, open_world) for market in MARKETS.values()),
        inbox.sensor(open_world),
        reaper(open_world),
        run_failures(open_world),
    ]
