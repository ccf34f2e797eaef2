"""The book of model calls in PostgreSQL: what every call cost, and what was answered.

What belongs here: the table `model_calls`. What does not: what is asked and whether it may be (`analyst/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg.rows import class_row

from trading_pipeline.analyst.ledger import ModelCall
from trading_pipeline.errors import StorageUnavailable
from trading_pipeline.storage.locks import Database
from trading_pipeline.storage.server import connect

_COLUMNS = ", ".join(each.name for each in fields(ModelCall))
_PLACES = ", ".join(["%s"] * len(fields(ModelCall)))


class PostgresLedger:
    """The ledger of one world. Connections are opened for each question to it, so threads share nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __repr__(self) -> str:
        return "PostgresLedger()"

    def spent_today(self, now: datetime) -> float:
        """US dollars of the calls of `now`'s day, UTC. `StorageUnavailable` where the database cannot be asked."""
        day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        rows = self._run(
            "SELECT coalesce(sum(cost), 0)::float8 FROM model_calls WHERE called_at >= %s AND called_at < %s",
            (day, day + timedelta(days=1)),
        )
        return float(str(rows[0][0]))

    def settled(self, prompt_hashes: Sequence[str]) -> Mapping[str, ModelCall]:
        """For each hash that was settled, the latest call that settled it."""
        query = (
            f"SELECT DISTINCT ON (prompt_hash) {_COLUMNS} FROM model_calls"  # noqa: S608 - names of a dataclass
            " WHERE settled AND prompt_hash = ANY(%s) ORDER BY prompt_hash, called_at DESC, id DESC"
        )
        try:
            with (
                connect(self._database.url) as connection,
                connection.cursor(row_factory=class_row(ModelCall)) as cursor,
            ):
                return {call.prompt_hash: call for call in cursor.execute(query, (list(prompt_hashes),)).fetchall()}
        except psycopg.Error as error:
            raise _unavailable(error) from None

    def record(self, call: ModelCall) -> None:
        """Writes the call down, for good when this returns."""
        self._run(f"INSERT INTO model_calls ({_COLUMNS}) VALUES ({_PLACES})", astuple(call))  # noqa: S608

    def _run(self, query: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        try:
            with connect(self._database.url) as connection:
                cursor = connection.execute(query.encode(), values)
                return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise _unavailable(error) from None


def _unavailable(error: psycopg.Error) -> StorageUnavailable:
    return StorageUnavailable(
        f"The book of model calls cannot be read or written ({type(error).__name__})", "See whether the database runs"
    )
