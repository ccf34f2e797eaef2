"""Sensors: what is started because something was noticed.

One recovery path each: a run requested here is never also retried by Dagster. Dagster drops a repeated run key for
ever, so each request has a key of its own; what keeps it from being made without end is the count of its attempts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import dagster as dg

from trading_pipeline.assets.common import key_of
from trading_pipeline.automation import jobs
from trading_pipeline.automation.again import Step, steps, stretches, touched_sessions
from trading_pipeline.automation.reaper import reap
from trading_pipeline.automation.schedules import END_OF_DAY_HOUR
from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.partitions import sessions_of
from trading_pipeline.sessions import calendar
from trading_pipeline.world import World

OpenWorld = Callable[[], World]

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
PARTITION = "dagster/partition"
ATTEMPTS_A_DAY = 3
LIVE_ATTEMPTS_A_DAY = 10
"""More than of other runs: a session lost is not made up for tomorrow, and most of what ends a loop is over soon."""
LEFT_TO_THE_SCHEDULE = timedelta(minutes=30)
"""How long after the end-of-day hour a session is the schedule's, and nobody has missed it yet."""
BEGINNING = datetime.min.replace(tzinfo=UTC)
UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_MODULES = re.compile(r"^(\w+\.)+")
REQUEST = "request"
"""Run tag that says what a sensor wanted: by it the attempts are counted and the outcome is found."""


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


def under_way(instance: dg.DagsterInstance, market: Market) -> bool:
    """Whether a run of one of the market's jobs is queued or at work."""
    return any(
        instance.get_run_records(dg.RunsFilter(job_name=name, statuses=UNDER_WAY), limit=1)
        for name in jobs.names(market)
    )


def attempts(instance: dg.DagsterInstance, request: str, now: datetime, limit: int = ATTEMPTS_A_DAY) -> int:
    """How often something was requested in the day before `now`, counted up to `limit`."""
    wanted = dg.RunsFilter(tags={REQUEST: request}, created_after=now - timedelta(days=1))
    return len(instance.get_run_records(wanted, limit=limit))


def request_of(request: str, now: datetime, **how: object) -> dg.RunRequest:
    """A run request that can be made again when this one failed."""
    tags = {**how.pop("tags", {}), REQUEST: request}  # type: ignore[dict-item]
    return dg.RunRequest(run_key=f"{request}/{now:%Y%m%dT%H%M%S%f}", tags=tags, **how)  # type: ignore[arg-type]


def catch_up(
    market: Market, open_world: OpenWorld, status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED
) -> dg.SensorDefinition:
    """Requests the sessions that closed and were never published, one run for each gap, the oldest first.

    A session is published when its briefing, the last of its assets, is there. A gap that failed three times in a day
    waits for the next day; the gaps after it do not.
    """
    job = jobs.end_of_day_name(market)

    @dg.sensor(
        name=f"{market.name}_catch_up",
        job_name=job,
        minimum_interval_seconds=900,
        default_status=status,
        description="Sessions that were missed, for instance while the machine was off: one run for each gap.",
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if under_way(context.instance, market):
            return dg.SkipReason("A run of the market is under way.")
        world = open_world()
        try:
            now = world.now()
            latest = min(world.latest_session(market), _last_left_by_the_schedule(market, now))
        finally:
            world.close()
        done = materialized_sessions(context.instance, key_of(market, "daily_briefing"))
        gaps = stretches(market, missed_sessions(market, done, latest))
        exhausted = []
        for gap in gaps:
            name = f"{market.name}/catch_up/{gap[0]}/{gap[-1]}"
            if attempts(context.instance, name, now) < ATTEMPTS_A_DAY:
                told = jobs.tellable(_graph(context), market, job, gap[0], gap[-1], world)
                return request_of(name, now, tags=range_tags(gap[0], gap[-1]), asset_selection=told)
            exhausted.append(f"{gap[0]} to {gap[-1]}")
        if exhausted:
            return dg.SkipReason(
                f"{'; '.join(exhausted)}: tried {ATTEMPTS_A_DAY} times in a day. Mend the last run's error; it is "
                "tried again tomorrow."
            )
        return dg.SkipReason(f"Every session up to {latest} is there." if done else "Nothing was published yet.")

    return tick


def live_again(market: Market, open_world: OpenWorld) -> dg.SensorDefinition:
    """Requests the live run of the session under way once more where the one that led it is gone.

    It goes on where the book stands: nothing is lost and nothing doubled. A session that nobody began is left alone:
    the schedule begins it. So is one whose run was cancelled: a person did that. For some hours after the close a
    session that did not end is led to its end.
    """
    exchange, job = calendar(market.exchange), jobs.live_name(market)

    @dg.sensor(
        name=f"{market.name}_live_again",
        job_name=job,
        minimum_interval_seconds=30,
        description=f"A live run of {market.exchange} that died, led on from where it stopped while the market trades.",
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        from trading_pipeline.storage.live_store import LiveStore
        from trading_pipeline.storage.locks import is_held
        from trading_pipeline.trading import LATE

        if context.instance.get_run_records(dg.RunsFilter(job_name=job, statuses=UNDER_WAY), limit=1):
            return dg.SkipReason("The session is being traded, or about to be.")
        world = open_world()
        try:
            now = world.now()
            session = exchange.on_or_before(exchange.local_date(now))
            if not (exchange.is_open(now) or timedelta(0) <= now - exchange.close_at(session) < LATE):
                return dg.SkipReason(f"{market.exchange} is closed.")
            store = LiveStore(world.warehouse, market.book)
            row = store.session_row(session)
            if not exchange.is_open(now) and (row is None or row.ended_why in ("closed", "halted")):
                return dg.SkipReason(f"{market.exchange} is closed.")
            if row is None:
                return dg.SkipReason(f"Nobody began to trade the session of {session}.")
            if row.ended_why in ("closed", "halted"):
                return dg.SkipReason(f"The session of {session} was ended: {row.ended_why}.")
            if is_held(world.warehouse, store.lock_name):
                return dg.SkipReason("The book is led by a loop that Dagster does not know.")
        finally:
            world.close()
        of_session = dg.RunsFilter(job_name=job, tags={PARTITION: session.isoformat()})
        latest = context.instance.get_run_records(of_session, limit=1)
        if latest and latest[0].dagster_run.status == dg.DagsterRunStatus.CANCELED:
            return dg.SkipReason(f"The run of {session} was cancelled: start {job} by hand to lead it on.")
        name = f"{market.name}/live_again/{session}"
        if attempts(context.instance, name, now, LIVE_ATTEMPTS_A_DAY) >= LIVE_ATTEMPTS_A_DAY:
            return dg.SkipReason(
                f"The session of {session} was led on {LIVE_ATTEMPTS_A_DAY} times and failed again. Mend the last "
                f"run's error, then start {job} by hand."
            )
        return request_of(name, now, partition_key=session.isoformat())

    return tick


def _graph(context: dg.SensorEvaluationContext) -> Callable[[], Any]:
    """The asset graph of the code location that the sensor is part of, when it is needed."""

    def graph() -> Any:
        assert context.repository_def is not None
        return context.repository_def.asset_graph

    return graph


def _last_left_by_the_schedule(market: Market, now: datetime) -> date:
    """The last session whose end-of-day hour has passed long enough for the schedule to have started it."""
    exchange = calendar(market.exchange)
    local = (now - LEFT_TO_THE_SCHEDULE).astimezone(exchange.timezone)
    return exchange.on_or_before(local.date() if local.time() >= time(END_OF_DAY_HOUR) else local.date() - timedelta(1))


@dataclass(frozen=True)
class _Remembered:
    """What the revisions sensor keeps between ticks.

    since: the newest `known_at` it has seen. pending: the runs still to be made, in order; the first is struck off once
    a run of it has succeeded. asked: what tells these runs from earlier ones of the same sessions.
    """

    since: datetime = BEGINNING
    pending: tuple[Step, ...] = ()
    asked: str = ""

    @classmethod
    def of(cls, cursor: str | None) -> _Remembered:
        if not cursor:
            return cls()
        kept = json.loads(cursor)
        pending = (
            Step(step["job"], date.fromisoformat(step["first"]), date.fromisoformat(step["last"]))
            for step in kept["pending"]
        )
        return cls(datetime.fromisoformat(kept["since"]), tuple(pending), kept["asked"])

    def cursor(self) -> str:
        return json.dumps(asdict(self), default=lambda moment: moment.isoformat())

    def request(self) -> str:
        step = self.pending[0]
        return f"{step.job}/again/{step.first}/{step.last}/{self.asked}"


def revisions(
    market: Market, open_world: OpenWorld, status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED
) -> dg.SensorDefinition:
    """Re-runs the sessions about which we learned something later, and every decision made on them since.

    One run at a time: where the decisions begin later than the bars touched, the bars' run has to end first.
    """

    @dg.sensor(
        name=f"{market.name}_revisions",
        jobs=list(jobs.build(market)),
        minimum_interval_seconds=300,
        default_status=status,
        description=(
            "A provider changed a bar or an action, or told the history of a new name: the sessions from there on are "
            "computed again. What was published before is kept."
        ),
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if under_way(context.instance, market):
            return dg.SkipReason("A run of the market is under way.")
        kept = _Remembered.of(context.cursor)
        while kept.pending and _succeeded(context.instance, kept.request()):
            kept = replace(kept, pending=kept.pending[1:])
        judged = materialized_sessions(context.instance, key_of(market, "daily_bars"))
        world = open_world()
        try:
            touched, newest = touched_sessions(world.lake, market, kept.since, judged)
            now = world.now()
        finally:
            world.close()
        kept = replace(kept, since=newest or kept.since)
        if touched:
            first = min(touched[0], *(step.first for step in kept.pending)) if kept.pending else touched[0]
            decided = materialized_sessions(context.instance, key_of(market, "dip_opportunities"))
            kept = replace(kept, pending=tuple(steps(market, first, judged, decided)), asked=kept.since.isoformat())
        if not kept.pending:
            return dg.SensorResult(skip_reason=dg.SkipReason("Nothing was revised."), cursor=kept.cursor())
        step = kept.pending[0]
        if attempts(context.instance, kept.request(), now) >= ATTEMPTS_A_DAY:
            why = f"{step.job} from {step.first} to {step.last} was tried {ATTEMPTS_A_DAY} times in a day: mend it."
            return dg.SensorResult(skip_reason=dg.SkipReason(why), cursor=kept.cursor())
        told = jobs.tellable(_graph(context), market, step.job, step.first, step.last, world)
        request = request_of(
            kept.request(), now, job_name=step.job, tags=range_tags(step.first, step.last), asset_selection=told
        )
        return dg.SensorResult(run_requests=[request], cursor=kept.cursor())

    return tick


def _succeeded(instance: dg.DagsterInstance, request: str) -> bool:
    wanted = dg.RunsFilter(tags={REQUEST: request}, statuses=[dg.DagsterRunStatus.SUCCESS])
    return bool(instance.get_run_records(wanted, limit=1))


def reaper(open_world: OpenWorld) -> dg.SensorDefinition:
    """Fails runs whose process is gone and frees their slots."""

    @dg.sensor(
        name="reaper",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
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
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Every failed run, with its error in one line, in the warehouse's run_failures.",
    )
    def tick(context: dg.RunFailureSensorContext) -> None:
        world = open_world()
        try:
            world.warehouse.note_run_failure(
                run_id=context.dagster_run.run_id,
                job_name=context.dagster_run.job_name,
                failed_at=world.now(),
                error=failure_line(context),
            )
        finally:
            world.close()

    return tick


def failure_line(context: dg.RunFailureSensorContext) -> str:
    """The innermost error of each step that failed, in one line; what Dagster says of the run where no step did."""
    lines = []
    for event in context.get_step_failure_events():
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        said = (error.message if error else "").strip() or event.message or "no message"
        lines.append(f"{event.step_key}: {_MODULES.sub('', said.splitlines()[0])}")
    return ("; ".join(lines) or (context.failure_event.message or "no message").splitlines()[0])[:500]


def build(open_world: OpenWorld, running: Collection[str] = ()) -> list[dg.SensorDefinition]:
    """Every sensor; those of the markets named in `running` are switched on from the first start, housekeeping too."""
    from trading_pipeline.automation import alert_sensor, backtest_runs, inbox

    status = {
        name: dg.DefaultSensorStatus.RUNNING if name in running else dg.DefaultSensorStatus.STOPPED for name in MARKETS
    }
    return [
        *(catch_up(market, open_world, status[market.name]) for market in MARKETS.values()),
        *(revisions(market, open_world, status[market.name]) for market in MARKETS.values()),
        *(live_again(market, open_world) for market in MARKETS.values()),
        *(backtest_runs.sensor(market, open_world, status[market.name]) for market in MARKETS.values()),
        backtest_runs.comparisons(running),
        inbox.sensor(open_world),
        alert_sensor.sensor(open_world),
        reaper(open_world),
        run_failures(open_world),
    ]
