"""The market's own return series: the benchmark's where it has a bar, the equal-weight index of the members where not.

What belongs here: the index that betas, relative strength, the regime and dips are measured against. What does not:
what is made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from trading_pipeline.research.panel import (
    Floats,
    Integers,
    Mask,
    Panel,
    TotalReturns,
    cash_paid,
    shift,
    split_cumulation,
    total_returns,
)

EQUAL_WEIGHT = "equal_weight"


@dataclass(frozen=True)
class IndexSeries:
    """daily: log total return of each session, NaN where unknown. level: its running sum, of which only differences
    mean anything; NaN where the index is unknown."""

    daily: Floats
    level: Floats


@dataclass(frozen=True)
class MarketIndex:
    """Both candidate series of one panel. A session is judged by the benchmark if it has a bar of it, else by the
    equal-weight index, over the whole of its windows: the two are never chained.

    returns: of the panel. is_member: sessions x instruments, the benchmark itself left out. benchmark_column: None
    where the panel has no bar of the benchmark at all.
    """

    returns: TotalReturns
    is_member: Mask
    benchmark_column: int | None
    by_benchmark: Mask

    @cached_property
    def benchmark(self) -> IndexSeries:
        """The benchmark's total returns; NaN throughout where the panel does not have it."""
        if self.benchmark_column is None:
            nothing = np.full(len(self.by_benchmark), np.nan)
            return IndexSeries(nothing, nothing)
        return IndexSeries(self.returns.daily[:, self.benchmark_column], self.returns.level[:, self.benchmark_column])

    @cached_property
    def equal_weight(self) -> IndexSeries:
        """Chain of the mean simple total return of each session's members that have bars on it and on the one before.

        Equal weights every session, so survivors and names later delisted count alike. Zero is added to the level on a
        session without any such member.
        """
        known = self.is_member & np.isfinite(self.returns.daily)
        count = known.sum(axis=1)
        total = np.where(known, np.expm1(self.returns.daily), 0.0).sum(axis=1)
        daily = np.log1p(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))
        level = np.cumsum(np.nan_to_num(daily))
        # The session before the first return is where the level starts; before that there is no index.
        first = int(np.argmax(count > 0)) if count.any() else len(count)
        level[: max(first - 1, 0)] = np.nan
        return IndexSeries(daily, level if count.any() else np.full(len(count), np.nan))

    def kinds(self, rows: Integers) -> list[tuple[IndexSeries, Mask]]:
        """The series needed to judge `rows`, each with the mask of the sessions it judges: one, seldom both."""
        needed = []
        if self.by_benchmark[rows].any():
            needed.append((self.benchmark, self.by_benchmark))
        if not self.by_benchmark[rows].all():
            needed.append((self.equal_weight, ~self.by_benchmark))
        return needed

    def span_return(self, sessions: int, rows: Integers) -> Floats:
        """Log total return of the index over a span ending on each session; NaN on sessions not in `rows`' kinds."""
        out = np.full(len(self.by_benchmark), np.nan)
        for series, where in self.kinds(rows):
            out[where] = (series.level - shift(series.level, sessions))[where]
        return out


def market_index(
    panel: Panel, valid: Mask, returns: TotalReturns, members: pl.DataFrame, benchmark_id: str
) -> MarketIndex:
    """The index of a panel. members: [session, instrument_id, …] of any universe; each name counts once a session."""
    column = panel.instrument_ids.index(benchmark_id) if benchmark_id in panel.instrument_ids else None
    is_member = membership(panel, members)
    by_benchmark = np.zeros(len(panel.sessions), dtype=np.bool_)
    if column is not None:
        is_member[:, column] = False
        by_benchmark = valid[:, column]
    return MarketIndex(returns, is_member, column, by_benchmark)


def membership(panel: Panel, members: pl.DataFrame) -> Mask:
    """Sessions x instruments: whether the instrument is a member of any universe on the session."""
    cells = panel.cells(members)
    out = np.zeros(panel.shape, dtype=np.bool_)
    out.ravel()[cells[cells >= 0]] = True
    return out


def excess_returns(bars: pl.DataFrame, actions: pl.DataFrame, members: pl.DataFrame, benchmark_id: str) -> pl.DataFrame:
    """[session, instrument_id, excess_return] of every bar: its simple total return of one session beyond the market's.

    bars: [session, instrument_id, close], as traded, one version a bar; actions: [session, instrument_id, kind, value];
    members: as for `market_index`. The first session of `bars` has no return; null where the instrument did not trade
    on the session before, or the market has no return.
    """
    panel = Panel.of(bars)
    close = panel.from_long(bars, ["close"])["close"]
    valid = np.isfinite(close)
    returns = total_returns(close, split_cumulation(panel, actions), cash_paid(panel, actions))
    index = market_index(panel, valid, returns, members, benchmark_id)
    market = np.where(index.by_benchmark, index.benchmark.daily, index.equal_weight.daily)
    return panel.to_long(valid, {"excess_return": np.expm1(returns.daily) - np.expm1(market)[:, None]})
