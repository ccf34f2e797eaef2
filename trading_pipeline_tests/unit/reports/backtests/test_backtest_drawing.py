"""Where the charts of a backtest put sessions and numbers."""

from __future__ import annotations

import re
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest

from trading_pipeline.reports.backtests import drawing
from trading_pipeline.reports.backtests.axes import (
    NARROW,
    WIDE,
    Axes,
    logarithmic,
    money_label,
    percent_label,
    thinned,
)
from trading_pipeline.reports.charts import BLUE, VERMILLION

DAYS = [date(2015, 1, 2) + timedelta(days=number) for number in range(4_000)]


def points(svg: str, colour: str) -> list[tuple[float, float]]:
    """Points of the first line of that colour."""
    [d, *_] = re.findall(rf'<path d="([^"]+)" stroke="{colour}"', svg)
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", d)]


def labels(svg: str) -> list[str]:
    return re.findall(r">([^<]+)</text>", svg)


def test_a_long_line_is_thinned_without_losing_its_extremes_its_ends_or_its_holes() -> None:
    values = np.cumsum(np.random.default_rng(3).normal(size=4_000))
    values[1_234], values[2_345] = 500.0, -500.0
    values[3_000:3_100] = np.nan
    kept = thinned(values, 100)
    assert len(kept) < 310
    assert {0, 1_234, 2_345, 3_999} <= set(kept.tolist())
    assert np.isnan(values[kept]).any()
    assert (np.diff(kept) > 0).all()


def test_a_short_line_keeps_every_point() -> None:
    assert thinned(np.arange(50.0), 100).tolist() == list(range(50))


def test_a_logarithmic_axis_makes_each_doubling_as_high_as_the_one_before() -> None:
    axes = Axes.around(DAYS[:3], [[100.0, 200.0, 400.0]], WIDE, log=True)
    first, second, third = (axes.y(value) for value in (100.0, 200.0, 400.0))
    assert first - second == pytest.approx(second - third)
    plain = Axes.around(DAYS[:3], [[100.0, 200.0, 400.0]], WIDE)
    assert plain.y(100) - plain.y(200) == pytest.approx((plain.y(200) - plain.y(400)) / 2)


@pytest.mark.parametrize(
    ("values", "helps"),
    [
        ([100.0, 300.0], True),
        ([100.0, 150.0], False),
        ([0.0, 300.0], False),
        ([np.nan, 100.0, 300.0], True),
        ([], False),
    ],
)
def test_a_logarithmic_axis_is_taken_where_it_helps_and_can_be(values: list[float], helps: bool) -> None:
    assert logarithmic(values) is helps


@pytest.mark.parametrize(
    ("highest", "value", "shown"),
    [(850.0, 850.0, "850"), (160_000.0, 85_000.0, "85k"), (2.5e6, 1.2e6, "1.2m"), (3e9, -1.5e9, "−1.5bn")],
)
def test_money_on_an_axis_is_brief(highest: float, value: float, shown: str) -> None:
    assert money_label(highest)(value) == shown


def test_shares_on_an_axis_have_the_decimals_that_tell_them_apart() -> None:
    label = percent_label([-0.05, -0.025, 0.0])
    assert [label(mark) for mark in (-0.05, -0.025, 0.0)] == ["−5.0%", "−2.5%", "0.0%"]


@pytest.mark.parametrize("size", [WIDE, NARROW])
@pytest.mark.parametrize("count", [2, 40, 300, 1_500, 4_000])
def test_dates_never_touch_each_other(size: tuple[int, int], count: int) -> None:
    parts = "".join(Axes.around(DAYS[:count], [[1.0, 2.0]], size).calendar())
    places = [float(x) for x in re.findall(r'<text x="([\d.]+)"', parts)]
    assert places
    assert all(later - sooner >= 28 for sooner, later in pairwise(places))


def test_equity_begins_left_ends_right_and_a_higher_account_is_drawn_higher() -> None:
    equity = np.array([100.0, 110.0, 90.0, 120.0])
    fall = equity / np.maximum.accumulate(equity) - 1
    svg = drawing.equity_chart(DAYS[:4], equity, np.full(4, np.nan), fall, np.full(4, np.nan), WIDE)
    line = points(svg, BLUE)
    assert [x for x, _ in line] == [0.0, 314.7, 629.3, 944.0]
    heights = [y for _, y in line]
    assert heights[3] < heights[1] < heights[0] < heights[2]
    assert VERMILLION not in svg


def test_a_drawing_of_an_account_that_never_moved_holds_no_nan() -> None:
    flat, none = np.full(300, 100_000.0), np.zeros(300)
    svg = drawing.equity_chart(DAYS[:300], flat, np.full(300, np.nan), none, np.full(300, np.nan), NARROW)
    svg += drawing.exposure_chart(DAYS[:300], none, None, [(0, 299, 0.0)], NARROW)
    svg += drawing.bands_chart(DAYS[:300], [(flat, flat)], flat, flat, NARROW)
    svg += drawing.ratio_chart(DAYS[:300], np.full(300, np.nan), NARROW, None)
    assert "nan" not in svg and "inf" not in svg


def test_bars_of_losses_and_gains_differ_and_are_as_high_as_they_are_many() -> None:
    svg = drawing.histogram([-0.1, -0.05, 0.0, 0.05], [4, 2, 8], WIDE)
    bars = re.findall(r'<rect x="([\d.]+)" [^>]*height="([\d.]+)" fill="([^"]+)"', svg)
    assert [colour for *_, colour in bars] == [VERMILLION, VERMILLION, BLUE]
    heights = [float(height) for _, height, _ in bars]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[2] == pytest.approx(2 * heights[0], abs=0.2)
    assert "0%" in labels(svg)


def test_a_window_without_a_ratio_has_a_ring_alone() -> None:
    svg = drawing.windows_chart([1.0, 1.2], [0.5, None], WIDE)
    assert svg.count('class="hole"') == 2
    assert len(re.findall(rf'<circle [^>]*fill="{BLUE}"', svg)) == 1


def test_exposure_draws_what_is_net_only_where_it_differs() -> None:
    gross = np.full(10, 0.5)
    same = drawing.exposure_chart(DAYS[:10], gross, None, [(0, 9, 0.1)], WIDE)
    short = drawing.exposure_chart(DAYS[:10], gross, gross - 0.4, [(0, 9, 0.1)], WIDE)
    assert VERMILLION not in same and VERMILLION in short
