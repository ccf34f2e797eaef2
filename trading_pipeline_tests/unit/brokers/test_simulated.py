"""The simulated broker: one rule after the other, on bars written by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from trading_pipeline.brokers.base import Book, Working
from trading_pipeline.brokers.errors import OrderUnplaceable
from trading_pipeline.brokers.simulated import Costs, SimulatedBroker
from trading_pipeline.brokers.ticks import ASX_TICKS
from trading_pipeline_tests.orders import CLOSE, MINUTE, OPEN, SESSION, Ledger, bars, bracket, order

FREE = Costs(slippage_bps=0, spread_bps=0, impact=0, participation=1, fee_per_share=0, fee_least=0)
FLAT = (100.0, 100.5, 99.5, 100.0)


@pytest.fixture
def ledger() -> Ledger:
    """Without costs, so that prices are those of the bars."""
    return Ledger(SimulatedBroker(FREE))


def placed(ledger, *orders):
    """The ledger after the orders were placed: legs with the entry they name."""
    for lead in orders:
        if lead.parent_id is None:
            ledger.place([lead, *(leg for leg in orders if leg.parent_id == lead.order_id)])
    return ledger


# --- when an order fills, and at what price ---------------------


def test_a_market_order_fills_at_the_open_of_the_next_bar(ledger):
    placed(ledger, order()).run(bars((100.2, 101, 99, 100)))
    assert ledger.fills("e1") == [(100, 100.2)]
    assert ledger.status("e1") == "filled" and not ledger.working


def test_no_order_fills_on_the_bar_it_was_decided_on(ledger):
    late = order(created_at=OPEN + MINUTE)
    placed(ledger, late).run(bars(FLAT, (103, 104, 102, 103)))
    assert ledger.fills("e1") == [(100, 103)]


def test_an_order_decided_within_a_bar_waits_for_the_next(ledger):
    placed(ledger, order(created_at=OPEN + timedelta(seconds=20))).run(bars(FLAT))
    assert not ledger.told.fills and ledger.status("e1") == "accepted"


def test_a_bar_that_begins_at_or_after_the_tick_is_not_looked_at(ledger):
    placed(ledger, order())
    ledger.tick(OPEN + MINUTE, bars((), FLAT))
    assert not ledger.told.fills


@pytest.mark.parametrize(
    ("changes", "bar", "price"),
    [
        ({"limit_price": 99.0}, (100, 101, 98.5, 100), 99.0),
        ({"limit_price": 99.0}, (98, 101, 97, 100), 98.0),
        ({"limit_price": 99.0}, (100, 101, 99.01, 100), None),
        ({"limit_price": 99.0}, (100, 101, 99.0, 100), 99.0),
        ({"limit_price": 101.0, "side": "sell"}, (100, 101.5, 99, 100), 101.0),
        ({"limit_price": 101.0, "side": "sell"}, (102, 103, 101.5, 102), 102.0),
        ({"limit_price": 101.0, "side": "sell"}, (100, 100.9, 99, 100), None),
        ({"stop_price": 101.0}, (100, 101.5, 99, 100), 101.0),
        ({"stop_price": 101.0}, (103, 104, 102, 103), 103.0),
        ({"stop_price": 101.0}, (100, 100.9, 99, 100), None),
        ({"stop_price": 99.0, "side": "sell"}, (100, 101, 98.5, 100), 99.0),
        ({"stop_price": 99.0, "side": "sell"}, (97, 98, 96, 97), 97.0),
        ({"stop_price": 99.0, "side": "sell"}, (100, 101, 99.01, 100), None),
    ],
    ids=str,
)
def test_limits_fill_at_the_limit_or_a_better_open_stops_at_the_stop_or_a_worse_open(ledger, changes, bar, price):
    placed(ledger, order(**changes)).run(bars(bar))
    assert ledger.fills("e1") == ([] if price is None else [(100, price)])


def test_prices_are_rounded_to_ticks_against_us():
    costs = replace(FREE, slippage_bps=1)
    ledger = placed(
        Ledger(SimulatedBroker(costs)), order("b"), order("s", side="sell"), order("c", limit_price=100.0199)
    )
    ledger.run(bars((100.004, 101, 99, 100)))
    assert ledger.fills("b") == [(100, 100.02)] and ledger.fills("s") == [(100, 99.99)]
    assert ledger.fills("c") == [(100, 100.01)]


def test_the_steps_are_those_of_the_market():
    ledger = placed(Ledger(SimulatedBroker(replace(FREE, slippage_bps=1), ASX_TICKS)), order())
    ledger.run(bars((1.50, 1.6, 1.4, 1.5)))
    assert ledger.fills("e1") == [(100, 1.505)]


# --- costs ------------------------------------------------------


def test_slippage_is_what_the_formula_says():
    costs = Costs(slippage_bps=5, spread_bps=10, impact=0.1, participation=0.1)
    # 100 of 1000 shares: 5 bp + half of 10 bp + 0.1 x 0.1^2 = 20 bp of the price.
    assert costs.slipped("buy", 100.0, 100, 1000.0) == pytest.approx(100.2)
    assert costs.slipped("sell", 100.0, 100, 1000.0) == pytest.approx(99.8)


def test_unknown_volume_slips_as_if_we_had_taken_all_that_we_may():
    costs = Costs(slippage_bps=0, spread_bps=0, impact=0.1, participation=0.1)
    assert costs.slipped("buy", 100.0, 1, None) == pytest.approx(100.1)


def test_a_limit_the_open_satisfies_pays_slippage_up_to_its_limit():
    broker = SimulatedBroker(replace(FREE, slippage_bps=100))
    ledger = placed(Ledger(broker), order("wide", limit_price=102.0), order("tight", limit_price=100.5))
    ledger.run(bars(FLAT))
    assert ledger.fills("wide") == [(100, 101.0)] and ledger.fills("tight") == [(100, 100.5)]


def test_a_limit_met_within_the_bar_pays_none():
    ledger = placed(Ledger(SimulatedBroker(replace(FREE, slippage_bps=100))), order(limit_price=99.0))
    ledger.run(bars((100, 101, 98, 100)))
    assert ledger.fills("e1") == [(100, 99.0)]


def test_the_least_fee_is_due_once_per_order_however_many_fills_it_takes():
    costs = replace(FREE, participation=0.1, fee_per_share=0.005, fee_least=1.0, fee_bps=1)
    ledger = placed(Ledger(SimulatedBroker(costs)), order(quantity=400))
    ledger.run(bars((100, 101, 99, 100, 1000), (100, 101, 99, 100, 3000)))
    # 1.00 + 1 bp of 10 000; then 400 x 0.005 - 1.00 + 1 bp of 30 000.
    assert [fill.fee for fill in ledger.told.fills] == [2.0, 4.0]


@pytest.mark.parametrize(
    "wrong", [{"participation": 0}, {"participation": 1.5}, {"impact": -1}, {"fee_bps": float("nan")}]
)
def test_costs_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Costs(**wrong)


# --- partial fills ----------------------------------------------


def test_a_bar_gives_no_more_than_our_share_of_its_volume():
    ledger = placed(Ledger(SimulatedBroker(replace(FREE, participation=0.1))), order())
    ledger.run(bars((100, 101, 99, 100, 455), (102, 103, 101, 102, 10_000)))
    assert ledger.fills("e1") == [(45, 100), (55, 102)]
    assert [event.status for event in ledger.told.events] == ["accepted", "partially_filled", "filled"]


def test_orders_of_an_instrument_share_a_bar_exits_and_then_the_first_come_first():
    ledger = Ledger(SimulatedBroker(replace(FREE, participation=0.1)))
    ledger.place([order("late", created_at=OPEN + timedelta(microseconds=1), role="entry")])
    ledger.place([order("early")])
    ledger.place([order("out", role="close", side="sell", created_at=OPEN + timedelta(microseconds=2))])
    ledger.run(bars((), (100, 101, 99, 100, 2500)))
    assert [ledger.filled(name) for name in ("out", "early", "late")] == [100, 100, 50]


def test_unknown_volume_does_not_limit_and_no_volume_fills_nothing():
    ledger = placed(Ledger(SimulatedBroker(replace(FREE, participation=0.01))), order())
    ledger.run(bars((100, 101, 99, 100, 0.0)))
    assert not ledger.told.fills
    ledger.run(bars((), (100, 101, 99, 100, None)))
    assert ledger.fills("e1") == [(100, 100)]


def test_a_triggered_stop_is_worked_as_a_market_order_until_it_is_done():
    ledger = placed(Ledger(SimulatedBroker(replace(FREE, participation=0.1))), order(side="sell", stop_price=99.0))
    ledger.run(bars((100, 101, 98, 100, 300), (104, 105, 103, 104, 9000)))
    assert ledger.fills("e1") == [(30, 99), (70, 104)]


def test_a_stop_triggered_on_a_bar_that_gives_nothing_stays_triggered_in_the_ledger():
    ledger = placed(Ledger(SimulatedBroker(replace(FREE, participation=0.1))), order(side="sell", stop_price=99.0))
    ledger.run(bars((100, 101, 98, 100, 5)))
    assert ledger.working[0].triggered and not ledger.told.fills
    ledger.run(bars((), (104, 105, 103, 104)))
    assert ledger.fills("e1") == [(100, 104)]


# --- brackets ---------------------------------------------------


def test_legs_sleep_until_the_entry_fills(ledger):
    placed(ledger, *bracket(limit_price=90.0))
    ledger.run(bars((100, 115, 94, 100)))
    assert not ledger.told.fills and len(ledger.working) == 3


def test_the_target_cancels_the_stop(ledger):
    placed(ledger, *bracket()).run(bars(FLAT, (105, 111, 104, 110)))
    assert ledger.fills("e1-target") == [(100, 110)] and ledger.status("e1-target") == "filled"
    assert ledger.status("e1-stop") == "cancelled" and "one cancels the other" in ledger.reason("e1-stop")
    assert not ledger.working


def test_the_stop_cancels_the_target(ledger):
    placed(ledger, *bracket()).run(bars(FLAT, (98, 99, 94, 96)))
    assert ledger.fills("e1-stop") == [(100, 95)]
    assert (ledger.status("e1-stop"), ledger.status("e1-target")) == ("filled", "cancelled")


def test_where_stop_and_target_lie_within_one_bar_the_stop_is_assumed(ledger):
    placed(ledger, *bracket()).run(bars(FLAT, (100, 112, 94, 111)))
    assert ledger.fills("e1-stop") == [(100, 95)] and ledger.filled("e1-target") == 0


def test_a_target_the_bar_opens_beyond_was_there_before_the_stop(ledger):
    placed(ledger, *bracket()).run(bars(FLAT, (112, 113, 94, 111)))
    assert ledger.fills("e1-target") == [(100, 112)] and ledger.filled("e1-stop") == 0


def test_a_gap_through_the_stop_fills_at_the_open(ledger):
    placed(ledger, *bracket()).run(bars(FLAT, (91, 92, 90, 91)))
    assert ledger.fills("e1-stop") == [(100, 91)]


def test_the_legs_of_an_entry_filled_at_the_open_are_worked_in_the_same_bar(ledger):
    placed(ledger, *bracket()).run(bars((100, 111, 99, 110)))
    assert ledger.fills("e1") == [(100, 100)] and ledger.fills("e1-target") == [(100, 110)]
    entry, exit_ = ledger.told.fills
    assert entry.at < exit_.at < OPEN + MINUTE


def test_of_an_entry_filled_within_the_bar_only_the_stop_is(ledger):
    """The high that reaches the target may have come before the low that filled the entry."""
    placed(ledger, *bracket(limit_price=98.0)).run(bars((100, 111, 97, 100)))
    assert ledger.filled("e1") == 100 and ledger.filled("e1-target") == 0 and len(ledger.working) == 2
    other = Ledger(ledger.broker)
    placed(other, *bracket(limit_price=98.0)).run(bars((100, 111, 94, 100)))
    assert other.fills("e1-stop") == [(100, 95)]


def test_a_short_bracket_is_the_mirror_image(ledger):
    placed(ledger, *bracket(stop=105.0, target=90.0, side="sell")).run(bars(FLAT, (100, 106, 89, 100)))
    assert ledger.fills("e1") == [(100, 100)] and ledger.fills("e1-stop") == [(100, 105)]


def test_legs_close_what_has_filled_and_an_exit_ends_the_entry():
    ledger = Ledger(SimulatedBroker(replace(FREE, participation=0.1)))
    placed(ledger, *bracket(limit_price=100.0)).run(bars((100, 101, 99, 100, 400), (94, 97, 93, 95)))
    assert ledger.fills("e1") == [(40, 100)] and ledger.fills("e1-stop") == [(40, 94)]
    assert [ledger.status(name) for name in ("e1", "e1-stop", "e1-target")] == ["cancelled", "filled", "cancelled"]


def test_a_target_that_fills_in_part_leaves_the_rest_to_the_stop():
    ledger = Ledger(SimulatedBroker(replace(FREE, participation=0.1)))
    placed(ledger, *bracket()).run(bars(FLAT, (105, 111, 104, 110, 300), (96, 97, 94, 95)))
    assert ledger.filled("e1-target") == 30 and ledger.filled("e1-stop") == 70
    assert (ledger.status("e1-target"), ledger.status("e1-stop")) == ("cancelled", "filled")


def test_a_stop_that_takes_several_bars_never_lets_the_target_in():
    ledger = Ledger(SimulatedBroker(replace(FREE, participation=0.1)))
    placed(ledger, *bracket()).run(bars(FLAT, (96, 97, 94, 95, 300), (112, 113, 111, 112)))
    assert ledger.fills("e1-stop") == [(30, 95), (70, 112)] and ledger.filled("e1-target") == 0


def test_an_exit_of_part_of_the_position_leaves_the_stop_for_the_rest(ledger):
    entry, stop, target = bracket()
    placed(ledger, entry, stop, replace(target, quantity=40)).run(bars(FLAT, (105, 111, 104, 110), (96, 97, 94, 95)))
    assert ledger.fills("e1-target") == [(40, 110)] and ledger.fills("e1-stop") == [(60, 95)]


def test_an_order_to_close_the_bracket_takes_the_legs_with_it(ledger):
    placed(ledger, *bracket()).run(bars(FLAT))
    shut = order("x", role="close", side="sell", parent_id="e1", created_at=OPEN + MINUTE)
    ledger.place([shut])
    ledger.run(bars((), (101, 102, 100, 101)))
    assert ledger.fills("x") == [(100, 101)] and not ledger.working
    assert {ledger.status("e1-stop"), ledger.status("e1-target")} == {"cancelled"}


def test_legs_placed_anew_protect_what_the_bracket_still_holds(ledger):
    entry, stop, target = bracket()
    placed(ledger, entry).run(bars(FLAT))
    ledger.place([stop, target])
    ledger.run(bars((), (96, 97, 94, 95)))
    assert ledger.fills("e1-stop") == [(100, 95)] and not ledger.working


def test_a_leg_that_nobody_sizes_is_refused():
    leg = bracket()[1]
    with pytest.raises(OrderUnplaceable, match=r"nobody says what it holds.*working_orders"):
        SimulatedBroker().advance(Book(at=OPEN + MINUTE, working=[Working(leg, "accepted")]))


# --- when orders end --------------------------------------------


@pytest.mark.parametrize("closes_at", [CLOSE, CLOSE - timedelta(hours=3)], ids=["full day", "half day"])
def test_day_orders_end_at_the_close_they_are_told_good_till_cancelled_ones_do_not(ledger, closes_at):
    ledger.place([order("day", limit_price=50.0)])
    ledger.place([order("gtc", limit_price=50.0, time_in_force="gtc")])
    hours = {"session": SESSION, "opens_at": OPEN, "closes_at": closes_at}
    ledger.tick(closes_at - MINUTE, **hours)
    assert ledger.status("day") == "accepted"
    ledger.tick(closes_at, **hours)
    assert (ledger.status("day"), ledger.status("gtc")) == ("expired", "accepted")
    assert ledger.told.events[-1].at == closes_at


def test_the_last_bar_fills_before_the_day_ends(ledger):
    placed(ledger, order(limit_price=99.0))
    last = bars((100, 101, 98, 100), first=CLOSE - MINUTE)
    ledger.tick(CLOSE, last, session=SESSION, opens_at=OPEN, closes_at=CLOSE)
    assert ledger.status("e1") == "filled"


def test_bars_before_the_open_and_after_the_close_fill_nothing(ledger):
    placed(ledger, order(created_at=OPEN - 60 * MINUTE))
    hours = {"session": SESSION, "opens_at": OPEN, "closes_at": CLOSE}
    ledger.tick(OPEN + MINUTE, bars(FLAT, first=OPEN - 2 * MINUTE), **hours)
    ledger.tick(CLOSE - MINUTE, bars(FLAT, first=CLOSE), **hours)
    assert not ledger.told.fills


def test_a_day_order_of_an_earlier_session_ends_before_a_bar_meets_it(ledger):
    placed(ledger, order("old"))
    ledger.tick(
        OPEN + timedelta(days=1, minutes=1),
        bars(FLAT, first=OPEN + timedelta(days=1)),
        session=SESSION + timedelta(days=1),
    )
    assert ledger.status("old") == "expired" and not ledger.told.fills


def test_protection_outlives_the_day(ledger):
    placed(ledger, *bracket()).run(bars(FLAT), session=SESSION, opens_at=OPEN, closes_at=CLOSE)
    ledger.tick(CLOSE, session=SESSION, opens_at=OPEN, closes_at=CLOSE)
    assert len(ledger.working) == 2
    tomorrow = OPEN + timedelta(days=1)
    ledger.tick(tomorrow + MINUTE, bars((90, 91, 89, 90), first=tomorrow), session=SESSION + timedelta(days=1))
    assert ledger.fills("e1-stop") == [(100, 90)]


def test_legs_of_an_entry_that_ends_unfilled_end_with_it(ledger):
    placed(ledger, *bracket(limit_price=50.0))
    ledger.tick(CLOSE, session=SESSION, opens_at=OPEN, closes_at=CLOSE)
    assert [ledger.status(name) for name in ("e1", "e1-stop", "e1-target")] == ["expired", "cancelled", "cancelled"]


def test_a_halted_symbol_fills_nothing_and_keeps_its_orders(ledger):
    placed(ledger, order()).run(bars(FLAT, instrument_id="us:BBB"))
    assert not ledger.told.fills and ledger.status("e1") == "accepted"


def test_a_bar_without_prices_is_no_bar(ledger):
    placed(ledger, order()).run(bars((None, None, None, None), (float("nan"),) * 4))
    assert not ledger.told.fills


def test_orders_of_a_delisted_symbol_end(ledger):
    ledger.place([order("gone", time_in_force="gtc")])
    ledger.tick(OPEN + MINUTE, delisted=frozenset({"us:AAA"}))
    assert ledger.status("gone") == "expired" and ledger.reason("gone") == "delisted"


def test_pending_orders_are_not_worked(ledger):
    ledger.orders.append(order())
    ledger.run(bars(FLAT))
    assert not ledger.told.events and not ledger.told.fills


def test_cancelling_tells_what_was_working_and_nothing_more(ledger):
    placed(ledger, order("a", limit_price=50.0))
    over = Working(order("b"), "filled", 100)
    told = ledger.broker.cancel([*ledger.working, over], OPEN + MINUTE)
    assert [(event.order_id, event.status) for event in told.events] == [("a", "cancelled")]


def test_placing_again_changes_nothing(ledger):
    """Not even the moment: a loop that restarts between commit and placing writes the rows it would have written."""
    first, again = ledger.broker.place(bracket(), OPEN), ledger.broker.place(bracket(), OPEN + 10 * MINUTE)
    assert first == again and len(first.events) == 3


@pytest.mark.parametrize(
    "orders",
    [
        [],
        [order("a"), order("b")],
        [order(limit_price=None, order_type="limit")],
        [order(quantity=0)],
        [order(limit_price=float("nan"))],
        [order(stop_price=5.0, order_type="market")],
        bracket(stop=110.0, target=95.0),
        bracket(legs={"side": "buy"}),
        bracket(legs={"parent_id": "other"}),
        bracket(legs={"instrument_id": "us:BBB"}),
        bracket(legs={"parent_id": None})[1:],
    ],
)
def test_what_is_no_bracket_is_refused(orders):
    with pytest.raises(OrderUnplaceable):
        SimulatedBroker().place(orders, OPEN)


def test_it_keeps_no_book_of_its_own_and_trades_on_paper():
    broker = SimulatedBroker()
    assert broker.holdings() is None and broker.on_paper and not [name for name in vars(broker) if "order" in name]


def test_an_empty_book_is_nothing():
    told = SimulatedBroker().advance(Book(at=OPEN, bars=pl.DataFrame()))
    assert not told.events and not told.fills
