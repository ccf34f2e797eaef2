"""Group `universe`: who was a member of what, on every session."""

import dagster as dg
import polars as pl

from trading_pipeline.assets.common import (
    OWNERS,
    WORLD,
    definition_metadata,
    key_of,
    report,
    run_sessions,
    session_asset,
    world_of,
)
from trading_pipeline.markets import Market
from trading_pipeline.partitions import session_partitions
from trading_pipeline.tables import RECEIVED_WATCHLIST, UNIVERSE_MEMBERS

GROUP = "universe"


def build(market: Market) -> list[dg.AssetsDefinition]:
    """The universe assets of a market."""

    @dg.asset(
        name=RECEIVED_WATCHLIST.name,
        key_prefix=market.name,
        group_name=GROUP,
        kinds={"file", "deltalake"},
        owners=OWNERS,
        code_version="1",
        description=(
            "The tickers you follow, as they stood whenever the file was read: a name counts from the session on which "
            "it was put on the list, never before."
        ),
        metadata=definition_metadata(RECEIVED_WATCHLIST, market),
        partitions_def=session_partitions(market),
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={WORLD},
    )
    def received_watchlist(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        changes = world_of(context).receive_watchlist(market)
        listed = changes.filter(pl.col("listed"))["ticker"].to_list()
        gone = changes.filter(~pl.col("listed"))["ticker"].to_list()
        return dg.MaterializeResult(
            metadata=report(context, market, RECEIVED_WATCHLIST.name, {"put_on": listed, "taken_off": gone})
        )

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
        deps=[dg.AssetDep(key_of(market, RECEIVED_WATCHLIST.name))],
    )
    def universe_members(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return world_of(context).universe_members(market, run_sessions(context))

    return [received_watchlist, universe_members]
