"""Drawdowns, months and rolling Sharpe ratios of a series of returns.

What belongs here: tables and curves of one series. What does not: single numbers (`metrics.py`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.research.panel import Floats, Integers
from trading_pipeline.research.performance.series import (
    SESSIONS_A_YEAR,
    PerformanceError,
    checked_returns,
    equity_curve,
    sharpe_ratio,
)

Sessions = npt.NDArray[np.datetime64]

REGAINED = 1e-12
"""Fall from the high that is none: what rounding leaves of a way down and up again."""

MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class Drawdowns(NamedTuple):
    """Drawdowns in the order of time, one element each; rows of the returns.

    start: first session below the high. trough: session of the low, the first of several. end: session that regains
    the high, -1 where none does. depth: fall at the trough, negative. sessions: under water, from start to before the
    end, or to the last session.
    """

    start: Integers
    trough: Integers
    end: Integers
    depth: Floats
    sessions: Integers


def underwater(returns: npt.ArrayLike) -> Floats:
    """Equity against its highest so far, less 1: 0 at a high, negative below it. The capital at the start is a high."""
    return fall_from_high(equity_curve(checked_returns(returns)))


def fall_from_high(equity: Floats) -> Floats:
    """`underwater` of equity that began at 1, along the last axis."""
    fall = equity / np.maximum(np.maximum.accumulate(equity, axis=-1), 1.0) - 1.0
    return np.where(fall < -REGAINED, fall, 0.0)


def drawdowns(returns: npt.ArrayLike) -> Drawdowns:
    """Every drawdown of the returns."""
    fall = underwater(returns)
    below = np.concatenate([[False], fall < 0, [False]])
    edges = np.flatnonzero(below[1:] != below[:-1])
    start, end = edges[::2], edges[1::2]
    if not len(start):
        none = np.zeros(0, dtype=np.int64)
        return Drawdowns(none, none, none, np.zeros(0), none)
    lengths = end - start
    inside = np.flatnonzero(fall < 0)
    of = np.repeat(np.arange(len(start)), lengths)
    depth = np.minimum.reduceat(fall[inside], np.cumsum(lengths) - lengths)
    lows = np.flatnonzero(fall[inside] == depth[of])
    trough = inside[lows[np.unique(of[lows], return_index=True)[1]]]
    return Drawdowns(start, trough, np.where(end < len(fall), end, -1), depth, lengths)


def worst_drawdowns(returns: npt.ArrayLike, sessions: Sessions, count: int = 10) -> pl.DataFrame:
    """The deepest drawdowns, deepest first, the earlier first where two are as deep.

    sessions: datetime64[D], one a return. Columns: start, trough, end (Date; end is null where the high is not
    regained), depth (fraction, negative), sessions (under water), sessions_to_trough (from the start, itself included).
    """
    days = _checked_sessions(returns, sessions)
    found = drawdowns(returns)
    order = np.argsort(found.depth, kind="stable")[:count]
    start, trough, end = found.start[order], found.trough[order], found.end[order]
    return pl.DataFrame(
        {
            "start": days.gather(start),
            "trough": days.gather(trough),
            "end": days.gather(pl.Series(end, dtype=pl.Int64).replace(-1, None)),
            "depth": found.depth[order],
            "sessions": found.sessions[order],
            "sessions_to_trough": trough - start + 1,
        },
        schema_overrides={"depth": pl.Float64, "sessions": pl.Int64, "sessions_to_trough": pl.Int64},
    )


def monthly_returns(returns: npt.ArrayLike, sessions: Sessions) -> pl.DataFrame:
    """[year, month, return]: what each month with a session made of the equity, compounded, in the order of time."""
    days = _checked_sessions(returns, sessions)
    growth = np.maximum(1.0 + checked_returns(returns), 0.0)
    return (
        pl.DataFrame({"year": days.dt.year(), "month": days.dt.month(), "return": growth})
        .group_by("year", "month", maintain_order=True)
        .agg(pl.col("return").product() - 1.0)
    )


def monthly_table(returns: npt.ArrayLike, sessions: Sessions) -> pl.DataFrame:
    """[year, jan … dec, total]: a year a row; null for a month without a session; total: the year, compounded."""
    months = monthly_returns(returns, sessions)
    at = [
        pl.col("return").filter(pl.col("month") == number).first().alias(name)
        for number, name in enumerate(MONTHS, start=1)
    ]
    total = ((1.0 + pl.col("return")).product() - 1.0).alias("total")
    return months.group_by("year", maintain_order=True).agg(*at, total)


def rolling_sharpe(
    returns: npt.ArrayLike, window: int = 126, *, sessions_a_year: int = SESSIONS_A_YEAR, risk_free: float = 0.0
) -> Floats:
    """Yearly Sharpe ratio of the last `window` sessions; NaN before there are as many and where nothing varies.

    risk_free: a session.
    """
    values = checked_returns(returns) - risk_free
    if window < 2:
        raise PerformanceError(f"a rolling Sharpe ratio needs 2 sessions or more: got {window}")
    ratio = np.full(len(values), np.nan)
    if len(values) >= window:
        windows = np.lib.stride_tricks.sliding_window_view(values, window)
        ratio[window - 1 :] = sharpe_ratio(windows) * np.sqrt(sessions_a_year)
    return ratio


def _checked_sessions(returns: npt.ArrayLike, sessions: Sessions) -> pl.Series:
    days = np.asarray(sessions, dtype="datetime64[D]")
    if days.shape != np.shape(returns):
        raise PerformanceError(f"there are {len(days)} sessions for {np.size(returns)} returns: give one a return")
    if (days[1:] <= days[:-1]).any():
        raise PerformanceError("sessions must ascend, each once: sort them with their returns")
    return pl.Series("session", days, dtype=pl.Date)
