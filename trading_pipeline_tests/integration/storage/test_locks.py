"""Locks by name: exclusive between processes and threads, re-entrant in one thread, gone with their holder."""

from __future__ import annotations

import threading

import pytest

from trading_pipeline.errors import AlreadyRunning, StorageUnavailable
from trading_pipeline.storage.locks import held, is_held, lock_key, try_held
from trading_pipeline.storage.server import connect
from trading_pipeline.storage.warehouse import Warehouse

HOLDER = (
    "import sys; from pydantic import SecretStr; from trading_pipeline.storage.warehouse import Warehouse;"
    "from trading_pipeline.storage.locks import held\n"
    "with held(Warehouse(SecretStr(sys.argv[1])), sys.argv[2]):\n"
    "    print('held', flush=True); sys.stdin.read()"
)


def test_another_process_is_kept_out_and_told_why(warehouse, python):
    child = python(HOLDER, warehouse.url.get_secret_value(), "table")
    assert child.stdout.readline() == "held\n"
    assert is_held(warehouse, "table")
    with try_held(warehouse, "table") as taken:
        assert not taken
    with (
        pytest.raises(AlreadyRunning, match=r"table is held by another process \(server process \d+\).*0\.2 s"),
        held(warehouse, "table", timeout=0.2),
    ):
        pass
    with held(warehouse, "another table", timeout=1):
        pass


def test_a_killed_holder_leaves_nothing_behind(warehouse, python):
    child = python(HOLDER, warehouse.url.get_secret_value(), "table")
    child.stdout.readline()
    child.kill()
    child.wait()
    with held(warehouse, "table", timeout=10):
        assert is_held(warehouse, "table")
    assert not is_held(warehouse, "table")


def test_one_thread_may_enter_again_even_through_another_object(warehouse):
    with held(warehouse, "table") as outer, held(Warehouse(warehouse.url), "table", timeout=0.2) as inner:
        assert inner is outer
        with try_held(warehouse, "table") as taken:
            assert taken
    assert not is_held(warehouse, "table")


def test_another_thread_waits_like_another_process(warehouse):
    outcome: list[str] = []

    def enter() -> None:
        try:
            with held(warehouse, "table", timeout=0.2):
                outcome.append("entered")
        except AlreadyRunning:
            outcome.append("refused")

    with held(warehouse, "table"):
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    enter()
    assert outcome == ["refused", "entered"]


def test_an_error_inside_gives_the_lock_back(warehouse):
    with pytest.raises(ZeroDivisionError), held(warehouse, "table"):
        raise ZeroDivisionError
    assert not is_held(warehouse, "table")


def test_a_lock_lost_with_its_connection_is_noticed_before_writing(warehouse):
    with held(warehouse, "table") as lock:
        lock.confirm()
        with connect(warehouse.url) as connection:
            connection.execute(
                # Of this database alone: other tests share the server.
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        with pytest.raises(StorageUnavailable, match="was lost"):
            lock.confirm()
    with held(warehouse, "table", timeout=5):
        pass


def test_names_have_the_same_key_for_ever():
    assert lock_key("lake") == 6135570513037684010
    assert lock_key("lake") != lock_key("Lake")
