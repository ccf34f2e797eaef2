"""Strategies side by side: how their returns go together, and whether one is better than another.

What belongs here: tables over several strategies. What does not: what is told of one alone (`metrics.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.research.panel import Floats, Mask
from trading_pipeline.research.performance.bootstrap import (
    Blocks,
    batches,
    block_rows,
    checked_block,
    generator,
    optimal_block,
)
from trading_pipeline.research.performance.measures import METRICS
from trading_pipeline.research.performance.metrics import Metrics
from trading_pipeline.research.performance.series import SESSIONS_A_YEAR, PerformanceError, sharpe_ratio, varies

LEAST_SHARED = 20
"""Sessions that two strategies share for anything to be said of the pair."""


def side_by_side(results: Mapping[str, Metrics]) -> pl.DataFrame:
    """[metric, title, unit, strategy, value, is_best]: every metric of every strategy, in the order of `METRICS`.

    value: as a float, null where not defined. is_best: null where neither way is better or there is no value; true for
    all that tie.
    """
    rows = []
    for metric in METRICS:
        values = {name: told.get(metric.name) for name, told in results.items()}
        known = [value for value in values.values() if value is not None]
        best = None
        if known and metric.better != "neither":
            best = max(known) if metric.better == "higher" else min(known)
        for name, value in values.items():
            is_best = None if best is None or value is None else value == best
            rows.append((metric.name, metric.title, metric.unit, name, value, is_best))
    schema = {
        "metric": pl.String,
        "title": pl.String,
        "unit": pl.String,
        "strategy": pl.String,
        "value": pl.Float64,
        "is_best": pl.Boolean,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def correlations(returns: Mapping[str, npt.ArrayLike]) -> pl.DataFrame:
    """[first, second, correlation, sessions] of every two strategies, over the sessions on which both have a return.

    returns: one a session, the same sessions for all; NaN where a strategy has none. correlation: null where fewer than
    `LEAST_SHARED` sessions are shared or one does not vary.
    """
    rows = []
    for first, second, own, other, shared in _pairs(returns):
        own_shared, other_shared = own[shared], other[shared]
        told = shared.sum() >= LEAST_SHARED and varies(own_shared) and varies(other_shared)
        value = float(np.corrcoef(own_shared, other_shared)[0, 1]) if told else None
        rows.append((first, second, value, int(shared.sum())))
    schema = {"first": pl.String, "second": pl.String, "correlation": pl.Float64, "sessions": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def sharpe_differences(
    returns: Mapping[str, npt.ArrayLike],
    *,
    seed: int,
    paths: int = 5_000,
    block: float | None = None,
    method: Blocks = "stationary",
    confidence: float = 0.95,
    sessions_a_year: int = SESSIONS_A_YEAR,
) -> pl.DataFrame:
    """[first, second, difference, low, high, p_value, sessions]: yearly Sharpe ratio of the first less the second's.

    Both are resampled on the same sessions in blocks, so that what they share cancels out (the pairing and the blocks
    of Ledoit and Wolf, Robust performance hypothesis testing with the Sharpe ratio, 2008; the interval is of
    percentiles, not studentised). low, high: interval of that confidence. p_value: two-sided, of the true difference
    being 0. block: by default the longer of the two optimal ones. Null where fewer than `LEAST_SHARED` sessions are
    shared, or one does not vary. No correction for the number of pairs is made.
    """
    if not 0 < confidence < 1:
        raise PerformanceError(f"the confidence must be between 0 and 1: got {confidence}")
    if paths < 1:
        raise PerformanceError(f"a bootstrap needs a path at least: got {paths}")
    rows: list[tuple[object, ...]] = []
    root = np.sqrt(sessions_a_year)
    for first, second, own, other, shared in _pairs(returns):
        both = np.column_stack([own[shared], other[shared]])
        sessions = len(both)
        if sessions < LEAST_SHARED or not (varies(both[:, 0]) and varies(both[:, 1])):
            rows.append((first, second, None, None, None, None, sessions))
            continue
        size = max(optimal_block(both[:, 0], method), optimal_block(both[:, 1], method)) if block is None else block
        checked_block(size, sessions)
        seen = sharpe_ratio(both.T) * root
        drawn = _bootstrapped_differences(both, seed, paths, size, method) * root
        drawn = drawn[np.isfinite(drawn)]
        tail = (1 - confidence) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail])
        p_value = 2 * min(np.mean(drawn <= 0), np.mean(drawn >= 0))
        # One more than was drawn, on either side: no number of paths proves a probability of 0.
        p_value = min(1.0, (p_value * len(drawn) + 1) / (len(drawn) + 1))
        rows.append((first, second, float(seen[0] - seen[1]), float(low), float(high), float(p_value), sessions))
    numbers = dict.fromkeys(("difference", "low", "high", "p_value"), pl.Float64)
    schema = {"first": pl.String, "second": pl.String, **numbers, "sessions": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _bootstrapped_differences(both: Floats, seed: int, paths: int, block: float, method: Blocks) -> Floats:
    """Difference of the two columns' Sharpe ratios on each resampled path.

    A path is how often it holds each session: its sums are a product of matrices. The returns are centred before they
    are squared, so that nothing cancels out in the variance.
    """
    random = generator(seed)
    sessions = len(both)
    centre = both.mean(axis=0)
    apart = both - centre
    sums = np.hstack([apart, apart**2])
    found = []
    for count in batches(paths, sessions):
        rows = block_rows(random, count, sessions, sessions, block, method)
        cells = rows + np.arange(count)[:, None] * sessions
        times = np.bincount(cells.ravel(), minlength=count * sessions).reshape(count, sessions)
        mean_apart, mean_square = np.hsplit(times.astype(np.float64) @ sums / sessions, 2)
        variance = (mean_square - mean_apart**2) * sessions / (sessions - 1)
        deviation = np.sqrt(np.where(variance > 1e-12 * mean_square, variance, np.nan))
        ratio = (mean_apart + centre) / deviation
        found.append(ratio[:, 0] - ratio[:, 1])
    return np.concatenate(found)


def _pairs(returns: Mapping[str, npt.ArrayLike]) -> list[tuple[str, str, Floats, Floats, Mask]]:
    values = {name: np.asarray(each, dtype=np.float64) for name, each in returns.items()}
    lengths = {name: each.shape for name, each in values.items()}
    if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
        told = ", ".join(f"{name} {shape}" for name, shape in lengths.items())
        raise PerformanceError(f"strategies must have one return for each of the same sessions: {told}")
    return [
        (first, second, values[first], values[second], np.isfinite(values[first]) & np.isfinite(values[second]))
        for first, second in combinations(values, 2)
    ]
