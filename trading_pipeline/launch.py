"""What the command line does: a prepared instance, ranges materialized on it, the UI served, everything stopped.

What belongs here: processes, Dagster's home, the order in which jobs run. What does not: what the jobs compute, and how
a terminal shows it (`cli.py`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trading_pipeline.errors import AlreadyRunning, StorageUnavailable, TradingPipelineError
from trading_pipeline.markets import Market
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import Settings
from trading_pipeline.world import World

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console, RenderableType

PROJECT = Path(__file__).resolve().parent.parent
STORAGE_URL = "DAGSTER_POSTGRES_URL"
STOP_SECONDS = 15

# Batches the 2,500 materialization events of a range: 22 s an asset become 0.85 s on PostgreSQL.
EVENT_BATCH = {"DAGSTER_EVENT_BATCH_SIZE": "500"}

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailed(TradingPipelineError):
    """A Dagster run failed; the message names the step and its error."""


def prepare_home(settings: Settings, world: World) -> None:
    """Write Dagster's home for this world and point this process and its children at it.

    The home's dagster.yaml is the project's own with Dagster's storage put on PostgreSQL, in a database of its own.
    """
    home = settings.dagster_home
    try:
        home.mkdir(parents=True, exist_ok=True)
        storage = f"storage:\n  postgres:\n    postgres_url:\n      env: {STORAGE_URL}\n"
        target = home / "dagster.yaml"
        text = (PROJECT / "dagster.yaml").read_text() + storage
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
    except OSError as error:
        raise StorageUnavailable(
            f"{home} cannot be written ({error.strerror})", "Make it writable, or set STATE_DIR to a folder that is"
        ) from None
    os.environ.update(
        {"DAGSTER_HOME": str(home), STORAGE_URL: world.databases.dagster.get_secret_value(), **EVENT_BATCH}
    )


@contextmanager
def prepared(settings: Settings) -> Iterator[tuple[dg.DagsterInstance, World]]:
    """The Dagster instance of this world, migrated storage, dead runs reaped; one at a time per world.

    Raises `AlreadyRunning` where another process has it.
    """
    world = World(settings)
    try:
        prepare_home(settings, world)
        from trading_pipeline.storage.locks import try_held

        with try_held(world.warehouse, "launch") as taken:
            if not taken:
                raise AlreadyRunning(
                    f"Another run of the {settings.world} world is under way",
                    "Wait until it has ended; the UI shows it under Runs",
                )
            import dagster as dg

            from trading_pipeline.automation.reaper import reap

            with dg.DagsterInstance.get() as instance:
                reap(instance, world, world.now())
                yield instance, world
    finally:
        world.close()


def bring_up_to_date(
    settings: Settings, instance: dg.DagsterInstance, world: World, market: Market, session: date | None = None
) -> RenderableType:
    """Materialize what is missing of a market up to `session` (default: the latest with final bars); the summary of it.

    A first run fills the bars of `history_sessions` sessions and publishes decisions for the last `decision_sessions`.
    Later ones go on from the last session published, that one included.
    """
    from trading_pipeline.assets.common import key_of
    from trading_pipeline.automation import jobs
    from trading_pipeline.automation.sensors import materialized_sessions
    from trading_pipeline.reports.daily import summary

    exchange = calendar(market.exchange)
    last = session or world.latest_session(market)
    bars_from = exchange.offset(last, 1 - settings.history_sessions)
    decisions_from = exchange.offset(last, 1 - settings.decision_sessions)
    have_bars = [day for day in materialized_sessions(instance, key_of(market, "daily_bars")) if day <= last]
    have_dips = [day for day in materialized_sessions(instance, key_of(market, "dip_opportunities")) if day <= last]
    if have_bars and have_bars[0] <= bars_from:
        bars_from = have_bars[-1]
    if have_dips:
        decisions_from = max(have_dips[-1], bars_from) if have_dips[-1] >= bars_from else have_dips[-1]
    if bars_from == decisions_from:
        execute(settings, instance, jobs.end_of_day_name(market), last, bars_from, world)
    else:
        execute(settings, instance, jobs.market_data_name(market), last, bars_from, world)
        execute(settings, instance, jobs.decisions_name(market), last, decisions_from, world)
    return summary(world, market, last)


def materialize_range(
    settings: Settings, instance: dg.DagsterInstance, world: World, market: Market, first: date, last: date
) -> None:
    """Publish everything of a market for the sessions from `first` to `last`, in one run; fills lookbacks on the way."""
    from trading_pipeline.automation import jobs

    exchange = calendar(market.exchange)
    execute(settings, instance, jobs.market_data_name(market), last, exchange.offset(first, 1 - settings.history_sessions), world)
    execute(settings, instance, jobs.decisions_name(market), last, first, world)


def execute(
    settings: Settings, instance: dg.DagsterInstance, job_name: str, last: date, first: date, world: World
) -> None:
    """Run a job for a range of sessions in this process; `RunFailed` names the steps that failed."""
    from trading_pipeline.automation.sensors import range_tags
    from trading_pipeline.definitions import build_definitions

    definitions = build_definitions(settings, open_world=world.anew)
    job = definitions.resolve_job_def(job_name)
    with (settings.dagster_home / "run.log").open("a") as log, redirect_stdout(log):
        result = job.execute_in_process(
            instance=instance, tags=range_tags(first, last), run_config=QUIET, raise_on_error=False
        )
    if not result.success:
        raise RunFailed(
            f"{job_name} failed: {'; '.join(_failures(result)) or 'see the run'}",
            f"Mend that and run it again; what was committed is kept. Run {result.run_id} is in the UI (make ui)",
        )


def _failures(result: dg.ExecuteInProcessResult) -> list[str]:
    lines = []
    for event in result.get_step_failure_events():
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        message = (error.message if error else None) or "no message"
        lines.append(f"{event.step_key}: {message.strip().splitlines()[0]}")
    return lines


def serve(settings: Settings, console: Console) -> None:
    """Run the webserver and the daemon until interrupted or one of them ends; both are ended together."""
    _require_free_port(settings.webserver_host, settings.webserver_port)
    world = World(settings)
    try:
        prepare_home(settings, world)
        _ = world.warehouse
    finally:
        world.close()
    workspace = ["-w", str(PROJECT / "workspace.yaml")]
    commands = [
        ["dagster_webserver", "-h", settings.webserver_host, "-p", str(settings.webserver_port), *workspace],
        ["dagster._daemon", "run", *workspace],
    ]
    children = [
        subprocess.Popen([sys.executable, "-m", *command], cwd=PROJECT, start_new_session=True)  # noqa: S603
        for command in commands
    ]
    pids = _pid_file(settings)
    pids.write_text("\n".join(str(child.pid) for child in children))
    console.print(
        f"The UI of the {settings.world} world: http://{settings.webserver_host}:{settings.webserver_port} "
        "(Ctrl-C or make stop ends it)"
    )
    try:
        while all(child.poll() is None for child in children):
            time.sleep(0.5)
    finally:
        _end([child.pid for child in children])
        for child in children:
            child.wait(STOP_SECONDS)
        pids.unlink(missing_ok=True)
    if any(child.returncode not in (0, -signal.SIGTERM, -signal.SIGINT) for child in children):
        raise RunFailed("The webserver or the daemon ended by itself", "Its last lines above say why")


def stop_everything(settings: Settings) -> list[str]:
    """End the UI and the daemon of every world and the embedded PostgreSQL; one line for each thing ended."""
    from trading_pipeline.storage.server import stop_server

    lines = []
    for file in sorted(settings.state_dir.glob("*/ui.pids")):
        running = [pid for pid in map(int, file.read_text().split()) if _is_dagster(pid)]
        _end(running)
        if running:
            lines.append(f"Stopped the UI and daemon of the {file.parent.name} world.")
        file.unlink(missing_ok=True)
    if stop_server(settings):
        lines.append("Stopped PostgreSQL.")
    return lines


def diagnose(settings: Settings) -> list[tuple[str, bool, str]]:
    """(what, whether it is fine, one line) of everything the pipeline stands on."""
    findings: list[tuple[str, bool, str]] = []
    world = World(settings)

    def look(name: str, question: Any) -> None:
        try:
            findings.append((name, True, str(question())))
        except TradingPipelineError as error:
            findings.append((name, False, str(error)))

    look("settings", lambda: f"{settings.world} world, provider {settings.market_data_provider}")
    look("warehouse", lambda: f"{world.warehouse} answers, its schema is current")
    look("lake", lambda: world.lake.root)
    look("provider", lambda: f"{world.provider.name} can be asked")
    for name in settings.markets:
        from trading_pipeline.markets import market_named

        market = market_named(name)
        look(f"{name} session", lambda market=market: f"latest with final bars: {world.latest_session(market)}")
        left = calendar(market.exchange).days_left(world.now().date())
        findings.append((f"{name} calendar", left >= 180, f"{left} days of the session table remain"))
    world.close()
    return findings


def _pid_file(settings: Settings) -> Path:
    return settings.world_dir / "ui.pids"


def _require_free_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StorageUnavailable(
                f"Port {port} on {host} cannot be used ({error.strerror})",
                "Stop what uses it (make stop ends an older UI), or set WEBSERVER_PORT to another",
            ) from None


def _is_dagster(pid: int) -> bool:
    """Whether the process is one of ours: a pid file outlives a restart, and pids are used again."""
    import psutil

    try:
        return any("dagster" in part for part in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def _end(pids: Sequence[int]) -> None:
    for pid in pids:
        try:
            os.killpg(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue
