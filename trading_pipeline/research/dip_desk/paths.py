"""The path of each fall: what the market, the sector and the company itself did on every session since the high.

What belongs here: splitting a fall day by day with the betas of the session judged, so that the days add up to the
parts of `research/dips.py`. What does not: what the days mean (`causes.py`).

A dip is a row of dense arrays of the 252 sessions up to the session judged, the oldest first; the days of its fall are
the last `sessions_since_high` of them. 4,096 dips are looked at together: their arrays (8 MB each) stay near the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view

from trading_pipeline.research.dips import peer_returns, sector_betas, sector_codes_of
from trading_pipeline.research.indicators import YEAR
from trading_pipeline.research.market_index import market_index
from trading_pipeline.research.panel import (
    Floats,
    Integers,
    Mask,
    Panel,
    cash_paid,
    in_blocks,
    split_cumulation,
    total_returns,
)

BLOCK = 4096
"""Dips looked at together."""

BETA_UNKNOWN = 1.0
"""Beta of a share too young to have one: what shares have on average."""


@dataclass(frozen=True)
class Days:
    """Dips x 252 sessions, the oldest first; log returns.

    dips: which dips these are (positions in `Paths`). market, sector: what the share should have done by its betas to
    either; own: what it did beyond both; index: the market itself. falling: the sessions after the high. known: the
    sessions on which the share has a return at all.
    """

    dips: Integers
    market: Floats
    sector: Floats
    own: Floats
    index: Floats
    falling: Mask
    known: Mask


class Paths:
    """The paths of the falls of `dips`.

    row, column: place of each dip's session and instrument in `panel`; age: sessions since its high.
    """

    def __init__(
        self, bars: pl.DataFrame, actions: pl.DataFrame, members: pl.DataFrame, dips: pl.DataFrame, benchmark_id: str
    ) -> None:
        """Arguments as for `causes`."""
        self.panel = Panel.of(bars)
        self._actions = actions
        self.row, self.column = np.divmod(self.panel.cells(dips), max(self.panel.shape[1], 1))
        self.age = np.minimum(dips["sessions_since_high"].cast(pl.Int64).to_numpy(), YEAR - 1)
        self._beta_market = dips["beta_market"].cast(pl.Float64).fill_null(BETA_UNKNOWN).to_numpy()
        self._beta_sector = dips["beta_sector"].cast(pl.Float64).fill_null(0.0).to_numpy()
        arrays = self.panel.from_long(bars, ["high", "low", "close"])
        valid = np.isfinite(arrays["high"]) & np.isfinite(arrays["low"]) & (arrays["close"] > 0)
        close = np.where(valid, arrays["close"], np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            self._returns = total_returns(close, self._splits, self._paid)
        self._index = market_index(self.panel, valid, self._returns, members, benchmark_id)
        self._codes, self._names = sector_codes_of(self.panel, members)
        # A sector the members do not name on the judged sessions is as good as none.
        sector = dips["sector"].cast(pl.Enum(self._names), strict=False)
        self._sector = sector.to_physical().cast(pl.Int64).fill_null(-1).to_numpy()

    @cached_property
    def _splits(self) -> Floats:
        return split_cumulation(self.panel, self._actions)

    @cached_property
    def _paid(self) -> Floats:
        return cash_paid(self.panel, self._actions)

    def paid_since_high(self) -> tuple[Floats, Floats, Integers]:
        """Dividends and capital gains per share after the high, in the price basis of the session judged: their sum,
        the largest one, and the row of it."""
        total, largest, where = np.zeros(len(self.row)), np.zeros(len(self.row)), self.row.copy()
        if not self._paid.any():
            return total, largest, where
        cash = windows(self._paid * self._splits)
        for chosen in self._blocks():
            paid = (
                cash[self.column[chosen], self.row[chosen]]
                / self._splits[self.row[chosen], self.column[chosen]][:, None]
            )
            paid[~self._falling(chosen)] = 0.0
            place = paid.argmax(axis=1)
            total[chosen], largest[chosen] = paid.sum(axis=1), paid[np.arange(len(chosen)), place]
            where[chosen] = self.row[chosen] - (YEAR - 1) + place
        return total, largest, where

    def days(self) -> Iterator[Days]:
        """The paths, some thousand dips at a time."""
        moves = self._returns.change
        own_moves, has_return = windows(np.nan_to_num(moves)), windows(np.isfinite(moves).astype(np.float64))
        has_sector = np.flatnonzero(self._sector >= 0)
        count = max(len(self._names), 1)
        pairs, pair = np.unique(self.column[has_sector] * count + self._sector[has_sector], return_inverse=True)
        columns, codes = np.divmod(pairs, count)
        with np.errstate(divide="ignore", invalid="ignore"):
            peers = peer_returns(self._returns.daily, self._codes, columns, codes, len(self._names))
        peer_moves = windows(np.nan_to_num(peers))
        pair_of = np.full(len(self.row), -1)
        pair_of[has_sector] = pair
        for series, judges in self._index.kinds(np.unique(self.row)):
            index_moves = windows(np.nan_to_num(_changes(series.level))[:, None])
            if len(pairs):
                with np.errstate(divide="ignore", invalid="ignore"):
                    betas = in_blocks(partial(sector_betas, series.daily), self._returns.daily[:, columns], peers)
                to_market = np.nan_to_num(betas["sector_to_market"])
            for chosen in self._blocks(judges[self.row]):
                row, column = self.row[chosen], self.column[chosen]
                index = index_moves[0, row]
                market = self._beta_market[chosen, None] * index
                sector = np.zeros_like(index)
                with_sector = np.flatnonzero((pair_of[chosen] >= 0) & (self._beta_sector[chosen] != 0))
                if len(with_sector):
                    of_pair, at = pair_of[chosen[with_sector]], row[with_sector]
                    excess = peer_moves[of_pair, at] - to_market[at, of_pair][:, None] * index[with_sector]
                    sector[with_sector] = self._beta_sector[chosen[with_sector], None] * excess
                known = has_return[column, row] > 0
                own = own_moves[column, row] - market - sector
                yield Days(chosen, market, sector, own, index, self._falling(chosen), known)

    def _falling(self, chosen: Integers) -> Mask:
        return np.asarray(np.arange(YEAR) >= YEAR - self.age[chosen, None])

    def _blocks(self, where: Mask | None = None) -> Iterator[Integers]:
        chosen = np.arange(len(self.row)) if where is None else np.flatnonzero(where)
        for start in range(0, len(chosen), BLOCK):
            yield chosen[start : start + BLOCK]


def _changes(level: Floats) -> Floats:
    """Change of a level since the session before, carried over sessions without a bar; NaN where it is unknown."""
    change = np.full(level.shape, np.nan)
    change[1:] = level[1:] - level[:-1]
    return change


def windows(array: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Columns x sessions x 252: the 252 rows up to each session, as views; zeros before the first row."""
    padded = np.zeros((array.shape[1], len(array) + YEAR - 1))
    padded[:, YEAR - 1 :] = array.T
    return sliding_window_view(padded, YEAR, axis=1)
