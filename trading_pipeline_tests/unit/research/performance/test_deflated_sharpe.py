"""Deflated Sharpe ratios: the numbers of the papers, to the digits they print."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trading_pipeline.research.performance.deflated_sharpe import (
    deflated_sharpe,
    expected_maximum_sharpe,
    independent_trials,
    minimum_track_record,
    probabilistic_sharpe,
)
from trading_pipeline.research.performance.series import PerformanceError


@pytest.mark.parametrize(("trials", "threshold", "deflated"), [(100, 0.1132, 0.9004), (46, 0.1004, 0.9505)])
def test_the_numerical_example_of_bailey_and_lopez_de_prado(trials, threshold, deflated):
    """The deflated Sharpe ratio, 2014: 2.5 a year on 1,250 sessions of 250 a year, variance 1/2 a year."""
    sharpe, variance = 2.5 / math.sqrt(250), 0.5 / 250
    assert round(expected_maximum_sharpe(trials, variance), 4) == threshold
    assert round(deflated_sharpe(sharpe, 1250, -3, 10, trials, variance), 4) == deflated


@pytest.mark.parametrize(
    ("a_year", "skew", "kurtosis", "years"),
    [(252, 0, 3, 2.73), (52, 0, 3, 2.83), (12, 0, 3, 3.24), (12, -0.72, 5.78, 4.99)],
)
def test_the_minimum_track_record_for_2_a_year_to_be_above_1(a_year, skew, kurtosis, years):
    """The Sharpe ratio efficient frontier, 2012: years of daily, weekly and monthly returns."""
    root = math.sqrt(a_year)
    record = minimum_track_record(2 / root, skew, kurtosis, 1 / root)
    assert round(record / a_year, 2) == years


def test_the_minimum_track_record_is_where_the_probability_reaches_the_confidence():
    record = minimum_track_record(0.1, -1.0, 6.0, 0.02, confidence=0.9)
    assert probabilistic_sharpe(0.1, math.floor(record), -1.0, 6.0, 0.02) < 0.9
    assert probabilistic_sharpe(0.1, math.ceil(record), -1.0, 6.0, 0.02) >= 0.9
    assert minimum_track_record(0.02, 0, 3, 0.02) is None


def test_the_expected_maximum_is_that_of_simulated_trials():
    random = np.random.Generator(np.random.PCG64(3))
    for trials in (5, 50, 500):
        seen = 0.07 * random.standard_normal((4_000, trials)).max(axis=1).mean()
        assert expected_maximum_sharpe(trials, 0.07**2) == pytest.approx(seen, rel=0.03)


def test_one_trial_deflates_nothing_and_more_trials_more():
    assert expected_maximum_sharpe(1, 0.5) == 0
    assert deflated_sharpe(0.1, 500, 0, 3, 1) == probabilistic_sharpe(0.1, 500, 0, 3)
    deflated = [deflated_sharpe(0.1, 500, 0, 3, trials) for trials in (1, 1.5, 2, 10, 1_000, 10**6)]
    assert deflated == sorted(deflated, reverse=True)
    assert deflated[0] > 0.98
    assert deflated[-1] < 0.01


def test_luck_alone_is_found_out():
    """The best of 200 strategies without skill looks good by itself, and does not once all 200 are told."""
    random = np.random.Generator(np.random.PCG64(8))
    by_itself, deflated = [], []
    for _ in range(100):
        returns = 0.01 * random.standard_normal((200, 500))
        ratio = (returns.mean(axis=1) / returns.std(axis=1, ddof=1)).max()
        by_itself.append(probabilistic_sharpe(ratio, 500, 0, 3))
        deflated.append(deflated_sharpe(ratio, 500, 0, 3, 200))
    assert np.mean(np.array(by_itself) > 0.95) == 1
    assert np.mean(np.array(deflated) > 0.95) < 0.1


def test_negative_skew_and_fat_tails_make_a_sharpe_ratio_less_certain():
    normal = probabilistic_sharpe(0.1, 500, 0, 3)
    assert probabilistic_sharpe(0.1, 500, -2, 3) < normal
    assert probabilistic_sharpe(0.1, 500, 0, 12) < normal


def test_a_tiny_probability_is_not_rounded_away():
    assert 0 < probabilistic_sharpe(-0.4, 1_000, 0, 3) < 1e-30


def test_trials_that_are_alike_count_as_one_and_unrelated_ones_each():
    assert independent_trials(np.ones((40, 40))) == pytest.approx(1)
    assert independent_trials(np.eye(40)) == pytest.approx(40)
    assert independent_trials(np.eye(1)) == 1
    half = np.full((10, 10), 0.5) + 0.5 * np.eye(10)
    assert independent_trials(half) == pytest.approx(5.5), "0.5 + 0.5 x 10"


def test_trials_in_two_groups_that_are_alike():
    groups = np.kron(np.eye(2), np.ones((50, 50)))
    assert independent_trials(groups) == pytest.approx(51, abs=0.1)
    assert independent_trials(groups, "eigenvalues") == pytest.approx(2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: probabilistic_sharpe(0.1, 1, 0, 3), "2 returns or more"),
        (lambda: deflated_sharpe(0.1, 1, 0, 3, 5), "2 returns or more"),
        (lambda: probabilistic_sharpe(2.0, 100, 3, 0), "no distribution"),
        (lambda: expected_maximum_sharpe(0.5, 1), "1 or more"),
        (lambda: expected_maximum_sharpe(5, -1), "0 or more"),
        (lambda: minimum_track_record(1, 0, 3, confidence=0.4), "confidence"),
        (lambda: independent_trials(np.ones((2, 3))), "square"),
        (lambda: independent_trials(np.array([[1, np.nan], [np.nan, 1]])), "never vary"),
    ],
)
def test_what_cannot_be_judged_is_named(call, words):
    with pytest.raises(PerformanceError, match=words):
        call()
