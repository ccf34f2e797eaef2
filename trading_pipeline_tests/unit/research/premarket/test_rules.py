"""The rules of the bias: every number has a reason, and a file that cannot be used says why."""

from __future__ import annotations

from dataclasses import fields
from importlib import resources

import pytest

from trading_pipeline.research.premarket.rules import load_rules, parse_rules

TEXT = resources.files("trading_pipeline.research.premarket").joinpath("rules.toml").read_text(encoding="utf-8")


def test_every_number_has_a_reason():
    rules = load_rules()
    groups = [field.name for field in fields(rules) if field.name not in ("version", "reasons")]
    names = {f"{group}.{field.name}" for group in groups for field in fields(getattr(rules, group))}
    assert set(rules.reasons) == names
    assert min(len(reason) for reason in rules.reasons.values()) > 20


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('version = "2"', "version = 2", "version must be text"),
        ("threshold = { value = 0.25", "threshold = { value = 0.7", "bias.threshold must be above 0"),
        ("trend = { value = 0.30", "trend = { value = 0.31", "weights must not be negative and must add up to 1"),
        ("wide_factor = { value = 0.75", "wide_factor = { value = 1.2", "wide_factor must lie between 0 and 1"),
        ("most = { value = 0.9", "most = { value = 1.0", "confidence.most must lie between 0 and 1, and be neither"),
        ("wide_factor = {", "wild_factor = {", "unknown confidence.wild_factor"),
        ("full = { value = 0.60", "full = { value = true", "bias.full is no number"),
        ("[news]", "[olds]", "unknown olds"),
        ("half_count = { value", "half_count = { number", "news.half_count needs a value and a reason"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_says_why(before, after, problem):
    assert TEXT.count(before) == 1
    with pytest.raises(ValueError, match=problem):
        parse_rules(TEXT.replace(before, after))
