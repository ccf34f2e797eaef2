"""The real alpaca-py client over HTTP against a server that keeps Alpaca's rules."""

from __future__ import annotations

import json
import logging
import pickle
import threading
import traceback
from dataclasses import replace
from datetime import timedelta

import pytest
from alpaca.trading.requests import MarketOrderRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading_pipeline.brokers.alpaca.client import Refused
from trading_pipeline.brokers.base import FINAL, Book
from trading_pipeline.brokers.errors import (
    AccountBlocked,
    BrokerAccessRefused,
    BrokerAnswerUnreadable,
    BrokerBusy,
    BrokerError,
    BrokerUnreachable,
    OrderUnplaceable,
    ProtectionMissing,
    RealMoneyRefused,
)
from trading_pipeline.brokers.kill_switch import cancel_entries
from trading_pipeline.settings import REAL_MONEY
from trading_pipeline_tests.alpaca import KEY, SECRET, Fault
from trading_pipeline_tests.orders import CLOSE, MINUTE, OPEN, SESSION, bracket, order

NOON = OPEN + timedelta(hours=2)
DAY = {"session": SESSION, "opens_at": OPEN, "closes_at": CLOSE}


def statuses(ledger, lead="e1"):
    return [ledger.status(name) for name in (lead, f"{lead}-stop", f"{lead}-target")]


# --- placing --------------------------------------------------------------------------------------


def test_a_bracket_goes_out_under_our_id_and_its_legs_get_theirs(ledger, server):
    ledger.place(bracket())
    (sent,) = server.submitted
    assert sent == {
        "symbol": "AAA",
        "qty": 100.0,
        "side": "buy",
        "type": "market",
        "time_in_force": "gtc",
        "order_class": "bracket",
        "extended_hours": False,
        "client_order_id": "e1",
        "take_profit": {"limit_price": 110.0},
        "stop_loss": {"stop_price": 95.0},
    }
    ids = {event.order_id: event.broker_order_id for event in ledger.told.events}
    assert ids == {
        "e1": server.order("e1")["id"],
        "e1-stop": server.leg("e1", "stop")["id"],
        "e1-target": server.leg("e1", "limit")["id"],
    }
    assert statuses(ledger) == ["accepted"] * 3
    assert {item.broker_order_id for item in ledger.working} == set(ids.values())


def test_a_short_bracket_with_a_limit(ledger, server):
    ledger.place(bracket(stop=105.0, target=90.0, side="sell", limit_price=100.5))
    (sent,) = server.submitted
    assert (sent["side"], sent["type"], sent["limit_price"]) == ("sell", "limit", 100.5)
    assert server.leg("e1", "stop")["side"] == "buy"


@pytest.mark.parametrize(("kept", "kind"), [([0, 1], "oto"), ([0, 2], "oto"), ([0], None)])
def test_an_entry_with_one_leg_or_none(ledger, server, kept, kind):
    ledger.place([bracket()[place] for place in kept])
    assert server.submitted[0].get("order_class") == kind
    assert len(ledger.told.events) == len(kept)


def test_a_bracket_lasts_as_long_as_its_legs(ledger, server):
    ledger.place(bracket(legs={"time_in_force": "day"}))
    ledger.place([order("e2", limit_price=90.0, time_in_force="gtc")])
    ledger.place([order("e3", limit_price=90.0)])
    assert [sent["time_in_force"] for sent in server.submitted] == ["day", "gtc", "day"]


def test_share_classes_are_spelled_as_alpaca_does(ledger, server):
    ledger.place([order(ticker="BRK-B")])
    server.fill(server.order("e1"))
    assert server.submitted[0]["symbol"] == "BRK.B"
    assert [(holding.ticker, holding.quantity) for holding in ledger.broker.holdings()] == [("BRK-B", 100)]


def test_the_noise_of_binary_fractions_is_no_sub_penny_price(ledger):
    ledger.place([order(limit_price=9.050000190734863 + 90)])
    assert ledger.status("e1") == "accepted"


@pytest.mark.parametrize(
    ("orders", "reason"),
    [
        (
            bracket(target=100.005 - 0.005),
            "take_profit.limit_price must be >= base_price + 0.01 (the market is at 100)",
        ),
        (bracket(stop=100.0), "stop_loss.stop_price must be <= base_price - 0.01 (the market is at 100)"),
        (
            bracket(stop=99.5, limit_price=99.5),
            "stop_loss.stop_price must be <= base_price - 0.01 (the market is at 99.5)",
        ),
        (bracket(stop=100.0, target=90.0, side="sell"), "stop_loss.stop_price must be >= base_price + 0.01"),
        (bracket(stop=95.003), "sub-penny increment does not fulfill minimum pricing criteria"),
        ([order(ticker="NONE")], 'asset "NONE" not found'),
        ([order(quantity=10_001)], "insufficient buying power"),
    ],
)
def test_what_alpaca_refuses_is_told_as_rejected_with_its_reason(ledger, server, orders, reason):
    told = ledger.place(orders)
    assert [event.status for event in told.events] == ["rejected"] * len(orders)
    assert all(reason in event.reason for event in told.events)
    assert not ledger.working and not server.orders


def test_an_account_that_may_not_short(ledger, server):
    server.account["shorting_enabled"] = False
    ledger.place([order(side="sell")])
    assert "not allowed to short" in ledger.reason("e1")


def test_orders_wait_while_the_market_is_closed(ledger, server):
    server.is_open = False
    ledger.place(bracket())
    ledger.tick(OPEN + MINUTE)
    assert statuses(ledger) == ["accepted"] * 3


def test_what_is_no_bracket_is_not_sent(ledger, server):
    with pytest.raises(OrderUnplaceable, match="longer than the 128 characters"):
        ledger.broker.place([order("x" * 129)], OPEN)
    with pytest.raises(OrderUnplaceable, match="second entry"):
        ledger.broker.place([order("a"), order("b")], OPEN)
    assert not server.asked


# --- nothing is doubled ---------------------------------------------------------------------------


def test_placing_again_finds_the_order_that_is_there(ledger, server):
    first = ledger.broker.place(bracket(), OPEN)
    assert ledger.broker.place(bracket(), OPEN + MINUTE) == first
    assert len(server.orders) == 3


def test_a_refusal_of_an_order_that_is_there_is_not_believed(ledger, server):
    """Sent again after a crash, it lacks the buying power that it took itself, or would close what it opened."""
    server.checks_ids_last = True
    first = ledger.broker.place(bracket(), OPEN)
    server.fill(server.order("e1"))
    server.buying_power = 0.0
    assert ledger.broker.place(bracket(), OPEN + MINUTE) == first
    assert len(server.orders) == 3


def test_an_id_that_stands_for_another_order_is_refused(ledger):
    ledger.broker.place([order()], OPEN)
    with pytest.raises(OrderUnplaceable, match="e1 is buy 100 AAA at Alpaca, not buy 50 AAA"):
        ledger.broker.place([order(quantity=50)], OPEN)


@pytest.mark.parametrize("status", [504, 500, 502, 503, 0])
@pytest.mark.parametrize("done", [True, False], ids=["arrived", "lost"])
def test_an_answer_that_never_came_does_not_double_the_order(ledger, server, waits, status, done):
    server.faults = [Fault("POST", "/v2/orders", status, done=done)]
    ledger.place(bracket())
    assert statuses(ledger) == ["accepted"] * 3 and len(server.orders) == 3
    # What arrived is found by its id; what was lost is sent a second time.
    assert len(server.submitted) == 1 and len(server.requests("POST")) == (1 if done else 2)
    assert len(waits.slept) == 1


def test_a_slow_answer_is_not_waited_for_without_end(server, broker):
    never = threading.Event()
    server.faults = [Fault("POST", "/v2/orders", 200, done=True, delay=never)]
    told = broker(read=0.2).place([order()], OPEN)
    never.set()
    assert told.events[0].status == "accepted" and len(server.orders) == 1


def test_too_many_requests_are_waited_out_as_long_as_alpaca_asks(ledger, server, waits):
    server.faults = [Fault("POST", "/v2/orders", 429, times=2, headers={"Retry-After": "3"})]
    ledger.place([order()])
    assert ledger.status("e1") == "accepted" and waits.slept == [3.0, 3.0]


def test_a_wait_beyond_our_patience_is_not_waited(ledger, server, waits):
    server.faults = [Fault("POST", "/v2/orders", 429, times=9, headers={"Retry-After": "600"})]
    with pytest.raises(BrokerBusy) as caught:
        ledger.place([order()])
    assert caught.value.transient and not waits.slept and len(server.requests("POST")) == 1


@pytest.mark.parametrize(("status", "error"), [(429, BrokerBusy), (504, BrokerUnreachable), (0, BrokerUnreachable)])
def test_attempts_are_bounded_and_the_librarys_own_are_off(server, broker, waits, status, error):
    server.faults = [Fault("POST", "/v2/orders", status, times=99)]
    with pytest.raises(error) as caught:
        broker(attempts=3).place([order()], OPEN)
    assert caught.value.transient
    assert len(server.requests("POST")) == 3 and len(waits.slept) == 2
    assert all(0 <= seconds <= 8 for seconds in waits.slept)


def test_an_order_that_arrived_at_the_last_attempt_is_found_at_the_next_tick(server, broker):
    server.faults = [Fault("POST", "/v2/orders", 504, done=True)]
    trading = broker(attempts=1)
    with pytest.raises(BrokerUnreachable):
        trading.place(bracket(), OPEN)
    told = trading.place(bracket(), OPEN + MINUTE)
    assert len(told.events) == 3 and len(server.orders) == 3


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from([429, 500, 503, 504, 0]), st.booleans()), max_size=6), st.data())
def test_whatever_fails_an_order_is_there_at_most_once(server, broker, faults, data):
    server.orders.clear()
    paths = ["/v2/orders", "/v2/orders:by_client_order_id", "/v2/account"]
    server.faults = [
        Fault(method, path, status, done=done)
        for status, done in faults
        for method, path in [data.draw(st.sampled_from([("POST", paths[0]), *(("GET", path) for path in paths)]))]
    ]
    trading = broker(attempts=2)
    for tick in range(len(faults) + 1):
        try:
            told = trading.place(bracket(), OPEN + tick * MINUTE)
        except BrokerError as error:
            assert error.transient
            continue
        assert [event.status for event in told.events] == ["accepted"] * 3
    assert [event.status for event in trading.place(bracket(), OPEN).events] == ["accepted"] * 3
    assert len(server.orders) == 3


# --- what became of it ----------------------------------------------------------------------------


def test_executions_come_once_with_alpacas_ids(ledger, server):
    ledger.place(bracket())
    server.fill(server.order("e1"), 40, 100.1)
    ledger.tick(OPEN + MINUTE)
    assert statuses(ledger)[0] == "partially_filled" and ledger.fills("e1") == [(40, 100.1)]
    assert not ledger.tick(OPEN + 2 * MINUTE).fills
    server.fill(server.order("e1"), 60, 100.2)
    told = ledger.tick(OPEN + 3 * MINUTE)
    assert [(fill.quantity, fill.price, fill.fee) for fill in told.fills] == [(60, 100.2, 0.0)]
    assert {fill.fill_id for fill in ledger.told.fills} == {activity["id"] for activity in server.activities}
    assert statuses(ledger) == ["filled", "accepted", "accepted"] and ledger.working[0].held == 100


@pytest.mark.parametrize(
    ("kind", "winner", "loser"), [("limit", "e1-target", "e1-stop"), ("stop", "e1-stop", "e1-target")]
)
def test_one_leg_cancels_the_other(ledger, server, kind, winner, loser):
    ledger.place(bracket())
    server.fill(server.order("e1"))
    server.fill(server.leg("e1", kind), price=95.0)
    ledger.tick(OPEN + MINUTE)
    assert ledger.fills(winner) == [(100, 95.0)]
    assert (ledger.status(winner), ledger.status(loser)) == ("filled", "cancelled") and not ledger.working


def test_an_unchanged_account_tells_nothing_and_costs_one_request(ledger, server):
    ledger.place(bracket())
    ledger.place(bracket(order_id="e2"))
    server.asked.clear()
    told = ledger.tick(OPEN + MINUTE)
    assert not told.events and not told.fills and len(server.asked) == 1


def test_without_working_orders_nothing_is_asked(ledger, server):
    ledger.tick(OPEN + MINUTE)
    assert not server.asked


def test_an_order_is_not_over_before_its_executions_are_told(ledger, server):
    """Alpaca's list of executions may lag behind its orders; an order that is over is never asked about again."""
    ledger.place([order()])
    server.fill(server.order("e1"))
    server.hidden_activities = True
    ledger.tick(OPEN + MINUTE)
    assert ledger.status("e1") not in FINAL
    server.hidden_activities = False
    ledger.tick(OPEN + 2 * MINUTE)
    assert ledger.status("e1") == "filled" and ledger.filled("e1") == 100


def test_a_clock_of_ours_that_is_ahead_loses_nothing(ledger, server):
    ledger.place([order(created_at=OPEN + timedelta(hours=1))])
    server.fill(server.order("e1"))
    ledger.tick(NOON)
    assert ledger.filled("e1") == 100 and ledger.status("e1") == "filled"


def test_executions_are_read_to_the_last_page(ledger, server):
    ledger.place([order(quantity=250)])
    for _ in range(250):
        server.fill(server.order("e1"), 1)
    ledger.tick(OPEN + MINUTE)
    assert ledger.filled("e1") == 250 and ledger.status("e1") == "filled"
    assert len(server.requests("GET", "/v2/account/activities")) == 3


def test_orders_are_read_to_the_last_page(server, broker, ledger):
    server.buying_power = 1e9
    ledger.place([order("old", limit_price=50.0)])
    for count in range(600):
        server.answer(
            "POST", "/v2/orders", {}, json.loads(json.dumps(server.submitted[0] | {"client_order_id": f"n{count}"}))
        )
    same = server.order("n499")["submitted_at"]
    server.order("n498")["submitted_at"] = server.order("n500")["submitted_at"] = same
    server.asked.clear()
    found = ledger.broker._client.orders_since(OPEN)
    assert len({item.client_order_id for item in found}) == len(found) == 601
    assert len(server.requests("GET")) == 2


def test_a_stop_that_alpaca_replaced_is_followed(ledger, server):
    """Brokers have replaced a stop by another order just before it filled."""
    ledger.place(bracket())
    server.fill(server.order("e1"))
    fresh = server.replace(server.leg("e1", "stop"))
    ledger.tick(OPEN + MINUTE)
    assert ledger.status("e1-stop") == "accepted" and len(server.submitted) == 1
    server.fill(fresh, price=94.0)
    ledger.tick(OPEN + 2 * MINUTE)
    assert ledger.fills("e1-stop") == [(100, 94.0)] and not ledger.working


def test_an_order_alpaca_forgot_is_over(ledger, server):
    """As after a reset of the paper account."""
    ledger.place(bracket())
    server.orders.clear()
    ledger.tick(OPEN + MINUTE)
    assert statuses(ledger) == ["cancelled"] * 3 and "does not know it" in ledger.reason("e1")


@pytest.mark.parametrize("status", ["expired", "canceled", "rejected"])
def test_an_entry_that_ends_unfilled_ends_with_its_legs(ledger, server, status):
    ledger.place(bracket())
    server.end(server.order("e1"), status)
    ledger.tick(OPEN + MINUTE)
    assert statuses(ledger) == [{"canceled": "cancelled"}.get(status, status), "cancelled", "cancelled"]
    assert len(server.submitted) == 1


@pytest.mark.parametrize(
    "status", ["new", "accepted", "pending_new", "held", "stopped", "suspended", "calculated", "done_for_day"]
)
def test_every_open_state_is_known(ledger, server, status):
    ledger.place([order()])
    server.order("e1")["status"] = status
    assert not ledger.tick(OPEN + MINUTE).events


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "dreaming"}, "'dreaming'"),
        ({"filled_qty": "a lot"}, "filled_qty as 'a lot'"),
        ({"submitted_at": "yesterday"}, "'yesterday' as a moment"),
        ({"side": "hold"}, "'hold'"),
        ({"symbol": None}, "without symbol"),
    ],
)
def test_an_answer_that_cannot_be_read_says_what(ledger, server, changes, said):
    ledger.place([order()])
    found = server.answer("GET", "/v2/orders", {"status": "all"}, None)[0] | changes
    server.faults = [Fault("GET", "/v2/orders", 200, body=json.dumps([found]))]
    with pytest.raises(BrokerAnswerUnreadable, match=said):
        ledger.tick(OPEN + MINUTE)


@pytest.mark.parametrize("body", ["<html>maintenance</html>", '"yes"', "{}", ""])
def test_an_answer_that_is_no_list_of_orders(ledger, server, body):
    ledger.place([order()])
    server.faults = [Fault("GET", "/v2/orders", 200, body=body)]
    with pytest.raises(BrokerAnswerUnreadable):
        ledger.tick(OPEN + MINUTE)


def test_reading_is_tried_again(ledger, server, waits):
    ledger.place([order()])
    server.faults = [Fault("GET", "/v2/orders", 503), Fault("GET", "/v2/orders", 0), Fault("GET", "/v2/orders", 429)]
    ledger.tick(OPEN + MINUTE)
    assert len(waits.slept) == 3


# --- cancelling, and what stays protected ---------------------------------------------------------


def test_cancelling_tells_how_it_ended(ledger, server, waits):
    server.cancel_polls = 3
    ledger.place(bracket(limit_price=90.0, stop=85.0))
    ledger.take(ledger.broker.cancel(ledger.working, NOON))
    assert statuses(ledger) == ["cancelled"] * 3 and waits.slept


def test_an_order_that_filled_meanwhile_tells_its_fill(ledger, server):
    ledger.place([order()])
    working = ledger.working
    server.fill(server.order("e1"))
    ledger.take(ledger.broker.cancel(working, NOON))
    assert ledger.status("e1") == "filled" and ledger.filled("e1") == 100


def test_a_cancel_that_takes_too_long_is_told_later(server, broker, ledger):
    server.cancel_polls = 50
    ledger.broker = broker(settle_polls=2)
    ledger.place([order()])
    ledger.take(ledger.broker.cancel(ledger.working, NOON))
    assert ledger.status("e1") == "accepted"
    server.order("e1")["polls"] = 0
    ledger.tick(NOON + MINUTE)
    ledger.tick(NOON + 2 * MINUTE)
    assert ledger.status("e1") == "cancelled"


def test_cancelling_what_was_never_sent(ledger, server):
    ledger.orders.append(order())
    ledger.take(ledger.broker.cancel(ledger.working, NOON))
    assert ledger.status("e1") == "cancelled" and ledger.reason("e1") == "it was never sent"


def test_the_kill_switch_cancels_entries_and_keeps_protection(ledger, server):
    ledger.place(bracket())
    server.fill(server.order("e1"))
    ledger.place(bracket(order_id="e2", limit_price=90.0, stop=85.0))
    ledger.tick(OPEN + MINUTE)
    ledger.take(cancel_entries(ledger.broker, ledger.working, NOON))
    assert statuses(ledger, "e2") == ["cancelled"] * 3
    assert [item.order.order_id for item in ledger.working] == ["e1-stop", "e1-target"]
    assert server.leg("e1", "stop")["status"] in ("held", "new")
    assert not cancel_entries(ledger.broker, ledger.working, NOON).events


def test_what_an_entry_filled_before_the_kill_switch_stays_protected(ledger, server):
    """Alpaca cancels the sleeping legs with the entry: they are armed again for what was filled."""
    ledger.place(bracket(limit_price=100.0))
    server.fill(server.order("e1"), 30)
    ledger.take(cancel_entries(ledger.broker, ledger.working, NOON))
    assert statuses(ledger) == ["cancelled", "accepted", "accepted"] and ledger.filled("e1") == 30
    pair = server.submitted[-1]
    assert (pair["order_class"], pair["qty"], pair["side"], pair["time_in_force"]) == ("oco", 30.0, "sell", "gtc")
    assert pair["take_profit"] == {"limit_price": 110.0} and pair["stop_loss"] == {"stop_price": 95.0}
    server.fill(server.leg("e1-target~1", "stop"), price=94.9)
    ledger.tick(NOON + MINUTE)
    assert ledger.fills("e1-stop") == [(30, 94.9)] and statuses(ledger) == ["cancelled", "filled", "cancelled"]


def test_arming_again_is_done_once(ledger, server):
    ledger.place(bracket(limit_price=100.0))
    server.fill(server.order("e1"), 30)
    server.end(server.order("e1"), "canceled")
    before = ledger.working
    ledger.tick(NOON)
    # The loop stopped before it wrote down what was told: the same book again.
    ledger.broker.advance(Book(NOON + MINUTE, before))
    ledger.tick(NOON + 2 * MINUTE)
    assert [sent["client_order_id"] for sent in server.submitted] == ["e1", "e1-target~1"]


def test_legs_that_alpaca_cancels_are_armed_again_and_again(ledger, server):
    """As it does with good-till-cancelled orders after 90 days."""
    ledger.place(bracket())
    server.fill(server.order("e1"))
    ledger.tick(OPEN + MINUTE)
    server.end(server.leg("e1", "stop"), "canceled")
    ledger.tick(NOON)
    server.end(server.order("e1-target~1"), "expired")
    ledger.tick(NOON + MINUTE)
    assert statuses(ledger) == ["filled", "accepted", "accepted"]
    server.fill(server.order("e1-target~2"), price=111.0)
    ledger.tick(NOON + 2 * MINUTE)
    assert ledger.fills("e1-target") == [(100, 111.0)] and not ledger.working


def test_a_target_that_filled_in_part_is_armed_again_for_the_rest(ledger, server):
    ledger.place(bracket())
    server.fill(server.order("e1"))
    server.fill(server.leg("e1", "limit"), 60, 110.0)
    server.end(server.leg("e1", "limit"), "canceled")
    ledger.tick(NOON)
    assert server.submitted[-1]["qty"] == 40.0
    assert ledger.fills("e1-target") == [(60, 110.0)]
    server.fill(server.leg("e1-target~1", "stop"), price=95.0)
    ledger.tick(NOON + MINUTE)
    assert ledger.fills("e1-stop") == [(40, 95.0)] and not ledger.working


def test_a_lone_stop_is_armed_again_too(ledger, server):
    ledger.place(bracket()[:2])
    server.fill(server.order("e1"))
    server.end(server.leg("e1", "stop"), "canceled")
    ledger.tick(NOON)
    assert (server.submitted[-1]["type"], server.submitted[-1]["client_order_id"]) == ("stop", "e1-stop~1")
    assert ledger.status("e1-stop") == "accepted"


def test_where_the_price_is_beyond_the_stop_the_stop_has_happened(ledger, server):
    ledger.place(bracket())
    server.fill(server.order("e1"))
    ledger.tick(OPEN + MINUTE)
    server.end(server.leg("e1", "stop"), "canceled")
    server.price["AAA"] = 90.0
    ledger.tick(NOON)
    assert (server.submitted[-1]["type"], server.submitted[-1]["qty"], server.submitted[-1]["side"]) == (
        "market",
        100.0,
        "sell",
    )
    server.fill(server.order("e1-target~1m"))
    ledger.tick(NOON + MINUTE)
    assert ledger.fills("e1-stop") == [(100, 90.0)] and statuses(ledger) == ["filled", "filled", "cancelled"]


def test_a_position_closed_by_hand_is_not_protected_any_more(ledger, server):
    ledger.place(bracket())
    server.fill(server.order("e1"))
    ledger.tick(OPEN + MINUTE)
    server.end(server.leg("e1", "stop"), "canceled")
    server.positions.clear()
    ledger.tick(NOON)
    assert statuses(ledger) == ["filled", "cancelled", "cancelled"] and len(server.submitted) == 1


def test_protection_that_is_refused_is_no_silence(ledger, server):
    ledger.place(bracket())
    server.fill(server.order("e1"))
    ledger.tick(OPEN + MINUTE)
    server.end(server.leg("e1", "stop"), "canceled")
    server.account["trading_blocked"] = True
    with pytest.raises(ProtectionMissing, match=r"100 shares of AAA are held without a stop.*account is blocked"):
        ledger.tick(NOON)


def test_legs_we_cancel_stay_cancelled(ledger, server):
    ledger.place(bracket())
    server.fill(server.order("e1"))
    ledger.tick(OPEN + MINUTE)
    ledger.take(ledger.broker.cancel(ledger.working, NOON))
    assert statuses(ledger) == ["filled", "cancelled", "cancelled"]
    ledger.place([order("x", role="close", side="sell", parent_id="e1", created_at=NOON)], NOON)
    server.fill(server.order("x"))
    ledger.tick(NOON + MINUTE)
    assert ledger.status("x") == "filled" and not server.positions["AAA"][0] and not ledger.working


# --- the day --------------------------------------------------------------------------------------


@pytest.mark.parametrize("closes_at", [CLOSE, CLOSE - timedelta(hours=3)], ids=["full day", "half day"])
def test_a_day_entry_ends_at_the_close_although_it_was_sent_as_lasting(ledger, server, closes_at):
    ledger.place(bracket(limit_price=90.0, stop=85.0))
    ledger.tick(closes_at - MINUTE, **(DAY | {"closes_at": closes_at}))
    assert statuses(ledger) == ["accepted"] * 3
    ledger.tick(closes_at, **(DAY | {"closes_at": closes_at}))
    assert statuses(ledger) == ["expired", "cancelled", "cancelled"] and server.order("e1")["status"] == "canceled"


def test_what_it_filled_until_then_is_protected_overnight(ledger, server):
    ledger.place(bracket(limit_price=100.0))
    server.fill(server.order("e1"), 30)
    ledger.tick(CLOSE, **DAY)
    assert statuses(ledger) == ["expired", "accepted", "accepted"]
    assert (server.submitted[-1]["order_class"], server.submitted[-1]["time_in_force"]) == ("oco", "gtc")
    assert server.order("e1-target~1")["status"] == "new"


def test_legs_of_the_day_end_with_it(ledger, server):
    ledger.place(bracket(legs={"time_in_force": "day"}))
    server.fill(server.order("e1"))
    ledger.tick(OPEN + MINUTE)
    for kind in ("stop", "limit"):
        server.leg("e1", kind).update(status="expired", expired_at="2025-09-17T20:00:00Z")
    ledger.tick(CLOSE, **DAY)
    assert statuses(ledger) == ["filled", "expired", "expired"] and len(server.submitted) == 1


def test_a_new_pair_of_exits_protects_the_next_day(ledger, server):
    ledger.place([order()])
    server.fill(server.order("e1"))
    ledger.tick(OPEN + MINUTE)
    tomorrow = SESSION + timedelta(days=1)
    at = OPEN + timedelta(days=1)
    _, stop, target = bracket(legs={"session": tomorrow, "created_at": at, "time_in_force": "day"})
    ledger.place([stop, target], at)
    sent = server.submitted[-1]
    assert (sent["order_class"], sent["client_order_id"], sent["time_in_force"]) == ("oco", "e1-target", "day")
    server.fill(server.leg("e1-target", "stop"), price=95.0)
    ledger.tick(at + MINUTE)
    assert ledger.fills("e1-stop") == [(100, 95.0)] and ledger.status("e1-target") == "cancelled"


def test_an_entry_that_was_never_sent_is_not_sent_on_another_day(ledger, server):
    told = ledger.place(bracket(), OPEN + timedelta(days=1))
    assert [event.status for event in told.events] == ["expired"] * 3 and not server.submitted


# --- the door -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "https://api.alpaca.markets"}, "api.alpaca.markets"),
        ({"url": "http://paper-api.alpaca.markets"}, "paper-api.alpaca.markets"),
        ({"url": "https://paper-api.alpaca.markets.example.com"}, "example.com"),
        ({"key": "AKLIVEKEY"}, "not that of an Alpaca paper account"),
        ({"url": "https://api.alpaca.markets", "real_money": "yes"}, "api.alpaca.markets"),
        ({"url": "http://api.alpaca.markets", "real_money": REAL_MONEY}, "https"),
    ],
)
def test_real_money_is_refused_at_the_door(broker, changes, said):
    with pytest.raises(RealMoneyRefused, match=said) as caught:
        broker(**changes)
    assert SECRET not in str(caught.value) and "AKLIVEKEY" not in str(caught.value)


def test_real_money_takes_a_setting_that_says_so(broker):
    live = broker(key="AKLIVEKEY", url="https://api.alpaca.markets", real_money=REAL_MONEY)
    assert not live.on_paper and repr(live) == "AlpacaBroker(REAL MONEY)"
    assert broker().on_paper and repr(broker()) == "AlpacaBroker(paper)"


def test_an_account_that_is_no_paper_account_gets_no_order(ledger, server):
    server.account["account_number"] = "123456789"
    with pytest.raises(RealMoneyRefused, match="not a paper account, by its number"):
        ledger.broker.place([order()], OPEN)
    assert not server.submitted


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trading_blocked": True}, "trading is blocked"),
        ({"account_blocked": True}, "the account is blocked"),
        ({"trade_suspended_by_user": True}, "suspended by its owner"),
        ({"status": "ACCOUNT_CLOSED"}, "ACCOUNT_CLOSED"),
    ],
)
def test_a_blocked_account_gets_no_order(ledger, server, changes, said):
    server.account |= changes
    with pytest.raises(AccountBlocked, match=said):
        ledger.broker.place([order()], OPEN)
    assert not server.submitted


def test_an_account_that_is_blocked_later_is_noticed(ledger, server):
    ledger.place([order()])
    server.account["trading_blocked"] = True
    with pytest.raises(AccountBlocked):
        ledger.place([order("e2")])
    assert ledger.status("e2") == "pending"


def test_a_wrong_key_says_so_and_nothing_secret_leaves(server, broker, caplog):
    caplog.set_level(logging.DEBUG)
    wrong = broker(key="PKWRONGKEY", secret="not-the-secret")
    with pytest.raises(BrokerAccessRefused, match="ALPACA_API_KEY") as caught:
        wrong.place([order()], OPEN)
    assert len(server.requests("GET")) == 1
    shown = "".join(traceback.format_exception(caught.value, chain=True)) + caplog.text + repr(wrong)
    assert "PKWRONGKEY" not in shown and "not-the-secret" not in shown


@pytest.mark.parametrize("status", [0, 400, 401, 403, 422, 429, 500])
def test_no_error_carries_the_keys(server, broker, status):
    echo = json.dumps({"code": 40010001, "message": f"bad request of {KEY} with {SECRET}"})
    server.faults = [Fault(method, "/v2/", status, times=99, body=echo) for method in ("GET", "POST")]
    request = MarketOrderRequest(symbol="AAA", qty=1, side="buy", time_in_force="day", client_order_id="e1")
    with pytest.raises((BrokerError, Refused)) as caught:
        broker(attempts=2)._client.submit(request)
    seen = caught.value
    while seen is not None:
        assert KEY not in repr(seen) + str(seen) and SECRET not in repr(vars(seen)) + str(seen)
        assert not hasattr(seen, "request") and not hasattr(seen, "_http_error")
        seen = seen.__context__ or seen.__cause__


def test_errors_survive_another_process():
    error = BrokerUnreachable("Alpaca was not reached")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert replace(order(), quantity=1) == pickle.loads(pickle.dumps(replace(order(), quantity=1)))
