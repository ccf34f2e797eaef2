"""The rules of the live session: complete, reasoned, consistent, and versioned by their numbers."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from importlib import resources

import pytest

from trading_pipeline.research.live.rules import load_rules, parse_rules

TEXT = resources.files("trading_pipeline.research.live").joinpath("rules.toml").read_text(encoding="utf-8")


def test_every_number_has_a_reason_a_reader_can_weigh():
    rules = load_rules()
    groups = [each.name for each in fields(rules) if is_dataclass(getattr(rules, each.name))]
    numbers = {f"{group}.{each.name}" for group in groups for each in fields(getattr(rules, group))}
    assert set(rules.reasons) == numbers
    assert [name for name, reason in rules.reasons.items() if len(reason.split()) < 4] == []


def test_a_change_of_any_number_changes_the_version_and_a_better_reason_does_not():
    rules = load_rules()
    for line in (line for line in TEXT.splitlines() if " = { value = " in line):
        name, _, rest = line.partition(" = { value = ")
        value, _, reason = rest.partition(", reason")
        other = f"{name} = {{ value = {float(value) + 1:g}, reason{reason}"
        assert parse_rules(TEXT.replace(line, other, 1)).version != rules.version, name
    assert parse_rules(TEXT.replace("Bollinger", "John Bollinger")).version == rules.version


def test_the_numbers_fit_each_other():
    rules = load_rules()
    fade, trend, stops, market = rules.mean_reversion, rules.trend_continuation, rules.stops, rules.market
    assert 0 < fade.z_session < fade.full_z
    assert 0 < fade.z_rolling < (rules.features.window - 1) / rules.features.window**0.5
    assert 1 <= fade.least_band <= fade.deep_band <= 3 and 1 <= trend.exhausted_band <= 3
    assert trend.pull_back_z < 0 < trend.least_z < trend.exhausted_z
    assert trend.target_reward >= trend.least_reward > 1 and fade.least_reward > 1
    assert 0 < stops.least_atr < stops.most_atr <= 1
    assert rules.timing.warm_up_bars >= rules.features.window >= rules.timing.bars_after_halt
    assert 0.5 < market.one_sided_from < market.one_sided_full <= 1 and market.move_from < market.move_full
    assert market.calm_volatility < 1 < market.storm_volatility < market.storm_full
    tilts = rules.tilts
    assert [tilts.long_a, tilts.long_b, tilts.long_c, tilts.long_d] == [
        tilts.short_d, tilts.short_c, tilts.short_b, tilts.short_a,
    ]  # fmt: skip
    assert 1 >= tilts.long_a > tilts.long_b > tilts.long_c > tilts.long_d > 0


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("\nwindow = {", "\nwindows = {", "unknown features.windows"),
        ("\nwindow = {", "\n# {", "features.window needs a value"),
        ("\nwindow = { value = 20,", "\nwindow = { value = 20.0,", "features.window is no whole number above 0"),
        ("\nwindow = { value = 20,", "\nwindow = { value = 0,", "features.window is no whole number above 0"),
        ("{ value = 5.0,", '{ value = "5.0",', "monitor.fall_pct is no number"),
        ("{ value = 5.0,", "{ value = true,", "monitor.fall_pct is no number"),
        ("{ value = 5.0,", "{ value = nan,", "monitor.fall_pct is no number"),
        ("[timing]", "[timings]", "unknown timings"),
    ],
)
def test_what_is_wrong_is_named(before, after, fault):
    assert TEXT.count(before) == 1
    with pytest.raises(ValueError, match=fault):
        parse_rules(TEXT.replace(before, after))


def test_a_number_without_a_reason_is_refused():
    line = next(line for line in TEXT.splitlines() if line.startswith("fall_pct"))
    with pytest.raises(ValueError, match=r"monitor\.fall_pct has no reason"):
        parse_rules(TEXT.replace(line, 'fall_pct = { value = 5.0, reason = " " }'))
