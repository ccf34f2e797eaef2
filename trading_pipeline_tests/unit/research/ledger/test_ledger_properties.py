"""The ledger under random fills, turns, fees, splits and payments: to the cent, in any order, in any parts."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from time import perf_counter

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from trading_pipeline.research.ledger import Exposure, LateFill, journal, ledger, reconcile
from trading_pipeline.research.ledger.journal import ranked
from trading_pipeline.tables.live import FILLS, ORDERS
from trading_pipeline_tests.unit.research.ledger.conftest import SESSIONS, Day, actions_of, prices_of

NAMES = ("us:A", "us:B")
CASH = 100_000.0
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def books(draw):
    """Orders and fills of five sessions, actions and prices; many fills fall into the same moment."""
    day, place, name = Day(), st.integers(0, 4), st.sampled_from(NAMES)
    made = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["entry", "stop", "close"])), max_size=12))
    entries: dict[str, str] = {}
    for number, (of, role) in enumerate(made):
        order_id = f"o{draw(st.integers(0, 9))}-{number}"
        parent = entries.get(of) if role == "stop" else None
        side, risk = draw(st.sampled_from(["buy", "sell"])), draw(st.sampled_from([None, 50.0]))
        day.order(order_id, side, 200, role, of, parent, risk)
        if role == "entry":
            entries[of] = order_id
        for part in range(draw(st.integers(1, 3))):
            day.fill(
                order_id,
                draw(st.integers(1, 60)),
                draw(st.integers(100_000, 1_200_000)) / 10_000,
                draw(st.integers(0, 300)) / 100,
                session=draw(st.integers(0, 4)),
                minute=draw(st.integers(0, 2)),
                fill_id=f"{draw(st.integers(0, 9))}-{number}-{part}",
            )
    actions = draw(
        st.lists(
            st.one_of(
                st.tuples(place, st.just("split"), st.sampled_from([2.0, 1.5, 0.1, 0.333333]), name),
                st.tuples(place, st.just("dividend"), st.sampled_from([0.25, 0.2425, 1.0 / 3]), name),
            ),
            max_size=4,
            unique_by=lambda row: (row[0], row[1], row[3]),
        )
    )  # fmt: skip
    marks = draw(
        st.lists(
            st.tuples(place, st.integers(1_000, 12_000).map(lambda cents: cents / 100), name),
            max_size=8,
            unique_by=lambda row: (row[0], row[2]),
        )
    )  # fmt: skip
    return day, actions_of(*actions), prices_of(*marks)


def exact(value):
    return Fraction(Decimal(repr(value)))


def derived(book, sessions=SESSIONS, fills=None):
    day, actions, prices = book
    return ledger(day.orders, day.fills if fills is None else fills, prices, sessions, CASH, actions)


@QUICK
@given(book=books())
def test_every_cent_of_equity_is_accounted_for(book):
    found = derived(book)
    day, actions, _ = book
    cash = exact(CASH)
    for place, row in enumerate(found.accounts.iter_rows(named=True)):
        before = found.accounts.row(place - 1, named=True) if place else {"equity": CASH, "unrealised": 0.0}
        change = exact(row["equity"]) - exact(before["equity"])
        earned = exact(row["realised"]) + exact(row["income"]) - exact(row["fees"])
        assert change == earned + exact(row["unrealised"]) - exact(before["unrealised"])
        assert exact(row["cash"]) + exact(row["market_value"]) == exact(row["equity"])
        today = day.fills.filter(pl.col("session") == row["session"])
        assert exact(row["fees"]) == sum(map(exact, today["fee"]), Fraction(0))
    if actions.is_empty():
        signs = {"buy": -1, "sell": 1}
        for row in day.fills.iter_rows(named=True):
            cash += signs[row["side"]] * row["quantity"] * exact(row["price"]) - exact(row["fee"])
        assert exact(found.accounts["cash"][-1]) == cash
    open_trades = found.journal.filter(pl.col("shares").last().over("instrument_id", "trade") != 0)
    running = open_trades.select((pl.col("money") + pl.col("income") - pl.col("fee")).sum()).item()
    closed = sum(map(exact, found.trades["pnl"]), Fraction(0))
    last = found.accounts.row(-1, named=True)
    assert exact(last["equity"]) == exact(CASH) + closed + Fraction(running, 10**6) + exact(last["market_value"])


@QUICK
@given(book=books())
def test_every_dividend_is_told_on_its_ex_date_and_in_its_trade(book):
    """Against the shares held when the ex-date began, in its basis, of the amount a share, to the cent."""
    _, actions, _ = book
    found = derived(book)
    steps, name = found.journal, pl.col("instrument_id")
    paid = dict.fromkeys(SESSIONS, Fraction(0))
    for session, of, _, amount in actions.filter(pl.col("kind") == "dividend").rows():
        today = pl.col("session") == session
        held = steps.filter((name == of) & ((pl.col("session") < session) | (today & (pl.col("kind") == "split"))))
        due = Fraction(held["shares"][-1] if held.height else 0) * Fraction(round(amount * 10**9), 10**9)
        told = steps.filter((name == of) & today & (pl.col("kind") == "payment"))["income"].sum()
        assert told % 10_000 == 0 and abs(Fraction(told, 10**6) - due) <= Fraction(1, 200)
        paid[session] += Fraction(told, 10**6)
    assert list(map(exact, found.accounts["income"])) == list(paid.values())
    closed = sum(map(exact, found.trades["income"]), Fraction(0))
    still_open = steps.filter(pl.col("shares").last().over("instrument_id", "trade") != 0)["income"].sum()
    assert closed + Fraction(still_open, 10**6) == sum(paid.values())


@QUICK
@given(book=books())
def test_shares_and_average_cost_are_those_of_a_plain_account(book):
    """Against fractions that are never rounded, fill by fill."""
    day, _, prices = book
    found = ledger(day.orders, day.fills, prices, SESSIONS, CASH)
    ordered = ranked(day.fills, day.orders).sort("session", "at", "rank", "fill_id")
    held: dict[str, tuple[int, Fraction]] = {}
    for row in ordered.iter_rows(named=True):
        shares, average = held.get(row["instrument_id"], (0, Fraction(0)))
        change = row["quantity"] if row["side"] == "buy" else -row["quantity"]
        after = shares + change
        if shares * change >= 0:
            average = (average * abs(shares) + exact(row["price"]) * abs(change)) / abs(after)
        elif after * shares < 0:
            average = exact(row["price"])
        held[row["instrument_id"]] = (after, average if after else Fraction(0))
    last = found.positions.filter(pl.col("session") == SESSIONS[-1])
    assert {row["instrument_id"]: row["quantity"] for row in last.iter_rows(named=True)} == {
        name: shares for name, (shares, _) in held.items() if shares
    }
    for row in last.iter_rows(named=True):
        assert row["average_price"] == pytest.approx(float(held[row["instrument_id"]][1]), abs=1e-5)


@QUICK
@given(book=books())
def test_a_trade_is_what_its_prices_say(book):
    for row in derived(book).trades.iter_rows(named=True):
        assert row["opened_at"].date() <= row["closed_at"].date() == row["session"]
        assert row["entry_price"] > 0 and row["quantity"] > 0
    day, _, prices = book
    for row in ledger(day.orders, day.fills, prices, SESSIONS, CASH).trades.iter_rows(named=True):
        way = 1 if row["side"] == "long" else -1
        bought = day.fills.filter(
            pl.col("instrument_id") == row["instrument_id"], pl.col("at").is_between(row["opened_at"], row["closed_at"])
        )
        turnover = bought["quantity"].sum()
        gross = way * (row["exit_price"] - row["entry_price"])
        assert row["quantity"] <= turnover
        if gross == 0:
            assert row["pnl"] == pytest.approx(-row["fees"], abs=1e-6)
        else:
            assert (row["pnl"] + row["fees"]) / gross == pytest.approx(
                round((row["pnl"] + row["fees"]) / gross), rel=1e-6
            ), "profit is a whole number of shares times the difference"


@QUICK
@given(book=books(), seed=st.integers(0, 10**6))
def test_the_order_of_rows_means_nothing(book, seed):
    day, actions, prices = book
    mixed = [frame.sample(fraction=1.0, shuffle=True, seed=seed) for frame in (day.orders, day.fills, actions, prices)]
    other = ledger(mixed[0], mixed[1], mixed[3], SESSIONS, CASH, mixed[2])
    ours = derived(book)
    for name in ("journal", "positions", "trades", "accounts"):
        assert_frame_equal(getattr(ours, name), getattr(other, name), check_exact=True)


@settings(QUICK, max_examples=25)
@given(book=books())
def test_a_range_of_sessions_is_each_session_by_itself(book):
    """And what came after a session changes nothing of it."""
    whole = derived(book)
    day, actions, prices = book
    for session in SESSIONS:
        until = pl.col("session") <= session
        fills, known, booked = (frame.filter(until) for frame in (day.fills, prices, actions))
        alone = ledger(day.orders, fills, known, [session], CASH, booked)
        for name in ("positions", "trades", "accounts"):
            own = getattr(whole, name).filter(pl.col("session") == session)
            # Exact but for the last bit: polars divides a column by what a column of one row is otherwise divided by.
            assert_frame_equal(own, getattr(alone, name), rel_tol=1e-12, abs_tol=1e-9)


@QUICK
@given(book=books(), seed=st.integers(0, 10**6))
def test_the_ledger_of_a_running_session_agrees_with_the_finished_one(book, seed):
    day, actions, prices = book
    whole = derived(book)
    chance = random.Random(seed)
    exposure = Exposure(CASH)
    for place, session in enumerate(SESSIONS):
        exposure.begin(session, actions)
        told = ranked(day.fills.filter(pl.col("session") == session), day.orders).sort("at", "rank", "fill_id")
        told = told.select(FILLS.names)
        while told.height:
            size = chance.randint(1, 4)
            exposure.take(told.head(size).sample(fraction=1.0, shuffle=True, seed=seed), day.orders)
            exposure.take(told.head(size), day.orders)
            told = told.slice(size)
        exposure.mark(prices.filter(pl.col("session") == session).select("instrument_id", "price").rows())
        expected = whole.accounts.row(place, named=True)
        assert expected.pop("session") == session
        assert exposure.account() == pytest.approx(expected, abs=2e-4 if actions.height else 1e-9)
        assert_frame_equal(
            exposure.positions(), whole.positions.filter(pl.col("session") == session), rel_tol=1e-9, abs_tol=2e-4
        )
        assert exposure.cash == expected["cash"]
        again = Exposure.of(day.orders, day.fills, CASH, session, actions, prices)
        again.mark(prices.filter(pl.col("session") == session).select("instrument_id", "price").rows())
        assert again.account() == pytest.approx(exposure.account(), abs=2e-4 if actions.height else 1e-9)
        assert_frame_equal(again.positions(), exposure.positions(), rel_tol=1e-9, abs_tol=2e-4)


@QUICK
@given(book=books())
def test_what_agrees_has_no_discrepancy_and_a_cent_is_one(book):
    found = derived(book)
    stored = {
        name: getattr(found, name).with_columns(pl.selectors.float().round(4))
        for name in ("accounts", "positions", "trades")
    }
    assert reconcile(found, **stored).is_empty()
    for column in ("cash", "income"):
        off = stored["accounts"].with_columns(pl.col(column) + 0.01)
        assert reconcile(found, accounts=off)["item"].to_list() == [column] * len(SESSIONS)
    off = stored["trades"].with_columns(pl.col("income") - 0.01)
    assert reconcile(found, trades=off)["item"].to_list() == ["income"] * found.trades.height


# --- size -------------------------------------------------------------------------------------------------------------


def many(count, names, sessions):
    rng = np.random.default_rng(3)
    day = np.sort(rng.integers(0, sessions, count))
    fills = pl.DataFrame(
        {
            "number": np.arange(count),
            "session": (np.datetime64("2016-01-01") + day),
            "instrument_id": [f"us:{name}" for name in rng.integers(0, names, count)],
            "side": np.where(rng.random(count) < 0.5, "buy", "sell"),
            "quantity": rng.integers(1, 500, count),
            "price": rng.integers(100_000, 2_000_000, count) / 10_000,
            "fee": rng.integers(0, 300, count) / 100,
        }
    ).with_columns(
        pl.col("session").cast(pl.Date),
        at=pl.col("session").cast(pl.Datetime("us", "UTC")) + pl.duration(seconds=pl.col("number") % 20_000),
        fill_id=pl.format("f{}", "number"),
        order_id=pl.format("o{}", "number"),
        ticker=pl.col("instrument_id").str.strip_prefix("us:"),
        book=pl.lit("paper"),
    )
    orders = fills.select(
        "order_id", "session", "instrument_id", "side", "quantity", role=pl.lit("entry")
    ).with_columns(pl.lit(None, ORDERS.schema[name]).alias(name) for name in ("parent_id", "signal_id", "risk"))
    return orders, fills.select(FILLS.names)


def test_a_hundred_thousand_fills_lose_no_cent():
    """Measured at 0.4 s for the journal; the limit leaves room for a busy machine."""
    orders, fills = many(100_000, 100, 500)
    started = perf_counter()
    steps = journal(orders, fills)
    assert perf_counter() - started < 5
    found = ledger(orders, fills, prices_of(), [fills["session"].max()], CASH)
    cash, shares = exact(CASH), dict.fromkeys(fills["instrument_id"].unique(), 0)
    for name, side, quantity, price, fee in fills.select("instrument_id", "side", "quantity", "price", "fee").rows():
        way = 1 if side == "buy" else -1
        shares[name] += way * quantity
        cash -= way * quantity * exact(price) + exact(fee)
    assert exact(found.accounts["cash"][0]) == cash
    assert dict(found.positions.select("instrument_id", "quantity").iter_rows()) == {
        name: held for name, held in shares.items() if held
    }
    assert steps["realised"].sum() + steps.group_by("instrument_id").agg(pl.col("cost").last())["cost"].sum() * -1 == (
        steps["money"].sum()
    )


def test_an_update_costs_the_same_late_in_the_day():
    orders, fills = many(40_000, 50, 1)
    fills = fills.sort("at", "fill_id").with_columns(at=pl.col("at") + pl.duration(days=1))
    fills = fills.with_columns(at=pl.col("at").min() + pl.duration(microseconds=pl.int_range(pl.len())))
    exposure = Exposure(CASH)
    exposure.begin(fills["session"][0])
    by_id = orders.join(fills.select("order_id", "at"), on="order_id").sort("at").drop("at")

    def time_of(starts):
        taken = []
        for start in starts:
            part, its = fills[start : start + 20], by_id[start : start + 20]
            began = perf_counter()
            exposure.take(part, its)
            taken.append(perf_counter() - began)
        return float(np.median(taken))

    early = time_of(range(0, 1_000, 20))
    exposure.take(fills[1_000:39_000], by_id[1_000:39_000])
    late = time_of(range(39_000, 40_000, 20))
    assert late < 5 * early


# --- what a running ledger does not take ------------------------------------------------------------------------------


def test_a_late_fill_is_refused_and_nothing_is_taken_in():
    day = Day().fill("a", 100, 50.0, minute=5).fill("b", 10, 51.0, minute=9, name="us:B").fill("c", 5, 50.0, minute=4)
    exposure = Exposure(CASH)
    exposure.begin(SESSIONS[0])
    exposure.take(day.fills.head(1), day.orders)
    before = exposure.account()
    with pytest.raises(LateFill, match="comes before a fill of us:A"):
        exposure.take(day.fills.slice(1), day.orders)
    assert exposure.account() == before
    assert exposure.shares("us:B") == 0 and exposure.shares("us:A") == 100


def test_the_entry_of_an_exit_that_is_in_is_late():
    day = (
        Day().order("e", quantity=10).order("x", "sell", 10, "stop", parent="e").fill("x", 10, 49.0).fill("e", 10, 50.0)
    )
    exposure = Exposure(CASH)
    exposure.begin(SESSIONS[0])
    exposure.take(day.fills.head(1), day.orders)
    with pytest.raises(LateFill):
        exposure.take(day.fills.slice(1), day.orders)


def test_a_session_comes_after_the_one_before():
    exposure = Exposure(CASH)
    with pytest.raises(ValueError, match="another session"):
        exposure.take(Day().fill("a", 1, 1.0).fills, Day().orders)
    exposure.begin(SESSIONS[1])
    with pytest.raises(ValueError, match="does not come after"):
        exposure.begin(SESSIONS[1])
    with pytest.raises(ValueError, match="another session"):
        exposure.take(Day().fill("a", 1, 1.0, session=2).fills, Day().orders)


def test_what_went_ex_between_two_sessions_is_booked_before_the_next():
    day = Day().fill("a", 100, 50.0)
    exposure = Exposure(CASH)
    exposure.begin(SESSIONS[0])
    exposure.take(day.fills, day.orders)
    told = actions_of((1, "split", 2.0), (2, "dividend", 0.5), (3, "dividend", 0.1))
    exposure.begin(SESSIONS[3], told)
    found = ledger(day.orders, day.fills, prices_of(), [SESSIONS[3]], CASH, told)
    assert exposure.account() == {name: found.accounts[name][0] for name in found.accounts.columns if name != "session"}
    assert (exposure.account()["cash_before"], exposure.account()["income"]) == (95_100.0, 20.0)
    exposure.begin(SESSIONS[3] + timedelta(days=1), told)
    assert exposure.account()["income"] == 0.0
