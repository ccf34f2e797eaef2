"""Where stop and target lie, and in which steps they are quoted.

What belongs here: price levels of one position. What does not: its size (`sizing.py`).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from trading_pipeline.research.money import MICROS, Money, micros
from trading_pipeline.research.panel import Mask
from trading_pipeline.research.risk.limits import Ticks


def atr_levels(
    entry: pl.Expr, atr: pl.Expr, side: pl.Expr, stop_multiple: float, target_multiple: float
) -> tuple[pl.Expr, pl.Expr]:
    """Stop and target so many average true ranges from the entry, against and with the side.

    entry, atr: prices in one basis. side: long or short. Null where entry or ATR is null, not finite or not positive,
    the side is neither, or the level would not be above 0. Not rounded to ticks: `sized` does that. (Wilder's
    volatility stop: New Concepts in Technical Trading Systems, 1978.)
    """
    way = pl.when(side == "long").then(1.0).when(side == "short").then(-1.0)
    usable = (entry > 0) & entry.is_finite() & (atr > 0) & atr.is_finite()

    def level(multiple: float) -> pl.Expr:
        price = entry + way * multiple * atr
        return pl.when(usable & (price > 0)).then(price)

    return level(-stop_multiple), level(target_multiple)


def on_tick(price: Money, up: Mask, ticks: Ticks) -> Money:
    """The nearest quotable price in millionths that is not below `price` where `up`, not above it elsewhere.

    The step is the one that holds at `price`; 0 where no step lies below it.
    """
    step = np.full(len(price), micros(ticks[-1][1]), dtype=np.int64)
    for start, size in reversed(ticks[:-1]):
        step[price >= round(start * MICROS)] = micros(size)
    below = price // step * step
    return np.where(up & (below < price), below + step, below)
