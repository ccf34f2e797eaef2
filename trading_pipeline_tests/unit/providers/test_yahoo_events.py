"""Report dates and news through the real yfinance client against a Yahoo on the loopback interface."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import requests
from curl_cffi import requests as curl

from trading_pipeline.markets import ASX, US
from trading_pipeline.providers.reference import EARNINGS_SCHEMA, NEWS_SCHEMA, EarningsProvider, NewsProvider
from trading_pipeline.providers.yahoo_events import YahooEvents

NOW = datetime(2025, 4, 25, 21, 0, tzinfo=UTC)
FIRST, LAST = date(2025, 4, 1), date(2025, 8, 1)
STREAM = "/xhr/ncp"


@pytest.fixture
def yahoo(server, answer, redirected, patient, unlimited):
    from yfinance.data import SingletonMeta

    # The client keeps its crumb and cookie strategy for the life of the process.
    SingletonMeta._instances.clear()
    server.answers["/"] = answer("")
    server.answers["/v1/test/getcrumb"] = answer("crumb", headers={"Content-Type": "text/plain"})

    def make(session_class=curl.Session, **policy):
        return YahooEvents(
            session=redirected(session_class, server.url),
            throttle=unlimited,
            policy=patient(**{"attempts": 1, **policy}),
            timeout=10.0,
        )

    return make


def summary(*moments, **earnings):
    told = {"earningsDate": [int(moment.timestamp()) for moment in moments], **earnings}
    return {"quoteSummary": {"result": [{"calendarEvents": {"maxAge": 1, "earnings": told}}], "error": None}}


def put(server, answer, symbol, *said):
    server.answers[f"/v10/finance/quoteSummary/{symbol}"] = answer(*said)


def failing(code, description):
    return {"quoteSummary": {"result": None, "error": {"code": code, "description": description}}}


@pytest.mark.parametrize("session_class", [curl.Session, requests.Session])
def test_the_next_report_comes_with_its_timing_and_estimates(yahoo, server, answer, unlimited, session_class):
    put(server, answer, "AAA", summary(
        datetime(2025, 5, 1, 20, 5, tzinfo=UTC), isEarningsDateEstimate=False, earningsAverage=1.6, revenueAverage=9e10
    ))  # fmt: skip
    provider = yahoo(session_class)
    assert isinstance(provider, EarningsProvider) and isinstance(provider, NewsProvider)
    batch = provider.earnings(US, ["AAA"], FIRST, LAST, now=NOW)
    assert batch.rows.schema == EARNINGS_SCHEMA and batch.answered == ("AAA",)
    assert batch.http_calls == unlimited.acquired == len(server.asked)
    assert batch.rows.row(0, named=True) == {
        "symbol": "AAA",
        "report_date": date(2025, 5, 1),
        "timing": "amc",
        "fiscal_period": "2025-05",
        "eps_estimate": 1.6,
        "eps_actual": None,
        "revenue_estimate": 9e10,
        "revenue_actual": None,
        "confirmed": True,
        "available_at": NOW,
    }


@pytest.mark.parametrize(
    ("market", "moment", "day", "timing"),
    [
        (US, datetime(2025, 5, 1, 12, 0, tzinfo=UTC), date(2025, 5, 1), "bmo"),
        (US, datetime(2025, 5, 1, 15, 0, tzinfo=UTC), date(2025, 5, 1), "dmh"),
        (US, datetime(2025, 5, 2, 0, 30, tzinfo=UTC), date(2025, 5, 1), "amc"),
        (US, datetime(2025, 5, 1, 4, 0, tzinfo=UTC), date(2025, 5, 1), "unknown"),
        (US, datetime(2025, 5, 1, 0, 0, tzinfo=UTC), date(2025, 5, 1), "unknown"),
        (ASX, datetime(2025, 5, 1, 22, 30, tzinfo=UTC), date(2025, 5, 2), "bmo"),
    ],
)
def test_day_and_timing_are_those_of_the_exchange(yahoo, server, answer, market, moment, day, timing):
    put(server, answer, "AAA", summary(moment, isEarningsDateEstimate=False))
    rows = yahoo().earnings(market, ["AAA"], FIRST, LAST, now=NOW).rows
    assert rows.select("report_date", "timing").rows() == [(day, timing)]


def test_an_estimated_range_is_its_first_day_at_an_unknown_hour(yahoo, server, answer):
    ends = datetime(2025, 4, 30, 20, tzinfo=UTC), datetime(2025, 5, 5, 20, tzinfo=UTC)
    put(server, answer, "AAA", summary(*reversed(ends), isEarningsDateEstimate=True))
    rows = yahoo().earnings(US, ["AAA"], FIRST, LAST, now=NOW).rows
    assert rows.select("report_date", "timing", "confirmed").rows() == [(date(2025, 4, 30), "unknown", False)]


def test_a_fund_without_events_has_none_and_an_unknown_name_is_not_found(yahoo, server, answer):
    none = "No fundamentals data found for any of the summaryTypes=calendarEvents"
    put(server, answer, "SPY", failing("Not Found", none), 404)
    put(server, answer, "GONE", failing("Not Found", "Quote not found for symbol: GONE"), 404)
    put(server, answer, "AAA", {"quoteSummary": {"result": [{"calendarEvents": {"maxAge": 1}}], "error": None}})
    batch = yahoo().earnings(US, ["SPY", "GONE", "AAA", "../etc"], FIRST, LAST, now=NOW)
    assert batch.rows.is_empty() and batch.answered == ("SPY", "AAA")
    assert [(failure.symbol, failure.error.kind) for failure in batch.failures] == [
        ("GONE", "not_found"),
        ("../etc", "not_found"),
    ]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (("Too Many Requests", 429), "rate_limited"),
        (("<html>", 502), "provider_down"),
        (("{", 200), "provider_down"),
        (({"finance": {}}, 200), "schema_changed"),
        (({"quoteSummary": {"result": [{}], "error": None}}, 200), "schema_changed"),
        ((failing("Bad Request", "Invalid module"), 400), "schema_changed"),
    ],
)
def test_every_answer_means_one_kind_of_failure(yahoo, server, answer, said, kind):
    put(server, answer, "AAA", *said)
    batch = yahoo().earnings(US, ["AAA"], FIRST, LAST, now=NOW)
    assert [failure.error.kind for failure in batch.failures] == [kind] and batch.answered == ()


def item(number, *, hours=1, **changes):
    content = {
        "title": f"Headline {number}",
        "summary": "<p>The  text</p>",
        "pubDate": (NOW - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "provider": {"displayName": "The Wire"},
        "canonicalUrl": {"url": f"https://www.wire.example/{number}/?utm_source=yahoo&id=7#top"},
        **changes,
    }
    return {"id": f"{number}", "content": content}


def stream(*items):
    return {"data": {"tickerStream": {"stream": list(items)}}}


def news_of(provider, *symbols, since=NOW - timedelta(days=2)):
    return provider.news(US, symbols, since, NOW, now=NOW)


def test_articles_come_with_their_clock_and_a_canonical_address(yahoo, server, answer):
    server.answers[STREAM] = answer(stream(item(1), item(2, hours=72), {"ad": [1], "content": {"title": "Buy"}}))
    batch = news_of(yahoo(), "AAA")
    assert batch.rows.schema == NEWS_SCHEMA and batch.answered == ("AAA",)
    (row,) = batch.rows.iter_rows(named=True)
    assert row["title"] == "Headline 1" and row["summary"] == "The text" and row["publisher"] == "The Wire"
    assert row["url"] == "https://wire.example/1?id=7"
    assert row["published_at"] == row["available_at"] == NOW - timedelta(hours=1)


def test_the_same_article_has_the_same_id_for_every_name(yahoo, server, answer):
    server.answers[STREAM] = answer(stream(item(1)))
    rows = news_of(yahoo(), "AAA", "BBB").rows
    assert rows["symbol"].to_list() == ["AAA", "BBB"] and rows["article_id"].n_unique() == 1


def test_no_news_are_an_answer_and_articles_without_headline_or_date_are_not(yahoo, server, answer):
    server.answers[STREAM] = answer(stream())
    assert news_of(yahoo(), "AAA").answered == ("AAA",)
    server.answers[STREAM] = answer(stream(item(1), item(2, pubDate=None)))
    assert news_of(yahoo(), "AAA").rows.height == 1
    server.answers[STREAM] = answer(stream(item(2, title=None)))
    assert news_of(yahoo(), "AAA").failures[0].error.kind == "schema_changed"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (("", 429), "rate_limited"),
        (("Will be right back", 200), "provider_down"),
        (({"data": {}}, 200), "schema_changed"),
        ((stream(item(1, pubDate="yesterday")), 200), "schema_changed"),
    ],
)
def test_every_stream_that_is_none_means_one_kind_of_failure(yahoo, server, answer, said, kind):
    server.answers[STREAM] = answer(*said)
    assert [failure.error.kind for failure in news_of(yahoo(), "AAA").failures] == [kind]
