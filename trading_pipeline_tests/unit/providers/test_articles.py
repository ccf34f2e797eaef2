"""What makes two answers the same article: the address without what differs between readers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from trading_pipeline.providers.articles import article, article_id, canonical_url, news_frame, plain

NOW = datetime(2025, 5, 7, 21, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://www.Wire.example/a/?utm_source=x&id=2&utm_campaign=y#top", "https://wire.example/a?id=2"),
        ("http://wire.example:80/a?b=2&a=1", "https://wire.example/a?a=1&b=2"),
        ("https://wire.example:8443/a", "https://wire.example:8443/a"),
        ("https://finance.yahoo.com/news/x.html?.tsrc=rss&guccounter=1", "https://finance.yahoo.com/news/x.html"),
        ("ftp://wire.example/a", None),
        ("not an address", None),
        ("https://[broken", None),
        ("", None),
        (None, None),
    ],
)
def test_addresses_lose_what_differs_between_readers(url, canonical):
    assert canonical_url(url) == canonical


def test_an_article_without_an_address_is_known_by_publisher_time_and_title():
    one = article_id(None, "The Wire", NOW, "Headline")
    assert one == article_id(None, "The Wire", NOW.astimezone(), "Headline")
    others = {
        article_id(None, "Another", NOW, "Headline"),
        article_id(None, "The Wire", NOW + timedelta(seconds=1), "Headline"),
        article_id(None, "The Wire", NOW, "Another"),
        article_id("https://wire.example/a", "The Wire", NOW, "Headline"),
    }
    assert len(others) == 4 and one not in others


def test_text_loses_markup_and_runs_of_blanks():
    assert plain("<p>Shares &amp; <b>bonds</b>\n  fall</p>") == "Shares & bonds fall"
    assert plain("<br/> ") is None and plain(None) is None and plain(7) is None


def test_rows_are_those_of_the_window_once_a_symbol_and_never_available_later_than_now():
    def row(symbol, published, **more):
        return article(
            symbol, title="T", published_at=published, url="https://w.example/1", publisher=None, now=NOW, **more
        )

    since = NOW - timedelta(days=1)
    frame = news_frame(
        [
            row("B", NOW),
            row("A", NOW),
            row("A", NOW, summary="again"),
            row("C", since),
            row("D", NOW + timedelta(minutes=1)),
            row("E", NOW - timedelta(hours=1), available_at=NOW + timedelta(hours=1)),
        ],
        since,
        NOW,
    )
    assert frame.select("symbol", "summary", "available_at").rows() == [
        ("A", None, NOW),
        ("B", None, NOW),
        ("E", None, NOW),
    ]
