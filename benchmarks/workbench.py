"""Where the benchmarks work: a temporary folder with a PostgreSQL server of its own, gone at the end.

What does not belong here: anything that is measured.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trading_pipeline.settings import Settings
from trading_pipeline.storage.server import stop_server

PROJECT = Path(__file__).resolve().parent.parent
CHILD_SECONDS = 1800


@contextmanager
def workbench() -> Iterator[Path]:
    """A folder to work in; the servers that were started in it are stopped and everything is removed."""
    # Short, for Unix sockets, and open to all, because PostgreSQL runs as another user where this runs as root.
    folder = Path(tempfile.mkdtemp(prefix="tp-bench-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for state in folder.iterdir():
            stop(state)
        shutil.rmtree(folder, ignore_errors=True)


def stop(state_dir: Path) -> None:
    """Stops the server of a state folder, if it has one, and removes its data, wherever they were put."""
    if (state_dir / "postgres").exists():
        stop_server(own_settings(state_dir))
        shutil.rmtree((state_dir / "postgres").resolve(), ignore_errors=True)


def own_settings(state_dir: Path, **given: Any) -> Settings:
    """Settings of a world inside `state_dir`, on its own embedded server, whatever the environment or .env say."""
    inside: dict[str, Any] = {
        "state_dir": state_dir,
        "database_url": None,
        "lake_url": None,
        "inbox_url": None,
        "watchlist_file": state_dir / "watchlist.txt",
        "market_data_provider": "simulated",
        "market_data_files": None,
        "markets": ("us",),
    }
    state_dir.mkdir(exist_ok=True)
    return Settings(_env_file=None, **(inside | given))


def own_environment(state_dir: Path) -> dict[str, str]:
    """This process's environment without any setting of ours, but with `state_dir`."""
    kept = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    return {**kept, "STATE_DIR": str(state_dir), "PYTHONUNBUFFERED": "1"}


def in_fresh_process(module: str, *arguments: object) -> dict[str, Any]:
    """Runs `python -m module arguments` and returns what its last line says as JSON; its complaints are shown."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=CHILD_SECONDS,
    )
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said
