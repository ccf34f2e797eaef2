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
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from trading_pipeline.research.dips import dip_opportunities
from trading_pipeline.research.indicators import LOOKBACK, indicators
from trading_pipeline.research.regime import market_regime

TICKERS, SESSIONS, SAMPLED = 500, 2520, 20
BENCHMARK, VOLATILITY = "us:SPY", "us:^VIX"
THRESHOLDS = (5.0, 10.0, 15.0)


@dataclass(frozen=True)
class Inputs:
    """What the three functions read."""

    bars: pl.DataFrame
    actions: pl.DataFrame
    members: pl.DataFrame
    sessions: list[date]

    def between(self, first: date, last: date) -> Inputs:
        """The rows from `first` to `last`, found by binary search: the frames are sorted by session."""

        def cut(frame: pl.DataFrame) -> pl.DataFrame:
            low = frame["session"].search_sorted(first, side="left")
            return frame[low : frame["session"].search_sorted(last, side="right")]

        return Inputs(cut(self.bars), cut(self.actions), cut(self.members), self.sessions)


def random_inputs(tickers: int = TICKERS, sessions: int = SESSIONS, seed: int = 20160314) -> Inputs:
    """Ten years of random walks with one market and eleven sectors in common."""
    rng = np.random.default_rng(seed)
    days = np.arange(np.datetime64("2010-01-04"), np.datetime64("2030-01-01"))
    days = days[np.is_busday(days)][:sessions]
    shape, sector = (sessions, tickers), np.arange(tickers) % 11
    market = rng.normal(0.0003, 0.01, sessions)
    shared = rng.normal(0, 0.006, (sessions, 11))[:, sector]
    moves = market[:, None] * rng.uniform(0.6, 1.4, tickers) + shared + rng.normal(0, 0.015, shape)
    split = np.where(rng.random(shape) < 0.0004, rng.choice([2.0, 3.0, 4.0, 0.1], shape), 1.0)
    close = 50 * np.exp(np.cumsum(moves, axis=0)) * rng.uniform(0.5, 4, tickers) / np.cumprod(split, axis=0)
    opened = close * np.exp(rng.normal(0, 0.004, shape))
    spread = np.exp(np.abs(rng.normal(0, 0.005, shape)))
    high, low = np.maximum(close, opened) * spread, np.minimum(close, opened) / spread
    at = np.arange(sessions)[:, None]
    listed = at >= np.where(rng.random(tickers) < 0.1, rng.integers(0, sessions // 2, tickers), 0)
    listed &= at < np.where(rng.random(tickers) < 0.1, rng.integers(100, sessions, tickers), sessions)
    traded = listed & (rng.random(shape) > 0.001)
    ids = np.array([f"us:T{number:04d}" for number in range(tickers)])

    def keyed(where: np.ndarray, **values: np.ndarray | str) -> pl.DataFrame:
        row, column = np.nonzero(where)
        keys = pl.DataFrame({"session": days[row], "instrument_id": ids[column]})
        arrays = {name: value[row, column] for name, value in values.items() if isinstance(value, np.ndarray)}
        texts = {name: pl.lit(value) for name, value in values.items() if isinstance(value, str)}
        return keys.hstack(pl.DataFrame(arrays)).with_columns(pl.col("session").cast(pl.Date), **texts)

    volume = rng.lognormal(13, 0.4, shape)
    bars = keyed(traded, open=opened, high=high, low=low, close=close, volume=volume, data_quality="good")
    level, fear = 200 * np.exp(np.cumsum(market)), np.clip(18 + np.cumsum(rng.normal(0, 0.3, sessions)), 9, 70)
    for name, price in ((BENCHMARK, level), (VOLATILITY, fear)):
        index = pl.DataFrame({"session": days}).with_columns(
            pl.col("session").cast(pl.Date), instrument_id=pl.lit(name)
        )
        prices = dict.fromkeys(("open", "high", "low", "close"), pl.Series(price))
        index = index.with_columns(**prices, volume=pl.Series(rng.lognormal(18, 0.2, sessions)))
        bars = bars.vstack(index.with_columns(data_quality=pl.lit("good")))
    events = [
        keyed(traded & (split != 1), kind="split", value=split),
        keyed(traded & (rng.random(shape) < 1 / 63), kind="dividend", value=close * 0.005),
    ]
    names = pl.DataFrame({"instrument_id": ids, "sector": [f"Sector {number}" for number in sector]})
    return Inputs(
        bars=bars.with_columns(ticker=pl.col("instrument_id").str.strip_prefix("us:")).sort("session"),
        actions=pl.concat(frame.select("session", "instrument_id", "kind", "value") for frame in events).sort(
            "session"
        ),
        members=keyed(listed, universe="WIDE").join(names, on="instrument_id").sort("session"),
        sessions=[day.item() for day in days],
    )


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
    return {name: min(seconds, second[name]) for name, seconds in first.items()}


def measure() -> list[dict[str, object]]:
    """Rows of name, ours and baseline (seconds for the ten years), ratio, and a note on how the baseline was had."""
    inputs = random_inputs()
    decide(inputs, inputs.sessions[-5:])  # imports, thread pools and allocator are warm on both sides
    whole = best_of_two(inputs, inputs.sessions)
    positions = np.linspace(SESSIONS // 2, SESSIONS - 1, SAMPLED).astype(int)
    singly = [best_of_two(inputs, [inputs.sessions[position]]) for position in positions]
    scaled = {name: sum(run[name] for run in singly) / SAMPLED * SESSIONS for name in whole}
    note = f"{SAMPLED} sessions run one by one, scaled to {SESSIONS}"
    whole["indicators + regime + dips"], scaled["indicators + regime + dips"] = (
        sum(whole.values()),
        sum(scaled.values()),
    )
    return [
        {
            "name": f"{name}, {TICKERS} tickers x {SESSIONS} sessions",
            "ours": seconds,
            "baseline": scaled[name],
            "ratio": scaled[name] / seconds,
            "seconds": seconds,
            "note": note,
        }
        for name, seconds in whole.items()
    ]


if __name__ == "__main__":
    for row in measure():
        print(f"{row['name']:<62} {row['ours']:6.2f} s   baseline {row['baseline']:8.1f} s   {row['ratio']:6.0f} x")
