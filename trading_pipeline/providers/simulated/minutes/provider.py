"""What a provider would say of the simulated market's minutes, its failings included.

What it says of a minute that is over follows from the seed alone; prices are as traded. Following the clock, as at real
providers: only minutes in which something was traded by `now` are told, the last one with what happened of it so far;
late bars and those of a feed that stood still are told later; a bar of 5 or 15 minutes is told once all its minutes so
far are. Symbols are those of the day on which is asked.

One session of one-minute bars of 500 companies and the two indices (252,000 bars) takes 0.2 s, 25 sessions of
five-minute bars of 120 companies (428,000 bars) take 1.1 s, and the last three minutes of 500 symbols 0.02 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import polars as pl

from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.providers.base import Failure, Progress, Quota
from trading_pipeline.providers.errors import ProviderError, RateLimited
from trading_pipeline.providers.intraday import INTRADAY_SCHEMA, MINUTES, Interval, IntradayBatch
from trading_pipeline.providers.intraday_answers import PRICES, no_minutes, told_once
from trading_pipeline.providers.simulated.companies import SYMBOL_PATTERN
from trading_pipeline.providers.simulated.draws import Draws, Flags, Floats, Ints, Stream
from trading_pipeline.providers.simulated.faults import struck
from trading_pipeline.providers.simulated.market import SimulatedMarket
from trading_pipeline.providers.simulated.minutes.panel import (
    MinutePanel,
    minute_panel,
    null_minutes,
    repeated_minutes,
)
from trading_pipeline.providers.simulated.minutes.plan import STORM_CHANCE
from trading_pipeline.sessions import calendar

if TYPE_CHECKING:
    from trading_pipeline.providers.simulated.provider import SimulatedProvider

# When a minute reaches its first and its second extreme, as shares of it.
_FIRST_EXTREME: Final = 0.3
_SECOND_EXTREME: Final = 0.7
_MINUTE: Final = np.timedelta64(1, "m")


class _Window(NamedTuple):
    """Who is asked about: row of the panels, and the first and last position at which it was this one."""

    symbol: str
    row: int
    first: int
    last: int


class _Bars(NamedTuple):
    """Rows x bars: prices in cents, volume in shares, whether anything was traded, and whether it may be told yet."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Ints
    there: Flags
    ready: Flags


class SimulatedMinutes:
    """Intraday bars of a `SimulatedProvider`'s markets.

    attempts: requests per symbol; 1 lets the planted 429 storms through as failures, otherwise they pass at the second
    attempt, without a wait.
    """

    name = "simulated"
    lag = timedelta(0)
    quota = Quota(rate_per_second=1_000_000, burst=1_000_000, concurrency=1)

    def __init__(self, provider: SimulatedProvider, *, attempts: int = 2) -> None:
        self._provider, self._attempts = provider, attempts
        self._weathered: set[tuple[str, date, int]] = set()

    def covers(self, symbol: str) -> bool:
        """Whether the symbol is spelled like a simulated one."""
        return any(
            SYMBOL_PATTERN.fullmatch(symbol.removesuffix(market.ticker_suffix)) is not None
            for market in MARKETS.values()
        )

    def reach(self, interval: Interval) -> timedelta | None:
        """None: it tells of every session the calendar has had."""
        return None

    def intraday_bars(
        self,
        market: Market,
        symbols: Sequence[str],
        sessions: Sequence[date],
        interval: Interval,
        *,
        now: datetime,
        since: datetime | None = None,
        progress: Progress | None = None,
    ) -> IntradayBatch:
        """Bars of `symbols` on `sessions` by `now`, as traded. See `IntradayProvider.intraday_bars`.

        A symbol that was given up by a rename is `NotFound`, as is one that is not listed yet; a delisted one keeps its
        history. `UnknownSession` where the exchange does not trade. Among `bars` are the planted faults: bars of nulls,
        and at times, during a session, the price of this moment as a last row that begins off the grid.
        """
        exchange = calendar(market.exchange)
        simulation = self._provider.simulation(market)
        wanted = [exchange.require(day) for day in sorted(set(sessions))]
        positions = [simulation.position(day) for day in wanted if exchange.local_date(now) >= day]
        distinct = list(dict.fromkeys(symbols))
        failures: list[Failure] = []
        told = simulation.position(exchange.local_date(now), after=True) - 1
        storm = self._storm(simulation, exchange.local_date(now), now, distinct)
        windows: list[_Window] = []
        for symbol in distinct:
            found: _Window | ProviderError = (
                RateLimited(f"{symbol} was refused: too many requests (429)")
                if symbol in storm and self._attempts == 1
                else _resolve(simulation, symbol, told)
            )
            if isinstance(found, ProviderError):
                failures.append(Failure(symbol, found))
            else:
                windows.append(found)
        windows.sort(key=lambda window: window.symbol)
        if positions:
            simulation.reach(positions[-1])
        parts = [pl.DataFrame(schema=INTRADAY_SCHEMA)]
        for position in positions:
            listed = [window for window in windows if window.first <= position <= window.last]
            parts.append(_session(minute_panel(simulation, position), listed, MINUTES[interval], now, since))
        bars, again = told_once(pl.concat(parts))
        answered = set(bars["symbol"].unique())
        failures += [
            Failure(window.symbol, no_minutes(window.symbol, interval, wanted))
            for window in windows
            if window.symbol not in answered
        ]
        if progress is not None:
            progress(len(distinct), len(distinct))
        return IntradayBatch(
            bars=bars,
            failures=failures,
            http_calls=len(distinct) + (len(storm) if self._attempts > 1 else 0),
            basis="as_traded",
            duplicates=again,
        )

    def _storm(self, market: SimulatedMarket, day: date, now: datetime, symbols: Sequence[str]) -> set[str]:
        half_hour = half_hour_of(market, now)
        hit = set(stormed_minutes(market.draws, day, half_hour, sorted(symbols)))
        fresh = {symbol for symbol in hit if (symbol, day, half_hour) not in self._weathered}
        self._weathered |= {(symbol, day, half_hour) for symbol in fresh}
        return fresh


def half_hour_of(market: SimulatedMarket, now: datetime) -> int:
    """Which half hour of the local day it is, from 0 to 47."""
    local = now.astimezone(calendar(market.market.exchange).timezone)
    return local.hour * 2 + local.minute // 30


def stormed_minutes(draws: Draws, day: date, half_hour: int, symbols: list[str]) -> list[str]:
    """The symbols whose first request for intraday bars in that half hour of the local day is answered with 429."""
    return struck(draws.generator(Stream.MINUTE_STORMS, day.toordinal() * 48 + half_hour), symbols, STORM_CHANCE)


def _resolve(market: SimulatedMarket, symbol: str, told: int) -> _Window | ProviderError:
    for row in market.index_rows:
        if symbol == market.name_of_row(row):
            return _Window(symbol, row, 0, told)
    number = market.register.asked(symbol, told)
    if isinstance(number, ProviderError):
        return number
    company = market.register.companies[number]
    return _Window(symbol, company.slot, company.first, told if company.last is None else company.last)


def _session(
    panel: MinutePanel, windows: Sequence[_Window], length: int, now: datetime, since: datetime | None
) -> pl.DataFrame:
    """INTRADAY_SCHEMA of the session by `now`, rows that come twice twice."""
    elapsed = float((_utc(now) - panel.opens) / _MINUTE)
    begun = min(int(np.ceil(elapsed)), panel.told.shape[1])
    if begun <= 0 or not windows:
        return pl.DataFrame(schema=INTRADAY_SCHEMA)
    rows = np.array([window.row for window in windows])
    bars = _by(panel, rows, begun, elapsed)
    hidden, again = null_minutes(panel)[rows, :begun], repeated_minutes(panel)[rows, :begun]
    if length > 1:
        bars = _grouped(bars, length)
        # Longer bars are made of the trades, not of the rows that were told wrong.
        hidden, again = (np.zeros(bars.there.shape, dtype=bool) for _ in range(2))
    starts = panel.opens + np.arange(bars.there.shape[1]) * length * _MINUTE
    told = bars.there & bars.ready
    if since is not None:
        told &= starts >= _utc(since)
    row, column = np.nonzero(told)
    repeated = np.flatnonzero(again[row, column])
    row, column = (np.insert(each, repeated, each[repeated]) for each in (row, column))
    symbols = pl.Series([window.symbol for window in windows], dtype=pl.String)
    frame = pl.DataFrame(
        {
            "symbol": symbols.gather(row),
            "started_at": pl.Series(starts[column]).dt.replace_time_zone("UTC"),
            **{
                name: np.where(hidden[row, column], np.nan, cents[row, column] / 100)
                for name, cents in zip(PRICES, bars[:4], strict=True)
            },
            "volume": bars.volume[row, column].astype(np.float64),
        },
        schema=INTRADAY_SCHEMA,
    ).with_columns(pl.col(*PRICES).fill_nan(None))
    return pl.concat([frame, _quotes(panel, rows, frame, symbols, _utc(now), length)])


def _quotes(
    panel: MinutePanel, rows: Ints, told: pl.DataFrame, symbols: pl.Series, now: np.datetime64, length: int
) -> pl.DataFrame:
    """The price of this moment as a row of its own, where it is planted: flat, without volume, at an odd second."""
    second = now.astype("datetime64[s]")
    odd = second != panel.opens + (second - panel.opens) // (length * _MINUTE) * (length * _MINUTE)
    regular = panel.opens + panel.regular.start * _MINUTE <= now < panel.opens + panel.regular.stop * _MINUTE
    if not (odd and regular):
        return told.clear()
    last = told.filter(pl.col("symbol").is_in(symbols.filter(pl.Series(panel.plan.off_grid[rows])).implode()))
    return (
        last.filter(pl.col("close").is_not_null())
        .group_by("symbol", maintain_order=True)
        .agg(price=pl.col("close").last())
        .select(
            "symbol",
            started_at=pl.lit(second.item(), pl.Datetime("us")).dt.replace_time_zone("UTC"),
            **dict.fromkeys(PRICES, pl.col("price")),
            volume=pl.lit(0.0),
        )
    )


def _by(panel: MinutePanel, rows: Ints, begun: int, elapsed: float) -> _Bars:
    """One-minute bars of the first `begun` minutes; the last of them by what happened of it."""
    opening, high, low, close = (each[rows, :begun].astype(np.float64) for each in panel.prices)
    volume, there = panel.volume[rows, :begun], panel.there[rows, :begun]
    share = elapsed - (begun - 1)
    if share < 1:
        last = begun - 1
        first, second = (
            np.where(panel.up_first[rows, last], one[:, last], other[:, last])
            for one, other in ((high, low), (low, high))
        )
        reached = np.rint(
            np.interp(share, [0.0, _FIRST_EXTREME], [0.0, 1.0]) * (first - opening[:, last])
            + np.interp(share, [_FIRST_EXTREME, _SECOND_EXTREME], [0.0, 1.0]) * (second - first)
            + np.interp(share, [_SECOND_EXTREME, 1.0], [0.0, 1.0]) * (close[:, last] - second)
            + opening[:, last]
        )
        seen = [opening[:, last], reached]
        seen += [first] if share >= _FIRST_EXTREME else []
        seen += [second] if share >= _SECOND_EXTREME else []
        high[:, last], low[:, last], close[:, last] = np.max(seen, axis=0), np.min(seen, axis=0), reached
        has_volume = volume[:, last] > 0
        volume[:, last] = np.floor(volume[:, last] * share).astype(np.int64)
        there[:, last] &= ~has_volume | (volume[:, last] > 0)
    return _Bars(opening, high, low, close, volume, there, panel.told[rows, :begun] <= elapsed)


def _grouped(bars: _Bars, length: int) -> _Bars:
    """Bars of `length` minutes out of those of one; ready once all minutes are in which anything was traded."""
    rows, minutes = bars.there.shape
    padding = -minutes % length

    def split(each: np.ndarray) -> np.ndarray:
        return np.pad(each, ((0, 0), (0, padding))).reshape(rows, -1, length)

    opening, high, low, close, volume, there, ready = (split(each) for each in bars)
    first, last = there.argmax(axis=2), length - 1 - there[:, :, ::-1].argmax(axis=2)
    return _Bars(
        np.take_along_axis(opening, first[:, :, None], axis=2)[:, :, 0],
        np.where(there, high, -np.inf).max(axis=2),
        np.where(there, low, np.inf).min(axis=2),
        np.take_along_axis(close, last[:, :, None], axis=2)[:, :, 0],
        np.where(there, volume, 0).sum(axis=2),
        np.asarray(there.any(axis=2)),
        (ready | ~there).all(axis=2),
    )


def _utc(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")
