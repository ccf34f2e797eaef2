"""Mean reversion: buy what fell far below its own recent average, sell when it is back.

The z-score of a close is its distance from the mean of the window's closes, its own included, in their sample standard
deviations. The window counts own bars, all within its length and `GAP` sessions more.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import GAP, Floats, OwnBars, window_sum
from trading_pipeline.research.strategies.base import SignalResult, Strategy, StrategyParameters
from trading_pipeline.research.strategies.conditions import decided, newly, within


class MeanReversionParameters(StrategyParameters):
    """window: own bars. entry, exit: z-scores. most_sessions: the longest wait. stop: share of the price, if any."""

    window: int = Field(20, ge=3, le=250)
    entry: float = Field(2.0, gt=0, le=10)
    exit: float = Field(0.5, ge=-10, le=10)
    most_sessions: int = Field(20, ge=1, le=252)
    sides: Literal["long", "both"] = "long"
    stop: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _ordered(self) -> MeanReversionParameters:
        if self.exit >= self.entry:
            raise ValueError(f"exit ({self.exit}) must be below entry ({self.entry})")
        # The largest z-score that n values can have in their own sample standard deviations (Samuelson, 1968).
        highest = (self.window - 1) / self.window**0.5
        if self.entry >= highest:
            raise ValueError(
                f"entry ({self.entry}) is out of reach: z-scores of {self.window} bars end at {highest:.2f}"
            )
        return self


class MeanReversion(Strategy):
    """Enters at the bar whose z-score falls below -entry; leaves above -exit, or `most_sessions` after the entry.

    Short the same way round. A score that returns beyond the entry gives a new entry, and the wait counts from it.
    Confidence is half at the entry and full at twice its z-score.
    """

    name: ClassVar[str] = "mean_reversion"
    description: ClassVar[str] = "Buys a stock far below its recent average and sells when it is back near it."
    Parameters: ClassVar[type[StrategyParameters]] = MeanReversionParameters
    parameters: MeanReversionParameters

    @property
    def warm_up(self) -> int:
        """The window's reach, the gap there may be to the bar before, and how long a position may wait."""
        return self.parameters.window + 2 * GAP + self.parameters.most_sessions

    def signals(self, panel: MarketPanel) -> SignalResult:
        """Decided on 9 decimals of the z-score."""
        asked = self.parameters
        score = z_scores(panel.close, asked.window)
        low, high = newly(score < -asked.entry, panel.traded), newly(score > asked.entry, panel.traded)
        both = asked.sides == "both"
        distance = np.where(np.isfinite(score), np.abs(score), 0.0)
        result = SignalResult.of(
            low,
            (score > -asked.exit) | ~within(low, asked.most_sessions),
            short_entries=high if both else None,
            short_exits=(score < asked.exit) | ~within(high, asked.most_sessions) if both else None,
            confidence=np.minimum(distance / (2 * asked.entry), 1.0),
            stop_distance=None if asked.stop is None else np.full(panel.shape, asked.stop),
        )
        return decided(result, panel, self.warm_up)


def z_scores(close: Floats, window: int) -> Floats:
    """z-scores of the closes within their last `window` own bars, rounded to 9 decimals; NaN with fewer of them.

    NaN too where the prices of the window do not differ by more than rounding.
    """
    own = OwnBars(np.isfinite(close))
    price = own.pack(close, fill=0.0)
    mean = window_sum(price, window) / window
    variance = (window_sum(price**2, window) / window - mean**2) * window / (window - 1)
    known = (own.within(window + GAP) >= window) & (variance > 1e-12 * mean**2)
    return own.unpack(np.round((price - mean) / np.sqrt(np.where(known, variance, np.nan)), 9))
