"""Group `regime`: the environment of the market, graded, with the reasons."""

import dagster as dg
import polars as pl

from trading_pipeline.assets.common import run_sessions, session_asset, world_of
from trading_pipeline.markets import Market
from trading_pipeline.research import regime as science
from trading_pipeline.research.bars.daily import effective, usable
from trading_pipeline.tables import MARKET_REGIME

GROUP = "regime"


def build(market: Market) -> list[dg.AssetsDefinition]:
    """The regime assets of a market."""

    @session_asset(
        market,
        MARKET_REGIME,
        group=GROUP,
        kinds={"polars", "deltalake", "postgres"},
        code_version="1",
        description=(
            "Bull, Bear or Sideways, and an environment from A (press on) to D (protect), from the index's trend, "
            "breadth, new highs and lows, volatility and distribution days. Says why, in words."
        ),
        ins={
            "daily_bars": science.LOOKBACK,
            "corporate_actions": science.LOOKBACK,
            "universe_members": science.LOOKBACK,
            "indicators": 0,
        },
    )
    def market_regime(
        context: dg.AssetExecutionContext,
        daily_bars: pl.DataFrame,
        corporate_actions: pl.DataFrame,
        universe_members: pl.DataFrame,
        indicators: pl.DataFrame,
    ) -> pl.DataFrame:
        index = world_of(context).index_of(market)
        return science.market_regime(
            usable(daily_bars),
            effective(corporate_actions),
            universe_members,
            indicators,
            index.benchmark,
            index.volatility,
            run_sessions(context),
        )

    return [market_regime]
