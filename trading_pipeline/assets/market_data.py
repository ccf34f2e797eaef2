"""Group `market_data`: what providers said, the best view of it, and the table people query."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from trading_pipeline.assets.common import (
    OWNERS,
    SESSION_TABLES,
    WORLD,
    definition_metadata,
    key_of,
    report,
    run_sessions,
    world_of,
)
from trading_pipeline.markets import Market
from trading_pipeline.partitions import lookback, session_partitions
from trading_pipeline.research.bars import daily, quality
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import ProviderName
from trading_pipeline.storage.market_data import serve_bars
from trading_pipeline.tables import (
    BAR_ISSUES,
    CORPORATE_ACTIONS,
    DAILY_BARS,
    MARKET_DATA,
    RECEIVED_ACTIONS,
    RECEIVED_BARS,
    Table,
)

GROUP = "market_data"

_SAYS = {
    RECEIVED_BARS: (
        "Every daily bar as each provider said it, with splits undone, every version kept with the two moments that "
        "matter: when the public could have it, and when we received it. Nothing here is ever changed."
    ),
    RECEIVED_ACTIONS: "Every split and dividend as each provider said it, every version kept.",
    DAILY_BARS: (
        "The best view of each bar at the price printed that day, with its quality. A later split never rewrites it: "
        "adjustment happens on reading."
    ),
    CORPORATE_ACTIONS: "Splits, dividends and capital gains by ex-date, each version with the time it was in force.",
    BAR_ISSUES: "What the quality rules found; rejected rows live here alone, with their rule and the numbers.",
}


def provider_pool(provider: ProviderName) -> str:
    """Pool that bounds how many runs talk to a provider at once."""
    return f"provider_{provider}"


def build(market: Market, provider: ProviderName) -> list[dg.AssetsDefinition]:
    """The market-data assets of a market, fed by one provider."""
    partitions = session_partitions(market)
    members = dg.AssetIn(key=key_of(market, "universe_members"))

    def spec(table: Table, deps: list[dg.AssetDep]) -> dg.AssetSpec:
        return dg.AssetSpec(
            key_of(market, table.name),
            deps=[*deps, dg.AssetDep(key_of(market, "universe_members"))],
            group_name=GROUP,
            kinds={"polars", "deltalake", provider},
            owners=OWNERS,
            code_version="1",
            description=_SAYS[table],
            metadata=definition_metadata(table, market),
            partitions_def=partitions,
        )

    @dg.multi_asset(
        name=f"{market.name}_receive",
        specs=[spec(RECEIVED_BARS, []), spec(RECEIVED_ACTIONS, [])],
        ins={"universe_members": members},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={WORLD},
        pool=provider_pool(provider),
    )
    def receive(
        context: dg.AssetExecutionContext, universe_members: pl.DataFrame
    ) -> Iterator[dg.MaterializeResult[None]]:
        world = world_of(context)
        got = world.receive(market, universe_members, run_sessions(context))
        needed = world.settings.coverage_threshold
        if got.coverage < needed:
            raise dg.Failure(
                f"{got.provider} answered for {got.coverage:.0%} of {got.wanted} tickers, less than {needed:.0%} "
                f"(failed: {got.failed}). What was received is kept; run it again, or lower COVERAGE_THRESHOLD.",
                metadata=got.metadata(),
                allow_retries=False,
            )
        for table in (RECEIVED_BARS, RECEIVED_ACTIONS):
            yield dg.MaterializeResult(
                asset_key=key_of(market, table.name), metadata=report(context, market, table.name, got.metadata())
            )

    history = lookback(quality.LOOKBACK)
    received = [
        dg.AssetDep(key_of(market, table.name), partition_mapping=history)
        for table in (RECEIVED_BARS, RECEIVED_ACTIONS)
    ]

    def out(table: Table) -> dg.AssetOut:
        return dg.AssetOut(
            key=key_of(market, table.name),
            io_manager_key=SESSION_TABLES,
            group_name=GROUP,
            kinds={"polars", "deltalake"} | ({"postgres"} if table is BAR_ISSUES else set()),
            owners=OWNERS,
            code_version="1",
            description=_SAYS[table],
            metadata=definition_metadata(table, market),
        )

    @dg.multi_asset(
        name=f"{market.name}_judge",
        outs={table.name: out(table) for table in (DAILY_BARS, CORPORATE_ACTIONS, BAR_ISSUES)},
        ins={"universe_members": members},
        deps=received,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={WORLD},
    )
    def judge(
        context: dg.AssetExecutionContext, universe_members: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        world = world_of(context)
        sessions = run_sessions(context)
        first = calendar(market.exchange).offset(sessions[0], -quality.LOOKBACK)
        view = daily.daily_view(
            world.lake.read(market.name, RECEIVED_BARS.name, first, sessions[-1]),
            world.lake.read(market.name, RECEIVED_ACTIONS.name, first, sessions[-1]),
            expected=universe_members.select("session", "instrument_id", "ticker").unique(),
            sessions=calendar(market.exchange).between(first, sessions[-1]),
            judged_from=sessions[0],
            known_by=world.as_of,
            priority=[provider],
            tickers_on=world.instruments(market).tickers_on,
        )
        return view.bars, view.actions, view.issues

    @dg.asset(
        name="market_data",
        key_prefix=market.name,
        ins={"daily_bars": dg.AssetIn(key=key_of(market, "daily_bars"))},
        deps=[key_of(market, "corporate_actions")],
        group_name=GROUP,
        kinds={"postgres"},
        owners=OWNERS,
        code_version="1",
        description=(
            "The bars in PostgreSQL, to query and join: as traded, with the adjusted close, the quality and the "
            "source. Shown and joined, never computed from. adjusted_close follows every later split and dividend."
        ),
        metadata=definition_metadata(MARKET_DATA, market) | {"dagster/table_name": "public.market_data"},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={WORLD},
    )
    def market_data(context: dg.AssetExecutionContext, daily_bars: pl.DataFrame) -> dg.MaterializeResult[None]:
        written = serve_bars(world_of(context), market, run_sessions(context), daily_bars)
        return dg.MaterializeResult(metadata=report(context, market, "market_data", {"written": str(written)}))

    return [receive, judge, market_data]
