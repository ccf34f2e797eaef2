"""The walk over sessions: what fills when, and what the account is worth at each close.

What belongs here: the order of events within a session, as `execution.py` tells it. What does not: decisions
(`decisions.py`), what a fill does to the account (`book.py`).
"""

from __future__ import annotations

import numpy as np

from trading_pipeline.research.backtest.book import CLOSING, DELISTED, INTRADAY, OPENING, STOP, Book, slippage_shares
from trading_pipeline.research.backtest.configuration import Configuration
from trading_pipeline.research.backtest.decisions import Decisions
from trading_pipeline.research.backtest.market import STALE, Market, market_of
from trading_pipeline.research.backtest.record import Days
from trading_pipeline.research.backtest.sizing import Allocator, opening_shares
from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import Floats, Integers
from trading_pipeline.research.strategies.base import SignalResult, StrategyError

SESSIONS_A_YEAR = 252


class Walk:
    """One walk over the sessions from row `start`; arrays have one element an instrument."""

    def __init__(
        self,
        panel: MarketPanel,
        signals: SignalResult,
        configuration: Configuration,
        allocator: Allocator | None,
        start: int,
    ) -> None:
        rows, instruments = panel.shape
        self.panel, self.configuration, self.start = panel, configuration, start
        self.market: Market = market_of(panel, configuration)
        self.book = Book(instruments, configuration.capital, configuration.costs)
        self.decisions = Decisions(self.market, self.book, signals, configuration, allocator)
        self.days = Days.empty(rows, instruments)
        self.limit = max(configuration.gross_exposure, 1.0)
        self.traded_volume = np.zeros(instruments)
        """Shares filled in the session so far."""

    def run(self) -> None:
        """All sessions. The last one's close decides nothing: there is no open to trade on."""
        final = len(self.market.last) - 1
        for row in range(self.start, final + 1):
            if row > self.start:
                self.traded_volume[:] = 0.0
                self._delist(row)
                self._open(row)
                self._stops(row)
            equity = self._close(row)
            if row < final:
                self.decisions.decide(row, equity)
        self.book.end(final, self.market.last[final])

    def _delist(self, row: int) -> None:
        """Sells what is known to be gone; its orders and wishes end."""
        book, market = self.book, self.market
        gone = (market.delisted >= 0) & (market.delisted <= row)
        gone |= (market.since[row] > STALE) & (book.shares != 0)
        if not gone.any():
            return
        held = np.flatnonzero(gone & (book.shares != 0))
        book.cancel(gone)
        self.decisions.wish[gone] = 0.0
        if not len(held):
            return
        last = market.last[row - 1, held]
        # A short gains nothing by the haircut: what is delisted cannot always be bought back for less.
        haircut = np.maximum(book.shares[held], 0.0) * last * self.configuration.costs.delisting_haircut
        book.charge(held, haircut)
        self.days.haircut[row] = haircut.sum()
        book.reason[held], book.decided[held] = DELISTED, row
        book.fill(row, CLOSING, held, -book.shares[held], last, np.zeros(len(held)), free=True)

    def _open(self, row: int) -> None:
        """Fills what is pending at the open."""
        book, market = self.book, self.market
        opens = self.panel.open[row]
        side = np.sign(book.shares)
        leaving = book.pending & (book.target == 0)
        through = market.traded[row] & (side != 0) & ~leaving & ((opens - book.stop) * side <= 0)
        if through.any():
            self._stopped(np.flatnonzero(through), row)
        pending = book.pending
        if not pending.any():
            return
        able = np.flatnonzero(pending & market.traded[row])
        held, target = book.shares[able], book.target[able]
        keep = np.where(target * held > 0, np.sign(held) * np.minimum(np.abs(target), np.abs(held)), 0.0)
        closing = self._within_volume(row, able, keep - held)
        self._fill(row, CLOSING, able, closing, opens)
        closed = book.shares[able] == keep
        opening = self._within_volume(row, able, np.where(closed, target - keep, 0.0))
        self._fill_openings(row, able, opening, opens)

        waits = pending & book.pending & (book.shares != book.target)
        book.cancel(pending & ~waits)
        book.waited[waits] += 1
        dropped = np.flatnonzero(waits & book.opening & (book.waited > self.configuration.execution.carry_sessions))
        if len(dropped):
            fresh = dropped[book.shares[dropped] == 0]
            words = "It found no bar or no volume to be opened on within carry_sessions."
            self.decisions.unopened(row, fresh, "no_bar", words)
            book.cancel(dropped)

    def _fill_openings(self, row: int, able: Integers, opening: Floats, opens: Floats) -> None:
        """Fills what makes positions larger, as far as the account carries it."""
        book = self.book
        wanted = opening != 0
        if not wanted.any():
            return
        columns, shares, mark = able[wanted], opening[wanted], opens[able[wanted]]
        price = mark * (1 + np.sign(shares) * self._slips(row, columns, shares))
        now = np.where(self.market.traded[row], opens, self.market.last[row])
        value = np.where(book.shares != 0, book.shares * now, 0.0)
        fees = self.configuration.costs.fees_bps / 1e4
        budget = self.limit * (book.cash + float(value.sum())) - float(np.abs(value).sum())
        possible, cut = opening_shares(shares, mark, price, fees, budget, self.limit)
        nothing = columns[cut & (possible == 0) & (book.shares[columns] == 0)]
        self.decisions.unopened(row, nothing, "no_cash", "The account could not carry one share more at the open.")
        self._fill(row, OPENING, columns, possible, opens)
        # What was cut for want of money is not carried on.
        book.cancel(columns[cut])

    def _stops(self, row: int) -> None:
        """Fills stops that the session's range has reached; a position opened in it has none yet."""
        book = self.book
        side = np.sign(book.shares)
        extreme = np.where(side > 0, self.panel.low[row], self.panel.high[row])
        hit = (side != 0) & (book.since < row) & self.market.traded[row] & ((extreme - book.stop) * side <= 0)
        # What the open has passed was an order at the open; if anything of it is left, it waits for the next one.
        hit &= ~((self.panel.open[row] - book.stop) * side <= 0)
        if hit.any():
            columns = np.flatnonzero(hit)
            self._stopped(columns, row)
            shares = self._within_volume(row, columns, -book.shares[columns])
            self._fill(row, INTRADAY, columns, shares, book.stop)
            book.cancel(columns[book.shares[columns] == 0])

    def _stopped(self, columns: Integers, row: int) -> None:
        self.decisions.wish[columns] = 0.0
        self.book.order(columns, np.zeros(len(columns)), STOP, row)

    def _within_volume(self, row: int, columns: Integers, shares: Floats) -> Floats:
        """As many of the signed shares as the session's volume lets be traded beside what was."""
        most = self.configuration.execution.max_volume_share
        if most is None:
            return shares
        volume = np.nan_to_num(self.panel.volume[row, columns])
        left = np.maximum(np.floor(most * volume) - self.traded_volume[columns], 0.0)
        return np.asarray(np.sign(shares) * np.minimum(np.abs(shares), left))

    def _fill(self, row: int, phase: int, columns: Integers, shares: Floats, reference: Floats) -> None:
        some = shares != 0
        if some.any():
            columns, shares = columns[some], shares[some]
            slips = self._slips(row, columns, shares)
            self.traded_volume[columns] += np.abs(shares)
            self.book.fill(row, phase, columns, shares, reference[columns], slips)

    def _slips(self, row: int, columns: Integers, shares: Floats) -> Floats:
        traded = self.traded_volume[columns] + np.abs(shares)
        return np.minimum(slippage_shares(self.configuration.costs, traded, self.panel.volume[row, columns]), 0.99)

    def _close(self, row: int) -> float:
        """Borrow, then the value of the account, which is also returned."""
        book, days = self.book, self.days
        held = np.flatnonzero(book.shares)
        value = book.shares[held] * self.market.last[row, held]
        short = value < 0
        if short.any():
            borrow = -value[short] * self.configuration.costs.borrow_rate / SESSIONS_A_YEAR
            book.charge(held[short], borrow)
            days.borrow[row] = borrow.sum()
        equity = book.cash + float(value.sum())
        days.cash[row], days.equity[row] = book.cash, equity
        days.shares[row] = book.shares
        if equity <= 0:
            raise StrategyError(
                f"strategy {self.configuration.strategy} lost the whole account on "
                f"{self.panel.axes.sessions[row]}: lower gross_exposure, or set stops"
            )
        return equity
