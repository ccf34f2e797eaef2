"""The shared harness of the promises: sites on which real jobs run, and how two of them are compared.

A *site* is a world of its own: a lake in a folder, two databases on the tests' server, an ephemeral Dagster instance,
the simulated market and a clock that the test sets. Session assets are found in the definitions by themselves, so an
asset is covered on the day it is added.

`Worker` is the process of the crash tests: it runs one job and kills itself, without a farewell, before or after its
n-th write.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import dagster as dg
import polars as pl
import psycopg
from psycopg import sql

from trading_pipeline.assets import backtests, live
from trading_pipeline.automation import backtest_runs, jobs
from trading_pipeline.automation.sensors import range_tags
from trading_pipeline.backtesting.configurations import found
from trading_pipeline.clock import fixed_clock
from trading_pipeline.definitions import build_definitions
from trading_pipeline.live.clocks import SimulatedClock
from trading_pipeline.markets import US, Market
from trading_pipeline.providers.base import DailyBarsBatch
from trading_pipeline.providers.intraday import IntradayBatch
from trading_pipeline.providers.reference import ReferenceBatch
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import Settings, load_settings
from trading_pipeline.tables import ALL_TABLES, Kind
from trading_pipeline.world import World

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
CLOCKS = ("known_at", "computed_at", "superseded_at", "created_at", "updated_at")
TICKERS = 40

Twist = Callable[[Any], Any]


def session_asset_names(market: Market = US) -> list[str]:
    """Names of every asset of the market that is partitioned by session, found in the definitions.

    Those of the live session are made tick by tick, those of backtests by configuration: they have their own promises.
    """
    graph = build_definitions(load_settings()).resolve_asset_graph()
    return sorted(
        key.path[-1]
        for key in graph.get_all_asset_keys()
        if key.path[0] == market.name
        and graph.get(key).partitions_def is not None
        and graph.get(key).group_name not in (live.GROUP, backtests.GROUP)
    )


class TwistedWorld(World):
    """A world whose providers pass through `twist` before they are asked."""

    twist: Twist | None = None

    @cached_property
    def provider(self) -> Any:
        """The settings' provider, twisted."""
        plain = World.provider.func(self)  # type: ignore[attr-defined]
        return self.twist(plain) if self.twist else plain

    @cached_property
    def intraday_provider(self) -> Any:
        """The settings' provider of minutes, twisted."""
        plain = World.intraday_provider.func(self)  # type: ignore[attr-defined]
        return self.twist(plain) if self.twist else plain


@dataclass
class Site:
    """A world of its own under `folder`, on databases named after `database_url`."""

    folder: Path
    database_url: str
    market: Market = US
    provider: dict[str, Any] = field(default_factory=lambda: {"market_data_provider": "simulated"})
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)
    checked: bool = True
    """Whether asset checks are run with the assets."""

    @cached_property
    def settings(self) -> Settings:
        """Settings of the site: the simulated market unless `provider` says otherwise, everything in its own folder."""
        return load_settings(
            **self.provider,
            simulated_tickers=TICKERS,
            state_dir=self.folder,
            database_url=self.database_url,
            lake_url=f"file://{self.folder / 'lake'}",
            watchlist_file=self.folder / "watchlist.txt",
        )

    def world(self, now: datetime, twist: Twist | None = None) -> World:
        """The site's world at the moment `now`."""
        world = TwistedWorld(self.settings, fixed_clock(now))
        world.twist = twist
        return world

    def trading_world(self, now: datetime) -> World:
        """The site's world from the moment `now` on, on a clock that goes on as far as somebody waits."""
        clock = SimulatedClock(now)
        return World(self.settings, clock, sleep=clock.sleep)

    def run(self, job: str, first: date, last: date, **how: Any) -> dg.ExecuteInProcessResult:
        """Run a job for the sessions from `first` to `last`; `how` is that of `ready`."""
        return self.ready(job, first, last, **how)()

    def ready(
        self,
        job: str,
        first: date,
        last: date,
        *,
        now: datetime | None = None,
        twist: Twist | None = None,
        without: Sequence[str] = (),
        only: Sequence[str] = (),
        checked: bool | None = None,
        partition: str | None = None,
    ) -> Callable[[], dg.ExecuteInProcessResult]:
        """A job ready to run for the sessions from `first` to `last`, at `now` (default: when what it receives became
        final); nothing is opened before it runs.

        without: names of assets that are left out. only: where given, names of the assets that are run. checked: with
        their checks or without (default: as the site says). partition: of a job that is not partitioned by session, the
        one it is run for; the configurations of backtests are registered for it.
        """
        minutes = job in (jobs.premarket_name(self.market), jobs.minutes_name(self.market))
        moment = now or final_at(self.market, last) + (POST_MARKET if minutes else timedelta(0))
        if job == jobs.live_name(self.market):
            opens = now or calendar(self.market.exchange).open_at(last) - timedelta(minutes=5)
            definitions = build_definitions(self.settings, open_world=lambda: self.trading_world(opens))
        else:
            definitions = build_definitions(self.settings, open_world=lambda: self.world(moment, twist))
        resolved = definitions.resolve_job_def(job)
        # The session assets alone: the marts hold no session and have tests of their own.
        selected = [
            key
            for key in resolved.asset_layer.executable_asset_keys
            if key.path[0] == self.market.name and key.path[-1] not in without and (not only or key.path[-1] in only)
        ]
        how: dict[str, Any] = {"asset_selection": selected}
        if not (self.checked if checked is None else checked):
            resolved = resolved.get_subset(asset_selection=set(selected), asset_check_selection=set())
            how = {}
        if partition is not None:
            backtest_runs.registered(self.instance, self.market, found(self.settings))
        one = partition or (last.isoformat() if first == last else None)
        return partial(
            resolved.execute_in_process,
            instance=self.instance,
            tags={"dagster/partition": one} if one else range_tags(first, last),
            run_config=QUIET,
            **how,
        )

    def copy_to(self, other: Site) -> Site:
        """Make `other` what this site is now: its lake and its rows."""
        shutil.copytree(self.folder, other.folder, dirs_exist_ok=True)
        old, new = (f"{urlsplit(site.database_url).path.strip('/')}_simulated" for site in (self, other))
        with psycopg.connect(
            self.database_url.replace(urlsplit(self.database_url).path, "/postgres"), autocommit=True
        ) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(new), sql.Identifier(old))
            )
        return other

    def publish(self, bars_from: date, first: date, last: date, **how: Any) -> None:
        """Fill the bars from `bars_from` and publish the decisions from `first`, both up to `last`, in one run each."""
        self.run(jobs.market_data_name(self.market), bars_from, last, **how)
        self.run(jobs.decisions_name(self.market), first, last, **how)
        self.run(jobs.premarket_name(self.market), first, last, only=PREMARKET, **how)

    def live_through(self, first: date, last: date, **how: Any) -> None:
        """Run everything for the sessions from `first` to `last`: what is made after the close, and the premarket."""
        self.run(jobs.end_of_day_name(self.market), first, last, **how)
        self.run(jobs.premarket_name(self.market), first, last, only=PREMARKET, **how)

    def contents(self, name: str, sessions: Sequence[date]) -> pl.DataFrame:
        """What an asset holds for `sessions`, without the clocks of writing, in a fixed order.

        Session tables: every version. Decision tables: the latest. `market_data`: its rows in the warehouse. Anything
        else: its file, line by line.
        """
        world = self.world(final_at(self.market, sessions[-1]))
        try:
            if name == "market_data":
                frame = world.warehouse.query(
                    "SELECT * FROM market_data WHERE market = %(market)s AND date BETWEEN %(first)s AND %(last)s",
                    {"market": self.market.name, "first": sessions[0], "last": sessions[-1]},
                )
                # Refreshed from the adjustment factors by definition; nothing downstream reads it.
                frame = frame.drop("adjusted_close").sort("ticker", "date")
            elif name in ALL_TABLES and ALL_TABLES[name].kind is Kind.DECISION:
                frame = world.lake.latest(self.market.name, name, list(sessions))
            elif name in ALL_TABLES:
                table = ALL_TABLES[name]
                frame = world.lake.read_sessions(self.market.name, name, list(sessions)).sort(table.key_columns)
            else:
                frame = self._pages(name, sessions)
        finally:
            world.close()
        return frame.drop(column for column in CLOCKS if column in frame.columns)

    def versions(self, name: str, sessions: Sequence[date]) -> pl.DataFrame:
        """Every row an asset holds for `sessions`, its clocks included: what idempotence must leave untouched."""
        world = self.world(final_at(self.market, sessions[-1]))
        try:
            if name == "market_data":
                return world.warehouse.query(
                    "SELECT * FROM market_data WHERE market = %(market)s AND date BETWEEN %(first)s AND %(last)s "
                    "ORDER BY ticker, date",
                    {"market": self.market.name, "first": sessions[0], "last": sessions[-1]},
                )
            if name in ALL_TABLES:
                frame = world.lake.read_sessions(self.market.name, name, list(sessions))
                return frame.sort([column for column in frame.columns if frame[column].dtype != pl.List])
            return self._pages(name, sessions)
        finally:
            world.close()

    def _pages(self, name: str, sessions: Sequence[date]) -> pl.DataFrame:
        root = Path(urlsplit(self.settings.lake_root).path) / self.market.name / "reports" / name
        lines = [
            (session, number, line)
            for session in sessions
            for number, line in enumerate((root / f"{session}.html").read_text().splitlines())
        ]
        page = pl.DataFrame(lines, schema={"session": pl.Date, "line": pl.Int64, "text": pl.String}, orient="row")
        return page.filter(~pl.col("text").str.contains("Known as of|Page made"))


def forgetful_instance() -> dg.DagsterInstance:
    """An instance that keeps no event of a single partition, for runs whose tables alone are looked at.

    In memory each such event costs 7 ms: two thirds of filling the year that lookbacks need.
    """
    instance = dg.DagsterInstance.ephemeral()
    log = instance.event_log_storage
    keep = log.store_event

    def store_event(event: dg.EventLogEntry) -> None:
        if event.dagster_event is None or event.dagster_event.event_type not in _OF_PARTITIONS:
            keep(event)

    log.store_event = store_event  # type: ignore[method-assign]
    return instance


_OF_PARTITIONS = {
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.ASSET_OBSERVATION,
}


POST_MARKET = timedelta(hours=5)
"""From when daily bars are final until the minutes after the close are."""


def final_at(market: Market, session: date) -> datetime:
    """The moment from which the bars of `session` are final."""
    return calendar(market.exchange).close_at(session) + market.data_lag


def differences(name: str, ours: pl.DataFrame, theirs: pl.DataFrame) -> list[str]:
    """How two contents differ: keys exactly, floats beyond 1e-9 (relative); empty when they are the same."""
    if ours.columns != theirs.columns:
        return [f"{name}: columns {ours.columns} and {theirs.columns}"]
    if ours.height != theirs.height:
        return [f"{name}: {ours.height} and {theirs.height} rows"]
    found = []
    for column in ours.columns:
        left, right = ours[column], theirs[column]
        near = _near(left, right) if left.dtype.is_float() else left.eq_missing(right)
        if not near.all():
            row = near.arg_min()
            found.append(f"{name}.{column}: {left[row]!r} and {right[row]!r} in {ours.row(row, named=True)}")
    return found


def _near(left: pl.Series, right: pl.Series) -> pl.Series:
    frame = pl.DataFrame({"left": left, "right": right})
    scale = pl.max_horizontal(pl.col("left").abs(), pl.col("right").abs(), pl.lit(1e-3))
    return frame.select(
        pl.when(pl.col("left").is_null() | pl.col("right").is_null())
        .then(pl.col("left").is_null() & pl.col("right").is_null())
        .otherwise((pl.col("left") - pl.col("right")).abs() <= 1e-9 * scale)
    ).to_series()


@dataclass
class OtherFuture:
    """A provider that says something else of everything after `last`: what must not move the past."""

    plain: Any
    last: date

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)

    def daily_bars(self, requests: Any, **how: Any) -> DailyBarsBatch:
        """The plain answer, with prices after `last` moved by a third, volumes by a half."""
        batch = self.plain.daily_bars(requests, **how)
        after = pl.col("session") > self.last
        prices = [pl.when(after).then(pl.col(name) * 4 / 3).otherwise(pl.col(name)) for name in _PRICES]
        batch.bars = batch.bars.with_columns(
            *prices, volume=pl.when(after).then(pl.col("volume") * 1.5).otherwise(pl.col("volume"))
        )
        return batch

    def fundamentals(self, *given: Any, **how: Any) -> ReferenceBatch:
        """The plain answer, in which what becomes available after `last` is half the price and twice the debt."""
        return self._other(
            self.plain.fundamentals(*given, **how),
            price=pl.col("price") / 2,
            debt_to_equity=pl.col("debt_to_equity") * 2,
            sector=pl.lit("Energy"),
        )

    def statements(self, *given: Any, **how: Any) -> ReferenceBatch:
        """The plain answer, every later figure doubled."""
        return self._other(self.plain.statements(*given, **how), value=pl.col("value") * 2)

    def earnings(self, *given: Any, **how: Any) -> ReferenceBatch:
        """The plain answer, later told dates three days later and results of another sign."""
        return self._other(
            self.plain.earnings(*given, **how),
            report_date=pl.col("report_date") + timedelta(days=3),
            eps_actual=-pl.col("eps_actual"),
        )

    def news(self, *given: Any, **how: Any) -> ReferenceBatch:
        """The plain answer, every later headline another one."""
        return self._other(self.plain.news(*given, **how), title=pl.lit("Shares plunge after fraud probe"))

    def intraday_bars(self, *given: Any, **how: Any) -> IntradayBatch:
        """The plain answer, in which every minute of a later session has another price."""
        batch = self.plain.intraday_bars(*given, **how)
        after = pl.col("started_at") > final_at(US, self.last) + POST_MARKET
        batch.bars = batch.bars.with_columns(
            pl.when(after).then(pl.col(name) * 4 / 3).otherwise(pl.col(name)) for name in _PRICES[:4]
        )
        return batch

    def _other(self, batch: ReferenceBatch, **changed: pl.Expr) -> ReferenceBatch:
        after = pl.col("available_at") > final_at(US, self.last)
        batch.rows = batch.rows.with_columns(
            pl.when(after).then(told).otherwise(pl.col(name)).alias(name) for name, told in changed.items()
        )
        return batch


_PRICES = ("open", "high", "low", "close", "adj_close")


def steps_of(site: Site, job: str, only: Collection[str] = ()) -> list[list[str]]:
    """Names of the session assets that each step of `job` makes, in an order in which they can run.

    only: where given, steps that make none of these are left out.
    """
    definitions = build_definitions(site.settings)
    graph = definitions.resolve_asset_graph()
    wanted = definitions.resolve_job_def(job).asset_layer.executable_asset_keys
    steps: list[list[str]] = []
    for level in graph.toposorted_asset_keys_by_level:
        for key in sorted(set(level) & wanted):
            made_with_it = sorted(str(each.path[-1]) for each in graph.get(key).execution_set_asset_keys)
            if only and not set(only) & set(made_with_it):
                continue
            if key.path[0] == site.market.name and made_with_it not in steps:
                steps.append(made_with_it)
    return steps


@dataclass(frozen=True)
class Fate:
    """How a worker ended: its exit code (-9: killed), how often it wrote, and what it complained of."""

    exit_code: int
    writes: int
    complaint: str


class Worker:
    """A process of its own that has a job ready to run for one session (or another partition, known at that session) on
    a site, and forks a child for each run.

    Getting ready takes longer than most steps run. Nothing that has threads or connections is used before the fork.
    """

    def __init__(
        self, site: Site, job: str, session: date, *, only: Sequence[str] = (), partition: str | None = None
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._orders, orders = context.Pipe()
        self._process = context.Process(
            target=_stand_by, args=(site.folder, site.database_url, job, session, tuple(only), partition, orders)
        )
        self._process.start()
        orders.close()

    def start(self, die_at: int = 0, after: bool = False) -> Worker:
        """Run the job in a child; with `die_at` it is killed at that write, before or `after` it."""
        self._orders.send((die_at, after))
        return self

    def end(self, timeout: float = 300) -> Fate:
        """Wait for the child that was started last."""
        if not self._orders.poll(timeout):
            raise TimeoutError(f"a worker took more than {timeout} s")
        return Fate(*self._orders.recv())

    def close(self) -> None:
        """End the process."""
        self._orders.close()
        self._process.join(30)


def _stand_by(
    folder: Path,
    database_url: str,
    job: str,
    session: date,
    only: Sequence[str],
    partition: str | None,
    orders: Any,
) -> None:
    site = Site(folder, database_url, instance=forgetful_instance(), checked=False)
    run = site.ready(job, session, session, only=only, partition=partition)
    if partition is not None:
        import vectorbt  # noqa: F401 - seconds that each child would take
    while True:
        try:
            die_at, after = orders.recv()
        except EOFError:
            return
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(told)
            _run_and_tell(run, _Killer(die_at, after), tell)
        os.close(tell)
        with os.fdopen(told) as said:
            writes, _, complaint = said.read().partition("\n")
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        orders.send((status, int(writes or 0), complaint))


def _run_and_tell(run: Callable[[], Any], killer: _Killer, tell: int) -> NoReturn:
    from trading_pipeline.storage import files
    from trading_pipeline.storage.lake import Lake
    from trading_pipeline.storage.live_store import OpenBook
    from trading_pipeline.storage.warehouse import Warehouse

    killer.around(Lake, "_write")
    killer.around(Lake, "_delete")
    killer.around(Warehouse, "replace")
    killer.around(Warehouse, "replace_result")
    killer.around(Warehouse, "publish")
    killer.around(files, "put_text")
    killer.around(OpenBook, "commit_tick")
    complaint = ""
    try:
        run()
    except BaseException:  # noqa: BLE001 - told to whoever waits, then the process ends
        complaint = traceback.format_exc()
    with os.fdopen(tell, "w") as out:
        out.write(f"{killer.writes}\n{complaint}")
    os._exit(1 if complaint else 0)


class _Killer:
    """Counts writes and kills this process before or after the one it was told."""

    def __init__(self, die_at: int, after: bool) -> None:
        self.die_at = die_at
        self.after = after
        self.writes = 0

    def around(self, owner: Any, name: str) -> None:
        """Let every call of `owner.name` count as a write."""
        plain = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.writes += 1
            mine = self.writes
            if mine == self.die_at and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = plain(*args, **kwargs)
            if mine == self.die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, counted)


def days_before(market: Market, session: date, count: int) -> date:
    """The session `count` sessions before `session`."""
    return calendar(market.exchange).offset(session, -count)


LAST = date(2024, 3, 15)
XNYS = calendar("XNYS")
BARS_FROM = XNYS.offset(LAST, -270)
FIRST = XNYS.offset(LAST, -2)
EVE = XNYS.offset(FIRST, -1)
SPAN = XNYS.between(FIRST, LAST)
PREMARKET = ("intraday_bars", "intraday_issues", "premarket_snapshots", "daily_bias", "premarket_briefing")
ASSETS = session_asset_names()
RECEIVED = {table.name for table in ALL_TABLES.values() if table.kind is Kind.RECEIVED}
DERIVED = [name for name in ASSETS if name not in RECEIVED]
