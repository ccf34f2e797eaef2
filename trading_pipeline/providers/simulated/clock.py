"""How much of the simulated market may be told at a moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from trading_pipeline.providers.simulated.lives import Register
from trading_pipeline.sessions import calendar


@dataclass(frozen=True)
class Clock:
    """How far the market is told at a moment.

    position: the last session with a bar, -1 before the first one. day: the local date. elapsed: how much of that
    session is over (1: all). final: whether its bar is.
    """

    position: int
    day: date
    elapsed: float
    final: bool

    @property
    def finished(self) -> int:
        """Position of the last session whose bar is final."""
        return self.position if self.final else self.position - 1


def clock_of(register: Register, now: datetime, lag: timedelta) -> Clock:
    """The clock at `now` (zone-aware), bars being final `lag` after the close; `UnknownSession` beyond the calendar."""
    exchange = calendar(register.market.exchange)
    day = exchange.local_date(now)
    if day < exchange.first_session:
        return Clock(-1, day, 1.0, final=True)
    session = exchange.on_or_before(day)
    position = register.position(session)
    opened, closes = exchange.open_at(session), exchange.close_at(session)
    if now < opened:
        return Clock(position - 1, day, 1.0, final=True)
    return Clock(position, day, min(1.0, (now - opened) / (closes - opened)), final=now >= closes + lag)
