"""Jobs: what runs together.

All run in one process: a step of its own process costs more than the work of most steps.
"""

from collections.abc import Callable
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG

from trading_pipeline.assets import backtests, features, live, market_data, premarket, reference, universe
from trading_pipeline.assets import tearsheets as tearsheet_assets
from trading_pipeline.assets.common import WORLD, key_of
from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.tables import ALL_TABLES, RECEIVED_NEWS
from trading_pipeline.world import World

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

MARTS = "marts"
LONGEST_SESSION = 9 * 3600
"""Seconds a live run may take: a session, half an hour before it, and room. Other runs are ended after four hours."""


def end_of_day_name(market: Market) -> str:
    """Name of the market's end-of-day job."""
    return f"{market.name}_end_of_day"


def market_data_name(market: Market) -> str:
    """Name of the job that fills universes and bars."""
    return f"{market.name}_market_data"


def decisions_name(market: Market) -> str:
    """Name of the job that computes everything derived from the bars."""
    return f"{market.name}_decisions"


def premarket_name(market: Market) -> str:
    """Name of the job that prepares the session ahead."""
    return f"{market.name}_premarket"


def minutes_name(market: Market) -> str:
    """Name of the job that receives a session's minutes."""
    return f"{market.name}_minutes"


def live_name(market: Market) -> str:
    """Name of the job that trades a session on paper."""
    return f"{market.name}_live"


def names(market: Market) -> tuple[str, ...]:
    """Names of the jobs of a market that are over soon; the live one goes on all day and is not among them."""
    return tuple(
        name_of(market) for name_of in (end_of_day_name, market_data_name, decisions_name, premarket_name, minutes_name)
    )


def _of(market: Market) -> dg.AssetSelection:
    """What is made of a session after its close."""
    return dg.AssetSelection.key_prefixes([market.name]) - dg.AssetSelection.groups(
        premarket.GROUP, live.GROUP, backtests.GROUP
    )


def session_marts() -> dg.AssetSelection:
    """The marts that are of sessions."""
    return dg.AssetSelection.groups(MARTS) - backtest_marts()


def backtest_marts() -> dg.AssetSelection:
    """The marts that are of backtests, and what they are made of: dbt models with that tag."""
    return dg.AssetSelection.groups(MARTS) & dg.AssetSelection.tag(backtests.GROUP, "")


def premarket_selection(market: Market) -> dg.AssetSelection:
    """What is made of a session before it opens: its members, the news until then, minutes, snapshots and biases."""
    before = dg.AssetSelection.groups(universe.GROUP, premarket.GROUP) | dg.AssetSelection.assets(
        key_of(market, RECEIVED_NEWS.name)
    )
    return dg.AssetSelection.key_prefixes([market.name]) & before


def market_data_selection(market: Market) -> dg.AssetSelection:
    """What the lookbacks of decisions read: universes, bars, reference data, and what is measured of them."""
    return _of(market) & dg.AssetSelection.groups(universe.GROUP, market_data.GROUP, reference.GROUP, features.GROUP)


def decisions_selection(market: Market) -> dg.AssetSelection:
    """Everything that is decided on the market data: environment, scores, dips, pages."""
    return _of(market) - market_data_selection(market)


def live_only(market: Market) -> dg.AssetKey:
    """The asset that most providers can tell of the session under way alone."""
    return key_of(market, reference.LIVE_ONLY)


def tearsheets(market: Market) -> dg.AssetKey:
    """The pages about single names, which are of the day they are made on."""
    return key_of(market, tearsheet_assets.NAME)


def tellable(
    graph: "Callable[[], BaseAssetGraph[Any]]", market: Market, job: str, first: date, last: date, world: World
) -> list[dg.AssetKey] | None:
    """The assets of `job` that can be made of the sessions from `first` to `last`; None where all of them can.

    The fundamentals of a session that is over are left out where the provider tells today's alone.
    """
    receives_fundamentals = job in (end_of_day_name(market), market_data_name(market))
    if world.tells_the_past or first == last == world.live_session(market) or not receives_fundamentals:
        return None
    selection = {
        end_of_day_name(market): _of(market) | session_marts(),
        market_data_name(market): market_data_selection(market),
    }[job]
    return sorted(selection.resolve(graph()) - {live_only(market)})


@cache
def build(market: Market) -> tuple[Any, ...]:
    """The jobs of a market; the same objects each time, for Dagster takes two of one name for two jobs."""
    return (
        dg.define_asset_job(
            end_of_day_name(market),
            selection=_of(market) | session_marts(),
            description="A session from the universe to the briefing: fetch, judge, measure, grade, find the dips.",
        ),
        dg.define_asset_job(
            market_data_name(market),
            selection=market_data_selection(market),
            description="Universes, bars, reference data, indicators: what a first run fills for all lookbacks.",
        ),
        dg.define_asset_job(
            decisions_name(market),
            selection=decisions_selection(market) | session_marts(),
            description="Environment, scores, dips and pages: what a new rule re-runs.",
        ),
        dg.define_asset_job(
            premarket_name(market),
            selection=premarket_selection(market),
            description="The session ahead: its members, the news since the close, minutes, snapshots and biases.",
        ),
        dg.define_asset_job(
            minutes_name(market),
            selection=dg.AssetSelection.assets(*(key_of(market, name) for name in premarket.MINUTES)),
            description="The minutes of a session, while their provider tells them.",
        ),
        dg.define_asset_job(
            live_name(market),
            selection=dg.AssetSelection.key_prefixes([market.name]) & dg.AssetSelection.groups(live.GROUP),
            description="The session under way on paper: signals, orders and the ledger, from the open to the close.",
            tags={MAX_RUNTIME_SECONDS_TAG: str(LONGEST_SESSION)},
        ),
    )


@dg.op(required_resource_keys={WORLD}, description="Merge small files of every lake table and drop unreferenced ones.")
def compact_lake(context: dg.OpExecutionContext) -> None:
    """Compact every lake table of every market."""
    world: World = context.resources.world
    for market in MARKETS.values():
        for table in ALL_TABLES:
            merged = world.lake.compact(market.name, table)
            dropped = world.lake.vacuum(market.name, table)
            context.log.info("%s/%s: %s files merged, %s dropped", market.name, table, merged, dropped)


@dg.job(description="Weekly: merge the small files that daily appends leave in the lake.")
def lake_compaction() -> None:
    """Compact the lake."""
    compact_lake()


__all__ = [
    "backtest_marts",
    "build",
    "decisions_name",
    "decisions_selection",
    "end_of_day_name",
    "lake_compaction",
    "live_name",
    "live_only",
    "market_data_name",
    "market_data_selection",
    "minutes_name",
    "names",
    "premarket_name",
    "premarket_selection",
    "session_marts",
    "tearsheets",
    "tellable",
]
