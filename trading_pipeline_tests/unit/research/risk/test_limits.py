"""The limits' file: typed, complete, every number with a reason and a possible value."""

from __future__ import annotations

from dataclasses import fields
from importlib import resources

import pytest

from trading_pipeline.brokers.ticks import TICKS
from trading_pipeline.research.risk import load_limits
from trading_pipeline.research.risk.limits import parse_limits

TEXT = resources.files("trading_pipeline.research.risk").joinpath("limits.toml").read_text()


def test_every_number_has_a_reason():
    limits = load_limits()
    names = {
        f"{group}.{each.name}"
        for group in ("budget", "position", "environment", "edges")
        for each in fields(getattr(limits, group))
    }
    rules = {f"market.{market}.{each.name}" for market in ("us", "asx") for each in fields(limits.market)}
    assert set(limits.reasons) == names | rules
    assert min(map(len, limits.reasons.values())) > 10


def test_the_limits_are_in_order():
    limits = load_limits()
    budget = limits.budget
    assert 0 < budget.risk_per_trade <= budget.risk_per_sector <= budget.risk_per_day <= budget.open_heat < 0.1
    assert limits.position.largest_share_without_stop < limits.position.largest_share
    assert limits.edges.one <= limits.edges.two <= limits.edges.three <= 1
    best_first = [getattr(limits.environment, f"long_{grade}") for grade in "abcd"]
    assert best_first == sorted(best_first, reverse=True)


@pytest.mark.parametrize("market", ["us", "asx"])
def test_prices_are_quoted_in_the_steps_that_brokers_accept(market):
    assert load_limits(market).market.ticks == TICKS[market].steps


def test_the_version_follows_the_numbers_and_not_the_words():
    version = parse_limits(TEXT).version
    assert parse_limits(TEXT.replace("Whole shares.", "Shares are whole.")).version == version
    assert parse_limits(TEXT.replace("value = 0.03,", "value = 0.031,")).version != version


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("\nopen_heat = {", "\nopen_fire = {", "unknown budget.open_fire"),
        ("\nopen_heat = {", "\n# {", "budget.open_heat needs a value and a reason"),
        ("[edges]", "[edge]", "unknown edge"),
        ("value = 0.03,", 'value = "0.03",', "open_heat is no number from 0 to 1"),
        ("value = 0.03,", "value = 3,", "open_heat is no number from 0 to 1"),
        ("value = 0.03,", "value = nan,", "open_heat is no number from 0 to 1"),
        ("value = 1.25,", "value = -1,", "least_reward_to_risk is no number of 0 or more"),
        ("lot = { value = 1,", "lot = { value = 0,", "market.us.lot is no whole number above 0"),
        ("value = true,", "value = 1,", "short_selling is neither true nor false"),
        ("[[1.0, 0.01], [0.0, 0.0001]]", "[[0.0, 0.0001], [1.0, 0.01]]", "us.ticks are no"),
        ("[[1.0, 0.01], [0.0, 0.0001]]", "[[1.0, 0.01], [0.0, 0.003]]", "us.ticks are no"),
        ("[[1.0, 0.01], [0.0, 0.0001]]", "[[1.0, 0.01]]", "us.ticks are no"),
        ("[[1.0, 0.01], [0.0, 0.0001]]", "[]", "us.ticks are no"),
        ("[market.us]", "[market.nz]", "no market.us"),
    ],
)
def test_what_is_wrong_is_named(before, after, fault):
    assert before in TEXT
    with pytest.raises(ValueError, match=fault):
        parse_limits(TEXT.replace(before, after, 1))


def test_a_number_without_a_reason_is_refused():
    line = next(line for line in TEXT.splitlines() if line.startswith("open_heat"))
    with pytest.raises(ValueError, match=r"budget\.open_heat has no reason"):
        parse_limits(TEXT.replace(line, 'open_heat = { value = 0.03, reason = " " }'))


def test_a_market_without_limits_is_refused():
    with pytest.raises(ValueError, match=r"no market\.nz"):
        load_limits("nz")
