"""Random markets: the same rows as frames for the research functions and as the file a person brings.

What does not belong here: a market whose answers are known (`providers/simulated`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from trading_pipeline.markets import US
from trading_pipeline.research.bars.adjustment import adjust
from trading_pipeline.sessions import calendar

TICKERS, SESSIONS = 500, 2520
BENCHMARK, VOLATILITY = "us:SPY", "us:^VIX"


@dataclass(frozen=True)
class Inputs:
    """What the research functions read: bars as traded, actions, members, and every session there is."""

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


def random_market(tickers: int = TICKERS, sessions: int = SESSIONS, seed: int = 20160314) -> Inputs:
    """Random walks with one market and eleven sectors in common, on the first `sessions` sessions of XNYS.

    With splits, dividends, missing bars, late listings and delistings.
    """
    rng = np.random.default_rng(seed)
    days = calendar(US.exchange).sessions[:sessions]
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
    listed &= at < np.where(rng.random(tickers) < 0.1, rng.integers(sessions // 2, sessions, tickers), sessions)
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
        sessions=days.tolist(),
    )


def write_bars_file(market: Inputs, path: Path) -> None:
    """The market as downloads look: one Parquet file by ticker and date, prices split-adjusted, actions as columns."""
    key = ["session", "instrument_id"]
    bars = market.bars.filter(~pl.col("instrument_id").is_in([BENCHMARK, VOLATILITY]))
    paid = market.actions.filter(pl.col("kind") == "dividend")
    rows = (
        adjust(bars, market.actions, "splits")
        .with_columns(
            adj_close=adjust(bars, market.actions, "total_return")["close"],
            # What a split does to prices before it, it does to amounts.
            basis=adjust(bars.with_columns(close=pl.lit(1.0)), market.actions, "splits")["close"],
        )
        .join(paid.select(*key, dividends="value"), on=key, how="left")
        .join(market.actions.filter(pl.col("kind") == "split").select(*key, stock_splits="value"), on=key, how="left")
    )
    rows.sort("ticker", "session").select(
        pl.col("session").alias("date"),
        "ticker",
        *("open", "high", "low", "close", "adj_close"),
        pl.col("volume").round(),
        dividends=(pl.col("dividends") * pl.col("basis")).fill_null(0.0),
        stock_splits=pl.col("stock_splits").fill_null(0.0),
    ).write_parquet(path, compression="zstd")
