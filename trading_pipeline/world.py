"""A world: one provider's reality, with the lake, the warehouse and the clock that belong to it.

The simulated and the real world own separate lake roots, databases and Dagster homes, so fictional tickers never share
a table or a green partition with real ones. What belongs here: opening what the settings name, once, when it is first
used. What does not: what is done with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Protocol

import polars as pl

from trading_pipeline.clock import Clock, system_clock
from trading_pipeline.markets import Market
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import Settings
from trading_pipeline.tables import UNIVERSE_MEMBERS

if TYPE_CHECKING:
    from trading_pipeline.instruments import Instruments
    from trading_pipeline.providers.base import BarProvider
    from trading_pipeline.storage.lake import Lake
    from trading_pipeline.storage.server import Databases
    from trading_pipeline.storage.warehouse import Warehouse


class Progress(Protocol):
    """Receives how far long work has come; `done` of `total` units of `task`."""

    def __call__(self, task: str, done: int, total: int) -> None: ...


def silent(task: str, done: int, total: int) -> None:
    """The progress of runs that nobody watches."""


@dataclass(frozen=True)
class Index:
    """The instruments a market is measured by; None where the provider quotes none."""

    benchmark: str
    volatility: str | None


class World:
    """Everything a run needs of the outside, opened on first use and closed by `close`."""

    def __init__(self, settings: Settings, clock: Clock = system_clock, progress: Progress = silent) -> None:
        self.settings = settings
        self.clock = clock
        self.progress = progress

    def anew(self) -> World:
        """Another world on the same settings, clock and progress, with nothing opened yet: one for each run."""
        return type(self)(self.settings, self.clock, self.progress)

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
        from trading_pipeline.storage.rate_limits import PostgresThrottle

        return provider_named(
            self.settings,
            throttle_factory=lambda name, quota: PostgresThrottle(
                self.warehouse, name, quota.rate_per_second, quota.burst
            ),
        )

    def now(self) -> datetime:
        """The present moment of this world, UTC."""
        return self.clock()

    @cached_property
    def as_of(self) -> datetime:
        """The one moment as of which everything derived in this world is computed: when it was first asked for."""
        return self.now()

    def latest_session(self, market: Market) -> date:
        """The last session whose bars are final by now and that the provider can tell of."""
        closed = calendar(market.exchange).latest_closed(self.now(), market.data_lag)
        told = self.provider.latest_session(market, self.now())
        return closed if told is None else min(closed, told)

    @lru_cache  # noqa: B019 - one world lives as long as its process's run
    def instruments(self, market: Market) -> Instruments:
        """Permanent ids of the market's symbols, with the renames this world's provider knows of."""
        from trading_pipeline.instruments import registry

        return registry(market, extra_spans=getattr(self.provider, "renames", None))

    def index_of(self, market: Market) -> Index:
        """Instrument ids of the market's benchmark and volatility index in this world."""
        benchmark, volatility = self.index_tickers(market)
        symbols = [benchmark, *([volatility] if volatility else [])]
        ids = self.instruments(market).ids_of(symbols, self.now().date())
        return Index(ids[0], ids[1] if volatility else None)

    def index_tickers(self, market: Market) -> tuple[str, str | None]:
        """Tickers of the benchmark and the volatility index: the provider's own where it has a market of its own."""
        own = getattr(self.provider, "index_tickers", None)
        if own is not None:
            return own(market)  # type: ignore[no-any-return]
        return market.benchmark, market.volatility_index

    def universes_of(self, market: Market) -> tuple[str, ...]:
        """Keys of the universes of the market in this world."""
        from trading_pipeline.universes import WATCHLIST

        own = getattr(self.provider, "universe_keys", None)
        keys = tuple(own(market)) if own is not None else market.universes
        if own is not None and self.name == "real":
            keys = (*keys, *market.universes)
        return (*keys, WATCHLIST)

    @property
    def name(self) -> str:
        """`simulated` or `real`."""
        return self.settings.world

    def universe_members(self, market: Market, sessions: Sequence[date]) -> pl.DataFrame:
        """Members of every universe of the market on `sessions`: columns of `universe_members`.

        A files provider brings its own universe beside the market's; the simulated market has only its own.
        """
        from trading_pipeline import universes

        frames = []
        own = getattr(self.provider, "members", None)
        own_keys = tuple(self.provider.universe_keys(market)) if own is not None else ()  # type: ignore[attr-defined]
        registry = self.instruments(market)
        for key in self.universes_of(market):
            if key in own_keys:
                rows = own(market, key, sessions)  # type: ignore[misc]
                symbols = rows["ticker"].unique().sort().to_list()
                ids = pl.DataFrame(
                    {"ticker": symbols, "instrument_id": registry.ids_of(symbols, self.now().date())},
                    schema={"ticker": pl.String, "instrument_id": pl.String},
                )
                frames.append(rows.join(ids, on="ticker", how="left"))
            elif key != universes.WATCHLIST:
                frames.append(universes.members(market, key, sessions))
        members = pl.concat([frame.select(UNIVERSE_MEMBERS.names) for frame in frames])
        return members.sort(UNIVERSE_MEMBERS.key)

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


def forming_until(market: Market, session: date) -> datetime:
    """When the bar of `session` stops forming at the providers: its close plus the market's lag."""
    return calendar(market.exchange).close_at(session) + max(market.data_lag, timedelta(0))
