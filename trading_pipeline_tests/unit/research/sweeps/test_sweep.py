"""The sweep: the strategies' own signals, vectorbt's accounting, and one result however it is computed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.research.backtest.configuration import Execution
from trading_pipeline.research.panel import GAP, carried, shift
from trading_pipeline.research.strategies.base import StrategyError, checked_signals, strategy
from trading_pipeline.research.sweeps import (
    METRICS,
    SWEEPABLE,
    Prices,
    ProportionalCosts,
    SweepTooLarge,
    bytes_needed,
    parameter_grid,
    sweep,
    warm_up,
)
from trading_pipeline.research.sweeps.engine import CARRY_SESSIONS
from trading_pipeline_tests.unit.research.sweeps.oracle import assert_equal, panel_of, random_prices, vectorbt_metrics

COSTS = ProportionalCosts(fees=0.001, slippage=0.0005)
GRIDS = {
    "moving_average_cross": {"fast": [1, 5, 64], "slow": [2, 7, 64, 300]},
    "mean_reversion": {"window": [3, 33, 250], "entry": [0.5, 2.0], "exit": [-0.4, 0.4], "most_sessions": [1, 20]},
    "time_series_momentum": {"formation": [5, 40, 252], "skip": [0, 1, 21]},
}


def signals_of(name: str, parameters: dict, panel) -> tuple[np.ndarray, np.ndarray]:
    """Entries and exits of the strategy's class; those of time-series momentum, which has none, by its definition."""
    if name != "time_series_momentum":
        found = checked_signals(strategy(name, parameters), panel)
        return found.entries, found.exits
    price = carried(np.where(panel.traded, panel.close, 1.0), panel.traded)
    past = np.round(shift(price, parameters["skip"]) / shift(price, parameters["formation"]) - 1, 9)
    return panel.traded & (past > 0), panel.traded & (past <= 0)


@pytest.mark.parametrize("name", GRIDS)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sessions=st.sampled_from([50, 200, 385, 700]), carry=st.sampled_from([0, 5]))
def test_a_sweep_is_what_vectorbt_makes_of_the_strategys_signals(name, seed, sessions, carry):
    panel = panel_of(*random_prices(seed, sessions))
    grid = parameter_grid(name, GRIDS[name])
    result = sweep(panel, grid, COSTS, carry_sessions=carry)
    instruments = panel.shape[1]
    decided = [signals_of(name, grid.combination(number), panel) for number in range(len(grid))]
    entries, exits = (np.hstack(each) for each in zip(*decided, strict=True))
    opens, closes = (np.tile(each, (1, len(grid))) for each in (panel.open, panel.close))
    theirs = vectorbt_metrics(opens, closes, entries, exits, COSTS.fees, COSTS.slippage, carry)
    ours = {metric: getattr(result, metric).T.reshape(-1) for metric in METRICS}
    assert len(ours["trades"]) == instruments * len(grid)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("name", GRIDS)
def test_the_random_markets_do_trade(name):
    panel = panel_of(*random_prices(1, 700))
    trades = sweep(panel, parameter_grid(name, GRIDS[name]), COSTS).trades
    assert trades[0].sum() > 50 and np.count_nonzero(trades) > trades.size / 4


@pytest.mark.parametrize("name", GRIDS)
def test_threads_and_chunks_change_no_bit(name):
    opens, closes = random_prices(7, 300, ("walk", "late", "spikes") * 9)
    prices = Prices([f"us:{number}" for number in range(27)], opens, closes)
    grid = parameter_grid(name, GRIDS[name])
    whole = sweep(prices, grid, COSTS, threads=1)
    parts = [sweep(prices, grid, COSTS, chunk=(chunk, 4), threads=3) for chunk in range(4)]
    for metric in METRICS:
        joined = np.hstack([getattr(part, metric) for part in parts])
        assert np.array_equal(joined, getattr(whole, metric), equal_nan=True)
    keys = ["instrument_id", *grid.names]
    assert pl.concat(part.frame() for part in parts).sort(keys).equals(whole.frame().sort(keys))


def test_more_parameter_sets_than_are_bits_at_a_time_change_none_of_them():
    panel = panel_of(*random_prices(11, 260))
    grid = parameter_grid("moving_average_cross", {"fast": range(1, 26), "slow": range(10, 50)})
    assert len(grid) > 3 * 256
    whole = sweep(panel, grid, COSTS)
    for chunk in (0, 57, 99):
        part = sweep(panel, grid, COSTS, chunk=(chunk, 100))
        start = len(grid) * chunk // 100
        cut = slice(start, start + len(part.grid))
        assert all(
            np.array_equal(getattr(part, metric), getattr(whole, metric)[:, cut], equal_nan=True) for metric in METRICS
        )


def test_what_comes_later_is_not_seen():
    """A future in which every price stands still: trades until then are the trades of the past alone."""
    opens, closes = random_prices(13, 500, ("walk",) * 6)
    opens, closes = (np.where(np.isnan(each), 50.0, each) for each in (opens, closes))
    ids = [f"us:{number}" for number in range(6)]
    for name, ranges in GRIDS.items():
        grid = parameter_grid(name, ranges)
        past = sweep(Prices(ids, opens[:300], closes[:300]), grid, COSTS)
        still = [np.vstack([each[:300], np.repeat(closes[299:300], 200, axis=0)]) for each in (opens, closes)]
        wild = [each.copy() for each in still]
        # From row 301 on: an order of the last session of the past is filled in row 300, which both share.
        for each in wild:
            each[301:] *= np.linspace(2, 9, 199)[:, None]
        calm_trades, wild_trades = (sweep(Prices(ids, *each), grid, COSTS).trades for each in (still, wild))
        assert (calm_trades >= past.trades).all() and (wild_trades >= past.trades).all()
        first = [sweep(Prices(ids, each[0][:301], each[1][:301]), grid, COSTS) for each in (still, wild)]
        assert all(np.array_equal(*(getattr(each, m) for each in first), equal_nan=True) for m in METRICS)


def test_the_frame_has_one_row_a_pair():
    panel = panel_of(*random_prices(2, 200))
    grid = parameter_grid("moving_average_cross", {"fast": [2, 5], "slow": [5, 9]})
    assert len(grid) == 3 and grid.excluded == 1
    result = sweep(panel, grid, COSTS)
    frame = result.frame()
    assert frame.columns == ["instrument_id", "fast", "slow", *METRICS]
    assert frame.height == result.pairs == 3 * panel.shape[1]
    row = frame.filter(pl.col("instrument_id") == "us:001", pl.col("fast") == 2, pl.col("slow") == 9).row(0, named=True)
    assert row["trades"] == result.trades[1, 1] and row["sharpe"] == result.sharpe[1, 1]
    nothing = frame.filter(pl.col("instrument_id") == "us:006")
    assert nothing["trades"].sum() == 0 and nothing["sharpe"].null_count() == 3
    assert nothing["total_return"].to_list() == [0.0] * 3


def test_progress_reaches_all_pairs():
    opens, closes = random_prices(3, 80, ("walk",) * 20)
    told: list[tuple[int, int]] = []
    grid = parameter_grid("moving_average_cross", {"fast": [2, 3], "slow": 9})
    sweep(Prices(list(map(str, range(20))), opens, closes), grid, COSTS, progress=lambda *each: told.append(each))
    assert told == [(16, 40), (32, 40), (40, 40)]


def test_a_sweep_ends_where_its_progress_is_refused():
    opens, closes = random_prices(3, 80, ("walk",) * 20)

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    grid = parameter_grid("moving_average_cross", {})
    with pytest.raises(KeyboardInterrupt):
        sweep(Prices(list(map(str, range(20))), opens, closes), grid, COSTS, progress=stop)


def test_orders_wait_as_long_as_in_a_backtest():
    assert Execution().carry_sessions == CARRY_SESSIONS


def test_a_sweep_larger_than_memory_says_how_large_and_what_to_do():
    panel = panel_of(*random_prices(2, 100))
    grid = parameter_grid("moving_average_cross", {"fast": range(1, 50), "slow": range(50, 100)})
    needed = bytes_needed(panel.shape[1], grid)
    with pytest.raises(SweepTooLarge, match=rf"moving_average_cross: 22,050 pairs .*{needed:,} bytes.* chunk=\(0, 3\)"):
        sweep(panel, grid, COSTS, memory_budget=needed * 2 // 5)
    for chunk in range(3):
        sweep(panel, grid, COSTS, memory_budget=needed * 2 // 5, chunk=(chunk, 3))
    with pytest.raises(SweepTooLarge, match="one parameter set alone is too large: take fewer instruments"):
        sweep(panel, grid, COSTS, memory_budget=100)


def test_the_memory_told_is_the_memory_taken():
    panel = panel_of(*random_prices(2, 100))
    grid = parameter_grid("mean_reversion", {"window": range(10, 60), "entry": [1.0, 2.0]})
    result = sweep(panel, grid, COSTS)
    held = sum(getattr(result, metric).nbytes for metric in METRICS)
    # The frame knows NaN as null by a bit a value, which the estimate leaves out.
    assert held + result.frame().estimated_size() == pytest.approx(bytes_needed(panel.shape[1], grid), rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda opens, closes: closes.__setitem__((3, 1), 0.0), r"closes of us:1 hold 0\.0 in row 3"),
        (lambda opens, closes: opens.__setitem__((4, 0), np.inf), r"opens of us:0 hold inf in row 4"),
        (lambda opens, closes: opens.__setitem__((5, 0), -2.0), r"opens of us:0 hold -2\.0 in row 5"),
    ],
)
def test_a_price_that_is_none_is_refused(change, message):
    opens, closes = np.full((2, 9, 2), 7.0)
    change(opens, closes)
    with pytest.raises(StrategyError, match=message):
        sweep(Prices(["us:0", "us:1"], opens, closes), parameter_grid("moving_average_cross", {}), COSTS)


def test_what_cannot_be_swept_is_refused():
    grid = parameter_grid("moving_average_cross", {"fast": [2, 3], "slow": 9})
    prices = Prices(["us:0"], np.full((9, 1), 7.0), np.full((9, 1), 7.0))
    with pytest.raises(StrategyError, match="threads must be 1 or more, not 0"):
        sweep(prices, grid, COSTS, threads=0)
    with pytest.raises(StrategyError, match="carry_sessions must be 0 or more, not -1"):
        sweep(prices, grid, COSTS, carry_sessions=-1)
    with pytest.raises(StrategyError, match=r"no chunk 2 of 2 \(from 0\) of 2 parameter sets"):
        sweep(prices, grid, COSTS, chunk=(2, 2))
    with pytest.raises(StrategyError, match="there are no prices"):
        sweep(Prices([], np.empty((9, 0)), np.empty((9, 0))), grid, COSTS)
    with pytest.raises(StrategyError, match="opens are an array of"):
        sweep(Prices(["us:0"], np.ones((8, 1)), np.ones((9, 1))), grid, COSTS)
    with pytest.raises(ValueError, match="slippage must be a share from 0 to below 1, not 1"):
        ProportionalCosts(slippage=1)


def test_too_short_a_history_trades_nothing_and_says_so():
    panel = panel_of(*random_prices(2, 30))
    result = sweep(panel, parameter_grid("moving_average_cross", {}), COSTS)
    assert not result.trades.any() and np.isnan(result.sharpe).all() and not result.total_return.any()


def test_warming_up_says_what_it_does():
    told: list[str] = []
    assert warm_up(told.append) > 0
    assert len(told) == 2 and "compiled for this machine on first use" in told[0] and "ready after" in told[1]


def test_importing_sweeps_is_light():
    heavy = "numba", "pandas", "vectorbt", "scipy"
    code = f"import sys, trading_pipeline.research.sweeps; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("writable", ["user", "nothing"])
def test_a_kernel_compiles_where_its_folder_cannot_be_written(tmp_path: Path, writable: str):
    """Root may write into any folder: what cannot be written here is a file where a folder would have to be."""
    (tmp_path / "some_kernel.py").write_text(
        "from trading_pipeline.research.sweeps.kernels.compiled import compiled\n"
        "@compiled\ndef double(value):\n    return 2 * value\n"
    )
    (tmp_path / "__pycache__").write_text("")
    home = tmp_path / "home"
    if writable == "nothing":
        home.write_text("")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); from some_kernel import double; print(double(21))"
    environment = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "42"
    assert bool(list(tmp_path.rglob("*.nbi"))) == (writable != "nothing")


def test_every_sweepable_strategy_is_tested_here():
    assert set(GRIDS) == set(SWEEPABLE)
    assert GAP == 20  # what the signals' warm-up is made of
