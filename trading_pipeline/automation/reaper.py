"""The reaper: fails runs whose process is gone, and frees the slots they kept.

The default launcher has no health check: a killed worker stays STARTED and holds its pool slot for ever. Every run of
ours holds an advisory lock that dies with its process, so a run that is STARTED, past its first minute and without its
lock is dead.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import dagster as dg

from trading_pipeline.assets.common import run_lock
from trading_pipeline.world import World

GRACE = timedelta(seconds=60)


def reap(instance: dg.DagsterInstance, world: World, now: datetime, grace: timedelta = GRACE) -> list[str]:
    """Fail every started run that no longer holds its lock; returns the ids of the runs failed.

    `grace` is how long a run may be STARTED before it has taken its lock.
    """
    from trading_pipeline.storage.locks import is_held

    records = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
    )
    reaped = []
    for record in records:
        started = record.start_time or record.create_timestamp.timestamp()
        if now.timestamp() - started < grace.total_seconds():
            continue
        run = record.dagster_run
        if is_held(world.warehouse, run_lock(run.run_id)):
            continue
        instance.report_run_failed(run, "The run's process is gone: it was killed, or the machine restarted. Run it again.")
        free_slots(instance, [run.run_id])
        reaped.append(run.run_id)
    return reaped


def free_slots(instance: dg.DagsterInstance, run_ids: Iterable[str]) -> None:
    """Give back the pool slots that those runs hold."""
    storage = instance.event_log_storage
    if storage.supports_global_concurrency_limits:
        for run_id in run_ids:
            storage.free_concurrency_slots_for_run(run_id)
