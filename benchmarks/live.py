"""A live session of 500 names, bar by bar, against recomputing its features at each tick from the day's bars.

The baseline is what grows out of a notebook: one polars function that measures every bar of the day so far, per
instrument, by cumulative, rolling and shifted columns, of which a tick keeps the last row of each name: the columns of
`live_loop_logs` and what the setups look at beside them. Both sides say the same (a test holds them to 1e-9). It is run
at every tenth tick of the day (39 of 390), on frames that already hold only the bars so far, and its mean is scaled to
all ticks. A leaner baseline is measured beside it: group-by aggregations of the logged columns of the last bar alone,
which no setup could be judged by. Every measurement is made twice and the faster one counts, on all sides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.report import Row, Target
from trading_pipeline.research.live import (
    SIGNAL_COLUMNS,
    Multipliers,
    PriceMonitor,
    SessionContext,
    SessionFeatures,
    is_due,
    load_rules,
    market_analysis,
    signals,
)

NAMES, TICKS = 500, 390
EVERY = 10
"""The baseline is run at each tick of this many."""

SESSION, OPENS_AT = date(2025, 9, 17), datetime(2025, 9, 17, 13, 30, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_KEY = "instrument_id"


@dataclass(frozen=True)
class Minutes:
    """A random session: bars by tick (those that became complete at it), what was known before, snapshots."""

    bars: list[pl.DataFrame]
    context: SessionContext
    snapshots: pl.DataFrame

    @classmethod
    def random(cls, names: int = NAMES, ticks: int = TICKS, seed: int = 20250917) -> Minutes:
        """Random walks with a market in common; 1 % of the bars are missing, a few names are halted or tell no volume.

        On average each name moves 1.5 % a day, a third of it with the market.
        """
        rng = np.random.default_rng(seed)
        shape = (ticks, names)
        step = 0.015 / 390**0.5
        moves = step * (0.6 * rng.normal(size=(ticks, 1)) + 0.8 * rng.normal(size=shape))
        before = rng.uniform(20, 400, names)
        close = before * np.exp(rng.normal(0, 0.004, names) + np.cumsum(moves, axis=0))
        opened = close * np.exp(-moves)
        high = np.maximum(opened, close) * np.exp(np.abs(rng.normal(0, step / 3, shape)))
        low = np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0, step / 3, shape)))
        volume = rng.lognormal(8, 1, shape)
        volume[:, rng.random(names) < 0.02] = np.nan
        traded = rng.random(shape) > 0.01
        for halted in rng.integers(0, names, max(names // 100, 1)):
            start = int(rng.integers(0, ticks))
            traded[start : start + int(rng.integers(6, 40)), halted] = False
        ids = np.array([f"us:T{number:04d}" for number in range(names)])

        def at(tick: int) -> pl.DataFrame:
            there = traded[tick]
            prices = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
            started = pl.Series([OPENS_AT + tick * _MINUTE], dtype=pl.Datetime("us", "UTC"))
            return pl.DataFrame(
                {_KEY: ids[there], "started_at": started.new_from_index(0, int(there.sum()))}
                | {name: pl.Series(array[tick, there], nan_to_null=True) for name, array in prices.items()}
            )

        bias = rng.choice(["long", "short", "neutral"], names)
        followed = pl.DataFrame({_KEY: ids, "ticker": [each.removeprefix("us:") for each in ids], "bias": bias})
        context = SessionContext(
            session=SESSION,
            opens_at=OPENS_AT,
            closes_at=OPENS_AT + timedelta(hours=6.5),
            names=followed.with_columns(
                sector=pl.lit("Energy"),
                confidence=pl.Series(rng.uniform(0, 1, names)),
                atr_14=pl.Series(before * 0.024),
                previous_close=pl.Series(before),
            ),
            regime="bull",
            environment="B",
        )
        anchored = {_KEY: ids, "anchored_mean": before, "anchored_sigma": before * 0.008}
        return cls([at(tick) for tick in range(ticks)], context, pl.DataFrame(anchored))

    def tick_at(self, tick: int) -> datetime:
        """When the bars of that number are complete."""
        return OPENS_AT + (tick + 1) * _MINUTE


def recomputed(bars: pl.DataFrame, snapshots: pl.DataFrame) -> pl.DataFrame:
    """The features after the last bar of each instrument, from all its one-minute bars so far, ascending by time."""
    hole = timedelta(minutes=load_rules().features.halt_minutes) + _MINUTE
    open_, high, low, close, volume = (pl.col(name) for name in ("open", "high", "low", "close", "volume"))
    number = pl.int_range(1, pl.len() + 1)
    # Deviations from the first close, or the sum of squares would lose what sigma is made of.
    apart = close - close.first()
    mean_apart = apart.cum_sum() / number
    new_high = (high > high.cum_max().shift(1)).fill_null(True)
    new_low = (low < low.cum_min().shift(1)).fill_null(True)
    typical = (high + low + close) / 3
    shares = volume.fill_null(0.0).cum_sum()
    columns = {
        "bars": number,
        "mean": close.first() + mean_apart,
        "squares": (apart**2).cum_sum() - number * mean_apart**2,
        "rolling_mean": close.rolling_mean(20),
        "rolling_sigma": close.rolling_std(20),
        "shares": shares,
        "counted": volume.is_not_null().cum_sum(),
        "vwap": (typical * volume.fill_null(0.0)).cum_sum() / shares,
        "moves": ((close / close.shift(1).fill_null(open_) - 1) ** 2).cum_sum(),
        "session_open": open_.first(),
        "session_high": high.cum_max(),
        "session_low": low.cum_min(),
        "since_high": number - pl.when(new_high).then(number).forward_fill(),
        "since_low": number - pl.when(new_low).then(number).forward_fill(),
        "run": (pl.col("started_at").diff() >= hole).fill_null(False).cum_sum(),
    }
    measured = bars.with_columns(expression.over(_KEY).alias(name) for name, expression in columns.items())
    mean, sigma = pl.col("anchored_mean"), pl.col("anchored_sigma")
    above = pl.sum_horizontal(high >= mean + width * sigma for width in (1, 2, 3)).cast(pl.Int32)
    below = pl.sum_horizontal(low <= mean - width * sigma for width in (1, 2, 3)).cast(pl.Int32)
    upwards = (above > below) | ((above == below) & (close >= mean))
    measured = (
        measured.join(snapshots, on=_KEY, how="left", maintain_order="left")
        .with_columns(
            unbroken=pl.int_range(1, pl.len() + 1).over(_KEY, "run"),
            sigma=(pl.col("squares") / (pl.col("bars") - 1)).sqrt(),
            vwap_distance_pct=100 * (close / pl.col("vwap") - 1),
            band=pl.when(upwards).then(above).otherwise(-below),
        )
        .with_columns(
            z_session=(close - pl.col("mean")) / pl.col("sigma"),
            z_rolling=(close - pl.col("rolling_mean")) / pl.col("rolling_sigma"),
        )
    )
    before = {
        **{
            f"previous_{name}": pl.col(name).shift(1)
            for name in ("close", "high", "low", "z_session", "z_rolling", "band")
        },
        "range_high": pl.col("session_high").shift(1),
        "range_low": pl.col("session_low").shift(1),
        "high_held": pl.col("since_high").shift(1, fill_value=0),
        "low_held": pl.col("since_low").shift(1, fill_value=0),
    }
    return (
        measured.with_columns(column.over(_KEY).alias(name) for name, column in before.items())
        .group_by(_KEY)
        .last()
        .sort(_KEY)
    )


def aggregated(bars: pl.DataFrame) -> pl.DataFrame:
    """The logged columns of the last bar of each instrument and nothing more, by aggregations."""
    close, volume = pl.col("close"), pl.col("volume")
    window = close.tail(20)
    return (
        bars.lazy()
        .group_by(_KEY)
        .agg(
            pl.col("started_at", "open", "high", "low", "close", "volume").last(),
            mean=close.mean(),
            sigma=close.std(),
            rolling_mean=window.mean(),
            rolling_sigma=window.std(),
            vwap=((pl.col("high") + pl.col("low") + close) / 3 * volume).sum() / volume.sum(),
        )
        .with_columns(
            z_session=(close - pl.col("mean")) / pl.col("sigma"),
            z_rolling=(close - pl.col("rolling_mean")) / pl.col("rolling_sigma"),
            vwap_distance_pct=100 * (close / pl.col("vwap") - 1),
        )
        .sort(_KEY)
        .collect()
    )


def features_alone(minutes: Minutes) -> list[float]:
    """Seconds of each tick of a day of incremental features."""
    features = SessionFeatures(minutes.context.ids, minutes.snapshots, load_rules())
    spent = []
    for tick, bars in enumerate(minutes.bars):
        start = time.perf_counter()
        features.advance(minutes.tick_at(tick), bars)
        spent.append(time.perf_counter() - start)
    return spent


def whole_ticks(minutes: Minutes) -> list[float]:
    """Seconds of each tick with everything that is decided from bars: features, falls, market analysis, signals."""
    rules, context = load_rules(), minutes.context
    features = SessionFeatures(context.ids, minutes.snapshots, rules)
    monitor = PriceMonitor(context, rules.monitor)
    given, tilt, analysed = pl.DataFrame(schema=SIGNAL_COLUMNS), None, None
    spent = []
    for tick, bars in enumerate(minutes.bars):
        at = minutes.tick_at(tick)
        start = time.perf_counter()
        monitor.advance(features.advance(at, bars))
        if is_due(at, context.opens_at, analysed, rules):
            tilt, analysed = Multipliers.of(market_analysis(features, context, rules, at).row(0, named=True)), at
        given = given.vstack(signals(features, context, rules, at, multipliers=tilt, given=given))
        spent.append(time.perf_counter() - start)
    return spent


def sampled(function: Callable[[pl.DataFrame], pl.DataFrame], minutes: Minutes, every: int) -> float:
    """Mean seconds of the function at every so many ticks, on the bars up to each."""
    day, so_far = pl.concat(minutes.bars), np.cumsum([bars.height for bars in minutes.bars])
    spent = []
    for tick in range(every - 1, len(minutes.bars), every):
        bars = day.head(int(so_far[tick]))
        times = []
        for _ in range(2):
            start = time.perf_counter()
            function(bars)
            times.append(time.perf_counter() - start)
        spent.append(min(times))
    return float(np.mean(spent))


def measure(folder: Path, names: int = NAMES, ticks: int = TICKS, every: int = EVERY) -> list[Row]:
    """Ratios of the features, and times of whole ticks through the day; `folder` is not needed."""
    minutes = Minutes.random(names, ticks)
    whole_ticks(minutes)  # imports, thread pools and allocator are warm on all sides
    ours = min(float(np.mean(features_alone(minutes))) for _ in range(2))
    full = sampled(lambda bars: recomputed(bars, minutes.snapshots), minutes, every)
    lean = sampled(aggregated, minutes, every)
    day = np.minimum(whole_ticks(minutes), whole_ticks(minutes))
    note = (
        f"Baseline: the same features of the last bars, recomputed at the tick from the day's bars by one polars "
        f"function, run at every {every}th of {ticks} ticks; mean per tick on both sides."
    )
    leaner = (
        "Baseline: only the logged columns of each name's last bar, by group-by aggregations over the day's bars; what "
        "the setups look at beside them is missing. Sampled in the same way."
    )
    whole = (
        "Features, falls, market analysis when due, and signals with their reasons: all that a tick computes of bars."
    )
    panel = f"{names} names x {ticks} ticks"
    third = max(ticks // 6, 1)
    parts = {
        "in the first hour": day[:third],
        "in the middle hour": day[(ticks - third) // 2 : (ticks + third) // 2],
        "in the last hour": day[-third:],
    }
    slowest = float(day.max())
    return [
        Row(
            f"live features, {panel}",
            _fine(ours), _fine(full), full / ours, note, Target(50, " x", at_least=True),
        ),
        Row("the same, beside bare aggregations", _fine(ours), _fine(lean), lean / ours, leaner),
        *(
            Row(f"a live tick {when}, median", _fine(float(np.median(part))), "-", None, whole)
            for when, part in parts.items()
        ),
        Row("the slowest live tick of the day", _fine(slowest), "-", None, whole, Target(150, " ms"), 1000 * slowest),
    ]  # fmt: skip


def _fine(value: float) -> str:
    return f"{value * 1000:.2f} ms"
