"""Risks, the gravest first; the gates they come from."""

from __future__ import annotations

from trading_pipeline.reports.tearsheets.gates import Gate, gates
from trading_pipeline.reports.tearsheets.risks import risks
from trading_pipeline_tests.briefings import GATE_FAILED, GATES_PASSED, score


def test_a_gate_says_the_value_what_is_asked_and_by_how_much_it_is_missed():
    passed, history, failed, unknown = gates(f"{GATES_PASSED}\n{GATE_FAILED}")
    assert (passed.label, passed.words) == (
        "Trades enough to get in and out",
        "812.4 million; at least 5.0 million is asked for",
    )
    assert history.outcome == "passed"
    assert failed.failed
    assert failed.words == "5.2; at most 2.5 is asked for, missed by 108 %"
    assert unknown.unknown
    assert unknown.words == "Not known; at least 0.0 % is asked for"


def test_a_limit_missed_beyond_measure_and_a_line_of_another_form():
    beyond, other = gates("solvency_debt: failed, no multiple against at most 2.5, beyond measure\nsome other words")
    assert beyond.words == "No multiple; at most 2.5 is asked for, missed beyond measure"
    assert (other.label, other.words, other.unknown) == ("Some other words", "", True)
    assert gates("") == []


def test_failed_checks_come_first_and_unknown_ones_last():
    judged = gates(f"{GATES_PASSED}\n{GATE_FAILED}")
    words = {"risks": "A second blow is possible.\nIt fell before.\nA dip can always go deeper.", "source": "claude"}
    found = risks(score("AAA", "Hold", 60.0, flags="value_trap,overbought"), judged, words, 0.46, "D")
    assert [risk.title for risk in found] == [
        "It fails a check: can carry its debt",
        "It may be cheap for a reason",
        "The market is falling",
        "The dip",
        "The dip",
        "It moves a lot",
        "Everybody bought already",
        "Not checked: earns money",
        "The dip",
    ]
    assert [risk.level for risk in found] == ["High"] * 3 + ["Medium"] * 4 + ["Low"] * 2
    assert found[-1].text == "A dip can always go deeper."
    assert [risk.weight for risk in found] == sorted((risk.weight for risk in found), reverse=True)


def test_what_the_desks_rules_say_themselves_is_not_said_twice():
    words = {
        "risks": "A weak market takes good companies down with it.\nIt moves a lot: 46 % a year.",
        "source": "rules",
    }
    assert [risk.title for risk in risks(None, [], words, 0.46, "D")] == ["The dip", "The dip"]


def test_a_weak_part_of_the_total_is_a_risk_where_it_weighs():
    weak = score("AAA", "Hold", 50.0, technical=12.0, sector_score=3.0, weight_sector=0.0)
    assert [risk.title for risk in risks(weak, [], None, None, "A")] == ["Weak: its price trend"]


def test_nothing_known_is_no_risk_found():
    assert risks(None, [], None, None, None) == []
    assert risks(None, [Gate("liquidity", "passed", "")], None, 0.39, "B") == []
