"""News: on which session an article could first be read, what is a copy of what, and whose sentiment counts."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.research.news import LATE, LOOKBACK, WINDOW, news, normalised
from trading_pipeline.tables import reference

CALENDAR = pl.date_range(date(2024, 1, 1), date(2024, 12, 31), eager=True)
CALENDAR = CALENDAR.filter(CALENDAR.dt.weekday() <= 5).to_list()
IDS = ("us:A", "us:B")
TUESDAY = date(2024, 6, 4)
ARTICLE = {"symbol": "A", "instrument_id": "us:A", "provider": "rss"}


def decided(session):
    return datetime.combine(session, time(21, 30), UTC)


DECIDED = pl.DataFrame({"session": CALENDAR, "decided_at": [decided(day) for day in CALENDAR]})


def after(session, count):
    return CALENDAR[CALENDAR.index(session) + count]


def articles(*rows):
    full = []
    for number, row in enumerate(rows):
        available = row.get("available_at", datetime.combine(TUESDAY, time(12, number % 60), UTC))
        published = row.get("published_at", available)
        told = {"article_id": f"id{number}", "title": f"Unlike headline {number * 7919}", **ARTICLE, **row}
        clocks = {"published_at": published, "published_on": published.date(), "available_at": available}
        full.append({"known_at": available, **told, **clocks})
    return pl.DataFrame(full, schema=reference.RECEIVED_NEWS.schema)


def members_on(sessions):
    return pl.DataFrame(
        [(day, name, name.removeprefix("us:"), universe) for day in sessions for name in IDS for universe in "XY"],
        schema={"session": pl.Date, "instrument_id": pl.String, "ticker": pl.String, "universe": pl.String},
        orient="row",
    )


WHOLE = CALENDAR[LOOKBACK:]


def told(*rows, sessions=WHOLE):
    frame = news(articles(*rows), members_on(sessions), sessions, DECIDED)
    return reference.NEWS.conform(frame)


@pytest.mark.parametrize(
    ("available", "session"),
    [
        (decided(TUESDAY), TUESDAY),
        (decided(TUESDAY) + timedelta(microseconds=1), after(TUESDAY, 1)),
        (datetime(2024, 6, 8, 12, tzinfo=UTC), date(2024, 6, 10)),
        (datetime(2024, 6, 3, 21, 30, 1, tzinfo=UTC), TUESDAY),
    ],
)
def test_an_article_belongs_to_the_first_session_that_could_read_it(available, session):
    assert told({"available_at": available})["session"].to_list() == [session]


def test_an_article_is_never_available_before_it_was_published():
    frame = told({"available_at": decided(TUESDAY) - timedelta(hours=9), "published_at": decided(after(TUESDAY, 1))})
    assert frame["session"].to_list() == [after(TUESDAY, 1)]


def at(days=0, minute=0):
    return datetime.combine(after(TUESDAY, days), time(12, minute), UTC)


FALLS = "Acme shares fall 5% after weak guidance for the third quarter"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("ACME shares fall 5% after weak guidance for the third quarter!", True),
        ("Acme's shares fall 5% after weak guidance for third quarter", True),
        ("Acme shares fall 5% after weak guidance for the third quarter - The Wire", True),
        ("Acme shares fall 6% after weak guidance for the third quarter", False),
        ("Acme shares rise 5% after weak guidance for the third quarter", False),
        ("Acme names a new chief financial officer", False),
    ],
)
def test_near_identical_headlines_are_one_article(other, same):
    frame = told({"title": FALLS}, {"title": other, "publisher": "The Wire", "provider": "yahoo"})
    assert frame["title"].to_list() == ([FALLS] if same else [FALLS, other])
    assert frame["copies"].to_list() == ([2] if same else [1, 1])
    assert frame["providers"].to_list() == (["rss,yahoo"] if same else ["rss", "yahoo"])


def test_an_upgrade_is_no_copy_of_a_downgrade():
    upgrade, downgrade = (
        f"Goldman {word} Acme Holdings to neutral on valuation" for word in ("upgrades", "downgrades")
    )
    assert told({"title": upgrade}, {"title": downgrade}).height == 2


def test_another_instruments_headline_is_no_copy():
    assert told({"title": FALLS}, {"title": FALLS, "instrument_id": "us:B"}).height == 2


def test_a_later_sessions_copy_changes_nothing_and_does_not_appear():
    first = told({"title": FALLS, "available_at": at()})
    frame = told({"title": FALLS, "available_at": at()}, {"title": FALLS + "!", "available_at": at(WINDOW)})
    assert_frame_equal(first, frame)


def test_a_headline_comes_back_after_the_window_and_not_while_it_is_repeated():
    assert told({"title": FALLS, "available_at": at()}, {"title": FALLS, "available_at": at(WINDOW + 1)}).height == 2
    daily = [{"title": FALLS, "available_at": at(day)} for day in range(0, 3 * WINDOW, WINDOW)]
    assert told(*daily).height == 1


def test_the_same_article_of_two_providers_is_one_with_what_each_of_them_knows():
    same = {"article_id": "same", "title": FALLS}
    frame = told(
        {**same, "provider": "yahoo", "summary": "From Yahoo"},
        {**same, "provider": "alpha_vantage", "summary": "From AV", "relevance": 0.7, "provider_sentiment": -0.4},
    )
    assert frame.select("copies", "providers", "summary", "relevance", "sentiment", "sentiment_source").rows() == [
        (1, "alpha_vantage,yahoo", "From Yahoo", 0.7, -0.4, "provider")
    ]


def test_a_revised_article_is_told_once_in_its_first_version():
    first = {"article_id": "same", "title": "A first wording", "available_at": at(), "published_at": at()}
    for days in (1, LATE, LATE + 1, 60):
        later = {**first, "title": "Quite another text now", "available_at": at(days), "known_at": at(days)}
        assert told(first, later)["title"].to_list() == ["A first wording"]


def test_an_article_found_long_after_its_publication_is_no_news():
    late = {"published_at": at(), "available_at": at(LATE)}
    assert told(late)["session"].to_list() == [after(TUESDAY, LATE)]
    assert told({**late, "available_at": at(LATE + 1)}).is_empty()


def test_the_lexicon_speaks_where_no_provider_does_and_scores_are_cut_to_their_range():
    frame = told({"title": FALLS}, {"title": "Something else entirely happened", "provider_sentiment": 1.4})
    assert frame["sentiment_source"].to_list() == ["lexicon", "provider"]
    assert -1 <= frame["sentiment"][0] < -0.3 and frame["sentiment"][1] == 1.0


def test_only_members_news_are_told():
    assert told({"instrument_id": "us:Z"}, {}).height == 1


def test_no_articles_give_an_empty_table():
    assert told().is_empty()


def test_headlines_are_compared_without_case_punctuation_and_publisher():
    frame = pl.DataFrame(
        {"title": ["U.S. Steel\u2019s Q1: $1,250.50 \u2013 up 5%! - Reuters"], "publisher": ["Reuters"]}
    )
    text = frame.select(normalised(pl.col("title"), pl.col("publisher"))).item()
    assert text == "u s steel q1 1250\u00b750 up 5%"


# --- properties on random news --------------------------------------------------------------------------------------

WORDS = ["shares", "guidance", "quarter", "lawsuit", "record", "upgrade", "downgrade", "5%", "6%", "merger", "recall"]


@pytest.fixture(scope="module")
def random_news():
    """1,500 articles of two names: few words, so that copies abound; some late, some revised, by two providers."""
    rng = np.random.default_rng(11)
    rows = []
    for number in range(1500):
        published = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=int(rng.integers(0, 365 * 24 * 60)))
        late = timedelta(days=float(rng.choice([0, 0.1, 3, 12, 20], p=[0.7, 0.1, 0.1, 0.05, 0.05])))
        row = {
            "article_id": f"id{rng.integers(0, 1200)}",
            "instrument_id": str(rng.choice(IDS)),
            "title": " ".join(["Acme Holdings", *rng.choice(WORDS, 5)]),
            "provider": str(rng.choice(["rss", "yahoo"])),
            "published_at": published,
            "available_at": published + late,
        }
        rows.append(row)
        if number % 10 == 0:
            rows.append(
                {**row, "title": "Revised", "available_at": row["available_at"] + timedelta(days=1 + number % 17)}
            )
    return articles(*rows)


def news_of(frame, sessions, moment=None):
    start = CALENDAR[CALENDAR.index(sessions[0]) - LOOKBACK]
    loaded = frame.filter(pl.col("published_on") >= start, pl.col("published_on") <= sessions[-1])
    if moment is not None:
        loaded = loaded.filter(pl.col("available_at") <= moment)
    return news(loaded, members_on(sessions), sessions, DECIDED.filter(pl.col("session") >= start))


def test_one_call_over_a_range_equals_a_call_a_session(random_news):
    whole = news_of(random_news, WHOLE)
    assert 300 < whole.height < 1400 and whole["copies"].max() > 1
    for session in WHOLE[::7]:
        assert_frame_equal(whole.filter(pl.col("session") == session), news_of(random_news, [session]), abs_tol=1e-9)


def test_nothing_after_the_decision_moment_changes_anything(random_news):
    whole = news_of(random_news, WHOLE)
    for place in range(3, len(WHOLE), 30):
        then = news_of(random_news, WHOLE[: place + 1], decided(WHOLE[place]))
        assert_frame_equal(whole.filter(pl.col("session") <= WHOLE[place]), then, abs_tol=1e-9)


def test_the_order_of_the_articles_does_not_matter(random_news):
    shuffled = random_news.sample(fraction=1.0, shuffle=True, seed=3)
    assert_frame_equal(news_of(random_news, WHOLE), news_of(shuffled, WHOLE))
