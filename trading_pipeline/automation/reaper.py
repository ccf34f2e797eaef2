"""The reaper: fails runs whose process is gone, and frees the slots they kept.

The default launcher has no health check: a killed worker stays STARTED and holds its pool slot for ever. Every run of
ours holds an advisory lock that dies with its process, so a run that is STARTED, past its first minute and without its
lock is dead. A run that is just ending has given its lock back and not yet told the end, so the dead are looked at
twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timedelta

import dagster as dg

from trading_pipeline.assets.common import run_lock
from trading_pipeline.world import World

GRACE = timedelta(seconds=60)
SECOND_LOOK = timedelta(seconds=5)
ALIVE = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def reap(
    instance: dg.DagsterInstance,
    world: World,
    now: datetime,
    grace: timedelta = GRACE,
    second_look: timedelta = SECOND_LOOK,
) -> list[str]:
    """Fail every started run that does not hold its lock; returns the ids of the runs failed.

    grace: how long a run may be STARTED before it has taken its lock. second_look: how long after the first look a run
    that seemed dead must still be STARTED without its lock.
    """
    suspects = _without_lock(instance, world, now - grace)
    if not suspects:
        return []
    time.sleep(second_look.total_seconds())
    dead = [run for run_id, run in _without_lock(instance, world, now - grace).items() if run_id in suspects]
    for run in dead:
        instance.report_run_failed(
            run, "The run's process is gone: it was killed, or the machine restarted. Run it again."
        )
    free_slots(instance, [run.run_id for run in dead])
    return [run.run_id for run in dead]


def _without_lock(instance: dg.DagsterInstance, world: World, started_by: datetime) -> dict[str, dg.DagsterRun]:
    """Runs by id that say they are at work since `started_by` or longer, and do not hold their lock."""
    from trading_pipeline.storage.locks import is_held

    records = instance.get_run_records(dg.RunsFilter(statuses=ALIVE))
    old = [
        record.dagster_run
        for record in records
        if (record.start_time or record.create_timestamp.timestamp()) <= started_by.timestamp()
    ]
    return {run.run_id: run for run in old if not is_held(world.warehouse, run_lock(run.run_id))}


def free_slots(instance: dg.DagsterInstance, run_ids: Iterable[str]) -> None:
    """Give back the pool slots that those runs hold."""
    storage = instance.event_log_storage
    if storage.supports_global_concurrency_limits:
        for run_id in run_ids:
            storage.free_concurrency_slots_for_run(run_id)
