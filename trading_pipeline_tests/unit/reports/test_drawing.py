"""What drawings share: broken lines and round numbers."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from trading_pipeline.reports.drawing import decimals, path, ticks


def test_a_line_is_lifted_where_a_value_is_unknown():
    assert path([1.0, 2.0, None, 3.0], str, lambda value: f"{value:.0f}") == "M0 1L1 2M3 3"


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (98.7, 101.2), (-189.0, 243.0), (0.0011, 0.0019), (7.0, 7e6)])
@pytest.mark.parametrize("count", [3, 4, 6])
def test_ticks_are_round_evenly_spaced_inside_and_few(low, high, count):
    marks = ticks(low, high, count)
    assert low <= marks[0] and marks[-1] <= high
    assert 1 <= len(marks) <= count + 1
    if len(marks) > 1:
        step = marks[1] - marks[0]
        assert all(later - sooner == pytest.approx(step) for sooner, later in pairwise(marks))
        digits = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(digits - round_) for round_ in (1, 2, 2.5, 5, 10)) < 1e-6


def test_what_never_moved_has_its_own_value_as_a_mark():
    assert ticks(5.0, 5.0) == [5.0]


@pytest.mark.parametrize(
    ("marks", "digits"), [([0.0, 0.25, 0.5], 2), ([98.0, 100.0], 0), ([1.0, 1.5], 1), ([0.002, 0.004], 3), ([7.0], 2)]
)
def test_labels_have_the_decimals_that_tell_them_apart(marks, digits):
    assert decimals(marks) == digits
    assert len({f"{mark:.{digits}f}" for mark in marks}) == len(marks)
