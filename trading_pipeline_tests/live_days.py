"""Days of minutes that are played through the live functions, tick by tick, stopped and resumed: for their tests."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import polars as pl

from trading_pipeline.research.live import (
    FALL_COLUMNS,
    SIGNAL_COLUMNS,
    Multipliers,
    PriceMonitor,
    Rules,
    SessionContext,
    SessionFeatures,
    is_due,
    load_rules,
    market_analysis,
    signals,
)

MINUTE = timedelta(minutes=1)
MOMENT = pl.Datetime("us", "UTC")
OPENS_AT = datetime(2025, 9, 17, 13, 30, tzinfo=UTC)
SNAPSHOTS = pl.Schema({"instrument_id": pl.String(), "anchored_mean": pl.Float64(), "anchored_sigma": pl.Float64()})
BARS = pl.Schema(
    {
        "instrument_id": pl.String(),
        "started_at": MOMENT,
        **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64()),
    }
)


def minutes(
    instrument_id: str,
    closes: Sequence[float],
    *,
    opens_at: datetime = OPENS_AT,
    spread: float = 0.01,
    volumes: Sequence[float | None] | None = None,
    length: timedelta = MINUTE,
) -> pl.DataFrame:
    """`BARS` of one name from its closes: each opens at the close before and reaches `spread` beyond both."""
    opens = [closes[0], *closes[:-1]]
    pairs = list(zip(opens, closes, strict=True))
    return pl.DataFrame(
        {
            "instrument_id": [instrument_id] * len(closes),
            "started_at": [opens_at + number * length for number in range(len(closes))],
            "open": opens,
            "high": [max(pair) + spread for pair in pairs],
            "low": [min(pair) - spread for pair in pairs],
            "close": list(closes),
            "volume": list(volumes) if volumes is not None else [1000.0] * len(closes),
        },
        schema=BARS,
    )


def snapshot(instrument_id: str, mean: float | None, sigma: float | None) -> pl.DataFrame:
    """What the features read of a premarket snapshot."""
    return pl.DataFrame([(instrument_id, mean, sigma)], schema=SNAPSHOTS, orient="row")


def context(
    ids: Sequence[str] = ("us:A",),
    *,
    opens_at: datetime = OPENS_AT,
    hours: float = 6.5,
    session: date | None = None,
    previous_close: float | None = 100.0,
    atr: float | None = 2.0,
    bias: str | None = None,
    confidence: float | None = 1.0,
    **others: object,
) -> SessionContext:
    """A session of names that are alike; ticker: the id without its market."""
    names = pl.DataFrame({"instrument_id": list(ids)}).with_columns(
        ticker=pl.col("instrument_id").str.split(":").list.last(),
        sector=pl.lit("Energy"),
        bias=pl.lit(bias, dtype=pl.String),
        confidence=pl.lit(confidence, dtype=pl.Float64),
        atr_14=pl.lit(atr, dtype=pl.Float64),
        previous_close=pl.lit(previous_close, dtype=pl.Float64),
    )
    return SessionContext(session or opens_at.date(), opens_at, opens_at + timedelta(hours=hours), names, **others)  # type: ignore[arg-type]


@dataclass
class Played:
    """What a day left: rows of the features, signals, analyses, falls, and the features as they are at its end."""

    features: SessionFeatures
    logs: list[pl.DataFrame] = field(default_factory=list)
    signals: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SIGNAL_COLUMNS))
    analyses: list[pl.DataFrame] = field(default_factory=list)
    falls: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FALL_COLUMNS))

    @property
    def rows(self) -> pl.DataFrame:
        """Every row of the features, in the order they were written."""
        return pl.concat(self.logs)


def play(
    bars: pl.DataFrame,
    known: SessionContext,
    snapshots: pl.DataFrame,
    *,
    resumed_before: Collection[int] = (),
    rules: Rules | None = None,
    ticks: int | None = None,
) -> Played:
    """A session as the live loop runs it: one tick a minute, each with the bars that have become complete.

    bars: `BARS`, and where it is there `available_at`, when each could be had (otherwise a minute after its start).
    resumed_before: numbers of ticks (1, 2 …) before which everything in memory is lost and made anew from what was
    written. ticks: how many; all up to the close otherwise.
    """
    rules = rules or load_rules()
    if "available_at" not in bars.columns:
        bars = bars.with_columns(available_at=pl.col("started_at") + MINUTE)
    waiting = bars.sort("available_at", "instrument_id", "started_at")
    features = SessionFeatures(known.ids, snapshots, rules)
    monitor = PriceMonitor(known, rules.monitor)
    played = Played(features)
    for number in range(1, (ticks or (known.closes_at - known.opens_at) // MINUTE) + 1):
        at = known.opens_at + number * MINUTE
        if number in resumed_before and played.logs:
            features, monitor = SessionFeatures(known.ids, snapshots, rules), PriceMonitor(known, rules.monitor)
            features.resume(played.rows)
            assert monitor.resume(played.rows).equals(played.falls.sort("instrument_id"))
        new = waiting.filter(pl.col("available_at").is_between(at - MINUTE, at, closed="right"))
        rows = features.advance(at, new.drop("available_at"))
        played.logs.append(rows)
        played.falls = played.falls.vstack(monitor.advance(rows))
        last = played.analyses[-1] if played.analyses else None
        if is_due(at, known.opens_at, None if last is None else last["tick_at"].item(), rules):
            last = market_analysis(features, known, rules, at)
            played.analyses.append(last)
        tilt = None if last is None else Multipliers.of(last.row(0, named=True))
        decided = signals(features, known, rules, at, multipliers=tilt, given=played.signals)
        played.signals = played.signals.vstack(decided)
    played.features = features
    return played


def same_state(one: SessionFeatures, other: SessionFeatures) -> list[str]:
    """Names of the parts of the two states that differ in any bit."""
    return [
        name
        for name in one.state.__dataclass_fields__
        if getattr(one.state, name).tobytes() != getattr(other.state, name).tobytes()
    ]
