"""The hidden Markov model: the forward recursion by enumeration and beside hmmlearn's, the fit, the walk."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from trading_pipeline.research.strategies.hidden_markov import (
    SPAN,
    HiddenMarkov,
    filtered,
    fitted,
    log_densities,
    observations,
    reach,
    stationary,
    walk_forward,
)
from trading_pipeline_tests.unit.research.strategies.conftest import weekdays

MODEL = HiddenMarkov(
    start=np.array([0.2, 0.5, 0.3]),
    transition=np.array([[0.9, 0.07, 0.03], [0.05, 0.9, 0.05], [0.0, 0.04, 0.96]]),
    mean=np.array([[-0.1, 0.5], [0.0, 0.0], [0.08, -0.4]]),
    variance=np.array([[3.0, 0.1], [1.0, 0.05], [0.4, 0.05]]),
    log_likelihood=0.0,
)


def wander(seed: int, rows: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.column_stack([random.normal(0, 1, rows), random.normal(0, 0.4, rows)])


def calm_and_wild(seed: int, rows: int = 900) -> tuple[np.ndarray, np.ndarray]:
    """Closes, and whether the session was a wild one."""
    random = np.random.default_rng(seed)
    wild = (np.arange(rows) // 75) % 4 == 3
    moves = random.normal(np.where(wild, -0.001, 0.0006), np.where(wild, 0.022, 0.007))
    return 100 * np.exp(np.cumsum(moves)), wild


def walked(model: HiddenMarkov, observed: np.ndarray) -> np.ndarray:
    density = log_densities([model], observed[None])
    return filtered(model.start[None], model.transition[None], density)[0]


class TestForwardRecursion:
    def test_it_is_the_sum_over_all_paths(self):
        """P(state of t | observations up to t) by enumerating all 3^6 paths."""
        observed = wander(1, 6)
        density = np.exp(log_densities([MODEL], observed[None])[0])
        for rows in range(1, 7):
            weight = np.zeros(3)
            for path in product(range(3), repeat=rows):
                chance = MODEL.start[path[0]] * density[0, path[0]]
                for row in range(1, rows):
                    chance *= MODEL.transition[path[row - 1], path[row]] * density[row, path[row]]
                weight[path[-1]] += chance
            assert walked(MODEL, observed)[rows - 1] == pytest.approx(weight / weight.sum(), rel=1e-10)

    def test_on_the_last_session_alone_it_is_hmmlearns_smoothed_one(self):
        from hmmlearn.hmm import GaussianHMM

        observed = wander(2, 300)
        theirs = GaussianHMM(3, "diag", init_params="")
        theirs.startprob_, theirs.transmat_ = MODEL.start, MODEL.transition
        theirs.means_, theirs.covars_ = MODEL.mean, MODEL.variance
        smoothed, ours = theirs.predict_proba(observed), walked(MODEL, observed)
        assert ours[-1] == pytest.approx(smoothed[-1], abs=1e-9)
        assert np.abs(ours - smoothed)[:-20].max() > 0.2, "before it, theirs knows what came later"
        for rows in (50, 171):
            assert ours[rows - 1] == pytest.approx(theirs.predict_proba(observed[:rows])[-1], abs=1e-9)

    def test_a_session_without_an_observation_moves_by_the_transitions_alone(self):
        observed = wander(3, 10)
        observed[6] = np.nan
        probability = walked(MODEL, observed)
        assert probability[6] == pytest.approx(probability[5] @ MODEL.transition, rel=1e-12)

    def test_it_neither_underflows_nor_drifts_from_one(self):
        observed = wander(4, 5000) * 30
        probability = walked(MODEL, observed)
        assert np.isfinite(probability).all()
        assert probability.sum(axis=1) == pytest.approx(1.0, abs=1e-12)

    def test_many_models_at_once_are_each_alone(self):
        other = HiddenMarkov(MODEL.start[::-1], MODEL.transition[::-1, ::-1], MODEL.mean, MODEL.variance * 2, 0.0)
        observed = np.stack([wander(5, 80), wander(6, 80)])
        start, transition = (np.stack([getattr(m, name) for m in (MODEL, other)]) for name in ("start", "transition"))
        both = filtered(start, transition, log_densities([MODEL, other], observed))
        assert np.array_equal(both[0], walked(MODEL, observed[0]))
        assert np.array_equal(both[1], walked(other, observed[1]))


class TestObservations:
    def test_return_in_per_cent_and_log_of_the_realised_volatility(self):
        close = 100 * 1.01 ** np.arange(SPAN + 3)
        seen = observations(close)
        assert np.isnan(seen[:SPAN]).all()
        assert seen[SPAN:, 0] == pytest.approx(100 * np.log(1.01))
        assert seen[SPAN:, 1] == pytest.approx(np.log(100 * np.log(1.01)))

    def test_a_hole_is_left_out_and_a_price_that_never_moves_tells_nothing(self):
        close = 100 * 1.01 ** np.arange(30.0)
        close[20] = np.nan
        seen = observations(close)
        assert np.isnan(seen[20]).all()
        assert seen[21, 0] == pytest.approx(200 * np.log(1.01))
        assert np.isnan(observations(np.full(40, 5.0))).all()


class TestFit:
    def test_it_recovers_the_regimes_that_were_planted(self):
        """15 years of two regimes; the volatilities to 10 %, how long they lasted to 40 %."""
        random = np.random.default_rng(8)
        state, wild = 0, np.zeros(3780, dtype=bool)
        for row in range(3780):
            if random.random() < (1 / 120, 1 / 60)[state]:
                state = 1 - state
            wild[row] = state == 1
        moves = random.normal(0, np.where(wild, 0.02, 0.007))
        model = fitted(observations(100 * np.exp(np.cumsum(moves))), states=2, starts=3, seed=1)
        assert model is not None
        assert np.sqrt(model.variance[:, 0] + model.mean[:, 0] ** 2) == pytest.approx([2.0, 0.7], rel=0.1)
        spells = np.count_nonzero(np.diff(wild.astype(int)) == 1)
        lasted = [wild.sum() / spells, (~wild).sum() / spells]
        assert 1 / (1 - np.diag(model.transition)) == pytest.approx(lasted, rel=0.4)
        assert stationary(model.transition)[0] == pytest.approx(wild.mean(), abs=0.07)

    def test_states_are_numbered_by_falling_volatility_whatever_start_won(self):
        close, _ = calm_and_wild(2)
        for seed in range(4):
            model = fitted(observations(close), 3, 4, seed)
            assert model is not None
            assert (np.diff(model.mean[:, 1]) < 0).all()
            assert model.transition.sum(axis=1) == pytest.approx(1.0)

    def test_the_same_window_and_seed_give_the_same_model_bit_for_bit(self):
        seen = observations(calm_and_wild(3)[0])
        one, other = fitted(seen, 3, 3, 5), fitted(seen, 3, 3, 5)
        assert one is not None and other is not None
        for name in ("start", "transition", "mean", "variance"):
            assert np.array_equal(getattr(one, name), getattr(other, name))

    def test_more_starts_are_never_worse(self):
        seen = observations(calm_and_wild(4)[0])
        likelihood = [fitted(seen, 3, starts, 5).log_likelihood for starts in (1, 3, 6)]
        assert likelihood == sorted(likelihood)

    def test_a_fit_that_does_not_converge_is_none(self, monkeypatch):
        from trading_pipeline.research.strategies import hidden_markov

        monkeypatch.setattr(hidden_markov, "ITERATIONS", 2)
        assert fitted(observations(calm_and_wild(5)[0]), 3, 3, 0) is None

    def test_too_few_observations_for_the_states_give_none(self):
        assert fitted(observations(calm_and_wild(6, 14)[0]), 3, 3, 0) is None


ASKED = {"states": 2, "window": 300, "months": 3, "starts": 2, "seed": 0}


class TestWalkForward:
    def test_it_is_refitted_on_the_first_session_of_each_quarter_and_judges_from_there(self):
        close, _ = calm_and_wild(7)
        sessions = weekdays(900)
        walk = walk_forward(close, sessions, **ASKED)
        months = sessions.astype("datetime64[M]").astype(int)
        for row in walk.models:
            assert months[row] % 3 == 0 and months[row - 1] != months[row]
        first = min(walk.models)
        assert np.isnan(walk.probability[:first]).all() and np.isfinite(walk.probability[first:]).all()
        assert (walk.fitted_at[:first] == -1).all()
        assert (np.diff(walk.fitted_at[first:]) >= 0).all() and set(walk.fitted_at[first:]) == set(walk.models)
        assert first < reach(300, 3)

    def test_wild_sessions_are_told_from_calm_ones_as_they_happen(self):
        close, wild = calm_and_wild(9)
        probability = walk_forward(close, weekdays(900), **ASKED).probability[:, 0]
        known = np.isfinite(probability)
        assert ((probability > 0.5) == wild)[known].mean() > 0.88

    def test_a_walk_depends_on_its_reach_alone(self):
        close, sessions = calm_and_wild(10)[0], weekdays(900)
        whole = walk_forward(close, sessions, **ASKED).probability
        for start in (1, 97):
            part = walk_forward(close[start:], sessions[start:], **ASKED).probability
            warm = reach(300, 3)
            assert part[warm:] == pytest.approx(whole[start + warm :], abs=1e-9)

    def test_a_market_that_never_trades_has_no_regime(self):
        walk = walk_forward(np.full(900, np.nan), weekdays(900), **ASKED)
        assert walk.models == {} and np.isnan(walk.probability).all() and (walk.fitted_at == -1).all()
