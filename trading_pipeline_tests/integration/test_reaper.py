"""A worker killed without a farewell, with a real pool slot in its hand: its run is ended and the slot freed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy
from dagster import DagsterEvent, DagsterEventType

from trading_pipeline import launch
from trading_pipeline.automation import reaper
from trading_pipeline_tests.promises import Site
from trading_pipeline_tests.ticks import Sensor

POOL = "provider_simulated"
DAY = date(2024, 3, 15)

# Runs the bars of one session on the site, with a provider that never answers; slots are claimed by each op.
WORKER = """
import sys, time
from datetime import date
from pathlib import Path

import dagster as dg
from trading_pipeline import launch
from trading_pipeline.automation import jobs
from trading_pipeline.definitions import build_definitions
from trading_pipeline.markets import US
from trading_pipeline_tests.promises import QUIET, Site, final_at
from trading_pipeline_tests.ticks import Passing

class Hanging(Passing):
    def daily_bars(self, requests, **how):
        print("holding", flush=True)
        time.sleep(600)

site, day = Site(Path(sys.argv[1]), sys.argv[2]), date.fromisoformat(sys.argv[3])
now = final_at(US, day)
launch.prepare_home(site.settings, site.world(now))
config = site.settings.dagster_home / "dagster.yaml"
config.write_text(config.read_text().replace("granularity: run", "granularity: op"))
with dg.DagsterInstance.get() as instance:
    definitions = build_definitions(site.settings, open_world=lambda: site.world(now, Hanging))
    definitions.resolve_job_def(jobs.market_data_name(US)).execute_in_process(
        instance=instance, tags={"dagster/partition": day.isoformat()}, run_config=QUIET
    )
"""


class Worker:
    """A process at work on a site, and what its instance says of it."""

    def __init__(self, site: Site, process: subprocess.Popen[str]) -> None:
        self.site = site
        self.process = process
        assert process.stdout is not None
        assert "holding" in process.stdout.readline(), process.stderr.read() if process.stderr else ""
        site.instance = dg.DagsterInstance.from_config(str(site.settings.dagster_home))
        (self.run,) = site.instance.get_runs()

    def kill(self) -> None:
        """End it so that it cannot say anything more."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def status(self) -> dg.DagsterRunStatus:
        """What the instance says of its run."""
        found = self.site.instance.get_run_by_id(self.run.run_id)
        assert found is not None
        return found.status

    def slots(self) -> int:
        """How many slots of the provider's pool are taken."""
        return self.site.instance.event_log_storage.get_concurrency_info(POOL).active_slot_count


@pytest.fixture
def worker(new_site: Callable[[], Site], monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker that waits for its provider; killed at the end."""
    site = new_site()
    for name in (launch.HOME, *launch.EVENT_BATCH):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv(launch.STORAGE_URL, site.world(datetime.now(UTC)).databases.dagster.get_secret_value())
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(site.folder), site.database_url, DAY.isoformat()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield Worker(site, process)
    finally:
        process.kill()
        process.communicate()
        site.instance.dispose()


def test_a_killed_worker_is_reaped_and_a_living_one_left_alone(worker: Worker) -> None:
    ticks, later = Sensor(worker.site, "reaper"), datetime.now(UTC) + 2 * reaper.GRACE
    assert (worker.status(), worker.slots()) == (dg.DagsterRunStatus.STARTED, 1)
    assert ticks.tick(later) == "No run is dead."
    worker.kill()
    assert ticks.tick(datetime.now(UTC)) == "No run is dead."  # it might not have taken its lock yet
    assert (worker.status(), worker.slots()) == (dg.DagsterRunStatus.STARTED, 1)
    assert ticks.tick(later) == f"Ended 1 dead runs: {worker.run.run_id}."
    assert (worker.status(), worker.slots()) == (dg.DagsterRunStatus.FAILURE, 0)
    assert ticks.tick(later) == "No run is dead."


def test_what_was_killed_before_is_reaped_at_start_up(worker: Worker) -> None:
    worker.kill()
    with sqlalchemy.create_engine(os.environ[launch.STORAGE_URL]).begin() as connection:
        earlier = 2 * reaper.GRACE.total_seconds()
        connection.execute(sqlalchemy.text("UPDATE runs SET start_time = start_time - :earlier"), {"earlier": earlier})
    with launch.prepared(worker.site.settings):
        assert (worker.status(), worker.slots()) == (dg.DagsterRunStatus.FAILURE, 0)


def test_a_run_that_ends_between_two_looks_is_not_failed(
    new_site: Callable[[], Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock goes a moment before its last event comes."""
    site = new_site()
    run = site.instance.add_run(dg.DagsterRun(job_name="any", status=dg.DagsterRunStatus.STARTED))
    success = DagsterEvent(DagsterEventType.RUN_SUCCESS.value, run.job_name)
    monkeypatch.setattr(reaper.time, "sleep", lambda _: site.instance.handle_run_event(run.run_id, success))
    world = site.world(datetime.now(UTC))
    try:
        assert reaper.reap(site.instance, world, world.now() + 2 * reaper.GRACE) == []
        ended = site.instance.get_run_by_id(run.run_id)
        assert ended is not None and ended.status is dg.DagsterRunStatus.SUCCESS
    finally:
        world.close()
