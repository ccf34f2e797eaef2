"""Limits on weights: the largest and the smallest position, and how much may be traded at once.

What belongs here: bringing weights within limits. What does not: limits on risk and on an account (`risk/`).
"""

from __future__ import annotations

import numpy as np

from trading_pipeline.research.panel import Floats


class AllocationError(ValueError):
    """Weights cannot be told: one line that names what is wrong, and how to mend it."""


def within_limits(shares: Floats, gross: float, minimum_position: float, maximum_position: float) -> Floats:
    """`shares` (0 or more) scaled to sum `gross`, none above the maximum, none but 0 below the minimum.

    What is cut off at the maximum goes to the others in proportion to their shares; a share of 0 stays 0. Where names
    come out below the minimum, the smallest are dropped, as few as possible, and the rest scaled anew; of two that are
    equal the one further right is dropped first. The sum is less than `gross` where too few names are left to hold it
    within the maximum, and 0 where not even one may be held.
    """
    order = np.argsort(-shares, kind="stable")
    ranked = shares[order]
    held = int(np.count_nonzero(ranked > 0))
    fewest, most = 0, held
    # Fewer names are never smaller ones, so the most that may be held is found by halving.
    while fewest < most:
        count = (fewest + most + 1) // 2
        smallest = _capped(ranked[:count], gross, maximum_position)[-1]
        if smallest >= minimum_position * (1 - 1e-12):
            fewest = count
        else:
            most = count - 1
    weights = np.zeros(len(shares))
    weights[order[:fewest]] = _capped(ranked[:fewest], gross, maximum_position)
    return weights


def turnover(previous: Floats, weights: Floats) -> float:
    """Half of what is bought and sold, as a share of equity."""
    return float(np.abs(weights - previous).sum()) / 2


def towards(previous: Floats, wanted: Floats, turnover_limit: float) -> Floats:
    """As far from `previous` to `wanted` as `turnover_limit` allows, the same part of the way for every name.

    A position on its way in or out may be below the smallest or above the largest position.
    """
    needed = turnover(previous, wanted)
    if needed <= turnover_limit:
        return wanted.copy()
    return np.asarray(previous + (wanted - previous) * (turnover_limit / needed))


def _capped(ranked: Floats, gross: float, largest: float) -> Floats:
    """Positive shares in descending order, as weights of sum `gross` (or as near as `largest` lets them)."""
    count = len(ranked)
    if not count:
        return np.zeros(0)
    if count * largest <= gross:
        return np.full(count, largest)
    rest = np.cumsum(ranked[::-1])[::-1]  # shares from each name on
    left = gross - largest * np.arange(count)  # what is left when all names before it are at the maximum
    scaled = left / rest
    capped = int(np.argmax(ranked * scaled <= largest * (1 + 1e-15)))
    weights = np.minimum(ranked * scaled[capped], largest)
    weights[:capped] = largest
    return np.asarray(weights)
