"""The real alpaca-py client against a server on the loopback interface that keeps the rules of Alpaca's market data."""

from __future__ import annotations

import threading
import time
from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import SecretStr

from trading_pipeline.errors import UnknownSession
from trading_pipeline.markets import ASX, US
from trading_pipeline.providers.alpaca import QUOTA, AlpacaBars
from trading_pipeline.providers.errors import (
    AccessRefused,
    EmptyWindow,
    NotFound,
    ProviderDown,
    RateLimited,
    SchemaChanged,
)
from trading_pipeline.providers.intraday import IntradayProvider

KEY, SECRET = "PKTESTKEY", "very-secret"
DAY = date(2025, 7, 8)
OPEN = datetime(2025, 7, 8, 13, 30, tzinfo=UTC)
NOW = datetime(2025, 7, 8, 21, 0, tzinfo=UTC)
BARS = "/v2/stocks/bars"


class MarketData:
    """Answers as `GET /v2/stocks/bars` does: pages over all symbols in order, absent symbols, 400, 403 and 422.

    bars: rows by symbol, each (start, price, volume). recent_sip: from when on the plan has no consolidated tape.
    """

    def __init__(self, answer, bars, page=10_000):
        self._answer, self.bars, self.page = answer, bars, page
        self.recent_sip = None

    def __call__(self, asked):
        headers = {name.upper(): value for name, value in asked.headers.items()}
        if (headers.get("APCA-API-KEY-ID"), headers.get("APCA-API-SECRET-KEY")) != (KEY, SECRET):
            return self._answer({"message": "forbidden."}, 403)
        query = {name: values[0] for name, values in asked.query.items()}
        if query["timeframe"] not in ("1Min", "5Min", "15Min") or query["adjustment"] != "raw":
            return self._answer({"code": 42210000, "message": "invalid timeframe"}, 422)
        symbols = query["symbols"].split(",")
        for symbol in symbols:
            if symbol.startswith("BAD"):
                return self._answer({"code": 40010001, "message": f"code=400, message=invalid symbol: {symbol}"}, 400)
        first, last = (datetime.fromisoformat(query[name]) for name in ("start", "end"))
        if query["feed"] == "sip" and self.recent_sip and last >= self.recent_sip:
            return self._answer({"message": "subscription does not permit querying recent SIP data"}, 403)
        listed = [
            (symbol, start, price, volume)
            for symbol in sorted(symbols)
            for start, price, volume in self.bars.get(symbol, [])
            if first <= start <= last
        ]
        limit = min(int(query["limit"]), self.page)
        begin = int(query.get("page_token", "0"))
        found: dict[str, list] = {}
        for symbol, start, price, volume in listed[begin : begin + limit]:
            row = {"t": start.strftime("%Y-%m-%dT%H:%M:%SZ"), "v": volume, "n": 3, "vw": price}
            found.setdefault(symbol, []).append(row | dict.fromkeys("ohlc", price))
        follows = str(begin + limit) if begin + limit < len(listed) else None
        return self._answer({"bars": found, "next_page_token": follows})


@pytest.fixture
def market_data(server, answer):
    data = MarketData(answer, {})
    server.answers[BARS] = data
    return data


@pytest.fixture
def alpaca(server, unlimited, patient):
    def make(attempts=1, key=KEY, feed="iex", timeout=5.0, **policy):
        return AlpacaBars(
            SecretStr(key),
            SecretStr(SECRET),
            feed=feed,
            base_url=server.url,
            throttle=unlimited,
            policy=patient(attempts=attempts, **policy),
            timeout=timeout,
        )

    return make


def minutes(count, price=1.0, first=OPEN):
    return [(first + timedelta(minutes=minute), price + minute, 100 + minute) for minute in range(count)]


def ask(provider, *symbols, market=US, sessions=(DAY,), interval="1m", now=NOW, since=None, progress=None):
    return provider.intraday_bars(market, symbols, sessions, interval, now=now, since=since, progress=progress)


def failures(batch):
    return {failure.symbol: failure.error for failure in batch.failures}


def test_it_fits_the_protocol_and_knows_its_quota():
    provider: IntradayProvider = AlpacaBars(SecretStr(KEY), SecretStr(SECRET))
    assert provider.name == "alpaca" and provider.reach("1m") is None
    assert QUOTA.burst + 60 * QUOTA.rate_per_second <= 200


@pytest.mark.parametrize(
    ("symbol", "covered"),
    [("AAPL", True), ("BRK.B", True), ("BRK-B", False), ("^VIX", False), ("BHP.AX", False), ("BTC-USD", False)],
)
def test_us_shares_alone_are_its_business(alpaca, server, symbol, covered):
    assert alpaca().covers(symbol) == covered
    if not covered:
        assert isinstance(failures(ask(alpaca(), symbol))[symbol], NotFound) and server.asked == []


def test_many_symbols_are_one_request_and_its_answer_is_as_traded(alpaca, server, market_data, unlimited):
    market_data.bars = {"MSFT": minutes(2, 5.0), "AAPL": minutes(2)}
    told = []
    batch = ask(alpaca(), "MSFT", "AAPL", "MSFT", progress=lambda done, total: told.append((done, total)))
    assert batch.bars.select("symbol", "started_at", "close", "volume").rows() == [
        ("AAPL", OPEN, 1.0, 100.0),
        ("AAPL", OPEN + timedelta(minutes=1), 2.0, 101.0),
        ("MSFT", OPEN, 5.0, 100.0),
        ("MSFT", OPEN + timedelta(minutes=1), 6.0, 101.0),
    ]
    assert batch.basis == "as_traded" and not batch.failures and told == [(2, 2)]
    assert batch.http_calls == unlimited.acquired == len(server.asked) == 1
    (request,) = server.asked
    assert request.query["feed"] == ["iex"] and request.query["timeframe"] == ["1Min"]
    assert KEY not in str(request.query) and SECRET not in str(request.query)


def test_pages_are_followed_to_the_end_and_each_is_metered(alpaca, server, market_data, unlimited):
    market_data.bars = {symbol: minutes(5) for symbol in ("AAPL", "IBM", "MSFT")}
    market_data.page = 4
    batch = ask(alpaca(), "AAPL", "IBM", "MSFT")
    assert batch.bars.height == 15 and batch.http_calls == unlimited.acquired == 4


def test_a_retry_goes_on_at_the_page_that_failed_and_only_our_policy_waits(alpaca, server, market_data, waits, answer):
    market_data.bars, market_data.page = {"AAPL": minutes(6)}, 2
    refused = [answer("", 504), answer({"message": "too many requests."}, 429, {"Retry-After": "9"})]

    def at_times(asked):
        if asked.query.get("page_token") == ["4"] and refused:
            return refused.pop(0)
        return market_data(asked)

    server.answers[BARS] = at_times
    batch = ask(alpaca(attempts=3), "AAPL")
    assert batch.bars.height == 6 and not batch.failures
    tokens = [request.query.get("page_token", [None])[0] for request in server.asked]
    assert tokens == [None, "2", "4", "4", "4"]
    assert len(waits.slept) >= 2 and 9 <= sum(waits.slept) < 15


def test_a_throttled_request_is_not_retried_behind_our_back(alpaca, server, answer):
    server.answers[BARS] = answer({"message": "too many requests."}, 429)
    assert isinstance(failures(ask(alpaca(), "AAPL"))["AAPL"], RateLimited)
    assert len(server.asked) == 1


def test_the_fresh_quota_is_waited_for_by_the_servers_own_clock(alpaca, server, answer):
    server.answers[BARS] = answer("", 429, {"X-RateLimit-Reset": str(int(time.time()) + 30)})
    error = failures(ask(alpaca(), "AAPL"))["AAPL"]
    assert isinstance(error, RateLimited) and error.retry_after is not None
    assert 25 <= error.retry_after <= 31, "by the clock of NOW it would be a year"


def test_absent_symbols_are_empty_windows(alpaca, market_data):
    market_data.bars = {"AAPL": minutes(1)}
    batch = ask(alpaca(), "AAPL", "NOPE")
    assert isinstance(failures(batch)["NOPE"], EmptyWindow) and batch.bars["symbol"].to_list() == ["AAPL"]


def test_an_invalid_symbol_is_left_out_and_the_others_are_asked_again(alpaca, server, market_data):
    market_data.bars = {"AAPL": minutes(1), "MSFT": minutes(1)}
    batch = ask(alpaca(), "AAPL", "BADONE", "MSFT", "BADTWO")
    assert batch.bars["symbol"].to_list() == ["AAPL", "MSFT"]
    assert {symbol: error.kind for symbol, error in failures(batch).items()} == dict.fromkeys(
        ("BADONE", "BADTWO"), "not_found"
    )
    assert len(server.asked) == 3


def test_hundreds_of_symbols_are_asked_for_in_a_few_requests(alpaca, server, market_data):
    names = [f"A{chr(65 + first)}{chr(65 + second)}" for first in range(20) for second in range(25)]
    market_data.bars = {name: minutes(1) for name in names}
    told = []
    batch = ask(alpaca(), *names, progress=lambda done, total: told.append((done, total)))
    assert batch.bars.height == 500 and len(server.asked) == 3 and told[-1] == (500, 500)


def test_spans_end_at_now_and_begin_at_since(alpaca, server, market_data):
    market_data.bars = {"AAPL": minutes(60)}
    since, now = OPEN + timedelta(minutes=10), OPEN + timedelta(minutes=20)
    bars = ask(alpaca(), "AAPL", since=since, now=now).bars
    assert (bars["started_at"].min(), bars["started_at"].max()) == (since, now - timedelta(minutes=1))
    query = server.asked[0].query
    assert datetime.fromisoformat(query["start"][0]) == since and datetime.fromisoformat(query["end"][0]) < now


def test_another_market_is_not_asked_for(alpaca, server):
    assert isinstance(failures(ask(alpaca(), "AAPL", market=ASX, sessions=[DAY]))["AAPL"], NotFound)
    with pytest.raises(UnknownSession):
        ask(alpaca(), "AAPL", sessions=[date(2025, 7, 4)])
    assert server.asked == []


def test_a_wrong_key_ends_the_batch_and_is_in_no_message(alpaca, market_data):
    batch = ask(alpaca(key="PKWRONG"), "AAPL", "MSFT")
    for error in failures(batch).values():
        assert isinstance(error, AccessRefused) and "ALPACA_API_KEY" in error.remedy
        assert "PKWRONG" not in str(error) and SECRET not in str(error)
        assert error.__cause__ is None


def test_a_plan_without_the_tape_of_now_says_what_to_do(alpaca, market_data):
    market_data.bars, market_data.recent_sip = {"AAPL": minutes(1)}, NOW - timedelta(minutes=15)
    error = failures(ask(alpaca(feed="sip"), "AAPL"))["AAPL"]
    assert isinstance(error, AccessRefused) and "iex" in error.remedy and "recent SIP data" in error.problem
    assert ask(alpaca(feed="sip"), "AAPL", now=NOW - timedelta(hours=1)).bars.height == 1


@pytest.mark.parametrize(
    ("body", "options", "expected"),
    [
        ({"code": 42210000, "message": "invalid timeframe"}, {"status": 422}, SchemaChanged),
        ("<html>bad gateway</html>", {"status": 502}, ProviderDown),
        ("<html>moved</html>", {"status": 302}, ProviderDown),
        ("<html>hello</html>", {}, ProviderDown),
        ('{"bars": {"AAPL": [{"t": ', {}, ProviderDown),
        ({"trades": {}}, {}, SchemaChanged),
        ({"bars": {"AAPL": [{"t": "2025-07-08T13:30:00Z"}]}, "next_page_token": None}, {}, SchemaChanged),
        (
            {"bars": {"AAPL": [{"t": "noon", "o": 1, "h": 1, "l": 1, "c": 1, "v": 1}]}, "next_page_token": None},
            {},
            SchemaChanged,
        ),
        ({"bars": {}, "next_page_token": "same"}, {}, SchemaChanged),
        ({"bars": None, "next_page_token": None}, {}, EmptyWindow),
        ("", {}, SchemaChanged),
    ],
    ids=["422", "502", "302", "page", "truncated", "no bars", "columns", "moment", "endless", "null", "nothing"],
)
def test_every_failure_has_its_kind(alpaca, server, answer, body, options, expected):
    server.answers[BARS] = answer(body, **options)
    assert isinstance(failures(ask(alpaca(), "AAPL"))["AAPL"], expected)
    assert len(server.asked) <= 2


def test_a_server_that_never_answers_costs_a_time_out(alpaca, server, answer):
    server.answers[BARS] = answer("", delay=threading.Event())
    assert isinstance(failures(ask(alpaca(timeout=0.2), "AAPL"))["AAPL"], ProviderDown)


def test_an_answer_cut_off_on_the_way_means_the_provider_is_down(alpaca, server, answer):
    server.answers[BARS] = answer({"bars": {}, "next_page_token": None}, cut_to=5)
    assert isinstance(failures(ask(alpaca(), "AAPL"))["AAPL"], ProviderDown)


def test_nobody_listening_means_the_provider_is_down(alpaca, server):
    server.server.server_close()
    assert isinstance(failures(ask(alpaca(), "AAPL"))["AAPL"], ProviderDown)
