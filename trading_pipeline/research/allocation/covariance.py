"""Covariances of returns with holes in them.

What belongs here: what is estimated from returns. What does not: weights.

A hole (NaN) is a session without a return: it is left out, pair by pair, and never counted as a return of 0, which
would make a halted name look calm and well diversified, and give it a larger weight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trading_pipeline.research.panel import Floats, Integers, Mask

STALE_RUN = 5
"""Returns of exactly 0 in a row that are a price repeated, not a market: of 197 liquid shares of 2016 to 2022 (322,581
returns, 0.6 % of them 0) the longest such run is of 4; two more, not listed yet, have runs of 5 to 79."""

LEAST_SHARED = 3
"""Sessions that two names share for a covariance of their own; below it their correlation is the mean of all."""

STILL = 1e-9
"""Deviation, relative to the largest return, up to which a name does not move: rounding leaves 1e-16 of a constant."""


class Estimate(NamedTuple):
    """Means and covariances of names, per session. common: k x k, sessions that a pair shares."""

    mean: Floats
    covariance: Floats
    common: Integers


def without_stale(returns: Floats) -> Floats:
    """`returns` (sessions x names) with runs of `STALE_RUN` and more zeros as holes."""
    still = returns == 0
    rows = np.arange(len(returns))[:, None]
    before = np.maximum.accumulate(np.where(still, -1, rows), axis=0)
    after = np.minimum.accumulate(np.where(still, len(returns), rows)[::-1], axis=0)[::-1]
    return np.where(still & (after - before - 1 >= STALE_RUN), np.nan, returns)


def moving(returns: Floats) -> Mask:
    """Names of which a risk can be told: returns on half of the sessions and three at least, and not all alike."""
    known = np.isfinite(returns)
    count = known.sum(axis=0)
    mean = np.where(known, returns, 0.0).sum(axis=0) / np.maximum(count, 1)
    apart = np.where(known, returns - mean, 0.0)
    largest = np.abs(np.where(known, returns, 0.0)).max(axis=0, initial=0.0)
    deviation = np.sqrt((apart**2).sum(axis=0) / np.maximum(count, 1))
    return np.asarray((count >= max(3, len(returns) / 2)) & (deviation > STILL * largest))


def pairwise(returns: Floats) -> Estimate:
    """Mean of each name and sample covariance (n - 1) of each pair, over the sessions on which both have a return.

    Without holes that is the usual covariance. With holes: a name's variance is over its own sessions; a correlation is
    over the shared ones; then negative eigenvalues, which such a matrix may have, are set to 0 and the variances
    restored (Rebonato and Jaeckel 1999), so that no portfolio has a negative risk.
    """
    known = np.isfinite(returns)
    filled = np.where(known, returns, 0.0)
    count = known.sum(axis=0)
    mean = filled.sum(axis=0) / np.maximum(count, 1)
    apart = np.where(known, filled - mean, 0.0)
    common = known.astype(np.float64).T @ known.astype(np.float64)
    if known.all():
        return Estimate(mean, apart.T @ apart / max(len(returns) - 1, 1), common.astype(np.int64))
    variance = (apart**2).sum(axis=0) / np.maximum(count - 1, 1)
    correlation = _correlations(apart, known, common)
    deviation = np.sqrt(variance)
    return Estimate(mean, _possible(correlation) * np.outer(deviation, deviation), common.astype(np.int64))


def ledoit_wolf(returns: Floats) -> Estimate:
    """`pairwise`, its correlations shrunk towards none at all; variances (n) stay as they are.

    Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004, on returns in units
    of each name's deviation. On the returns themselves it also shrinks variances towards their mean: the shares of a
    utility and of a biotech firm are not that alike, and one wild session of one name would make all names the same.
    With holes the same sums are taken over the sessions that a pair shares. Names: with a risk (`moving`).
    """
    estimate = pairwise(returns)
    known = np.isfinite(returns)
    shared = np.maximum(estimate.common, 1).astype(np.float64)
    deviation = np.sqrt(np.diagonal(estimate.covariance * _of_population(estimate.common)))
    sample = estimate.covariance * _of_population(estimate.common) / np.outer(deviation, deviation)
    apart = np.where(known, (returns - estimate.mean) / deviation, 0.0)
    squares = apart**2
    noise = float(((squares.T @ squares / shared - (apart.T @ apart / shared) ** 2) / shared).sum())
    none = np.eye(len(sample))
    distance = float(((sample - none) ** 2).sum())
    shrinkage = min(max(noise, 0.0) / distance, 1.0) if distance > 0 else 0.0
    shrunk = (1 - shrinkage) * sample + shrinkage * none
    return estimate._replace(covariance=shrunk * np.outer(deviation, deviation))


def _of_population(common: Integers) -> Floats:
    """What turns a variance of the sample into one of the population, by the names' own counts."""
    count = np.diagonal(common).astype(np.float64)
    factor = np.sqrt(np.maximum(count - 1, 1) / np.maximum(count, 1))
    return np.outer(factor, factor)


def _correlations(apart: Floats, known: Mask, common: Floats) -> Floats:
    """Correlation of each pair over its shared sessions; the mean of all where they are few or one does not move.

    apart: returns less their mean, 0 in a hole.
    """
    present = known.astype(np.float64)
    shared = np.maximum(common, 1.0)
    sums = apart.T @ present  # of the first, where the second has a return
    squares = (apart**2).T @ present
    cross = apart.T @ apart / shared - sums * sums.T / shared**2
    variance = np.maximum(squares / shared - (sums / shared) ** 2, 0.0)
    told = (common >= LEAST_SHARED) & (variance > STILL**2 * squares / shared)
    told &= told.T
    scale = np.sqrt(np.where(told, variance * variance.T, 1.0))
    correlation = np.where(told, np.clip(cross / scale, -1.0, 1.0), np.nan)
    others = told & ~np.eye(len(told), dtype=np.bool_)
    mean = float(correlation[others].mean()) if others.any() else 0.0
    correlation = np.where(told, correlation, mean)
    np.fill_diagonal(correlation, 1.0)
    return (correlation + correlation.T) / 2


def _possible(correlation: Floats) -> Floats:
    """The correlations without their negative eigenvalues, ones again on the diagonal."""
    values, vectors = np.linalg.eigh(correlation)
    if values[0] >= 0:
        return correlation
    raised = (vectors * np.maximum(values, 0.0)) @ vectors.T
    scale = np.sqrt(np.diagonal(raised))
    possible = raised / np.outer(scale, scale)
    np.fill_diagonal(possible, 1.0)
    return np.asarray((possible + possible.T) / 2)
