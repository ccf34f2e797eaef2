"""Loading from a clean clone: nothing set, nothing installed but the dependencies, whoever asks for the definitions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trading_pipeline.definitions import build_definitions
from trading_pipeline.settings import PROJECT, Settings

CLONED = ("trading_pipeline", "dbt_project", "pyproject.toml", "workspace.yaml", "dagster.yaml")
MADE = shutil.ignore_patterns("__pycache__", "target", "logs", "*.egg-info")
KINDS = ("assets", "asset_checks", "jobs", "schedules", "sensors")

# Loads workspace.yaml the way the webserver does, in a code server of its own, and writes the names of what is there.
# Dagster's own job of all assets, which nobody named, is left out.
WORKSPACE = """
import json
import sys
import tempfile
from pathlib import Path
import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

with tempfile.TemporaryDirectory() as home:
    instance = dg.DagsterInstance.local_temp(home)
    with WorkspaceProcessContext(instance, WorkspaceFileTarget(["workspace.yaml"])) as context:
        (entry,) = context.create_request_context().get_code_location_entries().values()
        assert entry.load_error is None, entry.load_error
        (repository,) = entry.code_location.get_repositories().values()
        names = {
            "assets": [node.asset_key.to_user_string() for node in repository.get_asset_node_snaps()],
            "asset_checks": [
                f"{node.asset_key.to_user_string()}:{node.name}" for node in repository.get_asset_check_node_snaps()
            ],
            "jobs": [job.name for job in repository.get_all_jobs() if not job.name.startswith("__")],
            "schedules": [schedule.name for schedule in repository.get_schedules()],
            "sensors": [sensor.name for sensor in repository.get_sensors()],
        }
        Path(sys.argv[1]).write_text(json.dumps(names))
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is committed, in a folder of its own."""
    folder = tmp_path_factory.mktemp("clone")
    for name in CLONED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=MADE)
        else:
            shutil.copy2(source, folder / name)
    return folder


def in_clone(clone: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the clone, without any setting, home or path of the developer's."""
    own = {name.upper() for name in Settings.model_fields} | {"DAGSTER_HOME", "PYTHONPATH", "DBT_TARGET_PATH"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    environment["DAGSTER_DISABLE_TELEMETRY"] = "yes"
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def by_workspace(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Names of everything that workspace.yaml loads; the first to load, so it makes dbt's manifest."""
    file = tmp_path_factory.mktemp("names") / "names.json"
    in_clone(clone, sys.executable, "-c", WORKSPACE, str(file))
    return {kind: sorted(names) for kind, names in json.loads(file.read_text()).items()}


def test_dg_check_defs_passes_without_a_warning(clone: Path, by_workspace: dict[str, list[str]]) -> None:
    assert by_workspace
    done = in_clone(clone, "dg", "check", "defs")
    assert "All definitions loaded successfully" in done.stdout
    assert "arning" not in done.stdout + done.stderr


def test_workspace_and_tool_dg_load_the_same_definitions(clone: Path, by_workspace: dict[str, list[str]]) -> None:
    listed = json.loads(in_clone(clone, "dg", "list", "defs", "--json").stdout)
    by_dg = {
        "assets": [asset["asset_key"] for asset in listed["assets"]],
        "asset_checks": [check["key"] for check in listed["asset_checks"]],
        **{kind: [each["name"] for each in listed[kind]] for kind in ("jobs", "schedules", "sensors")},
    }
    assert {kind: sorted(names) for kind, names in by_dg.items()} == by_workspace
    assert all(by_workspace[kind] for kind in KINDS)


def test_what_is_loaded_is_what_the_command_line_runs(by_workspace: dict[str, list[str]]) -> None:
    repository: Any = build_definitions().get_repository_def()
    keys = [key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()]
    assert by_workspace["assets"] == sorted(keys)
    assert by_workspace["schedules"] == sorted(each.name for each in repository.schedule_defs)
    assert by_workspace["sensors"] == sorted(each.name for each in repository.sensor_defs)


def test_loading_leaves_nothing_behind_but_the_manifest(clone: Path, by_workspace: dict[str, list[str]]) -> None:
    assert by_workspace
    assert {path.name for path in clone.iterdir()} == set(CLONED)
    assert (clone / "dbt_project" / "target" / "manifest.json").is_file()
