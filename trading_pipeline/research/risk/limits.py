"""The limits: every number of `limits.toml`, typed, with its reason, and a version.

What belongs here: reading and checking the file. What does not: what the limits do (`sizing.py`).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from trading_pipeline.research.money import MICROS, micros
from trading_pipeline.research.reasoned import Reader, groups_of, is_number, read_reasoned, reader, refuse, whole

Ticks = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class BudgetLimits:
    """Money that may be lost where the stops hold, as fractions of equity; buying_power_used: of the buying power."""

    risk_per_trade: float
    risk_per_day: float
    risk_per_sector: float
    open_heat: float
    buying_power_used: float


@dataclass(frozen=True)
class PositionLimits:
    """What one position may be: fractions of equity, reward over risk, a fraction of the entry."""

    largest_share: float
    largest_share_without_stop: float
    least_reward_to_risk: float
    least_stop_distance: float


@dataclass(frozen=True)
class EnvironmentFactors:
    """Share of `risk_per_trade` by side and environment of the market, 0 to 1; 0: none."""

    long_a: float
    long_b: float
    long_c: float
    long_d: float
    short_a: float
    short_b: float
    short_c: float
    short_d: float
    unknown: float


@dataclass(frozen=True)
class EdgeFactors:
    """Share of `risk_per_trade` by how many independent edges agree, 0 to 1."""

    one: float
    two: float
    three: float


@dataclass(frozen=True)
class MarketRules:
    """What an exchange and its brokers take. smallest_value: of a position, in the market's currency.

    ticks: (from this price on, this step), descending, down to 0.
    """

    short_selling: bool
    lot: int
    smallest_value: float
    ticks: Ticks


@dataclass(frozen=True)
class Limits:
    """All limits of one market. version: the first 12 digits of a hash of the numbers."""

    version: str
    budget: BudgetLimits
    position: PositionLimits
    environment: EnvironmentFactors
    edges: EdgeFactors
    market: MarketRules
    reasons: Mapping[str, str] = field(repr=False)
    """Why each number is what it is, by `group.name`."""


@cache
def load_limits(market: str = "us") -> Limits:
    """The limits beside this module, for `us` or `asx`."""
    return parse_limits(resources.files(__package__).joinpath("limits.toml").read_text(encoding="utf-8"), market)


def parse_limits(text: str, market: str = "us") -> Limits:
    """Limits from TOML; `ValueError` names what is missing, unknown, without a reason or no possible value.

    Every market of the file is checked, whichever is asked for.
    """
    told = tomllib.loads(text)
    markets = {f"market.{name}": rules for name, rules in told.pop("market", {}).items()}
    groups = groups_of(Limits)
    of_markets = dict.fromkeys(markets, groups.pop("market"))
    found = read_reasoned(told | markets, groups | of_markets, lambda name, _: _READERS.get(name, _FRACTION))
    asked = f"market.{market}"
    refuse("the limits", found.faults + ([] if asked in markets else [f"no {asked}"]))
    parts = {group: found.parts[group] for group in groups}
    return Limits(version=found.version, market=found.parts[asked], reasons=found.reasons, **parts)


def _are_ticks(value: Any) -> bool:
    """Steps divide the prices from which on they hold: a price rounded up into the next band is quotable there."""
    pairs = isinstance(value, list) and value and all(isinstance(each, list) and len(each) == 2 for each in value)
    if not (pairs and all(is_number(number) for each in value for number in each)):
        return False
    starts, steps = zip(*((micros(start), micros(step)) for start, step in value), strict=True)
    if min(steps) <= 0 or any(not math.isclose(micros(step) / MICROS, step) for _, step in value):
        return False
    descends = starts[-1] == 0 and list(starts) == sorted(set(starts), reverse=True)
    return descends and all(
        start % own == 0 and start % below == 0 for start, own, below in zip(starts, steps, steps[1:], strict=False)
    )


_FRACTION = reader(lambda value: is_number(value) and 0 <= value <= 1, "is no number from 0 to 1", float)
_AMOUNT = reader(lambda value: is_number(value) and value >= 0, "is no number of 0 or more", float)
_READERS: dict[str, Reader] = {
    "least_reward_to_risk": _AMOUNT,
    "smallest_value": _AMOUNT,
    "lot": whole,
    "short_selling": reader(lambda value: isinstance(value, bool), "is neither true nor false"),
    "ticks": reader(
        _are_ticks,
        "are no [from price, step] pairs, descending to 0, steps of whole millionths that divide the prices",
        lambda value: tuple((float(start), float(step)) for start, step in value),
    ),
}
