"""Look-ahead audit: whether anything said of a session changes when what comes after it is cut off or is another.

What belongs here: rerunning a strategy, or a whole backtest, on truncated panels and on panels with another future, and
saying what differs first. What does not: what a strategy may look at (`market_panel.py`).

Truncation finds who counts from the end, or fits on everything. A mutated future finds who looks a bar ahead; as the
mutation is drawn at random, each cut is a sample: more cuts find rarer peeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.research.backtest.configuration import Configuration, Coverage
from trading_pipeline.research.backtest.execution import backtest
from trading_pipeline.research.backtest.record import BacktestRecord
from trading_pipeline.research.backtest.sizing import Allocator
from trading_pipeline.research.market_panel import PRICES, MarketPanel
from trading_pipeline.research.strategies.base import SignalResult, Strategy, checked_signals

CUTS = 4
"""How many sessions are audited where none are named."""

TOLERANCE = 1e-9
"""Relative difference that counts as none: sums over panels of other lengths differ in their last bits."""


@dataclass(frozen=True)
class Finding:
    """Something up to a session that depends on what comes after it.

    future: what was done to it, truncated or mutated. known: the last session that was left as it is. session,
    instrument_id, array: the first thing that differs (no instrument: None). before, after: its values.
    """

    future: str
    known: str
    session: str
    instrument_id: str | None
    array: str
    before: float
    after: float

    def __str__(self) -> str:
        name = f" of {self.instrument_id}" if self.instrument_id else ""
        return (
            f"{self.array}{name} on {self.session} was {self.before} and is {self.after} once what follows "
            f"{self.known} is {self.future}"
        )


def look_ahead(
    chosen: Strategy, panel: MarketPanel, rows: Sequence[int] | None = None, seed: int = 0
) -> tuple[Finding, ...]:
    """What of the strategy's signals depends on the future: at most one finding a cut and future.

    rows: how many sessions are left as they are, one cut each; None for `CUTS` of them drawn from `seed` after the
    strategy's warm-up. Raises `StrategyError` where the strategy fails on a panel.
    """
    told = checked_signals(chosen, panel)
    findings: list[Finding] = []
    for cut in _cuts(panel, chosen.warm_up, rows, seed):
        for future, other in _futures(panel, cut, seed):
            found = _first_difference(panel, cut, _arrays(told), _arrays(checked_signals(chosen, other)))
            if found is not None:
                findings.append(replace(found, future=future))
    return tuple(findings)


def look_ahead_of_backtest(
    panel: MarketPanel,
    configuration: Configuration,
    allocator: Allocator | None = None,
    rows: Sequence[int] | None = None,
    seed: int = 0,
    chosen: Strategy | None = None,
) -> tuple[Finding, ...]:
    """What of the whole backtest depends on the future: equity, cash, costs and the shares held at each close.

    As `look_ahead`; `chosen` as in `backtest`. A configuration that refuses low coverage does not in here: a cut may
    leave the very sessions that lack bars.
    """
    configuration = configuration.model_copy(update={"coverage": Coverage(threshold=0.0)})
    chosen = configuration.built() if chosen is None else chosen
    told = backtest(panel, configuration, allocator, chosen)
    start = len(panel.axes.sessions) - len(told.days)
    findings: list[Finding] = []
    for cut in _cuts(panel, max(chosen.warm_up, start) + 2, rows, seed):
        for future, other in _futures(panel, cut, seed):
            again = backtest(other, configuration, allocator, chosen)
            found = _first_difference(panel, cut, _accounts(panel, told), _accounts(other, again))
            if found is not None:
                findings.append(replace(found, future=future))
    return tuple(findings)


def mutated(panel: MarketPanel, rows: int, seed: int) -> MarketPanel:
    """The panel with another future after its first `rows` sessions, drawn from the seed.

    Prices take another course, a tenth of the bars is lost, volumes, measures and memberships are exchanged between
    cells, so that each value is one that there can be; who is delisted after `rows` is not.
    """
    random = np.random.default_rng((seed, rows))
    count, instruments = panel.shape[0] - rows, panel.shape[1]
    if count <= 0:
        return panel
    course = np.exp(np.cumsum(random.normal(0, 0.05, (count, instruments)), axis=0))
    lost = random.random((count, instruments)) < 0.1

    def other(values: npt.NDArray[Any], future: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.concatenate([values[:rows], future])

    def exchanged(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        future = values[rows:]
        return random.permutation(future.ravel()).reshape(future.shape)

    prices = {name: np.where(lost, np.nan, getattr(panel, name)[rows:] * course) for name in PRICES}
    member = exchanged(panel.member)
    # A universe is never empty.
    member[:, 0] |= ~member.any(axis=1)
    changed: dict[str, Any] = {
        **{name: other(getattr(panel, name), future) for name, future in prices.items()},
        "volume": other(panel.volume, np.where(lost, np.nan, exchanged(np.nan_to_num(panel.volume)))),
        "member": other(panel.member, member),
        "benchmark": other(panel.benchmark, panel.benchmark[rows:] * np.exp(np.cumsum(random.normal(0, 0.03, count)))),
        "last_bars": np.where(panel.last_bars >= rows - 1, -1, panel.last_bars),
        "measures": {name: other(values, exchanged(values)) for name, values in panel.measures.items()},
    }
    return replace(panel, **changed)


def _cuts(panel: MarketPanel, least: int, rows: Sequence[int] | None, seed: int) -> list[int]:
    if rows is not None:
        return list(rows)
    random = np.random.default_rng(seed)
    possible = np.arange(max(least, 1) + 1, panel.shape[0])
    return sorted(random.choice(possible, min(CUTS, len(possible)), replace=False).tolist())


def _futures(panel: MarketPanel, cut: int, seed: int) -> list[tuple[str, MarketPanel]]:
    return [("truncated", panel.until(cut)), ("mutated", mutated(panel, cut, seed))]


def _arrays(signals: SignalResult) -> dict[str, np.ndarray]:
    return {each.name: getattr(signals, each.name) for each in fields(signals)}


def _accounts(panel: MarketPanel, record: BacktestRecord) -> dict[str, np.ndarray]:
    """What a record says of each session, as arrays whose rows are those of the panel."""
    rows, start = panel.shape[0], panel.shape[0] - len(record.days)
    held = panel.axes.from_long(record.positions.with_columns(pl.col("shares").cast(pl.Float64)), ["shares"])
    told = {"shares": held["shares"]}
    for name in ("equity", "cash", "turnover", "fees", "slippage", "borrow", "haircut"):
        told[name] = np.full(rows, np.nan)
        told[name][start:] = record.days[name].to_numpy()
    return told


def _first_difference(
    panel: MarketPanel, cut: int, told: dict[str, np.ndarray], again: dict[str, np.ndarray]
) -> Finding | None:
    """The earliest session's first instrument and array that differ within the first `cut` rows."""
    earliest: tuple[int, int, str] | None = None
    for name, values in told.items():
        left, right = values[:cut].astype(np.float64), again[name][:cut].astype(np.float64)
        differs = ~np.isclose(left, right, rtol=TOLERANCE, atol=1e-12, equal_nan=True)
        if differs.any():
            place = np.argwhere(differs)[0]
            here = (int(place[0]), int(place[1]) if len(place) > 1 else -1, name)
            earliest = here if earliest is None else min(earliest, here)
    if earliest is None:
        return None
    row, column, name = earliest
    cell = (row, column) if column >= 0 else (row,)
    return Finding(
        future="",
        known=str(panel.axes.sessions[cut - 1]),
        session=str(panel.axes.sessions[row]),
        instrument_id=panel.axes.instrument_ids[column] if column >= 0 else None,
        array=name,
        before=float(told[name][cell]),
        after=float(again[name][cell]),
    )
