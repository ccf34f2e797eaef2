"""Random markets for the tests of research: splits, dividends, holes, halts, listings and delistings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl
import pytest

BENCHMARK, VOLATILITY = "us:SPY", "us:^VIX"


@dataclass(frozen=True)
class RandomMarket:
    """Bars, actions and members as the research functions take them, and every session of the calendar."""

    bars: pl.DataFrame
    actions: pl.DataFrame
    members: pl.DataFrame
    sessions: list[date]

    def between(self, first: date, last: date) -> RandomMarket:
        """What was there from `first` to `last`; the calendar stays whole."""
        inside = pl.col("session").is_between(first, last)
        return replace(
            self,
            bars=self.bars.filter(inside),
            actions=self.actions.filter(inside),
            members=self.members.filter(inside),
        )


@pytest.fixture(scope="session")
def random_market() -> Callable[..., RandomMarket]:
    """A maker of random markets: `random_market(seed, sessions=…, tickers=…, holes=…)`.

    holes: whether bars are missing (1 % of them), names are halted for 5 to 60 sessions, listed late, delisted, whether
    the benchmark lacks bars, and one session has no bar at all.
    """
    return _random_market


def _random_market(seed: int, sessions: int = 700, tickers: int = 30, holes: bool = True) -> RandomMarket:
    rng = np.random.default_rng(seed)
    days = np.arange(np.datetime64("2014-01-02"), np.datetime64("2034-01-02"))
    days = days[np.is_busday(days)][:sessions]
    shape = (sessions, tickers)
    market = rng.normal(0.0003, 0.01, sessions)
    sector = np.arange(tickers) % 4
    moves = (
        market[:, None] * rng.uniform(0.5, 1.6, tickers)
        + rng.normal(0, 0.006, (sessions, 4))[:, sector]
        + rng.normal(0, 0.015, shape)
    )
    split = np.where(rng.random(shape) < 0.002, rng.choice([2.0, 3.0, 1.5, 0.1], shape), 1.0)
    close = 80 * np.exp(np.cumsum(moves, axis=0)) * rng.uniform(0.3, 4, tickers) / np.cumprod(split, axis=0)
    paid = np.where(rng.random(shape) < 1 / 63, close * rng.uniform(0.002, 0.02, shape), 0.0)
    opened = close * np.exp(rng.normal(0, 0.004, shape))
    high = np.maximum(close, opened) * np.exp(np.abs(rng.normal(0, 0.005, shape)))
    low = np.minimum(close, opened) * np.exp(-np.abs(rng.normal(0, 0.005, shape)))
    volume = rng.lognormal(13, 0.4, shape)

    listed = np.ones(shape, dtype=bool)
    traded = np.ones(shape, dtype=bool)
    index_traded = np.ones(sessions, dtype=bool)
    if holes:
        at = np.arange(sessions)[:, None]
        listed &= at >= np.where(rng.random(tickers) < 0.25, rng.integers(0, sessions, tickers), 0)
        listed &= at < np.where(rng.random(tickers) < 0.25, rng.integers(sessions // 3, sessions, tickers), sessions)
        traded &= rng.random(shape) > 0.01
        for halted in rng.integers(0, tickers, 4):
            start = rng.integers(0, sessions)
            traded[start : start + rng.integers(5, 60), halted] = False
        traded[sessions * 3 // 4] = False
        index_traded = rng.random(sessions) > 0.01
        index_traded[sessions * 3 // 4] = False
    traded &= listed

    ids = np.array([f"us:T{number:03d}" for number in range(tickers)])
    row, column = np.nonzero(traded)
    bars = _frame(days[row], ids[column], (opened, high, low, close, volume), (row, column))
    level = 300 * np.exp(np.cumsum(market))
    fear = np.clip(18 + np.cumsum(rng.normal(0, 0.7, sessions)) * 0.5, 9, 80)
    for name, price in ((BENCHMARK, level), (VOLATILITY, fear)):
        at = np.flatnonzero(index_traded)
        arrays = (price, price * 1.004, price * 0.996, price, rng.lognormal(18, 0.2, sessions))
        bars = bars.vstack(_frame(days[at], np.full(len(at), name), arrays, at))

    events = []
    for kind, values, where in (("split", split, (split != 1) & listed), ("dividend", paid, (paid > 0) & listed)):
        row, column = np.nonzero(where)
        events.append(
            pl.DataFrame({"session": days[row], "instrument_id": ids[column]}).with_columns(
                pl.col("session").cast(pl.Date), kind=pl.lit(kind), value=pl.Series(values[row, column])
            )
        )
    row, column = np.nonzero(listed)
    names = np.array(["Energy", "Health Care", "Utilities", ""])
    members = pl.DataFrame({"session": days[row], "instrument_id": ids[column], "sector": names[sector[column]]})
    members = members.with_columns(
        pl.col("session").cast(pl.Date),
        universe=pl.lit("WIDE"),
        ticker=pl.col("instrument_id").str.strip_prefix("us:"),
        sector=pl.when(pl.col("sector") != "").then(pl.col("sector")),
    )
    narrow = members.filter(pl.col("instrument_id") < "us:T010").with_columns(universe=pl.lit("NARROW"))
    return RandomMarket(bars, pl.concat(events), members.vstack(narrow), [day.item() for day in days])


def _frame(days: np.ndarray, ids: np.ndarray, arrays: tuple[np.ndarray, ...], at: object) -> pl.DataFrame:
    values = {name: array[at] for name, array in zip(("open", "high", "low", "close", "volume"), arrays, strict=True)}
    return pl.DataFrame({"session": days, "instrument_id": ids, **values}).select(
        pl.col("session").cast(pl.Date),
        "instrument_id",
        pl.col("instrument_id").str.strip_prefix("us:").alias("ticker"),
        *values,
        data_quality=pl.lit("good"),
    )


@pytest.fixture(scope="session")
def daily_bars() -> Callable[..., pl.DataFrame]:
    """Bars of one instrument from its closes: `daily_bars("us:A", closes, sessions, high=…, low=…, volume=…)`."""

    def make(instrument_id: str, close: list[float], sessions: list[date], **others: list[float]) -> pl.DataFrame:
        price = {name: others.get(name, close) for name in ("open", "high", "low")}
        return pl.DataFrame(
            {
                "session": sessions[: len(close)],
                "instrument_id": [instrument_id] * len(close),
                "ticker": [instrument_id.split(":")[1]] * len(close),
                **price,
                "close": close,
                "volume": others.get("volume", [1000.0] * len(close)),
                "data_quality": ["good"] * len(close),
            },
            schema_overrides=dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64),
        )

    return make
