"""Positions, round trips and accounts from fills: by hand."""

from __future__ import annotations

import polars as pl
import pytest

from trading_pipeline.research.ledger import ledger
from trading_pipeline.tables.live import ACCOUNTS, POSITIONS, TRADES


@pytest.fixture
def derive(day, prices, sessions):
    def derive(*marks, cash=10_000.0, upto=5, **more):
        return ledger(day.orders, day.fills, prices(*marks), sessions[:upto], cash, **more)

    return derive


def rows(frame, *columns):
    return frame.select(columns).rows()


def account(found, place, *columns):
    return tuple(found.accounts.row(place, named=True)[name] for name in columns)


# --- positions and accounts -------------------------------------------------------------------------------------------


def test_what_is_bought_costs_cash_and_is_worth_its_price(day, derive, sessions):
    day.fill("a", 100, 50.0, fee=1.0)
    found = derive((0, 51.0), upto=1)
    assert found.positions.row(0, named=True) == {
        "session": sessions[0], "instrument_id": "us:A", "ticker": "A", "quantity": 100, "average_price": 50.0,
        "market_price": 51.0, "market_value": 5_100.0, "unrealised": 100.0,
    }  # fmt: skip
    assert found.accounts.row(0, named=True) == {
        "session": sessions[0], "cash_before": 10_000.0, "cash": 4_999.0, "market_value": 5_100.0, "equity": 10_099.0,
        "realised": 0.0, "unrealised": 100.0, "fees": 1.0, "income": 0.0,
    }  # fmt: skip
    assert found.trades.is_empty()


def test_average_cost_takes_its_share_along(day, derive):
    """100 at 50 and 100 at 60 are 200 at 55; 50 sold at 58 earn 150, and 100 more at 50 make 250 at 53."""
    day.fill("a", 100, 50.0).fill("b", 100, 60.0, minute=1)
    day.fill("c", 50, 58.0, minute=2, side="sell", role="close").fill("d", 100, 50.0, minute=3)
    found = derive((0, 53.0), upto=1)
    assert rows(found.positions, "quantity", "average_price", "unrealised") == [(250, 53.0, 0.0)]
    assert account(found, 0, "realised", "cash", "equity") == (150.0, -3_100.0, 10_150.0)


def test_a_third_of_a_cent_is_not_lost(day, derive):
    """3 shares for 10 cost 3.33 each: what single sales earn adds up to what they brought in."""
    day.fill("a", 2, 3.33).fill("b", 1, 3.34, minute=1)
    for place in range(3):
        day.fill(f"s{place}", 1, 4.0, session=place, minute=2, side="sell", role="close")
    found = derive((0, 4.0), (1, 4.0), upto=3)
    assert found.accounts["realised"].sum() == pytest.approx(2.0, abs=1e-12)
    assert account(found, 2, "cash", "equity", "unrealised") == (10_002.0, 10_002.0, 0.0)
    assert rows(found.trades, "pnl", "quantity") == [(2.0, 3)]


def test_a_short_position_earns_when_the_price_falls(day, derive):
    day.fill("a", 100, 50.0, fee=1.0, side="sell").fill("b", 40, 45.0, fee=0.5, minute=1, side="buy", role="close")
    found = derive((0, 46.0), upto=1)
    assert rows(found.positions, "quantity", "average_price", "market_value", "unrealised") == [
        (-60, 50.0, -2_760.0, 240.0)
    ]
    assert account(found, 0, "cash", "realised", "fees", "equity") == (13_198.5, 200.0, 1.5, 10_438.5)


def test_a_position_is_carried_until_it_changes(day, derive, sessions):
    day.fill("a", 10, 50.0).fill("b", 10, 55.0, session=3, side="sell", role="close")
    found = derive((0, 51.0), (2, 52.0))
    assert rows(found.positions, "session", "market_price") == [
        (sessions[0], 51.0), (sessions[1], 51.0), (sessions[2], 52.0),
    ]  # fmt: skip
    assert found.accounts["cash_before"].to_list() == [10_000.0, 9_500.0, 9_500.0, 9_500.0, 10_050.0]
    assert found.accounts["realised"].to_list() == [0.0, 0.0, 0.0, 50.0, 0.0]


def test_without_a_price_a_position_is_worth_what_it_cost(day, derive):
    day.fill("a", 10, 50.0)
    found = derive((0, float("nan")), (1, 0.0), upto=2)
    assert rows(found.positions, "market_price", "unrealised") == [(50.0, 0.0)] * 2


def test_a_day_that_is_half_done_comes_to_what_it_has(day, derive):
    day.order("a", quantity=100).fill("a", 30, 50.0, fee=0.3)
    assert rows(derive((0, 50.5), upto=1).positions, "quantity") == [(30,)]
    day.fill("a", 70, 50.1, fee=0.7, minute=5)
    found = derive((0, 50.5), upto=1)
    assert rows(found.positions, "quantity", "average_price") == [(100, 50.07)]
    assert account(found, 0, "cash", "fees") == (4_992.0, 1.0)


# --- round trips ------------------------------------------------------------------------------------------------------


def test_a_round_trip_from_flat_to_flat(day, derive, sessions):
    day.order("a", quantity=100, risk=200.0, signal="s").fill("a", 60, 50.0, fee=0.6).fill(
        "a", 40, 50.5, fee=0.4, minute=1
    )
    day.order("a-stop", "sell", 100, "stop", parent="a").order("a-target", "sell", 100, "target", parent="a")
    day.fill("a-target", 100, 53.0, fee=1.0, session=1)
    signals = pl.DataFrame({"signal_id": ["s"], "setup": ["mean_reversion"]})
    found = derive((0, 50.0), signals=signals)
    (row,) = found.trades.rows(named=True)
    assert (row["trade_id"], row["session"], row["setup"], row["side"]) == ("a", sessions[1], "mean_reversion", "long")
    assert (row["quantity"], row["entry_price"], row["exit_price"]) == (100, 50.2, 53.0)
    assert (row["fees"], row["pnl"], row["exit_reason"]) == (2.0, 278.0, "target")
    assert row["r_multiple"] == pytest.approx(1.39)
    assert row["opened_at"] == day.fills["at"].min() and row["closed_at"] == day.fills["at"].max()


def test_only_the_part_that_was_filled_was_at_risk(day, derive):
    """Half of an order for 200 at risk was filled: a stop that costs 100 is one R."""
    day.order("a", quantity=100, risk=200.0).fill("a", 50, 50.0)
    day.order("a-stop", "sell", 100, "stop", parent="a").fill("a-stop", 50, 48.0, minute=1)
    assert rows(derive(upto=1).trades, "pnl", "r_multiple", "exit_reason") == [(-100.0, -1.0, "stop")]


def test_without_a_known_risk_there_is_no_multiple(day, derive):
    day.order("a", quantity=50, risk=100.0).fill("a", 50, 50.0).fill("b", 50, 51.0, minute=1)
    day.fill("c", 100, 52.0, minute=2, side="sell", role="close")
    assert rows(derive(upto=1).trades, "trade_id", "quantity", "r_multiple", "exit_reason") == [
        ("a", 100, None, "close")
    ]


def test_several_ways_out(day, derive):
    day.fill("a", 100, 50.0, risk=100.0)
    day.order("t", "sell", 100, "target", parent="a").fill("t", 40, 52.0, minute=1)
    day.fill("c", 60, 49.0, minute=2, side="sell", role="close")
    assert rows(derive(upto=1).trades, "exit_reason", "pnl", "exit_price") == [("several", 20.0, 50.2)]


def test_a_fill_that_turns_the_position_is_two_trades(day, derive):
    day.fill("a", 100, 50.0, fee=1.0).fill("b", 150, 52.0, fee=1.51, minute=1, side="sell")
    day.fill("c", 50, 51.0, fee=0.5, minute=2, side="buy", role="close")
    found = derive(upto=1)
    columns = ("trade_id", "side", "quantity", "entry_price", "exit_price", "fees", "pnl", "exit_reason")
    assert rows(found.trades, *columns) == [
        ("a", "long", 100, 50.0, 52.0, 2.01, 197.99, "close"),
        ("b", "short", 50, 52.0, 51.0, 1.0, 49.0, "close"),
    ]
    assert account(found, 0, "cash", "realised", "fees") == (10_246.99, 250.0, 3.01)


def test_an_entry_that_goes_on_after_its_stop_opens_a_second_trade(day, derive):
    day.order("a", quantity=100, risk=100.0).order("a-stop", "sell", 100, "stop", parent="a")
    for minute in (0, 2):
        day.fill("a", 50, 50.0, minute=minute).fill("a-stop", 50, 49.0, minute=minute + 1)
    assert rows(derive(upto=1).trades, "trade_id", "pnl", "r_multiple") == [("a", -50.0, -1.0), ("a#2", -50.0, -1.0)]


def test_the_exit_of_an_entry_of_the_same_moment_comes_after_it(day, derive):
    """Whatever the ids say: a bar filled the entry and its stop."""
    day.fill("b", 100, 50.0, fill_id="2").order("b-stop", "sell", 100, "stop", parent="b")
    day.fill("b-stop", 100, 49.0, fill_id="1")
    assert rows(derive(upto=1).trades, "trade_id", "side", "exit_reason") == [("b", "long", "stop")]


def test_the_exit_of_what_was_held_comes_before_an_entry_of_the_same_moment(day, derive):
    day.fill("a", 100, 50.0).order("a-stop", "sell", 100, "stop", parent="a")
    day.fill("b", 100, 49.0, minute=1, fill_id="1").fill("a-stop", 100, 49.0, minute=1, fill_id="2")
    found = derive((0, 49.0), upto=1)
    assert rows(found.trades, "trade_id", "pnl") == [("a", -100.0)]
    assert rows(found.positions, "average_price") == [(49.0,)]


# --- overnight --------------------------------------------------------------------------------------------------------


def test_a_split_changes_shares_and_not_money(day, derive, actions):
    day.fill("a", 100, 50.0).fill("b", 200, 26.0, session=2, side="sell", role="close")
    found = derive((0, 51.0), (1, 25.6), actions=actions((1, "split", 2.0)))
    assert rows(found.positions, "quantity", "average_price", "market_price", "unrealised") == [
        (100, 50.0, 51.0, 100.0),
        (200, 25.0, 25.6, 120.0),
    ]
    assert rows(found.trades, "quantity", "entry_price", "exit_price", "pnl") == [(200, 25.0, 26.0, 200.0)]


def test_a_price_before_a_split_stands_in_its_new_basis(day, derive, actions):
    day.fill("a", 100, 50.0)
    found = derive((0, 51.0), upto=2, actions=actions((1, "split", 2.0)))
    assert rows(found.positions, "quantity", "market_price", "unrealised") == [(100, 51.0, 100.0), (200, 25.5, 100.0)]


def test_a_fraction_of_a_share_is_paid_out(day, derive, actions):
    """105 shares, 1 for 10: 10 shares, and half a new share of 500 is 250 in cash, of a cost of 210."""
    day.fill("a", 105, 42.0)
    found = derive((0, 50.0), (1, 501.0), upto=2, actions=actions((1, "split", 0.1)))
    assert rows(found.positions, "quantity", "average_price")[1] == (10, 420.0)
    assert account(found, 1, "cash_before", "cash", "realised") == (5_590.0, 5_840.0, 40.0)
    day.fill("b", 10, 500.0, session=2, side="sell", role="close")
    found = derive((0, 50.0), actions=actions((1, "split", 0.1)))
    assert rows(found.trades, "pnl", "entry_price", "exit_price") == [(840.0, 420.0, 500.0)]


def test_a_split_that_leaves_less_than_a_share_closes_the_trade(day, derive, actions):
    day.fill("a", 3, 1.0)
    found = derive((0, 1.5), upto=2, actions=actions((1, "split", 0.1)))
    assert found.positions.height == 1
    assert rows(found.trades, "trade_id", "pnl", "exit_reason") == [("a", 1.5, "close")]
    assert account(found, 1, "cash", "equity") == (10_001.5, 10_001.5)


def test_a_ratio_of_thirds_is_meant_as_one(day, derive, actions):
    day.fill("a", 300, 50.0)
    found = derive((0, 50.0), cash=20_000.0, upto=2, actions=actions((1, "split", 0.333333)))
    assert rows(found.positions, "quantity", "average_price")[1] == (100, 150.0)
    assert account(found, 1, "cash") == (5_000.0,)


def test_a_short_position_pays_dividends_and_fractions(day, derive, actions):
    day.fill("a", 15, 50.0, side="sell")
    told = actions((1, "split", 0.1), (1, "dividend", 2.0), (2, "capital_gain", 0.505), (3, "dividend", float("nan")))
    found = derive((0, 60.0), actions=told)
    assert rows(found.positions, "quantity", "average_price")[1] == (-1, 500.0)
    assert found.accounts["income"].to_list() == [0.0, -2.0, -0.51, 0.0, 0.0]
    assert account(found, 1, "cash", "realised") == (10_000 + 750 - 300 - 2.0, 250.0 - 300.0)


def test_a_dividend_is_paid_on_what_was_held_before_the_day(day, derive, actions):
    day.fill("a", 100, 50.0).fill("b", 100, 50.0, session=1).fill("c", 200, 49.8, session=2, side="sell", role="close")
    found = derive((0, 50.0), actions=actions((0, "dividend", 9.0), (1, "dividend", 0.2425), (3, "dividend", 9.0)))
    assert found.accounts["income"].to_list() == [0.0, 24.25, 0.0, 0.0, 0.0]
    assert rows(found.trades, "pnl", "income") == [(-40.0 + 24.25, 24.25)]


def test_actions_that_are_withdrawn_or_impossible_do_not_count(day, derive, actions):
    day.fill("a", 100, 50.0)
    told = actions((1, "split", 2.0), (2, "split", -1.0), (3, "dividend", 0.0), (4, "merger", 3.0))
    told = told.with_columns(withdrawn=pl.col("value") == 2.0)
    found = derive((0, 50.0), actions=told)
    assert found.positions["quantity"].unique().to_list() == [100]
    assert found.accounts["cash"].unique().to_list() == [5_000.0]


# --- what goes in and what comes out ----------------------------------------------------------------------------------


def test_the_rows_fit_their_tables(day, derive, actions):
    day.fill("a", 100, 50.0).fill("b", 50, 51.0, session=1, side="sell", role="close")
    day.fill("c", 50, 51.0, session=2, side="sell", role="close").fill("d", 5, 51.0, session=2)
    for found in (derive((0, 50.0), actions=actions((1, "dividend", 0.1))), derive(upto=0)):
        for table, frame in ((POSITIONS, found.positions), (TRADES, found.trades), (ACCOUNTS, found.accounts)):
            assert ["book", *frame.columns] == table.names
            table.conform(frame.with_columns(book=pl.lit("paper")).select(table.names))


def test_a_book_without_fills(derive):
    found = derive(upto=2)
    assert found.positions.is_empty() and found.trades.is_empty()
    assert found.accounts["equity"].to_list() == [10_000.0, 10_000.0]


def test_a_fill_told_twice_counts_once(day, derive):
    day.fill("a", 100, 50.0, fill_id="x").fill("a", 100, 50.0, fill_id="x")
    assert rows(derive(upto=1).positions, "quantity") == [(100,)]
    day.fill("a", 100, 50.01, fill_id="x")
    with pytest.raises(ValueError, match="told in two ways: x"):
        derive(upto=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": 0},
        {"quantity": -5},
        {"price": 0.0},
        {"price": float("nan")},
        {"fee": float("inf")},
        {"side": "long"},
    ],
    ids=str,
)
def test_what_is_no_fill_is_an_error(day, prices, sessions, wrong):
    day.fill("a", 100, 50.0, fill_id="x")
    fills = day.fills.with_columns(**{name: pl.lit(value) for name, value in wrong.items()})
    with pytest.raises(ValueError, match="no fills: x"):
        ledger(day.orders, fills, prices(), sessions, 1.0)


def test_two_books_are_an_error(day, prices, sessions):
    day.fill("a", 100, 50.0).fill("b", 100, 50.0)
    fills = day.fills.with_columns(book=pl.col("order_id"))
    with pytest.raises(ValueError, match="several books"):
        ledger(day.orders, fills, prices(), sessions, 1.0)
