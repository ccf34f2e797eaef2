"""Group `backtests`: strategies on all sessions there are, one partition a configuration.

Configurations are files; a sensor registers each as a partition. A partition is computed whole every time: what the
sessions before came to must come out the same, or the result says from which session on it was revised.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from trading_pipeline.assets.common import OWNERS, WORLD, definition_metadata, key_of, world_of
from trading_pipeline.backtesting import CODE_VERSION
from trading_pipeline.markets import Market
from trading_pipeline.tables import (
    BACKTESTS,
    CORPORATE_ACTIONS,
    DAILY_BARS,
    INDICATORS,
    MONTE_CARLO,
    NEWS,
    PARAMETER_SWEEPS,
    SCREENER_SCORES,
    STRATEGY_COMPARISON,
    UNIVERSE_MEMBERS,
    WALK_FORWARD,
    Table,
)

GROUP = "backtests"
REPORTS = "backtest_reports"
PANEL = (UNIVERSE_MEMBERS, DAILY_BARS, CORPORATE_ACTIONS)
MEASURES = (INDICATORS, SCREENER_SCORES, NEWS)
SHOWN = ("sharpe", "cagr", "maximum_drawdown", "deflated_sharpe", "trades", "coverage")


def configurations(market: Market) -> dg.DynamicPartitionsDefinition:
    """One partition a configuration of the market, by its name."""
    return dg.DynamicPartitionsDefinition(name=f"{market.name}_backtest_configurations")


def sweep_parts(market: Market) -> dg.DynamicPartitionsDefinition:
    """One partition a part of a sweep, `configuration/number-of-parts`: on a cluster they spread over its machines."""
    return dg.DynamicPartitionsDefinition(name=f"{market.name}_sweep_parts")


def once_computed() -> dg.AutomationCondition[Any]:
    """When what is made of all results is due: one of them is new, and none is being computed.

    A new one is remembered until then: the last run of a night may fail and bring nothing new.
    """
    return (
        dg.AutomationCondition.any_deps_updated().since_last_handled()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    )


def build(market: Market) -> list[dg.AssetsDefinition]:
    """The backtest assets of a market."""
    everything = dg.AllPartitionMapping()
    own = configurations(market)
    of_result = dg.AssetDep(key_of(market, BACKTESTS.name))

    def upstream(*tables: Table) -> list[dg.AssetDep]:
        return [dg.AssetDep(key_of(market, table.name), partition_mapping=everything) for table in tables]

    def result(
        table: Table,
        *,
        deps: list[dg.AssetDep],
        kinds: set[str],
        description: str,
        partitions: dg.PartitionsDefinition[str] | None = None,
        when: dg.AutomationCondition[Any] | None = None,
    ) -> Callable[[Callable[..., dg.MaterializeResult[None]]], dg.AssetsDefinition]:
        return dg.asset(
            name=table.name,
            key_prefix=market.name,
            deps=deps,
            group_name=GROUP,
            owners=OWNERS,
            kinds=kinds,
            code_version=CODE_VERSION,
            description=description,
            metadata=definition_metadata(table, market),
            partitions_def=partitions,
            automation_condition=when,
            required_resource_keys={WORLD},
        )

    @result(
        BACKTESTS,
        deps=upstream(*PANEL, *MEASURES),
        partitions=own,
        kinds={"polars", "numba", "postgres", "deltalake"},
        description=(
            "What a strategy would have come to: signals at the close, fills at the next open, fees, slippage, borrow "
            "and delistings paid, the universe as it was; vectorbt keeps the accounts. Every metric, every trade."
        ),
    )
    def backtests(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from trading_pipeline.backtesting.configurations import configuration_named
        from trading_pipeline.backtesting.results import publish_backtest

        world = world_of(context)
        published = publish_backtest(world, configuration_named(world.settings, context.partition_key))
        told = published.metrics
        return dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": published.equity.height,
                "round_trips": published.trades,
                "last_session": str(told["session"]),
                "configuration_hash": told["configuration_hash"],
                "watermark": told.get("watermark") or "none",
                "revised_from": str(told.get("revised_from") or "nothing"),
                **{name: told[name] for name in SHOWN if name in told},
            }
        )

    @result(
        WALK_FORWARD,
        deps=[*upstream(*PANEL, *MEASURES), of_result],
        partitions=own,
        kinds={"polars", "numba", "postgres"},
        description=(
            "Parameters chosen on one stretch of sessions and judged on the next, again and again: what somebody would "
            "have had who chose as they were told, without knowing how it went on."
        ),
    )
    def walk_forward(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from trading_pipeline.backtesting.configurations import configuration_named
        from trading_pipeline.backtesting.results import publish_walk_forward

        world = world_of(context)
        windows, why = publish_walk_forward(world, configuration_named(world.settings, context.partition_key))
        return dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": windows.height,
                "profitable_windows": windows.filter(windows["test_return"] > 0).height,
                "why_none": why or "there are",
            }
        )

    @result(
        MONTE_CARLO,
        deps=[of_result],
        partitions=own,
        kinds={"polars", "postgres"},
        description="What else it might have come to: returns drawn anew in blocks, trades in another order; bands.",
    )
    def monte_carlo(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from trading_pipeline.backtesting.configurations import configuration_named
        from trading_pipeline.backtesting.results import publish_monte_carlo

        world = world_of(context)
        rows = publish_monte_carlo(world, configuration_named(world.settings, context.partition_key))
        chances = dict(rows.filter(rows["method"] == "blocks").select("measure", "mean").iter_rows())
        return dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": rows.height,
                "paths": rows["paths"][0],
                "probability_of_loss": chances["loss"],
            }
        )

    @result(
        PARAMETER_SWEEPS,
        deps=upstream(*PANEL),
        partitions=sweep_parts(market),
        kinds={"numba", "polars", "postgres", "deltalake"},
        description=(
            "Every set of parameters on every instrument, in fused compiled passes over the prices, and which sets are "
            "stable: good with all their neighbours, not only by themselves."
        ),
    )
    def parameter_sweeps(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from trading_pipeline.backtesting.configurations import configuration_named
        from trading_pipeline.backtesting.sweeps import part_named, publish_part

        world = world_of(context)
        name, number, of = part_named(context.partition_key)
        pairs = publish_part(world, configuration_named(world.settings, name), number, of)
        return dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": pairs.height,
                "sets": pairs["parameters"].n_unique(),
                "instruments": pairs["instrument_id"].n_unique(),
            }
        )

    @result(
        STRATEGY_COMPARISON,
        deps=upstream(BACKTESTS),
        kinds={"polars", "postgres"},
        description="Every two configurations side by side: how their returns go together, and whether one is better.",
        when=once_computed(),
    )
    def strategy_comparison(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from trading_pipeline.backtesting.configurations import found
        from trading_pipeline.backtesting.results import publish_comparison

        world = world_of(context)
        names = list(found(world.settings).of(market))
        rows = publish_comparison(world, market, names)
        return dg.MaterializeResult(metadata={"dagster/row_count": rows.height, "configurations": len(names)})

    @dg.asset(
        name=REPORTS,
        key_prefix=market.name,
        deps=[
            *(dg.AssetDep(key_of(market, table.name)) for table in (BACKTESTS, WALK_FORWARD, MONTE_CARLO)),
            *upstream(PARAMETER_SWEEPS),
        ],
        group_name=GROUP,
        owners=OWNERS,
        kinds={"html"},
        code_version="1",
        description=(
            "A configuration's result on one page: what it came to and how far to believe it, equity and drawdown "
            "beside the benchmark, months, trades, parameter map, walk-forward, what else might have come, costs, the "
            "configuration in full. Opens without a network, on a phone too."
        ),
        partitions_def=own,
        required_resource_keys={WORLD},
    )
    def backtest_reports(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from trading_pipeline.backtesting.configurations import configuration_named
        from trading_pipeline.reports.backtests import backtest_page, gather, place_of
        from trading_pipeline.storage import files

        world = world_of(context)
        name = context.partition_key
        page = backtest_page(gather(world, market, configuration_named(world.settings, name)))
        address = files.put_text(world.settings, place_of(market, name), page)
        return dg.MaterializeResult(metadata={"page": dg.MetadataValue.url(address), "bytes": len(page.encode())})

    return [backtests, walk_forward, monte_carlo, parameter_sweeps, strategy_comparison, backtest_reports]
