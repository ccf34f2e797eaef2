"""Ours against theirs: every cent and every share, in words."""

from __future__ import annotations

import polars as pl
import pytest

from trading_pipeline.research.ledger import DISCREPANCIES, ledger, reconcile


@pytest.fixture
def found(day, prices, sessions):
    day.fill("a", 100, 50.0, fee=1.0).fill("b", 40, 51.0, session=1, side="sell", role="close")
    day.fill("c", 10, 20.0, name="us:B").fill("d", 10, 21.0, session=1, name="us:B", side="sell", role="close")
    return ledger(day.orders, day.fills, prices((0, 50.5), (1, 51.5), (0, 20.0, "us:B")), sessions[:2], 10_000.0)


@pytest.fixture
def holdings():
    return pl.DataFrame({"ticker": ["A"], "quantity": [60], "average_price": [50.0]})


def plus(frame, column, amount, place=0):
    at = pl.int_range(pl.len()) == place
    return frame.with_columns(pl.when(at).then(pl.col(column) + amount).otherwise(column).alias(column))


def test_nothing_differs(found, holdings):
    said = reconcile(
        found, accounts=found.accounts, positions=found.positions, trades=found.trades, holdings=holdings,
        broker_cash=found.accounts["cash"][-1],
    )  # fmt: skip
    assert said.is_empty()
    assert said.schema == DISCREPANCIES == reconcile(found).schema


@pytest.mark.parametrize(
    ("amount", "differs"),
    [(0.01, True), (-0.01, True), (0.009, False), (1e-9, False), (float("nan"), True), (None, True)],
)
@pytest.mark.parametrize(
    "column", ["cash_before", "cash", "market_value", "equity", "realised", "unrealised", "fees", "income"]
)
def test_a_cent_of_an_account_is_a_discrepancy(found, column, amount, differs):
    said = reconcile(found, accounts=plus(found.accounts, column, pl.lit(amount, pl.Float64), place=1))
    assert said.height == differs
    if differs:
        assert said["session"][0] == found.accounts["session"][1]


def test_what_is_said_of_it(found):
    said = reconcile(found, accounts=plus(found.accounts, "cash", 0.01))
    assert said["says"].to_list() == ["2025-09-15, account: the cash is 4799.0 by the fills, 4799.01 as told"]
    assert said.select("subject", "item", "ours", "theirs").row(0) == ("account", "cash", 4799.0, 4799.01)
    assert said["difference"][0] == pytest.approx(-0.01)


def test_a_session_that_one_side_lacks(found):
    said = reconcile(found, accounts=found.accounts.head(1))
    assert said.height == 8
    assert "2025-09-16, account: by the fills the cash is 7049.0, and nothing is told of it" in said["says"].to_list()


@pytest.mark.parametrize(
    ("column", "amount"),
    [("quantity", 1), ("average_price", 0.01), ("market_price", 0.02), ("market_value", 0.01), ("unrealised", -0.01)],
)
def test_positions_as_stated(found, column, amount):
    said = reconcile(found, positions=plus(found.positions, column, amount))
    assert said.select("session", "subject").rows() == [(found.positions["session"][0], "A")]
    assert reconcile(found, positions=found.positions.drop(column)).is_empty()


def test_trades_as_stated(found):
    assert found.trades["trade_id"].to_list() == ["c"]
    said = reconcile(found, trades=plus(found.trades, "pnl", 0.01))
    assert said["says"].to_list() == ["2025-09-16, c: the profit is 10.0 by the fills, 10.01 as told"]
    assert set(reconcile(found, trades=found.trades.clear())["subject"]) == {"c"}


def test_what_the_broker_holds(found, holdings):
    more = pl.DataFrame({"ticker": ["A", "B", "C"], "quantity": [59, 5, 0], "average_price": [50.02, 20.0, 1.0]})
    said = reconcile(found, holdings=more)
    assert said["says"].to_list() == [
        "2025-09-16, A: the average price is 50.0 by the fills, 50.02 as told",
        "2025-09-16, A: the number of shares is 60.0 by the fills, 59.0 as told",
        "2025-09-16, B: the average price is told to be 20.0, and no fills make it",
        "2025-09-16, B: the number of shares is told to be 5.0, and no fills make it",
    ]
    assert reconcile(found, holdings=holdings.clear())["subject"].to_list() == ["A", "A"]
    assert reconcile(found, broker_cash=found.accounts["cash"][-1] - 0.01)["item"].to_list() == ["cash"]
