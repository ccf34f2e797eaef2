"""What every broker promises: orders by our own id, what became of them, what is held.

Orders are placed as *brackets*: an entry with a protective stop and a target, of which one cancels the other. A broker
is told an order as often as needed: the same `order_id` is the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, Protocol

import polars as pl

Side = Literal["buy", "sell"]
Role = Literal["entry", "stop", "target", "close"]
OrderType = Literal["market", "limit", "stop"]
TimeInForce = Literal["day", "gtc"]
Status = Literal["pending", "accepted", "partially_filled", "filled", "cancelled", "rejected", "expired"]

FINAL: frozenset[Status] = frozenset({"filled", "cancelled", "rejected", "expired"})
"""States that an order does not leave. `filled`: nothing is left for it to fill; a bracket's leg is filled when it has
closed what the bracket held, be that less than the leg's own quantity."""

TRIGGERED = "triggered"
"""Reason of the event that says a stop's price was reached; from then on it is worked as a market order."""


@dataclass(frozen=True)
class Order:
    """An order as it was decided; the fields are the columns of `orders`."""

    order_id: str
    session: date
    instrument_id: str
    ticker: str
    role: Role
    side: Side
    quantity: int
    order_type: OrderType
    created_at: datetime
    time_in_force: TimeInForce = "day"
    limit_price: float | None = None
    stop_price: float | None = None
    signal_id: str | None = None
    parent_id: str | None = None
    risk: float | None = None


@dataclass(frozen=True)
class OrderEvent:
    """A change of an order's state."""

    order_id: str
    at: datetime
    status: Status
    reason: str | None = None
    broker_order_id: str | None = None


@dataclass(frozen=True)
class Fill:
    """An execution. fill_id: the broker's id of it, the same whenever it is told again."""

    fill_id: str
    order_id: str
    at: datetime
    side: Side
    quantity: int
    price: float
    fee: float


@dataclass(frozen=True)
class Told:
    """What a broker says has happened: new events and fills, oldest first. What was told before may be told again."""

    events: Sequence[OrderEvent] = ()
    fills: Sequence[Fill] = ()


@dataclass(frozen=True)
class Working:
    """An order that is not in a final state, and how much of it is filled.

    held: of an order with a `parent_id`, the shares that its bracket holds: fills of the entry less those of all exits.
        None where nobody counted; needed where the entry is over.
    triggered: whether the stop's price was reached. fill_ids: the executions that are in `filled`.
    """

    order: Order
    status: Status
    filled: int = 0
    broker_order_id: str | None = None
    held: int | None = None
    triggered: bool = False
    fill_ids: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Holding:
    """What the broker says is held: shares, negative for a short position, and their average price."""

    ticker: str
    quantity: int
    average_price: float


@dataclass
class Book:
    """What we know at a tick: what the simulated broker lives on, and what the other is reconciled with.

    bars: the complete bars since the tick before, columns instrument_id, started_at, open, high, low, close, volume.
    session, opens_at, closes_at: the session the tick belongs to and its hours (half-days close early). Day orders of
        earlier sessions, and from `closes_at` on those of this one, are over. None: nobody says, nothing expires.
    delisted: instruments that no longer trade; their orders are over.
    """

    at: datetime
    working: Sequence[Working] = ()
    bars: pl.DataFrame = field(default_factory=pl.DataFrame)
    session: date | None = None
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    delisted: frozenset[str] = frozenset()

    def over(self, order: Order) -> bool:
        """Whether a day order's day is over."""
        if order.time_in_force != "day" or self.session is None:
            return False
        ended = self.closes_at is not None and self.at >= self.closes_at
        return order.session < self.session or (ended and order.session == self.session)


class Broker(Protocol):
    """A broker. Every method raises typed errors of `brokers.errors`, never a library's."""

    name: str
    on_paper: bool

    def place(self, bracket: Sequence[Order], at: datetime) -> Told:
        """Place an entry and its legs as one bracket (or one single order). The same orders again change nothing.

        An order the broker refuses is told as `rejected`, with its reason; errors are for what nobody decided.
        """
        ...

    def cancel(self, orders: Sequence[Working], at: datetime) -> Told:
        """Cancel orders that are still working; those that are over by now tell how they ended.

        What an entry has filled by then stays protected; see `kill_switch.cancel_entries`.
        """
        ...

    def advance(self, book: Book) -> Told:
        """What happened to the working orders up to `book.at`."""
        ...

    def holdings(self) -> Sequence[Holding] | None:
        """What it says is held; None where it keeps no book of its own."""
        ...
