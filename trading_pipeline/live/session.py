"""A session's state, and what one tick does to it.

What belongs here: the order of things within a tick, and the state as a fold of what was committed. What does not: when
ticks happen, and how a session begins and ends (`loop.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import polars as pl

from trading_pipeline.analyst import market as market_questions
from trading_pipeline.analyst import validation as validation_questions
from trading_pipeline.analyst.desk import Desk
from trading_pipeline.brokers.base import Book, Broker, Order
from trading_pipeline.brokers.errors import BrokerError
from trading_pipeline.brokers.kill_switch import cancel_entries
from trading_pipeline.brokers.reconcile import KeepsBook, start
from trading_pipeline.brokers.ticks import TICKS, US_TICKS
from trading_pipeline.live.bookkeeping import Bookkeeping
from trading_pipeline.live.execution import Execution, bracket, closing, entries, given_up, limits_of, with_legs
from trading_pipeline.live.feed import Fed, Feed
from trading_pipeline.live.inputs import SessionInputs
from trading_pipeline.live.order_book import OWN, OrderBook, Unwritten
from trading_pipeline.research.live import (
    SIGNAL_COLUMNS,
    Multipliers,
    PriceMonitor,
    Rules,
    SessionFeatures,
    is_due,
    market_analysis,
    signals,
)
from trading_pipeline.settings import Settings
from trading_pipeline.storage.live_store import OpenBook
from trading_pipeline.tables.live import (
    LIVE_LOOP_LOGS,
    LIVE_TICKS,
    LLM_VALIDATIONS,
    MARKET_ANALYSIS,
    TRADE_SIGNALS,
)

Outcome = Literal["ordered", "risk", "validation", "feed", "halted", "close"]
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

    @classmethod
    def of(cls, settings: Settings) -> LoopSettings:
        """Those of the project's settings."""
        return cls(
            tick_seconds=settings.live_tick_seconds,
            stale_seconds=settings.live_stale_seconds,
            log_days=settings.live_log_days,
            portfolio_value=settings.portfolio_value,
            validation=settings.live_validation != "off",
        )


@dataclass(frozen=True)
class Ticked:
    """What a tick came to. signals, orders, fills: of the tick. falls: names that fell far, told for the first time."""

    symbols: int
    fresh: int
    why_not: str | None
    signals: int
    orders: int
    fills: int
    falls: pl.DataFrame
    compute_ms: float


class Session:
    """A session while it is led: features, signals given, orders and money, as of its last committed tick.

    last_tick: None before the first. ticks, signals: how many there were, other runs' included. falls: names that fell
    far in what was folded. remarks: what reconciling with the broker said.
    """

    def __init__(
        self,
        inputs: SessionInputs,
        feed: Feed,
        broker: Broker,
        book: OpenBook,
        ledger: Bookkeeping,
        settings: LoopSettings,
        rules: Rules,
        execution: Execution,
        desk: Desk | None,
    ) -> None:
        self.inputs, self.context, self.feed, self.book = inputs, inputs.context, feed, book
        self.ledger, self.settings, self.rules, self.execution, self.desk = ledger, settings, rules, execution, desk
        self.price_steps = TICKS.get(inputs.market, US_TICKS)
        self.features = SessionFeatures(self.context.ids, inputs.bands, rules)
        self.monitor = PriceMonitor(self.context, rules.monitor)
        self.orders = OrderBook(broker, ledger)
        self.waiting = pl.DataFrame(schema=SIGNAL_COLUMNS)
        self.given = self.waiting.select(_GIVEN)
        self.halt: str | None = None
        self.multipliers: Multipliers | None = None
        self.last_analysis: datetime | None = None
        self.last_tick: datetime | None = None
        self.ticks = self.signals = self.ordered = self.filled = 0
        self._fold()

    def _fold(self) -> None:
        """The state after the last committed tick."""
        session = self.context.session
        tables = (LIVE_TICKS, LIVE_LOOP_LOGS, TRADE_SIGNALS, MARKET_ANALYSIS)
        ticks, logs, given, analyses = self.book.store.read_all(tables, session).values()
        logs = logs.drop("book", "session").sort("tick_at", "instrument_id", "bar_started_at")
        self.features.resume(logs)
        self.falls = self.monitor.resume(logs)
        if ticks.is_empty():
            return
        self.last_tick = ticks["tick_at"][-1]
        self.ledger.price(logs)
        self.feed.resume(logs.select("instrument_id", started_at="bar_started_at"), self.last_tick)
        self.given = given.select(_GIVEN)
        for row in analyses.iter_rows(named=True):
            self.multipliers, self.last_analysis = Multipliers.of(row), row["tick_at"]
        self.ticks, self.signals, self.ordered = ticks.height, int(ticks["signals"].sum()), int(ticks["orders"].sum())
        self.filled = self.ledger.fills.filter(pl.col("session") == session).height
        if self.settings.validation:
            again = self._found(self.last_tick)
            self.waiting = again.join(self.given, on="signal_id", how="anti", maintain_order="left")
            self.given = pl.concat([self.given, self.waiting.select(_GIVEN)])
            self._ask_about(self.waiting, logs.filter(pl.col("tick_at") == self.last_tick), self.last_tick)

    def reconcile(self, at: datetime, halt: str | None) -> None:
        """Brings broker and ledger together, placing what is pending; what differs bars entries.

        Pending entries are not placed under the kill switch, nor, at a broker with a book of its own, once they are
        older than entries may wait: the simulated one is told of the same minutes again, and gives them up itself.
        """
        keeps_book = isinstance(self.orders.broker, KeepsBook)

        def unwanted(order: Order) -> str | None:
            if halt is not None:
                return f"trading is halted: {halt}"
            old = at - order.created_at >= timedelta(minutes=self.execution.minutes_open)
            return "it waited too long to be sent" if keeps_book and old else None

        told, self.reconciled = start(self.orders.broker, self._book_at(at, None), self.ledger.by_ticker, unwanted)
        self.orders.record(told)

    def withdraw(self, at: datetime) -> None:
        """Cancels the entries that wait at a broker with a book of its own, for when nobody is there to give them up.

        What it answers is not written: it is told again to the loop that goes on.
        """
        broker = self.orders.broker
        sent = [item for item in self.orders.working if item.status != "pending"]
        if isinstance(broker, KeepsBook) and not self.book.store.is_replay and (waiting := entries(sent)):
            cancel_entries(broker, with_legs(waiting, sent), at)

    def listen(self, at: datetime) -> None:
        """Takes in what the broker has to tell after the last tick."""
        self.orders.ask(lambda: self.orders.broker.advance(self._book_at(at, None)))

    def tick(self, tick_at: datetime, now: datetime, halt: str | None, clock: Callable[[], datetime]) -> Ticked:
        """One tick, committed; then its orders are placed. See `loop`."""
        fed = self.feed.bars(tick_at, now)
        now = clock()  # the poll may have taken its time
        began = time.perf_counter()
        self.halt, self.orders.trouble = halt, None
        logs = self.features.advance(tick_at, fed.bars)
        self.ledger.price(logs)
        falls = self.monitor.advance(logs)
        self.orders.ask(lambda: self.orders.broker.advance(self._book_at(tick_at, logs)))
        analysis, verdicts = self._analyse(tick_at)
        newest = self._newest_bar_at()
        barred, why_not = self._barred(tick_at, now, fed, newest)
        self._give_up(tick_at)
        self._leave(tick_at, now)
        found = self._found(tick_at)
        self.given = pl.concat([self.given, found.select(_GIVEN)])
        due = found
        if self.settings.validation:
            # What is refused by its own tick is not looked at twice.
            due, self.waiting = (self.waiting, found) if why_not is None else (_all(self.waiting, found), found.clear())
            self._ask_about(self.waiting, logs, tick_at)
        decided, orders = self._decide(due, verdicts, tick_at, barred, why_not)
        symbols = int((self.features.state.bars > 0).sum())
        fresh = int(self.context.fresh(self.features, tick_at).sum())
        compute_ms = 1000 * (time.perf_counter() - began)
        tick = {
            "session": self.context.session,
            "tick_at": tick_at,
            "symbols": symbols,
            "fresh": fresh,
            "newest_bar_at": newest,
            "signals": found.height,
            "orders": orders,
            "entries_allowed": why_not is None,
            "why_not": why_not,
            "compute_ms": None if self.book.store.is_replay else compute_ms,
        }
        rows = {
            LIVE_LOOP_LOGS.name: logs.with_columns(session=pl.lit(self.context.session)),
            TRADE_SIGNALS.name: decided,
            **self.orders.new.frames(self.context.session),
        }
        if verdicts.height:
            rows[LLM_VALIDATIONS.name] = verdicts.join(decided, on="signal_id", how="semi")
        if analysis is not None:
            rows[MARKET_ANALYSIS.name] = analysis
        fills = len(self.orders.new.fills)
        self.book.commit_tick(pl.DataFrame([tick], schema=OWN[LIVE_TICKS]), rows, clock())
        self.orders.new = Unwritten()
        self.last_tick, self.ticks = tick_at, self.ticks + 1
        self.signals, self.ordered, self.filled = (
            self.signals + found.height,
            self.ordered + orders,
            self.filled + fills,
        )
        self.falls = _all(self.falls, falls)
        if now < self.context.closes_at:
            self.orders.place(tick_at)
        return Ticked(symbols, fresh, why_not, found.height, orders, fills, falls, compute_ms)

    # --- what a tick does ---------------------------------------------------------------------------------------------

    def _book_at(self, at: datetime, logs: pl.DataFrame | None) -> Book:
        bars = pl.DataFrame() if logs is None else logs.rename({"bar_started_at": "started_at"}).select(_BARS)
        return Book(
            at=at,
            working=self.orders.working,
            bars=bars,
            session=self.context.session,
            opens_at=self.context.opens_at,
            closes_at=self.context.closes_at,
            delisted=self.inputs.delisted,
        )

    def _analyse(self, tick_at: datetime) -> tuple[pl.DataFrame | None, pl.DataFrame]:
        """The row of `market_analysis` that the tick writes, and the verdicts on signals told by now."""
        due = is_due(tick_at, self.context.opens_at, self.last_analysis, self.rules)
        row = market_analysis(self.features, self.context, self.rules, tick_at) if due else None
        verdicts = pl.DataFrame(schema=OWN[LLM_VALIDATIONS])
        if due:
            self.last_analysis = tick_at
        if self.desk is not None:
            if row is not None:
                self.desk.ask(market_questions.asked(row, self.inputs.market))
            told = self.desk.answers_by(tick_at)
            verdicts = validation_questions.rows(told, self.book.store.book).drop("book")
            row = market_questions.rows(told, tick_at, self.book.store.book, row).drop("book")
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
        if self.orders.trouble is not None:
            return "halted", f"the broker cannot be asked: {self.orders.trouble}"
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
        chosen = (
            entries(self.orders.working)
            if self.halt is not None
            else given_up(self.orders.working, tick_at, self.execution)
        )
        if chosen:
            theirs = with_legs(chosen, self.orders.working)
            self.orders.ask(lambda: cancel_entries(self.orders.broker, theirs, tick_at))

    def _leave(self, tick_at: datetime, now: datetime) -> None:
        """Closes what is held before the close, and what an earlier session left behind as soon as there is a price.

        The exits are cancelled first: a broker does not sell shares that others of its orders wait to sell. Where one
        of them will not end yet, the next tick tries again. A tick made up for after the close leaves nothing: an order
        would wait for the next open without a stop beside it.
        """
        context = self.context
        if max(tick_at, now) >= context.closes_at:
            return
        soon = tick_at >= context.closes_at - timedelta(minutes=self.execution.flat_minutes)
        if soon and (waiting := entries(self.orders.working)):
            theirs = with_legs(waiting, self.orders.working)
            self.orders.ask(lambda: cancel_entries(self.orders.broker, theirs, tick_at))
        held = self.ledger.held
        leaving = {
            id_
            for id_ in (held if soon else self.ledger.left_behind)
            if held.get(id_)
            and id_ not in self.inputs.delisted
            and tick_at - self.orders.closed_at.get(id_, context.opens_at - _CLOSE_AGAIN) >= _CLOSE_AGAIN
        }
        exits = [item for item in self.orders.working if item.order.instrument_id in leaving]
        if exits:
            self.orders.ask(lambda: self.orders.broker.cancel(exits, tick_at))
        busy = {item.order.instrument_id for item in self.orders.working}
        going = {id_: shares for id_ in sorted(leaving - busy) if (shares := self.ledger.held.get(id_, 0))}
        for id_, shares in self._theirs_too(going).items():
            if shares:
                self.orders.decide([closing(context.session, id_, self.ledger.tickers[id_], shares, tick_at)])

    def _theirs_too(self, going: Mapping[str, int]) -> Mapping[str, int]:
        """`going` as far as the broker has it: closing more would open a position the other way."""
        if not going:
            return going
        try:
            holdings = self.orders.broker.holdings()
        except BrokerError as error:
            if not error.transient:
                raise
            self.orders.trouble = error.problem
            return {}
        if holdings is None:
            return going
        theirs = {each.ticker: each.quantity for each in holdings}
        return {id_: _common(shares, theirs.get(self.ledger.tickers[id_], 0)) for id_, shares in going.items()}

    def _found(self, tick_at: datetime) -> pl.DataFrame:
        found = signals(
            self.features, self.context, self.rules, tick_at, multipliers=self.multipliers, given=self.given
        )
        # A name without levels may still break its range with a stop by sigma alone: those that are managed are not
        # prepared for the session, and what is new in them is nobody's plan.
        return found.filter(~pl.col("instrument_id").is_in(sorted(self.inputs.managed)))

    def _ask_about(self, found: pl.DataFrame, logs: pl.DataFrame, tick_at: datetime) -> None:
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
            return pl.DataFrame(schema=OWN[TRADE_SIGNALS]), 0
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
            for row in self.ledger.sized(asked.with_columns(entry), self.orders.working).iter_rows(named=True):
                if row["refused_by"] is not None:
                    outcomes[row["signal_id"]] = ("risk", f"{row['refused_by']}: {row['refused_because']}", 0)
                    continue
                self.orders.decide(bracket(row, tick_at))
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

    @property
    def unprotected(self) -> list[str]:
        """In words, what is held without a stop that works."""
        stopped = {item.order.instrument_id for item in self.orders.working if item.order.role == "stop"}
        bare = sorted((self.ledger.tickers[id_], n) for id_, n in self.ledger.held.items() if n and id_ not in stopped)
        return [f"{ticker}: {shares} shares are held without a stop" for ticker, shares in bare]

    @property
    def nothing_left(self) -> bool:
        """Whether nothing is held, and nothing waits."""
        return not self.orders.working and not any(self.ledger.held.values()) and self.waiting.is_empty()


_BARS = ("instrument_id", "started_at", "open", "high", "low", "close", "volume")
_GIVEN = ("signal_id", "instrument_id", "setup", "side", "tick_at")
"""What later signals and a loop that goes on need of signals that were given."""


def _all(before: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([before, new]) if new.height else before


def _common(ours: int, theirs: int) -> int:
    """The shares that both have; 0 where one is long and the other short."""
    return 0 if ours * theirs <= 0 else min(ours, theirs, key=abs)


def _spoken(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    return f"{seconds} s" if seconds < 600 else f"{seconds // 60} minutes"
