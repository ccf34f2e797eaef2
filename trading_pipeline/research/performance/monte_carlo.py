"""What else could have become of a strategy: its returns resampled in blocks, its trades in another order.

What belongs here: the paths and what is told of them. What does not: which sessions a path is made of (`bootstrap.py`).

Paths are drawn some at a time from one generator, so memory does not grow with their number but for the equity that
the bands are made of: at most `POINTS` values a path, 4 kB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.research.panel import Floats, Integers
from trading_pipeline.research.performance.bootstrap import (
    Blocks,
    batches,
    block_rows,
    checked_block,
    generator,
    optimal_block,
)
from trading_pipeline.research.performance.drawdowns import fall_from_high
from trading_pipeline.research.performance.series import (
    SESSIONS_A_YEAR,
    PerformanceError,
    checked_returns,
    equity_curve,
    sharpe_ratio,
)

QUANTILES: Final = (0.05, 0.25, 0.50, 0.75, 0.95)

POINTS = 512
"""Points of the bands: more than a chart is wide in points that an eye can tell apart."""


@dataclass(frozen=True)
class MonteCarlo:
    """Simulated paths of equity that begin at 1.

    steps: sessions (trades) after which the bands hold, from 0 to the last. bands: steps x `QUANTILES`, equity.
    final_return, maximum_drawdown (negative), sharpe (NaN where a path never varies): one a path. loss: share of the
    paths that end below 1. ruin: share of those that at some time had lost `ruin_level` of the start or more.
    block: mean length of the blocks; 1 for trades.
    """

    steps: Integers
    bands: Floats
    final_return: Floats
    maximum_drawdown: Floats
    sharpe: Floats
    loss: float
    ruin: float
    ruin_level: float
    block: float
    seed: int

    def band_frame(self) -> pl.DataFrame:
        """[step, p5, p25, p50, p75, p95]: equity, what was 1 at step 0."""
        names = [f"p{round(100 * each)}" for each in QUANTILES]
        return pl.DataFrame({"step": self.steps, **{name: self.bands[:, at] for at, name in enumerate(names)}})

    def summary(self) -> pl.DataFrame:
        """[measure, mean, p5, p25, p50, p75, p95] of final_return, maximum_drawdown and sharpe; null: never defined."""
        rows = []
        for measure in ("final_return", "maximum_drawdown", "sharpe"):
            values = getattr(self, measure)
            values = values[np.isfinite(values)]
            told = [values.mean(), *np.quantile(values, QUANTILES)] if len(values) else [None] * (1 + len(QUANTILES))
            rows.append([measure, *told])
        names = ["measure", "mean", *(f"p{round(100 * each)}" for each in QUANTILES)]
        schema = {name: pl.Float64 if at else pl.String for at, name in enumerate(names)}
        return pl.DataFrame(rows, schema=schema, orient="row")


def bootstrap_returns(
    returns: npt.ArrayLike,
    *,
    seed: int,
    paths: int = 10_000,
    block: float | None = None,
    method: Blocks = "stationary",
    sessions: int | None = None,
    ruin_level: float = 0.5,
    sessions_a_year: int = SESSIONS_A_YEAR,
) -> MonteCarlo:
    """Paths of returns resampled in blocks, with what follows upon what kept within them.

    block: mean length of a block in sessions, by default the optimal one of `optimal_block`. sessions: length of a
    path, by default that of the returns. sharpe: a year, risk-free rate 0. The same arguments give the same result, bit
    for bit.
    """
    values = checked_returns(returns)
    length = len(values) if sessions is None else sessions
    checked_block(1.0 if block is None else block, len(values))
    size = optimal_block(values, method) if block is None else block

    def draw(random: np.random.Generator, count: int) -> Floats:
        return values[block_rows(random, count, len(values), length, size, method)]

    return _simulated(draw, length, paths, seed, ruin_level, size, np.sqrt(sessions_a_year))


def reshuffle_trades(
    trade_returns: npt.ArrayLike,
    *,
    seed: int,
    paths: int = 10_000,
    replace: bool = False,
    ruin_level: float = 0.5,
    trades_a_year: float = 1.0,
) -> MonteCarlo:
    """Paths of the trades in another order: what drawdown the same trades might as well have had.

    trade_returns: a trade's profit over the equity before it, one after the other: trades that overlapped are taken as
    if they had followed each other. The end is the same whatever the order; with `replace` trades are drawn anew, some
    of them several times, and the end varies too. sharpe: of a trade, times the root of `trades_a_year`.
    """
    values = checked_returns(trade_returns, "the return of trades")
    if len(values) < 2:
        raise PerformanceError(f"reshuffling needs 2 trades or more: there are {len(values)}")

    def draw(random: np.random.Generator, count: int) -> Floats:
        if replace:
            return np.asarray(values[random.integers(0, len(values), (count, len(values)))])
        return np.asarray(random.permuted(np.broadcast_to(values, (count, len(values))), axis=1))

    return _simulated(draw, len(values), paths, seed, ruin_level, 1.0, float(np.sqrt(trades_a_year)))


def _simulated(
    draw: Callable[[np.random.Generator, int], Floats],
    length: int,
    paths: int,
    seed: int,
    ruin_level: float,
    block: float,
    root: float,
) -> MonteCarlo:
    if paths < 1 or length < 1:
        raise PerformanceError(f"a simulation needs a path and a session at least: got {paths} x {length}")
    if not 0 < ruin_level <= 1:
        raise PerformanceError(f"ruin is a share of the start above 0, up to 1: got {ruin_level}")
    random = generator(seed)
    steps = np.unique(np.linspace(0, length, min(length + 1, POINTS)).round().astype(np.int64))
    kept = np.ones((paths, len(steps)))
    final, deepest, lowest, ratio = (np.empty(paths) for _ in range(4))
    done = 0
    for count in batches(paths, length):
        at = slice(done, done + count)
        drawn = draw(random, count)
        equity = equity_curve(drawn)
        kept[at, 1:] = equity[:, steps[1:] - 1]
        final[at], lowest[at] = equity[:, -1], equity.min(axis=1)
        deepest[at] = fall_from_high(equity).min(axis=1)
        ratio[at] = sharpe_ratio(drawn) * root
        done += count
    return MonteCarlo(
        steps=steps,
        bands=np.quantile(kept, QUANTILES, axis=0).T,
        final_return=final - 1.0,
        maximum_drawdown=deepest,
        sharpe=ratio,
        loss=float(np.mean(final < 1.0)),
        ruin=float(np.mean(lowest <= 1.0 - ruin_level)),
        ruin_level=ruin_level,
        block=float(block),
        seed=seed,
    )
