"""From a sized signal to orders, and when a session ticks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.brokers.base import Order, Working
from trading_pipeline.brokers.bracket import bracket_of
from trading_pipeline.brokers.ticks import ASX_TICKS, US_TICKS
from trading_pipeline.live.clocks import SimulatedClock, grid
from trading_pipeline.live.execution import Execution, bracket, closing, given_up, limits_of, pending_brackets
from trading_pipeline.research.risk import Account, Limits, load_limits, sized

LIMITS = load_limits()
AT = datetime(2025, 9, 17, 14, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SIGNAL = {
    "signal_id": "20250917-AAA-mean_reversion-140000", "session": date(2025, 9, 17), "instrument_id": "us:AAA",
    "ticker": "AAA", "side": "long", "entry": 100.1, "stop": 99.0, "target": 102.0, "quantity": 7, "risk": 7.7,
}  # fmt: skip


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_signal_becomes_a_bracket_that_a_broker_can_work(side):
    signal = SIGNAL | ({} if side == "long" else {"side": side, "entry": 99.9, "stop": 101.0, "target": 98.0})
    orders = bracket_of(bracket(signal, AT)).orders
    assert [order.role for order in orders] == ["entry", "stop", "target"]
    assert [order.side for order in orders] == (["buy", "sell", "sell"] if side == "long" else ["sell", "buy", "buy"])
    assert [order.time_in_force for order in orders] == ["day", "gtc", "gtc"]
    assert {order.quantity for order in orders} == {7}
    assert [order.risk for order in orders] == [7.7, None, None]
    assert {order.signal_id for order in orders} == {SIGNAL["signal_id"]}


def test_an_entry_may_fill_a_tenth_of_the_risk_beyond_its_price():
    limits = limits_of(pl.Series([100.0, 50.0, 3.0]), pl.Series([99.0, 50.55, 2.999]), 0.1, US_TICKS)
    assert limits.to_list() == [100.1, 49.95, 3.0]
    assert limits_of(pl.Series([1.0]), pl.Series([0.9]), 0.1, ASX_TICKS).to_list() == [1.01]


WISHED = pl.Schema(
    {"instrument_id": pl.String, "side": pl.String, "price": pl.Float64, "stop": pl.Float64, "target": pl.Float64}
)


def wished(*rows: tuple[str, float, float]) -> pl.DataFrame:
    """Signals of (side, price, distance to the stop as a share of it), three times as far from their targets."""
    told = [
        (f"us:{number}", side, price, price - way * share * price, price + 3 * way * share * price)
        for number, (side, price, share) in enumerate(rows)
        for way in (1 if side == "long" else -1,)
    ]
    return pl.DataFrame(told, schema=WISHED, orient="row")


def ordered(signals: pl.DataFrame, equity: float, limits: Limits = LIMITS) -> list[list[Order]]:
    """The brackets of what the limits allow, as a tick orders them."""
    entry = limits_of(signals["price"], signals["stop"], Execution().slack, US_TICKS)
    rows = sized(signals.with_columns(entry, environment=pl.lit("A"), edges=pl.lit(3)), Account.of(equity), limits)
    taken = rows.filter(pl.col("refused_by").is_null()).with_columns(
        session=pl.lit(AT.date()), signal_id="instrument_id", ticker="instrument_id"
    )
    return [bracket(row, AT) for row in taken.iter_rows(named=True)]


def test_an_entry_is_sized_at_its_limit_and_not_at_the_price_of_its_signal():
    """500 may be lost: by 500 shares from the price of 100 to the stop at 99, by 454 from the limit of 100.10."""
    roomy = replace(LIMITS, position=replace(LIMITS.position, largest_share=1.0))
    [[entry, stop, _]] = ordered(wished(("long", 100.0, 0.01)), 100_000.0, roomy)
    assert (entry.limit_price, stop.stop_price, entry.quantity) == (100.1, 99.0, 454)
    assert entry.risk == pytest.approx(454 * 1.1)


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["long", "short"]),
            st.integers(101, 90_000).map(lambda cents: cents / 100),
            st.floats(0.001, 0.1),
        ),
        min_size=1,
        max_size=12,
    ),
    equity=st.floats(2_000, 1e6),
)
@settings(max_examples=60, deadline=None)
def test_filled_at_the_worst_price_the_limits_hold(rows, equity):
    risks, values = [], []
    for entry, stop, _ in ordered(wished(*rows), equity):
        assert entry.limit_price is not None and stop.stop_price is not None and entry.risk is not None
        lost = entry.quantity * abs(entry.limit_price - stop.stop_price)
        assert lost <= entry.risk + 1e-6
        assert entry.risk <= LIMITS.budget.risk_per_trade * equity + 1e-6
        assert entry.quantity * entry.limit_price <= LIMITS.position.largest_share * equity + 1e-6
        risks.append(lost)
        values.append(entry.quantity * entry.limit_price)
    budget = LIMITS.budget
    assert sum(risks) <= min(budget.risk_per_day, budget.risk_per_sector, budget.open_heat) * equity + 1e-6
    assert sum(values) <= budget.buying_power_used * equity + 1e-6


def test_closing_sells_what_is_held_and_buys_back_what_is_short():
    assert (closing(SIGNAL["session"], "us:AAA", "AAA", 5, AT).side, closing(AT.date(), "us:A", "A", -5, AT).side) == (
        "sell",
        "buy",
    )
    assert closing(AT.date(), "us:A", "A", -5, AT).quantity == 5


def test_entries_are_given_up_after_some_minutes_and_exits_never():
    working = [Working(order, "accepted") for order in bracket(SIGNAL, AT)]
    rules = Execution(minutes_open=5)
    assert given_up(working, AT + 4 * MINUTE, rules) == []
    assert [item.order.role for item in given_up(working, AT + 5 * MINUTE, rules)] == ["entry"]


def test_pending_orders_come_by_bracket_whatever_their_order():
    first, second = bracket(SIGNAL, AT), bracket(SIGNAL | {"signal_id": "later"}, AT + MINUTE)
    working = [Working(order, "pending") for order in reversed([*first, *second])]
    assert pending_brackets(working) == [first, second]
    assert pending_brackets([Working(order, "accepted") for order in first]) == []


def test_the_version_follows_the_numbers():
    assert Execution().version == Execution().version != Execution(slack=0.2).version


def test_ticks_lie_on_a_grid_and_the_close_is_the_last():
    opens = AT
    assert grid(opens, opens + 3 * MINUTE, 60) == [opens + count * MINUTE for count in (1, 2, 3)]
    assert grid(opens, opens + 3 * MINUTE, 120) == [opens + 2 * MINUTE, opens + 3 * MINUTE]
    assert len(grid(opens, opens + timedelta(hours=6.5), 60)) == 390


def test_a_simulated_clock_moves_when_somebody_sleeps():
    clock = SimulatedClock(AT)
    clock.sleep(90)
    clock.sleep(-5)
    assert clock() == AT + timedelta(seconds=90)
    with pytest.raises(ValueError, match="naive"):
        SimulatedClock(AT.replace(tzinfo=None))
