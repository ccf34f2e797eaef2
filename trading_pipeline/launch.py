"""What the command line does: a prepared instance, ranges materialized on it, the UI served, everything stopped.

What belongs here: processes, Dagster's home, the order in which jobs run. What does not: what the jobs compute, and how
a terminal shows it (`cli.py`).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from trading_pipeline.errors import (
    AlreadyRunning,
    InputRefused,
    StorageUnavailable,
    TradingPipelineError,
    UnknownName,
    UnknownSession,
)
from trading_pipeline.markets import Market, market_named
from trading_pipeline.sessions import MINIMUM_DAYS_LEFT, calendar
from trading_pipeline.settings import PROJECT, Settings
from trading_pipeline.world import World

if TYPE_CHECKING:
    import dagster as dg
    import psutil
    from dagster_shared.error import SerializableErrorInfo
    from rich.console import RenderableType

    from trading_pipeline.automation.again import Step
    from trading_pipeline.backtesting.configurations import Found
    from trading_pipeline.research.backtest import Configuration

STORAGE_URL = "DAGSTER_POSTGRES_URL"
HOME = "DAGSTER_HOME"
START_SECONDS = 180
STOP_SECONDS = 15
LEAST_FREE_BYTES = 2 * 2**30

# Batches the 2,500 materialization events of a range: 22 s an asset become 0.85 s on PostgreSQL.
EVENT_BATCH = {"DAGSTER_EVENT_BATCH_SIZE": "500"}

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

# Of Dagster's storage. A statement longer than this is ended, so it is far beyond what any takes.
_STATEMENT_MILLISECONDS = 600_000
_RECYCLE_SECONDS = 3600
_MOST_CONNECTIONS = 20

_INTERRUPTS = ("KeyboardInterrupt", "DagsterExecutionInterruptedError")
_LONGEST_LINE = 700
_MOST_FAILURES = 3

Say = Callable[[str], None]


class RunFailed(TradingPipelineError):
    """A Dagster run failed; the message names the steps and their errors."""


def prepare_home(settings: Settings, world: World) -> None:
    """Write Dagster's home for this world and point this process and its children at it.

    The home's dagster.yaml is the project's own with Dagster's storage put on PostgreSQL, in a database of its own.
    A DAGSTER_HOME of the user's is left alone and not used: each world has its own.
    """
    home = settings.dagster_home
    try:
        home.mkdir(parents=True, exist_ok=True)
        storage = f"storage:\n  postgres:\n    postgres_url:\n      env: {STORAGE_URL}\n"
        target = home / "dagster.yaml"
        text = (PROJECT / "dagster.yaml").read_text() + storage
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
        (home / "run.log").touch()
    except OSError as error:
        raise StorageUnavailable(
            f"{error.filename or home} cannot be read or written ({error.strerror})",
            "Make it writable, or set STATE_DIR to a folder that is",
        ) from None
    os.environ.update({HOME: str(home), STORAGE_URL: world.databases.dagster.get_secret_value(), **EVENT_BATCH})


@contextmanager
def opened_instance() -> Iterator[dg.DagsterInstance]:
    """The instance of the prepared home, its connections kept open while it is.

    By default Dagster's storage opens two connections for each event it stores by itself, and a range announces every
    partition of every asset by such an event: 8 ms each become 3.
    """
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(_STATEMENT_MILLISECONDS, _RECYCLE_SECONDS, _MOST_CONNECTIONS)
        yield instance


@contextmanager
def prepared(settings: Settings) -> Iterator[Site]:
    """The site of this world: Dagster's instance, migrated storage, dead runs reaped; one at a time per world.

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
            from trading_pipeline.automation.reaper import reap

            with opened_instance() as instance:
                reap(instance, world, world.now())
                yield Site(settings, instance, world)
    finally:
        world.close()


@dataclass
class Site:
    """A world with the Dagster instance on which its sessions are published."""

    settings: Settings
    instance: dg.DagsterInstance
    world: World

    @cached_property
    def definitions(self) -> dg.Definitions:
        """Everything Dagster sees, each run in a world opened anew."""
        from trading_pipeline.definitions import build_definitions

        return build_definitions(self.settings, open_world=self.world.anew)

    def final_session(self, market: Market, session: date | None) -> date:
        """`session`, or the latest one with final bars; `UnknownSession` where `session` is later than that."""
        latest = self.world.latest_session(market)
        if session is None or session <= latest:
            return session or latest
        raise UnknownSession(
            f"{session} is not over, or {self.world.provider.name} cannot tell of it yet",
            f"The latest session of {market.name} with final bars is {latest}",
        )

    def bring_up_to_date(self, market: Market, session: date | None = None) -> date:
        """Materialize what is missing of a market up to `session` (default: the latest with final bars); that session.

        A first run fills the bars of `history_sessions` sessions and publishes decisions for the last
        `decision_sessions`. Later ones go on from the last session published, that one included, fill what is missing
        before it, and compute again what the provider revised.
        """
        from trading_pipeline.automation import jobs

        exchange = calendar(market.exchange)
        last = self.final_session(market, session)
        recent = exchange.between(exchange.offset(last, 1 - self.settings.decision_sessions), last)
        # What was published longer ago than the lookbacks reach is history: going on from there would be a backfill.
        oldest = exchange.offset(last, -self.settings.history_sessions)
        published = {day for day in self.decided(market) if oldest <= day <= last}
        gaps = [day for day in recent if day not in published]
        decisions_from = min([*gaps, max(published)]) if published else recent[0]
        bars_from = min(self._bars_from(market, decisions_from, last), decisions_from)
        since, judged = self.world.now(), self.judged(market)
        if bars_from == decisions_from:
            self._told(market, jobs.end_of_day_name(market), bars_from, last)
        else:
            self._told(market, jobs.market_data_name(market), bars_from, last)
            self.execute(jobs.decisions_name(market), decisions_from, last)
        for step in self._again(market, since, {day for day in judged if day < bars_from}):
            self.execute(step.job, step.first, step.last)
        return last

    def prepare(self, market: Market, last: date) -> date | None:
        """Materialize the premarket of the session after `last`, or of the latest one whose premarket moment is reached
        where that is earlier; that session. None where its minutes are not told any more."""
        from trading_pipeline.automation import jobs

        session = min(self.world.premarket_session(market), calendar(market.exchange).offset(last, 1))
        if not self.world.tells_minutes(market, session):
            return None
        self.execute(jobs.premarket_name(market), session, session)
        return session

    def backtest(self, market: Market, names: Sequence[str] | None = None) -> list[RunFailed]:
        """Compute the backtests of a market, their sweeps and their comparison; the failures, one a run that failed.

        names: of these configurations, all anew, and nobody else's file is a failure. None: of all that there are bars
        enough for, what was not computed on the data there are now, or failed when it was computed last.

        Of names, `UnknownName` lists the known ones, and `InputRefused` says what bars one lacks.
        """
        from trading_pipeline.automation import backtest_runs

        told = self._configurations(market)
        own = backtest_runs.registered(self.instance, market, told)
        failures: list[RunFailed] = []
        if names is None:
            current = self._backtested(market, own)
            runs = [
                run
                for name, each in own.items()
                for run in backtest_runs.runs_of(market, each)
                if name not in current or not backtest_runs.succeeded(self.instance, *run)
            ]
            failures += [RunFailed(fault, "Mend the file") for fault in told.faults]
        else:
            for name in names:
                if name in told.waiting:
                    raise InputRefused(
                        f"{name} cannot be backtested: {told.waiting[name]}",
                        "Raise HISTORY_SESSIONS and run, or shorten its windows",
                    )
                if name not in own:
                    raise UnknownName.of("configuration", name, own)
            runs = [run for name in names for run in backtest_runs.runs_of(market, own[name])]
        failures += [failure for job, key in runs if (failure := self._failure_of(job, key)) is not None]
        if backtest_runs.overdue(self.instance, market):
            failure = self._failure_of(backtest_runs.comparison_name(market))
            failures += [failure] if failure is not None else []
        return failures

    def waiting(self, market: Market) -> str | None:
        """The configurations of a market that wait for more bars, in a line; None where none does."""
        told = self._configurations(market).waiting
        return "; ".join(f"{name} waits: {why}" for name, why in told.items()) + "." if told else None

    def _configurations(self, market: Market) -> Found:
        from trading_pipeline.backtesting.configurations import found
        from trading_pipeline.tables import DAILY_BARS

        return found(self.settings).with_bars(market, self.world.lake.sessions(market.name, DAILY_BARS))

    def _backtested(self, market: Market, configurations: Mapping[str, Configuration]) -> set[str]:
        """Names of the configurations whose stored result is theirs on the data there are."""
        from trading_pipeline.backtesting.inputs import data_as_of
        from trading_pipeline.backtesting.results import latest_results, up_to_date
        from trading_pipeline.tables import DAILY_BARS

        sessions = self.world.lake.sessions(market.name, DAILY_BARS)
        newest = data_as_of(self.world, market)
        return {
            row["configuration"]
            for row in latest_results(self.world, market).iter_rows(named=True)
            if row["configuration"] in configurations
            and sessions
            and up_to_date(row, configurations[row["configuration"]], sessions[-1], newest)
        }

    def _failure_of(self, job_name: str, partition: str | None = None) -> RunFailed | None:
        try:
            self._execute(job_name, {"dagster/partition": partition} if partition else {})
        except RunFailed as error:
            return error
        return None

    def publish(self, market: Market, first: date, last: date) -> None:
        """Publish the sessions from `first` to `last` of a market; fills lookbacks on the way.

        Without tearsheets, 3 MB and half a second a session: they are of the day, and the UI makes those of any other.
        """
        from trading_pipeline.automation import jobs

        bars_from = min(first, self._bars_from(market, first, last))
        self._told(market, jobs.market_data_name(market), bars_from, last)
        self.execute(jobs.decisions_name(market), first, last, tearsheets=False)

    def _told(self, market: Market, job: str, first: date, last: date) -> None:
        """Run a job that receives, the session under way by itself where its fundamentals are told live alone."""
        if first < last == self.world.live_session(market) and not self.world.tells_the_past:
            self.execute(job, first, calendar(market.exchange).offset(last, -1))
            first = last
        self.execute(job, first, last)

    def rebase(self, market: Market, tickers: Sequence[str]) -> list[str]:
        """Store the provider's full history of `tickers` as revisions, and publish again what they touch.

        For a basis break that was looked into: the provider changed the whole history by a constant that no action
        explains, which is reported and not stored. Returns a line for each thing done. `UnknownName` names the tickers
        of which no bar is stored.
        """
        from trading_pipeline.tables import RECEIVED_BARS

        since = self.world.now()
        today = calendar(market.exchange).local_date(self.world.now())
        ids = dict(zip(tickers, self.world.instruments(market).ids_of(tickers, today), strict=True))
        stored = set(self.world.lake.read(market.name, RECEIVED_BARS, columns=["instrument_id"])["instrument_id"])
        unknown = [ticker for ticker, instrument in ids.items() if instrument not in stored]
        if unknown:
            raise UnknownName(
                f"No bar of {', '.join(unknown)} was ever received in the {market.name} market",
                "Check the spelling; `run` receives the bars of every member and of the watchlist",
            )
        report = self.world.rebase(market, sorted(ids.values()))
        if report.failures:
            symbol, _, message = report.failures[0]
            raise RunFailed(f"{report.provider} did not answer for {symbol}: {message}", "Run it again later")
        lines = [f"{market.name}: {report.revised:,} bars of {', '.join(tickers)} stored as revisions."]
        for step in self._again(market, since, self.judged(market)):
            self.execute(step.job, step.first, step.last)
            lines.append(f"{market.name}: {step.job} computed again, {step.first} to {step.last}.")
        return lines

    def _again(self, market: Market, since: datetime, judged: set[date]) -> list[Step]:
        """The runs that compute again what was received after `since` about the sessions `judged`."""
        from trading_pipeline.automation.again import steps, touched_sessions

        touched, _ = touched_sessions(self.world.lake, market, since, sorted(judged))
        if not touched:
            return []
        return steps(market, touched[0], sorted(judged), sorted(self.decided(market)))

    def summary(self, market: Market, session: date) -> RenderableType:
        """The headlines of a session for a terminal."""
        from trading_pipeline.reports.daily import summary

        return summary(self.world, market, session)

    def premarket_summary(self, market: Market, session: date) -> RenderableType:
        """What to expect of the session prepared last, for a terminal."""
        from trading_pipeline.reports.premarket import premarket_summary

        return premarket_summary(self.world, market, session)

    def backtests_summary(self, market: Market, configuration: str | None = None) -> RenderableType:
        """What the configurations of a market came to, or one of them with all its metrics, for a terminal."""
        from trading_pipeline.reports.backtests import summary

        return summary(self.world, market, configuration)

    def unquoted(self, market: Market, session: date) -> list[str]:
        """Tickers on the watchlist, or about to be, of which the provider has never given a bar; misspelt ones, mostly.

        The list counts from the session after the one it was read on, so the file itself is asked where the provider
        can tell what it quotes.
        """
        from trading_pipeline.tables import RECEIVED_BARS, RECEIVED_WATCHLIST
        from trading_pipeline.universes import WATCHLIST

        world, registry = self.world, self.world.instruments(market)
        entries = world.lake.read(market.name, RECEIVED_WATCHLIST).sort("known_at")
        listed = entries.unique("instrument_id", keep="last").filter("listed")
        if listed.is_empty():
            return []
        received = set(world.lake.read(market.name, RECEIVED_BARS, columns=["instrument_id"])["instrument_id"])
        members = world.universe_members(market, [session])
        asked = set(members.filter(members["universe"] == WATCHLIST)["instrument_id"])
        today = calendar(market.exchange).local_date(world.now())
        rows = listed.filter(~listed["instrument_id"].is_in(list(received))).sort("ticker")
        symbols = registry.provider_symbols(rows["instrument_id"].to_list(), world.provider.name, today)
        return [
            ticker
            for (ticker, instrument), symbol in zip(
                rows.select("ticker", "instrument_id").iter_rows(), symbols, strict=True
            )
            if instrument in asked or not world.provider.covers(symbol)
        ]

    def judged(self, market: Market) -> set[date]:
        """Sessions whose bars were judged, and are in the lake."""
        from dagster import AssetSelection

        from trading_pipeline.automation import jobs
        from trading_pipeline.tables import DAILY_BARS

        received = jobs.market_data_selection(market) - AssetSelection.assets(jobs.live_only(market))
        return self._materialized(received) & set(self.world.lake.sessions(market.name, DAILY_BARS))

    def decided(self, market: Market) -> set[date]:
        """Sessions of which every decision was published, and is in the lake; with tearsheets or without."""
        from dagster import AssetSelection

        from trading_pipeline.automation import jobs
        from trading_pipeline.tables import MARKET_REGIME

        decisions = jobs.decisions_selection(market) - AssetSelection.assets(jobs.tearsheets(market))
        return self._materialized(decisions) & set(self.world.lake.sessions(market.name, MARKET_REGIME))

    def _materialized(self, selection: dg.AssetSelection) -> set[date]:
        """Sessions of which every asset of the selection that has sessions was materialized.

        Dagster's memory outlives a lake that was moved or removed, so what is there is for the lake to say.
        """
        from trading_pipeline.automation.sensors import materialized_sessions

        graph = self.definitions.resolve_asset_graph()
        keys = [key for key in selection.resolve(graph) if graph.get(key).partitions_def is not None]
        return set.intersection(*(set(materialized_sessions(self.instance, key)) for key in keys))

    def _bars_from(self, market: Market, first_decision: date, last: date) -> date:
        """From where bars are filled for decisions from `first_decision`: the first gap, else the last session."""
        settings, exchange = self.settings, calendar(market.exchange)
        origin = exchange.offset(first_decision, settings.decision_sessions - settings.history_sessions)
        have = self.judged(market)
        return next((day for day in exchange.between(origin, last) if day not in have), last)

    def execute(self, job_name: str, first: date, last: date, *, tearsheets: bool = True) -> None:
        """Run a job of a market for a range of sessions in this process; `RunFailed` names the steps that failed.

        What cannot be told of those sessions is left out (`jobs.tellable`), and tearsheets where they are not wanted.

        An interrupt ends the run as a failure of its own and is raised again.
        """
        from trading_pipeline.automation import jobs
        from trading_pipeline.automation.sensors import range_tags

        job = self.definitions.resolve_job_def(job_name)
        market = market_named(job_name.partition("_")[0])
        told = jobs.tellable(self.definitions.resolve_asset_graph, market, job_name, first, last, self.world)
        if not tearsheets:
            told = sorted(set(told or job.asset_layer.executable_asset_keys) - {jobs.tearsheets(market)})
        self._execute(job_name, range_tags(first, last), told)

    def _execute(self, job_name: str, tags: dict[str, str], only: Sequence[dg.AssetKey] | None = None) -> None:
        job = self.definitions.resolve_job_def(job_name)
        with (self.settings.dagster_home / "run.log").open("a") as log, redirect_stdout(log):
            result = job.execute_in_process(
                instance=self.instance,
                tags=tags,
                run_config=QUIET,
                raise_on_error=False,
                asset_selection=only,
            )
        if result.success:
            return
        errors = _errors(result)
        if any(chained.cls_name in _INTERRUPTS for _, error in errors for chained in _chain(error)):
            raise KeyboardInterrupt
        lines = dict.fromkeys(f"{where}: {one_line(error)}" for where, error in errors)
        shown = self.settings.masked("; ".join(list(lines)[:_MOST_FAILURES]) or "see the run")
        partition = tags.get("dagster/partition")
        raise RunFailed(
            f"{job_name}{f' of {partition}' if partition else ''} failed: {shown}",
            f"Mend that and run it again; what was committed is kept. Run {result.run_id} is in the UI (make ui)",
        )


@dataclass
class Replays:
    """Replays recorded sessions of a world."""

    world: World

    def __call__(self, market: Market, session: date, *, book: str | None, resume: bool) -> RenderableType:
        """Replay a session, write its page, and say for a terminal what it came to and what was missing or odd."""
        from rich.console import Group
        from rich.text import Text

        from trading_pipeline.reports.trading_day import gather, place_of, summary_renderable, trading_day_page
        from trading_pipeline.storage import files
        from trading_pipeline.trading import replay_session

        task = f"{market.name}/replay {session}"
        result = replay_session(
            self.world,
            market,
            session,
            book=book,
            resume=resume,
            heartbeat=lambda beat: self.world.progress(task, beat.tick, beat.ticks),
        )
        day = gather(self.world, market, session, result.book)
        place = place_of(market, session, result.book)
        page = files.put_text(self.world.settings, place, trading_day_page(day))
        remarks = [Text.assemble(("Remark    ", "bold"), remark) for remark in result.remarks]
        return Group(summary_renderable(day, page=page), *remarks)


@contextmanager
def replayed(settings: Settings) -> Iterator[Replays]:
    """Replays on the world of the settings. Runs and the UI may go on beside it: a replay has a book of its own."""
    world = World(settings)
    try:
        yield Replays(world)
    finally:
        world.close()


def _errors(result: dg.ExecuteInProcessResult) -> list[tuple[str, SerializableErrorInfo]]:
    """(step or job, error) of everything that failed in a run; the job's own error where no step failed."""
    steps = [(event.step_key or "a step", event.step_failure_data.error) for event in result.get_step_failure_events()]
    found = [(where, error) for where, error in steps if error is not None]
    if found:
        return found
    return [
        (result.job_def.name, event.job_failure_data.error)
        for event in result.all_events
        if event.is_job_failure and event.job_failure_data.error is not None
    ]


def _chain(error: SerializableErrorInfo) -> list[SerializableErrorInfo]:
    """The error and those it was raised from, the outermost first."""
    chain = [error]
    while chain[-1].cause is not None:
        chain.append(chain[-1].cause)
    return chain


def one_line(error: SerializableErrorInfo) -> str:
    """What a person is told of a step's error: the outermost error of ours or `Failure` in its chain, else the root.

    What lies below an error of ours is the library's text, which that error has put in words already.
    """
    chain = _chain(error)
    ours = [each for each in chain if each.message.startswith("trading_pipeline.") or each.cls_name == "Failure"]
    told = (ours or chain[-1:])[0]
    text = told.message.strip()
    if ours:
        text = text.removeprefix("trading_pipeline.").partition(": ")[2] or text
    return " ".join(text.split())[:_LONGEST_LINE] or told.cls_name or "no message"


def serve(settings: Settings, say: Say) -> None:
    """Run the webserver and the daemon until interrupted, stopped or one of them ends; both are ended together."""
    import psutil

    from trading_pipeline.assets.marts import prepared_manifest

    if _recorded(_pid_file(settings)):
        raise AlreadyRunning(f"The UI of the {settings.world} world is running", "make stop ends it")
    _require_free_port(settings.webserver_host, settings.webserver_port)
    world = World(settings)
    try:
        prepare_home(settings, world)
        _ = world.warehouse
    finally:
        world.close()
    prepared_manifest()  # here once, instead of in each of the processes below at once
    workspace = ["-w", str(PROJECT / "workspace.yaml")]
    commands = [
        ["dagster_webserver", "-h", settings.webserver_host, "-p", str(settings.webserver_port), *workspace],
        ["dagster._daemon", "run", *workspace],
    ]
    children: list[subprocess.Popen[bytes]] = []
    pids = _pid_file(settings)
    try:
        for command in commands:
            # Sessions of their own: Ctrl-C reaches this process alone, and each is ended with all that it started.
            children.append(
                subprocess.Popen([sys.executable, "-m", *command], cwd=PROJECT, start_new_session=True)  # noqa: S603
            )
        pids.write_text("".join(_record(psutil.Process(child.pid)) for child in children))
        _await_port(settings, children)
        say(
            f"The UI of the {settings.world} world: http://{settings.webserver_host}:{settings.webserver_port} "
            "(Ctrl-C or make stop ends it)"
        )
        while all(child.poll() is None for child in children):
            time.sleep(0.5)
    except KeyboardInterrupt:
        say("Stopping the UI and the daemon.")
        return
    finally:
        was_stopped = not pids.exists()
        _end([psutil.Process(child.pid) for child in children if child.poll() is None])
        for child in children:
            child.wait(STOP_SECONDS)
        pids.unlink(missing_ok=True)
    if not was_stopped:
        raise RunFailed("The webserver or the daemon ended by itself", "Its last lines above say why")


def stop_everything(settings: Settings) -> list[str]:
    """End the UI and the daemon of every world and the embedded PostgreSQL; one line for each thing ended."""
    from trading_pipeline.storage.server import stop_server

    lines = []
    for file in sorted(settings.state_dir.glob("*/ui.pids")):
        running = _recorded(file)
        file.unlink(missing_ok=True)  # first: tells the process that waits for them that this is no accident
        _end(running)
        if running:
            lines.append(f"Stopped the UI and daemon of the {file.parent.name} world.")
    if stop_server(settings):
        lines.append("Stopped PostgreSQL.")
    return lines


@dataclass(frozen=True)
class Finding:
    """One thing the pipeline stands on: whether it is fine, and a line about it."""

    name: str
    fine: bool
    line: str


def diagnose(settings: Settings) -> Iterator[Finding]:
    """Everything the pipeline stands on, each looked at whatever became of the others."""
    world = World(settings)
    try:
        for name, question in _questions(settings, world).items():
            try:
                yield Finding(name, True, settings.masked(question()))
            except TradingPipelineError as error:
                yield Finding(name, False, settings.masked(str(error)))
    finally:
        world.close()


def _questions(settings: Settings, world: World) -> dict[str, Callable[[], str]]:
    """What `diagnose` asks: each answers with a line or raises an error of ours."""
    from trading_pipeline.assets.marts import prepared_manifest
    from trading_pipeline.storage.files import has_file
    from trading_pipeline.storage.server import connection_parts

    markets = [market_named(name) for name in settings.markets]

    def state_folder() -> str:
        place = next(folder for folder in (settings.state_dir, *settings.state_dir.parents) if folder.exists())
        if not os.access(place, os.W_OK | os.X_OK) or not place.is_dir():
            raise StorageUnavailable(
                f"{place} cannot be written", "Make it writable, or set STATE_DIR to a folder that is"
            )
        free = shutil.disk_usage(place).free
        if free < LEAST_FREE_BYTES:
            raise StorageUnavailable(f"{place} has {free / 2**30:.1f} GB left", "Free some space, or set STATE_DIR")
        return f"{settings.state_dir}, {free / 2**30:,.0f} GB free"

    def warehouse() -> str:
        parts = connection_parts(world.warehouse.url)
        return f"{parts.database} at {parts.host}:{parts.port} answers, its schema is current"

    def lake() -> str:
        has_file(settings, "us")
        return f"{settings.lake_root} can be read"

    def provider() -> str:
        return f"{world.provider.name} {_asked(world, markets[0])}"

    def watchlist() -> str:
        listed = sum(len(world.watched(market)) for market in markets)
        there = settings.watchlist_file.exists()
        return f"{listed} tickers in {settings.watchlist_file}" if there else f"none at {settings.watchlist_file}"

    def home() -> str:
        elsewhere = os.environ.get(HOME)
        if elsewhere and Path(elsewhere) != settings.dagster_home:
            return f"{settings.dagster_home} (run and ui do not use {HOME}={elsewhere})"
        return str(settings.dagster_home)

    def ui() -> str:
        running = _recorded(_pid_file(settings))
        return f"running on port {settings.webserver_port}" if running else "not running; make ui starts it"

    def sessions(market: Market) -> str:
        return f"latest with final bars: {world.latest_session(market)}"

    def table(market: Market) -> str:
        left = calendar(market.exchange).days_left(world.now().date())
        if left < MINIMUM_DAYS_LEFT:
            raise UnknownSession(
                f"Only {left} days of the session table of {market.exchange} remain",
                "Extend it with python -m trading_pipeline.calendars.generate",
            )
        return f"{left} days of the session table remain"

    return {
        "settings": lambda: f"{settings.world} world, provider {settings.market_data_provider}",
        "state folder": state_folder,
        "warehouse": warehouse,
        "lake": lake,
        "provider": provider,
        "watchlist": watchlist,
        "dbt": lambda: f"manifest at {prepared_manifest()}",
        "Dagster home": home,
        "UI": ui,
        **{f"{market.name} session": partial(sessions, market) for market in markets},
        **{f"{market.name} calendar": partial(table, market) for market in markets},
    }


def _asked(world: World, market: Market) -> str:
    """Asks the provider for the benchmark's latest bars: the one proof that it answers."""
    from trading_pipeline.providers.base import SymbolRequest

    now = world.now()
    last = world.latest_session(market)
    symbol = world.instruments(market).provider_symbol(
        world.index_of(market).benchmark, world.provider.name, calendar(market.exchange).local_date(now)
    )
    if not world.provider.covers(symbol):
        return f"holds bars up to {last}, none of {symbol}"
    batch = world.provider.daily_bars([SymbolRequest(symbol, last - timedelta(days=7), last)], now=now)
    for failure in batch.failures:
        raise failure.error
    return f"answers: {symbol} has a bar of {batch.bars['session'].to_list()[-1]}"


def _pid_file(settings: Settings) -> Path:
    return settings.world_dir / "ui.pids"


def _require_free_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AlreadyRunning(
                f"Port {port} on {host} cannot be used ({error.strerror})",
                "Stop what uses it (make stop ends an older UI), or set WEBSERVER_PORT to another",
            ) from None


def _await_port(settings: Settings, children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until the webserver answers, or one of the processes has ended."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and all(child.poll() is None for child in children):
        try:
            socket.create_connection((settings.webserver_host, settings.webserver_port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return


def _record(process: psutil.Process) -> str:
    """A line of the pid file. Pids are used again, and the file outlives a restart: the start time tells them apart."""
    return f"{process.pid} {process.create_time()}\n"


def _recorded(file: Path) -> list[psutil.Process]:
    """The processes of a pid file that still run."""
    import psutil

    running = []
    for line in file.read_text().splitlines() if file.exists() else []:
        pid, _, created = line.partition(" ")
        try:
            process = psutil.Process(int(pid))
            if str(process.create_time()) == created and process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
        except (psutil.Error, ValueError):
            continue
    return running


def _end(leaders: Sequence[psutil.Process]) -> None:
    """End process groups with all that they started: asked first, killed after `STOP_SECONDS`."""
    import psutil

    everyone = list(leaders)
    for leader in leaders:
        try:
            everyone += leader.children(recursive=True)
            os.killpg(leader.pid, signal.SIGTERM)
        except (psutil.Error, ProcessLookupError):
            continue
    deadline = time.monotonic() + STOP_SECONDS
    while any(_is_alive(process) for process in everyone) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in everyone:
        if _is_alive(process):
            process.kill()


def _is_alive(process: psutil.Process) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
