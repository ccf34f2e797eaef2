"""The real yfinance client against a Yahoo on the loopback interface: minutes, and how they can go wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from curl_cffi import requests as curl

from trading_pipeline.errors import LiveOnly
from trading_pipeline.markets import ASX, US
from trading_pipeline.providers.errors import EmptyWindow, NotFound, ProviderDown, RateLimited, SchemaChanged
from trading_pipeline.providers.intraday import IntradayProvider
from trading_pipeline.providers.yahoo_intraday import YahooIntraday

DAY = date(2025, 7, 8)
NOW = datetime(2025, 7, 8, 21, 0, tzinfo=UTC)
OPEN = datetime(2025, 7, 8, 13, 30, tzinfo=UTC)
PATH = "/v8/finance/chart/"


@pytest.fixture
def yahoo(server, answer, redirected, patient, unlimited):
    from yfinance.data import SingletonMeta

    # The client keeps its crumb and cookie strategy for the life of the process.
    SingletonMeta._instances.clear()
    server.answers["/"] = answer("")
    server.answers["/v1/test/getcrumb"] = answer("crumb", headers={"Content-Type": "text/plain"})

    def make(attempts=1, timeout=10.0, **policy):
        session = redirected(curl.Session, server.url)
        return YahooIntraday(
            session=session, throttle=unlimited, policy=patient(attempts=attempts, **policy), timeout=timeout
        )

    return make


def stamp(moment: datetime) -> int:
    return int(moment.timestamp())


def chart(symbol, starts, closes, volumes=None, **meta):
    """A chart's body as Yahoo writes it for minutes: no adjclose, nulls for minutes without a trade."""
    return {
        "chart": {
            "result": [
                {
                    "meta": {
                        "currency": "USD",
                        "symbol": symbol,
                        "instrumentType": "EQUITY",
                        "exchangeTimezoneName": "America/New_York",
                        "gmtoffset": -14400,
                        "timezone": "EDT",
                        "hasPrePostMarketData": True,
                        "dataGranularity": "1m",
                        "validRanges": ["1d", "5d"],
                        "priceHint": 2,
                        **meta,
                    },
                    "timestamp": [stamp(start) for start in starts],
                    "indicators": {
                        "quote": [
                            {
                                **dict.fromkeys(("open", "high", "low", "close"), closes),
                                "volume": volumes if volumes is not None else [100] * len(starts),
                            }
                        ]
                    },
                }
            ],
            "error": None,
        }
    }


def minutes(count, first=OPEN):
    return [first + timedelta(minutes=minute) for minute in range(count)]


def ask(provider, *symbols, market=US, sessions=(DAY,), interval="1m", now=NOW, since=None, progress=None):
    return provider.intraday_bars(market, symbols, sessions, interval, now=now, since=since, progress=progress)


def failure_of(batch):
    assert batch.bars.is_empty()
    (failure,) = batch.failures
    return failure.error


def test_it_fits_the_protocol():
    provider: IntradayProvider = YahooIntraday()
    assert provider.name == "yahoo" and provider.reach("1m") < provider.reach("5m") == provider.reach("15m")
    assert provider.covers("BHP.AX") and not provider.covers("a/b")


@pytest.mark.parametrize("interval", ["1m", "5m", "15m"])
def test_one_request_a_symbol_asks_for_minutes_with_pre_and_post_market(yahoo, server, answer, unlimited, interval):
    for symbol in ("SPY", "QQQ"):
        server.answers[PATH + symbol] = answer(chart(symbol, minutes(1), [1.0]))
    told = []
    batch = ask(
        yahoo(), "SPY", "QQQ", "SPY", interval=interval, progress=lambda done, total: told.append((done, total))
    )
    asked = [request for request in server.asked if request.path.startswith(PATH)]
    assert len(asked) == 2 and told == [(1, 2), (2, 2)]
    for request in asked:
        assert request.query["interval"] == [interval] and request.query["includePrePost"][0].lower() == "true"
        assert int(request.query["period1"][0]) == stamp(datetime(2025, 7, 8, 4, tzinfo=UTC))
        assert int(request.query["period2"][0]) == stamp(NOW)
    assert batch.http_calls == unlimited.acquired == len(server.asked)
    assert batch.bars["symbol"].to_list() == ["QQQ", "SPY"] and batch.basis == "split_adjusted"


def test_the_same_request_is_made_again_and_not_answered_from_memory(yahoo, server, answer):
    server.answers[PATH + "SPY"] = [answer(chart("SPY", minutes(1), [price])) for price in (1.0, 2.0)]
    client = yahoo()
    assert [ask(client, "SPY").bars["close"].item() for _ in range(2)] == [1.0, 2.0]


def test_minutes_without_a_trade_are_no_bars_and_a_bar_of_nulls_is_told(yahoo, server, answer):
    body = chart("SPY", minutes(4), [1.0, None, None, 2.0], [10, None, 20, 0])
    server.answers[PATH + "SPY"] = answer(body)
    bars = ask(yahoo(), "SPY").bars
    starts = minutes(4)
    assert bars["started_at"].to_list() == [starts[0], starts[2], starts[3]]
    assert bars["close"].to_list() == [1.0, None, 2.0] and bars["volume"].to_list() == [10.0, 20.0, 0.0]


def test_volume_outside_regular_hours_is_unknown_but_for_the_closing_auction(yahoo, server, answer):
    close = datetime(2025, 7, 8, 20, 0, tzinfo=UTC)
    starts = [OPEN - timedelta(minutes=1), OPEN, close, close + timedelta(minutes=1)]
    server.answers[PATH + "SPY"] = answer(chart("SPY", starts, [1.0] * 4, [0, 7, 900, 0]))
    assert ask(yahoo(), "SPY").bars["volume"].to_list() == [None, 7.0, 900.0, None]


def test_the_quote_of_this_moment_is_no_bar_and_leaves_the_forming_one_alone(yahoo, server, answer):
    now = OPEN + timedelta(minutes=2, seconds=23)
    starts = [*minutes(3), now]
    server.answers[PATH + "SPY"] = answer(chart("SPY", starts, [1.0, 2.0, 3.0, 9.0], [10, 20, 30, 0]))
    bars = ask(yahoo(), "SPY", now=now + timedelta(seconds=2)).bars
    assert bars["started_at"].to_list() == minutes(3)
    assert bars["high"].to_list() == [1.0, 2.0, 3.0] and bars["volume"].to_list() == [10.0, 20.0, 30.0]


def test_a_bar_off_the_grid_that_is_no_quote_is_told_as_it_is(yahoo, server, answer):
    odd = OPEN + timedelta(seconds=30)
    server.answers[PATH + "SPY"] = answer(
        chart("SPY", [OPEN, odd, OPEN + timedelta(minutes=1)], [1.0, 2.0, 3.0], [1, 2, 3])
    )
    assert ask(yahoo(), "SPY").bars["started_at"].to_list()[1] == odd


def test_a_row_that_comes_twice_is_told_once_and_kept(yahoo, server, answer):
    server.answers[PATH + "SPY"] = answer(chart("SPY", [OPEN, OPEN], [1.0, 2.0]))
    batch = ask(yahoo(), "SPY")
    assert batch.bars["close"].to_list() == [1.0] and batch.duplicates["close"].to_list() == [2.0]


def test_what_lies_outside_the_sessions_or_before_since_is_cut(yahoo, server, answer):
    yesterday = OPEN - timedelta(days=1)
    server.answers[PATH + "SPY"] = answer(chart("SPY", [yesterday, *minutes(3)], [1.0, 2.0, 3.0, 4.0]))
    assert ask(yahoo(), "SPY").bars["close"].to_list() == [2.0, 3.0, 4.0]
    assert ask(yahoo(), "SPY", since=OPEN + timedelta(minutes=2)).bars["close"].to_list() == [4.0]


def test_sydneys_session_is_sydneys_date(yahoo, server, answer):
    opens = datetime(2025, 7, 8, 0, 0, tzinfo=UTC)
    body = chart("BHP.AX", [opens - timedelta(hours=12), opens], [1.0, 2.0], exchangeTimezoneName="Australia/Sydney")
    server.answers[PATH + "BHP.AX"] = answer(body)
    assert ask(yahoo(), "BHP.AX", market=ASX).bars["close"].to_list() == [2.0]


def test_weeks_of_minutes_are_asked_for_a_week_at_a_time_and_a_retry_goes_on_where_it_failed(yahoo, server, answer):
    days = [day for day in (date(2025, 6, 16) + timedelta(days=n) for n in range(19)) if day.weekday() < 5]
    days = [day for day in days if day not in (date(2025, 6, 19), date(2025, 7, 4))]

    def by_week(asked):
        first = datetime.fromtimestamp(int(asked.query["period1"][0]), UTC)
        if first.day == 23 and sum(request.path.startswith(PATH) for request in server.asked) == 2:
            return answer("Too Many Requests", 429)
        return answer(chart("SPY", [first + timedelta(hours=10)], [float(first.day)]))

    server.answers[PATH + "SPY"] = by_week
    batch = ask(yahoo(attempts=2), "SPY", sessions=days, now=datetime(2025, 7, 8, 21, tzinfo=UTC))
    assert batch.bars["close"].to_list() == [16.0, 23.0, 30.0] and not batch.failures
    asked = [request.query for request in server.asked if request.path.startswith(PATH)]
    assert len(asked) == 4
    assert all(int(query["period2"][0]) - int(query["period1"][0]) <= 7 * 86_400 for query in asked)


def test_minutes_further_back_than_yahoo_tells_them_are_live_only(yahoo, server):
    with pytest.raises(LiveOnly, match="INTRADAY_FILES"):
        ask(yahoo(), "SPY", sessions=[date(2025, 6, 6)])
    with pytest.raises(LiveOnly):
        ask(yahoo(), "SPY", sessions=[date(2025, 5, 8)], interval="5m")
    assert server.asked == []


@pytest.mark.parametrize(
    "words",
    [
        "1m data not available for startTime=1 and endTime=2. The requested range must be within the last 30 days.",
        "1m data not available for startTime=1 and endTime=2. Only 8 days worth of 1m granularity data are allowed to "
        "be fetched per request.",
    ],
)
def test_yahoos_own_limits_are_an_empty_window_in_its_words(yahoo, server, answer, words):
    error = {"chart": {"result": None, "error": {"code": "Unprocessable Entity", "description": words}}}
    server.answers[PATH + "SPY"] = answer(error, 422)
    found = failure_of(ask(yahoo(), "SPY"))
    assert isinstance(found, EmptyWindow) and words[:20] in found.problem


def test_a_known_symbol_without_minutes_is_an_empty_window(yahoo, server, answer):
    body = chart("SPY", [], [])
    del body["chart"]["result"][0]["timestamp"]
    body["chart"]["result"][0]["indicators"]["quote"] = [{}]
    server.answers[PATH + "SPY"] = answer(body)
    assert isinstance(failure_of(ask(yahoo(), "SPY")), EmptyWindow)


def test_429_costs_one_chart_request_and_retry_after_is_waited_for(yahoo, server, answer, waits):
    server.answers[PATH + "SPY"] = answer("Too Many Requests", 429)
    assert isinstance(failure_of(ask(yahoo(), "SPY")), RateLimited)
    assert len(server.paths(PATH)) == 1
    refused = answer("Too Many Requests", 429, {"Retry-After": "7"})
    server.answers[PATH + "SPY"] = [refused, answer(chart("SPY", minutes(1), [1.0]))]
    assert ask(yahoo(attempts=2), "SPY").bars.height == 1 and sum(waits.slept) >= 7


def test_a_refused_cookie_is_tried_once_more(yahoo, server, answer):
    server.answers[PATH + "SPY"] = [answer("no", 401), answer(chart("SPY", minutes(1), [1.0]))]
    assert ask(yahoo(), "SPY").bars.height == 1
    server.answers[PATH + "SPY"] = answer("no", 401)
    assert isinstance(failure_of(ask(yahoo(), "SPY")), ProviderDown)


@pytest.mark.parametrize(
    ("body", "options", "expected"),
    [
        ("<html>Service Unavailable</html>", {"status": 503}, ProviderDown),
        ("<html>Will be right back</html>", {}, ProviderDown),
        ('{"chart": {"result": [{"meta": {"sym', {}, ProviderDown),
        ({"chart": {"result": None, "error": {"code": "Not Found", "description": ""}}}, {"status": 404}, NotFound),
        (chart("OTHER", minutes(1), [1.0]), {}, NotFound),
        (chart("SPY", minutes(2), [1.0]), {}, SchemaChanged),
        ({"spark": {}}, {}, SchemaChanged),
    ],
    ids=["503", "maintenance", "truncated", "unknown", "renamed", "short column", "no chart"],
)
def test_every_failure_has_its_kind(yahoo, server, answer, body, options, expected):
    server.answers[PATH + "SPY"] = answer(body, **options)
    assert isinstance(failure_of(ask(yahoo(), "SPY")), expected)


def test_a_failing_symbol_costs_the_others_nothing(yahoo, server, answer):
    server.answers[PATH + "SPY"] = answer(chart("SPY", minutes(1), [1.0]))
    server.answers[PATH + "DOWN"] = answer("oops", 500)
    batch = ask(yahoo(), "DOWN", "SPY", "a/b")
    assert batch.bars["symbol"].to_list() == ["SPY"]
    assert {failure.symbol: failure.error.kind for failure in batch.failures} == {
        "DOWN": "provider_down",
        "a/b": "not_found",
    }
