"""The quality rules of a snapshot, each on the row it is made for and on its neighbours."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from trading_pipeline.research.fundamentals import RULES, judge

DAY, A = date(2024, 5, 6), "us:A"
BAR = pl.DataFrame(
    {"session": [DAY], "instrument_id": [A], "close": [100.0], "high_252": [120.0], "low_252": [80.0]},
    schema_overrides={"session": pl.Date},
)
SOUND = {
    "price": 100.0,
    "market_cap": 1e9,
    "shares_outstanding": 1e7,
    "enterprise_value": 1.2e9,
    "pe_trailing": 20.0,
    "price_to_book": 3.0,
    "price_to_sales": 2.0,
    "eps_trailing": 5.0,
    "revenue": 5e8,
    "profit_margin": 0.1,
    "dividend_yield": 0.02,
    "free_cash_flow_yield": 0.04,
    "analysts": 12,
    "high_52_weeks": 121.0,
    "low_52_weeks": 79.0,
}


@pytest.fixture
def verdict(received, snapshot):
    def of(bars=BAR, **facts):
        return judge(received(snapshot(A, DAY, **{**SOUND, **facts})), bars).row(0, named=True)

    return of


def test_a_sound_row_is_good_and_keeps_everything(verdict):
    row = verdict()
    assert (row["data_quality"], row["rules"]) == ("good", "")
    assert {name: row[name] for name in SOUND} == SOUND


@pytest.mark.parametrize(
    ("facts", "rule", "gone", "kept"),
    [
        ({"price": 10_000.0}, "price_unit", ["price", "pe_trailing", "market_cap"], ["profit_margin", "revenue"]),
        ({"price": 0.9}, "price_unit", ["price"], ["revenue"]),
        ({"price": 200.0, "shares_outstanding": 5e6}, "price_mismatch", ["pe_trailing", "eps_trailing"], ["revenue"]),
        ({"price": 66.0}, "price_mismatch", ["price", "price_to_book"], ["analysts"]),
        ({"price": 112.0}, "price_apart", [], ["price", "pe_trailing"]),
        ({"high_52_weeks": 79.0, "low_52_weeks": 121.0}, "range_swapped", ["high_52_weeks", "low_52_weeks"], ["price"]),
        ({"high_52_weeks": 97.0}, "range_stale", ["high_52_weeks", "low_52_weeks"], ["price", "pe_trailing"]),
        ({"low_52_weeks": 103.0}, "range_stale", ["low_52_weeks"], ["price"]),
        ({"high_52_weeks": 150.0}, "range_stale", ["high_52_weeks"], ["price"]),
        ({"shares_outstanding": -1e7}, "impossible_value", ["shares_outstanding"], ["market_cap", "price"]),
        ({"market_cap": -1.0}, "impossible_value", ["market_cap"], ["shares_outstanding"]),
        ({"price_to_sales": 0.0}, "impossible_value", ["price_to_sales"], ["price_to_book"]),
        ({"dividend_yield": 2.0}, "impossible_value", ["dividend_yield"], ["pe_trailing"]),
        ({"analysts": -3}, "impossible_value", ["analysts"], ["price"]),
        ({"shares_outstanding": 1.3e7}, "cap_mismatch", ["market_cap", "shares_outstanding"], ["pe_trailing"]),
        ({"market_cap": 1e12}, "cap_mismatch", ["market_cap", "free_cash_flow_yield"], ["price"]),
        (
            {"financial_currency": "EUR"},
            "currency_mismatch",
            ["price_to_book", "pe_trailing", "revenue", "enterprise_value"],
            ["profit_margin", "dividend_yield", "market_cap", "price"],
        ),
    ],
)
def test_a_rule_condemns_what_is_wrong_and_nothing_else(verdict, facts, rule, gone, kept):
    row = verdict(**facts)
    assert row["rules"] == rule
    assert row["data_quality"] == RULES[rule].severity
    assert all(row[name] is None for name in gone)
    assert {name: row[name] for name in kept} == {name: {**SOUND, **facts}[name] for name in kept}


@pytest.mark.parametrize(
    "facts",
    [
        {"price": 109.0},
        {"price": 122.0, "high_52_weeks": 120.0, "close": 121.0},
        {"high_52_weeks": 137.0},
        {"shares_outstanding": 4e6},
        {"shares_outstanding": 1.2e7},
        {"pe_trailing": -12.0, "price_to_book": -4.0},
        {"financial_currency": "USD"},
        {"price": None},
        {"high_52_weeks": None, "low_52_weeks": None},
    ],
    ids=str,
)
def test_what_happens_to_honest_rows_breaks_no_rule(verdict, facts):
    close = facts.pop("close", 100.0)
    assert verdict(BAR.with_columns(close=pl.lit(close)), **facts)["rules"] == ""


def test_without_a_bar_on_the_session_only_the_row_itself_is_judged(verdict):
    assert verdict(BAR.clear(), price=10_000.0, shares_outstanding=1e5, high_52_weeks=1e5)["rules"] == ""
    assert verdict(BAR.clear(), price=150.0, shares_outstanding=6e6)["rules"] == "range_stale"


def test_rules_are_named_in_the_order_of_the_table_and_the_gravest_decides(verdict):
    row = verdict(price=200.0, high_52_weeks=79.0, low_52_weeks=121.0, dividend_yield=9.0)
    assert row["rules"] == "price_mismatch,range_swapped,impossible_value"
    assert row["data_quality"] == "bad"


def test_every_rule_says_how_grave_it_is_and_why():
    for name, rule in RULES.items():
        assert rule.name == name and rule.severity in ("suspect", "bad")
        assert len(rule.reason) > 30 and len(rule.description) > 30
