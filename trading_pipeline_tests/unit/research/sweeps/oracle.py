"""Random prices with holes, and vectorbt as the judge of an account."""

from __future__ import annotations

import numpy as np

from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import Panel

CAPITAL = 1e12
"""So much that a ruined account goes on as ours does: vectorbt fills no order of next to no shares."""

KINDS = ("walk", "spikes", "constant", "growth", "two prices", "single bar", "no bar", "late", "halted")


def random_prices(seed: int, sessions: int, kinds: tuple[str, ...] = KINDS) -> tuple[np.ndarray, np.ndarray]:
    """Opens and closes of sessions x kinds of series, with holes; NaN in both where there is no bar."""
    rng = np.random.default_rng(seed)
    shape = (sessions, len(kinds))
    close = rng.uniform(1, 500, len(kinds)) * np.exp(np.cumsum(rng.normal(0, 0.03, shape), axis=0))
    opened = close * np.exp(rng.normal(0, 0.01, shape))
    hole = rng.random(shape) < 0.05
    rows = np.arange(sessions)
    for column, kind in enumerate(kinds):
        if kind == "spikes":
            close[:, column] *= np.where(rng.random(sessions) < 0.02, rng.choice([1e-3, 1e4], sessions), 1.0)
        elif kind == "constant":
            close[:, column] = opened[:, column] = 100.0
        elif kind == "growth":
            close[:, column] = opened[:, column] = 10.0 * 1.01**rows
        elif kind == "two prices":
            close[:, column] = opened[:, column] = np.where(rows % 2, 100.0, 103.0)
        elif kind == "single bar":
            hole[:, column] = rows != sessions // 2
        elif kind == "no bar":
            hole[:, column] = True
        elif kind == "late":
            hole[:, column] |= rows < sessions // 2
        elif kind == "halted":
            hole[:, column] |= (rows >= sessions // 3) & (rows < sessions // 3 + rng.integers(1, 40))
    return np.where(hole, np.nan, opened), np.where(hole, np.nan, close)


def panel_of(opens: np.ndarray, closes: np.ndarray) -> MarketPanel:
    """The panel of these prices, everybody a member always."""
    sessions, instruments = closes.shape
    days = np.arange(np.datetime64("2000-01-03"), np.datetime64("2060-01-01"))
    axes = Panel(days[np.is_busday(days)][:sessions], [f"us:{number:03d}" for number in range(instruments)])
    return MarketPanel(
        axes,
        open=opens,
        high=np.fmax(opens, closes),
        low=np.fmin(opens, closes),
        close=closes,
        volume=np.where(np.isfinite(closes), 1e6, np.nan),
        member=np.ones(closes.shape, dtype=np.bool_),
        benchmark=np.ones(sessions),
        last_bars=np.full(instruments, -1),
    )


def vectorbt_metrics(
    opens: np.ndarray,
    closes: np.ndarray,
    entries: np.ndarray,
    exits: np.ndarray,
    fees: float,
    slippage: float,
    carry_sessions: int,
) -> dict[str, np.ndarray]:
    """What vectorbt's Portfolio makes of decisions at the close of a session, by column.

    An order goes to the next session with a bar, one to enter no further than it may be carried.
    """
    import pandas as pd
    import vectorbt as vbt

    enter, leave = np.zeros(closes.shape, dtype=np.bool_), np.zeros(closes.shape, dtype=np.bool_)
    for column in range(closes.shape[1]):
        bars = np.flatnonzero(np.isfinite(closes[:, column]))
        before, after = bars[:-1], bars[1:]
        leave[after, column] = exits[before, column]
        near = after - before <= 1 + carry_sessions
        enter[after, column] = entries[before, column] & ~exits[before, column] & near
    index = pd.date_range("2000-01-03", periods=len(closes), freq="D")
    frame = pd.DataFrame(closes, index=index)
    account = vbt.Portfolio.from_signals(
        frame,
        pd.DataFrame(enter, index=index),
        pd.DataFrame(leave, index=index),
        price=pd.DataFrame(opens, index=index),
        fees=fees,
        slippage=slippage,
        init_cash=CAPITAL,
        freq="1D",
        engine="numba",
    )
    returns = account.returns()
    measured = {
        "total_return": account.total_return(),
        "sharpe": returns.vbt.returns(freq="1D", year_freq="252 days").sharpe_ratio(),
        "max_drawdown": account.max_drawdown(),
        "exposure": account.position_coverage(),
        "win_rate": account.trades.closed.win_rate(),
        "trades": account.trades.count(),
        "deviation": returns.std(),
        "mean": returns.mean(),
    }
    return {name: np.asarray(value, dtype=np.float64) for name, value in measured.items()}


def assert_equal(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Equal to 1e-9; a Sharpe ratio only where returns vary by more than rounding."""
    np.testing.assert_allclose(1 + ours["total_return"], 1 + theirs["total_return"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours["max_drawdown"], theirs["max_drawdown"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours["exposure"], theirs["exposure"], rtol=1e-12)
    np.testing.assert_array_equal(ours["trades"], theirs["trades"])
    np.testing.assert_allclose(ours["win_rate"], theirs["win_rate"], rtol=1e-12)
    varies = theirs["deviation"] > 1e-6 * np.abs(theirs["mean"])
    varies &= theirs["deviation"] > 1e-9
    np.testing.assert_allclose(ours["sharpe"][varies], theirs["sharpe"][varies], rtol=1e-9, atol=1e-9)
    assert np.isnan(ours["sharpe"][theirs["trades"] == 0]).all()
