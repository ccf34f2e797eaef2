"""Signals of `strategies.mean_reversion`, long side.

What belongs here: that class's definitions, for many parameter sets at once. What does not: any other strategy's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trading_pipeline.research.panel import GAP, Floats, Integers
from trading_pipeline.research.sweeps.kernels.accounting import InstrumentBars
from trading_pipeline.research.sweeps.kernels.compiled import compiled
from trading_pipeline.research.sweeps.kernels.rules import Bits, Rule
from trading_pipeline.research.sweeps.kernels.windows import from_bar, window_sums

WARM_UP = 2 * GAP
"""Sessions beyond window and wait before the first signal: the reach of a window, and of the bar before."""


class MeanReversion(Rule):
    """Enters at the bar whose z-score falls below -entry; leaves above -exit, or `most_sessions` after the entry."""

    def __init__(self, columns: Mapping[str, Floats | Integers]) -> None:
        self._windows, window_of = np.unique(columns["window"].astype(np.int64), return_inverse=True)
        most = columns["most_sessions"].astype(np.int64)
        entry, leave = (columns[name].astype(np.float64) for name in ("entry", "exit"))
        self._warm_up = self._windows[window_of] + WARM_UP + most
        self._low, self._low_of = _distinct(window_of, entry)
        self._back, self._back_of = _distinct(window_of, leave)
        self._late, self._late_of = _distinct(self._low_of, most)

    def measured(self, bars: InstrumentBars) -> tuple[Bits, Bits, Bits]:
        """Bits of new lows, of scores that are back, and of waits that are over."""
        score = z_scores(
            bars.close,
            window_sums(bars.close, bars.rows, self._windows, GAP),
            window_sums(bars.close**2, bars.rows, self._windows, GAP),
            self._windows,
        )
        low = newly(beyond(-score, self._low[:, 0].astype(np.int64), self._low[:, 1]), bars.follows)
        back = beyond(score, self._back[:, 0].astype(np.int64), -self._back[:, 1])
        return low, back, over(low, self._late[:, 0].astype(np.int64), self._late[:, 1].astype(np.int64), bars.rows)

    def signals(
        self, bars: InstrumentBars, measured: tuple[Bits, Bits, Bits], start: int, stop: int
    ) -> tuple[Bits, Bits]:
        """Of the parameter sets from `start` to before `stop`."""
        low, back, late = measured
        cut = slice(start, stop)
        first = np.searchsorted(bars.rows, self._warm_up[cut])
        entries = low[self._low_of[cut]] & from_bar(first, bars.enters)
        return entries, (back[self._back_of[cut]] | late[self._late_of[cut]]) & from_bar(first, bars.leaves)


def _distinct(first: Integers, second: Floats | Integers) -> tuple[Floats, Integers]:
    """The distinct pairs [pairs, 2], and which of them each pair is."""
    pairs, pair_of = np.unique(np.column_stack([first, second]).astype(np.float64), axis=0, return_inverse=True)
    return pairs, pair_of.reshape(-1)


@compiled
def z_scores(close: Floats, sums: Floats, squares: Floats, windows: Integers) -> Floats:
    """z-scores of the closes in sample standard deviations, rounded to 9 decimals; a table like the two given ones."""
    scores = np.empty_like(sums)
    for line in range(len(windows)):
        window = windows[line]
        for bar in range(sums.shape[1]):
            mean = sums[line, bar] / window
            variance = (squares[line, bar] / window - mean * mean) * window / (window - 1)
            scores[line, bar] = np.nan
            if variance > 1e-12 * (mean * mean):
                scores[line, bar] = np.rint((close[bar] - mean) / np.sqrt(variance) * 1e9) / 1e9
    return scores


@compiled
def beyond(table: Floats, line_of: Integers, bounds: Floats) -> Bits:
    """Bits of where line line_of[i] of a table is above bounds[i], for every i."""
    words = table.shape[1] // 64
    bits = np.empty((len(line_of), words), np.uint64)
    for each in range(len(line_of)):
        values, bound = table[line_of[each]], bounds[each]
        for word in range(words):
            above = np.uint64(0)
            for bit in range(64):
                above |= np.uint64(values[word * 64 + bit] > bound) << np.uint64(bit)
            bits[each, word] = above
    return bits


@compiled
def newly(bits: Bits, follows: Bits) -> Bits:
    """Bits that are set and were not at the bar before, or whose bar before is too long ago."""
    new = np.empty_like(bits)
    for each in range(bits.shape[0]):
        before = np.uint64(0)
        for word in range(bits.shape[1]):
            new[each, word] = bits[each, word] & ~((bits[each, word] << np.uint64(1) | before) & follows[word])
            before = bits[each, word] >> np.uint64(63)
    return new


@compiled
def over(low: Bits, low_of: Integers, most: Integers, rows: Integers) -> Bits:
    """Bits of the bars with no bit of line low_of[i] in the last most[i] sessions, their own included, for every i."""
    bits = np.zeros((len(low_of), low.shape[1]), np.uint64)
    for each in range(len(low_of)):
        fallen, sessions = low[low_of[each]], most[each]
        entered = -sessions
        for bar in range(len(rows)):
            if fallen[bar >> 6] >> np.uint64(bar & 63) & np.uint64(1):
                entered = rows[bar]
            bits[each, bar >> 6] |= np.uint64(rows[bar] - entered >= sessions) << np.uint64(bar & 63)
    return bits
