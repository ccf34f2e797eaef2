"""Resampling sessions in blocks, so that what follows upon what is kept.

What belongs here: which rows a resampled path is made of, and how long its blocks should be. What does not: what is
made of the paths (`monte_carlo.py`, `comparison.py`).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from trading_pipeline.research.panel import Floats, Integers
from trading_pipeline.research.performance.series import PerformanceError, varies

Blocks = Literal["stationary", "circular"]

CELLS = 1 << 21
"""Paths x sessions held at a time: 16 MB an array, of which some eight are alive at once."""


def generator(seed: int) -> np.random.Generator:
    """The generator of that seed; PCG64 by name, because numpy's default generator may become another one."""
    return np.random.Generator(np.random.PCG64(seed))


def batches(paths: int, cells_a_path: int) -> list[int]:
    """How many paths to hold at a time, so that no more than `CELLS` numbers are; they add up to `paths`."""
    size = max(1, CELLS // max(cells_a_path, 1))
    return [min(size, paths - done) for done in range(0, paths, size)]


def block_rows(
    random: np.random.Generator, paths: int, sessions: int, length: int, block: float, method: Blocks = "stationary"
) -> Integers:
    """paths x length: rows of the `sessions` that there are, in blocks; the first row follows upon the last.

    stationary: blocks of geometric length, `block` on average, so that the path is stationary (Politis and Romano
    1994). circular: blocks of `block` sessions, rounded (Politis and Romano 1992).
    """
    checked_block(block, sessions)
    if method == "circular":
        size = max(1, round(block))
        start = random.integers(0, sessions, (paths, -(-length // size)))
        rows = start[:, :, None] + np.arange(size)
        return np.asarray((rows.reshape(paths, -1) % sessions)[:, :length])
    begins = random.random((paths, length)) < 1.0 / block
    begins[:, :1] = True
    start = random.integers(0, sessions, (paths, length))
    step = np.arange(length)
    began = np.maximum.accumulate(np.where(begins, step, 0), axis=1)
    return np.asarray((np.take_along_axis(start, began, axis=1) + step - began) % sessions)


def checked_block(block: float, sessions: int) -> None:
    """`PerformanceError` where blocks of that length cannot be drawn from so many sessions."""
    if sessions < 2:
        raise PerformanceError(f"resampling needs 2 sessions or more: there are {sessions}")
    if not 1 <= block <= sessions:
        raise PerformanceError(f"a block must be of 1 to {sessions} sessions, which there are: got {block}")


def optimal_block(returns: Floats, method: Blocks = "stationary") -> float:
    """Block length, in sessions, with the least mean squared error of the bootstrapped variance of the mean.

    Politis and White 2004 with the correction of Patton, Politis and White 2009; 1 where nothing varies.
    """
    count = len(returns)
    if count < 8 or not varies(returns):
        return 1.0
    apart = returns - returns.mean()
    streak = max(5, int(math.log10(count)))
    most = min(math.ceil(math.sqrt(count)) + streak, count - 2)
    covariance = np.array([apart[lag:] @ apart[: count - lag] for lag in range(most + 1)]) / count
    # The correlation of a lag is scaled by the sums that begin one session later, as the authors' own code does.
    ahead = np.array([apart[lag + 1 :] @ apart[lag + 1 :] for lag in range(most + 1)])
    behind = np.array([apart[: -lag - 1] @ apart[: -lag - 1] for lag in range(most + 1)])
    scale = np.sqrt(ahead * behind)
    correlation = np.abs(np.divide(covariance * count, scale, out=np.zeros_like(scale), where=scale > 0))
    quiet = correlation < 2 * math.sqrt(math.log10(count) / count)
    runs = [lag for lag in range(most + 1 - streak) if quiet[lag : lag + streak].all()]
    bandwidth = min(2 * max(runs[0], 1) if runs else most, most)
    lag = np.arange(1, bandwidth + 1)
    taper = np.minimum(1.0, 2 * (1 - lag / bandwidth))
    spread = 2 * float((taper * lag * covariance[1 : bandwidth + 1]).sum())
    long_run = float(covariance[0] + 2 * (taper * covariance[1 : bandwidth + 1]).sum())
    longest = float(math.ceil(min(3 * math.sqrt(count), count / 3)))
    if long_run**2 <= 0:
        return longest
    constant = 2.0 if method == "stationary" else 4.0 / 3.0
    length = (2 * spread**2 / (constant * long_run**2) * count) ** (1 / 3)
    return float(np.clip(length, 1.0, longest))
