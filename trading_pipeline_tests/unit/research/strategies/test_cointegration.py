"""Engle-Granger, Johansen, half-life and corrections, against published numbers and independent implementations."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from trading_pipeline.research.strategies.cointegration import (
    engle_granger,
    engle_granger_pairs,
    half_life,
    johansen,
    mackinnon_p,
    rejected,
)


def walks(seed: int, rows: int = 504, series: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.015, (rows, series)).cumsum(axis=0)


class TestPublishedNumbers:
    @pytest.mark.parametrize(
        ("trend", "regressors", "statistic"),
        [
            ("ct", [1], -5.615251442239),
            ("ct", [1, 2], -5.63591313706),
            ("ct", [2, 3], -2.892029275027),
            ("ct", [1, 2, 3], -5.626932544079),
            ("c", [1], -5.760696844656),
            ("c", [1, 2], -5.781087068772),
            ("c", [2, 3], -2.477444137366),
            ("c", [1, 2, 3], -5.778205811661),
        ],
    )
    def test_engle_granger_is_that_of_stata(self, trend, regressors, statistic):
        """Stata's `egranger`, as quoted by statsmodels 0.15, tsa/tests/test_stattools.py, test_coint."""
        random = np.random.RandomState(123)
        unit = random.randn(200).cumsum()
        y = random.randn(200, 4)
        y[:, :2] += unit[:, None]
        y = np.round(y + np.array([1, 0, 0.5, 0]), 4)
        found = engle_granger(y[:, 0], y[:, regressors], lags=4, trend=trend)
        assert found.statistic == pytest.approx(statistic, rel=1e-9)

    @pytest.mark.parametrize(
        ("trend", "dependent", "regressor", "statistic", "p_value"),
        [
            ("c", 0, 1, -2.734094, 0.18843),
            ("c", 1, 0, -2.245916, 0.39995),
            ("ct", 0, 1, -2.953992, 0.28820),
            ("ct", 1, 0, -2.118892, 0.72007),
        ],
    )
    def test_engle_granger_is_that_of_the_package_arch(self, trend, dependent, regressor, statistic, p_value):
        """arch, tests/unitroot/test_engle_granger.py, NULL_TEST_VALUES. Its p-values are of its own simulation for the
        finite sample, MacKinnon's surface of 1994 is another approximation: they differ by up to 0.01."""
        random = np.random.RandomState([392032, 302931, 20913210, 1023910])
        series = random.standard_normal((500, 3)).cumsum(0)
        # arch chooses no lag by AIC and BIC alike.
        found = engle_granger(series[:, dependent], series[:, [regressor]], lags=0, trend=trend)
        assert found.statistic == pytest.approx(statistic, rel=1e-5)
        assert found.p_value == pytest.approx(p_value, abs=0.012)

    def test_johansens_trace_is_that_of_the_spatial_econometrics_toolbox(self):
        """LeSage's Matlab toolbox, as quoted by statsmodels, vector_ar/tests/test_coint.py, TestCointJoh12; the data
        are in its wheel."""
        import statsmodels

        folder = Path(statsmodels.__file__).parent / "tsa" / "vector_ar" / "tests" / "Matlab_results"
        data = np.loadtxt(folder / "test_coint.csv")
        found = johansen(data, lags=2, trend_order=1)
        assert found.trace == pytest.approx(
            [
                241.985452556075,
                166.4781461662553,
                110.3298006342814,
                70.79801574443575,
                44.90887371527634,
                27.22385073668511,
                11.74205493173769,
                3.295435325623445,
            ],
            rel=1e-9,
        )
        assert found.critical[:2] == pytest.approx([175.1584, 139.278])
        assert found.rank == 3  # 70.8 is the first below its critical value, 79.3

    def test_it_is_statsmodels_own_statistic_and_p_value(self):
        from statsmodels.tsa.stattools import coint

        prices = walks(1)
        for trend in ("c", "ct"):
            for lags in (0, 1, 3):
                ours = engle_granger(prices[:, 0], prices[:, 1:3], lags, trend)
                theirs = coint(prices[:, 0], prices[:, 1:3], trend=trend, maxlag=lags, autolag=None)
                assert ours.statistic == pytest.approx(theirs[0], rel=1e-9)
                assert ours.p_value == pytest.approx(theirs[1], rel=1e-9)


class TestAllPairsAtOnce:
    @pytest.mark.parametrize("lags", [0, 1, 4])
    def test_every_pair_has_the_statistic_it_has_alone(self, lags):
        prices = 4 + walks(2, series=9) + np.arange(9)
        together = engle_granger_pairs(prices, lags)
        alone = np.array(
            [
                [engle_granger(prices[:, i], prices[:, [j]], lags).statistic if i != j else np.nan for j in range(9)]
                for i in range(9)
            ]
        )
        assert together == pytest.approx(alone, rel=1e-8, nan_ok=True)

    def test_nearly_the_same_series_keep_their_precision(self):
        random = np.random.default_rng(3)
        first = 5 + random.normal(0, 0.02, 504).cumsum()
        pair = np.column_stack([first, first + random.normal(0, 2e-3, 504)])
        together = engle_granger_pairs(pair, 1)
        assert together[0, 1] == pytest.approx(engle_granger(pair[:, 0], pair[:, 1:], 1).statistic, rel=1e-6)

    def test_the_same_series_twice_or_a_constant_cannot_be_tested(self):
        prices = walks(4, series=3)
        prices[:, 1], prices[:, 2] = 2 * prices[:, 0] + 1, 7.0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.isnan(engle_granger_pairs(prices, 1)).all()
        assert np.isnan(engle_granger(prices[:, 1], prices[:, [0]], 1).statistic)

    def test_walks_that_are_not_cointegrated_are_rejected_as_often_as_promised(self):
        """4,500 ordered pairs of independent walks; pairs that share a leg are dependent, hence the tolerance."""
        shares = []
        for seed in range(5):
            statistic = engle_granger_pairs(walks(100 + seed, 756, 30), 1)
            p_values = mackinnon_p(statistic[~np.eye(30, dtype=bool)], 2)
            shares.append((p_values < 0.05).mean())
        assert np.mean(shares) == pytest.approx(0.05, abs=0.025)


class TestHalfLife:
    @pytest.mark.parametrize("reversion", [0.5, 0.9, 0.97])
    def test_of_an_autoregression_without_noise(self, reversion):
        spread = reversion ** np.arange(400)
        # The mean of what has been seen is not yet 0, but the slope through it is the same.
        assert half_life(spread) == pytest.approx(np.log(0.5) / np.log(reversion), rel=1e-9)

    def test_of_a_noisy_one(self):
        noise = np.random.default_rng(1).normal(0, 1, 20_000)
        spread = np.zeros(20_000)
        for row in range(1, 20_000):
            spread[row] = 0.93 * spread[row - 1] + noise[row]
        assert half_life(spread) == pytest.approx(9.55, rel=0.1)

    def test_what_does_not_return_has_none(self):
        assert half_life(1.02 ** np.arange(100.0)) == float("inf")

    def test_what_overshoots_within_a_row_has_zero(self):
        assert half_life((-1.1) ** np.arange(20.0)) == 0.0


class TestCorrections:
    """By hand, of five tests at 5 %: thresholds k x 0.01 for Benjamini-Hochberg, divided by 1 + 1/2 + … + 1/5 = 2.2833
    for Benjamini-Yekutieli (0.00438, 0.00876, …), 0.01 for Bonferroni."""

    P_VALUES = np.array([0.03, 0.004, 0.5, 0.019, 0.009])

    @pytest.mark.parametrize(
        ("correction", "falls"),
        [
            ("none", [True, True, False, True, True]),
            ("benjamini_hochberg", [True, True, False, True, True]),
            ("benjamini_yekutieli", [False, True, False, False, False]),
            ("bonferroni", [False, True, False, False, True]),
        ],
    )
    def test_by_hand(self, correction, falls):
        assert rejected(self.P_VALUES, 0.05, correction).tolist() == falls

    def test_a_test_that_could_not_be_made_still_counts(self):
        assert rejected(np.array([0.02, np.nan]), 0.05, "bonferroni").tolist() == [True, False]
        assert rejected(np.array([0.02, np.nan, np.nan]), 0.05, "bonferroni").tolist() == [False, False, False]

    def test_of_nothing_nothing_falls(self):
        assert rejected(np.array([]), 0.05, "benjamini_yekutieli").tolist() == []
