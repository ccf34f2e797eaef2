"""Where the loop's bars come from: a provider that is polled while the market trades, or bars that were recorded.

What belongs here: which one-minute bars of the regular session a tick is handed, each once. What does not: what is made
of them, and how a provider is asked (`providers/`).

A bar counts from the moment it was available: over, and as long after that as its provider needs. Both feeds hand a bar
to the first tick at or after that moment, so that a replay decides what the day itself did, as far as what was recorded
came in time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

import polars as pl

from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import Market
from trading_pipeline.providers.errors import EmptyWindow, ProviderError
from trading_pipeline.providers.intraday import IntradayProvider
from trading_pipeline.research.intraday import ExtendedHours, assess, placed
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import MOMENT

MINUTE = timedelta(minutes=1)
LATE = timedelta(minutes=5)
"""How far before the last good answer a poll reaches back: providers tell thin minutes late."""

_PRICES = ("open", "high", "low", "close", "volume")
FEED_BARS = pl.Schema(
    {"instrument_id": pl.String(), "started_at": MOMENT, **dict.fromkeys(_PRICES, pl.Float64()), "available_at": MOMENT}
)
_KEY = ["instrument_id", "started_at"]


@dataclass(frozen=True)
class Fed:
    """What a tick is handed. bars: `FEED_BARS`. trouble: what went wrong with the feed, in words; None: nothing."""

    bars: pl.DataFrame
    trouble: str | None = None


class Feed(Protocol):
    """A source of the bars of one session."""

    def resume(self, taken: pl.DataFrame, last_tick: datetime) -> None:
        """Goes on after a tick that is over. taken: [instrument_id, started_at] of the bars that were taken in."""
        ...

    def bars(self, tick_at: datetime, now: datetime) -> Fed:
        """The bars of the regular session that are available by `tick_at` and were not handed out before.

        now: what time it is; later than `tick_at` where a missed tick is made up for.
        """
        ...


class RecordedFeed:
    """Bars that are there already, of one session, handed out as they became available.

    bars: `FEED_BARS` (or more columns), complete bars of one minute. Of several versions of a bar the first counts: it
    is what a live day would have seen.
    """

    def __init__(self, bars: pl.DataFrame, opens_at: datetime, closes_at: datetime) -> None:
        self._bars = (
            bars.select(pl.col(name).cast(dtype) for name, dtype in FEED_BARS.items())
            .filter(pl.col("started_at").is_between(opens_at, closes_at, closed="left"))
            .sort("available_at", *_KEY, maintain_order=True)
            .unique(_KEY, keep="first", maintain_order=True)
            .filter(pl.col("available_at") >= pl.col("started_at") + MINUTE)
        )
        self._next = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is no bar of the session."""
        return self._bars.is_empty()

    def resume(self, taken: pl.DataFrame, last_tick: datetime) -> None:
        """See `Feed.resume`. What was available by that tick has had its turn."""
        self._next = self._until(last_tick)

    def bars(self, tick_at: datetime, now: datetime) -> Fed:
        """See `Feed.bars`."""
        start, self._next = self._next, max(self._next, self._until(tick_at))
        return Fed(self._bars[start : self._next])

    def _until(self, moment: datetime) -> int:
        return int(self._bars["available_at"].search_sorted(moment.astimezone(UTC), side="right"))


class LiveFeed:
    """A provider that is asked for the minutes since it last answered.

    ids: instrument id by the provider's symbol. What a provider tells is judged as on its way into the lake
    (`research.intraday.assess`): what is rejected there never reaches a tick. A tick that is made up for is handed what
    was available by then, out of the same answer.
    """

    def __init__(
        self,
        provider: IntradayProvider,
        market: Market,
        session: date,
        ids: Mapping[str, str],
    ) -> None:
        exchange = calendar(market.exchange)
        self._provider, self._market, self._session = provider, market, session
        self._ids = {symbol: ids[symbol] for symbol in sorted(ids)}
        self._names = pl.DataFrame(
            {"symbol": list(self._ids), "instrument_id": list(self._ids.values())},
            schema={"symbol": pl.String, "instrument_id": pl.String},
        )
        self._opens_at, self._closes_at = exchange.open_at(session), exchange.close_at(session)
        self._zone = str(exchange.timezone)
        self._days = pl.DataFrame(
            {"session": [session], "opened_at": [self._opens_at], "closed_at": [self._closes_at]},
            schema={"session": pl.Date, "opened_at": MOMENT, "closed_at": MOMENT},
        )
        self._answered = dict.fromkeys(self._ids, self._opens_at)
        self._asked_at: datetime | None = None
        self._trouble: str | None = None
        self._waiting = pl.DataFrame(schema=FEED_BARS)
        self._handed = pl.DataFrame(schema=pl.Schema({name: FEED_BARS[name] for name in _KEY}))

    def resume(self, taken: pl.DataFrame, last_tick: datetime) -> None:
        """See `Feed.resume`."""
        self._handed = taken.select(_KEY)
        last = dict(taken.group_by("instrument_id").agg(pl.col("started_at").max()).iter_rows())
        for symbol, id_ in self._ids.items():
            self._answered[symbol] = max(self._opens_at, last.get(id_, self._opens_at))

    def bars(self, tick_at: datetime, now: datetime) -> Fed:
        """See `Feed.bars`. Asks the provider unless it was asked at or after that tick."""
        if self._asked_at is None or tick_at > self._asked_at:
            self._asked_at = now
            self._poll(now)
        due = pl.col("available_at") <= tick_at
        fed = self._waiting.filter(due)
        self._waiting = self._waiting.filter(~due)
        self._handed = pl.concat([self._handed, fed.select(_KEY)])
        return Fed(fed, self._trouble)

    def _poll(self, now: datetime) -> None:
        since = max(self._opens_at, min(self._answered.values(), default=self._opens_at) - LATE)
        try:
            batch = self._provider.intraday_bars(
                self._market, list(self._ids), [self._session], "1m", now=now, since=since
            )
        except ProviderError as error:
            self._trouble = f"{self._provider.name}: {error.problem}"
            return
        failed = {failure.symbol: failure.error for failure in batch.failures}
        for symbol in self._ids:
            failure = failed.get(symbol)
            # A name that nobody knows must not make every poll reach back to the open.
            if failure is None or not failure.transient:
                self._answered[symbol] = now
        self._trouble = _spoken(self._provider.name, [error for error in failed.values() if _matters(error)], self._ids)
        told = self._believed(batch.bars, now)
        fresh = told.join(self._handed, on=_KEY, how="anti").join(self._waiting, on=_KEY, how="anti")
        self._waiting = pl.concat([self._waiting, fresh.select(FEED_BARS.names())]).sort("available_at", *_KEY)

    def _believed(self, bars: pl.DataFrame, now: datetime) -> pl.DataFrame:
        """The complete bars of the regular session that break no rule which rejects."""
        rows = (
            bars.join(self._names, on="symbol")
            .filter(pl.col("started_at").is_between(self._opens_at, self._closes_at, closed="left"))
            .with_columns(
                provider=pl.lit(self._provider.name),
                interval=pl.lit("1m"),
                known_at=pl.lit(now, MOMENT),
                available_at=pl.col("started_at") + MINUTE + self._provider.lag,
            )
            .filter(pl.col("available_at") <= now)
        )
        days = placed(rows, self._days, self._zone, ExtendedHours(*self._market.extended_hours))
        return assess(days).kept.unique(_KEY, keep="first", maintain_order=True)


def recorded_bars(rows: pl.DataFrame, priority: Sequence[str] = ()) -> pl.DataFrame:
    """`FEED_BARS` from rows of `intraday_bars`: complete one-minute bars, of one provider an instrument and session.

    priority: providers, the first voice first; others follow by name.
    """
    ranked = [*priority, *sorted(set(rows["provider"].unique()) - set(priority))]
    own = rows.filter((pl.col("interval") == "1m") & ~pl.col("forming"))
    rank = pl.col("provider").replace_strict({name: place for place, name in enumerate(ranked)}, return_dtype=pl.Int32)
    first = own.filter(rank == rank.min().over("session", "instrument_id")) if own.height else own
    return first.sort("known_at", maintain_order=True).select(FEED_BARS.names())


def bars_of_provider(
    provider: IntradayProvider, market: Market, session: date, ids: Mapping[str, str], now: datetime
) -> pl.DataFrame:
    """`FEED_BARS` of a whole session that a provider tells now, each available as soon as the provider had it then.

    `InputRefused` where it tells none; `ProviderError` where it fails.
    """
    feed = LiveFeed(provider, market, session, ids)
    fed = feed.bars(now, now)
    if fed.bars.is_empty():
        raise InputRefused(
            f"{provider.name} tells no one-minute bar of {session} ({fed.trouble or 'it says nothing about why'})",
            "Choose a session it tells, or bring minutes in files (INTRADAY_FILES)",
        )
    return fed.bars


def _matters(error: ProviderError) -> bool:
    """Whether a symbol's failure says something about the feed: that nothing was traded yet does not."""
    return not isinstance(error, EmptyWindow)


def _spoken(provider: str, errors: Sequence[ProviderError], asked: Mapping[str, str]) -> str | None:
    if not errors:
        return None
    kinds = sorted({error.kind.replace("_", " ") for error in errors})
    return f"{provider}: {', '.join(kinds)} for {len(errors)} of {len(asked)} names"
