"""`market_data`: the bars in PostgreSQL, with an adjusted close that follows every later split and dividend.

What belongs here: bringing rows of the lake's `daily_bars` into the warehouse's `market_data`. What does not: any
number that other assets compute with; those read the lake.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.research.bars.adjustment import adjustment_factors
from trading_pipeline.research.bars.best_view import in_force
from trading_pipeline.storage.versions import WriteReport
from trading_pipeline.tables import CORPORATE_ACTIONS, DAILY_BARS, MARKET_DATA
from trading_pipeline.world import World


def serve_bars(world: World, market: Market, sessions: Sequence[date], daily_bars: pl.DataFrame) -> WriteReport:
    """Make the warehouse's rows of `sessions` those of `daily_bars` (in force), adjusted by what is known today.

    Where a split or dividend falls on one of the sessions, the instrument's earlier rows get their new adjusted close;
    nothing else of them is touched.
    """
    later_bars = in_force(world.lake.read(market.name, DAILY_BARS.name, sessions[0]), world.as_of)
    later_actions = in_force(world.lake.read(market.name, CORPORATE_ACTIONS.name, sessions[0]), world.as_of)
    rows = daily_bars.join(
        _adjusted(later_bars, later_actions), on=["instrument_id", "session"], how="left", maintain_order="left"
    ).select(
        "ticker",
        pl.col("session").alias("date"),
        *("open", "high", "low", "close", "volume", "adjusted_close"),
        pl.col("provider").alias("source"),
        *("data_quality", "instrument_id"),
    )
    written = world.warehouse.replace(market.name, MARKET_DATA, sessions, rows)
    acting = later_actions.filter(pl.col("session") <= sessions[-1])["instrument_id"].unique().to_list()
    if acting:
        theirs = pl.col("instrument_id").is_in(acting)
        bars = in_force(world.lake.read(market.name, DAILY_BARS.name, predicate=theirs), world.as_of)
        actions = in_force(world.lake.read(market.name, CORPORATE_ACTIONS.name, predicate=theirs), world.as_of)
        earlier = (
            bars.join(_adjusted(bars, actions), on=["instrument_id", "session"])
            .filter(pl.col("session") < sessions[0])
            .select("ticker", pl.col("session").alias("date"), "adjusted_close")
        )
        world.warehouse.refresh_adjusted_close(market.name, earlier)
    return written


def _adjusted(bars: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """[instrument_id, session, adjusted_close]: the total-return adjusted close, equal to the close at the last bar."""
    bars = bars.sort("instrument_id", "session")
    factors = adjustment_factors(bars, actions)
    return factors.select(
        "instrument_id", "session", (pl.col("total_return_factor") * bars["close"]).alias("adjusted_close")
    )
