"""Result tables: the rows of an owner are replaced as a whole, in the lake (folder and bucket) and the warehouse."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from trading_pipeline.errors import InputRefused, SchemaMismatch, UnknownName
from trading_pipeline.settings import Settings
from trading_pipeline.storage.lake import Lake
from trading_pipeline.storage.server import connect
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline.tables import (
    BACKTEST_TABLES,
    BACKTEST_TRADES,
    STRATEGY_COMPARISON,
    SWEEP_PAIRS,
    WALK_FORWARD,
    Kind,
)

NAN = float("nan")
EVIL = "o'brien'; DROP TABLE walk_forward; --\\ \"%s\" {x} 株"
OWNED = {table.name: table.owner for table in BACKTEST_TABLES if table.kind is Kind.RESULT}


@pytest.fixture(params=["folder", "s3", "warehouse"])
def store(request: pytest.FixtureRequest, warehouse: Warehouse, tmp_path: Path) -> Lake | Warehouse:
    """Each place that keeps results: a lake in a folder, one in a bucket, and the warehouse."""
    if request.param == "warehouse":
        return warehouse
    if request.param == "folder":
        return Lake.of(Settings(state_dir=tmp_path / "with space", _env_file=None), warehouse)
    endpoint, bucket, settings = map(request.getfixturevalue, ("s3_endpoint", "bucket", "s3_settings"))
    return Lake.of(settings(endpoint, bucket), warehouse)


def windows(owner: str, count: int, sharpe: float | None = 1.5, first_year: int = 2021) -> pl.DataFrame:
    """Rows of `walk_forward`: one a year, so that they lie in several partitions of the lake."""
    days = [date(first_year + at, 3, 1) for at in range(count)]
    return pl.DataFrame(
        {
            "configuration": [owner] * count,
            "window": pl.Series(range(1, count + 1), dtype=pl.Int32),
            **dict.fromkeys(("train_first", "train_last", "test_first", "test_last"), days),
            "parameters": ['{"fast": 5}'] * count,
            "tried": pl.Series([4] * count, dtype=pl.Int32),
            "train_sharpe": pl.Series([sharpe] * count, dtype=pl.Float64),
            "test_sharpe": pl.Series([None] * count, dtype=pl.Float64),
            "test_return": [0.1 + 0.2] * count,
        }
    ).select(WALK_FORWARD.names)


def comparison(*pairs: tuple[str, str]) -> pl.DataFrame:
    """Rows of `strategy_comparison`."""
    return pl.DataFrame(
        [(first, other, date(2024, 3, 15), 200, 0.5, 0.1, -0.4, 0.6, 0.7) for first, other in pairs],
        schema=STRATEGY_COMPARISON.schema,
        orient="row",
    )


def held(store: Lake | Warehouse, owner: Mapping[str, str] | None = None, market: str = "us") -> pl.DataFrame:
    """The rows of `walk_forward` that a store holds."""
    if isinstance(store, Lake):
        return store.read_result(market, WALK_FORWARD, owner or {})
    rows = store.query("SELECT * FROM walk_forward WHERE market = %(market)s", {"market": market}).cast(
        {name: WALK_FORWARD.schema[name] for name in ("window", "tried")}
    )
    rows = rows.select(WALK_FORWARD.names).sort(WALK_FORWARD.key)
    return rows if owner is None else rows.filter(pl.col("configuration") == owner["configuration"])


def put(store: Lake | Warehouse, owner: str, rows: pl.DataFrame, market: str = "us") -> Any:
    """Makes the owner's rows of `walk_forward` these."""
    return store.replace_result(market, WALK_FORWARD, {"configuration": owner}, rows)


def touched(store: Lake | Warehouse) -> Any:
    """What any write to `walk_forward` changes: the number of the commit, or the rows' own system columns."""
    if isinstance(store, Lake):
        return store.version("us", WALK_FORWARD)
    with connect(store.url) as connection:
        return connection.execute("SELECT ctid, xmin, configuration FROM walk_forward ORDER BY ctid").fetchall()


def test_every_result_table_names_owners_it_has() -> None:
    assert len(OWNED) > 8
    for table in BACKTEST_TABLES:
        assert set(table.owner) <= set(table.key), table.name
        assert table.session_column in table.schema, table.name
        assert bool(table.owner) is (table.kind is Kind.RESULT and table is not STRATEGY_COMPARISON), table.name


class TestReplace:
    def test_it_replaces_exactly_the_owners_rows(self, store) -> None:
        put(store, "alpha", windows("alpha", 3))
        put(store, "alphabet", windows("alphabet", 2))
        put(store, "alpha", windows("alpha", 1), market="asx")
        report = put(store, "alpha", windows("alpha", 4, sharpe=2.0))
        assert (report.inserted, report.updated, report.deleted, report.unchanged) == (1, 3, 0, 0)
        assert held(store).equals(pl.concat([windows("alpha", 4, sharpe=2.0), windows("alphabet", 2)]))
        assert held(store, market="asx").equals(windows("alpha", 1))
        report = put(store, "alpha", windows("alpha", 2, sharpe=2.0))
        assert (report.inserted, report.updated, report.deleted, report.unchanged) == (0, 0, 2, 2)
        assert held(store, {"configuration": "alpha"}).equals(windows("alpha", 2, sharpe=2.0))
        assert held(store, {"configuration": "alphabet"}).equals(windows("alphabet", 2))

    def test_the_same_rows_again_write_nothing(self, store) -> None:
        """In whatever order they come; null is null and NaN is NaN."""
        rows = pl.concat(
            [windows("alpha", 2, sharpe=NAN), windows("alpha", 2, sharpe=None, first_year=2023)]
        ).with_columns(window=pl.Series(range(1, 5), dtype=pl.Int32))
        assert put(store, "alpha", rows).inserted == 4
        before = touched(store)
        report = put(store, "alpha", rows.reverse())
        assert (report.changed, report.unchanged) == (False, 4)
        assert touched(store) == before
        assert put(store, "alpha", rows.with_columns(train_sharpe=pl.lit(NAN))).updated == 2

    def test_the_last_bit_of_a_number_is_a_change(self, store) -> None:
        """Decisions may differ by rounding; a result of the same configuration may not."""
        put(store, "alpha", windows("alpha", 2))
        other = windows("alpha", 2).with_columns(test_return=pl.lit(0.3))
        assert put(store, "alpha", other).updated == 2
        assert held(store)["test_return"].to_list() == [0.3, 0.3]

    def test_a_frame_without_rows_clears_the_owner_alone(self, store) -> None:
        assert not put(store, "alpha", WALK_FORWARD.empty()).changed
        put(store, "alpha", windows("alpha", 3))
        put(store, "beta", windows("beta", 1))
        assert put(store, "alpha", WALK_FORWARD.empty()).deleted == 3
        assert held(store).equals(windows("beta", 1))
        before = touched(store)
        assert not put(store, "alpha", WALK_FORWARD.empty()).changed
        assert touched(store) == before
        put(store, "alpha", windows("alpha", 1))
        assert held(store).equals(pl.concat([windows("alpha", 1), windows("beta", 1)]))

    def test_quotes_in_names_are_data(self, store) -> None:
        for owner in (EVIL, "'", "''", "alpha"):
            put(store, owner, windows(owner, 1))
        put(store, EVIL, windows(EVIL, 2, sharpe=3.0))
        assert held(store, {"configuration": EVIL}).equals(windows(EVIL, 2, sharpe=3.0))
        put(store, "' OR '1'='1", WALK_FORWARD.empty())
        put(store, "'", WALK_FORWARD.empty())
        assert set(held(store)["configuration"]) == {EVIL, "''", "alpha"}
        assert put(store, EVIL, WALK_FORWARD.empty()).deleted == 2

    def test_a_table_that_belongs_to_nobody_is_replaced_as_a_whole(self, store) -> None:
        store.replace_result("us", STRATEGY_COMPARISON, {}, comparison(("a", "b"), ("a", "c")))
        assert store.replace_result("us", STRATEGY_COMPARISON, {}, comparison(("b", "c"))).deleted == 2
        assert not store.replace_result("us", STRATEGY_COMPARISON, {}, comparison(("b", "c"))).changed
        assert store.replace_result("us", STRATEGY_COMPARISON, {}, STRATEGY_COMPARISON.empty()).deleted == 1

    def test_what_does_not_fit_changes_nothing(self, store) -> None:
        own, rows = {"configuration": "alpha"}, windows("alpha", 1)
        put(store, "alpha", rows)
        before = touched(store)
        for owner, frame, error, message in (
            (own, windows("beta", 2), InputRefused, "holds 2 rows of others than alpha"),
            ({}, rows, InputRefused, "belong to configuration, not nobody"),
            ({"name": "alpha"}, rows, InputRefused, "belong to configuration, not name"),
            (own | {"window": "1"}, rows, InputRefused, "belong to configuration, not configuration, window"),
            (own, rows.drop("tried"), SchemaMismatch, "missing tried"),
            (own, rows.with_columns(x=1), SchemaMismatch, "unexpected x"),
            (own, rows.with_columns(test_return=pl.lit(None, pl.Float64)), SchemaMismatch, "null in test_return"),
            (own, pl.concat([rows, rows]), SchemaMismatch, "two rows with the same configuration, window"),
        ):
            with pytest.raises(error, match=message):
                store.replace_result("us", WALK_FORWARD, owner, frame)
        assert touched(store) == before

    def test_other_kinds_of_tables_refuse_it(self, store) -> None:
        for table in ("universe_members", "backtests"):
            with pytest.raises(InputRefused, match="has no owners whose rows are replaced"):
                store.replace_result("us", table, {}, pl.DataFrame())


class TestLake:
    def test_rows_of_two_owner_columns_are_found_by_one_or_both(self, any_lake: Lake) -> None:
        """A sweep's parts are written one by one and read together."""

        def part(owner: str, chunk: str) -> pl.DataFrame:
            return pl.DataFrame(
                [(owner, chunk, "0" * 64, "us:AAA", '{"fast": 5}', date(2024, 3, 15), 0.1, 1.0, -0.1, 0.5, None, 3)],
                schema=SWEEP_PAIRS.schema,
                orient="row",
            )

        for owner, chunk in (("alpha", "1-of-2"), ("alpha", "2-of-2"), ("beta", "1-of-2")):
            any_lake.replace_result("us", SWEEP_PAIRS, {"configuration": owner, "chunk": chunk}, part(owner, chunk))
        whole = any_lake.read_result("us", SWEEP_PAIRS, {"configuration": "alpha"})
        assert whole.equals(pl.concat([part("alpha", "1-of-2"), part("alpha", "2-of-2")]))
        assert any_lake.read_result("us", SWEEP_PAIRS, {}).height == 3
        with pytest.raises(InputRefused, match="belong to configuration, chunk, not configuration"):
            any_lake.replace_result("us", SWEEP_PAIRS, {"configuration": "alpha"}, whole)
        gone = {"configuration": "alpha", "chunk": "2-of-2"}
        assert any_lake.replace_result("us", SWEEP_PAIRS, gone, SWEEP_PAIRS.empty()).deleted == 1
        assert set(any_lake.read_result("us", SWEEP_PAIRS, {})["configuration"]) == {"alpha", "beta"}

    def test_a_result_never_written_is_empty(self, any_lake: Lake) -> None:
        for name, owner in OWNED.items():
            rows = any_lake.read_result("us", name, dict.fromkeys(owner, "alpha"))
            assert rows.is_empty() and rows.schema == any_lake.schema(name)

    def test_decisions_are_not_read_as_results(self, any_lake: Lake) -> None:
        with pytest.raises(InputRefused, match="has no owners"):
            any_lake.read_result("us", "backtests", {})

    def test_a_result_is_one_commit_and_compaction_keeps_it(self, any_lake: Lake) -> None:
        for owner in ("alpha", "beta"):
            put(any_lake, owner, windows(owner, 3))
        version = any_lake.version("us", WALK_FORWARD)
        put(any_lake, "alpha", windows("alpha", 3, sharpe=2.0))
        assert any_lake.version("us", WALK_FORWARD) == version + 1
        before = held(any_lake)
        any_lake.compact("us", WALK_FORWARD)
        assert held(any_lake).equals(before)
        assert not put(any_lake, "alpha", windows("alpha", 3, sharpe=2.0)).changed


class TestWarehouse:
    def test_a_value_that_a_constraint_forbids_leaves_what_was_there(self, warehouse: Warehouse) -> None:
        """Deleting and inserting are one transaction."""

        def trades(*sides: str) -> pl.DataFrame:
            day = date(2024, 3, 15)
            return pl.DataFrame(
                [
                    ("alpha", at, "us:AAA", "AAA", side, day, 10.0, day, 11.0, 5, 5.0, 0.0, 0.0, 0.1, None, "stop")
                    for at, side in enumerate(sides, 1)
                ],
                schema=BACKTEST_TRADES.schema,
                orient="row",
            )

        owner = {"configuration": "alpha"}
        warehouse.replace_result("us", BACKTEST_TRADES, owner, trades("long", "short"))
        with pytest.raises(SchemaMismatch, match="backtest_trades_side"):
            warehouse.replace_result("us", BACKTEST_TRADES, owner, trades("long", "sideways"))
        assert warehouse.query("SELECT side FROM backtest_trades")["side"].sort().to_list() == ["long", "short"]

    def test_what_only_the_lake_keeps_is_unknown(self, warehouse: Warehouse) -> None:
        with pytest.raises(UnknownName, match="walk_forward"):
            warehouse.replace_result("us", SWEEP_PAIRS, {}, SWEEP_PAIRS.empty())
