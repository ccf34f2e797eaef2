"""Macro series: the level of each index and yield on each session, its changes, and where it stands in its own year.

What belongs here: what can be said of one series alone. What does not: grading the market with it (`regime.py`) and
which instruments the series are (the caller knows).

An index is measured in fractions (a change of 0.02 is 2 %), a yield in points of a per cent a year (a change of 0.25 is
a quarter of a point): a yield of nearly zero has no meaningful relative change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final, Literal

import numpy as np
import polars as pl

from trading_pipeline.research.panel import GAP, Floats, Integers, Panel, shift, values_at

SeriesKind = Literal["index", "yield"]

YEAR: Final = 252
SPAN_COVERAGE: Final = 0.9
"""Share of the year's sessions that must have a value for a percentile, as for every span of `indicators.py`."""

LOOKBACK: Final = 260
"""Sessions before the judged one whose bars must be passed: a year, and room for sessions on which nothing traded."""

_CHANGES: Final = (1, 21)
_COLUMNS: Final = ("session", "series", "instrument_id", "ticker", "value", "change_1", "change_21", "percentile_252")


@np.errstate(divide="ignore", invalid="ignore")
def macro_series(
    bars: pl.DataFrame, series: Mapping[str, tuple[str, SeriesKind]], sessions: Sequence[date]
) -> pl.DataFrame:
    """The columns of the table `macro_series` for each series and judged session with a bar, by session and series.

    bars: [session, instrument_id, ticker, close], one version of each bar, bad ones left out, from LOOKBACK sessions
    before the first judged one; bars of other instruments only say which sessions there were. series: (key of the
    series, its kind) by instrument id. sessions: the judged ones, ascending.

    A change compares with the value 1 or 21 sessions before; where there was none on that session, with the last one,
    if that is at most 20 sessions older. `percentile_252` is the share of the values of the 252 sessions before that
    lie below this one's; null with fewer than nine tenths of them. Values are compared to 9 decimals.
    """
    keys = pl.DataFrame(
        {
            "instrument_id": list(series),
            "series": [key for key, _ in series.values()],
            "is_yield": [kind == "yield" for _, kind in series.values()],
        },
        schema={"instrument_id": pl.String, "series": pl.String, "is_yield": pl.Boolean},
    ).sort("instrument_id")
    if keys["series"].is_duplicated().any():
        raise ValueError("two instruments are given for one macro series")
    grid = Panel(Panel.of(bars).sessions, keys["instrument_id"].to_list())
    own = bars.filter(pl.col("instrument_id").is_in(keys["instrument_id"].implode()))
    value = grid.from_long(own, ["close"])["close"]
    known = np.isfinite(value)
    rows = grid.rows(pl.Series(list(sessions), dtype=pl.Date))
    judged = np.zeros(grid.shape, dtype=np.bool_)
    judged[rows[rows >= 0]] = known[rows[rows >= 0]]
    cells = np.flatnonzero(judged)

    lasting = _carried(value)
    points = keys["is_yield"].to_numpy()[None, :]
    columns: dict[str, Floats] = {"value": value}
    for span in _CHANGES:
        before = shift(lasting, span)
        columns[f"change_{span}"] = np.where(points, value - before, np.where(before > 0, value / before - 1, np.nan))
    columns["percentile_252"] = _percentile(value, cells)

    at_row, at_column = np.divmod(cells, max(grid.shape[1], 1))
    where = pl.DataFrame(
        {
            "session": pl.Series(grid.sessions, dtype=pl.Date).gather(at_row),
            "series": keys["series"].gather(at_column),
            "instrument_id": keys["instrument_id"].gather(at_column),
        }
    )
    return (
        where.hstack(values_at(cells, columns))
        .join(own.select("session", "instrument_id", "ticker"), on=["session", "instrument_id"], how="left")
        .sort("session", "series")
        .select(_COLUMNS)
    )


def _carried(value: Floats) -> Floats:
    """Each value until the next one, for at most `GAP` sessions."""
    row = np.arange(len(value))[:, None]
    last = np.maximum.accumulate(np.where(np.isfinite(value), row, -1), axis=0)
    carried = np.take_along_axis(value, np.maximum(last, 0), axis=0) if len(value) else value
    return np.where((last >= 0) & (row - last <= GAP), carried, np.nan)


def _percentile(value: Floats, cells: Integers) -> Floats:
    """Share of the known values of the `YEAR` rows before that are lower; NaN at all but `cells`."""
    padded = np.round(np.vstack([np.full((YEAR, value.shape[1]), np.nan), value]), 9)
    share = np.full(value.size, np.nan)
    if not len(cells):
        return share.reshape(value.shape)
    row, column = np.divmod(cells, value.shape[1])
    # Rows row … row + YEAR - 1 of the padded array are the year before; the value itself follows them.
    window = np.lib.stride_tricks.sliding_window_view(padded, YEAR, axis=0)[row, column]
    count = np.isfinite(window).sum(axis=1)
    lower = (window < padded[row + YEAR, column][:, None]).sum(axis=1)
    share[cells] = np.where(count >= SPAN_COVERAGE * YEAR, lower / np.maximum(count, 1), np.nan)
    return share.reshape(value.shape)
