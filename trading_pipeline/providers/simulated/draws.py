"""Random numbers that belong to a place: the seed, the market, what they are for, and the quarter they fall in.

A counter-based generator is keyed by that place, so a longer horizon or another question never shifts an earlier draw.
Rows are slots of companies and columns are weekdays of the quarter, holidays included: a market with more companies
begins with the same ones, and a holiday that is declared late leaves the noise of the other days as it was.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

WEEKDAYS = 66  # no quarter has more
_MASK = (1 << 64) - 1


class Stream(IntEnum):
    """What a draw is for. The numbers are part of every simulated market: append, never renumber."""

    REGIME = 1
    MARKET = 2
    MACRO_EVENTS = 3
    SECTOR = 4
    SECTOR_EVENTS = 5
    COMPANY_TRAITS = 6
    COMPANY_UNIFORMS = 7
    LIFE = 8
    EVENTS = 9
    EVENT_SIZES = 10
    EARNINGS = 11
    IDIOSYNCRATIC = 12
    VOLATILITY = 13
    OVERNIGHT = 14
    RANGE = 15
    VOLUME = 16
    PAIR = 17
    BENCHMARK = 18
    VOLATILITY_INDEX = 19
    FAULTS = 20
    STORMS = 21
    RANGE_BELOW = 22
    MACRO_SIZES = 23
    CHARACTER = 24
    CHARACTER_UNIFORMS = 25
    ACCOUNTS = 26
    REPORTS = 27
    ESTIMATES = 28
    FUNDAMENTAL_FAULTS = 29
    FUNDAMENTAL_GAPS = 30
    NEWS_EVENTS = 31
    NEWS_NOISE = 32
    NEWS_MARKET = 33
    FILINGS = 34
    OPINIONS = 35
    MINUTE_PLAN = 36
    MINUTE_PATH = 37
    MINUTE_INDEX = 38
    MINUTE_EXTENDED = 39
    MINUTE_TRADES = 40
    MINUTE_FAULTS = 41
    MINUTE_STORMS = 42


class Draws:
    """The generators of one market and seed."""

    def __init__(self, seed: int, market: str) -> None:
        self._seed = seed & _MASK
        self._market = int.from_bytes(market.encode()[:3], "big")

    def generator(self, stream: Stream, block: int) -> np.random.Generator:
        """The generator of a stream in a block (a quarter, a generation of companies, a date)."""
        place = (self._market << 40 | int(stream) << 32 | block) & _MASK
        return np.random.Generator(np.random.Philox(key=np.array([self._seed, place], dtype=np.uint64)))

    def students(self, stream: Stream, block: int, shape: tuple[int, ...], degrees: float, limit: float) -> Floats:
        """Student-t draws of unit variance, cut at `limit` standard deviations."""
        draws: Floats = self.generator(stream, block).standard_t(degrees, shape)
        cut: Floats = (draws * np.sqrt((degrees - 2) / degrees)).clip(-limit, limit)
        return cut


def summed_runs(values: Floats, low: Ints, high: Ints) -> Floats:
    """Sums of values[low:high], one a pair of ends; for short runs.

    A difference of cumulated sums would depend, in its last bit, on values that are no part of the run.
    """
    total = np.zeros(len(low))
    for step in range(int((high - low).max(initial=0))):
        here = low + step < high
        total[here] += values[low[here] + step]
    return total


def decaying(start: Floats, innovations: Floats, persistence: float) -> Floats:
    """x[t] = persistence x[t-1] + innovations[t] along the last axis, in one pass.

    Exact to 1e-13 for blocks of a quarter: the weights stay above persistence ** 66.
    """
    weights = persistence ** np.arange(1, innovations.shape[-1] + 1)
    summed: Floats = weights * (np.asarray(start)[..., None] + np.cumsum(innovations / weights, axis=-1))
    return summed
