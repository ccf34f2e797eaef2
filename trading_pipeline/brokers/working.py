"""The working orders as the ledger has them: what `Book.working` is folded from, at any tick.

What belongs here: turning stored rows into orders. What does not: positions and profits (`research/ledger/`).
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from trading_pipeline.brokers.base import FINAL, TRIGGERED, Fill, Order, OrderEvent, Told, Working

_ORDER = (
    "order_id", "session", "instrument_id", "ticker", "role", "side", "quantity", "order_type", "created_at",
    "time_in_force", "limit_price", "stop_price", "signal_id", "parent_id", "risk",
)  # fmt: skip


def working_orders(orders: pl.DataFrame, events: pl.DataFrame, fills: pl.DataFrame) -> tuple[Working, ...]:
    """Every order that is not over, by `created_at` and `order_id`.

    orders, events, fills: rows of the tables `orders`, `order_events` and `fills` of one book: all of the brackets
    that have an order still working (rows of brackets that are over change nothing). An order without an event is
    pending. The same rows give the same orders whatever their order.
    """
    filled = fills.group_by("order_id").agg(pl.col("fill_id"), filled=pl.col("quantity").sum())
    state = (
        events.sort("order_id", "sequence")
        .group_by("order_id")
        .agg(
            pl.col("status").last(),
            pl.col("broker_order_id").drop_nulls().last(),
            triggered=(pl.col("reason") == TRIGGERED).any(),
        )
    )
    known = (
        orders.select(_ORDER)
        .join(state, on="order_id", how="left")
        .join(filled, on="order_id", how="left")
        .with_columns(pl.col("status").fill_null("pending"), pl.col("filled").fill_null(0))
    )
    bracket = pl.coalesce("parent_id", "order_id")
    opening = pl.when(pl.col("parent_id").is_null()).then(pl.col("filled")).otherwise(-pl.col("filled"))
    live = (
        known.with_columns(held=pl.when(pl.col("parent_id").is_not_null()).then(opening.sum().over(bracket)))
        .filter(~pl.col("status").is_in(sorted(FINAL)))
        .sort("created_at", "order_id")
    )
    return tuple(
        Working(
            order=Order(**{name: row[name] for name in _ORDER}),
            status=row["status"],
            filled=row["filled"],
            broker_order_id=row["broker_order_id"],
            held=row["held"],
            triggered=bool(row["triggered"]),
            fill_ids=frozenset(row["fill_id"] or ()),
        )
        for row in live.iter_rows(named=True)
    )


def after(working: Iterable[Working], told: Told) -> tuple[Working, ...]:
    """`working` after what was told of it: the fold of `working_orders` without a round through the ledger.

    A fill that an order has already counted (`fill_ids`) is not counted again.
    """
    before = list(working)
    fills: dict[str, list[Fill]] = {}
    for fill in told.fills:
        fills.setdefault(fill.order_id, []).append(fill)
    events: dict[str, list[OrderEvent]] = {}
    for event in told.events:
        events.setdefault(event.order_id, []).append(event)
    new = {
        item.order.order_id: {
            fill.fill_id: fill.quantity
            for fill in fills.get(item.order.order_id, ())
            if fill.fill_id not in item.fill_ids
        }
        for item in before
    }
    moved_held: dict[str, int] = {}
    for item in before:
        bracket, sign = (item.order.parent_id, -1) if item.order.parent_id else (item.order.order_id, 1)
        moved_held[bracket] = moved_held.get(bracket, 0) + sign * sum(new[item.order.order_id].values())
    states = (
        _moved(item, events.get(item.order.order_id, []), new[item.order.order_id], moved_held) for item in before
    )
    return tuple(state for state in states if state.status not in FINAL)


def _moved(item: Working, events: list[OrderEvent], new: dict[str, int], moved_held: dict[str, int]) -> Working:
    ids = [event.broker_order_id for event in events if event.broker_order_id]
    parent = item.order.parent_id
    return Working(
        order=item.order,
        status=events[-1].status if events else item.status,
        filled=item.filled + sum(new.values()),
        broker_order_id=ids[-1] if ids else item.broker_order_id,
        held=item.held + moved_held.get(parent, 0) if parent and item.held is not None else item.held,
        triggered=item.triggered or any(event.reason == TRIGGERED for event in events),
        fill_ids=item.fill_ids | new.keys(),
    )
