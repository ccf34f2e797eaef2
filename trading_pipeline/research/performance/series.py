"""A series of returns: what is refused, the equity it makes, and its Sharpe ratio.

What belongs here: what every other module of this package needs of a series. What does not: named metrics
(`metrics.py`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trading_pipeline.research.panel import Floats

SESSIONS_A_YEAR = 252
"""Sessions by which a year is counted; 365, as of calendar days, would inflate a Sharpe ratio by a fifth."""

STILL = 1e-12
"""Deviation, relative to the largest value, up to which a series does not vary: rounding leaves 1e-16 of a constant."""


class PerformanceError(ValueError):
    """Performance cannot be told: one line that names what is wrong, and how to mend it."""


def checked_returns(returns: npt.ArrayLike, what: str = "returns") -> Floats:
    """`returns` as one row of float64; `PerformanceError` names the first session that is no finite number."""
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 1:
        raise PerformanceError(f"{what} must be one number a session: got an array of shape {values.shape}")
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise PerformanceError(
            f"{what} of session {wrong[0]} is {values[wrong[0]]}, {len(wrong)} such in all: "
            "leave out the sessions before the first, and tell those without a trade as 0"
        )
    return values


def equity_curve(returns: Floats) -> Floats:
    """What 1 has become after each session, along the last axis. Losing everything is the end: it stays 0."""
    return np.asarray(np.cumprod(np.maximum(1.0 + returns, 0.0), axis=-1))


def per_session(yearly: float, sessions_a_year: int) -> float:
    """The return a session that compounds to `yearly` in a year."""
    return float((1.0 + yearly) ** (1.0 / sessions_a_year) - 1.0)


def varies(values: Floats) -> npt.NDArray[np.bool_]:
    """Whether there are two values at least and they differ by more than rounding, along the last axis."""
    if values.shape[-1] < 2:
        return np.zeros(values.shape[:-1], dtype=np.bool_)
    return np.asarray(values.std(axis=-1) > STILL * np.abs(values).max(axis=-1))


def sharpe_ratio(excess: Floats) -> Floats:
    """Mean over standard deviation (of the sample, n - 1) along the last axis, a session; NaN where nothing varies.

    excess: returns beyond the risk-free rate. Times the root of the sessions a year it is the yearly ratio (Sharpe,
    The Sharpe Ratio, 1994).
    """
    moving = varies(excess)
    if excess.shape[-1] < 2:
        return np.full(moving.shape, np.nan)
    deviation = np.where(moving, excess.std(axis=-1, ddof=1), np.nan)
    return np.asarray(excess.mean(axis=-1) / deviation)
