"""A book's orders while its session runs: what is working, what the broker told, and what waits to be written.

What belongs here: taking in what brokers tell, which they may tell again, and placing what is pending. What does not:
deciding orders (`session.py`, `execution.py`), money (`bookkeeping.py`), and writing (`storage/live_store.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from typing import Any

import polars as pl

from trading_pipeline.brokers.base import FINAL, Broker, Order, OrderEvent, Told, Working
from trading_pipeline.brokers.errors import BrokerError, OrderUnplaceable
from trading_pipeline.brokers.working import after, working_orders
from trading_pipeline.live.bookkeeping import Bookkeeping
from trading_pipeline.live.execution import pending_brackets
from trading_pipeline.tables import Table
from trading_pipeline.tables.live import FILLS, LIVE_TICKS, LLM_VALIDATIONS, ORDER_EVENTS, ORDERS, TRADE_SIGNALS

OWN = {
    table: pl.Schema({name: dtype for name, dtype in table.schema.items() if name != "book"})
    for table in (LIVE_TICKS, TRADE_SIGNALS, LLM_VALIDATIONS, ORDERS, ORDER_EVENTS, FILLS)
}
"""The columns of a table without the book."""


@dataclass
class Unwritten:
    """Rows that wait for the next commit."""

    orders: list[Order] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    fills: list[dict[str, Any]] = field(default_factory=list)

    def frames(self, session: date) -> dict[str, pl.DataFrame]:
        """By table, without the book; those that have rows."""
        rows: dict[Table, list[dict[str, Any]]] = {
            ORDERS: [asdict(order) for order in self.orders],
            ORDER_EVENTS: self.events,
            FILLS: [{**fill, "session": session} for fill in self.fills],
        }
        return {table.name: pl.DataFrame(each, schema=OWN[table]) for table, each in rows.items() if each}


class OrderBook:
    """The orders that are not over, folded from the ledger and kept up to date.

    trouble: why the broker could not be asked last; None: it could. closed_at: by instrument, when an order to close
    it was last made in this session.
    """

    def __init__(self, broker: Broker, ledger: Bookkeeping) -> None:
        self.broker, self._ledger = broker, ledger
        self.working: tuple[Working, ...] = working_orders(ledger.orders, ledger.events, ledger.fills)
        self.new = Unwritten()
        self.trouble: str | None = None
        self.closed_at: dict[str, datetime] = {}
        self._orders = {item.order.order_id: item.order for item in self.working}
        self._seen = set(ledger.fills["fill_id"])
        self._said: dict[str, list[tuple[Any, ...]]] = {}
        for row in ledger.events.sort("order_id", "sequence").iter_rows(named=True):
            one = (row["at"], row["status"], row["reason"], row["broker_order_id"])
            self._said.setdefault(row["order_id"], []).append(one)
        closing = ledger.orders.filter((pl.col("role") == "close") & (pl.col("session") == ledger.session))
        for id_, at in closing.sort("created_at").select("instrument_id", "created_at").iter_rows():
            self.closed_at[id_] = at

    def ask(self, what: Callable[[], Told]) -> None:
        """Takes in what the broker tells; where it cannot be reached for now, the next tick asks again."""
        try:
            self.record(what())
        except BrokerError as error:
            if not error.transient:
                raise
            self.trouble = error.problem

    def record(self, told: Told) -> None:
        """Takes in what is new of what a broker told: it may tell things again."""
        events = []
        for event in told.events:
            said = self._said.setdefault(event.order_id, [])
            if said and (said[-1][1] in FINAL or any(_tells_again(event, one) for one in said)):
                continue
            # The broker's clock may be behind ours: what happened after something else is not told to be before it.
            own = replace(event, at=max(event.at, said[-1][0])) if said else event
            said.append((own.at, own.status, own.reason, own.broker_order_id))
            self.new.events.append({**asdict(own), "sequence": len(said) - 1})
            events.append(own)
        fills = [fill for fill in told.fills if fill.fill_id not in self._seen]
        for fill in fills:
            self._seen.add(fill.fill_id)
            order = self._orders[fill.order_id]
            self.new.fills.append({**asdict(fill), "instrument_id": order.instrument_id, "ticker": order.ticker})
        if fills:
            self._ledger.take(self.new.fills[-len(fills) :])
        self.working = after(self.working, Told(events, fills))

    def decide(self, orders: Sequence[Order]) -> None:
        """Takes in new orders: pending until they are placed."""
        self._ledger.order(orders)
        for order in orders:
            self._orders[order.order_id] = order
            self.new.orders.append(order)
            self._said[order.order_id] = [(order.created_at, "pending", None, None)]
            self.new.events.append({**asdict(OrderEvent(order.order_id, order.created_at, "pending")), "sequence": 0})
            if order.role == "close":
                self.closed_at[order.instrument_id] = order.created_at
        fresh = (Working(order, "pending", held=None if order.parent_id is None else 0) for order in orders)
        self.working = (*self.working, *fresh)

    def place(self, tick_at: datetime) -> None:
        """Places what is pending. What the broker says of it is written with the next tick, or told again."""
        for pending in pending_brackets(self.working):
            try:
                self.record(self.broker.place(pending, tick_at))
            except OrderUnplaceable as error:
                said = error.problem
                self.record(Told([OrderEvent(order.order_id, tick_at, "rejected", said) for order in pending]))
            except BrokerError as error:
                if not error.transient:
                    raise
                self.trouble = error.problem
                return


def _tells_again(event: OrderEvent, said: tuple[Any, ...]) -> bool:
    at, *what = said
    return what == [event.status, event.reason, event.broker_order_id] and event.at <= at
