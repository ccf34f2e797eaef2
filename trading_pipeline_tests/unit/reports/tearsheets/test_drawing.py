"""The price chart as a drawing: where its lines are, and that it is well formed."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import date, timedelta

from trading_pipeline.reports.tearsheets.drawing import price_chart

DAYS = [date(2024, 1, 2) + timedelta(days=n) for n in range(120)]
CLOSES = [100.0 + n for n in range(80)] + [180.0 - 2 * n for n in range(40)]
LINES = {"close": CLOSES, "sma_50": [None] * 49 + [120.0] * 71, "sma_200": [None] * 120}
SIZE = (1000, 280)


def chart(**told):
    return price_chart(DAYS, {**LINES, **told.pop("lines", {})}, SIZE, **told)


def test_it_is_one_well_formed_drawing_without_a_script():
    drawing = ET.fromstring(chart(high=DAYS[80], report=DAYS[30]))
    assert drawing.attrib["viewBox"] == "0 0 1000 280"
    assert {element.tag for element in drawing} <= {"path", "rect", "circle", "text"}


def test_the_dip_is_shaded_from_the_high_to_the_end_and_ringed():
    drawn = chart(high=DAYS[80])
    [(x, width)] = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawn)
    assert abs(float(x) + float(width) - 944) < 0.2
    [ring] = re.findall(r'<circle cx="([\d.]+)" cy="[\d.]+" r="4.5"', drawn)
    assert ring == x
    assert "<rect" not in chart()
    assert "<rect" not in chart(high=date(2020, 1, 2))


def test_higher_is_further_up_and_later_further_right():
    close = re.findall(r'<path d="(M[^"]+)" stroke="#222222"', chart())[0]
    points = [tuple(map(float, pair.split())) for pair in re.split("[ML]", close)[1:]]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert min(points, key=lambda point: point[1]) == points[80]


def test_labels_are_round_numbers_inside_the_range_and_months():
    labels = re.findall(r"<text [^>]*>([^<]+)</text>", chart())
    assert [float(label) for label in labels if label[0].isdigit()] == [100, 120, 140, 160, 180]
    assert [label for label in labels if label.isalpha()] == ["Feb", "Mar", "Apr"]


def test_a_price_that_never_moves_is_a_line():
    flat = {name: [5.0] * 120 for name in LINES}
    drawn = price_chart(DAYS, flat, SIZE)
    assert "nan" not in drawn
    assert "5.00</text>" in drawn


def test_the_last_bits_of_a_price_do_not_move_it():
    assert chart(lines={"close": [close * (1 + 1e-14) for close in CLOSES]}) == chart()
