"""Reading a sweep: over all instruments, and by neighbourhood."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from trading_pipeline.research.strategies.base import StrategyError
from trading_pipeline.research.sweeps import (
    Prices,
    ProportionalCosts,
    by_parameter_set,
    parameter_grid,
    stability_map,
    sweep,
)
from trading_pipeline_tests.unit.research.sweeps.oracle import KINDS, panel_of, random_prices


def metric_at(fast: int, slow: int) -> float:
    """A plateau of 1 around (30, 70), and a lonely peak of 3 at (10, 40)."""
    if (fast, slow) == (10, 40):
        return 3.0
    return 1.0 if abs(fast - 30) <= 10 and abs(slow - 70) <= 10 else 0.1


@pytest.fixture
def sets() -> pl.DataFrame:
    rows = [
        (fast, slow, metric_at(fast, slow)) for fast in range(10, 60, 10) for slow in range(40, 110, 10) if fast < slow
    ]
    return pl.DataFrame(rows, schema=["fast", "slow", "median_sharpe"], orient="row")


def test_the_plateau_is_chosen_and_not_the_peak(sets):
    found = stability_map(sets, "fast", "slow", "median_sharpe")
    peak, plateau = (found.filter(pl.col(name)).row(0, named=True) for name in ("is_peak", "is_plateau"))
    assert (peak["fast"], peak["slow"]) == (10, 40)
    assert (plateau["fast"], plateau["slow"]) == (30, 70)
    assert plateau["neighbours"] == 9 and plateau["neighbourhood_min"] == plateau["neighbourhood_mean"] == 1.0
    assert found["is_peak"].sum() == found["is_plateau"].sum() == 1
    # A corner: itself and three neighbours, of which all but itself are low.
    assert peak["neighbours"] == 4 and peak["neighbourhood_min"] == 0.1
    assert peak["neighbourhood_mean"] == pytest.approx((3 + 3 * 0.1) / 4)


def test_a_neighbourhood_is_of_the_combinations_that_exist(sets):
    found = stability_map(sets, "fast", "slow", "median_sharpe")
    # Around (50, 60) the cells (40, 50), (50, 50) and all of fast 60 are missing or invalid.
    cell = found.filter(pl.col("fast") == 50, pl.col("slow") == 60).row(0, named=True)
    assert cell["neighbours"] == 5
    without = sets.with_columns(median_sharpe=pl.when(pl.col("fast") != 40).then("median_sharpe"))
    cell = stability_map(without, "fast", "slow", "median_sharpe").filter(pl.col("fast") == 50, pl.col("slow") == 60)
    assert cell["neighbours"].item() == 2


def test_rows_in_any_order_and_ties_give_the_same_map(sets):
    flat = sets.with_columns(median_sharpe=pl.lit(0.5))
    found = stability_map(flat, "fast", "slow", "median_sharpe")
    assert found.equals(stability_map(flat.sample(fraction=1, shuffle=True, seed=1), "fast", "slow", "median_sharpe"))
    assert found.filter("is_peak").select("fast", "slow").row(0) == (10, 40)
    # The first with two thirds of a neighbourhood, a corner has not.
    assert found.filter("is_plateau").select("fast", "slow").row(0) == (10, 50)


def test_a_grid_too_small_for_whole_neighbourhoods_has_a_plateau_all_the_same():
    small = pl.DataFrame({"fast": [5, 5], "slow": [10, 20], "median_sharpe": [0.2, 0.4]})
    found = stability_map(small, "fast", "slow", "median_sharpe")
    assert found["neighbours"].to_list() == [2, 2] and found["is_plateau"].to_list() == [True, False]


def test_where_no_set_has_the_metric_there_is_neither_peak_nor_plateau(sets):
    none = sets.with_columns(median_sharpe=pl.lit(None, pl.Float64))
    found = stability_map(none, "fast", "slow", "median_sharpe")
    assert not found["is_peak"].any() and not found["is_plateau"].any()
    assert found["neighbourhood_mean"].null_count() == found.height


def test_what_makes_no_map_is_refused(sets):
    with pytest.raises(StrategyError, match="there is no column sharpe: use fast, slow, median_sharpe"):
        stability_map(sets, "fast", "slow", "sharpe")
    with pytest.raises(StrategyError, match="several parameter sets share fast and slow: choose one value"):
        stability_map(pl.concat([sets, sets]), "fast", "slow", "median_sharpe")
    with pytest.raises(StrategyError, match="radius of 1 or more"):
        stability_map(sets, "fast", "slow", "median_sharpe", radius=0)


def test_a_parameter_set_over_all_instruments():
    panel = panel_of(*random_prices(21, 500))
    grid = parameter_grid("moving_average_cross", {"fast": [2, 5], "slow": [10, 20, 30]})
    result = sweep(panel, grid, ProportionalCosts(0.001))
    found = by_parameter_set(result.frame(), grid)
    assert found.select(grid.names).rows() == grid.frame().rows()
    for number in range(len(grid)):
        traded = result.trades[:, number] > 0
        row = found.row(number, named=True)
        assert row["instruments"] == len(KINDS) and row["traded"] == traded.sum() < len(KINDS)
        assert row["median_sharpe"] == pytest.approx(np.nanmedian(result.sharpe[traded, number]))
        assert row["mean_sharpe"] == pytest.approx(np.nanmean(result.sharpe[traded, number]))
        assert row["share_profitable"] == pytest.approx(np.mean(result.total_return[traded, number] > 0))
        assert row["worst_max_drawdown"] == result.max_drawdown[traded, number].min()
        assert row["mean_trades"] == pytest.approx(result.trades[traded, number].mean())


def test_chunks_together_are_the_whole():
    opens, closes = random_prices(8, 300, ("walk",) * 12)
    prices = Prices([f"us:{number:02d}" for number in range(12)], opens, closes)
    grid = parameter_grid("moving_average_cross", {"fast": range(2, 9), "slow": range(10, 40, 5)})
    whole = by_parameter_set(sweep(prices, grid, ProportionalCosts()).frame(), grid)
    parts = [sweep(prices, grid, ProportionalCosts(), chunk=(chunk, 3)).frame() for chunk in (2, 0, 1)]
    assert by_parameter_set(pl.concat(parts), grid).equals(whole)
    assert stability_map(whole, "fast", "slow", "median_sharpe")["neighbours"].max() == 9
