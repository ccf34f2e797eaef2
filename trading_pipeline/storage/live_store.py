"""The live session in PostgreSQL: one transaction a tick, one loop a book, and what a loop needs to go on.

What belongs here: the tables of `tables/live.py` and the database flag of the kill switch. What does not: what the rows
say (`live/`, `research/`).

A book is led by one loop at a time: an advisory lock on the very connection that writes, so that a loop which lost the
lock cannot write either. A tick that is there already is compared and not written again; one that says something else
is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, LiteralString

import polars as pl
import psycopg
from psycopg import sql

from trading_pipeline.errors import (
    AlreadyRunning,
    InputRefused,
    SchemaMismatch,
    StorageUnavailable,
    TradingPipelineError,
)
from trading_pipeline.storage.locks import KEEPALIVES, Database, lock_key
from trading_pipeline.storage.server import connect
from trading_pipeline.storage.versions import aware
from trading_pipeline.tables import MOMENT, Table
from trading_pipeline.tables.live import (
    ACCOUNTS,
    FILLS,
    LIVE_LOOP_LOGS,
    LIVE_SESSIONS,
    LIVE_TABLES,
    LIVE_TICKS,
    LLM_VALIDATIONS,
    MARKET_ANALYSIS,
    ORDER_EVENTS,
    ORDERS,
    POSITIONS,
    TRADE_SIGNALS,
    TRADES,
)

PAPER: Final = "paper"
REPLAY: Final = "replay:"
OF_A_TICK: Final = (LIVE_LOOP_LOGS, MARKET_ANALYSIS, TRADE_SIGNALS, LLM_VALIDATIONS, ORDERS, ORDER_EVENTS, FILLS)
"""What a tick may write beside its own row, in the order that foreign keys ask for."""
DERIVED: Final = (POSITIONS, TRADES, ACCOUNTS)
"""What the end of a session writes, and writes anew when it ends again."""
UNREPEATED: Final = "compute_ms"
"""The one column of a tick that no rerun repeats."""

_SQL_TYPES: dict[pl.DataType, str] = {
    pl.String(): "text",
    pl.Float64(): "float8",
    pl.Int32(): "int4",
    pl.Int64(): "int8",
    pl.Boolean(): "bool",
    pl.Date(): "date",
    MOMENT: "timestamptz",
}


_PATIENCE_MS: Final = 1000
_SCHEMAS: Final = {table: table.schema for table in LIVE_TABLES.values()}


class TickDiffers(TradingPipelineError):
    """A tick was committed before and said something else."""


@dataclass(frozen=True)
class SessionRow:
    """A row of `live_sessions`, without its book."""

    session: date
    run_id: str
    rules_version: str
    equity: float
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None = None
    ended_why: str | None = None


class LiveStore:
    """The live tables of one book: `paper`, `paper:<name>` or `replay:<name>`."""

    def __init__(self, database: Database, book: str = PAPER) -> None:
        if not (book == PAPER or (book.partition(":")[0] in ("paper", "replay") and book.partition(":")[2])):
            raise InputRefused(f"There is no book {book!r}", "Name it paper, paper:<name> or replay:<name>")
        self._database = database
        self.book = book

    def __repr__(self) -> str:
        return f"LiveStore({self.book})"

    @property
    def is_replay(self) -> bool:
        """Whether the book is that of a replay, which may be deleted."""
        return self.book.startswith(REPLAY)

    # --- a session ----------------------------------------------------------------------------------------------------

    @contextmanager
    def leading(self, session: date) -> Iterator[OpenBook]:
        """The book for one loop alone; `AlreadyRunning` where another one leads it, on this session or another."""
        with _telling("opened"), connect(self._database.url) as connection:
            key = lock_key(self.lock_name)
            connection.execute(KEEPALIVES)
            # A loop that just died holds the lock until the server sees its connection gone.
            connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(_PATIENCE_MS)))
            try:
                connection.execute("SELECT pg_advisory_lock(%s)", [key])
            except psycopg.errors.LockNotAvailable:
                raise AlreadyRunning(
                    f"The book {self.book} is led by another loop",
                    "Wait until it ends or stop it; two loops would place every order twice",
                ) from None
            connection.execute("SET lock_timeout = 0")
            if self.is_replay:
                # A replay can be made again: what a power cut takes of it is no loss, and a tick saves a disk's flush.
                connection.execute("SET synchronous_commit = off")
            connection.commit()
            try:
                yield OpenBook(self, session, connection)
            finally:
                with suppress(psycopg.Error):  # where the connection is lost, so is the lock
                    connection.rollback()
                    connection.execute("SELECT pg_advisory_unlock(%s)", [key])
                    connection.commit()

    @property
    def lock_name(self) -> str:
        """The lock that whoever leads the book holds; see `locks.is_held`."""
        return f"live/{self.book}"

    def delete(self) -> None:
        """Deletes every row of a replay's book. `InputRefused` for any other, `AlreadyRunning` while it is led."""
        if not self.is_replay:
            raise InputRefused(f"The book {self.book} is kept for good", "Only books of replays are deleted")
        with self.leading(date.min) as book:
            book.delete()

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, table: Table, session: date | None = None) -> pl.DataFrame:
        """Rows of the book, of one session or all, by the table's key; see `read_all`."""
        return self.read_all([table], session)[table.name]

    def read_all(self, tables: Iterable[Table], session: date | None = None) -> dict[str, pl.DataFrame]:
        """Rows of several tables, by their name, each by its key; events belong to the session of their order.

        `StorageUnavailable` where the database cannot be asked.
        """
        return {table.name: rows for table, rows in _fetched(self._database, self.book, tables, session)}

    def session_row(self, session: date) -> SessionRow | None:
        """How the loop of that session stands; None where there was none."""
        rows = self.read(LIVE_SESSIONS, session)
        return SessionRow(**rows.drop("book").row(0, named=True)) if rows.height else None

    def account_before(self, session: date) -> Mapping[str, Any] | None:
        """The book's last row of `accounts` before `session`; None where it begins with it."""
        rows = self.read(ACCOUNTS).filter(pl.col("session") < session)
        return rows.sort("session").row(-1, named=True) if rows.height else None

    def last_tick(self, session: date) -> datetime | None:
        """The last tick committed of the session."""
        moment = self.read(LIVE_TICKS, session)["tick_at"].max()
        assert moment is None or isinstance(moment, datetime)
        return moment

    # --- the kill switch ----------------------------------------------------------------------------------------------

    def halt(self, reason: str, now: datetime) -> bool:
        """Halts trading in every book that is no replay, until it is lifted; whether it was not halted before."""
        with _telling("halted"), connect(self._database.url) as connection:
            cursor = connection.execute(
                "INSERT INTO trading_halts (halted_at, reason) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                [aware(now), reason],
            )
            return cursor.rowcount == 1

    def lift_halt(self, now: datetime) -> bool:
        """Ends the halt; whether there was one."""
        with _telling("changed"), connect(self._database.url) as connection:
            cursor = connection.execute(
                "UPDATE trading_halts SET lifted_at = greatest(halted_at, %s) WHERE lifted_at IS NULL", [aware(now)]
            )
            return cursor.rowcount > 0

    def halted(self) -> str | None:
        """Why trading is halted; None where it is not."""
        with _telling("read"), connect(self._database.url) as connection:
            return _halted(connection)


class OpenBook:
    """A book while one loop leads it. Everything goes over one connection, which holds the lock."""

    def __init__(self, store: LiveStore, session: date, connection: psycopg.Connection) -> None:
        self.store, self.session = store, session
        self._connection = connection

    def begin(self, *, run_id: str, rules_version: str, equity: float, now: datetime) -> SessionRow:
        """Begins the session, or goes on with it, and says how it then stands.

        A session that was begun keeps its equity and start, and gets the run and the rules that lead it now. One that
        ended `closed` is left as it is.
        """
        with self._transaction("begun") as cursor:
            cursor.execute(
                "INSERT INTO live_sessions AS old"
                " (book, session, run_id, rules_version, equity, started_at, heartbeat_at)"
                " VALUES (%(book)s, %(session)s, %(run_id)s, %(rules)s, %(equity)s, %(now)s, %(now)s)"
                " ON CONFLICT (book, session) DO UPDATE SET run_id = excluded.run_id,"
                " rules_version = excluded.rules_version, ended_at = NULL, ended_why = NULL"
                " WHERE old.ended_why IS DISTINCT FROM 'closed'",
                self._own(run_id=run_id, rules=rules_version, equity=equity, now=aware(now)),
            )
        row = self.store.session_row(self.session)
        assert row is not None
        return row

    def commit_tick(self, tick: pl.DataFrame, rows: Mapping[str, pl.DataFrame], heartbeat_at: datetime) -> bool:
        """Writes everything of a tick in one transaction; whether it was not there yet.

        tick: one row of `live_ticks`; rows: by table (those of `OF_A_TICK`); all without the book. A tick that is there
        already is compared: `TickDiffers` where any row of it says something else (`compute_ms` apart), else nothing
        is changed. `SchemaMismatch` where a row breaks a constraint, `StorageUnavailable` where the lock was lost.
        """
        unknown = set(rows) - {table.name for table in OF_A_TICK}
        if unknown:
            raise SchemaMismatch(f"A tick does not write {', '.join(sorted(unknown))}", "Pass the tables of OF_A_TICK")
        own = self._conformed(LIVE_TICKS, tick)
        if own.height != 1:
            raise SchemaMismatch(f"A tick has {own.height} rows of live_ticks", "Pass one")
        frames = {
            table: self._conformed(table, rows[table.name])
            for table in OF_A_TICK
            if table.name in rows and rows[table.name].height
        }
        with self._transaction("written") as cursor:
            cursor.execute(_INSERT_TICK, own.row(0, named=True))
            if not cursor.rowcount:
                self._compare(cursor, own, frames)
                return False
            for table, frame in frames.items():
                _copy(cursor, table, frame)
            cursor.execute(
                "UPDATE live_sessions SET heartbeat_at = greatest(heartbeat_at, %(now)s)"
                " WHERE book = %(book)s AND session = %(session)s",
                self._own(now=aware(heartbeat_at)),
            )
        return True

    def end(
        self,
        why: str,
        now: datetime,
        *,
        told: Mapping[str, pl.DataFrame] | None = None,
        derived: Mapping[str, pl.DataFrame] | None = None,
    ) -> None:
        """Ends the session in one transaction: closed, halted or interrupted.

        told: rows of `order_events` and `fills` that came after the last tick. derived: `positions`, `trades` and
        `accounts` of the session, which take the place of those it has; None: they are left. All without the book.
        """
        with self._transaction("ended") as cursor:
            for table in (ORDER_EVENTS, FILLS):
                if told is not None and table.name in told:
                    _copy(cursor, table, self._conformed(table, told[table.name]))
            for table in DERIVED if derived is not None else ():
                assert derived is not None
                cursor.execute(
                    sql.SQL("DELETE FROM {} WHERE book = %(book)s AND session = %(session)s").format(
                        sql.Identifier(table.name)
                    ),
                    self._own(),
                )
                _copy(cursor, table, self._conformed(table, derived[table.name]))
            cursor.execute(
                "UPDATE live_sessions SET ended_at = greatest(heartbeat_at, %(now)s), ended_why = %(why)s,"
                " heartbeat_at = greatest(heartbeat_at, %(now)s) WHERE book = %(book)s AND session = %(session)s",
                self._own(now=aware(now), why=why),
            )

    def forget_logs(self, before: date) -> int:
        """Deletes the book's `live_loop_logs` of sessions before that one; how many rows."""
        with self._transaction("thinned") as cursor:
            cursor.execute(
                "DELETE FROM live_loop_logs WHERE book = %(book)s AND session < %(before)s", self._own(before=before)
            )
            return int(cursor.rowcount)

    def delete(self) -> None:
        """Deletes every row of the book, which must be that of a replay."""
        with self._transaction("deleted") as cursor:
            for table in (*DERIVED, *reversed(OF_A_TICK), LIVE_TICKS, LIVE_SESSIONS):
                cursor.execute(
                    sql.SQL("DELETE FROM {} WHERE book = %s").format(sql.Identifier(table.name)), [self.store.book]
                )

    def halted(self) -> str | None:
        """Why trading is halted by the database's flag; None where it is not. Replays are never halted."""
        if self.store.is_replay:
            return None
        with self._transaction("read"):
            return _halted(self._connection)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _own(self, **values: object) -> dict[str, object]:
        return {"book": self.store.book, "session": self.session, **values}

    def _conformed(self, table: Table, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows as the table declares them; its constraints are the database's to check."""
        rows = frame.with_columns(book=pl.lit(self.store.book))
        schema = _SCHEMAS[table]
        rows = rows.select(schema.names()) if set(rows.columns) == set(schema) else rows
        if rows.schema != schema:
            rows = table.conform(rows)
        if "session" in schema and not (rows["session"] == self.session).all():
            raise SchemaMismatch(
                f"A frame for {table.name} holds rows of other sessions than {self.session}", "Return only its own"
            )
        return rows

    def _compare(self, cursor: psycopg.Cursor[Any], own: pl.DataFrame, frames: Mapping[Table, pl.DataFrame]) -> None:
        """`TickDiffers` unless the tick's rows are stored as they are.

        Tables with a tick of their own are compared as a whole, the others by the keys of the frames: signals may be
        written a tick after they were decided, and events tell no tick.
        """
        tick_at = own["tick_at"][0]
        expected = {LIVE_TICKS: own} | {table: frames.get(table, table.empty()) for table in OF_A_TICK}
        for table, frame in expected.items():
            names = [name for name in table.names if name != UNREPEATED]
            of_tick = table in (LIVE_TICKS, LIVE_LOOP_LOGS, MARKET_ANALYSIS)
            cursor.execute(
                sql.SQL("SELECT {} FROM {} WHERE book = %(book)s AND {}").format(
                    sql.SQL(", ").join(map(sql.Identifier, names)),
                    sql.Identifier(table.name),
                    sql.SQL("session = %(session)s AND tick_at = %(tick_at)s") if of_tick else _among(table),
                ),
                self._own(tick_at=tick_at, **{f"k_{name}": frame[name].to_list() for name in table.key}),
            )
            schema = pl.Schema({name: table.schema[name] for name in names})
            stored = pl.DataFrame(cursor.fetchall(), schema=schema, orient="row").sort(table.key)
            if not stored.equals(frame.select(names).sort(table.key)):
                raise TickDiffers(
                    f"The tick of {tick_at} is committed already, and its {table.name} say something else",
                    "Look which of the two is right; nothing was changed",
                )

    @contextmanager
    def _transaction(self, what: str) -> Iterator[psycopg.Cursor[Any]]:
        with _telling(what), self._connection.transaction(), self._connection.cursor() as cursor:
            yield cursor


def _insert_of(table: Table) -> bytes:
    names = ", ".join(table.names)
    places = ", ".join(f"%({name})s" for name in table.names)
    return f"INSERT INTO {table.name} ({names}) VALUES ({places}) ON CONFLICT DO NOTHING".encode()  # noqa: S608 - ours


_INSERT_TICK = _insert_of(LIVE_TICKS)


def _among(table: Table) -> sql.Composed:
    """Whether a row has one of the keys that the parameters list."""
    own = [name for name in table.key if name != "book"]
    return sql.SQL("({}) IN (SELECT {})").format(
        sql.SQL(", ").join(map(sql.Identifier, own)),
        sql.SQL(", ").join(
            sql.SQL("unnest({}::{}[])").format(sql.Placeholder(f"k_{name}"), sql.SQL(_SQL_TYPES[table.schema[name]]))
            for name in own
        ),
    )


def _copy(cursor: psycopg.Cursor[Any], table: Table, rows: pl.DataFrame) -> None:
    """Binary COPY: 500 rows of the log take 8 ms, by ADBC 12, and they share the transaction with the rest."""
    if rows.is_empty():
        return
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, rows.columns))
    )
    with cursor.copy(statement) as copy:
        copy.set_types([_SQL_TYPES[dtype] for dtype in rows.dtypes])
        for row in rows.iter_rows():
            copy.write_row(row)


def _halted(connection: psycopg.Connection) -> str | None:
    row = connection.execute("SELECT reason FROM trading_halts WHERE lifted_at IS NULL").fetchone()
    return None if row is None else str(row[0])


def _fetched(
    database: Database, book: str, tables: Iterable[Table], session: date | None
) -> Iterator[tuple[Table, pl.DataFrame]]:
    """Rows as Arrow: 195,000 rows of the log take a quarter of the time that tuples do; connecting takes 20 ms."""
    from adbc_driver_manager import Error
    from adbc_driver_postgresql import dbapi

    connect(database.url).close()  # an unreachable server is reported the same way everywhere
    try:
        with dbapi.connect(database.url.get_secret_value()) as connection, connection.cursor() as cursor:
            for table in tables:
                cursor.execute(_select(table, book, session).as_string())
                rows = pl.DataFrame(pl.from_arrow(cursor.fetch_arrow_table())).cast(dict(table.schema))  # type: ignore[arg-type]
                yield table, rows.sort(table.key)
    except Error as error:
        raise StorageUnavailable(
            f"The live tables could not be read ({str(error).splitlines()[0]})", "Check the database, run again"
        ) from None


def _select(table: Table, book: str, session: date | None) -> sql.Composed:
    joined: LiteralString = "order_events JOIN orders USING (book, order_id)"
    source: LiteralString = joined if table is ORDER_EVENTS and session is not None else "{table}"
    where: LiteralString = "book = {book} AND session = {session}" if session is not None else "book = {book}"
    return sql.SQL("SELECT {names} FROM " + source + " WHERE " + where).format(  # noqa: S608 - the literals above
        names=sql.SQL(", ").join(sql.Identifier(table.name, name) for name in table.names),
        table=sql.Identifier(table.name),
        book=sql.Literal(book),
        session=sql.Literal(session),
    )


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """psycopg's errors as ours. SQLSTATE class 23 is a broken constraint, 22 an impossible value."""
    try:
        yield
    except psycopg.Error as error:
        lines = str(error).splitlines()
        reason = lines[0] if lines else type(error).__name__
        if str(error.sqlstate or "").startswith(("22", "23")):
            raise SchemaMismatch(
                f"The live tables refused rows ({reason})", "Nothing was written; see what decided such a row"
            ) from None
        raise StorageUnavailable(
            f"The live session could not be {what} ({reason})",
            "Nothing was written half; check the database, then start again: it goes on where it stopped",
        ) from None
