"""What the page of a backtest says in sentences, and what it warns of."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import polars as pl
import pytest

from trading_pipeline.reports.backtests import words
from trading_pipeline.reports.backtests.parameter_map import parameter_map
from trading_pipeline.reports.backtests.written import as_toml
from trading_pipeline.research.backtest.configuration import parse_configuration
from trading_pipeline_tests.backtest_pages import LAST, TOML, backtest_inputs, configuration, swept_sets


def warned(**given: Any) -> list[str]:
    return [what for what, _ in words.warnings(backtest_inputs(**given))]


def test_the_headline_tells_money_time_benchmark_depth_and_doubt() -> None:
    inputs = backtest_inputs()
    first, second, third = words.headline(inputs)
    held = inputs.held
    assert held is not None and held["total_return"] is not None
    assert first.startswith(f"$100,000 became ${inputs.row['equity']:,.0f} in 3.0 years")
    assert f"QINDEX held over the same sessions made +{100 * held['total_return']:.1f}%" in first.replace("−", "-")
    assert f"{-100 * inputs.row['maximum_drawdown']:.1f}% below its high" in second
    assert third.startswith("Of 4 variants tried")


@pytest.mark.parametrize(
    ("end", "said"), [(None, "after 45 sessions it is not back yet"), (491, "it was back after 45 sessions under it")]
)
def test_a_drawdown_says_whether_the_high_was_regained(end: int | None, said: str) -> None:
    row = {"maximum_drawdown": -0.1, "maximum_drawdown_sessions": 45, "maximum_drawdown_end_row": end}
    assert said in words.headline(backtest_inputs(row=row))[1]


@pytest.mark.parametrize(
    ("deflated", "said"),
    [(0.97, "Hard to explain by luck"), (0.6, "Not proven"), (0.2, "As good as luck"), (None, "Nothing to judge")],
)
def test_the_verdict_follows_the_deflated_sharpe_ratio(deflated: float | None, said: str) -> None:
    assert words.verdict({"deflated_sharpe": deflated, "time_in_market": 0.5, "sessions": 600}) == said


@pytest.mark.parametrize(("share", "little"), [(0.007, True), (0.16, True), (0.17, False), (1.0, False)])
def test_a_few_days_in_the_market_prove_nothing_whatever_the_ratio(share: float, little: bool) -> None:
    inputs = backtest_inputs(row={"time_in_market": share, "deflated_sharpe": 0.998})
    assert (words.verdict(inputs.row) == "Too little to judge") is little
    said = words.headline(inputs)[2]
    assert ("too few to tell it from luck" in said) is little
    assert (f"It was in the market on {round(759 * share)} of 759 sessions" in said) is little


@pytest.mark.parametrize(("deflated", "said"), [(0.9999, "is over 99%"), (0.0001, "is under 1%"), (0.68, "is 68%")])
def test_nothing_estimated_is_certain(deflated: float, said: str) -> None:
    row = {"deflated_sharpe": deflated, "minimum_track_record": None}
    assert said in words.headline(backtest_inputs(row=row))[2]


def test_a_record_that_is_too_short_says_how_long_it_would_have_to_be() -> None:
    said = words.headline(backtest_inputs(row={"minimum_track_record": 1_500}))[2]
    assert "it takes 1,500 sessions like these" in said and "there are 759" in said
    enough = words.headline(backtest_inputs(row={"minimum_track_record": 200}))[2]
    assert "it takes" not in enough


def test_without_other_variants_nobody_speaks_of_them() -> None:
    assert words.headline(backtest_inputs(row={"trials": 1}))[2].startswith("The probability that its true Sharpe")


def test_a_strategy_that_never_traded_says_so_and_nothing_else() -> None:
    [line] = words.headline(backtest_inputs(trades=0, open_trades=0))
    assert line.startswith("It never traded")
    assert warned(trades=0, open_trades=0) == []


def test_a_sound_result_has_no_warning() -> None:
    assert warned() == []


def test_watermark_and_revision_come_first() -> None:
    row = {"watermark": "Survivorship: only 80.0% …", "revised_from": date(2025, 3, 3)}
    inputs = backtest_inputs(row=row)
    (first, why), (second, when) = words.warnings(inputs)
    assert (first, why) == ("Watermark", row["watermark"])
    assert second == "Revised" and "From Monday 3 March 2025 on" in when


def test_a_configuration_that_changed_after_the_result_is_told() -> None:
    changed = configuration(TOML.replace("fast = 20", "fast = 25"))
    assert [
        what for what, _ in words.warnings(backtest_inputs(told=changed, row={"configuration_hash": "0" * 64}))
    ] == ["Changed since"]


def test_less_than_a_year_is_not_extrapolated() -> None:
    inputs = backtest_inputs(sessions=120, windows=0)
    assert ("Short" in dict(words.warnings(inputs))) and words.yearly(inputs, 0.4) is None
    assert words.span(inputs) == "6 months"
    assert words.yearly(backtest_inputs(), 0.4) == 0.4


def test_a_result_on_paper_alone_and_one_that_a_single_trade_made_are_named() -> None:
    assert "Open" in warned(trades=0, open_trades=3)
    inputs = backtest_inputs(drift=0.002)
    gained = inputs.row["equity"] - inputs.row["capital"]
    losing = inputs.trades.with_columns(pl.when(pl.col("reason") == "end").then(500.0).otherwise(-1.0).alias("profit"))
    paper = dict(words.warnings(replace(inputs, trades=losing)))["On paper"]
    assert paper.endswith("those that are over made −$40.00.")
    best = pl.when(pl.col("number") == 5).then(gained + 1).otherwise("profit").alias("profit")
    told = dict(words.warnings(replace(inputs, trades=inputs.trades.with_columns(best))))
    assert "Q004" in told["One trade"]


def test_a_history_that_is_too_short_for_a_walk_forward_says_what_is_missing() -> None:
    said = words.why_no_windows(backtest_inputs(sessions=300, windows=0))
    assert "a training of 252 sessions leaves none of the" in said
    assert "No walk-forward was computed" in words.why_no_windows(backtest_inputs(windows=0))


def test_the_windows_are_summed_up() -> None:
    inputs = backtest_inputs(windows=4)
    gained = inputs.walk_forward.filter(pl.col("test_return") > 0).height
    said = words.walked(inputs)
    assert said.startswith(f"{gained} of 4 tests made a profit")
    assert "The Sharpe ratio was 1.30 in training" in said


def test_the_map_in_words_names_rank_neighbours_and_the_stable_set() -> None:
    told = parameter_map(swept_sets(configuration(), LAST, [0.1, 0.2, 0.3, 0.4], fast=[10, 20], slow=[50, 100]))
    assert words.mapped(told) == (
        "The configured set, fast 20, slow 100, comes 1st of 4 sets with a median Sharpe ratio of 0.40; its neighbours "
        "have 0.10 to 0.30. The most stable one, whose worst neighbour is the best there is, is fast 20, slow 50."
    )
    without = parameter_map(swept_sets(configuration(), LAST, fast=[10, 15], slow=[50, 150]))
    assert words.mapped(without) == "The configured set is not among those that were tried."


@pytest.mark.parametrize(
    "more",
    [
        "",
        '\n[costs]\nfees_bps = 0.00001\nslippage = { kind = "volume_share", impact = 0.03 }\n',
        "\n[execution]\nmax_volume_share = 0.05\n",
    ],
)
def test_the_configuration_in_full_reads_as_itself_again(more: str) -> None:
    told = configuration(TOML.replace("capital = 100_000", "capital = 100_000\nfirst_session = 2016-01-04") + more)
    again = parse_configuration(as_toml(told))
    assert again == told
    assert again.hash == told.hash
    assert "first_session = 2016-01-04" in as_toml(told)
