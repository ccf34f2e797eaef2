"""Versions of bars as sorted keys: which rows tell the same bar, and which of them came last.

What belongs here: finding versions among millions of rows without sorting frames. What does not: which version a moment
could see (whoever asks knows its moments).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from trading_pipeline.research.panel import Integers, Mask


def microseconds(moments: pl.Series) -> Integers:
    """Moments as integers since 1970, UTC."""
    return moments.dt.cast_time_unit("us").to_physical().to_numpy().astype(np.int64)


def in_order_of_versions(series: Integers, started: Integers, available: Integers, known: Integers) -> Integers:
    """Rows by series and start, the versions of a bar one after the other as they became available, then known.

    series: one number for all that sets bars of one start apart (instrument, source, the morning that sees them).
    """
    if not len(series):
        return np.zeros(0, dtype=np.int64)
    # As the lake tells them, rows are mostly in order: looking costs a fiftieth of sorting.
    same_series, same_start = np.diff(series) == 0, np.diff(started) == 0
    rising = (np.diff(series) > 0) | (same_series & ((np.diff(started) > 0) | (same_start & (np.diff(available) > 0))))
    if rising.all():
        return np.arange(len(series))
    return np.lexsort((known, available, started, series))


def same_as_before(order: Integers, series: Integers, started: Integers) -> Mask:
    """Whether the row before, in that order, tells the same bar."""
    same = np.zeros(len(order), dtype=np.bool_)
    same[1:] = (np.diff(series[order]) == 0) & (np.diff(started[order]) == 0)
    return same
