"""What could go wrong with a name, the worst first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trading_pipeline.reports import decisions, wording
from trading_pipeline.reports.tearsheets.gates import Gate

GRAVE, NOTABLE = 70, 40
"""Weights from which a risk is called high, and from which medium."""

WEAK = 35.0
"""Points of a component below which it is a risk of its own: about the weakest quarter."""
LIVELY = 0.4
"""Volatility a year from which a tenth up or down within a month is normal."""

_FLAGS = {
    "value_trap": (
        90,
        "It may be cheap for a reason",
        "The price tag is low, and the business shows signs of shrinking.",
    ),
    "suspect_bar": (85, "The price is in doubt", "A quality rule doubts this session's bar; check it before acting."),
    "suspect_fundamentals": (
        72,
        "The figures are in doubt",
        "A quality rule doubts the company's figures; check them.",
    ),
    "earnings_soon": (60, "A report is due within days", "The price may jump either way on it."),
    "negative_news": (58, "The news is bad", "The tone of the articles of the last two weeks is clearly negative."),
    "high_debt": (55, "It owes much", "Debt weighs most when business is slow or credit is dear."),
    "high_short_interest": (50, "Many bet on its fall", "Somebody has looked closely and does not like what is there."),
    "low_confidence": (48, "Little is known", "The total rests on too few inputs."),
    "over_extended": (
        45,
        "It has run far ahead",
        "It is far above its 50-session average; such stretches end in a pause.",
    ),
    "overbought": (42, "Everybody bought already", "There was hardly a falling day in two weeks."),
    "stale_fundamentals": (41, "The figures are old", "There is probably a later report than the figures used here."),
    "unknown_environment": (38, "The market is not judged", "The weights are those between a fair and a weak market."),
    "ex_dividend_soon": (20, "It goes ex-dividend", "The price falls by the dividend; nothing is lost by it."),
}
_ENVIRONMENTS = {
    "C": (46, "The market is weak", "In environment C half of the dips go on falling."),
    "D": (75, "The market is falling", "In environment D good companies are sold with bad ones."),
}


@dataclass(frozen=True)
class Risk:
    """One thing that could go wrong; the heavier the graver."""

    weight: int
    title: str
    text: str

    @property
    def level(self) -> str:
        """High, Medium or Low."""
        return "High" if self.weight >= GRAVE else "Medium" if self.weight >= NOTABLE else "Low"


def risks(
    score: Mapping[str, Any] | None,
    gates: list[Gate],
    words: Mapping[str, Any] | None,
    volatility: float | None,
    environment: str | None,
) -> list[Risk]:
    """The risks of a name, the gravest first; those of equal weight in the order they are looked for.

    score, words: rows of SCREENER_SCORES and DIP_ANALYSIS, None where there is none. volatility: a year, fraction.
    """
    found = [Risk(100, f"It fails a check: {gate.label.lower()}", f"{gate.words}.") for gate in gates if gate.failed]
    found += [Risk(*_FLAGS[name]) for name in decisions.names(score["flags"] if score else "") if name in _FLAGS]
    # The desk's lines come the worst first; the last of several holds for every dip.
    told = decisions.lines(words["risks"]) if words else []
    for place, line in enumerate(told):
        always = len(told) > 1 and place == len(told) - 1
        found.append(Risk(15 if always else max(68 - 6 * place, 20), "The dip", line))
    # The desk's rules speak of a weak market and of a lively price themselves.
    by_rules = words is not None and words["source"] == "rules"
    if environment in _ENVIRONMENTS and not by_rules:
        found.append(Risk(*_ENVIRONMENTS[environment]))
    if volatility is not None and volatility >= LIVELY and not by_rules:
        text = f"{wording.percent(volatility, 0)} a year, so a tenth up or down within a month is normal."
        found.append(Risk(44, "It moves a lot", text))
    for column, label in decisions.COMPONENTS.items():
        value = score[column] if score else None
        if value is not None and value < WEAK and score and score[f"weight_{column.removesuffix('_score')}"] > 0:
            text = f"{wording.number(value, 0)} of 100 points."
            found.append(Risk(30, f"Weak: {label}", text))
    found += [Risk(25, f"Not checked: {gate.label.lower()}", f"{gate.words}.") for gate in gates if gate.unknown]
    return sorted(found, key=lambda risk: -risk.weight)
