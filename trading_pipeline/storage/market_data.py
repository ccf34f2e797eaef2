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

_OF_A_BAR = ["instrument_id", "session", "ticker", "close"]


def serve_bars(world: World, market: Market, sessions: Sequence[date], daily_bars: pl.DataFrame) -> WriteReport:
    """Make the warehouse's rows of `sessions` those of `daily_bars` (in force), adjusted by what is known today.

    Where a split or dividend falls on one of the sessions, the instrument's earlier rows get their new adjusted close;
    nothing else of them is touched.
    """
    first, last = sessions[0], sessions[-1]
    actions = in_force(world.lake.read(market.name, CORPORATE_ACTIONS.name, first), world.as_of)
    bars = pl.concat([daily_bars.select(_OF_A_BAR), _bars(world, market, pl.col("session") > last, first=last)])
    adjusted = _adjusted_close(bars, actions).head(daily_bars.height)
    rows = daily_bars.select(
        "ticker",
        pl.col("session").alias("date"),
        *("open", "high", "low", "close", "volume", adjusted),
        pl.col("provider").alias("source"),
        *("data_quality", "instrument_id"),
    )
    written = world.warehouse.replace(market.name, MARKET_DATA, sessions, rows)
    acting = actions.filter(pl.col("session") <= last)["instrument_id"].unique()
    theirs = pl.col("instrument_id").is_in(acting.implode())
    earlier = _bars(world, market, theirs & (pl.col("session") < first), last=first)
    if earlier.height:
        actions = in_force(world.lake.read(market.name, CORPORATE_ACTIONS.name, predicate=theirs), world.as_of)
        adjusted = _adjusted_close(pl.concat([earlier, bars.filter(theirs)]), actions).head(earlier.height)
        world.warehouse.refresh_adjusted_close(
            market.name, earlier.select("ticker", pl.col("session").alias("date"), adjusted)
        )
    return written


def _bars(
    world: World, market: Market, wanted: pl.Expr, first: date | None = None, last: date | None = None
) -> pl.DataFrame:
    """The bars in force that are wanted, of the sessions from `first` to `last`."""
    columns = [*_OF_A_BAR, "available_at", "superseded_at"]
    rows = world.lake.read(market.name, DAILY_BARS.name, first, last, columns=columns, predicate=wanted)
    return in_force(rows, world.as_of).select(_OF_A_BAR)


def _adjusted_close(bars: pl.DataFrame, actions: pl.DataFrame) -> pl.Series:
    """The total-return adjusted close of each bar, equal to the close at each instrument's last one."""
    return (adjustment_factors(bars, actions)["total_return_factor"] * bars["close"]).alias("adjusted_close")
