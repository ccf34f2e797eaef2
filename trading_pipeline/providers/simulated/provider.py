"""What a provider would say of the simulated market's bars: Yahoo's habits, faults and forming bars included.

What it says of a finished session follows from the seed alone. Only three things follow the clock, as they do at Yahoo:
nothing later than `now` is told, the session under way is a forming bar (and lacks the late prints until `lag` after
the close), and prices, volumes and amounts are divided by the splits whose ex-date has opened.

Asking for all 513,000 bars of the 185 companies that 120 slots hold until the end of 2026 takes 0.2 s once the market
is simulated; with that and the imports, 1 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from trading_pipeline.errors import UnknownName
from trading_pipeline.markets import ASX, MARKETS, US, Market
from trading_pipeline.providers.base import (
    ACTIONS_SCHEMA,
    BARS_SCHEMA,
    DailyBarsBatch,
    Failure,
    Progress,
    Quota,
    SymbolRequest,
    no_bars,
)
from trading_pipeline.providers.errors import ProviderError, RateLimited
from trading_pipeline.providers.simulated import universes
from trading_pipeline.providers.simulated.clock import Clock, clock_of
from trading_pipeline.providers.simulated.companies import BENCHMARK, SYMBOL_PATTERN, VOLATILITY_INDEX
from trading_pipeline.providers.simulated.draws import Floats, Ints
from trading_pipeline.providers.simulated.faults import Fault, spoil, stormed
from trading_pipeline.providers.simulated.lives import Register, register_of
from trading_pipeline.providers.simulated.market import SimulatedMarket, simulated_market
from trading_pipeline.providers.simulated.reference import SimulatedReference
from trading_pipeline.sessions import calendar

if TYPE_CHECKING:
    from trading_pipeline.providers.simulated.minutes import SimulatedMinutes

LATE_PRINTS: Final = 0.015  # share of the volume that is missing between the close and `lag` after it
SPANS_SCHEMA: Final = pl.Schema(
    {"symbol": pl.String, "first_symbol": pl.String, "valid_from": pl.Date, "valid_to": pl.Date}
)


@dataclass(frozen=True)
class _Window:
    """One request, resolved: the panel's row and the first and last position of the answer.

    instrument: number of the company, or minus the number of an index. known: the last position whose splits apply.
    """

    symbol: str
    row: int
    instrument: int
    first: int
    last: int
    known: int


class SimulatedProvider(SimulatedReference):
    """The simulated markets, US and Australian, as a provider of daily bars, of universes and of reference data.

    attempts: requests per symbol; 1 lets the planted 429 storms through as failures, otherwise they pass at the second
    attempt, without a wait.
    """

    name = "simulated"
    lag = timedelta(minutes=30)
    quota = Quota(rate_per_second=1_000_000, burst=1_000_000, concurrency=1)

    def __init__(self, seed: int, companies: int, *, attempts: int = 2) -> None:
        self.seed, self.companies, self._attempts = seed, companies, attempts
        self._weathered: set[tuple[str, date]] = set()

    def index_tickers(self, market: Market) -> tuple[str, str | None]:
        """Symbols of the market's benchmark and volatility index; None where the real market quotes none."""
        suffix = market.ticker_suffix
        return f"{BENCHMARK}{suffix}", f"{VOLATILITY_INDEX}{suffix}" if market.volatility_index else None

    def covers(self, symbol: str) -> bool:
        """Whether the symbol is spelled like a simulated one."""
        return SYMBOL_PATTERN.fullmatch(symbol.removesuffix(ASX.ticker_suffix)) is not None

    def latest_session(self, market: Market, now: datetime) -> date | None:
        """None: it tells of every session the calendar has had by `now`."""
        return None

    def daily_bars(
        self, requests: Sequence[SymbolRequest], *, now: datetime, progress: Progress | None = None
    ) -> DailyBarsBatch:
        """Bars and actions in the basis known at `now` (zone-aware); every symbol is in the bars or in the failures.

        A symbol that was given up by a rename is `NotFound` from that session on, as at Yahoo, and one that is not
        listed yet too; a delisted one keeps its history. `UnknownSession` where `now` lies beyond the calendar.
        """
        batch = DailyBarsBatch(basis="split_adjusted")
        parts: dict[str, list[pl.DataFrame]] = {"bars": [batch.bars], "actions": [batch.actions], "again": [batch.bars]}
        for market in MARKETS.values():
            asked = [request for request in requests if _market_of(request.symbol) is market]
            if not asked:
                continue
            clock = clock_of(self._register(market), now, self.lag)
            simulation = self.simulation(market).reach(max(clock.position, 0))
            storm = self._storm(simulation, clock.day, asked)
            batch.http_calls += len(asked) + (len(storm) if self._attempts > 1 else 0)
            windows: list[_Window] = []
            for request in asked:
                if request.symbol in storm and self._attempts == 1:
                    error: ProviderError = RateLimited(f"{request.symbol} was refused: too many requests (429)")
                    batch.failures.append(Failure(request.symbol, error))
                    continue
                window = _resolve(simulation, request, clock.position)
                if isinstance(window, ProviderError):
                    batch.failures.append(Failure(request.symbol, window))
                else:
                    windows.append(window)
            for round_of in _distinct(windows):
                bars, again = _bars(simulation, round_of, clock)
                parts["bars"].append(bars)
                parts["again"].append(again)
                parts["actions"].append(_actions(simulation, round_of))
        if progress is not None:
            for done in range(1, len(requests) + 1):
                progress(done, len(requests))
        repeated = len({request.symbol for request in requests}) < len(requests)
        batch.bars = _sorted(pl.concat(parts["bars"]), ["symbol", "session"], repeated)
        batch.actions = _sorted(pl.concat(parts["actions"]), ["symbol", "session", "kind"], repeated)
        batch.duplicates = _sorted(pl.concat(parts["again"]), ["symbol", "session"], repeated)
        answered = set(batch.bars["symbol"].unique().to_list())
        failed = {failure.symbol for failure in batch.failures}
        batch.failures.extend(
            Failure(request.symbol, no_bars(request))
            for request in requests
            if request.symbol not in answered and request.symbol not in failed
        )
        return batch

    def universe_keys(self, market: Market) -> tuple[str, ...]:
        """SIM_ALL (everything listed), SIM100 (the 100 largest) and SIM_MEGA (the 10 largest), in either market."""
        return universes.UNIVERSES

    def members(self, market: Market, universe: str, sessions: Sequence[date]) -> pl.DataFrame:
        """Members on each of `sessions`: session, universe, ticker (of that session), sector, source.

        `UnknownName` for another universe, `UnknownSession` for a date on which the exchange does not trade.
        """
        if universe not in universes.UNIVERSES:
            raise UnknownName.of("universe of the simulated market", universe, universes.UNIVERSES)
        exchange = calendar(market.exchange)
        simulation = self.simulation(market)
        positions = np.array([simulation.position(exchange.require(day)) for day in sessions], dtype=np.int64)
        if len(positions) == 0:
            return pl.DataFrame(schema=universes.MEMBERS_SCHEMA)
        return universes.members(simulation.reach(int(positions.max())), universe, positions)

    def symbols(self, market: Market, first: date, last: date) -> list[str]:
        """What to ask for, spelled as on `last`: the indices and all that was listed from `first` to `last`."""
        register = self._register(market)
        low, high = register.position(first), register.position(last, after=True) - 1
        return [symbol for symbol in self.index_tickers(market) if symbol] + sorted(
            company.symbol_at(high)
            for company in register.companies
            if company.first <= high and (company.last is None or company.last >= low)
        )

    @cached_property
    def renames(self) -> pl.DataFrame:
        """Every symbol of the companies that are ever renamed, in all markets and over the whole calendar.

        Columns symbol, first_symbol (the instrument is `<market>:<first_symbol>`), valid_from, valid_to: the first and
        the last session under the symbol, valid_to null while no end is known. No symbol is used twice.
        """
        rows = []
        for market in MARKETS.values():
            register = self._register(market)
            sessions = register.sessions.tolist()
            rows += [
                (symbol, company.first_symbol, sessions[begin], None if end is None else sessions[end])
                for company in register.companies
                if len(company.spans) > 1
                for symbol, begin, end in company.spans
            ]
        return pl.DataFrame(rows, schema=SPANS_SCHEMA, orient="row").sort("first_symbol", "valid_from")

    @cached_property
    def intraday(self) -> SimulatedMinutes:
        """The same markets as a provider of intraday bars, which are final at once."""
        from trading_pipeline.providers.simulated.minutes import SimulatedMinutes

        return SimulatedMinutes(self, attempts=self._attempts)

    def simulation(self, market: Market) -> SimulatedMarket:
        """The market behind the answers, with what truly happened."""
        return simulated_market(MARKETS[market.name], self.seed, self.companies)

    def _register(self, market: Market) -> Register:
        return register_of(MARKETS[market.name], self.seed, self.companies)

    def _storm(self, simulation: SimulatedMarket, day: date, asked: Sequence[SymbolRequest]) -> set[str]:
        hit = set(stormed(simulation.draws, day, sorted({request.symbol for request in asked})))
        fresh = {symbol for symbol in hit if (symbol, day) not in self._weathered}
        self._weathered |= {(symbol, day) for symbol in fresh}
        return fresh


def _market_of(symbol: str) -> Market:
    return ASX if symbol.endswith(ASX.ticker_suffix) else US


def _resolve(market: SimulatedMarket, request: SymbolRequest, told: int) -> _Window | ProviderError:
    """The window a request means, not wider than what was listed and told; empty ones have `last` before `first`."""
    first, last = market.position(request.first), min(market.position(request.last, after=True) - 1, told)
    symbol = request.symbol
    for row in market.index_rows:
        if symbol == market.name_of_row(row):
            return _Window(symbol, row, market.slots - 1 - row, first, last, told)
    company_number = market.register.asked(symbol, told)
    if isinstance(company_number, ProviderError):
        return company_number
    company = market.register.companies[company_number]
    known = told if company.last is None else min(told, company.last)
    return _Window(symbol, company.slot, company_number, max(first, company.first), min(last, known), known)


def _distinct(windows: Sequence[_Window]) -> list[list[_Window]]:
    """Rounds in which no symbol comes twice."""
    rounds: list[dict[str, _Window]] = []
    for window in sorted(windows, key=lambda each: each.symbol):
        if window.last < window.first:
            continue
        for taken in rounds:
            if window.symbol not in taken:
                taken[window.symbol] = window
                break
        else:
            rounds.append({window.symbol: window})
    return [list(taken.values()) for taken in rounds]


def _bars(market: SimulatedMarket, windows: Sequence[_Window], clock: Clock) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(bars, rows that come twice) of the windows, in the order of the windows."""
    lengths = np.array([window.last - window.first + 1 for window in windows])
    starts = np.array([window.first for window in windows])
    which = np.repeat(np.arange(len(windows)), lengths)
    row = np.array([window.row for window in windows])[which]
    position = np.arange(lengths.sum()) + (starts - np.cumsum(lengths) + lengths)[which]
    known = np.array([window.known for window in windows])[which]

    cells = (row, position)
    prices = [panel[cells] for panel in (market.open, market.high, market.low, market.close)]
    volume = market.volume[cells]
    if not clock.final:
        _form(prices, volume, position == clock.position, clock.elapsed)
    fault = market.fault[cells].astype(np.int64)
    _spoil(market, cells, fault, prices, volume)

    factor = market.splits[row, known] / market.splits[cells]
    paid = np.exp(market.payouts[row, known] - market.payouts[cells])
    opening, high, low, close = (price / factor for price in prices)
    symbols = pl.Series([window.symbol for window in windows], dtype=pl.String)
    frame = pl.DataFrame(
        {
            "symbol": symbols.gather(which),
            "session": pl.Series(market.sessions[position], dtype=pl.Date),
            "open": opening,
            "high": high,
            "low": low,
            "close": close,
            "adj_close": close * paid,
            "volume": volume * factor,
            "currency": pl.repeat(market.market.currency, len(which), eager=True),
        },
        schema=BARS_SCHEMA,
    ).with_columns(pl.col(pl.Float64).fill_nan(None))
    twice = frame.filter(pl.Series(fault == Fault.DUPLICATE))
    if (fault == Fault.MISSING_SESSION).any():
        frame = frame.filter(pl.Series(fault != Fault.MISSING_SESSION))
    return frame, twice


def _spoil(
    market: SimulatedMarket, cells: tuple[Ints, Ints], fault: Ints, prices: list[Floats], volume: Floats
) -> None:
    """Put the planted faults into the few bars that have one."""
    row, position = cells
    at = np.flatnonzero(fault)
    few, few_volume = [price[at] for price in prices], volume[at]
    spoil(fault[at], few, few_volume, market.close[row[at], position[at] - 1])
    for price, spoiled in zip(prices, few, strict=True):
        price[at] = spoiled
    volume[at] = few_volume


def _form(prices: list[Floats], volume: Floats, forming: np.ndarray, elapsed: float) -> None:
    """Cut the session under way to what has happened of it; after the close only the late prints are missing."""
    opening, high, low, close = (price[forming] for price in prices)
    now = np.round(opening * (close / opening) ** elapsed, 2)
    prices[1][forming] = np.maximum(np.maximum(opening, now), np.round(opening + (high - opening) * elapsed, 2))
    prices[2][forming] = np.minimum(np.minimum(opening, now), np.round(opening + (low - opening) * elapsed, 2))
    prices[3][forming] = now
    volume[forming] = np.round(volume[forming] * elapsed * (1 - LATE_PRINTS))


def _actions(market: SimulatedMarket, windows: Sequence[_Window]) -> pl.DataFrame:
    """Splits and dividends with an ex-date inside the windows; amounts divided by the splits known since."""
    place = {window.instrument: which for which, window in enumerate(windows)}
    parts = []
    for kind, log in (("split", market.split_events), ("dividend", market.dividends)):
        row, position, value = log.columns(3)
        row, position = row.astype(np.int64), position.astype(np.int64)
        which = np.array(
            [place.get(each, -1) for each in market.instruments_at(row, position).tolist()], dtype=np.int64
        )
        first, last = (np.array([getattr(window, end) for window in windows]) for end in ("first", "last"))
        inside = (which >= 0) & (position >= first[which]) & (position <= last[which])
        row, position, value, which = row[inside], position[inside], value[inside], which[inside]
        if kind == "dividend":
            known = np.array([window.known for window in windows])[which]
            value = value * market.splits[row, position] / market.splits[row, known]
        parts.append(
            pl.DataFrame(
                {
                    "symbol": pl.Series([windows[each].symbol for each in which], dtype=pl.String),
                    "session": pl.Series(market.sessions[position], dtype=pl.Date),
                    "kind": pl.repeat(kind, len(which), eager=True, dtype=pl.String),
                    "value": value,
                    "currency": pl.repeat(market.market.currency, len(which), eager=True, dtype=pl.String),
                },
                schema=ACTIONS_SCHEMA,
            )
        )
    return pl.concat(parts)


def _sorted(frame: pl.DataFrame, by: list[str], repeated: bool) -> pl.DataFrame:
    """Sorted by the key; where a symbol was asked for in two windows, what lies in both comes once."""
    return (frame.unique(by, maintain_order=True) if repeated else frame).sort(by)
