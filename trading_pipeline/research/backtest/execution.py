"""The backtest: a walk over sessions that turns signals into orders, fills and an account, and has vectorbt check it.

What belongs here: one backtest from beginning to end. What does not: its parts, the walk (`walk.py`), decisions
(`decisions.py`), sizes (`sizing.py`), what a fill does to the account (`book.py`), vectorbt (`accounting.py`), what is
told afterwards (`record.py`); statistics (`research/performance`).

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

Entries are of members with a bar; short ones are refused where the market's limits forbid short selling, and what is
held or waits the other way is given up for them all the same. Between two rebalancings an entry is opened at once, from
what is free, and the other positions stay as they are. With an allocation, an entry that found no money or no history
stays wished and is asked again at each rebalancing until its exit; sized by risk, it is refused for good.

Whole shares are shares of the panel's total-return basis.
"""

from __future__ import annotations

import numpy as np

from trading_pipeline.research.backtest.accounting import checked_by_vectorbt
from trading_pipeline.research.backtest.configuration import Configuration
from trading_pipeline.research.backtest.record import BacktestRecord, coverage_of, record_of
from trading_pipeline.research.backtest.sizing import Allocator
from trading_pipeline.research.backtest.walk import Walk
from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.strategies.base import SignalResult, Strategy, StrategyError, checked_signals


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
    return record_of(panel, configuration, start, walk.book, walk.days, walk.decisions.refusals, accounts, coverage)
