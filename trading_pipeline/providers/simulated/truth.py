"""What was planted in the simulated market, as frames to compare findings with. For tests, demonstrations and scores.

Every frame tells of the sessions up to `through` and says the same of them whatever `through` is. Tickers are those of
the session; `instrument_id` is `<market>:<first symbol>`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.providers.simulated.companies import PAIR, PAIR_HEDGE_RATIO, SECTORS, Company
from trading_pipeline.providers.simulated.draws import Ints
from trading_pipeline.providers.simulated.environment import REGIMES
from trading_pipeline.providers.simulated.faults import Fault, stormed
from trading_pipeline.providers.simulated.market import PAIR_REVERSION, Cause
from trading_pipeline.providers.simulated.provider import SimulatedProvider

_SESSIONS_A_YEAR: Final = 252


@dataclass(frozen=True)
class Pair:
    """A cointegrated pair: log(follower) = constant + hedge_ratio x log(leader) + spread, split-adjusted, no dividends.

    reversion: AR(1) coefficient of the spread, per session.
    """

    leader: str
    follower: str
    hedge_ratio: float
    reversion: float


class Truth:
    """The known answers of one market of a `SimulatedProvider`, up to the session at or before `through`."""

    def __init__(self, provider: SimulatedProvider, market: Market, through: date) -> None:
        self._market = provider.simulation(market)
        self._prefix = f"{market.name}:"
        self._last = self._market.position(through, after=True) - 1
        self._market.reach(max(self._last, 0))

    def regimes(self) -> pl.DataFrame:
        """session, regime (Bull, Bear, Sideways), volatility (of the market's factor, fraction a year)."""
        span = slice(0, self._last + 1)
        return pl.DataFrame(
            {
                "session": pl.Series(self._market.sessions[span], dtype=pl.Date),
                "regime": pl.Series(REGIMES).gather(self._market.regime[span]),
                "volatility": self._market.market_volatility[span] * np.sqrt(_SESSIONS_A_YEAR),
            }
        )

    def shocks(self) -> pl.DataFrame:
        """session, ticker, instrument_id, cause (macro, sector, company, earnings, none), log_size.

        A shock is a log jump on top of the ordinary moves of that session; several may meet in one ticker's session.
        """
        position, slot, cause, size = self._market.shocks.columns(4)
        frame = self._places(slot, position).with_columns(
            cause=pl.Series([each.name.lower() for each in Cause]).gather(cause), log_size=pl.Series(size)
        )
        return self._until(frame)

    def earnings(self) -> pl.DataFrame:
        """session (the first one that trades on the report), ticker, instrument_id, log_size of the jump."""
        position, slot, size = self._market.earnings.columns(3)
        return self._until(self._places(slot, position).with_columns(log_size=pl.Series(size)))

    def actions(self) -> pl.DataFrame:
        """session (ex-date), ticker, instrument_id, kind (split, dividend), value: ratio or amount as paid."""
        parts = []
        for kind, log in (("split", self._market.split_events), ("dividend", self._market.dividends)):
            row, position, value = log.columns(3)
            parts.append(
                self._places(row, position).with_columns(kind=pl.lit(kind), value=pl.Series(value, dtype=pl.Float64))
            )
        return self._until(pl.concat(parts))

    def faults(self) -> pl.DataFrame:
        """session, ticker, instrument_id, fault: null_bar, hundredfold, missing_session, duplicate, frozen_bar,
        ohlc_inconsistent. Every other bar is sound.
        """
        slot, position = np.nonzero(self._market.fault[:, : self._last + 1])
        kinds = pl.Series([""] + [each.name.lower() for each in Fault])
        return self._until(
            self._places(slot, position).with_columns(fault=kinds.gather(self._market.fault[slot, position]))
        )

    def storms(self, first: date, last: date) -> pl.DataFrame:
        """asked_on (local day), ticker: whose first request of that day is answered with 429. Weekends have none."""
        exchange_days = self._market.sessions
        low, high = self._market.position(first), self._market.position(last, after=True)
        rows: list[tuple[date, str]] = []
        for position in range(low, min(high, self._last + 1)):
            day = exchange_days[position].item()
            listed = [name for name in self._tickers(position) if name]
            rows.extend((day, symbol) for symbol in stormed(self._market.draws, day, listed))
        return pl.DataFrame(rows, schema={"asked_on": pl.Date, "ticker": pl.String}, orient="row")

    def companies(self) -> pl.DataFrame:
        """instrument_id, ticker (on `through`), name, sector, listed_on, last_session, ending (acquired, failed).

        The last two are null while it is listed.
        """
        sessions = self._market.sessions.tolist()
        rows = [
            (
                f"{self._prefix}{company.first_symbol}",
                company.symbol_at(self._last),
                company.name,
                SECTORS[company.sector],
                sessions[company.first],
                sessions[company.last] if company.last is not None and self._ended(company) else None,
                company.ending if self._ended(company) else None,
            )
            for company in self._market.register.companies
            if company.first <= self._last
        ]
        names = ("instrument_id", "ticker", "name", "sector", "listed_on", "last_session", "ending")
        types = (pl.String, pl.String, pl.String, pl.String, pl.Date, pl.Date, pl.String)
        return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row").sort("instrument_id")

    def renames(self) -> pl.DataFrame:
        """session (the first one under the new symbol), instrument_id, from_ticker, to_ticker."""
        rows = [
            (self._market.sessions[begin].item(), f"{self._prefix}{company.first_symbol}", old, new)
            for company in self._market.register.companies
            for (old, _, _), (new, begin, _) in zip(company.spans, company.spans[1:], strict=False)
            if begin <= self._last
        ]
        schema = {"session": pl.Date, "instrument_id": pl.String, "from_ticker": pl.String, "to_ticker": pl.String}
        return pl.DataFrame(rows, schema=schema, orient="row").sort("session", "instrument_id")

    def pair(self) -> Pair:
        """The cointegrated pair, with its tickers, which never change."""
        leader, follower = (
            next(company.first_symbol for company in self._market.register.companies if company.slot == slot)
            for slot in PAIR
        )
        return Pair(leader, follower, PAIR_HEDGE_RATIO, PAIR_REVERSION)

    def _ended(self, company: Company) -> bool:
        return company.last is not None and company.last < self._last

    def _tickers(self, position: int) -> list[str]:
        register = self._market.register
        numbers = register.number[:, position].tolist()
        return sorted(register.symbol_of_number(number) for number in numbers if number >= 0)

    def _places(self, row: np.ndarray, position: np.ndarray) -> pl.DataFrame:
        """session, ticker, instrument_id of cells of the panels."""
        row, position = row.astype(np.int64), position.astype(np.int64)
        market, register = self._market, self._market.register
        tickers = [register.symbol_of_number(number) for number in range(len(register.company_of_number))]
        firsts = [register.companies[company].first_symbol for company in register.company_of_number]
        indices = [market.name_of_row(each) for each in market.index_rows]
        number: Ints = register.number[np.minimum(row, market.slots - 1), position].astype(np.int64)
        place = np.where(row < market.slots, number, len(tickers) + row - market.slots)
        return pl.DataFrame(
            {
                "session": pl.Series(market.sessions[position], dtype=pl.Date),
                "ticker": pl.Series(tickers + indices, dtype=pl.String).gather(place),
                "instrument_id": pl.Series([f"{self._prefix}{symbol}" for symbol in firsts + indices]).gather(place),
            }
        )

    def _until(self, frame: pl.DataFrame) -> pl.DataFrame:
        last = self._market.sessions[self._last].item()
        return frame.filter(pl.col("session") <= last).sort("session", "ticker", *frame.columns[3:])
