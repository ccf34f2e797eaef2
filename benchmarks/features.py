"""Indicators, regime and dips for ten years in one call, against the same functions called session by session.

The baseline is what a daily job does when it is replayed over history: for every session the same functions on that
session's lookback, cut out of frames sorted by session beforehand. 20 sessions spread over the second half of the ten
years (where the lookback is full) are run one by one and their mean is scaled to all sessions; a full replay takes
about an hour. Each call is made twice and the faster one counts, on both sides, so that another process on the machine
weighs on neither. Both sides run in this process, one after the other, on random walks with splits, dividends, missing
bars, late listings and delistings. Dagster and storage are on neither side.
"""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import numpy as np

from benchmarks.random_market import BENCHMARK, SESSIONS, TICKERS, VOLATILITY, Inputs, random_market
from benchmarks.report import Row, Target, seconds
from trading_pipeline.research.dips import dip_opportunities
from trading_pipeline.research.indicators import LOOKBACK, indicators
from trading_pipeline.research.regime import market_regime

SAMPLED = 20
THRESHOLDS = (5.0, 10.0, 15.0)


def decide(inputs: Inputs, sessions: list[date]) -> dict[str, float]:
    """Runs the three functions for `sessions` on the inputs with their lookback; seconds of each."""
    first = inputs.sessions[max(0, inputs.sessions.index(sessions[0]) - LOOKBACK)]
    seen = inputs.between(first, sessions[-1])
    start = time.perf_counter()
    measured = indicators(seen.bars, seen.actions, seen.members, BENCHMARK, sessions)
    after_indicators = time.perf_counter()
    regime = market_regime(seen.bars, seen.actions, seen.members, measured, BENCHMARK, VOLATILITY, sessions)
    after_regime = time.perf_counter()
    dip_opportunities(seen.bars, seen.actions, seen.members, measured, regime, BENCHMARK, THRESHOLDS, sessions)
    return {
        "indicators": after_indicators - start,
        "market_regime": after_regime - after_indicators,
        "dip_opportunities": time.perf_counter() - after_regime,
    }


def best_of_two(inputs: Inputs, sessions: list[date]) -> dict[str, float]:
    """The faster of two runs of each function."""
    first, second = decide(inputs, sessions), decide(inputs, sessions)
    return {name: min(spent, second[name]) for name, spent in first.items()}


def measure(folder: Path, tickers: int = TICKERS, sessions: int = SESSIONS, sampled: int = SAMPLED) -> list[Row]:
    """Each function and all three together; `folder` is not needed."""
    inputs = random_market(tickers, sessions)
    decide(inputs, inputs.sessions[-5:])  # imports, thread pools and allocator are warm on both sides
    whole = best_of_two(inputs, inputs.sessions)
    positions = np.linspace(sessions // 2, sessions - 1, sampled).astype(int)
    singly = [best_of_two(inputs, [inputs.sessions[position]]) for position in positions]
    scaled = {name: sum(run[name] for run in singly) / sampled * sessions for name in whole}
    note = (
        f"Baseline: the same functions called session by session, each on its own lookback of {LOOKBACK} sessions: "
        f"{sampled} sessions over the second half of the ten years were run and their mean scaled to {sessions:,}."
    )
    together = sum(whole.values())
    panel = f"{tickers} tickers x {sessions:,} sessions"
    rows = [
        Row(
            f"indicators, regime and dips, {panel}",
            seconds(together),
            seconds(sum(scaled.values())),
            sum(scaled.values()) / together,
            note,
            Target(100, " x", at_least=True),
        ),
        Row("the same, time of the one call", seconds(together), "-", None, note, Target(10, " s"), together),
    ]
    return rows + [
        Row(f"  of which {name}", seconds(whole[name]), seconds(scaled[name]), scaled[name] / whole[name], note)
        for name in whole
    ]
