"""The settings choose the provider; the spelling of a symbol chooses among several."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from trading_pipeline.markets import US
from trading_pipeline.providers.base import (
    ACTIONS_SCHEMA,
    BARS_SCHEMA,
    DailyBarsBatch,
    Failure,
    Quota,
    SymbolRequest,
)
from trading_pipeline.providers.errors import ProviderDown
from trading_pipeline.providers.registry import (
    Routed,
    earnings_providers,
    fundamentals_provider,
    intraday_provider_named,
    news_providers,
    provider_named,
    routes,
)
from trading_pipeline.settings import load_settings

NOW = datetime(2024, 6, 14, 22, 0, tzinfo=UTC)
DAYS = [date(2024, 6, 7), date(2024, 6, 10)]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "simulated"),
        ({"market_data_provider": "yahoo"}, "yahoo"),
        ({"market_data_provider": "tiingo", "tiingo_api_key": "k"}, "tiingo"),
        ({"market_data_provider": "files", "market_data_files": "nowhere.parquet"}, "files"),
    ],
)
def test_the_setting_names_the_provider(settings, name):
    assert provider_named(load_settings(**settings)).name == name


def test_every_provider_on_the_wire_gets_a_throttle_of_its_name_and_quota(unlimited):
    made: dict[str, Quota] = {}

    def factory(name, quota):
        made[name] = quota
        return unlimited

    provider_named(load_settings(market_data_provider="tiingo", tiingo_api_key="k"), factory)
    assert set(made) == {"tiingo", "yahoo"} and all(quota.rate_per_second > 0 for quota in made.values())


def test_what_tiingo_does_not_quote_is_asked_of_yahoo():
    provider = provider_named(load_settings(market_data_provider="tiingo", tiingo_api_key="k"))
    asked = routes(provider, ["AAPL", "^VIX", "BHP.AX", "BTC-USD", "BRK-B", "AAPL"])
    assert {answering.name: symbols for answering, symbols in asked} == {
        "tiingo": ["AAPL", "BRK-B"],
        "yahoo": ["^VIX", "BHP.AX", "BTC-USD"],
    }


def test_one_provider_alone_is_asked_for_everything():
    provider = provider_named(load_settings(market_data_provider="yahoo"))
    assert routes(provider, ["AAPL", "^VIX"]) == [(provider, ["AAPL", "^VIX"])]


class Canned:
    """A provider that answers every symbol it covers with two closes and a ten-for-one split on the second day."""

    lag = NOW - NOW
    quota = Quota(1, 1, 1)

    def __init__(self, name, prefix, basis, down=False):
        self.name, self.prefix, self.basis, self.down = name, prefix, basis, down
        self.asked = []

    def covers(self, symbol):
        return symbol.startswith(self.prefix)

    def latest_session(self, market, now):
        return None

    def daily_bars(self, requests, *, now, progress=None):
        self.asked += [request.symbol for request in requests]
        batch = DailyBarsBatch(http_calls=len(requests), basis=self.basis)
        if self.down:
            batch.failures = [Failure(request.symbol, ProviderDown("down")) for request in requests]
            return batch
        closes = [100.0, 10.0] if self.basis == "as_traded" else [10.0, 10.0]
        batch.bars = pl.concat(
            pl.DataFrame(
                {
                    "symbol": request.symbol,
                    "session": DAYS,
                    **dict.fromkeys(("open", "high", "low", "close", "adj_close", "volume"), closes),
                    "currency": "USD",
                },
                schema_overrides=BARS_SCHEMA,
            )
            for request in requests
        )
        batch.actions = pl.DataFrame(
            [(request.symbol, DAYS[1], "split", 10.0, "USD") for request in requests],
            schema=ACTIONS_SCHEMA,
            orient="row",
        )
        if progress:
            progress(len(requests), len(requests))
        return batch


def ask(provider, *symbols, progress=None):
    return provider.daily_bars([SymbolRequest(symbol, *DAYS) for symbol in symbols], now=NOW, progress=progress)


def test_answers_in_two_bases_are_joined_as_traded():
    routed = Routed(Canned("one", "A", "as_traded"), Canned("two", "B", "split_adjusted"))
    told = []
    batch = ask(routed, "A1", "B1", "A2", progress=lambda done, total: told.append((done, total)))
    assert batch.basis == "as_traded" and batch.http_calls == 3 and told == [(2, 3), (3, 3)]
    assert batch.bars.select("symbol", "close").rows() == [
        (symbol, close) for symbol in ("A1", "A2", "B1") for close in (100.0, 10.0)
    ]
    assert batch.actions.height == 3


def test_one_basis_is_left_as_it_is():
    routed = Routed(Canned("one", "A", "as_traded"), Canned("two", "B", "split_adjusted"))
    assert ask(routed, "B1").basis == "split_adjusted"
    assert ask(routed).bars.is_empty()


def test_a_failing_provider_fails_and_nobody_steps_in():
    other = Canned("two", "", "as_traded")
    batch = ask(Routed(Canned("one", "A", "as_traded", down=True), other), "A1", "B1")
    assert [failure.symbol for failure in batch.failures] == ["A1"] and other.asked == ["B1"]


KEYS = {"finnhub_api_key": "f", "api_ninjas_key": "n", "alpha_vantage_api_key": "a", "news_feeds": "https://x/{ticker}"}
FILES = {"market_data_provider": "files", "market_data_files": "nowhere.parquet"}
TIINGO = {"market_data_provider": "tiingo", "tiingo_api_key": "k"}


@pytest.mark.parametrize(
    ("settings", "earnings", "news"),
    [
        ({"market_data_provider": "yahoo"}, ["yahoo"], ["yahoo"]),
        (TIINGO | KEYS, ["finnhub", "api_ninjas", "yahoo"], ["yahoo", "alpha_vantage", "rss"]),
        (FILES, [], []),
        (FILES | KEYS, ["finnhub", "api_ninjas"], ["alpha_vantage", "rss"]),
        (KEYS, ["simulated"], ["simulated"]),
    ],
)
def test_keys_and_feeds_bring_voices_in_their_order(settings, earnings, news):
    chosen = load_settings(**settings)
    assert [provider.name for provider in earnings_providers(chosen)] == earnings
    assert [provider.name for provider in news_providers(chosen)] == news


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "simulated"),
        ({"market_data_provider": "yahoo"}, "yahoo"),
        (TIINGO, "yahoo"),
        (FILES, None),
        (FILES | {"fundamentals_files": "nowhere.parquet"}, "files"),
    ],
)
def test_the_setting_names_who_tells_fundamentals(settings, name):
    provider = fundamentals_provider(load_settings(**settings))
    assert (provider and provider.name) == name


def test_every_source_of_reference_data_gets_its_throttles_and_yahoo_shares_one(unlimited):
    made: dict[str, Quota] = {}

    def factory(name, quota):
        assert made.setdefault(name, quota) == quota
        return unlimited

    chosen = load_settings(**TIINGO, **KEYS)
    earnings_providers(chosen, factory)
    news_providers(chosen, factory)
    fundamentals_provider(chosen, factory)
    assert set(made) == {"finnhub", "api_ninjas", "yahoo", "alpha_vantage", "alpha_vantage/day", "rss"}
    assert all(quota.rate_per_second > 0 for quota in made.values())


ALPACA = {"alpaca_api_key": "PK1", "alpaca_secret_key": "s"}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "simulated"),
        ({"market_data_provider": "yahoo"}, "yahoo"),
        ({"market_data_provider": "yahoo", "intraday_provider": "none"}, None),
        (TIINGO, None),
        (TIINGO | {"intraday_provider": "yahoo"}, "yahoo"),
        (TIINGO | ALPACA | {"intraday_provider": "alpaca"}, "alpaca"),
        (FILES, None),
        (FILES | {"intraday_provider": "files", "intraday_files": "nowhere"}, "files"),
    ],
)
def test_the_setting_names_who_tells_minutes(settings, name):
    provider = intraday_provider_named(load_settings(**settings))
    assert (provider and provider.name) == name


def test_minutes_have_a_throttle_of_their_source_and_yahoos_is_the_one_it_has(unlimited):
    made: dict[str, Quota] = {}

    def factory(name, quota):
        assert made.setdefault(name, quota) == quota
        return unlimited

    chosen = load_settings(**TIINGO, **ALPACA, intraday_provider="alpaca")
    intraday_provider_named(chosen, factory)
    provider_named(chosen, factory)
    intraday_provider_named(load_settings(market_data_provider="yahoo"), factory)
    assert set(made) == {"alpaca", "tiingo", "yahoo"}


def test_the_simulated_minutes_are_those_of_the_simulated_days():
    minutes = intraday_provider_named(load_settings())
    days = provider_named(load_settings())
    now, session = datetime(2024, 6, 11, tzinfo=UTC), date(2024, 6, 10)
    close = minutes.intraday_bars(US, ["^QVOL"], [session], "15m", now=now).bars["close"][-1]
    daily = days.daily_bars([SymbolRequest("^QVOL", session, session)], now=now).bars["close"].item()
    assert close == daily
