"""Adjusted prices from as-traded bars and corporate actions, on reading: nothing adjusted is ever stored.

What belongs here: adjustment factors and their application. What does not: choosing the actions known at a moment
(the reader does that; whatever is passed in counts), undoing a provider's own adjustment (`as_traded.py`).

Conventions (CRSP, and Yahoo's `Adj Close`): on the ex-date the split divides every earlier price by its ratio, and a
dividend multiplies every earlier price by 1 - amount / close of the session before, both in the basis of the ex-date.
Factors are 1 at each instrument's last bar and an action after that bar does nothing. So a level computed on adjusted
prices (a moving average, a 52-week high) is brought to the price basis of any session T by dividing it by the
`split_factor` of T: as of T the instrument traded in exactly that basis, and what happened after T cancels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import polars as pl

from trading_pipeline.research.bars.as_traded import SPLIT, later_ratio

How: TypeAlias = Literal["none", "splits", "total_return"]

PRICES = ("open", "high", "low", "close")
CASH = ("dividend", "capital_gain")

_Steps: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]


def factor_panel(
    close: np.ndarray, sessions: np.ndarray, instrument_ids: Sequence[str], actions: pl.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Split factors and total-return factors of a panel, each shaped like `close`.

    close: as-traded closes, sessions x instruments, NaN or non-positive where there is no bar.
    sessions: datetime64[D], ascending, one a row of `close`. instrument_ids: one a column.
    actions: [instrument_id, session, kind, value] (session: the ex-date; others' rows are ignored; with a boolean
    column `withdrawn`, withdrawn rows are ignored). A split ratio that is not a positive number and a payment that is
    not below the close before it (`unusable` lists them) have no factor and leave prices as they are.
    """
    split, total = _factors(close, np.asarray(sessions, "datetime64[D]"), instrument_ids, actions)
    across = np.ascontiguousarray(split.T)
    return across, across if total is split else np.ascontiguousarray(total.T)


def adjustment_factors(bars: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """Factors of every bar: [instrument_id, session, split_factor, total_return_factor], in the order of `bars`.

    Adjusted price = as-traded price x factor, both factors 1 at each instrument's last bar; adjusted volume = as-traded
    volume / split_factor. bars: [instrument_id, session, close] as traded, one row an instrument and session, any
    order. actions: see `factor_panel`; those already visible at the moment you look from.
    """
    split, total = _row_factors(bars, actions)
    return bars.select("instrument_id", "session").with_columns(
        pl.Series("split_factor", split), pl.Series("total_return_factor", total)
    )


def adjust(bars: pl.DataFrame, actions: pl.DataFrame, how: How) -> pl.DataFrame:
    """`bars` with adjusted prices and volume, same rows, columns and order.

    bars: [instrument_id, session, close] and any of open, high, low, volume, as traded. how: `none` returns them as
    they are, `splits` undoes the jumps of splits, `total_return` those of dividends and capital gains too. Volume is
    divided by the split factor in both. actions: see `factor_panel`.
    """
    if how == "none":
        return bars
    if how not in ("splits", "total_return"):
        raise ValueError(f"how={how!r}: use none, splits or total_return")
    wanted = actions if how == "total_return" else actions.filter(pl.col("kind") == SPLIT)
    split, total = _row_factors(bars, wanted)
    price = pl.Series("factor", split if how == "splits" else total)
    scaled = [pl.col(name) * price for name in PRICES if name in bars.columns]
    if "volume" in bars.columns:
        scaled.append(pl.col("volume") / pl.Series("factor", split))
    return bars.with_columns(scaled)


def unusable(bars: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """The rows of `actions` on instruments of `bars` that have no adjustment factor.

    A split ratio that is null, zero, negative or infinite; a payment that is null, not positive, or not below the last
    close before its ex-date. Payments before an instrument's first bar or after its last are not judged.
    """
    sessions, ids, close = _panel(bars, actions)[:3]
    _, _, refused = _steps(close, sessions, ids, actions)
    return actions[refused]


def _row_factors(bars: pl.DataFrame, actions: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    if bars.is_empty() or actions.is_empty():
        ones = np.ones(bars.height)
        return ones, ones
    sessions, ids, close, cell = _panel(bars, actions)
    split, total = _factors(close, sessions, ids, actions)
    split_rows = split.ravel().take(cell)
    return split_rows, split_rows if total is split else total.ravel().take(cell)


def _panel(bars: pl.DataFrame, actions: pl.DataFrame) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """Sessions, instruments that have actions, their closes as a panel, and each bar's cell, instrument by instrument.

    Bars of instruments without actions share one last column, so that text is matched against few ids only (18 ms for
    1.26 M rows; finding all distinct ids first costs as much again).
    """
    ids = actions["instrument_id"].drop_nulls().unique().sort().to_list()
    column = bars["instrument_id"].cast(pl.Enum(ids), strict=False).to_physical().fill_null(len(ids)).to_numpy()
    days = bars["session"].to_physical().to_numpy()
    distinct = bars["session"].unique().sort().to_physical().to_numpy()
    first = distinct[0] if len(distinct) else 0
    row_of_day = np.zeros(distinct[-1] - first + 1 if len(distinct) else 1, dtype=np.int64)
    row_of_day[distinct - first] = np.arange(len(distinct))
    cell = row_of_day.take(days - first)
    cell += column * np.int64(len(distinct))
    close = np.full(len(distinct) * (len(ids) + 1), np.nan)
    close[cell] = bars["close"].cast(pl.Float64).to_numpy()
    return distinct.astype("datetime64[D]"), ids, close.reshape(len(ids) + 1, len(distinct)).T, cell


def _factors(
    close: np.ndarray, sessions: np.ndarray, instrument_ids: Sequence[str], actions: pl.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Split and total-return factors, instruments x sessions; one array twice where nothing is paid."""
    steps, cash, _ = _steps(close, sessions, instrument_ids, actions)
    split = _later_product(steps, *close.shape)
    if not len(cash[0]):
        return split, split
    row, column, factor = (np.concatenate(parts) for parts in zip(cash, steps, strict=True))
    return split, _later_product((row, column, factor), *close.shape)


def _steps(
    close: np.ndarray, sessions: np.ndarray, instrument_ids: Sequence[str], actions: pl.DataFrame
) -> tuple[_Steps, _Steps, np.ndarray]:
    """What each ex-date does to all earlier prices by splits and by payments, as (row, column, factor).

    Also the positions in `actions` that have no factor.
    """
    rows, columns = close.shape
    nothing = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    position = pl.DataFrame({"instrument_id": list(instrument_ids)}, schema={"instrument_id": pl.String})
    known = (
        actions.with_row_index("row")
        .filter(~pl.col("withdrawn") if "withdrawn" in actions.columns else pl.lit(True))
        .join(position.with_row_index("column"), on="instrument_id", how="inner", maintain_order="left")
        .select("row", "column", "kind", "value", pl.col("session").cast(pl.Date))
    )
    if known.is_empty() or not rows:
        return nothing, nothing, np.empty(0, np.int64)
    origin = known["row"].to_numpy().astype(np.int64)
    column = known["column"].to_numpy().astype(np.int64)
    value = known["value"].cast(pl.Float64).to_numpy()
    ex = np.searchsorted(sessions, known["session"].to_numpy().astype("datetime64[D]"))

    with np.errstate(invalid="ignore"):
        traded = close > 0
    first_bar = np.where(traded.any(axis=0), traded.argmax(axis=0), rows)[column]
    last_bar = np.where(first_bar < rows, rows - 1 - traded[::-1].argmax(axis=0)[column], -1)
    inside = (ex > first_bar) & (ex <= last_bar)
    usable = np.isfinite(value) & (value > 0)
    refused = ~usable & (last_bar >= 0)
    is_split = (known["kind"] == SPLIT).to_numpy()
    is_cash = known["kind"].is_in(CASH).to_numpy()

    now = is_split & usable & inside
    split_steps = (ex[now], column[now], 1 / value[now])

    now = np.flatnonzero(is_cash & usable & inside)
    if not len(now):
        return split_steps, nothing, np.sort(origin[refused])
    before = ex[now] - 1
    while len(gap := np.flatnonzero(~traded[before, column[now]])):  # a bar comes before: they are inside
        before[gap] -= 1
    payments = known[now].select("column", "session")
    splits = known.filter(pl.Series(is_split & usable)).select("column", "session", "value")
    basis = later_ratio(payments, splits, "column")
    basis_before = later_ratio(payments.with_columns(pl.Series("session", sessions[before])), splits, "column")
    share = value[now] / (close[before, column[now]] * basis / basis_before)
    flat, group = np.unique(ex[now] * columns + column[now], return_inverse=True)
    factor = 1 - np.bincount(group, weights=share)
    sound = factor > 0
    refused[now[~sound[group]]] = True
    at, which = np.divmod(flat, columns)
    return split_steps, (at[sound], which[sound], factor[sound]), np.sort(origin[refused])


def _later_product(steps: _Steps, rows: int, columns: int) -> np.ndarray:
    """Product of the steps strictly below each row, columns x rows.

    Between two steps it is constant: filling it in takes a tenth of the time of multiplying through the panel.
    """
    row, column, factor = steps
    cell, inverse = np.unique(column * rows + row, return_inverse=True)
    step = np.ones(len(cell))
    np.multiply.at(step, inverse, factor)
    at_column, at_row = np.divmod(cell, max(rows, 1))
    count = np.bincount(at_column, minlength=columns)
    start = np.cumsum(count) - count
    place = np.arange(len(cell)) - start[at_column]
    # One line per column: its steps, then 1 from the last of them on.
    line = np.ones((columns, int(count.max(initial=0)) + 1))
    line[at_column, place] = step
    later = np.cumprod(line[:, ::-1], axis=1)[:, ::-1]
    until = np.full(line.shape, rows)
    until[at_column, place] = at_row
    return np.repeat(later.ravel(), np.diff(until, axis=1, prepend=0).ravel()).reshape(columns, rows)
