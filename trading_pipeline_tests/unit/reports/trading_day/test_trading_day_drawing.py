"""The charts of a trading day: where a moment and a price lie, and that each drawing is well formed."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import timedelta

import pytest

from trading_pipeline.reports.trading_day.drawing import (
    TRADE_SIZE,
    Frame,
    analysis_chart,
    feed_chart,
    profit_chart,
    trade_chart,
)
from trading_pipeline.reports.trading_day.trips import Execution
from trading_pipeline_tests.trading_days import HALF_DAY, MINUTE, trading_day

DAY = trading_day(trades=0, held=0, carried=0)
OPENS, CLOSES = DAY.hours
SIZE = (1000, 260)
STARTED = [OPENS + n * MINUTE for n in range(390)]
PRICES = [100 + n / 100 for n in range(390)]
BANDS = [(99.0, 101.0), (98.0, 102.0), None]
ENTRY = Execution(OPENS + 60 * MINUTE, "buy", 10, 100.5, True, "entry")
EXIT = Execution(OPENS + 120 * MINUTE, "sell", 10, 101.2, False, "target")


def drawn(**told):
    given = {
        "started": STARTED,
        "closes": PRICES,
        "vwap": [100.0] * 390,
        "bands": BANDS,
        "executions": [ENTRY, EXIT],
        "hours": (OPENS, CLOSES),
        "timezone": DAY.timezone,
        "entry": 100.5,
        "stop": 99.9,
        "target": 101.2,
        "held": (ENTRY.at, EXIT.at),
        **told,
    }
    return trade_chart(**given)


def test_the_axis_of_time_is_the_session_and_of_values_the_range():
    frame = Frame(OPENS, CLOSES, 10.0, 20.0, SIZE)
    assert frame.x(OPENS) == 0
    assert frame.x(OPENS + (CLOSES - OPENS) / 2) == frame.width / 2
    assert frame.x(CLOSES + MINUTE) == frame.width and frame.x(OPENS - MINUTE) == 0
    assert frame.y(10.0) == frame.base
    assert frame.y(25.0) == frame.y(20.0) < frame.y(15.0)


def test_a_line_is_broken_where_nothing_traded_and_where_nothing_is_known():
    frame = Frame(OPENS, CLOSES, 0.0, 10.0, SIZE)
    moments = [OPENS + n * MINUTE for n in (0, 1, 2, 20, 21)]
    assert frame.line(moments, [1, 2, 3, 4, 5]).count("M") == 2
    assert frame.line(moments, [1, None, 3, 4, 5]).count("M") == 3
    assert frame.line(moments, [1, 2, 3, 4, 5], steps=True).count("M") == 1


def test_purchases_point_up_sales_down_and_what_closes_is_hollow():
    marks = re.findall(r'<path d="M([\d.]+) ([\d.]+)l-6 (-?10)h12z" fill="(#222222|none)"', drawn())
    assert [(way, fill) for _, _, way, fill in marks] == [("10", "#222222"), ("-10", "none")]
    width = TRADE_SIZE[0] - 58
    assert [float(x) for x, *_ in marks] == pytest.approx([width * 60 / 390, width * 120 / 390], abs=0.06)
    assert float(marks[1][1]) < float(marks[0][1])


def test_levels_span_the_time_it_was_held_and_that_time_is_shaded():
    width = TRADE_SIZE[0] - 58
    levels = re.findall(r'd="M([\d.]+) [\d.]+H([\d.]+)" stroke="(#[0-9a-f]{6})" stroke-width="2"', drawn())
    assert [colour for _, _, colour in levels] == ["#d55e00", "#0072b2", "#222222"]
    for start, end, _ in levels:
        assert (float(start), float(end)) == pytest.approx((width * 60 / 390, width * 120 / 390), abs=0.06)
    [(x, wide)] = re.findall(r'<rect x="([\d.]+)" y="8" width="([\d.]+)"', drawn())
    assert (float(x), float(wide)) == pytest.approx((width * 60 / 390, width * 60 / 390), abs=0.06)
    assert 'stroke-width="2"' not in drawn(held=None)


def test_bands_in_sight_are_named_and_unknown_ones_are_left_out():
    assert re.findall(r">([−+]\dσ)<", drawn()) == ["+1σ", "+2σ"]
    assert "σ" not in drawn(bands=[None, None, None])
    close = [(100.0 - n / 50, 100.0 + n / 50) for n in (1, 2, 3)]
    assert len(re.findall(r"σ<", drawn(bands=close))) < 6


def test_without_bars_the_trade_alone_is_drawn():
    svg = drawn(started=[], closes=[], vwap=[])
    assert svg.count("h12z") == 2
    assert ET.fromstring(svg) is not None


def test_hours_are_named_by_the_exchanges_clock():
    assert re.findall(r">(\d\d:00)<", drawn()) == ["10:00", "12:00", "14:00"]
    short = trading_day(HALF_DAY, trades=0, held=0, carried=0)
    svg = profit_chart([short.hours[1]], [5.0], [5.0], short.hours, short.timezone, SIZE)
    assert re.findall(r">(\d\d:00)<", svg) == ["10:00", "11:00", "12:00"]


def test_doubling_and_halving_are_equally_far_from_one():
    flat = {name: [1.0] for name in ("trend_continuation", "long", "short")}
    svgs = [
        analysis_chart([OPENS], {"mean_reversion": [value], **flat}, (OPENS, CLOSES), DAY.timezone, SIZE)
        for value in (0.5, 1.0, 2.0)
    ]
    low, middle, high = (float(re.search(r'd="M0\.0 ([\d.]+)H[^"]*" stroke="#0072b2"', svg)[1]) for svg in svgs)
    assert low - middle == pytest.approx(middle - high, abs=0.11) and low > high


def test_time_without_entries_is_shaded():
    barred = [(OPENS, OPENS + timedelta(minutes=39)), (CLOSES - timedelta(minutes=39), CLOSES)]
    svg = feed_chart([OPENS, CLOSES], [1.0, 0.5], barred, (OPENS, CLOSES), DAY.timezone, SIZE)
    spans = [(float(x), float(width)) for x, width in re.findall(r'<rect x="([\d.]+)" y="8" width="([\d.]+)"', svg)]
    width = SIZE[0] - 48
    assert spans == [
        (0.0, pytest.approx(width / 10, abs=0.06)),
        (pytest.approx(width * 0.9, abs=0.06), pytest.approx(width / 10, abs=0.06)),
    ]


@pytest.mark.parametrize(
    "svg",
    [
        drawn(),
        drawn(stop=None, target=None, held=None, executions=[]),
        profit_chart([OPENS + MINUTE], [0.0], [0.0], (OPENS, CLOSES), DAY.timezone, SIZE),
        feed_chart([OPENS], [None], [], (OPENS, CLOSES), DAY.timezone, SIZE),
    ],
)
def test_drawings_are_well_formed_and_silent_to_screen_readers(svg):
    assert ET.fromstring(svg).attrib["aria-hidden"] == "true"
    assert "nan" not in svg and "inf" not in svg
