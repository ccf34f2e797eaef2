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
_SIGNS = {"USD": "$", "AUD": "A$", "EUR": "€", "GBP": "£"}
_LARGE = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))


def percent(fraction: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """A fraction as per cent: 0.1234 is `12.3%`, with `signed` `+12.3%`; an unknown one is a dash."""
    return f"{number(fraction * 100, digits, signed=signed)}%" if _known(fraction) else UNKNOWN


def number(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """A number with thousands separators and a real minus sign; what rounds to zero has no sign."""
    if not _known(value):
        return UNKNOWN
    # What lies half-way must not be decided by its last bits: they depend on how long a range it was computed in.
    rounded = round(round(value, 9), digits)
    sign = _MINUS if rounded < 0 else "+" if signed and rounded > 0 else ""
    return f"{sign}{abs(rounded):,.{digits}f}"


def plain(value: float) -> str:
    """A setting as a person would write it: `5`, `7.5`."""
    return f"{value:g}"


def price(value: float | None) -> str:
    """A price: two decimals, four below 1."""
    return number(value, 4 if _known(value) and abs(value) < 1 else 2)


def times(value: float | None, digits: int = 1) -> str:
    """A multiple or a ratio: `18.4`; a dash where it is unknown, and where it is not positive or beyond any use."""
    return number(value, digits) if _known(value) and 0 < value < 1e5 else UNKNOWN


def large(value: float | None) -> str:
    """An amount as it is spoken: `2.1 trillion`, `350 million`, `12,000`."""
    if not _known(value):
        return UNKNOWN
    for unit, name in _LARGE:
        if abs(value) >= unit:
            return f"{number(value / unit, 1 if abs(value) < 100 * unit else 0)} {name}"
    return number(value, 0)


def money(value: float | None, currency: str) -> str:
    """A whole amount with its currency: `$2,000`, `CHF 2,000`."""
    return f"{_SIGNS.get(currency, currency + ' ')}{number(value, 0)}" if _known(value) else UNKNOWN


def cash(value: float | None, currency: str, *, signed: bool = False) -> str:
    """An amount to the cent with its currency: `$2,000.50`, `−$12.00`, with `signed` `+$12.00`; never `−$0.00`."""
    if not _known(value):
        return UNKNOWN
    shown = number(value, 2, signed=signed)
    sign = shown[0] if shown[0] in f"{_MINUS}+" else ""
    return f"{sign}{_SIGNS.get(currency, currency + ' ')}{shown.removeprefix(sign)}"


def share(low: float, high: float) -> str:
    """A recommended share of the portfolio, from fractions: `2–4 %`."""
    ends = [plain(round(end * 100, 4)) for end in (low, high)]
    return f"{ends[1]} %" if ends[0] == ends[1] else f"{ends[0]}–{ends[1]} %"


def amounts(low: float, high: float, currency: str) -> str:
    """A range of whole amounts: `$2,000–4,000`."""
    least, most = money(low, currency), money(high, currency)
    return most if least == most else f"{least}–{number(high, 0)}"


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


def clock(value: datetime, timezone: ZoneInfo) -> str:
    """The time of day on the exchange's clock, without its zone: `09:31`."""
    return f"{value.astimezone(timezone):%H:%M}"


def weekday(value: date) -> str:
    """A day by its weekday, for days that are near: `Mon 8 Jul`."""
    return f"{value:%a} {value.day} {value:%b}"


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and not math.isnan(value)
