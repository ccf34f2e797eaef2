"""Between assets and tables: loads the sessions an asset reads, checks and writes the sessions it made.

What belongs here: the passage of frames in and out of assets. What does not: how a table is written (`lake.py`,
`warehouse.py`), and the received tables, which the ingest writes itself because a fetch may append earlier sessions.
"""

from __future__ import annotations

import time
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from trading_pipeline.errors import SchemaMismatch
from trading_pipeline.markets import Market, market_named
from trading_pipeline.partitions import sessions_of
from trading_pipeline.research.bars.best_view import in_force
from trading_pipeline.research.ordering import sorted_by
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import ALL_TABLES, Kind, Table
from trading_pipeline.world import World

SERVED = frozenset(
    {
        *("bar_issues", "universe_members"),
        *("fundamentals", "earnings_calendar", "news", "macro_series"),
        *("market_regime", "screener_scores", "dip_opportunities", "dip_analysis"),
        *("daily_bias", "premarket_snapshots"),
    }
)
PREVIEW_ROWS = 5


class SessionTableIOManager(dg.IOManager):
    """Reads and writes session tables of the lake, and serves those of `SERVED` from the warehouse as well.

    The lake commits first: the warehouse can be rebuilt from it.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame) -> None:
        """Write exactly the run's sessions; refuse a frame that does not fit its table or holds other sessions."""
        market, table = market_named(context.asset_key.path[0]), ALL_TABLES[context.asset_key.path[-1]]
        sessions = sessions_of(list(context.asset_partition_keys))
        started = time.perf_counter()
        frame = table.conform(obj)
        stray = frame.filter(~pl.col(table.session_column).is_between(sessions[0], sessions[-1]))
        if stray.height:
            raise SchemaMismatch(
                f"A frame for {table.name} holds {stray.height} rows of other sessions, such as "
                f"{stray[table.session_column][0]}; the run is for {sessions[0]} to {sessions[-1]}",
                "Return rows of the run's own sessions only",
            )
        lake, warehouse = self.world.lake, self.world.warehouse
        written: object
        # One lock over both stores, or a slower run could serve what a faster one has already replaced.
        with lake.lock(market.name, table.name):
            if table.kind is Kind.DECISION:
                written = lake.publish(market.name, table.name, sessions, frame, self.world.now())
                # The lake's versions as they are: a crash between the two commits is mended by the next run.
                frame = lake.read_sessions(market.name, table.name, sessions)
            else:
                written = lake.replace(market.name, table.name, sessions, frame)
            if table.name in SERVED:
                warehouse.replace(market.name, table.name, sessions, frame)
        metadata: dict[str, Any] = {
            "dagster/row_count" if len(sessions) > 1 else "dagster/partition_row_count": obj.height,
            "sessions": len(sessions),
            "written": str(written),
            "seconds": round(time.perf_counter() - started, 3),
            "preview": dg.MetadataValue.md(_preview(obj)),
        }
        self.world.progress(f"{market.name}/{table.name}", obj.height, obj.height)
        if len(sessions) == 1:
            context.add_output_metadata(metadata)
        else:
            context.log_event(dg.AssetObservation(asset_key=context.asset_key, metadata=metadata))

    def load_input(self, context: dg.InputContext) -> pl.DataFrame:
        """The rows of the sessions this input covers, in force at the run's as-of moment.

        Tables with versions give the version in force; decision tables give the latest that was not withdrawn.
        """
        market, table = market_named(context.asset_key.path[0]), ALL_TABLES[context.asset_key.path[-1]]
        span = context.asset_partition_key_range
        first, last = sessions_of([span.start, span.end])
        return read_in_force(self.world, market, table, first, last)


def read_in_force(world: World, market: Market, table: Table, first: date, last: date) -> pl.DataFrame:
    """Rows of `table` from session `first` to `last`, in force at the world's as-of moment, sorted by key."""
    if table.kind is Kind.DECISION:
        return world.lake.latest(market.name, table.name, calendar(market.exchange).between(first, last))
    frame = world.lake.read(market.name, table.name, first, last)
    if "superseded_at" in frame.columns:
        frame = in_force(frame, world.as_of)
    return sorted_by(frame, table.key_columns)


@dg.io_manager(
    required_resource_keys={"world"}, description="Session tables in the lake, the decisions also in the warehouse."
)
def session_table_io_manager(context: dg.InitResourceContext) -> SessionTableIOManager:
    """The IO manager of every session asset."""
    return SessionTableIOManager(context.resources.world)


def _preview(frame: pl.DataFrame) -> str:
    with pl.Config(
        tbl_formatting="MARKDOWN", tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, tbl_cols=12
    ):
        return str(frame.head(PREVIEW_ROWS))
