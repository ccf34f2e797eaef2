"""The day's money added up again: against days whose ledger is right, and days whose ledger is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import polars as pl
import pytest

from trading_pipeline.reports.trading_day.accounting import checks, equity_before, overnight, profit, profit_by_tick
from trading_pipeline_tests.trading_days import SESSION, trading_day

SHAPES = {
    "full": {},
    "flat": {"held": 0, "carried": 0},
    "shorts": {"sides": ("short",)},
    "carried only": {"trades": 0, "held": 0, "refused": 0},
    "dividends": {"carried": 2, "dividend": 0.2425},
    "split": {"carried": 2, "split": Fraction(3)},
    "reverse split": {"carried": 2, "split": Fraction(1, 7)},
    "split of a dividend": {"carried": 2, "split": Fraction(2, 7), "dividend": 0.2425},
    "nothing left of it": {"held": 0, "split": Fraction(1, 500)},
    "nothing": {"trades": 0, "held": 0, "carried": 0, "refused": 0},
}
CASH = "Cash: what there was, what the fills left of it, dividends, fractions of shares"
DIVIDENDS = "Dividends: what the shares carried were paid"
PROFIT = "Profit: realised, less fees, dividends, and what is held gained"


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def day(request):
    return trading_day(**request.param)


def test_a_right_ledger_adds_up(day):
    found = checks(day)
    paid = day.account["income"] > 0
    assert len(found) == 7 + paid + (day.carried.is_empty() and day.positions.is_empty())
    assert [check.what for check in found if not check.holds] == []


def test_the_curve_ends_where_the_ledger_does(day):
    curve = profit_by_tick(day)
    assert curve["tick_at"].to_list() == day.live_ticks["tick_at"].sort().to_list()
    assert curve["total"][-1] == pytest.approx(profit(day), abs=1e-6)
    assert curve["closed"][-1] == pytest.approx(day.trades["pnl"].sum(), abs=1e-6)


def test_profit_is_what_equity_gained(day):
    account = day.account
    assert profit(day) == pytest.approx(
        account["equity"] - account["cash_before"] - day.carried["market_value"].sum(), abs=1e-9
    )


def test_the_curve_is_that_of_every_tick_told_by_hand():
    day = trading_day(trades=2, held=1, carried=1, missing=(0, 0))
    curve = profit_by_tick(day)
    closes = {(row["instrument_id"], row["tick_at"]): row["close"] for row in day.minutes.iter_rows(named=True)}
    before = {row["instrument_id"]: row["quantity"] for row in day.carried.iter_rows(named=True)}
    for place in range(0, curve.height - 1, 13):
        at = curve["tick_at"][place]
        held, money = dict(before), 0.0
        for fill in day.fills.filter(pl.col("at") <= at).iter_rows(named=True):
            sign = 1 if fill["side"] == "buy" else -1
            held[fill["instrument_id"]] = held.get(fill["instrument_id"], 0) + sign * fill["quantity"]
            money -= sign * fill["quantity"] * fill["price"] + fill["fee"]
        worth = sum(shares * closes[id_, at] for id_, shares in held.items())
        assert curve["total"][place] == pytest.approx(money + worth - day.carried["market_value"].sum(), abs=1e-6)


def test_fills_between_two_ticks_count_at_the_next_and_after_the_last_at_the_last():
    day = trading_day(trades=1, held=0, carried=0)
    early = replace(day, fills=day.fills.with_columns(pl.col("at") - timedelta(seconds=20)))
    assert profit_by_tick(early)["total"].to_list() == profit_by_tick(day)["total"].to_list()
    late = replace(day, fills=day.fills.with_columns(at=pl.lit(day.hours[1] + timedelta(minutes=2))))
    curve = profit_by_tick(late)["total"]
    assert curve[:-1].to_list() == [0.0] * (curve.len() - 1)
    assert curve[-1] == pytest.approx(profit(day), abs=1e-6)


def test_a_name_without_a_bar_is_worth_what_it_was_or_cost():
    day = trading_day(trades=0, held=1, carried=1)
    blind = replace(day, minutes=day.minutes.clear())
    curve = profit_by_tick(blind)["total"]
    fills = day.fills.sort("at")
    # Two halves, the second two cents dearer: what was bought is worth the first price until the ledger says otherwise.
    second, cost = fills.row(1, named=True), fills["fee"].sum()
    sign = 1 if second["side"] == "buy" else -1
    assert curve[-2] == pytest.approx(-sign * 0.02 * second["quantity"] - cost, abs=1e-6)
    assert curve[-1] == pytest.approx(profit(day), abs=1e-6)


@pytest.mark.parametrize(
    ("column", "lines"),
    [
        ("cash", {CASH, "Equity: cash and positions"}),
        ("fees", {"Fees of all fills", PROFIT}),
        ("income", {DIVIDENDS, PROFIT}),
        ("market_value", {"Value of the positions, shares times last price", "Equity: cash and positions"}),
        ("realised", {PROFIT}),
    ],
)
def test_a_cent_too_much_is_found_and_named(column, lines):
    day = trading_day()
    wrong = replace(day, accounts=day.accounts.with_columns(pl.col(column) + 0.01))
    assert {check.what for check in checks(wrong) if not check.holds} == lines


def test_a_dividend_is_in_the_profit_from_the_first_tick_on():
    plain, paid = trading_day(), trading_day(dividend=0.25)
    assert paid.account["income"] == 30.0
    assert profit(paid) == pytest.approx(profit(plain) + 30.0, abs=1e-9)
    apart = profit_by_tick(paid)["total"] - profit_by_tick(plain)["total"]
    assert apart.to_list() == pytest.approx([30.0] * len(apart), abs=1e-6)


def test_a_split_is_no_profit_but_for_the_cent_that_its_fraction_was_rounded_by():
    """120 shares of 1 for 7 are 17 and a seventh of one."""
    plain, divided = trading_day(), trading_day(split=Fraction(1, 7))
    price = plain.carried["market_price"].item()
    [row] = overnight(divided).iter_rows(named=True)
    assert (row["quantity"], row["income"]) == (17, 0.0)
    assert row["market_price"] == pytest.approx(price)
    assert row["settled"] == pytest.approx(price / 7, abs=0.005) and row["settled"] == round(row["settled"], 2)
    assert equity_before(divided) == pytest.approx(equity_before(plain) - (120 - 120 / 7) * price)
    assert divided.positions.filter(pl.col("instrument_id") == row["instrument_id"])["quantity"].to_list() == [17]
    first = profit_by_tick(divided)["total"][0]
    seventeen = 17 * (divided.minutes.filter(pl.col("instrument_id") == row["instrument_id"])["close"][0] - price)
    assert first == pytest.approx(seventeen + row["settled"] - price / 7, abs=1e-6)


@pytest.mark.parametrize("split", [Fraction(3), Fraction(1, 7)])
def test_a_split_or_a_dividend_that_the_ledger_knows_nothing_of_is_found(split):
    told, untold = trading_day(split=split), trading_day(split=split).actions.clear()
    broken = {check.what for check in checks(replace(told, actions=untold)) if not check.holds}
    assert any(what.startswith("Shares") for what in broken)
    assert (CASH in broken) == (split < 1)
    paid = trading_day(dividend=0.2425)
    assert {check.what for check in checks(replace(paid, actions=untold)) if not check.holds} == {
        CASH, DIVIDENDS, "Equity the loop began with",
    }  # fmt: skip


def test_a_short_position_pays_dividends_and_the_fraction_of_its_split():
    day = trading_day(carried=1, dividend=0.25, split=Fraction(1, 7))
    short = day.carried.with_columns(pl.col("quantity", "market_value", "unrealised") * -1)
    long, owed = (overnight(each).row(0, named=True) for each in (day, replace(day, carried=short)))
    assert {name: -owed[name] for name in ("quantity", "settled", "income")} == {
        name: long[name] for name in ("quantity", "settled", "income")
    }
    assert owed["market_price"] == long["market_price"]


def test_actions_of_another_session_are_refused():
    day = trading_day(dividend=0.25)
    with pytest.raises(ValueError, match="actions are of 2025-09-16"):
        replace(day, actions=day.actions.with_columns(session=pl.lit(SESSION - timedelta(days=1))))


def test_a_missing_fill_and_a_share_too_many_are_found():
    day = trading_day()
    broken = {check.what for check in checks(replace(day, fills=day.fills.tail(-1))) if not check.holds}
    assert any(what.startswith("Shares") for what in broken) and any(what.startswith("Cash") for what in broken)
    more = replace(day, positions=day.positions.with_columns(pl.col("quantity") + 1))
    assert any(check.what.startswith("Shares") and check.found == 2 for check in checks(more) if not check.holds)


def test_equity_that_the_loop_did_not_begin_with_is_found():
    day = trading_day()
    other = replace(day, live_sessions=day.live_sessions.with_columns(pl.col("equity") - 1))
    assert [check.what for check in checks(other) if not check.holds] == ["Equity the loop began with"]


def test_a_session_that_is_not_accounted_for_has_a_profit_and_nothing_to_check():
    day = trading_day()
    running = replace(day, accounts=day.accounts.clear(), positions=day.positions.clear())
    assert checks(running) == []
    assert profit(running) == pytest.approx(profit(day), abs=1e-6)
    assert profit(replace(running, live_ticks=day.live_ticks.clear())) == 0.0
