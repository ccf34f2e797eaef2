"""Snapshots of random markets, and snapshots written by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from trading_pipeline.tables import RECEIVED_FUNDAMENTALS

DECIDED = timedelta(hours=22, minutes=30)


def moment(day: date, hours: float = 0.0) -> datetime:
    return datetime.combine(day, time(), UTC) + timedelta(hours=hours)


@pytest.fixture(scope="session")
def snapshot() -> Callable[..., dict[str, Any]]:
    """One received snapshot: `snapshot("us:A", day, price=…)`, out at 21:00 of its session unless told."""

    def make(instrument_id: str, session: date, available_at: datetime | None = None, **facts: Any) -> dict[str, Any]:
        available_at = available_at or moment(session, 21)
        return {
            **dict.fromkeys(RECEIVED_FUNDAMENTALS.names),
            "instrument_id": instrument_id,
            "symbol": instrument_id.split(":")[1],
            "session": session,
            "asset_type": "stock",
            "currency": "USD",
            "provider": "yahoo",
            "available_at": available_at,
            "known_at": facts.pop("known_at", available_at),
            **facts,
        }

    return make


@pytest.fixture(scope="session")
def received() -> Callable[..., pl.DataFrame]:
    """`received(*snapshots)`: the frame of them, in the order given."""

    def make(*snapshots: dict[str, Any]) -> pl.DataFrame:
        return pl.DataFrame(list(snapshots), schema=RECEIVED_FUNDAMENTALS.schema)

    return make


@pytest.fixture(scope="session")
def decided() -> Callable[[list[date]], pl.DataFrame]:
    """The moment each session is decided at: 22:30 UTC."""

    def make(sessions: list[date]) -> pl.DataFrame:
        return pl.DataFrame(
            {"session": sessions, "decided_at": [moment(day) + DECIDED for day in sessions]},
            schema={"session": pl.Date, "decided_at": pl.Datetime("us", "UTC")},
        )

    return make


@pytest.fixture(scope="session")
def random_snapshots() -> Callable[..., pl.DataFrame]:
    """Snapshots of a twentieth of a market's bars, of two providers, a third revised, many late, some wrong."""

    def make(bars: pl.DataFrame, seed: int) -> pl.DataFrame:
        rng = np.random.default_rng(seed)
        told = bars.select("session", "instrument_id", "close").filter(pl.Series(rng.random(bars.height) < 0.05))
        told = pl.concat([told, told.filter(pl.Series(rng.random(told.height) < 0.3))])
        late = np.where(rng.random(told.height) < 0.3, rng.integers(0, 24 * 20, told.height), 0)
        wrong = rng.choice([1.0, 1.05, 1.2, 2.0, 100.0], told.height, p=[0.6, 0.2, 0.1, 0.05, 0.05])
        swapped = rng.random(told.height) < 0.1
        available = pl.col("session").cast(pl.Datetime("us", "UTC")) + pl.duration(hours=pl.Series(21 + late))
        told = told.with_columns(
            symbol=pl.col("instrument_id").str.strip_prefix("us:"),
            asset_type=pl.lit("stock"),
            price=pl.col("close") * pl.Series(wrong),
            market_cap=pl.col("close") * 1e6,
            shares_outstanding=pl.Series(1e6 * rng.choice([1.0, 0.4, 3.0], told.height, p=[0.8, 0.15, 0.05])),
            pe_trailing=pl.Series(rng.lognormal(3, 1, told.height)),
            price_to_book=pl.Series(rng.choice([2.0, 50_000.0], told.height, p=[0.95, 0.05])),
            dividend_yield=pl.Series(rng.choice([0.02, 1.8, None], told.height).astype(float)),
            high_52_weeks=pl.col("close") * pl.Series(np.where(swapped, 0.8, 1.3)),
            low_52_weeks=pl.col("close") * pl.Series(np.where(swapped, 1.3, 0.8)),
            currency=pl.lit("USD"),
            financial_currency=pl.Series(rng.choice(["USD", "EUR"], told.height, p=[0.9, 0.1])),
            provider=pl.Series(rng.choice(["files", "yahoo"], told.height)),
            available_at=available,
            known_at=available,
        ).drop("close")
        missing = [name for name in RECEIVED_FUNDAMENTALS.names if name not in told.columns]
        told = told.with_columns(pl.lit(None, RECEIVED_FUNDAMENTALS.schema[name]).alias(name) for name in missing)
        return told.select(RECEIVED_FUNDAMENTALS.names).unique(
            ["instrument_id", "session", "provider", "available_at"], keep="first", maintain_order=True
        )

    return make
