"""What time it is: one small object, so that tests can say.

What does not belong here: which days trade (`sessions.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The present moment, UTC."""
    return datetime.now(UTC)


def fixed_clock(moment: datetime) -> Clock:
    """A clock that always says `moment`, which must be zone-aware; in UTC, as every clock."""
    if moment.tzinfo is None:
        raise ValueError(f"naive moment {moment!r}: pass a zone-aware datetime")
    return lambda: moment.astimezone(UTC)
