"""The limits: every number of `limits.toml`, typed, with its reason, and a version.

What belongs here: reading and checking the file. What does not: what the limits do (`sizing.py`).
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import resources
from typing import Any

from trading_pipeline.research.money import MICROS, micros

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


_GROUPS: dict[str, type[Any]] = {
    "budget": BudgetLimits,
    "position": PositionLimits,
    "environment": EnvironmentFactors,
    "edges": EdgeFactors,
}


@cache
def load_limits(market: str = "us") -> Limits:
    """The limits beside this module, for `us` or `asx`."""
    return parse_limits(resources.files(__package__).joinpath("limits.toml").read_text(encoding="utf-8"), market)


def parse_limits(text: str, market: str = "us") -> Limits:
    """Limits from TOML; `ValueError` names what is missing, unknown, without a reason or no possible value.

    Every market of the file is checked, whichever is asked for.
    """
    told = tomllib.loads(text)
    markets = told.pop("market", {})
    faults = [f"unknown {name}" for name in told if name not in _GROUPS]
    reasons: dict[str, str] = {}
    numbers: dict[str, Any] = {}

    def read(place: str, kind: type[Any], entries: Mapping[str, Any]) -> Any:
        types = {each.name: each.type for each in fields(kind)}
        faults.extend(f"unknown {place}.{name}" for name in entries if name not in types)
        values: dict[str, Any] = {}
        for name, type_ in types.items():
            fault = _fault(entries.get(name), _CHECKS.get(name, _is_fraction))
            if fault:
                faults.append(f"{place}.{name} {fault}")
            else:
                value = entries[name]["value"]
                values[name] = _ticks(value) if type_ == "Ticks" else float(value) if type_ == "float" else value
                reasons[f"{place}.{name}"], numbers[f"{place}.{name}"] = entries[name]["reason"], values[name]
        return kind(**values) if len(values) == len(types) else None

    parts = {group: read(group, kind, told.get(group, {})) for group, kind in _GROUPS.items()}
    rules = {name: read(f"market.{name}", MarketRules, entries) for name, entries in markets.items()}
    if market not in rules:
        faults.append(f"no market.{market}")
    if faults:
        raise ValueError(f"the limits cannot be used: {'; '.join(faults)}")
    version = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:12]
    return Limits(version=version, market=rules[market], reasons=reasons, **parts)


def _fault(entry: Any, check: Callable[[Any], str | None]) -> str | None:
    if not (isinstance(entry, dict) and set(entry) == {"value", "reason"}):
        return "needs a value and a reason, and nothing else"
    if not (isinstance(entry["reason"], str) and entry["reason"].strip()):
        return "has no reason"
    return check(entry["value"])


def _ticks(value: list[list[float]]) -> Ticks:
    return tuple((float(start), float(step)) for start, step in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_fraction(value: Any) -> str | None:
    return None if _is_number(value) and 0 <= value <= 1 else "is no number from 0 to 1"


def _is_amount(value: Any) -> str | None:
    return None if _is_number(value) and value >= 0 else "is no number of 0 or more"


def _is_count(value: Any) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return None if whole and value > 0 else "is no whole number above 0"


def _is_switch(value: Any) -> str | None:
    return None if isinstance(value, bool) else "is neither true nor false"


def _are_ticks(value: Any) -> str | None:
    """Steps divide the prices from which on they hold: a price rounded up into the next band is quotable there."""
    fault = "are no [from price, step] pairs, descending to 0, steps of whole millionths that divide the prices"
    pairs = isinstance(value, list) and value and all(isinstance(each, list) and len(each) == 2 for each in value)
    if not (pairs and all(_is_number(number) for each in value for number in each)):
        return fault
    starts, steps = zip(*((micros(start), micros(step)) for start, step in value), strict=True)
    if min(steps) <= 0 or any(not math.isclose(micros(step) / MICROS, step) for _, step in value):
        return fault
    descends = starts[-1] == 0 and list(starts) == sorted(set(starts), reverse=True)
    divides = all(
        start % own == 0 and start % below == 0 for start, own, below in zip(starts, steps, steps[1:], strict=False)
    )
    return None if descends and divides else fault


_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "least_reward_to_risk": _is_amount,
    "smallest_value": _is_amount,
    "lot": _is_count,
    "short_selling": _is_switch,
    "ticks": _are_ticks,
}
