"""Runs the benchmarks and prints one table.

    python -m benchmarks [NAME ...] [--json FILE]

Without names: all but `run`, which takes minutes. Everything happens in a temporary folder with a PostgreSQL server of
its own, both gone at the end.
"""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

from rich.console import Console

from benchmarks.report import Row, save, table
from benchmarks.workbench import workbench

# Each name is what a person types; each module has `measure(folder)`.
MODULES = {
    "ingest": "benchmarks.ingest",
    "read_back": "benchmarks.read_back",
    "indicators": "benchmarks.features",
    "screener": "benchmarks.screener",
    "orchestration": "benchmarks.orchestration",
    "imports": "benchmarks.imports",
    "dip_causes": "benchmarks.dip_causes",
    "live": "benchmarks.live",
    "replay": "benchmarks.replay",
    "sweep": "benchmarks.sweep",
    "run": "benchmarks.make_run",
}
ON_REQUEST = ("run",)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios against named baselines.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(MODULES)} (default: all but run)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in MODULES]
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; known: {', '.join(MODULES)}")
    console, notices = Console(), Console(stderr=True)
    if not console.is_terminal:
        console = Console(width=140)
    rows: list[Row] = []
    before = os.getloadavg()
    notices.print(f"Load average before: {' '.join(f'{value:.1f}' for value in before)}")
    with workbench() as folder:
        for name in given.names or [name for name in MODULES if name not in ON_REQUEST]:
            notices.print(f"Measuring {name} ...")
            rows += importlib.import_module(MODULES[name]).measure(folder)
    after = os.getloadavg()
    console.print(table(rows, before, after))
    if given.json:
        save(rows, before, after, given.json)


if __name__ == "__main__":
    main()
