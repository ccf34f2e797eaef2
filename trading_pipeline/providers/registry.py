"""Which provider the settings name, and which one is asked for which symbol.

What belongs here: choosing. There is no fallback: a provider that fails, fails; a symbol goes elsewhere only because
its spelling says that the chosen provider does not quote such things.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

import polars as pl

from trading_pipeline.errors import SettingsError
from trading_pipeline.markets import Market
from trading_pipeline.providers.base import (
    ACTIONS_SCHEMA,
    BARS_SCHEMA,
    BarProvider,
    DailyBarsBatch,
    Progress,
    Quota,
    SymbolRequest,
    Throttle,
    shifted,
)
from trading_pipeline.providers.intraday import IntradayProvider
from trading_pipeline.providers.reference import EarningsProvider, FundamentalsProvider, NewsProvider
from trading_pipeline.research.bars.as_traded import undo_splits
from trading_pipeline.settings import Settings

if TYPE_CHECKING:
    from trading_pipeline.providers.http import HttpProvider
    from trading_pipeline.providers.simulated import SimulatedProvider
    from trading_pipeline.providers.yahoo_events import YahooEvents

ThrottleFactory = Callable[[str, Quota], Throttle]


def provider_named(settings: Settings, throttle_factory: ThrottleFactory | None = None) -> BarProvider:
    """The provider of `settings.market_data_provider`; nothing is asked, read or opened yet.

    throttle_factory: makes the throttle of a provider from its name and quota; without one each process keeps its own
    bucket. Tiingo comes with Yahoo for what it does not quote (`.AX`, `^VIX`, `BTC-USD`). `SettingsError` where a
    setting the provider needs is missing.
    """

    def yahoo() -> BarProvider:
        from trading_pipeline.providers.yahoo import Yahoo

        return Yahoo(throttle=_throttle(throttle_factory, Yahoo))

    match settings.market_data_provider:
        case "simulated":
            return _simulated(settings)
        case "yahoo":
            return yahoo()
        case "tiingo":
            from trading_pipeline.providers.tiingo import Tiingo

            if settings.tiingo_api_key is None:
                raise SettingsError("The tiingo provider needs a key", "Set TIINGO_API_KEY; get one at tiingo.com")
            tiingo = Tiingo(settings.tiingo_api_key, throttle=_throttle(throttle_factory, Tiingo))
            return Routed(tiingo, yahoo())
        case "files":
            from trading_pipeline.providers.files import Files

            if settings.market_data_files is None:
                raise SettingsError("The files provider needs files", "Set MARKET_DATA_FILES to a file or a folder")
            return Files(settings.market_data_files)


def fundamentals_provider(
    settings: Settings, throttle_factory: ThrottleFactory | None = None
) -> FundamentalsProvider | None:
    """Who tells fundamentals beside the provider of bars: itself, Yahoo beside Tiingo; None where nobody is set."""
    match settings.market_data_provider:
        case "simulated":
            return _simulated(settings)  # type: ignore[return-value]
        case "yahoo" | "tiingo":
            from trading_pipeline.providers.yahoo_fundamentals import YahooFundamentals

            return YahooFundamentals(throttle=_throttle(throttle_factory, YahooFundamentals))
        case "files":
            from trading_pipeline.providers.fundamentals_files import FundamentalsFiles

            if settings.fundamentals_files is None:
                return None
            return FundamentalsFiles(settings.fundamentals_files)


def earnings_providers(settings: Settings, throttle_factory: ThrottleFactory | None = None) -> list[EarningsProvider]:
    """Who tells reports, the first voice first: Finnhub and API Ninjas where a key is set, Yahoo where bars are live.

    The simulated market speaks for itself alone. See `EarningsVoices` for who is asked about whom.
    """
    if settings.market_data_provider == "simulated":
        return [_simulated(settings)]  # type: ignore[list-item]
    voices: list[EarningsProvider] = []
    if settings.finnhub_api_key is not None:
        from trading_pipeline.providers.finnhub import Finnhub

        voices.append(Finnhub(settings.finnhub_api_key, throttle=_throttle(throttle_factory, Finnhub)))
    if settings.api_ninjas_key is not None:
        from trading_pipeline.providers.api_ninjas import ApiNinjas

        voices.append(ApiNinjas(settings.api_ninjas_key, throttle=_throttle(throttle_factory, ApiNinjas)))
    if settings.market_data_provider in ("yahoo", "tiingo"):
        voices.append(_yahoo_events(throttle_factory))
    return voices


def news_providers(
    settings: Settings, throttle_factory: ThrottleFactory | None = None, names: Mapping[str, str] | None = None
) -> list[NewsProvider]:
    """Who tells news: Yahoo where bars are live, Alpha Vantage where a key is set, the feeds that are named.

    names: company names by symbol, for feeds that are not of one name. The simulated market speaks for itself alone.
    """
    if settings.market_data_provider == "simulated":
        return [_simulated(settings)]  # type: ignore[list-item]
    sources: list[NewsProvider] = []
    if settings.market_data_provider in ("yahoo", "tiingo"):
        sources.append(_yahoo_events(throttle_factory))
    if settings.alpha_vantage_api_key is not None:
        from trading_pipeline.providers.alpha_vantage import DAILY, AlphaVantage

        sources.append(
            AlphaVantage(
                settings.alpha_vantage_api_key,
                throttle=_throttle(throttle_factory, AlphaVantage),
                daily=throttle_factory(f"{AlphaVantage.name}/day", DAILY) if throttle_factory else None,
            )
        )
    if settings.news_feeds:
        from trading_pipeline.providers.rss import Rss

        sources.append(Rss(settings.news_feeds, names=names, throttle=_throttle(throttle_factory, Rss)))
    return sources


def intraday_provider_named(
    settings: Settings, throttle_factory: ThrottleFactory | None = None
) -> IntradayProvider | None:
    """Who tells intraday bars, by `settings.intraday`; None for none. Nothing is asked, read or opened yet.

    Yahoo's minutes share the throttle of its other data. `SettingsError` where a setting the provider needs is missing.
    """
    match settings.intraday:
        case "none":
            return None
        case "simulated":
            return _simulated(settings).intraday
        case "yahoo":
            from trading_pipeline.providers.yahoo_intraday import YahooIntraday

            return YahooIntraday(throttle=_throttle(throttle_factory, YahooIntraday))
        case "alpaca":
            from trading_pipeline.providers.alpaca import AlpacaBars

            if settings.alpaca_api_key is None or settings.alpaca_secret_key is None:
                raise SettingsError(
                    "The alpaca provider needs a key and its secret",
                    "Set ALPACA_API_KEY and ALPACA_SECRET_KEY; a paper account at alpaca.markets is free",
                )
            return AlpacaBars(
                settings.alpaca_api_key,
                settings.alpaca_secret_key,
                base_url=settings.alpaca_data_url,
                feed=settings.alpaca_feed,
                throttle=_throttle(throttle_factory, AlpacaBars),
            )
        case "files":
            from trading_pipeline.providers.intraday_files import IntradayFiles

            if settings.intraday_files is None:
                raise SettingsError("The files provider needs files", "Set INTRADAY_FILES to a file or a folder")
            return IntradayFiles(settings.intraday_files)


def _throttle(factory: ThrottleFactory | None, provider: type[HttpProvider]) -> Throttle | None:
    return factory(provider.name, provider.usual_quota) if factory else None


def _simulated(settings: Settings) -> SimulatedProvider:
    from trading_pipeline.providers.simulated import SimulatedProvider

    return SimulatedProvider(settings.simulated_seed, settings.simulated_tickers)


def _yahoo_events(throttle_factory: ThrottleFactory | None) -> YahooEvents:
    from trading_pipeline.providers.yahoo_events import YahooEvents

    return YahooEvents(throttle=_throttle(throttle_factory, YahooEvents))


class Routed:
    """Several providers, each symbol being asked of the first that covers it, and of no other.

    `routes` hands out the providers themselves; use it where the source of a row is stored. `daily_bars` asks them one
    after the other; where they speak in different bases, the answer is as traded.
    """

    def __init__(self, chosen: BarProvider, *others: BarProvider) -> None:
        self.chosen = chosen
        self.name = chosen.name
        self.quota = chosen.quota
        self.lag = max(provider.lag for provider in (chosen, *others))
        self._providers = (chosen, *others)

    def provider_of(self, symbol: str) -> BarProvider:
        """The first provider that covers `symbol`; the chosen one, which will say NotFound, where none does."""
        return next((provider for provider in self._providers if provider.covers(symbol)), self.chosen)

    def covers(self, symbol: str) -> bool:
        """Whether any of them does."""
        return any(provider.covers(symbol) for provider in self._providers)

    def latest_session(self, market: Market, now: datetime) -> date | None:
        """That of the chosen provider."""
        return self.chosen.latest_session(market, now)

    def daily_bars(
        self, requests: Sequence[SymbolRequest], *, now: datetime, progress: Progress | None = None
    ) -> DailyBarsBatch:
        """Bars and actions of every request, from the provider its symbol belongs to. See `BarProvider.daily_bars`."""
        batches, done = [], 0
        for provider, symbols in routes(self, [request.symbol for request in requests]):
            theirs = set(symbols)
            share = [request for request in requests if request.symbol in theirs]
            batches.append(provider.daily_bars(share, now=now, progress=shifted(progress, done, len(requests))))
            done += len(share)
        return _joined(batches) if batches else DailyBarsBatch()


def routes(provider: BarProvider, symbols: Sequence[str]) -> list[tuple[BarProvider, list[str]]]:
    """Who is to be asked for which of `symbols`, each once; a provider that is not routed answers for all."""
    shares: dict[str, tuple[BarProvider, list[str]]] = {}
    for symbol in dict.fromkeys(symbols):
        answering = provider.provider_of(symbol) if isinstance(provider, Routed) else provider
        shares.setdefault(answering.name, (answering, []))[1].append(symbol)
    return list(shares.values())


def _joined(batches: Sequence[DailyBarsBatch]) -> DailyBarsBatch:
    if len({batch.basis for batch in batches}) > 1:
        batches = [_as_traded(batch) for batch in batches]
    return DailyBarsBatch(
        bars=pl.concat(batch.bars for batch in batches).sort("symbol", "session"),
        actions=pl.concat(batch.actions for batch in batches).sort("symbol", "session", "kind"),
        failures=[failure for batch in batches for failure in batch.failures],
        http_calls=sum(batch.http_calls for batch in batches),
        basis=batches[0].basis,
        duplicates=pl.concat(batch.duplicates for batch in batches).sort("symbol", "session", maintain_order=True),
    )


def _as_traded(batch: DailyBarsBatch) -> DailyBarsBatch:
    traded = undo_splits(batch.bars, batch.actions, batch.basis)
    return DailyBarsBatch(
        bars=traded.bars.select(BARS_SCHEMA.names()),
        actions=pl.concat(part.select(ACTIONS_SCHEMA.names()) for part in (traded.actions, traded.refused)),
        failures=batch.failures,
        http_calls=batch.http_calls,
        basis="as_traded",
        duplicates=undo_splits(batch.duplicates, batch.actions, batch.basis).bars.select(BARS_SCHEMA.names()),
    )
