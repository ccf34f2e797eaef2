"""Markets for the tests of strategies: made by hand, or random with everything that real ones have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import Panel
from trading_pipeline.research.strategies import base

SECTORS = 3


def weekdays(count: int) -> np.ndarray:
    """The first weekdays from 4 January 2010 on; a session each."""
    days = np.arange(np.datetime64("2010-01-04"), np.datetime64("2010-01-04") + 2 * count + 10)
    return days[np.is_busday(days)][:count]


@pytest.fixture(scope="session")
def panel_of() -> Callable[..., MarketPanel]:
    """A panel of closes (sessions x instruments): `panel_of(closes, benchmark=…, member=…, sentiment=…, …)`.

    Opens, highs and lows are the closes unless given; all else that is given is a measure.
    """

    def make(
        close: np.ndarray,
        benchmark: np.ndarray | None = None,
        member: np.ndarray | None = None,
        sessions: np.ndarray | None = None,
        **others: np.ndarray,
    ) -> MarketPanel:
        close = np.asarray(close, dtype=np.float64)
        rows, columns = close.shape
        price = {name: np.asarray(others.pop(name, close), dtype=np.float64) for name in ("open", "high", "low")}
        return MarketPanel(
            Panel(weekdays(rows) if sessions is None else sessions, [f"us:T{number:03d}" for number in range(columns)]),
            **price,
            close=close,
            volume=np.where(np.isfinite(close), 1e6, np.nan),
            member=np.ones(close.shape, dtype=np.bool_) if member is None else member,
            benchmark=np.linspace(100.0, 120.0, rows) if benchmark is None else benchmark,
            last_bars=np.full(columns, -1, dtype=np.int64),
            measures={name: np.asarray(values, dtype=np.float64) for name, values in others.items()},
        )

    return make


@pytest.fixture(scope="session")
def random_panel(panel_of) -> Callable[..., MarketPanel]:
    """A random market: `random_panel(seed, sessions=…, instruments=…)`.

    With holes (2 % of the bars), a halt of 30 sessions, a late listing, a delisting, a name that never trades, members
    that come and go, a benchmark of calm and wild stretches with holes, spreads that return, and every measure that a
    strategy may read.
    """

    def make(seed: int, sessions: int = 900, instruments: int = 24) -> MarketPanel:
        rng = np.random.default_rng(seed)
        shape = (sessions, instruments)
        wild = (np.arange(sessions) // 90) % 3 == 2
        market = rng.normal(np.where(wild, -0.001, 0.0008), np.where(wild, 0.02, 0.007))
        trend = np.repeat(rng.normal(0, 0.002, (sessions // 60 + 1, instruments)), 60, axis=0)[:sessions]
        level = np.cumsum(market[:, None] * rng.uniform(0.6, 1.4, instruments) + trend + rng.normal(0, 0.012, shape), 0)
        for column in range(0, instruments - 3, 6):
            spread = np.zeros(sessions)
            for row in range(1, sessions):
                spread[row] = 0.85 * spread[row - 1] + rng.normal(0, 0.01)
            level[:, column + 3] = 0.9 * level[:, column] + spread
        close = 50 * np.exp(level)
        news = rng.random(shape) < 0.6
        shock = news & (rng.random(shape) < 0.03)
        sentiment = np.clip(np.where(shock, -0.9, rng.normal(0.1, 0.15, shape)), -1, 1)
        close = close * np.exp(np.where(shock, -0.06, 0.0))
        dip = 100 * (1 - close / np.maximum.accumulate(close, axis=0))
        hole = rng.random(shape) < 0.02
        hole[300:330, 1 % instruments] = True
        hole[:350, 2 % instruments] = True
        if instruments > 6:
            hole[600:, 4] = True
            hole[:, 5] = True
        member = rng.random(instruments) < 0.9
        member = np.where((np.arange(sessions) >= sessions // 2)[:, None], member, True)
        close = np.where(hole, np.nan, close)
        benchmark = np.where(rng.random(sessions) < 0.01, np.nan, 300 * np.exp(np.cumsum(market)))
        return panel_of(
            close,
            benchmark,
            np.broadcast_to(member, shape).copy(),
            open=close * np.exp(rng.normal(0, 0.003, shape)),
            high=close * np.exp(np.abs(rng.normal(0, 0.006, shape)) + 0.003),
            low=close * np.exp(-np.abs(rng.normal(0, 0.006, shape)) - 0.003),
            verdict=np.where(
                hole, np.nan, np.repeat(rng.integers(0, 4, (sessions // 20 + 1, instruments)), 20, 0)[:sessions]
            ),
            total=rng.uniform(0, 100, shape),
            dip_pct=np.where(hole, np.nan, dip),
            sentiment=np.where(news, sentiment, np.nan),
            articles=np.where(news, rng.integers(1, 9, shape), np.nan),
            sector=np.where(hole, np.nan, np.broadcast_to(np.arange(instruments) % SECTORS, shape)),
        )

    return make


@contextmanager
def unregistered_afterwards() -> Iterator[None]:
    """Strategies that are defined within are forgotten afterwards."""
    known = dict(base._STRATEGIES)
    try:
        yield
    finally:
        base._STRATEGIES.clear()
        base._STRATEGIES.update(known)


@pytest.fixture
def defined_for_this_test() -> Iterator[None]:
    """Forgets the strategies that a test defines."""
    with unregistered_afterwards():
        yield
