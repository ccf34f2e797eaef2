"""The charts of a trading day, as SVG that stands inside its page: each axis is the session from open to close.

What belongs here: what they look like. The palette is that of `charts.py`, which the page's stylesheet re-colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log2
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from trading_pipeline.reports.charts import BLUE, GREY, INK, MUTED, ORANGE, RULE, VERMILLION
from trading_pipeline.reports.drawing import decimals, ticks

if TYPE_CHECKING:
    from trading_pipeline.reports.trading_day.trips import Execution

TRADE_SIZE = (440, 250)
"""One drawing for every screen: two beside each other on a desk, one on a phone, so that its text must be large."""
HOLE = timedelta(minutes=5)
"""Minutes without a bar from which a line is broken: as the features call a halt."""

_TOP = 8
_LABEL = 14
"""Pixels that two names of bands must be apart."""
_BANDS = ((3, 0.10), (2, 0.12), (1, 0.16))


@dataclass(frozen=True)
class Frame:
    """The session's hours by the values' range, on a drawing of `size`, with room on the right for `right` pixels."""

    opens_at: datetime
    closes_at: datetime
    low: float
    high: float
    size: tuple[int, int]
    right: int = 56
    bottom: int = 22
    font: float = 12

    @property
    def width(self) -> int:
        """Pixels of the session."""
        return self.size[0] - self.right

    @property
    def base(self) -> int:
        """Where the axis of time lies."""
        return self.size[1] - self.bottom

    def x(self, moment: datetime) -> float:
        """Place of a moment; what is outside the session is at its end."""
        share = (moment - self.opens_at) / (self.closes_at - self.opens_at)
        return min(max(share, 0.0), 1.0) * self.width

    def y(self, value: float) -> float:
        """Place of a value, never outside of the drawing."""
        share = (round(value, 9) - self.low) / ((self.high - self.low) or 1.0)
        return self.base - min(max(share, 0.0), 1.0) * (self.base - _TOP)

    def line(self, moments: Sequence[datetime], values: Sequence[float | None], *, steps: bool = False) -> str:
        """The `d` of a line, lifted over holes and Nones; `steps`: each value holds until the next."""
        parts: list[str] = []
        last: datetime | None = None
        seconds, opens = (self.closes_at - self.opens_at).total_seconds(), self.opens_at
        across, base = self.width / seconds, self.base
        up = (base - _TOP) / ((self.high - self.low) or 1.0)
        for moment, value in zip(moments, values, strict=True):
            if value is None:
                last = None
                continue
            x = min(max((moment - opens).total_seconds(), 0.0), seconds) * across
            y = base - min(max((round(value, 9) - self.low) * up, 0.0), base - _TOP)
            if last is None or (not steps and moment - last > HOLE):
                parts.append(f"M{x:.1f} {y:.1f}")
            else:
                parts.append(f"H{x:.1f}V{y:.1f}" if steps else f"L{x:.1f} {y:.1f}")
            last = moment
        return "".join(parts)

    def axes(self, marks: Sequence[float], timezone: ZoneInfo, labels: Sequence[str] | None = None) -> list[str]:
        """Rules and labels: of the values on the right, of full hours below."""
        digits = decimals(marks)
        shown = labels or [f"{mark:,.{digits}f}".replace("-", "−") for mark in marks]
        text = f'fill="{MUTED}" font-size="{self.font}"'
        parts = [f'<path d="M0 {self.y(mark):.1f}H{self.width}" stroke="{RULE}" fill="none"/>' for mark in marks]
        parts += [
            f'<text x="{self.width + 7}" y="{self.y(mark):.1f}" dy="4" {text}>{label}</text>'
            for mark, label in zip(marks, shown, strict=True)
        ]
        every = 1 if self.width > 600 or self.closes_at - self.opens_at < timedelta(hours=4) else 2
        local = self.opens_at.astimezone(timezone)
        hour = local.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        while hour < self.closes_at:
            x = self.x(hour)
            if hour.hour % every == 0 and x < self.width - 18:
                parts.append(f'<path d="M{x:.1f} {self.base}v4" stroke="{RULE}" fill="none"/>')
                parts.append(
                    f'<text x="{x:.1f}" y="{self.size[1] - 5}" text-anchor="middle" {text}>{hour:%H:%M}</text>'
                )
            hour += timedelta(hours=1)
        return [*parts, f'<path d="M0 {self.base}H{self.width}" stroke="{RULE}" fill="none"/>']


def _svg(size: tuple[int, int], parts: Sequence[str]) -> str:
    return "".join([f'<svg viewBox="0 0 {size[0]} {size[1]}" aria-hidden="true" focusable="false">', *parts, "</svg>"])


def _stroke(d: str, colour: str, width: float, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{d}" stroke="{colour}" stroke-width="{width}" fill="none" stroke-linejoin="round"{dashed}/>'


def trade_chart(
    started: Sequence[datetime],
    closes: Sequence[float],
    vwap: Sequence[float | None],
    bands: Sequence[tuple[float, float] | None],
    executions: Sequence[Execution],
    hours: tuple[datetime, datetime],
    timezone: ZoneInfo,
    *,
    entry: float,
    stop: float | None = None,
    target: float | None = None,
    held: tuple[datetime, datetime] | None = None,
) -> str:
    """Closes of a session's minutes with VWAP and the premarket bands, and a trade in it.

    started: start of each bar. bands: (lower, upper) of 1, 2 and 3 sigmas, None where unknown. held: from when to when
    the position was held: that span is shaded, and stop and target are drawn over it. Triangles are executions: up for
    a purchase, down for a sale, filled for what opens and hollow for what closes. Without bars, the trade alone.
    """
    levels = [level for level in (stop, target) if level is not None]
    prices = [
        entry,
        *levels,
        *closes,
        *(each.price for each in executions),
        *(each for each in vwap if each is not None),
    ]
    margin = (max(prices) - min(prices)) * 0.06 or max(prices) * 0.002
    frame = Frame(*hours, min(prices) - margin, max(prices) + margin, TRADE_SIZE, right=58, bottom=24, font=13)
    parts = []
    for (_, shade), band in zip(_BANDS, reversed(bands), strict=True):
        if band is not None and band[1] > frame.low and band[0] < frame.high:
            top, bottom = frame.y(band[1]), frame.y(band[0])
            parts.append(
                f'<rect x="0" y="{top:.1f}" width="{frame.width}" height="{bottom - top:.1f}" '
                f'fill="{GREY}" fill-opacity="{shade}"/>'
            )
    if held:
        start, end = frame.x(held[0]), frame.x(held[1])
        parts.append(
            f'<rect x="{start:.1f}" y="{_TOP}" width="{max(end - start, 1.5):.1f}" height="{frame.base - _TOP}" '
            f'fill="{ORANGE}" fill-opacity="0.18"/>'
        )
    parts += frame.axes(ticks(min(prices), max(prices), 5), timezone)
    parts += _band_lines(frame, bands)
    moments = [at + timedelta(minutes=1) for at in started]
    parts.append(_stroke(frame.line(moments, vwap), BLUE, 1.5))
    parts.append(_stroke(frame.line(moments, closes), INK, 1.3))
    if held:
        start, end = frame.x(held[0]), max(frame.x(held[1]), frame.x(held[0]) + 14)
        for level, colour, dash in ((stop, VERMILLION, "2 3"), (target, BLUE, "7 4"), (entry, INK, "1 0")):
            if level is not None:
                parts.append(_stroke(f"M{start:.1f} {frame.y(level):.1f}H{end:.1f}", colour, 2, dash))
    for each in executions:
        x, y = frame.x(each.at), frame.y(each.price)
        d = f"M{x:.1f} {y:.1f}l-6 10h12z" if each.side == "buy" else f"M{x:.1f} {y:.1f}l-6 -10h12z"
        fill = INK if each.opening else "none"
        parts.append(f'<path d="{d}" fill="{fill}" stroke="{INK}" stroke-width="1.8" stroke-linejoin="round"/>')
    return _svg(TRADE_SIZE, parts)


def _band_lines(frame: Frame, bands: Sequence[tuple[float, float] | None]) -> list[str]:
    """Lines of the bands that are in sight, named as far as the names do not cover each other, the inner ones first."""
    parts: list[str] = []
    named: list[float] = []
    for width, band in enumerate(bands, start=1):
        for sign, level in zip("−+", band or (), strict=False):
            if not frame.low < level < frame.high:
                continue
            y = frame.y(level)
            parts.append(_stroke(f"M0 {y:.1f}H{frame.width}", MUTED, 0.6))
            if all(abs(y - other) >= _LABEL for other in named):
                named.append(y)
                parts.append(f'<text x="3" y="{y:.1f}" dy="-2" fill="{MUTED}" font-size="13">{sign}{width}σ</text>')
    return parts


def profit_chart(
    moments: Sequence[datetime],
    total: Sequence[float],
    closed: Sequence[float],
    hours: tuple[datetime, datetime],
    timezone: ZoneInfo,
    size: tuple[int, int],
) -> str:
    """Profit by tick, each until the next: of everything, and dashed of the trades that were over."""
    values = [0.0, *total, *closed]
    margin = (max(values) - min(values)) * 0.06 or 1.0
    frame = Frame(*hours, min(values) - margin, max(values) + margin, size, right=72)
    start = [hours[0], *moments]
    parts = frame.axes(ticks(min(values), max(values), 6), timezone)
    parts.append(_stroke(f"M0 {frame.y(0.0):.1f}H{frame.width}", MUTED, 1))
    parts.append(_stroke(frame.line(start, [0.0, *closed], steps=True), VERMILLION, 1.7, "5 3"))
    parts.append(_stroke(frame.line(start, [0.0, *total], steps=True), BLUE, 1.8))
    return _svg(size, parts)


def feed_chart(
    moments: Sequence[datetime],
    fresh: Sequence[float | None],
    barred: Sequence[tuple[datetime, datetime]],
    hours: tuple[datetime, datetime],
    timezone: ZoneInfo,
    size: tuple[int, int],
) -> str:
    """Share of the names with a fresh bar by tick, 0 to 1; shaded where no entries were allowed (`barred` spans)."""
    frame = Frame(*hours, 0.0, 1.0, size, right=48)
    parts = [
        f'<rect x="{frame.x(start):.1f}" y="{_TOP}" width="{max(frame.x(end) - frame.x(start), 1):.1f}" '
        f'height="{frame.base - _TOP}" fill="{ORANGE}" fill-opacity="0.3"/>'
        for start, end in barred
    ]
    parts += frame.axes([0.0, 0.5, 1.0], timezone, ["0%", "50%", "100%"])
    parts.append(_stroke(frame.line(moments, fresh), BLUE, 1.8))
    return _svg(size, parts)


MULTIPLIERS = {
    "mean_reversion": (BLUE, ""),
    "trend_continuation": (VERMILLION, "7 4"),
    "long": (INK, ""),
    "short": (MUTED, "2 3"),
}


def analysis_chart(
    moments: Sequence[datetime],
    multipliers: Mapping[str, Sequence[float]],
    hours: tuple[datetime, datetime],
    timezone: ZoneInfo,
    size: tuple[int, int],
) -> str:
    """The four multipliers, each from its tick to the next, on a scale where doubling and halving are alike."""
    frame = Frame(*hours, -1.05, 1.05, size, right=44)
    parts = frame.axes([-1.0, 0.0, 1.0], timezone, ["0.5", "1.0", "2.0"])
    for name, values in multipliers.items():
        colour, dash = MULTIPLIERS[name]
        steps = [log2(value) for value in values]
        d = frame.line([*moments, hours[1]], [*steps, steps[-1]], steps=True)
        parts.append(_stroke(d, colour, 2, dash))
    return _svg(size, parts)
