"""Scores: what makes a total, what is not known, monotony, sensitivity, and nothing of other sessions in a row."""

from __future__ import annotations

import json
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from benchmarks.random_reference import random_reference
from trading_pipeline import tables
from trading_pipeline.research.indicators import indicators
from trading_pipeline.research.regime import market_regime
from trading_pipeline.research.screener import (
    COLUMNS,
    NEWS_LOOKBACK,
    VOLUME_LOOKBACK,
    dollar_volume,
    load_rules,
    screener_scores,
)

SESSION = date(2024, 5, 15)
COMPONENTS = {"fundamental": "fundamental", "technical": "technical", "relative_strength": "relative_strength",
              "sector": "sector_score", "catalyst": "catalyst"}  # fmt: skip
RULES = load_rules()


def test_the_columns_are_those_of_the_table():
    assert list(COLUMNS) == tables.SCREENER_SCORES.names


def test_the_total_is_the_weighted_mean_of_the_components(sound):
    row = sound.row()
    total = sum(row[f"weight_{name}"] * row[column] for name, column in COMPONENTS.items())
    assert row["total"] == pytest.approx(total) and row["confidence"] == 1
    assert row["relative_strength"] == 60
    assert row["rules_version"] == RULES.version


@pytest.mark.parametrize("environment", ["A", "B", "C", "D"])
def test_the_weights_are_those_of_the_environment(sound, environment):
    regime = pl.DataFrame({"session": [SESSION], "environment": [environment]})
    row = sound.but(regime=regime).row()
    weights = RULES.weights["stock"][environment]
    assert {name: row[f"weight_{name}"] for name in COMPONENTS} == weights.model_dump(exclude={"reason"})


@pytest.mark.parametrize(
    ("total", "grade", "verdict"),
    [(75.0, "A", "Strong Buy"), (74.99, "B", "Buy"), (62.0, "B", "Buy"), (61.99, "C", "Hold"), (50.0, "C", "Hold"),
     (49.99, "D", "Hold"), (45.0, "D", "Hold"), (44.99, "D", "Avoid"), (38.0, "D", "Avoid"), (37.99, "F", "Avoid")],
)  # fmt: skip
def test_grade_and_verdict_at_their_thresholds(sound, total, grade, verdict):
    """The thresholds are moved so that the row stands where the case says."""
    moved = sound.row()["total"] - total
    verdicts, grades = RULES.verdicts, RULES.grades
    rules = RULES.model_copy(
        update={
            "verdicts": verdicts.model_copy(
                update={name: getattr(verdicts, name) + moved for name in ("hold", "buy", "strong_buy")}
            ),
            "grades": grades.model_copy(update={name: getattr(grades, name) + moved for name in "abcd"}),
        }
    )
    row = sound.but(rules=rules).row()
    assert (row["grade"], row["verdict"]) == (grade, verdict)


class TestMissing:
    """What is not known takes no part: neither zero nor average."""

    def test_the_others_weigh_more_and_confidence_less(self, sound):
        whole, less = sound.row(), sound.but(pe_trailing=None).row()
        weight = next(rule.weight for rule in RULES.inputs if rule.name == "pe_trailing")
        assert less["confidence"] == pytest.approx(1 - whole["weight_fundamental"] * weight)
        assert less["fundamental"] != pytest.approx(whole["fundamental"] * (1 - weight), abs=1e-3), "not as zero"
        best, worst = (sound.but(pe_trailing=value).row()["fundamental"] for value in (5.0, 90.0))
        assert worst < less["fundamental"] < best

    @pytest.mark.parametrize(
        ("frame", "component"),
        [("fundamentals", "fundamental"), ("calendar", "catalyst"), ("news", "catalyst")],
    )
    def test_a_frame_that_is_empty_leaves_a_component_unknown_or_thin(self, sound, frame, component):
        whole = sound.row()
        row = sound.but(**{frame: getattr(sound, frame).clear()}).row()
        assert row["confidence"] < whole["confidence"]
        if frame == "fundamentals":
            assert row["fundamental"] is None and "Fundamental unknown" in row["reasons"]
            known = sum(row[f"weight_{name}"] for name, column in COMPONENTS.items() if row[column] is not None)
            total = sum(row[f"weight_{name}"] * (row[column] or 0) for name, column in COMPONENTS.items()) / known
            assert row["total"] == pytest.approx(total)

    def test_below_the_least_confidence_there_is_no_verdict(self, sound):
        nothing = dict.fromkeys(
            ("sma_50", "sma_200", "return_126", "rsi_14", "distance_from_high", "relative_strength_rank"), None
        )
        empty = {name: getattr(sound, name).clear() for name in ("fundamentals", "calendar", "news")}
        row = sound.but(**nothing, **empty).row()
        assert row["confidence"] < RULES.confidence.least
        assert (row["total"], row["grade"], row["verdict"]) == (None, None, "No verdict")
        assert row["sensitivity"] is None and row["points_to_next"] is None and row["next_verdict"] is None
        assert row["reasons"].startswith("No verdict: only ")

    def test_a_bad_snapshot_is_not_used(self, sound):
        row = sound.but(fundamentals_quality="bad", pe_trailing=1.0).row()
        assert row["fundamental"] is None and row["market_cap"] is None and row["size_bucket"] == "unknown"

    def test_no_news_while_others_have_some_is_quiet_and_no_news_at_all_is_unknown(self, sound, articles):
        quiet = sound.but(news=articles((SESSION, 0.2, "us:T01"))).row()
        assert quiet["confidence"] == 1
        assert sound.but(news=tables.NEWS.empty()).row()["confidence"] < 1

    def test_a_company_that_pays_nothing_is_not_judged_by_its_dividend(self, sound):
        payer, other = sound.row(), sound.but(dividend_yield=0.0, payout_ratio=0.0).row()
        assert other["confidence"] == 1
        assert other["fundamental"] != payer["fundamental"]
        assert sound.but(dividend_yield=None, payout_ratio=None).row()["confidence"] < 1

    @pytest.mark.parametrize(
        ("name", "basis"), [("pe_trailing", "eps_trailing"), ("pe_forward", "eps_forward"), ("ev_to_ebitda", "ebitda")]
    )
    def test_a_loss_is_the_dearest_multiple(self, sound, name, basis):
        dearest = sound.but(**{name: 1e6}).row()["fundamental"]
        assert sound.but(**{name: None, basis: -1.0}).row()["fundamental"] == pytest.approx(dearest)
        assert sound.but(**{name: -5.0, basis: -1.0}).row()["fundamental"] == pytest.approx(dearest)

    def test_not_a_number_is_not_known(self, sound):
        assert_frame_equal(
            sound.but(pe_trailing=float("nan"), rsi_14=float("inf")).scores(),
            sound.but(pe_trailing=None, rsi_14=None).scores(),
        )


# name, worst, best, and the step that is at least noticed
BETTER = {
    "pe_trailing": (60, 5), "pe_forward": (50, 5), "price_to_book": (15, 0.5), "price_to_sales": (12, 0.3),
    "ev_to_ebitda": (30, 4), "free_cash_flow_yield": (-0.05, 0.15), "return_on_equity": (-0.1, 0.4),
    "return_on_assets": (-0.1, 0.25), "operating_margin": (-0.1, 0.5), "debt_to_equity": (5, 0),
    "revenue_growth": (-0.3, 0.5), "earnings_growth": (-0.5, 0.8), "sma_200": (130, 70), "return_126": (-0.5, 0.6),
    "distance_from_high": (-0.6, 0), "relative_strength_rank": (1, 99), "last_surprise": (-0.4, 0.4),
    "beat_rate": (0, 1), "target_mean_price": (70, 160), "recommendation_mean": (4.5, 1),
}  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.fixed_dictionaries({name: st.floats(0, 1) for name in BETTER}),
    improved=st.sampled_from(sorted(BETTER)),
    by=st.floats(0.01, 1),
)
def test_a_better_figure_never_lowers_the_total(sound, start, improved, by):
    def value(name, share):
        worst, best = BETTER[name]
        level = worst + (best - worst) * min(share, 1.0)
        return round(level) if name == "relative_strength_rank" else level

    case = sound.but(**{name: value(name, share) for name, share in start.items()})
    better = case.but(**{improved: value(improved, start[improved] + by)})
    assert better.row()["total"] >= case.row()["total"] - 1e-9


@pytest.mark.parametrize("improved", sorted(BETTER))
def test_a_much_better_figure_raises_the_total(sound, improved):
    worst, best = BETTER[improved]
    assert sound.but(**{improved: best}).row()["total"] > sound.but(**{improved: worst}).row()["total"] + 0.3


OF_MEASURE = {
    "target_upside": ("target_mean_price", lambda value: 100 * (1 + value)),
    "macd_momentum": ("macd_histogram", lambda value: 100 * value),
}


class TestSensitivity:
    """What an input would have to be, alone, is proven by making it so."""

    # These stand for several columns or for others' figures; their curves are proven in test_curves.
    APART = frozenset(
        (
            "averages", "volume_thrust", "sector_return_63", "sector_breadth_50", "news_sentiment",
            "expected_reaction", "beat_rate", "relative_strength_rank", "trend_50", "trend_200",
        )
    )  # fmt: skip

    def near(self, sound, missing):
        """Rules whose Buy lies `missing` points above the stock's total."""
        total = sound.row()["total"]
        verdicts = RULES.verdicts.model_copy(update={"hold": 10.0, "buy": total + missing, "strong_buy": 99.0})
        return sound.but(rules=RULES.model_copy(update={"verdicts": verdicts}))

    @pytest.mark.parametrize(("missing", "least"), [(0.3, 8), (1.0, 4), (1.5, 1)])
    def test_each_input_alone_reaches_the_next_verdict_and_no_less_does(self, sound, missing, least):
        uneven = sound.but(pe_trailing=25.0, return_on_equity=0.08, rsi_14=72.0, payout_ratio=0.8)
        case = self.near(uneven, missing)
        row = case.row()
        assert (row["verdict"], row["next_verdict"]) == ("Hold", "Buy")
        assert row["points_to_next"] == pytest.approx(missing)
        needed = json.loads(row["sensitivity"])
        tried = 0
        for name, value in needed.items():
            if name in self.APART:
                continue
            column, convert = OF_MEASURE.get(name, (name, lambda v: v))
            now = case.row_input(column)
            reached = case.but(**{column: convert(value)}).row()
            assert reached["verdict"] == "Buy", (name, value)
            short = convert(value) - (convert(value) - now) * 0.01
            assert case.but(**{column: short}).row()["verdict"] == "Hold", (name, value, "less would do")
            tried += 1
        assert tried >= least

    def test_what_no_value_can_do_is_not_there(self, sound):
        case = self.near(sound, 8.0)
        needed = json.loads(case.row()["sensitivity"])
        assert "dividend_yield" not in needed
        best = max(case.but(dividend_yield=value).row()["total"] for value in (0.0, 0.02, 0.035, 0.05, 0.1))
        assert best < case.row()["total"] + 8

    def test_the_rank_that_is_needed(self, sound):
        case = self.near(sound, 3.0)
        rank = json.loads(case.row()["sensitivity"])["relative_strength_rank"]
        assert rank == pytest.approx(60 + 3.0 / 0.15, abs=1e-4)

    def test_a_gate_that_alone_holds_it_back_names_the_value_that_lets_it_through(self, sound):
        verdicts = RULES.verdicts.model_copy(update={"hold": 10.0, "buy": 20.0, "strong_buy": 99.0})
        case = sound.but(rules=RULES.model_copy(update={"verdicts": verdicts}), debt_to_equity=3.0)
        row = case.row()
        assert (row["verdict"], row["points_to_next"]) == ("Hold", 0)
        assert json.loads(row["sensitivity"]) == {"debt_to_equity": 2.5}
        assert case.but(debt_to_equity=2.5).row()["verdict"] == "Buy"
        both = case.but(current_ratio=0.1).row()
        assert json.loads(both["sensitivity"]) == {}, "one value alone does not help where two gates fail"


class TestPeers:
    def test_a_multiple_is_judged_against_the_sectors_others(self, sound):
        cheap_sector = sound.fundamentals.with_columns(
            pe_trailing=pl.when(pl.col("instrument_id") == "us:T00").then(18.0).otherwise(9.0)
        )
        dear_sector = cheap_sector.with_columns(
            pe_trailing=pl.when(pl.col("instrument_id") == "us:T00").then(18.0).otherwise(36.0)
        )
        cheap, dear = (sound.but(fundamentals=frame).row()["fundamental"] for frame in (cheap_sector, dear_sector))
        weight = next(rule.weight for rule in RULES.inputs if rule.name == "pe_trailing")
        assert dear - cheap == pytest.approx(weight * 0.5 * 100), "half of it, from twice to half the median"

    def test_too_few_peers_leave_the_curve_alone(self, sound):
        alone = sound.but(sector="Utilities")
        others = alone.but(fundamentals=alone.fundamentals.with_columns(
            pe_trailing=pl.when(pl.col("instrument_id") == "us:T00").then(18.0).otherwise(5.0)))  # fmt: skip
        assert others.row()["fundamental"] == alone.row()["fundamental"]

    def test_percentiles_count_from_0_to_100_and_equals_share(self, sound):
        ranks = sound.indicators.with_columns(relative_strength_rank=pl.int_range(10, 26, dtype=pl.Int32))
        scores = sound.but(indicators=ranks).scores()
        energy = scores.filter(sector="Energy").sort("total")
        assert energy["sector_percentile"].to_list() == pytest.approx([100 * k / 7 for k in range(8)])
        assert scores.sort("total")["size_percentile"].to_list() == pytest.approx([100 * k / 15 for k in range(16)])
        assert set(sound.scores()["sector_percentile"]) == {50.0}, "all alike"

    @pytest.mark.parametrize(
        ("cap", "bucket"),
        [(200e9, "mega"), (199e9, "large"), (10e9, "large"), (9.9e9, "mid"), (2e9, "mid"), (1.9e9, "small"),
         (None, "unknown")],
    )  # fmt: skip
    def test_size_buckets(self, sound, cap, bucket):
        row = sound.but(market_cap=cap).row()
        assert row["size_bucket"] == bucket
        assert row["size_percentile"] is None or bucket == "large"

    def test_the_sector_is_judged_without_the_stock_itself(self, sound):
        row = sound.row()
        assert sound.but(return_63=0.9).row()["sector_score"] == row["sector_score"]
        others = sound.indicators.with_columns(
            return_63=pl.when(pl.col("instrument_id").is_in(["us:T02", "us:T04", "us:T06"]))
            .then(0.3)
            .otherwise("return_63")
        )
        assert sound.but(indicators=others).row()["sector_score"] > row["sector_score"]


class TestMarketCap:
    """The snapshot is moved to the close, where the gap between the prices is no split."""

    @pytest.mark.parametrize(
        ("price", "cap"),
        [(100.0, 50e9), (80.0, 62.5e9), (100 / 1.5, 75e9), (66.0, 50e9), (150.0, 50e9 / 1.5), (400.0, 50e9)],
    )
    def test_at_the_close(self, sound, price, cap):
        assert sound.but(price=price).row()["market_cap"] == pytest.approx(cap)


class TestDcf:
    def by_hand(self, cash, growth, rate, terminal=0.025):
        value, factor = 0.0, 1.0
        for year in range(1, 11):
            faded = growth if year <= 5 else growth + (terminal - growth) * (year - 5) / 6
            cash, factor = cash * (1 + faded), factor / (1 + rate)
            value += cash * factor
        return value + cash * (1 + terminal) / (rate - terminal) * factor

    def test_against_the_sums_written_out(self, sound):
        row = sound.row()
        worth = self.by_hand(2e9, 0.07, 0.04 + 1.0 * 0.05)
        assert row["dcf_upside"] == pytest.approx(worth / 50e9 - 1)
        assert row["dcf_value"] == pytest.approx(100 * worth / 50e9)
        assert row["dcf_assumptions"] == (
            "growth 7.0 % for 5 years, fading over 5 to 2.5 % for ever; discounted at the cost of equity, 9.0 %"
        )

    def test_constant_growth_for_ever_is_gordons_formula(self, sound):
        row = sound.but(revenue_growth=0.025, earnings_growth=0.025).row()
        assert row["dcf_upside"] == pytest.approx(2e9 * 1.025 / (0.09 - 0.025) / 50e9 - 1)

    @pytest.mark.parametrize(
        "changes",
        [{"free_cash_flow": 0.0}, {"free_cash_flow": -1e9}, {"free_cash_flow": None}, {"market_cap": None},
         {"revenue_growth": None, "earnings_growth": None}, {"beta": None, "beta_252": None}, {"sector": "Financials"},
         {"asset_type": "etf"}],
    )  # fmt: skip
    def test_no_value_where_it_means_nothing(self, sound, changes):
        row = sound.but(**changes).row()
        assert (row["dcf_value"], row["dcf_upside"], row["dcf_assumptions"]) == (None, None, None)

    def test_growth_and_beta_stay_within_their_bounds(self, sound):
        fast = sound.but(revenue_growth=0.9, earnings_growth=0.9, beta_252=0.1).row()
        assert fast["dcf_upside"] == pytest.approx(self.by_hand(2e9, 0.15, 0.04 + 0.7 * 0.05) / 50e9 - 1)


FUND = {"asset_type": "etf", "expense_ratio": 0.001, "assets_under_management": 5e9, "nav_premium": -0.0005}


BOND = {"asset_type": "bond_etf", "expense_ratio": 0.001, "assets_under_management": 5e9, "fund_yield": 0.04,
        "duration": 6.0, "credit_share_investment_grade": 0.9}  # fmt: skip


class TestFunds:
    @pytest.mark.parametrize(("kind", "better", "worse"), [
        ("FUND", {"expense_ratio": 0.0003}, {"expense_ratio": 0.009}),
        ("FUND", {"assets_under_management": 40e9}, {"assets_under_management": 60e6}),
        ("FUND", {"nav_premium": 0.0001}, {"nav_premium": -0.008}),
        ("FUND", {"relative_strength_rank": 90}, {"relative_strength_rank": 10}),
        ("BOND", {"fund_yield": 0.055}, {"fund_yield": 0.01}),
        ("BOND", {"expense_ratio": 0.0003}, {"expense_ratio": 0.009}),
        ("BOND", {"credit_share_investment_grade": 1.0}, {"credit_share_investment_grade": 0.2}),
    ])  # fmt: skip
    def test_each_is_scored_by_its_own(self, sound, kind, better, worse):
        fund = {"FUND": FUND, "BOND": BOND}[kind]
        up, down = sound.but(**(fund | better)).row(), sound.but(**(fund | worse)).row()
        assert up["total"] > down["total"] and up["confidence"] == 1
        assert up["asset_type"] == fund["asset_type"] and up["weight_catalyst"] == up["weight_sector"] == 0
        assert up["sector_score"] is None and up["catalyst"] is None

    def test_long_bonds_are_for_bad_times(self, sound):
        def judged(environment, duration):
            regime = pl.DataFrame({"session": [SESSION], "environment": [environment]})
            return sound.but(**(BOND | {"duration": duration}), regime=regime).row()["fundamental"]

        assert judged("A", 2.0) > judged("A", 12.0)
        assert judged("D", 9.0) > judged("D", 2.0)

    def test_an_unknown_kind_is_scored_as_a_stock_and_a_fund_as_an_etf(self, sound):
        assert sound.but(fundamentals=tables.FUNDAMENTALS.empty()).row()["asset_type"] == "stock"
        assert sound.but(**(FUND | {"asset_type": "fund"})).row()["asset_type"] == "etf"


class TestNews:
    def catalyst(self, sound, *rows, articles):
        return sound.but(news=articles(*rows, (SESSION, 0.0, "us:T09"))).row()["catalyst"]

    def test_the_newer_and_the_more_relevant_count_more(self, sound, articles):
        days = [SESSION, SESSION - timedelta(days=8)]
        fresh = self.catalyst(sound, (days[0], 0.5), (days[1], -0.5), articles=articles)
        old = self.catalyst(sound, (days[0], -0.5), (days[1], 0.5), articles=articles)
        assert fresh > old
        about = self.catalyst(sound, (days[0], 0.5, "us:T00", 0.9), (days[0], -0.5, "us:T00", 0.1), articles=articles)
        aside = self.catalyst(sound, (days[0], 0.5, "us:T00", 0.1), (days[0], -0.5, "us:T00", 0.9), articles=articles)
        assert about > aside

    def test_articles_count_for_14_days_and_those_to_come_not_at_all(self, sound, articles):
        quiet = self.catalyst(sound, articles=articles)
        assert self.catalyst(sound, (SESSION - timedelta(days=13), -0.5), articles=articles) != quiet
        assert self.catalyst(sound, (SESSION - timedelta(days=14), -0.5), articles=articles) == quiet
        assert self.catalyst(sound, (SESSION + timedelta(days=1), -0.5), articles=articles) == quiet


class TestCatalysts:
    def test_a_surprise_is_forgotten_after_a_quarter(self, sound):
        def catalyst(days, surprise):
            return sound.but(last_report_date=SESSION - timedelta(days=days), last_surprise=surprise).row()["catalyst"]

        assert catalyst(95, 0.2) > catalyst(95, -0.2)
        assert catalyst(96, 0.2) == catalyst(96, -0.2)

    def test_a_report_counts_when_it_is_due_within_21_sessions(self, sound):
        def catalyst(ahead, move):
            return sound.but(sessions_to_report=ahead, average_move_after_beat=move).row()["catalyst"]

        assert catalyst(21, 0.05) > catalyst(21, -0.05)
        assert catalyst(22, 0.05) == catalyst(22, -0.05)

    def test_few_reports_and_few_analysts_say_nothing(self, sound):
        assert sound.but(reports=4).row()["confidence"] == 1 > sound.but(reports=3).row()["confidence"]
        assert sound.but(analysts=3).row()["confidence"] == 1 > sound.but(analysts=2).row()["confidence"]


def test_members_of_several_universes_have_one_row_and_others_none(sound):
    second = sound.members.filter(pl.col("instrument_id") == "us:T00").with_columns(universe=pl.lit("NARROW"))
    fewer = sound.members.filter(pl.col("instrument_id") != "us:T05")
    scores = sound.but(members=pl.concat([fewer, second])).scores()
    assert scores.height == 15 and "us:T05" not in scores["instrument_id"]
    assert scores["universes"].to_list() == ["NARROW,WIDE"] + ["WIDE"] * 14


def test_a_member_without_a_bar_has_no_row_and_no_members_no_rows(sound):
    bars = sound.indicators.filter(pl.col("instrument_id") != "us:T03")
    assert "us:T03" not in sound.but(indicators=bars).scores()["instrument_id"]
    assert sound.but(members=sound.members.clear()).scores().is_empty()
    assert sound.but(indicators=sound.indicators.clear()).scores().is_empty()


@pytest.mark.parametrize("frame", ["indicators", "fundamentals", "calendar", "liquidity"])
def test_two_rows_of_one_key_are_refused(sound, frame):
    twice = pl.concat([getattr(sound, frame), getattr(sound, frame)[:1]])
    with pytest.raises(ValueError, match="share a session and an instrument"):
        sound.but(**{frame: twice}).scores()


def test_the_sector_is_the_members_or_else_the_providers_under_its_usual_name(sound):
    told = sound.fundamentals.with_columns(sector=pl.lit("Financial Services"))
    assert sound.but(fundamentals=told).row()["sector"] == "Industrials"
    assert sound.but(fundamentals=told, sector=None).row()["sector"] == "Financials"


def test_the_reasons_are_sentences_with_the_numbers(sound):
    lines = sound.row()["reasons"].split("\n")
    assert lines[0].endswith("with 100 % of the inputs known.")
    assert "P/E 18.0." in lines[1] and "Return on equity 15.0 %." in lines[1] and "Debt 0.60 times equity." in lines[1]
    assert "Price +5.3 % to its 200-session average." in lines[2] and "RSI 55." in lines[2]
    assert "Stronger over the last year than about 60 % of members." in lines[3]
    assert "The rest of Industrials did +0.0 % in 63 sessions beyond all others." in lines[4]
    assert "Last earnings +4.0 % to what was expected." in lines[5]
    assert lines[-1].endswith(" points short of Strong Buy.")
    assert " below 1,000" in sound.but(pe_trailing=-3.0).row()["reasons"]


# --- over sessions -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def history(random_market):
    """60 judged sessions of a random market with holes, listings and delistings, and random reference data."""
    market = random_market(11, sessions=620, tickers=40)
    days = market.sessions[-60:]
    measured = indicators(market.bars, market.actions, market.members, "us:SPY", market.sessions[-80:])
    regime = market_regime(market.bars, market.actions, market.members, measured, "us:SPY", "us:^VIX", days)
    reference = random_reference(measured)
    return market, measured, regime, reference, dollar_volume(market.bars, days), days


def scored(history, days, until=None):
    """Each input cut to what the declared lookback says is needed."""
    market, measured, regime, reference, liquidity, _ = history
    first = market.sessions[market.sessions.index(days[0]) - NEWS_LOOKBACK]
    here = pl.col("session").is_between(days[0], until or days[-1])
    return screener_scores(
        market.members.filter(here), measured.filter(here), regime.filter(here),
        reference.fundamentals.filter(here), reference.earnings_calendar.filter(here),
        reference.news.filter(pl.col("session").is_between(first, until or days[-1])),
        RULES, days, liquidity=liquidity.filter(here),
    )  # fmt: skip


def test_one_call_over_a_range_equals_a_call_for_each_session(history):
    days = history[-1]
    whole = scored(history, days)
    assert whole.height > 1500 and whole["total"].is_not_null().mean() > 0.9
    assert whole["verdict"].n_unique() >= 4
    singly = pl.concat([scored(history, [day]) for day in days])
    assert_frame_equal(whole, singly, abs_tol=1e-9, rel_tol=0)
    assert whole.equals(whole.sort("session", "instrument_id"))


def test_blocks_make_no_difference(history, monkeypatch):
    from trading_pipeline.research.screener import scores

    days = history[-1]
    whole = scored(history, days)
    monkeypatch.setattr(scores, "BLOCK", 100)
    assert_frame_equal(whole, scored(history, days), abs_tol=1e-9, rel_tol=0)


def test_the_order_of_rows_makes_no_difference(history):
    market, measured, regime, reference, liquidity, days = history
    arguments = [market.members, measured, regime, reference.fundamentals, reference.earnings_calendar, reference.news]
    whole = screener_scores(*arguments, RULES, days, liquidity=liquidity)
    shuffled = [frame.sample(fraction=1.0, shuffle=True, seed=3) for frame in arguments]
    assert_frame_equal(whole, screener_scores(*shuffled, RULES, days, liquidity=liquidity), abs_tol=1e-9, rel_tol=0)


def test_nothing_after_a_session_changes_it(history):
    market, measured, regime, reference, liquidity, days = history
    cut = days[30]
    known = scored(history, days).filter(pl.col("session") <= cut)

    def mutated(frame):
        later = pl.col("session") > cut
        numbers = [name for name, kind in frame.schema.items() if kind.is_float()]
        return frame.with_columns(pl.when(later).then(pl.col(name) * 3 + 1).otherwise(name) for name in numbers)

    frames = [mutated(frame) for frame in (measured, regime, reference.fundamentals, reference.earnings_calendar)]
    changed = screener_scores(
        market.members, *frames, mutated(reference.news), RULES, days, liquidity=mutated(liquidity)
    )
    later = changed.filter(pl.col("session") > cut)
    assert not later.equals(scored(history, days).filter(pl.col("session") > cut)), "the change is felt later"
    assert_frame_equal(known, changed.filter(pl.col("session") <= cut), abs_tol=1e-9, rel_tol=0)


def test_dollar_volume_over_a_range_and_session_by_session(random_market):
    market = random_market(5, sessions=200, tickers=12)
    days = market.sessions[120:]
    whole = dollar_volume(market.bars, days)
    singly = []
    for day in days:
        first = market.sessions[market.sessions.index(day) - VOLUME_LOOKBACK]
        singly.append(dollar_volume(market.between(first, day).bars, [day]))
    assert_frame_equal(whole, pl.concat(singly), rel_tol=1e-12)
    one = whole.filter(pl.col("dollar_volume_20").is_not_null()).row(-1, named=True)
    own = market.bars.filter(
        (pl.col("instrument_id") == one["instrument_id"]) & (pl.col("session") <= one["session"])
    ).sort("session")
    assert one["dollar_volume_20"] == pytest.approx((own["close"] * own["volume"]).tail(20).mean())


def test_dollar_volume_is_unknown_with_fewer_than_20_bars(daily_bars):
    days = [date(2024, 1, 1) + timedelta(days=number) for number in range(20)]
    bars = daily_bars("us:A", [10.0] * 20, days)
    assert dollar_volume(bars[:19], days)["dollar_volume_20"].null_count() == 19
    assert dollar_volume(bars, days)["dollar_volume_20"].to_list()[-1] == 10_000.0
