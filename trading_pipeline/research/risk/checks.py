"""What speaks against an entry whatever the other entries are, in words.

What belongs here: prices on ticks, the checks in the order in which they are told. What does not: how many shares
(`sizing.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.research.money import MICROS, Money
from trading_pipeline.research.panel import Floats, Integers, Mask
from trading_pipeline.research.risk.entries import Column, Entries
from trading_pipeline.research.risk.levels import on_tick
from trading_pipeline.research.risk.limits import Limits

HIGHEST_PRICE = 1e8
"""Above it a price is none, and a money column in the wrong place."""

Words: TypeAlias = npt.NDArray[np.object_]
"""A text or None an entry."""
Told: TypeAlias = Column | npt.NDArray[Any]
"""What words tell of each entry."""


class _Check(NamedTuple):
    """What the entries that do not pass are refused by, and why: words with what is told in them."""

    refused_by: str
    passed: Mask
    words: str
    told: Sequence[Told] = ()


@dataclass(frozen=True)
class Prices:
    """Prices of entries in millionths, stop and target on ticks; 0 where there is none.

    has_stop, has_target: whether what was said is a price at all; it may be less than a tick. risk: what one share
    risks, 0 where the stop is none. reward: what it may earn, reward_to_risk: NaN where there is no target or no risk.
    """

    entry: Money
    stop: Money
    target: Money
    has_stop: Mask
    has_target: Mask
    risk: Money
    reward: Money
    reward_to_risk: Floats


def prices_of(entries: Entries, limits: Limits) -> Prices:
    """The prices of entries by the limits."""
    long, short = entries.side.values == "long", entries.side.values == "short"
    way = long.astype(np.int64) - short

    def price(said: Column) -> tuple[Money, Mask]:
        usable = (said.values > 0) & (said.values <= HIGHEST_PRICE)
        return np.rint(np.where(usable, said.values, 0.0) * MICROS).astype(np.int64), usable

    (entry, _), (stop, has_stop), (target, has_target) = (
        price(said) for said in (entries.entry, entries.stop, entries.target)
    )
    stop, target = (on_tick(each, short, limits.market.ticks) for each in (stop, target))
    distance = (entry - stop) * way
    least = np.ceil(entry * limits.position.least_stop_distance).astype(np.int64)
    protects = (entry > 0) & (stop > 0) & (distance > 0)
    risk = np.where(protects, np.maximum(distance, least), 0)
    reward = (target - entry) * way
    reward_to_risk = np.full(len(entry), np.nan)
    np.divide(reward, risk, out=reward_to_risk, where=protects & has_target)
    return Prices(entry, stop, target, has_stop, has_target, risk, reward, reward_to_risk)


def refusals(entries: Entries, prices: Prices, factor: Floats, limits: Limits) -> tuple[Mask, Words, Words]:
    """Whether each entry is refused, refused_by and refused_because; None where nothing speaks against it.

    factor: what the environment and the edges leave of the risk of a trade, NaN where the environment is none.
    """
    account, accounts = entries.account, entries.accounts
    equity, buying_power, day_risk = (
        each.take(account) for each in (accounts.equity, accounts.buying_power, accounts.day_risk)
    )
    edges, strength, size, no_target = entries.edges, entries.strength, entries.size, entries.target.missing
    long, short = entries.side.values == "long", entries.side.values == "short"
    beyond, ahead = np.where(long, "below", "above"), np.where(long, "above", "below")
    least = limits.position.least_reward_to_risk

    def positive(column: Column) -> Mask:
        return np.asarray((column.values > 0) & np.isfinite(column.values))

    checks = (
        _Check("inputs", ~entries.instrument_id.missing, "It has no instrument."),
        _Check("inputs", long | short, "The side is neither long nor short: {}.", [entries.side]),
        _Check("inputs", prices.entry > 0, "The entry is no price: {}.", [entries.entry]),
        _Check("inputs", prices.has_stop, "The stop is no price: {}.", [entries.stop]),
        _Check("inputs", no_target | prices.has_target, "The target is no price: {}.", [entries.target]),
        _Check("inputs", prices.risk > 0, "The stop {} is not {} the entry {}.", [entries.stop, beyond, entries.entry]),
        _Check(
            "inputs",
            no_target | (prices.reward > 0),
            "The target {} is not {} the entry {}, on ticks.",
            [entries.target, ahead, entries.entry],
        ),
        _Check("inputs", ~np.isnan(factor), "The environment is none of A to D: {}.", [entries.environment]),
        _Check("inputs", positive(edges) & (edges.values >= 1), "No edge speaks for it: {}.", [edges]),
        _Check(
            "inputs",
            positive(strength) & (strength.values <= 1),
            "The strength is not above 0 and up to 1: {}.",
            [strength],
        ),
        _Check("inputs", size.missing | positive(size), "The wished size is no share of equity: {}.", [size]),
        _Check("account", account >= 0, "There is no account for it."),
        _Check("account", positive(equity), "There is no equity to risk: {}.", [equity]),
        _Check("account", np.isfinite(buying_power.values), "The buying power is not known."),
        _Check("account", np.isfinite(day_risk.values), "What the day has risked so far is not known."),
        _Check("account", accounts.held_known[account], "What a position risks that is held is not known."),
        _Check("short_selling", long | limits.market.short_selling, "Short selling is not allowed."),
        _Check("held", ~entries.name_held[entries.name], "The name is held, or an entry is open."),
        _Check(
            "environment", factor > 0, "Nothing is risked on this side in the environment {}.", [entries.environment]
        ),
        _Check(
            "reward_to_risk",
            no_target | (np.round(prices.reward_to_risk, 9) >= least),
            "Reward to risk is {} on ticks, less than {}.",
            [np.round(prices.reward_to_risk, 2), np.full(len(factor), least)],
        ),
    )
    passed = np.array([check.passed for check in checks])
    refused, first = np.asarray(~passed.all(axis=0)), passed.argmin(axis=0)
    by, because = nothing_said(len(factor)), nothing_said(len(factor))
    for number in np.unique(first[refused]):
        check, at = checks[number], np.flatnonzero(refused & (first == number))
        by[at] = check.refused_by
        because[at] = worded(check.words, *(_told(each, at) for each in check.told)) if check.told else check.words
    return refused, by, because


def nothing_said(count: int) -> Words:
    """None for so many entries."""
    return np.full(count, None, dtype=np.object_)


def number_words(numbers: Floats) -> list[str]:
    """Numbers as frames write them: 1e-5, inf, NaN."""
    return pl.Series(numbers).cast(pl.String).to_list()


def worded(words: str, *told: Sequence[object]) -> list[str]:
    """The words for each entry, with what is told of it."""
    return [words.format(*each) for each in zip(*told, strict=True)]


def _told(told: Told, at: Integers) -> list[str]:
    """What is told of the entries at these places."""
    if isinstance(told, Column):
        texts = _told(told.values, at)
        return ["missing" if missing else text for text, missing in zip(texts, told.missing[at], strict=True)]
    values = told[at]
    return number_words(values) if values.dtype == np.float64 else values.tolist()
