"""The registry of quality rules, and that its issues fit the table they are written to."""

from __future__ import annotations

from trading_pipeline.research.bars.quality import ISSUE_SCHEMA, RULES
from trading_pipeline.tables import BAR_ISSUES, DAILY_BARS


def test_issues_have_the_columns_of_their_table() -> None:
    assert BAR_ISSUES.schema == ISSUE_SCHEMA


def test_every_rule_says_what_it_means_and_why_it_is_as_grave_as_it_is() -> None:
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.severity in ("suspect", "bad", "rejected")
        assert len(rule.description) > 20 and len(rule.reason) > 20


def test_a_rule_that_waits_for_a_later_bar_changes_nothing_that_was_computed_before() -> None:
    later = [rule for rule in RULES.values() if rule.needs_later_bar]
    assert {rule.name for rule in later} == {"jump_reversed", "split_not_announced"}
    assert all(rule.severity == "suspect" and rule.target == "none" for rule in later)


def test_marks_on_bars_are_severities_the_table_of_bars_knows() -> None:
    described = next(column.description for column in DAILY_BARS.columns if column.name == "data_quality")
    assert all(rule.severity in described for rule in RULES.values() if rule.target == "bar")
