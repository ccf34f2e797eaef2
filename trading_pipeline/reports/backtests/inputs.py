"""The frames that the page of a configuration is made of, and what every part of it asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.reports.inputs import refuse_incomplete
from trading_pipeline.tables.backtests import (
    BACKTEST_EQUITY,
    BACKTEST_TRADES,
    BACKTESTS,
    MONTE_CARLO,
    MONTE_CARLO_BANDS,
    PARAMETER_SWEEPS,
    WALK_FORWARD,
    WALK_FORWARD_EQUITY,
)

if TYPE_CHECKING:
    from trading_pipeline.research.backtest import Configuration
    from trading_pipeline.research.panel import Floats
    from trading_pipeline.research.performance.metrics import Metrics

OPEN = "end"
"""Reason of a trade that is still open at the end."""


@dataclass(frozen=True)
class BacktestInputs:
    """Everything the page of a configuration tells.

    configuration: as its file says now. row: its latest row of BACKTESTS. equity to parameter_sweeps: its rows of these
    tables, in any order; empty where nothing was computed. benchmark: ticker of the index it is compared with.
    generated_at: zone-aware.
    """

    market: Market
    world: Literal["simulated", "real"]
    configuration: Configuration
    row: Mapping[str, Any]
    equity: pl.DataFrame
    trades: pl.DataFrame
    walk_forward: pl.DataFrame
    walk_forward_equity: pl.DataFrame
    monte_carlo: pl.DataFrame
    monte_carlo_bands: pl.DataFrame
    parameter_sweeps: pl.DataFrame
    benchmark: str
    generated_at: datetime

    def __post_init__(self) -> None:
        frames = (
            ("equity", self.equity, BACKTEST_EQUITY.names),
            ("trades", self.trades, BACKTEST_TRADES.names),
            ("walk_forward", self.walk_forward, WALK_FORWARD.names),
            ("walk_forward_equity", self.walk_forward_equity, WALK_FORWARD_EQUITY.names),
            ("monte_carlo", self.monte_carlo, MONTE_CARLO.names),
            ("monte_carlo_bands", self.monte_carlo_bands, MONTE_CARLO_BANDS.names),
            ("parameter_sweeps", self.parameter_sweeps, PARAMETER_SWEEPS.names),
        )
        refuse_incomplete("backtest's page", frames, {"generated_at": self.generated_at})
        if missing := [name for name in BACKTESTS.names if name not in self.row]:
            raise ValueError(f"the backtest's row lacks {', '.join(missing)}")
        if self.equity.height < 2:
            raise ValueError(f"the backtest's equity frame holds {self.equity.height} sessions; pass 2 or more")

    @property
    def simulated(self) -> bool:
        """Whether every ticker on the page is fictional."""
        return self.world == "simulated"

    @property
    def changed_since(self) -> bool:
        """Whether the file says something else now than what the result was computed from."""
        return bool(self.row["configuration_hash"] != self.configuration.hash)

    @cached_property
    def days(self) -> pl.DataFrame:
        """BACKTEST_EQUITY by session, with `level`: the benchmark as money, the capital where it first has a bar."""
        days = self.equity.sort("session")
        first = pl.col("benchmark").drop_nulls().first()
        return days.with_columns(level=pl.col("benchmark") / first * days["equity"][0])

    @property
    def returns(self) -> Floats:
        """Of each session but the first."""
        return self.days["return"].to_numpy()[1:]

    @property
    def sessions(self) -> npt.NDArray[np.datetime64]:
        """Of `returns`."""
        return self.days["session"].to_numpy()[1:].astype("datetime64[D]")

    @cached_property
    def benchmark_days(self) -> pl.DataFrame:
        """[session, benchmark] from the first to the last session that the benchmark has a bar of, without holes."""
        return self.days.select("session", "benchmark").drop_nulls()

    @cached_property
    def held(self) -> Metrics | None:
        """Metrics of the benchmark held over the sessions, None where it has too few bars."""
        from trading_pipeline.research.performance.metrics import metrics

        level = self.benchmark_days["benchmark"].to_numpy()
        return metrics(level[1:] / level[:-1] - 1) if len(level) > 2 else None

    @cached_property
    def closed(self) -> pl.DataFrame:
        """The trades that were over, with `held`: the sessions they lasted; as they ended."""
        number = self.days.select("session").with_row_index("place")
        entered = number.rename({"session": "entered_at", "place": "entered"})
        exited = number.rename({"session": "exited_at", "place": "exited"})
        trades = self.trades.filter(pl.col("reason") != OPEN).sort("number")
        return trades.join(entered, on="entered_at", how="left").join(exited, on="exited_at", how="left").with_columns(
            held=pl.col("exited").cast(pl.Int64) - pl.col("entered").cast(pl.Int64)
        ).sort("number")  # fmt: skip

    @cached_property
    def open(self) -> pl.DataFrame:
        """The trades still open at the end, the largest profit first."""
        return self.trades.filter(pl.col("reason") == OPEN).sort(
            pl.col("profit").round(9), "number", descending=[True, False]
        )
