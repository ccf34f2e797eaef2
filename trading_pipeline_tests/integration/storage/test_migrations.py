"""The warehouse's schema: reached from nothing, once, and in step with the declarations of the tables."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest
from alembic.script import ScriptDirectory

from trading_pipeline.errors import StorageUnavailable
from trading_pipeline.research.ledger import ledger
from trading_pipeline.storage import migrations
from trading_pipeline.storage.outbox import Alert, Outbox
from trading_pipeline.storage.server import connect
from trading_pipeline.storage.warehouse import TABLES, Warehouse
from trading_pipeline.tables import MARKET_DATA, MOMENT, Kind
from trading_pipeline_tests.unit.research.ledger.conftest import SESSIONS, Day, actions_of, prices_of

SQL_TYPES = {
    pl.String(): "text",
    pl.Float64(): "double precision",
    pl.Int32(): "integer",
    pl.Int64(): "bigint",
    pl.Boolean(): "boolean",
    pl.Date(): "date",
    MOMENT: "timestamp with time zone",
}
MARKET_DATA_TYPES = {"volume": "bigint", "metadata": "jsonb"} | dict.fromkeys(
    ("open", "high", "low", "close", "adjusted_close"), "numeric"
)


def columns_of(warehouse: Warehouse, table: str) -> dict[str, tuple[str, bool]]:
    rows = warehouse.query(
        "SELECT column_name::text, data_type::text, is_nullable = 'YES' AS nullable FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %(table)s",
        {"table": table},
    )
    return {name: (kind, nullable) for name, kind, nullable in rows.iter_rows()}


def test_head_is_the_last_migration():
    directory = ScriptDirectory(migrations.__path__[0])
    assert directory.get_heads() == [migrations.HEAD]


def test_migrating_again_does_nothing(embedded_server):
    warehouse = Warehouse(embedded_server.create_database())
    assert migrations.revision(warehouse.url) is None
    assert warehouse.migrate()
    assert not warehouse.migrate()
    assert migrations.revision(warehouse.url) == migrations.HEAD


def test_processes_that_migrate_at_once_end_at_one_schema(embedded_server, python):
    url = embedded_server.create_database()
    script = (
        "import sys; from pydantic import SecretStr; from trading_pipeline.storage.warehouse import Warehouse;"
        "print(Warehouse(SecretStr(sys.argv[1])).migrate())"
    )
    children = [python(script, url.get_secret_value()) for _ in range(3)]
    answers = [child.communicate(timeout=120) for child in children]
    assert sorted(out.strip() for out, _ in answers) == ["False", "False", "True"], answers
    assert migrations.revision(url) == migrations.HEAD


def test_a_migration_that_fails_leaves_nothing(embedded_server):
    url = embedded_server.create_database()
    with connect(url) as connection:
        connection.execute("CREATE TABLE run_failures (in_the_way text)")
    with pytest.raises(Exception, match="run_failures"):
        Warehouse(url).migrate()
    with connect(url) as connection:
        assert connection.execute("SELECT to_regclass('market_data')").fetchone() == (None,)
    assert migrations.revision(url) is None


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_columns_agree_with_the_declaration(warehouse, table):
    found = columns_of(warehouse, table.name)
    special = MARKET_DATA_TYPES if table is MARKET_DATA else {}
    expected = {
        column.name: (special.get(column.name) or SQL_TYPES[column.dtype], column.nullable) for column in table.columns
    }
    expected["market"] = ("text", False)
    if table.kind is Kind.DECISION:
        expected |= {"computed_at": ("timestamp with time zone", False), "withdrawn": ("boolean", False)}
    if table is MARKET_DATA:
        moment = ("timestamp with time zone", False)
        expected |= {"created_at": moment, "updated_at": moment, "metadata": ("jsonb", False)}
    assert found == expected


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_the_primary_key_is_the_declared_key_of_a_market(warehouse, table):
    found = warehouse.query(
        "SELECT a.attname::text AS name FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
        " AND a.attnum = ANY (i.indkey) WHERE i.indisprimary AND i.indrelid = to_regclass(%(table)s)",
        {"table": table.name},
    )["name"]
    clock = {"computed_at"} if table.kind is Kind.DECISION else set()
    market = set() if table is MARKET_DATA else {"market"}
    assert set(found) == {*table.key_columns, *clock, *market}


def test_market_data_is_indexed_by_ticker_and_date_descending(warehouse):
    found = warehouse.query("SELECT indexdef FROM pg_indexes WHERE tablename = 'market_data'")["indexdef"].to_list()
    assert any("(ticker, date DESC)" in definition for definition in found)


def test_a_database_of_a_newer_program_is_left_alone(embedded_server):
    url = embedded_server.create_database()
    Warehouse(url).migrate()
    with connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageUnavailable, match="newer than this program's"):
        Warehouse(url).migrate()


def test_dips_that_waited_before_there_were_kinds_of_alerts_are_sent_after_it(embedded_server):
    """And a program that was started before goes on writing dips down."""
    write = (
        "INSERT INTO alert_outbox (dedup_key, market, session, instrument_id, ticker, threshold_pct, channel, payload,"
        " created_at, next_attempt_at, expires_at)"
        " VALUES (%s, 'us', '2024-03-15', 'us:AAA', 'AAA', 10, 'discord', '{}',"
        " '2024-03-15 22:00Z', '2024-03-15 22:00Z', '2024-03-18 22:00Z')"
    )
    warehouse = Warehouse(embedded_server.create_database())
    migrations.run(warehouse.url, "0006")
    with connect(warehouse.url) as connection:
        connection.execute(write, ["dip/discord/us/2024-03-15/us:AAA/10"])
    assert warehouse.migrate()
    with connect(warehouse.url) as connection:
        connection.execute(write, ["dip/discord/us/2024-03-15/us:AAA/15"])
    outbox, now = Outbox(warehouse), datetime(2024, 3, 15, 23, tzinfo=UTC)
    batch = outbox.claim("discord", now)
    assert (batch.kind, len(batch.alerts)) == ("dip", 2)
    known = Alert("dip", "us", date(2024, 3, 15), "us:AAA", "AAA", {}, 10.0)
    assert outbox.enqueue([known], ["discord"], now=now, due_at=now, expires_at=now) == 0, "and are not told again"


def test_dividends_that_were_in_cash_alone_are_told_after_it(embedded_server):
    """A long position closed in parts, a short one, and one of a single day; A and B pay while they are held."""
    day = Day().fill("a", 100, 50.0, fee=1.0).fill("b", 30, 20.0, fee=0.3, side="sell", name="us:B")
    day.fill("a2", 40, 52.0, fee=0.4, session=1, side="sell", role="close")
    day.fill("c", 10, 9.0, session=1, name="us:C").fill("d", 10, 9.5, session=1, side="sell", role="close", name="us:C")
    day.fill("a3", 60, 49.0, fee=0.6, session=2, side="sell", role="close")
    day.fill("b2", 30, 19.5, fee=0.3, session=3, name="us:B", role="close")
    marks = prices_of((0, 50.5), (1, 51.5), (0, 20.5, "us:B"), (1, 20.1, "us:B"), (2, 19.9, "us:B"))
    paid = actions_of((1, "dividend", 0.2425), (2, "dividend", 0.11), (2, "dividend", 0.333333, "us:B"))
    found = ledger(day.orders, day.fills, marks, SESSIONS, 100_000.0, paid)
    assert found.accounts["income"].to_list() == [0.0, 24.25, -3.4, 0.0, 0.0]

    warehouse = Warehouse(embedded_server.create_database())
    migrations.run(warehouse.url, "0007")
    begun = pl.DataFrame({"session": SESSIONS, "equity": 1.0}).with_columns(
        *(pl.lit("").alias(name) for name in ("run_id", "rules_version")),
        *(pl.lit(datetime(2025, 9, 15, tzinfo=UTC)).alias(name) for name in ("started_at", "heartbeat_at")),
        book=pl.lit("paper"),
    )
    stored = {"live_sessions": begun, "orders": day.orders, "trades": found.trades, "accounts": found.accounts}
    with connect(warehouse.url) as connection:
        for name, rows in stored.items():
            older = rows.with_columns(book=pl.lit("paper")).drop("income", strict=False)
            places = ", ".join(f"%({column})s" for column in older.columns)
            connection.cursor().executemany(
                f"INSERT INTO {name} ({', '.join(older.columns)}) VALUES ({places})", older.to_dicts()
            )
    assert warehouse.migrate()
    for table, key, expected in (("accounts", "session", found.accounts), ("trades", "trade_id", found.trades)):
        assert warehouse.query(f"SELECT {key}, income FROM {table} ORDER BY {key}").equals(
            expected.select(key, "income")
        ), table
