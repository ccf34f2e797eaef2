"""Signals of time-series momentum.

Moskowitz, Ooi and Pedersen, Time Series Momentum, Journal of Financial Economics 104 (2012): a stock is held while its
own return over the formation, its latest `skip` sessions left out, is positive; it is compared with nothing else.

What belongs here: those signals, for many pairs at once. What does not: the ranking of `strategies.momentum`, which is
no matter of one instrument.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trading_pipeline.research.panel import GAP, Floats, Integers
from trading_pipeline.research.sweeps.kernels.accounting import InstrumentBars
from trading_pipeline.research.sweeps.kernels.compiled import compiled
from trading_pipeline.research.sweeps.kernels.rules import ABOVE, Bits, Rule
from trading_pipeline.research.sweeps.kernels.windows import higher, known


class TimeSeriesMomentum(Rule):
    """In the market from every bar with a positive return to the first without; where it is not known, as it was."""

    def __init__(self, columns: Mapping[str, Floats | Integers]) -> None:
        self._until, self._until_of = np.unique(columns["skip"].astype(np.int64), return_inverse=True)
        self._since, self._since_of = np.unique(columns["formation"].astype(np.int64), return_inverse=True)

    def measured(self, bars: InstrumentBars) -> tuple[np.ndarray, ...]:
        """Closes at the formation's end and beginning, and which of them are known."""
        until = closes_before(bars.close, bars.rows, self._until, GAP)
        since = closes_before(bars.close, bars.rows, self._since, GAP)
        known_until, known_since = known(until), known(since)
        since *= ABOVE
        return until, since, known_until, known_since

    def signals(
        self, bars: InstrumentBars, measured: tuple[np.ndarray, ...], start: int, stop: int
    ) -> tuple[Bits, Bits]:
        """Of the parameter sets from `start` to before `stop`."""
        until, since, known_until, known_since = measured
        until_of, since_of = self._until_of[start:stop], self._since_of[start:stop]
        rose = higher(until, since, until_of, since_of)
        return rose & bars.enters, ~rose & known_until[until_of] & known_since[since_of] & bars.leaves


@compiled
def closes_before(close: Floats, rows: Integers, lags: Integers, gap: int) -> Floats:
    """The close `lag` sessions before each bar, for each of the lags; [lags, bars padded to a multiple of 64].

    The last close stands for sessions without a bar, for up to `gap` of them; NaN where there is none, and in the
    padding.
    """
    bars = len(close)
    table = np.full((len(lags), (bars + 63) // 64 * 64), np.nan)
    for line in range(len(lags)):
        past = -1
        for bar in range(bars):
            row = rows[bar] - lags[line]
            while past + 1 < bars and rows[past + 1] <= row:
                past += 1
            if past >= 0 and row - rows[past] <= gap:
                table[line, bar] = close[past]
    return table
