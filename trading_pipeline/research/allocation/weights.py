"""Weights of names by a named method, within limits.

What belongs here: from returns to weights. What does not: which names have history enough (the caller leaves out the
others), and what is traded (`backtest/`).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from trading_pipeline.research.allocation.covariance import moving, pairwise, without_stale
from trading_pipeline.research.allocation.limits import AllocationError, towards, within_limits
from trading_pipeline.research.panel import Floats

Method = Literal["equal_weight", "inverse_volatility", "minimum_variance", "mean_variance", "hierarchical_risk_parity"]
METHODS: tuple[Method, ...] = get_args(Method)


def weights(
    method: Method,
    returns: Floats,
    *,
    minimum_position: float = 0.0,
    maximum_position: float = 1.0,
    gross: float = 1.0,
    previous: Floats | None = None,
    turnover_limit: float | None = None,
) -> Floats:
    """Long-only weights, one a column, as shares of equity.

    returns: sessions x names, simple, the sessions that the weights may know of; NaN is a hole. minimum_position,
    maximum_position: of a position, shares of equity. gross: sum of the weights. previous: weights held before, in the
    same columns (what is held of other names is the caller's to sell); turnover_limit: half of what may be bought and
    sold, a share of equity, from `previous` or from cash.

    Methods: equal_weight: 1 / k. inverse_volatility: by 1 / standard deviation. minimum_variance, mean_variance:
    `mean_variance.py`. hierarchical_risk_parity: `hierarchical_risk_parity.py`.

    A hole is left out, never counted as 0, and so is a price repeated for days (`covariance.py`). A name whose risk
    cannot be told (returns on less than half of the sessions, or all alike) gets 0 from every method that looks at
    risk: what stands still is not calm, it is not traded. Where that leaves no name, all are weighted alike. One name
    gets `gross`, up to the maximum.

    The weights sum to `gross`, or to less where `maximum_position` leaves some of it in cash or `minimum_position`
    lets nothing be held, or where `turnover_limit` stops the way to it (see `limits.py`). `AllocationError` names an
    argument that is out of range.
    """
    values = _checked(method, returns, previous)
    _check_limits(minimum_position, maximum_position, gross, turnover_limit)
    names = values.shape[1]
    shares = _shares(method, values, maximum_position / gross) if names else np.zeros(0)
    wanted = within_limits(shares, gross, minimum_position, maximum_position)
    if turnover_limit is None:
        return wanted
    return towards(np.zeros(names) if previous is None else previous.astype(np.float64), wanted, turnover_limit)


def _shares(method: Method, returns: Floats, largest: float) -> Floats:
    """Weights of sum 1 before limits."""
    names = returns.shape[1]
    alike = np.full(names, 1.0 / names)
    if method == "equal_weight":
        return alike
    known = without_stale(returns)
    told = moving(known)
    if not told.any():
        return alike
    shares = np.zeros(names)
    shares[told] = _by_risk(method, known[:, told], largest)
    return shares


def _by_risk(method: Method, returns: Floats, largest: float) -> Floats:
    if method in {"minimum_variance", "mean_variance"}:
        from trading_pipeline.research.allocation.mean_variance import mean_variance

        return mean_variance(returns, largest, use_means=method == "mean_variance")
    estimate = pairwise(returns)
    if method == "inverse_volatility":
        inverse = 1.0 / np.sqrt(np.diagonal(estimate.covariance))
        return np.asarray(inverse / inverse.sum())
    from trading_pipeline.research.allocation.hierarchical_risk_parity import hierarchical_risk_parity

    return hierarchical_risk_parity(estimate.covariance).weights


def _checked(method: str, returns: Floats, previous: Floats | None) -> Floats:
    if method not in METHODS:
        raise AllocationError(f"unknown allocation method {method!r}: use one of {', '.join(METHODS)}")
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 2:
        raise AllocationError(f"returns must be sessions x names: got an array of shape {values.shape}")
    if np.isinf(values).any():
        row, column = np.argwhere(np.isinf(values))[0]
        raise AllocationError(f"the return of session {row} of name {column} is infinite: a hole is NaN")
    if previous is not None and (previous.shape != values.shape[1:] or not np.isfinite(previous).all()):
        raise AllocationError(f"previous weights must be {values.shape[1]} finite numbers, one a name: 0 for none")
    return values


def _check_limits(minimum: float, maximum: float, gross: float, turnover_limit: float | None) -> None:
    if not 0 < gross < np.inf:
        raise AllocationError(f"the gross exposure must be above 0: got {gross}")
    if not 0 < maximum < np.inf or not 0 <= minimum <= maximum:
        raise AllocationError(f"positions must be between 0 and a maximum above it: got {minimum} to {maximum}")
    if turnover_limit is not None and not 0 <= turnover_limit < np.inf:
        raise AllocationError(f"the turnover limit must be 0 or more: got {turnover_limit}")
