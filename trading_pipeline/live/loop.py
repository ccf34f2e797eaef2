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

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import polars as pl

from trading_pipeline.analyst import market as market_questions
from trading_pipeline.analyst import validation as validation_questions
from trading_pipeline.analyst.desk import Desk
from trading_pipeline.brokers.base import FINAL, Book, Broker, Order, OrderEvent, Told, Working
from trading_pipeline.brokers.errors import BrokerError, NotReconciled, OrderUnplaceable
from trading_pipeline.brokers.kill_switch import cancel_entries
from trading_pipeline.brokers.reconcile import Report, start
from trading_pipeline.brokers.ticks import TICKS, US_TICKS
from trading_pipeline.brokers.working import after, working_orders
from trading_pipeline.clock import Clock, system_clock
from trading_pipeline.errors import InputRefused, TradingPipelineError
from trading_pipeline.live.bookkeeping import Bookkeeping
from trading_pipeline.live.clocks import Sleep, grid
from trading_pipeline.live.execution import (
    Execution,
    bracket,
    closing,
    entries,
    given_up,
    limits_of,
    pending_brackets,
    with_legs,
)
from trading_pipeline.live.feed import Fed, Feed
from trading_pipeline.live.inputs import SessionInputs
from trading_pipeline.research.live import (
    FALL_COLUMNS,
    SIGNAL_COLUMNS,
    Multipliers,
    PriceMonitor,
    Rules,
    SessionFeatures,
    is_due,
    load_rules,
    market_analysis,
    signals,
)
from trading_pipeline.research.risk.limits import load_limits
from trading_pipeline.storage.live_store import LiveStore, OpenBook, SessionRow
from trading_pipeline.tables import Table
from trading_pipeline.tables.live import (
    ACCOUNTS,
    FILLS,
    LIVE_LOOP_LOGS,
    LIVE_TICKS,
    LLM_VALIDATIONS,
    MARKET_ANALYSIS,
    ORDER_EVENTS,
    ORDERS,
    POSITIONS,
    TRADE_SIGNALS,
    TRADES,
)

Outcome = Literal["ordered", "risk", "validation", "feed", "halted", "close"]
HEARTBEAT_TICKS = 5
_CLOSE_AGAIN = timedelta(minutes=5)
"""How long an order that closes is left alone before another one is tried."""


@dataclass(frozen=True)
class LoopSettings:
    """What of the settings concerns the loop; see `settings.Settings` for what each means."""

    tick_seconds: int = 60
    stale_seconds: int = 90
    log_days: int = 30
    portfolio_value: float = 100_000.0
    validation: bool = False


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
    passes them on knows which it has had.

    Ticks that are over when the loop comes to them are gone through in order; those older than `stale_seconds` make no
    entry. A session that closed is left as it is. Raises `AlreadyRunning` where another loop leads the book,
    `NotReconciled` where the ledger is off by a cent (after the session is over, and marked as interrupted), and what
    broker and database raise that waiting does not mend; the session is then marked as interrupted and can be led on.
    """
    with store.leading(inputs.session) as book:
        session = _Session(
            inputs,
            feed,
            broker,
            book,
            settings,
            rules or load_rules(),
            execution or Execution(),
            clock,
            desk,
            halted,
        )
        if session.begin(run_id):
            session.go(sleep, heartbeat, heartbeat_ticks, on_falls)
        return session.result()


class _Session:
    """A session while it is led. State beside what the store has: a fold of it."""

    def __init__(
        self,
        inputs: SessionInputs,
        feed: Feed,
        broker: Broker,
        book: OpenBook,
        settings: LoopSettings,
        rules: Rules,
        execution: Execution,
        clock: Clock,
        desk: Desk | None,
        halted: Callable[[], str | None],
    ) -> None:
        self.inputs, self.context, self.feed, self.broker = inputs, inputs.context, feed, broker
        self.book, self.settings, self.rules, self.execution = book, settings, rules, execution
        self.clock, self.desk, self.halted = clock, desk, halted
        self.store = book.store
        self.limits = load_limits(inputs.market)
        self.price_steps = TICKS.get(inputs.market, US_TICKS)
        self.features = SessionFeatures(self.context.ids, inputs.bands, rules)
        self.monitor = PriceMonitor(self.context, rules.monitor)
        self.tickers = dict(self.context.names.select("instrument_id", "ticker").iter_rows())
        self.waiting = pl.DataFrame(schema=SIGNAL_COLUMNS)
        self.given = _as_given(self.waiting)
        self.halt: str | None = None
        self.multipliers: Multipliers | None = None
        self.last_analysis: datetime | None = None
        self.working: tuple[Working, ...] = ()
        self.orders: dict[str, Order] = {}
        self.said: dict[str, list[tuple[Any, ...]]] = {}
        self.seen_fills: set[str] = set()
        self.closed_at: dict[str, datetime] = {}
        self.new = _New()
        self.reconciled = Report()
        self.trouble: str | None = None
        self.last_tick: datetime | None = None
        self.ticks_done = 0
        self.compute_ms: list[float] = []
        self.falls: list[pl.DataFrame] = []
        self.counts = {"signals": 0, "orders": 0, "fills": 0}
        self.remarks = list(inputs.remarks)

    # --- starting -----------------------------------------------------------------------------------------------------

    @property
    def rules_version(self) -> str:
        return f"{self.rules.version}-{self.limits.version}-{self.execution.version}"

    def begin(self, run_id: str) -> bool:
        """Brings book, broker and state to where the session stands; whether there is anything to do."""
        self.ledger = Bookkeeping.of(
            self.store, self.context, self.settings.portfolio_value, self.limits, self.inputs.actions
        )
        before = self.store.session_row(self.context.session)
        if before is not None and self.store.is_replay and before.rules_version != self.rules_version:
            raise InputRefused(
                f"{self.store.book} was begun under the rules {before.rules_version}, not {self.rules_version}",
                "Replay it afresh",
            )
        self.row = self.book.begin(
            run_id=run_id, rules_version=self.rules_version, equity=self.ledger.equity, now=self.clock()
        )
        if self.row.ended_why == "closed":
            return False
        if not self.store.is_replay:
            self.book.forget_logs((self.clock() - timedelta(days=self.settings.log_days)).date())
        self._fold()
        told, self.reconciled = start(self.broker, self._book_at(self.clock(), None), self.ledger.by_ticker)
        self._record(told)
        self.remarks += self.reconciled.lines
        return True

    def _fold(self) -> None:
        """The state after the last committed tick."""
        session = self.context.session
        stored = self.store.read_all((LIVE_TICKS, LIVE_LOOP_LOGS, TRADE_SIGNALS, MARKET_ANALYSIS), session)
        orders, events, fills = self.ledger.orders, self.ledger.events, self.ledger.fills
        self.working = working_orders(orders, events, fills)
        self.orders = {item.order.order_id: item.order for item in self.working}
        for row in events.sort("order_id", "sequence").iter_rows(named=True):
            said = (row["at"], row["status"], row["reason"], row["broker_order_id"])
            self.said.setdefault(row["order_id"], []).append(said)
        self.seen_fills = set(fills["fill_id"])
        for row in orders.filter((pl.col("role") == "close") & (pl.col("session") == session)).iter_rows(named=True):
            id_, at = row["instrument_id"], row["created_at"]
            self.closed_at[id_] = max(self.closed_at.get(id_, at), at)
        ticks = stored["live_ticks"]
        if ticks.is_empty():
            return
        self.last_tick = ticks["tick_at"].max()  # type: ignore[assignment]
        assert self.last_tick is not None
        self.ticks_done = ticks.height
        logs = stored["live_loop_logs"].drop("book", "session").sort("tick_at", "instrument_id", "bar_started_at")
        self.features.resume(logs)
        self.falls.append(self.monitor.resume(logs))
        self.ledger.price(logs)
        self.feed.resume(logs.select("instrument_id", started_at="bar_started_at"), self.last_tick)
        self.given = _as_given(stored["trade_signals"])
        for row in stored["market_analysis"].sort("tick_at").iter_rows(named=True):
            self.multipliers, self.last_analysis = Multipliers.of(row), row["tick_at"]
        self.counts = {
            "signals": int(ticks["signals"].sum()),
            "orders": int(ticks["orders"].sum()),
            "fills": fills.filter(pl.col("session") == session).height,
        }
        if self.settings.validation:
            again = self._found(self.last_tick)
            self.waiting = again.join(self.given, on="signal_id", how="anti", maintain_order="left")
            self.given = pl.concat([self.given, _as_given(self.waiting)])
            taken = logs.filter(pl.col("tick_at") == self.last_tick)
            self._ask_about(self.waiting, taken, None, self.last_tick)

    # --- going --------------------------------------------------------------------------------------------------------

    def go(
        self,
        sleep: Sleep,
        heartbeat: Callable[[Beat], None],
        heartbeat_ticks: int,
        on_falls: Callable[[pl.DataFrame], None],
    ) -> None:
        every = grid(self.context.opens_at, self.context.closes_at, self.settings.tick_seconds)
        left = [tick_at for tick_at in every if self.last_tick is None or tick_at > self.last_tick]
        why = "closed"
        try:
            for falls in self.falls:
                if falls.height:
                    on_falls(falls)
            for place, tick_at in enumerate(left, start=len(every) - len(left) + 1):
                while (now := self.clock()) < tick_at:
                    sleep((tick_at - now).total_seconds())
                beat, falls = self.tick(tick_at, now, place, len(every))
                if falls.height:
                    on_falls(falls)
                if place % heartbeat_ticks == 0 or tick_at == every[-1]:
                    heartbeat(beat)
                if self.halt is not None and self._nothing_left():
                    why = "halted"
                    break
        except BaseException:
            why = "interrupted"
            raise
        finally:
            self._end(why)

    def tick(self, tick_at: datetime, now: datetime, place: int, ticks: int) -> tuple[Beat, pl.DataFrame]:
        """One tick: see the module."""
        fed = self.feed.bars(tick_at, now)
        began = time.perf_counter()
        self.trouble = None
        logs = self.features.advance(tick_at, fed.bars)
        self.ledger.price(logs)
        falls = self.monitor.advance(logs)
        self._ask_broker(lambda: self.broker.advance(self._book_at(tick_at, logs)))
        self.halt = self.halted() or self.book.halted()
        analysis, verdicts = self._analyse(tick_at)
        newest = self._newest_bar_at()
        barred, why_not = self._barred(tick_at, now, fed, newest)
        self._give_up(tick_at)
        self._leave(tick_at)
        found = self._found(tick_at)
        due = found
        if self.settings.validation:
            due, self.waiting = self.waiting, found
            self._ask_about(found, logs, analysis, tick_at)
        decided, orders = self._decide(due, verdicts, tick_at, barred, why_not)
        self.given = pl.concat([self.given, _as_given(found)])
        symbols, fresh = int((self.features.state.bars > 0).sum()), self.context.fresh(self.features, tick_at).sum()
        tick = {
            "tick_at": tick_at,
            "symbols": symbols,
            "fresh": int(fresh),
            "newest_bar_at": newest,
            "signals": found.height,
            "orders": orders,
            "entries_allowed": why_not is None,
            "why_not": why_not,
            "compute_ms": None,
        }
        rows = {
            LIVE_LOOP_LOGS.name: logs.with_columns(session=pl.lit(self.context.session)),
            TRADE_SIGNALS.name: decided,
            **self.new.frames(self.context.session),
        }
        if verdicts.height:
            rows[LLM_VALIDATIONS.name] = verdicts.join(decided, on="signal_id", how="semi")
        if analysis is not None:
            rows[MARKET_ANALYSIS.name] = analysis
        compute_ms = 1000 * (time.perf_counter() - began)
        if not self.store.is_replay:
            tick["compute_ms"] = compute_ms
        fills = len(self.new.fills)
        self.book.commit_tick(self._row_of(tick), rows, self.clock())
        self.new = _New()
        self.last_tick, self.ticks_done = tick_at, self.ticks_done + 1
        self.compute_ms.append(compute_ms)
        if falls.height:
            self.falls.append(falls)
        for name, count in (("signals", found.height), ("orders", orders), ("fills", fills)):
            self.counts[name] += count
        self._place(tick_at)
        beat = Beat(
            tick_at, place, ticks, symbols, int(fresh), why_not is None, why_not,
            equity=self.ledger.equity, compute_ms=compute_ms, **self.counts,
        )  # fmt: skip
        return beat, falls

    # --- what a tick does ---------------------------------------------------------------------------------------------

    def _book_at(self, at: datetime, logs: pl.DataFrame | None) -> Book:
        bars = pl.DataFrame() if logs is None else logs.rename({"bar_started_at": "started_at"}).select(_BARS)
        return Book(
            at=at,
            working=self.working,
            bars=bars,
            session=self.context.session,
            opens_at=self.context.opens_at,
            closes_at=self.context.closes_at,
            delisted=self.inputs.delisted,
        )

    def _ask_broker(self, what: Callable[[], Told]) -> None:
        """Takes in what the broker tells; where it cannot be reached for now, the next tick asks again."""
        try:
            self._record(what())
        except BrokerError as error:
            if not error.transient:
                raise
            self.trouble = error.problem

    def _record(self, told: Told) -> None:
        """Takes in what is new of what a broker told: it may tell things again."""
        events = []
        for event in told.events:
            said = self.said.setdefault(event.order_id, [])
            if said and (said[-1][1] in FINAL or any(_tells_again(event, one) for one in said)):
                continue
            # The broker's clock may be behind ours: what happened after something else is not told to be before it.
            event = replace(event, at=max(event.at, said[-1][0])) if said else event  # noqa: PLW2901
            said.append((event.at, event.status, event.reason, event.broker_order_id))
            self.new.events.append({**asdict(event), "sequence": len(said) - 1})
            events.append(event)
        fills = [fill for fill in told.fills if fill.fill_id not in self.seen_fills]
        for fill in fills:
            self.seen_fills.add(fill.fill_id)
            order = self.orders[fill.order_id]
            self.new.fills.append({**asdict(fill), "instrument_id": order.instrument_id, "ticker": order.ticker})
        if fills:
            self.ledger.take(self.new.fills[-len(fills) :])
        self.working = after(self.working, Told(events, fills))

    def _decided(self, orders: Sequence[Order]) -> None:
        """New orders: pending until they are placed."""
        self.ledger.order(orders)
        for order in orders:
            self.orders[order.order_id] = order
            self.new.orders.append(order)
            self.said[order.order_id] = [(order.created_at, "pending", None, None)]
            self.new.events.append({**asdict(OrderEvent(order.order_id, order.created_at, "pending")), "sequence": 0})
        held = {order.order_id: None if order.parent_id is None else 0 for order in orders}
        self.working = (*self.working, *(Working(order, "pending", held=held[order.order_id]) for order in orders))

    def _place(self, tick_at: datetime) -> None:
        """Places what is pending. What the broker says of it is written with the next tick, or told again."""
        for pending in pending_brackets(self.working):
            try:
                self._record(self.broker.place(pending, tick_at))
            except OrderUnplaceable as error:
                said = error.problem
                self._record(Told([OrderEvent(order.order_id, tick_at, "rejected", said) for order in pending]))
            except BrokerError as error:
                if not error.transient:
                    raise
                self.trouble = error.problem
                return

    def _analyse(self, tick_at: datetime) -> tuple[pl.DataFrame | None, pl.DataFrame]:
        """The row of `market_analysis` that the tick writes, and the verdicts on signals told by now."""
        due = is_due(tick_at, self.context.opens_at, self.last_analysis, self.rules)
        row = market_analysis(self.features, self.context, self.rules, tick_at) if due else None
        verdicts = pl.DataFrame(schema=_OWN[LLM_VALIDATIONS])
        if due:
            self.last_analysis = tick_at
        if self.desk is not None:
            if row is not None:
                self.desk.ask(market_questions.asked(row, self.inputs.market))
            told = self.desk.answers_by(tick_at)
            verdicts = validation_questions.rows(told, self.store.book).drop("book")
            row = market_questions.rows(told, tick_at, self.store.book, row).drop("book")
        if row is None or row.is_empty():
            return None, verdicts
        self.multipliers = Multipliers.of(row.row(0, named=True))
        return row, verdicts

    def _newest_bar_at(self) -> datetime | None:
        """End of the newest bar of the session."""
        state = self.features.state
        if not (state.bars > 0).any():
            return None
        started = int(state.started[state.bars > 0].max())
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=started) + self.features.bar_length

    def _barred(
        self, tick_at: datetime, now: datetime, fed: Fed, newest: datetime | None
    ) -> tuple[Outcome, str | None]:
        """What refuses entries at this tick, and why; (…, None) where nothing does."""
        stale = timedelta(seconds=self.settings.stale_seconds)
        timing = self.rules.timing
        if self.halt is not None:
            return "halted", f"trading is halted: {self.halt}"
        if not self.reconciled.may_trade:
            return "halted", f"the broker and the ledger differ: {'; '.join(self.reconciled.lines)}"
        if self.trouble is not None:
            return "halted", f"the broker cannot be asked: {self.trouble}"
        if now - tick_at >= stale:
            return "feed", f"missed tick: {_spoken(now - tick_at)} late"
        if newest is None or tick_at - newest >= stale:
            age = "no bar yet" if newest is None else f"the newest bar is {_spoken(tick_at - newest)} old"
            return "feed", f"stale feed: {age}{f' ({fed.trouble})' if fed.trouble else ''}"
        if tick_at < self.context.opens_at + timedelta(minutes=timing.minutes_after_open):
            return "close", f"the first {timing.minutes_after_open:g} minutes"
        if tick_at > self.context.closes_at - timedelta(minutes=timing.minutes_before_close):
            return "close", f"the last {timing.minutes_before_close:g} minutes"
        return "ordered", None

    def _give_up(self, tick_at: datetime) -> None:
        """Cancels entries: those that waited long enough, and all of them under the kill switch."""
        chosen = entries(self.working) if self.halt is not None else given_up(self.working, tick_at, self.execution)
        if chosen:
            theirs = with_legs(chosen, self.working)
            self._ask_broker(lambda: cancel_entries(self.broker, theirs, tick_at))

    def _leave(self, tick_at: datetime) -> None:
        """Closes what is held before the close, and what an earlier session left behind as soon as there is a price.

        The exits are cancelled first: a broker does not sell shares that others of its orders wait to sell. Where one
        of them will not end yet, the next tick tries again.
        """
        context = self.context
        if tick_at >= context.closes_at:
            return
        soon = tick_at >= context.closes_at - timedelta(minutes=self.execution.flat_minutes)
        if soon and (waiting := entries(self.working)):
            theirs = with_legs(waiting, self.working)
            self._ask_broker(lambda: cancel_entries(self.broker, theirs, tick_at))
        held = self.ledger.held
        leaving = {
            id_
            for id_ in (held if soon else self.ledger.left_behind)
            if held.get(id_)
            and id_ not in self.inputs.delisted
            and tick_at - self.closed_at.get(id_, context.opens_at - _CLOSE_AGAIN) >= _CLOSE_AGAIN
        }
        exits = [item for item in self.working if item.order.instrument_id in leaving]
        if exits:
            self._ask_broker(lambda: self.broker.cancel(exits, tick_at))
        busy = {item.order.instrument_id for item in self.working}
        for id_ in sorted(leaving - busy):
            if shares := self.ledger.held.get(id_, 0):
                self._decided([closing(context.session, id_, self.ledger.tickers[id_], shares, tick_at)])
                self.closed_at[id_] = tick_at

    def _found(self, tick_at: datetime) -> pl.DataFrame:
        return signals(self.features, self.context, self.rules, tick_at, multipliers=self.multipliers, given=self.given)

    def _ask_about(
        self, found: pl.DataFrame, logs: pl.DataFrame, analysis: pl.DataFrame | None, tick_at: datetime
    ) -> None:
        """Asks for a second look at signals, which is used at the next tick if it is there by then."""
        if self.desk is None or found.is_empty():
            return
        bars = {row["instrument_id"]: row for row in logs.iter_rows(named=True)}
        facts = {
            id_: {
                **self.inputs.facts.get(id_, {}),
                "bar": bars.get(id_),
                "market": self.multipliers and asdict(self.multipliers),
            }
            for id_ in found["instrument_id"]
        }
        deadline = tick_at + timedelta(seconds=self.settings.tick_seconds)
        told = found.select(name for name in TRADE_SIGNALS.names if name in found.columns)
        for asked in validation_questions.asked(told, facts, deadline):
            self.desk.ask(asked)

    def _decide(
        self, due: pl.DataFrame, verdicts: pl.DataFrame, tick_at: datetime, barred: Outcome, why_not: str | None
    ) -> tuple[pl.DataFrame, int]:
        """The rows of `trade_signals` of what is decided now, and how many entries were ordered."""
        if due.is_empty():
            return pl.DataFrame(schema=_OWN[TRADE_SIGNALS]), 0
        vetoes = dict(verdicts.filter(pl.col("verdict") == "veto").select("signal_id", "reason").iter_rows())
        outcomes: dict[str, tuple[Outcome, str, int]] = {}
        for id_ in due["signal_id"]:
            if why_not is not None:
                outcomes[id_] = (barred, why_not, 0)
            elif id_ in vetoes:
                outcomes[id_] = ("validation", vetoes[id_], 0)
        asked = due.filter(~pl.col("signal_id").is_in(list(outcomes)))
        ordered = 0
        if asked.height:
            entry = limits_of(asked["price"], asked["stop"], self.execution.slack, self.price_steps)
            for row in self.ledger.sized(asked.with_columns(entry), self.working).iter_rows(named=True):
                if row["refused_by"] is not None:
                    outcomes[row["signal_id"]] = ("risk", f"{row['refused_by']}: {row['refused_because']}", 0)
                    continue
                self._decided(bracket(row, tick_at))
                said = f"{row['quantity']} shares, {row['risk']:.2f} at risk"
                limited = "" if row["limited_by"] is None else f", made smaller by {row['limited_by']}"
                outcomes[row["signal_id"]] = ("ordered", said + limited, row["quantity"])
                ordered += 1
        became = pl.DataFrame(
            [(id_, *outcome) for id_, outcome in outcomes.items()],
            schema={
                "signal_id": pl.String(), "outcome": pl.String(), "outcome_reason": pl.String(),
                "quantity": pl.Int64(),
            },
            orient="row",
        )  # fmt: skip
        rows = due.join(became, on="signal_id", how="left", maintain_order="left")
        return rows.select(name for name in TRADE_SIGNALS.names if name != "book"), ordered

    def _row_of(self, tick: Mapping[str, Any]) -> pl.DataFrame:
        return pl.DataFrame([{"session": self.context.session, **tick}], schema=_OWN[LIVE_TICKS])

    def _nothing_left(self) -> bool:
        return not self.working and not any(self.ledger.held.values()) and self.waiting.is_empty()

    # --- ending -------------------------------------------------------------------------------------------------------

    def _end(self, why: str) -> None:
        if why == "interrupted":
            # What the broker told since the last commit is told again when the loop goes on.
            with suppress(TradingPipelineError):
                self.book.end(why, self.clock())
            return
        told = self.new.frames(self.context.session)
        derived, discrepancies = self.ledger.derived(self.store, told, self.broker.holdings())
        if discrepancies:
            self.book.end("interrupted", self.clock(), told=told)
            raise NotReconciled(
                f"The ledger of {self.store.book} is off on {self.context.session} ({'; '.join(discrepancies)})",
                "Compare its orders and fills with the account, then lead the session again",
            )
        self.book.end(why, self.clock(), told=told, derived=derived)

    def result(self) -> SessionResult:
        """What the book has of the session now."""
        session = self.context.session
        row = self.store.session_row(session)
        assert row is not None
        tables = (TRADE_SIGNALS, ORDERS, ORDER_EVENTS, FILLS, POSITIONS, TRADES, ACCOUNTS, MARKET_ANALYSIS)
        frames = {name: rows.drop("book") for name, rows in self.store.read_all(tables, session).items()}
        return SessionResult(
            book=self.store.book,
            row=row,
            signals=frames.pop(TRADE_SIGNALS.name),
            falls=pl.concat(self.falls) if self.falls else pl.DataFrame(schema=FALL_COLUMNS),
            ticks=self.ticks_done,
            compute_ms=tuple(self.compute_ms),
            remarks=tuple(self.remarks),
            **frames,
        )


def _tells_again(event: OrderEvent, said: tuple[Any, ...]) -> bool:
    at, *what = said
    return what == [event.status, event.reason, event.broker_order_id] and event.at <= at


_BARS = ("instrument_id", "started_at", "open", "high", "low", "close", "volume")
_GIVEN = ("signal_id", "instrument_id", "setup", "side", "tick_at")


def _as_given(rows: pl.DataFrame) -> pl.DataFrame:
    """What later signals and a resumed loop need of signals that were given."""
    return rows.select(_GIVEN)


def _spoken(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    return f"{seconds} s" if seconds < 600 else f"{seconds // 60} minutes"


@dataclass
class _New:
    """Rows that wait for the next commit."""

    orders: list[Order] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    fills: list[dict[str, Any]] = field(default_factory=list)

    def frames(self, session: date) -> dict[str, pl.DataFrame]:
        """By table, without the book."""
        rows: dict[Table, list[dict[str, Any]]] = {
            ORDERS: [asdict(order) for order in self.orders],
            ORDER_EVENTS: self.events,
            FILLS: [{**fill, "session": session} for fill in self.fills],
        }
        return {table.name: pl.DataFrame(each, schema=_OWN[table]) for table, each in rows.items() if each}


_OWN = {
    table: pl.Schema({name: dtype for name, dtype in table.schema.items() if name != "book"})
    for table in (LIVE_TICKS, TRADE_SIGNALS, LLM_VALIDATIONS, ORDERS, ORDER_EVENTS, FILLS)
}
"""The columns of a table without the book."""
