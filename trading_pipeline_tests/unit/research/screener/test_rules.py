"""The rules as a file: what must be true of it, and that a change of it is seen."""

from __future__ import annotations

import re

import pytest

from trading_pipeline.research.screener import RULES_FILE, load_rules

TEXT = RULES_FILE.read_text(encoding="utf-8")


@pytest.fixture
def edited(tmp_path):
    """The rules with one text replaced by another, loaded from a file of their own."""
    copies = iter(range(1000))

    def load(old, new):
        assert old in TEXT
        path = tmp_path / f"rules_{next(copies)}.toml"
        path.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
        return load_rules(path)

    return load


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("buy = 62.0", "buy = 62.5"),
        ('version = "2026.1"', 'version = "2026.2"'),
        ("most = 2.5", "most = 2.6"),
        ("[[8, 100], [15, 70]", "[[8, 100], [15, 71]"),
        ("half_life_days = 4.0", "half_life_days = 5.0"),
        ('not_for = ["Financials", "Real Estate"]', 'not_for = ["Financials"]'),
        ("terminal_growth = 0.025", "terminal_growth = 0.02"),
    ],
)
def test_a_number_changed_is_another_fingerprint(edited, old, new):
    assert edited(old, new).fingerprint != load_rules().fingerprint


def test_a_reason_changed_is_not(edited):
    assert edited("A position of 50,000", "Any position of 50,000").fingerprint == load_rules().fingerprint
    assert re.fullmatch("[0-9a-f]{16}", load_rules().fingerprint)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("hold = 45.0", "hold = 65.0", "totals of the verdicts must ascend"),
        ("c = 50.0", "c = 70.0", "totals of the grades must ascend"),
        ("least = 0.35", "least = 0.65", "confidences must ascend"),
        ("large = 10e9", "large = 1e9", "sizes must ascend"),
        ("technical = 0.25", "technical = 0.26", "weights of components sum to 1.01, not to 1"),
        ("weight = 0.22", "weight = 0.23", "weights of the technical inputs of stock sum to 1.01"),
        ("[[8, 100], [15, 70]", "[[15, 100], [8, 70]", "inputs of the curve of input pe_trailing must ascend"),
        ("[[8, 100], [15, 70]", "[[8, 101], [15, 70]", "must lie within 0 and 100"),
        ("[[8, 100], [15, 70], [22, 45]", "[[8, 60], [15, 40], [22, 45]", "must rise, fall, or rise and then fall"),
        ('name = "pe_trailing"', 'name = "pe_ratio"', "input judges pe_ratio, which is not measured; known: "),
        ('measure = "current_ratio"', 'measure = "quick"', "gate solvency_current judges quick"),
        ("least = 5e6", "least = 5e6\nmost = 6e6", "gate liquidity needs either `least` or `most`"),
        ('cap = "Avoid"', 'cap = "Sell"', "Input should be 'Avoid' or 'Hold'"),
        ("terminal_growth = 0.025", "terminal_growth = 0.07", "below the least discount rate"),
        ("[weights.stock.D]", "[weights.stock.E]", "needed: A, B, C, D, unknown"),
        ("[flags.overbought]", "[flags.overbaught]", "overbought"),
        ('reason = "A year of sessions', 'why = "A year of sessions', "reason"),
        ("unknown = [[1, 75]", "other = [[1, 75]", "input duration needs a curve for each of A, B, C, D, unknown"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(edited, old, new, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        edited(old, new)


def test_every_table_of_numbers_has_its_reason():
    rules = load_rules()
    reasoned = [*rules.gates, *rules.inputs, rules.verdicts, rules.grades, rules.confidence, rules.dcf, rules.sizes]
    reasoned += [table for scorer in rules.weights.values() for table in scorer.values()]
    assert all(len(one.reason) >= 10 for one in reasoned) and len(reasoned) > 60
