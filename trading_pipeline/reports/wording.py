"""Numbers, dates and moments in the words and signs that every report uses.

What belongs here: how one value is written. What does not: which values are shown.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import TypeGuard
from zoneinfo import ZoneInfo

UNKNOWN = "–"
_MINUS = "−"


def percent(fraction: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """A fraction as per cent: 0.1234 is `12.3%`, with `signed` `+12.3%`; an unknown one is a dash."""
    return f"{number(fraction * 100, digits, signed=signed)}%" if _known(fraction) else UNKNOWN


def number(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """A number with thousands separators and a real minus sign; what rounds to zero has no sign."""
    if not _known(value):
        return UNKNOWN
    rounded = round(value, digits)
    sign = _MINUS if rounded < 0 else "+" if signed and rounded > 0 else ""
    return f"{sign}{abs(rounded):,.{digits}f}"


def plain(value: float) -> str:
    """A setting as a person would write it: `5`, `7.5`."""
    return f"{value:g}"


def price(value: float | None) -> str:
    """A price: two decimals, four below 1."""
    return number(value, 4 if _known(value) and abs(value) < 1 else 2)


def count(value: int | None, one: str, many: str | None = None) -> str:
    """A number of things: `1 dip`, `1,204 dips`."""
    return f"{number(value, 0)} {one if value == 1 else many or one + 's'}"


def day(value: date) -> str:
    """A day in full: `Friday 5 July 2024`."""
    return f"{value:%A} {value.day} {value:%B} {value.year}"


def short_day(value: date) -> str:
    """A day without its weekday: `5 Jul 2024`."""
    return f"{value.day} {value:%b %Y}"


def moment(value: datetime, timezone: ZoneInfo) -> str:
    """A moment on the exchange's clock and in UTC: `5 Jul 2024, 18:00 EDT (22:00 UTC)`."""
    local, utc = value.astimezone(timezone), value.astimezone(UTC)
    other_day = "" if local.date() == utc.date() else f"{short_day(utc.date())}, "
    return f"{short_day(local.date())}, {local:%H:%M %Z} ({other_day}{utc:%H:%M} UTC)"


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and not math.isnan(value)
