"""Group `features`: what is measured of every instrument on every session."""

import dagster as dg
import polars as pl

from trading_pipeline.assets.common import run_sessions, session_asset, world_of
from trading_pipeline.markets import Market
from trading_pipeline.research import indicators as science
from trading_pipeline.research.bars.daily import effective, usable
from trading_pipeline.tables import INDICATORS

GROUP = "features"


def build(market: Market) -> list[dg.AssetsDefinition]:
    """The feature assets of a market."""

    @session_asset(
        market,
        INDICATORS,
        group=GROUP,
        kinds={"polars", "deltalake"},
        code_version="1",
        description=(
            "Returns, moving averages, ATR, RSI, MACD, ADX, volatility, 52-week high and low, volume ratio and "
            "relative strength of every instrument, in the prices of the session itself: a later split changes nothing."
        ),
        ins={
            "daily_bars": science.LOOKBACK,
            "corporate_actions": science.LOOKBACK,
            "universe_members": science.LOOKBACK,
        },
    )
    def indicators(
        context: dg.AssetExecutionContext,
        daily_bars: pl.DataFrame,
        corporate_actions: pl.DataFrame,
        universe_members: pl.DataFrame,
    ) -> pl.DataFrame:
        return science.indicators(
            usable(daily_bars),
            effective(corporate_actions),
            universe_members,
            world_of(context).index_of(market).benchmark,
            run_sessions(context),
        )

    return [indicators]
