"""What several strategies' conditions are made of: where they may act, what is new, what is long ago.

What belongs here: array passes over conditions that reach back a declared number of sessions. What does not: what a
strategy looks for (its own module), windows over prices (`research/panel.py`).

Nothing here remembers a position: an exit "after so many sessions" is counted from the latest session that gave an
entry. So a signal depends on a finite stretch of the past, and is the same whether the panel begins one year or ten
before it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import GAP, Floats, Integers, Mask, OwnBars, count_in_span, last_row_with, shift
from trading_pipeline.research.strategies.base import SignalResult

LONGEST = {1: 23, 3: 66, 6: 132}
"""Sessions that a period of so many calendar months holds at most: 31, 92 and 184 days, less the weekends."""


def decided(result: SignalResult, panel: MarketPanel, warm_up: int) -> SignalResult:
    """The signals where there may be one: from row `warm_up` on, on sessions with a bar, entries of members only."""
    ready = panel.traded.copy()
    ready[:warm_up] = False
    opening = ready & panel.member
    return replace(
        result,
        entries=result.entries & opening,
        short_entries=result.short_entries & opening,
        exits=result.exits & ready,
        short_exits=result.short_exits & ready,
    )


def newly(condition: Mask, traded: Mask) -> Mask:
    """Where the condition holds and did not at the instrument's bar before; one more than `GAP` sessions ago is none.

    condition: false where there is no bar.
    """
    previous = np.full(traded.shape, -1, dtype=np.int64)
    previous[1:] = last_row_with(traded)[:-1]
    recent = (previous >= 0) & (np.arange(len(traded))[:, None] - previous <= GAP)
    held = np.take_along_axis(condition, np.maximum(previous, 0), axis=0) if len(traded) else condition
    return condition & ~(recent & held)


def within(condition: Mask, sessions: int) -> Mask:
    """Where the condition held on one of the last `sessions` sessions, the current one included."""
    return np.asarray(count_in_span(condition, sessions) > 0)


def own_moves(close: Floats) -> tuple[OwnBars, Floats]:
    """The instruments' own bars, and packed the log return since the bar before; 0 where that is no proper change."""
    own = OwnBars(np.isfinite(close))
    price = np.log(own.pack(close, fill=1.0))
    return own, np.where(own.follows, price - shift(price, 1), 0.0)


def opens_period(sessions: np.ndarray, months: int) -> Mask:
    """Whether a session is the first of a calendar month (1), quarter (3) or half-year (6); the panel's first is not.

    Known at the session itself: it is in another period than the session before it. The panel's first session may be
    the first of its period, and is never taken for it: no one can tell.
    """
    period = sessions.astype("datetime64[M]").astype(np.int64) // months
    opens = np.zeros(len(sessions), dtype=np.bool_)
    opens[1:] = period[1:] != period[:-1]
    return opens


def latest(moments: Mask) -> Integers:
    """Row of the latest true moment up to each session, -1 before the first one."""
    return last_row_with(moments[:, None])[:, 0]
