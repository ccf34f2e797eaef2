"""Group `screener`: every member judged by the rules, on what was known that session."""

import dagster as dg
import polars as pl

from trading_pipeline.assets.common import run_sessions, session_asset
from trading_pipeline.markets import Market
from trading_pipeline.research import screener as science
from trading_pipeline.research.bars.daily import usable
from trading_pipeline.tables import SCREENER_SCORES

GROUP = "screener"


def build(market: Market) -> list[dg.AssetsDefinition]:
    """The screener's assets of a market."""
    rules = science.load_rules()

    @session_asset(
        market,
        SCREENER_SCORES,
        group=GROUP,
        kinds={"polars", "deltalake", "postgres"},
        code_version=rules.fingerprint,
        description=(
            "Gates, component scores, total, grade and verdict of every member, with the flags, the peers, a two-stage "
            "DCF and what would change the verdict. What is not known lowers the confidence; it never counts as zero."
        ),
        ins={
            "universe_members": science.LOOKBACK,
            "indicators": 0,
            "market_regime": 0,
            "fundamentals": 0,
            "earnings_calendar": 0,
            "news": science.LOOKBACK,
            "daily_bars": science.LOOKBACK,
        },
    )
    def screener_scores(
        context: dg.AssetExecutionContext,
        universe_members: pl.DataFrame,
        indicators: pl.DataFrame,
        market_regime: pl.DataFrame,
        fundamentals: pl.DataFrame,
        earnings_calendar: pl.DataFrame,
        news: pl.DataFrame,
        daily_bars: pl.DataFrame,
    ) -> pl.DataFrame:
        sessions = run_sessions(context)
        return science.screener_scores(
            universe_members,
            indicators,
            market_regime,
            fundamentals,
            earnings_calendar,
            news,
            rules,
            sessions,
            liquidity=science.dollar_volume(usable(daily_bars), sessions),
        )

    return [screener_scores]
