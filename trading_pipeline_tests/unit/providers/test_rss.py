"""Feeds on the loopback interface: one a name, one for all, and what is no feed."""

from __future__ import annotations

import logging
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from trading_pipeline.markets import ASX, US
from trading_pipeline.providers.reference import NEWS_SCHEMA, NewsProvider
from trading_pipeline.providers.rss import MOST_REDIRECTS, Rss

NOW = datetime(2025, 8, 15, 6, 30, tzinfo=UTC)
SINCE = NOW - timedelta(days=3)
HOUR_AGO = format_datetime(NOW - timedelta(hours=1))
NAMES = {
    "AAPL": "Apple Inc.",
    "TGT": "Target Corporation",
    "GOOGL": "Alphabet Inc. (Class A)",
    "GOOG": "Alphabet Inc. (Class C)",
    "BRK-B": "Berkshire Hathaway Inc.",
    "IT": "Gartner, Inc.",
}


def item(title, *, date=HOUR_AGO, number=1, **more):
    dated = f"<pubDate>{date}</pubDate>" if date else ""
    rest = "".join(f"<{name}>{value}</{name}>" for name, value in more.items())
    return f"<item><title>{title}</title><link>https://www.wire.example/{number}?oc=5</link>{dated}{rest}</item>"


def rss(*items):
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>The Wire</title>{"".join(items)}</channel></rss>'


@pytest.fixture
def ask(server, patient, unlimited):
    def news(*symbols, feeds=("/all",), market=US, names=None, **policy):
        provider = Rss(
            [f"{server.url}{feed}" for feed in feeds],
            names=NAMES if names is None else names,
            throttle=unlimited,
            policy=patient(**{"attempts": 1, **policy}),
            timeout=5.0,
        )
        assert isinstance(provider, NewsProvider)
        return provider.news(market, symbols or tuple(NAMES), SINCE, NOW, now=NOW)

    return news


@pytest.fixture
def put(server, answer):
    def at(path, body, status=200, **headers):
        server.answers[path] = answer(body, status, {"Content-Type": "application/rss+xml", **headers})

    return at


def test_a_names_own_feed_is_asked_for_each_name(ask, put, server, unlimited):
    put("/AAPL/feed", rss(item("Anything at all", description="&lt;b&gt;More&lt;/b&gt; text")))
    put("/BRK-B/feed", rss())
    batch = ask("AAPL", "BRK-B", feeds=("/{ticker}/feed?key=k",))
    assert batch.rows.schema == NEWS_SCHEMA and not batch.failures and batch.answered == ("AAPL", "BRK-B")
    assert batch.http_calls == unlimited.acquired == len(server.asked) == 2
    (row,) = batch.rows.iter_rows(named=True)
    assert (row["symbol"], row["title"], row["summary"], row["publisher"]) == (
        "AAPL",
        "Anything at all",
        "More text",
        "The Wire",
    )
    assert row["url"] == "https://wire.example/1"
    assert row["published_at"] == row["available_at"] == NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    ("title", "about"),
    [
        ("Apple&apos;s new phone sells out", ["AAPL"]),
        ("Pineapple harvest is late", []),
        ("apple prices rise at the market", []),
        ("Alphabet to spend more", ["GOOG", "GOOGL"]),
        ("Retailers target young buyers", []),
        ("Target cuts prices", []),
        ("Target Corp. cuts prices", ["TGT"]),
        ("Retailer (TGT) cuts prices", ["TGT"]),
        ("Traders pile into $AAPL and $TGT", ["AAPL", "TGT"]),
        ("Insurer (NYSE: BRK.B) reports", ["BRK-B"]),
        ("Gartner (NYSE:IT) raises outlook", ["IT"]),
        ("Hackers hit information technology (IT) firm", []),
        ("IT budgets fall", []),
        ("Aristocrat (ASX: TGT) reports", []),
        ("Berkshire Hathaway and Apple part ways", ["AAPL", "BRK-B"]),
    ],
)
def test_an_article_of_a_feed_for_all_is_matched_only_beyond_doubt(ask, put, title, about):
    put("/all", rss(item(title)))
    assert ask().rows["symbol"].to_list() == about


def test_tickers_of_another_exchange_are_not_ours(ask, put):
    put("/all", rss(item("Miner (ASX: BHP) and $BHP and (BHP)"), item("Miner (NYSE: BHP)", number=2)))
    assert ask("BHP.AX", market=ASX, names={}).rows["title"].to_list() == ["Miner (ASX: BHP) and $BHP and (BHP)"]


def test_dates_are_utc_whatever_their_zone(ask, put):
    put(
        "/all",
        rss(
            item("Apple one", date="Thu, 14 Aug 2025 20:00:00 -0400", number=1),
            item("Apple two", date="Thu, 14 Aug 2025 20:00:00 EDT", number=2),
            item("Apple three", date="2025-08-15T00:00:00Z", number=3),
        ),
    )
    assert ask("AAPL").rows["published_at"].to_list() == [datetime(2025, 8, 15, tzinfo=UTC)] * 3


@pytest.mark.parametrize("date", ["Thu, 14 Aug 2025 20:00:00", "2025-08-14T20:00:00", "Thu, 14 Aug 2025 20:00:00 CEST"])
def test_a_date_without_a_known_zone_is_not_taken_for_older_than_its_receipt(ask, put, date):
    put("/all", rss(item("Apple one", date=date)))
    rows = ask("AAPL").rows
    assert rows.select("published_at", "available_at").rows() == [(datetime(2025, 8, 14, 20, tzinfo=UTC), NOW)]


def test_atom_is_read_too(ask, put):
    entry = (
        "<entry><title>Apple grows</title><link href='https://wire.example/9'/><updated>2025-08-15T05:00:00Z</updated>"
        "<source><title>Another Wire</title></source></entry>"
    )
    put("/all", f"<feed xmlns='http://www.w3.org/2005/Atom'><title>The Wire</title>{entry}</feed>")
    assert ask("AAPL").rows.select("title", "publisher").rows() == [("Apple grows", "Another Wire")]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (("<html><body>Please enable cookies</body></html>",), "schema_changed"),
        (("",), "schema_changed"),
        (('{"items": []}',), "schema_changed"),
        ((rss(item("Apple", date=None)),), "schema_changed"),
        ((rss(item(""), item("", number=2), item("Apple", number=3)),), "schema_changed"),
        (("gone", 404), "not_found"),
        (("no", 403), "access_refused"),
        (("slow down", 429), "rate_limited"),
        (("broken", 502), "provider_down"),
        (("strange", 418), "schema_changed"),
    ],
)
def test_a_broken_feed_is_a_failure_and_no_silence(ask, put, server, said, kind):
    put("/all", *said)
    batch = ask("AAPL", "TGT")
    place = "127.0.0.1/all"
    assert [(failure.symbol, failure.error.kind) for failure in batch.failures] == [
        (place, kind),
        ("AAPL", kind),
        ("TGT", kind),
    ]
    assert batch.answered == ()


def test_a_feed_without_articles_is_an_answer(ask, put):
    put("/all", rss())
    batch = ask("AAPL")
    assert batch.answered == ("AAPL",) and not batch.failures


def test_a_feed_that_fails_does_not_cost_the_others_theirs(ask, put):
    put("/bad", "no", 403)
    put("/all", rss(item("Apple grows")))
    batch = ask("AAPL", feeds=("/bad", "/all"))
    assert batch.rows.height == 1 and batch.answered == ("AAPL",)
    assert [(failure.symbol, failure.error.kind) for failure in batch.failures] == [("127.0.0.1/bad", "access_refused")]


def test_redirects_are_followed_and_not_for_ever(ask, put, server):
    put("/old", "", 301, Location="/all")
    put("/all", rss(item("Apple grows")))
    assert ask("AAPL", feeds=("/old",)).rows.height == 1
    put("/loop", "", 302, Location="/loop")
    before = len(server.asked)
    assert ask("AAPL", feeds=("/loop",)).failures[0].error.kind == "provider_down"
    assert len(server.asked) - before == MOST_REDIRECTS + 1


def test_keys_in_addresses_are_sent_and_shown_nowhere(ask, put, server, caplog):
    caplog.set_level(logging.DEBUG)
    put("/all", "no", 500)
    batch = ask("AAPL", feeds=("/all?apikey=VERYSECRET",))
    assert server.asked[0].query == {"apikey": ["VERYSECRET"]}
    assert "VERYSECRET" not in caplog.text + repr(batch.failures)
    assert b"VERYSECRET" not in pickle.dumps(batch.failures)
