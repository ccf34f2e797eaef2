"""A world: one provider's reality, with the lake, the warehouse and the clock that belong to it.

The simulated and the real world own separate lake roots, databases and Dagster homes, so fictional tickers never share
a table or a green partition with real ones. What belongs here: opening what the settings name, once, when it is first
used. What does not: what is done with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from trading_pipeline.clock import Clock, system_clock
from trading_pipeline.errors import InputRefused, LiveOnly, UnknownName
from trading_pipeline.markets import Market
from trading_pipeline.providers.base import UniverseProvider
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import Settings
from trading_pipeline.settings import World as WorldName
from trading_pipeline.tables import (
    INTRADAY_BARS,
    MOMENT,
    RECEIVED_BARS,
    RECEIVED_EARNINGS,
    RECEIVED_FUNDAMENTALS,
    RECEIVED_NEWS,
    RECEIVED_STATEMENTS,
    RECEIVED_WATCHLIST,
    UNIVERSE_MEMBERS,
    Table,
)

if TYPE_CHECKING:
    from trading_pipeline.ingest import IngestReport
    from trading_pipeline.ingest_intraday import IntradayReport
    from trading_pipeline.ingest_reference import ReferenceReport
    from trading_pipeline.instruments import Instruments
    from trading_pipeline.providers.base import BarProvider, Quota, Throttle
    from trading_pipeline.providers.base import Progress as ProviderProgress
    from trading_pipeline.providers.intraday import IntradayProvider
    from trading_pipeline.providers.reference import EarningsProvider, FundamentalsProvider, NewsProvider
    from trading_pipeline.research.macro import SeriesKind
    from trading_pipeline.storage.lake import Lake
    from trading_pipeline.storage.server import Databases
    from trading_pipeline.storage.warehouse import Warehouse

DIP_DESK = "DIP_DESK"
"""The live universe that is the dip desk's."""
EARNINGS_AHEAD = timedelta(days=100)
"""How far ahead reports are asked for: a quarter and a week."""
NEWS_BACK = 15
"""Sessions of news that are asked for again: late articles, and sessions on which nobody asked."""


class Progress(Protocol):
    """Receives how far long work has come; `done` of `total` units of `task`."""

    def __call__(self, task: str, done: int, total: int) -> None:
        """`done` of `total` units of `task` are over."""
        ...


def silent(task: str, done: int, total: int) -> None:
    """The progress of runs that nobody watches."""


@dataclass(frozen=True)
class Index:
    """The instruments a market is measured by; None where the provider quotes none."""

    benchmark: str
    volatility: str | None


class World:
    """Everything a run needs of the outside, opened on first use and closed by `close`."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock = system_clock,
        progress: Progress = silent,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.progress = progress
        self.sleep = sleep
        self._instruments: dict[str, Instruments] = {}

    def anew(self) -> World:
        """Another world on the same settings, clock and progress, with nothing opened yet: one for each run."""
        return type(self)(self.settings, self.clock, self.progress, self.sleep)

    @cached_property
    def databases(self) -> Databases:
        """The warehouse's and Dagster's databases; starts the embedded server where no other is set."""
        from trading_pipeline.storage.server import databases

        return databases(self.settings)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse, migrated to the present schema."""
        from trading_pipeline.storage.warehouse import Warehouse

        warehouse = Warehouse(self.databases.warehouse)
        warehouse.migrate()
        return warehouse

    @cached_property
    def lake(self) -> Lake:
        """The lake of this world."""
        from trading_pipeline.storage.lake import Lake

        return Lake.of(self.settings, self.warehouse)

    @cached_property
    def provider(self) -> BarProvider:
        """The provider the settings name, throttled through Postgres so that all processes share its quota."""
        from trading_pipeline.providers.registry import provider_named

        return provider_named(self.settings, throttle_factory=self._throttle)

    @property
    def name(self) -> WorldName:
        """`simulated` or `real`."""
        return self.settings.world

    def now(self) -> datetime:
        """The present moment of this world, UTC."""
        return self.clock()

    @cached_property
    def as_of(self) -> datetime:
        """The one moment as of which everything derived in this world is computed: when it was first asked for.

        A receipt sets it anew: steps of a run that read one table may come before another is received, and what they
        saw of theirs is what there is of it.
        """
        return self.now()

    def _received_more(self) -> None:
        self.__dict__.pop("as_of", None)

    def latest_session(self, market: Market) -> date:
        """The last session whose bars are final by now and that the provider can tell of."""
        closed = calendar(market.exchange).latest_closed(self.now(), market.data_lag)
        told = self.provider.latest_session(market, self.now())
        return closed if told is None else min(closed, told)

    def instruments(self, market: Market) -> Instruments:
        """Permanent ids of the market's symbols, with the renames this world's provider tells of."""
        if market.name not in self._instruments:
            from trading_pipeline.instruments import registry

            self._instruments[market.name] = registry(market, extra_spans=getattr(self.provider, "renames", None))
        return self._instruments[market.name]

    def index_tickers(self, market: Market) -> tuple[str, str | None]:
        """Tickers of the benchmark and the volatility index: the provider's own where it has a market of its own."""
        own = getattr(self.provider, "index_tickers", None)
        return own(market) if own is not None else (market.benchmark, market.volatility_index)

    def index_of(self, market: Market) -> Index:
        """Instrument ids of the market's benchmark and volatility index in this world."""
        benchmark, volatility = self.index_tickers(market)
        ids = self.instruments(market).ids_of([benchmark, *([volatility] if volatility else [])], self.now().date())
        return Index(ids[0], ids[1] if volatility else None)

    def universes_of(self, market: Market) -> tuple[str, ...]:
        """Keys of the universes of the market in this world: the market's own, unless the market is a simulated one,
        and those the provider brings."""
        markets_own = market.universes if self.name == "real" else ()
        brought = self.provider.universe_keys(market) if isinstance(self.provider, UniverseProvider) else ()
        return tuple(dict.fromkeys([*markets_own, *brought]))

    def coverage_thresholds(self, market: Market) -> dict[str, float]:
        """Thresholds of survivorship coverage that differ from the universes' own.

        A file holds what it holds: how much of an index that is, is shown and not judged.
        """
        return dict.fromkeys(market.universes, 0.0) if self.provider.name == "files" else {}

    def universe_members(self, market: Market, sessions: Sequence[date]) -> pl.DataFrame:
        """Members of every universe of the market on `sessions`: columns of `universe_members`, sorted by its key.

        A files provider brings its own universe beside the market's; the simulated market has only its own.
        """
        from trading_pipeline import universes

        registry = self.instruments(market)
        own = self.provider.universe_keys(market) if isinstance(self.provider, UniverseProvider) else ()
        frames = [UNIVERSE_MEMBERS.empty()]
        for key in self.universes_of(market):
            if key not in own:
                frames.append(universes.members(market, key, sessions).select(UNIVERSE_MEMBERS.names))
                continue
            rows = self._brought(market, key, sessions)
            symbols = rows["ticker"].unique().sort().to_list()
            ids = pl.DataFrame(
                {"ticker": symbols, "instrument_id": registry.ids_of(symbols, self.now().date())},
                schema={"ticker": pl.String, "instrument_id": pl.String},
            )
            known = registry.tickers_on(rows.join(ids, on="ticker", how="left"))
            frames.append(known.select(UNIVERSE_MEMBERS.names))
        watched = self.lake.read(market.name, RECEIVED_WATCHLIST.name)
        frames.append(universes.watchlist_members(watched, sessions, market, registry).select(UNIVERSE_MEMBERS.names))
        # A file or a watchlist names tickers, not sectors: where the seeds know one, it is used.
        rows = pl.concat(frames).join(universes.known_sectors(), on="instrument_id", how="left", suffix="_known")
        return (
            rows.with_columns(pl.coalesce("sector", "sector_known"))
            .select(UNIVERSE_MEMBERS.names)
            .sort(UNIVERSE_MEMBERS.key)
        )

    def watched(self, market: Market) -> list[str]:
        """Tickers of the market in the watchlist file as it is now; no file is an empty list.

        `InputRefused` names every line that cannot be read.
        """
        from trading_pipeline.universes import parse_watchlist

        path = self.settings.watchlist_file
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = ""
        except (OSError, UnicodeDecodeError) as error:
            raise InputRefused(f"{path} cannot be read ({error})", "Make it a readable UTF-8 text file") from None
        return parse_watchlist(text, market, str(path))

    def receive_watchlist(self, market: Market) -> pl.DataFrame:
        """Read the watchlist file and store what changed since it was last read; the rows stored."""
        from trading_pipeline.universes import watchlist_changes

        tickers = self.watched(market)
        with self.lake.lock(market.name, RECEIVED_WATCHLIST.name):
            entries = self.lake.read(market.name, RECEIVED_WATCHLIST.name)
            changes = watchlist_changes(entries, tickers, market, self.now(), self.instruments(market))
            self.lake.append(market.name, RECEIVED_WATCHLIST.name, changes)
        self._received_more()
        return changes

    def receive(self, market: Market, members: pl.DataFrame, sessions: Sequence[date]) -> IngestReport:
        """Ask the provider for the bars of `members` [instrument_id, …] and of the indices, and store what is new.

        Each symbol is asked of the one provider that quotes it; what none does (an index member that a file does not
        hold) is not asked for, and shows in the survivorship coverage. An instrument of which nothing is stored is
        asked for since the provider's first stored session: a 52-week high needs the year before the name came up.
        """
        from trading_pipeline.ingest import IngestReport, merged, receive
        from trading_pipeline.providers.registry import routes

        index = self.index_of(market)
        ids = sorted(
            {
                *members["instrument_id"].unique(),
                *self.macro_instruments(market),
                index.benchmark,
                *([index.volatility] if index.volatility else []),
            }
        )
        wanted = self._spelled(market, ids, sessions)
        begun = (
            self.lake.scan(market.name, RECEIVED_BARS)
            .group_by("provider", "instrument_id")
            .agg(pl.col("session").min())
            .collect()
        )
        reports = []
        for provider, symbols in routes(self.provider, list(wanted)):
            stored = begun.filter(pl.col("provider") == provider.name)
            known = set(stored["instrument_id"])
            span_begins = min([*stored["session"], sessions[0]])
            asked = {sessions[0]: [symbol for symbol in symbols if wanted[symbol] in known]}
            asked[span_begins] = [*asked.get(span_begins, []), *(s for s in symbols if wanted[s] not in known)]
            reports += [
                receive(
                    provider,
                    market,
                    {symbol: wanted[symbol] for symbol in theirs},
                    self.lake,
                    now=self.now(),
                    first=first,
                    last=sessions[-1],
                    progress=lambda done, total: self.progress(f"{market.name}/received_bars", done, total),
                )
                for first, theirs in asked.items()
                if theirs or first == sessions[0]
            ]
        self._received_more()
        if not reports:
            return IngestReport(market.name, self.provider.name, sessions[0], sessions[-1], self.now())
        return merged(reports)

    def rebase(self, market: Market, ids: Sequence[str]) -> IngestReport:
        """Ask for the whole history of instruments of which bars are stored, and store what differs as revisions.

        For basis breaks that were reported and looked into; see `ingest.receive`.
        """
        from trading_pipeline.ingest import merged, receive
        from trading_pipeline.providers.registry import routes

        stored = self.lake.read(market.name, RECEIVED_BARS, columns=["instrument_id", "session"])
        sessions = stored.filter(pl.col("instrument_id").is_in(list(ids)))["session"].unique().sort().to_list()
        wanted = self._spelled(market, ids, sessions)
        return merged(
            [
                receive(
                    provider,
                    market,
                    {symbol: wanted[symbol] for symbol in symbols},
                    self.lake,
                    now=self.now(),
                    first=sessions[0],
                    everything=True,
                    rebase=ids,
                    progress=lambda done, total: self.progress(f"{market.name}/received_bars", done, total),
                )
                for provider, symbols in routes(self.provider, list(wanted))
            ]
        )

    def macro_instruments(self, market: Market) -> dict[str, tuple[str, SeriesKind]]:
        """(key of the series, its kind: index or yield) by instrument id, of the macro series this world's provider
        quotes."""
        benchmark, volatility = self.index_tickers(market)
        own = getattr(self.provider, "index_tickers", None) is not None
        named = {"benchmark": benchmark, **({"volatility_index": volatility} if volatility else {})}
        series = named if own else {**dict(market.macro), **named}
        quoted = {key: ticker for key, ticker in series.items() if self.provider.covers(ticker)}
        ids = self.instruments(market).ids_of(list(quoted.values()), self.now().date())
        return {
            id_: (key, "yield" if key.startswith("yield_") else "index") for key, id_ in zip(quoted, ids, strict=True)
        }

    def live_session(self, market: Market) -> date:
        """The session that live-only facts are told of now: the latest one that has begun."""
        exchange, now = calendar(market.exchange), self.now()
        day = exchange.on_or_before(exchange.local_date(now))
        return day if exchange.open_at(day) <= now else exchange.offset(day, -1)

    @property
    def tells_the_past(self) -> bool:
        """Whether the provider of fundamentals can tell those of past sessions (simulated, files), or today's alone."""
        return self.settings.market_data_provider in ("simulated", "files")

    @cached_property
    def fundamentals_provider(self) -> FundamentalsProvider | None:
        """Who tells fundamentals and statements; None where the settings name nobody."""
        if self.name == "simulated":
            return self.provider  # type: ignore[return-value]
        from trading_pipeline.providers.registry import fundamentals_provider

        return fundamentals_provider(self.settings, self._throttle)

    @cached_property
    def earnings_providers(self) -> Sequence[EarningsProvider]:
        """Who tells report dates and results, the first voice first."""
        if self.name == "simulated":
            return [self.provider]  # type: ignore[list-item]
        from trading_pipeline.providers.registry import earnings_providers

        return earnings_providers(self.settings, self._throttle)

    @cached_property
    def news_providers(self) -> Sequence[NewsProvider]:
        """Who tells articles."""
        if self.name == "simulated":
            return [self.provider]  # type: ignore[list-item]
        from trading_pipeline.providers.registry import news_providers

        return news_providers(self.settings, self._throttle)

    def received(
        self,
        market: Market,
        table: Table,
        first: date | None = None,
        last: date | None = None,
        among: pl.Expr | None = None,
    ) -> pl.DataFrame:
        """Every version received of a table of facts, or those `among` them, that was available by the as-of moment.

        Without the payload of snapshots, 3 to 10 KB a row that nothing derived reads.
        """
        columns = [name for name in table.names if name != "payload"]
        rows = self.lake.read(market.name, table, first, last, columns=columns, predicate=among)
        return rows.filter(pl.col("available_at") <= pl.lit(self.as_of, MOMENT)).sort(table.key_columns)

    def receive_fundamentals(self, market: Market, members: pl.DataFrame, sessions: Sequence[date]) -> ReferenceReport:
        """Ask for snapshots of `members` on `sessions`, and store what is new.

        `LiveOnly` where the provider tells today's alone and a session is over.
        """
        from trading_pipeline.ingest_reference import ReferenceReport, store
        from trading_pipeline.research.fundamentals import LOOKBACK

        report = ReferenceReport(RECEIVED_FUNDAMENTALS.name)
        provider = self.fundamentals_provider
        if provider is None:
            return replace(report, silent="No provider of fundamentals is set; FUNDAMENTALS_FILES names a file of them")
        exchange = calendar(market.exchange)
        asked = list(sessions)
        if provider.dated:
            asked = exchange.between(exchange.offset(sessions[0], -LOOKBACK), sessions[-1])
        elif asked != [self.live_session(market)]:
            raise LiveOnly(
                f"{provider.name} tells fundamentals of {self.live_session(market)} alone, not of "
                f"{asked[0]}{f' to {asked[-1]}' if len(asked) > 1 else ''}",
                "Leave received_fundamentals out for past sessions, or bring snapshots with FUNDAMENTALS_FILES",
            )
        ids = self._symbols_at(provider, market, members, sessions)
        batch = provider.fundamentals(
            market, list(ids), asked, now=self.now(), progress=self._telling(market, RECEIVED_FUNDAMENTALS)
        )
        store(report, batch, **self._place(market, RECEIVED_FUNDAMENTALS, provider.name, ids))
        self._received_more()
        return report

    def receive_statements(self, market: Market, members: pl.DataFrame, sessions: Sequence[date]) -> ReferenceReport:
        """Ask for the statements of `members`, and store what is new."""
        from trading_pipeline.ingest_reference import ReferenceReport, store
        from trading_pipeline.providers.reference import StatementsProvider

        report = ReferenceReport(RECEIVED_STATEMENTS.name)
        provider = self.fundamentals_provider
        if not isinstance(provider, StatementsProvider):
            return replace(report, silent="No provider of statements is set")
        ids = self._symbols_at(provider, market, members, sessions)
        batch = provider.statements(
            market, list(ids), now=self.now(), progress=self._telling(market, RECEIVED_STATEMENTS)
        )
        store(report, batch, **self._place(market, RECEIVED_STATEMENTS, provider.name, ids))
        self._received_more()
        return report

    def receive_earnings(self, market: Market, members: pl.DataFrame, sessions: Sequence[date]) -> ReferenceReport:
        """Ask for the reports of `members`, results back and dates ahead, and store what is new.

        The first voice is asked about everybody, the others where it has a hole or a report is near. What a provider
        told of a coming report and no longer tells is stored as withdrawn.
        """
        from trading_pipeline.ingest_reference import ReferenceReport, no_longer_told, store
        from trading_pipeline.providers.earnings_voices import EarningsVoices
        from trading_pipeline.research.earnings import LOOKBACK

        report = ReferenceReport(RECEIVED_EARNINGS.name)
        if not self.earnings_providers:
            return replace(report, silent="No provider of earnings is set")
        exchange, now = calendar(market.exchange), self.now()
        today = exchange.local_date(now)
        first = exchange.offset(sessions[0], -LOOKBACK)
        voices = EarningsVoices(self.earnings_providers).ask(
            market,
            lambda provider: self._symbols_at(provider, market, members, sessions),
            first,
            today + EARNINGS_AHEAD,
            now=now,
            progress=self._telling(market, RECEIVED_EARNINGS),
        )
        stored = self.lake.read(market.name, RECEIVED_EARNINGS)
        for voice in voices:
            name, batch = voice.provider.name, voice.batch
            answered = [voice.ids[symbol] for symbol in batch.answered if symbol in voice.ids]
            gone = no_longer_told(stored, batch.rows, name, answered, today)
            store(report, batch, gone=gone, **self._place(market, RECEIVED_EARNINGS, name, dict(voice.ids)))
        self._received_more()
        return report

    def receive_news(self, market: Market, members: pl.DataFrame, sessions: Sequence[date]) -> ReferenceReport:
        """Ask for articles about `members` since the last ones stored, with an overlap, and store what is new."""
        from trading_pipeline.ingest_reference import ReferenceReport, store
        from trading_pipeline.research.news import LOOKBACK

        report = ReferenceReport(RECEIVED_NEWS.name)
        if not self.news_providers:
            return replace(report, silent="No provider of news is set; NEWS_FEEDS or a key brings one")
        exchange, now = calendar(market.exchange), self.now()
        since = exchange.close_at(exchange.offset(sessions[0], -max(LOOKBACK, NEWS_BACK)))
        for provider in self.news_providers:
            ids = self._symbols_at(provider, market, members, sessions)
            batch = provider.news(market, list(ids), since, now, now=now, progress=self._telling(market, RECEIVED_NEWS))
            store(report, batch, **self._place(market, RECEIVED_NEWS, provider.name, ids))
        self._received_more()
        return report

    @cached_property
    def intraday_provider(self) -> IntradayProvider | None:
        """Who tells bars shorter than a session; None where the settings name nobody."""
        from trading_pipeline.providers.registry import intraday_provider_named

        return intraday_provider_named(self.settings, self._throttle)

    @property
    def intraday_priority(self) -> tuple[str, ...]:
        """Providers of intraday bars, the first voice first."""
        return () if self.intraday_provider is None else (self.intraday_provider.name,)

    def receive_intraday(self, market: Market, watched: pl.DataFrame, sessions: Sequence[date]) -> IntradayReport:
        """Ask for the minutes of `watched` [session, instrument_id, ticker], and store what is new.

        What is asked for is what is not stored whole and still told; see `ingest_intraday.receive`. `LiveOnly` where
        the provider tells none of a session any more.
        """
        from trading_pipeline.ingest_intraday import IntradayReport, receive

        provider = self.intraday_provider
        if provider is None:
            return IntradayReport(silent="No provider of intraday bars is set; INTRADAY_PROVIDER names one")
        ids = self._symbols_at(provider, market, watched, sessions)
        report = receive(
            provider,
            market,
            {symbol: id_ for symbol, id_ in ids.items() if provider.covers(symbol)},
            watched.select("instrument_id", "ticker").unique("instrument_id", keep="last", maintain_order=True),
            sessions,
            self.lake,
            now=self.now(),
            progress=self._telling(market, INTRADAY_BARS),
        )
        report.untold = sorted(symbol for symbol in ids if not provider.covers(symbol))
        self._received_more()
        return report

    def tells_minutes(self, market: Market, session: date) -> bool:
        """Whether the minutes of a session can be received: nobody tells any, or whoever does reaches back to it."""
        from trading_pipeline.ingest_intraday import reaches

        provider = self.intraday_provider
        return provider is None or reaches(provider, market, "5m", session, self.now())

    def live_universe(self, market: Market) -> str:
        """Whose names are prepared and traded in the market; `UnknownName` lists the known universes."""
        from trading_pipeline.research.dip_desk import ALL
        from trading_pipeline.universes import UNIVERSES, WATCHLIST

        chosen = self.settings.live_universe
        if chosen == DIP_DESK:
            return self.desk_universe(market)
        known = (DIP_DESK, ALL, WATCHLIST, *self.universes_of(market))
        if chosen not in (*known, *UNIVERSES):
            raise UnknownName.of("live universe", chosen, known)
        return chosen

    def premarket_session(self, market: Market) -> date:
        """The latest session whose premarket moment is reached."""
        exchange, now = calendar(market.exchange), self.now()
        day = exchange.on_or_before(exchange.local_date(now))
        reached = datetime.combine(day, market.premarket_at, exchange.timezone) <= now
        return day if reached else exchange.offset(day, -1)

    def desk_universe(self, market: Market) -> str:
        """Whose dips are analysed in the market; `UnknownName` lists the known universes."""
        from trading_pipeline.research.dip_desk import ALL, TOO_BIG_TO_FAIL
        from trading_pipeline.universes import UNIVERSES, WATCHLIST

        chosen = self.settings.dip_desk_universe
        known = (TOO_BIG_TO_FAIL, ALL, WATCHLIST, *self.universes_of(market))
        if chosen not in (*known, *UNIVERSES):
            raise UnknownName.of("dip desk universe", chosen, known)
        return chosen

    def worded(self, market: Market, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of `dip_analysis` with Claude's words where a key is set and the budget lasts; else as they are."""
        from trading_pipeline.analyst import write_words
        from trading_pipeline.storage.model_calls import PostgresLedger

        return write_words(rows, self.settings, PostgresLedger(self.warehouse), self.now())

    def _symbols_at(
        self, provider: Any, market: Market, members: pl.DataFrame, sessions: Sequence[date]
    ) -> dict[str, str]:
        """Instrument id by the symbol `provider` knows it under, of the members on `sessions`."""
        ids = sorted(members["instrument_id"].unique())
        if provider.name == self.provider.name:
            return self._spelled(market, ids, sessions)
        today = calendar(market.exchange).local_date(self.now())
        symbols = self.instruments(market).provider_symbols(ids, provider.name, today)
        return dict(zip(symbols, ids, strict=True))

    def _place(self, market: Market, table: Table, provider: str, ids: dict[str, str]) -> dict[str, Any]:
        return {
            "lake": self.lake,
            "market": market.name,
            "table": table,
            "provider": provider,
            "ids": ids,
            "now": self.now(),
        }

    def _telling(self, market: Market, table: Table) -> ProviderProgress:
        return lambda done, total: self.progress(f"{market.name}/{table.name}", done, total)

    def _throttle(self, name: str, quota: Quota) -> Throttle:
        from trading_pipeline.storage.rate_limits import PostgresThrottle

        return PostgresThrottle(self.warehouse, name, quota.rate_per_second, quota.burst)

    def _spelled(self, market: Market, ids: Sequence[str], sessions: Sequence[date]) -> dict[str, str]:
        """Instrument id by the symbol the provider knows it under, of those it quotes.

        That is today's symbol in the vendor's spelling; where the provider does not quote that, the one it uses in its
        own universes (a file may still say FB).
        """
        today = calendar(market.exchange).local_date(self.now())
        registry = self.instruments(market)
        symbols = registry.provider_symbols(ids, self.provider.name, today)
        spelled = {symbol: id_ for symbol, id_ in zip(symbols, ids, strict=True) if self.provider.covers(symbol)}
        missing = set(ids) - set(spelled.values())
        if missing and isinstance(self.provider, UniverseProvider):
            own = sorted(
                {
                    ticker
                    for key in self.provider.universe_keys(market)
                    for ticker in self._brought(market, key, sessions)["ticker"].unique()
                }
            )
            spelled |= {
                ticker: id_ for ticker, id_ in zip(own, registry.ids_of(own, today), strict=True) if id_ in missing
            }
        return spelled

    def _brought(self, market: Market, universe: str, sessions: Sequence[date]) -> pl.DataFrame:
        """Members of a universe that the provider brings, as it spells them."""
        assert isinstance(self.provider, UniverseProvider)
        return self.provider.members(market, universe, sessions)

    @contextmanager
    def held(self, lock: str) -> Iterator[None]:
        """Hold a lock of this world's database for as long as the block, or until the process dies."""
        from trading_pipeline.storage.locks import held

        with held(self.warehouse, lock):
            yield

    def close(self) -> None:
        """Give back the warehouse's connections."""
        if "warehouse" in self.__dict__:
            self.warehouse.close()
