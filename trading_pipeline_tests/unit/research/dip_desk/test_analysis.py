"""What the rules make of a dip: action, size, words, and the frozen inputs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from trading_pipeline.research.dip_desk import CAUSES, analysis, load_rules
from trading_pipeline.research.dip_desk.sizes import sizes
from trading_pipeline.research.risk import load_limits
from trading_pipeline.tables.dips import CAUSE_COLUMNS, DIP_ANALYSIS, DIP_OPPORTUNITIES
from trading_pipeline.tables.features import INDICATORS, MARKET_REGIME
from trading_pipeline.tables.reference import EARNINGS_CALENDAR, NEWS
from trading_pipeline.tables.screener import SCREENER_SCORES
from trading_pipeline_tests.desks import filled

SESSION = date(2024, 3, 12)
DIPS = pl.Schema({**DIP_OPPORTUNITIES.schema, **{column.name: column.dtype for column in CAUSE_COLUMNS}})
KEY = {"session": SESSION, "instrument_id": "us:AAA", "ticker": "AAA"}
DIP = {
    **KEY,
    "dip_pct": 12.34,
    "price": 87.66,
    "high_252": 100.0,
    "sector": "Energy",
    "data_quality": "good",
    "environment": "A",
    "on_desk": True,
    "cause": "macro",
    "cause_share": 0.8,
    "evidence": "It fell.",
    "news_ids": "",
    "verdict": "Buy",
    "total": 71.2,
    "gates_failed": "",
}
SCORE = {**KEY, "flags": "", "sector_score": 50.0, "confidence": 0.9}
INDICATOR = {
    **KEY,
    "close": 87.66,
    "sma_20": 88.0,
    "return_5": -0.01,
    "distance_from_low": 0.2,
    "rsi_14": 45.0,
    "realised_volatility_21": 0.2,
}


def frame(rows, schema):
    return filled(pl.DataFrame(rows, schema_overrides=schema), schema)


def analysed(
    dip=None, score=None, indicator=None, regime="Bull", earnings=None, news=(), value=100_000.0, rules=None, **more
):
    """The row for a dip that the rules buy, changed as told; an empty score or indicator means none is there."""
    told = analysis(
        frame([DIP | (dip or {})], DIPS),
        frame([SCORE | (score or {})] if score != {} else [], SCREENER_SCORES.schema),
        frame([INDICATOR | (indicator or {})] if indicator != {} else [], INDICATORS.schema),
        frame([{"session": SESSION, "regime": regime, "volatility": 0.15}], MARKET_REGIME.schema),
        frame(list(news), NEWS.schema),
        frame([KEY | (earnings or {})], EARNINGS_CALENDAR.schema),
        value,
        rules,
        [SESSION],
        **more,
    )
    return DIP_ANALYSIS.conform(told).row(0, named=True)


def test_a_good_company_that_fell_with_the_market_is_bought():
    row = analysed()
    assert (row["action"], row["outlook"], row["source"]) == ("buy", "temporary", "rules")
    assert (row["size_low"], row["size_high"]) == (0.02, 0.04)
    assert (row["size_low_amount"], row["size_high_amount"]) == (2000, 4000)
    assert row["play"].startswith("Buy 2–4 % of the portfolio, $2,000–4,000,")
    assert row["why"].startswith("AAA is 12.3 % below its highest price of the last 52 weeks: the whole market fell")
    assert "71 of 100 points" in row["action_reasons"]
    assert row["risks"].splitlines()[-1].startswith("A dip can always go deeper")


REASONS = {
    "verdict Avoid": ({"dip": {"verdict": "Avoid"}}, "avoid", "Avoid"),
    "a failed gate": ({"dip": {"gates_failed": "solvency,liquidity"}}, "avoid", "solvency, liquidity"),
    "a value trap": ({"score": {"flags": "earnings_soon,value_trap"}}, "avoid", "value trap"),
    "only Hold": ({"dip": {"verdict": "Hold"}}, "wait", "Hold"),
    "not scored": ({"dip": {"verdict": None}, "score": {}}, "wait", "no verdict"),
    "No verdict": ({"dip": {"verdict": "No verdict"}}, "wait", "no verdict"),
    "the worst environment": ({"dip": {"environment": "D"}}, "wait", "environment is D"),
    "no environment": ({"dip": {"environment": None}}, "wait", "environment is unknown"),
    "a report near": ({"dip": {"sessions_to_report": 5}}, "wait", "comes in 5 sessions"),
    "a report today": ({"dip": {"sessions_to_report": 0}}, "wait", "this session"),
    "a fresh report": (
        {
            "dip": {"cause": "earnings"},
            "earnings": {"last_report_session": date(2024, 3, 8), "last_report_date": date(2024, 3, 8)},
        },
        "wait",
        "2024-03-08 is too fresh",
    ),
    "still falling": ({"indicator": {"return_5": -0.08}}, "wait", "still falling"),
    "at its low": ({"indicator": {"distance_from_low": 0.02}}, "wait", "still falling"),
    "run ahead": ({"indicator": {"sma_20": 81.0}}, "wait", "run ahead"),
    "overbought": ({"indicator": {"rsi_14": 70.0}}, "wait", "run ahead"),
    "a dividend": ({"dip": {"cause": "ex_dividend"}}, "wait", "no cheaper"),
    "a doubtful bar": ({"dip": {"data_quality": "suspect"}}, "wait", "in doubt"),
}


@pytest.mark.parametrize(("changed", "action", "said"), REASONS.values(), ids=REASONS)
def test_what_the_gate_decides_and_says(changed, action, said):
    row = analysed(**changed)
    assert row["action"] == action
    assert said in row["action_reasons"]
    assert (row["size_high"] > 0) == (action == "buy") == row["play"].startswith("Buy")
    assert row["size_low"] <= row["size_high"]


@pytest.mark.parametrize(
    "changed",
    [
        {"dip": {"sessions_to_report": 6}},
        {"dip": {"cause": "earnings"}, "earnings": {"last_report_session": date(2024, 3, 7)}},
        {"indicator": {"return_5": -0.079}},
        {"indicator": {"distance_from_low": 0.02, "return_5": 0.01}},
        {"indicator": {"rsi_14": 69.9}},
        {"indicator": {"sma_20": 81.2}},
        {"indicator": {}},
    ],
    ids=["a week to go", "old report", "calmer", "rising from the low", "below 70", "below 8 %", "no indicators"],
)
def test_just_inside_the_limits_it_is_bought(changed):
    assert analysed(**changed)["action"] == "buy"


def test_avoid_goes_before_wait_and_every_reason_is_told():
    row = analysed(dip={"verdict": "Avoid", "environment": "D", "sessions_to_report": 1})
    assert row["action"] == "avoid" and len(row["action_reasons"].splitlines()) == 3
    assert row["play"].startswith("Leave it alone")


@pytest.mark.parametrize(
    ("cause", "changed", "outlook"),
    [
        ("macro", {}, "temporary"),
        ("sector", {}, "temporary"),
        ("ex_dividend", {}, "temporary"),
        ("macro", {"environment": "C"}, "unclear"),
        ("company", {}, "unclear"),
        ("earnings", {"verdict": "Avoid"}, "lasting"),
        ("unknown", {}, "unclear"),
    ],
)
def test_the_outlook(cause, changed, outlook):
    assert analysed(dip={"cause": cause, **changed})["outlook"] == outlook


def test_a_size_too_small_to_hold_is_not_bought():
    rules = load_rules()
    coarse = replace(rules, size=replace(rules.size, step=0.045))
    row = analysed(rules=coarse)
    assert (row["action"], row["size_high"]) == ("wait", 0)
    assert "smallest position" in row["action_reasons"] and row["play"].startswith("Do not buy yet")


def test_only_the_desk_is_analysed_and_only_the_judged_sessions():
    rows = [DIP, DIP | {"instrument_id": "us:BBB", "on_desk": False}, DIP | {"session": date(2024, 3, 11)}]
    empty = [table.empty() for table in (SCREENER_SCORES, INDICATORS, MARKET_REGIME, NEWS, EARNINGS_CALENDAR)]
    told = analysis(frame(rows, DIPS), *empty, 1000.0, None, [SESSION])
    assert told.select("session", "instrument_id").rows() == [(SESSION, "us:AAA")]
    assert DIP_ANALYSIS.conform(analysis(frame(rows, DIPS).clear(), *empty, 1000.0, None, [SESSION])).is_empty()


@pytest.mark.parametrize(("currency", "said"), [("AUD", "A$20,000–40,000"), ("JPY", "JPY 20,000–40,000")])
def test_amounts_are_told_in_the_markets_currency(currency, said):
    assert said in analysed(value=1_000_000.0, currency=currency)["play"]


def test_a_range_of_one_size_is_told_as_one():
    row = analysed(dip={"environment": "C", "cause": "company"}, indicator={"realised_volatility_21": 1.0})
    assert row["size_low"] == row["size_high"] == 0.0025
    assert "Buy 0.25 % of the portfolio, $250," in row["play"]


def article(day: int, name: str, **given: object) -> dict[str, object]:
    return {
        "session": SESSION - timedelta(days=day),
        "instrument_id": "us:AAA",
        "article_id": name,
        "title": f"Headline {name}",
        "sentiment": -0.2,
        **given,
    }


def test_the_inputs_hold_everything_and_nothing_later():
    news = [
        article(0, "today"),
        article(30, "cause"),
        article(30, "old"),
        article(-1, "tomorrow"),
        article(1, "other", instrument_id="us:BBB"),
        article(2, "market", instrument_id="us:BBB", scope="market"),
    ]
    row = analysed(dip={"news_ids": "cause,market"}, news=news)
    inputs = json.loads(row["inputs"])
    assert [item["id"] for item in inputs["headlines"]] == ["cause", "market", "today"]
    assert inputs["decision"]["action"] == "buy" and inputs["portfolio"] == {"currency": "USD", "value": 100_000.0}
    assert inputs["session"] == "2024-03-12" and inputs["cause"]["evidence"] == "It fell."
    assert inputs["rules"] == load_rules().version


def test_the_inputs_are_canonical_json():
    row = analysed(news=[article(0, "a"), article(0, "b")], dip={"fall": float("nan"), "market_part": 0.1 + 0.2})
    again = json.dumps(json.loads(row["inputs"]), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert row["inputs"] == again
    inputs = json.loads(row["inputs"])
    assert inputs["dip"]["fall"] is None and inputs["dip"]["market_part"] == 0.3


def test_the_hash_follows_the_inputs():
    one = analysed()
    assert len(one["prompt_hash"]) == 64 and analysed()["prompt_hash"] == one["prompt_hash"]
    assert analysed(dip={"dip_pct": 12.35})["prompt_hash"] != one["prompt_hash"]
    assert analysed(dip={"price": 87.66 * (1 + 1e-12)})["prompt_hash"] == one["prompt_hash"]


def test_a_range_gives_what_its_sessions_give_one_by_one():
    days = [SESSION - timedelta(days=back) for back in (4, 1, 0)]

    def every(row, **changes):
        return [
            row | {"session": day, "instrument_id": f"us:{name}", "ticker": name} | changes
            for day in days
            for name in ("BBB", "AAA")
        ]

    tables = (
        frame(every(SCORE), SCREENER_SCORES.schema),
        frame(every(INDICATOR), INDICATORS.schema),
        frame([{"session": day, "regime": "Bull"} for day in days], MARKET_REGIME.schema),
        frame([article(back, f"n{back}") for back in range(12)], NEWS.schema),
        frame(every(KEY, sessions_to_report=30), EARNINGS_CALENDAR.schema),
    )
    dips = frame(every(DIP, news_ids="n11,n4"), DIPS)
    whole = analysis(dips, *tables, 1000.0, None, days)
    parts = [
        analysis(
            *(table.filter(pl.col("session") <= day) for table in (dips, *tables)),
            1000.0,
            None,
            [day],
        )
        for day in days
    ]
    assert whole.height == 6
    assert_frame_equal(pl.concat(parts), whole)


# --- sizes ------------------------------------------------------------------------------------------------------------

_VERDICTS = st.sampled_from(["Strong Buy", "Buy", "Hold", "Avoid", "No verdict", None])
_CASES = st.fixed_dictionaries(
    {
        "action": st.sampled_from(["buy", "buy", "buy", "wait", "avoid"]),
        "verdict": _VERDICTS,
        "environment": st.sampled_from(["A", "B", "C", "D", None]),
        "sector_score": st.one_of(st.none(), st.floats(0, 100)),
        "cause": st.sampled_from(CAUSES),
    }
)
_VOLATILITY = st.one_of(st.none(), st.just(float("nan")), st.floats(0, 1e6))


def size_of(volatilities, limits=None, **case):
    schema = dict.fromkeys(("action", "verdict", "environment", "cause"), pl.String) | {"sector_score": pl.Float64}
    table = pl.DataFrame([case] * len(volatilities), schema=schema).with_columns(
        volatility=pl.Series(volatilities, dtype=pl.Float64)
    )
    low, high = sizes(
        *(pl.col(name) for name in ("action", "verdict", "environment", "volatility", "sector_score", "cause")),
        load_rules().size,
        limits,
    )
    return table.select(low=low, high=high).rows()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=_CASES, volatility=_VOLATILITY)
def test_a_size_is_never_over_its_limits(case, volatility):
    ((low, high),) = size_of([volatility], **case)
    rules = load_rules().size
    assert 0 <= low <= high <= rules.largest
    ceiling = {"Strong Buy": rules.strong_buy_high, "Buy": rules.buy_high}.get(case["verdict"], 0.0)
    assert high <= max(ceiling, 0) * rules.strong_sector_factor
    if case["action"] != "buy" or case["environment"] in ("D", None):
        assert high == 0
    for size in (low, high):
        assert size / rules.step == pytest.approx(round(size / rules.step), abs=1e-6)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=_CASES, volatilities=st.lists(st.floats(0, 10), min_size=2, max_size=12))
def test_more_volatility_never_means_more_size(case, volatilities):
    found = size_of(sorted(volatilities), **case)
    for end in (0, 1):
        ends = [pair[end] for pair in found]
        assert ends == sorted(ends, reverse=True)


def test_the_money_at_risk_stays_the_same_beyond_calm():
    """A share twice as volatile gets half: 5 % at 25 % a year are 2.5 % at 50 %."""
    case = {"action": "buy", "verdict": "Strong Buy", "environment": "A", "sector_score": 50.0, "cause": "macro"}
    assert [high for _, high in size_of([0.1, 0.25, 0.5, 10.0], **case)] == [0.05, 0.05, 0.025, 0.0125]


def test_the_limits_of_risk_bound_what_the_desk_recommends():
    case = {"action": "buy", "verdict": "Strong Buy", "environment": "A", "sector_score": 80.0, "cause": "macro"}
    limits = load_limits()
    assert load_rules().size.largest <= limits.position.largest_share_without_stop, "the desk's own range is reachable"
    tighter = replace(limits, position=replace(limits.position, largest_share_without_stop=0.0325))
    assert size_of([0.1], **case) == [(0.0325, 0.05)]
    assert size_of([0.1], tighter, **case) == [(0.0325, 0.0325)]
    none = replace(limits, position=replace(limits.position, largest_share_without_stop=0.0))
    assert size_of([0.1], none, **case) == [(0.0, 0.0)]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"environment": "A"}, {"environment": "B"}),
        ({"environment": "B"}, {"environment": "C"}),
        ({"sector_score": 80.0}, {"sector_score": 50.0}),
        ({"sector_score": 50.0}, {"sector_score": 20.0}),
        ({"verdict": "Strong Buy"}, {"verdict": "Buy"}),
        ({"cause": "macro"}, {"cause": "company"}),
    ],
)
def test_what_speaks_for_it_makes_it_larger(better, worse):
    case = {"action": "buy", "verdict": "Buy", "environment": "A", "sector_score": 50.0, "cause": "macro"}
    ((_, more),) = size_of([0.3], **(case | better))
    ((_, less),) = size_of([0.3], **(case | worse))
    assert more > less > 0
