"""The warehouse: what people, dashboards and dbt read, in PostgreSQL.

What belongs here: bulk writes that touch only the rows that differ, and queries. What does not: the schema
(`migrations/`) and any number that is not in the lake already: the lake commits first, and every table here can be
rebuilt from it with `replace`.

Frames travel by ADBC as binary COPY, in one transaction a write. Market names, tickers and everything else in a frame
are data: nothing of them becomes SQL text except as a quoted literal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, LiteralString

import polars as pl
from psycopg import sql
from psycopg.types.numeric import FloatLoader
from psycopg.types.string import TextLoader
from pydantic import SecretStr

from trading_pipeline.errors import SchemaMismatch, StorageUnavailable, UnknownName
from trading_pipeline.research.ordering import sorted_by
from trading_pipeline.storage import locks, migrations
from trading_pipeline.storage.server import connect
from trading_pipeline.storage.versions import (
    VERSION_COLUMNS,
    PublishReport,
    WriteReport,
    aware,
    compare,
    next_versions,
    refuse_other_owners,
    refuse_other_sessions,
    result_table,
    sessions_in,
)
from trading_pipeline.tables import ALL_TABLES, MARKET_DATA, MOMENT, Column, Kind, Table

if TYPE_CHECKING:
    from adbc_driver_postgresql.dbapi import Connection, Cursor

SERVED = (
    *("bar_issues", "universe_members", "corporate_actions"),
    *("fundamentals", "earnings_calendar", "news", "macro_series"),
    *("market_regime", "screener_scores", "dip_opportunities", "dip_analysis"),
    *("daily_bias", "premarket_snapshots"),
    *("backtests", "backtest_trades", "walk_forward", "monte_carlo", "parameter_sweeps", "strategy_comparison"),
)
TABLES: dict[str, Table] = {MARKET_DATA.name: MARKET_DATA, **{name: ALL_TABLES[name] for name in SERVED}}

_OPTIONAL = ("adjusted_close", "metadata")
_VERSION_COLUMNS = (
    Column("computed_at", MOMENT, "When it was published"),
    Column("withdrawn", pl.Boolean(), "Whether this version takes the decision back"),
)
_PRICE = pl.Decimal(12, 4)
_LARGEST_PRICE = 10**8
_PRICES = ("open", "high", "low", "close", "adjusted_close")
# In COPY's binary format a jsonb value is this version byte and then its text.
_JSONB_VERSION = "\x01"
# The driver encodes a batch and then sends it. One that fits the socket's buffer (130 KB of bars) is on its way while
# the next is encoded: 1.18 M bars in 1.5 s instead of 2.2 s.
_BATCH_ROWS = 1_000
# From so many rows on an empty table is filled before it is indexed.
_FIRST_LOAD_ROWS = 50_000
_CASTS: dict[pl.DataType, LiteralString] = {_PRICE: "{0}::float8 AS {0}"}
# What a query's result becomes in polars, by PostgreSQL's type number; anything else is left to polars.
_POLARS_TYPES = {
    16: pl.Boolean(),
    20: pl.Int64(),
    21: pl.Int64(),
    23: pl.Int64(),
    25: pl.String(),
    700: pl.Float64(),
    701: pl.Float64(),
    1043: pl.String(),
    1082: pl.Date(),
    1184: MOMENT,
    1700: pl.Float64(),
    3802: pl.String(),
}


class Warehouse:
    """The tables of one world's database.

    url: `Databases.warehouse`. Connections are opened for each call and closed after it, but for the one that waits
    for the next lock; `close` ends that.
    """

    def __init__(self, url: SecretStr) -> None:
        self._url = url

    def __repr__(self) -> str:
        return "Warehouse()"

    @property
    def url(self) -> SecretStr:
        """The database's URL, password included."""
        return self._url

    def migrate(self) -> bool:
        """Brings the schema up to date; whether anything was to be done. Safe in several processes at once."""
        return migrations.upgrade(self)

    def close(self) -> None:
        """Closes the connection kept for the next lock."""
        locks.close_idle(self)

    # --- writing ------------------------------------------------------------------------------------------------------

    def replace(self, market: str, table: Table | str, sessions: Sequence[date], frame: pl.DataFrame) -> WriteReport:
        """Makes the rows of exactly `sessions` those of `frame`, in one transaction; equal rows are not touched.

        frame: the table's declared columns; for decision tables every version, with `computed_at` and `withdrawn` (as
        `Lake.read_sessions` returns them). `market_data` may leave out `adjusted_close` and `metadata`: rows then keep
        what they have. Prices are rounded to four decimals. Raises `SchemaMismatch` where a row breaks a constraint.
        """
        declared = _served(table)
        rows = _conformed(declared, frame)
        refuse_other_sessions(declared, rows, sessions)
        if not sessions:
            return WriteReport()
        typed = _typed(declared, market, rows)
        with self._transaction(market, declared) as cursor:
            if typed.height >= _FIRST_LOAD_ROWS and (definitions := _emptied(cursor, declared)) is not None:
                _copy(cursor, declared.name, typed)
                for definition in definitions:
                    cursor.execute(definition)
                return WriteReport(inserted=typed.height, sessions=sessions_in(declared, typed))
            present = _read(cursor, declared, market, sessions, typed.schema)
            return _apply(cursor, declared, present, typed)

    def replace_result(
        self, market: str, table: Table | str, owner: Mapping[str, str], frame: pl.DataFrame
    ) -> WriteReport:
        """Makes the rows of `owner` in a result table those of `frame`, in one transaction, by the rules of the lake's
        `replace_result`."""
        declared = result_table(_served(table))
        rows = declared.conform(frame)
        refuse_other_owners(declared, rows, owner)
        typed = _typed(declared, market, rows)
        whose = sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
            for name, value in {"market": market, **owner}.items()
        )
        with self._transaction(market, declared) as cursor:
            columns = _listed(typed.columns)
            table_name = sql.Identifier(declared.name)
            cursor.execute(
                _sql("SELECT {columns} FROM {table} WHERE {whose}", columns=columns, table=table_name, whose=whose)
            )
            present = pl.DataFrame(pl.from_arrow(cursor.fetch_arrow_table())).cast(dict(typed.schema))  # type: ignore[arg-type]
            report = compare(declared, sorted_by(present, declared.key_columns).select(typed.columns), typed)
            if report.changed:
                cursor.execute(_sql("DELETE FROM {table} WHERE {whose}", table=table_name, whose=whose))
                _copy(cursor, declared.name, typed)
            return report

    def publish(
        self, market: str, table: Table | str, sessions: Sequence[date], frame: pl.DataFrame, computed_at: datetime
    ) -> PublishReport:
        """Publishes decisions by the rules of `Lake.publish`: appends what differs, withdraws what vanished."""
        declared = _served(table)
        if declared.kind is not Kind.DECISION:
            raise SchemaMismatch(f"{declared.name} is not a decision table", "Use `replace` for it")
        moment = aware(computed_at)
        rows = declared.conform(frame)
        refuse_other_sessions(declared, rows, sessions)
        if not sessions:
            return PublishReport()
        with self._transaction(market, declared) as cursor:
            versions = _read(cursor, declared, market, sessions, pl.Schema({**declared.schema, **VERSION_COLUMNS}))
            fresh, report = next_versions(declared, versions, rows, moment)
            if report.changed:
                _copy(cursor, declared.name, fresh.with_columns(market=pl.lit(market)))
            return report

    def refresh_adjusted_close(self, market: str, frame: pl.DataFrame) -> int:
        """Sets `market_data.adjusted_close` where it differs; how many rows did. frame: [ticker, date, adjusted_close].

        The one column that moves when a later split or dividend becomes known; nothing downstream reads it.
        """
        wanted = frame.select(
            "ticker", "date", pl.col("adjusted_close").cast(pl.Float64).round(4).cast(_PRICE), market=pl.lit(market)
        )
        with self._transaction(market, MARKET_DATA) as cursor:
            _stage(cursor, MARKET_DATA.name, wanted)
            cursor.execute(
                "UPDATE market_data AS old SET adjusted_close = new.adjusted_close FROM staging AS new"
                " WHERE old.ticker = new.ticker AND old.date = new.date AND old.market = new.market"
                " AND old.adjusted_close IS DISTINCT FROM new.adjusted_close"
            )
            return int(cursor.rowcount)

    def note_run_failure(self, run_id: str, job_name: str, failed_at: datetime, error: str) -> None:
        """Keeps a failed run in `run_failures`, once: telling it again changes nothing."""
        with connect(self._url) as connection:
            connection.execute(
                "INSERT INTO run_failures (run_id, job_name, failed_at, error) VALUES (%s, %s, %s, %s)"
                " ON CONFLICT (run_id) DO NOTHING",
                [run_id, job_name, aware(failed_at), error],
            )

    # --- reading ------------------------------------------------------------------------------------------------------

    def query(self, statement: str, params: Mapping[str, object] | None = None) -> pl.DataFrame:
        """The rows a statement returns, numerics as floats, moments in UTC.

        Values belong in `params` and stand in the statement as `%(name)s`; a literal per cent sign is then `%%`.
        """
        with connect(self._url) as connection:
            connection.adapters.register_loader("numeric", FloatLoader)
            connection.adapters.register_loader("jsonb", TextLoader)
            cursor = connection.execute(statement.encode(), params)
            schema = {column.name: _POLARS_TYPES.get(column.type_code) for column in cursor.description or ()}
            return pl.DataFrame(cursor.fetchall(), schema=schema, orient="row", infer_schema_length=None)

    # --- inside -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, market: str, declared: Table) -> Iterator[Cursor]:
        """One transaction that is alone in writing the table's rows of that market; rolled back on any error."""
        from adbc_driver_manager import Error

        connect(self._url).close()  # an unreachable server is reported the same way everywhere
        key = locks.lock_key(f"warehouse {market}/{declared.name}")
        try:
            with _adbc(self._url) as connection, connection.cursor() as cursor:
                cursor.execute(f"SELECT pg_advisory_xact_lock({key})")
                cursor.fetchall()
                yield cursor
                connection.commit()
        except Error as error:
            raise _refused(declared, error) from None


def _adbc(url: SecretStr) -> Connection:
    from adbc_driver_postgresql import dbapi

    return dbapi.connect(url.get_secret_value())


def _refused(declared: Table, error: Any) -> SchemaMismatch | StorageUnavailable:
    """What the server objected to, in one line. SQLSTATE class 23 is a broken constraint, 22 an impossible value."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    if str(getattr(error, "sqlstate", None) or "").startswith(("22", "23")):
        return SchemaMismatch(
            f"The warehouse refused rows for {declared.name} ({reason})",
            "Nothing was written; mend the rows or quarantine them as bar issues",
        )
    return StorageUnavailable(
        f"The warehouse could not write {declared.name} ({reason})",
        "Nothing was written; check the database, run again",
    )


def _served(table: Table | str) -> Table:
    name = table.name if isinstance(table, Table) else table
    if name not in TABLES:
        raise UnknownName.of("warehouse table", name, TABLES)
    return TABLES[name]


def _sql(template: LiteralString, **parts: sql.Composable) -> str:
    """A statement as ADBC wants it, its identifiers and literals quoted."""
    return sql.SQL(template).format(**parts).as_string()


def _listed(columns: Sequence[str], prefix: LiteralString = "") -> sql.Composable:
    return sql.SQL(", ").join(sql.SQL(prefix) + sql.Identifier(column) for column in columns)


def _read(cursor: Cursor, declared: Table, market: str, sessions: Sequence[date], schema: pl.Schema) -> pl.DataFrame:
    """The table's rows of those sessions, with the columns and types of `schema`."""
    # ADBC hands numerics out as text: as floats they come faster, and four decimals survive the way there and back.
    columns = sql.SQL(", ").join(
        sql.SQL(_CASTS.get(dtype, "{0}") if name != "metadata" else "{0}::text AS {0}").format(sql.Identifier(name))
        for name, dtype in schema.items()
    )
    statement = "SELECT {columns} FROM {table} WHERE market = {market} AND {session} = ANY ({days}::date[])"
    cursor.execute(
        _sql(
            statement,
            columns=columns,
            table=sql.Identifier(declared.name),
            market=sql.Literal(market),
            session=sql.Identifier(declared.session_column),
            # One literal: as 2,520 of them the list takes 60 ms to write and to read.
            days=sql.Literal(f"{{{','.join(day.isoformat() for day in sorted(set(sessions)))}}}"),
        )
    )
    rows = pl.DataFrame(pl.from_arrow(cursor.fetch_arrow_table()))
    prices = [pl.col(name).round(4) for name, dtype in schema.items() if dtype == _PRICE]
    rows = rows.with_columns(prices).cast(dict(schema))  # type: ignore[arg-type]
    return rows.with_columns(_canonical(rows["metadata"])) if "metadata" in schema else rows


def _conformed(declared: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame checked against the table; decision versions keep their clock, optional columns may be missing."""
    if declared.kind is Kind.DECISION:
        versions = Table(
            declared.name,
            Kind.SESSION,
            declared.description,
            (*declared.key, "computed_at"),
            (*declared.columns, *_VERSION_COLUMNS),
            declared.session_column,
        )
        return versions.conform(frame)
    if declared is MARKET_DATA:
        columns = tuple(c for c in declared.columns if c.name in frame.columns or c.name not in _OPTIONAL)
        return Table(
            declared.name, declared.kind, declared.description, declared.key, columns, declared.session_column
        ).conform(frame)
    return declared.conform(frame)


def _typed(declared: Table, market: str, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows as COPY wants them: with their market, sorted by key, `market_data` in the types of its columns."""
    rows = sorted_by(rows, declared.key).with_columns(market=pl.lit(market))
    if declared is not MARKET_DATA:
        return rows
    prices = [name for name in _PRICES if name in rows.columns]
    beyond = rows.filter(
        pl.any_horizontal((pl.col(name).is_finite() & (pl.col(name).abs() < _LARGEST_PRICE)).not_() for name in prices)
        | pl.col("volume").is_finite().not_()
    )
    if beyond.height:
        raise SchemaMismatch(
            f"{beyond.height} rows for market_data hold a price that is no number below {_LARGEST_PRICE:,}, such as"
            f" {beyond['ticker'][0]} on {beyond['date'][0]}",
            "Quarantine such rows as bar issues",
        )
    rows = rows.with_columns(
        *(pl.col(name).round(4).cast(_PRICE) for name in prices), pl.col("volume").round().cast(pl.Int64)
    )
    if "metadata" in rows.columns:
        rows = rows.with_columns(_canonical(rows["metadata"].fill_null("{}")))
    return rows


def _canonical(texts: pl.Series) -> pl.Series:
    """JSON objects spelt one way, so that equal ones compare equal, in COPY's form; few texts are distinct."""
    distinct = texts.unique()
    try:
        parsed = [json.loads(text) for text in distinct]
    except ValueError as error:
        raise SchemaMismatch(f"metadata of market_data is not JSON ({error})", "Give a JSON object or null") from None
    if not all(isinstance(value, dict) for value in parsed):
        raise SchemaMismatch("metadata of market_data is not a JSON object", "Give a JSON object or null")
    spelt = [_JSONB_VERSION + json.dumps(value, sort_keys=True, ensure_ascii=False) for value in parsed]
    return texts.replace_strict(distinct, pl.Series(spelt, dtype=pl.String), return_dtype=pl.String)


def _copy(cursor: Cursor, table: str, rows: pl.DataFrame, *, temporary: bool = False) -> None:
    """Binary COPY of the rows into a table that has their columns."""
    import pyarrow as pa

    if rows.height:
        arrow = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        batches = pa.RecordBatchReader.from_batches(arrow.schema, arrow.to_batches(max_chunksize=_BATCH_ROWS))
        cursor.adbc_ingest(table, batches, mode="append", temporary=temporary)


def _emptied(cursor: Cursor, declared: Table) -> list[str] | None:
    """Takes the key and the indexes off a table without rows; the statements that put them back, None where it stays.

    An index over rows that are there is built in a sixth of the time it takes to grow (1.18 M bars: 0.5 s of the
    server's time against 2.3 s). A table truncated in the same transaction needs no write-ahead log where the server
    keeps a minimal one. Until the transaction ends nobody else sees or reads the table: it has nothing to show yet, and
    if this one fails or dies it is as it was. Where somebody is using the table, other objects hang on its key, or it
    belongs to another role, it stays.
    """
    name, table = sql.Literal(declared.name), sql.Identifier(declared.name)
    if not _answer(cursor, _sql("SELECT NOT EXISTS (SELECT FROM {table})", table=table))[0][0]:
        return None
    indexes = _sql(_INDEXES, name=name)
    found = _answer(cursor, indexes)
    take_off = "; ".join(statement for _, statement in found)
    cursor.execute(_sql(_TAKE_OFF, table=table) % take_off)
    # The block has undone itself where it could not come to its end.
    return None if _answer(cursor, indexes) else [put_back for put_back, _ in found]


# What puts back each index of a table, and what takes it off; an index that a constraint made goes with it.
_INDEXES: LiteralString = """
SELECT
    CASE WHEN c.oid IS NULL THEN pg_get_indexdef(indexrelid)
         ELSE format('ALTER TABLE %s ADD CONSTRAINT %I %s', indrelid::regclass, conname, pg_get_constraintdef(c.oid))
    END,
    CASE WHEN c.oid IS NULL THEN format('DROP INDEX %s', indexrelid::regclass)
         ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', indrelid::regclass, conname)
    END
FROM pg_index LEFT JOIN pg_constraint AS c ON conindid = indexrelid AND conrelid = indrelid
WHERE indrelid = {name}::regclass
ORDER BY c.oid IS NULL, indexrelid
"""

# The driver knows no way back from an error but the end of the transaction; the server's own language does.
_TAKE_OFF: LiteralString = """
DO $take_off$ BEGIN
    LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE NOWAIT;
    IF EXISTS (SELECT FROM {table}) THEN
        RAISE lock_not_available;
    END IF;
    TRUNCATE {table};
    %s;
EXCEPTION WHEN lock_not_available OR insufficient_privilege OR dependent_objects_still_exist THEN
END $take_off$
"""


def _answer(cursor: Cursor, statement: str) -> list[tuple[Any, ...]]:
    cursor.execute(statement)
    return list(cursor.fetchall())


def _stage(cursor: Cursor, like: str, rows: pl.DataFrame) -> None:
    """The rows as the temporary table `staging`, in the types of the table `like`."""
    statement = "CREATE TEMPORARY TABLE staging ON COMMIT DROP AS SELECT {columns} FROM {like} WITH NO DATA"
    cursor.execute(_sql(statement, columns=_listed(rows.columns), like=sql.Identifier(like)))
    _copy(cursor, "staging", rows, temporary=True)
    cursor.execute("ANALYZE staging")


_DELETE: LiteralString = "DELETE FROM {table} AS old USING staging AS new WHERE {same}"
# Compared once more by the server, whose word on equality decides (1.0 and 1 in JSON, say).
_UPDATE: LiteralString = (
    "UPDATE {table} AS old SET ({values}) = ROW ({new}) FROM staging AS new"
    " WHERE {same} AND ({old}) IS DISTINCT FROM ({new})"
)


def _apply(cursor: Cursor, declared: Table, present: pl.DataFrame, rows: pl.DataFrame) -> WriteReport:
    """Deletes what vanished, updates what differs, inserts what is new; only such rows travel to the server."""
    clock = ["computed_at"] if declared.kind is Kind.DECISION else []
    key = ["market", *declared.key_columns, *clock]
    values = [column for column in rows.columns if column not in key]
    gone = present.join(rows, on=key, how="anti")
    differing = rows if present.is_empty() else rows.join(present, on=rows.columns, how="anti", nulls_equal=True)
    changed = differing.join(present, on=key, how="semi")
    new = differing.join(present, on=key, how="anti") if present.height else differing
    parts = {
        "table": sql.Identifier(declared.name),
        "same": sql.SQL(" AND ").join(sql.SQL("old.{0} = new.{0}").format(sql.Identifier(column)) for column in key),
        "values": _listed(values),
        "old": _listed(values, "old."),
        "new": _listed(values, "new."),
    }
    updated = 0
    if gone.height:
        _stage(cursor, declared.name, gone.select(key))
        cursor.execute(_sql(_DELETE, **parts))
        cursor.execute("DROP TABLE staging")
    if changed.height and values:
        _stage(cursor, declared.name, changed)
        cursor.execute(_sql(_UPDATE, **parts))
        updated = int(cursor.rowcount)
    _copy(cursor, declared.name, new)
    touched = pl.concat([frame.select(declared.session_column) for frame in (gone, changed if updated else new, new)])
    return WriteReport(
        inserted=new.height,
        updated=updated,
        deleted=gone.height,
        unchanged=rows.height - new.height - updated,
        sessions=sessions_in(declared, touched),
    )
