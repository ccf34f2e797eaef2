"""Curves and their inverse: the input that is found is worth what was asked for, and is the nearest that is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.research.screener import load_rules
from trading_pipeline.research.screener.curves import Worth, evaluate
from trading_pipeline.research.screener.rules import ENVIRONMENTS

RULES = load_rules()
ALL = [(rule, environment) for rule in RULES.inputs for environment in (ENVIRONMENTS if rule.environments else ("A",))]


def test_between_corners_it_is_a_line_and_beyond_them_level():
    curve = ((1.0, 0.0), (3.0, 100.0))
    values = np.array([0.0, 1.0, 2.0, 2.5, 3.0, 9.0, np.inf, -np.inf, np.nan])
    assert evaluate(curve, values)[:8].tolist() == [0, 0, 50, 75, 100, 100, 100, 0]
    assert np.isnan(evaluate(curve, values)[8])


@pytest.mark.parametrize(("rule", "environment"), ALL, ids=lambda one: getattr(one, "name", one))
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_needed_input_is_worth_the_points_and_nothing_nearer_is(rule, environment, seed):
    rng = np.random.default_rng(seed)
    xs = [x for x, _ in rule.curve_in(environment)]
    low, high = xs[0] - (xs[-1] - xs[0]) * 0.2, xs[-1] + (xs[-1] - xs[0]) * 0.2
    is_multiple = rule.peers is not None and rule.peers.kind == "ratio"
    values = rng.uniform(0.01 if is_multiple else low, high, 200)
    values[:20] = rng.choice(xs, 20)
    extra = rng.uniform(0.5, 60, 200)
    median = None
    if rule.peers is not None:
        median = np.where(
            rng.random(200) < 0.8, rng.uniform(max(xs[0], 0.5) if is_multiple else xs[0], xs[-1], 200), np.nan
        )
    worth = Worth.of(rule, environment, median)
    points = worth.points(values) + extra
    needed = worth.needed(values, points)
    reachable = points <= worth.best - 1e-6
    assert np.isfinite(needed[reachable]).all() and np.isnan(needed[points > worth.best + 1e-6]).all()
    assert (worth.points(needed)[reachable] >= points[reachable] - 1e-6).all()
    # A step of the rounding back from it, and it is not enough.
    for share in (0.999, 0.9, 0.5):
        between = values + (needed - values) * share - np.sign(needed - values) * 3e-6
        short = worth.points(between) < points
        assert short[reachable & (np.abs(needed - values) > 1e-4)].all()
