"""The time until Dagster has our code location: importing the definitions and building them, against `import dagster`.

Fresh interpreters, the two in turn, medians. dbt's manifest, which is made once for a version of the project, is there.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.report import Row, Target, seconds
from benchmarks.workbench import PROJECT, own_environment

REPEATS = 5

_TIMED = "import time; start = time.perf_counter(); {work}; print(time.perf_counter() - start)"
_WORK = {
    "dagster": "import dagster",
    "imported": "import trading_pipeline.definitions",
    "loaded": "from trading_pipeline.definitions import defs; defs().get_repository_def()",
}


def measure(folder: Path, repeats: int = REPEATS) -> list[Row]:
    """Medians of `repeats` fresh interpreters of each kind; `folder` holds the state folder the settings name."""
    spent: dict[str, list[float]] = {name: [] for name in _WORK}
    for _ in range(repeats + 1):
        for name, work in _WORK.items():
            spent[name].append(_in_fresh_interpreter(work, folder))
    # The first round fills caches of bytecode and files, and prepares the manifest.
    median = {name: statistics.median(times[1:]) for name, times in spent.items()}
    note = (
        "Baseline: import dagster. Loaded is what Dagster waits for: import, every asset, check, job, schedule and "
        f"sensor built, jobs resolved. Medians of {repeats} fresh interpreters, in turn."
    )
    return [
        Row(
            f"code location {name}",
            seconds(median[name]),
            seconds(median["dagster"]),
            median[name] / median["dagster"],
            note,
            Target(3.5, " x"),
        )
        for name in ("imported", "loaded")
    ]


def _in_fresh_interpreter(work: str, folder: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _TIMED.format(work=work)],
        cwd=PROJECT,
        env=own_environment(folder / "state"),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    return float(done.stdout.strip().splitlines()[-1])
