"""Weights by method: sums, limits, names rather than columns, holes, and inputs that are hardly any."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.research.allocation.limits import AllocationError, turnover
from trading_pipeline.research.allocation.weights import METHODS, weights

BY_RISK = [method for method in METHODS if method != "equal_weight"]
FAST = ["equal_weight", "inverse_volatility", "hierarchical_risk_parity"]
SOLVED = ["minimum_variance", "mean_variance"]


def market(seed, sessions=252, names=8):
    random = np.random.Generator(np.random.PCG64(seed))
    scale = random.uniform(0.5, 2, names)
    drift = random.uniform(-0.0005, 0.0015, names)
    shocks = 0.008 * random.standard_normal((sessions, 1)) + 0.01 * random.standard_normal((sessions, names))
    return drift + shocks * scale


def _holds_within_limits(method, seed, names, gross, largest, smallest, tolerance):
    returns = market(seed, 120, names)
    returns[np.random.Generator(np.random.PCG64(seed)).random(returns.shape) < 0.02] = np.nan
    limits = {"gross": gross, "maximum_position": largest, "minimum_position": smallest}
    told = weights(method, returns, **limits)
    held = told > 0
    assert told.sum() == pytest.approx(min(gross, held.sum() * largest))
    assert (told >= 0).all()
    assert (told <= largest).all()
    assert (told[held] >= smallest * (1 - 1e-9)).all()
    assert told.tobytes() == weights(method, returns, **limits).tobytes(), "the same, bit for bit"
    moved = np.random.Generator(np.random.PCG64(seed + 1)).permutation(names)
    if method != "equal_weight" or held.all():
        assert weights(method, returns[:, moved], **limits) == pytest.approx(told[moved], abs=tolerance)
        assert weights(method, 3.7 * returns, **limits) == pytest.approx(told, abs=tolerance)


LIMITS = {
    "seed": st.integers(0, 10_000),
    "names": st.integers(1, 12),
    "gross": st.sampled_from([0.5, 1.0, 1.3]),
    "largest": st.sampled_from([0.2, 0.5, 1.3]),
    "smallest": st.sampled_from([0.0, 0.03]),
}


@settings(max_examples=60, deadline=None)
@given(method=st.sampled_from(FAST), **LIMITS)
def test_weights_sum_to_gross_within_limits_and_belong_to_names(method, seed, names, gross, largest, smallest):
    _holds_within_limits(method, seed, names, gross, largest, smallest, 1e-9)


@settings(max_examples=12, deadline=None)
@given(method=st.sampled_from(SOLVED), **{**LIMITS, "smallest": st.just(0.0)})
def test_so_do_those_of_a_solver_within_its_tolerance(method, seed, names, gross, largest, smallest):
    _holds_within_limits(method, seed, names, gross, largest, smallest, 1e-4)


def test_inverse_volatility_by_hand():
    returns = market(1)
    inverse = 1 / returns.std(axis=0, ddof=1)
    assert weights("inverse_volatility", returns) == pytest.approx(inverse / inverse.sum())


def test_minimum_variance_is_the_solution_that_is_known_where_no_weight_is_negative():
    from sklearn.covariance import LedoitWolf

    returns = 0.01 * np.random.Generator(np.random.PCG64(2)).standard_normal((252, 6)) * np.arange(1, 7)
    deviation = returns.std(axis=0)
    covariance = LedoitWolf().fit(returns / deviation).covariance_ * np.outer(deviation, deviation)
    inverse = np.linalg.inv(covariance).sum(axis=1)
    assert (inverse > 0).all()
    assert weights("minimum_variance", returns) == pytest.approx(inverse / inverse.sum(), abs=1e-5)


def test_mean_variance_is_skfolios_own_with_the_same_estimators():
    """Of names of one deviation, for which shrinking correlations and covariances is the same."""
    from skfolio.moments import LedoitWolf, ShrunkMu, ShrunkMuMethods
    from skfolio.optimization import MeanRisk, ObjectiveFunction
    from skfolio.prior import EmpiricalPrior

    returns = market(3)
    returns *= 0.01 / returns.std(axis=0)
    mu = ShrunkMu(covariance_estimator=LedoitWolf(), vol_weighted_target=True, method=ShrunkMuMethods.BAYES_STEIN)
    theirs = MeanRisk(
        objective_function=ObjectiveFunction.MAXIMIZE_RATIO,
        prior_estimator=EmpiricalPrior(mu_estimator=mu, covariance_estimator=LedoitWolf()),
        max_weights=0.3,
    ).fit(returns)
    told = weights("mean_variance", returns, maximum_position=0.3)
    assert told == pytest.approx(theirs.weights_, abs=2e-4)
    assert np.ptp(told) > 0.2, "not all alike"


def test_mean_variance_prefers_what_earned_and_falls_back_where_nothing_did():
    returns = market(4, 500)
    returns -= returns.mean(axis=0)
    returns[:, 2] += 0.002
    assert weights("mean_variance", returns).argmax() == 2
    losing = returns - 0.01
    assert weights("mean_variance", losing) == pytest.approx(weights("minimum_variance", losing), abs=1e-6)
    # One name earns, but the others, which must be held beside it, lose more.
    losing[:, 2] = returns[:, 2]
    capped = [weights(method, losing, maximum_position=0.15) for method in ("mean_variance", "minimum_variance")]
    assert capped[0] == pytest.approx(capped[1], abs=1e-6)


@pytest.mark.parametrize("method", ["inverse_volatility", "minimum_variance", "hierarchical_risk_parity"])
def test_a_halt_does_not_inflate_a_weight(method):
    """pyhrp issue 790: holes that were counted as returns of 0 made a halted name look calm."""
    true, told, inflated = [], [], []
    for seed in range(10):
        returns = market(seed, 252, 5)
        halted = returns.copy()
        halted[40:150, 0] = np.nan
        repeated = np.where(np.isnan(halted), 0.0, halted)
        true.append(weights(method, returns)[0])
        told.append(weights(method, halted)[0])
        assert weights(method, repeated)[0] == told[-1], "a price repeated for days is a hole"
        # What a hole counted as 0 does, past what finds repeated prices: nearly 0.
        inflated.append(weights(method, np.where(np.isnan(halted), 1e-12, halted))[0])
    assert np.mean(inflated) > 1.2 * np.mean(true)
    assert abs(np.mean(told) - np.mean(true)) < 0.5 * (np.mean(inflated) - np.mean(true))


@pytest.mark.parametrize("method", BY_RISK)
def test_what_stands_still_or_is_hardly_known_gets_nothing(method):
    returns = market(6, 100, 5)
    returns[:, 1] = 0.0
    returns[:, 2] = 0.0003
    returns[:60, 3] = np.nan
    told = weights(method, returns)
    assert told[[1, 2, 3]].tolist() == [0, 0, 0]
    assert told.sum() == pytest.approx(1)


@pytest.mark.parametrize("method", METHODS)
def test_inputs_that_are_hardly_any_have_an_answer(method):
    assert weights(method, np.zeros((100, 0))).tolist() == []
    assert weights(method, market(1, 100, 1)).tolist() == [1.0]
    assert weights(method, market(1, 100, 1), maximum_position=0.2).tolist() == [0.2]
    for unknown in (np.zeros((0, 4)), np.zeros((100, 4)), np.full((100, 4), np.nan), market(1, 2, 4)):
        assert weights(method, unknown).tolist() == [0.25] * 4
    twice = market(1, 100, 3)[:, [0, 0, 1, 2]]
    for singular in (twice, market(1, 10, 40), np.column_stack([twice[:, 0], -twice[:, 0]])):
        told = weights(method, singular)
        assert told.sum() == pytest.approx(1)
        assert (told >= 0).all()
    if method in SOLVED:
        assert weights(method, twice)[0] == pytest.approx(weights(method, twice)[1], abs=1e-4)


def test_one_outlier_does_not_break_the_solver():
    returns = market(8)
    returns[17, 3] = 40.0
    for method in SOLVED:
        assert weights(method, returns)[3] < 0.01


def test_turnover_is_limited_from_what_was_held():
    returns = market(9)
    previous = np.zeros(8)
    previous[0] = 1.0
    wanted = weights("inverse_volatility", returns)
    told = weights("inverse_volatility", returns, previous=previous, turnover_limit=0.1)
    assert turnover(previous, told) == pytest.approx(0.1)
    assert told.sum() == pytest.approx(1)
    assert (np.sign(told - previous) == np.sign(wanted - previous)).all()
    unlimited = weights("inverse_volatility", returns, previous=previous, turnover_limit=2.0)
    assert unlimited.tolist() == wanted.tolist()
    assert weights("equal_weight", returns, turnover_limit=0.2).sum() == pytest.approx(0.4), "bought from cash"
    assert weights("equal_weight", returns, previous=previous).tolist() == [0.125] * 8, "no limit was set"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "kelly"}, "unknown allocation method 'kelly': use one of equal_weight, "),
        ({"returns": np.zeros(3)}, "sessions x names"),
        ({"returns": np.array([[0.1, np.inf]])}, "session 0 of name 1 is infinite"),
        ({"gross": 0.0}, "gross exposure"),
        ({"maximum_position": 0.0}, "positions must be between"),
        ({"minimum_position": 0.3, "maximum_position": 0.2}, "got 0.3 to 0.2"),
        ({"minimum_position": float("nan")}, "positions must be between"),
        ({"turnover_limit": -0.1}, "turnover limit"),
        ({"previous": np.zeros(3)}, "8 finite numbers"),
        ({"previous": np.full(8, np.nan)}, "8 finite numbers"),
    ],
)
def test_what_is_out_of_range_is_named(arguments, words):
    with pytest.raises(AllocationError, match=words):
        weights(**{"method": "equal_weight", "returns": market(1), **arguments})


def test_importing_it_all_loads_no_heavy_library():
    modules = ["allocation.weights", "allocation.rebalancing", "allocation.mean_variance"]
    modules += ["allocation.hierarchical_risk_parity"]
    modules += [f"performance.{name}" for name in ("metrics", "comparison", "monte_carlo", "walk_forward")]
    imports = "; ".join(f"import trading_pipeline.research.{module}" for module in modules)
    heavy = ("scipy", "sklearn", "pandas", "skfolio", "cvxpy", "numba", "vectorbt")
    check = f"{imports}; import sys; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
