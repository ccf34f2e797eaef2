"""What the assets of every group share: how a session asset is declared, and the world a run works in.

What does not belong here: any asset of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.partitions import before as sessions_before
from trading_pipeline.partitions import lookback, session_partitions, sessions_of
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import MOMENT, Kind, Table
from trading_pipeline.world import World

OWNERS = ["team:desk"]
SESSION_TABLES = "session_tables"
WORLD = "world"


def world_resource(open_world: Callable[[], World]) -> dg.ResourceDefinition:
    """The world of a run: opened when first used, closed at the end, and held under the run's own lock meanwhile.

    The lock goes with the process, so the reaper can tell a run whose worker was killed from one still at work.
    """

    @contextmanager
    def of_run(context: dg.InitResourceContext) -> Iterator[World]:
        world = open_world()
        try:
            if context.run is None:
                yield world
            else:
                with world.held(run_lock(context.run.run_id)):
                    yield world
        finally:
            world.close()

    return dg.ResourceDefinition(of_run, description="The provider, lake, warehouse and clock of this world.")


def run_lock(run_id: str) -> str:
    """Name of the advisory lock a run holds for as long as its process lives."""
    return f"run/{run_id}"


def key_of(market: Market, name: str) -> dg.AssetKey:
    """`market/name`, the key of every asset of a market."""
    return dg.AssetKey([market.name, name])


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns as the UI shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                str(column.dtype),
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in table.columns
        ]
    )


def definition_metadata(table: Table, market: Market) -> dict[str, Any]:
    """Metadata that stands on the definition once instead of on every partition's event."""
    metadata: dict[str, Any] = {
        "dagster/column_schema": column_schema(table),
        "dagster/table_name": table.name if table.kind is Kind.LIVE else f"{market.name}.{table.name}",
        "written_as": {
            Kind.RECEIVED: "append-only: every version kept",
            Kind.SESSION: "the rows of a session are replaced as a whole",
            Kind.DECISION: "every version published is kept, by session and computed_at",
            Kind.LIVE: "rows are added tick by tick, in PostgreSQL alone",
            Kind.RESULT: "the rows of an owner are replaced as a whole",
        }[table.kind],
    }
    if table.kind is Kind.DECISION:
        metadata["latest"] = f"{table.name}_latest"
    return metadata


def session_asset(
    market: Market,
    table: Table,
    *,
    group: str,
    kinds: set[str],
    code_version: str,
    description: str,
    ins: Mapping[str, int] | None = None,
    before: Mapping[str, int] | None = None,
    deps: Sequence[dg.AssetDep] = (),
    pool: str | None = None,
) -> Callable[[Callable[..., pl.DataFrame]], dg.AssetsDefinition]:
    """Declare an asset of one table, partitioned by session, a range of sessions in one run.

    ins: upstream assets of the same market by name, each with the sessions of lookback that are read before the first.
    before: the same, of which the session itself is not read: how many sessions before it are.
    """
    return dg.asset(
        name=table.name,
        key_prefix=market.name,
        ins={
            name: dg.AssetIn(key=key_of(market, name), partition_mapping=lookback(sessions) if sessions else None)
            for name, sessions in (ins or {}).items()
        }
        | {
            name: dg.AssetIn(key=key_of(market, name), partition_mapping=sessions_before(sessions))
            for name, sessions in (before or {}).items()
        },
        deps=list(deps),
        group_name=group,
        kinds=kinds,
        owners=OWNERS,
        code_version=code_version,
        description=description,
        metadata=definition_metadata(table, market),
        partitions_def=session_partitions(market),
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key=SESSION_TABLES,
        required_resource_keys={WORLD},
        pool=pool,
    )


def run_sessions(context: dg.AssetExecutionContext) -> list[date]:
    """The sessions of this run, ascending."""
    return sessions_of(list(context.partition_keys))


def decision_moments(market: Market, sessions: Sequence[date]) -> pl.DataFrame:
    """[session, decided_at]: the moment of each session up to which facts count, its close plus the data lag, UTC."""
    closes = calendar(market.exchange).closes(sessions)
    return pl.DataFrame({"session": pl.Series(list(sessions), dtype=pl.Date), "decided_at": closes}).with_columns(
        (pl.col("decided_at").dt.replace_time_zone("UTC") + market.data_lag).cast(MOMENT)
    )


def world_of(context: dg.AssetExecutionContext) -> World:
    """The world this run works in."""
    return context.resources.world  # type: ignore[no-any-return]


def report(
    context: dg.AssetExecutionContext, market: Market, name: str, metadata: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Metadata for the materialization of one session; for a range it is logged once, as an observation.

    Dagster stamps the metadata of a range on every partition's event: 10 KB times 2,500.
    """
    if len(context.partition_keys) == 1:
        return metadata
    context.log_event(dg.AssetObservation(asset_key=key_of(market, name), metadata=metadata))
    return {}
