"""Sharpe ratios judged by the length of the record, its tails, and how many were tried.

What belongs here: Bailey and Lopez de Prado's probabilistic and deflated Sharpe ratio and what they are made of. What
does not: the Sharpe ratio itself (`series.py`).

All Sharpe ratios here are a session (or whatever the record counts), never a year: divide a yearly one by the root of
the sessions a year. Kurtosis is not in excess: 3 for a normal distribution.

Sources: The Sharpe ratio efficient frontier, Journal of Risk 15 (2012), for the probabilistic ratio and the minimum
track record; The deflated Sharpe ratio, Journal of Portfolio Management 40 (2014), for the rest.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal

import numpy as np

from trading_pipeline.research.panel import Floats
from trading_pipeline.research.performance.series import PerformanceError

EULER = 0.5772156649015329
"""The constant of Euler and Mascheroni."""

_NORMAL = NormalDist()


def probabilistic_sharpe(
    sharpe: float, observations: int, skew: float, kurtosis: float, threshold: float = 0.0
) -> float:
    """Probability that the true Sharpe ratio is above `threshold`, where `sharpe` was seen on `observations` returns.

    Phi((SR - SR*) sqrt(T - 1) / sqrt(1 - skew SR + (kurtosis - 1) / 4 SR^2)). `PerformanceError` for fewer than two
    observations and for moments that no distribution has.
    """
    if observations < 2:
        raise PerformanceError(f"a Sharpe ratio needs 2 returns or more: there are {observations}")
    spread = math.sqrt(_variance_factor(sharpe, skew, kurtosis))
    z = (sharpe - threshold) * math.sqrt(observations - 1) / spread
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def minimum_track_record(
    sharpe: float, skew: float, kurtosis: float, threshold: float = 0.0, confidence: float = 0.95
) -> float | None:
    """Observations from which on `sharpe` is above `threshold` with `confidence`; None where it is not above it.

    1 + (1 - skew SR + (kurtosis - 1) / 4 SR^2) (z / (SR - SR*))^2, not rounded.
    """
    if not 0.5 < confidence < 1:
        raise PerformanceError(f"the confidence must be between 0.5 and 1: got {confidence}")
    if not sharpe > threshold:
        return None
    z = _NORMAL.inv_cdf(confidence)
    return 1.0 + _variance_factor(sharpe, skew, kurtosis) * (z / (sharpe - threshold)) ** 2


def expected_maximum_sharpe(trials: float, variance: float) -> float:
    """Sharpe ratio that the best of so many independent trials without any skill is expected to show.

    sqrt(V) ((1 - g) Z(1 - 1/N) + g Z(1 - 1/(N e))), g being Euler's constant and Z the inverse normal distribution.
    trials: 1 or more, not necessarily whole. variance: of the trials' Sharpe ratios. One trial: 0.
    """
    if not trials >= 1 or not math.isfinite(trials):
        raise PerformanceError(f"the number of trials must be 1 or more: got {trials}")
    if not variance >= 0 or not math.isfinite(variance):
        raise PerformanceError(f"the variance of the trials' Sharpe ratios must be 0 or more: got {variance}")
    if trials == 1:
        return 0.0
    best = (1 - EULER) * _NORMAL.inv_cdf(1 - 1 / trials) + EULER * _NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    # Between 1 and 1.7 trials the approximation is below 0, which the best of several is not expected to be.
    return math.sqrt(variance) * max(best, 0.0)


def deflated_sharpe(
    sharpe: float, observations: int, skew: float, kurtosis: float, trials: float, variance: float | None = None
) -> float:
    """Probability that the true Sharpe ratio is above what the best of `trials` without any skill would show.

    variance: of the Sharpe ratios of the trials, a session; where it is not known, what chance alone gives the Sharpe
    ratio of a record of this length without skill, 1 / (T - 1).
    """
    if observations < 2:
        raise PerformanceError(f"a Sharpe ratio needs 2 returns or more: there are {observations}")
    spread = 1.0 / (observations - 1) if variance is None else variance
    return probabilistic_sharpe(sharpe, observations, skew, kurtosis, expected_maximum_sharpe(trials, spread))


def independent_trials(
    correlations: Floats, method: Literal["average_correlation", "eigenvalues"] = "average_correlation"
) -> float:
    """How many independent trials as many correlated ones amount to, from 1 to their number.

    correlations: trials x trials, of their returns. average_correlation: m + (1 - m) N, m being the mean correlation of
    two different trials, not below 0 (Bailey and Lopez de Prado 2014, appendix 3); never too few where the trials come
    in groups: of two groups of 50 that are all alike it makes 51. eigenvalues: (sum l)^2 / sum l^2 of the eigenvalues,
    the participation ratio, which makes 2 of them; too few where one group is much larger than the rest.
    """
    matrix = np.asarray(correlations, dtype=np.float64)
    count = len(matrix)
    if matrix.ndim != 2 or matrix.shape != (count, count) or not count:
        raise PerformanceError(f"correlations must be a square matrix of trials: got {matrix.shape}")
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > 1 + 1e-9 or not np.allclose(matrix, matrix.T):
        raise PerformanceError("correlations must be symmetric and between -1 and 1: leave out trials that never vary")
    if count == 1:
        return 1.0
    if method == "eigenvalues":
        return float(np.clip(np.trace(matrix) ** 2 / (matrix**2).sum(), 1.0, count))
    mean = (matrix.sum() - np.trace(matrix)) / (count * (count - 1))
    return float(np.clip(mean, 0.0, 1.0) * (1 - count) + count)


def sharpe_variance_factor(sharpe: float, skew: float, kurtosis: float) -> float:
    """T - 1 times the variance of a Sharpe ratio estimated on T returns: 1 - skew SR + (kurtosis - 1) / 4 SR^2.

    Above 0 for every distribution (Pearson: kurtosis >= skew^2 + 1) but one of two values, where it may be 0.
    """
    return 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2


def _variance_factor(sharpe: float, skew: float, kurtosis: float) -> float:
    factor = sharpe_variance_factor(sharpe, skew, kurtosis)
    if not factor > 0 or not math.isfinite(factor):
        raise PerformanceError(
            f"no distribution has a Sharpe ratio of {sharpe} with skew {skew} and kurtosis {kurtosis}: "
            "give the kurtosis itself, 3 for a normal distribution, not its excess"
        )
    return factor
