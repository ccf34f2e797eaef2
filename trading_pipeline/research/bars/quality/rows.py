"""What a single row says against itself, and the words in which findings are put.

What belongs here: the rules that need no other row. What does not: what compares neighbours (`daily.py`, `history.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

PRICES = ("open", "high", "low", "close")

DUST = 1e-6
"""Relative; vendors send 32-bit floats, exact to 6e-8, and divide them by splits."""
_SMALLEST_PRICE = 5e-5  # smaller ones are zero in NUMERIC(12,4)

Detail = Callable[[NDArray[np.int64]], pl.Series]


def row_faults(numbers: Mapping[str, NDArray[np.float64]]) -> dict[str, tuple[NDArray[np.bool_], Detail]]:
    """Rows that break a constraint: by rule, the mask over rows and a function from row numbers to one-line details.

    numbers: open, high, low, close, volume by name; NaN where null. A null volume is no fault of the row.
    """
    o, h, low, c = (numbers[name] for name in PRICES)
    volume = numbers["volume"]
    finite = np.isfinite(o) & np.isfinite(h) & np.isfinite(low) & np.isfinite(c)
    smallest = np.minimum(np.minimum(o, h), np.minimum(low, c))
    with np.errstate(invalid="ignore"):
        non_positive = finite & (smallest < _SMALLEST_PRICE)
        negative = volume < 0
        outside = (np.maximum(o, c) > h * (1 + DUST)) | (np.minimum(o, c) < low * (1 - DUST)) | (low > h * (1 + DUST))
    return {
        "null_bar": (~finite, lambda row: text("a price is missing", length=len(row))),
        "non_positive_price": (
            non_positive,
            lambda row: text("lowest price {}", number(smallest[row]), length=len(row)),
        ),
        "negative_volume": (negative, lambda row: text("volume {}", number(volume[row], 9), length=len(row))),
        "ohlc_inconsistent": (
            finite & ~non_positive & outside,
            lambda row: text(
                "open {} and close {} against low {} to high {}",
                *(number(part[row], 7) for part in (o, c, low, h)),
                length=len(row),
            ),
        ),
    }


def number(values: Any, digits: int = 4) -> pl.Series:
    """Values to so many significant digits."""
    return pl.Series(np.asarray(values, dtype=np.float64)).round_sig_figs(digits)


def percent(values: Any) -> pl.Series:
    """Fractions as per cent, to two decimals."""
    return pl.Series(np.round(100 * np.asarray(values, dtype=np.float64), 2))


def text(template: str, *parts: Any, length: int) -> pl.Series:
    """One line per row; each `{}` of the template takes the next of the parts."""
    if not parts:
        return pl.Series([template] * length, dtype=pl.String)
    frame = pl.DataFrame({f"part_{position}": part for position, part in enumerate(parts)})
    return frame.select(pl.format(template, *(pl.col(name) for name in frame.columns))).to_series()
