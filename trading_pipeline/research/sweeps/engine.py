"""The sweep: summary metrics of every instrument under every parameter set of a grid.

What belongs here: prices in, metrics out, threads, the memory budget, warming up. What does not: which sessions have
signals and what they earn (`kernels/`), what is read out of the metrics (`stability.py`).

Every instrument is an account of its own that is all in cash or all in it; who was a member of which universe when is
no matter here. The signal matrix never exists: signals are bits of one instrument under a few hundred parameter sets at
a time, gone when they are accounted for. What stays is one row of metrics a pair, whatever the number of sessions.

The finalists of a sweep are rerun by the backtest, which keeps every order.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import Floats
from trading_pipeline.research.strategies.base import StrategyError
from trading_pipeline.research.sweeps.grid import SWEEPABLE, ParameterGrid, parameter_grid

METRICS = ("total_return", "sharpe", "max_drawdown", "exposure", "win_rate", "trades")
"""Columns of metrics, in the order of the kernels' rows."""

CARRY_SESSIONS = 5
"""As `backtest.configuration.Execution` has it by default."""

MEMORY_BUDGET = 2 * 1024**3
"""Bytes."""

INSTRUMENTS = 8
"""Of one task of a thread: enough that handing it out costs nothing, few enough that no thread is left alone at the
end."""

PARAMETER_SETS = 256
"""Whose signals are bits in memory at a time, for each thread: 160 KB for ten years, which stays in its cache."""

Progress = Callable[[int, int], None]


class SweepTooLarge(StrategyError):
    """A sweep whose results do not fit into the memory that they may take."""


@dataclass(frozen=True)
class ProportionalCosts:
    """Shares of the money traded, paid on each side.

    fees: commission. slippage: how much worse than the open a fill is. Raises `ValueError` where one is not from 0 to
    below 1.
    """

    fees: float = 0.0
    slippage: float = 0.0

    def __post_init__(self) -> None:
        for name in ("fees", "slippage"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be a share from 0 to below 1, not {value!r}")


@dataclass(frozen=True)
class Prices:
    """Opens and closes that decisions are taken on and filled at.

    instrument_ids: one a column. open, close: sessions x instruments, the oldest session first, adjusted for splits and
    dividends; NaN where there is no bar. A session that lacks one of the two counts as one without a bar.
    """

    instrument_ids: Sequence[str]
    open: Floats
    close: Floats

    @classmethod
    def of(cls, panel: MarketPanel) -> Prices:
        """Those of a market panel."""
        return cls(panel.axes.instrument_ids, panel.open, panel.close)


@dataclass(frozen=True)
class SweepResult:
    """Summary metrics of every pair: arrays of instruments x parameter sets.

    total_return: of the whole time. sharpe: annualised by 252 sessions, sample standard deviation, no risk-free rate,
    all sessions counted, those before the first bar too; NaN where returns do not vary, as where nothing was traded.
    max_drawdown: 0 or below, -0.25 where a quarter of the highest value was lost. exposure: share of the sessions at
    whose end a position was open. win_rate: share of the closed trades that earned more than they cost, NaN without
    one. trades: positions opened; one that is open at the end counts, valued at the last close.
    """

    instrument_ids: Sequence[str]
    grid: ParameterGrid
    total_return: Floats
    sharpe: Floats
    max_drawdown: Floats
    exposure: Floats
    win_rate: Floats
    trades: npt.NDArray[np.int32]

    @property
    def pairs(self) -> int:
        """Instruments x parameter sets."""
        return self.trades.size

    def frame(self) -> pl.DataFrame:
        """[instrument_id (an Enum), *parameters, *metrics], by instrument and parameter set; NaN as null."""
        instruments, sets = self.trades.shape
        ids = pl.Series("instrument_id", list(self.instrument_ids), dtype=pl.Enum(list(self.instrument_ids)))
        keys = {name: np.tile(values, instruments) for name, values in self.grid.columns.items()}
        metrics = [pl.Series(name, getattr(self, name).reshape(-1)).fill_nan(None) for name in METRICS[:-1]]
        return pl.DataFrame(
            [
                ids.gather(np.repeat(np.arange(instruments, dtype=np.uint32), sets)),
                *(pl.Series(name, values) for name, values in keys.items()),
                *metrics,
                pl.Series("trades", self.trades.reshape(-1)),
            ]
        )


def bytes_needed(instruments: int, grid: ParameterGrid) -> int:
    """What the results of a sweep take: arrays, and the frame that is made of them."""
    metrics = 8 * (len(METRICS) - 1) + 4
    return instruments * len(grid) * (2 * metrics + 8 * len(grid.names) + 4)


def sweep(
    market: MarketPanel | Prices,
    grid: ParameterGrid,
    costs: ProportionalCosts,
    *,
    carry_sessions: int = CARRY_SESSIONS,
    chunk: tuple[int, int] | None = None,
    threads: int | None = None,
    memory_budget: int = MEMORY_BUDGET,
    progress: Progress | None = None,
) -> SweepResult:
    """Every instrument of `market` under every parameter set of `grid`.

    A decision at the close of a session is filled at the open of the next one, or of the first after it that has a bar.
    The account trades all it has. Metrics equal those of vectorbt's `Portfolio.from_signals` with these signals moved
    to the next bar and `price` the opens.

    carry_sessions: without a bar that an order to enter waits before it lapses; one to leave waits as long as it takes.
    chunk: (number from 0, of how many): only that part of the grid, see `ParameterGrid.part`. threads: how many work at
    once, by default as many as this process may use; the result is the same bit for bit. memory_budget: bytes that the
    results may take. progress: called in this thread with the pairs that are done and all of them.

    Raises `SweepTooLarge` beyond the budget; `StrategyError` where the chunk does not exist, threads or carry_sessions
    are too few, there are no prices, or one is not positive and finite, naming instrument and row.
    """
    prices = market if isinstance(market, Prices) else Prices.of(market)
    grid = grid if chunk is None else grid.part(*chunk)
    _check(prices, grid, memory_budget)
    for name, number, least in (("threads", threads, 1), ("carry_sessions", carry_sessions, 0)):
        if number is not None and number < least:
            raise StrategyError(f"sweep of {grid.strategy}: {name} must be {least} or more, not {number}")
    instruments = prices.close.shape[1]
    values = np.empty((len(METRICS) - 1, instruments, len(grid)))
    trades = np.empty((instruments, len(grid)), dtype=np.int32)
    starts = range(0, instruments, INSTRUMENTS)
    work = partial(_instruments, prices, grid, costs, carry_sessions, values, trades)
    with ThreadPoolExecutor(threads or _usable_processors(), thread_name_prefix="sweep") as workers:
        tasks = [workers.submit(work, start) for start in starts]
        try:
            for start, task in zip(starts, tasks, strict=True):
                task.result()
                if progress:
                    progress(min(start + INSTRUMENTS, instruments) * len(grid), instruments * len(grid))
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise
    return SweepResult(list(prices.instrument_ids), grid, trades=trades, **dict(zip(METRICS, values, strict=False)))


def warm_up(message: Callable[[str], None] | None = None) -> float:
    """Compiles every kernel, or loads what an earlier process has compiled; seconds that it took.

    message: told before, because the first time takes some seconds, and after.
    """
    started = time.perf_counter()
    if message:
        message("Preparing the sweep kernels: compiled for this machine on first use, loaded from then on ...")
    steps = np.random.default_rng(0).normal(0, 0.02, (300, 1))
    close = 100 * np.exp(np.cumsum(steps, axis=0))
    prices = Prices(["any"], close, close)
    for strategy in SWEEPABLE:
        sweep(prices, parameter_grid(strategy, {}), ProportionalCosts(), threads=1)
    spent = time.perf_counter() - started
    if message:
        message(f"The sweep kernels are ready after {spent:.1f} s.")
    return spent


def _instruments(
    prices: Prices,
    grid: ParameterGrid,
    costs: ProportionalCosts,
    carry_sessions: int,
    values: Floats,
    trades: npt.NDArray[np.int32],
    start: int,
) -> None:
    """One task: `INSTRUMENTS` instruments from column `start`, into their own rows of `values` and `trades`."""
    from trading_pipeline.research.sweeps.kernels.accounting import account, instrument_bars

    stop = min(start + INSTRUMENTS, prices.close.shape[1])
    opens, closes = (np.ascontiguousarray(array[:, start:stop].T, dtype=np.float64) for array in _arrays(prices))
    rule = grid.rule()
    for column in range(start, stop):
        bars = instrument_bars(
            opens[column - start], closes[column - start], costs.fees, costs.slippage, carry_sessions
        )
        measured = rule.measured(bars)
        for first in range(0, len(grid), PARAMETER_SETS):
            last = min(first + PARAMETER_SETS, len(grid))
            entries, exits = rule.signals(bars, measured, first, last)
            account(
                entries,
                exits,
                bars.rows,
                bars.fills,
                bars.blocks,
                closes.shape[1],
                values[:, column, first:last],
                trades[column, first:last],
            )


def _arrays(prices: Prices) -> tuple[Floats, Floats]:
    return prices.open, prices.close


def _check(prices: Prices, grid: ParameterGrid, memory_budget: int) -> None:
    instruments = len(prices.instrument_ids)
    for name, array in zip(("opens", "closes"), _arrays(prices), strict=True):
        if array.ndim != 2 or array.shape != prices.close.shape or array.shape[1] != instruments:
            raise StrategyError(
                f"sweep of {grid.strategy}: {name} are an array of {array.shape}, "
                f"not of {len(prices.close)} sessions x {instruments} instruments"
            )
        with np.errstate(invalid="ignore"):
            wrong = (array <= 0) | np.isinf(array)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise StrategyError(
                f"sweep of {grid.strategy}: {name} of {prices.instrument_ids[column]} hold {array[row, column]} in row "
                f"{row}: a price is positive, and NaN where there is no bar"
            )
    if not instruments or not len(prices.close):
        raise StrategyError(f"sweep of {grid.strategy}: there are no prices: the universe or the time span is empty")
    needed = bytes_needed(instruments, grid)
    if needed > memory_budget:
        at_once = memory_budget * len(grid) // needed
        parts = -(-len(grid) // max(at_once, 1))
        chunks = f"sweep it in chunks, chunk=(0, {parts}) to ({parts - 1}, {parts})"
        mend = chunks if at_once else "one parameter set alone is too large: take fewer instruments"
        raise SweepTooLarge(
            f"sweep of {grid.strategy}: {instruments * len(grid):,} pairs ({instruments:,} instruments x {len(grid):,} "
            f"parameter sets) take {needed:,} bytes, more than the {memory_budget:,} they may: "
            f"{mend}, or raise memory_budget"
        )


def _usable_processors() -> int:
    """Those this process may run on: fewer than the machine has inside a container or under an affinity."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
