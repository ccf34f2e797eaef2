"""What trading costs in the simulated market: how far a price slips, how much of a bar is ours, what the broker takes.

What belongs here: the formulas and their parameters. What does not: which order fills when (`matching.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from trading_pipeline.brokers.base import Side


@dataclass(frozen=True)
class Costs:
    """The parameters, with what is usual for liquid US shares.

    slippage_bps: lost on every order that takes liquidity, basis points of the price.
    spread_bps: the whole bid-ask spread, basis points; such an order pays half of it.
    impact: price impact of taking a whole bar, as a fraction of the price; it grows with the square of the share taken
        (the volume-share model of Zipline, with the same coefficient).
    participation: the largest share of a bar's volume that all our orders together get, 0 to 1.
    fee_per_share, fee_least: money per share, and the least a filled order costs altogether.
    fee_bps: basis points of the money traded, on top.
    """

    slippage_bps: float = 1.0
    spread_bps: float = 2.0
    impact: float = 0.1
    participation: float = 0.1
    fee_per_share: float = 0.005
    fee_least: float = 1.0
    fee_bps: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{item.name} is {value}; give a number that is not negative")
        if not 0 < self.participation <= 1:
            raise ValueError(f"participation is {self.participation}; give a share above 0 and up to 1")

    def capacity(self, volume: float | None) -> int | None:
        """Shares of a bar that we may get, whole ones; None, without limit, where the volume is unknown."""
        return None if volume is None else math.floor(round(self.participation * volume, 6))

    def slipped(self, side: Side, price: float, quantity: int, volume: float | None) -> float:
        """What `quantity` shares cost each when taken at `price`, not rounded.

        price x (1 + d x (slippage_bps / 10^4 + spread_bps / (2 x 10^4) + impact x share^2)), d = 1 for buys and -1 for
        sells, share = quantity / volume. Where the volume is unknown the share counts as `participation`.
        """
        share = quantity / volume if volume else self.participation
        lost = self.slippage_bps / 1e4 + self.spread_bps / 2e4 + self.impact * share**2
        return price * (1 + lost if side == "buy" else max(1 - lost, 0.0))

    def fee(self, before: int, quantity: int, price: float) -> float:
        """Fee of a fill, to the cent, of an order that had `before` shares filled already.

        The least fee is due once per order: each fill pays what the order owes by then, less what it has paid.
        """
        return round(
            self._owed(before + quantity) - self._owed(before) + round(self.fee_bps / 1e4 * quantity * price, 2), 2
        )

    def _owed(self, quantity: int) -> float:
        return round(max(self.fee_least, self.fee_per_share * quantity), 2) if quantity else 0.0
