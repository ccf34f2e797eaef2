"""One session, tick by tick: the same code for the day itself and for its replay.

What belongs here: the order of things within a tick, what stops new entries, starting, stopping and going on. What does
not: each of those things (`research/live`, `research/risk`, `brokers/`, `analyst/`, `storage/live_store.py`).

A tick takes in bars, lets the broker work, decides signals and sizes them, and commits it all in one transaction; only
then are new orders placed. Nothing else is kept: a loop that starts again folds what was committed and goes on with the
next tick. What the broker said of placing is written with the next tick; a loop that died in between places the same
orders under the same ids, and is told the same.

What stops new entries, and never what is held: the kill switch (setting, file or database flag), a feed that is stale,
a tick that is made up for after an outage, a broker that cannot be reached or has other orders or shares than we, and
the hours of `research/live/rules.toml`. Under the kill switch entries that wait are cancelled, and the loop goes on to
watch over what is held; once nothing is held and nothing waits, the session ends as `halted`, and a new start goes on
with it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from trading_pipeline.analyst.desk import Desk
from trading_pipeline.brokers.base import Broker
from trading_pipeline.brokers.errors import BrokerError, NotReconciled
from trading_pipeline.clock import Clock, system_clock
from trading_pipeline.errors import InputRefused, TradingPipelineError
from trading_pipeline.live.bookkeeping import Bookkeeping
from trading_pipeline.live.clocks import Sleep, grid
from trading_pipeline.live.execution import Execution
from trading_pipeline.live.feed import Feed
from trading_pipeline.live.inputs import SessionInputs
from trading_pipeline.live.session import LoopSettings, Session
from trading_pipeline.research.live import FALL_COLUMNS, Rules, load_rules
from trading_pipeline.research.risk import load_limits
from trading_pipeline.storage.live_store import LiveStore, OpenBook, SessionRow
from trading_pipeline.tables.live import (
    ACCOUNTS,
    FILLS,
    LIVE_TICKS,
    MARKET_ANALYSIS,
    ORDER_EVENTS,
    ORDERS,
    POSITIONS,
    TRADE_SIGNALS,
    TRADES,
)

__all__ = ["HEARTBEAT_TICKS", "Beat", "LoopSettings", "SessionResult", "run_session"]

_log = logging.getLogger(__name__)

HEARTBEAT_TICKS = 5
LOOKS = 5
BETWEEN_LOOKS = timedelta(seconds=10)
"""A broker may tell the last fills, and what they leave, some seconds after the close."""


@dataclass(frozen=True)
class Beat:
    """A sign of life: the last tick, and what the session has come to."""

    tick_at: datetime
    tick: int
    ticks: int
    symbols: int
    fresh: int
    entries_allowed: bool
    why_not: str | None
    signals: int
    orders: int
    fills: int
    equity: float
    compute_ms: float


@dataclass(frozen=True)
class SessionResult:
    """What a session came to, as its book has it. Frames are rows of the tables of the same name, without the book.

    falls: `research.live.FALL_COLUMNS`, names that fell far. remarks: what was missing or odd, in words. ticks: how
    many the session has; compute_ms: of those of this run, in order.
    """

    book: str
    row: SessionRow
    signals: pl.DataFrame
    orders: pl.DataFrame
    order_events: pl.DataFrame
    fills: pl.DataFrame
    positions: pl.DataFrame
    trades: pl.DataFrame
    accounts: pl.DataFrame
    market_analysis: pl.DataFrame
    falls: pl.DataFrame
    ticks: int
    compute_ms: tuple[float, ...]
    remarks: tuple[str, ...]


def run_session(
    inputs: SessionInputs,
    feed: Feed,
    broker: Broker,
    store: LiveStore,
    settings: LoopSettings,
    *,
    run_id: str = "",
    clock: Clock = system_clock,
    sleep: Sleep = time.sleep,
    desk: Desk | None = None,
    halted: Callable[[], str | None] = lambda: None,
    heartbeat: Callable[[Beat], None] = lambda beat: None,
    heartbeat_ticks: int = HEARTBEAT_TICKS,
    on_falls: Callable[[pl.DataFrame], None] = lambda falls: None,
    rules: Rules | None = None,
    execution: Execution | None = None,
) -> SessionResult:
    """Leads the session of `inputs` from where its book stands to its end; what it then says.

    desk: asked about the market and, where `settings.validation` says so, about signals; None: nobody is asked, and the
    rules' market analysis holds. halted: why trading is halted by setting or file, beside the database's flag; asked at
    each tick. heartbeat: told after every `heartbeat_ticks`-th tick and the last one. on_falls: told of names that fell
    far, after the tick that saw it is committed, and of all of the session's once more when a loop goes on: whoever
    passes them on knows which it has had. What either raises is logged and ends nothing; falls are told again with the
    next tick. An interrupted loop cancels what entries it has waiting at a broker with a book of its own.

    Ticks that are over when the loop comes to them are gone through in order; those older than `stale_seconds` make no
    entry. A session that closed is left as it is. Raises `AlreadyRunning` where another loop leads the book,
    `NotReconciled` where the ledger is off by a cent after some looks, and what broker and database raise that waiting
    does not mend; the session is then marked as interrupted and can be led on, after its close too.
    """
    rules, execution, limits = rules or load_rules(), execution or Execution(), load_limits(inputs.market)
    version = f"{rules.version}-{limits.version}-{execution.version}"
    with store.leading(inputs.session) as book:
        ledger = Bookkeeping.of(store, inputs.context, settings.portfolio_value, limits, inputs.actions)
        before = store.session_row(inputs.session)
        if before is not None and store.is_replay and before.rules_version != version:
            raise InputRefused(
                f"{store.book} was begun under the rules {before.rules_version}, not {version}", "Replay it afresh"
            )
        began = inputs.known_at or clock()
        row = book.begin(run_id=run_id, rules_version=version, equity=ledger.equity, now=began)
        if row.ended_why == "closed":
            return _result(store, row, inputs)
        if not store.is_replay:
            book.forget_logs((clock() - timedelta(days=settings.log_days)).date())
        why, compute_ms = "closed", list[float]()
        session: Session | None = None
        try:
            session = Session(inputs, feed, broker, book, ledger, settings, rules, execution, desk)
            _reconcile(session, lambda: halted() or book.halted(), clock, sleep)
            untold = _told(on_falls, session.falls)
            every = grid(inputs.context.opens_at, inputs.context.closes_at, settings.tick_seconds)
            for place, tick_at in enumerate(every, start=1):
                if session.last_tick is not None and tick_at <= session.last_tick:
                    continue
                while (now := clock()) < tick_at:
                    sleep((tick_at - now).total_seconds())
                ticked = session.tick(tick_at, now, halted() or book.halted(), clock)
                compute_ms.append(ticked.compute_ms)
                untold = _told(on_falls, pl.concat([untold, ticked.falls]))
                if place % heartbeat_ticks == 0 or place == len(every):
                    beat = Beat(
                        tick_at, place, len(every), ticked.symbols, ticked.fresh, ticked.why_not is None,
                        ticked.why_not, session.signals, session.ordered, session.filled, ledger.equity,
                        ticked.compute_ms,
                    )  # fmt: skip
                    try:
                        heartbeat(beat)
                    except Exception:  # noqa: BLE001 - a sign of life is no reason to stop trading
                        _log.exception("A heartbeat could not be passed on")
                if session.halt is not None and session.nothing_left:
                    why = "halted"
                    break
            _end(book, session, why, clock, sleep)
        except BaseException:
            # What the broker told since the last commit is told again when the loop goes on.
            if session is not None:
                with suppress(Exception):
                    session.withdraw(clock())
            with suppress(TradingPipelineError):
                book.end("interrupted", clock())
            raise
        ended = store.session_row(inputs.session)
        assert ended is not None
        remarks = (*inputs.remarks, *session.reconciled.lines, *session.unprotected)
        return _result(store, ended, inputs, session.falls, tuple(compute_ms), remarks)


def _reconcile(session: Session, halted: Callable[[], str | None], clock: Clock, sleep: Sleep) -> None:
    """Brings broker and ledger together; where the broker cannot be reached for now, it is asked again."""
    for look in range(LOOKS):
        try:
            session.reconcile(clock(), halted())
        except BrokerError as error:
            if not error.transient or look == LOOKS - 1:
                raise
            sleep(BETWEEN_LOOKS.total_seconds())
        else:
            return


def _told(on_falls: Callable[[pl.DataFrame], None], falls: pl.DataFrame) -> pl.DataFrame:
    """Tells of falls; those that could not be told. What somebody is told is no reason to stop trading."""
    if falls.height:
        try:
            on_falls(falls)
        except Exception:  # noqa: BLE001 - whatever the caller's is
            _log.exception("Names that fell far could not be passed on; the next tick tries again")
            return falls
    return falls.clear()


def _end(book: OpenBook, session: Session, why: str, clock: Clock, sleep: Sleep) -> None:
    """Writes what the session came to; `NotReconciled` where that is still off by a cent after some looks."""
    for look in range(LOOKS):
        if look:
            sleep(BETWEEN_LOOKS.total_seconds())
            session.listen(clock())
        try:
            holdings = session.orders.broker.holdings()
        except BrokerError as error:
            if not error.transient or look == LOOKS - 1:
                raise
            continue
        told = session.orders.new.frames(session.context.session)
        derived, discrepancies = session.ledger.derived(book.store, told, holdings)
        if not discrepancies:
            book.end(why, clock(), told=told, derived=derived)
            return
        if holdings is None:
            break
    book.end("interrupted", clock(), told=told)
    raise NotReconciled(
        f"The ledger of {book.store.book} is off on {session.context.session} ({'; '.join(discrepancies)})",
        "Compare its orders and fills with the account, then lead the session again",
    )


def _result(
    store: LiveStore,
    row: SessionRow,
    inputs: SessionInputs,
    falls: pl.DataFrame | None = None,
    compute_ms: tuple[float, ...] = (),
    remarks: tuple[str, ...] | None = None,
) -> SessionResult:
    tables = (
        LIVE_TICKS, TRADE_SIGNALS, ORDERS, ORDER_EVENTS, FILLS, POSITIONS, TRADES, ACCOUNTS, MARKET_ANALYSIS,
    )  # fmt: skip
    frames = {name: rows.drop("book") for name, rows in store.read_all(tables, row.session).items()}
    return SessionResult(
        book=store.book,
        row=row,
        signals=frames.pop(TRADE_SIGNALS.name),
        ticks=frames.pop(LIVE_TICKS.name).height,
        falls=pl.DataFrame(schema=FALL_COLUMNS) if falls is None else falls,
        compute_ms=compute_ms,
        remarks=inputs.remarks if remarks is None else remarks,
        **frames,
    )
