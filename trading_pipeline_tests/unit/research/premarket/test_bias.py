"""The bias: what each input says, how sure the rules are, and what is told of it."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.research.premarket import daily_bias, load_rules
from trading_pipeline.tables import (
    DAILY_BIAS,
    EARNINGS_CALENDAR,
    INDICATORS,
    INTRADAY_BARS,
    MARKET_REGIME,
    MOMENT,
    NEWS,
    PREMARKET_SNAPSHOTS,
)
from trading_pipeline_tests.mornings import XNYS, days_of, intraday, moments

NAME = "us:A"
TODAY = date(2025, 12, 1)
YESTERDAY = date(2025, 11, 28)
"""A Friday that closed at 13:00, with a weekend behind it."""
SESSIONS = XNYS.between(date(2025, 11, 3), TODAY)
DAYS = days_of(SESSIONS)
RULES = load_rules()
UP = {"close": 100.0, "atr_14": 2.0, "sma_20": 98.0, "sma_50": 96.0, "sma_200": 90.0}
MIXED = UP | {"sma_20": 102.0, "sma_50": 104.0}
"""Below the averages of 20 and 50 sessions, above that of 200, which lies below that of 50: a trend of nothing."""


def rows(table, **columns) -> pl.DataFrame:
    """One row of a table; columns that are not told are null."""
    return pl.DataFrame([columns], schema={name: table.schema[name] for name in columns}).select(
        *(pl.col(name) if name in columns else pl.lit(None, dtype).alias(name) for name, dtype in table.schema.items())
    )


def night(*prices: float) -> pl.DataFrame:
    """Bars of this morning from 07:00 on at those prices, told by a yardstick as plain as can be."""
    frame = pl.DataFrame({"close": prices}, schema={"close": pl.Float64}).with_columns(
        instrument_id=pl.lit(NAME),
        started_at=pl.Series(
            [XNYS.open_at(TODAY) - timedelta(minutes=150 - 5 * at) for at in range(len(prices))], dtype=MOMENT
        ),
        **{name: pl.col("close") for name in ("open", "high", "low")},
        volume=pl.lit(100.0),
    )
    return intraday(frame, DAYS)


def article(at: datetime, sentiment: float, number: int = 1, name: str = NAME, relevance: float | None = 1.0):
    return rows(
        NEWS, session=TODAY, instrument_id=name, article_id=f"a{number}", title=f"Headline {number}",
        sentiment=sentiment, relevance=relevance, available_at=at,
    )  # fmt: skip


def judge(
    price: float | None = None,
    close: float | None = 100.0,
    volume: float | None = 1.0,
    prices: tuple[float, ...] = (),
    indicators: dict[str, float] | None = UP,
    environment: str | None = None,
    news: list[pl.DataFrame] | None = None,
    report: dict[str, object] | None = None,
    actions: dict[str, float] | None = None,
    rules=None,
) -> dict[str, object]:
    snapshot = PREMARKET_SNAPSHOTS.empty()
    if close is not None:
        snapshot = rows(
            PREMARKET_SNAPSHOTS, session=TODAY, instrument_id=NAME, price=price, previous_close=close,
            gap_pct=None if price is None else 100 * (price / close - 1), premarket_relative_volume=volume,
        )  # fmt: skip
    events = {"kind": list(actions or {}), "value": list((actions or {}).values())}
    yesterday = {"session": YESTERDAY, "instrument_id": NAME}
    graded = None if environment is None else {"session": YESTERDAY, "environment": environment, "regime": "Bull"}
    told = daily_bias(
        snapshot,
        pl.DataFrame(events, schema={"kind": pl.String, "value": pl.Float64}).with_columns(
            session=pl.lit(TODAY), instrument_id=pl.lit(NAME)
        ),
        night(*prices) if prices else INTRADAY_BARS.empty(),
        INDICATORS.empty() if indicators is None else rows(INDICATORS, **yesterday, **indicators),
        MARKET_REGIME.empty() if graded is None else rows(MARKET_REGIME, **graded),
        pl.concat([NEWS.empty(), *(news or [])]),
        EARNINGS_CALENDAR.empty() if report is None else rows(EARNINGS_CALENDAR, **yesterday, **report),
        pl.DataFrame({"session": [TODAY], "instrument_id": [NAME], "ticker": ["A"]}),
        DAYS,
        moments([TODAY], "live"),
        rules,
    )
    return DAILY_BIAS.conform(told).row(0, named=True)


def says(row: dict[str, object]) -> dict[str, float | None]:
    return {name.removeprefix("says_"): value for name, value in json.loads(str(row["inputs"]))["says"].items()}


class TestGap:
    def test_counts_in_average_ranges(self):
        """1 % up at a range of 2 % is half of a day's move."""
        row = judge(101.0, indicators=MIXED)
        assert row["gap_pct"] == pytest.approx(1.0)
        assert says(row)["gap"] == pytest.approx(0.5)
        assert says(judge(97.0, indicators=MIXED))["gap"] == -1.0, "cut at one range"

    @pytest.mark.parametrize(("volume", "said"), [(3.0, 0.625), (2.0, 0.625), (1.0, 0.5), (0.5, 0.25), (None, 0.5)])
    def test_counts_more_on_volume_and_less_without(self, volume, said):
        assert says(judge(101.0, volume=volume))["gap"] == pytest.approx(said)

    def test_a_dividend_that_goes_ex_is_added_back(self):
        row = judge(99.0, actions={"dividend": 1.0})
        assert says(row)["gap"] == pytest.approx(0.0)
        assert (row["gap_pct"], row["events"]) == (pytest.approx(-1.0), "ex-dividend")
        assert "1.0 % of it is the dividend" in row["reasons"]

    def test_that_looks_like_a_split_is_shown_and_not_counted(self):
        row = judge(50.0)
        assert (row["gap_pct"], says(row)["gap"]) == (pytest.approx(-50.0), None)
        assert "looks like a split not told yet" in row["reasons"]
        assert row["confidence"] < judge(99.9)["confidence"]

    def test_that_news_or_a_report_explain_counts(self):
        moment = XNYS.open_at(TODAY) - timedelta(hours=2)
        assert says(judge(50.0, news=[article(moment, -0.9)]))["gap"] == -1.0
        reported = {"next_report_date": YESTERDAY, "next_timing": "amc", "sessions_to_report": 1}
        assert says(judge(50.0, report=reported))["gap"] == -1.0

    def test_without_a_range_or_a_price_it_is_unknown(self):
        assert says(judge(101.0, indicators=None))["gap"] is None
        assert says(judge(None))["gap"] is None


def test_the_trend_is_four_comparisons():
    assert judge()["trend_score"] == 1.0
    assert judge(indicators=MIXED)["trend_score"] == 0.0
    assert judge(indicators={"close": 80.0, "atr_14": 2.0, "sma_20": 90.0})["trend_score"] == -1.0
    assert judge(indicators=None)["trend_score"] is None


class TestNews:
    def test_those_since_yesterdays_close_up_to_the_moment_count(self):
        """Yesterday closed at 13:00; the premarket moment is 08:30 of Monday."""
        close, moment = XNYS.close_at(YESTERDAY), XNYS.open_at(TODAY) - timedelta(hours=1)
        second = timedelta(seconds=1)
        told = [
            article(close, -1.0, 1),
            article(close + second, 0.2, 2),
            article(moment, 0.4, 3),
            article(moment + second, -1.0, 4),
        ]
        row = judge(news=told)
        assert (row["news_count"], row["news_score"]) == (2, pytest.approx(0.3))
        assert "2 articles since yesterday's close" in row["reasons"] and "“Headline 3”" in row["reasons"]

    def test_the_mean_is_by_relevance_and_the_unsaid_counts_half(self):
        at = XNYS.open_at(TODAY) - timedelta(hours=3)
        row = judge(
            news=[article(at, 0.8, 1), article(at, -0.4, 2, relevance=None), article(at, 0.9, 3, relevance=0.0)]
        )
        assert row["news_score"] == pytest.approx((0.8 - 0.2) / 1.5)
        assert row["news_count"] == 3

    def test_one_article_counts_half_and_three_count_three_quarters(self):
        at = XNYS.open_at(TODAY) - timedelta(hours=3)
        one = judge(news=[article(at, 0.5, 1)])
        three = judge(news=[article(at, 0.5, number) for number in (1, 2, 3)])
        assert (says(one)["news"], says(three)["news"]) == (0.5, 0.75)

    def test_silence_is_knowledge_where_others_had_news_and_ignorance_where_nobody_had(self):
        at = XNYS.open_at(TODAY) - timedelta(hours=3)
        heard = judge(environment="A", news=[article(at, 0.9, name="us:B")])
        unheard = judge(environment="A")
        assert (heard["news_count"], heard["news_score"], heard["score"]) == (0, None, unheard["score"])
        assert heard["confidence"] > unheard["confidence"]
        assert "news of the night" in unheard["reasons"] and "news of the night" not in heard["reasons"]


class TestOvernight:
    def test_the_range_is_that_of_post_and_premarket_and_the_place_says_who_was_stronger(self):
        row = judge(101.0, prices=(100.0, 98.0, 102.0, 101.0))
        assert row["overnight_range_pct"] == pytest.approx(4.0)
        assert says(row)["overnight"] == pytest.approx(0.5)

    def test_a_night_of_more_than_an_ordinary_day_lowers_the_confidence(self):
        calm, wild = judge(101.0, prices=(101.0, 101.0, 98.5, 101.0)), judge(101.0, prices=(101.0, 101.0, 98.0, 101.0))
        assert says(calm) == says(wild)
        assert wild["confidence"] == pytest.approx(calm["confidence"] * RULES.confidence.wide_factor)
        assert "already span more than an ordinary day's range" in wild["reasons"]


@pytest.mark.parametrize(("grade", "said"), [("A", 1.0), ("B", 0.5), ("C", -0.5), ("D", -1.0), (None, None)])
def test_the_environment_carries_or_drags(grade, said):
    assert says(judge(environment=grade))["regime"] == said


class TestDecision:
    def test_all_that_speaks_for_it_makes_it_long_and_against_it_short(self):
        down = {"close": 100.0, "atr_14": 2.0, "sma_20": 102.0, "sma_50": 104.0, "sma_200": 110.0}
        long = judge(102.0, prices=(100.0, 102.0), environment="A")
        short = judge(98.0, prices=(100.0, 98.0), indicators=down, environment="D")
        assert (long["bias"], long["score"]) == ("long", pytest.approx(1.0))
        assert (short["bias"], short["score"]) == ("short", pytest.approx(-1.0))
        assert long["confidence"] == pytest.approx(short["confidence"])

    def test_the_score_is_the_weighted_mean_of_what_is_known(self):
        row = judge(101.0, indicators=MIXED, environment="A")
        told, weights = says(row), RULES.weights
        expected = (weights.gap * told["gap"] + weights.regime * 1.0) / (weights.gap + weights.trend + weights.regime)
        assert row["score"] == pytest.approx(expected)

    def test_the_environment_alone_is_no_bias(self):
        row = judge(None, indicators=None, environment="A")
        assert (row["score"], row["bias"], row["confidence"]) == (1.0, "neutral", 0.0)

    def test_nothing_known_is_neutral_without_confidence_and_says_so(self):
        row = judge(close=None, indicators=None)
        assert (row["bias"], row["confidence"], row["score"], row["news_count"]) == ("neutral", 0.0, 0.0, 0)
        assert row["reasons"].startswith("Not known: a price of this morning, the trend up to yesterday")

    def test_less_known_is_less_sure(self):
        """Of a name with all inputs alike, each that goes missing takes confidence with it."""
        at = XNYS.open_at(TODAY) - timedelta(hours=3)
        whole: dict[str, object] = {
            "price": 102.0, "prices": (100.0, 102.0), "environment": "A",
            "news": [article(at, 0.5, number) for number in range(99)],
        }  # fmt: skip
        full = judge(**whole)
        for less in ({"volume": None}, {"environment": None}, {"news": None}, {"prices": ()}):
            assert judge(**(whole | less))["confidence"] < full["confidence"]
        assert 0.98 * RULES.confidence.most < full["confidence"] <= RULES.confidence.most < 1

    def test_a_neutral_case_is_clear_where_nothing_pulls(self):
        assert judge(100.0, indicators=MIXED)["confidence"] > judge(101.0, indicators=MIXED)["confidence"]


EVENTS = {
    "report before the open": ({"next_report_date": TODAY, "next_timing": "bmo", "sessions_to_report": 1}, 0.75),
    "report during the session": ({"next_report_date": TODAY, "next_timing": "dmh", "sessions_to_report": 1}, 0.5),
    "report at an unknown hour": ({"next_report_date": TODAY, "next_timing": "unknown", "sessions_to_report": 1}, 0.5),
    "report after the close": ({"next_report_date": TODAY, "next_timing": "amc", "sessions_to_report": 2}, 0.9),
    "report since the close": ({"next_report_date": YESTERDAY, "next_timing": "amc", "sessions_to_report": 1}, 0.75),
    "": ({"next_report_date": date(2025, 12, 2), "next_timing": "bmo", "sessions_to_report": 2}, 1.0),
    "ex-dividend": ({"next_ex_dividend_date": TODAY}, 1.0),
}


@pytest.mark.parametrize("event", EVENTS)
def test_events_of_the_day_are_told_and_lower_the_confidence(event):
    told, factor = EVENTS[event]
    row, plain = judge(101.0, report=told), judge(101.0, report={"next_report_date": date(2026, 2, 1)})
    assert row["events"] == event
    assert row["confidence"] == pytest.approx(plain["confidence"] * factor)
    assert (row["reasons"] == plain["reasons"]) == (event == "")


def test_a_weekend_report_before_the_open_trades_on_monday():
    told = {"next_report_date": date(2025, 11, 29), "next_timing": "bmo", "sessions_to_report": 1}
    assert judge(101.0, report=told)["events"] == "report before the open"


def test_a_split_today_is_told():
    row = judge(101.0, actions={"split": 4.0})
    assert row["events"] == "split"
    assert "split, 4.0 new for 1 old" in row["reasons"]


def test_reasons_come_strongest_first_with_what_is_missing_last():
    row = judge(102.0, volume=None, indicators=MIXED, environment="C")
    lines = row["reasons"].split("\n")
    assert lines[0].startswith("Long: it trades 2.0 % above yesterday's close, 100 % of an average day's range")
    assert lines[1].startswith("Short: the market's environment was C")
    assert lines[2] == (
        "Neither way: yesterday it closed above its 200-session average, below its 20- and 50-session averages; "
        "the 50-session average is above the 200-session one."
    )
    assert lines[-1] == (
        "Not known: the volume before the open against its normal, news of the night, the earnings calendar."
    )


def test_the_inputs_are_frozen_as_canonical_json():
    row = judge(
        101.0, prices=(100.0, 101.0), environment="B", news=[article(XNYS.close_at(YESTERDAY) + timedelta(1), 0.25)]
    )
    told = json.loads(row["inputs"])
    assert row["inputs"] == json.dumps(told, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    assert (told["rules"], told["session"], told["ticker"]) == (RULES.version, "2025-12-01", "A")
    assert told["decided_at"] == "2025-12-01T13:30:00Z"
    assert told["news"]["headlines"] == [{"id": "a1", "sentiment": 0.25, "title": "Headline 1"}]
    assert told["decision"]["score"] == pytest.approx(row["score"], abs=1e-6)
    assert (row["source"], row["taken"]) == ("rules", "live")


@settings(max_examples=25, deadline=None)
@given(
    price=st.none() | st.floats(40, 160),
    volume=st.none() | st.floats(0, 50),
    indicators=st.sampled_from([None, UP, MIXED]),
    environment=st.sampled_from([None, "A", "D"]),
    sentiment=st.none() | st.floats(-1, 1),
    report=st.sampled_from([None, *(told for told, _ in EVENTS.values())]),
)
def test_whatever_comes_scores_and_confidence_stay_within_their_bounds(
    price, volume, indicators, environment, sentiment, report
):
    at = XNYS.open_at(TODAY) - timedelta(hours=3)
    news = [] if sentiment is None else [article(at, sentiment)]
    row = judge(price, volume=volume, indicators=indicators, environment=environment, news=news, report=report)
    assert -1 <= row["score"] <= 1 and 0 <= row["confidence"] <= RULES.confidence.most < 1
    strong = abs(row["score"]) >= RULES.bias.threshold - 1e-9
    assert row["bias"] == "neutral" or (strong and (row["score"] > 0) == (row["bias"] == "long"))
    json.loads(row["inputs"])
