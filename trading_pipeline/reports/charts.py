"""The briefing's charts, as SVG that stands inside a page: no script, no network, no font of its own.

What belongs here: what a chart looks like. What does not: which numbers it shows (`briefing.py`) and the colours of a
light or a dark page: a chart is drawn in the light palette, and the page's stylesheet re-colours it by these values.

Altair writes the grammar, vl-convert draws it. Both are imported where they are used: together they take 2 s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from functools import cache
from typing import Any

import polars as pl

# Okabe and Ito's palette, which the common kinds of colour blindness can tell apart. Dashes and labels tell the same.
INK = "#222222"
MUTED = "#767676"
RULE = "#dddddd"
BLUE = "#0072b2"
ORANGE = "#e69f00"
VERMILLION = "#d55e00"
GREY = "#8a8f98"

PART_COLOURS = {"market": GREY, "sector": ORANGE, "company": BLUE}
SIGN_COLOURS = {"gain": BLUE, "loss": VERMILLION}
SPARK_SIZE = (128, 34)
BAR_SIZE = (150, 16)
# Small charts share one specification: the grammar is written once and the rows of each are put in by this name.
ROWS = "rows"

_CONFIG: dict[str, Any] = {
    "background": None,
    "aria": False,
    "font": "system-ui, sans-serif",
    "padding": 0,
    "view": {"stroke": None},
}
# Months by name, years where they begin.
_MONTHS = "utcmonth(datum.value) == 0 ? utcFormat(datum.value, '%Y') : utcFormat(datum.value, '%b')"

# A chart's marks are no separate things to a screen reader: the page says in words what a chart shows, and scales it.
_CLEANING = (
    (r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">'),
    (r'<path class="(?:background|foreground)"[^>]*/>', ""),
    (r' (?:class|role|aria-roledescription|pointer-events|font-family|opacity)="[^"]*"', ""),
    (r' aria-hidden="true"(?! focusable)', ""),
    (r"<g></g>", ""),
)
_LONG_NUMBER = r"\d+\.\d{3,}"


def index_chart(benchmark: pl.DataFrame, size: tuple[int, int]) -> str:
    """Closes of the index with their 50- and 200-session averages: [session, close, sma_50, sma_200]."""
    lines = benchmark.unpivot(["close", "sma_50", "sma_200"], index="session", variable_name="line").drop_nulls()
    return _lines(
        lines,
        size,
        colours={"close": INK, "sma_50": BLUE, "sma_200": VERMILLION},
        dashes={"close": [1, 0], "sma_50": [1, 0], "sma_200": [5, 3]},
        widths={"close": 1.4, "sma_50": 1.8, "sma_200": 1.8},
        axis_format=",.4~g",
        domain=None,
    )


def breadth_chart(regime: pl.DataFrame, size: tuple[int, int]) -> str:
    """Share of members above their averages, session by session: [session, breadth_50, breadth_200]."""
    lines = regime.unpivot(["breadth_50", "breadth_200"], index="session", variable_name="line").drop_nulls()
    return _lines(
        lines,
        size,
        colours={"breadth_50": BLUE, "breadth_200": VERMILLION},
        dashes={"breadth_50": [1, 0], "breadth_200": [5, 3]},
        widths={"breadth_50": 1.8, "breadth_200": 1.8},
        axis_format=".0%",
        domain=(0.0, 1.0),
    )


def sparkline(sessions: Sequence[date], closes: Sequence[float], high: date | None) -> str:
    """A price history without axes; `high` is marked with a ring, the last close with a dot."""
    last = len(sessions) - 1
    values = [
        {"x": index, "y": close, "mark": "high" if session == high else "last" if index == last else None}
        for index, (session, close) in enumerate(zip(sessions, closes, strict=True))
    ]
    return _draw(_filled(_sparkline_spec(), values))


def stacked_bar(parts: dict[str, float], span: tuple[float, float], colours: dict[str, str]) -> str:
    """Parts of a whole on both sides of zero, as one bar; `span` is the common scale of all bars of a table."""
    # A category's place in the stack is its place in the dict: the same in every row.
    values = [{"part": name, "value": value, "place": place} for place, (name, value) in enumerate(parts.items())]
    low, high = (round(end, 9) for end in span)
    return _draw(_filled(_stacked_bar_spec((low, high), tuple(colours.items())), values))


@cache
def _sparkline_spec() -> dict[str, Any]:
    import altair as alt

    x = alt.X("x:Q", axis=None, scale=alt.Scale(nice=False, zero=False, padding=4))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(zero=False, nice=False, padding=5))
    base = alt.Chart(alt.NamedData(name=ROWS))
    chart = alt.layer(
        base.mark_line(color=MUTED, strokeWidth=1.2, strokeJoin="round").encode(x, y),
        base.mark_point(color=VERMILLION, size=34, strokeWidth=1.6, filled=False)
        .transform_filter("datum.mark == 'high'")
        .encode(x, y),
        base.mark_point(color=BLUE, size=26, filled=True).transform_filter("datum.mark == 'last'").encode(x, y),
    )
    return _specification(chart, SPARK_SIZE)


@cache
def _stacked_bar_spec(span: tuple[float, float], colours: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    import altair as alt

    bars = (
        alt.Chart(alt.NamedData(name=ROWS))
        .mark_bar(height=BAR_SIZE[1] - 6)
        .encode(
            alt.X("value:Q", axis=None, stack="zero", scale=alt.Scale(domain=list(span), nice=False)),
            alt.Color(
                "part:N",
                legend=None,
                scale=alt.Scale(domain=[name for name, _ in colours], range=[colour for _, colour in colours]),
            ),
            alt.Order("place:Q"),
        )
    )
    zero = alt.Chart(alt.InlineData(values=[{}])).mark_rule(color=INK, strokeWidth=1).encode(x=alt.datum(0))
    chart = alt.layer(bars, zero)
    return _specification(chart, BAR_SIZE)


def _lines(
    lines: pl.DataFrame,
    size: tuple[int, int],
    *,
    colours: dict[str, str],
    dashes: dict[str, list[int]],
    widths: dict[str, float],
    axis_format: str,
    domain: tuple[float, float] | None,
) -> str:
    import altair as alt

    names = list(colours)
    months = 1 if size[0] > 600 else 3
    values = alt.InlineData(values=lines.with_columns(pl.col("session").cast(pl.String)).to_dicts())
    chart = (
        alt.Chart(values)
        .mark_line(strokeJoin="round")
        .encode(
            alt.X(
                "session:T",
                title=None,
                # A session is a date without a time zone: in UTC it stays on its day wherever the page is made.
                scale=alt.Scale(type="utc"),
                axis=alt.Axis(
                    grid=False,
                    tickCount={"interval": "month", "step": months},
                    labelExpr=_MONTHS,
                    labelFlush=True,
                    labelOverlap=True,
                ),
            ),
            alt.Y(
                "value:Q",
                title=None,
                scale=alt.Scale(domain=list(domain)) if domain else alt.Scale(zero=False, nice=True),
                axis=alt.Axis(orient="right", tickCount=5, format=axis_format, domain=False, ticks=False),
            ),
            alt.Color("line:N", legend=None, scale=alt.Scale(domain=names, range=[colours[name] for name in names])),
            alt.StrokeDash(
                "line:N", legend=None, scale=alt.Scale(domain=names, range=[dashes[name] for name in names])
            ),
            alt.StrokeWidth(
                "line:N", legend=None, scale=alt.Scale(domain=names, range=[widths[name] for name in names])
            ),
        )
    )
    spec = _specification(chart, size)
    spec["config"]["axis"] = {
        "labelColor": MUTED,
        "labelFontSize": 12,
        "labelPadding": 6,
        "gridColor": RULE,
        "domainColor": RULE,
        "tickColor": RULE,
    }
    return _draw(spec)


def _specification(chart: Any, size: tuple[int, int]) -> dict[str, Any]:
    spec = chart.properties(width=size[0], height=size[1], padding=0).to_dict()
    spec["config"] = {**_CONFIG, "axis": {}}
    return spec  # type: ignore[no-any-return]


def _filled(spec: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    # The last bits of a number depend on how long a range it was computed in; a drawing must not.
    rows = [{name: round(each, 9) if isinstance(each, float) else each for name, each in row.items()} for row in rows]
    return {**spec, "datasets": {**spec.get("datasets", {}), ROWS: rows}}


def _draw(spec: dict[str, Any]) -> str:
    import vl_convert

    svg = vl_convert.vegalite_to_svg(json.dumps(spec))
    for what, instead in _CLEANING:
        svg = re.sub(what, instead, svg)
    return re.sub(_LONG_NUMBER, lambda number: f"{float(number[0]):.2f}", svg)


__all__ = ["PART_COLOURS", "SIGN_COLOURS", "breadth_chart", "index_chart", "sparkline", "stacked_bar"]
