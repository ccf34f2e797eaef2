"""When a bar was: its session, its phase, its time on the exchange's clock, and whether it was over when received.

What belongs here: placing bars in time. What does not: which days an exchange trades (callers hand the sessions in with
their opens and closes) and what becomes of a bar that lies nowhere (`quality.py`).

A bar belongs to the session of the exchange's local date at its first moment: bars of 20:00 New York time are already
the next day in UTC. Phases hang on the session's own open and close, so a half-day ends its regular hours early and its
post-market with them: on 2025-07-03 New York closed at 13:00 and the last post-market bar starts before 17:00.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import polars as pl

MOMENT = pl.Datetime("us", "UTC")
INTERVALS: dict[str, timedelta] = {f"{minutes}m": timedelta(minutes=minutes) for minutes in (1, 5, 15)}
PHASES = ("pre", "regular", "post")


@dataclass(frozen=True)
class ExtendedHours:
    """How long before the open and after the close an exchange's shares trade."""

    before: timedelta
    after: timedelta


US_EXTENDED_HOURS = ExtendedHours(before=timedelta(hours=5, minutes=30), after=timedelta(hours=4))
"""04:00 to 20:00 New York time, the hours of NYSE Arca and Nasdaq; to 17:00 on half-days."""


def placed(
    bars: pl.DataFrame, days: pl.DataFrame, timezone: str, extended: ExtendedHours = US_EXTENDED_HOURS
) -> pl.DataFrame:
    """`bars` with `session`, `exchange_time` and `phase`, same rows and order.

    bars: [started_at] zone-aware, and whatever else; columns of those three names are replaced. days: [session,
    opened_at, closed_at], zone-aware, one row a session of the exchange. timezone: IANA name of the exchange's zone.

    session: null on a local date that is no session of `days`. phase: `pre`, `regular` or `post`, null outside all of
    them (the hours of overnight venues, for one). A moment that is the open or the close belongs to what it begins.
    """
    calendar = days.select("session", opened="opened_at", closed="closed_at").with_columns(
        pl.col("opened", "closed").dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    )
    moments = bars.select(started_at=_utc(pl.col("started_at"))).unique(maintain_order=True)
    start, opened, closed = pl.col("started_at"), pl.col("opened"), pl.col("closed")
    known = (
        moments.with_columns(session=start.dt.convert_time_zone(timezone).dt.date())
        .join(calendar, on="session", how="left", maintain_order="left")
        .select(
            "started_at",
            session=pl.when(opened.is_not_null()).then("session"),
            exchange_time=_exchange_time(start, timezone),
            phase=pl.when((start >= opened) & (start < closed))
            .then(pl.lit("regular"))
            .when((start < opened) & (start >= opened - extended.before))
            .then(pl.lit("pre"))
            .when((start >= closed) & (start < closed + extended.after))
            .then(pl.lit("post")),
        )
    )
    plain = bars.drop("session", "exchange_time", "phase", strict=False)
    found = plain.select(started_at=_utc(pl.col("started_at"))).join(
        known, on="started_at", how="left", maintain_order="left"
    )
    return plain.hstack(found.drop("started_at"))


def exchange_times(started_at: pl.Series, timezone: str) -> pl.Series:
    """Moments by the exchange's clock as ISO 8601 with the offset, such as 2025-11-28T12:59:00-05:00."""
    frame = pl.DataFrame({"started_at": started_at})
    return frame.select(_exchange_time(pl.col("started_at"), timezone)).to_series().alias("exchange_time")


def forming(interval: pl.Expr, received_at: pl.Expr) -> pl.Expr:
    """Whether a bar was not over when it was received: its figures may still change.

    interval: `1m`, `5m` or `15m`. received_at: zone-aware. Reads the column `started_at`.
    """
    return pl.col("started_at") + length_of(interval) > received_at


def length_of(interval: pl.Expr) -> pl.Expr:
    """How long a bar of that interval lasts."""
    return interval.replace_strict(INTERVALS, return_dtype=pl.Duration("us"))


def _utc(moment: pl.Expr) -> pl.Expr:
    return moment.dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def _exchange_time(moment: pl.Expr, timezone: str) -> pl.Expr:
    return moment.dt.convert_time_zone(timezone).dt.strftime("%Y-%m-%dT%H:%M:%S%:z")
