"""The market panel: what a strategy may look at, and what a backtest trades, as arrays of sessions x instruments.

What belongs here: making it from long frames, and cutting it. What does not: what anybody decides by it
(`strategies/`, `allocation/`), and what became of it (`backtest/`).

Prices are *total-return* prices on a forward basis: an instrument's first bar stands as traded, and every later split
and dividend multiplies what follows (a dividend is reinvested at the close of its ex-date). So returns are those of a
holder, and a session that is added never changes a number of the sessions before it, as it would where history is
rescaled to the latest price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from trading_pipeline.research.panel import (
    Floats,
    Integers,
    Mask,
    Panel,
    cash_paid,
    split_cumulation,
    total_returns,
)

PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class MarketPanel:
    """Sessions x instruments; row 0 is the oldest session. NaN means no bar.

    axes: sessions and instrument ids. open, high, low, close: total-return prices, forward basis. volume: shares in
    the same basis, so that close x volume is the money traded. member: whether it belonged to the universe then.
    benchmark: total-return closes of the benchmark, one a session. measures: further arrays of the panel's shape by
    name, each known at the session's close (`verdict`, `sentiment`, `articles`, …). last_bars: row of an instrument's
    last bar where it is known by the panel's end to have been delisted after it, -1 where it is not.
    """

    axes: Panel
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    member: Mask
    benchmark: Floats
    last_bars: Integers
    measures: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Sessions, instruments."""
        return self.axes.shape

    @property
    def traded(self) -> Mask:
        """Where there is a bar."""
        return np.isfinite(self.close)

    def until(self, rows: int) -> MarketPanel:
        """The first `rows` sessions, as they looked then: nobody was known to be delisted later."""
        return self.between(0, rows)

    def between(self, start: int, stop: int) -> MarketPanel:
        """The sessions from row `start` to before row `stop`; prices keep their basis."""
        cut = slice(start, stop)
        rows = len(self.axes.sessions[cut])
        last = np.where((self.last_bars >= start) & (self.last_bars < start + rows - 1), self.last_bars - start, -1)
        return replace(
            self,
            axes=Panel(self.axes.sessions[cut], self.axes.instrument_ids),
            **{name: getattr(self, name)[cut] for name in (*PRICES, "volume", "member", "benchmark")},
            last_bars=last,
            measures={name: values[cut] for name, values in self.measures.items()},
        )


def market_panel(
    bars: pl.DataFrame,
    actions: pl.DataFrame,
    members: pl.DataFrame,
    benchmark_id: str,
    measures: Mapping[str, pl.DataFrame] | None = None,
    delisted: pl.DataFrame | None = None,
) -> MarketPanel:
    """The panel of everybody who was a member on any session of the bars.

    bars: [session, instrument_id, open, high, low, close, volume] as traded, one version of each bar, the benchmark's
        among them. actions: [session (the ex-date), instrument_id, kind, value]. members: [session, instrument_id].
    measures: by name, [session, instrument_id, value]. delisted: [instrument_id, session], the last session it traded.

    Raises `ValueError` where a bar is there twice or the benchmark has none.
    """
    sessions = bars["session"].unique().sort().to_numpy().astype("datetime64[D]")
    ids = members["instrument_id"].unique().sort().to_list()
    traded = bars.filter(pl.col("instrument_id").is_in([*ids, benchmark_id]))
    axes = Panel(sessions, ids)
    benchmark = Panel(sessions, [benchmark_id])
    own = traded.filter(pl.col("instrument_id") == benchmark_id)
    if own.is_empty():
        raise ValueError(f"the benchmark {benchmark_id} has no bar on the sessions asked for")
    told = axes.from_long(traded.filter(pl.col("instrument_id").is_in(ids)), (*PRICES, "volume"))
    basis = _basis(axes, told["close"], actions)
    of_benchmark = benchmark.from_long(own, ["close"])["close"]
    member = np.zeros(axes.shape[0] * axes.shape[1], dtype=np.bool_)
    cells = axes.cells(members)
    member[cells[cells >= 0]] = True
    further = {name: axes.from_long(frame, ["value"])["value"] for name, frame in (measures or {}).items()}
    return MarketPanel(
        axes,
        **{name: told[name] * basis for name in PRICES},
        volume=told["volume"] / basis,
        member=member.reshape(axes.shape),
        benchmark=(of_benchmark * _basis(benchmark, of_benchmark, actions))[:, 0],
        last_bars=_last_bars(axes, told["close"], delisted),
        measures=further,
    )


def _basis(axes: Panel, close: Floats, actions: pl.DataFrame) -> Floats:
    """What an as-traded price is multiplied by: 1 on its first bar, then what reinvesting has made of it."""
    level = total_returns(close, split_cumulation(axes, actions), cash_paid(axes, actions)).level
    first = np.argmax(np.isfinite(close), axis=0)
    start = np.take_along_axis(close, first[None, :], axis=0) if len(close) else close
    return np.asarray(np.exp(level) * start / close)


def _last_bars(axes: Panel, close: Floats, delisted: pl.DataFrame | None) -> Integers:
    """Row of the last bar of who is delisted by the panel's end, -1 for all others."""
    last = np.full(axes.shape[1], -1, dtype=np.int64)
    if delisted is None or delisted.is_empty():
        return last
    gone = dict(delisted.select("instrument_id", pl.col("session").cast(pl.Date)).iter_rows())
    final = len(axes.sessions) - 1 - np.argmax(np.isfinite(close)[::-1], axis=0)
    for column, name in enumerate(axes.instrument_ids):
        if name in gone and final[column] < len(axes.sessions) - 1 and np.isfinite(close[:, column]).any():
            last[column] = final[column]
    return last
