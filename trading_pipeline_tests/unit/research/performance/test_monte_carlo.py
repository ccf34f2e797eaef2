"""Bootstrapped returns and reshuffled trades: what they keep, what they vary, and that a seed says it all."""

from __future__ import annotations

import tracemalloc

import numpy as np
import polars as pl
import pytest

from trading_pipeline.research.performance import bootstrap
from trading_pipeline.research.performance.bootstrap import batches, block_rows, generator, optimal_block
from trading_pipeline.research.performance.drawdowns import underwater
from trading_pipeline.research.performance.monte_carlo import POINTS, bootstrap_returns, reshuffle_trades
from trading_pipeline.research.performance.series import PerformanceError

RETURNS = 0.0005 + 0.01 * np.random.Generator(np.random.PCG64(6)).standard_normal(500)
ARRAYS = ("steps", "bands", "final_return", "maximum_drawdown", "sharpe")


def autoregressive(phi, noise):
    values = np.zeros(len(noise))
    for row in range(1, len(noise)):
        values[row] = phi * values[row - 1] + noise[row]
    return values


@pytest.mark.parametrize(
    "simulate",
    [
        lambda seed: bootstrap_returns(RETURNS, seed=seed, paths=300),
        lambda seed: bootstrap_returns(RETURNS, seed=seed, paths=300, method="circular", block=10),
        lambda seed: reshuffle_trades(RETURNS[:80], seed=seed, paths=300),
        lambda seed: reshuffle_trades(RETURNS[:80], seed=seed, paths=300, replace=True),
    ],
)
def test_a_seed_gives_the_same_bit_for_bit_and_another_seed_another(simulate):
    first, again, other = simulate(1), simulate(1), simulate(2)
    for name in ARRAYS:
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert (first.loss, first.ruin, first.block) == (again.loss, again.ruin, again.block)
    assert (first.maximum_drawdown != other.maximum_drawdown).any()


@pytest.mark.parametrize("method", ["stationary", "circular"])
def test_paths_are_made_of_blocks_that_wrap_around(method):
    rows = block_rows(generator(1), 400, 50, 300, 12, method)
    assert rows.shape == (400, 300)
    assert np.unique(rows).tolist() == list(range(50))
    follows = (np.diff(rows, axis=1) - 1) % 50 == 0
    # A new block follows by chance, too, once in 50 times.
    assert 1 - follows.mean() == pytest.approx(49 / 50 / 12, rel=0.05)
    assert np.bincount(rows.ravel()) / rows.size == pytest.approx(np.full(50, 1 / 50), rel=0.1)
    if method == "circular":
        assert follows[:, np.arange(299) % 12 != 11].all()


@pytest.mark.parametrize(
    ("phi", "stationary", "circular"),
    [
        (0.0, 1.58711418, 1.81679221),
        (0.3, 12.10442999, 13.85611341),
        (0.7, 24.68043175, 28.25204174),
        (-0.3, 3.37892341, 3.86790175),
    ],
)
def test_the_optimal_block_is_that_of_another_implementation(phi, stationary, circular):
    """`optimal_block_length` of the package arch, version 8.0.0, on the same series."""
    series = autoregressive(phi, np.random.Generator(np.random.PCG64(7)).standard_normal(2_000))
    assert optimal_block(series) == pytest.approx(stationary, abs=1e-8)
    assert optimal_block(series, "circular") == pytest.approx(circular, abs=1e-8)


def test_the_optimal_block_of_what_does_not_vary_or_is_short_is_one_session():
    assert optimal_block(np.full(100, 0.01)) == 1
    assert optimal_block(RETURNS[:5]) == 1
    assert 1 <= optimal_block(np.tile([0.01, -0.01], 20)) <= 14


def test_blocks_keep_what_follows_upon_what():
    """Of returns that trend, a bootstrap of single sessions tells too narrow a range."""
    trending = 0.002 * autoregressive(0.7, np.random.Generator(np.random.PCG64(9)).standard_normal(1_500))
    single = bootstrap_returns(trending, seed=1, paths=2_000, block=1)
    blocks = bootstrap_returns(trending, seed=1, paths=2_000)
    assert blocks.block > 15
    ratio = np.log1p(blocks.final_return).std() / np.log1p(single.final_return).std()
    theory = np.sqrt((1 + 0.7) / (1 - 0.7))
    assert 0.8 * theory < ratio < 1.1 * theory


def test_the_ends_are_distributed_as_theory_says():
    told = bootstrap_returns(RETURNS, seed=3, paths=20_000, block=1, sessions=252)
    logs = np.log1p(told.final_return)
    assert logs.mean() == pytest.approx(252 * np.log1p(RETURNS).mean(), abs=3e-3)
    assert logs.std() == pytest.approx(np.sqrt(252) * np.log1p(RETURNS).std(), rel=0.02)
    assert told.loss == pytest.approx((logs < 0).mean(), abs=1e-9)


def test_the_bands_are_quantiles_of_equity_and_begin_at_one():
    told = bootstrap_returns(RETURNS, seed=1, paths=1_000, sessions=100)
    assert told.steps.tolist() == list(range(101))
    assert (told.bands[0] == 1).all()
    assert (np.diff(told.bands, axis=1) >= 0).all()
    ends = 1 + np.quantile(told.final_return, [0.05, 0.25, 0.5, 0.75, 0.95])
    assert told.bands[-1] == pytest.approx(ends)
    frame = told.band_frame()
    assert frame.columns == ["step", "p5", "p25", "p50", "p75", "p95"]
    assert frame["p50"][-1] == pytest.approx(ends[2])


def test_a_long_history_has_bands_at_no_more_points_than_a_chart():
    told = bootstrap_returns(np.tile(RETURNS, 6), seed=1, paths=50, block=5)
    assert len(told.steps) == POINTS
    assert told.steps[[0, -1]].tolist() == [0, 3_000]
    assert (np.diff(told.steps) > 0).all()


def test_one_path_is_told_as_its_returns_are():
    """Of a single path made of one whole block, wrapped around."""
    random = generator(4)
    rows = block_rows(random, 1, 500, 500, 500, "circular")[0]
    told = bootstrap_returns(RETURNS, seed=4, paths=1, block=500, method="circular")
    path = RETURNS[rows]
    assert told.final_return[0] == pytest.approx((1 + path).prod() - 1)
    assert told.maximum_drawdown[0] == pytest.approx(underwater(path).min())
    assert told.sharpe[0] == pytest.approx(path.mean() / path.std(ddof=1) * np.sqrt(252))


def test_reshuffled_trades_end_alike_and_fall_differently():
    trades = np.array([0.3, -0.2, 0.1, -0.1, -0.15, 0.4, 0.05])
    told = reshuffle_trades(trades, seed=1, paths=5_000)
    assert told.final_return == pytest.approx(np.full(5_000, (1 + trades).prod() - 1))
    # Worst: all losses one after the other; best: none follows upon another.
    assert told.maximum_drawdown.min() == pytest.approx(0.8 * 0.9 * 0.85 - 1)
    assert told.maximum_drawdown.max() == pytest.approx(-0.2)
    assert told.loss == 0
    assert told.steps.tolist() == list(range(8))


def test_trades_drawn_with_replacement_end_differently():
    told = reshuffle_trades(np.array([0.3, -0.2, 0.1, -0.25]), seed=1, paths=2_000, replace=True)
    assert told.final_return.min() == pytest.approx(0.75**4 - 1)
    assert told.final_return.max() == pytest.approx(1.3**4 - 1)
    assert 0 < told.loss < 1


def test_ruin_is_having_lost_that_much_of_the_start_at_any_time():
    trades = np.array([-0.3, -0.3, 1.5])
    told = reshuffle_trades(trades, seed=1, paths=6_000, ruin_level=0.5)
    assert told.loss == 0
    assert told.ruin == pytest.approx(1 / 3, abs=0.02), "the gain comes last in one order of three"
    assert reshuffle_trades(trades, seed=1, paths=100, ruin_level=0.52).ruin == 0


def test_the_summary_leaves_out_what_is_not_defined():
    told = bootstrap_returns(np.array([0.0, 0.0, 0.0, 0.1]), seed=1, paths=200, block=1, sessions=2)
    assert np.isnan(told.sharpe).any()
    summary = told.summary()
    assert summary.columns == ["measure", "mean", "p5", "p25", "p50", "p75", "p95"]
    assert summary.select(pl.all().is_not_null().all()).row(0) == (True,) * 7
    never = bootstrap_returns(np.zeros(10), seed=1, paths=5, block=1).summary()
    assert never.filter(measure="sharpe")["p50"].item() is None


def test_memory_does_not_grow_with_paths_times_sessions(monkeypatch):
    monkeypatch.setattr(bootstrap, "CELLS", 50_000)
    assert sum(batches(20_000, 1_000)) == 20_000
    assert set(batches(20_000, 1_000)) == {50}
    tracemalloc.start()
    bootstrap_returns(RETURNS, seed=1, paths=2_000, sessions=1_000, block=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole = 2_000 * 1_000 * 8
    kept = 2_000 * POINTS * 8
    assert peak < 2.5 * kept + 20 * 50_000 * 8 < 2 * whole, "one array of all paths and sessions would be 16 MB"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap_returns([0.1], seed=1), "2 sessions or more"),
        (lambda: bootstrap_returns([0.1, np.nan], seed=1), "session 1 is nan"),
        (lambda: bootstrap_returns(RETURNS, seed=1, block=0.5), "a block must be of 1 to 500 sessions"),
        (lambda: bootstrap_returns(RETURNS, seed=1, block=501), "a block must be of 1 to 500 sessions"),
        (lambda: bootstrap_returns(RETURNS, seed=1, paths=0), "a path and a session"),
        (lambda: bootstrap_returns(RETURNS, seed=1, ruin_level=0), "ruin is a share"),
        (lambda: reshuffle_trades([0.1], seed=1), "2 trades or more"),
    ],
)
def test_what_cannot_be_simulated_is_named(call, words):
    with pytest.raises(PerformanceError, match=words):
        call()
