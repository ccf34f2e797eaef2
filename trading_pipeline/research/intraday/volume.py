"""Volume by time of day: what traded before the open so far, against what is normal by then.

What belongs here: premarket volume and its own normal. What does not: volume of whole sessions (`indicators.py`).

*A zero is no count.* A bar exists because something traded. Yahoo sends 0 for every bar outside regular hours (but for
the closing auction in the first minute after the close): zero is then unknown, not low, and so is everything computed
from it. A session in which an instrument has no premarket bar counts as zero only where the same source told premarket
volume of another instrument that day and has a bar of this one in that session: the feed was up, and nothing traded.
Otherwise the session is unknown and takes no part in the mean. Of the judged session itself there are no regular bars
yet, so the one before speaks for it, and a premarket bar of any source speaks against a zero: what one of them saw
traded was not untraded because another did not see it. So null means not known, and 0 known to be none.

Volume is compared within one source only: a single exchange's feed holds a thirtieth of the consolidated volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from trading_pipeline.research.intraday.phases import MOMENT, length_of
from trading_pipeline.research.intraday.versions import in_order_of_versions, microseconds, same_as_before
from trading_pipeline.research.panel import Floats, Integers, Mask, Panel, split_cumulation

LOOKBACK = 20
"""Sessions before the judged one whose premarket volume makes its normal."""

LEAST_SESSIONS = 5
"""Of these, how many must be known for a mean to be called normal: a trading week."""

PREFERRED = ("5m", "1m", "15m")
"""Which interval counts where a source told several of one session: 5 minutes reach back furthest beside premarket."""


_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "session": pl.Date,
    "decided_at": MOMENT,
    "instrument_id": pl.String,
    "volume": pl.Float64,
    "normal": pl.Float64,
    "relative_volume": pl.Float64,
    "known_sessions": pl.Int32,
}


def told_volume() -> pl.Expr:
    """The volume of a bar where it is a count: null where an extended-hours bar says 0."""
    return pl.when((pl.col("phase") == "regular") | (pl.col("volume") > 0)).then("volume")


def premarket_volume(
    bars: pl.DataFrame,
    actions: pl.DataFrame,
    days: pl.DataFrame,
    moments: pl.DataFrame,
    *,
    priority: Sequence[str] = (),
) -> pl.DataFrame:
    """Premarket volume of each instrument up to moments of its sessions, and its normal by that time of day.

    bars: rows of `intraday_bars` of the judged sessions and of LOOKBACK before them, every version; those of other
    phases say whether there was a feed. actions: [session, instrument_id, kind, value] by ex-date. days: [session,
    opened_at, closed_at], every session of the exchange from LOOKBACK before the first judged one. moments: [session,
    decided_at], zone-aware, one or several a session: the profile of a day is one of every five minutes. priority:
    providers, the first voice first; those not named come after by name.

    Returns [session, decided_at, instrument_id, volume, normal, relative_volume, known_sessions] for every moment and
    instrument of `bars`: shares in the basis of the session; normal is the mean of the LOOKBACK sessions before up to
    the same time before the open, null with fewer than LEAST_SESSIONS of them known; relative_volume is null too where
    that is 0. A bar counts once it is over and available: nothing that came after a moment changes its row.
    """
    judged, axis = _axis(days, moments)
    if judged.is_empty() or bars.is_empty():
        return pl.DataFrame(schema=_SCHEMA)
    panel = Panel(axis["session"].to_numpy().astype("datetime64[D]"), bars["instrument_id"].unique().sort().to_list())
    judged = judged.with_columns(row=pl.Series(panel.rows(judged["session"]), dtype=pl.Int64))
    opened = microseconds(axis["opened_at"])
    rows = _Rows.of(bars, panel, priority)
    cumulation = split_cumulation(panel, actions)
    parts = [
        _by_time_of_day(rows, part, opened - microseconds(part["before_open"])[0], panel, cumulation)
        for part in judged.partition_by("before_open", maintain_order=True)
    ]
    return pl.concat(parts).sort("session", "decided_at", "instrument_id")


def _axis(days: pl.DataFrame, moments: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The moments with how long before the open they are, and the sessions that speak of them."""
    calendar = days.select("session", pl.col("opened_at").cast(MOMENT)).sort("session")
    judged = (
        moments.select("session", pl.col("decided_at").cast(MOMENT))
        .unique()
        .join(calendar, on="session", how="inner")
        .sort("session", "decided_at")
        .with_columns(before_open=pl.col("opened_at") - pl.col("decided_at"))
    )
    sessions = calendar["session"]
    if judged.is_empty():
        return judged, calendar
    first, last = (int(sessions.search_sorted(day)) for day in (judged["session"][0], judged["session"][-1]))
    return judged, calendar[max(0, first - LOOKBACK) : last + 1]


@dataclass(frozen=True)
class _Rows:
    """The bars as arrays, every version that was over when received.

    cell: session and instrument in the panel, as its position in the flattened one. source: position of (provider,
    interval) in the order of preference, of `sources`. end, available: microseconds; a bar is never available before
    it is over. before_open: indices of the premarket's rows; added, told: what each of those adds to the version before
    it, in shares and in counts that are known.
    """

    cell: Integers
    source: Integers
    sources: int
    end: Integers
    available: Integers
    before_open: Integers
    added: Floats
    told: Floats

    @classmethod
    def of(cls, bars: pl.DataFrame, panel: Panel, priority: Sequence[str]) -> _Rows:
        cells = panel.cells(bars)
        over = (cells >= 0) & ~bars["forming"].to_numpy()
        rows, cell = bars.filter(pl.Series(over, dtype=pl.Boolean)), cells[over]
        source, sources = _sources(rows, priority)
        end = microseconds(rows.select((pl.col("started_at") + length_of(pl.col("interval"))).cast(MOMENT)).to_series())
        available = np.maximum(microseconds(rows["available_at"]), end)

        early = np.flatnonzero((rows["phase"] == "pre").fill_null(False).to_numpy())
        counts = rows.select(told_volume()).to_series().gather(early)
        told = counts.is_not_null().cast(pl.Float64).to_numpy()
        volume = counts.fill_null(0.0).to_numpy()
        series, started = cell[early] * sources + source[early], microseconds(rows["started_at"].gather(early))
        order = in_order_of_versions(series, started, available[early], microseconds(rows["known_at"].gather(early)))
        again = same_as_before(order, series, started)
        added, told = (_differences(values[order], again) for values in (volume, told))
        return cls(cell, source, sources, end, available, early[order], added, told)


def _sources(rows: pl.DataFrame, priority: Sequence[str]) -> tuple[Integers, int]:
    """Position of each row's (provider, interval) among all of them, the preferred first, and how many there are."""
    rank = {name: place for place, name in enumerate(priority)}
    pairs = rows.select("provider", "interval").unique().rows()
    order = sorted(pairs, key=lambda pair: (rank.get(pair[0], len(rank)), pair[0], PREFERRED.index(pair[1])))
    source = np.zeros(rows.height, dtype=np.int64)
    for place, (provider, interval) in enumerate(order[1:], start=1):
        source[((rows["provider"] == provider) & (rows["interval"] == interval)).to_numpy()] = place
    return source, max(len(order), 1)


def _differences(values: Floats, again: Mask) -> Floats:
    """What each version adds to the one before it of the same bar."""
    before = np.zeros_like(values)
    before[1:] = values[:-1]
    return np.asarray(values - np.where(again, before, 0.0))


def _by_time_of_day(
    rows: _Rows, judged: pl.DataFrame, moments: Integers, panel: Panel, cumulation: Floats
) -> pl.DataFrame:
    """Of moments that are all the same time before the open. moments: that time of every session of the panel.

    `known[lag, session, source, instrument]` is the volume of the session as it was known `lag` sessions later at that
    time, NaN where it was not.
    """
    sessions, instruments = panel.shape
    shape = (LOOKBACK + 1, sessions, rows.sources, instruments)
    size = int(np.prod(shape))
    row, column = np.divmod(rows.cell, instruments)
    # Sessions until the first at whose moment the bar was known.
    lag = np.maximum(np.searchsorted(moments, rows.available) - row, 0)
    places = ((lag * sessions + row) * rows.sources + rows.source) * instruments + column

    def summed(where: Mask, at: Integers, values: Floats | None = None) -> Floats:
        weights = None if values is None else values[where]
        cells = np.bincount(at[where], weights, size).astype(np.float64).reshape(shape)
        return np.asarray(np.cumsum(cells, axis=0))

    seen, early = lag <= LOOKBACK, rows.before_open
    # A bar that was not over by its own session's moment is later in the day than what is compared.
    counted = seen[early] & (rows.end[early] <= moments[row[early]])
    volume = summed(counted, places[early], rows.added)
    told = summed(counted, places[early], rows.told) > 0
    traded = summed(counted, places[early]) > 0
    present = summed(seen, places) > 0
    # On the morning itself: a bar of the session before, as known one session later.
    present[0, 1:] |= present[1, :-1]
    nothing = told.any(axis=3, keepdims=True) & present & ~traded
    known = np.where(told, volume, np.where(nothing, 0.0, np.nan))

    at = judged["row"].to_numpy()
    elsewhere = traded[0, at].any(axis=1, keepdims=True)
    now = np.where((known[0, at] == 0) & elsewhere, np.nan, known[0, at])
    total, count = np.zeros_like(now), np.zeros_like(now)
    for back in range(1, LOOKBACK + 1):
        before = np.maximum(at - back, 0)
        scale = (cumulation[at] / cumulation[before])[:, None, :]
        then = np.where((at >= back)[:, None, None], known[back, before] * scale, np.nan)
        total += np.where(np.isfinite(then), then, 0.0)
        count += np.isfinite(then)
    # One source speaks of a morning: the first that knows it, else the first that knows its past.
    spoken = np.isfinite(now)
    choice = np.where(spoken.any(axis=1), spoken.argmax(axis=1), (count > 0).argmax(axis=1))[:, None, :]
    now, total, count = (np.take_along_axis(array, choice, axis=1)[:, 0].ravel() for array in (now, total, count))
    normal = np.where(count >= LEAST_SESSIONS, total / np.maximum(count, 1), np.nan)
    relative = np.where(normal > 0, now / np.where(normal > 0, normal, 1.0), np.nan)
    ids = pl.Series(list(panel.instrument_ids), dtype=pl.String)
    return judged.select("session", "decided_at")[np.repeat(np.arange(judged.height), instruments)].with_columns(
        instrument_id=pl.concat([ids] * judged.height),
        volume=pl.Series(now).fill_nan(None),
        normal=pl.Series(normal).fill_nan(None),
        relative_volume=pl.Series(relative).fill_nan(None),
        known_sessions=pl.Series(count.astype(np.int32)),
    )
