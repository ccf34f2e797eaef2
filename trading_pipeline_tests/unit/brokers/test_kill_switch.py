"""The kill switch on the simulated broker; on Alpaca it is among the tests of its adapter."""

from __future__ import annotations

from trading_pipeline.brokers.kill_switch import cancel_entries
from trading_pipeline.brokers.simulated import Costs, SimulatedBroker
from trading_pipeline_tests.orders import MINUTE, OPEN, Ledger, bars, bracket, order

FREE = Costs(slippage_bps=0, spread_bps=0, impact=0, participation=0.1, fee_per_share=0, fee_least=0)
HALT = OPEN + 5 * MINUTE


def test_entries_go_with_their_sleeping_legs_and_protection_stays():
    ledger = Ledger(SimulatedBroker(FREE))
    ledger.place(bracket(order_id="held"))
    ledger.run(bars((100, 101, 99, 100)))
    ledger.place(bracket(order_id="waits", limit_price=96.0))
    ledger.place([order("closes", role="close", side="sell", limit_price=120.0, parent_id="held")])
    ledger.orders.append(order("never placed"))
    told = ledger.take(cancel_entries(ledger.broker, ledger.working, HALT))
    assert {event.order_id for event in told.events} == {"waits", "waits-stop", "waits-target", "never placed"}
    assert {event.status for event in told.events} == {"cancelled"} and {event.at for event in told.events} == {HALT}
    assert {item.order.order_id for item in ledger.working} == {"held-stop", "held-target", "closes"}


def test_what_an_entry_has_filled_keeps_its_legs():
    ledger = Ledger(SimulatedBroker(FREE))
    ledger.place(bracket(limit_price=100.0))
    ledger.run(bars((100, 101, 99, 100, 300)))
    ledger.take(cancel_entries(ledger.broker, ledger.working, HALT))
    assert [(item.order.order_id, item.held) for item in ledger.working] == [("e1-stop", 30), ("e1-target", 30)]
    ledger.run(bars((94, 95, 93, 94), first=HALT))
    assert ledger.fills("e1-stop") == [(30, 94)] and not ledger.working


def test_a_second_time_changes_nothing():
    ledger = Ledger(SimulatedBroker(FREE))
    ledger.place(bracket())
    ledger.take(cancel_entries(ledger.broker, ledger.working, HALT))
    assert not ledger.working and not cancel_entries(ledger.broker, ledger.working, HALT).events
