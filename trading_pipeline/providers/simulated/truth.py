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

from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.providers.simulated.causes import CAUSES, Falls, causes_of, parts_of
from trading_pipeline.providers.simulated.ceiling import readable_parts, reference_finder
from trading_pipeline.providers.simulated.companies import PAIR, PAIR_HEDGE_RATIO, SECTORS, Company
from trading_pipeline.providers.simulated.draws import Ints
from trading_pipeline.providers.simulated.environment import REGIMES
from trading_pipeline.providers.simulated.faults import Fault, stormed
from trading_pipeline.providers.simulated.fundamentals import SnapshotFault, planted_faults, told_cells
from trading_pipeline.providers.simulated.market import PAIR_REVERSION, Cause
from trading_pipeline.providers.simulated.minutes import IntradayTruth
from trading_pipeline.providers.simulated.newsroom import NewsFault, newsroom_of
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
        self._newsroom = newsroom_of(MARKETS[market.name], provider.seed, provider.companies)
        self._newsroom.books.reach(max(self._last, 0))

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

    def quality(self) -> pl.DataFrame:
        """instrument_id, quality, value (high is cheap), growth: planted standard normals; value_trap.

        Of every company listed by `through`. Quality correlates with the drift of the price.
        """
        character = self._newsroom.books.character
        known = np.flatnonzero(self._newsroom.books.first <= self._last)
        return pl.DataFrame(
            {
                "instrument_id": self._ids().gather(known),
                "quality": character.quality[known],
                "value": character.value[known],
                "growth": character.growth[known],
                "value_trap": character.trap[known],
            }
        ).sort("instrument_id")

    def fundamental_faults(self) -> pl.DataFrame:
        """session, ticker, instrument_id, fault: range_swapped, range_stale, cap_in_thousands, debt_in_per_cent,
        yield_in_per_cent. Every other told snapshot is sound, but for the fields it lacks.
        """
        books = self._newsroom.books
        company, position = told_cells(books, np.arange(len(books.first)), np.arange(self._last + 1))
        fault = planted_faults(books, company, position)
        at = np.flatnonzero(fault)
        kinds = pl.Series([""] + [each.name.lower() for each in SnapshotFault])
        places = self._places(books.character.slot[company[at]], position[at])
        return self._until(places.with_columns(fault=kinds.gather(fault[at])))

    def intraday(self, first: date, last: date) -> IntradayTruth:
        """What was planted inside the sessions from `first` to `last`: excursions, trends, halts, the feed's faults."""
        return IntradayTruth(self._market, first, min(last, self._market.sessions[self._last].item()))

    def articles(self) -> pl.DataFrame:
        """article_id, instrument_id (tagged), about, subject_id, shock_session, fault; by session it could be read on.

        about: the cause of the shock (macro, sector, company, earnings) or noise. subject_id: whose shock it is, not
        `instrument_id` where misattributed. subject_id and shock_session are null for noise. fault: none, late,
        misattributed or missing; a missing article has no id, and instrument_id is whom it should have named. session:
        the first on which it could be read; of a missing one, that of the shock.
        """
        market = self._market
        found = self._newsroom.articles(0, max(self._last, 0))
        found = found.with_columns(at=pl.coalesce("told", "shock")).filter(pl.col("at") <= self._last)
        causes = pl.Series([each.name.lower() for each in Cause] + ["noise"])
        faults = pl.Series([each.name.lower() for each in NewsFault])
        sessions, ids = pl.Series(market.sessions, dtype=pl.Date), self._ids()
        return pl.DataFrame(
            {
                "article_id": found["article_id"],
                "instrument_id": ids.gather(found["company"]),
                "about": causes.gather(found["about"].replace(-1, len(Cause)).cast(pl.Int64)),
                "subject_id": ids.gather(found["subject"]),
                "shock_session": sessions.gather(found["shock"]),
                "fault": faults.gather(found["fault"].cast(pl.Int64)),
                "session": sessions.gather(found["at"]),
            }
        ).sort("session", "instrument_id", "article_id", "shock_session", nulls_last=True)

    def dip_causes(self, dips: pl.DataFrame) -> pl.DataFrame:
        """Why each dip fell since its high: the true cause and the parts, log; rows and order are those of `dips`.

        dips: [session, instrument_id, sessions_since_high]; sessions up to `through`. Adds cause (earnings, company,
        macro, sector, ex_dividend, unknown), share (of all that took the price down, 0 to 1), fall, and one column a
        part, which add up to it (`causes.py` says what each holds). Null where the instrument is no company, or was
        not listed on the session.
        """
        falls, known = self._falls(dips)
        fall, parts = parts_of(self._newsroom, falls)
        cause = causes_of(parts)
        down = np.minimum(parts, 0).sum(axis=0)
        share = np.divide(parts.min(axis=0), down, out=np.zeros(len(down)), where=down < 0)
        found = pl.DataFrame(
            {
                "row": pl.Series(known, dtype=pl.UInt32),
                "cause": pl.Series(CAUSES).gather(cause),
                "share": share,
                "fall": fall,
                **{f"{name}_part": parts[which] for which, name in enumerate(CAUSES)},
            }
        )
        keys = dips.select("session", "instrument_id", "sessions_since_high").with_row_index("row")
        return keys.join(found, on="row", how="left", maintain_order="left").drop("row")

    def ceiling(self, dips: pl.DataFrame) -> pl.DataFrame:
        """cause, planted (dips it truly caused), ceiling and bound: shares of those that the reference finder finds.

        dips: as for `dip_causes`. The reference finder knows the generating model, and of the news what was told by
        each session. For `ceiling` it reads market and sectors from all prices as well as anybody could; for `bound` it
        is given them, and no finder is right more often over all dips. `ceiling.py` says what it is precisely. Causes
        without a dip have null shares. 20,000 dips take 0.7 s.
        """
        falls, _ = self._falls(dips)
        _, parts = parts_of(self._newsroom, falls)
        true = causes_of(parts)
        planted = np.bincount(true, minlength=len(CAUSES))
        shares = {
            name: np.bincount(true[reference_finder(self._newsroom, falls, believed) == true], minlength=len(CAUSES))
            for name, believed in (("ceiling", readable_parts(self._newsroom, falls, parts)), ("bound", parts))
        }
        return pl.DataFrame({"cause": CAUSES, "planted": planted, **shares}).select(
            "cause", pl.col("planted").cast(pl.Int64), (pl.col("ceiling", "bound") / pl.col("planted")).fill_nan(None)
        )

    def _falls(self, dips: pl.DataFrame) -> tuple[Falls, Ints]:
        """The dips of companies that were listed from the high on, and their rows in `dips`."""
        books = self._newsroom.books
        numbers = {name: number for number, name in enumerate(self._ids().to_list())}
        company = np.array([numbers.get(name, -1) for name in dips["instrument_id"].to_list()], dtype=np.int64)
        now = np.searchsorted(self._market.sessions, dips["session"].to_numpy()).astype(np.int64)
        high = now - dips["sessions_since_high"].to_numpy()
        inside = (company >= 0) & (now <= self._last)
        inside &= (high >= books.first[company]) & (now <= books.last[company])
        rows = np.flatnonzero(inside)
        return Falls(company[rows], high[rows].astype(np.int64), now[rows]), rows

    def _ids(self) -> pl.Series:
        """Instrument id of every company, by number."""
        return pl.Series([f"{self._prefix}{company.first_symbol}" for company in self._market.register.companies])

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
