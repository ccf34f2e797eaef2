"""Group `universe`: who was a member of what, on every session."""

from __future__ import annotations

import dagster as dg
import polars as pl

from trading_pipeline.assets.common import run_sessions, session_asset, world_of
from trading_pipeline.markets import Market
from trading_pipeline.tables import UNIVERSE_MEMBERS

GROUP = "universe"


def build(market: Market) -> list[dg.AssetsDefinition]:
    """The universe assets of a market."""

    @session_asset(
        market,
        UNIVERSE_MEMBERS,
        group=GROUP,
        kinds={"polars", "deltalake", "postgres"},
        code_version="1",
        description=(
            "Members of every universe on every session, with their sector. Point in time: a company that left the "
            "index, or went bankrupt, is still here on the sessions when it was a member."
        ),
    )
    def universe_members(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return world_of(context).universe_members(market, run_sessions(context))

    return [universe_members]
