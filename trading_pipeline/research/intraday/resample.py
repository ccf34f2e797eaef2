"""Coarser bars out of finer ones, exactly.

What belongs here: 1-minute to 5- and 15-minute bars and 5- to 15-minute bars. What does not: choosing between a
provider's own 5-minute bar and one made here.

Buckets start on the exchange's clock. Every zone in use is a multiple of 15 minutes from UTC, so the buckets of the
exchange's clock and those of UTC are the same, on days of clock changes too. A bucket never mixes phases: where a close
falls inside one there are two bars with one start.

*Complete.* Vendors leave out minutes in which nothing traded, so five rows of five is proof, but fewer is not proof of
the opposite: in a week of SPY from Yahoo 19 of 315 quarters of an hour lack a minute or more, and all 19 have the open,
high, low and close of Yahoo's own quarter. What makes a bucket incomplete is that the source was cut off inside it. So
a bar is complete where all its parts are there and over; or where none of them is forming and the source is known to
have been watched to its end: by `through`, or by a later bar of the same instrument, session and source.
`parts` tells how many there were for whoever wants to be stricter.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from trading_pipeline.research.intraday.phases import INTERVALS, MOMENT

KEY = ("session", "instrument_id", "ticker", "symbol", "provider", "phase")
"""Columns that set bars apart, those of them that the frame has."""


def resample(bars: pl.DataFrame, interval: str, *, through: datetime | None = None) -> pl.DataFrame:
    """Bars of `interval` (`5m` or `15m`), made of finer ones of one interval.

    bars: [started_at, interval, open, high, low, close, volume] and those of `session, instrument_id, ticker, symbol,
    provider, phase, exchange_time, forming, available_at, known_at` that there are; one row a bar, any order. through:
    moment up to which every source was received, zone-aware; None: each one as far as it has a bar that day.

    Returns the same columns, sorted by start within the key, with `parts` (source bars, Int32) and `complete`: whether
    nothing of the bar is missing. volume is null only where it is null in all parts. forming: whether a part is, or
    the source ended inside. available_at: when the last part was, and not before the bar was over. known_at: the
    latest of the parts. `ValueError` for intervals that do not fit or two rows for one bar.
    """
    names = [name for name in KEY if name in bars.columns]
    if bars.is_empty():
        return _with_counts(bars.with_columns(interval=pl.lit(interval, pl.String)), bars.columns)
    source = bars["interval"].unique().to_list()
    if len(source) != 1 or source[0] not in INTERVALS or interval not in INTERVALS:
        raise ValueError(
            f"resample takes bars of one interval among {', '.join(INTERVALS)}, not {source} to {interval}"
        )
    fine, coarse = INTERVALS[source[0]], INTERVALS[interval]
    if coarse <= fine or coarse % fine:
        raise ValueError(f"{interval} bars cannot be made of {source[0]} bars")
    ordered = bars.sort(*names, "started_at", nulls_last=True)
    if ordered.select(*names, "started_at").is_duplicated().any():
        raise ValueError("two rows share a bar; pass one version of each")

    start, end = pl.col("started_at"), pl.col("started_at") + coarse
    watched = [name for name in names if name not in ("phase", "ticker")]
    last = pl.col("_end").max().over(watched) if watched else pl.col("_end").max()
    reach = last if through is None else pl.max_horizontal(last, pl.lit(through, MOMENT))
    grouped = (
        ordered.with_columns(_end=start + fine)
        .with_columns(_reach=reach)
        .group_by(*names, start.dt.truncate(coarse), maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            volume=pl.when(pl.col("volume").count() > 0).then(pl.col("volume").sum()),
            parts=pl.len().cast(pl.Int32),
            _reach=pl.col("_reach").first(),
            _forming=pl.col("forming").any() if "forming" in bars.columns else pl.lit(False),
            **{name: pl.col(name).max() for name in ("available_at", "known_at") if name in bars.columns},
            **{name: pl.col(name).first() for name in ("exchange_time",) if name in bars.columns},
        )
    )
    whole = pl.col("parts") == coarse // fine
    made = grouped.with_columns(
        interval=pl.lit(interval),
        complete=~pl.col("_forming") & (whole | (pl.col("_reach") >= end)),
    )
    if "available_at" in bars.columns:
        made = made.with_columns(available_at=pl.max_horizontal("available_at", end.cast(bars.schema["available_at"])))
    if "forming" in bars.columns:
        made = made.with_columns(forming=~pl.col("complete"))
    if "exchange_time" in bars.columns:
        made = made.with_columns(exchange_time=_floored(coarse // INTERVALS["1m"]))
    return made.select(*bars.columns, "parts", "complete")


def _floored(minutes: int) -> pl.Expr:
    """The text of the bucket's start from that of a bar inside it: buckets divide the hour."""
    text = pl.col("exchange_time")
    minute = text.str.slice(14, 2).cast(pl.Int32)
    floored = (minute - minute % minutes).cast(pl.String).str.zfill(2)
    return pl.concat_str(text.str.slice(0, 14), floored, pl.lit(":00"), text.str.slice(19))


def _with_counts(bars: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    return bars.select(columns).with_columns(parts=pl.lit(None, pl.Int32), complete=pl.lit(None, pl.Boolean))
