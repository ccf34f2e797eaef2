"""The drawings: that they show the numbers they were given."""

from __future__ import annotations

import re
from datetime import date, timedelta

import polars as pl
import pytest

from trading_pipeline.reports import charts

DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(120)]


def rectangles(svg: str) -> dict[str, tuple[float, float]]:
    """Fill colour to left edge and width, in the order drawn."""
    drawn = re.findall(r'd="M([\d.]+),[\d.]+h(-?[\d.]+)[^"]*" fill="(#\w+)"', svg)
    return {fill: (float(left), float(width)) for left, width, fill in drawn}


def test_parts_stack_on_both_sides_of_zero_to_one_scale():
    parts = {"market": 0.05, "sector": -0.1, "company": -0.2}
    svg = charts.stacked_bar(parts, (-0.4, 0.1), charts.PART_COLOURS)
    bars = rectangles(svg)
    width, zero = charts.BAR_SIZE[0], 0.8 * charts.BAR_SIZE[0]
    assert bars[charts.GREY] == pytest.approx((zero, 0.1 * width))
    assert bars[charts.ORANGE] == pytest.approx((zero - 0.2 * width, 0.2 * width))
    assert bars[charts.BLUE] == pytest.approx((zero - 0.6 * width, 0.4 * width))
    assert re.findall(r'<line transform="translate\(([\d.]+),0\)"', svg) == [f"{zero:g}"]


def test_a_sparkline_marks_the_high_and_the_last_close():
    closes = [10.0, 12.0, 11.0, 9.0]
    svg = charts.sparkline(DAYS[:4], closes, DAYS[1])
    path = re.search(r'<path d="M([^"]+)" stroke="#767676"', svg)
    points = [tuple(map(float, point.split(","))) for point in path[1].split("L")]
    ring = re.search(r'translate\(([\d.]+),([\d.]+)\)"[^>]*stroke="#d55e00"', svg)
    dot = re.search(r'translate\(([\d.]+),([\d.]+)\)"[^>]*fill="#0072b2"', svg)
    assert len(points) == 4
    assert (float(ring[1]), float(ring[2])) == pytest.approx(points[1], abs=0.02)
    assert (float(dot[1]), float(dot[2])) == pytest.approx(points[3], abs=0.02)


def test_a_sparkline_without_a_known_high_marks_none():
    assert charts.VERMILLION not in charts.sparkline(DAYS[:4], [1.0, 2.0, 3.0, 2.0], None)


def test_the_index_is_drawn_with_its_averages_and_gaps_are_left_out():
    frame = pl.DataFrame({"session": DAYS, "close": [100.0 + n for n in range(120)]}).with_columns(
        sma_50=pl.col("close").rolling_mean(50), sma_200=pl.lit(None).cast(pl.Float64)
    )
    svg = charts.index_chart(frame, (1000, 200))
    assert {charts.INK, charts.BLUE} <= set(re.findall(r'stroke="(#\w+)"', svg))
    assert charts.VERMILLION not in svg
    assert ">Feb<" in svg
    assert ">2024<" in svg


def test_drawings_carry_no_identifiers_scripts_or_addresses():
    svg = charts.breadth_chart(
        pl.DataFrame({"session": DAYS, "breadth_50": [0.5] * 120, "breadth_200": [0.6] * 120}), (340, 150)
    )
    assert not re.search(r" id=|<script|href|url\(|xmlns", svg)
    assert ">100%<" in svg
