"""The lexicon model reads financial headlines: words, phrases, negation and number moves."""

from __future__ import annotations

import polars as pl
import pytest

from trading_pipeline.research.news.sentiment import headline_sentiment, headline_sentiments


@pytest.mark.parametrize(
    "headline",
    [
        "Nvidia raises full-year outlook, beats estimates",
        "Boeing loss narrows as costs fall",
        "Goldman upgrades Apple to buy",
        "FDA approves Pfizer's heart drug",
        "ARM swings to profit in fourth quarter",
        "Shares hit record high",
        "Stock +7.5% on takeover offer",
        "Retailer cuts debt by half",
    ],
)
def test_good_news_are_positive(headline):
    assert headline_sentiment(headline) > 0.2


@pytest.mark.parametrize(
    "headline",
    [
        "Apple shares fall 6% after weak guidance",
        "Tesla recalls 2 million cars",
        "Intel slashes dividend",
        "Goldman downgrades Apple to neutral",
        "Netflix misses subscriber estimates",
        "SEC opens probe into Acme's accounting",
        "Supermarket issues profit warning",
        "Bank swings to loss as bad loans rise",
        "Chipmaker cuts full-year outlook",
        "Retailer files for Chapter 11",
    ],
)
def test_bad_news_are_negative(headline):
    assert headline_sentiment(headline) < -0.2


@pytest.mark.parametrize(
    "headline", ["", "Microsoft holds annual meeting", "Reed to rename itself", "Share trust united"]
)
def test_what_says_nothing_is_neutral(headline):
    assert headline_sentiment(headline) == 0


def test_a_large_move_says_more_than_a_small_one_in_either_direction():
    assert headline_sentiment("Acme down 7%") < headline_sentiment("Acme down 2%") < 0
    assert headline_sentiment("Acme up 7 pct") > headline_sentiment("Acme up 2 per cent") > 0
    assert headline_sentiment("Acme \u22128.11 %") < headline_sentiment("Acme -1 %") < 0


def test_negation_turns_a_word_round():
    assert headline_sentiment("Merger is not approved") < 0 < headline_sentiment("Merger is approved")


def test_each_headline_is_judged_and_none_stays_none():
    told = headline_sentiments(pl.Series(["Acme soars", None, "Acme slumps", "Acme soars"]))
    assert told[0] == told[3] > 0 > told[2] and told[1] is None
    assert headline_sentiments(pl.Series([None], dtype=pl.String)).to_list() == [None]
