"""The faults of real providers, planted at places that `truth.py` publishes.

A fault belongs to the session it spoils and is part of what the provider says of it at any time. Only ordinary sessions
are spoiled: none beside a split, a dividend, a listing, an end or a shock of the company's own, so that each fault has
one right verdict. A 429 storm belongs to the day on which is asked, and passes at the next attempt.
"""

from __future__ import annotations

from datetime import date
from enum import IntEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

from trading_pipeline.providers.simulated.draws import WEEKDAYS, Draws, Flags, Floats, Ints, Stream

if TYPE_CHECKING:
    from trading_pipeline.providers.simulated.market import SimulatedMarket

FAULT_CHANCE: Final = 5e-4  # of a bar
STORM_CHANCE: Final = 0.15  # of a day on which is asked
STORM_SHARE: Final = 0.04  # of the symbols asked on such a day


class Fault(IntEnum):
    """What the provider gets wrong about one bar."""

    NULL_BAR = 1  # open, high, low and close are null, the volume is there
    HUNDREDFOLD = 2  # prices in the minor unit of the currency: times 100
    MISSING_SESSION = 3  # no row
    DUPLICATE = 4  # the row comes twice
    FROZEN_BAR = 5  # the close before in all four prices, and no volume
    OHLC_INCONSISTENT = 6  # the high lies below the close


def plant(market: SimulatedMarket, block: int, columns: Ints, span: slice, quiet: Flags) -> None:
    """Mark the bars of a quarter that the provider will get wrong; `quiet` (slots x sessions) may be spoiled."""
    draws = market.draws.generator(Stream.FAULTS, block).random((market.slots, WEEKDAYS))[:, columns]
    # The place inside the small chance picks the kind: one draw decides both.
    kind = 1 + (draws / FAULT_CHANCE * len(Fault)).astype(np.int64)
    market.fault[: market.slots, span] = np.where(quiet & (draws < FAULT_CHANCE), kind, 0)


def neighbours(flags: Flags) -> Flags:
    """The flagged sessions with the ones before and after them."""
    wide = flags.copy()
    wide[:, 1:] |= flags[:, :-1]
    wide[:, :-1] |= flags[:, 1:]
    return wide


def spoil(fault: Ints, prices: list[Floats], volume: Floats, close_before: Floats) -> None:
    """Spoil bars in place (`prices`: open, high, low, close); missing and duplicate rows are left to the caller."""
    opening, high, low, close = prices
    high[:] = np.where(fault == Fault.OHLC_INCONSISTENT, np.round(0.5 * (low + np.minimum(opening, close)), 2), high)
    lifted = (fault == Fault.OHLC_INCONSISTENT) & (high >= close)
    high[lifted] = close[lifted] - 0.01
    for price in prices:
        price[fault == Fault.NULL_BAR] = np.nan
        price[fault == Fault.HUNDREDFOLD] *= 100
        price[fault == Fault.FROZEN_BAR] = close_before[fault == Fault.FROZEN_BAR]
    volume[fault == Fault.FROZEN_BAR] = 0.0


def stormed(draws: Draws, day: date, symbols: list[str]) -> list[str]:
    """The symbols whose first request on that local day is answered with 429."""
    return struck(draws.generator(Stream.STORMS, day.toordinal()), symbols, STORM_CHANCE)


def struck(generator: np.random.Generator, symbols: list[str], chance: float) -> list[str]:
    """The symbols that a storm hits, which comes with that chance: each one or not, whoever else is asked for."""
    if generator.random() >= chance:
        return []
    salt = int(generator.integers(1 << 30))
    limit = int(STORM_SHARE * (1 << 32))
    return [symbol for symbol in symbols if _hash(f"{salt}:{symbol}") < limit]


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")
