"""The charts of a backtest, as SVG that stands inside its page.

What belongs here: what they look like. What does not: places and labels (`axes.py`), the parameter map
(`parameter_map.py`). Drawn here and not by `charts.py`, where a chart costs 80 ms: a page has nine in two sizes. The
palette is that of `charts.py`, which the page's stylesheet re-colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np

from trading_pipeline.reports.backtests.axes import (
    BOTTOM,
    RIGHT,
    TEXT,
    TOP,
    Axes,
    Size,
    Values,
    fill,
    logarithmic,
    money_label,
    number_label,
    percent_label,
    stroke,
    svg,
)
from trading_pipeline.reports.charts import BLUE, INK, MUTED, RULE, VERMILLION
from trading_pipeline.reports.drawing import ticks

GAP = 14
"""Pixels between two panels of a drawing."""
STILL = 0.01
"""What the axis of a share shows at least, so that one that never moved is a line at 0 and not the whole of it."""


def equity_chart(
    sessions: Sequence[date], equity: Values, benchmark: Values, fall: Values, benchmark_fall: Values, size: Size
) -> str:
    """The account and the benchmark as money, and below how far each is under its highest so far (fractions, <= 0).

    A benchmark of holes alone is not drawn.
    """
    width, height = size
    split = round((height - BOTTOM) * 0.68)
    log = logarithmic(equity, benchmark)
    money = Axes.around(sessions, [equity, benchmark], size, base=split - GAP / 2, log=log)
    marks = money.marks(5)
    parts = money.rules(marks, money_label(max(marks)))
    parts.append(stroke(money.line(benchmark), VERMILLION, 1.5, "5 3"))
    parts.append(stroke(money.line(equity), BLUE, 1.8))
    under = Axes.around(sessions, [fall, benchmark_fall], size, top=split + GAP / 2, include=[0.0, -STILL])
    falls = ticks(under.low, 0.0, 3)
    parts += under.rules(falls, percent_label(falls))
    parts.append(fill(under.area(fall, np.zeros(len(sessions))), BLUE, 0.25))
    parts.append(stroke(under.line(benchmark_fall), VERMILLION, 1.1, "5 3"))
    parts.append(stroke(under.line(fall), BLUE, 1.2))
    return svg((width, height), [*parts, *under.calendar()])


def ratio_chart(sessions: Sequence[date], values: Values, size: Size, whole: float | None) -> str:
    """A ratio session by session; `whole`: that of all sessions together, dashed."""
    axes = Axes.around(sessions, [values], size, include=[0.0, *([whole] if whole is not None else [])])
    marks = axes.marks()
    parts = [*axes.rules(marks, number_label(marks)), *axes.level(0.0)]
    if whole is not None:
        parts.append(stroke(f"M0 {axes.y(whole):.1f}H{axes.width}", MUTED, 1.2, "5 3"))
    return svg(size, [*parts, stroke(axes.line(values), BLUE, 1.6), *axes.calendar()])


def exposure_chart(
    sessions: Sequence[date], gross: Values, net: Values | None, bars: Sequence[tuple[int, int, float]], size: Size
) -> str:
    """Exposure, a fraction of equity, and below it a bar a span: (first and last place, value).

    net: long less short positions; None where nothing was sold short, so that it is the same.
    """
    split = round((size[1] - BOTTOM) * 0.6)
    held = Axes.around(
        sessions, [gross, *([] if net is None else [net])], size, base=split - GAP / 2, include=[0.0, STILL]
    )
    marks = ticks(held.low, held.high, 3)
    parts = held.rules(marks, percent_label(marks))
    parts.append(fill(held.area(np.zeros(len(sessions)), gross), BLUE, 0.2))
    parts.append(stroke(held.line(gross), BLUE, 1.4))
    if net is not None:
        parts.append(stroke(held.line(net), VERMILLION, 1.2, "5 3"))
    traded = Axes.around(sessions, [[value for *_, value in bars]], size, top=split + GAP / 2, include=[0.0, STILL])
    marks = ticks(0.0, traded.high, 2)
    parts += traded.rules(marks, percent_label(marks))
    for first, last, value in bars:
        left, right = traded.x(first), traded.x(last)
        parts.append(_bar(left, max(right - left - 1, 1.0), traded.y(value), traded.base, MUTED))
    return svg(size, [*parts, *traded.calendar()])


def bands_chart(
    sessions: Sequence[date], bands: Sequence[tuple[Values, Values]], middle: Values, actual: Values, size: Size
) -> str:
    """Bands, the widest first, the median of the paths, and what happened: all money."""
    values = [each for pair in bands for each in pair]
    axes = Axes.around(sessions, [*values, actual], size, log=logarithmic(*values, actual))
    marks = axes.marks(5)
    parts = axes.rules(marks, money_label(max(marks)))
    parts += [fill(axes.area(low, high), BLUE, 0.18) for low, high in bands]
    parts.append(stroke(axes.line(middle), BLUE, 1.5, "5 3"))
    return svg(size, [*parts, stroke(axes.line(actual), INK, 1.5), *axes.calendar()])


def walked_chart(
    sessions: Sequence[date], walked: Values, configured: Values, begins: Sequence[int], size: Size
) -> str:
    """The joined tests and the configuration itself over the same sessions, money; a rule where a test begins."""
    axes = Axes.around(sessions, [walked, configured], size, log=logarithmic(walked, configured))
    marks = axes.marks(5)
    parts = axes.rules(marks, money_label(max(marks)))
    parts += [stroke(f"M{axes.x(place):.1f} {axes.top}V{axes.base:.1f}", MUTED, 0.8, "2 3") for place in begins]
    parts.append(stroke(axes.line(configured), VERMILLION, 1.4, "5 3"))
    return svg(size, [*parts, stroke(axes.line(walked), BLUE, 1.8), *axes.calendar()])


def windows_chart(train: Sequence[float | None], test: Sequence[float | None], size: Size) -> str:
    """What was chosen for (a ring) and what came of it (a dot), window by window."""
    width = size[0] - RIGHT
    axes = Axes.around([date.min] * len(train), [train, test], size, include=[0.0])
    marks = axes.marks()
    parts = [*axes.rules(marks, number_label(marks)), *axes.level(0.0)]
    step = width / len(train)
    every = -(-len(train) * 26 // width)
    for number, (before, after) in enumerate(zip(train, test, strict=True)):
        x = (number + 0.5) * step
        if before is not None and after is not None:
            parts.append(stroke(f"M{x:.1f} {axes.y(before):.1f}V{axes.y(after):.1f}", MUTED, 1.2))
        if before is not None:
            ring = f'cx="{x:.1f}" cy="{axes.y(before):.1f}" r="4.5"'
            parts.append(f'<circle {ring} class="hole" stroke="{VERMILLION}" stroke-width="2"/>')
        if after is not None:
            parts.append(f'<circle cx="{x:.1f}" cy="{axes.y(after):.1f}" r="4.5" fill="{BLUE}"/>')
        if number % every == 0:
            parts.append(f'<text x="{x:.1f}" y="{size[1] - 5}" text-anchor="middle" {TEXT}>{number + 1}</text>')
    return svg(size, parts)


def histogram(edges: Sequence[float], counts: Sequence[int], size: Size) -> str:
    """How often a return (fraction) lay between two edges; what is beyond the outer ones stands in the outer bars."""
    base = size[1] - BOTTOM
    axes = replace(
        Axes.around([date.min] * 2, [[float(count) for count in counts]], size, include=[0.0]), low=0.0, base=base
    )
    marks = [mark for mark in ticks(0.0, axes.high, 3) if mark == round(mark)] or [0.0]
    parts = axes.rules(marks, number_label(marks))
    low, span = edges[0], edges[-1] - edges[0]

    def x(value: float) -> float:
        return (value - low) / span * axes.width

    for first, last, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            colour = VERMILLION if first < -1e-12 else BLUE
            parts.append(_bar(x(first) + 0.5, max(x(last) - x(first) - 1, 1.0), axes.y(count), base, colour))
    parts.append(stroke(f"M{x(0.0):.1f} {TOP}V{base}", MUTED, 1))
    labels = ticks(edges[0], edges[-1], max(axes.width // 110, 3))
    label = percent_label(labels)
    parts += [
        f'<text x="{min(max(x(value), 14), size[0] - 20):.1f}" y="{size[1] - 5}" text-anchor="middle" {TEXT}>'
        f"{label(value)}</text>"
        for value in labels
    ]
    return svg(size, [*parts, f'<path d="M0 {base}H{axes.width}" stroke="{RULE}" fill="none"/>'])


def coverage_chart(sessions: Sequence[date], share: Values, threshold: float, size: Size) -> str:
    """Share of the members with a bar, and dashed the least that is asked for."""
    axes = Axes.around(sessions, [share], size, include=[threshold, 1.0])
    axes = replace(axes, high=min(axes.high, 1.0 + (axes.high - axes.low) * 0.02))
    marks = [mark for mark in axes.marks(3) if mark <= 1.0]
    parts = axes.rules(marks, percent_label(marks))
    parts.append(stroke(f"M0 {axes.y(threshold):.1f}H{axes.width}", VERMILLION, 1.4, "5 3"))
    return svg(size, [*parts, stroke(axes.line(share), BLUE, 1.4), *axes.calendar()])


def _bar(x: float, width: float, top: float, base: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{max(base - top, 0):.1f}" '
        f'fill="{colour}" fill-opacity="0.85"/>'
    )
