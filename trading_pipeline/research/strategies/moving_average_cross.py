"""Moving-average cross: long from when the fast average of the closes rises above the slow one until it falls below.

Averages count the instrument's own bars, as charting packages do; a halted session is left out, not filled. The bars
of an average lie within its length and `GAP` sessions more; an exponential one (weight 2 / (length + 1)) reaches back
`EXPONENTIAL_REACH` lengths instead of endlessly, with its weights normalised, so that it is the same number however
long the panel is. That leaves 0.25 % of the endless recursion's weight out.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import GAP, Floats, Integers, OwnBars, decayed_sum, shift, window_sum
from trading_pipeline.research.strategies.base import SignalResult, Strategy, StrategyParameters
from trading_pipeline.research.strategies.conditions import decided

EXPONENTIAL_REACH = 3


class MovingAverageCrossParameters(StrategyParameters):
    """Lengths in own bars; `both` goes short on a cross downwards."""

    fast: int = Field(20, ge=1, le=250)
    slow: int = Field(100, ge=2, le=500)
    average: Literal["simple", "exponential"] = "simple"
    sides: Literal["long", "both"] = "long"

    @model_validator(mode="after")
    def _ordered(self) -> MovingAverageCrossParameters:
        if self.fast >= self.slow:
            raise ValueError(f"fast ({self.fast}) must be below slow ({self.slow})")
        return self


class MovingAverageCross(Strategy):
    """Enters at the close that crosses; the exit stands for as long as the fast average is not above the slow one."""

    name: ClassVar[str] = "moving_average_cross"
    description: ClassVar[str] = "Buys when a short moving average rises above a long one, sells when it falls below."
    Parameters: ClassVar[type[StrategyParameters]] = MovingAverageCrossParameters
    parameters: MovingAverageCrossParameters

    @property
    def warm_up(self) -> int:
        """The slow average's reach, and the gap there may be to the bar before, whose side is needed as well."""
        return self._reach(self.parameters.slow) + GAP

    def signals(self, panel: MarketPanel) -> SignalResult:
        """Decided on 9 decimals of fast / slow, so that two averages that are equal but for rounding do not cross."""
        own = OwnBars(panel.traded)
        close = own.pack(panel.close, fill=0.0)
        fast, slow = (self._average(own, close, length) for length in (self.parameters.fast, self.parameters.slow))
        with np.errstate(invalid="ignore", divide="ignore"):
            side = np.sign(np.round(fast / slow - 1, 9))
        above, below = side > 0, side <= 0
        before = np.where(own.follows, shift(side, 1), np.nan)
        entries = own.unpack((above & (before <= 0)).astype(np.float64)) == 1
        short_entries = own.unpack(((side < 0) & (before >= 0)).astype(np.float64)) == 1
        both = self.parameters.sides == "both"
        result = SignalResult.of(
            entries,
            own.unpack(below.astype(np.float64)) == 1,
            short_entries=short_entries if both else None,
            short_exits=own.unpack((side >= 0).astype(np.float64)) == 1 if both else None,
        )
        return decided(result, panel, self.warm_up)

    def _reach(self, length: int) -> int:
        """Sessions that an average of `length` bars looks at."""
        return length * (1 if self.parameters.average == "simple" else EXPONENTIAL_REACH) + GAP

    def _average(self, own: OwnBars, close: Floats, length: int) -> Floats:
        """Packed; NaN with fewer than `length` bars within the reach."""
        count: Integers = own.within(self._reach(length))
        if self.parameters.average == "simple":
            return np.where(count >= length, window_sum(close, length) / length, np.nan)
        decay = 1 - 2 / (length + 1)
        weights = (1 - decay ** np.arange(len(close) + 1)) / (1 - decay)
        return np.where(count >= length, decayed_sum(close, decay, count) / weights[np.maximum(count, 1)], np.nan)
