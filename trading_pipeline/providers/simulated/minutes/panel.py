"""A session's minutes of everybody: prices and volumes that add up to the daily bar, and when each may be told.

Regular hours hold the whole of the daily bar. The pre-market leads from the close before to the open and the
post-market away from the close and back: thin, with minutes in which nobody trades. Their volume is no part of the
daily bar's. New York trades from 04:00 to 20:00, and until four hours after an early close. Sydney does not trade
outside its hours: before the open orders are only entered, after the close trades are only reported.

A session of 502 rows takes 0.12 s on one core; the last few are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final

import numpy as np

from trading_pipeline.providers.simulated.draws import Flags, Floats, Ints, Stream
from trading_pipeline.providers.simulated.market import SimulatedMarket
from trading_pipeline.providers.simulated.minutes.path import (
    Cents,
    Minutes,
    excursions,
    extended_path,
    regular_path,
    restlessness,
    visible,
)
from trading_pipeline.providers.simulated.minutes.plan import REGULAR_MINUTES, MinuteFault, Plan, plan_of
from trading_pipeline.sessions import calendar

EXTENDED_MINUTES: Final = {"XNYS": (330, 240)}  # before the open, after the close
_BEFORE_VOLUME: Final = 0.012  # of the daily bar's, on a day without a gap
_AFTER_VOLUME: Final = 0.008
_BEFORE_WIDTH: Final = 0.15  # range of the noise, in ranges of the day
_AFTER_WIDTH: Final = 0.08
_QUIET: Final = 0.35  # trades a minute outside regular hours, of a company of typical liquidity
_TYPICAL_DOLLARS: Final = 6e7  # traded a day


@dataclass(frozen=True)
class MinutePanel:
    """Rows of the market's panels x minutes of the session, pre- and post-market included.

    opens: first moment of the first minute, UTC. regular: the columns of regular hours. Prices in cents, volume in
    shares. there: whether anything was traded. told: minutes after `opens` from which on the bar is told: when it
    begins, unless it is late or the feed is stale. fault: `MinuteFault` or 0. up_first: whether the high came before
    the low. plan: what was planted.
    """

    day: date
    opens: np.datetime64
    regular: slice
    prices: Minutes
    volume: Ints
    there: Flags
    told: Ints
    fault: Ints
    up_first: Flags
    plan: Plan


@lru_cache(maxsize=4)
def minute_panel(market: SimulatedMarket, position: int) -> MinutePanel:
    """The minutes of the session at that position; `market` is simulated until there."""
    exchange = calendar(market.market.exchange)
    day: date = market.sessions[position].item()
    opens, closes = exchange.open_at(day), exchange.close_at(day)
    minutes = int((closes - opens).total_seconds()) // 60
    before, after = EXTENDED_MINUTES.get(market.market.exchange, (0, 0))
    rows, ordinal = market.slots + 2, day.toordinal()
    plan = plan_of(market.draws, ordinal, market.slots, minutes)

    bars, alive = daily_cents(market, position)
    shares = np.nan_to_num(market.volume[:, position]).astype(np.int64)
    noise = np.concatenate(
        [
            market.draws.generator(Stream.MINUTE_PATH, ordinal).standard_normal((market.slots, 5, REGULAR_MINUTES)),
            market.draws.generator(Stream.MINUTE_INDEX, ordinal).standard_normal((2, 5, REGULAR_MINUTES)),
        ]
    )[:, :, :minutes]
    path = regular_path(plan, bars, noise[:, :4], noise[market.benchmark_row, 0])
    volume = _regular_volume(plan, bars, path, shares, noise[:, 4])
    # An index has a price in every minute, and no volume.
    there = alive[:, None] & np.where((shares > 0)[:, None], volume > 0, visible(plan, minutes))

    parts = [(path, volume, there)]
    if before:
        outside = _Outside(market, position, bars, shares, alive, plan)
        parts = [outside.pre_market(before), *parts, outside.post_market(after, before)]
    width = before + minutes + after
    # Bars of 15 minutes are made of whole groups; the longest session that ends within one is Sydney's half-day.
    padding = -width % 15
    prices = Minutes(
        *(_joined([getattr(part[0], name) for part in parts], padding) for name in ("open", "high", "low", "close"))
    )
    around = ((0, 0), (before, after + padding))
    told = np.arange(width + padding) + np.zeros((rows, 1), dtype=np.int64)
    late = np.pad(plan.late, around)
    told = np.maximum(_stale(plan, told, before), np.where(late > 0, told + 1 + late, 0))
    return MinutePanel(
        day=day,
        opens=np.datetime64(opens.replace(tzinfo=None), "us") - np.timedelta64(before, "m"),
        regular=slice(before, before + minutes),
        prices=prices,
        volume=np.concatenate([*[part[1] for part in parts], np.zeros((rows, padding), dtype=np.int64)], axis=1),
        there=np.pad(np.concatenate([part[2] for part in parts], axis=1), ((0, 0), (0, padding))),
        told=told,
        fault=np.pad(plan.fault, around),
        # A minute that falls is more often highest at its beginning.
        up_first=prices.close < prices.open,
        plan=plan,
    )


def daily_cents(market: SimulatedMarket, position: int) -> tuple[Ints, Flags]:
    """(rows x open, high, low and close of the true daily bar in cents, a dollar where nothing traded; what traded)."""
    daily = np.stack([panel[:, position] for panel in (market.open, market.high, market.low, market.close)], axis=1)
    alive: Flags = np.isfinite(daily[:, 0])
    return np.rint(np.where(alive[:, None], daily, 1.0) * 100).astype(np.int64), alive


def null_minutes(panel: MinutePanel) -> Flags:
    """Bars whose prices are told as nulls."""
    flags: Flags = panel.there & (panel.fault == MinuteFault.NULL_BAR)
    return flags


def repeated_minutes(panel: MinutePanel) -> Flags:
    """Bars whose row comes twice."""
    flags: Flags = panel.there & (panel.fault == MinuteFault.DUPLICATE)
    return flags


def _joined(parts: list[Cents], padding: int) -> Cents:
    return np.pad(np.concatenate(parts, axis=1), ((0, 0), (0, padding)))


def _stale(plan: Plan, told: Ints, before: int) -> Ints:
    """When bars are told with a feed that stands still: what falls into the stretch, at its end."""
    for first, length in (plan.stale.T[:, :, None], np.array(plan.outage)[:, None, None]):
        ends = before + first + length
        told = np.where((told >= before + first) & (told < ends), ends, told)
    return told


def _regular_volume(plan: Plan, bars: Ints, path: Minutes, shares: Ints, noise: Floats) -> Ints:
    """Whole shares that add up to the day's: more at both ends of the day, on moves, and with an excursion.

    The minutes that hold the open, the high, the low and the close have at least one, so that they are there.
    """
    rows, minutes = noise.shape
    minute, seen = np.arange(minutes), visible(plan, minutes)
    shape = 0.6 + 1.6 * np.exp(-minute / 30) + 1.2 * np.exp(-(minutes - 1 - minute) / 15)
    moved = np.abs(path.close - path.open) / np.maximum(restlessness(minutes) * (bars[:, 1:2] - bars[:, 2:3] + 1), 1e-9)
    weight = shape * np.exp(0.45 * noise) * (1 + 0.5 * np.minimum(moved, 4))
    since = minute - plan.excursion[:, None]
    stirred = (since >= 0) & excursions(plan, bars)[:, None]
    weight *= np.where(stirred, 1 + (plan.surge[:, None] - 1) * 0.6 ** np.maximum(since, 0), 1.0)
    weight = np.where(seen, weight, 0.0)

    needed = np.zeros((rows, minutes), dtype=np.int64)
    row = np.arange(rows)
    needed[:, [0, -1]] = 1
    needed[row, np.where(seen, path.high, -1).argmax(axis=1)] = 1
    needed[row, np.where(seen, path.low, np.iinfo(np.int32).max).argmin(axis=1)] = 1
    needed = np.where((shares >= needed.sum(axis=1))[:, None], needed, 0)
    left = shares - needed.sum(axis=1)
    reached = np.cumsum(weight, axis=1)
    reached = np.rint(reached / reached[:, -1:] * left[:, None]).astype(np.int64)
    volume: Ints = np.diff(reached, axis=1, prepend=0) + needed
    return volume


class _Outside:
    """The hours around a regular session."""

    def __init__(
        self, market: SimulatedMarket, position: int, bars: Ints, shares: Ints, alive: Flags, plan: Plan
    ) -> None:
        self._bars, self._shares, self._plan = bars.astype(np.float64), shares, plan
        draws, ordinal = market.draws, market.sessions[position].item().toordinal()
        minutes = sum(EXTENDED_MINUTES[market.market.exchange])
        rows = market.slots
        # The two indices have draws of their own, so that they do not move when the market has more companies.
        self._noise = np.concatenate(
            [
                draws.generator(Stream.MINUTE_EXTENDED, ordinal << 1).standard_normal((rows, 3, minutes)),
                draws.generator(Stream.MINUTE_EXTENDED, ordinal << 1 | 1).standard_normal((2, 3, minutes)),
            ]
        )
        self._uniform = np.concatenate(
            [
                draws.generator(Stream.MINUTE_TRADES, ordinal << 1).random((rows, 2, minutes)),
                draws.generator(Stream.MINUTE_TRADES, ordinal << 1 | 1).random((2, 2, minutes)),
            ]
        )
        self._range = self._bars[:, 1] - self._bars[:, 2]
        self._open = alive & (shares > 0)
        self._trades = _QUIET * np.sqrt(shares * self._bars[:, 3] / 100 / _TYPICAL_DOLLARS)
        self._before = _close_before(market, position)

    def pre_market(self, minutes: int) -> tuple[Minutes, Ints, Flags]:
        """From the close before to the open: some of the way is gone by the first minute, the rest by some later one.

        Nobody trades before the first session of a company.
        """
        known = np.isfinite(self._before)
        first = np.where(known, np.nan_to_num(self._before), self._bars[:, 0])
        minute = np.arange(minutes)
        begun, arrives = 0.5 * self._plan.gap[:, 0], minutes * (0.5 + 0.5 * self._plan.gap[:, 1])
        travelled = np.minimum(begun[:, None] + (1 - begun[:, None]) * (minute + 1) / arrives[:, None], 1)
        gap = self._bars[:, 0] - first
        path = extended_path(
            first, first[:, None] + gap[:, None] * travelled, _BEFORE_WIDTH * self._range, self._noise[:, :, :minutes]
        )
        busy = 0.3 + 1.7 / (1 + np.exp(-(minute - 240) / 30))
        stir = 1 + 0.5 * np.minimum(np.abs(np.log(self._bars[:, 0] / first)) / 0.01, 6)
        return path, *self._traded(known, busy, stir * _BEFORE_VOLUME, self._uniform[:, :, :minutes])

    def post_market(self, minutes: int, done: int) -> tuple[Minutes, Ints, Flags]:
        """Around the close, and back to it."""
        first = self._bars[:, 3]
        profile = np.repeat(first[:, None], minutes, axis=1)
        path = extended_path(first, profile, _AFTER_WIDTH * self._range, self._noise[:, :, done:])
        busy = 0.3 + 1.7 * np.exp(-np.arange(minutes) / 40)
        quiet = np.full(len(first), _AFTER_VOLUME)
        return path, *self._traded(np.full(len(first), True), busy, quiet, self._uniform[:, :, done:])

    def _traded(self, known: Flags, busy: Floats, share: Floats, uniform: Floats) -> tuple[Ints, Flags]:
        """(volume, there): trades come at random, the more liquid a company and the busier the minute."""
        there = uniform[:, 0] < 1 - np.exp(-self._trades[:, None] * busy)
        there &= (self._open & known)[:, None]
        weight = np.where(there, busy * -np.log1p(-uniform[:, 1]), 0.0)
        total = self._shares * share * np.exp(0.8 * (self._plan.gap[:, 2] - 0.5))
        each = weight / np.maximum(weight.sum(axis=1), 1e-12)[:, None] * total[:, None]
        return np.where(there, np.maximum(np.rint(each), 1), 0).astype(np.int64), there


def _close_before(market: SimulatedMarket, position: int) -> Floats:
    """Close of the session before in cents, in the basis of this session; NaN where the row held somebody else."""
    rows = np.arange(market.slots + 2)
    if position == 0:
        return np.full(len(rows), np.nan)
    whose = [market.instruments_at(rows, np.full(len(rows), place)) for place in (position - 1, position)]
    listed = np.concatenate([market.register.number[:, position - 1] >= 0, [True, True]])
    closes = market.close[:, position - 1] * market.splits[:, position - 1] / market.splits[:, position]
    before: Floats = np.where((whose[0] == whose[1]) & listed, closes * 100, np.nan)
    return before
