"""How Dagster finds dbt's manifest and gives dbt its connection; what is built is told by integration/test_dbt.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from trading_pipeline.assets import marts


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the dbt project without a manifest, as in a clean clone."""
    folder = tmp_path / "dbt_project"
    shutil.copytree(marts.PROJECT_DIR, folder, ignore=shutil.ignore_patterns("target", "logs"))
    monkeypatch.setenv("DBT_PROJECT_DIR", str(folder))
    monkeypatch.delenv("DBT_TARGET_PATH", raising=False)
    return folder


def test_a_missing_manifest_is_made_once_without_a_database_and_made_again_when_a_model_changes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = marts.prepared_manifest()
    assert manifest == project / "target" / "manifest.json"
    assert "Preparing dbt's manifest" in capsys.readouterr().err
    assert "model.trading_pipeline.dip_board" in json.loads(manifest.read_text())["nodes"]

    made = manifest.stat().st_mtime_ns
    assert marts.prepared_manifest().stat().st_mtime_ns == made
    assert capsys.readouterr().err == ""

    model = project / "models" / "marts" / "new_model.sql"
    model.write_text("select 1 as one")
    os.utime(model, (made / 1e9 + 5, made / 1e9 + 5))
    assert "model.trading_pipeline.new_model" in json.loads(marts.prepared_manifest().read_text())["nodes"]

    model.unlink()
    os.utime(model.parent, (made / 1e9 + 600, made / 1e9 + 600))
    assert "model.trading_pipeline.new_model" not in json.loads(marts.prepared_manifest().read_text())["nodes"]


def test_the_manifest_goes_where_dbt_target_path_says(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "elsewhere"))
    assert marts.prepared_manifest() == tmp_path / "elsewhere" / "manifest.json"
    assert not (project / "target").exists()
    assert not (project / "logs").exists()


def test_a_model_that_does_not_parse_is_named_and_leaves_no_manifest(project: Path) -> None:
    (project / "models" / "marts" / "broken.sql").write_text("select * from {{ ref('no_such_model') }}")
    with pytest.raises(marts.DbtProjectError, match=r"no_such_model.*Mend the file"):
        marts.prepared_manifest()
    assert list((project / "target").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "file" / "target"))
    with pytest.raises(marts.DbtProjectError, match="Set DBT_TARGET_PATH"):
        marts.prepared_manifest()


def test_a_missing_project_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBT_PROJECT_DIR", str(tmp_path))
    with pytest.raises(marts.DbtProjectError, match="no dbt project"):
        marts.prepared_manifest()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://postgres@/simulated?host=/state/socket",
            {"HOST": "/state/socket", "USER": "postgres", "DATABASE": "simulated"},
        ),
        (
            "postgresql://me:p%40ss@db.example:6432/real?sslmode=verify-full",
            {
                "HOST": "db.example",
                "PORT": "6432",
                "USER": "me",
                "PASSWORD": "p@ss",
                "DATABASE": "real",
                "SSLMODE": "verify-full",
            },
        ),
    ],
    ids=["a Unix socket", "a managed server"],
)
def test_dbt_is_given_the_parts_of_the_warehouses_url(url: str, expected: dict[str, str]) -> None:
    given = marts.warehouse_environment(SecretStr(url))
    assert given == {f"WAREHOUSE_{name}": value for name, value in expected.items()}


def test_the_connection_is_in_the_environment_for_the_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_HOST", "before")
    monkeypatch.setenv("WAREHOUSE_SSLMODE", "disable")
    monkeypatch.delenv("WAREHOUSE_PASSWORD", raising=False)
    with marts.connection(SecretStr("postgresql://me:secret@db.example/real")):
        assert os.environ["WAREHOUSE_HOST"] == "db.example"
        assert os.environ["WAREHOUSE_PASSWORD"] == "secret"
        assert "WAREHOUSE_SSLMODE" not in os.environ
    assert (os.environ["WAREHOUSE_HOST"], os.environ["WAREHOUSE_SSLMODE"]) == ("before", "disable")
    assert "WAREHOUSE_PASSWORD" not in os.environ


def test_the_profile_reads_every_variable_it_is_given() -> None:
    profile = (marts.PROJECT_DIR / "profiles.yml").read_text()
    url = "postgresql://me:secret@db.example:6432/real?sslmode=require&sslrootcert=/etc/ca.pem"
    assert all(f"env_var('{name}'" in profile for name in marts.warehouse_environment(SecretStr(url)))


def test_the_module_loads_without_dbt_core_and_leaves_it_importable() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; import trading_pipeline.assets.marts;"
            "print([name for name in sys.modules if name.split('.')[0].startswith('dbt')]);"
            "import dbt.version; print(dbt.version.__version__[0])",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=marts.PROJECT_DIR.parent,
    )
    assert said.stdout.split() == ["[]", "1"]
