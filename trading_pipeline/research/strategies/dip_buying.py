"""Dip buying: what fell far from its 52-week high and still has the screener's approval.

Measures it reads, both known at the session's close:

- `verdict`: the screener's verdict as a number: 3 Strong Buy, 2 Buy, 1 Watch, 0 Avoid; NaN: not judged.
- `dip_pct`: how far the close is below the 52-week high, positive per cent; NaN: unknown.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import GAP
from trading_pipeline.research.strategies.base import SignalResult, Strategy, StrategyParameters
from trading_pipeline.research.strategies.conditions import decided, newly, within

AVOID, STRONG_BUY = 0, 3


class DipBuyingParameters(StrategyParameters):
    """least_dip, recovered_at: per cent below the 52-week high. stop: share of the price, None: none."""

    least_dip: float = Field(15.0, gt=0, lt=100)
    recovered_at: float = Field(5.0, ge=0, lt=100)
    least_verdict: int = Field(2, ge=1, le=STRONG_BUY)
    most_sessions: int = Field(63, ge=1, le=504)
    stop: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _ordered(self) -> DipBuyingParameters:
        if self.recovered_at >= self.least_dip:
            raise ValueError(f"recovered_at ({self.recovered_at}) must be below least_dip ({self.least_dip})")
        return self


class DipBuying(Strategy):
    """Enters at the bar that first is deep and approved of; leaves at recovery, at Avoid, or `most_sessions` later.

    First: at the instrument's bar before it was not both, or not a member. Confidence is the verdict's part of a
    Strong Buy.
    """

    name: ClassVar[str] = "dip_buying"
    description: ClassVar[str] = "Buys good companies that fell far from their 52-week high, and sells the recovery."
    Parameters: ClassVar[type[StrategyParameters]] = DipBuyingParameters
    needs: ClassVar[tuple[str, ...]] = ("verdict", "dip_pct")
    parameters: DipBuyingParameters

    @property
    def warm_up(self) -> int:
        """The gap there may be to the bar before, and how long a position may wait."""
        return GAP + self.parameters.most_sessions

    def signals(self, panel: MarketPanel) -> SignalResult:
        """Without a verdict or a dip nothing is entered, and nothing but the wait's end is left."""
        asked = self.parameters
        verdict, dip = panel.measures["verdict"], panel.measures["dip_pct"]
        wanted = (dip >= asked.least_dip) & (verdict >= asked.least_verdict) & panel.member & panel.traded
        entries = newly(wanted, panel.traded)
        leave = (dip <= asked.recovered_at) | (verdict <= AVOID) | ~within(entries, asked.most_sessions)
        result = SignalResult.of(
            entries,
            leave,
            confidence=np.clip(np.nan_to_num(verdict, nan=0.0) / STRONG_BUY, 0.0, 1.0),
            stop_distance=None if asked.stop is None else np.full(panel.shape, asked.stop),
        )
        return decided(result, panel, self.warm_up)
