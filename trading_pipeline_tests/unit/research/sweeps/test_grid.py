"""Parameter grids: every valid combination once, typed, and nothing silently wrong."""

from __future__ import annotations

import numpy as np
import pytest

from trading_pipeline.research.strategies.base import StrategyError, strategy
from trading_pipeline.research.sweeps import SWEEPABLE, parameter_grid


def test_every_valid_combination_once_and_the_others_counted():
    grid = parameter_grid("moving_average_cross", {"slow": [20, 5, 20], "fast": range(5, 25, 5)})
    assert grid.names == ("fast", "slow")
    assert grid.frame().rows() == [(5, 20), (10, 20), (15, 20)]
    assert grid.excluded == 4 * 2 - 3
    assert {values.dtype for values in grid.columns.values()} == {np.dtype(np.int64)}


def test_what_is_not_named_has_the_strategys_default():
    grid = parameter_grid("mean_reversion", {"entry": np.array([1.0, 1.5])})
    assert grid.combination(1) == {"window": 20, "entry": 1.5, "exit": 0.5, "most_sessions": 20}
    assert [values.dtype.kind for values in grid.columns.values()] == ["i", "f", "f", "i"]


@pytest.mark.parametrize("name", ["moving_average_cross", "mean_reversion"])
def test_a_parameter_set_is_one_of_the_strategy(name):
    grid = parameter_grid(name, {SWEEPABLE[name].names[0]: range(3, 60, 4)})
    for number in range(len(grid)):
        made = strategy(name, grid.combination(number)).parameters
        assert {each: getattr(made, each) for each in grid.names} == grid.combination(number)


def test_parts_are_the_grid():
    grid = parameter_grid("moving_average_cross", {"fast": range(1, 12), "slow": range(5, 30)})
    parts = [grid.part(chunk, 7) for chunk in range(7)]
    assert sum(map(len, parts)) == len(grid)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [row for part in parts for row in part.frame().rows()] == grid.frame().rows()


@pytest.mark.parametrize(
    ("name", "ranges", "message"),
    [
        ("pairs", {}, "strategy 'pairs' cannot be swept: use one of mean_reversion"),
        ("moving_average_cross", {"quick": [3]}, "moving_average_cross: unknown parameter 'quick': use fast, slow"),
        ("moving_average_cross", {"fast": []}, "moving_average_cross: the range of fast is empty"),
        ("moving_average_cross", {"fast": [5, 0]}, "moving_average_cross: fast cannot be 0: .*greater than or equal"),
        ("moving_average_cross", {"fast": [5.5]}, "moving_average_cross: fast cannot be 5.5"),
        ("moving_average_cross", {"slow": "20"}, "moving_average_cross: slow cannot be '20'|moving_average_cross: no"),
        ("moving_average_cross", {"slow": [501]}, "moving_average_cross: slow cannot be 501"),
        ("mean_reversion", {"entry": [float("nan")]}, "mean_reversion: entry cannot be nan"),
        ("time_series_momentum", {"skip": [300]}, "time_series_momentum: skip cannot be 300"),
        ("moving_average_cross", {"fast": [50], "slow": [20]}, r"no combination is valid: .*fast \(50\) must be below"),
    ],
)
def test_what_is_out_of_range_is_named(name, ranges, message):
    with pytest.raises(StrategyError, match=message) as error:
        parameter_grid(name, ranges)
    assert "\n" not in str(error.value)


def test_a_range_that_is_mistyped_is_refused_before_it_is_made():
    ranges = {"window": range(3, 251), "entry": np.arange(0.1, 5, 0.001), "exit": np.arange(-9, 9, 0.1)}
    with pytest.raises(
        StrategyError, match=r"mean_reversion: .* combinations are more than 10,000,000: thin out entry"
    ):
        parameter_grid("mean_reversion", ranges)
