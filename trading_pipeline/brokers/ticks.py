"""In which steps prices are quoted.

What belongs here: rounding a price to what an exchange accepts. What does not: whole shares and sizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TickTable:
    """Price steps by price: (from this price on, this step), descending.

    Sources: SEC Rule 612 of Regulation NMS (US); ASX Operating Rules, price steps of equities (ASX).
    """

    steps: tuple[tuple[float, float], ...]

    def of(self, price: float) -> float:
        """The step at `price`."""
        return next((step for start, step in self.steps if price >= start), self.steps[-1][1])

    def up(self, price: float) -> float:
        """The lowest quotable price that is not below `price`."""
        step = self.of(price)
        return round(math.ceil(round(price / step, 6)) * step, 6)

    def down(self, price: float) -> float:
        """The highest quotable price that is not above `price`; never less than one step."""
        step = self.of(price)
        return round(max(math.floor(round(price / step, 6)), 1) * step, 6)

    def nearest(self, price: float) -> float:
        """The quotable price closest to `price`."""
        step = self.of(price)
        return round(max(round(price / step), 1) * step, 6)


US_TICKS = TickTable(((1.0, 0.01), (0.0, 0.0001)))
ASX_TICKS = TickTable(((2.0, 0.01), (0.1, 0.005), (0.0, 0.001)))
TICKS: dict[str, TickTable] = {"us": US_TICKS, "asx": ASX_TICKS}
"""By the name of the market."""
