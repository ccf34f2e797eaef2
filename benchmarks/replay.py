"""A full day of 500 names replayed, PostgreSQL included, and what a commit of a tick costs.

The day is that of `live.py`. A replay is what `make replay` runs: feed, features, signals, sizes, the simulated broker,
one transaction a tick, and the ledger at the end. The commit is measured apart, on ticks that hold a row of the log for
every name; beside it, the same rows with one INSERT each, in one transaction, as a plain driver would write them.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from statistics import median

import polars as pl

from benchmarks.live import NAMES, OPENS_AT, SESSION, TICKS, Minutes
from benchmarks.report import Row, Target
from benchmarks.workbench import own_settings
from trading_pipeline.live.inputs import SessionInputs
from trading_pipeline.live.loop import LoopSettings
from trading_pipeline.live.replay import replay
from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.storage.server import connect, databases
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline.tables.live import LIVE_LOOP_LOGS, LIVE_TICKS

COMMITS = 60
_MINUTE = timedelta(minutes=1)


def measure(folder: Path, names: int = NAMES, ticks: int = TICKS, commits: int = COMMITS) -> list[Row]:
    """The time of a replay and of a tick's commit, in a database inside `folder`."""
    warehouse = Warehouse(databases(own_settings(folder / "replay")).warehouse)
    warehouse.migrate()
    minutes = Minutes.random(names, ticks)
    bars = pl.concat(minutes.bars).with_columns(available_at=pl.col("started_at") + _MINUTE)
    inputs = SessionInputs("us", minutes.context, minutes.snapshots)
    began = time.perf_counter()
    result = replay(inputs, bars, warehouse, LoopSettings(), book="replay:benchmark")
    whole = time.perf_counter() - began
    done = f"{result.signals.height} signals, {result.orders.height} orders, {result.fills.height} fills"
    note = f"From the first bar to the reconciled ledger, in a database of its own: {done}."
    ours, plain = _commits(warehouse, commits, names)
    beside = (
        "Baseline: the same rows, one INSERT each, prepared, in one transaction. Median of both; nothing else runs."
    )
    slowest = max(result.compute_ms)
    panel = f"{names} names x {result.ticks} ticks"
    warehouse.close()
    return [
        Row(f"a day replayed, {panel}", f"{whole:.1f} s", "-", None, note, Target(60, " s"), whole),
        Row("the slowest tick, not its commit", f"{slowest:.0f} ms", "-", None, note, Target(150, " ms"), slowest),
        Row(
            f"a tick's commit, {names} rows of the log", f"{ours:.1f} ms", f"{plain:.1f} ms", plain / ours, beside,
            Target(25, " ms"), ours,
        ),
    ]  # fmt: skip


def _commits(warehouse: Warehouse, commits: int, names: int) -> tuple[float, float]:
    """Milliseconds of a commit through the store, and of plain INSERTs of the same rows."""
    ours, plain = [], []
    columns = ", ".join(LIVE_LOOP_LOGS.names)
    places = ", ".join(["%s"] * len(LIVE_LOOP_LOGS.names))
    statement = f"INSERT INTO live_loop_logs ({columns}) VALUES ({places})".encode()
    with LiveStore(warehouse, "paper:benchmark").leading(SESSION) as book, connect(warehouse.url) as connection:
        book.begin(run_id="", rules_version="", equity=1.0, now=OPENS_AT)
        for number in range(1, commits + 1):
            at = OPENS_AT + number * _MINUTE
            rows = _logs(at, names)
            tick = pl.DataFrame(
                [(SESSION, at, names, names, at, 0, 0, True, None, 0.0)],
                schema={name: dtype for name, dtype in LIVE_TICKS.schema.items() if name != "book"},
                orient="row",
            )
            began = time.perf_counter()
            book.commit_tick(tick, {LIVE_LOOP_LOGS.name: rows}, at)
            ours.append(time.perf_counter() - began)
            values = rows.with_columns(book=pl.lit("paper:plain")).select(LIVE_LOOP_LOGS.names).rows()
            began = time.perf_counter()
            with connection.transaction(), connection.cursor() as cursor:
                for row in values:
                    cursor.execute(statement, row)
            plain.append(time.perf_counter() - began)
    return 1000 * median(ours), 1000 * median(plain)


def _logs(at: object, names: int) -> pl.DataFrame:
    """A tick's rows of the log, all alike but for their name."""
    numbers = ("open", "high", "low", "close", "volume", "mean", "sigma", "z_session", "z_rolling", "vwap")
    frame = pl.DataFrame({"instrument_id": [f"us:T{number:04d}" for number in range(names)]}).with_columns(
        *(pl.lit(1.25).alias(name) for name in (*numbers, "vwap_distance_pct")),
        session=pl.lit(SESSION),
        tick_at=pl.lit(at, LIVE_LOOP_LOGS.schema["tick_at"]),
        bar_started_at=pl.lit(at, LIVE_LOOP_LOGS.schema["tick_at"]) - _MINUTE,
        band=pl.lit(1, pl.Int32),
    )
    return frame.select(name for name in LIVE_LOOP_LOGS.names if name != "book")
