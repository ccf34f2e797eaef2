"""Pairs: which are chosen, that the correction counts every test, and how both legs are traded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trading_pipeline.research.strategies.base import checked_signals, strategy
from trading_pipeline.research.strategies.pairs import Choice, ChosenPair, Pairs

ROWS = 700
ASKED = {"training": 252, "choose_months": 3, "least_correlation": 0.2}


def autoregression(random: np.random.Generator, reversion: float, size: float, rows: int = ROWS) -> np.ndarray:
    spread = np.zeros(rows)
    for row in range(1, rows):
        spread[row] = reversion * spread[row - 1] + random.normal(0, size)
    return spread


@pytest.fixture(scope="module")
def market(panel_of):
    """Ten names of two sectors; 1 follows 0 with a hedge ratio of 0.8 and a half-life of 1.9 sessions, and so does 7,
    of the other sector. All share a market; the others wander."""
    random = np.random.default_rng(11)
    level = np.cumsum(random.normal(0, 0.012, (ROWS, 1)) + random.normal(0, 0.012, (ROWS, 10)), axis=0)
    level[:, 1] = 0.8 * level[:, 0] + autoregression(random, 0.7, 0.01)
    level[:, 7] = 0.8 * level[:, 0] + autoregression(random, 0.7, 0.01)
    sector = np.broadcast_to(np.arange(10) // 5, (ROWS, 10))
    return panel_of(40 * np.exp(level), sector=sector)


def pairs_of(choice: Choice) -> list[set[int]]:
    return [{pair.dependent, pair.regressor} for pair in choice.pairs]


class TestChoice:
    def test_the_pair_is_found_within_its_sector_only(self, market):
        choices = strategy("pairs", ASKED).choices(market)
        assert len(choices) >= 5
        assert all(pairs_of(choice) == [{0, 1}] for choice in choices)

    def test_its_hedge_ratio_and_half_life_are_those_planted(self, market):
        for choice in strategy("pairs", ASKED).choices(market):
            (pair,) = choice.pairs
            hedge = pair.hedge_ratio if pair.dependent == 1 else 1 / pair.hedge_ratio
            assert hedge == pytest.approx(0.8, abs=0.08)
            assert pair.half_life == pytest.approx(1.94, abs=0.8)

    def test_every_correlated_pair_of_a_sector_is_a_test_and_nothing_else(self, market):
        for bound in (-1.0, 0.2, 0.6):
            for choice in strategy("pairs", ASKED | {"least_correlation": bound}).choices(market)[:2]:
                window = np.log(market.close[choice.row - 251 : choice.row + 1])
                correlation = np.corrcoef(np.diff(window, axis=0), rowvar=False)
                sector = market.measures["sector"][0]
                expected = sum(
                    sector[i] == sector[j] and correlation[i, j] >= bound for i in range(10) for j in range(i)
                )
                assert choice.tests == expected
                assert choice.eligible == 10

    def test_the_better_direction_counts_twice(self, market):
        from statsmodels.tsa.stattools import coint

        choice = strategy("pairs", ASKED).choices(market)[0]
        (pair,) = choice.pairs
        legs = np.log(market.close[choice.row - 251 : choice.row + 1, [pair.dependent, pair.regressor]])
        forward = coint(legs[:, 0], legs[:, 1], maxlag=1, autolag=None)
        backward = coint(legs[:, 1], legs[:, 0], maxlag=1, autolag=None)
        assert pair.statistic == pytest.approx(min(forward[0], backward[0]), rel=1e-7)
        assert pair.p_value == pytest.approx(2 * min(forward[1], backward[1]), rel=1e-5)

    def test_of_walks_alone_next_to_nothing_is_discovered_with_the_correction_and_much_without(self, panel_of):
        found = dict.fromkeys(("none", "benjamini_yekutieli"), 0)
        tests = 0
        for seed in range(6):
            random = np.random.default_rng(seed)
            close = 40 * np.exp(np.cumsum(random.normal(0, 0.015, (ROWS, 24)), axis=0))
            panel = panel_of(close, sector=np.zeros((ROWS, 24)))
            for correction in found:
                asked = {"training": 252, "choose_months": 6, "least_correlation": -1.0, "correction": correction}
                choices = strategy("pairs", asked).choices(panel)
                found[correction] += sum(choice.discoveries for choice in choices)
            tests += sum(choice.tests for choice in choices)
        assert tests == 6 * len(choices) * 276
        assert 0.02 < found["none"] / tests < 0.15
        assert found["benjamini_yekutieli"] <= 2

    def test_a_leg_is_in_one_pair_only(self, panel_of):
        random = np.random.default_rng(2)
        leader = np.cumsum(random.normal(0, 0.015, ROWS))
        level = np.column_stack([leader + autoregression(random, 0.7, 0.01) for _ in range(5)])
        panel = panel_of(40 * np.exp(level), sector=np.zeros((ROWS, 5)))
        choice = strategy("pairs", ASKED).choices(panel)[0]
        assert choice.discoveries == choice.tests == 10
        legs = [leg for pair in choice.pairs for leg in (pair.dependent, pair.regressor)]
        assert len(legs) == len(set(legs)) == 4
        assert strategy("pairs", ASKED | {"most_pairs": 1}).choices(panel)[0].pairs == choice.pairs[:1]

    @pytest.mark.parametrize(
        "bound", [{"most_hedge": 0.5}, {"most_half_life": 1.0}, {"level": 1e-9}, {"least_correlation": 0.99}]
    )
    def test_bounds_refuse_it(self, market, bound):
        assert not any(choice.pairs for choice in strategy("pairs", ASKED | bound).choices(market))

    def test_who_hardly_trades_or_has_no_sector_is_not_eligible(self, market):
        thin = market.close.copy()
        thin[::15, 0] = np.nan
        choices = strategy("pairs", ASKED).choices(replace(market, close=thin))
        assert {choice.eligible for choice in choices} == {9}
        lost = market.measures["sector"].copy()
        lost[:, 1] = np.nan
        choices = strategy("pairs", ASKED).choices(replace(market, measures={"sector": lost}))
        assert {choice.eligible for choice in choices} == {9} and not any(choice.pairs for choice in choices)

    def test_the_report_names_pairs_and_how_many_were_tested(self, market):
        using = strategy("pairs", ASKED)
        report = using.chosen(market)
        assert report.height == len(using.choices(market))
        assert set(report["dependent"]) | set(report["regressor"]) == {"us:T000", "us:T001"}
        assert report["tests"].min() >= report["discoveries"].min() >= 1
        assert (report["trace"] > 15.49).all()  # Johansen's 95 % value of two series and a constant


class TestTrading:
    """The choice is given, so that the spread can be drawn: log price of 0 = 0.5 x log price of 1 + spread, scale 1 %.

    Rows 400 and 450 choose the pair, 500 does not. z is 0 but where a test says otherwise.
    """

    PAIR = ChosenPair(0, 1, 0.5, 0.0, 0.01, 5.0, -6.0, 1e-6, 40.0)
    ASKED = {"training": 252, "choose_months": 1, "entry": 2.0, "exit": 0.5, "stop": 4.0}  # noqa: RUF012

    @pytest.fixture
    def signals_of(self, panel_of, monkeypatch):
        def make(score: dict[int, float], chosen=((400, True), (450, True), (500, False)), change=None):
            z = np.zeros(560)
            for row, value in score.items():
                z[row:] = value
            walk = np.cumsum(np.random.default_rng(1).normal(0, 0.01, 560))
            close = np.exp(np.column_stack([0.5 * walk + 0.01 * z, walk, walk]))
            panel = panel_of(close, sector=np.zeros(close.shape))
            if change is not None:
                panel = change(panel)
            choices = [Choice(row, 3, 3, 1, [self.PAIR] if there else []) for row, there in chosen]
            monkeypatch.setattr(Pairs, "choices", lambda self, panel: choices)
            monkeypatch.setattr(Pairs, "warm_up", 0)
            return checked_signals(strategy("pairs", self.ASKED), panel)

        return make

    @staticmethod
    def rows(mask: np.ndarray, column: int) -> list[int]:
        return np.flatnonzero(mask[:, column]).tolist()

    def test_a_cheap_spread_buys_the_dependent_and_sells_the_regressor(self, signals_of):
        signals = signals_of({410: -2.5, 420: -1.0, 425: -0.4})
        assert self.rows(signals.entries, 0) == self.rows(signals.short_entries, 1) == [410]
        assert not signals.short_entries[:, 0].any() and not signals.entries[:, 1].any()
        assert signals.weight[410].tolist() == [1.0, 0.5, 1.0]
        assert signals.confidence[410, :2] == pytest.approx(2.5 / 4)
        for leaves, column in ((signals.exits, 0), (signals.short_exits, 1)):
            assert not leaves[410:425, column].any() and leaves[425:450, column].all()

    def test_a_dear_spread_is_the_other_way_round(self, signals_of):
        signals = signals_of({410: 2.5, 425: 0.4})
        assert self.rows(signals.short_entries, 0) == self.rows(signals.entries, 1) == [410]
        for leaves, column in ((signals.short_exits, 0), (signals.exits, 1)):
            assert not leaves[410:425, column].any() and leaves[425:450, column].all()

    def test_beyond_the_stop_it_is_left_and_not_entered_again_before_it_was_back(self, signals_of):
        signals = signals_of({410: -2.5, 415: -4.1, 418: -3.0, 425: 0.0, 430: -2.5})
        assert self.rows(signals.entries, 0) == [410, 430]
        assert self.rows(signals.exits[400:450], 0) == [*range(10), 15, 16, 17, *range(25, 30)]

    def test_a_pair_that_is_still_chosen_is_held_and_one_that_is_not_is_left(self, signals_of):
        signals = signals_of({440: -2.5})
        assert self.rows(signals.entries, 0) == [440]
        assert not signals.exits[440:500, 0].any() and signals.exits[500:, 0].all()
        assert not signals.short_exits[440:500, 1].any() and signals.short_exits[500:, 1].all()

    def test_a_stop_is_remembered_beyond_the_next_choice(self, signals_of):
        signals = signals_of({440: -2.5, 445: -4.1, 448: -3.0, 460: 0.0, 470: -2.5})
        assert self.rows(signals.entries, 0) == [440, 470]

    def test_a_new_pair_is_entered_from_the_next_session_on(self, signals_of):
        signals = signals_of({390: -2.5})
        assert self.rows(signals.entries, 0) == [401]
        assert signals.exits[400, 0]

    def test_a_leg_without_a_bar_opens_nothing_and_a_leg_that_is_gone_closes_the_other(self, signals_of):
        def halted(panel):
            close = panel.close.copy()
            close[410:412, 1] = np.nan
            close[430:, 1] = np.nan
            return replace(panel, close=close)

        signals = signals_of({410: -2.5}, change=halted)
        assert self.rows(signals.entries, 0) == self.rows(signals.short_entries, 1) == [412]
        # The last bar of the other leg is of 429; it is gone when five sessions have passed without one.
        assert not signals.exits[412:435, 0].any() and signals.exits[435:, 0].all()

    def test_both_legs_must_be_members(self, signals_of):
        def expelled(panel):
            member = panel.member.copy()
            member[:415, 1] = False
            return replace(panel, member=member)

        signals = signals_of({410: -2.5}, change=expelled)
        assert self.rows(signals.entries, 0) == self.rows(signals.short_entries, 1) == [415]
