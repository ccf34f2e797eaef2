"""Handing out what the limits leave, entry by entry.

What belongs here: the sequence. What does not: what an entry may have by itself, and words (`sizing.py`).

Within a group each entry depends on those before it; groups do not depend on each other. So the first entries of all
groups are decided in one pass over arrays, then all second ones, and so on: as many passes as the largest group has
entries, some 12 µs each (100,000 entries of 2,500 sessions are 60 passes). Compiling the same scan (numba) would take
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
    """What there is to hand out in millionths: by group, risk per sector by sector code.

    taken: by name code, whether the name is taken already.
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

    First come, first served within each group.
    """
    order, bounds = _passes(wishes.group)
    group, sector, name = wishes.group[order], wishes.sector[order], wishes.name[order]
    own, least = wishes.own[order], wishes.least[order]
    # All money lies in one array, so that a pass takes from all of it at once; rows are those of `SHARED`.
    shared = (left.buying_power, left.risk_per_day, left.risk_per_sector, left.open_heat)
    purse, taken = np.concatenate(shared), left.taken.copy()
    starts = np.cumsum([0, *(len(each) for each in shared[:-1])])
    places = np.stack([group, group, sector, group]) + starts[:, None]
    cost = np.stack([wishes.value, wishes.risk, wishes.risk, wishes.risk])[:, order]

    quantity, possible = np.empty_like(own), np.empty_like(own)
    money, shares, was_taken = np.empty_like(cost), np.empty_like(cost), np.empty(len(own), dtype=np.bool_)
    for first, last in pairwise(bounds):
        at = slice(first, last)
        there = purse[places[:, at]]
        np.maximum(there, 0, out=money[:, at])
        np.floor_divide(money[:, at], cost[:, at], out=shares[:, at])
        possible[at] = np.minimum(own[at], shares[:, at].min(axis=0)) // lot * lot
        was_taken[at] = taken[name[at]]
        quantity[at] = np.where(was_taken[at] | (possible[at] < least[at]), 0, possible[at])
        purse[places[:, at]] = there - quantity[at] * cost[:, at]
        taken[name[at]] |= quantity[at] > 0

    tightest, entry = shares.argmin(axis=0), np.arange(len(own))
    by_shared = shares[tightest, entry] // lot < own // lot
    back = np.argsort(order)
    return Allocation(
        quantity=quantity[back],
        limit=np.where(by_shared, tightest, -1)[back],
        possible=possible[back],
        left=np.where(by_shared, money[tightest, entry], 0)[back],
        taken=was_taken[back],
    )


def _passes(group: Integers) -> tuple[Integers, list[int]]:
    """Entries ordered by their place within their group, and where each place begins; no group is twice in one."""
    by_group = np.argsort(group, kind="stable")
    sizes = np.bincount(group) if len(group) else np.zeros(0, dtype=np.int64)
    place = np.empty(len(group), dtype=np.int64)
    place[by_group] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(place))]) if len(group) else np.zeros(1, dtype=np.int64)
    return np.argsort(place, kind="stable"), bounds.tolist()
