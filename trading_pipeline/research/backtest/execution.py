"""The backtest: a walk over sessions that turns signals into orders, fills and an account, and has vectorbt check it.

What belongs here: the order of events. What does not: sizes (`sizing.py`), what a fill does (`book.py`), vectorbt
(`accounting.py`), what is told afterwards (`record.py`), statistics (`research/performance`).

A session, in its order:

    open      1. A holding delisted after the session before is sold at its last close, less the haircut, without fees.
              2. A stop that the open has passed makes its position an order to sell at the open.
              3. Pending orders fill at the open: first what makes positions smaller, then what makes them larger, cut
                 alike where the account cannot carry all.
    session   4. A stop within the session's range fills at its price; not in the session the position was opened.
    close     5. Borrow is charged on shorts. The account is valued at the closes.
              6. Signals, membership and calendar make new pending orders, from what is known by now.

Orders on a session without a bar, or beyond the share of its volume that may be traded, wait: those that close a
position as long as it takes, those that open one for `carry_sessions`, and then they are dropped. What the account
cannot carry does not wait. A position that is turned round is closed first, and opened the other way as another trade.

Entries are of members with a bar. Between two rebalancings an entry is opened at once, from what is free, and the other
positions stay as they are. With an allocation, an entry that found no money or no history stays wished and is asked
again at each rebalancing until its exit; sized by risk, it is refused for good.

Whole shares are shares of the panel's total-return basis.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from trading_pipeline.research.backtest.accounting import checked_by_vectorbt
from trading_pipeline.research.backtest.book import (
    CLOSING,
    DELISTED,
    ENTRY,
    EXIT_SIGNAL,
    INTRADAY,
    LEFT_UNIVERSE,
    OPENING,
    REBALANCE,
    STOP,
    Book,
    slippage_shares,
)
from trading_pipeline.research.backtest.configuration import Configuration
from trading_pipeline.research.backtest.market import STALE, Market, market_of
from trading_pipeline.research.backtest.record import BacktestRecord, Days, Refusals, coverage_of, record_of
from trading_pipeline.research.backtest.sizing import (
    Allocator,
    account_of,
    allocator_of,
    opening_shares,
    sized_by_risk,
    target_weights,
    within_turnover,
)
from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import Floats, Integers, Mask
from trading_pipeline.research.risk import Limits, load_limits
from trading_pipeline.research.strategies.base import SignalResult, Strategy, StrategyError, checked_signals

SESSIONS_A_YEAR = 252

T = TypeVar("T")


def backtest(
    panel: MarketPanel, configuration: Configuration, allocator: Allocator | None = None, chosen: Strategy | None = None
) -> BacktestRecord:
    """The backtest of a configuration: its strategy's signals on the panel, then `run`.

    chosen: the strategy, where it is not the configured one by name. Raises what `run` raises, and `StrategyError`
    where the panel is too short for the strategy, or the strategy fails or signals what is no signal.
    """
    chosen = configuration.built() if chosen is None else chosen
    sessions = panel.axes.sessions
    if len(sessions) < chosen.warm_up + 2:
        span = f"{sessions[0]} to {sessions[-1]}, " if len(sessions) else ""
        raise StrategyError(
            f"strategy {chosen.name} has too little history: {span}{len(sessions)} sessions, and its first signal "
            f"needs {chosen.warm_up + 1} and one to trade on: begin the data earlier or shorten its windows"
        )
    try:
        signals = checked_signals(chosen, panel)
    except StrategyError as error:
        if isinstance(error.__cause__, Exception):
            raise StrategyError(f"{error} (sessions {sessions[0]} to {sessions[-1]})") from error.__cause__
        raise
    return run(panel, signals, configuration, allocator)


def run(
    panel: MarketPanel, signals: SignalResult, configuration: Configuration, allocator: Allocator | None = None
) -> BacktestRecord:
    """What trading the signals would have made of the capital.

    signals: as `checked_signals` gives them. allocator: weights by trailing returns; None for those of
    `research/allocation` that the configuration names; not asked where it sizes by risk. `measures["sector"]` of the
    panel, where there is one, holds sector codes for the limits of risk.

    Raises `StrategyError`, naming strategy and session, where there is no session to trade on, the universe is empty on
    one, the allocator fails or the account is lost; `CoverageError` where too few members have bars and the
    configuration refuses that; `AccountingError` where vectorbt comes to another value.
    """
    name, sessions = configuration.strategy, panel.axes.sessions
    first = configuration.first_session
    start = 0 if first is None else int(np.searchsorted(sessions, np.datetime64(first, "D")))
    if len(sessions) - start < 2:
        there = f"there are {len(sessions)}" + (f", the last is {sessions[-1]}" if len(sessions) else "")
        raise StrategyError(
            f"strategy {name} has too little history: it needs 2 sessions from {first or 'the first'} on, {there}: "
            f"begin earlier or bring the data up to date"
        )
    empty = np.flatnonzero(~panel.member[start:].any(axis=1))
    if len(empty):
        raise StrategyError(
            f"strategy {name}: the universe {configuration.universe} is empty on {sessions[start + empty[0]]} "
            f"({len(empty)} sessions in all): load its members or set first_session after it"
        )
    coverage = coverage_of(panel, configuration, start)
    walk = Walk(panel, signals, configuration, allocator, start)
    walk.run()
    accounts = checked_by_vectorbt(walk.book.orders.frame(), walk.market.last, walk.days, configuration.capital, start)
    return record_of(panel, configuration, start, walk.book, walk.days, walk.refusals, accounts, coverage)


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
        self.panel, self.configuration = panel, configuration
        given = configuration.allocation
        self.allocator = allocator_of(given) if allocator is None and given is not None else allocator
        self.start = start
        self.market: Market = market_of(panel, configuration)
        self.book = Book(instruments, configuration.capital, configuration.costs)
        self.days = Days.empty(rows, instruments)
        self.refusals = Refusals()
        self.wish = np.zeros(instruments)
        """1 or -1 while a position is wished."""
        self.weight = np.ones(instruments)
        self.signals = signals
        self.longs = signals.entries & ~signals.exits
        self.shorts = signals.short_entries & ~signals.short_exits
        self.limit = max(configuration.gross_exposure, 1.0)
        self.fees = configuration.costs.fees_bps / 1e4
        self.limits: Limits | None = load_limits(configuration.market) if configuration.risk else None
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
                self._decide(row, equity)
        self.book.end(final, self.market.last[final])

    # --- open and session ---

    def _delist(self, row: int) -> None:
        """Sells what is known to be gone; its orders and wishes end."""
        book, market = self.book, self.market
        gone = (market.delisted >= 0) & (market.delisted <= row)
        gone |= (market.since[row] > STALE) & (book.shares != 0)
        if not gone.any():
            return
        held = np.flatnonzero(gone & (book.shares != 0))
        book.cancel(gone)
        self.wish[gone] = 0.0
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
            self._refuse(row, fresh, "no_bar", "It found no bar or no volume to be opened on within carry_sessions.")
            if self.limits is not None:
                self.wish[fresh] = 0.0
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
        budget = self.limit * (book.cash + float(value.sum())) - float(np.abs(value).sum())
        possible, cut = opening_shares(shares, mark, price, self.fees, budget, self.limit)
        nothing = columns[cut & (possible == 0) & (book.shares[columns] == 0)]
        self._refuse(row, nothing, "no_cash", "The account could not carry one share more at the open.")
        if self.limits is not None:
            self.wish[nothing] = 0.0
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
        self.wish[columns] = 0.0
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

    # --- close ---

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

    def _decide(self, row: int, equity: float) -> None:
        """Pending orders from what is known at the close."""
        self._leave(row)
        member, signals = self.panel.member[row] & self.market.traded[row], self.signals
        side = self.longs[row].astype(np.float64) - self.shorts[row]
        outside = np.flatnonzero((side != 0) & ~self.panel.member[row])
        self._refuse(row, outside, "not_member", "It is no member of the universe.", side[outside])
        side = np.where(member, side, 0.0)
        entering = side != 0
        self.weight[entering] = signals.weight[row, entering]
        fresh = entering & (side != self.wish)
        self.wish[fresh] = side[fresh]
        self.book.entering[fresh] = signals.stop_distance[row, fresh]
        # Who is wished the other way round is left, whatever becomes of the entry.
        turned = np.flatnonzero(fresh & (self.book.shares * side < 0))
        self.book.order(turned, np.zeros(len(turned)), EXIT_SIGNAL, row)
        if self.limits is not None:
            self._by_risk(row, equity, np.flatnonzero(fresh), self.limits)
        else:
            self._by_allocation(row, equity, fresh)

    def _leave(self, row: int) -> None:
        """Exits: signals, and who has left the universe."""
        book, signals = self.book, self.signals
        side = np.where(self.wish != 0, self.wish, np.sign(book.shares))
        out = (signals.exits[row] & (side > 0)) | (signals.short_exits[row] & (side < 0))
        left = ~self.panel.member[row] & ((side != 0) | book.pending)
        for where, reason in ((out & ~left, EXIT_SIGNAL), (left, LEFT_UNIVERSE)):
            self.wish[where] = 0.0
            # An exit that waits already keeps its reason and its date.
            columns = np.flatnonzero(where & ~(book.pending & (book.target == 0)))
            book.order(columns, np.zeros(len(columns)), reason, row)

    def _by_allocation(self, row: int, equity: float, fresh: Mask) -> None:
        """Targets of all that is wished on a rebalancing, of the new entries alone on other sessions."""
        limits = self.configuration.allocation
        assert limits is not None
        assert self.allocator is not None
        book, market = self.book, self.market
        calendar = bool(market.rebalances[row])
        if not (calendar or fresh.any()):
            return
        wished = self.wish != 0
        able = wished & market.traded[row] & (market.history[row] >= limits.minimum_history)
        lacking = np.flatnonzero(fresh & ~able)
        self._refuse(row, lacking, "history", f"It has fewer than {limits.minimum_history} returns.")
        columns = np.flatnonzero(able)
        if not len(columns):
            return
        last = market.last[row]
        keeps = wished & ~able & (book.shares != 0) & ~(book.pending & (book.target == 0))
        stuck = np.abs(np.where(keeps, book.shares * last, 0.0)).sum()
        available = max(limits.gross_exposure - float(stuck) / equity, 0.0)
        first = max(row + 1 - limits.lookback, 0)
        side = self.wish[columns]
        returns = market.returns[first : row + 1, columns] * side
        call = partial(target_weights, self.allocator, returns, self.weight[columns], limits, available)
        weights = self._named(row, "the allocation", call)
        target = np.trunc(side * weights * equity / last[columns])
        new = fresh[columns]
        self._refuse(row, columns[new & (weights == 0)], "no_weight", "The allocation leaves it no position.")
        dear = new & (weights > 0) & (target == 0)
        self._refuse(row, columns[dear], "whole_shares", "A share costs more than its weight of the account.")
        if calendar:
            held = book.shares[columns]
            target = within_turnover(held, target, last[columns], equity, limits.turnover_limit)
        else:
            columns, target = columns[new], target[new]
        entry = (book.shares[columns] == 0) & (target != 0)
        book.order(columns, target, np.where(entry | fresh[columns], ENTRY, REBALANCE), row)

    def _by_risk(self, row: int, equity: float, columns: Integers, limits: Limits) -> None:
        """Targets of the new entries, each sized by its risk; what is held stays."""
        if not len(columns):
            return
        book, last, names = self.book, self.market.last[row], self.panel.axes.instrument_ids
        sectors = self.panel.measures.get("sector")
        codes = None if sectors is None else sectors[row]
        closing = book.pending & (book.target == 0)
        held = np.flatnonzero((book.shares != 0) & ~closing | book.opening)
        held = held[~np.isin(held, columns)]
        shares = np.where(book.opening, book.target, book.shares)[held]
        stop = np.where(
            book.shares[held] != 0, book.stop[held], last[held] * (1 - np.sign(shares) * book.entering[held])
        )
        # Without a stop all of it can be lost.
        risk = np.where(np.isnan(stop), np.abs(shares) * last[held], (last[held] - stop) * shares)
        gross = float((np.abs(shares) * last[held]).sum())
        room = self.configuration.gross_exposure * equity - gross
        account = account_of(names, equity, room, held, risk, codes)
        side, signals = self.wish[columns], self.signals
        call = partial(
            sized_by_risk, [names[column] for column in columns], side, last[columns], book.entering[columns],
            signals.confidence[row, columns], None if codes is None else codes[columns], account, limits,
        )  # fmt: skip
        quantity, by, why = self._named(row, "sizing by risk", call)
        # A weight above 1 asks for more than risk allows; one below 1 for less.
        target = side * np.floor(quantity * np.minimum(self.weight[columns], 1.0))
        refused = target == 0
        for column, code, words in zip(columns[refused], np.array(by)[refused], np.array(why)[refused], strict=True):
            self._refuse(
                row, np.array([column]), code or "whole_shares", words or "Its weight leaves less than a share."
            )
        self.wish[columns[refused]] = 0.0
        book.order(columns, target, ENTRY, row)

    def _refuse(self, row: int, columns: Integers, code: str, words: str, side: Floats | None = None) -> None:
        if len(columns):
            self.refusals.add(row, columns, self.wish[columns] if side is None else side, code, words)

    def _named(self, row: int, what: str, call: Callable[[], T]) -> T:
        """The call's answer; what it raises names strategy and session."""
        try:
            return call()
        except Exception as error:
            raise StrategyError(
                f"strategy {self.configuration.strategy}: {what} failed on {self.panel.axes.sessions[row]}: "
                f"{type(error).__name__}: {error}"
            ) from error
