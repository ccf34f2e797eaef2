"""Regime momentum: rising trends, taken as large and stopped as tightly as the market's regime allows.

The regime is the filtered state of a hidden Markov model of the benchmark (`hidden_markov.py`); the trend is read from
RSI, MACD and ADX as `research/indicators.py` defines them, here of total-return prices. An instrument's entry is its
own; what the regime decides is whether to enter at all, how sure to be, how much to buy and where to stop.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from trading_pipeline.research.indicators import WINDOW, bar_windows
from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import GAP, Floats, in_blocks
from trading_pipeline.research.strategies.base import SignalResult, Strategy, StrategyParameters
from trading_pipeline.research.strategies.conditions import decided, newly
from trading_pipeline.research.strategies.hidden_markov import WalkForward, reach, walk_forward

Percentage = Annotated[float, Field(ge=0, le=100)]
Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0, le=10)]
Multiple = Annotated[float, Field(gt=0, le=20)]

_PLACES = (0.0, 0.5, 1.0)
"""Where the wild, the middling and the calm regime lie among the states; two states are the outer ones."""

_ROUNDING = 9
_LARGEST_STOP = 0.95


class RegimeMomentumParameters(StrategyParameters):
    """The model, the trend, and what the regime makes of it.

    states, window (sessions), refit_months, starts, seed: of the hidden Markov model. least_rsi, most_rsi, least_adx:
    what a trend to enter has, besides a MACD above its signal. leave_rsi: RSI below which a trend that MACD has given
    up is left. enter_below, leave_above: probability of the wildest regime. weights, stops: in the wild, the middling
    and the calm regime, mixed by their probabilities; stops in ATRs.
    """

    states: Literal[2, 3] = 3
    window: int = Field(756, ge=252, le=2520)
    refit_months: Literal[1, 3, 6] = 3
    starts: int = Field(3, ge=1, le=20)
    seed: int = Field(0, ge=0, le=2**31 - 1)
    least_rsi: Percentage = 50.0
    most_rsi: Percentage = 75.0
    leave_rsi: Percentage = 45.0
    least_adx: Percentage = 20.0
    enter_below: Probability = 0.5
    leave_above: Probability = 0.9
    weights: tuple[Weight, Weight, Weight] = (0.25, 0.6, 1.0)
    stops: tuple[Multiple, Multiple, Multiple] = (2.0, 2.5, 3.0)

    @model_validator(mode="after")
    def _ordered(self) -> RegimeMomentumParameters:
        if self.least_rsi >= self.most_rsi:
            raise ValueError(f"least_rsi ({self.least_rsi}) must be below most_rsi ({self.most_rsi})")
        if self.leave_rsi > self.least_rsi:
            raise ValueError(f"leave_rsi ({self.leave_rsi}) must not exceed least_rsi ({self.least_rsi})")
        if self.enter_below > self.leave_above:
            raise ValueError(f"enter_below ({self.enter_below}) must not exceed leave_above ({self.leave_above})")
        return self


class RegimeMomentum(Strategy):
    """Enters at the bar where trend and regime first agree; leaves when the trend is gone or the regime turns wild.

    Confidence is the probability that the regime is not the wildest. Without a regime (too little history, or no fit
    converged) nothing is entered, and the trend alone decides what is left.
    """

    name: ClassVar[str] = "regime_momentum"
    description: ClassVar[str] = (
        "Rides rising stocks, larger in calm markets and not at all when the market turns wild."
    )
    Parameters: ClassVar[type[StrategyParameters]] = RegimeMomentumParameters
    parameters: RegimeMomentumParameters

    @property
    def warm_up(self) -> int:
        """The model's reach or the indicators', and the gap there may be to the bar before."""
        return max(reach(self.parameters.window, self.parameters.refit_months), WINDOW + GAP) + GAP

    def regimes(self, panel: MarketPanel) -> WalkForward:
        """Filtered probabilities of the benchmark's states by session, the wildest first, and the models."""
        asked = self.parameters
        return walk_forward(
            panel.benchmark,
            panel.axes.sessions,
            states=asked.states,
            window=asked.window,
            months=asked.refit_months,
            starts=asked.starts,
            seed=asked.seed,
        )

    def signals(self, panel: MarketPanel) -> SignalResult:
        """Decided on 9 decimals of indicators and probabilities."""
        asked = self.parameters
        probability = np.round(self.regimes(panel).probability, _ROUNDING)
        wild = probability[:, :1]
        trend = _trend(panel)
        wanted = (
            (trend["macd_histogram"] > 0)
            & (trend["rsi_14"] >= asked.least_rsi)
            & (trend["rsi_14"] <= asked.most_rsi)
            & (trend["adx_14"] >= asked.least_adx)
            & (wild < asked.enter_below)
            & (trend["atr_14"] > 0)
        )
        gone = (trend["macd_histogram"] < 0) & (trend["rsi_14"] < asked.leave_rsi)
        share = np.linspace(0.0, 1.0, asked.states)
        known = np.isfinite(wild)
        weight, multiple = (
            np.where(known, probability @ np.interp(share, _PLACES, each)[:, None], 1.0)
            for each in (asked.weights, asked.stops)
        )
        stop = np.minimum(multiple * trend["atr_14"], _LARGEST_STOP)
        result = SignalResult.of(
            newly(wanted, panel.traded),
            gone | (wild > asked.leave_above),
            confidence=np.broadcast_to(np.where(known, np.clip(1 - wild, 0.0, 1.0), 0.0), panel.shape).copy(),
            stop_distance=np.where(known & (stop > 0), stop, np.nan),
            weight=np.broadcast_to(weight, panel.shape).copy(),
        )
        return decided(result, panel, self.warm_up)


@np.errstate(divide="ignore", invalid="ignore")
def _trend(panel: MarketPanel) -> dict[str, Floats]:
    """RSI, ADX, and MACD histogram and ATR as shares of the close, rounded; NaN with too few bars."""
    valid = np.isfinite(panel.high) & np.isfinite(panel.low) & panel.traded
    close = np.where(valid, panel.close, np.nan)
    unsplit = np.ones(panel.shape)
    # Total-return prices know no split: the log return since the bar before is not needed for what is read here.
    measured = in_blocks(bar_windows, valid, close, panel.high, panel.low, panel.volume, unsplit, np.zeros(panel.shape))
    return {
        "rsi_14": np.round(measured["rsi_14"], _ROUNDING),
        "adx_14": np.round(measured["adx_14"], _ROUNDING),
        "macd_histogram": np.round(measured["macd_histogram"] / close, _ROUNDING),
        "atr_14": np.round(measured["atr_14"] / close, _ROUNDING),
    }
