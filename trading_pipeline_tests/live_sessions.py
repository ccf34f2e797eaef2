"""Short sessions of random minutes, led and replayed on a real database: for the tests of the live loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from trading_pipeline.brokers.base import Broker
from trading_pipeline.brokers.simulated import SimulatedBroker
from trading_pipeline.live.clocks import SimulatedClock
from trading_pipeline.live.feed import FEED_BARS, RecordedFeed
from trading_pipeline.live.inputs import SessionInputs
from trading_pipeline.live.loop import LoopSettings, SessionResult, run_session
from trading_pipeline.research.live import SessionContext
from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.storage.locks import Database
from trading_pipeline.tables import LIVE_TABLES
from trading_pipeline.tables.live import LIVE_SESSIONS

SESSION = date(2025, 9, 17)
OPEN = datetime(2025, 9, 17, 13, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SETTINGS = LoopSettings()


@dataclass
class Day:
    """A session of random minutes. Bars: `FEED_BARS`, each available when it is over."""

    bars: pl.DataFrame
    inputs: SessionInputs

    @classmethod
    def random(
        cls,
        names: int = 10,
        minutes: int = 120,
        seed: int = 3,
        *,
        session: date = SESSION,
        opens_at: datetime = OPEN,
        regime: str | None = "bull",
        **others: Any,
    ) -> Day:
        """Random walks that overshoot and come back; 2 % of the bars are missing, and one name tells no volume.

        A move of a bar is taken back in part by the next ones, so that both setups find something.
        """
        rng = np.random.default_rng(seed)
        shape = (minutes, names)
        before = np.round(rng.uniform(20, 400, names), 2)
        step = 0.0016
        noise = rng.normal(size=shape)
        drift = rng.choice([-0.15, 0.0, 0.15], names)
        moves = step * (noise + drift - 0.3 * np.vstack([np.zeros(names), noise[:-1]]))
        closes = np.round(before * np.exp(np.cumsum(moves, axis=0)), 2)
        opens = np.vstack([before, closes[:-1]])
        reach = np.abs(rng.normal(0, step / 3, shape)) * closes
        highs, lows = np.maximum(opens, closes) + np.round(reach, 2), np.minimum(opens, closes) - np.round(reach, 2)
        volumes = np.round(rng.lognormal(7.5, 0.5, shape))
        volumes[:, 0] = np.nan
        there = rng.random(shape) > 0.02
        ids = np.array([f"us:T{number:02d}" for number in range(names)])
        minute, name = np.nonzero(there)
        started = pl.Series([opens_at + int(each) * MINUTE for each in minute], dtype=FEED_BARS["started_at"])
        prices = {"open": opens, "high": highs, "low": lows, "close": closes, "volume": volumes}
        bars = pl.DataFrame(
            {"instrument_id": ids[name], "started_at": started}
            | {each: pl.Series(values[there], nan_to_null=True) for each, values in prices.items()}
        ).with_columns(available_at=pl.col("started_at") + MINUTE)
        bias = rng.choice(["long", "short", "neutral"], names)
        context = SessionContext(
            session,
            opens_at,
            opens_at + minutes * MINUTE,
            pl.DataFrame(
                {
                    "instrument_id": ids,
                    "ticker": [each.removeprefix("us:") for each in ids],
                    "sector": rng.choice(["Energy", "Utilities", "Materials"], names),
                    "bias": bias,
                    "confidence": rng.uniform(0.5, 1, names),
                    "atr_14": before * 0.02,
                    "previous_close": before,
                }
            ),
            regime=regime,
            environment="A",
        )
        bands = pl.DataFrame({"instrument_id": ids, "anchored_mean": before, "anchored_sigma": before * 0.003})
        return cls(bars.select(FEED_BARS.names()), SessionInputs("us", context, bands, **others))

    @property
    def feed(self) -> RecordedFeed:
        """The bars as they become available."""
        return RecordedFeed(self.bars, self.inputs.context.opens_at, self.inputs.context.closes_at)

    def at(self, minute: float) -> datetime:
        """So many minutes after the open."""
        return self.inputs.context.opens_at + minute * MINUTE


@dataclass
class Watch(SimulatedClock):
    """A clock that does something when it passes a moment."""

    now: datetime
    alarms: dict[datetime, Callable[[], None]] = field(default_factory=dict)

    def sleep(self, seconds: float) -> None:
        """Move on; what was due by then happens."""
        super().sleep(seconds)
        for at in sorted(at for at in self.alarms if at <= self.now):
            self.alarms.pop(at)()


def lead(
    day: Day,
    database: Database,
    *,
    book: str = "paper",
    clock: SimulatedClock | None = None,
    feed: Any = None,
    broker: Broker | None = None,
    settings: LoopSettings = SETTINGS,
    **others: Any,
) -> SessionResult:
    """The day led as a live one, on a clock that stands while it computes."""
    clock = clock or SimulatedClock(day.inputs.context.opens_at)
    return run_session(
        day.inputs,
        feed or day.feed,
        broker or SimulatedBroker(),
        LiveStore(database, book),
        settings,
        clock=clock,
        sleep=clock.sleep,
        **others,
    )


def written(
    database: Database, book: str, without: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, pl.DataFrame]:
    """Every table of a book, without the book and what no rerun repeats."""
    dropped = {"live_ticks": ("compute_ms",), LIVE_SESSIONS.name: ("run_id",), **(without or {})}
    stored = LiveStore(database, book).read_all(LIVE_TABLES.values())
    return {name: rows.drop("book", *dropped.get(name, ())) for name, rows in stored.items()}


def differences(one: Mapping[str, pl.DataFrame], other: Mapping[str, pl.DataFrame]) -> list[str]:
    """Names of the tables that are not equal, to the last bit."""
    return [name for name, rows in one.items() if not rows.equals(other[name])]
