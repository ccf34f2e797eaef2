"""The desk's rules: every number of `rules.toml`, typed, with its reason.

What belongs here: reading and checking the file. What does not: what the rules do (`causes.py`, `analysis.py`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from trading_pipeline.research.reasoned import groups_of, read_reasoned, refuse


@dataclass(frozen=True)
class CauseRules:
    """What decides a cause. Shares are fractions, sigmas those of a session; the file says why each is what it is."""

    ex_dividend_share: float
    event_sigmas: float
    market_event_sigmas: float
    unexplained_event_fall: float
    headline_lag: float
    headline_sentiment: float
    least_share: float
    headline_bonus: float


@dataclass(frozen=True)
class GateRules:
    """What decides between buy, wait and avoid. Fractions, sessions and weekdays."""

    report_sessions: float
    fresh_report_weekdays: float
    knife_fall_5: float
    knife_above_low: float
    extended_above_sma_20: float
    extended_rsi: float


@dataclass(frozen=True)
class SizeRules:
    """What decides the size: fractions of the portfolio, factors, and a volatility a year."""

    strong_buy_low: float
    strong_buy_high: float
    buy_low: float
    buy_high: float
    largest: float
    step: float
    environment_a: float
    environment_b: float
    environment_c: float
    calm_volatility: float
    least_volatility_factor: float
    unknown_volatility_factor: float
    strong_sector_score: float
    weak_sector_score: float
    strong_sector_factor: float
    weak_sector_factor: float
    own_trouble_factor: float


@dataclass(frozen=True)
class Rules:
    """All rules of the desk, with the version that a change of any number must raise."""

    version: str
    causes: CauseRules
    gate: GateRules
    size: SizeRules
    reasons: Mapping[str, str]
    """Why each number is what it is, by `group.name`."""


@cache
def load_rules() -> Rules:
    """The rules beside this module."""
    return parse_rules(resources.files(__package__).joinpath("rules.toml").read_text(encoding="utf-8"))


def parse_rules(text: str) -> Rules:
    """Rules from TOML; `ValueError` names what is missing, unknown, no number or without a reason."""
    found = read_reasoned(tomllib.loads(text), groups_of(Rules), tells_version=True)
    refuse("the rules of the dip desk", found.faults)
    return Rules(version=found.version, reasons=found.reasons, **found.parts)
