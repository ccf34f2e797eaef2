"""Handing out what the limits leave, entry by entry.

What belongs here: the sequence. What does not: what an entry may have by itself, and words (`sizing.py`).

Within a group each entry depends on those before it; groups do not depend on each other. So the first entries of all
groups are decided in one pass over arrays, then all second ones, and so on: as many passes as the largest group has
entries, some 25 µs each (100,000 entries of 2,500 sessions are 60 passes). Compiling the same scan (numba) would take
seconds of importing and compiling at every start of the live loop, for what takes milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trading_pipeline.research.money import Money
from trading_pipeline.research.panel import Integers, Mask

SHARED = ("buying_power", "risk_per_day", "risk_per_sector", "open_heat")
"""Limits that an entry shares with those before it, in the order in which a tie is told."""


@dataclass(frozen=True)
class Wishes:
    """Entries in order of priority, one element each; money in millionths.

    group: account, 0, 1, 2 …; sector, name: codes that are unique across groups. own: shares by the entry's own limits.
    least: fewest shares worth taking. risk, value: of one share, positive.
    """

    group: Integers
    sector: Integers
    name: Integers
    own: Integers
    least: Integers
    risk: Money
    value: Money


@dataclass(frozen=True)
class Left:
    """What there is to hand out in millionths, and changes with it: by group, risk per sector by sector code.

    taken: by name code, whether the name is taken in its group.
    """

    buying_power: Money
    risk_per_day: Money
    risk_per_sector: Money
    open_heat: Money
    taken: Mask


@dataclass(frozen=True)
class Allocation:
    """One element an entry. limit: position in `SHARED` of what left the fewest shares, -1: its own limits did.

    possible: shares that this limit left; left: money that it left, 0 for the entry's own. taken: whether the name was
    taken before.
    """

    quantity: Integers
    limit: Integers
    possible: Integers
    left: Money
    taken: Mask


def allocate(wishes: Wishes, left: Left, lot: int) -> Allocation:
    """Shares of each entry: what its own limits and the shared ones leave, in whole lots; none where less than `least`.

    `left` is changed. First come, first served within each group.
    """
    count = len(wishes.group)
    told = Allocation(
        quantity=np.zeros(count, dtype=np.int64),
        limit=np.full(count, -1, dtype=np.int64),
        possible=np.zeros(count, dtype=np.int64),
        left=np.zeros(count, dtype=np.int64),
        taken=np.zeros(count, dtype=bool),
    )
    order, bounds = _passes(wishes.group)
    for first, last in pairwise(bounds):
        at = order[first:last]
        group, sector, name = wishes.group[at], wishes.sector[at], wishes.name[at]
        risk, value = wishes.risk[at], wishes.value[at]
        money = np.stack(
            [left.buying_power[group], left.risk_per_day[group], left.risk_per_sector[sector], left.open_heat[group]]
        )
        np.maximum(money, 0, out=money)
        shares = money // np.stack([value, risk, risk, risk])
        tightest = shares.argmin(axis=0)
        column = np.arange(len(at))
        by_shared = shares[tightest, column]
        own = wishes.own[at]
        possible = np.minimum(own, by_shared) // lot * lot
        free = ~left.taken[name]
        quantity = np.where(free & (possible >= wishes.least[at]), possible, 0)
        shared = by_shared // lot < own // lot

        told.quantity[at] = quantity
        told.limit[at] = np.where(shared, tightest, -1)
        told.possible[at] = possible
        told.left[at] = np.where(shared, money[tightest, column], 0)
        told.taken[at] = ~free
        at_risk = quantity * risk
        left.buying_power[group] -= quantity * value
        left.risk_per_day[group] -= at_risk
        left.risk_per_sector[sector] -= at_risk
        left.open_heat[group] -= at_risk
        left.taken[name] |= quantity > 0
    return told


def _passes(group: Integers) -> tuple[Integers, list[int]]:
    """Entries ordered by their place within their group, and where each place begins; no group is twice in one."""
    by_group = np.argsort(group, kind="stable")
    sizes = np.bincount(group) if len(group) else np.zeros(0, dtype=np.int64)
    place = np.empty(len(group), dtype=np.int64)
    place[by_group] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(place))]) if len(group) else np.zeros(1, dtype=np.int64)
    return np.argsort(place, kind="stable"), bounds.tolist()
