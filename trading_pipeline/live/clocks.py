"""The moments a session ticks at, and a clock that goes as fast as it is asked to.

What belongs here: time. What does not: which days trade (`sessions.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

Sleep = Callable[[float], None]


def grid(opens_at: datetime, closes_at: datetime, seconds: int) -> list[datetime]:
    """open + k x seconds, k = 1, 2 …, up to the close; the close itself is the last tick whatever the step."""
    step = timedelta(seconds=seconds)
    whole = (closes_at - opens_at) // step
    ticks = [opens_at + count * step for count in range(1, whole + 1)]
    return ticks if ticks and ticks[-1] == closes_at else [*ticks, closes_at]


class SimulatedClock:
    """A clock that stands until somebody sleeps: sleeping moves it on, at once."""

    def __init__(self, now: datetime) -> None:
        if now.tzinfo is None:
            raise ValueError(f"naive moment {now!r}: pass a zone-aware datetime")
        self.now = now

    def __call__(self) -> datetime:
        """What time it is."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.now += timedelta(seconds=max(seconds, 0.0))
