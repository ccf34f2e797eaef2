"""The Makefile on machines that are not as one would wish: a Python too old, an environment that broke."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trading_pipeline.settings import PROJECT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on the PATH")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The Makefile, a lock that asks for nothing, and an environment whose Python was upgraded away."""
    shutil.copy2(PROJECT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(tmp_path / "gone")
    (tmp_path / ".venv" / "installed").touch()
    return tmp_path


def install(clone: Path, python: str) -> subprocess.CompletedProcess[str]:
    """What `make run` does first."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-C", str(clone), "--no-print-directory", ".venv/installed", f"PYTHON={python}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_python_that_will_not_do_is_told_in_one_line_before_anything_is_touched(clone: Path) -> None:
    old = clone / "python3.9"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 9)\n'\"$2\"\n")
    old.chmod(0o755)
    done = install(clone, str(old))
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert said == ["Python 3.11, 3.12 or 3.13 is needed. Install one, or name it: make PYTHON=/path/to/python3.12 ..."]
    assert (clone / ".venv" / "installed").exists()


def test_a_broken_environment_is_made_anew_and_a_sound_one_is_left_alone(clone: Path) -> None:
    first = install(clone, sys.executable)
    assert first.returncode == 0, first.stderr
    assert "Installing requirements.lock (once)" in first.stdout
    subprocess.run([clone / ".venv" / "bin" / "python", "-c", "import pip"], check=True)
    again = install(clone, "/nowhere/python")
    assert again.returncode == 0, again.stderr
    assert "up to date" in again.stdout
