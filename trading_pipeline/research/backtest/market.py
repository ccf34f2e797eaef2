"""The market as an execution sees it: prices carried over holes, returns, gaps, when weights are made anew.

What belongs here: arrays of the panel that the walk reads row by row, each from nothing later than its row. What does
not: decisions (`sizing.py`), fills (`book.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trading_pipeline.research.allocation.rebalancing import rebalance_rows
from trading_pipeline.research.backtest.configuration import Configuration
from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import GAP, Floats, Integers, Mask, count_in_span, last_row_with

STALE = GAP
"""Sessions without a bar after which a holding counts as delisted, whatever is known of it; measures end there too."""


@dataclass(frozen=True)
class Market:
    """Sessions x instruments unless said otherwise.

    traded: whether there is a bar to trade on. last: the last close there was, NaN before the first. since: sessions
    since the last bar. returns: close to close, of who has a bar, since its last bar before; NaN elsewhere.
    history: returns among the last `lookback` sessions. rebalances: whether weights are made anew at a session's close,
    one a session. delisted: row of the session after an instrument's last bar, where it is delisted; -1 elsewhere.
    """

    panel: MarketPanel
    traded: Mask
    last: Floats
    since: Integers
    returns: Floats
    history: Integers
    rebalances: Mask
    delisted: Integers


def market_of(panel: MarketPanel, configuration: Configuration) -> Market:
    """The arrays of one panel under a configuration."""
    priced = panel.traded
    rows = last_row_with(priced)
    last = np.where(rows >= 0, np.take_along_axis(panel.close, np.maximum(rows, 0), axis=0), np.nan)
    returns = np.full(panel.shape, np.nan)
    returns[1:] = np.where(priced[1:], panel.close[1:] / last[:-1] - 1, np.nan)
    allocation = configuration.allocation
    lookback = allocation.lookback if allocation else 1
    return Market(
        panel=panel,
        traded=priced & np.isfinite(panel.open),
        last=last,
        since=np.where(rows >= 0, np.arange(len(rows))[:, None] - rows, len(rows)),
        returns=returns,
        history=count_in_span(np.isfinite(returns), lookback),
        rebalances=rebalance_rows(panel.axes.sessions, allocation.rebalance if allocation else "daily"),
        delisted=np.where(panel.last_bars >= 0, panel.last_bars + 1, -1),
    )
