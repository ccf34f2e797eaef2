"""The rules of the daily bias: every number of `rules.toml`, typed, with its reason.

What belongs here: reading and checking the file. What does not: what the rules do (`bias.py`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any

from trading_pipeline.research.reasoned import groups_of, read_reasoned, refuse


@dataclass(frozen=True)
class WeightRules:
    """Weight of each input in the score; they add up to 1."""

    gap: float
    trend: float
    news: float
    overnight: float
    regime: float


@dataclass(frozen=True)
class GapRules:
    """How a gap counts: average true ranges, multiples of normal volume, factors, per cent."""

    full_ranges: float
    loud_volume: float
    loud_factor: float
    quiet_volume: float
    quiet_factor: float
    unexplained_pct: float


@dataclass(frozen=True)
class NewsRules:
    """How the tone of the articles counts."""

    full_sentiment: float
    half_count: float


@dataclass(frozen=True)
class EnvironmentRules:
    """What each environment says, -1 to 1."""

    a: float
    b: float
    c: float
    d: float


@dataclass(frozen=True)
class BiasRules:
    """Scores from which there is a bias and from which it is as clear as can be; the weight a bias must rest on."""

    threshold: float
    full: float
    least_weight: float


@dataclass(frozen=True)
class ConfidenceRules:
    """What bounds and lowers the confidence: shares, factors, average true ranges."""

    most: float
    volume_share: float
    report_ahead: float
    report_out: float
    report_tonight: float
    wide_ranges: float
    wide_factor: float
    unexplained_factor: float


@dataclass(frozen=True)
class Rules:
    """All rules of the bias, with the version that a change of any number must raise."""

    version: str
    weights: WeightRules
    gap: GapRules
    news: NewsRules
    environment: EnvironmentRules
    bias: BiasRules
    confidence: ConfidenceRules
    reasons: Mapping[str, str]
    """Why each number is what it is, by `group.name`."""


@cache
def load_rules() -> Rules:
    """The rules beside this module."""
    return parse_rules(resources.files(__package__).joinpath("rules.toml").read_text(encoding="utf-8"))


def parse_rules(text: str) -> Rules:
    """Rules from TOML; `ValueError` names what is missing, unknown, no number, without a reason or out of order."""
    found = read_reasoned(tomllib.loads(text), groups_of(Rules), tells_version=True)
    refuse("the rules of the daily bias", found.faults or _disorder(found.parts))
    return Rules(version=found.version, reasons=found.reasons, **found.parts)


def _disorder(parts: Mapping[str, Any]) -> list[str]:
    """Numbers that are each fine but not together."""
    weights, bias, confidence = parts["weights"], parts["bias"], parts["confidence"]
    values = [getattr(weights, each.name) for each in fields(weights)]
    faults = []
    if min(values) < 0 or abs(sum(values) - 1) > 1e-9:
        faults.append("weights must not be negative and must add up to 1")
    if not 0 < bias.threshold < bias.full <= 1:
        faults.append("bias.threshold must be above 0 and below bias.full, which is at most 1")
    if not 0 < confidence.most < 1:
        faults.append("confidence.most must lie between 0 and 1, and be neither: nothing is certain")
    factors = ("volume_share", "report_ahead", "report_out", "report_tonight", "wide_factor", "unexplained_factor")
    faults += [
        f"confidence.{name} must lie between 0 and 1" for name in factors if not 0 <= getattr(confidence, name) <= 1
    ]
    return faults
