"""A configuration is data: typed, checked, and hashed by what decides the result."""

from __future__ import annotations

import pytest

from trading_pipeline.research.backtest import ConfigurationError, parse_configuration

HEAD = 'name = "trial"\nstrategy = "momentum"\nmarket = "us"\nuniverse = "sp500"\n'
WHOLE = (
    HEAD
    + """
title = "A trial"
first_session = 2016-01-04
capital = 250_000

[parameters]
formation = 126

[allocation]
method = "hierarchical_risk_parity"
rebalance = "weekly"
turnover_limit = 0.2

[costs]
slippage = { kind = "volume_share", impact = 0.03 }

[walk_forward]
anchored = true

[sweep]
formation = { first = 126, last = 252, step = 63 }
share = { first = 0.1, last = 0.3, step = 0.1 }
number = [5, 10]
"""
)


def test_what_is_left_out_is_filled_in_with_the_strategys_own_defaults() -> None:
    configuration = parse_configuration(WHOLE)
    assert configuration.parameters == {"formation": 126, "skip": 21, "share": 0.1, "number": None}
    assert configuration.built().parameters.model_dump() == configuration.parameters


def test_ranges_of_a_sweep_hold_both_ends_and_no_rounding() -> None:
    sweep = parse_configuration(WHOLE).sweep
    assert sweep == {"formation": (126, 189, 252), "share": (0.1, 0.2, 0.3), "number": (5, 10)}


@pytest.mark.parametrize(
    "same",
    [
        WHOLE.replace("A trial", "Another title"),
        WHOLE.replace('"trial"', '"renamed"'),
        "# a comment\n" + WHOLE,
        WHOLE.replace("capital = 250_000", "capital = 250000.0"),
        WHOLE.replace("formation = 126\n", "skip = 21\nformation = 126\n"),
        WHOLE.replace("[costs]", "[costs]\nfees_bps = 1.0"),
    ],
    ids=["title", "name", "comment", "spelling of a number", "default of the strategy", "default of the costs"],
)
def test_hash_is_of_what_decides_the_result(same: str) -> None:
    assert parse_configuration(same).hash == parse_configuration(WHOLE).hash


@pytest.mark.parametrize(
    ("told", "other"),
    [
        ("formation = 126", "formation = 127"),
        ("250_000", "250_001"),
        ('"weekly"', '"daily"'),
        ("0.03", "0.031"),
        ('"sp500"', '"nasdaq100"'),
        ('market = "us"', 'market = "asx"'),
        ("2016-01-04", "2016-01-05"),
        ("[5, 10]", "[5, 11]"),
        ("anchored = true", "anchored = false"),
    ],
)
def test_hash_changes_with_anything_that_decides_it(told: str, other: str) -> None:
    assert told in WHOLE
    assert parse_configuration(WHOLE.replace(told, other)).hash != parse_configuration(WHOLE).hash


def test_hash_of_risk_sizing_holds_the_version_of_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from trading_pipeline.research import risk

    configuration = parse_configuration(HEAD + "[risk]\n")
    before = configuration.hash
    changed = replace(risk.load_limits("us"), version="another")
    monkeypatch.setattr(risk, "load_limits", lambda market: changed)
    assert configuration.hash != before


def test_hash_of_an_allocation_holds_that_short_selling_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from trading_pipeline.research import risk

    configuration = parse_configuration(WHOLE)
    before, limits = configuration.hash, risk.load_limits("us")
    assert limits.market.short_selling
    monkeypatch.setattr(risk, "load_limits", lambda market: replace(limits, version="another"))
    assert configuration.hash == before
    changed = replace(limits, market=replace(limits.market, short_selling=False))
    monkeypatch.setattr(risk, "load_limits", lambda market: changed)
    assert configuration.hash != before


def test_parameters_can_be_changed_and_are_checked() -> None:
    configuration = parse_configuration(WHOLE)
    other = configuration.with_parameters(formation=189)
    assert other.parameters["formation"] == 189
    assert other.hash != configuration.hash
    with pytest.raises(ValueError, match="formation"):
        configuration.with_parameters(formation=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "no TOML"),
        (HEAD, r"either \[allocation\] or \[risk\]"),
        (HEAD + "[allocation]\n[risk]\n", r"either \[allocation\] or \[risk\]"),
        (HEAD + "colour = 1\n[risk]", "colour: unknown, remove it or use one of name, title"),
        (HEAD + "[allocation]\nmethods = 1", "allocation.methods: unknown, remove it or use one of method, rebalance"),
        (HEAD + '[allocation]\nmethod = "luck"', "allocation.method: Input should be 'equal_weight'"),
        (HEAD + "[allocation]\nminimum_position = 0.5\nmaximum_position = 0.1", "allocation: minimum_position must"),
        (HEAD + "[allocation]\nlookback = 20", "allocation: minimum_history must not be above lookback"),
        (HEAD.replace('market = "us"\n', "") + "[risk]", "market: missing, set it"),
        (HEAD.replace('"us"', '"mars"') + "[risk]", "market: Input should be 'us' or 'asx'"),
        (HEAD.replace('"trial"', '"A B"') + "[risk]", "name: String should match"),
        (HEAD + "capital = -1\n[risk]", "capital: Input should be greater than 0"),
        (HEAD + "capital = inf\n[risk]", "capital: Input should be"),
        (HEAD.replace('"momentum"', '"magic"') + "[risk]", "unknown strategy 'magic': use one of"),
        (HEAD + "[risk]\n[parameters]\nformation = 1", "formation: Input should be greater than or equal to 2"),
        (HEAD + '[risk]\n[costs.slippage]\nkind = "fixed"\nimpact = 1', "costs.slippage.impact: unknown, remove it"),
        (HEAD + "[risk]\n[sweep]\nfast = [1]", "sweep.fast: strategy momentum has no such parameter, use one of"),
        (HEAD + "[risk]\n[sweep]\nskip = []", "sweep: give at least one value"),
        (HEAD + "[risk]\n[sweep]\nskip = [5, 5]", "sweep: give at least one value, and none twice"),
        (HEAD + "[risk]\n[sweep]\nskip = { first = 1, last = 9 }", "sweep: give a list, or first, last and step"),
        (HEAD + "[risk]\n[sweep]\nskip = { first = 1, last = 9, step = 0 }", "step must be above 0"),
        (HEAD + "[risk]\n[sweep]\nskip = { first = 0, last = 9, step = 1e-9 }", "take a larger step"),
        (HEAD + '[risk]\n[execution]\nfill = "close"', "execution.fill: Input should be 'next_open'"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line_with_key_and_remedy(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as told:
        parse_configuration(text)
    assert "\n" not in str(told.value) or "TOML" in str(told.value)
