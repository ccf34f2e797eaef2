"""The only place that knows which days an exchange trades.

Sessions come from a committed table (`calendars/*.csv`: holidays and half-days between a literal first session and the
last day the table reaches), so that neither a library upgrade nor the passing of time changes what a session is. What
does not belong here: partitions (see `partitions.py`) and anything that asks the clock; callers pass the moment in.

All moments are zone-aware and returned in UTC; a session is named by its local date.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, cached_property
from importlib import resources
from zoneinfo import ZoneInfo

import numpy as np

from trading_pipeline.errors import UnknownName, UnknownSession

MINIMUM_DAYS_LEFT = 180


@dataclass(frozen=True)
class _Hours:
    timezone: str
    open: time
    close: time
    first_session: date
    last_day: date


# The ordinary hours have not changed since the first session of either table; exceptions are rows of the CSV.
_HOURS = {
    "XNYS": _Hours("America/New_York", time(9, 30), time(16, 0), date(2010, 1, 4), date(2028, 12, 31)),
    "XASX": _Hours("Australia/Sydney", time(10, 0), time(16, 0), date(2010, 1, 4), date(2028, 12, 31)),
}


class ExchangeCalendar:
    """The sessions of one exchange, from `first_session` to `last_session`."""

    def __init__(self, exchange: str, hours: _Hours, holidays: frozenset[date], half_days: dict[date, time]) -> None:
        self.exchange = exchange
        self.timezone = ZoneInfo(hours.timezone)
        self.first_session = hours.first_session
        self.last_day = hours.last_day
        self.holidays = holidays
        self.half_days = half_days
        self._open = hours.open
        self._close = hours.close

    def __repr__(self) -> str:
        return f"ExchangeCalendar({self.exchange})"

    @cached_property
    def sessions(self) -> np.ndarray:
        """Every session as datetime64[D], ascending."""
        days = np.arange(np.datetime64(self.first_session), np.datetime64(self.last_day) + 1)
        closed = np.array(sorted(self.holidays), dtype="datetime64[D]")
        return days[np.is_busday(days, holidays=closed)]

    @property
    def last_session(self) -> date:
        """The last session the table reaches."""
        return _as_date(self.sessions[-1])

    def is_session(self, day: date) -> bool:
        """Whether the exchange trades on that local date (half-days included)."""
        index = int(np.searchsorted(self.sessions, np.datetime64(day)))
        return index < len(self.sessions) and self.sessions[index] == np.datetime64(day)

    def require(self, day: date) -> date:
        """`day` itself if it is a session; `UnknownSession` says what it is otherwise, and names the nearest ones."""
        if self.is_session(day):
            return day
        if not self.first_session <= day <= self.last_day:
            raise UnknownSession(
                f"{day} lies outside the {self.exchange} session table ({self.first_session} to {self.last_day})",
                "Choose a session inside it, or extend the table with python -m trading_pipeline.calendars.generate",
            )
        why = "a weekend" if day.weekday() >= 5 else "a holiday"
        raise UnknownSession(
            f"{day} is {why} on {self.exchange}", f"The sessions around it are {self._around(day)}; choose one of those"
        )

    def _around(self, day: date) -> str:
        index = int(np.searchsorted(self.sessions, np.datetime64(day)))
        return " and ".join(str(session) for session in self.sessions[max(0, index - 1) : index + 1])

    def between(self, first: date, last: date) -> list[date]:
        """The sessions from `first` to `last`, both included; empty when there are none."""
        low, high = np.searchsorted(self.sessions, [np.datetime64(first), np.datetime64(last) + 1])
        return self.sessions[low:high].tolist()  # type: ignore[no-any-return]

    def offset(self, session: date, count: int) -> date:
        """The session `count` sessions after (before, when negative) `session`, clipped to the table's ends."""
        index = int(np.searchsorted(self.sessions, np.datetime64(self.require(session)))) + count
        return _as_date(self.sessions[min(max(index, 0), len(self.sessions) - 1)])

    def on_or_before(self, day: date) -> date:
        """The last session at or before `day`; `UnknownSession` where the table has none."""
        index = int(np.searchsorted(self.sessions, np.datetime64(day), side="right")) - 1
        if index < 0 or day > self.last_day:
            self.require(day)
        return _as_date(self.sessions[index])

    def open_at(self, session: date) -> datetime:
        """When that session opens, UTC."""
        return datetime.combine(self.require(session), self._open, self.timezone).astimezone(UTC)

    def close_at(self, session: date) -> datetime:
        """When that session closes, UTC; half-days close early."""
        close = self.half_days.get(self.require(session), self._close)
        return datetime.combine(session, close, self.timezone).astimezone(UTC)

    def closes(self, sessions: Sequence[date] | np.ndarray) -> np.ndarray:
        """`close_at` of many sessions at once, as datetime64[us] in UTC; computed once per distinct session."""
        days, inverse = np.unique(np.asarray(sessions, dtype="datetime64[D]"), return_inverse=True)
        moments = [self.close_at(_as_date(day)).replace(tzinfo=None) for day in days]
        return np.array(moments, dtype="datetime64[us]")[inverse]

    def local_date(self, moment: datetime) -> date:
        """The exchange's local date at that moment. `moment` must be zone-aware."""
        return _aware(moment).astimezone(self.timezone).date()

    def latest_closed(self, moment: datetime, lag: timedelta = timedelta(0)) -> date:
        """The last session whose close plus `lag` is at or before `moment`."""
        day = self.on_or_before(self.local_date(moment))
        if self.close_at(day) + lag <= _aware(moment):
            return day
        return self.offset(day, -1)

    def is_open(self, moment: datetime) -> bool:
        """Whether the regular session is under way at that moment."""
        day = self.local_date(moment)
        return self.is_session(day) and self.open_at(day) <= _aware(moment) < self.close_at(day)

    def days_left(self, today: date) -> int:
        """How many calendar days of the table remain; below 180 the table should be extended."""
        return (self.last_day - today).days


def _as_date(day: np.datetime64) -> date:
    as_date = day.astype("datetime64[D]").item()
    assert isinstance(as_date, date)
    return as_date


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"naive moment {moment!r}: pass a zone-aware datetime")
    return moment


@cache
def calendar(exchange: str) -> ExchangeCalendar:
    """The calendar of an exchange code (`XNYS`, `XASX`); `UnknownName` lists the known ones otherwise."""
    if exchange not in _HOURS:
        raise UnknownName.of("exchange", exchange, _HOURS)
    holidays: set[date] = set()
    half_days: dict[date, time] = {}
    text = resources.files("trading_pipeline.calendars").joinpath(f"{exchange}.csv").read_text()
    for row in csv.DictReader(text.splitlines()):
        day = date.fromisoformat(row["date"])
        if row["kind"] == "holiday":
            holidays.add(day)
        else:
            half_days[day] = time.fromisoformat(row["close"])
    return ExchangeCalendar(exchange, _HOURS[exchange], frozenset(holidays), half_days)
