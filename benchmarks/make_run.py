"""`make run` as a newcomer has it, from an installed environment: into an empty state folder, and again.

Installing is not measured: it is the package index's speed. Takes minutes, so it runs only when asked for by name.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.report import Row, Target, seconds
from benchmarks.workbench import PROJECT, own_environment

LONGEST_SECONDS = 1800
COLD_SECONDS, AGAIN_SECONDS = 300, 45


def measure(folder: Path) -> list[Row]:
    """Seconds of the first run and of the second.

    `SystemExit` where there is an .env, `CalledProcessError` where a run fails.
    """
    if (PROJECT / ".env").exists():
        raise SystemExit(f"{PROJECT / '.env'} could name your own database and keys: move it away to measure make run")
    environment = own_environment(folder / "run") | {"DBT_TARGET_PATH": str(folder / "run" / "dbt")}
    spent = []
    for _ in range(2):
        start = time.perf_counter()
        # What it prints goes where notices go: the table alone is the output.
        command = ["make", "--no-print-directory", "run"]
        subprocess.run(command, cwd=PROJECT, env=environment, stdout=2, check=True, timeout=LONGEST_SECONDS)
        spent.append(time.perf_counter() - start)
    note = "The simulated market with its default settings, dbt's manifest prepared by the first run; no baseline."
    targets = (("into an empty state folder", COLD_SECONDS), ("again", AGAIN_SECONDS))
    return [
        Row(f"make run {what}", seconds(value), "-", None, note, Target(bound, " s"), value)
        for (what, bound), value in zip(targets, spent, strict=True)
    ]
