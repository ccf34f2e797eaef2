"""Limits: against a search through every number of names, and the way there is as long as allowed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.research.allocation.limits import towards, turnover, within_limits

SHARES = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1.0)), min_size=1, max_size=15)


def poured(shares, gross, largest):
    """In proportion to the shares, what is above the maximum poured over to the others, until none is."""
    weights = np.zeros(len(shares))
    full = np.zeros(len(shares), dtype=bool)
    while True:
        free = (shares > 0) & ~full
        if not free.any():
            return weights
        weights[free] = shares[free] / shares[free].sum() * (gross - largest * full.sum())
        over = free & (weights > largest)
        if not over.any():
            return weights
        full |= over
        weights[full] = largest


@settings(max_examples=300, deadline=None)
@given(
    shares=SHARES,
    gross=st.sampled_from([0.5, 1.0, 1.5]),
    largest=st.sampled_from([0.05, 0.1, 0.3, 1.0]),
    smallest=st.sampled_from([0.0, 0.01, 0.05]),
)
def test_as_few_as_possible_are_dropped_and_the_rest_poured(shares, gross, largest, smallest):
    shares = np.array(shares)
    told = within_limits(shares, gross, smallest, largest)
    order = np.argsort(-shares, kind="stable")
    for held in range(np.count_nonzero(shares), -1, -1):
        expected = np.zeros(len(shares))
        chosen = order[:held]
        expected[chosen] = poured(shares[chosen], gross, largest)
        if (expected[chosen] >= smallest * (1 - 1e-9)).all():
            break
    assert told == pytest.approx(expected, abs=1e-12)
    positive = told > 0
    assert (told[positive] >= smallest * (1 - 1e-9)).all()
    assert (told <= largest).all()
    if positive.any():
        assert told.sum() == pytest.approx(min(gross, positive.sum() * largest))
    assert not told[shares == 0].any()


def test_too_few_names_leave_the_rest_in_cash():
    assert within_limits(np.array([0.5, 0.5]), 1.0, 0.0, 0.3).tolist() == [0.3, 0.3]
    assert within_limits(np.array([1.0]), 0.02, 0.05, 0.1).tolist() == [0.0], "all of it is below the minimum"


def test_of_equal_names_the_last_are_dropped():
    told = within_limits(np.full(200, 1 / 200), 1.0, 0.01, 0.1)
    assert np.flatnonzero(told).tolist() == list(range(100))
    assert told[:100] == pytest.approx(np.full(100, 0.01))


def test_turnover_is_half_of_what_is_bought_and_sold():
    assert turnover(np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.5, 0.25])) == 0.25


@given(st.floats(0, 1), st.integers(0, 1_000))
def test_the_way_is_as_long_as_allowed_and_straight(limit, seed):
    previous, wanted = np.random.Generator(np.random.PCG64(seed)).dirichlet(np.ones(6), 2)
    told = towards(previous, wanted, limit)
    assert turnover(previous, told) == pytest.approx(min(limit, turnover(previous, wanted)), abs=1e-12)
    assert told.sum() == pytest.approx(1)
    assert turnover(previous, told) + turnover(told, wanted) == pytest.approx(turnover(previous, wanted))


def test_what_is_wanted_is_reached_in_as_many_steps_as_it_takes():
    held, wanted = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.4, 0.6])
    for _ in range(4):
        assert (held != wanted).any()
        held = towards(held, wanted, 0.26)
    assert held.tolist() == wanted.tolist()
