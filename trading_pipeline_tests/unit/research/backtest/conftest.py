"""Small markets told number by number, and larger ones drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from trading_pipeline.research.backtest import Configuration, parse_configuration
from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import Panel
from trading_pipeline.research.strategies.base import SignalResult

NONE = float("nan")


def days(count: int, first: str = "2020-01-01") -> np.ndarray:
    """So many weekdays."""
    every = np.arange(np.datetime64(first), np.datetime64(first) + 2 * count + 10)
    return every[np.is_busday(every)][:count]


@pytest.fixture(scope="session")
def told() -> Callable[..., MarketPanel]:
    """A maker of panels: `told(open={"A": [...]}, close={"A": [...]}, low=…, high=…, volume=…, gone=[...])`.

    low and high are those of open and close where left out; everybody is a member unless `member` says otherwise; gone:
    names known to be delisted after their last bar.
    """

    def make(
        open: Mapping[str, Sequence[float]],
        close: Mapping[str, Sequence[float]] | None = None,
        gone: Sequence[str] = (),
        **others: Any,
    ) -> MarketPanel:
        names = sorted(open)
        first = others.pop("first", "2020-01-01")

        def columns(values: Mapping[str, Sequence[Any]]) -> np.ndarray:
            return np.array([values[name] for name in names]).T

        opens = columns(open).astype(np.float64)
        closes = opens if close is None else columns(close).astype(np.float64)
        given = {name: columns(others[name]).astype(np.float64) for name in ("low", "high", "volume") if name in others}
        bars = np.isfinite(closes)
        last = len(closes) - 1 - np.argmax(bars[::-1], axis=0)
        return MarketPanel(
            axes=Panel(days(len(opens), first), names),
            open=opens,
            high=given.get("high", np.fmax(opens, closes)),
            low=given.get("low", np.fmin(opens, closes)),
            close=closes,
            volume=given.get("volume", np.where(bars, 1e6, NONE)),
            member=columns(others["member"]).astype(np.bool_) if "member" in others else np.ones(opens.shape, np.bool_),
            benchmark=np.full(len(opens), 100.0),
            last_bars=np.where([name in gone for name in names], last, -1),
            measures=others.get("measures", {}),
        )

    return make


@pytest.fixture(scope="session")
def signalled() -> Callable[..., SignalResult]:
    """A maker of signals: `signalled(panel, entries=[("A", 0)], exits=…, shorts=…, covers=…, stop=0.1)`."""

    def make(
        panel: MarketPanel,
        entries: Sequence[tuple[str, int]] = (),
        exits: Sequence[tuple[str, int]] = (),
        shorts: Sequence[tuple[str, int]] = (),
        covers: Sequence[tuple[str, int]] = (),
        stop: float = NONE,
        weight: np.ndarray | None = None,
        confidence: np.ndarray | None = None,
    ) -> SignalResult:
        def mask(cells: Sequence[tuple[str, int]]) -> np.ndarray:
            out = np.zeros(panel.shape, dtype=np.bool_)
            for name, row in cells:
                out[row, list(panel.axes.instrument_ids).index(name)] = True
            return out

        return SignalResult.of(
            mask(entries),
            mask(exits),
            short_entries=mask(shorts),
            short_exits=mask(covers),
            stop_distance=np.full(panel.shape, stop),
            weight=weight,
            confidence=confidence,
        )

    return make


FREE = 'fees_bps = 0.0\nborrow_rate = 0.0\ndelisting_haircut = 0.0\nslippage = { kind = "fixed", bps = 0.0 }\n'


@pytest.fixture(scope="session")
def configured() -> Callable[..., Configuration]:
    """A maker of configurations; `allocation`, `risk`, `costs`, … are TOML lines. Without costs unless told."""

    def make(allocation: str = "", risk: str | None = None, costs: str = FREE, head: str = "", **parts: str) -> Any:
        given = {"strategy": "momentum", "market": "us", "universe": "all", "name": "test", "capital": "1000.0"}
        given |= {key: parts.pop(key) for key in list(parts) if key in {"strategy", "market", "universe", "capital"}}
        lines = [f"{key} = {value if key == 'capital' else repr(value)}" for key, value in given.items()] + [head]
        if "minimum_history" not in allocation:
            allocation += "\nminimum_history = 2"
        sizing = f"[allocation]\n{allocation}\n" if risk is None else f"[risk]\n{risk}\n"
        others = "".join(f"[{name}]\n{text}\n" for name, text in {"costs": costs, **parts}.items())
        return parse_configuration("\n".join(lines) + "\n" + sizing + others)

    return make


@pytest.fixture(scope="session")
def drawn() -> Callable[..., MarketPanel]:
    """A maker of markets drawn from a seed: `drawn(seed, sessions=…, names=…, drift_to_death=…)`.

    Prices have gaps overnight, a tenth of the names is listed late, 1 % of the bars is missing, a fifth of the names is
    delisted after a fall of half a year.
    """

    def make(seed: int, sessions: int = 400, names: int = 20, fall: float = 0.006) -> MarketPanel:
        random = np.random.default_rng(seed)
        change = random.normal(0.0003, 0.015, (sessions, names)) + random.normal(0.0003, 0.008, (sessions, 1))
        gap = random.normal(0, 0.006, (sessions, names))
        last = np.full(names, -1)
        for column in range(0, names, 5):
            last[column] = random.integers(sessions // 2, sessions - 5)
            change[max(last[column] - 126, 0) : last[column] + 1, column] -= fall
        close = random.uniform(10, 90, names) * np.exp(np.cumsum(change, axis=0))
        opens = close * np.exp(-change + gap)
        high = np.maximum(opens, close) * np.exp(np.abs(random.normal(0, 0.004, close.shape)))
        low = np.minimum(opens, close) * np.exp(-np.abs(random.normal(0, 0.004, close.shape)))
        volume = np.round(random.lognormal(11, 1, close.shape))
        missing = random.random(close.shape) < 0.01
        missing[:, ::10] |= np.arange(sessions)[:, None] < sessions // 8
        for column in np.flatnonzero(last >= 0):
            missing[last[column], column] = False
            missing[last[column] + 1 :, column] = True
        for prices in (close, opens, high, low, volume):
            prices[missing] = NONE
        alive = np.cumsum(np.isfinite(close), axis=0) > 0
        member = alive & ((last < 0) | (np.arange(sessions)[:, None] <= last))
        benchmark = 100 * np.exp(np.cumsum(random.normal(0.0003, 0.008, sessions)))
        axes = Panel(days(sessions, "2015-01-01"), [f"N{each:03d}" for each in range(names)])
        return MarketPanel(axes, opens, high, low, close, volume, member, benchmark, last)

    return make
