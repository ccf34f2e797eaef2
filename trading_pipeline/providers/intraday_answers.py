"""What the providers of intraday bars share: the spans a question means, and the frame an answer becomes.

What belongs here: turning sessions into spans of time, cutting an answer to what was asked, and telling rows from
further rows of the same bar. What does not: judging bars (`research/intraday/`), and anything of one provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

import polars as pl

from trading_pipeline.errors import LiveOnly
from trading_pipeline.markets import Market
from trading_pipeline.providers.errors import EmptyWindow
from trading_pipeline.providers.intraday import INTRADAY_SCHEMA, MINUTES, Interval
from trading_pipeline.research.ordering import in_order
from trading_pipeline.sessions import calendar

PRICES = ("open", "high", "low", "close")
KEY = ("symbol", "started_at")


class Span(NamedTuple):
    """From `start` (included) to `end` (not included), zone-aware."""

    start: datetime
    end: datetime


def spans_of(
    market: Market,
    sessions: Sequence[date],
    *,
    now: datetime,
    since: datetime | None = None,
    longest: timedelta | None = None,
) -> list[Span]:
    """What to ask for: from local midnight to local midnight, neighbouring sessions in one span, in order.

    Nothing before `since` or after `now` is asked for; no span is longer than `longest`. `UnknownSession` where the
    exchange does not trade.
    """
    exchange = calendar(market.exchange)
    spans: list[Span] = []
    before: date | None = None
    for session in sorted(set(sessions)):
        start = _midnight(exchange.require(session), market)
        end = _midnight(session + timedelta(days=1), market)
        last = spans[-1] if spans else None
        follows = before is not None and exchange.offset(before, 1) == session
        if last is not None and follows and (longest is None or end - last.start <= longest):
            spans[-1] = Span(last.start, end)
        else:
            spans.append(Span(start, end))
        before = session
    cut = (Span(max(span.start, since or span.start), min(span.end, now)) for span in spans)
    return [span for span in cut if span.start < span.end]


def within_reach(
    provider: str,
    reach: timedelta | None,
    market: Market,
    sessions: Sequence[date],
    interval: Interval,
    *,
    now: datetime,
    since: datetime | None = None,
) -> None:
    """`LiveOnly` where bars of `sessions` (from `since` on) begin further back from `now` than `reach`."""
    if reach is None or not sessions:
        return
    first = min(sessions)
    start = _midnight(first, market)
    if max(start, since or start) < now - reach:
        earliest = (now - reach).astimezone(calendar(market.exchange).timezone).date() + timedelta(days=1)
        raise LiveOnly(
            f"{provider} tells bars of {interval} for {reach.days} days, and {first} is further back",
            f"Ask for sessions from {earliest} on, or bring the bars in files (INTRADAY_FILES)",
        )


def of_sessions(bars: pl.DataFrame, market: Market, sessions: Sequence[date], since: datetime | None) -> pl.DataFrame:
    """Rows that begin on one of `sessions` by the exchange's local date, from `since` on. bars: INTRADAY_SCHEMA."""
    zone = str(calendar(market.exchange).timezone)
    start = pl.col("started_at")
    wanted = start.dt.convert_time_zone(zone).dt.date().is_in(list(sessions))
    return bars.filter(wanted if since is None else wanted & (start >= since))


def traded(bars: pl.DataFrame) -> pl.DataFrame:
    """`bars` without the rows that list a minute in which nothing was traded: no price, and no volume or a zero."""
    silent = pl.all_horizontal(pl.col(*PRICES).is_null()) & (pl.col("volume").fill_null(0.0) == 0)
    return bars.filter(~silent)


def unknown_outside_hours(bars: pl.DataFrame, market: Market) -> pl.DataFrame:
    """`bars` with null for a volume of zero outside regular hours.

    A bar with prices was traded, so that its volume cannot be zero: Yahoo tells prices before the open and after the
    close, and no volume (4,696 bars of SPY: 2,751 zeros, all of them there; only the first minute after the close,
    which holds the closing auction, has some). Zeros of regular hours are left for the quality rules.
    """
    exchange = calendar(market.exchange)
    zone = str(exchange.timezone)
    day = pl.col("started_at").dt.convert_time_zone(zone).dt.date()
    dates = bars.select(day.unique()).to_series().sort().to_list()
    hours = pl.DataFrame(
        [(each, exchange.open_at(each), exchange.close_at(each)) for each in dates if exchange.is_session(each)],
        schema={"day": pl.Date, "opens": pl.Datetime("us", "UTC"), "closes": pl.Datetime("us", "UTC")},
        orient="row",
    )
    regular = pl.col("started_at").is_between("opens", "closes", closed="left").fill_null(value=False)
    return (
        bars.with_columns(day=day)
        .join(hours, on="day", how="left", maintain_order="left")
        .with_columns(volume=pl.when(regular | (pl.col("volume") != 0)).then("volume"))
        .select(bars.columns)
    )


def told_once(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(the first row of each symbol and start, sorted by them; the further ones), both of INTRADAY_SCHEMA."""
    rows = rows.select(INTRADAY_SCHEMA.names())
    if in_order(rows, KEY):
        return rows, rows.clear()
    rows = rows.sort(*KEY, maintain_order=True)
    first = rows.select(pl.struct(KEY).is_first_distinct()).to_series()
    return rows.filter(first), rows.filter(~first)


def off_grid(interval: Interval) -> pl.Expr:
    """Whether a bar does not begin on a multiple of its interval. Exchanges' zones differ from UTC by quarter hours."""
    return pl.col("started_at").dt.epoch("us") % (MINUTES[interval] * 60_000_000) != 0


def no_minutes(symbol: str, interval: Interval, sessions: Sequence[date], why: str = "") -> EmptyWindow:
    """The failure of a symbol that was asked for and has no bar in `sessions`."""
    asked = f"from {min(sessions)} to {max(sessions)}" if sessions else "of no session"
    return EmptyWindow(f"{symbol} has no bar of {interval} {asked}{why}")


def _midnight(day: date, market: Market) -> datetime:
    return datetime.combine(day, time(0), calendar(market.exchange).timezone).astimezone(UTC)
