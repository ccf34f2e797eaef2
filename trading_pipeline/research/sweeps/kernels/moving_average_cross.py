"""Signals of `strategies.moving_average_cross`, simple averages, long side.

What belongs here: that class's definitions, for many pairs of lengths at once. What does not: any other strategy's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trading_pipeline.research.panel import GAP, Floats, Integers
from trading_pipeline.research.sweeps.kernels.accounting import InstrumentBars
from trading_pipeline.research.sweeps.kernels.compiled import compiled
from trading_pipeline.research.sweeps.kernels.rules import ABOVE, Bits, Rule
from trading_pipeline.research.sweeps.kernels.windows import from_bar, higher, known, window_sums

WARM_UP = 2 * GAP
"""Sessions beyond the slow length before the first signal: the reach of an average, and of the bar before."""


class MovingAverageCross(Rule):
    """Enters at the bar that crosses; leaves at every bar on which the fast average is not above the slow one."""

    def __init__(self, columns: Mapping[str, Floats | Integers]) -> None:
        self._fast, self._fast_of = np.unique(columns["fast"].astype(np.int64), return_inverse=True)
        self._slow, self._slow_of = np.unique(columns["slow"].astype(np.int64), return_inverse=True)

    def measured(self, bars: InstrumentBars) -> tuple[np.ndarray, ...]:
        """The averages, which of them are known, and the bars that may enter and leave for each slow length."""
        fast = window_sums(bars.close, bars.rows, self._fast, GAP)
        fast /= self._fast[:, None]
        slow = window_sums(bars.close, bars.rows, self._slow, GAP)
        slow /= self._slow[:, None]
        first = np.searchsorted(bars.rows, self._slow + WARM_UP)
        enters, leaves = from_bar(first, bars.enters), from_bar(first, bars.leaves)
        known_fast, known_slow = known(fast), known(slow)
        slow *= ABOVE
        return fast, slow, known_fast, known_slow, enters, leaves

    def signals(
        self, bars: InstrumentBars, measured: tuple[np.ndarray, ...], start: int, stop: int
    ) -> tuple[Bits, Bits]:
        """Of the parameter sets from `start` to before `stop`."""
        fast, slow, known_fast, known_slow, enters, leaves = measured
        fast_of, slow_of = self._fast_of[start:stop], self._slow_of[start:stop]
        above = higher(fast, slow, fast_of, slow_of)
        return crosses(above, known_fast, known_slow, fast_of, slow_of, enters, leaves, bars.follows)


@compiled
def crosses(
    above: Bits,
    known_fast: Bits,
    known_slow: Bits,
    fast_of: Integers,
    slow_of: Integers,
    enters: Bits,
    leaves: Bits,
    follows: Bits,
) -> tuple[Bits, Bits]:
    """Bits of the entries and exits.

    above: bits, one row a pair. known_fast, known_slow: bits, one row a length; fast_of, slow_of: each pair's rows of
    them. enters, leaves: bits of the bars that may, one row a slow length. follows: see `InstrumentBars`.
    """
    pairs, words = above.shape
    entries, exits = np.zeros((pairs, words), np.uint64), np.zeros((pairs, words), np.uint64)
    for pair in range(pairs):
        fast, slow = known_fast[fast_of[pair]], known_slow[slow_of[pair]]
        may_enter, may_leave = enters[slow_of[pair]], leaves[slow_of[pair]]
        below_before = np.uint64(0)
        for word in range(words):
            below = ~above[pair, word] & fast[word] & slow[word]
            was_below = below << np.uint64(1) | below_before
            entries[pair, word] = above[pair, word] & was_below & follows[word] & may_enter[word]
            exits[pair, word] = below & may_leave[word]
            below_before = below >> np.uint64(63)
    return entries, exits
