"""Premarket snapshots: where a name stands before the open.

What belongs here: the columns of `premarket_snapshots`. What does not: which bars a morning could see (`mornings.py`),
which way the name leans (`bias.py`).

Higher-timeframe statistics are of closes, split-adjusted as of the session: of the last 20 sessions; of the last 13
weeks and 12 months before the one the session lies in, each by its last close. The week and the month under way are
left out, since their closes are not made yet. Standard deviations are those of a sample.

*Bands.* The anchored mean is that of the 5-minute closes since yesterday's open, pre- and post-market included, every
bar alike (an anchored VWAP would need volume, which some sources do not tell outside regular hours); the bands are
1, 2 and 3 standard deviations around it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from trading_pipeline.research.intraday.volume import premarket_volume
from trading_pipeline.research.panel import GAP, Floats, Integers, last_row_with
from trading_pipeline.research.premarket.mornings import Mornings

DAYS, WEEKS, MONTHS = 20, 13, 12
LEAST_SHARE = 0.75
"""Of the closes of a window, those that must be known: a name halted for a week still has statistics, a new one not."""
LEAST_BARS = 20
"""5-minute closes below which their spread is no band: 100 minutes of trading."""
WIDTHS = (1, 2, 3)

_SPANS = ("day", "week", "month")
_STATISTICS = ("mean", "sigma", "position")
COLUMNS = (
    "session", "instrument_id", "ticker", "decided_at", "taken", "price", "previous_close", "previous_high",
    "previous_low", "gap_pct", "premarket_high", "premarket_low", "premarket_volume", "premarket_relative_volume",
    *(f"{span}_{name}" for span in _SPANS for name in _STATISTICS),
    "anchored_mean", "anchored_sigma",
    *(f"band_{side}_{width}" for side in ("lower", "upper") for width in WIDTHS),
    "band", "atr_14",
)  # fmt: skip


@np.errstate(divide="ignore", invalid="ignore")
def snapshots(
    daily_bars: pl.DataFrame,
    actions: pl.DataFrame,
    intraday_bars: pl.DataFrame,
    indicators: pl.DataFrame,
    watched: pl.DataFrame,
    days: pl.DataFrame,
    judged: pl.DataFrame,
    *,
    priority: Sequence[str] = (),
) -> pl.DataFrame:
    """The columns of the table `premarket_snapshots`, by session and instrument.

    daily_bars: [session, instrument_id, high, low, close] as traded, one version of each bar, bad ones left out, from
        DAILY_LOOKBACK sessions before the first judged one; the bar of a judged session is never looked at by itself.
    actions: [session, instrument_id, kind, value] by ex-date, over the same sessions and the judged ones.
    intraday_bars: rows of the table, every version, from INTRADAY_LOOKBACK sessions before.
    indicators: [session, instrument_id, atr_14], from REFERENCE_LOOKBACK before.
    watched: [session, instrument_id, ticker] of the judged sessions. days: [session, opened_at, closed_at], zone-aware,
        every session of the exchange from DAILY_LOOKBACK before the first judged one to the last.
    judged: [session, decided_at, taken]: the premarket moment of each judged session, zone-aware, and whether the
        snapshot is `live` or `rebuilt`, which only the caller knows.
    priority: providers of intraday bars, the first voice first.

    A name without a daily bar in the 20 sessions before has no row: there is nothing to compare with. price is the
    last one of this session's premarket; without one, positions and `band` are those of the last close. A position is
    below 0 or above 1 where the price is outside. Too little history gives nulls, never zeros. `ValueError` where
    `days` lacks a judged session or the one before it, or two daily bars share a session and an instrument.
    """
    mornings = Mornings.of(watched, actions, days, judged)
    before = _daily(mornings, daily_bars)
    seen = mornings.seen(intraday_bars, priority)
    # Of every name, watched or not: whether a source told of anybody decides what silence means.
    volume = premarket_volume(intraday_bars, actions, days, mornings.judged, priority=priority).select(
        "session", "instrument_id", premarket_volume="volume", premarket_relative_volume="relative_volume"
    )
    frame = (
        mornings.watched.join(before, on="cell", how="inner", maintain_order="left")
        .join(_premarket(seen), on="cell", how="left", maintain_order="left")
        .join(_anchored(seen), on="cell", how="left", maintain_order="left")
        .join(volume, on=["session", "instrument_id"], how="left", maintain_order="left")
        .join(_range(mornings, indicators), on="cell", how="left", maintain_order="left")
    )
    here = pl.coalesce("price", "previous_close")
    mean, sigma = pl.col("anchored_mean"), pl.col("anchored_sigma")
    return frame.with_columns(
        *(((here - pl.col(f"{span}_lowest")) / pl.col(f"{span}_width")).alias(f"{span}_position") for span in _SPANS),
        gap_pct=100 * (pl.col("price") / pl.col("previous_close") - 1),
        band=pl.when(sigma > 0).then((here - mean) / sigma),
        **{f"band_lower_{width}": mean - width * sigma for width in WIDTHS},
        **{f"band_upper_{width}": mean + width * sigma for width in WIDTHS},
    ).select(COLUMNS)


def _premarket(seen: pl.DataFrame) -> pl.DataFrame:
    return (
        seen.filter(pl.col("phase") == "pre")
        .group_by("cell", maintain_order=True)
        .agg(
            price=pl.col("close").last(),
            premarket_high=pl.col("high").max(),
            premarket_low=pl.col("low").min(),
        )
    )


def _anchored(seen: pl.DataFrame) -> pl.DataFrame:
    """Mean and spread of the closes, computed from their distance to the first one: prices are large, moves small."""
    close, first = pl.col("close"), pl.col("close").first()
    away = close - first
    enough = pl.len() >= LEAST_BARS
    return seen.group_by("cell", maintain_order=True).agg(
        anchored_mean=pl.when(enough).then(first + away.mean()), anchored_sigma=pl.when(enough).then(away.std())
    )


def _range(mornings: Mornings, indicators: pl.DataFrame) -> pl.DataFrame:
    """[cell, atr_14] of the session before, in the basis of the morning."""
    known = indicators.select("session", "instrument_id", "atr_14")
    cells = mornings.panel.cells(known)
    known = known.filter(pl.Series(cells >= 0, dtype=pl.Boolean))
    row, column = np.divmod(cells[cells >= 0], max(mornings.panel.shape[1], 1))
    later = row + 1 < mornings.panel.shape[0]
    row, column = row[later], column[later]
    factor = mornings.to_basis(row, column, row + 1)
    return pl.DataFrame({"cell": (row + 1) * mornings.panel.shape[1] + column}).with_columns(
        atr_14=known.filter(pl.Series(later, dtype=pl.Boolean))["atr_14"] * pl.Series(factor)
    )


def _daily(mornings: Mornings, bars: pl.DataFrame) -> pl.DataFrame:
    """What the daily bars before each morning say, a row a cell that has one among the last GAP sessions."""
    panel = mornings.panel
    arrays = panel.from_long(bars, ["high", "low", "close"])
    valid = np.isfinite(arrays["high"]) & np.isfinite(arrays["low"]) & (arrays["close"] > 0)
    worth = np.where(valid, arrays["close"], np.nan) * mornings.cumulation
    last = last_row_with(valid)

    row, column, cell = (mornings.watched[name].to_numpy() for name in ("row", "column", "cell"))
    yesterday = row - 1
    latest = last[yesterday, column] if len(row) else row
    there = (latest >= 0) & (yesterday - latest < GAP)
    row, column, cell, latest = row[there], column[there], cell[there], latest[there]
    factor = mornings.to_basis(latest, column, row)
    found: dict[str, Floats] = {
        f"previous_{name}": arrays[name][latest, column] * factor for name in ("close", "high", "low")
    }
    day = panel.sessions.astype("datetime64[D]")
    # Weeks begin on Mondays; 1970-01-01 was a Thursday.
    periods = {
        "day": (np.arange(panel.shape[0]), DAYS),
        "week": ((day.astype(np.int64) + 3) // 7, WEEKS),
        "month": (day.astype("datetime64[M]").astype(np.int64), MONTHS),
    }
    for span, (period, count) in periods.items():
        closes = _closes_before(worth, last, period, count, row, column)
        found |= _statistics(span, closes / mornings.cumulation[row, column][:, None])
    return pl.DataFrame({"cell": cell}).with_columns(
        pl.Series(name, values).fill_nan(None) for name, values in found.items()
    )


def _closes_before(
    worth: Floats, last: Integers, period: Integers, count: int, row: Integers, column: Integers
) -> Floats:
    """Last closes of the `count` periods before the one of each row; rows x count, NaN where a period has none."""
    begins = np.flatnonzero(np.diff(period, prepend=period[:1] - 1)) if len(period) else period
    number = np.searchsorted(begins, row, side="right") - 1
    wanted = number[:, None] - np.arange(count, 0, -1)
    reached = wanted >= 0
    wanted = np.where(reached, wanted, 0)
    ends = np.append(begins[1:], len(period)) - 1
    at = last[ends[wanted], column[:, None]]
    inside = reached & (at >= begins[wanted])
    return np.where(inside, worth[np.maximum(at, 0), column[:, None]], np.nan)


def _statistics(span: str, closes: Floats) -> dict[str, Floats]:
    known = np.isfinite(closes)
    count = known.sum(axis=1)
    enough = count >= LEAST_SHARE * closes.shape[1]
    mean = np.where(known, closes, 0.0).sum(axis=1) / count
    squares = np.where(known, closes - mean[:, None], 0.0) ** 2
    lowest = np.where(known, closes, np.inf).min(axis=1, initial=np.inf)
    width = np.where(known, closes, -np.inf).max(axis=1, initial=-np.inf) - lowest
    out = {
        "mean": mean,
        "sigma": np.sqrt(squares.sum(axis=1) / (count - 1)),
        "lowest": lowest,
        # Closes that differ by rounding alone have no width.
        "width": np.where(width > 1e-9 * mean, width, np.nan),
    }
    return {f"{span}_{name}": np.where(enough, values, np.nan) for name, values in out.items()}
