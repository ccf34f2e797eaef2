"""What became of each order, and what cannot have."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from trading_pipeline.brokers.base import FINAL
from trading_pipeline.research.ledger import order_faults, order_states
from trading_pipeline.research.ledger import orders as module


def faults(day):
    return order_faults(day.orders, day.told, day.fills).rows()


def states(day, *columns):
    return order_states(day.orders, day.told, day.fills).select("order_id", *columns).rows()


def test_the_last_event_is_the_state_and_the_fills_say_how_much(day):
    day.order("a").events("a", "pending", "accepted", "partially_filled", "partially_filled")
    day.fill("a", 30, 50.0, fee=0.3).fill("a", 20, 51.0, fee=0.2, minute=1)
    day.order("b").events("b", "pending", "rejected").order("c")
    assert states(day, "status", "filled", "average_price", "fees", "final", "broker_order_id", "faults") == [
        ("a", "partially_filled", 50, 50.4, 0.5, False, "b-a", None),
        ("b", "rejected", 0, None, 0.0, True, "b-b", None),
        ("c", "pending", 0, None, 0.0, False, None, None),
    ]
    assert states(day, "reason", "last_at")[0][2] == day.told.filter(pl.col("order_id") == "a")["at"].max()


def test_the_final_states_are_the_brokers():
    assert set(module.FINAL) == FINAL


@pytest.mark.parametrize(
    "steps",
    [
        ("pending", "accepted", "filled"),
        ("pending", "filled"),
        ("pending", "accepted", "accepted", "filled"),
        ("pending", "partially_filled", "partially_filled", "filled"),
    ],
)
def test_a_way_that_an_order_takes(day, steps):
    day.order("a").events("a", *steps).fill("a", 100, 50.0)
    assert faults(day) == []


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        (("accepted",), "accepted after nothing"),
        (("pending", "pending"), "pending after pending"),
        (("pending", "accepted", "pending"), "pending after accepted"),
        (("pending", "cancelled", "accepted"), "accepted after cancelled"),
        (("pending", "rejected", "cancelled"), "cancelled after rejected"),
        (("pending", "lost"), "lost after pending"),
    ],
)
def test_a_way_that_no_order_takes(day, steps, fault):
    day.order("a").events("a", *steps)
    assert ("a", fault) in faults(day)
    assert fault in states(day, "faults")[0][1]


@pytest.mark.parametrize(
    ("last", "filled", "contradicts"),
    [
        ("accepted", 0, False), ("accepted", 10, True), ("rejected", 10, True), ("cancelled", 0, False),
        ("cancelled", 10, False), ("cancelled", 100, True), ("expired", 10, False), ("partially_filled", 0, True),
        ("partially_filled", 10, False), ("partially_filled", 100, True), ("filled", 0, True), ("filled", 10, True),
        ("filled", 100, False),
    ],
)  # fmt: skip
def test_a_state_is_what_the_fills_say(day, last, filled, contradicts):
    day.order("a").events("a", "pending", last)
    if filled:
        day.fill("a", filled, 50.0)
    assert faults(day) == ([("a", f"{last} with {filled} of 100 shares filled")] if contradicts else [])


def test_a_leg_is_filled_when_nothing_is_left_to_close(day):
    day.order("a").events("a", "pending", "cancelled").fill("a", 40, 50.0)
    day.order("s", "sell", 100, "stop", parent="a").events("s", "pending", "accepted", "filled").fill("s", 40, 49.0)
    assert faults(day) == []


def test_legs_that_close_more_than_was_opened(day):
    day.order("a").events("a", "pending", "filled").fill("a", 100, 50.0)
    for leg in ("stop", "target"):
        day.order(leg, "sell", 100, leg, parent="a").events(leg, "pending", "filled").fill(leg, 100, 51.0)
    assert faults(day) == [("a", "its legs closed 200 shares of 100")]


def test_fills_that_do_not_fit_their_order(day):
    day.order("a").events("a", "pending", "filled").fill("a", 60, 50.0).fill("a", 60, 50.0, minute=1)
    assert faults(day) == [("a", "120 shares filled of 100")]
    fills = day.fills.head(1).with_columns(quantity=pl.lit(100), side=pl.lit("sell"), instrument_id=pl.lit("us:B"))
    found = order_faults(day.orders, day.told, fills).rows()
    assert found == [("a", "a fill in us:B of an order in us:A"), ("a", "a fill to sell of an order to buy")]
    assert order_faults(day.orders.clear(), day.told.clear(), fills).rows() == [("a", "fills of no order")]


def test_events_out_of_order(day):
    day.order("a").events("a", "pending", "accepted", "cancelled")
    assert order_faults(day.orders.clear(), day.told, day.fills).rows() == [("a", "events of no order")]
    gap = day.told.filter(pl.col("sequence") != 1)
    assert order_faults(day.orders, gap, day.fills).rows() == [("a", "event 1 is told as number 2")]
    second = pl.col("sequence") == 1
    early = day.told.with_columns(at=pl.when(second).then(pl.col("at") - timedelta(hours=1)).otherwise("at"))
    assert order_faults(day.orders, early, day.fills).rows() == [("a", "event 1 is before the one before it")]
    assert order_faults(day.orders, day.told.reverse(), day.fills).is_empty()


def test_no_orders_are_no_states(day):
    assert order_states(day.orders, day.told, day.fills).is_empty()
    assert faults(day) == []
