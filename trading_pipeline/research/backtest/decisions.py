"""Decisions at a close: which positions are wished, and the pending orders that follow from it.

What belongs here: signals, membership and calendar, as orders. What does not: how many shares (`sizing.py`), how orders
are filled (`walk.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from trading_pipeline.research.backtest.book import ENTRY, EXIT_SIGNAL, LEFT_UNIVERSE, REBALANCE, Book
from trading_pipeline.research.backtest.configuration import Configuration
from trading_pipeline.research.backtest.market import Market
from trading_pipeline.research.backtest.record import Refusals
from trading_pipeline.research.backtest.sizing import (
    Allocator,
    account_of,
    allocator_of,
    sized_by_risk,
    target_weights,
    within_turnover,
)
from trading_pipeline.research.panel import Floats, Integers, Mask
from trading_pipeline.research.risk import Limits, load_limits
from trading_pipeline.research.strategies.base import SignalResult, StrategyError

T = TypeVar("T")

NO_SHORTS = ("short_selling", "Short selling is not allowed.")
"""What `research.risk.sized` says of a short where the market's limits forbid it."""


class Decisions:
    """What is wished, one element an instrument, and what was refused; orders go to the book.

    wish: 1 or -1 while a position is wished. weight: what its latest entry asked for.
    """

    def __init__(
        self,
        market: Market,
        book: Book,
        signals: SignalResult,
        configuration: Configuration,
        allocator: Allocator | None,
    ) -> None:
        self.market, self.book, self.signals, self.configuration = market, book, signals, configuration
        self.panel = market.panel
        given = configuration.allocation
        self.allocator = allocator_of(given) if allocator is None and given is not None else allocator
        limits = load_limits(configuration.market)
        self.limits: Limits | None = limits if configuration.risk else None
        self.short_selling = limits.market.short_selling
        self.longs = signals.entries & ~signals.exits
        self.shorts = signals.short_entries & ~signals.short_exits
        self.wish = np.zeros(self.panel.shape[1])
        self.weight = np.ones(self.panel.shape[1])
        self.refusals = Refusals()

    def decide(self, row: int, equity: float) -> None:
        """Pending orders from what is known at the close."""
        self._leave(row)
        member, signals = self.panel.member[row] & self.market.traded[row], self.signals
        side = self.longs[row].astype(np.float64) - self.shorts[row]
        outside = np.flatnonzero((side != 0) & ~self.panel.member[row])
        self.refuse(row, outside, "not_member", "It is no member of the universe.", side[outside])
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
            if not self.short_selling:
                fresh &= ~self._refused_shorts(row, fresh)
            self._by_allocation(row, equity, fresh)

    def _refused_shorts(self, row: int, fresh: Mask) -> Mask:
        """Which of the new wishes are shorts: refused, and wished no longer, as sizing by risk refuses them.

        A long entry that waits is given up, as a position that is held was.
        """
        shorts = fresh & (self.wish < 0)
        self.refuse(row, np.flatnonzero(shorts), *NO_SHORTS)
        self.wish[shorts] = 0.0
        self.book.cancel(shorts & (self.book.shares == 0))
        return shorts

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
        self.refuse(row, lacking, "history", f"It has fewer than {limits.minimum_history} returns.")
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
        self.refuse(row, columns[new & (weights == 0)], "no_weight", "The allocation leaves it no position.")
        dear = new & (weights > 0) & (target == 0)
        self.refuse(row, columns[dear], "whole_shares", "A share costs more than its weight of the account.")
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
            self.refuse(
                row, np.array([column]), code or "whole_shares", words or "Its weight leaves less than a share."
            )
        self.wish[columns[refused]] = 0.0
        book.order(columns, target, ENTRY, row)

    def unopened(self, row: int, columns: Integers, code: str, words: str) -> None:
        """Entries that could not be filled: refused; sized by risk they are no longer wished, else asked again."""
        self.refuse(row, columns, code, words)
        if self.limits is not None:
            self.wish[columns] = 0.0

    def refuse(self, row: int, columns: Integers, code: str, words: str, side: Floats | None = None) -> None:
        """Notes why entries did not become orders or positions; side: of each, where it is not what is wished."""
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
