"""Orders, bars and a ledger in memory, for the tests of brokers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from trading_pipeline.brokers.base import Book, Order, Told, Working
from trading_pipeline.brokers.working import working_orders
from trading_pipeline.tables.live import FILLS, ORDER_EVENTS, ORDERS

SESSION = date(2025, 9, 17)
OPEN = datetime(2025, 9, 17, 13, 30, tzinfo=UTC)
CLOSE = datetime(2025, 9, 17, 20, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BARS = {
    "instrument_id": pl.String(),
    "started_at": pl.Datetime("us", "UTC"),
    **{name: pl.Float64() for name in ("open", "high", "low", "close", "volume")},
}


def order(order_id: str = "e1", **changes: Any) -> Order:
    """A market order to buy 100 AAA, decided at the open."""
    values: dict[str, Any] = {
        "session": SESSION,
        "instrument_id": "us:AAA",
        "ticker": "AAA",
        "role": "entry",
        "side": "buy",
        "quantity": 100,
        "order_type": "market",
        "created_at": OPEN,
    }
    if "limit_price" in changes:
        values["order_type"] = "limit"
    if "stop_price" in changes:
        values["order_type"] = "stop"
    return Order(order_id, **(values | changes))


def bracket(
    stop: float = 95.0, target: float = 110.0, legs: dict[str, Any] | None = None, **changes: Any
) -> list[Order]:
    """An entry with its stop and target; `changes` are the entry's, `legs` what the legs have of their own."""
    entry = order(**changes)
    shared = {
        "session": entry.session,
        "instrument_id": entry.instrument_id,
        "ticker": entry.ticker,
        "side": "sell" if entry.side == "buy" else "buy",
        "quantity": entry.quantity,
        "created_at": entry.created_at,
        "time_in_force": "gtc",
        "parent_id": entry.order_id,
    } | (legs or {})
    return [
        entry,
        order(f"{entry.order_id}-stop", role="stop", stop_price=stop, **shared),
        order(f"{entry.order_id}-target", role="target", limit_price=target, **shared),
    ]


def bars(*rows: tuple[Any, ...], instrument_id: str = "us:AAA", first: datetime = OPEN) -> pl.DataFrame:
    """One bar a minute from `first`: (open, high, low, close) or with a volume (1,000,000 where none is given)."""
    return pl.DataFrame(
        [
            (instrument_id, first + place * MINUTE, *row[:4], row[4] if len(row) > 4 else 1e6)
            for place, row in enumerate(rows)
            if row
        ],
        schema=BARS,
        orient="row",
    )


@dataclass
class Ledger:
    """What the loop writes to the database, and reads back at each tick."""

    broker: Any
    orders: list[Order] = field(default_factory=list)
    told: Told = field(default_factory=Told)

    def place(self, orders: Sequence[Order], at: datetime = OPEN) -> Told:
        self.orders += [item for item in orders if item not in self.orders]
        return self.take(self.broker.place(orders, at))

    def take(self, told: Told) -> Told:
        known = {fill.fill_id for fill in self.told.fills}
        fresh = [fill for fill in told.fills if fill.fill_id not in known]
        self.told = Told([*self.told.events, *told.events], [*self.told.fills, *fresh])
        return told

    def frames(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        sequence: dict[str, int] = {}
        events = []
        for event in self.told.events:
            sequence[event.order_id] = sequence.get(event.order_id, -1) + 1
            events.append({"book": "paper", "sequence": sequence[event.order_id], **asdict(event)})
        of = {item.order_id: item for item in self.orders}
        fills = [
            {"session": of[fill.order_id].session, "instrument_id": "us:AAA", "ticker": "AAA", **asdict(fill)}
            for fill in self.told.fills
        ]
        return (
            pl.DataFrame([asdict(item) for item in self.orders], schema=ORDERS.schema),
            pl.DataFrame(events, schema=ORDER_EVENTS.schema),
            pl.DataFrame(fills, schema=FILLS.schema),
        )

    @property
    def working(self) -> tuple[Working, ...]:
        return working_orders(*self.frames())

    def tick(self, at: datetime, rows: pl.DataFrame | None = None, **book: Any) -> Told:
        rows = pl.DataFrame(schema=BARS) if rows is None else rows
        return self.take(self.broker.advance(Book(at=at, working=self.working, bars=rows, **book)))

    def run(self, rows: pl.DataFrame, **book: Any) -> None:
        """One tick a bar."""
        for started_at in sorted(rows["started_at"].unique()):
            self.tick(started_at + MINUTE, rows.filter(pl.col("started_at") == started_at), **book)

    def status(self, order_id: str) -> str:
        return ([event.status for event in self.told.events if event.order_id == order_id] or ["pending"])[-1]

    def reason(self, order_id: str) -> str | None:
        return [event.reason for event in self.told.events if event.order_id == order_id][-1]

    def filled(self, order_id: str) -> int:
        return sum(fill.quantity for fill in self.told.fills if fill.order_id == order_id)

    def fills(self, order_id: str) -> list[tuple[int, float]]:
        return [(fill.quantity, fill.price) for fill in self.told.fills if fill.order_id == order_id]
