"""The market analysis by rules: what it measures, what follows, and when it is due."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.research.live import (
    Measures,
    Multipliers,
    SessionContext,
    SessionFeatures,
    is_due,
    load_rules,
    market_analysis,
    market_measures,
)
from trading_pipeline.research.live.market import judged
from trading_pipeline.tables import MARKET_ANALYSIS
from trading_pipeline_tests.live_days import MINUTE, OPENS_AT, SNAPSHOTS, context, minutes

RULES = load_rules()
LINE = np.linspace(0, 1, 60)
NOW = OPENS_AT + 60 * MINUTE
BALANCED = Measures(
    names=100, above_vwap=0.5, move=0.2, move_pct=0.1, dispersion=1.0, volatility=1.0,
    index="SPY", regime=None, environment=None,
)  # fmt: skip


def market(moves_pct: list[float], *, index_pct: float | None = None, stopped: int = 0, **known: object) -> tuple:
    """Names that went from 100 by so many per cent in a straight line within an hour; the last ones stopped early."""
    ids = [f"us:N{number}" for number in range(len(moves_pct))]
    paths = {each: 100 * (1 + move / 100 * LINE) for each, move in zip(ids, moves_pct, strict=True)}
    if index_pct is not None:
        paths["us:SPY"] = 500 * (1 + index_pct / 100 * LINE)
    context_of: SessionContext = context(list(paths), benchmark_id="us:SPY" if index_pct is not None else None, **known)
    names = context_of.names.with_columns(
        atr_14=pl.when(pl.col("ticker") == "SPY").then(5.0).otherwise(2.0),
        previous_close=pl.when(pl.col("ticker") == "SPY").then(500.0).otherwise(100.0),
    )
    context_of = replace(context_of, names=names)
    bars = pl.concat(minutes(each, path.tolist()) for each, path in paths.items())
    gone = bars["instrument_id"].is_in(ids[len(ids) - stopped :]) & (bars["started_at"] >= NOW - 10 * MINUTE)
    features = SessionFeatures(context_of.ids, SNAPSHOTS.to_frame(), RULES)
    features.advance(NOW, bars.filter(~gone))
    return features, context_of, RULES, NOW


def sigma_of_an_hour(atr_share: float) -> float:
    return atr_share / 1.596 * math.sqrt(0.8 * (1 / 6.5) ** 0.7)


def test_breadth_move_and_dispersion_are_measured_in_sigmas_of_the_time_gone_by():
    measures = market_measures(*market([1.0, 1.0, 0.5, 0.5, 0.2, -0.6], index_pct=0.8))
    assert (measures.names, measures.index) == (6, "SPY")
    assert measures.above_vwap == pytest.approx(5 / 6)
    assert measures.move_pct == pytest.approx(0.8)
    assert measures.move == pytest.approx(0.008 / sigma_of_an_hour(0.01))
    moved = np.array([0.01, 0.01, 0.005, 0.005, 0.002, -0.006]) / sigma_of_an_hour(0.02)
    assert measures.dispersion == pytest.approx(1.4826 * np.median(np.abs(moved - np.median(moved))))


def test_without_an_index_the_median_name_leads():
    measures = market_measures(*market([1.0, 0.5, 0.4, 0.1, -2.0]))
    assert measures.index is None and measures.move_pct == pytest.approx(0.4)


def test_realised_volatility_of_a_random_walk_is_its_normal_one():
    """Names whose true range is what a random walk of their volatility has; the ratio is 1 but for chance."""
    rng, names, sigma = np.random.default_rng(5), 40, 0.015
    gone = 0.8 * (np.arange(121) / 390) ** 0.7
    step = sigma * np.sqrt(np.diff(gone))[:, None]
    known = context([f"us:N{number:02d}" for number in range(names)], atr=100 * sigma * 1.596)
    paths = 100 * np.exp(np.cumsum(rng.normal(0, step, (120, names)), axis=0))
    bars = pl.concat(minutes(each, paths[:, number].tolist()) for number, each in enumerate(known.ids))
    features = SessionFeatures(known.ids, SNAPSHOTS.to_frame(), RULES)
    features.advance(OPENS_AT + 120 * MINUTE, bars)
    measures = market_measures(features, known, RULES, OPENS_AT + 120 * MINUTE)
    assert measures.volatility == pytest.approx(1.0, abs=0.05)
    assert measures.dispersion == pytest.approx(1.0, abs=0.35)


def test_names_that_stopped_trading_are_left_out():
    moving = market_measures(*market([1.0] * 5 + [-3.0] * 4, stopped=4))
    assert moving == market_measures(*market([1.0] * 5)) and moving.names == 5


def test_what_half_a_day_moves_is_compared_with_half_a_day():
    whole = market_measures(*market([1.0] * 5))
    assert market_measures(*market([1.0] * 5, hours=3.5)) == whole


def test_without_volume_or_levels_what_cannot_be_known_is_none():
    features, known, rules, now = market([1.0] * 5)
    bare = replace(known, names=known.names.with_columns(atr_14=pl.lit(None, pl.Float64)))
    measures = market_measures(features, bare, rules, now)
    assert (measures.move, measures.volatility, measures.dispersion) == (None, None, None)
    assert measures.move_pct == pytest.approx(1.0) and measures.above_vwap == 1.0
    row = market_analysis(features, bare, rules, now).row(0, named=True)
    assert row["mean_reversion"] == 1.0 and row["summary"] == "100 % of 5 names above VWAP: no side leads."
    features.state.vwap[:] = np.nan
    assert market_measures(features, known, rules, now).above_vwap is None


# --- what follows ---------------------------------------------------------------------------------------------------


def test_a_trend_day_up_doubles_continuation_halves_fades_and_lifts_longs():
    frame = market_analysis(*market([6.0, 5.0, 4.0, 4.0, 3.0, 2.0], index_pct=4.0))
    MARKET_ANALYSIS.conform(frame.with_columns(book=pl.lit("paper")))
    row = frame.row(0, named=True)
    assert (row["mean_reversion"], row["trend_continuation"]) == (0.5, 2.0)
    assert row["long"] == pytest.approx(2**0.75) and row["short"] == pytest.approx(2**-0.75)
    assert row["summary"].startswith("100 % of 6 names above VWAP, SPY +4.00 % since the open (+")
    assert row["summary"].endswith("a trend day up.")
    assert json.loads(row["inputs"])["names"] == 6
    assert (row["source"], row["model"], row["prompt_hash"], row["cost"]) == ("rules", None, None, None)


def test_a_trend_day_down_is_its_mirror():
    moves = [3.0, 2.5, 2.0, 2.0, 1.5, 1.0]
    up = market_analysis(*market(moves, index_pct=2.0)).row(0, named=True)
    down = market_analysis(*market([-move for move in moves], index_pct=-2.0)).row(0, named=True)
    for name in ("mean_reversion", "trend_continuation"):
        assert down[name] == pytest.approx(up[name], rel=0.02)
    assert (down["long"], down["short"]) == pytest.approx((up["short"], up["long"]), rel=0.02)
    assert "down" in down["summary"]


def test_a_market_on_neither_side_favours_fades_a_little():
    multipliers, lean = judged(BALANCED, RULES.market)
    assert lean == 0
    assert multipliers == Multipliers(2**0.25, 2**-0.25, 1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "higher", "lower"),
    [
        ({"above_vwap": 0.85, "move": 1.8}, {"trend_continuation", "long"}, {"mean_reversion", "short"}),
        ({"above_vwap": 0.15, "move": -1.8}, {"trend_continuation", "short"}, {"mean_reversion", "long"}),
        ({"above_vwap": 0.85, "move": -1.8}, {"trend_continuation"}, {"mean_reversion"}),
        ({"volatility": 2.5}, set(), {"mean_reversion", "trend_continuation"}),
        ({"volatility": 0.3}, set(), {"trend_continuation"}),
        ({"dispersion": 2.0}, {"trend_continuation"}, {"mean_reversion"}),
        ({"environment": "A"}, {"long"}, {"short"}),
        ({"environment": "D"}, {"short"}, {"long"}),
    ],
    ids=["up", "down", "breadth and index disagree", "storm", "calm", "apart", "good", "bad"],
)
def test_each_measure_moves_what_it_should(change, higher, lower):
    """Breadth and index that disagree lean nowhere; they only end the balance."""
    before, _ = judged(BALANCED, RULES.market)
    after, _ = judged(replace(BALANCED, **change), RULES.market)
    names = ("mean_reversion", "trend_continuation", "long", "short")
    assert {name for name in names if getattr(after, name) > getattr(before, name)} == higher
    assert {name for name in names if getattr(after, name) < getattr(before, name)} == lower


def test_too_few_names_say_nothing():
    row = market_analysis(*market([3.0] * 4, index_pct=2.0)).row(0, named=True)
    assert [row[name] for name in ("mean_reversion", "trend_continuation", "long", "short")] == [1.0] * 4
    assert row["summary"] == "Too few names with a fresh bar to judge the market: 4 of 5 needed."


_number = st.none() | st.floats(-1e6, 1e6)


@given(
    names=st.integers(0, 1000),
    above=st.none() | st.floats(0, 1),
    move=_number,
    dispersion=_number,
    volatility=_number,
    environment=st.sampled_from(["A", "B", "C", "D", "?", None]),
)
def test_multipliers_stay_between_a_half_and_two_whatever_is_measured(
    names, above, move, dispersion, volatility, environment
):
    measures = Measures(names, above, move, move, dispersion, volatility, None, None, environment)
    multipliers, lean = judged(measures, RULES.market)
    values = (multipliers.mean_reversion, multipliers.trend_continuation, multipliers.long, multipliers.short)
    assert all(0.5 <= value <= 2 for value in values) and -1 <= lean <= 1


# --- when it is due -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [60, 40, 420, 900])
def test_it_is_due_once_in_each_quarter_of_an_hour_after_the_first_whatever_the_tick(seconds):
    last, due = None, []
    for number in range(1, 4 * 3600 // seconds + 1):
        at = OPENS_AT + timedelta(seconds=number * seconds)
        if is_due(at, OPENS_AT, last, RULES):
            last = at
            due.append(at - OPENS_AT)
    quarters = [moment // timedelta(minutes=15) for moment in due]
    assert quarters == list(range(1, (at - OPENS_AT) // timedelta(minutes=15) + 1))
    assert all(moment % timedelta(minutes=15) < timedelta(seconds=seconds) for moment in due)


def test_a_loop_that_was_away_makes_up_for_one_analysis_not_for_all():
    last = OPENS_AT + 15 * MINUTE
    assert is_due(OPENS_AT + 64 * MINUTE, OPENS_AT, last, RULES)
    assert not is_due(OPENS_AT + 65 * MINUTE, OPENS_AT, OPENS_AT + 64 * MINUTE, RULES)
