"""What Dagster costs: the graph of session assets run by it for a range, less the same work as plain calls.

Each side is a fresh process in a world of its own, on the simulated market, Dagster's storage on the embedded
PostgreSQL as `make run` sets it up. Both must leave the same rows, or the difference would not be orchestration alone.

Run as a module it is one side.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from benchmarks import plain
from benchmarks.report import Row, Target, seconds
from benchmarks.workbench import in_fresh_process, own_settings, stop
from trading_pipeline.clock import fixed_clock
from trading_pipeline.markets import US
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import Settings
from trading_pipeline.tables import ALL_TABLES, Kind
from trading_pipeline.world import World

LAST = date(2024, 3, 15)
SESSIONS = 250
TICKERS = 120


def world_at_the_end(settings: Settings) -> World:
    """The world of `settings` an hour and a half after the last session's bars are final."""
    return World(settings, fixed_clock(calendar(US.exchange).close_at(LAST) + 2 * US.data_lag))


def orchestrated(settings: Settings, sessions: Sequence[date]) -> float:
    """Seconds of the two jobs that publish a range, from building the definitions to the end of the runs."""
    from trading_pipeline.assets.common import key_of
    from trading_pipeline.assets.marts import prepared_manifest
    from trading_pipeline.automation.jobs import decisions_name, market_data_name
    from trading_pipeline.automation.sensors import range_tags
    from trading_pipeline.definitions import build_definitions
    from trading_pipeline.launch import QUIET, opened_instance, prepare_home

    world = world_at_the_end(settings)
    _ = world.warehouse
    prepare_home(settings, world)
    prepared_manifest()  # dbt's, made once for a version of the project
    keys = {key_of(US, name) for name in plain.ASSETS}
    with opened_instance() as instance:
        start = time.perf_counter()
        definitions = build_definitions(settings, open_world=lambda: world_at_the_end(settings))
        for name in (market_data_name(US), decisions_name(US)):
            job = definitions.resolve_job_def(name)
            job.execute_in_process(
                instance=instance,
                tags=range_tags(sessions[0], sessions[-1]),
                run_config=QUIET,
                asset_selection=[key for key in job.asset_layer.executable_asset_keys if key in keys],
            )
        spent = time.perf_counter() - start
        for key in keys:
            done = len(instance.get_materialized_partitions(key))
            if done != len(sessions):
                raise RuntimeError(f"{key.to_user_string()} was materialized for {done} of {len(sessions)} sessions")
    world.close()
    return spent


def without_dagster(settings: Settings, sessions: Sequence[date]) -> float:
    """Seconds of the same work as plain calls."""
    world = world_at_the_end(settings)
    _ = world.warehouse
    start = time.perf_counter()
    plain.run(world, sessions)
    spent = time.perf_counter() - start
    world.close()
    return spent


SIDES: dict[str, Callable[[Settings, Sequence[date]], float]] = {
    "orchestrated": orchestrated,
    "plain": without_dagster,
}


def measure(folder: Path, sessions: int = SESSIONS, tickers: int = TICKERS) -> list[Row]:
    """Seconds of both sides, and the difference for each asset and session."""
    spent = {side: in_fresh_process("benchmarks.orchestration", side, folder, sessions, tickers) for side in SIDES}
    require_the_same_rows(folder, sessions, tickers)
    for side in SIDES:
        stop(folder / side)
    work, whole = spent["plain"]["seconds"], spent["orchestrated"]["seconds"]
    each = (whole - work) / (len(plain.ASSETS) * sessions) * 1000
    return [
        Row(
            f"orchestrated, {len(plain.ASSETS)} assets x {sessions} sessions",
            f"{seconds(whole)} ({each:.1f} ms each)",
            seconds(work),
            whole / work,
            f"Baseline: the same functions called without Dagster, {tickers} simulated tickers; each: the difference "
            "for each asset and session. Two jobs in one process with their checks, events on the embedded PostgreSQL "
            "in batches of 500; the assets up to the regime: what follows is more work, not another kind of cost.",
            Target(10, " ms each"),
            each,
        )
    ]


def settings_of(folder: Path, side: str, tickers: int) -> Settings:
    return own_settings(folder / side, simulated_tickers=tickers)


def sessions_up_to_the_end(count: int) -> list[date]:
    exchange = calendar(US.exchange)
    return exchange.between(exchange.offset(LAST, 1 - count), LAST)


def require_the_same_rows(folder: Path, sessions: int, tickers: int) -> None:
    """`RuntimeError` names a table of which the two sides do not hold the same rows, clocks of writing aside."""
    left, right = (World(settings_of(folder, side, tickers)) for side in SIDES)
    days = sessions_up_to_the_end(sessions)
    try:
        for name in plain.ASSETS:
            table = ALL_TABLES.get(name)
            if table is None:
                query = "SELECT ticker, date, close, adjusted_close, data_quality FROM market_data ORDER BY 1, 2"
                ours, theirs = (world.warehouse.query(query) for world in (left, right))
            else:
                read = [
                    world.lake.latest(US.name, table, days)
                    if table.kind is Kind.DECISION
                    else world.lake.read_sessions(US.name, table, days)
                    for world in (left, right)
                ]
                clocks = [column for column in ("known_at", "available_at", "superseded_at") if column in table.schema]
                ours, theirs = (frame.drop(clocks).sort(pl.all()) for frame in read)
            if not ours.equals(theirs):
                raise RuntimeError(
                    f"{name} differs between Dagster's run and the plain calls: mend benchmarks/plain.py"
                )
    finally:
        left.close()
        right.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sessions", type=int)
    parser.add_argument("tickers", type=int)
    given = parser.parse_args()
    settings = settings_of(given.folder, given.side, given.tickers)
    print(json.dumps({"seconds": SIDES[given.side](settings, sessions_up_to_the_end(given.sessions))}))


if __name__ == "__main__":
    main()
