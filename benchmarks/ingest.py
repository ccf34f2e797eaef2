"""A file of ten years of 500 tickers: received, judged, written to the lake and served from PostgreSQL.

Ours runs in a fresh process, which also tells its peak memory. It is the code the assets run, without Dagster: the
files provider, `World.receive`, `daily_view` with every quality rule, the three tables of the lake, `market_data`.

Run as a module it is that process.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from benchmarks.plain import bring_in
from benchmarks.random_market import SESSIONS, TICKERS, random_market, write_bars_file
from benchmarks.report import Row, Target, seconds
from benchmarks.workbench import in_fresh_process, own_settings
from trading_pipeline.clock import fixed_clock
from trading_pipeline.markets import US
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import Settings
from trading_pipeline.storage.server import connect, sqlalchemy_url
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline.world import World

SLICE = 20_000
STATEMENT_ROWS = 1_000

_UPDATED = ("open", "high", "low", "close", "volume", "adjusted_close", "source", "data_quality", "instrument_id")


def prepare(folder: Path, tickers: int = TICKERS, sessions: int = SESSIONS) -> Path:
    """The file to be read, in `folder`; made once."""
    file = folder / f"bars_{tickers}_{sessions}.parquet"
    if not file.exists():
        write_bars_file(random_market(tickers, sessions), file)
    return file


def world_of_file(settings: Settings, sessions: Sequence[date]) -> World:
    """The world whose provider is the file, an hour after the last session's bars are final."""
    return World(settings, fixed_clock(final_at(sessions[-1])))


def filled(folder: Path, tickers: int, sessions: int) -> tuple[World, list[date]]:
    """The world of the file with the file in its lake, and the sessions; ingested once in `folder`."""
    file = prepare(folder, tickers, sessions)
    settings = settings_of_file(folder, file)
    if not _lake_folder(settings).exists():
        in_fresh_process("benchmarks.ingest", folder, file)
    days = sessions_in(file)
    return world_of_file(settings, days), days


def _lake_folder(settings: Settings) -> Path:
    return Path(settings.lake_root.removeprefix("file://"))


def sessions_in(file: Path) -> list[date]:
    days: list[date] = pl.scan_parquet(file).select(pl.col("date").unique().sort()).collect()["date"].to_list()
    return days


def final_at(session: date) -> datetime:
    return calendar(US.exchange).close_at(session) + 2 * US.data_lag


def settings_of_file(folder: Path, file: Path) -> Settings:
    return own_settings(folder / "state", market_data_provider="files", market_data_files=file)


def run_in_this_process(folder: Path, file: Path) -> dict[str, Any]:
    """Ingests the file into a world in `folder`, emptied before: rows, seconds of each part, peak resident memory."""
    settings = settings_of_file(folder, file)
    days = sessions_in(file)
    # Who should have a bar is an input, made by another asset; another world reads the file for it.
    other = world_of_file(settings, days)
    members = other.universe_members(US, days).filter(pl.col("universe") == "FILES")
    other.close()
    world = world_of_file(settings, days)
    shutil.rmtree(_lake_folder(settings), ignore_errors=True)
    with connect(world.warehouse.url) as connection:
        connection.execute("TRUNCATE market_data, bar_issues")
    before = _peak_bytes()
    clock = [time.perf_counter()]
    parts: dict[str, float] = {}

    def lap(part: str) -> None:
        clock.append(time.perf_counter())
        parts[part] = clock[-1] - clock[-2]

    bring_in(world, US, members, days, lap)
    served = world.warehouse.query("SELECT data_quality, count(*) AS rows FROM market_data GROUP BY 1")
    world.close()
    return {
        "rows": pl.scan_parquet(file).select(pl.len()).collect().item(),
        "served": dict(served.iter_rows()),
        "seconds": clock[-1] - clock[0],
        "parts": parts,
        "peak_bytes": _peak_bytes(),
        "peak_bytes_before": before,
    }


def row_by_row(frame: pd.DataFrame, engine: sa.Engine) -> None:
    """The upsert as it is found in notebooks and cron jobs."""
    market_data = sa.Table("market_data", sa.MetaData(), autoload_with=engine)
    statement = insert(market_data)
    statement = statement.on_conflict_do_update(
        index_elements=["ticker", "date"], set_={name: statement.excluded[name] for name in _UPDATED}
    )
    rows = []
    for _, bar in frame.iterrows():
        rows.append(
            {
                "market": "us",
                "ticker": bar["ticker"],
                "date": bar["date"],
                "open": bar["open"],
                "high": bar["high"],
                "low": bar["low"],
                "close": bar["close"],
                "volume": int(bar["volume"]),
                "adjusted_close": bar["adj_close"],
                "source": "files",
                "data_quality": "good",
                "instrument_id": f"us:{bar['ticker']}",
            }
        )
    with engine.begin() as connection:
        for start in range(0, len(rows), STATEMENT_ROWS):
            connection.execute(statement, rows[start : start + STATEMENT_ROWS])


def copy_and_upsert(frame: pl.DataFrame, database: Warehouse) -> None:
    """The fastest a PostgreSQL user would write: binary COPY to a staging table, one `INSERT … ON CONFLICT`."""
    from adbc_driver_postgresql import dbapi

    price = pl.Decimal(12, 4)
    rows = frame.select(
        pl.lit("us").alias("market"),
        "ticker",
        "date",
        *(pl.col(name).round(4).cast(price) for name in ("open", "high", "low", "close")),
        pl.col("volume").cast(pl.Int64),
        pl.col("adj_close").round(4).cast(price).alias("adjusted_close"),
        pl.lit("files").alias("source"),
        pl.lit("good").alias("data_quality"),
        ("us:" + pl.col("ticker")).alias("instrument_id"),
    )
    columns = ", ".join(rows.columns)
    with dbapi.connect(database.url.get_secret_value()) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE staging ON COMMIT DROP AS SELECT {columns} FROM market_data WITH NO DATA"
        )
        cursor.adbc_ingest(
            "staging", rows.to_arrow(compat_level=pl.CompatLevel.oldest()), mode="append", temporary=True
        )
        updates = ", ".join(f"{name} = EXCLUDED.{name}" for name in _UPDATED)
        cursor.execute(
            f"INSERT INTO market_data ({columns}) SELECT {columns} FROM staging"
            f" ON CONFLICT (ticker, date) DO UPDATE SET {updates}"
        )
        connection.commit()


def measure(folder: Path, tickers: int = TICKERS, sessions: int = SESSIONS, sliced: int = SLICE) -> list[Row]:
    """Rows a second of ours and of both baselines, each the faster of two runs, and the peak memory of ours."""
    file = prepare(folder, tickers, sessions)
    # The baselines get the same table on the same server: the database of the other world.
    baseline = World(own_settings(folder / "state"))
    bars = pl.read_parquet(file)
    wide = bars.head(sliced).to_pandas()
    engine = sa.create_engine(sqlalchemy_url(baseline.databases.warehouse))

    def emptied(load: Callable[[], None]) -> float:
        with connect(baseline.warehouse.url) as connection:
            connection.execute("TRUNCATE market_data")
        start = time.perf_counter()
        load()
        return time.perf_counter() - start

    try:
        runs = []
        upsert, copy = [], []
        for _ in range(2):
            runs.append(in_fresh_process("benchmarks.ingest", folder, file))
            upsert.append(emptied(lambda: row_by_row(wide, engine)))
            copy.append(emptied(lambda: copy_and_upsert(bars, baseline.warehouse)))
    finally:
        engine.dispose()
        baseline.close()
    ours = min(runs, key=lambda run: run["seconds"])
    rate, rate_upsert, rate_copy = ours["rows"] / ours["seconds"], len(wide) / min(upsert), bars.height / min(copy)
    parts = ", ".join(f"{name} {seconds(spent)}" for name, spent in ours["parts"].items())
    panel = f"{tickers} tickers x {sessions:,} sessions"
    return [
        Row(
            f"ingest of a file, {panel}",
            f"{rate:,.0f} rows/s",
            f"{rate_upsert:,.0f} rows/s",
            rate / rate_upsert,
            "Baseline: pandas iterrows, then SQLAlchemy executemany of INSERT ... ON CONFLICT DO UPDATE, in statements "
            f"of {STATEMENT_ROWS:,} rows over psycopg 3, {len(wide):,} rows into the same empty table on the same "
            "server; it judges nothing and keeps no lake. The faster of two runs each. "
            f"Ours, {ours['rows']:,} rows in {seconds(ours['seconds'])}: {parts}.",
            Target(20, " x", at_least=True),
        ),
        Row(
            "the same beside a bare COPY",
            f"{rate:,.0f} rows/s",
            f"{rate_copy:,.0f} rows/s",
            rate / rate_copy,
            "Baseline, for information: the whole frame by binary COPY to a staging table and one INSERT ... ON "
            "CONFLICT; no rules, no lake, no versions.",
        ),
        Row(
            "the same, peak memory",
            f"{ours['peak_bytes'] / 1e9:.2f} GB",
            "-",
            None,
            "Largest resident set of the ingesting process, its imports included (the server's 256 MB of shared "
            f"buffers are not). Before the ingest began it was {ours['peak_bytes_before'] / 1e9:.2f} GB.",
            Target(2.5, " GB"),
            ours["peak_bytes"] / 1e9,
        ),
    ]


def _peak_bytes() -> int:
    # Linux hands a process the peak of the one that started it on as its own in getrusage, but not here.
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line[:6] == "VmHWM:")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    print(json.dumps(run_in_this_process(given.folder, given.file)))


if __name__ == "__main__":
    main()
