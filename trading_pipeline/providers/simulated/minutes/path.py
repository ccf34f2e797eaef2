"""Prices inside a session: minutes that begin, range and end exactly as the session's daily bar does.

A bridge from the open to the close, restless at both ends of the day, with what the plan puts in; it is then bent,
without changing the order of any two prices, until its highest and lowest ones are those of the day. Prices are whole
cents.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from trading_pipeline.providers.simulated.draws import Flags, Floats, Ints
from trading_pipeline.providers.simulated.minutes.plan import Plan

Cents = npt.NDArray[np.int32]

TREND_STRETCH: Final = 0.6  # |close - open| of the range that a trend needs
LEAST_RANGE: Final = 30  # cents; below it a minute's move is lost in rounding
_MARKET_SHARE: Final = 0.4  # correlation of the minutes of two companies is its square
_NOISE: Final = 0.95  # range of the noise, in ranges of the day
_TREND_NOISE: Final = 0.35
_WICK: Final = 0.5  # how far a minute goes beyond its open and close, in its own moves
_TICK: Final = 0.15  # between a close and the next open
_HUMP: Final = 45.0  # minutes over which a missing extreme is made up


class Minutes(NamedTuple):
    """Rows x minutes, in cents."""

    open: Cents
    high: Cents
    low: Cents
    close: Cents


def restlessness(minutes: int) -> Floats:
    """How much a price moves in each minute of the session: U-shaped, squares adding up to 1."""
    minute = np.arange(minutes)
    shape: Floats = 0.7 + 1.5 * np.exp(-minute / 20) + 0.5 * np.exp(-(minutes - 1 - minute) / 20)
    relative: Floats = shape / np.sqrt((shape**2).sum())
    return relative


def far(day: Ints) -> Flags:
    """Which sessions end far enough from their open to be a trend. day: rows x (open, high, low, close) in cents."""
    opening, high, low, close = day.T
    reach: Flags = (high - low >= LEAST_RANGE) & (np.abs(close - opening) >= TREND_STRETCH * (high - low))
    return reach


def trends(plan: Plan, day: Ints) -> Flags:
    """Which sessions are a trend: those planned to be one that go far enough."""
    return plan.trending & far(day)


def excursions(plan: Plan, day: Ints) -> Flags:
    """Which sessions have an excursion: those planned to have one that are no trend and wide enough."""
    return (plan.excursion >= 0) & ~trends(plan, day) & (day[:, 1] - day[:, 2] >= LEAST_RANGE)


def visible(plan: Plan, minutes: int) -> Flags:
    """Rows x minutes that were not halted."""
    minute = np.arange(minutes)
    first, length = plan.halt.T[:, :, None]
    seen: Flags = ~((minute >= first) & (minute < first + length))
    return seen


def regular_path(plan: Plan, day: Ints, noise: Floats, shared: Floats) -> Minutes:
    """The regular session.

    day: rows x (open, high, low, close) of the daily bar, in cents. noise: rows x 4 x minutes, standard normal; shared:
    minutes, that of the benchmark. Halted minutes have prices too, which nobody sees: none of them is an extreme.
    """
    opening, high, low, close = (each[:, None].astype(np.float64) for each in day.T)
    minutes = noise.shape[2]
    minute, seen = np.arange(minutes), visible(plan, minutes)
    share = restlessness(minutes)
    own = np.sqrt(1 - _MARKET_SHARE**2)
    deviation = np.cumsum(share * (own * noise[:, 0] + _MARKET_SHARE * shared), axis=1)
    deviation += _excursion(plan, day, minute) / np.sqrt(minutes)
    deviation -= np.cumsum(share**2) * deviation[:, -1:]
    trend = trends(plan, day)[:, None]
    spread = np.ptp(deviation, axis=1)[:, None]
    scale = np.where(trend, _TREND_NOISE, _NOISE) * (high - low) / spread
    begins = np.where(trend[:, 0], 0.0, plan.burst[:, 0] * 0.7 * minutes)
    lasts = np.where(trend[:, 0], minutes, (0.1 + 0.2 * plan.burst[:, 1]) * minutes)
    travelled = np.clip((minute + 1 - begins[:, None]) / lasts[:, None], 0, 1)
    ends = opening + (close - opening) * travelled + scale * deviation
    move = scale * share
    above, below = _WICK * move * np.abs(noise[:, 1]), _WICK * move * np.abs(noise[:, 2])
    ticks = _TICK * move * noise[:, 3]
    ticks[:, 0] = 0.0

    ends += _hump(high, _tops(opening, ends, above), seen)
    ends -= _hump(-low, _tops(-opening, -ends, below), seen)
    ends[:, -1:] = close
    starts = np.concatenate([opening, ends[:, :-1]], axis=1) + ticks
    tops, bottoms = np.maximum(starts, ends) + above, np.minimum(starts, ends) - below
    highest = np.where(seen, tops, -np.inf).max(axis=1)[:, None]
    lowest = np.where(seen, bottoms, np.inf).min(axis=1)[:, None]
    most, least = np.maximum(opening, close), np.minimum(opening, close)

    def bent(price: Floats) -> Cents:
        """Keep what lies between open and close; stretch what lies beyond them to the day's high and low."""
        with np.errstate(divide="ignore", invalid="ignore"):
            upper = np.where(highest > most, (high - most) / (highest - most), 0.0)
            lower = np.where(lowest < least, (least - low) / (least - lowest), 0.0)
        inside = np.clip(price, least, most)
        fitted = inside + np.maximum(price - most, 0) * upper - np.maximum(least - price, 0) * lower
        cents: Cents = np.clip(np.rint(fitted), low, high).astype(np.int32)
        return cents

    path = Minutes(bent(starts), bent(tops), bent(bottoms), bent(ends))
    rows = np.arange(len(day))
    path.high[rows, np.where(seen, tops, -np.inf).argmax(axis=1)] = day[:, 1]
    path.low[rows, np.where(seen, bottoms, np.inf).argmin(axis=1)] = day[:, 2]
    return path


def extended_path(first: Floats, profile: Floats, width: Floats, noise: Floats) -> Minutes:
    """Minutes outside regular hours.

    first: rows, the price they lead away from; profile: rows x minutes, the prices they lead along; width: rows, range
    of their noise. noise: rows x 3 x minutes, standard normal. The noise is over at the end.
    """
    minutes = noise.shape[2]
    done = (np.arange(minutes) + 1) / minutes
    deviation = np.cumsum(noise[:, 0], axis=1) / np.sqrt(minutes)
    deviation -= done * deviation[:, -1:]
    ends = profile + width[:, None] * deviation
    starts = np.concatenate([first[:, None], ends[:, :-1]], axis=1)
    move = width[:, None] / np.sqrt(minutes)
    tops = np.maximum(starts, ends) + _WICK * move * np.abs(noise[:, 1])
    bottoms = np.minimum(starts, ends) - _WICK * move * np.abs(noise[:, 2])

    def whole(price: Floats) -> Cents:
        return np.maximum(np.rint(price), 1).astype(np.int32)

    return Minutes(whole(starts), whole(tops), whole(bottoms), whole(ends))


def _excursion(plan: Plan, day: Ints, minute: Ints) -> Floats:
    """Rows x minutes: how far the excursion has taken the price, in moves of a typical minute."""
    since = minute - plan.excursion[:, None]
    under_way = (since >= 0) & excursions(plan, day)[:, None]
    left = np.where(plan.lasting[:, None], 1.0, 0.5 ** (np.maximum(since, 0) / plan.half_life[:, None]))
    taken: Floats = np.where(under_way, (plan.side * plan.size)[:, None] * left, 0.0)
    return taken


def _tops(opening: Floats, ends: Floats, above: Floats) -> Floats:
    tops: Floats = np.maximum(np.concatenate([opening, ends[:, :-1]], axis=1), ends) + above
    return tops


def _hump(high: Floats, tops: Floats, seen: Flags) -> Floats:
    """What lifts the highest minute to the day's high, together with the hour around it.

    Stretching alone would make a spike of it. Nothing is lifted at the open and at the close, which are given.
    """
    rows, minutes = tops.shape
    tops = np.where(seen, tops, -np.inf)
    peak = tops.argmax(axis=1)
    missing = np.maximum(high[:, 0] - tops[np.arange(rows), peak], 0)
    minute = np.arange(minutes)
    free = np.clip(np.minimum(minute + 1, minutes - 1 - minute) / 10, 0, 1)
    missing = np.where(free[peak] >= 0.5, missing / np.maximum(free[peak], 0.5), 0.0)
    hump: Floats = missing[:, None] * free * np.exp(-np.abs(minute - peak[:, None]) / _HUMP)
    return hump
