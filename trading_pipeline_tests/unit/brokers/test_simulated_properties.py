"""What holds for every book, whatever the bars: the simulated broker under random markets and random brackets."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.brokers.base import Book, Order, Working
from trading_pipeline.brokers.simulated import Costs, SimulatedBroker
from trading_pipeline.brokers.ticks import US_TICKS
from trading_pipeline.brokers.working import after
from trading_pipeline_tests.orders import BARS, MINUTE, OPEN, SESSION, Ledger, bracket, order

NAMES = ("us:AAA", "us:BBB")
MINUTES = 9


@dataclass(frozen=True)
class Case:
    costs: Costs
    brackets: list[list[Order]]
    bars: pl.DataFrame


prices = st.integers(9_000, 11_000).map(lambda cents: cents / 100)
costs = st.builds(
    Costs,
    slippage_bps=st.sampled_from([0.0, 5.0]),
    spread_bps=st.sampled_from([0.0, 10.0]),
    impact=st.sampled_from([0.0, 0.1]),
    participation=st.sampled_from([0.1, 1.0]),
    fee_bps=st.sampled_from([0.0, 1.0]),
)


@st.composite
def bar(draw: st.DrawFn) -> tuple[float, float, float, float, float | None]:
    low, first, last, high = sorted(draw(st.tuples(prices, prices, prices, prices)))
    first, last = draw(st.sampled_from([(first, last), (last, first)]))
    return first, high, low, last, draw(st.sampled_from([None, 0.0, 90.0, 90.0, 700.0, 1e6]))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    brackets = []
    for place in range(draw(st.integers(1, 4))):
        side = draw(st.sampled_from(["buy", "sell"]))
        low, middle, high = sorted(draw(st.lists(prices, min_size=3, max_size=3, unique=True)))
        kind = draw(st.sampled_from([{}, {"limit_price": middle}, {"stop_price": middle}]))
        orders = bracket(
            *((low, high) if side == "buy" else (high, low)),
            order_id=f"e{place}",
            side=side,
            instrument_id=draw(st.sampled_from(NAMES)),
            quantity=draw(st.sampled_from([1, 60, 100, 200])),
            created_at=OPEN + draw(st.integers(0, 3)) * MINUTE,
            **kind,
        )
        legs = draw(st.sampled_from([(0,), (0, 1), (0, 2), (0, 1, 2), (0, 1, 2)]))
        brackets.append([orders[leg] for leg in legs])
    rows = [
        (name, OPEN + minute * MINUTE, *draw(bar()))
        for name in NAMES
        for minute in range(MINUTES)
        if draw(st.booleans()) or minute < 4
    ]
    return Case(draw(costs), brackets, pl.DataFrame(rows, schema=BARS, orient="row"))


def replayed(case: Case, ticks: list[int], *, resumed: bool = False) -> Ledger:
    """The case with a tick at each of these minutes.

    resumed: each tick is worked by a broker made anew, from the rows of the ledger; otherwise from what was told.
    """
    ledger = Ledger(SimulatedBroker(case.costs))
    working: tuple[Working, ...] = ()
    done = OPEN
    for minute in ticks:
        at = OPEN + minute * MINUTE
        for orders in case.brackets:
            if done <= orders[0].created_at < at:
                told = ledger.place(orders, at)
                new = (Working(item, "pending", held=0 if item.parent_id else None) for item in orders)
                working = after((*working, *new), told)
        if resumed:
            ledger.broker, working = SimulatedBroker(case.costs), ledger.working
        rows = case.bars.filter(pl.col("started_at").is_between(done, at, closed="left"))
        told = ledger.take(ledger.broker.advance(Book(at, working, rows, SESSION)))
        working = after(working, told)
        done = at
    return ledger


EVERY_MINUTE = list(range(1, MINUTES + 1))


def bar_of(case: Case, fill_at: datetime, name: str) -> dict[str, float | None]:
    started = fill_at.replace(second=0, microsecond=0)
    return case.bars.filter(instrument_id=name, started_at=started).row(0, named=True)


@settings(max_examples=80, deadline=None)
@given(cases())
def test_whatever_the_market_does(case: Case) -> None:
    ledger = replayed(case, EVERY_MINUTE)
    fills_keep_to_their_orders_and_to_the_bar(case, ledger)
    exits_never_close_more_than_the_entry_opened_and_one_cancels_the_other(case, ledger)
    no_state_that_is_over_is_left(ledger)


def fills_keep_to_their_orders_and_to_the_bar(case: Case, ledger: Ledger) -> None:
    orders = {item.order_id: item for item in ledger.orders}
    taken: dict[tuple[str, datetime], int] = defaultdict(int)
    filled: dict[str, int] = defaultdict(int)
    assert len({fill.fill_id for fill in ledger.told.fills}) == len(ledger.told.fills)
    for fill in ledger.told.fills:
        own = orders[fill.order_id]
        seen = bar_of(case, fill.at, own.instrument_id)
        assert fill.quantity > 0 and fill.side == own.side and fill.fee >= 0
        assert fill.at >= own.created_at
        assert fill.price == US_TICKS.nearest(fill.price)
        sign = 1 if own.side == "buy" else -1
        if own.limit_price is not None:
            assert sign * fill.price <= sign * own.limit_price
        else:
            touch = seen["open"]
            if own.stop_price is not None and not filled[fill.order_id]:
                first = [
                    event.at
                    for event in ledger.told.events
                    if event.order_id == own.order_id and event.reason == "triggered"
                ]
                if not first or first[0] >= fill.at:
                    touch = max(touch, own.stop_price) if sign > 0 else min(touch, own.stop_price)
            assert sign * fill.price >= sign * touch
        filled[fill.order_id] += fill.quantity
        assert filled[fill.order_id] <= own.quantity
        taken[own.instrument_id, seen["started_at"]] += fill.quantity
        capacity = case.costs.capacity(seen["volume"])
        assert capacity is None or taken[own.instrument_id, seen["started_at"]] <= capacity


def exits_never_close_more_than_the_entry_opened_and_one_cancels_the_other(case: Case, ledger: Ledger) -> None:
    orders = {item.order_id: item for item in ledger.orders}
    held: dict[str, int] = defaultdict(int)
    for fill in ledger.told.fills:
        own = orders[fill.order_id]
        held[own.parent_id or own.order_id] += -fill.quantity if own.parent_id else fill.quantity
        assert held[own.parent_id or own.order_id] >= 0
    working = {item.order.order_id for item in ledger.working}
    for lead, *legs in case.brackets:
        final = [ledger.status(leg.order_id) for leg in legs]
        assert final.count("filled") <= 1
        if "filled" in final:
            assert held[lead.order_id] == 0 and not working & {item.order_id for item in (lead, *legs)}
        if any(event.order_id == f"{lead.order_id}-stop" and event.reason for event in ledger.told.events):
            assert ledger.status(f"{lead.order_id}-target") in ("cancelled", "pending", "filled")


def no_state_that_is_over_is_left(ledger: Ledger) -> None:
    over: set[str] = set()
    for event in ledger.told.events:
        assert event.order_id not in over
        if event.status in ("filled", "cancelled", "rejected", "expired"):
            over.add(event.order_id)
    for item in ledger.orders:
        if item.role == "entry":
            assert (ledger.status(item.order_id) == "filled") == (ledger.filled(item.order_id) == item.quantity)


@settings(max_examples=40, deadline=None)
@given(cases(), st.sets(st.integers(4, MINUTES - 1)))
def test_the_ticks_at_which_a_run_is_cut_change_nothing(case: Case, cuts: set[int]) -> None:
    """Minutes 1 to 4 tick by tick, since orders are placed there; then any ticks, down to one for all the rest."""
    whole = replayed(case, EVERY_MINUTE)
    cut = replayed(case, sorted({1, 2, 3, 4, MINUTES} | cuts), resumed=True)
    assert whole.told.fills == cut.told.fills
    assert [(e.order_id, e.status) for e in whole.told.events] == [(e.order_id, e.status) for e in cut.told.events]


@settings(max_examples=30, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(case: Case, chance: random.Random) -> None:
    ledger = Ledger(SimulatedBroker(case.costs))
    for orders in case.brackets:
        ledger.place(orders)
    working = list(ledger.working)
    chance.shuffle(working)
    rows = case.bars.sample(fraction=1, shuffle=True, seed=chance.randrange(1000))
    at = OPEN + MINUTES * MINUTE
    told = ledger.take(ledger.broker.advance(Book(at, ledger.working, case.bars)))
    assert told == ledger.broker.advance(Book(at, working, rows))
    # Here every order sees every bar in one tick, those before it was decided included.
    fills_keep_to_their_orders_and_to_the_bar(case, ledger)


@settings(max_examples=30, deadline=None)
@given(cases())
def test_folding_what_was_told_is_folding_the_ledger(case: Case) -> None:
    ledger = Ledger(SimulatedBroker(case.costs))
    for orders in case.brackets:
        ledger.place([replace(item, created_at=OPEN) for item in orders])
    working = ledger.working
    for minute in EVERY_MINUTE:
        rows = case.bars.filter(started_at=OPEN + (minute - 1) * MINUTE)
        told = ledger.tick(OPEN + minute * MINUTE, rows)
        working = after(working, told)
        assert working == ledger.working


@given(st.floats(0.0001, 5000, allow_nan=False))
def test_rounding_to_ticks_brackets_the_price(price: float) -> None:
    low, high = US_TICKS.down(price), US_TICKS.up(price)
    assert low <= price + 1e-6 and high >= price - 1e-6
    assert high - low <= US_TICKS.of(price) + 1e-9
    assert US_TICKS.nearest(price) in (low, high)


def test_the_fold_takes_orders_that_are_pending_and_leaves_out_those_that_are_over() -> None:
    ledger = Ledger(SimulatedBroker())
    ledger.orders = [order("never placed")]
    ledger.place([order("over", limit_price=50.0)])
    ledger.take(ledger.broker.cancel([item for item in ledger.working if item.order.order_id == "over"], OPEN))
    assert [(item.order.order_id, item.status) for item in ledger.working] == [("never placed", "pending")]
    assert ledger.working[0].order == order("never placed")
