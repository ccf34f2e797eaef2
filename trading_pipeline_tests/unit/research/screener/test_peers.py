"""Groups: medians and means of the others, places among them, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.research.screener.peers import Groups

NAN = float("nan")
ROWS = st.lists(st.tuples(st.integers(-1, 3), st.sampled_from([NAN, -2.0, 0.0, 1.0, 1.0, 2.5, 7.0])), max_size=30)


@settings(max_examples=200)
@given(rows=ROWS, least=st.integers(1, 4))
def test_median_and_mean_leave_the_row_itself_out(rows, least):
    codes = np.array([code for code, _ in rows], dtype=np.int64)
    values = np.array([value for _, value in rows], dtype=np.float64)
    groups = Groups.of(codes)
    median, mean = groups.median_of_others(values, least), groups.mean_of_others(values, least)
    for row, code in enumerate(codes):
        others = [
            value for at, value in enumerate(values) if at != row and codes[at] == code and code >= 0 and value == value
        ]
        if len(others) < least:
            assert np.isnan(median[row]) and np.isnan(mean[row])
        else:
            assert median[row] == np.median(others)
            assert mean[row] == pytest.approx(np.mean(others))


def test_a_rows_own_value_does_not_move_its_median():
    groups, values = Groups.of(np.zeros(7, dtype=np.int64)), np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    for own in (-10.0, 3.5, 99.0):
        assert groups.median_of_others(np.append(own, values[1:]), 1)[0] == 4.5


def test_places_are_shared_by_equals_and_unknown_alone():
    groups = Groups.of(np.array([0, 0, 0, 0, 0, 1, -1]))
    values = np.array([1.0, 3.0, 3.0, 9.0, NAN, 5.0, 5.0])
    places = groups.percentile(values, 1)
    assert places[:4] == pytest.approx([0, 50, 50, 100])
    assert np.isnan(places[4:]).all(), "unknown, alone in its group, in none"
    assert np.isnan(groups.percentile(values, 4)).all(), "three others are too few"
