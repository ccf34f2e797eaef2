"""The axes of a backtest's charts: sessions from left to right, a number from bottom to top, linear or logarithmic.

What belongs here: places, rules, labels and thinned lines. What does not: a chart (`drawing.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np

from trading_pipeline.reports.charts import MUTED, RULE
from trading_pipeline.reports.drawing import decimals, path, ticks

Size = tuple[int, int]
Values = Sequence[float | None] | np.ndarray

WIDE, NARROW = (1000, 280), (354, 230)
WIDE_LOW, NARROW_LOW = (1000, 170), (354, 160)
TOP, BOTTOM = 8, 22
RIGHT = 56
"""Pixels beside the drawing for the labels of numbers."""
LEAST_TICK = 44
"""Pixels that two labels of time must be apart."""
POINTS_A_PIXEL = 0.25
"""Stretches that a line is thinned to, a pixel; each keeps its lowest and its highest point."""
LOG_FROM = 2.5
"""Highest over lowest from which a logarithmic axis shows an early percent as well as a late one."""
_STEPS = (1, 3, 6, 12, 24, 60, 120, 240)


@dataclass(frozen=True)
class Axes:
    """A panel of a drawing: `sessions` across `width` pixels, `low` to `high` between the pixels `base` and `top`."""

    sessions: Sequence[date]
    low: float
    high: float
    width: int
    top: float
    base: float
    log: bool = False

    @classmethod
    def around(
        cls,
        sessions: Sequence[date],
        values: Sequence[Values],
        size: Size,
        *,
        top: float = TOP,
        base: float | None = None,
        log: bool = False,
        include: Sequence[float] = (),
    ) -> Axes:
        """A panel in which all values, and those to `include`, have room."""
        known = [_floats(each) for each in values]
        everything = np.concatenate([*(each[np.isfinite(each)] for each in known), np.array(include, dtype=float)])
        low, high = (float(everything.min()), float(everything.max())) if len(everything) else (0.0, 1.0)
        if log and low > 0:
            margin = (high / low) ** 0.03
            low, high = low / margin, high * margin
        else:
            margin = (high - low) * 0.04 or abs(high) * 0.02 or 0.01
            low = low if low in include and low == 0 else low - margin
            high = high if high in include and high == 0 else high + margin
        bottom = size[1] - BOTTOM if base is None else base
        return cls(sessions, low, high, size[0] - RIGHT, top, bottom, log and low > 0)

    def x(self, place: float) -> float:
        """Place of a session, counted from 0."""
        return place / max(len(self.sessions) - 1, 1) * self.width

    def y(self, value: float) -> float:
        """Place of a value, never outside of the panel."""
        value = round(value, 9)
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.base - min(max(share, 0.0), 1.0) * (self.base - self.top)

    def line(self, values: Values) -> str:
        """The `d` of a line through one value a session, lifted over holes."""
        kept = thinned(_floats(values), max(int(self.width * POINTS_A_PIXEL), 2))
        told = _floats(values)[kept]
        return path(
            [float(value) if math.isfinite(value) else None for value in told],
            lambda place: f"{self.x(kept[place]):.1f}",
            lambda value: f"{self.y(value):.1f}",
        )

    def area(self, low: Values, high: Values) -> str:
        """The `d` of what lies between two lines without holes."""
        above, below = _floats(high), _floats(low)
        count = max(int(self.width * POINTS_A_PIXEL), 2)
        there, back = thinned(above, count), thinned(below, count)[::-1]
        steps = [f"{self.x(place):.1f} {self.y(float(above[place])):.1f}" for place in there]
        steps += [f"{self.x(place):.1f} {self.y(float(below[place])):.1f}" for place in back]
        return f"M{'L'.join(steps)}Z"

    def marks(self, count: int = 4) -> list[float]:
        """Round numbers on the axis."""
        if self.log:
            # 1, 2 and 5 of each power of ten; where that is too coarse, steps of one size.
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            found = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
            inside = [mark for mark in found if self.low <= mark <= self.high]
            if len(inside) > 2:
                return inside
        return ticks(self.low, self.high, count)

    def rules(self, marks: Sequence[float], label: Callable[[float], str], *, unless: float = 15) -> list[str]:
        """A rule for each mark, and its label on the right where that does not touch the label before it."""
        parts, last = [], math.inf
        for mark in sorted(marks):
            y = self.y(mark)
            parts.append(f'<path d="M0 {y:.1f}H{self.width}" stroke="{RULE}" fill="none"/>')
            if last - y >= unless:
                last = y
                parts.append(f'<text x="{self.width + 7}" y="{y:.1f}" dy="4" {TEXT}>{label(mark)}</text>')
        return parts

    def calendar(self) -> list[str]:
        """The axis of time below the panel: months by name, years where they begin."""
        parts = [f'<path d="M0 {self.base:.1f}H{self.width}" stroke="{RULE}" fill="none"/>']
        for place, label in _dates(self.sessions, self.width):
            x = self.x(place)
            anchor = "start" if x < 18 else "end" if x > self.width + RIGHT - 18 else "middle"
            parts.append(f'<path d="M{x:.1f} {self.base:.1f}v4" stroke="{RULE}" fill="none"/>')
            parts.append(f'<text x="{x:.1f}" y="{self.base + 17:.1f}" text-anchor="{anchor}" {TEXT}>{label}</text>')
        return parts

    def level(self, value: float) -> list[str]:
        """A line at a value that means something, such as 0; none outside of the panel."""
        if not self.low <= value <= self.high:
            return []
        return [f'<path d="M0 {self.y(value):.1f}H{self.width}" stroke="{MUTED}" fill="none"/>']


TEXT = f'fill="{MUTED}" font-size="12"'


def thinned(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the lowest and the highest value of each of `count` stretches, both ends, and of holes one a stretch.

    All places where there are few enough.
    """
    if len(values) <= 2 * count + 2:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), count + 1).astype(int)
    kept = {0, len(values) - 1}
    for first, last in pairwise(edges.tolist()):
        part = values[first:last]
        known = np.isfinite(part)
        if known.any():
            kept |= {first + int(np.nanargmin(part)), first + int(np.nanargmax(part))}
        if not known.all():
            kept.add(first + int(np.argmin(known)))
    return np.array(sorted(kept))


def money_label(highest: float) -> Callable[[float], str]:
    """Writes amounts of an axis as briefly as its highest allows: 850, 85k, 1.2m."""
    unit, sign = next(((u, s) for u, s in ((1e9, "bn"), (1e6, "m"), (1e4, "k")) if highest >= u), (1.0, ""))
    unit = 1e3 if sign == "k" else unit
    return lambda value: f"{value / unit:,.10g}{sign}".replace("-", "−")


def percent_label(marks: Sequence[float]) -> Callable[[float], str]:
    """Writes fractions of an axis as per cent, with the decimals that tell its marks apart."""
    digits = decimals([100 * mark for mark in marks]) if len(marks) > 1 else 1
    return lambda value: f"{100 * value + 0.0:.{digits}f}%".replace("-", "−")


def number_label(marks: Sequence[float]) -> Callable[[float], str]:
    """Writes numbers of an axis with the decimals that tell its marks apart."""
    digits = decimals(marks)
    return lambda value: f"{value + 0.0:,.{digits}f}".replace("-", "−")


def svg(size: Size, parts: Sequence[str]) -> str:
    """A drawing that a screen reader passes over: the page says in words what it shows."""
    return "".join([f'<svg viewBox="0 0 {size[0]} {size[1]}" aria-hidden="true" focusable="false">', *parts, "</svg>"])


def stroke(d: str, colour: str, width: float = 1.6, dash: str = "") -> str:
    """A line; nothing where there is none."""
    if not d:
        return ""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{d}" stroke="{colour}" stroke-width="{width}" fill="none" stroke-linejoin="round"{dashed}/>'


def fill(d: str, colour: str, opacity: float) -> str:
    """An area."""
    return f'<path d="{d}" fill="{colour}" fill-opacity="{opacity}"/>'


def logarithmic(*values: Values) -> bool:
    """Whether a logarithmic axis helps: everything is above 0, and the highest is far above the lowest."""
    known = np.concatenate([_floats(each) for each in values])
    known = known[np.isfinite(known)]
    return bool(len(known) and known.min() > 0 and known.max() / known.min() >= LOG_FROM)


def _floats(values: Values) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _dates(sessions: Sequence[date], width: int) -> list[tuple[int, str]]:
    """(place, label) of the first sessions of months, as many as have room."""
    starts = [
        place
        for place, session in enumerate(sessions)
        if place and (session.year, session.month) != (sessions[place - 1].year, sessions[place - 1].month)
    ]
    if not starts:
        return [(0, f"{sessions[0].day} {sessions[0]:%b %Y}")]
    most = max(width // LEAST_TICK, 1)
    step = next((each for each in _STEPS if len(starts) / each <= most), _STEPS[-1])
    found = []
    for place in starts:
        session = sessions[place]
        if (12 * session.year + session.month - 1) % step == 0:
            found.append((place, f"{session.year}" if session.month == 1 else f"{session:%b}"))
    return found
