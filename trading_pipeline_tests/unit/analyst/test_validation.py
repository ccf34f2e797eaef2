"""What is told of a signal, what of an answer may be used, and the rows of validations."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import ValidationError

from trading_pipeline.analyst import Told, validation
from trading_pipeline.analyst.question import Result
from trading_pipeline.analyst.texts import Unusable
from trading_pipeline.analyst.validation import VALIDATION, Verdict
from trading_pipeline.tables import TRADE_SIGNALS
from trading_pipeline_tests.live_questions import NEXT, TICK, signals_of

FACTS = {
    "us:AAA": {
        "bar": {"bar_started_at": TICK - timedelta(minutes=1), "close": 104.0, "volume": float("nan")},
        "bias": {"reasons": "Long: news.", "events": ""},
        "calendar": {"next_report_date": date(2024, 4, 25)},
        "levels": [99.0, 101.0],
    }
}


def inputs_of(facts=FACTS, **changed) -> dict:
    (asked,) = validation.asked(signals_of(**changed), facts, NEXT)
    return json.loads(asked.question.inputs)


def test_told_is_the_signal_as_it_was_decided_and_what_it_was_decided_on():
    inputs = inputs_of()
    assert inputs["signal"]["setup"] == "mean_reversion" and inputs["signal"]["tick_at"] == TICK.isoformat()
    assert inputs["bar"] == {
        "bar_started_at": (TICK - timedelta(minutes=1)).isoformat(),
        "close": 104.0,
        "volume": None,
    }
    assert inputs["calendar"] == {"next_report_date": "2024-04-25"}
    assert inputs["levels"] == [99.0, 101.0]


def test_what_became_of_a_signal_is_not_told():
    written = signals_of().with_columns(book=None, outcome=None, outcome_reason=None, quantity=None)
    written = written.with_columns(
        written["book"].fill_null("paper"), written["outcome"].fill_null("ordered"), quantity=7
    )
    (asked,) = validation.asked(written, {}, NEXT)
    assert not {"book", "outcome", "outcome_reason", "quantity"} & set(json.loads(asked.question.inputs)["signal"])
    (again,) = validation.asked(signals_of(), {}, NEXT)
    assert json.loads(asked.question.inputs) == json.loads(again.question.inputs)


@pytest.mark.parametrize(
    "facts",
    [
        {"bar": {"bar_started_at": TICK + timedelta(microseconds=1)}},
        {"news": [{"available_at": TICK + timedelta(hours=1)}]},
        {"market": {"tick_at": datetime(2024, 3, 13, tzinfo=UTC)}},
    ],
)
def test_a_fact_of_later_is_an_error(facts):
    with pytest.raises(ValueError, match="that is its future"):
        inputs_of({"us:AAA": facts})


def test_a_fact_of_the_very_tick_is_not_of_later():
    assert inputs_of({"us:AAA": {"market": {"tick_at": TICK}}})["market"]["tick_at"] == TICK.isoformat()


def test_each_signal_is_asked_about_with_its_own_facts():
    facts = {"us:AAA": {"bias": {"bias": "long"}}, "us:BBB": {"bias": {"bias": "short"}}}
    asked = validation.asked(signals_of("BBB", "AAA", "CCC"), facts, NEXT)
    told = [json.loads(each.question.inputs) for each in asked]
    assert [each["signal"]["ticker"] for each in told] == ["BBB", "AAA", "CCC"]
    assert [each.get("bias") for each in told] == [{"bias": "short"}, {"bias": "long"}, None]
    assert {each.deadline for each in asked} == {NEXT} and {each.asked_at for each in asked} == {TICK}


def check(**changed) -> Verdict:
    said = {"ticker": "AAA", "verdict": "veto", "reason": " It reports at noon. "} | changed
    return validation.check(Verdict(**said), "AAA", json.dumps({"signal": {"ticker": "AAA"}}))


def test_a_veto_has_a_reason_in_one_line():
    assert check().reason == "It reports at noon."


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"ticker": "BBB"}, "wrong_company"),
        ({"reason": " "}, "invalid"),
        ({"reason": "Because. " * 40}, "invalid"),
        ({"reason": "One.\nTwo."}, "invalid"),
        ({"reason": "See www.example.org"}, "invalid"),
        ({"reason": "$TSLA fell."}, "wrong_company"),
    ],
)
def test_a_veto_that_breaks_one_rule_is_none(changed, reason):
    with pytest.raises(Unusable) as unusable:
        check(**changed)
    assert unusable.value.reason == reason


@pytest.mark.parametrize("verdict", ["buy", "reverse", "VETO", ""])
def test_there_are_two_verdicts(verdict):
    with pytest.raises(ValidationError):
        check(verdict=verdict)


def test_nothing_else_can_be_said():
    with pytest.raises(ValidationError):
        check(quantity=100)


def test_no_answer_is_no_veto_with_the_reason():
    asked = validation.asked(signals_of("AAA", "BBB"), {}, NEXT)
    veto = Result("answered", check(), cost=0.01)
    told = [Told(asked[1], Result("late"), None), Told(asked[0], veto, TICK + timedelta(seconds=4))]
    first, second = validation.rows(told, "paper").to_dicts()
    assert (first["verdict"], first["reason"], first["cost"]) == ("veto", "It reports at noon.", 0.01)
    assert (first["asked_at"], first["answered_at"]) == (TICK, TICK + timedelta(seconds=4))
    assert (second["verdict"], second["reason"]) == ("none", "late: no answer in time")
    assert (second["answered_at"], second["model"], second["book"]) == (None, None, "paper")
    assert second["inputs"] == asked[1].question.inputs


def test_no_signals_are_no_questions_and_no_rows():
    assert validation.asked(signals_of().clear(), {}, NEXT) == []
    assert validation.rows([], "paper").is_empty()


def test_the_prompt_does_not_tell_what_is_decided_after_it():
    lines = VALIDATION.prefix().splitlines()
    for column in TRADE_SIGNALS.columns:
        told = any(line.startswith(f"- {column.name}: ") for line in lines)
        assert told == (column.name not in ("book", "outcome", "outcome_reason", "quantity")), column.name
