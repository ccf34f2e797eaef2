"""Peers: what the others of a group say, the member itself left out, and where a member stands among them.

What belongs here: medians, means and percentiles within groups of rows. What does not: which groups matter.

A median or mean leaves the member itself out: so its own figure, changed alone, does not move what it is measured
against. Nothing depends on the order of rows; members that are equal share their place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from trading_pipeline.research.panel import Floats, Integers, Mask

_RETURN_BOUNDS = (-0.6, 1.0)
"""A quarter's return counts within these bounds in a sector's mean: one takeover is not a sector's move."""


@dataclass(frozen=True)
class Groups:
    """Rows in groups, as a padded array of groups x members.

    rows: the rows that are in a group. cells: their place in the flattened array. shape: groups, members at most.
    """

    size: int
    rows: Integers
    cells: Integers
    shape: tuple[int, int]

    @classmethod
    def of(cls, codes: Integers) -> Groups:
        """By the code of each row's group; -1 is none."""
        inside = np.flatnonzero(codes >= 0)
        if not len(inside):
            return cls(len(codes), inside, inside, (0, 0))
        _, group, counts = np.unique(codes[inside], return_inverse=True, return_counts=True)
        order = np.argsort(group, kind="stable")
        position = np.arange(len(inside)) - np.repeat(np.cumsum(counts) - counts, counts)
        width = int(counts.max())
        return cls(len(codes), inside[order], group[order] * width + position, (len(counts), width))

    def spread(self, values: Floats) -> Floats:
        """Groups x members; NaN in the padding."""
        out = np.full(self.shape[0] * self.shape[1], np.nan)
        out[self.cells] = values[self.rows]
        return out.reshape(self.shape)

    def gather(self, array: Floats) -> Floats:
        """The way back: one value a row, NaN for rows in no group."""
        out = np.full(self.size, np.nan)
        out[self.rows] = array.ravel()[self.cells]
        return out

    def median_of_others(self, values: Floats, least: int) -> Floats:
        """The median of the known values of the group's other rows; NaN with fewer than `least` of those.

        Found in the sorted row: what stands left of the gap that the member leaves does not move, the rest moves up.
        """
        if not len(self.rows):
            return np.full(self.size, np.nan)
        array = self.spread(values)
        ordered = np.sort(array, axis=1)
        others = np.isfinite(array).sum(axis=1)[:, None] - np.isfinite(array)
        middle = [np.maximum(others - 1, 0) // 2, others // 2]
        total = np.zeros(array.shape)
        for place in middle:
            here = np.take_along_axis(ordered, place, axis=1)
            following = np.take_along_axis(ordered, np.minimum(place + 1, self.shape[1] - 1), axis=1)
            total += np.where(~np.isfinite(array) | (array > here), here, following)
        return self.gather(np.where(others >= least, total / 2, np.nan))

    def mean_of_others(self, values: Floats, least: int) -> Floats:
        """The mean of the known values of the group's other rows; NaN with fewer than `least` of those."""
        if not len(self.rows):
            return np.full(self.size, np.nan)
        array = self.spread(values)
        known = np.isfinite(array)
        clean = np.where(known, array, 0.0)
        others = known.sum(axis=1)[:, None] - known
        mean = (clean.sum(axis=1)[:, None] - clean) / np.maximum(others, 1)
        return self.gather(np.where(others >= least, mean, np.nan))

    def percentile(self, values: Floats, least: int) -> Floats:
        """Place of each row among the known of its group, 0 the lowest, 100 the highest; equals share the mean.

        Decided on 9 decimals; NaN with fewer than `least` others.
        """
        from scipy.stats import rankdata  # scipy takes as long to import as Dagster

        if not len(self.rows):
            return np.full(self.size, np.nan)
        array = np.round(self.spread(values), 9)
        known = np.isfinite(array)
        position = rankdata(np.where(known, array, np.inf), axis=1)
        others = known.sum(axis=1)[:, None] - 1
        place = 100 * (position - 1) / np.maximum(others, 1)
        return self.gather(np.where(known & (others >= least), place, np.nan))


def codes_of(session: pl.Series, group: pl.Series) -> Integers:
    """A code for each session and group; -1 where the group is null."""
    names = group.drop_nulls().unique().sort()
    code = group.cast(pl.Enum(names)).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
    day = session.to_physical().cast(pl.Int64).to_numpy()
    return np.where(code < 0, -1, day * (len(names) + 1) + code)


def sector_measures(book: pl.DataFrame, sectors: Groups, least: int) -> dict[str, Floats]:
    """`sector_return_63`: mean of the sector's others beyond that of all other stocks; `sector_breadth_50`: share of
    the sector's others above their 50-session average."""
    is_stock = (book["asset_type"] == "stock").to_numpy()
    change = np.clip(_floats(book, "return_63"), *_RETURN_BOUNDS)
    everyone = Groups.of(np.where(is_stock, book["session"].to_physical().cast(pl.Int64).to_numpy(), -1))
    close, average = _floats(book, "close"), _floats(book, "sma_50")
    known = np.isfinite(close) & np.isfinite(average)
    above = np.where(known, np.round(close / np.where(known, average, 1.0), 9) > 1, np.nan)
    return {
        "sector_return_63": sectors.mean_of_others(change, least) - everyone.mean_of_others(change, least),
        "sector_breadth_50": sectors.mean_of_others(above, least),
    }


def size_bucket(market_cap: pl.Expr, mid: float, large: float, mega: float) -> pl.Expr:
    """mega, large, mid, small, or unknown."""
    return (
        pl.when(market_cap.is_null()).then(pl.lit("unknown"))
        .when(market_cap >= mega).then(pl.lit("mega"))
        .when(market_cap >= large).then(pl.lit("large"))
        .when(market_cap >= mid).then(pl.lit("mid"))
        .otherwise(pl.lit("small"))
    )  # fmt: skip


def _floats(book: pl.DataFrame, name: str) -> Floats:
    return book[name].fill_null(float("nan")).to_numpy()


def stocks_by_sector(book: pl.DataFrame) -> Groups:
    """The stocks of each session and sector."""
    sector = book.select(pl.when(pl.col("asset_type") == "stock").then("sector").alias("sector"))["sector"]
    return Groups.of(codes_of(book["session"], sector))


def by_size(session: pl.Series, bucket: pl.Series) -> Groups:
    """The members of each session and size bucket; the unknown size is none."""
    known = bucket.to_frame("b").select(pl.when(pl.col("b") != "unknown").then("b"))["b"]
    return Groups.of(codes_of(session, known))


def known_mask(values: Floats) -> Mask:
    """Whether each value is known: infinite is."""
    return np.asarray(~np.isnan(values))
