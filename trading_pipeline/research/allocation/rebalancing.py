"""When weights are set anew.

What belongs here: the calendar of decisions. What does not: which days are sessions (the caller's array), and when an
order is executed (at the open after the decision).

Weights are decided at the close of the *first* session of a week or month. That a session is the last of its week is
not known on it: after a Thursday the exchange may be closed on Friday, for a holiday that is in the calendar or for a
storm that is not, and a backtest that looks up the next session to decide that knows more than a trader did.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from trading_pipeline.research.allocation.limits import AllocationError
from trading_pipeline.research.panel import Mask

Frequency = Literal["daily", "weekly", "monthly"]

_MONDAY = 3
"""Days from a Monday to 1970-01-01, on which numpy begins to count."""


def rebalance_rows(sessions: npt.NDArray[np.datetime64], frequency: Frequency) -> Mask:
    """Whether weights are decided at the close of each session: daily, or the first session of a week or month.

    sessions: datetime64[D], ascending. Weeks begin on Monday. The first row always decides, since before it nothing is
    held. Each row depends on itself and the row before it alone. `AllocationError` for another frequency or order.
    """
    days = np.asarray(sessions, dtype="datetime64[D]")
    if frequency not in get_args(Frequency):
        raise AllocationError(f"unknown frequency {frequency!r}: use one of {', '.join(get_args(Frequency))}")
    if days.ndim != 1 or np.isnat(days).any() or (days[1:] <= days[:-1]).any():
        raise AllocationError("sessions must be one row of days that ascend, each once")
    if frequency == "daily":
        return np.ones(len(days), dtype=np.bool_)
    if frequency == "weekly":
        period = (days.astype(np.int64) + _MONDAY) // 7
    else:
        period = days.astype("datetime64[M]").astype(np.int64)
    rows = np.ones(len(days), dtype=np.bool_)
    rows[1:] = period[1:] != period[:-1]
    return rows
