"""The lexicon model against headlines that people scored, and copies among real messages about 22 tickers."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

import polars as pl
import pytest
from scipy.stats import pearsonr, spearmanr
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from trading_pipeline.research.news import news
from trading_pipeline.research.news.sentiment import headline_sentiment
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import reference

pytestmark = pytest.mark.real_data


def looked_at(title: str) -> bool:
    """Whether a headline is of the half whose errors were looked at while the lexicon was written."""
    return hashlib.sha256(title.encode()).digest()[0] % 2 == 0


@pytest.fixture(scope="module")
def labelled(real_data):
    """(headline, score from -1 to 1 that people gave it for one company) of SemEval-2017 task 5."""
    rows = json.loads((real_data / "news" / "semeval2017_headlines_first500.json").read_text())
    return [(row["title"], float(row["sentiment"])) for row in rows]


def correlations(judge, rows):
    scores, labels = [judge(title) for title, _ in rows], [label for _, label in rows]
    return float(pearsonr(scores, labels)[0]), float(spearmanr(scores, labels)[0])


def test_the_model_follows_peoples_scores_on_headlines_it_was_not_written_from(labelled):
    plain = SentimentIntensityAnalyzer()
    sealed = [row for row in labelled if not looked_at(row[0])]
    assert len(sealed) == 248 and len(labelled) == 500
    told = {
        (who, where): correlations(judge, rows)
        for who, judge in (
            ("plain VADER", lambda title: plain.polarity_scores(title)["compound"]),
            ("ours", headline_sentiment),
        )
        for where, rows in (("all 500", labelled), ("the 248 never looked at", sealed))
    }
    measured = "; ".join(
        f"{who} on {where}: Pearson {p:.3f}, Spearman {s:.3f}" for (who, where), (p, s) in told.items()
    )
    ours, vader = told["ours", "the 248 never looked at"], told["plain VADER", "the 248 never looked at"]
    assert min(ours) > 0.55 and ours[0] > vader[0] + 0.1, measured


def test_repeated_messages_of_2014_are_told_once(real_data):
    tweets = pl.read_parquet(real_data / "news" / "stocknet_tweets_2014_22_tickers.parquet")
    exchange = calendar("XNYS")
    days = exchange.between(tweets["created_at"].min().date() - timedelta(days=9), tweets["created_at"].max().date())
    decided = pl.DataFrame(
        {"session": days, "decided_at": [exchange.close_at(day) + timedelta(hours=1.5) for day in days]}
    )
    articles = tweets.select(
        article_id=pl.int_range(pl.len()).cast(pl.String),
        instrument_id="us:" + pl.col("ticker"),
        symbol="ticker",
        published_on=pl.col("created_at").dt.date(),
        published_at="created_at",
        title="text",
        **{name: pl.lit(None, pl.String) for name in ("summary", "url", "publisher", "scope")},
        **{name: pl.lit(None, pl.Float64) for name in ("relevance", "provider_sentiment")},
        provider=pl.lit("stocktwits"),
        available_at="created_at",
        known_at="created_at",
    )
    members = pl.DataFrame({"session": days}).join(
        articles.select("instrument_id", ticker="symbol").unique(), how="cross"
    )
    told = reference.NEWS.conform(news(articles, members, days, decided))
    assert 0.5 * tweets.height < told.height < 0.95 * tweets.height, f"{told.height} of {tweets.height} are told"
    assert told["copies"].sum() > told.height and told["copies"].max() > 5
    again = (
        told.with_columns(row=pl.col("session").replace_strict({day: row for row, day in enumerate(days)}))
        .sort("instrument_id", "title", "row")
        .select(apart=pl.col("row").diff().over("instrument_id", "title"))
        .drop_nulls()
    )
    assert again["apart"].min() > 5
