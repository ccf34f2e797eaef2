"""The parameter map of a sweep: which sets of parameters do well, and whether their neighbours do.

What belongs here: choosing two parameters, the map as SVG, the sets worth naming. What does not: which set is stable
(`research/sweeps/stability.py`, told by the table).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from trading_pipeline.reports import wording
from trading_pipeline.reports.backtests.axes import TEXT, Size, svg
from trading_pipeline.reports.charts import INK

SHADES = 4
"""Shades of each sign."""
LEAST_WIDTH = 34
"""Pixels a cell must have for its number to stand in it."""


@dataclass(frozen=True)
class ParameterMap:
    """A sweep as a table of two parameters.

    sets: the rows of PARAMETER_SWEEPS with a column `values`, the set as a struct of its varying parameters. down,
    across: names of the two that are drawn, of several the two with the most values; None where fewer vary. fixed: the
    other varying ones at the value that the map is drawn for: the configured set's, or else the best set's.
    """

    sets: list[dict[str, Any]]
    varying: tuple[str, ...]
    down: str | None
    across: str | None
    fixed: Mapping[str, Any]

    @cached_property
    def cells(self) -> dict[tuple[Any, Any], dict[str, Any]]:
        """The drawn sets by their two values."""
        if self.down is None or self.across is None:
            return {}
        return {
            (each["set"][self.down], each["set"][self.across]): each
            for each in self.sets
            if all(each["set"][name] == value for name, value in self.fixed.items())
        }

    @property
    def scale(self) -> float:
        """Largest absolute median Sharpe ratio of the map."""
        known = [abs(each["median_sharpe"]) for each in self.cells.values() if each["median_sharpe"] is not None]
        return max(known, default=0.0)

    def named(self, each: Mapping[str, Any]) -> str:
        """A set in words: its varying parameters."""
        return ", ".join(f"{name} {shown(each['set'][name])}" for name in self.varying) or "the only set"

    @property
    def configured(self) -> dict[str, Any] | None:
        """The set the configuration trades, where the sweep tried it."""
        return next((each for each in self.sets if each["configured"]), None)

    @property
    def plateau(self) -> dict[str, Any] | None:
        """The set whose worst neighbour is the best there is."""
        return next((each for each in self.sets if each["is_plateau"]), None)

    @property
    def best(self) -> dict[str, Any] | None:
        """The set with the highest median Sharpe ratio: mostly the luckiest."""
        return self.sets[0] if self.sets and self.sets[0]["median_sharpe"] is not None else None

    @property
    def neighbours(self) -> list[dict[str, Any]]:
        """The sets one step from the configured one on the map, by their values."""
        own = self.configured
        if own is None or (own["set"].get(self.down), own["set"].get(self.across)) not in self.cells:
            return []
        rows, columns = self.sides
        row, column = rows.index(own["set"][self.down]), columns.index(own["set"][self.across])
        near = [
            self.cells.get((each, other))
            for each in rows[max(row - 1, 0) : row + 2]
            for other in columns[max(column - 1, 0) : column + 2]
        ]
        return [each for each in near if each is not None and each is not own]

    @property
    def sides(self) -> tuple[list[Any], list[Any]]:
        """The values of both parameters, ascending."""
        return sorted({key for key, _ in self.cells}), sorted({key for _, key in self.cells})


def parameter_map(sweep: pl.DataFrame) -> ParameterMap | None:
    """The map of the rows of PARAMETER_SWEEPS; None without any. Sets come the best first, those without trades last.

    Numbers sort as numbers; values of one parameter that are not all numbers sort as text.
    """
    if sweep.is_empty():
        return None
    rows = sweep.sort(pl.col("median_sharpe").round(9), "parameters", descending=[True, False], nulls_last=True)
    sets = [{**row, "set": json.loads(row["parameters"])} for row in rows.iter_rows(named=True)]
    values = {name: {json.dumps(each["set"][name]) for each in sets} for name in sets[0]["set"]}
    varying = tuple(name for name in values if len(values[name]) > 1)
    drawn = sorted(varying, key=lambda name: (-len(values[name]), name))[:2]
    # Text cannot be told apart from numbers by a sort, so a parameter that mixes them is not drawn.
    if len(drawn) < 2 or not all(isinstance(each["set"][name], int | float) for each in sets for name in drawn):
        return ParameterMap(sets, varying, None, None, {})
    across, down = drawn
    around = next((each for each in sets if each["configured"]), sets[0])["set"]
    fixed = {name: around[name] for name in varying if name not in drawn}
    return ParameterMap(sets, varying, down, across, fixed)


def shown(value: Any) -> str:
    """A parameter's value as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " / ".join(map(shown, value))
    return wording.plain(value) if isinstance(value, int | float) else "none" if value is None else str(value)


def shade(value: float | None, scale: float) -> str:
    """Class of a cell: g1 to g4 above 0, l1 to l4 below, each a quarter of the scale; `none` for what is unknown."""
    if value is None or not math.isfinite(value):
        return "none"
    value = round(value, 9)
    level = min(max(math.ceil(abs(value) / (scale or 1.0) * SHADES - 1e-9), 1), SHADES)
    return "flat" if value == 0 else f"{'g' if value > 0 else 'l'}{level}"


def drawn(told: ParameterMap, size: Size) -> str:
    """The map: a cell a set, shaded by its median Sharpe ratio, which stands in it where there is room.

    A thick frame marks the configured set, a dashed one inside its cell the stable one.
    """
    rows, columns = told.sides
    width, height = size
    left = 10 + 7.5 * max(len(shown(each)) for each in rows)
    step, tall = (width - left - 2) / len(columns), (height - 24) / len(rows)
    parts: list[str] = []
    frames: list[str] = []
    for place, down in enumerate(rows):
        y = place * tall + 2
        parts.append(
            f'<text x="{left - 8:.1f}" y="{y + tall / 2:.1f}" dy="4" text-anchor="end" {TEXT}>{shown(down)}</text>'
        )
        for at, across in enumerate(columns):
            each = told.cells.get((down, across))
            if each is None:
                continue
            x, value = left + at * step, each["median_sharpe"]
            box = f'x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{step - 1:.1f}" height="{tall - 1:.1f}"'
            parts.append(f'<rect {box} class="{shade(value, told.scale)}"/>')
            if step >= LEAST_WIDTH and value is not None:
                at_middle = f'x="{x + step / 2:.1f}" y="{y + tall / 2:.1f}" dy="4" text-anchor="middle"'
                parts.append(f'<text {at_middle} class="on" font-size="12">{wording.number(value, 2)}</text>')
            if each["configured"]:
                frames.append(_frame(x, y, step, tall, 1.0, f'stroke="{INK}" stroke-width="2.5"'))
            if each["is_plateau"]:
                frames.append(
                    _frame(x, y, step, tall, 4.0, f'stroke="{INK}" stroke-width="1.6" stroke-dasharray="4 2"')
                )
    for at in _labelled(len(columns), step, max(len(shown(each)) for each in columns)):
        x = left + (at + 0.5) * step
        parts.append(f'<text x="{x:.1f}" y="{height - 5}" text-anchor="middle" {TEXT}>{shown(columns[at])}</text>')
    return svg(size, [*parts, *frames])


def tall(told: ParameterMap, width: int) -> Size:
    """The size of the map's drawing: rows as high as a thumb at most."""
    rows, _ = told.sides
    return width, 24 + len(rows) * min(max(360 // max(len(rows), 1), 12), 34)


def _frame(x: float, y: float, width: float, height: float, inset: float, pen: str) -> str:
    box = f'x="{x + inset:.1f}" y="{y + inset:.1f}" width="{width - 2 * inset:.1f}" height="{height - 2 * inset:.1f}"'
    return f'<rect {box} fill="none" {pen}/>'


def _labelled(count: int, step: float, letters: int) -> Sequence[int]:
    every = max(math.ceil((letters * 7.5 + 6) / step), 1)
    return range(0, count, every)
