"""Group `dips`: members down from their 52-week high, why, and what the desk makes of it."""

import dagster as dg
import polars as pl

from trading_pipeline.assets.common import run_sessions, session_asset, world_of
from trading_pipeline.markets import Market
from trading_pipeline.research import dip_desk
from trading_pipeline.research import dips as science
from trading_pipeline.research import fundamentals as fundamentals_science
from trading_pipeline.research.bars.daily import effective, usable
from trading_pipeline.research.dip_desk.causes import REFERENCE_LOOKBACK
from trading_pipeline.research.risk import load_limits
from trading_pipeline.tables import DIP_ANALYSIS, DIP_OPPORTUNITIES

GROUP = "dips"


def build(market: Market) -> list[dg.AssetsDefinition]:
    """The dip assets of a market."""

    @session_asset(
        market,
        DIP_OPPORTUNITIES,
        group=GROUP,
        kinds={"polars", "deltalake", "postgres"},
        code_version=f"2/{dip_desk.load_rules().version}",
        description=(
            "Members at least 5 % (configurable) below their 52-week high: how far, since when, how unusual for this "
            "stock, how much of the fall the market, the sector and the company itself explain, the cause that the "
            "rules find with its evidence, and what the screener says of the name."
        ),
        ins={
            "daily_bars": science.LOOKBACK,
            "corporate_actions": science.LOOKBACK,
            "universe_members": science.LOOKBACK,
            "indicators": fundamentals_science.LOOKBACK,
            "market_regime": 0,
            "fundamentals": 0,
            "screener_scores": 0,
            "news": REFERENCE_LOOKBACK,
            "earnings_calendar": REFERENCE_LOOKBACK,
        },
    )
    def dip_opportunities(
        context: dg.AssetExecutionContext,
        daily_bars: pl.DataFrame,
        corporate_actions: pl.DataFrame,
        universe_members: pl.DataFrame,
        indicators: pl.DataFrame,
        market_regime: pl.DataFrame,
        fundamentals: pl.DataFrame,
        screener_scores: pl.DataFrame,
        news: pl.DataFrame,
        earnings_calendar: pl.DataFrame,
    ) -> pl.DataFrame:
        world, sessions = world_of(context), run_sessions(context)
        bars, actions = usable(daily_bars), effective(corporate_actions)
        benchmark = world.index_of(market).benchmark
        found = science.dip_opportunities(
            bars,
            actions,
            universe_members,
            indicators.filter(pl.col("session") >= sessions[0]),
            market_regime,
            benchmark,
            world.settings.dip_thresholds,
            sessions,
        )
        desk = dip_desk.desk_members(
            universe_members.filter(pl.col("session") >= sessions[0]),
            fundamentals_science.market_caps(fundamentals, indicators),
            world.desk_universe(market),
        )
        return dip_desk.causes(
            found, bars, actions, universe_members, news, earnings_calendar, screener_scores, desk, benchmark, sessions
        )

    @session_asset(
        market,
        DIP_ANALYSIS,
        group=GROUP,
        kinds={"polars", "deltalake", "postgres", "anthropic"},
        code_version=f"1/{dip_desk.load_rules().version}/{load_limits(market.name).version}",
        description=(
            "Each dip on the desk in words: why it fell, whether that is temporary, the play, the risks and the size. "
            "The rules decide what to do; Claude, where a key is set, words it and scales the size within their range."
        ),
        ins={
            "dip_opportunities": 0,
            "screener_scores": 0,
            "indicators": 0,
            "market_regime": 0,
            "news": REFERENCE_LOOKBACK,
            "earnings_calendar": 0,
        },
    )
    def dip_analysis(
        context: dg.AssetExecutionContext,
        dip_opportunities: pl.DataFrame,
        screener_scores: pl.DataFrame,
        indicators: pl.DataFrame,
        market_regime: pl.DataFrame,
        news: pl.DataFrame,
        earnings_calendar: pl.DataFrame,
    ) -> pl.DataFrame:
        world, sessions = world_of(context), run_sessions(context)
        rows = dip_desk.analysis(
            dip_opportunities,
            screener_scores,
            indicators,
            market_regime,
            news,
            earnings_calendar,
            world.settings.portfolio_value,
            None,
            sessions,
            market.currency,
        )
        return world.worded(market, rows)

    return [dip_opportunities, dip_analysis]
