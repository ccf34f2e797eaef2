"""What is read out of a sweep: a parameter set over all instruments, and how much its neighbours are worth.

What belongs here: summaries of the frames a sweep makes, whole or put together from chunks. What does not: the sweep.

The best parameter set of a sweep is the luckiest of many. What holds up later is a set whose neighbours did nearly as
well: the map says for every set what its neighbourhood was worth on average and at worst, and where the worst is best.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from trading_pipeline.research.strategies.base import StrategyError
from trading_pipeline.research.sweeps.grid import ParameterGrid

ENOUGH_NEIGHBOURS = 2 / 3
"""Of the cells that a neighbourhood can have, itself included: an edge is enough, a corner is not."""


def by_parameter_set(pairs: pl.DataFrame, grid: ParameterGrid) -> pl.DataFrame:
    """Every parameter set over all instruments, ascending.

    pairs: `SweepResult.frame()`, or those of several chunks together. Columns: the parameters; instruments; traded, how
    many of them had a trade; and of those that traded: share_profitable, with a total return above 0; median_sharpe,
    mean_sharpe, median_total_return, mean_total_return, median_max_drawdown, worst_max_drawdown, mean_exposure,
    mean_trades, median_win_rate. Null where none did.
    """
    traded = pl.col("trades") > 0

    def of_traded(name: str) -> pl.Expr:
        return pl.col(name).filter(traded)

    return (
        pairs.group_by(*grid.names)
        .agg(
            instruments=pl.len(),
            traded=traded.sum(),
            share_profitable=(of_traded("total_return") > 0).mean(),
            median_sharpe=of_traded("sharpe").median(),
            # A mean depends on the order of its sum; the rows of a group come in the order of the frame.
            mean_sharpe=of_traded("sharpe").mean(),
            median_total_return=of_traded("total_return").median(),
            mean_total_return=of_traded("total_return").mean(),
            median_max_drawdown=of_traded("max_drawdown").median(),
            worst_max_drawdown=of_traded("max_drawdown").min(),
            mean_exposure=of_traded("exposure").mean(),
            mean_trades=of_traded("trades").mean(),
            median_win_rate=of_traded("win_rate").median(),
        )
        .sort(*grid.names)
    )


def stability_map(sets: pl.DataFrame, first: str, second: str, metric: str, radius: int = 1) -> pl.DataFrame:
    """What the neighbourhood of each parameter set is worth, for two parameters and a metric of which more is better.

    sets: one row a parameter set [first, second, metric, …], every other parameter at one value. radius: how many steps
    of each axis, which has the values that occur, a neighbourhood reaches; the cell itself belongs to it, combinations
    that do not exist or have no metric do not.

    Columns: first, second, metric, neighbours (cells of the neighbourhood that have the metric), neighbourhood_mean,
    neighbourhood_min, is_peak (the highest metric) and is_plateau (of the cells with enough neighbours, the one whose
    neighbourhood_min is highest; the more stable choice). By first and second. In a tie the higher mean holds, then the
    lower parameters. Both are false everywhere where no set has the metric.

    Raises `StrategyError` where a column is missing, two rows share both parameters, or the radius is below 1.
    """
    missing = [name for name in (first, second, metric) if name not in sets.columns]
    if missing:
        raise StrategyError(f"stability map: there is no column {', '.join(missing)}: use {', '.join(sets.columns)}")
    if radius < 1 or first == second:
        raise StrategyError(f"stability map: two parameters and a radius of 1 or more, not {first}, {second}, {radius}")
    sets = sets.select(first, second, pl.col(metric).cast(pl.Float64)).sort(first, second)
    if sets.select(first, second).is_duplicated().any():
        raise StrategyError(
            f"stability map: several parameter sets share {first} and {second}: "
            "choose one value of every other parameter first"
        )
    (rows, row_of), (columns, column_of) = (
        np.unique(sets[name].to_numpy(), return_inverse=True) for name in (first, second)
    )
    cells = np.full((len(rows) + 2 * radius, len(columns) + 2 * radius), np.nan)
    values = sets[metric].fill_null(np.nan).to_numpy()
    values = np.where(np.isfinite(values), values, np.nan)
    cells[row_of + radius, column_of + radius] = values
    width = 2 * radius + 1
    around = np.lib.stride_tricks.sliding_window_view(cells, (width, width))[row_of, column_of].reshape(len(sets), -1)
    there = np.isfinite(around)
    neighbours = there.sum(axis=1)
    mean = np.where(there, around, 0.0).sum(axis=1) / np.where(neighbours, neighbours, np.nan)
    worst = np.where(neighbours > 0, np.where(there, around, np.inf).min(axis=1), np.nan)
    known = np.isfinite(values)
    counts = neighbours[known]
    # In a grid so small that no neighbourhood is nearly whole, the fullest there are will do.
    enough = known & (neighbours >= min(ENOUGH_NEIGHBOURS * width**2, counts.max() if len(counts) else 0))
    return sets.with_columns(
        pl.Series(metric, values).fill_nan(None),
        neighbours=pl.Series(neighbours, dtype=pl.Int64),
        neighbourhood_mean=pl.Series(mean).fill_nan(None),
        neighbourhood_min=pl.Series(worst).fill_nan(None),
        is_peak=pl.Series(_first_best(known, values, mean)),
        is_plateau=pl.Series(_first_best(enough, worst, mean)),
    )


def _first_best(eligible: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Where the highest of the eligible is, by the keys in turn, the first of several."""
    best = eligible.copy()
    for key in keys:
        if best.any():
            best &= key == key[best].max()
    chosen = np.zeros(len(eligible), dtype=np.bool_)
    if best.any():
        chosen[np.argmax(best)] = True
    return chosen
