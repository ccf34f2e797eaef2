"""Gates and flags: each with a value on either side of its limit, what is not known, what is not judged."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from trading_pipeline import tables
from trading_pipeline.research.screener import load_rules

SESSION = date(2024, 5, 15)


def line(row, gate):
    found = [line for line in row["gates"].split("\n") if line.startswith(f"{gate}: ")]
    return found[0].removeprefix(f"{gate}: ") if found else None


def listed(text):
    return [name for name in text.split(",") if name]


SIDES = [
    ("liquidity", {"dollar_volume_20": 5e6}, {"dollar_volume_20": 4.99e6}),
    ("history", {"history": 252}, {"history": 251}),
    ("data_quality", {"bar_quality": "good"}, {"bar_quality": "suspect"}),
    ("data_quality", {"fundamentals_quality": "suspect"}, {"fundamentals_quality": "bad"}),
    ("solvency_debt", {"debt_to_equity": 2.5}, {"debt_to_equity": 2.51}),
    ("solvency_debt", {"debt_to_equity": 0.0}, {"debt_to_equity": -0.5}),
    ("solvency_debt", {"sector": "Real Estate", "debt_to_equity": 4.0},
     {"sector": "Real Estate", "debt_to_equity": 4.1}),
    ("solvency_debt", {"sector": "Financials", "debt_to_equity": 10.0},
     {"sector": "Financials", "debt_to_equity": 10.1}),
    ("solvency_current", {"current_ratio": 0.7}, {"current_ratio": 0.69}),
    ("solvency_current", {"current_ratio": 0.5, "sector": "Utilities"}, {"current_ratio": 0.49, "sector": "Utilities"}),
    ("earnings_profit", {"profit_margin": 0.0}, {"profit_margin": -0.001}),
    ("earnings_profit", {"profit_margin": None}, {"profit_margin": None, "net_income": -1e6}),
    ("earnings_cash", {"operating_cash_flow": 1.1e9}, {"operating_cash_flow": 1.09e9}),
    ("fund_size", {"asset_type": "etf", "assets_under_management": 50e6},
     {"asset_type": "etf", "assets_under_management": 49e6}),
]  # fmt: skip


@pytest.mark.parametrize(("gate", "inside", "outside"), SIDES)
def test_each_gate_passes_at_its_limit_and_fails_beyond_it(sound, gate, inside, outside):
    passed, failed = sound.but(**inside).row(), sound.but(**outside).row()
    assert line(passed, gate).startswith("passed, ") and passed["gates_failed"] == "" and passed["gates_passed"]
    assert line(failed, gate).startswith("failed, ") and listed(failed["gates_failed"]) == [gate]
    assert not failed["gates_passed"]


def test_every_gate_has_been_tried_on_both_sides():
    assert {gate.name for gate in load_rules().gates} == {gate for gate, _, _ in SIDES}


def test_a_line_says_value_limit_and_by_how_much(sound):
    row = sound.but(debt_to_equity=5.2, profit_margin=-0.05, dollar_volume_20=1.25e6).row()
    assert line(row, "solvency_debt") == "failed, 5.20 against at most 2.5, by 108 %"
    assert line(row, "earnings_profit") == "failed, -5.0 % against at least 0 %, by 5.0 %"
    assert line(row, "liquidity") == "failed, 1.2 million against at least 5 million, by 75 %"
    assert line(row, "history") == "passed, 500 against at least 252, by 98 %"
    assert line(sound.but(debt_to_equity=-1.0).row(), "solvency_debt") == (
        "failed, no positive base against at most 2.5, beyond measure"
    )


@pytest.mark.parametrize(
    ("gate", "missing"),
    [
        ("liquidity", {"dollar_volume_20": None}),
        ("liquidity", {"liquidity": None}),
        ("solvency_debt", {"debt_to_equity": None}),
        ("solvency_current", {"current_ratio": None}),
        ("earnings_cash", {"operating_cash_flow": None}),
        ("solvency_debt", {"fundamentals": tables.FUNDAMENTALS.empty()}),
    ],
)
def test_what_is_not_known_is_unknown_and_not_failed(sound, gate, missing):
    row = sound.but(**missing).row()
    assert line(row, gate).startswith("unknown, no value against ")
    assert row["gates_passed"] and row["gates_failed"] == ""


@pytest.mark.parametrize(
    ("gate", "changes"),
    [
        ("solvency_current", {"sector": "Financials", "current_ratio": 0.1}),
        ("solvency_current", {"sector": "Real Estate", "current_ratio": 0.1}),
        ("earnings_cash", {"sector": "Financials", "operating_cash_flow": -1e9}),
        ("earnings_cash", {"net_income": -1e9, "operating_cash_flow": -2e9}),
        ("solvency_debt", {"asset_type": "etf", "debt_to_equity": 9.0}),
        ("fund_size", {"assets_under_management": 1.0}),
    ],
)
def test_a_gate_leaves_out_what_it_does_not_judge(sound, gate, changes):
    row = sound.but(**changes).row()
    assert line(row, gate) is None
    assert gate not in listed(row["gates_failed"])


GOOD = {
    "pe_trailing": 7.0, "pe_forward": 6.0, "price_to_book": 0.7, "price_to_sales": 0.4, "ev_to_ebitda": 4.0,
    "free_cash_flow_yield": 0.12, "return_on_equity": 0.35, "return_on_assets": 0.2, "operating_margin": 0.4,
    "debt_to_equity": 0.1, "revenue_growth": 0.35, "earnings_growth": 0.5, "sma_50": 90.0, "sma_200": 80.0,
    "return_126": 0.5, "rsi_14": 60.0, "distance_from_high": 0.0, "relative_strength_rank": 99, "last_surprise": 0.3,
    "target_mean_price": 140.0, "recommendation_mean": 1.3,
}  # fmt: skip


class TestCaps:
    """A failed gate, thin knowledge or a trap limits the verdict, whatever the points."""

    def test_all_good_is_a_strong_buy(self, sound):
        row = sound.but(**GOOD).row()
        assert (row["verdict"], row["grade"]) == ("Strong Buy", "A")
        assert row["next_verdict"] is None and row["points_to_next"] is None and row["sensitivity"] is None

    @pytest.mark.parametrize(
        ("gate", "changes", "verdict"),
        [
            ("liquidity", {"dollar_volume_20": 1e6}, "Avoid"),
            ("history", {"history": 100}, "Hold"),
            ("data_quality", {"bar_quality": "suspect"}, "Hold"),
            ("solvency_current", {"current_ratio": 0.2}, "Hold"),
            ("earnings_profit", {"profit_margin": -0.1}, "Hold"),
            ("earnings_cash", {"operating_cash_flow": 1e8}, "Hold"),
        ],
    )
    def test_a_failed_gate_holds_it_back(self, sound, gate, changes, verdict):
        row = sound.but(**GOOD, **changes).row()
        assert (row["verdict"], row["grade"]) == (verdict, "A"), "the points are as good as before"
        assert row["points_to_next"] == 0
        assert f" by: {gate}." in row["reasons"]

    def test_without_figures_it_is_not_bought(self, sound):
        row = sound.but(**GOOD, fundamentals=tables.FUNDAMENTALS.empty()).row()
        assert row["total"] > 75 and row["fundamental"] is None
        assert row["verdict"] == "Hold"
        assert "Held back from Buy by: unknown figures." in row["reasons"]

    @pytest.mark.parametrize(
        ("known", "verdict"), [(0.749, "Buy"), (0.751, "Strong Buy"), (0.599, "Hold"), (0.601, "Buy")]
    )
    def test_confidence_limits_it_at_its_bounds(self, sound, known, verdict):
        """The bounds are moved around the row's confidence, which stays what it is."""
        case = sound.but(**GOOD, news=tables.NEWS.empty())
        confidence = case.row()["confidence"]
        rules = case.rules.model_copy(
            update={
                "confidence": case.rules.confidence.model_copy(
                    update={"buy": confidence + 0.6 - known, "strong_buy": confidence + 0.75 - known}
                )
            }
        )
        assert case.but(rules=rules).row()["verdict"] == verdict

    def test_a_value_trap_is_held(self, sound):
        trap = {"payout_ratio": 1.1, "revenue_growth": -0.01, "earnings_growth": 0.4}
        row = sound.but(**(GOOD | trap)).row()
        assert row["total"] > 75 and row["verdict"] == "Hold"


FLAGS = [
    ("earnings_soon", {"next_report_date": SESSION + timedelta(days=7)},
     {"next_report_date": SESSION + timedelta(days=8)}),
    ("earnings_soon", {"next_report_date": SESSION}, {"next_report_date": SESSION - timedelta(days=1)}),
    ("ex_dividend_soon", {"next_ex_dividend_date": SESSION + timedelta(days=7)},
     {"next_ex_dividend_date": SESSION + timedelta(days=8)}),
    ("high_short_interest", {"short_share_of_float": 0.15}, {"short_share_of_float": 0.149}),
    ("over_extended", {"sma_50": 100 / 1.2}, {"sma_50": 100 / 1.19}),
    ("overbought", {"rsi_14": 80.0}, {"rsi_14": 79.9}),
    ("high_debt", {"debt_to_equity": 1.5}, {"debt_to_equity": 1.49}),
    ("high_debt", {"debt_to_equity": 6.0, "sector": "Financials"}, {"debt_to_equity": 5.9, "sector": "Financials"}),
    ("high_debt", {"debt_to_equity": -1.0}, {"debt_to_equity": None}),
    ("stale_fundamentals", {"age": 64}, {"age": 63}),
    ("suspect_fundamentals", {"fundamentals_quality": "suspect"}, {"fundamentals_quality": "good"}),
    ("suspect_bar", {"bar_quality": "suspect"}, {"bar_quality": "good"}),
]  # fmt: skip


@pytest.mark.parametrize(("flag", "raised", "not_raised"), FLAGS)
def test_each_flag_is_raised_at_its_limit_and_not_before(sound, flag, raised, not_raised):
    assert flag in listed(sound.but(**raised).row()["flags"])
    assert flag not in listed(sound.but(**not_raised).row()["flags"])


def test_a_sound_stock_has_no_flag(sound):
    assert sound.row()["flags"] == ""


def test_bad_news_is_flagged_at_its_limit(sound, articles):
    for tone, raised in ((-0.3, True), (-0.29, False)):
        row = sound.but(news=articles((SESSION, tone), (SESSION, 0.5, "us:T01"))).row()
        assert ("negative_news" in row["flags"]) == raised


def test_an_unknown_environment_is_flagged_and_has_weights_of_its_own(sound):
    row = sound.but(regime=sound.regime.clear()).row()
    assert row["environment"] is None and "unknown_environment" in row["flags"]
    assert row["weight_fundamental"] == load_rules().weights["stock"]["unknown"].fundamental


CHEAP = {"pe_trailing": 6.0, "pe_forward": 6.0, "price_to_book": 0.7, "price_to_sales": 0.4, "ev_to_ebitda": 4.0}


class TestValueTrap:
    """Cheap, and at least two signs that it deserves to be."""

    @pytest.mark.parametrize(
        "signs",
        [
            {"revenue_growth": -0.01, "earnings_growth": -0.01},
            {"revenue_growth": -0.01, "sma_200": 100 / 0.89},
            {"earnings_growth": -0.01, "relative_strength_rank": 20},
            {"payout_ratio": 1.01, "relative_strength_rank": 20},
        ],
    )
    def test_two_signs_make_one(self, sound, signs):
        assert "value_trap" in sound.but(**CHEAP, **signs).row()["flags"]
        for name, value in signs.items():
            assert "value_trap" not in sound.but(**CHEAP, **{name: value}).row()["flags"], "one is not enough"

    @pytest.mark.parametrize(
        "almost",
        [
            {"revenue_growth": 0.0},
            {"earnings_growth": 0.0},
            {"sma_200": 100 / 0.91},
            {"relative_strength_rank": 21},
            {"payout_ratio": 1.0},
        ],
    )
    def test_a_value_at_the_limit_is_no_sign(self, sound, almost):
        other = {"revenue_growth": -0.01} | almost
        if "revenue_growth" in almost:
            other["earnings_growth"] = -0.01
        assert "value_trap" not in sound.but(**CHEAP, **other).row()["flags"]

    def test_what_is_dear_is_none(self, sound):
        dear = {"pe_trailing": 40.0, "pe_forward": 30.0, "price_to_book": 9.0, "revenue_growth": -0.1}
        assert "value_trap" not in sound.but(**dear, earnings_growth=-0.1).row()["flags"]
