"""Group `live`: the session under way, traded on paper by one run from before the open to the close."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from trading_pipeline.assets.common import (
    OWNERS,
    WORLD,
    definition_metadata,
    key_of,
    run_sessions,
    world_of,
)
from trading_pipeline.errors import LiveOnly
from trading_pipeline.markets import Market
from trading_pipeline.partitions import before, session_partitions
from trading_pipeline.tables import DAILY_BIAS, MARKET_REGIME, PREMARKET_SNAPSHOTS, Table
from trading_pipeline.tables.live import (
    ACCOUNTS,
    FILLS,
    LIVE_SESSIONS,
    MARKET_ANALYSIS,
    ORDERS,
    POSITIONS,
    TRADE_SIGNALS,
    TRADES,
)

if TYPE_CHECKING:
    from trading_pipeline.live.loop import Beat

GROUP = "live"
HEARTBEAT = LIVE_SESSIONS.name
"""The asset that the signs of life of a running session are observations of."""
TABLES = (LIVE_SESSIONS, TRADE_SIGNALS, MARKET_ANALYSIS, ORDERS, FILLS, POSITIONS, TRADES, ACCOUNTS)

_SAYS: dict[Table, str] = {
    LIVE_SESSIONS: "Each day the live loop ran, from when to when and why it ended; its heartbeats are observations.",
    TRADE_SIGNALS: "Each signal of the session, what became of it and why; the rules decide, a model may only veto.",
    MARKET_ANALYSIS: "The market every 15 minutes, as multipliers of the setups between 0.5 and 2, with the reason.",
    ORDERS: "Each paper order as it was decided, entries with their protective stop and their target.",
    FILLS: "Each execution on paper: what was bought or sold, when, at what price and fee. Append-only.",
    POSITIONS: "What is held at the end of the session, derived from the fills and valued at the last price.",
    TRADES: "Each round trip from flat to flat, with its profit after fees and its multiple of the money at risk.",
    ACCOUNTS: "Cash and equity at the end of the session, derived from the fills and reconciled to the cent.",
}


def build(market: Market) -> list[dg.AssetsDefinition]:
    """The live assets of a market: one step makes them all."""
    partitions = session_partitions(market)

    def spec(table: Table) -> dg.AssetSpec:
        return dg.AssetSpec(
            key_of(market, table.name),
            deps=[
                dg.AssetDep(key_of(market, PREMARKET_SNAPSHOTS.name)),
                dg.AssetDep(key_of(market, DAILY_BIAS.name)),
                dg.AssetDep(key_of(market, MARKET_REGIME.name), partition_mapping=before(1)),
            ],
            group_name=GROUP,
            kinds={"polars", "postgres"},
            owners=OWNERS,
            code_version="1",
            description=_SAYS[table],
            metadata=definition_metadata(table, market),
            partitions_def=partitions,
        )

    @dg.multi_asset(
        name=f"{market.name}_live_session",
        specs=[spec(table) for table in TABLES],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={WORLD},
        pool=f"live_{market.name}",
    )
    def live_session(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        from trading_pipeline.trading import trade

        world, sessions = world_of(context), run_sessions(context)
        if len(sessions) > 1:
            raise LiveOnly(
                f"Sessions are traded one by one, not {sessions[0]} to {sessions[-1]}",
                f"make replay SESSION={sessions[0]} goes through a recorded one",
            )

        def beat(sign: "Beat") -> None:
            context.log_event(
                dg.AssetObservation(
                    key_of(market, HEARTBEAT),
                    partition=sessions[0].isoformat(),
                    metadata={
                        "tick": f"{sign.tick} of {sign.ticks}",
                        "tick_at": sign.tick_at.isoformat(),
                        "symbols": sign.symbols,
                        "fresh": sign.fresh,
                        "entries": "allowed" if sign.entries_allowed else f"not allowed: {sign.why_not}",
                        "signals": sign.signals,
                        "orders": sign.orders,
                        "fills": sign.fills,
                        "equity": round(sign.equity, 2),
                        "compute_ms": round(sign.compute_ms, 1),
                    },
                )
            )
            world.progress(f"{market.name}/live_session", sign.tick, sign.ticks)

        result = trade(world, market, sessions[0], run_id=context.run.run_id, heartbeat=beat)
        rows = {
            LIVE_SESSIONS: 1,
            TRADE_SIGNALS: result.signals.height,
            MARKET_ANALYSIS: result.market_analysis.height,
            ORDERS: result.orders.height,
            FILLS: result.fills.height,
            POSITIONS: result.positions.height,
            TRADES: result.trades.height,
            ACCOUNTS: result.accounts.height,
        }
        said: dict[str, Any] = {
            "ended": result.row.ended_why or "",
            "ticks": result.ticks,
            "remarks": list(result.remarks),
        }
        for table in TABLES:
            yield dg.MaterializeResult(
                asset_key=key_of(market, table.name),
                metadata={"dagster/partition_row_count": rows[table], **(said if table is LIVE_SESSIONS else {})},
            )

    return [live_session]
