"""The price chart of a tearsheet, as SVG that stands inside a page.

What belongs here: what it looks like. Drawn here and not by `charts.py`: there a chart costs 80 ms, and a session has
60 tearsheets with two of them each. The palette is that of `charts.py`, which the page's stylesheet re-colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from trading_pipeline.reports.charts import BLUE, INK, MUTED, ORANGE, RULE, VERMILLION
from trading_pipeline.reports.drawing import decimals, path, ticks

_RIGHT, _BOTTOM, _TOP = 56, 22, 8


def price_chart(
    sessions: Sequence[date],
    lines: Mapping[str, Sequence[float | None]],
    size: tuple[int, int],
    *,
    high: date | None = None,
    report: date | None = None,
) -> str:
    """Closes with their averages; the dip is the shaded span since `high`, ringed there and dotted at the end.

    lines: `close`, `sma_50`, `sma_200`, each as long as `sessions`; the close is never null. report: the session that
    traded on the last report, a short stroke on the axis. At least two sessions.
    """
    width, height = size
    values = [round(value, 9) for line in lines.values() for value in line if value is not None]
    marks = ticks(min(values), max(values))
    margin = (max(values) - min(values)) * 0.04
    low, top = min(values) - margin, max(values) + margin
    right, bottom = width - _RIGHT, height - _BOTTOM
    step = right / (len(sessions) - 1)

    def x(place: int) -> str:
        return f"{place * step:.1f}"

    def y(value: float) -> str:
        return f"{bottom - (round(value, 9) - low) / ((top - low) or 1) * (bottom - _TOP):.1f}"

    parts = [f'<svg viewBox="0 0 {width} {height}" aria-hidden="true" focusable="false">']
    parts += [f'<path d="M0 {y(tick)}H{right}" stroke="{RULE}" fill="none"/>' for tick in marks]
    places = {session: place for place, session in enumerate(sessions)}
    if high in places:
        start = places[high]
        span = f'x="{x(start)}" y="{_TOP}" width="{(len(sessions) - 1 - start) * step:.1f}" height="{bottom - _TOP}"'
        parts.append(f'<rect {span} fill="{ORANGE}" fill-opacity="0.16"/>')
    for name, colour, stroke, dash in (
        ("sma_200", VERMILLION, 1.6, ' stroke-dasharray="5 3"'),
        ("sma_50", BLUE, 1.6, ""),
        ("close", INK, 1.4, ""),
    ):
        line = path(lines[name], x, y)
        parts.append(
            f'<path d="{line}" stroke="{colour}" stroke-width="{stroke}" fill="none" stroke-linejoin="round"{dash}/>'
        )
    if report in places:
        at = x(places[report])
        parts.append(f'<path d="M{at} {bottom}v-14" stroke="{BLUE}" stroke-width="3" fill="none"/>')
    closes = lines["close"]
    if high in places and (close := closes[places[high]]) is not None:
        ring = f'cx="{x(places[high])}" cy="{y(close)}" r="4.5"'
        parts.append(f'<circle {ring} stroke="{VERMILLION}" stroke-width="2" fill="none"/>')
    if (last := closes[-1]) is not None:
        parts.append(f'<circle cx="{x(len(sessions) - 1)}" cy="{y(last)}" r="3.5" fill="{BLUE}"/>')
    label = f'fill="{MUTED}" font-size="12"'
    digits = decimals(marks)
    parts += [f'<text x="{right + 8}" y="{y(tick)}" dy="4" {label}>{tick:,.{digits}f}</text>' for tick in marks]
    every = 1 if width > 600 else 3
    for place, text in _months(sessions, every):
        if place * step < right - 20:
            parts.append(f'<text x="{x(place)}" y="{height - 6}" {label}>{text}</text>')
    return "".join([*parts, f'<path d="M0 {bottom}H{right}" stroke="{RULE}" fill="none"/></svg>'])


def _months(sessions: Sequence[date], every: int) -> list[tuple[int, str]]:
    """Where months begin: January by its year, the others by name; `every` n-th of them."""
    found = []
    for place in range(1, len(sessions)):
        day = sessions[place]
        if day.month != sessions[place - 1].month and (day.month - 1) % every == 0:
            found.append((place, f"{day:%Y}" if day.month == 1 else f"{day:%b}"))
    return found
