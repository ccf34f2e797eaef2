"""Every start: the ledger and the account brought together over HTTP, whatever happened while nobody looked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from trading_pipeline.brokers.base import Book, Working
from trading_pipeline.brokers.errors import BrokerUnreachable, NotReconciled
from trading_pipeline.brokers.reconcile import Difference, OpenOrder, Ours, Report, Theirs, reconcile, start
from trading_pipeline.brokers.simulated import SimulatedBroker
from trading_pipeline_tests.alpaca import Fault
from trading_pipeline_tests.orders import CLOSE, MINUTE, OPEN, SESSION, Ledger, bracket, order

NOON = OPEN + timedelta(hours=2)


def started(ledger, positions=None, at=NOON, session=SESSION):
    book = Book(at=at, working=ledger.working, session=session, opens_at=OPEN, closes_at=CLOSE)
    told, report = start(ledger.broker, book, positions or {})
    ledger.take(told)
    return report


def kinds(report):
    return [(item.kind, item.order_id or item.ticker) for item in report.differences]


def test_an_account_that_agrees(ledger, server):
    ledger.place(bracket())
    server.fill(server.order("e1"))
    ledger.tick(OPEN + MINUTE)
    report = started(ledger, {"AAA": 100})
    assert report == Report() and report.may_trade
    report.require()


def test_orders_between_commit_and_placing_are_placed(ledger, server):
    ledger.orders += bracket()
    report = started(ledger)
    assert kinds(report) == [("unsent", "e1"), ("unsent", "e1-stop"), ("unsent", "e1-target")]
    assert report.may_trade and len(server.submitted) == 1
    assert [ledger.status(item.order_id) for item in ledger.orders] == ["accepted"] * 3


def test_entries_that_nobody_wants_any_more_are_cancelled_and_not_placed(ledger, server):
    ledger.orders += bracket()
    book = Book(at=NOON, working=ledger.working, session=SESSION, opens_at=OPEN, closes_at=CLOSE)
    told, report = start(ledger.broker, book, {}, lambda order: "halted" if order.order_id == "e1" else None)
    ledger.take(told)
    assert report.may_trade and server.submitted == []
    assert [ledger.status(item.order_id) for item in ledger.orders] == ["cancelled"] * 3
    assert {event.reason for event in told.events} == {"halted"}


def test_orders_between_placing_and_the_answer_are_adopted_with_their_fills(ledger, server, broker):
    server.faults = [Fault("POST", "/v2/orders", 504, done=True)]
    ledger.broker = broker(attempts=1)
    with pytest.raises(BrokerUnreachable):
        ledger.place(bracket())
    server.fill(server.order("e1"))
    report = started(ledger)
    assert {item.kind for item in report.differences} == {"adopted"} and report.may_trade
    assert ledger.filled("e1") == 100 and ledger.status("e1") == "filled" and len(server.orders) == 3


def test_fills_that_nobody_saw_are_told_before_positions_are_compared(ledger, server):
    ledger.place(bracket())
    server.fill(server.order("e1"))
    server.fill(server.leg("e1", "stop"), price=94.0)
    report = started(ledger)
    assert report == Report() and ledger.filled("e1-stop") == 100 and not ledger.working


def test_a_pending_entry_of_another_day_expires_unless_it_was_sent(ledger, server):
    ledger.orders += [*bracket(), order("sent")]
    ledger.broker.place([order("sent")], OPEN)
    tomorrow = SESSION + timedelta(days=1)
    started(ledger, at=NOON + timedelta(days=1), session=tomorrow)
    assert [ledger.status(item.order_id) for item in ledger.orders] == ["expired"] * 4
    assert len(server.submitted) == 1


def test_a_day_entry_left_open_yesterday_is_ended(ledger, server):
    """It was sent as lasting, for its legs' sake, and the loop died before the close."""
    ledger.place(bracket(limit_price=90.0, stop=85.0))
    started(ledger, at=NOON + timedelta(days=1), session=SESSION + timedelta(days=1))
    assert server.order("e1")["status"] == "canceled" and not ledger.working


def test_orders_the_account_never_heard_of_are_marked_and_trading_waits(ledger, server):
    ledger.place(bracket())
    server.orders.clear()
    report = started(ledger)
    assert {item.kind for item in report.differences} == {"lost"} and not report.may_trade
    assert [ledger.status(item.order_id) for item in ledger.orders] == ["cancelled"] * 3
    assert not ledger.working and len(server.submitted) == 1
    with pytest.raises(NotReconciled, match=r"e1 \(AAA\) is unknown to the broker"):
        report.require()


def test_an_order_of_somebody_else_stops_trading_and_is_left_alone(ledger, server):
    Ledger(ledger.broker).place([order("stranger", limit_price=90.0)])
    report = started(ledger)
    assert kinds(report) == [("foreign", "stranger")] and not report.may_trade
    assert server.order("stranger")["status"] == "new"


def test_positions_that_differ_stop_trading(ledger, server):
    server.positions = {"AAA": (-30, 100.0), "BRK.B": (10, 500.0)}
    report = started(ledger, {"AAA": -30, "ZZZ": 5})
    assert report.differences == (
        Difference("position", "BRK-B", ours=0, theirs=10),
        Difference("position", "ZZZ", ours=5, theirs=0),
    )
    with pytest.raises(NotReconciled, match="ZZZ: we have 5 shares, the broker has 0"):
        report.require()


def test_protection_armed_before_a_crash_is_known_by_its_name(ledger, server):
    ledger.place(bracket(limit_price=100.0))
    server.fill(server.order("e1"), 30)
    server.end(server.order("e1"), "canceled")
    ledger.broker.advance(Book(NOON, ledger.working))
    assert started(ledger) == Report()
    assert len(server.submitted) == 2 and ledger.working[0].held == 30


def test_a_second_start_tells_nothing_new(ledger, server):
    ledger.orders += bracket()
    started(ledger)
    server.fill(server.order("e1"))
    started(ledger)
    before = ledger.told
    assert started(ledger, {"AAA": 100}) == Report()
    assert ledger.told == before


def test_a_broker_without_a_book_of_its_own_places_what_is_pending():
    ledger = Ledger(SimulatedBroker())
    ledger.orders += [*bracket(), order("old", session=SESSION - timedelta(days=1))]
    report = started(ledger)
    assert report == Report()
    assert [ledger.status(item.order_id) for item in ledger.orders] == ["accepted"] * 3 + ["expired"]


def test_the_comparison_does_not_depend_on_the_order_of_rows():
    working = [Working(order(name), status) for name, status in (("b", "pending"), ("a", "accepted"), ("c", "pending"))]
    theirs = Theirs((OpenOrder("x", "1", "AAA", "buy", 5),), frozenset({"b"}), {"AAA": 1})
    report = reconcile(Ours(working, {"BBB": 2}), theirs)
    assert report == reconcile(Ours(working[::-1], {"BBB": 2}), theirs)
    assert [(item.kind, item.order_id) for item in report.differences] == [
        ("adopted", "b"), ("foreign", "x"), ("lost", "a"), ("position", None), ("position", None), ("unsent", "c"),
    ]  # fmt: skip
    assert [item.blocks for item in report.differences] == [False, True, True, True, True, False]
    assert all(report.lines)
