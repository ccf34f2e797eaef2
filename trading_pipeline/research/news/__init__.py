"""News: articles by the session on which they could first be read, those that say the same once, with a sentiment.

What belongs here: placing articles on sessions, telling copies, choosing a sentiment (`sentiment.py` holds the lexicon
model). What does not: fetching articles, canonical URLs (whoever receives them hashes those into `article_id`), and
what news mean for a fall.

An article belongs to the first session whose decision moment is not before it was available. It is a *copy* where an
article of the same instrument was available before it and is the same: it has the same `article_id` and appeared at
most LATE sessions earlier, or a near-identical headline at most WINDOW sessions earlier. Copies of copies count as
such, so a headline repeated every day appears once for as long as it goes on. Whether an article is a copy depends on
the articles of the sessions just before alone, and what arrives later changes nothing.

Two headlines are near-identical where their words score at least 90 of 100 in rapidfuzz's `token_sort_ratio` after
normalisation (case, punctuation and the publisher's name at the end taken off), their numbers are the same, and the
lexicon model does not read one as good and the other as bad news: `upgrades` and `downgrades` differ in four letters.
Only headlines of one instrument that share one of their four longest words are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.research.news.sentiment import headline_sentiments

__all__ = ["LATE", "LOOKBACK", "SIMILARITY", "WINDOW", "news", "normalised"]

WINDOW = 5
"""Sessions within which near-identical headlines are one story."""

LATE = 10
"""Sessions after its publication by which an article must have become available; later versions of it are no news."""

LOOKBACK = 2 * LATE + 1
"""Sessions before the judged one whose articles, by day of publication, must be passed: what it may be a copy of became
available up to LATE sessions before and was published up to LATE before that, perhaps on the weekend ahead of it."""

SIMILARITY = 90.0
"""Score of 100 from which headlines are near-identical."""

_KEY_WORDS = 4

_MOMENT = pl.Datetime("us", "UTC")
_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "session": pl.Date,
    "instrument_id": pl.String,
    "ticker": pl.String,
    "article_id": pl.String,
    "published_at": _MOMENT,
    "title": pl.String,
    "summary": pl.String,
    "url": pl.String,
    "publisher": pl.String,
    "scope": pl.String,
    "relevance": pl.Float64,
    "sentiment": pl.Float64,
    "sentiment_source": pl.String,
    "copies": pl.Int32,
    "providers": pl.String,
    "available_at": _MOMENT,
    "known_at": _MOMENT,
}


def news(
    articles: pl.DataFrame, members: pl.DataFrame, sessions: Sequence[date], decided_at: pl.DataFrame
) -> pl.DataFrame:
    """The columns of the table `news`, by session, instrument and moment of availability.

    articles: rows of `received_news`, every version, published from LOOKBACK sessions before the first judged one.
    members: [session, instrument_id, ticker] of the judged sessions: whose news are told; the benchmark's rows too
        where news of the market are tagged with it. sessions: the judged ones, ascending. decided_at: [session,
        decided_at], every session of the exchange from LOOKBACK before the first judged one on.

    The first version of an article is the one told, with what its copies of the same session add: `copies` counts them
    (itself included; versions and other providers of the same article are one), `providers` names theirs, and a score,
    scope, relevance or summary it lacks is that of the first copy that has one. The sentiment is the provider's score
    where there is one, cut to -1 to 1, else the lexicon model's of the headline.
    """
    placed = _placed(articles, decided_at, sessions)
    parents = _parents(placed)
    root, shown = _roots(placed, parents)
    judged = pl.Series("session", list(sessions), dtype=pl.Date)
    names = members.select("session", "instrument_id", "ticker").unique(["session", "instrument_id"], keep="any")
    told = (
        placed.with_columns(root=pl.Series(root), shown=pl.Series(shown))
        .filter(pl.col("shown") & pl.col("session").is_in(judged.implode()))
        .group_by("root", maintain_order=True)
        .agg(
            pl.col("session", "instrument_id", "article_id", "published_at", "title", "url", "publisher").first(),
            *(pl.col(name).drop_nulls().first() for name in ("summary", "scope", "relevance", "provider_sentiment")),
            pl.col("article_id").n_unique().alias("copies"),
            pl.col("provider").unique().sort().str.join(",").alias("providers"),
            pl.col("available_at", "known_at").first(),
        )
        .join(names, on=["session", "instrument_id"], how="inner", maintain_order="left")
    )
    given = pl.col("provider_sentiment").is_not_null()
    lexicon = headline_sentiments(told.select(pl.when(~given).then("title")).to_series())
    return (
        told.with_columns(
            sentiment=pl.when(given).then(pl.col("provider_sentiment").clip(-1, 1)).otherwise(lexicon),
            sentiment_source=pl.when(given).then(pl.lit("provider")).otherwise(pl.lit("lexicon")),
        )
        .sort("session", "instrument_id", "available_at", "article_id")
        .select(pl.col(name).cast(dtype) for name, dtype in _COLUMNS.items())
    )


def normalised(titles: pl.Expr, publishers: pl.Expr) -> pl.Expr:
    """Headlines as they are compared: lower case, without the publisher's name at the end, words and numbers alone."""
    ending = pl.concat_str(pl.lit(" - "), publishers.str.to_lowercase())
    plain = titles.str.normalize("NFKC").str.to_lowercase()
    bare = pl.when(plain.str.ends_with(ending)).then(plain.str.strip_suffix(ending)).otherwise(plain)
    return (
        bare.str.replace_all(r"['\u2019]s\b|['\u2019]", "")
        .str.replace_all(r"(\d),(\d)", "$1$2")
        .str.replace_all(r"(\d)\.(\d)", "$1\u00b7$2")
        .str.replace_all(r"[^\p{L}\p{N}\u00b7%]+", " ")
        .str.strip_chars()
    )


def _placed(articles: pl.DataFrame, decided_at: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
    """The articles that some session could read in time, in the order in which they were available, with that session.

    row: position of the session. An article is never available before the publisher says it appeared.
    """
    calendar = decided_at.sort("session")
    moments = calendar["decided_at"].dt.cast_time_unit("us").to_physical().to_numpy()

    def row_of(name: str) -> pl.Expr:
        return pl.col(name).map_batches(
            lambda told: pl.Series(
                np.searchsorted(moments, told.dt.cast_time_unit("us").to_physical().to_numpy(), side="left")
            ),
            return_dtype=pl.Int64,
        )

    last = max(sessions, default=date.min)
    return (
        articles.with_columns(available_at=pl.max_horizontal("available_at", "published_at"))
        .with_columns(row=row_of("available_at"), _published=row_of("published_at"))
        # Row 0 holds whatever came before the calendar too: nothing is known of when that was first told.
        .filter((pl.col("row") > 0) & (pl.col("row") < calendar.height))
        .filter(pl.col("row") - pl.col("_published") <= LATE)
        .with_columns(session=pl.col("row").map_batches(calendar["session"].gather, return_dtype=pl.Date))
        .filter(pl.col("session") <= last)
        .sort("instrument_id", "available_at", "published_at", "article_id", "provider", "known_at", "title")
    )


def _parents(placed: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Position of the earliest article each one is a copy of; its own where it is none."""
    numbered = placed.select(
        "instrument_id", "article_id", "row", "title", at=pl.int_range(pl.len()).cast(pl.Int64),
        text=normalised(pl.col("title"), pl.col("publisher").fill_null("")),
    )  # fmt: skip
    parents = np.arange(placed.height)
    pairs = pl.concat([_same_article(numbered), _same_headline(numbered)])
    if pairs.height:
        np.minimum.at(parents, pairs["later"].to_numpy(), pairs["at"].to_numpy())
    return parents


def _same_article(numbered: pl.DataFrame) -> pl.DataFrame:
    """[at, later]: each article with the first row of the same id that was available at most LATE sessions before."""
    key = ["instrument_id", "article_id"]
    before = numbered.select(*key, "row", "at")
    pairs = numbered.select(*key, later="at", later_row="row").join(before, on=key)
    close = (pl.col("at") < pl.col("later")) & (pl.col("later_row") - pl.col("row") <= LATE)
    return pairs.filter(close).group_by("later").agg(pl.col("at").min()).select("at", "later")


def _same_headline(numbered: pl.DataFrame) -> pl.DataFrame:
    """[at, later]: pairs of near-identical headlines, the later one at most WINDOW sessions after the other."""
    from rapidfuzz import fuzz
    from rapidfuzz.process import cpdist

    # A text that is told again word for word needs comparing only once a session.
    told = numbered.filter(pl.col("text") != "")
    once = told.unique(["instrument_id", "row", "text"], keep="first", maintain_order=True)
    exact = told.join(once.select("instrument_id", "row", "text", first="at"), on=["instrument_id", "row", "text"])
    again = exact.filter(pl.col("first") < pl.col("at")).select(at="first", later="at")

    pairs = _sharing_a_long_word(once)
    titles = numbered["title"]
    left, right = (numbered["text"].gather(pairs[name]) for name in ("at", "later"))
    score = cpdist(left.to_list(), right.to_list(), scorer=fuzz.token_sort_ratio, dtype=np.float32)
    alike = pairs.filter(pl.Series(score >= SIMILARITY, dtype=pl.Boolean) & (_numbers(left) == _numbers(right)))
    tones = [headline_sentiments(titles.gather(alike[name])) for name in ("at", "later")]
    return pl.concat([again, alike.filter(tones[0] * tones[1] >= 0)])


def _sharing_a_long_word(once: pl.DataFrame) -> pl.DataFrame:
    """[at, later]: pairs at most WINDOW sessions apart that share one of their four longest words."""
    word = pl.element().sort_by(pl.element().str.len_chars(), pl.element(), descending=[True, False])
    keys = once.select(
        "instrument_id", "at", "row", word=pl.col("text").str.split(" ").list.unique().list.eval(word.head(_KEY_WORDS))
    ).explode("word")
    # An article meets the later ones under the numbers of the sessions it reaches.
    reaching = keys.with_columns(row=pl.int_ranges("row", pl.col("row") + WINDOW + 1)).explode("row")
    return (
        reaching.join(keys.rename({"at": "later"}), on=["instrument_id", "word", "row"])
        .filter(pl.col("at") < pl.col("later"))
        .select("at", "later")
        .unique()
    )


def _numbers(texts: pl.Series) -> pl.Series:
    return texts.str.extract_all(r"\d+(?:\u00b7\d+)?").list.unique().list.sort().list.join(" ")


def _roots(placed: pl.DataFrame, parents: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The first article of its session that each one says the same as, and whether that one is no copy itself."""
    row = placed["row"].to_numpy()
    told_before = row[parents] < row
    root = np.where(told_before, np.arange(len(row)), parents)
    while True:
        further = root[root]
        if (further == root).all():
            return root, ~told_before[root]
        root = further
