"""The rules' file: typed, complete, every number with a reason."""

from __future__ import annotations

from dataclasses import fields
from importlib import resources

import pytest

from trading_pipeline.research.dip_desk import load_rules
from trading_pipeline.research.dip_desk.rules import parse_rules

TEXT = resources.files("trading_pipeline.research.dip_desk").joinpath("rules.toml").read_text()


def test_every_number_has_a_reason():
    rules = load_rules()
    names = {f"{group}.{each.name}" for group in ("causes", "gate", "size") for each in fields(getattr(rules, group))}
    assert set(rules.reasons) == names and min(map(len, rules.reasons.values())) > 20
    assert rules.version


def test_sizes_are_in_order():
    size = load_rules().size
    assert 0 < size.buy_low <= size.buy_high <= size.strong_buy_high <= size.largest <= 0.05
    assert size.buy_low <= size.strong_buy_low <= size.strong_buy_high
    assert 1 >= size.environment_a >= size.environment_b >= size.environment_c > 0


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("\nbuy_low = {", "\nbuy_lowest = {", "unknown size.buy_lowest"),
        ("\nbuy_low = {", "\n# {", "size.buy_low needs a value"),
        ('version = "1"', "version = 1", "version must be text"),
        ("value = 0.12,", 'value = "0.12",', "unexplained_event_fall is no number"),
        ("value = 0.12,", "value = true,", "unexplained_event_fall is no number"),
        ("[gate]", "[gates]", "unknown gates"),
    ],
)
def test_what_is_wrong_is_named(before, after, fault):
    assert before in TEXT
    with pytest.raises(ValueError, match=fault):
        parse_rules(TEXT.replace(before, after, 1))


def test_a_number_without_a_reason_is_refused():
    line = next(line for line in TEXT.splitlines() if line.startswith("largest"))
    with pytest.raises(ValueError, match=r"size\.largest has no reason"):
        parse_rules(TEXT.replace(line, 'largest = { value = 0.05, reason = " " }'))
