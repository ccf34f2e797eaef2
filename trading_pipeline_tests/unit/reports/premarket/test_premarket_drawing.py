"""The premarket page's small drawings: where the mark of a price lies among its bands."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from trading_pipeline.reports.premarket.drawing import BAND_SIZE, SIGNED_SIZE, band_bar, signed_bar

MIDDLE = BAND_SIZE[0] / 2


def mark(svg: str) -> float:
    return float(re.search(r'<circle cx="([\d.]+)"', svg)[1])


def test_the_mark_lies_on_the_edge_of_the_shade_of_its_sigmas():
    for sigmas in (-3, -2, -1, 1, 2, 3):
        svg = band_bar(sigmas, traded=True)
        shades = [
            (float(x), float(x) + float(width))
            for x, width in re.findall(r'<rect x="([\d.]+)"[^>]*? width="([\d.]+)"', svg)
        ]
        edges = shades[3 - abs(sigmas)]
        assert mark(svg) == pytest.approx(edges[sigmas > 0], abs=0.11)
    assert mark(band_bar(0.0, traded=True)) == MIDDLE


def test_what_is_beyond_the_scale_is_an_arrow_at_its_end():
    up, down = band_bar(7.5, traded=True), band_bar(-7.5, traded=True)
    assert "<circle" not in up + down
    assert f"M{BAND_SIZE[0] - 1} " in up and "M1 " in down


def test_yesterdays_close_is_a_ring_and_a_price_a_dot():
    assert 'fill="none"' in re.search(r"<circle[^>]*>", band_bar(0.4, traded=False))[0]
    assert 'fill="none"' not in re.search(r"<circle[^>]*>", band_bar(0.4, traded=True))[0]


def test_a_bar_reaches_from_zero_to_its_share_of_the_largest():
    def bar(value, most):
        x, width = re.search(r'<rect x="([\d.]+)" y="3" width="([\d.]+)"', signed_bar(value, most)).groups()
        return float(x), float(width)

    whole = SIGNED_SIZE[0] / 2 - 2
    assert bar(2.0, 2.0) == (SIGNED_SIZE[0] / 2, whole)
    assert bar(-1.0, 2.0) == (SIGNED_SIZE[0] / 2 - whole / 2, whole / 2)
    assert bar(0.0, 0.0)[1] == 0.0


@pytest.mark.parametrize("svg", [band_bar(1.2, True), band_bar(-9.0, True), band_bar(0.1, False), signed_bar(-1, 3)])
def test_drawings_are_well_formed_and_silent_to_screen_readers(svg):
    assert ET.fromstring(svg).attrib["aria-hidden"] == "true"
