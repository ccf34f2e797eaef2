"""The timing question: buy before the next report, or wait for it? From how this name itself took reports before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trading_pipeline.reports import decisions, wording

NEAR = 15
"""Sessions before a report from which it bears on when to buy: three weeks. Sooner, weeks of drift weigh more."""
LEAST_REPORTS = 4
"""Fewer reports than a year's say nothing about a habit."""
EDGE = 0.25
"""Share of the usual move that the expected one must reach before it is called a leaning: with a dozen reports, a
smaller one is within what chance gives a name that has no habit."""


@dataclass(frozen=True)
class Timing:
    """An answer in a few words, and why."""

    answer: str
    why: str


def timing(calendar: Mapping[str, Any] | None) -> Timing:
    """The answer from a row of EARNINGS_CALENDAR; None: there is none.

    The expected move is the mean reaction after a beat and after a miss, weighted by how often each happened.
    """
    if calendar is None or calendar["next_report_date"] is None:
        return Timing("No report is announced", "No report date is known, so it gives no reason to wait or to hurry.")
    ahead = calendar["sessions_to_report"]
    if ahead is not None and ahead > NEAR:
        return Timing(
            "The report is far off",
            f"It trades on it in {wording.count(ahead, 'session')}; until then other things decide when to buy.",
        )
    usual, reports = calendar["average_absolute_move"], calendar["reports"]
    if reports < LEAST_REPORTS or usual is None:
        return Timing(
            "Better wait",
            f"Only {wording.count(reports, 'earlier report')} of it {'is' if reports == 1 else 'are'} known, too few "
            "to say how the price takes them. Buying before is a bet; a day after, the result is known.",
        )
    expected = _expected(calendar)
    habit = (
        f"On its last {reports} reports the price moved by {wording.percent(usual)} either way beyond the benchmark, "
        f"{wording.percent(expected, signed=True)} on average; {wording.percent(calendar['beat_rate'], 0)} were beats."
    )
    if expected is None:
        return Timing(
            "Better wait",
            f"It is not known whether its reports were beats. The price moved by {wording.percent(usual)} either way.",
        )
    if expected >= EDGE * usual:
        return Timing(
            "Leans to buying before",
            f"{habit} That is in favour of those who held, but a single report can still fall by as much: buy a part "
            "now and the rest after it.",
        )
    if expected <= -EDGE * usual:
        return Timing("Leans to waiting", f"{habit} More often than not it was cheaper after the report than before.")
    return Timing(
        "No edge either way",
        f"{habit} That is no habit to bet on: waiting costs little and spares a move of that size.",
    )


def _expected(calendar: Mapping[str, Any]) -> float | None:
    rate = calendar["beat_rate"]
    if rate is None:
        return None
    total = 0.0
    for share, move in ((rate, calendar["average_move_after_beat"]), (1 - rate, calendar["average_move_after_miss"])):
        # What never happened has no mean move, and needs none.
        if share > 1e-9:
            if move is None:
                return None
            total += share * move
    return total


def report_line(calendar: Mapping[str, Any] | None) -> str:
    """When the next report comes, in a line; what providers say otherwise beside it."""
    if calendar is None or calendar["next_report_date"] is None:
        return "none announced"
    line = f"{wording.day(calendar['next_report_date'])}, {decisions.timing(calendar['next_timing'])}"
    return f"{line}; but {calendar['disagreement']}" if calendar["disagreement"] else line


__all__ = ["EDGE", "LEAST_REPORTS", "NEAR", "Timing", "report_line", "timing"]
