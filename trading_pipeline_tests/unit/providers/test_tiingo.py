"""Tiingo's adapter against a Tiingo on the loopback interface."""

from __future__ import annotations

import logging
import pickle
import threading
from datetime import UTC, date, datetime

import pytest
from pydantic import SecretStr

from trading_pipeline.providers.base import SymbolRequest
from trading_pipeline.providers.errors import (
    AccessRefused,
    EmptyWindow,
    NotFound,
    ProviderDown,
    RateLimited,
    SchemaChanged,
)
from trading_pipeline.providers.tiingo import Tiingo

NOW = datetime(2024, 6, 14, 22, 0, tzinfo=UTC)
WEEK = (date(2024, 6, 7), date(2024, 6, 11))
KEY = "very-secret-key"


def row(day, close, **changes):
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    adjusted = dict.fromkeys(("adjOpen", "adjHigh", "adjLow", "adjClose"), close / 10)
    return {
        "date": f"{day}T00:00:00.000Z",
        "volume": 1000,
        "adjVolume": 10_000,
        "divCash": 0.0,
        "splitFactor": 1.0,
        **prices,
        **adjusted,
        **changes,
    }


NVDA = [
    row("2024-06-07", 1208.88),
    row("2024-06-10", 121.79, splitFactor=10.0),
    row("2024-06-11", 120.91, divCash=0.01, volume=None, adjClose=float("nan")),
]


@pytest.fixture
def ask(server, patient, unlimited):
    def daily_bars(*symbols, timeout=5.0, attempts=1, **policy):
        provider = Tiingo(
            SecretStr(KEY),
            base_url=server.url,
            throttle=unlimited,
            policy=patient(attempts=attempts, **policy),
            timeout=timeout,
        )
        return provider.daily_bars([SymbolRequest(symbol, *WEEK) for symbol in symbols], now=NOW)

    return daily_bars


@pytest.fixture
def put(server, answer):
    def at(symbol, *args, **kwargs):
        server.answers[f"/tiingo/daily/{symbol.lower()}/prices"] = answer(*args, **kwargs)

    return at


def test_bars_and_actions_come_as_traded(ask, put, server):
    put("NVDA", NVDA)
    batch = ask("NVDA")
    assert batch.basis == "as_traded" and batch.http_calls == 1 and not batch.failures
    assert batch.bars["close"].to_list() == [1208.88, 121.79, 120.91]
    assert batch.bars["session"].to_list() == [date(2024, 6, 7), date(2024, 6, 10), date(2024, 6, 11)]
    assert batch.actions.select("session", "kind", "value", "currency").rows() == [
        (date(2024, 6, 10), "split", 10.0, "USD"),
        (date(2024, 6, 11), "dividend", 0.01, "USD"),
    ]


def test_none_and_nan_are_null(ask, put):
    put("NVDA", NVDA)
    bars = ask("NVDA").bars
    assert bars["volume"].to_list() == [1000.0, 1000.0, None]
    assert bars["adj_close"].to_list()[-1] is None


def test_the_window_is_in_the_query_and_the_key_in_the_header_alone(ask, put, server):
    put("BRK-B", NVDA)
    ask("BRK-B")
    (asked,) = server.asked
    assert asked.headers["Authorization"] == f"Token {KEY}"
    assert asked.query == {"startDate": ["2024-06-07"], "endDate": ["2024-06-11"], "format": ["json"]}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (({"detail": "Not found."}, 404), NotFound),
        (({"detail": "Invalid token."}, 401), AccessRefused),
        (({"detail": "Not in your plan."}, 403), AccessRefused),
        (({"detail": "You have run over your hourly request allocation."}, 429), RateLimited),
        (({"detail": "Error: You have run over your 500 symbol look up for this month."}, 200), RateLimited),
        (("<html>Service Unavailable</html>", 503), ProviderDown),
        (('[{"date": "2024-06', 200), ProviderDown),
        (([], 200), EmptyWindow),
        (({"bars": []}, 200), SchemaChanged),
        (([1, 2], 200), SchemaChanged),
        (([{"date": "2024-06-07T00:00:00.000Z"}], 200), SchemaChanged),
        (([row("2024-06-07", 1.0, high="one")], 200), SchemaChanged),
        (([row("soon", 1.0)], 200), SchemaChanged),
        (("", 302), SchemaChanged),
    ],
)
def test_every_answer_means_one_kind_of_failure(ask, put, said, meant):
    put("NVDA", *said)
    (failure,) = ask("NVDA").failures
    assert type(failure.error) is meant


def test_a_time_out_or_a_cut_answer_means_the_provider_is_down(ask, put):
    put("SLOW", "", delay=threading.Event())
    put("CUT", NVDA, cut_to=20)
    batch = ask("SLOW", "CUT", timeout=0.3)
    assert {failure.error.kind for failure in batch.failures} == {"provider_down"}


def test_retry_after_longer_than_worth_waiting_ends_the_batch(ask, put, server, waits):
    for symbol in ("AAA", "BBB", "CCC", "DDD", "EEE"):
        put(symbol, "", 429, {"Retry-After": "3600"})
    batch = ask("AAA", "BBB", "CCC", "DDD", "EEE", attempts=3)
    assert {failure.error.retry_after for failure in batch.failures} == {3600.0}
    assert waits.slept == [] and len(server.asked) <= 2


def test_a_refused_key_is_tried_once_and_shown_nowhere(ask, put, server, caplog):
    caplog.set_level(logging.DEBUG)
    put("NVDA", {"detail": "Invalid token."}, 401)
    batch = ask(*["NVDA"] * 10, attempts=3)
    assert len(batch.failures) == 10 and len(server.asked) <= 2
    assert KEY not in caplog.text
    assert all(KEY not in f"{failure!r} {failure.error.__cause__!r}" for failure in batch.failures)
    assert KEY.encode() not in pickle.dumps(batch.failures)


@pytest.mark.parametrize(
    ("symbol", "covered"),
    [
        ("AAPL", True),
        ("BRK-B", True),
        ("BTC-USD", False),
        ("^VIX", False),
        ("BHP.AX", False),
        ("EURUSD=X", False),
        ("../news", False),
    ],
)
def test_it_covers_us_shares_and_funds_only(ask, server, symbol, covered):
    assert Tiingo(SecretStr(KEY)).covers(symbol) == covered
    if not covered:
        (failure,) = ask(symbol).failures
        assert failure.error.kind == "not_found" and server.asked == []
