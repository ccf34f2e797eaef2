"""The parameter map: which two parameters, which cell is marked, who the neighbours are."""

from __future__ import annotations

import re
from typing import Any

import polars as pl
import pytest

from trading_pipeline.reports.backtests.parameter_map import ParameterMap, drawn, parameter_map, shade, tall
from trading_pipeline.tables.backtests import PARAMETER_SWEEPS
from trading_pipeline_tests.backtest_pages import LAST, TOML, configuration, swept_sets

TOLD = configuration()


def mapped(sharpe: list[float | None] | None = None, **values: list[Any]) -> ParameterMap:
    found = parameter_map(swept_sets(TOLD, LAST, sharpe, **values))
    assert found is not None
    return found


def test_the_parameter_with_more_values_goes_across() -> None:
    told = mapped(fast=[5, 10, 20], slow=[50, 100])
    assert (told.across, told.down) == ("fast", "slow")
    assert told.sides == ([50, 100], [5, 10, 20])
    assert len(told.cells) == 6


def test_of_more_than_two_the_two_with_the_most_values_are_drawn_at_the_configured_value_of_the_others() -> None:
    told = mapped(fast=[10, 20, 30], slow=[50, 100, 150, 200], average=["simple", "exponential"])
    assert (told.across, told.down) == ("slow", "fast")
    assert told.fixed == {"average": "simple"}
    assert len(told.cells) == 12
    assert {each["set"]["average"] for each in told.cells.values()} == {"simple"}


@pytest.mark.parametrize(
    "values", [{"fast": [5, 10, 20], "slow": [100]}, {"fast": [20], "average": ["simple", "exponential"]}]
)
def test_without_two_numbers_that_vary_there_is_a_list_and_no_map(values: dict[str, list[Any]]) -> None:
    told = mapped(**values)
    assert told.cells == {}
    assert len(told.sets) == max(len(each) for each in values.values())


def test_no_sweep_no_map() -> None:
    assert parameter_map(PARAMETER_SWEEPS.empty()) is None


def test_the_configured_set_is_framed_once_and_the_stable_one_dashed() -> None:
    told = mapped(fast=[5, 10, 20, 40], slow=[50, 100, 150])
    svg = drawn(told, tall(told, 1000))
    [frame] = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"[^>]*stroke-width="2.5"', svg)
    assert svg.count("stroke-dasharray") == 1
    cells = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" class', svg)
    assert len(cells) == 12
    at = told.sides[0].index(100) * 4 + told.sides[1].index(20)
    assert float(frame[0]) == pytest.approx(float(cells[at][0]) + 0.5, abs=0.11)
    assert float(frame[1]) == pytest.approx(float(cells[at][1]) + 0.5, abs=0.11)


def test_numbers_stand_in_cells_that_have_room_and_not_in_others() -> None:
    told = mapped([0.1 * place for place in range(15)], fast=[5, 10, 20], slow=[50, 100, 150, 200, 250])
    assert drawn(told, tall(told, 1000)).count('class="on"') == 15
    narrow = mapped(fast=[5, 10, 20], slow=list(range(50, 250, 10)))
    assert drawn(narrow, tall(narrow, 354)).count('class="on"') == 0


def test_neighbours_are_one_step_away_and_never_the_set_itself() -> None:
    told = mapped(fast=[5, 10, 20, 40], slow=[50, 100, 150, 200])
    assert {(each["set"]["fast"], each["set"]["slow"]) for each in told.neighbours} == {
        (fast, slow) for fast in (10, 20, 40) for slow in (50, 100, 150) if (fast, slow) != (20, 100)
    }


def test_a_configured_set_that_was_not_tried_has_no_neighbours() -> None:
    told = mapped(fast=[5, 10], slow=[50, 150])
    assert told.configured is None
    assert told.neighbours == []


def test_the_best_come_first_and_sets_without_trades_last() -> None:
    told = mapped([0.1, None, 0.4, -0.2], fast=[10, 20], slow=[50, 100])
    assert [each["median_sharpe"] for each in told.sets] == [0.4, 0.1, -0.2, None]
    assert told.best is told.sets[0]
    assert told.scale == 0.4


def test_a_sweep_without_a_trade_has_no_best_set_and_unshaded_cells() -> None:
    told = mapped([None] * 4, fast=[10, 20], slow=[50, 100])
    assert told.best is None
    assert drawn(told, tall(told, 1000)).count('class="none"') == 4


@pytest.mark.parametrize(
    ("value", "css"),
    [(0.4, "g4"), (0.3, "g3"), (0.01, "g1"), (0.0, "flat"), (-0.11, "l2"), (-0.4, "l4"), (-9.0, "l4"), (None, "none")],
)
def test_a_shade_says_sign_and_size(value: float | None, css: str) -> None:
    assert shade(value, 0.4) == css


def test_combinations_that_do_not_exist_leave_their_cell_empty() -> None:
    rows = swept_sets(configuration(TOML), LAST, fast=[10, 20, 40], slow=[50, 100])
    told = parameter_map(rows.filter(pl.int_range(pl.len()) != 3))
    assert told is not None
    assert drawn(told, tall(told, 1000)).count("<rect") - sum(
        (told.configured is not None, told.plateau is not None)
    ) == 5  # fmt: skip
