"""What is known of a session before it opens, and does not change while it runs.

What belongs here: bias, levels and clocks, as arrays in the order of the features. What does not: anything measured
during the session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property

import numpy as np
import polars as pl

from trading_pipeline.research.live.features import Positions, SessionFeatures, micros
from trading_pipeline.research.live.rules import Rules, TiltRules
from trading_pipeline.research.panel import Floats, Mask

LONG, SHORT = 1, -1
_DIRECTIONS = {"long": LONG, "short": SHORT}
_REGIMES = {"bull": LONG, "bear": SHORT}

NAMES = pl.Schema(
    {
        "instrument_id": pl.String(),
        "ticker": pl.String(),
        "sector": pl.String(),
        "bias": pl.String(),
        "confidence": pl.Float64(),
        "atr_14": pl.Float64(),
        "previous_close": pl.Float64(),
    }
)


def live_names(followed: pl.DataFrame, daily_bias: pl.DataFrame, snapshots: pl.DataFrame) -> pl.DataFrame:
    """`NAMES`: each instrument followed with its bias and levels, null where bias or snapshot is missing.

    followed: [instrument_id, ticker, sector]. daily_bias, snapshots: rows of the session (one an instrument) of the
    tables `daily_bias` and `premarket_snapshots`; only the columns needed are read.
    """
    bias = daily_bias.select("instrument_id", "bias", "confidence")
    levels = snapshots.select("instrument_id", "atr_14", "previous_close")
    return (
        followed.select("instrument_id", "ticker", "sector")
        .join(bias, on="instrument_id", how="left", validate="1:1")
        .join(levels, on="instrument_id", how="left", validate="1:1")
        .select(pl.col(name).cast(dtype) for name, dtype in NAMES.items())
        .sort("instrument_id")
    )


@dataclass(frozen=True)
class SessionContext:
    """A session as it is known before its open.

    opens_at, closes_at: zone-aware, the early close on a half-day. names: `NAMES`, one row an instrument followed.
    regime (bull, sideways, bear), environment (A to D): of the session before; None: not graded. stale_after: age from
    which on a bar is stale. benchmark_id: the index, if it is followed; it is never traded. usual_length: of an
    ordinary session; what half a day moves is compared with half of what a whole one does.
    """

    session: date
    opens_at: datetime
    closes_at: datetime
    names: pl.DataFrame
    regime: str | None = None
    environment: str | None = None
    stale_after: timedelta = timedelta(seconds=90)
    benchmark_id: str | None = None
    usual_length: timedelta = timedelta(hours=6.5)
    ids: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if micros(self.opens_at) >= micros(self.closes_at):
            raise ValueError(f"the session {self.session} closes at {self.closes_at}, not after its open")
        names = self.names.select(pl.col(name).cast(dtype) for name, dtype in NAMES.items()).sort("instrument_id")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "ids", tuple(names["instrument_id"].to_list()))

    def require(self, features: SessionFeatures) -> None:
        """`ValueError` unless the features are of the same instruments."""
        if features.instruments != self.ids:
            raise ValueError("features and context follow different instruments; make both from the same list")

    @cached_property
    def positions(self) -> Positions:
        """Tells the position of each instrument among `ids`, -1 where it is not followed."""
        return Positions(self.ids)

    @property
    def direction(self) -> int:
        """Where the market goes: 1 in a bull market, -1 in a bear market, 0 otherwise."""
        return _REGIMES.get(self.regime or "", 0)

    @cached_property
    def bias(self) -> Floats:
        """-1 (surely short) to 1 (surely long): the bias times its confidence; 0 where it is neutral or unknown."""
        side = self.names["bias"].replace_strict(_DIRECTIONS, default=0, return_dtype=pl.Float64).fill_null(0.0)
        confidence = self.names["confidence"].fill_null(0.0).fill_nan(0.0).clip(0.0, 1.0)
        return (side * confidence).to_numpy()

    @cached_property
    def atr(self) -> Floats:
        """Average true range of each name, in its currency; NaN where it is unknown or not above 0."""
        return _positive(self.names["atr_14"])

    @cached_property
    def previous_close(self) -> Floats:
        """Yesterday's close in today's price basis; NaN where it is unknown."""
        return _positive(self.names["previous_close"])

    @cached_property
    def is_benchmark(self) -> Mask:
        """Whether the name is the index."""
        return np.array([each == self.benchmark_id for each in self.ids], dtype=np.bool_)

    def strength_of(self, side: int, tilts: TiltRules) -> float:
        """What the environment leaves of the strength of a signal of that side."""
        grade = (self.environment or "").lower()
        name = f"{'long' if side == LONG else 'short'}_{grade}"
        return getattr(tilts, name) if grade in ("a", "b", "c", "d") else tilts.unknown_environment

    def fresh(self, features: SessionFeatures, tick_at: datetime) -> Mask:
        """Whether the last bar of each name ended less than `stale_after` before the tick."""
        limit = micros(tick_at - features.bar_length - self.stale_after)
        return (features.state.bars > 0) & (features.state.started > limit)

    def entries_may_open(self, tick_at: datetime, rules: Rules) -> bool:
        """Whether the tick lies far enough from open and close for a signal."""
        first = self.opens_at + timedelta(minutes=rules.timing.minutes_after_open)
        last = self.closes_at - timedelta(minutes=rules.timing.minutes_before_close)
        return first <= tick_at <= last


def _positive(series: pl.Series) -> Floats:
    values = series.to_numpy()
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)
