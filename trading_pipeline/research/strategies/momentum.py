"""Cross-sectional momentum: hold the members that rose most over a year, its latest month left out.

Jegadeesh and Titman, Returns to Buying Winners and Selling Losers, Journal of Finance 48 (1993), with the month
between formation and holding that the later literature leaves out (12-1): members are ranked by their total return from
252 to 21 sessions ago, on the first session of each month.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import GAP, Floats, carried, shift
from trading_pipeline.research.strategies.base import SignalResult, Strategy, StrategyParameters
from trading_pipeline.research.strategies.conditions import LONGEST, decided, latest, opens_period


class MomentumParameters(StrategyParameters):
    """formation, skip: in sessions. share: of the ranked members that is held; number: how many instead, if given."""

    formation: int = Field(252, ge=2, le=1260)
    skip: int = Field(21, ge=0, le=252)
    share: float = Field(0.1, gt=0, le=1)
    number: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> MomentumParameters:
        if self.skip >= self.formation:
            raise ValueError(f"skip ({self.skip}) must be below formation ({self.formation})")
        if self.number is not None and "share" in self.model_fields_set:
            raise ValueError("give share or number, not both")
        return self


class Momentum(Strategy):
    """Enters whom the month's ranking puts on top; all others are left, from that session until the next ranking.

    A name that did not trade on the first or last session of its formation counts at its last close, if that is at
    most `GAP` sessions older. Confidence is the place among those ranked: 1 for the strongest, near 0 for the weakest.
    """

    name: ClassVar[str] = "momentum"
    description: ClassVar[str] = "Holds the stocks that rose most in the year up to a month ago, chosen monthly."
    Parameters: ClassVar[type[StrategyParameters]] = MomentumParameters
    parameters: MomentumParameters

    @property
    def warm_up(self) -> int:
        """The formation, how old its first price may be, and the longest month since a ranking."""
        return self.parameters.formation + GAP + LONGEST[1]

    def signals(self, panel: MarketPanel) -> SignalResult:
        """Ties go by instrument id; returns are compared on 9 decimals."""
        decides = opens_period(panel.axes.sessions, 1)
        rows = np.flatnonzero(decides)
        price = carried(np.where(panel.traded, panel.close, 1.0), panel.traded)
        past = (shift(price, self.parameters.skip) / shift(price, self.parameters.formation) - 1)[rows]
        ranked = np.isfinite(past) & panel.member[rows] & panel.traded[rows]
        place, count = _places(past, ranked)
        if self.parameters.number is None:
            wanted = np.maximum(np.floor(self.parameters.share * count + 1e-9), 1)
        else:
            wanted = np.full(count.shape, float(self.parameters.number))
        top = ranked & (place < wanted)

        last = latest(decides)
        ranking = np.searchsorted(rows, last)
        held = np.zeros(panel.shape, dtype=np.bool_)
        after = last >= 0
        held[after] = top[ranking[after]]
        entries = np.zeros(panel.shape, dtype=np.bool_)
        entries[rows] = top
        confidence = np.ones(panel.shape)
        confidence[rows] = np.where(ranked, 1 - place / np.maximum(count, 1), 1.0)
        result = SignalResult.of(entries, after[:, None] & ~held, confidence=confidence)
        return decided(result, panel, self.warm_up)


def _places(values: Floats, ranked: np.ndarray) -> tuple[Floats, Floats]:
    """Place of each value among its row's ranked ones, 0 the highest, earlier columns first in a tie; their count."""
    order = np.argsort(np.where(ranked, -np.round(values, 9), np.inf), axis=1, kind="stable")
    place = np.empty(values.shape)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(values.shape[1], dtype=np.float64), values.shape), axis=1)
    return place, ranked.sum(axis=1, keepdims=True).astype(np.float64)
