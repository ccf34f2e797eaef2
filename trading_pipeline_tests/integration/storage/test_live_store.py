"""The live tables: one transaction a tick, one loop a book, nothing changed once it is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from trading_pipeline.errors import AlreadyRunning, InputRefused, SchemaMismatch, StorageUnavailable
from trading_pipeline.storage import locks
from trading_pipeline.storage.live_store import LiveStore, OpenBook, TickDiffers
from trading_pipeline.storage.server import connect
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline.tables import LIVE_TABLES, MOMENT, Table
from trading_pipeline.tables.live import (
    ACCOUNTS,
    FILLS,
    LIVE_LOOP_LOGS,
    LIVE_TICKS,
    MARKET_ANALYSIS,
    ORDER_EVENTS,
    ORDERS,
    POSITIONS,
    TRADE_SIGNALS,
    TRADES,
)

SESSION = date(2025, 9, 17)
TICK = datetime(2025, 9, 17, 13, 31, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SQL_TYPES = {
    pl.String(): "text",
    pl.Float64(): "double precision",
    pl.Int32(): "integer",
    pl.Int64(): "bigint",
    pl.Boolean(): "boolean",
    pl.Date(): "date",
    MOMENT: "timestamp with time zone",
}
_PLAIN: dict[Any, Any] = {
    pl.String(): "x", pl.Float64(): 1.0, pl.Int32(): 1, pl.Int64(): 1, pl.Boolean(): True, pl.Date(): SESSION,
    MOMENT: TICK,
}  # fmt: skip


IMPOSSIBLE: list[tuple[str, dict[str, Any]]] = [
    ("market_analysis", {"long": 2.5}),
    ("market_analysis", {"mean_reversion": 0.4}),
    ("trade_signals", {"multiplier": 2.01}),
    ("trade_signals", {"side": "up"}),
    ("trade_signals", {"outcome": "risk"}),
    ("orders", {"quantity": 0}),
    ("orders", {"role": "hedge"}),
    ("orders", {"limit_price": None, "stop_price": None}),
    ("order_events", {"status": "lost", "sequence": 1}),
    ("fills", {"quantity": -1}),
    ("live_loop_logs", {"bar_started_at": TICK}),
]


def rows(table: Table, *values: dict[str, Any]) -> pl.DataFrame:
    """Rows of a table without the book: what is not given is null, or any value where null is not allowed."""
    usual = {column.name: None if column.nullable else _PLAIN[column.dtype] for column in table.columns}
    return pl.DataFrame([usual | each for each in values], schema=table.schema).drop("book")


def tick(at: datetime = TICK, **changes: Any) -> pl.DataFrame:
    return rows(LIVE_TICKS, {"tick_at": at, "fresh": 1, "symbols": 1, "signals": 1, "orders": 1} | changes)


def everything(at: datetime = TICK) -> dict[str, pl.DataFrame]:
    """What a tick may write: a bar, a signal with its bracket, the first events, a fill."""
    place = f"{at:%H%M}"
    signal = {"signal_id": f"s{place}", "tick_at": at, "setup": "mean_reversion", "side": "long", "outcome": "ordered"}
    entry = {
        "order_id": f"e{place}", "signal_id": f"s{place}", "role": "entry", "side": "buy", "order_type": "limit",
        "limit_price": 10.0, "time_in_force": "day", "created_at": at, "risk": 5.0,
    }  # fmt: skip
    stop = {
        "order_id": f"e{place}-stop", "parent_id": f"e{place}", "role": "stop", "side": "sell", "order_type": "stop",
        "stop_price": 9.0, "time_in_force": "gtc", "created_at": at,
    }  # fmt: skip
    pending = {"sequence": 0, "at": at, "status": "pending"}
    fill = {"fill_id": f"f{place}", "order_id": f"e{place}", "at": at, "side": "buy", "price": 10.0, "fee": 1.0}
    return {
        "live_loop_logs": rows(LIVE_LOOP_LOGS, {"tick_at": at, "bar_started_at": at - MINUTE}),
        "trade_signals": rows(TRADE_SIGNALS, signal),
        "market_analysis": rows(MARKET_ANALYSIS, {"tick_at": at, "source": "rules"}),
        "orders": rows(ORDERS, entry, stop),
        "order_events": rows(
            ORDER_EVENTS, {"order_id": f"e{place}", **pending}, {"order_id": f"e{place}-stop", **pending}
        ),
        "fills": rows(FILLS, fill),
    }


def derived(quantity: int = 1) -> dict[str, pl.DataFrame]:
    trade = {"side": "long", "exit_reason": "stop"}
    return {
        "positions": rows(POSITIONS, {"quantity": quantity}),
        "trades": rows(TRADES, trade),
        "accounts": rows(ACCOUNTS, {"cash": 1.0, "market_value": 2.0, "equity": 3.0}),
    }


@contextmanager
def begun(warehouse: Warehouse, book: str = "paper") -> Iterator[OpenBook]:
    with LiveStore(warehouse, book).leading(SESSION) as opened:
        opened.begin(run_id="", rules_version="1", equity=100.0, now=TICK)
        yield opened


def counts(warehouse: Warehouse, book: str = "paper") -> dict[str, int]:
    return {name: rows.height for name, rows in LiveStore(warehouse, book).read_all(LIVE_TABLES.values()).items()}


def test_columns_and_keys_agree_with_the_declaration(warehouse):
    columns = warehouse.query(
        "SELECT table_name::text, column_name::text, data_type::text, is_nullable = 'YES' AS nullable"
        " FROM information_schema.columns WHERE table_schema = 'public'"
    )
    keys = warehouse.query(
        "SELECT i.indrelid::regclass::text AS table_name, a.attname::text AS name FROM pg_index i"
        " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) WHERE i.indisprimary"
    )
    for name, table in LIVE_TABLES.items():
        found = columns.filter(pl.col("table_name") == name).drop("table_name")
        assert {column: (kind, nullable) for column, kind, nullable in found.iter_rows()} == {
            column.name: (SQL_TYPES[column.dtype], column.nullable) for column in table.columns
        }
        assert set(keys.filter(pl.col("table_name") == name)["name"]) == set(table.key)


def test_a_tick_is_read_back_as_it_was_written(warehouse):
    with begun(warehouse) as book:
        assert book.commit_tick(tick(), everything(), TICK)
    store = LiveStore(warehouse)
    for name, frame in {"live_ticks": tick(), **everything()}.items():
        assert store.read(LIVE_TABLES[name], SESSION).drop("book").equals(frame), name
    assert store.last_tick(SESSION) == TICK


def test_a_tick_that_fails_leaves_nothing(warehouse):
    broken = everything() | {"fills": rows(FILLS, {"order_id": "nobody's", "side": "buy"})}
    with begun(warehouse) as book, pytest.raises(SchemaMismatch, match="fills"):
        book.commit_tick(tick(), broken, TICK)
    assert {name for name, count in counts(warehouse).items() if count} == {"live_sessions"}


def test_committing_a_tick_again_changes_nothing(warehouse):
    with begun(warehouse) as book:
        book.commit_tick(tick(), everything(), TICK)
        before = counts(warehouse)
        assert not book.commit_tick(tick(compute_ms=99.0), everything(), TICK + MINUTE)
    assert counts(warehouse) == before


def test_a_tick_that_says_something_else_is_an_error(warehouse):
    same = everything()
    others = {
        "live_ticks": (tick(fresh=0), same),
        "live_loop_logs": (tick(), same | {"live_loop_logs": same["live_loop_logs"].clear()}),
        "trade_signals": (tick(), same | _changed("trade_signals", outcome_reason="something else")),
        "market_analysis": (tick(), same | _changed("market_analysis", long=1.5)),
        "orders": (tick(), same | _changed("orders", ticker="another")),
        "fills": (tick(), same | _changed("fills", price=11.0)),
    }
    with begun(warehouse) as book:
        book.commit_tick(tick(), everything(), TICK)
        before = counts(warehouse)
        for table, (own, rows_of_it) in others.items():
            with pytest.raises(TickDiffers, match=table):
                book.commit_tick(own, rows_of_it, TICK)
    assert counts(warehouse) == before


def _changed(table: str, **values: Any) -> dict[str, pl.DataFrame]:
    return {table: everything()[table].with_columns(pl.lit(value).alias(name) for name, value in values.items())}


def test_a_second_loop_is_refused_whatever_its_session(warehouse):
    with begun(warehouse):
        assert locks.is_held(warehouse, LiveStore(warehouse).lock_name)
        with (
            pytest.raises(AlreadyRunning, match="led by another loop"),
            LiveStore(warehouse).leading(SESSION + timedelta(days=1)),
        ):
            pass
        with LiveStore(warehouse, "replay:x").leading(SESSION):
            pass
    with begun(warehouse):
        pass


def test_a_loop_that_lost_its_connection_writes_nothing(warehouse):
    with begun(warehouse) as book, pytest.raises(StorageUnavailable, match="could not be written"):
        with connect(warehouse.url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                " AND pid <> pg_backend_pid()"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        book.commit_tick(tick(), everything(), TICK)
    assert counts(warehouse)["live_ticks"] == 0


def test_what_was_said_is_never_changed(warehouse):
    with begun(warehouse) as book:
        book.commit_tick(tick(), everything(), TICK)
    for table in ("live_ticks", "trade_signals", "market_analysis", "orders", "order_events", "fills"):
        for statement in (f"UPDATE {table} SET book = book", f"DELETE FROM {table}"):
            with connect(warehouse.url) as connection, pytest.raises(Exception, match="append-only"):
                connection.execute(statement)


def test_a_replay_is_deleted_as_a_whole_and_changed_by_nobody(warehouse):
    for name in ("replay:x", "paper"):
        with begun(warehouse, name) as book:
            book.commit_tick(tick(), everything(), TICK)
            book.end("closed", TICK, derived=derived())
    with connect(warehouse.url) as connection, pytest.raises(Exception, match="append-only"):
        connection.execute("UPDATE orders SET quantity = 2 WHERE book = 'replay:x'")
    LiveStore(warehouse, "replay:x").delete()
    assert not any(counts(warehouse, "replay:x").values())
    assert counts(warehouse)["orders"] == 2
    with pytest.raises(InputRefused, match="kept for good"):
        LiveStore(warehouse).delete()


def test_the_database_refuses_what_cannot_be(warehouse):
    with begun(warehouse) as book:
        for table, change in IMPOSSIBLE:
            broken = everything()
            schema = broken[table].schema
            values = [pl.lit(value, schema[name]).alias(name) for name, value in change.items()]
            broken[table] = broken[table].with_columns(values)
            with pytest.raises(SchemaMismatch, match=table):
                book.commit_tick(tick(), broken, TICK)
        assert book.commit_tick(tick(), everything(), TICK)


def test_a_session_goes_on_with_the_equity_it_began_with(warehouse):
    store = LiveStore(warehouse)
    with store.leading(SESSION) as book:
        book.begin(run_id="first", rules_version="1", equity=100.0, now=TICK)
        book.end("interrupted", TICK + MINUTE)
    with store.leading(SESSION) as book:
        row = book.begin(run_id="second", rules_version="2", equity=5.0, now=TICK + 2 * MINUTE)
    assert (row.run_id, row.rules_version, row.equity, row.started_at) == ("second", "2", 100.0, TICK)
    assert row.ended_at is None


def test_a_session_that_closed_stays_closed(warehouse):
    with begun(warehouse) as book:
        book.end("closed", TICK, derived=derived())
    with LiveStore(warehouse).leading(SESSION) as book:
        row = book.begin(run_id="again", rules_version="2", equity=5.0, now=TICK + MINUTE)
    assert (row.run_id, row.ended_why) == ("", "closed")


def test_ending_again_replaces_what_is_derived(warehouse):
    with begun(warehouse) as book:
        for quantity in (1, 3):
            book.end("halted", TICK, derived=derived(quantity))
    store = LiveStore(warehouse)
    assert store.read(POSITIONS)["quantity"].to_list() == [3]
    account = store.account_before(SESSION + timedelta(days=1))
    assert account is not None
    assert account["equity"] == 3.0
    assert store.account_before(SESSION) is None


def test_old_logs_are_forgotten_and_nothing_else(warehouse):
    with begun(warehouse) as book:
        book.commit_tick(tick(), everything(), TICK)
        assert book.forget_logs(SESSION) == 0
        assert book.forget_logs(SESSION + timedelta(days=1)) == 1
    assert counts(warehouse)["live_ticks"] == 1


def test_the_flag_of_the_kill_switch(warehouse):
    store = LiveStore(warehouse)
    assert store.halted() is None
    assert store.halt("a bad feeling", TICK)
    assert not store.halt("once more", TICK)
    with begun(warehouse) as book, LiveStore(warehouse, "replay:x").leading(SESSION) as replay:
        assert (store.halted(), book.halted(), replay.halted()) == ("a bad feeling", "a bad feeling", None)
    assert store.lift_halt(TICK + MINUTE)
    assert not store.lift_halt(TICK + MINUTE)
    assert store.halted() is None
    assert store.halt("again", TICK + 2 * MINUTE)


def test_books_are_named_as_declared(warehouse):
    for book in ("", "live", "replay", "replay:", "paper:", "Paper"):
        with pytest.raises(InputRefused, match="no book"):
            LiveStore(warehouse, book)


def test_the_server_soon_frees_the_book_of_a_machine_that_is_gone(warehouse):
    """Set for the connection that holds the lock; a Unix socket, as here, shows them as 0 all the same."""
    with LiveStore(warehouse).leading(SESSION) as book:
        rows = book._connection.execute("SELECT source FROM pg_settings WHERE name LIKE 'tcp_keepalives_%'").fetchall()
    assert rows == [("session",)] * 3
