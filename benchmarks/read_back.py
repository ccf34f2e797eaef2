"""Ten years of 500 tickers read back from the lake as of a moment and adjusted, against a plain Parquet file.

The lake is the one that the ingest benchmark fills; the file holds the same columns of the same rows, zstd.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.ingest import filled
from benchmarks.random_market import SESSIONS, TICKERS
from benchmarks.report import Row, Target, seconds
from trading_pipeline.markets import US
from trading_pipeline.storage.reader import bars
from trading_pipeline.tables import DAILY_BARS

REPEATS = 9


def measure(folder: Path, tickers: int = TICKERS, sessions: int = SESSIONS, repeats: int = REPEATS) -> list[Row]:
    """Medians of `repeats` readings, ours and the baseline's in turn; both read files the system has in its cache."""
    world, days = filled(folder, tickers, sessions)
    try:
        moment = world.now()
        file = folder / "daily_bars.parquet"
        bars(world.lake, US.name, days, as_of=moment, include_bad=True).write_parquet(file, compression="zstd")

        def ours(adjust: Any) -> Callable[[], pl.DataFrame]:
            return lambda: bars(world.lake, US.name, days, as_of=moment, adjust=adjust)

        def plain() -> pl.DataFrame:
            return pl.read_parquet(file)

        work = {"plain": plain, **{how: ours(how) for how in ("none", "splits", "total_return")}}
        spent: dict[str, list[float]] = {name: [] for name in work}
        rows = {name: read().height for name, read in work.items()}
        for _ in range(repeats):
            for name, read in work.items():
                start = time.perf_counter()
                read()
                spent[name].append(time.perf_counter() - start)
    finally:
        world.close()
    median = {name: statistics.median(times) for name, times in spent.items()}
    note = (
        f"Baseline: polars.read_parquet of one zstd file with the {len(DAILY_BARS.names)} columns of the same "
        f"{rows['plain']:,} rows. Ours finds the versions visible at the moment, leaves bad bars out and adjusts by "
        f"the actions visible then. Medians of {repeats}, in turn, caches warm."
    )
    wording = {"none": "as traded", "splits": "adjusted for splits", "total_return": "total return"}
    return [
        Row(
            f"read back as of a moment, {wording[how]}",
            seconds(median[how]),
            seconds(median["plain"]),
            median[how] / median["plain"],
            note,
            Target(3, " x"),
        )
        for how in wording
    ]
