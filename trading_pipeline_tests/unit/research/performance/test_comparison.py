"""Strategies side by side: pairs, paired differences and who is best at what."""

from __future__ import annotations

import numpy as np
import pytest

from trading_pipeline.research.performance.bootstrap import block_rows, generator
from trading_pipeline.research.performance.comparison import correlations, sharpe_differences, side_by_side
from trading_pipeline.research.performance.measures import METRICS
from trading_pipeline.research.performance.metrics import metrics
from trading_pipeline.research.performance.series import PerformanceError, sharpe_ratio

RANDOM = np.random.Generator(np.random.PCG64(12))
COMMON = 0.01 * RANDOM.standard_normal(1_000)
OWN = 0.002 * RANDOM.standard_normal((3, 1_000))
STRATEGIES = {"good": 0.0012 + COMMON + OWN[0], "fair": 0.0004 + COMMON + OWN[1], "like fair": 0.0004 + COMMON + OWN[2]}


def test_correlations_of_every_pair():
    told = correlations(STRATEGIES)
    assert told.select("first", "second").rows() == [("good", "fair"), ("good", "like fair"), ("fair", "like fair")]
    theirs = np.corrcoef(np.vstack(list(STRATEGIES.values())))
    assert told["correlation"].to_list() == pytest.approx([theirs[0, 1], theirs[0, 2], theirs[1, 2]])


def test_only_sessions_that_both_have_are_compared():
    late = STRATEGIES["fair"].copy()
    late[:400] = np.nan
    told = correlations({"good": STRATEGIES["good"], "late": late})
    assert told["sessions"].item() == 600
    assert told["correlation"].item() == pytest.approx(np.corrcoef(STRATEGIES["good"][400:], late[400:])[0, 1])
    late[:990] = np.nan
    pair = {"good": STRATEGIES["good"], "late": late}
    assert correlations(pair).row(0) == ("good", "late", None, 10)
    assert sharpe_differences(pair, seed=1, paths=10).row(0) == ("good", "late", None, None, None, None, 10)
    flat = {"good": STRATEGIES["good"], "cash": np.zeros(1_000)}
    assert correlations(flat)["correlation"].item() is None
    assert sharpe_differences(flat, seed=1, paths=10)["p_value"].item() is None


def test_pairing_finds_a_difference_that_the_common_market_would_hide():
    told = sharpe_differences(STRATEGIES, seed=1, paths=2_000)
    better, _, alike = told.to_dicts()
    ratio = {name: metrics(returns)["sharpe"] for name, returns in STRATEGIES.items()}
    assert better["difference"] == pytest.approx(ratio["good"] - ratio["fair"])
    assert 0 < better["low"] < better["difference"] < better["high"]
    assert better["p_value"] < 0.01
    assert alike["low"] < 0 < alike["high"]
    assert alike["p_value"] > 0.1
    # By itself each ratio is not known to better than 1 / sqrt(years) on either side: 4 years, 2 x 1.96 x 0.5.
    assert better["high"] - better["low"] < 1


def test_the_sums_of_counted_sessions_are_those_of_the_paths():
    pair = {name: STRATEGIES[name][:60] for name in ("good", "fair")}
    told = sharpe_differences(pair, seed=5, paths=400, block=4)
    rows = block_rows(generator(5), 400, 60, 60, 4)
    drawn = (sharpe_ratio(pair["good"][rows]) - sharpe_ratio(pair["fair"][rows])) * np.sqrt(252)
    assert told.select("low", "high").row(0) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    random = np.random.Generator(np.random.PCG64(2))
    true = (0.0008 - 0.0003) / np.hypot(0.01, 0.005) * np.sqrt(252)
    held = 0
    for trial in range(60):
        market = 0.01 * random.standard_normal(500)
        pair = {name: mean + market + 0.005 * random.standard_normal(500) for name, mean in (("a", 8e-4), ("b", 3e-4))}
        told = sharpe_differences(pair, seed=trial, paths=300, block=1, confidence=0.9)
        held += told["low"].item() < true < told["high"].item()
    assert 46 <= held <= 60


def test_the_same_seed_gives_the_same_frame():
    first, again = (sharpe_differences(STRATEGIES, seed=9, paths=200) for _ in range(2))
    assert first.equals(again)
    assert not first.equals(sharpe_differences(STRATEGIES, seed=10, paths=200))


def test_who_is_best_at_what():
    results = {name: metrics(returns) for name, returns in STRATEGIES.items()}
    results["none"] = metrics([])
    told = side_by_side(results)
    assert told.height == len(METRICS) * 4
    sharpe = told.filter(metric="sharpe")
    assert sharpe["strategy"].to_list() == list(results)
    assert sharpe["is_best"].to_list() == [True, False, False, None], "who has none is not compared"
    assert told.filter(metric="sessions")["is_best"].null_count() == 4, "neither more nor fewer are better"
    assert told.filter(metric="win_rate")["is_best"].null_count() == 4, "nobody has one"
    lowest = told.filter(metric="volatility").sort("value", nulls_last=True)
    assert lowest["is_best"][0]
    tied = side_by_side({"a": results["good"], "b": results["good"]}).filter(metric="sharpe")
    assert tied["is_best"].to_list() == [True, True]


def test_strategies_of_other_lengths_are_named():
    with pytest.raises(PerformanceError, match=r"a \(3,\), b \(2,\)"):
        correlations({"a": [0.1, 0.2, 0.1], "b": [0.1, 0.2]})
    with pytest.raises(PerformanceError, match="confidence"):
        sharpe_differences(STRATEGIES, seed=1, confidence=1.0)
