"""Curves: what an input is worth, as straight lines between corners, and the way back from points to input.

What belongs here: evaluating and inverting piecewise linear functions on arrays. What does not: which curve an input
has (`rules.toml`), how points become a total (`components.py`).

A curve rises, falls, or rises and then falls, so the inputs worth at least some points are one interval. An input
judged against its peers is worth a blend of two curves: of its own value, and of its value relative to their median.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trading_pipeline.research.panel import Floats
from trading_pipeline.research.screener.rules import Corners, Input, PeerCurve

_DIGITS = 6
"""Decimals of a needed input. Rounded away from the present one, so that what is shown does reach."""


@dataclass(frozen=True)
class Worth:
    """How the rows of an input are valued: its curve and, for those with peers, the curve relative to their median.

    median: one a row; NaN where there are too few peers, and the curve alone holds.
    """

    curve: Corners
    peers: PeerCurve | None = None
    median: Floats | None = None

    @classmethod
    def of(cls, judged: Input, environment: str, median: Floats | None = None) -> Worth:
        """The valuation of a rule in an environment."""
        return cls(judged.curve_in(environment), judged.peers, median)

    def points(self, values: Floats) -> Floats:
        """Points of each row's input, 0 to 100; NaN where it is unknown. Infinite is the worst of a multiple."""
        own = evaluate(self.curve, values)
        if self.peers is None or self.median is None:
            return own
        relative = evaluate(self.peers.curve, _relative(self.peers, values, self.median))
        return np.where(np.isfinite(self.median), own + self.peers.weight * (relative - own), own)

    def at(self, rows: np.ndarray) -> Worth:
        """The same for some of the rows."""
        return Worth(self.curve, self.peers, None if self.median is None else self.median[rows])

    @property
    def best(self) -> float:
        """Most points any input can have."""
        return max(y for _, y in self.curve)

    def needed(self, values: Floats, points: Floats) -> Floats:
        """The input nearest to each of `values` that is worth `points`; NaN where none is.

        values: worth less than `points`. The answer is rounded to 6 decimals on the far side.
        """
        corners = self._corners(len(values))
        worth = np.column_stack([self.points(corners[:, column]) for column in range(corners.shape[1])])
        peak = np.argmax(worth, axis=1)
        best = np.take_along_axis(corners, peak[:, None], axis=1)[:, 0]
        upwards = values < best
        up = _crossing(corners, worth, points)
        down = -_crossing(-corners[:, ::-1], worth[:, ::-1], points)
        scale = 10.0**_DIGITS
        return np.where(upwards, np.ceil(up * scale - 1e-6) / scale, np.floor(down * scale + 1e-6) / scale)

    def _corners(self, rows: int) -> Floats:
        """Rows x corners, ascending: where the blend of both curves bends."""
        own = np.broadcast_to(np.array([x for x, _ in self.curve], dtype=np.float64), (rows, len(self.curve)))
        if self.peers is None or self.median is None:
            return own
        known = np.isfinite(self.median)
        median = np.where(known, self.median, 0.0)[:, None]
        bends = np.array([x for x, _ in self.peers.curve], dtype=np.float64)[None, :]
        theirs = median * bends if self.peers.kind == "ratio" else median + bends
        return np.sort(np.hstack([own, np.where(known[:, None], theirs, own[:, :1])]), axis=1)


def evaluate(curve: Corners, values: Floats) -> Floats:
    """The curve at each value: level outside its corners, NaN where the value is."""
    xs, ys = (np.array(axis, dtype=np.float64) for axis in zip(*curve, strict=True))
    return np.asarray(np.interp(values, xs, ys))


def _relative(peers: PeerCurve, values: Floats, median: Floats) -> Floats:
    return values / median if peers.kind == "ratio" else values - median


def _crossing(corners: Floats, worth: Floats, points: Floats) -> Floats:
    """The smallest x, from the left, at which the lines through the corners reach `points`; NaN where they never do."""
    reached = worth >= points[:, None]
    first = np.argmax(reached, axis=1)
    before = np.maximum(first - 1, 0)
    at = np.arange(len(points))
    x0, x1, y0, y1 = corners[at, before], corners[at, first], worth[at, before], worth[at, first]
    rise = np.where(y1 > y0, y1 - y0, 1.0)
    x = np.where(first > 0, x0 + (points - y0) / rise * (x1 - x0), x1)
    return np.where(reached.any(axis=1), x, np.nan)
