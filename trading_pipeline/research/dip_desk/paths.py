"""The path of each fall: what the market, the sector and the company itself did on every session since the high.

What belongs here: splitting a fall day by day. What does not: what the days mean (`causes.py`).

The market of a share is here the mean of all other members, not the benchmark of `dips.py`: an index by value moves
with the news of a few giants, betas to it come out too small, and the company is blamed for the rest (in a simulated
bear market the market's part was a quarter too small). The sector is the mean of its other members, beyond that
market. Betas are slopes over the 252 sessions up to the one judged; the days add up to the fall.

A dip is a row of dense arrays of those 252 sessions, the oldest first; the days of its fall are the last
`sessions_since_high` of them. 4,096 dips are looked at together: their arrays (8 MB each) stay near the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view

from trading_pipeline.research.dips import peer_returns, sector_betas, sector_codes_of
from trading_pipeline.research.indicators import SPAN_COVERAGE, YEAR
from trading_pipeline.research.market_index import market_index
from trading_pipeline.research.panel import (
    Floats,
    Integers,
    Mask,
    Moments,
    Panel,
    cash_paid,
    in_blocks,
    split_cumulation,
    total_returns,
)

BLOCK = 4096
"""Dips looked at together."""

LARGEST_SHARED = 0.25
"""Log return beyond which a name's session says nothing of the others: it counts for them as one of this size. Indices
have not fallen further in a session since 1987; single names do, and one price told 100 times too high among 120 names
would lift their mean by 80 %."""

LEAST_OTHERS = 20
"""Other members with a return on a session for their mean to be the market; the moves of fewer do not cancel out, and
the benchmark takes its place."""

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
        daily = np.clip(self._returns.daily, -LARGEST_SHARED, LARGEST_SHARED)
        common = self._common(daily)
        has_sector = np.flatnonzero(self._sector >= 0)
        count = max(len(self._names), 1)
        pairs, pair = np.unique(self.column[has_sector] * count + self._sector[has_sector], return_inverse=True)
        columns, codes = np.divmod(pairs, count)
        with np.errstate(divide="ignore", invalid="ignore"):
            peers = peer_returns(daily, self._codes, columns, codes, len(self._names))
            to_market = in_blocks(_beta, daily, common)["beta"]
            betas = in_blocks(sector_betas, daily[:, columns], common[:, columns], peers) if len(pairs) else {}
        beta_market = np.where(np.isfinite(to_market), to_market, BETA_UNKNOWN)
        pair_of = np.full(len(self.row), -1)
        pair_of[has_sector] = pair
        # A name that did not trade for a while catches up at its next bar, so its moves add up all the same.
        moved = np.isfinite(self._returns.change)
        own_moves, has_return = windows(np.where(moved, self._returns.change, 0.0)), windows(moved)
        market_moves, peer_moves = windows(np.nan_to_num(common)), windows(np.nan_to_num(peers))
        for chosen in self._blocks():
            row, column = self.row[chosen], self.column[chosen]
            index = market_moves[column, row]
            market = beta_market[row, column][:, None] * index
            sector = np.zeros_like(index)
            with_sector = np.flatnonzero(pair_of[chosen] >= 0)
            if len(with_sector):
                of_pair, at = pair_of[chosen[with_sector]], row[with_sector]
                own_to_sector, sector_to_market = (
                    np.nan_to_num(betas[name][at, of_pair])[:, None] for name in ("own_to_sector", "sector_to_market")
                )
                sector[with_sector] = own_to_sector * (peer_moves[of_pair, at] - sector_to_market * index[with_sector])
            own = own_moves[column, row] - market - sector
            yield Days(chosen, market, sector, own, index, self._falling(chosen), has_return[column, row] > 0)

    def _common(self, daily: Floats) -> Floats:
        """Sessions x instruments: log of the mean simple return of all other members, the benchmark's where they are
        few."""
        index = self._index
        known = index.is_member & np.isfinite(daily)
        simple = np.where(known, np.expm1(daily), 0.0)
        others = known.sum(axis=1)[:, None] - known
        benchmark = index.benchmark.daily
        instead = np.where(np.isfinite(benchmark), benchmark, index.equal_weight.daily)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.log1p((simple.sum(axis=1)[:, None] - simple) / others)
        return np.where(others >= LEAST_OTHERS, mean, instead)

    def _falling(self, chosen: Integers) -> Mask:
        return np.asarray(np.arange(YEAR) >= YEAR - self.age[chosen, None])

    def _blocks(self, where: Mask | None = None) -> Iterator[Integers]:
        chosen = np.arange(len(self.row)) if where is None else np.flatnonzero(where)
        for start in range(0, len(chosen), BLOCK):
            yield chosen[start : start + BLOCK]


def _beta(own: Floats, market: Floats) -> dict[str, Floats]:
    """Beta of each column to its market."""
    moments = Moments.of({"own": own, "market": market}, YEAR)
    beta = moments.covariance("market", "own") / moments.covariance("market", "market")
    return {"beta": np.where(moments.count >= SPAN_COVERAGE * YEAR, beta, np.nan)}


def windows(array: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Columns x sessions x 252: the 252 rows up to each session, as views; zeros before the first row."""
    padded = np.zeros((array.shape[1], len(array) + YEAR - 1))
    padded[:, YEAR - 1 :] = array.T
    return sliding_window_view(padded, YEAR, axis=1)
