"""What the numbers of a backtest say, in sentences.

What belongs here: wording. What does not: what is drawn or tabled (`page.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from trading_pipeline.reports import wording
from trading_pipeline.reports.backtests.inputs import BacktestInputs
from trading_pipeline.research.performance.series import SESSIONS_A_YEAR

PROVEN, DOUBTFUL = 0.95, 0.5
"""Deflated Sharpe ratios from which a result is called hard to explain by luck, and from which not proven."""

LEAST_SESSIONS = 126
"""Sessions in the market, half a year's, below which none of that is said: the ratios take each session of the record
for one that was drawn by itself, and a record of zeros with a few days of gains for one of small risk."""

REASONS = {
    "exit_signal": "Exit signal",
    "stop": "Stop",
    "rebalance": "Rebalanced away",
    "left_universe": "Left the universe",
    "delisted": "Delisted",
    "end": "Still open",
}


def years(inputs: BacktestInputs) -> float:
    """Years the backtest covers, by its sessions."""
    return len(inputs.returns) / SESSIONS_A_YEAR


def span(inputs: BacktestInputs) -> str:
    """How long the backtest is: `2.2 years`, `7 months`."""
    if (told := years(inputs)) >= 1:
        return f"{wording.number(told)} years"
    return wording.count(max(round(12 * told), 1), "month")


def yearly(inputs: BacktestInputs, value: float | None) -> float | None:
    """A growth a year; None of less than a year, where it would be an extrapolation."""
    return value if years(inputs) >= 1 else None


def in_market(row: Mapping[str, Any]) -> int:
    """Sessions on which there was a position."""
    share, sessions = float(row["time_in_market"] or 0.0), int(row["sessions"])
    return round(share * sessions)


def verdict(row: Mapping[str, Any]) -> str:
    """How far the result can be told from luck, in a few words."""
    told = row["deflated_sharpe"]
    if told is None:
        return "Nothing to judge"
    if in_market(row) < LEAST_SESSIONS:
        return "Too little to judge"
    return "Hard to explain by luck" if told >= PROVEN else "Not proven" if told >= DOUBTFUL else "As good as luck"


def headline(inputs: BacktestInputs) -> list[str]:
    """What it came to, what the benchmark did, how deep it fell, how far to believe it: a sentence or two each."""
    row, money = inputs.row, inputs.market.currency
    if inputs.trades.is_empty():
        return [
            f"It never traded: no signal of it became a position in {span(inputs)}. "
            f"{wording.cash(row['capital'], money)} is what it began and ended with."
        ]
    lines = [
        f"{wording.money(row['capital'], money)} became {wording.money(row['equity'], money)} in {span(inputs)}, "
        f"after fees, slippage, borrow and delistings{_against(inputs)}."
    ]
    depth = -(row["maximum_drawdown"] or 0.0)
    if depth > 0:
        again = (
            f"it was back after {wording.count(row['maximum_drawdown_sessions'], 'session')} under it"
            if row["maximum_drawdown_end_row"] is not None
            else f"after {wording.count(row['maximum_drawdown_sessions'], 'session')} it is not back yet"
        )
        lines.append(
            f"At its worst it was {wording.percent(depth, 1 if depth >= 0.001 else 2)} below its high; {again}."
        )
    lines.append(_believed(row))
    return lines


def _against(inputs: BacktestInputs) -> str:
    held = inputs.held
    if held is None or held["total_return"] is None:
        return ""
    return f"; {inputs.benchmark} held over the same sessions made {wording.percent(held['total_return'], signed=True)}"


def _believed(row: Mapping[str, Any]) -> str:
    told, sharpe, needed = row["deflated_sharpe"], row["sharpe"], row["minimum_track_record"]
    if told is None or sharpe is None:
        return "Its returns never varied, so there is nothing to judge."
    if (held := in_market(row)) < LEAST_SESSIONS:
        return (
            f"It was in the market on {wording.number(held, 0)} of {wording.count(row['sessions'], 'session')}: too "
            "few to tell it from luck, whatever the ratios below say."
        )
    seen, sure = wording.number(sharpe, 2), _chance(told)
    words = f"The probability that its true Sharpe ratio is above 0, where {seen} was seen, is {sure}"
    if row["trials"] > 1:
        words = (
            f"Of {wording.number(row['trials'], 0)} variants tried, the best of as many worthless ones would look good "
            f"too: the probability that a Sharpe ratio of {seen} is more than that is {sure}"
        )
    if needed is not None and needed > row["sessions"]:
        words += (
            f"; it takes {wording.number(needed, 0)} sessions like these to be 95% sure that it is above 0, and there "
            f"are {wording.number(row['sessions'], 0)}"
        )
    return f"{words}."


def _chance(value: float) -> str:
    """A probability: nothing that was estimated is certain."""
    return "over 99%" if value > 0.99 else "under 1%" if value < 0.01 else wording.percent(value, 0)


def warnings(inputs: BacktestInputs) -> list[tuple[str, str]]:
    """(what, why): everything that speaks against taking the numbers as they stand, the gravest first."""
    row = inputs.row
    found = []
    if row["watermark"]:
        found.append(("Watermark", row["watermark"]))
    if row["revised_from"]:
        found.append(
            (
                "Revised",
                f"From {wording.day(row['revised_from'])} on, the account differs from what the same configuration and "
                "code came to before: data of sessions that were over have changed since.",
            )
        )
    if inputs.changed_since:
        found.append(
            ("Changed since", "The configuration says something else now: this is the result of what it said before.")
        )
    if years(inputs) < 1:
        found.append(
            ("Short", f"It covers {span(inputs)}: what it would be a year is left out, as an extrapolation misleads.")
        )
    if (alone := _lopsided(inputs)) is not None:
        found.append(alone)
    return found


def _lopsided(inputs: BacktestInputs) -> tuple[str, str] | None:
    """A result that is on paper alone, or that a single trade made."""
    gained = inputs.row["equity"] - inputs.row["capital"]
    if inputs.trades.is_empty():
        return None
    if inputs.closed.is_empty():
        return ("Open", "No trade of it is over: all that it made is on paper.")
    over = float(inputs.closed["profit"].sum())
    if gained > 0 >= over:
        money = wording.cash(over, inputs.market.currency, signed=True)
        return ("On paper", f"All of its profit is in trades that are still open; those that are over made {money}.")
    best = inputs.trades.sort("profit", "number").row(-1, named=True)
    if gained > 0 and best["profit"] >= gained:
        return (
            "One trade",
            f"Without its best trade, {best['ticker']} with "
            f"{wording.cash(best['profit'], inputs.market.currency, signed=True)}, it would have lost money.",
        )
    return None


def why_no_windows(inputs: BacktestInputs) -> str:
    """Why there is no walk-forward."""
    told = inputs.configuration.walk_forward
    warm_up = inputs.configuration.built().warm_up
    there = inputs.days.height - warm_up
    if there <= told.training:
        return (
            f"The history is too short: a training of {wording.count(told.training, 'session')} leaves none of the "
            f"{wording.number(max(there, 0), 0)} sessions after the strategy's warm-up of {warm_up} for a test. It "
            "comes by itself when there are more, or with a shorter training."
        )
    return "No walk-forward was computed of this result: materialize walk_forward."


def walked(inputs: BacktestInputs) -> str:
    """What the windows say together."""
    windows = inputs.walk_forward
    gained = windows.filter(pl.col("test_return") > 0).height
    total = float((1 + windows["test_return"]).product()) - 1
    words = (
        f"{gained} of {wording.count(windows.height, 'test')} made a profit; joined they made "
        f"{wording.percent(total, signed=True)}"
    )
    both = windows.drop_nulls(["train_sharpe", "test_sharpe"])
    if both.height:
        before, after = (
            wording.number(float(np.median(both[name].to_numpy())), 2) for name in ("train_sharpe", "test_sharpe")
        )
        words += f". The Sharpe ratio was {before} in training and {after} in the test after it"
        words += ", in the median" if both.height > 1 else ""
    return f"{words}."


def mapped(told: Any) -> str:
    """What the parameter map says of the configured set."""
    own, plateau = told.configured, told.plateau
    if own is None:
        return "The configured set is not among those that were tried."
    near = [each["median_sharpe"] for each in told.neighbours if each["median_sharpe"] is not None]
    if own["median_sharpe"] is None:
        return "The configured set never traded."
    rank = next(place for place, each in enumerate(told.sets, start=1) if each is own)
    words = (
        f"The configured set, {told.named(own)}, comes {_ordinal(rank)} of {wording.count(len(told.sets), 'set')} with "
        f"a median Sharpe ratio of {wording.number(own['median_sharpe'], 2)}"
    )
    if near:
        words += f"; its neighbours have {wording.number(min(near), 2)} to {wording.number(max(near), 2)}"
    if plateau is own:
        words += ". It is also the most stable one: its worst neighbour is the best there is"
    elif plateau is not None:
        words += f". The most stable one, whose worst neighbour is the best there is, is {told.named(plateau)}"
    return f"{words}."


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
