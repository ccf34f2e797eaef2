"""Group `reference`: fundamentals, earnings, news and macro series, as told and as they stood on each session."""

from collections.abc import Callable
from datetime import date

import dagster as dg
import polars as pl

from trading_pipeline.assets.common import (
    OWNERS,
    WORLD,
    decision_moments,
    definition_metadata,
    key_of,
    report,
    run_sessions,
    session_asset,
    world_of,
)
from trading_pipeline.assets.market_data import provider_pool
from trading_pipeline.ingest_reference import ReferenceReport
from trading_pipeline.markets import Market
from trading_pipeline.partitions import lookback, session_partitions
from trading_pipeline.research import earnings as earnings_science
from trading_pipeline.research import fundamentals as fundamentals_science
from trading_pipeline.research import macro as macro_science
from trading_pipeline.research import news as news_science
from trading_pipeline.research.bars.daily import effective, usable
from trading_pipeline.research.market_index import excess_returns
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import ProviderName
from trading_pipeline.tables import (
    EARNINGS_CALENDAR,
    FUNDAMENTALS,
    MACRO_SERIES,
    NEWS,
    RECEIVED_EARNINGS,
    RECEIVED_FUNDAMENTALS,
    RECEIVED_NEWS,
    RECEIVED_STATEMENTS,
    Table,
)
from trading_pipeline.world import World

GROUP = "reference"
LIVE_ONLY = RECEIVED_FUNDAMENTALS.name
"""Most providers tell it of the session under way alone."""
SESSIONS_AHEAD = 80
"""How far ahead the calendar is handed to what counts the sessions until a report: beyond a quarter of them."""

_SAYS = {
    RECEIVED_FUNDAMENTALS: (
        "Valuation, profitability, solvency, growth and analysts' views of each member, as the provider told them on "
        "the session. Most providers tell today's alone: a past session is refused, never filled from today."
    ),
    RECEIVED_STATEMENTS: (
        "Items of income statements, balance sheets and cash flows, with the period's end and the moment the public "
        "could have them: the filing, or a default lag."
    ),
    RECEIVED_EARNINGS: (
        "Report dates three months ahead, estimates and results, as each provider says them; what they disagree on is "
        "kept with its source."
    ),
    RECEIVED_NEWS: "Articles about the members as each provider gave them, with both clocks.",
}


def _moments_around(market: Market, sessions: list[date], lookback: int) -> pl.DataFrame:
    """`decision_moments` from `lookback` sessions before the run's to months after: the calendar is known ahead."""
    exchange = calendar(market.exchange)
    span = exchange.between(exchange.offset(sessions[0], -lookback), exchange.offset(sessions[-1], SESSIONS_AHEAD))
    return decision_moments(market, span)


def build(market: Market, provider: ProviderName) -> list[dg.AssetsDefinition]:
    """The reference assets of a market, fed beside the bars of one provider."""

    def received(
        table: Table, receive: Callable[[World, pl.DataFrame, list[date]], ReferenceReport]
    ) -> dg.AssetsDefinition:
        @dg.asset(
            name=table.name,
            key_prefix=market.name,
            ins={"universe_members": dg.AssetIn(key=key_of(market, "universe_members"))},
            group_name=GROUP,
            kinds={"polars", "deltalake"},
            owners=OWNERS,
            code_version="1",
            description=_SAYS[table],
            metadata=definition_metadata(table, market),
            partitions_def=session_partitions(market),
            backfill_policy=dg.BackfillPolicy.single_run(),
            required_resource_keys={WORLD},
            pool=provider_pool(provider),
        )
        def asset(context: dg.AssetExecutionContext, universe_members: pl.DataFrame) -> dg.MaterializeResult[None]:
            got = receive(world_of(context), universe_members, run_sessions(context))
            return dg.MaterializeResult(metadata=report(context, market, table.name, got.metadata()))

        return asset

    def story(table: Table, sessions: int) -> dg.AssetDep:
        return dg.AssetDep(key_of(market, table.name), partition_mapping=lookback(sessions))

    @session_asset(
        market,
        FUNDAMENTALS,
        group=GROUP,
        kinds={"polars", "deltalake"},
        code_version="1",
        description=(
            "The latest snapshot of each member that was out by each session's close, judged by named rules: what a "
            "rule condemns is left empty, never repaired in silence."
        ),
        ins={"universe_members": 0, "indicators": fundamentals_science.LOOKBACK},
        deps=[story(RECEIVED_FUNDAMENTALS, fundamentals_science.LOOKBACK)],
    )
    def fundamentals(
        context: dg.AssetExecutionContext, universe_members: pl.DataFrame, indicators: pl.DataFrame
    ) -> pl.DataFrame:
        world, sessions = world_of(context), run_sessions(context)
        first = calendar(market.exchange).offset(sessions[0], -fundamentals_science.LOOKBACK)
        return fundamentals_science.fundamentals(
            world.received(market, RECEIVED_FUNDAMENTALS, first, sessions[-1]),
            universe_members,
            indicators,
            sessions,
            decision_moments(market, sessions),
        )

    @session_asset(
        market,
        EARNINGS_CALENDAR,
        group=GROUP,
        kinds={"polars", "deltalake", "postgres"},
        code_version="1",
        description=(
            "Next and last report of each member as known on each session, what the providers disagree on, how often "
            "it beat the estimates and how its price used to react, and its ex-dividend dates."
        ),
        ins={
            "universe_members": earnings_science.LOOKBACK,
            "daily_bars": earnings_science.LOOKBACK,
            "corporate_actions": earnings_science.LOOKBACK,
        },
        deps=[story(RECEIVED_EARNINGS, earnings_science.LOOKBACK)],
    )
    def earnings_calendar(
        context: dg.AssetExecutionContext,
        universe_members: pl.DataFrame,
        daily_bars: pl.DataFrame,
        corporate_actions: pl.DataFrame,
    ) -> pl.DataFrame:
        world, sessions = world_of(context), run_sessions(context)
        bars, actions = usable(daily_bars), effective(corporate_actions)
        benchmark = world.index_of(market).benchmark
        return earnings_science.earnings_calendar(
            world.received(market, RECEIVED_EARNINGS),
            actions,
            universe_members.filter(pl.col("session") >= sessions[0]),
            excess_returns(bars, actions, universe_members, benchmark),
            sessions,
            _moments_around(market, sessions, earnings_science.LOOKBACK),
            [provider.name for provider in world.earnings_providers],
        )

    @session_asset(
        market,
        NEWS,
        group=GROUP,
        kinds={"polars", "deltalake"},
        code_version="1",
        description=(
            "Articles about the members by the session on which they could first be read, near-identical ones once, "
            "each with a sentiment: the provider's, or that of a small lexicon model."
        ),
        ins={"universe_members": 0},
        deps=[story(RECEIVED_NEWS, news_science.LOOKBACK)],
    )
    def news(context: dg.AssetExecutionContext, universe_members: pl.DataFrame) -> pl.DataFrame:
        world, sessions = world_of(context), run_sessions(context)
        first = calendar(market.exchange).offset(sessions[0], -news_science.LOOKBACK)
        return news_science.news(
            world.received(market, RECEIVED_NEWS, first),
            universe_members,
            sessions,
            _moments_around(market, sessions, news_science.LOOKBACK),
        )

    @session_asset(
        market,
        MACRO_SERIES,
        group=GROUP,
        kinds={"polars", "deltalake", "postgres"},
        code_version="1",
        description=(
            "The volatility index, yields and index levels with their changes and where they stand within the year."
        ),
        ins={"daily_bars": macro_science.LOOKBACK},
    )
    def macro_series(context: dg.AssetExecutionContext, daily_bars: pl.DataFrame) -> pl.DataFrame:
        return macro_science.macro_series(
            usable(daily_bars), world_of(context).macro_instruments(market), run_sessions(context)
        )

    return [
        received(RECEIVED_FUNDAMENTALS, lambda world, members, days: world.receive_fundamentals(market, members, days)),
        received(RECEIVED_STATEMENTS, lambda world, members, days: world.receive_statements(market, members, days)),
        received(RECEIVED_EARNINGS, lambda world, members, days: world.receive_earnings(market, members, days)),
        received(RECEIVED_NEWS, lambda world, members, days: world.receive_news(market, members, days)),
        fundamentals,
        earnings_calendar,
        news,
        macro_series,
    ]
