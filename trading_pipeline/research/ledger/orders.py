"""What became of each order, and what cannot have happened.

What belongs here: states from events and fills, and the faults of both. What does not: the money (`journal.py`).

    pending -> accepted -> partially_filled -> filled
    and from each of the first three to cancelled, rejected or expired; a broker may skip what was over before it told.

An order may be told `accepted` or `partially_filled` again (its stop was triggered, another part was filled). A leg is
filled when it has closed what the bracket held, be that less than its own quantity.
"""

from __future__ import annotations

import polars as pl

from trading_pipeline.research.ledger.journal import checked
from trading_pipeline.research.money import MICROS, from_micros, to_micros

FINAL = ("filled", "cancelled", "rejected", "expired")
_AFTER = {
    "pending": ("accepted", "partially_filled", *FINAL),
    "accepted": ("accepted", "partially_filled", *FINAL),
    "partially_filled": ("partially_filled", "filled", "cancelled", "expired"),
}


def order_states(orders: pl.DataFrame, events: pl.DataFrame, fills: pl.DataFrame) -> pl.DataFrame:
    """Each order's state, by `created_at` and `order_id`.

    orders, events, fills: rows of the tables, of one book, in any order. Returns [order_id, instrument_id, ticker,
    role, side, quantity, status, filled, average_price (of its fills, null without), fees, last_at (of its last event;
    null without one), reason, broker_order_id (the last one told), final, faults (one line each; null: none)]. An order
    without an event is pending. Raises `ValueError` where a fill is none.
    """
    executed = (
        checked(fills)
        .with_columns(money=to_micros(pl.col("price")) * pl.col("quantity"))
        .group_by("order_id")
        .agg(
            filled=pl.col("quantity").sum(),
            average_price=pl.col("money").sum() / (pl.col("quantity").sum() * MICROS),
            fees=from_micros(to_micros(pl.col("fee")).sum()),
        )
    )
    last = (
        events.sort("order_id", "sequence")
        .group_by("order_id", maintain_order=True)
        .agg(
            pl.col("status", "reason").last(),
            pl.col("broker_order_id").drop_nulls().last(),
            last_at=pl.col("at").last(),
        )
    )
    faults = order_faults(orders, events, fills).group_by("order_id", maintain_order=True)
    return (
        orders.sort("created_at", "order_id")
        .select("order_id", "instrument_id", "ticker", "role", "side", "quantity")
        .join(last, on="order_id", how="left", maintain_order="left")
        .join(executed, on="order_id", how="left", maintain_order="left")
        .join(faults.agg(faults=pl.col("fault").str.join("\n")), on="order_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("status").fill_null("pending"), pl.col("filled").fill_null(0), pl.col("fees").fill_null(0.0)
        )
        .select(
            "order_id",
            "instrument_id",
            "ticker",
            "role",
            "side",
            "quantity",
            "status",
            "filled",
            "average_price",
            "fees",
            "last_at",
            "reason",
            "broker_order_id",
            pl.col("status").is_in(FINAL).alias("final"),
            "faults",
        )
    )


def order_faults(orders: pl.DataFrame, events: pl.DataFrame, fills: pl.DataFrame) -> pl.DataFrame:
    """[order_id, fault] of everything about orders that cannot have happened, in words, by order.

    Orders, events, fills: as for `order_states`. Said are: events out of sequence or time, steps from a state to one
    that does not follow it, events and fills of no order, fills of another side or name than the order's, or of more
    than was ordered; a state that its fills contradict; legs that closed more than their entry opened.
    """
    fills = checked(fills)
    return (
        pl.concat([_of_events(orders, events), _of_fills(orders, fills), _of_states(orders, events, fills)])
        .unique()
        .sort("order_id", "fault")
    )


def _said(frame: pl.DataFrame, condition: pl.Expr, words: pl.Expr | str) -> pl.DataFrame:
    text = pl.lit(words) if isinstance(words, str) else words
    return frame.filter(condition).select("order_id", fault=text)


def _of_events(orders: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    told = events.sort("order_id", "sequence").with_columns(
        place=pl.int_range(pl.len()).over("order_id"),
        before=pl.col("status").shift(1).over("order_id"),
        earlier=pl.col("at").shift(1).over("order_id"),
    )
    follows = pl.lit(value=False)
    for state, states in _AFTER.items():
        follows |= (pl.col("before") == state) & pl.col("status").is_in(states)
    follows |= pl.col("before").is_null() & (pl.col("status") == "pending")
    began = pl.coalesce("before", pl.lit("nothing"))
    return pl.concat(
        [
            _said(
                told,
                pl.col("sequence") != pl.col("place"),
                pl.format("event {} is told as number {}", "place", "sequence"),
            ),
            _said(
                told,
                pl.col("at") < pl.col("earlier"),
                pl.format("event {} is before the one before it", "sequence"),
            ),
            _said(told, ~follows.fill_null(value=False), pl.format("{} after {}", "status", began)),
            _said(events.join(orders, on="order_id", how="anti"), pl.lit(value=True), "events of no order"),
        ]
    )


def _of_fills(orders: pl.DataFrame, fills: pl.DataFrame) -> pl.DataFrame:
    known = orders.select("order_id", ordered_name="instrument_id", ordered_side="side", ordered="quantity")
    joined = fills.join(known, on="order_id", how="left")
    total = joined.group_by("order_id").agg(pl.col("quantity").sum(), pl.col("ordered").first())
    legs = orders.filter(pl.col("parent_id").is_not_null()).select("order_id", "parent_id")
    opened = fills.group_by(parent_id="order_id").agg(opened=pl.col("quantity").sum())
    closed = (
        fills.join(legs, on="order_id")
        .group_by("parent_id")
        .agg(closed=pl.col("quantity").sum())
        .join(opened, on="parent_id", how="left")
        .with_columns(pl.col("opened").fill_null(0), order_id=pl.col("parent_id"))
    )
    return pl.concat(
        [
            _said(joined, pl.col("ordered").is_null(), "fills of no order"),
            _said(
                joined,
                pl.col("side") != pl.col("ordered_side"),
                pl.format("a fill to {} of an order to {}", "side", "ordered_side"),
            ),
            _said(
                joined,
                pl.col("instrument_id") != pl.col("ordered_name"),
                pl.format("a fill in {} of an order in {}", "instrument_id", "ordered_name"),
            ),
            _said(
                total,
                pl.col("quantity") > pl.col("ordered"),
                pl.format("{} shares filled of {}", "quantity", "ordered"),
            ),
            _said(
                closed,
                pl.col("closed") > pl.col("opened"),
                pl.format("its legs closed {} shares of {}", "closed", "opened"),
            ),
        ]
    )


def _of_states(orders: pl.DataFrame, events: pl.DataFrame, fills: pl.DataFrame) -> pl.DataFrame:
    last = events.sort("order_id", "sequence").group_by("order_id").agg(pl.col("status").last())
    filled = fills.group_by("order_id").agg(filled=pl.col("quantity").sum())
    state = (
        orders.select("order_id", "quantity", "parent_id")
        .join(last, on="order_id", how="left")
        .join(filled, on="order_id", how="left")
        .with_columns(pl.col("status").fill_null("pending"), pl.col("filled").fill_null(0))
    )
    none = pl.col("filled") == 0
    alone = pl.col("parent_id").is_null()
    contradicts = (
        (pl.col("status").is_in(["pending", "accepted", "rejected"]) & ~none)
        | ((pl.col("status") == "partially_filled") & (none | (pl.col("filled") >= pl.col("quantity"))))
        | ((pl.col("status") == "filled") & (none | (alone & (pl.col("filled") < pl.col("quantity")))))
        | (pl.col("status").is_in(["cancelled", "expired"]) & (pl.col("filled") >= pl.col("quantity")))
    )
    return _said(state, contradicts, pl.format("{} with {} of {} shares filled", "status", "filled", "quantity"))
