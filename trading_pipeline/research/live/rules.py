"""The rules of the live session: every number of `rules.toml`, typed, with its reason, and a version.

What belongs here: reading and checking the file. What does not: what the rules do (the modules beside it).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from trading_pipeline.research.reasoned import groups_of, read_reasoned, refuse


@dataclass(frozen=True)
class FeatureRules:
    """What the features are measured over: bars and minutes."""

    window: int
    halt_minutes: float


@dataclass(frozen=True)
class TimingRules:
    """When there may be a signal at all: minutes, bars, and a strength from 0 to 1."""

    minutes_after_open: float
    minutes_before_close: float
    warm_up_bars: int
    bars_after_halt: int
    cooldown_minutes: float
    reversal_minutes: float
    least_strength: float


@dataclass(frozen=True)
class MeanReversionRules:
    """What makes a fade: standard deviations, premarket bands, reward over risk."""

    z_session: float
    z_rolling: float
    full_z: float
    least_band: int
    deep_band: int
    least_reward: float


@dataclass(frozen=True)
class TrendRules:
    """What makes a continuation: standard deviations, bands, bars, reward over risk, true ranges."""

    least_z: float
    exhausted_z: float
    exhausted_band: int
    held_bars: int
    pull_back_z: float
    break_volume: float
    target_reward: float
    range_atr: float
    least_reward: float


@dataclass(frozen=True)
class StopRules:
    """How far a stop is away: sigmas of the session, held between shares of the average true range."""

    sigmas: float
    least_atr: float
    most_atr: float


@dataclass(frozen=True)
class TiltRules:
    """What environment, market and bias do to strength (factors and shares) and thresholds (shares)."""

    long_a: float
    long_b: float
    long_c: float
    long_d: float
    short_a: float
    short_b: float
    short_c: float
    short_d: float
    unknown_environment: float
    direction_strength: float
    direction_threshold: float
    bias_strength: float
    bias_threshold: float


@dataclass(frozen=True)
class MarketRules:
    """What the market analysis goes by: minutes, names, shares, sigmas, and octaves (powers of two)."""

    every_minutes: float
    least_names: int
    day_to_range: float
    trading_share: float
    clock_power: float
    one_sided_from: float
    one_sided_full: float
    move_from: float
    move_full: float
    calm_volatility: float
    storm_volatility: float
    storm_full: float
    wide_dispersion: float
    trend_day_octaves: float
    side_octaves: float
    balance_octaves: float
    dispersion_octaves: float
    calm_octaves: float
    storm_octaves: float
    environment_octaves: float


@dataclass(frozen=True)
class MonitorRules:
    """What the price monitor alerts: per cent."""

    fall_pct: float


@dataclass(frozen=True)
class Rules:
    """All rules of the live session. version: the first 12 digits of a hash of the numbers."""

    version: str
    features: FeatureRules
    timing: TimingRules
    mean_reversion: MeanReversionRules
    trend_continuation: TrendRules
    stops: StopRules
    tilts: TiltRules
    market: MarketRules
    monitor: MonitorRules
    reasons: Mapping[str, str]
    """Why each number is what it is, by `group.name`."""


@cache
def load_rules() -> Rules:
    """The rules beside this module."""
    return parse_rules(resources.files(__package__).joinpath("rules.toml").read_text(encoding="utf-8"))


def parse_rules(text: str) -> Rules:
    """Rules from TOML; `ValueError` names what is missing, unknown, no (whole) number or without a reason."""
    found = read_reasoned(tomllib.loads(text), groups_of(Rules))
    refuse("the rules of the live session", found.faults)
    return Rules(version=found.version, reasons=found.reasons, **found.parts)
