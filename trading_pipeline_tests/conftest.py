"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

if TYPE_CHECKING:
    from trading_pipeline.settings import Settings
    from trading_pipeline.storage.lake import Lake
    from trading_pipeline.storage.warehouse import Warehouse

REAL_DATA = Path(os.environ.get("REAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the collection of real data where it is absent."""
    if REAL_DATA.is_dir():
        return
    skip = pytest.mark.skip(reason=f"no real data at {REAL_DATA}; set REAL_DATA_DIR to the folder that holds it")
    for item in items:
        if item.get_closest_marker("real_data"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real bars, memberships and recorded exchanges; read-only."""
    return REAL_DATA


@pytest.fixture(autouse=True)
def _clean_settings_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads the developer's own environment or .env file."""
    from trading_pipeline.settings import Settings

    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


# --- the databases of the tests --------------------------------------------------------------------------------
# One embedded server serves a whole test run, its xdist workers included; each worker's database is its own.

_SERVER_FOLDER = "TRADING_PIPELINE_TEST_SERVER"


def pytest_configure(config: pytest.Config) -> None:
    """Name the folder of the run's server; workers inherit the name from the process that starts them."""
    if not hasattr(config, "workerinput"):
        # Short, for Unix sockets, and open to all, because PostgreSQL runs as another user where the tests run as root.
        folder = Path(tempfile.mkdtemp(prefix="tp-", dir="/tmp"))
        folder.chmod(0o755)
        os.environ[_SERVER_FOLDER] = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the run's server and remove its folder, once, after the workers are done."""
    if hasattr(config, "workerinput") or _SERVER_FOLDER not in os.environ:
        return
    from trading_pipeline.settings import Settings
    from trading_pipeline.storage.server import stop_server

    folder = Path(os.environ.pop(_SERVER_FOLDER))
    stop_server(Settings(state_dir=folder, _env_file=None))
    shutil.rmtree(folder.joinpath("postgres").resolve(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


class EmbeddedServer:
    """The run's PostgreSQL server, and databases of one's own on it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, database: str) -> SecretStr:
        """Address of a database of that name, which need not exist."""
        base, _, query = self._url.partition("?")
        return SecretStr(f"{base.rpartition('/')[0]}/{database}?{query}")

    def create_database(self, template: str = "template1") -> SecretStr:
        """A new database, empty or like `template`."""
        from trading_pipeline.storage.server import connect

        name = f"test_{uuid.uuid4().hex[:12]}"
        with connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)


@pytest.fixture(scope="session")
def embedded_server() -> EmbeddedServer:
    """A real PostgreSQL server, started when the first test asks for it."""
    from trading_pipeline.settings import Settings
    from trading_pipeline.storage.server import ensure_server

    databases = ensure_server(Settings(state_dir=Path(os.environ[_SERVER_FOLDER]), _env_file=None))
    return EmbeddedServer(databases.warehouse.get_secret_value())


@pytest.fixture(scope="session")
def migrated_database(embedded_server: EmbeddedServer) -> SecretStr:
    """A database of this worker at the newest schema."""
    from trading_pipeline.storage.warehouse import Warehouse

    url = embedded_server.create_database()
    Warehouse(url).migrate()
    return url


@pytest.fixture
def warehouse(migrated_database: SecretStr) -> Iterator[Warehouse]:
    """A migrated warehouse without rows."""
    from trading_pipeline.storage.server import connect
    from trading_pipeline.storage.warehouse import Warehouse

    with connect(migrated_database) as connection:
        tables = connection.execute(
            "SELECT string_agg(format('%I', tablename), ', ') FROM pg_tables"
            " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        ).fetchone()
        connection.execute(f"TRUNCATE {tables[0]}")
    warehouse = Warehouse(migrated_database)
    yield warehouse
    warehouse.close()


@pytest.fixture
def lake(tmp_path: Path, warehouse: Warehouse) -> Lake:
    """An empty lake in a folder, with the warehouse's locks."""
    from trading_pipeline.storage.lake import Lake

    return Lake(f"file://{tmp_path / 'lake'}", warehouse)


@pytest.fixture
def server_settings(tmp_path: Path, embedded_server: EmbeddedServer) -> Settings:
    """Settings of a world of its own: a state folder of the test, databases of the test on the run's server."""
    from trading_pipeline.settings import Settings

    url = embedded_server.url(f"test_{uuid.uuid4().hex[:12]}")
    return Settings(state_dir=tmp_path / "state", database_url=url, _env_file=None)
