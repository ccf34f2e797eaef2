"""Which runs mend what was learned later, and in which order."""

from __future__ import annotations

from datetime import date

from trading_pipeline.automation.again import Step, steps, stretches
from trading_pipeline.markets import US
from trading_pipeline.sessions import calendar

XNYS = calendar("XNYS")
WEEKS = XNYS.between(date(2024, 2, 12), date(2024, 2, 23))  # Presidents' Day between
EVERYTHING, BARS, DECISIONS = "us_end_of_day", "us_market_data", "us_decisions"


def test_weekends_and_holidays_cut_no_stretch() -> None:
    assert stretches(US, WEEKS) == [WEEKS]


def test_a_session_that_is_missing_does() -> None:
    assert stretches(US, [*WEEKS[:3], *WEEKS[4:]]) == [WEEKS[:3], WEEKS[4:]]
    assert stretches(US, []) == []


def test_where_bars_and_decisions_reach_as_far_one_run_does_it_all() -> None:
    assert steps(US, WEEKS[5], WEEKS, WEEKS[4:]) == [Step(EVERYTHING, WEEKS[5], WEEKS[-1])]


def test_decisions_are_made_again_only_where_they_were_made_and_after_the_bars() -> None:
    assert steps(US, WEEKS[0], WEEKS, WEEKS[-2:]) == [
        Step(BARS, WEEKS[0], WEEKS[-1]),
        Step(DECISIONS, WEEKS[-2], WEEKS[-1]),
    ]


def test_bars_alone_where_nothing_was_decided_since() -> None:
    assert steps(US, WEEKS[5], WEEKS, WEEKS[:2]) == [Step(BARS, WEEKS[5], WEEKS[-1])]


def test_a_session_looked_at_long_ago_does_not_fill_the_years_between() -> None:
    decided = [WEEKS[1], *WEEKS[-2:]]
    assert [(step.job, step.first, step.last) for step in steps(US, WEEKS[0], WEEKS, decided)] == [
        (BARS, WEEKS[0], WEEKS[-1]),
        (DECISIONS, WEEKS[1], WEEKS[1]),
        (DECISIONS, WEEKS[-2], WEEKS[-1]),
    ]
