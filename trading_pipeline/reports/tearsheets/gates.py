"""The screener's gates as rows of a table, from the lines it wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trading_pipeline.reports import decisions

_DETAIL = re.compile(r"(?P<value>.+) against (?P<limit>at (?:least|most) .+?)(?:, (?P<by>by .+|beyond measure))?")
_LINE = re.compile(r"(?P<name>\w+): (?P<outcome>passed|failed|unknown), (?P<detail>.*)")


@dataclass(frozen=True)
class Gate:
    """One check: what a pass says, what came out, and the value against the limit."""

    name: str
    outcome: str
    detail: str

    @property
    def label(self) -> str:
        """What a passed gate says in plain language."""
        return decisions.GATES.get(self.name, decisions.spelled(self.name).capitalize())

    @property
    def words(self) -> str:
        """The value and what is asked of it; by how much where it is missed."""
        match = _DETAIL.fullmatch(self.detail)
        if match is None:
            return self.detail
        if self.unknown:
            return f"Not known; {match['limit']} is asked for"
        missed = f", missed {match['by']}" if self.failed and match["by"] else ""
        return f"{match['value'][0].upper()}{match['value'][1:]}; {match['limit']} is asked for{missed}"

    @property
    def failed(self) -> bool:
        """Whether it caps the verdict."""
        return self.outcome == "failed"

    @property
    def unknown(self) -> bool:
        """Whether there was nothing to judge by."""
        return self.outcome == "unknown"


def gates(told: str) -> list[Gate]:
    """The gates of SCREENER_SCORES.gates in the order they were judged; a line of another form is kept as it is."""
    found = []
    for line in decisions.lines(told):
        match = _LINE.fullmatch(line)
        found.append(Gate(**match.groupdict()) if match else Gate(line, "unknown", ""))
    return found
