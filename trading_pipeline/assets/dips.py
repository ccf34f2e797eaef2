"""Group `dips`: members down from their 52-week high, and what part of the fall is their own."""

import dagster as dg
import polars as pl

from trading_pipeline.assets.common import run_sessions, session_asset, world_of
from trading_pipeline.markets import Market
from trading_pipeline.research import dips as science
from trading_pipeline.research.bars.daily import effective, usable
from trading_pipeline.tables import DIP_OPPORTUNITIES

GROUP = "dips"


def build(market: Market) -> list[dg.AssetsDefinition]:
    """The dip assets of a market."""

    @session_asset(
        market,
        DIP_OPPORTUNITIES,
        group=GROUP,
        kinds={"polars", "deltalake", "postgres"},
        code_version="1",
        description=(
            "Members at least 5 % (configurable) below their 52-week high: how far, since when, how unusual for this "
            "stock, and how much of the fall the market, the sector and the company itself explain."
        ),
        ins={
            "daily_bars": science.LOOKBACK,
            "corporate_actions": science.LOOKBACK,
            "universe_members": science.LOOKBACK,
            "indicators": 0,
            "market_regime": 0,
        },
    )
    def dip_opportunities(
        context: dg.AssetExecutionContext,
        daily_bars: pl.DataFrame,
        corporate_actions: pl.DataFrame,
        universe_members: pl.DataFrame,
        indicators: pl.DataFrame,
        market_regime: pl.DataFrame,
    ) -> pl.DataFrame:
        world = world_of(context)
        return science.dip_opportunities(
            usable(daily_bars),
            effective(corporate_actions),
            universe_members,
            indicators,
            market_regime,
            world.index_of(market).benchmark,
            world.settings.dip_thresholds,
            run_sessions(context),
        )

    return [dip_opportunities]
