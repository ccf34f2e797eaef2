"""The real yfinance client against a Yahoo on the loopback interface: what it is asked, and how it can fail."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime

import pytest
import requests
from curl_cffi import requests as curl

from trading_pipeline.providers.base import SymbolRequest
from trading_pipeline.providers.errors import (
    EmptyWindow,
    NotFound,
    ProviderDown,
    ProviderError,
    RateLimited,
    SchemaChanged,
)
from trading_pipeline.providers.yahoo import Yahoo

NOW = datetime(2024, 3, 8, 20, 0, tzinfo=UTC)
DAYS = [date(2024, 3, 4), date(2024, 3, 5), date(2024, 3, 6)]
WEEK = (date(2024, 3, 4), date(2024, 3, 8))


@pytest.fixture
def yahoo(server, answer, redirected, patient, unlimited):
    from yfinance.data import SingletonMeta

    # The client keeps its crumb and cookie strategy for the life of the process.
    SingletonMeta._instances.clear()
    server.answers["/"] = answer("")
    server.answers["/v1/test/getcrumb"] = answer("crumb", headers={"Content-Type": "text/plain"})

    def make(session_class=curl.Session, attempts=1, timeout=10.0, **policy):
        return Yahoo(
            session=redirected(session_class, server.url),
            throttle=unlimited,
            policy=patient(attempts=attempts, **policy),
            timeout=timeout,
        )

    return make


def put(server, symbol, body):
    server.answers[f"/v8/finance/chart/{symbol}"] = body


def failure_of(yahoo, symbol="AAPL", **options) -> ProviderError:
    batch = yahoo(**options).daily_bars([SymbolRequest(symbol, *WEEK)], now=NOW)
    assert batch.bars.is_empty()
    (failure,) = batch.failures
    assert failure.symbol == symbol
    return failure.error


def test_a_ticker_costs_one_chart_request_and_a_batch_one_cookie_and_one_crumb(yahoo, server, answer, chart, unlimited):
    symbols = ["AAPL", "MSFT", "IBM"]
    for symbol in symbols:
        put(server, symbol, answer(chart(symbol, DAYS, [1.0, 2.0, 3.0])))
    batch = yahoo().daily_bars([SymbolRequest(symbol, *WEEK) for symbol in symbols], now=NOW)
    assert sorted(server.paths("/v8/")) == sorted(f"/v8/finance/chart/{symbol}" for symbol in symbols)
    assert batch.http_calls == unlimited.acquired == len(server.asked)
    assert len(server.paths("/v1/test/getcrumb")) == 1 and len(server.asked) == len(symbols) + 2
    assert sorted(batch.bars["symbol"].unique()) == sorted(symbols) and not batch.failures


def test_the_same_request_is_made_again_and_not_answered_from_memory(yahoo, server, answer, chart):
    put(
        server,
        "AAPL",
        [answer(chart("AAPL", DAYS, [1.0, 2.0, 3.0])), answer(chart("AAPL", DAYS, [1.0, 2.0, 4.0]))],
    )
    client = yahoo()
    closes = [client.daily_bars([SymbolRequest("AAPL", *WEEK)], now=NOW).bars["close"].to_list() for _ in range(2)]
    assert closes == [[1.0, 2.0, 3.0], [1.0, 2.0, 4.0]]


def test_unadjusted_prices_and_all_events_are_asked_for(yahoo, server, answer, chart):
    put(server, "AAPL", answer(chart("AAPL", DAYS, [1.0, 2.0, 3.0])))
    batch = yahoo().daily_bars([SymbolRequest("AAPL", *WEEK)], now=NOW)
    (asked,) = [request for request in server.asked if request.path.startswith("/v8/")]
    assert asked.query["events"] == ["div,splits,capitalGains"] and asked.query["interval"] == ["1d"]
    assert batch.basis == "split_adjusted"


@pytest.mark.parametrize(
    ("timezone", "opens_at"), [("America/New_York", 14.5), ("Australia/Sydney", -1.0), ("UTC", 0.0)]
)
def test_sessions_are_local_dates_of_the_exchange_cut_to_what_was_asked(
    yahoo, server, answer, chart, timezone, opens_at
):
    days = [date(2024, 3, day) for day in (1, 4, 5, 6)]
    body = chart("S", days, [1.0, 2.0, 3.0, 4.0], opens_at=opens_at, exchangeTimezoneName=timezone)
    put(server, "S", answer(body))
    batch = yahoo().daily_bars([SymbolRequest("S", date(2024, 3, 4), date(2024, 3, 5))], now=NOW)
    assert batch.bars["session"].to_list() == [date(2024, 3, 4), date(2024, 3, 5)]
    assert batch.bars["close"].to_list() == [2.0, 3.0]
    query = server.asked[-1].query
    stamps = body["chart"]["result"][0]["timestamp"]
    assert int(query["period1"][0]) <= stamps[1] - 86_400 / 2 and stamps[2] + 86_400 / 2 <= int(query["period2"][0])


def test_nulls_stay_nulls_and_zero_stays_zero(yahoo, server, answer, chart):
    days = [*DAYS, date(2024, 3, 7)]
    put(server, "AAPL", answer(chart("AAPL", days, [None, 2.0, 3.0, None], volumes=[500, None, 0, None])))
    bars = yahoo().daily_bars([SymbolRequest("AAPL", *WEEK)], now=NOW).bars
    assert bars["session"].to_list() == days
    assert bars["close"].to_list() == bars["adj_close"].to_list() == [None, 2.0, 3.0, None]
    assert bars["volume"].to_list() == [500.0, None, 0.0, None]


def test_the_live_row_beside_todays_bar_is_one_bar(yahoo, server, answer, chart):
    body = chart("AAPL", [*DAYS, DAYS[-1]], [1.0, 2.0, 3.0, 3.5])
    body["chart"]["result"][0]["timestamp"][-1] += 3600
    put(server, "AAPL", answer(body))
    bars = yahoo().daily_bars([SymbolRequest("AAPL", *WEEK)], now=NOW).bars
    assert bars["session"].to_list() == DAYS and bars["close"].to_list() == [1.0, 2.0, 3.5]


def test_an_event_keeps_its_own_ex_date_where_that_day_has_no_bar_and_makes_no_bar(yahoo, server, answer, chart):
    body = chart("AAPL", [DAYS[0], DAYS[2]], [1.0, 3.0])
    stamps = body["chart"]["result"][0]["timestamp"]
    missing, tomorrow = stamps[0] + 86_400, stamps[1] + 86_400
    body["chart"]["result"][0]["events"] = {
        "dividends": {
            str(missing): {"amount": 0.25, "date": missing},
            str(tomorrow): {"amount": 0.5, "date": tomorrow},
        }
    }
    put(server, "AAPL", answer(body))
    batch = yahoo().daily_bars([SymbolRequest("AAPL", *WEEK)], now=NOW)
    assert batch.bars["session"].to_list() == [DAYS[0], DAYS[2]]
    assert batch.actions.select("session", "value").rows() == [(DAYS[1], 0.25), (date(2024, 3, 7), 0.5)]


def test_dividends_keep_their_own_currency_and_gains_and_splits_are_told_apart(yahoo, server, answer, chart):
    stamp = int(datetime(2024, 3, 5, 13, 30, tzinfo=UTC).timestamp())
    events = {
        "dividends": {"a": {"amount": 0.1, "date": stamp, "currency": "USD"}},
        "splits": {"b": {"numerator": 3, "denominator": 2, "splitRatio": "3:2", "date": stamp}},
        "capitalGains": {"c": {"amount": 1.5, "date": stamp}},
    }
    put(server, "X.L", answer(chart("X.L", DAYS, [1.0, 2.0, 3.0], events=events, currency="GBp", instrumentType="ETF")))
    batch = yahoo().daily_bars([SymbolRequest("X.L", *WEEK)], now=NOW)
    assert batch.actions.select("kind", "value", "currency").rows() == [
        ("capital_gain", 1.5, "GBp"),
        ("dividend", 0.1, "USD"),
        ("split", 1.5, "GBp"),
    ]
    assert batch.bars["currency"].unique().to_list() == ["GBp"]


def test_a_quote_without_a_currency_says_so(yahoo, server, answer, chart):
    put(server, "^VIX", answer(chart("^VIX", DAYS, [1.0, 2.0, 3.0], currency=None)))
    batch = yahoo().daily_bars([SymbolRequest("^VIX", *WEEK)], now=NOW)
    assert batch.bars["currency"].unique().to_list() == ["XXX"]


def test_429_is_rate_limited_and_costs_one_chart_request(yahoo, server, answer):
    put(server, "AAPL", answer("Too Many Requests", 429))
    error = failure_of(yahoo)
    assert isinstance(error, RateLimited) and error.retry_after is None
    assert len(server.paths("/v8/")) == 1


def test_retry_after_is_waited_for(yahoo, server, answer, chart, waits):
    put(
        server,
        "AAPL",
        [answer("Too Many Requests", 429, {"Retry-After": "7"}), answer(chart("AAPL", DAYS, [1.0, 2.0, 3.0]))],
    )
    batch = yahoo(attempts=3).daily_bars([SymbolRequest("AAPL", *WEEK)], now=NOW)
    assert batch.bars.height == 3 and not batch.failures
    assert sum(waits.slept) >= 7


def test_a_throttled_crumb_does_not_stop_the_chart(yahoo, server, answer, chart):
    server.answers["/v1/test/getcrumb"] = answer("Too Many Requests", 429)
    put(server, "AAPL", answer(chart("AAPL", DAYS, [1.0, 2.0, 3.0])))
    assert yahoo().daily_bars([SymbolRequest("AAPL", *WEEK)], now=NOW).bars.height == 3


def test_a_cookie_host_that_never_answers_costs_one_time_out_and_no_ticker(yahoo, server, answer, chart):
    server.answers["/"] = answer("", delay=threading.Event())
    symbols = ["AAPL", "MSFT", "IBM"]
    for symbol in symbols:
        put(server, symbol, answer(chart(symbol, DAYS, [1.0, 2.0, 3.0])))
    batch = yahoo(timeout=0.3).daily_bars([SymbolRequest(symbol, *WEEK) for symbol in symbols], now=NOW)
    assert sorted(batch.bars["symbol"].unique()) == sorted(symbols) and not batch.failures
    assert server.paths().count("/") == 1


def test_a_refused_cookie_is_replaced_once(yahoo, server, answer, chart):
    refused = answer(
        {"finance": {"result": None, "error": {"code": "Unauthorized", "description": "Invalid Crumb"}}}, 401
    )
    put(server, "AAPL", [refused, answer(chart("AAPL", DAYS, [1.0, 2.0, 3.0]))])
    assert yahoo().daily_bars([SymbolRequest("AAPL", *WEEK)], now=NOW).bars.height == 3
    assert server.paths().count("/") == 2, "the cookie host is asked again"
    put(server, "AAPL", refused)
    assert isinstance(failure_of(yahoo), ProviderDown)


@pytest.mark.parametrize("session_class", [curl.Session, requests.Session])
@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (("<html><body>Service Unavailable</body></html>", 503), ProviderDown),
        (("Bad gateway", 502), ProviderDown),
        (("<html>Will be right back...</html>", 200), ProviderDown),
        (('{"chart": {"result": [{"meta": {"curr', 200), ProviderDown),
        (({"chart": {"result": None, "error": {"code": "Not Found", "description": "No data found"}}}, 404), NotFound),
        (({"chart": {"result": None, "error": {"code": "Not Found", "description": "No data found"}}}, 200), NotFound),
        (("<html>edge: no such page</html>", 404), SchemaChanged),
        (
            (
                {
                    "chart": {
                        "result": None,
                        "error": {
                            "code": "Bad Request",
                            "description": "Data doesn't exist for startDate = 1, endDate = 2",
                        },
                    }
                },
                400,
            ),
            EmptyWindow,
        ),
        (({"chart": {"result": [], "error": None}}, 200), EmptyWindow),
        (({"chart": {"result": [{"meta": {}, "indicators": {"quote": [{}]}}], "error": None}}, 200), EmptyWindow),
        (({"quotes": []}, 200), SchemaChanged),
        (("[]", 200), SchemaChanged),
    ],
)
def test_every_answer_means_one_kind_of_failure(yahoo, server, answer, said, meant, session_class):
    put(server, "AAPL", answer(*said))
    assert type(failure_of(yahoo, session_class=session_class)) is meant


@pytest.mark.parametrize("field", ["meta", "indicators"])
def test_a_field_that_is_gone_is_a_changed_schema(yahoo, server, answer, chart, field):
    body = chart("AAPL", DAYS, [1.0, 2.0, 3.0])
    del body["chart"]["result"][0][field]
    put(server, "AAPL", answer(body))
    assert isinstance(failure_of(yahoo), SchemaChanged)


def test_columns_of_unequal_length_are_a_changed_schema(yahoo, server, answer, chart):
    put(server, "AAPL", answer(chart("AAPL", DAYS, [1.0, 2.0])))
    assert isinstance(failure_of(yahoo), SchemaChanged)


@pytest.mark.parametrize("session_class", [curl.Session, requests.Session])
def test_a_time_out_means_the_provider_is_down(yahoo, server, answer, session_class):
    put(server, "AAPL", answer("", delay=threading.Event()))
    assert isinstance(failure_of(yahoo, session_class=session_class, timeout=0.3), ProviderDown)


@pytest.mark.parametrize("session_class", [curl.Session, requests.Session])
def test_a_connection_cut_in_mid_answer_means_the_provider_is_down(yahoo, server, answer, chart, session_class):
    put(server, "AAPL", answer(chart("AAPL", DAYS, [1.0, 2.0, 3.0]), cut_to=100))
    assert isinstance(failure_of(yahoo, session_class=session_class), ProviderDown)


def test_nobody_listening_means_the_provider_is_down(yahoo, server):
    server.server.server_close()
    assert isinstance(failure_of(yahoo), ProviderDown)


def test_the_bars_of_another_symbol_are_not_taken(yahoo, server, answer, chart):
    put(server, "FB", answer(chart("META", DAYS, [1.0, 2.0, 3.0])))
    assert isinstance(failure_of(yahoo, "FB"), NotFound)


@pytest.mark.parametrize("symbol", ["", "AAPL?range=max", "../quote/AAPL", "AAPL MSFT", "US0378331005", "A" * 40])
def test_what_is_not_a_symbol_never_reaches_the_wire(yahoo, server, symbol):
    assert isinstance(failure_of(yahoo, symbol), NotFound)
    assert server.asked == []


def test_a_storm_ends_the_batch_early_and_loses_no_ticker(yahoo, server, answer):
    server.fallback = answer("Too Many Requests", 429)
    symbols = [f"T{number}" for number in range(40)]
    batch = yahoo(breaker=3).daily_bars([SymbolRequest(symbol, *WEEK) for symbol in symbols], now=NOW)
    assert [failure.symbol for failure in batch.failures] == symbols
    assert {type(failure.error) for failure in batch.failures} == {RateLimited}
    assert len(server.paths("/v8/")) < 10


def test_a_failing_ticker_costs_the_others_nothing(yahoo, server, answer, chart):
    put(server, "AAPL", answer(chart("AAPL", DAYS, [1.0, 2.0, 3.0])))
    put(server, "GONE", answer({"chart": {"result": None, "error": {"code": "Not Found", "description": ""}}}, 404))
    put(server, "DOWN", answer("oops", 500))
    told = []
    batch = yahoo(attempts=2).daily_bars(
        [SymbolRequest(symbol, *WEEK) for symbol in ("GONE", "AAPL", "DOWN")],
        now=NOW,
        progress=lambda done, total: told.append((done, total)),
    )
    assert batch.bars["symbol"].unique().to_list() == ["AAPL"]
    assert {failure.symbol: failure.error.kind for failure in batch.failures} == {
        "GONE": "not_found",
        "DOWN": "provider_down",
    }
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert len(server.paths("/v8/finance/chart/GONE")) == 1 and len(server.paths("/v8/finance/chart/DOWN")) == 2


def test_yfinance_keeps_its_caches_out_of_the_home_folder_and_its_settings_as_they_were(yahoo, server, answer, chart):
    import yfinance
    from yfinance import cache

    hidden = yfinance.config.debug.hide_exceptions
    put(server, "AAPL", answer(chart("AAPL", DAYS, [1.0, 2.0, 3.0])))
    yahoo().daily_bars([SymbolRequest("AAPL", *WEEK)], now=NOW)
    assert yfinance.config.debug.hide_exceptions == hidden
    for manager in (cache._TzDBManager, cache._CookieDBManager, cache._ISINDBManager):
        assert "py-yfinance" not in str(manager.get_location())
