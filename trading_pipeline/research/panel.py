"""The panel: long frames as sessions x instruments arrays, and the array passes that every measure is made of.

What belongs here: the way between long frames and arrays, windows over sessions or over an instrument's own bars, split
cumulation and total returns. What does not: any named indicator (`indicators.py`).

Two kinds of window. A *span* covers sessions, whether or not the instrument traded on each: returns, 52-week highs,
beta. A *bar window* covers the instrument's own bars, as charting packages count them: moving averages, Wilder's
indicators; `OwnBars` closes the holes for it. Every window reaches back a declared number of sessions and no further,
so a value does not depend on how much older history the panel holds.

NaN means no bar. Row 0 is the oldest session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

GAP = 20
"""Sessions for which the last close still stands for the price of an instrument that does not trade."""

BLOCK = 64
"""Instruments computed at a time by `in_blocks`."""

SPLIT = "split"
CASH = ("dividend", "capital_gain")


@dataclass(frozen=True)
class Panel:
    """The axes of a panel and the way between long frames and arrays.

    sessions: datetime64[D], ascending, one a row. instrument_ids: sorted, one a column.
    """

    sessions: npt.NDArray[np.datetime64]
    instrument_ids: Sequence[str]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Panel:
        """The panel spanned by the columns `session` (Date) and `instrument_id` of a long frame."""
        sessions = frame["session"].unique().sort().to_numpy().astype("datetime64[D]")
        return cls(sessions, frame["instrument_id"].unique().sort().to_list())

    @property
    def shape(self) -> tuple[int, int]:
        """Sessions, instruments."""
        return len(self.sessions), len(self.instrument_ids)

    def cells(self, frame: pl.DataFrame) -> Integers:
        """Position in the flattened panel of each row of `frame` [session, instrument_id]; -1 where it is outside."""
        rows = self.rows(frame["session"])
        codes = frame["instrument_id"].cast(pl.Enum(self.instrument_ids), strict=False).to_physical()
        columns = codes.cast(pl.Int64).fill_null(-1).to_numpy()
        return np.where((rows < 0) | (columns < 0), -1, rows * len(self.instrument_ids) + columns)

    def rows(self, sessions: pl.Series) -> Integers:
        """Row of each session, -1 where the panel has none."""
        if not len(self.sessions):
            return np.full(len(sessions), -1, dtype=np.int64)
        days = sessions.cast(pl.Date).to_physical().cast(pl.Int64).to_numpy()
        known = self.sessions.astype(np.int64)
        row_of_day = np.full(known[-1] - known[0] + 1, -1, dtype=np.int64)
        row_of_day[known - known[0]] = np.arange(len(known))
        inside = (days >= known[0]) & (days <= known[-1])
        return np.where(inside, row_of_day[np.where(inside, days - known[0], 0)], -1)

    def from_long(self, frame: pl.DataFrame, columns: Sequence[str]) -> dict[str, Floats]:
        """Arrays of the named columns of a long frame; NaN where it has no row or a null.

        `ValueError` where two rows share a session and an instrument: which one holds is the caller's decision.
        """
        cells = self.cells(frame)
        inside = cells >= 0
        everything = bool(inside.all())
        places = cells if everything else cells[inside]
        hits = np.zeros(self.shape[0] * self.shape[1], dtype=np.bool_)
        hits[places] = True
        if np.count_nonzero(hits) != len(places):
            raise ValueError("two rows share a session and an instrument; pass one version of each bar")
        arrays = {}
        for name in columns:
            values = frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
            array = np.full(len(hits), np.nan)
            array[places] = values if everything else values[inside]
            arrays[name] = array.reshape(self.shape)
        return arrays

    def to_long(self, where: Mask, arrays: Mapping[str, npt.NDArray[np.generic]]) -> pl.DataFrame:
        """[session, instrument_id, *arrays] of the cells where `where` holds, by session and instrument; NaN → null."""
        cells = np.flatnonzero(where)
        rows, columns = np.divmod(cells, max(self.shape[1], 1))
        axes = {
            "session": pl.Series(self.sessions, dtype=pl.Date).gather(rows),
            "instrument_id": pl.Series(list(self.instrument_ids), dtype=pl.String).gather(columns),
        }
        return pl.DataFrame(axes).hstack(values_at(cells, arrays))


def values_at(cells: Integers, arrays: Mapping[str, npt.NDArray[np.generic]]) -> pl.DataFrame:
    """The arrays' values at flat cells of the panel, one column an array; null for what is not a finite number."""
    frame = pl.DataFrame({name: np.take(array, cells) for name, array in arrays.items()})
    return frame.with_columns(
        pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in arrays if frame.schema[name].is_float()
    )


def split_cumulation(panel: Panel, actions: pl.DataFrame) -> Floats:
    """Shares that one share at the start of the panel has become on each session.

    A price of session t, brought to the basis of session T, is price x cumulation_t / cumulation_T; volume the other
    way round. Only splits with an ex-date up to a session move its row, so no later split is ever used. actions:
    [session, instrument_id, kind, value], session being the ex-date; an ex-date that is no session of the panel counts
    from the next one; a ratio that is not a positive number is ignored.
    """
    steps = np.ones(panel.shape)
    rows, columns, ratios = _usable(panel, actions.filter(pl.col("kind") == SPLIT))
    if not len(rows):
        return steps
    np.multiply.at(steps, (rows, columns), ratios)
    return np.asarray(np.cumprod(steps, axis=0))


def cash_paid(panel: Panel, actions: pl.DataFrame) -> Floats:
    """Dividends and capital gains per share by ex-date, in the price basis of the ex-date; 0 where none was paid."""
    paid = np.zeros(panel.shape)
    rows, columns, amounts = _usable(panel, actions.filter(pl.col("kind").is_in(CASH)))
    if len(rows):
        np.add.at(paid, (rows, columns), amounts)
    return paid


def _usable(panel: Panel, actions: pl.DataFrame) -> tuple[Integers, Integers, Floats]:
    """Row, column and value of the actions whose value is a positive number and whose ex-date the panel reaches."""
    codes = actions["instrument_id"].cast(pl.Enum(panel.instrument_ids), strict=False).to_physical()
    columns = codes.cast(pl.Int64).fill_null(-1).to_numpy()
    values = actions["value"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    days = actions["session"].cast(pl.Date).to_numpy().astype("datetime64[D]")
    rows = np.searchsorted(panel.sessions, days)
    usable = (columns >= 0) & (rows < len(panel.sessions)) & np.isfinite(values) & (values > 0)
    return rows[usable], columns[usable], values[usable]


def in_blocks(function: Callable[..., dict[str, Floats]], *arrays: npt.NDArray[np.generic]) -> dict[str, Floats]:
    """What `function` makes of the arrays, computed for 64 instruments at a time and joined.

    For functions that treat every column by itself. Intermediate arrays of ten years of 500 names are 10 MB each: too
    large for the cache and mapped anew from the system every time. In blocks they take half the time (0.5 s of
    processor instead of 1.0 s for all bar windows) and a fraction of the memory.
    """
    rows, columns = arrays[0].shape
    if columns <= BLOCK:
        return function(*arrays)
    joined: dict[str, Floats] = {}
    for start in range(0, columns, BLOCK):
        block = slice(start, start + BLOCK)
        for name, part in function(*(np.ascontiguousarray(array[:, block]) for array in arrays)).items():
            joined.setdefault(name, np.empty((rows, columns)))[:, block] = part
    return joined


@dataclass(frozen=True)
class OwnBars:
    """The bars of each instrument without the holes: row i is its i-th bar, whatever the session.

    valid: sessions x instruments, whether there is a bar. Rows after an instrument's last bar are padding.
    """

    valid: Mask

    @cached_property
    def number(self) -> Integers:
        """How many bars each instrument had up to each session, that one included."""
        return np.cumsum(self.valid, axis=0, dtype=np.int64)

    @cached_property
    def _places(self) -> tuple[Integers, Integers, tuple[int, int]]:
        sessions, instruments = self.valid.shape
        cells = np.flatnonzero(self.valid)
        rows = int(self.number[-1].max()) if sessions and instruments else 0
        return cells, (self.number.ravel()[cells] - 1) * instruments + cells % max(instruments, 1), (rows, instruments)

    def pack(self, array: Floats, fill: float = np.nan) -> Floats:
        """`array` (sessions x instruments) with each instrument's bars moved up against each other."""
        cells, packed, shape = self._places
        out = np.full(shape[0] * shape[1], fill)
        out[packed] = array.ravel()[cells]
        return out.reshape(shape)

    def unpack(self, packed_array: Floats) -> Floats:
        """The way back: sessions x instruments, NaN where there is no bar."""
        cells, packed, _ = self._places
        out = np.full(self.valid.size, np.nan)
        out[cells] = packed_array.ravel()[packed]
        return out.reshape(self.valid.shape)

    @cached_property
    def row(self) -> Integers:
        """Row of the session of each packed bar; padding lies far beyond the panel."""
        rows = np.broadcast_to(np.arange(self.valid.shape[0], dtype=np.float64)[:, None], self.valid.shape)
        return self.pack(rows, fill=4.0 * self.valid.shape[0] + GAP).astype(np.int64)

    def within(self, sessions: int) -> Integers:
        """Packed: how many bars lie in the last `sessions` sessions before and with each bar, itself included."""
        return self.pack(count_in_span(self.valid, sessions).astype(np.float64), fill=0.0).astype(np.int64)

    @cached_property
    def follows(self) -> Mask:
        """Packed: whether the bar before is at most `GAP` sessions away, so that a change between the two means one."""
        near = np.zeros(self.row.shape, dtype=np.bool_)
        near[1:] = np.diff(self.row, axis=0) <= GAP
        return near


def shift(array: Floats, rows: int, fill: float = np.nan) -> Floats:
    """`array` moved `rows` down (to later sessions), `fill` above."""
    out = np.full_like(array, fill)
    if rows < len(array):
        out[rows:] = array[: len(array) - rows]
    return out


def count_in_span(valid: Mask, sessions: int) -> Integers:
    """How many of the last `sessions` rows, the current one included, are true."""
    count = np.cumsum(valid, axis=0, dtype=np.int64)
    count[sessions:] -= count[:-sessions].copy()
    return count


def window_sum(array: Floats, length: int) -> Floats:
    """Sum of the last `length` rows, fewer at the start.

    Built by doubling (sums of 1, 2, 4… rows), so that no rounding error is carried from rows outside the window, as a
    difference of running sums would: a price that once was 10,000 times higher leaves no trace.
    """
    total = np.zeros_like(array)
    block, size, done = array, 1, 0
    while True:
        if length & size:
            total[done:] += block[: len(block) - done]
            done += size
        if done >= min(length, len(array)):
            return total
        doubled = block.copy()
        doubled[size:] += block[:-size]
        block, size = doubled, size * 2


@dataclass(frozen=True)
class Moments:
    """Rolling moments of series over a span, of the sessions on which all of them are known.

    count: how many those are. Covariances are those of the population; only ratios of them are used.
    """

    count: Floats
    sums: dict[tuple[str, ...], Floats]

    @classmethod
    def of(cls, series: dict[str, Floats], length: int) -> Moments:
        """Of arrays of one shape, over the last `length` rows."""
        known = np.logical_and.reduce([np.isfinite(array) for array in series.values()])
        clean = {name: np.where(known, array, 0.0) for name, array in series.items()}
        sums: dict[tuple[str, ...], Floats] = {(name,): window_sum(array, length) for name, array in clean.items()}
        for first, second in combinations_with_replacement(sorted(clean), 2):
            sums[first, second] = window_sum(clean[first] * clean[second], length)
        return cls(window_sum(known.astype(np.float64), length), sums)

    def covariance(self, first: str, second: str) -> Floats:
        """Rolling covariance of two of the series; NaN where none is known or a variance is no more than rounding."""
        pair = self.sums[min(first, second), max(first, second)]
        count = np.where(self.count > 0, self.count, np.nan)
        covariance: Floats = pair / count - self.sums[first,] * self.sums[second,] / count**2
        if first != second:
            return covariance
        return np.where(covariance > 1e-12 * pair / count, covariance, np.nan)


def window_max(array: Floats, length: int) -> Floats:
    """Highest of the last `length` rows, fewer at the start. Rows without a value hold -inf."""
    top, size = array, 1
    while size < min(length, len(array)):
        step = min(size, length - size)
        top = np.maximum(top, shift(top, step, -np.inf))
        size += step
    return top


def rows_since_max(array: Floats, length: int) -> Integers:
    """How many rows ago the highest of the last `length` rows was, the latest where several are as high.

    array: positive, 0 where there is no value. As high means within 1e-9, relatively: two prices that are the same but
    for a split may differ in their last bit.
    """
    top, age, size = array, np.zeros(array.shape, dtype=np.int64), 1
    while size < min(length, len(array)):
        step = min(size, length - size)
        earlier, earlier_age = shift(top, step, 0.0), np.zeros_like(age)
        earlier_age[step:] = age[:-step] + step
        age = np.where(earlier > top * (1 + 1e-9), earlier_age, age)
        top = np.maximum(top, earlier)
        size += step
    return age


def decayed_sum(packed: Floats, decay: float, count: Integers) -> Floats:
    """Sum over the last `count` packed bars of decay^k x value, k = 0 for the bar itself.

    The exact finite window of a recursion: the endless sum less what it held before the window, decayed. packed: no
    NaN. count: packed, how far the window reaches at each bar (`OwnBars.within`).
    """
    from scipy.signal import lfilter  # scipy takes as long to import as Dagster

    rows, instruments = packed.shape
    endless = np.zeros((rows + 1, instruments))
    endless[1:] = lfilter([1.0], [1.0, -decay], packed, axis=0)
    before = np.arange(1, rows + 1)[:, None] - count
    tail = endless.ravel()[before * instruments + np.arange(instruments)]
    powers = decay ** np.arange(rows + 1, dtype=np.float64)
    return np.asarray(endless[1:] - powers[count] * tail)


def last_row_with(valid: Mask) -> Integers:
    """Row of the latest bar up to each session, -1 before the first one."""
    rows = np.where(valid, np.arange(len(valid))[:, None], -1)
    return np.asarray(np.maximum.accumulate(rows, axis=0))


def carried(array: Floats, valid: Mask, sessions: int = GAP) -> Floats:
    """`array` with each bar's value standing for the next `sessions` sessions without a bar."""
    last = last_row_with(valid)
    fresh = (last >= 0) & (np.arange(len(valid))[:, None] - last <= sessions)
    return np.where(fresh, np.take_along_axis(array, np.maximum(last, 0), axis=0), np.nan)


@dataclass(frozen=True)
class TotalReturns:
    """Total returns of a panel, dividends reinvested at the close of the ex-date.

    change: log total return since the instrument's previous bar, NaN at its first bar and where there is none.
    level: running sum of `change`, carried for up to `GAP` sessions without a bar; only differences mean something.
    daily: `change` where the previous bar is of the session before, NaN elsewhere: what is comparable across names.
    """

    change: Floats
    level: Floats
    daily: Floats


def total_returns(close: Floats, cumulation: Floats, paid: Floats) -> TotalReturns:
    """Log total returns: log((close_t x split_t + cash_t) / close_previous), per share held at the previous bar.

    close: as traded, NaN where there is no bar. cumulation: `split_cumulation`; paid: `cash_paid`. What became ex
    between two bars counts at the later one. A payment that is not below the close before it is not believed (the
    quality rules report it).
    """
    valid = np.isfinite(close)
    worth = close * cumulation
    last = last_row_with(valid)
    previous_row = np.full_like(last, -1)
    previous_row[1:] = last[:-1]
    has_previous, previous_at = previous_row >= 0, np.maximum(previous_row, 0)
    previous = np.where(has_previous, np.take_along_axis(worth, previous_at, axis=0), np.nan)
    if paid.any():
        cash = paid * cumulation
        so_far = np.cumsum(np.where(cash < previous, cash, 0.0), axis=0)
        worth = worth + so_far - np.take_along_axis(so_far, previous_at, axis=0)
    change = np.log(worth / previous)
    level = carried(np.cumsum(np.where(np.isfinite(change), change, 0.0), axis=0), valid)
    adjacent = has_previous & (previous_row == np.arange(len(close))[:, None] - 1)
    return TotalReturns(change, level, np.where(adjacent, change, np.nan))
