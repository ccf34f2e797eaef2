"""What the drawings of several pages share: lines with holes, round numbers on an axis.

What belongs here: pieces of SVG that stand for nothing yet. What does not: a chart (`tearsheets/drawing.py`,
`premarket/drawing.py`, `trading_day/drawing.py`), and those that Altair draws (`charts.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise


def path(values: Sequence[float | None], x: Callable[[int], str], y: Callable[[float], str]) -> str:
    """The `d` of a line through `values`, lifted where one is None; x of a place, y of a value."""
    steps, pen = [], "M"
    for place, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        steps.append(f"{pen}{x(place)} {y(value)}")
        pen = "L"
    return "".join(steps)


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers inside [low, high], at most about `count` of them; the value itself where it never moved."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / count
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 9) for number in range(first, last + 1)] or [low]


def decimals(marks: Sequence[float]) -> int:
    """How many decimals tell the marks of an axis apart."""
    if len(marks) < 2:
        return 2
    step = min(abs(later - sooner) for sooner, later in pairwise(marks))
    return next((digits for digits in range(9) if abs(step * 10**digits - round(step * 10**digits)) < 1e-6), 2)
