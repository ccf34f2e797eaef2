"""Covariances: the usual ones without holes, and holes that are never a return of 0."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.research.allocation.covariance import STALE_RUN, ledoit_wolf, moving, pairwise, without_stale


def market(seed, sessions=300, names=8):
    random = np.random.Generator(np.random.PCG64(seed))
    scale = random.uniform(0.5, 2, names)
    return (0.01 * random.standard_normal((sessions, 1)) + 0.01 * random.standard_normal((sessions, names))) * scale


def with_holes(returns, share, seed=0):
    holes = np.random.Generator(np.random.PCG64(seed)).random(returns.shape) < share
    return np.where(holes, np.nan, returns)


def test_without_holes_it_is_the_sample_covariance():
    returns = market(1)
    told = pairwise(returns)
    assert told.covariance == pytest.approx(np.cov(returns.T), rel=1e-12)
    assert told.mean == pytest.approx(returns.mean(axis=0))
    assert (told.common == 300).all()


def test_with_holes_each_pair_is_told_by_the_sessions_it_shares():
    import pandas as pd

    returns = with_holes(market(2), 0.1)
    told = pairwise(returns)
    frame = pd.DataFrame(returns)
    assert np.sqrt(np.diagonal(told.covariance)) == pytest.approx(frame.std().to_numpy(), rel=1e-12)
    deviation = np.sqrt(np.diagonal(told.covariance))
    assert told.covariance / np.outer(deviation, deviation) == pytest.approx(frame.corr().to_numpy(), rel=1e-10)


def test_a_hole_filled_with_0_would_make_a_name_calmer_and_more_diversified():
    returns = market(3)
    halted = returns.copy()
    halted[::3, 0] = np.nan
    true, told, filled = (pairwise(each).covariance for each in (returns, halted, np.nan_to_num(halted)))
    assert told[0, 0] == pytest.approx(true[0, 0], rel=0.1)
    assert filled[0, 0] < 0.75 * true[0, 0]
    assert told[0, 1] == pytest.approx(true[0, 1], rel=0.2)
    assert filled[0, 1] < 0.75 * true[0, 1]


def test_what_no_portfolio_could_have_is_made_possible():
    """Three names, each pair told by other sessions: alike, alike, and opposite."""
    a, nan = 0.01 * np.array([1.0, -1.0, 2.0, -2.0, 1.5, -1.5]), np.full(6, np.nan)
    returns = np.concatenate(
        [np.column_stack([a, a, nan]), np.column_stack([nan, a, a]), np.column_stack([a, nan, -a])]
    )
    told = pairwise(returns).covariance
    assert np.linalg.eigvalsh(told)[0] >= -1e-18
    assert np.diagonal(told) == pytest.approx(np.nanvar(returns, axis=0, ddof=1))
    assert told[0, 2] < 0 < told[0, 1]


def test_names_that_share_no_session_have_the_mean_correlation():
    returns = market(4, names=4)
    returns[:150, 0] = np.nan
    returns[150:, 1] = np.nan
    told = pairwise(returns).covariance
    correlation = told / np.sqrt(np.outer(np.diagonal(told), np.diagonal(told)))
    others = [correlation[i, j] for i in range(4) for j in range(i) if (i, j) != (1, 0)]
    assert correlation[1, 0] == pytest.approx(np.mean(others))


def test_shrinkage_is_that_of_scikit_learn_on_returns_in_units_of_their_deviation():
    from sklearn.covariance import LedoitWolf

    for sessions, names in ((300, 8), (40, 60), (252, 1)):
        returns = market(5, sessions, names)
        deviation = returns.std(axis=0)
        theirs = LedoitWolf().fit(returns / deviation).covariance_ * np.outer(deviation, deviation)
        assert ledoit_wolf(returns).covariance == pytest.approx(theirs, rel=1e-9, abs=1e-15)


def test_shrinkage_leaves_variances_alone_whatever_another_name_does():
    returns = market(5)
    returns[17, 3] = 40.0
    told = ledoit_wolf(returns).covariance
    assert np.diagonal(told) == pytest.approx(returns.var(axis=0))


def test_shrinkage_with_holes_is_near_that_without_and_well_conditioned():
    returns = market(6, 252, 60)
    whole, holes = ledoit_wolf(returns).covariance, ledoit_wolf(with_holes(returns, 0.02)).covariance
    assert np.linalg.norm(whole - holes) < 0.1 * np.linalg.norm(whole)
    assert np.linalg.eigvalsh(holes)[0] > 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.01, float("nan")]), max_size=40))
def test_runs_of_a_repeated_price_are_holes(column):
    told = without_stale(np.array([column, column]).T.reshape(len(column), 2))[:, 0].tolist()
    expected, row = list(column), 0
    while row < len(column):
        end = row
        while end < len(column) and column[end] == 0:
            end += 1
        if end - row >= STALE_RUN:
            expected[row:end] = [float("nan")] * (end - row)
        row = max(end, row + 1)
    assert str(told) == str(expected)


def test_whose_risk_can_be_told():
    returns = market(7, 100, 6)
    returns[:, 0] = 0.0007
    returns[:51, 1] = np.nan
    returns[:50, 2] = np.nan
    returns[:, 3] = np.nan
    assert moving(returns).tolist() == [False, False, True, False, True, True]
    assert moving(returns[:2]).tolist() == [False] * 6
    assert moving(returns[:0]).tolist() == [False] * 6
