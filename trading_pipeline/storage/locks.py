"""Locks by name that every process of a world respects and that die with their holder.

PostgreSQL session-level advisory locks on connections of their own: a killed process loses its connection and with it
the lock, so nothing is ever left behind to clean up. What does not belong here: what is done under a lock.

A pooler in transaction mode (PgBouncer) hands the session to others between statements and breaks such locks: give
DATABASE_URL the server's own port.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import psycopg
from psycopg import sql
from pydantic import SecretStr

from trading_pipeline.errors import AlreadyRunning, StorageUnavailable
from trading_pipeline.storage.server import connect

DEFAULT_TIMEOUT_SECONDS = 300.0

KEEPALIVES: Final = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
"""For a connection that holds a lock: the server notices within a minute that a remote holder's machine has gone. Unix
sockets ignore it."""


class Database(Protocol):
    """Anything that knows the URL of the database whose locks are meant (a `Warehouse`)."""

    @property
    def url(self) -> SecretStr:
        """The database's URL, password included."""


def lock_key(name: str) -> int:
    """The 64-bit number PostgreSQL knows the lock by; the same on every machine and in every version."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


class Lock:
    """A lock while it is held."""

    def __init__(self, name: str, connection: psycopg.Connection) -> None:
        self.name = name
        self._connection = connection

    def confirm(self) -> None:
        """`StorageUnavailable` where the connection, and with it the lock, was lost in the meantime."""
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            raise StorageUnavailable(
                f"The lock {self.name!r} was lost: the database closed its connection",
                "Run again; nothing was written after the loss",
            ) from None


@dataclass
class _Hold:
    lock: Lock
    depth: int


# Holds are re-entrant within a thread, whichever objects they go through; another thread waits like another process.
_holds: dict[tuple[int, int, str, str], _Hold] = {}


@contextmanager
def held(database: Database, name: str, timeout: float = DEFAULT_TIMEOUT_SECONDS) -> Iterator[Lock]:
    """Holds the lock `name` for the block; waits up to `timeout` seconds, then raises `AlreadyRunning`.

    Re-entrant within a thread. The lock is given back when the block ends or the process dies.
    """
    with _entered(database, name, timeout) as lock:
        if lock is None:
            raise AlreadyRunning(
                f"{name} is held by another process{_holder(database, name)} and was not freed in {timeout:g} s",
                "Wait for that process or stop it, then run again",
            )
        yield lock


@contextmanager
def try_held(database: Database, name: str) -> Iterator[bool]:
    """Holds the lock `name` for the block if it is free at this moment; yields whether it is held."""
    with _entered(database, name, 0) as lock:
        yield lock is not None


def is_held(database: Database, name: str) -> bool:
    """Whether anyone holds the lock at this moment; never takes it."""
    return bool(_backends(database, name))


@contextmanager
def _entered(database: Database, name: str, timeout: float) -> Iterator[Lock | None]:
    place = (os.getpid(), threading.get_ident(), database.url.get_secret_value(), name)
    hold = _holds.get(place)
    if hold is not None:
        hold.depth += 1
        try:
            yield hold.lock
        finally:
            hold.depth -= 1
        return
    connection = _idle(database) or _open(database)
    if not _acquire(connection, name, timeout):
        _give_back(database, connection)
        yield None
        return
    _holds[place] = _Hold(Lock(name, connection), 1)
    try:
        yield _holds[place].lock
    finally:
        del _holds[place]
        _release(database, name, connection)


def _open(database: Database) -> psycopg.Connection:
    connection = connect(database.url, autocommit=True)
    connection.execute(KEEPALIVES)
    return connection


def _acquire(connection: psycopg.Connection, name: str, timeout: float) -> bool:
    key = lock_key(name)
    if timeout <= 0:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone()
        return bool(row and row[0])
    connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(max(1, round(timeout * 1000)))))
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", [key])
    except psycopg.errors.LockNotAvailable:
        return False
    return True


def _release(database: Database, name: str, connection: psycopg.Connection) -> None:
    try:
        connection.execute("SELECT pg_advisory_unlock(%s)", [lock_key(name)])
    except psycopg.Error:
        connection.close()  # the lock went with the connection
        return
    _give_back(database, connection)


# One idle connection a database is kept: taking a lock then costs 0.2 ms and not the 3 ms of connecting.
_spare: dict[tuple[int, str], psycopg.Connection] = {}
_spare_guard = threading.Lock()


def _idle(database: Database) -> psycopg.Connection | None:
    with _spare_guard:
        connection = _spare.pop((os.getpid(), database.url.get_secret_value()), None)
    if connection is None:
        return None
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        connection.close()
        return None
    return connection


def _give_back(database: Database, connection: psycopg.Connection) -> None:
    place = (os.getpid(), database.url.get_secret_value())
    with _spare_guard:
        if place not in _spare and not connection.closed:
            _spare[place] = connection
            return
    connection.close()


def close_idle(database: Database) -> None:
    """Closes the connection kept for the next lock of that database."""
    with _spare_guard:
        connection = _spare.pop((os.getpid(), database.url.get_secret_value()), None)
    if connection is not None:
        connection.close()


def _backends(database: Database, name: str) -> list[int]:
    """Server processes that hold the lock. PostgreSQL shows a 64-bit key as two halves."""
    key = lock_key(name) & 0xFFFFFFFFFFFFFFFF
    with connect(database.url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
            " AND classid::bigint = %s AND objid::bigint = %s"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [key >> 32, key & 0xFFFFFFFF],
        ).fetchall()
    return [int(row[0]) for row in rows]


def _holder(database: Database, name: str) -> str:
    backends = _backends(database, name)
    return f" (server process {backends[0]})" if backends else ""
