"""Mean-variance weights, by skfolio's `MeanRisk`.

What belongs here: the estimates that go into the optimisation, and the optimisation. What does not: covariances of
returns with holes (`covariance.py`), limits on what comes out (`limits.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trading_pipeline.research.allocation.covariance import Estimate, ledoit_wolf
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
    tangency portfolio), the means by `bayes_stein`; the least variance where no mean is above 0, for which no such
    portfolio exists, and where they are not used. Covariance by `ledoit_wolf`.
    """
    from skfolio.optimization import MeanRisk, ObjectiveFunction

    names = returns.shape[1]
    if names == 1:
        return np.ones(1)
    estimate = _conditioned(ledoit_wolf(returns))
    means = bayes_stein(estimate, len(returns)) if use_means else np.zeros(names)
    objective = ObjectiveFunction.MAXIMIZE_RATIO if means.max() > 0 else ObjectiveFunction.MINIMIZE_RISK
    # In units of the mean deviation: the solver's tolerances are absolute, and daily variances are of 1e-4.
    scale = float(np.sqrt(np.trace(estimate.covariance) / names))
    model = MeanRisk(
        objective_function=objective,
        prior_estimator=_prior(means / scale, estimate.covariance / scale**2),
        max_weights=min(max(largest, 1.0 / names), 1.0),
        portfolio_params={"annualized_factor": 1.0},
    )
    found = np.asarray(model.fit(np.zeros((2, names))).weights_, dtype=np.float64)
    found[found < NOTHING] = 0.0
    return np.asarray(found / found.sum())


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
