"""Screener scores of ten years in one call, against the same function called session by session.

The baseline is what a daily job does when it is replayed over history: for every session the same function on that
session's rows (and its lookback of news), cut out of frames sorted by session beforehand. 20 sessions spread over the
second half are run one by one and their mean is scaled to all sessions. Each call is made twice and the faster one
counts, on both sides. Indicators, regime and trading volume are computed before, by the project's own functions, and
are on neither side; fundamentals, calendar and news are random, different on every session, a tenth of the numbers
missing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.random_market import BENCHMARK, SESSIONS, TICKERS, VOLATILITY, random_market
from benchmarks.random_reference import Reference, random_reference
from benchmarks.report import Row, Target, seconds
from trading_pipeline.research.indicators import indicators
from trading_pipeline.research.regime import market_regime
from trading_pipeline.research.screener import NEWS_LOOKBACK, dollar_volume, load_rules, screener_scores

SAMPLED = 20


@dataclass(frozen=True)
class Inputs:
    """Everything the function reads, sorted by session."""

    members: pl.DataFrame
    indicators: pl.DataFrame
    regime: pl.DataFrame
    reference: Reference
    liquidity: pl.DataFrame
    sessions: list[date]

    @classmethod
    def random(cls, tickers: int, sessions: int) -> Inputs:
        market = random_market(tickers, sessions)
        days = market.sessions
        measured = indicators(market.bars, market.actions, market.members, BENCHMARK, days)
        regime = market_regime(market.bars, market.actions, market.members, measured, BENCHMARK, VOLATILITY, days)
        stocks = measured.filter(~pl.col("instrument_id").is_in([BENCHMARK, VOLATILITY]))
        return cls(market.members, measured, regime, random_reference(stocks), dollar_volume(market.bars, days), days)

    def scores(self, sessions: list[date]) -> float:
        """Seconds of one call for `sessions` on their rows alone."""
        first = self.sessions[max(0, self.sessions.index(sessions[0]) - NEWS_LOOKBACK)]
        inputs = [
            _cut(frame, sessions[0], sessions[-1])
            for frame in (
                self.members, self.indicators, self.regime,
                self.reference.fundamentals, self.reference.earnings_calendar,
            )
        ]  # fmt: skip
        news = _cut(self.reference.news, first, sessions[-1])
        liquidity = _cut(self.liquidity, sessions[0], sessions[-1])
        rules = load_rules()
        start = time.perf_counter()
        screener_scores(*inputs, news, rules, sessions, liquidity=liquidity)
        return time.perf_counter() - start


def measure(folder: Path, tickers: int = TICKERS, sessions: int = SESSIONS, sampled: int = SAMPLED) -> list[Row]:
    """The ratio, and the time of the one call; `folder` is not needed."""
    inputs = Inputs.random(tickers, sessions)
    inputs.scores(inputs.sessions[-5:])  # imports, thread pools and allocator are warm on both sides
    whole = min(inputs.scores(inputs.sessions) for _ in range(2))
    positions = np.linspace(sessions // 2, sessions - 1, sampled).astype(int)
    singly = [min(inputs.scores([inputs.sessions[position]]) for _ in range(2)) for position in positions]
    replayed = sum(singly) / sampled * sessions
    note = (
        f"Baseline: the same function called session by session: {sampled} sessions over the second half of the ten "
        f"years were run and their mean scaled to {sessions:,}. Inputs are computed beforehand on both sides."
    )
    panel = f"{tickers} tickers x {sessions:,} sessions"
    return [
        Row(f"screener scores, {panel}", seconds(whole), seconds(replayed), replayed / whole, note),
        Row("the same, time of the one call", seconds(whole), "-", None, note, Target(15, " s"), whole),
    ]


def _cut(frame: pl.DataFrame, first: date, last: date) -> pl.DataFrame:
    low = frame["session"].search_sorted(first, side="left")
    return frame[low : frame["session"].search_sorted(last, side="right")]
