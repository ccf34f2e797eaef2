"""Alpha Vantage's adapter against an Alpha Vantage on the loopback interface."""

from __future__ import annotations

import logging
import pickle
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from trading_pipeline.markets import ASX, US
from trading_pipeline.providers import alpha_vantage as module
from trading_pipeline.providers.alpha_vantage import DAILY, AlphaVantage
from trading_pipeline.providers.errors import AccessRefused, ProviderDown, RateLimited, SchemaChanged
from trading_pipeline.providers.reference import NEWS_SCHEMA, NewsProvider
from trading_pipeline.providers.throttle import TokenBucket

NOW = datetime(2025, 5, 7, 21, 0, 30, tzinfo=UTC)
SINCE = NOW - timedelta(days=3)
KEY = "VERYSECRETKEY"


def item(number, *tickers, at=NOW - timedelta(hours=1), **changes):
    return {
        "title": f"Headline {number}",
        "url": f"https://www.wire.example/{number}?utm_medium=feed",
        "time_published": at.strftime("%Y%m%dT%H%M%S"),
        "summary": "The text",
        "source": "The Wire",
        "overall_sentiment_score": 0.1,
        "ticker_sentiment": [
            {"ticker": ticker, "relevance_score": "0.75", "ticker_sentiment_score": "-0.31"} for ticker in tickers
        ],
        **changes,
    }


@pytest.fixture
def make(server, patient, unlimited):
    def provider(**changes):
        how = {"throttle": unlimited, "daily": unlimited, "policy": patient(attempts=1), "timeout": 5.0}
        return AlphaVantage(SecretStr(KEY), **{"base_url": server.url, **how, **changes})

    return provider


@pytest.fixture
def ask(make):
    def news(*symbols, market=US, since=SINCE, **changes):
        provider = make(**changes)
        assert isinstance(provider, NewsProvider)
        return provider.news(market, symbols, since, NOW, now=NOW)

    return news


@pytest.fixture
def put(server, answer):
    def said(*answers):
        server.answers["/query"] = [answer(*each) if isinstance(each, tuple) else answer(each) for each in answers]

    return said


def test_one_request_tells_of_every_name_with_its_own_score(ask, put, server):
    put({"feed": [item(1, "AAA", "BRK.B", "ZZZ"), item(2, "ZZZ")]})
    batch = ask("AAA", "BRK-B", "QUIET")
    assert batch.rows.schema == NEWS_SCHEMA and batch.http_calls == len(server.asked) == 1
    assert batch.answered == ("AAA", "BRK-B", "QUIET") and not batch.failures
    assert batch.rows.select("symbol", "relevance", "provider_sentiment", "url", "publisher").rows() == [
        (symbol, 0.75, -0.31, "https://wire.example/1", "The Wire") for symbol in ("AAA", "BRK-B")
    ]
    (query,) = [request.query for request in server.asked]
    assert "tickers" not in query and query["function"] == ["NEWS_SENTIMENT"]
    assert query["time_from"] == ["20250504T2100"] and query["time_to"] == ["20250507T2101"]


def test_a_full_page_is_followed_by_the_one_before_it(ask, put, server, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 2)
    hours = [NOW - timedelta(hours=back) for back in (1, 2, 3)]
    put({"feed": [item(1, "AAA", at=hours[0]), item(2, "AAA", at=hours[1])]}, {"feed": [item(3, "AAA", at=hours[2])]})
    batch = ask("AAA")
    assert batch.rows.height == 3 and batch.answered == ("AAA",)
    assert server.asked[1].query["time_to"] == ["20250507T1900"]


def test_a_batch_ends_after_some_pages_and_claims_no_answer_then(ask, put, server, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 1)
    put({"feed": [item(1, "AAA")]})
    batch = ask("AAA")
    assert len(server.asked) == module.MOST_PAGES and batch.answered == () and batch.rows.height == 1


def test_what_was_read_before_a_refusal_is_kept(ask, put, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 1)
    put({"feed": [item(1, "AAA")]}, {"Note": "Our standard API call frequency is 5 requests per minute."})
    batch = ask("AAA")
    assert batch.rows.height == 1 and batch.answered == () and not batch.failures


def test_articles_outside_the_window_are_left_out(ask, put):
    put({"feed": [item(1, "AAA", at=NOW + timedelta(minutes=1)), item(2, "AAA", at=SINCE)]})
    assert ask("AAA").rows.is_empty()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (
            {"Information": f"We have detected your API key as {KEY}: our rate limit is 25 requests per day."},
            RateLimited,
        ),
        ({"Note": "Thank you! Our standard API call frequency is 5 calls per minute."}, RateLimited),
        (("", 429), RateLimited),
        ({"Error Message": "the parameter apikey is invalid or missing."}, AccessRefused),
        ({"Information": "This is a premium endpoint."}, AccessRefused),
        (("", 403), AccessRefused),
        (("<html>", 503), ProviderDown),
        (("{", 200), ProviderDown),
        (({}, 302), SchemaChanged),
        ({"Information": "Invalid inputs."}, SchemaChanged),
        ([1], SchemaChanged),
        ({"feed": [1]}, SchemaChanged),
        ({"feed": [{"title": "no date"}]}, SchemaChanged),
        ({"feed": [item(1, "AAA", title=None)]}, SchemaChanged),
        ({"feed": [item(1, ticker_sentiment=[{"ticker": "AAA", "relevance_score": "high"}])]}, SchemaChanged),
    ],
)
def test_every_answer_means_one_kind_of_failure(ask, put, said, meant):
    put(said)
    batch = ask("AAA", "BBB")
    assert [type(failure.error) for failure in batch.failures] == [meant, meant] and batch.answered == ()


def test_nothing_found_is_an_answer(ask, put):
    put({"Information": "No articles found. Please adjust the time range or refer to the documentation."})
    batch = ask("AAA")
    assert batch.answered == ("AAA",) and not batch.failures


def test_the_key_is_sent_and_shown_nowhere(ask, put, server, caplog):
    caplog.set_level(logging.DEBUG)
    put({"Information": f"We have detected your API key as {KEY} and our standard rate limit is 25 requests per day."})
    batch = ask("AAA")
    assert server.asked[0].query["apikey"] == [KEY]
    assert "HTTP Request" in caplog.text and KEY not in caplog.text
    assert KEY.encode() not in pickle.dumps(batch.failures) and KEY not in repr(batch.failures)


def test_an_unreachable_service_is_down_and_names_no_key(make):
    (failure,) = make(base_url="http://127.0.0.1:9").news(US, ["AAA"], SINCE, NOW, now=NOW).failures
    assert isinstance(failure.error, ProviderDown) and KEY not in f"{failure!r}{failure.error.__cause__!r}"


def test_a_request_beyond_the_days_budget_is_not_made_and_not_waited_for(ask, put, server, waits):
    put({"feed": []})
    bucket = TokenBucket(DAILY.rate_per_second, 2, monotonic=waits.monotonic, sleep=waits.sleep)
    batches = [ask("AAA", daily=bucket) for _ in range(4)]
    assert [len(batch.failures) for batch in batches] == [0, 0, 1, 1] and len(server.asked) == 2
    assert {failure.error.kind for batch in batches for failure in batch.failures} == {"rate_limited"}
    assert waits.slept == []
    waits.now += 1.01 / DAILY.rate_per_second
    assert not ask("AAA", daily=bucket).failures


def test_a_day_never_sees_more_than_25_requests():
    assert DAILY.burst + DAILY.rate_per_second * 86_400 == pytest.approx(25)


def test_names_outside_the_us_are_not_found_and_not_asked(ask, server):
    batch = ask("BHP.AX", market=ASX)
    assert [failure.error.kind for failure in batch.failures] == ["not_found"] and server.asked == []
