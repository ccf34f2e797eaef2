"""The mornings judged, and the intraday bars each of them could see.

What belongs here: the axis of sessions, splits between a bar's session and the morning, the choice of version, source
and interval. What does not: what is made of the bars (`snapshots.py`, `bias.py`).

A bar is seen by one morning only: one of the premarket by its own session's, one of regular hours or of the post-market
by the next session's. It counts once it is over and available, in the latest version that was by then, and never in a
version received while it was forming: those figures are a part, and a rebuilt snapshot would not have them. Of several
sources of one name and session the first voice counts; 1-minute bars become 5-minute ones where there are no others.

Intraday prices are as traded. Brought to the basis of the morning they are multiplied by what a split with an ex-date
on the morning's session did to the share. A split counts on its ex-date whenever it was received: from the first
premarket trade on the quotes are in the new basis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from trading_pipeline.research.intraday import volume as volume_science
from trading_pipeline.research.intraday.phases import MOMENT, length_of
from trading_pipeline.research.intraday.quality import believed_extremes
from trading_pipeline.research.intraday.resample import resample
from trading_pipeline.research.intraday.versions import in_order_of_versions, microseconds, same_as_before
from trading_pipeline.research.panel import Floats, Integers, Panel, split_cumulation

DAILY_LOOKBACK = 280
"""Sessions before the judged one whose daily bars and actions must be passed: twelve whole months before the one of the
session begin up to 277 sessions earlier (Sydney; 275 in New York), 2010 to 2028."""

INTRADAY_LOOKBACK = volume_science.LOOKBACK
"""Sessions before the judged one whose intraday bars must be passed."""

REFERENCE_LOOKBACK = 1
"""Sessions before the judged one whose indicators, regime, earnings calendar and news must be passed."""

_CELL = ["cell"]
_SOURCE = ["session", "instrument_id", "provider", "interval", "phase"]


def by_the_open(intraday: pl.DataFrame) -> pl.DataFrame:
    """Of the bars of sessions before the eve of the first morning, what mornings use: those before the open, and one of
    each name and source after it, which says that the source told of the name that day.

    intraday: rows of `intraday_bars`, every version, of a session each source of which was received to its end.
    """
    complete = intraday.filter(~pl.col("forming"))
    before = (pl.col("phase") == "pre").fill_null(value=False)
    rest = complete.filter(~before).sort("available_at", maintain_order=True)
    return pl.concat([complete.filter(before), rest.unique(_SOURCE, keep="first", maintain_order=True)])


@dataclass(frozen=True)
class Mornings:
    """The judged sessions and watched names, one row a session and name.

    panel: every session from DAILY_LOOKBACK before the first judged one to the last, and the watched names. cumulation:
    of splits, shaped like it. watched: [session, instrument_id, ticker, decided_at, taken, closed_before, row, column,
    cell], by session and instrument; row: of the session in the panel; closed_before: when the session before closed.
    judged: [session, decided_at, taken, closed_before, row].
    """

    panel: Panel
    cumulation: Floats
    judged: pl.DataFrame
    watched: pl.DataFrame

    @classmethod
    def of(cls, watched: pl.DataFrame, actions: pl.DataFrame, days: pl.DataFrame, judged: pl.DataFrame) -> Mornings:
        """From the frames of `snapshots`; `ValueError` where a judged session or the one before it is not in `days`."""
        calendar = days.select("session", pl.col("opened_at", "closed_at").cast(MOMENT)).sort("session")
        told = judged.select("session", pl.col("decided_at").cast(MOMENT), "taken").sort("session")
        if told["session"].is_duplicated().any():
            raise ValueError("a session is judged once: `judged` names one twice")
        placed = told.join(
            calendar.with_columns(closed_before=pl.col("closed_at").shift(1)), on="session", how="left"
        ).sort("session")
        lacking = placed.filter(pl.col("closed_before").is_null())["session"].to_list()
        if lacking:
            raise ValueError(f"`days` must hold {lacking[0]} and the session before it")
        sessions = calendar["session"]
        if placed.height:
            first, last = (int(sessions.search_sorted(placed["session"][at])) for at in (0, -1))
            sessions = sessions[max(0, first - DAILY_LOOKBACK) : last + 1]
        names = (
            watched.select("session", "instrument_id", "ticker")
            .sort("session", "instrument_id", "ticker")
            .unique(["session", "instrument_id"], keep="first", maintain_order=True)
            .join(placed.drop("opened_at", "closed_at"), on="session", how="inner", maintain_order="left")
        )
        panel = Panel(sessions.to_numpy().astype("datetime64[D]"), names["instrument_id"].unique().sort().to_list())
        cells = panel.cells(names)
        row, column = np.divmod(cells, max(panel.shape[1], 1))
        placed = placed.with_columns(row=pl.Series(panel.rows(placed["session"]), dtype=pl.Int64))
        return cls(
            panel,
            split_cumulation(panel, actions),
            placed.select("session", "decided_at", "taken", "closed_before", "row"),
            names.with_columns(
                row=pl.Series(row, dtype=pl.Int64),
                column=pl.Series(column, dtype=pl.Int64),
                cell=pl.Series(cells, dtype=pl.Int64),
            ),
        )

    def to_basis(self, rows: Integers, columns: Integers, mornings: Integers) -> Floats:
        """What prices of those sessions are multiplied by to be in the basis of those mornings (rows of the panel)."""
        return np.asarray(self.cumulation[rows, columns] / self.cumulation[mornings, columns])

    def seen(self, intraday: pl.DataFrame, priority: Sequence[str] = ()) -> pl.DataFrame:
        """The 5-minute bars each morning saw, prices in its basis, by cell and start.

        intraday: rows of `intraday_bars`. Returns [cell, session, instrument_id, provider, interval, started_at, phase,
        open, high, low, close, volume]: `cell` that of the morning, `session` that of the bar, high and low without
        stray wicks.
        """
        bars = intraday.filter(
            pl.col("interval").is_in(["5m", "1m"]) & ~pl.col("forming") & pl.col("phase").is_not_null()
        )
        width = self.panel.shape[1]
        own = self.panel.cells(bars)
        row, column = np.divmod(own, max(width, 1))
        morning = row + (bars["phase"] != "pre").to_numpy()
        cell = morning * width + column
        # The row after the panel's last belongs to no morning.
        decided = np.full((self.panel.shape[0] + 1) * width, np.iinfo(np.int64).min)
        decided[self.watched["cell"].to_numpy()] = microseconds(self.watched["decided_at"])
        end = microseconds(bars.select((pl.col("started_at") + length_of(pl.col("interval"))).cast(MOMENT)).to_series())
        available = microseconds(bars["available_at"])
        inside = own >= 0
        inside[inside] = np.maximum(available, end)[inside] <= decided[cell[inside]]

        at = np.flatnonzero(inside)
        series = cell[at] * 2 + (bars["interval"] == "5m").to_numpy()[at]
        if bars["provider"].n_unique() > 1:
            providers = bars["provider"].cast(pl.Enum(_ranked(bars["provider"], priority))).to_physical().to_numpy()
            series = series * (int(providers.max()) + 1) + providers[at]
        started = microseconds(bars["started_at"])[at]
        order = in_order_of_versions(series, started, available[at], microseconds(bars["known_at"])[at])
        latest = np.append(~same_as_before(order, series, started)[1:], True) if len(order) else order.astype(np.bool_)
        at = at[order[latest]]
        seen = bars[at].with_columns(
            cell=pl.Series(cell[at], dtype=pl.Int64),
            _factor=pl.Series(self.to_basis(row[at], column[at], morning[at]), dtype=pl.Float64),
        )
        return _believed(_one_source(seen, priority))


def _ranked(providers: pl.Series, priority: Sequence[str]) -> list[str]:
    """The providers there are, the first voice first."""
    there = set(providers.unique())
    return [*(name for name in priority if name in there), *sorted(there - set(priority))]


def _one_source(bars: pl.DataFrame, priority: Sequence[str]) -> pl.DataFrame:
    """Of each cell and session the bars of one provider, as 5-minute bars, by cell and start."""
    if bars["provider"].n_unique() > 1:
        rank = pl.col("provider").cast(pl.Enum(_ranked(bars["provider"], priority))).to_physical()
        bars = bars.filter(rank == rank.min().over("cell", "session"))
    columns = [
        "cell", "session", "instrument_id", "provider", "interval", "started_at", "phase",
        "open", "high", "low", "close", "volume", "_factor",
    ]  # fmt: skip
    fives, ones = (bars.filter(pl.col("interval") == interval).select(columns) for interval in ("5m", "1m"))
    lone = ones.join(fives.select("cell", "session").unique(), on=["cell", "session"], how="anti")
    if lone.height:
        factors = lone.select("cell", "session", "_factor").unique(["cell", "session"])
        made = resample(lone.drop("cell", "_factor"), "5m").drop("parts", "complete")
        cells = lone.select("cell", "session", "instrument_id", "phase").unique()
        made = made.join(cells, on=["session", "instrument_id", "phase"], how="inner")
        fives = pl.concat([fives, made.join(factors, on=["cell", "session"], how="inner").select(columns)])
    return fives.sort("cell", "started_at")


def _believed(bars: pl.DataFrame) -> pl.DataFrame:
    high, low = believed_extremes(_CELL)
    prices = ("open", "high", "low", "close")
    return (
        bars.with_columns(pl.col(name) * pl.col("_factor") for name in prices)
        .with_columns(pl.col("volume") / pl.col("_factor"))
        .with_columns(high=high, low=low)
        .drop("_factor")
    )
