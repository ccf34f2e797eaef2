"""What of an answer about the market may be used, and which row a tick writes."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trading_pipeline.analyst import Told, market
from trading_pipeline.analyst.market import MARKET, MULTIPLIERS, PLAUSIBLE, MarketView
from trading_pipeline.analyst.question import Result
from trading_pipeline.analyst.texts import Unusable
from trading_pipeline.research.live.market import Measures, Multipliers
from trading_pipeline_tests.live_questions import NEXT, TICK, analysis_of, view_of

ASKED = market.asked(analysis_of(), "us")


def told_of(result: Result, asked=ASKED) -> Told:
    return Told(asked, result, TICK + timedelta(seconds=5) if result.outcome == "answered" else None)


def answered(**changed) -> Result:
    return Result("answered", market.check(MarketView(**view_of(**changed)), ASKED.question.inputs), cost=0.01)


@given(st.sampled_from(MULTIPLIERS), st.floats(*PLAUSIBLE))
def test_a_factor_a_little_outside_is_meant_and_clamped(name, factor):
    view = market.check(MarketView(**view_of(**{name: factor})), "{}")
    assert getattr(view, name) == min(max(factor, 0.5), 2.0)
    assert Multipliers.of(view.model_dump()) == Multipliers(*(getattr(view, each) for each in MULTIPLIERS))


@pytest.mark.parametrize("name", MULTIPLIERS)
@pytest.mark.parametrize("factor", [0.0, -1.0, 0.2499, 4.0001, 125.0, float("nan"), float("inf"), float("-inf")])
def test_a_factor_far_outside_is_a_misunderstanding(name, factor):
    with pytest.raises(Unusable, match=name) as unusable:
        market.check(MarketView(**view_of(**{name: factor})), "{}")
    assert unusable.value.reason == "out_of_range"


@pytest.mark.parametrize("factor", [True, "1.5", None, [1.0]])
def test_a_factor_is_a_number(factor):
    with pytest.raises(ValidationError):
        MarketView(**view_of(long=factor))


@pytest.mark.parametrize(
    ("summary", "reason"),
    [
        ("", "invalid"),
        ("Up. " * 200, "invalid"),
        ("See https://example.org", "invalid"),
        ("One line.\nAnother.", "invalid"),
        ("Holders of $TSLA sell.", "wrong_company"),
    ],
)
def test_the_summary_is_a_plain_text_about_the_market(summary, reason):
    with pytest.raises(Unusable) as unusable:
        market.check(MarketView(**view_of(summary=summary)), ASKED.question.inputs)
    assert unusable.value.reason == reason


def test_the_index_of_the_inputs_may_be_named():
    assert market.check(MarketView(**view_of(summary="$SPY leads.")), ASKED.question.inputs).summary == "$SPY leads."


def test_asked_is_about_the_rules_analysis_and_what_it_measured():
    rules = analysis_of().row(0, named=True)
    inputs = json.loads(ASKED.question.inputs)
    assert inputs["measures"] == json.loads(rules["inputs"])
    assert inputs["rules"] == {name: rules[name] for name in (*MULTIPLIERS, "summary")}
    assert (ASKED.question.instrument_id, ASKED.question.finalist) == ("us:*", True)
    assert (ASKED.asked_at, ASKED.deadline) == (TICK, TICK + timedelta(seconds=90))


def test_the_prompt_explains_every_measure_and_holds_nothing_of_the_day():
    for each in fields(Measures):
        assert f"- {each.name}: " in MARKET.prefix()
    assert "2024" not in MARKET.prefix()


def test_while_an_answer_is_awaited_the_rules_hold():
    rules = analysis_of().row(0, named=True)
    row = market.rows([], TICK, "paper", analysis_of()).row(0, named=True)
    assert {name: row[name] for name in MULTIPLIERS} == {name: rules[name] for name in MULTIPLIERS}
    assert (row["source"], row["tick_at"], row["cost"], row["book"]) == ("rules", TICK, None, "paper")
    assert row["summary"].startswith(rules["summary"]) and "until an answer comes" in row["summary"]


def test_an_answer_is_in_force_from_the_tick_that_takes_it_in():
    row = market.rows([told_of(answered())], NEXT, "paper").row(0, named=True)
    assert (row["source"], row["tick_at"], row["session"]) == ("claude", NEXT, TICK.date())
    assert [row[name] for name in MULTIPLIERS] == [0.6, 1.75, 1.25, 0.75]
    assert row["inputs"] == ASKED.question.inputs and row["cost"] == 0.01


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("no_key", "no key is set"),
        ("budget", "the budget of the day is used up"),
        ("refused", "the model refused"),
        ("overloaded", "the model is overloaded"),
        ("out_of_range", "the answer has a number out of its range"),
        ("late", "no answer in time"),
        ("replay", "no model is asked in a replay"),
    ],
)
def test_without_an_answer_the_rules_multipliers_stand_with_the_reason(outcome, words):
    rules = analysis_of().row(0, named=True)
    row = market.rows([told_of(Result(outcome))], NEXT, "paper").row(0, named=True)
    assert [row[name] for name in ("source", *MULTIPLIERS, "inputs")] == [
        rules[name] for name in ("source", *MULTIPLIERS, "inputs")
    ]
    assert row["summary"] == f"{rules['summary']} (By the rules: {words}.)"


def test_a_tick_writes_one_row_and_its_own_analysis_goes_before_an_answer_to_an_earlier_one():
    later = TICK + timedelta(minutes=15)
    old, new = told_of(answered()), told_of(answered(long=1.5), market.asked(analysis_of(later), "us"))
    row = market.rows([old], later, "paper", analysis_of(later)).row(0, named=True)
    assert (row["source"], row["tick_at"]) == ("rules", later)
    both = market.rows([new, old], later, "paper", analysis_of(later))
    assert (both.height, both["long"][0], both["tick_at"][0]) == (1, 1.5, later)
    assert market.rows([new, old], later, "paper")["long"].to_list() == [1.5]


def test_a_tick_without_analysis_or_answer_writes_nothing():
    assert market.rows([], NEXT, "paper").is_empty()
