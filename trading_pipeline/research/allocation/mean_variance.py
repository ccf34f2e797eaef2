"""Mean-variance weights, by skfolio's `MeanRisk`.

What belongs here: the estimates that go into the optimisation, and the optimisation. What does not: covariances of
returns with holes (`covariance.py`), limits on what comes out (`limits.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trading_pipeline.research.allocation.covariance import Estimate, ledoit_wolf
from trading_pipeline.research.allocation.limits import AllocationError
from trading_pipeline.research.panel import Floats

FLOOR = 1e-10
"""Smallest eigenvalue of a covariance, relative to the mean variance: below it two portfolios of one risk are told
apart by rounding."""

NOTHING = 1e-6
"""Weight below which the solver, which stops within 1e-8 of the optimum, means 0."""


def bayes_stein(estimate: Estimate, sessions: int) -> Floats:
    """Means shrunk towards the mean of the portfolio of least variance; as long as `estimate` has names.

    Jorion, Bayes-Stein estimation for portfolio analysis, 1986. The further the means are apart for their noise, the
    less they are shrunk.
    """
    names = len(estimate.mean)
    inverse = np.linalg.inv(estimate.covariance)
    ones = np.ones(names)
    common = float(ones @ inverse @ estimate.mean / (ones @ inverse @ ones))
    apart = estimate.mean - common
    signal = sessions * float(apart @ inverse @ apart)
    shrinkage = (names + 2) / (names + 2 + max(signal, 0.0))
    return np.asarray((1 - shrinkage) * estimate.mean + shrinkage * common)


def mean_variance(returns: Floats, largest: float, *, use_means: bool) -> Floats:
    """Long-only weights of sum 1, none above `largest` (or an equal share, if that is more).

    returns: sessions x names, NaN for a hole, every name with a risk. use_means: highest mean for its deviation (the
    tangency portfolio), the means by `bayes_stein`; the least variance where no such weights have a mean above 0, and
    where means are not used. Covariance by `ledoit_wolf`. `AllocationError` where the solver fails.
    """
    from skfolio.exceptions import OptimizationError, SolverError
    from skfolio.optimization import MeanRisk, ObjectiveFunction

    names = returns.shape[1]
    if names == 1:
        return np.ones(1)
    most = min(max(largest, 1.0 / names), 1.0)
    estimate = _conditioned(ledoit_wolf(returns))
    means, objective = np.zeros(names), ObjectiveFunction.MINIMIZE_RISK
    if use_means:
        wished = bayes_stein(estimate, len(returns))
        wished = wished / max(float(np.abs(wished).max()), np.finfo(np.float64).tiny)
        if _highest_mean(wished, most) > NOTHING:
            means, objective = wished, ObjectiveFunction.MAXIMIZE_RATIO
    # The solver's tolerances are absolute: the largest mean and the mean variance are 1, which changes no optimum.
    level = float(np.trace(estimate.covariance)) / names
    model = MeanRisk(
        objective_function=objective,
        prior_estimator=_prior(means, estimate.covariance / level),
        max_weights=most,
    )
    try:
        found = np.asarray(model.fit(np.zeros((2, names))).weights_, dtype=np.float64)
    except (OptimizationError, SolverError) as error:
        raise AllocationError(
            f"no weights of {names} names could be solved for ({error}): look for names with the same returns, "
            "or use hierarchical_risk_parity"
        ) from error
    found[found < NOTHING] = 0.0
    return np.asarray(found / found.sum())


def _highest_mean(means: Floats, most: float) -> float:
    """Mean of the weights of sum 1, none above `most`, that have the highest."""
    ranked = -np.sort(-means)
    return float(ranked @ np.clip(1.0 - most * np.arange(len(means)), 0.0, most))


def _conditioned(estimate: Estimate) -> Estimate:
    values, vectors = np.linalg.eigh(estimate.covariance)
    least = FLOOR * float(values.mean())
    if values[0] >= least:
        return estimate
    return estimate._replace(covariance=(vectors * np.maximum(values, least)) @ vectors.T)


def _prior(mean: Floats, covariance: Floats) -> Any:
    """A prior of skfolio that holds what was estimated here; it looks at no returns."""
    from skfolio.prior import BasePrior, ReturnDistribution

    class Estimated(BasePrior):  # type: ignore[misc]
        def __init__(self, mean: Floats, covariance: Floats) -> None:
            self.mean = mean
            self.covariance = covariance

        def fit(self, X: Floats, y: None = None, **_: Any) -> Estimated:  # noqa: N803
            self.return_distribution_ = ReturnDistribution(mu=self.mean, covariance=self.covariance, returns=X)
            return self

    return Estimated(mean, covariance)
