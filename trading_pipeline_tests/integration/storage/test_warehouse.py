"""The warehouse holds what it is given, touches only what differs, and refuses what no bar can be."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from trading_pipeline.errors import InputRefused, SchemaMismatch, StorageUnavailable, UnknownName
from trading_pipeline.storage.server import connect
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline.tables import BAR_ISSUES, CORPORATE_ACTIONS, UNIVERSE_MEMBERS

NOON = datetime(2024, 1, 12, 12, tzinfo=UTC)
MON, TUE, WED, THU, FRI = (date(2024, 1, day) for day in (8, 9, 10, 11, 12))


def closes(warehouse: Warehouse) -> dict[tuple[date, str], float]:
    rows = warehouse.query("SELECT date, ticker, close FROM market_data")
    return {(day, ticker): close for day, ticker, close in rows.iter_rows()}


def stamps(warehouse: Warehouse) -> dict[tuple[date, str], tuple[datetime, datetime]]:
    rows = warehouse.query("SELECT date, ticker, created_at, updated_at FROM market_data")
    return {(day, ticker): (created, updated) for day, ticker, created, updated in rows.iter_rows()}


class TestReplace:
    def test_it_replaces_exactly_the_dates_given(self, warehouse, make_market_data, week):
        first = warehouse.replace("us", "market_data", week, make_market_data(week))
        assert (first.inserted, first.sessions) == (10, week)
        frame = make_market_data([TUE, THU], ["AAA", "CCC"], close=50.0)
        report = warehouse.replace("us", "market_data", [TUE, THU], frame)
        assert (report.inserted, report.updated, report.deleted, report.unchanged) == (2, 2, 2, 0)
        assert report.sessions == [TUE, THU]
        assert closes(warehouse) == {
            **{(day, ticker): close for day in (MON, WED, FRI) for ticker, close in (("AAA", 10), ("BBB", 11))},
            **{(day, ticker): close for day in (TUE, THU) for ticker, close in (("AAA", 50), ("CCC", 51))},
        }

    def test_the_same_rows_again_leave_every_timestamp_alone(self, warehouse, make_market_data, week):
        frame = make_market_data(week).with_columns(metadata=pl.lit('{"b": [1, 2.50], "a": "ä"}'))
        warehouse.replace("us", "market_data", week, frame)
        before = stamps(warehouse)
        again = frame.with_columns(metadata=pl.lit('{"a":"ä","b":[1,2.5]}')).reverse()
        report = warehouse.replace("us", "market_data", week, again)
        assert not report.changed
        assert report.unchanged == 10
        assert stamps(warehouse) == before

    def test_only_the_row_that_changed_gets_a_new_updated_at(self, warehouse, make_market_data, week):
        warehouse.replace("us", "market_data", week, make_market_data(week))
        before = stamps(warehouse)
        frame = make_market_data(week).with_columns(
            data_quality=pl.when(pl.col("ticker").eq("BBB") & pl.col("date").eq(WED))
            .then(pl.lit("suspect"))
            .otherwise("data_quality")
        )
        assert warehouse.replace("us", "market_data", week, frame).updated == 1
        after = stamps(warehouse)
        assert {key for key in after if after[key] != before[key]} == {(WED, "BBB")}
        created, updated = after[WED, "BBB"]
        assert created == before[WED, "BBB"][0]
        assert updated > created

    def test_the_database_itself_leaves_updated_at_alone_when_nothing_changes(self, warehouse, make_market_data):
        warehouse.replace("us", "market_data", [MON], make_market_data([MON]))
        before = stamps(warehouse)
        with connect(warehouse.url) as connection:
            connection.execute("UPDATE market_data SET close = close, source = source")
        assert stamps(warehouse) == before
        with connect(warehouse.url) as connection:
            connection.execute("UPDATE market_data SET source = 'other' WHERE ticker = 'AAA'")
        assert stamps(warehouse)[MON, "AAA"][1] > before[MON, "AAA"][1]

    def test_a_frame_without_rows_clears_the_dates_of_that_market_alone(self, warehouse, make_market_data, week):
        warehouse.replace("us", "market_data", week, make_market_data(week))
        warehouse.replace("asx", "market_data", week, make_market_data(week, ["BHP.AX"]))
        assert warehouse.replace("us", "market_data", [MON, TUE], make_market_data([])).deleted == 4
        left = warehouse.query("SELECT market, count(*) AS rows FROM market_data GROUP BY market ORDER BY market")
        assert left.rows() == [("asx", 5), ("us", 6)]

    def test_no_dates_is_nothing_to_do(self, warehouse, make_market_data):
        assert not warehouse.replace("us", "market_data", [], make_market_data([])).changed

    def test_prices_have_four_decimals_and_volume_none(self, warehouse, make_market_data):
        frame = make_market_data([MON], ["AAA"], close=700_123.45678).with_columns(volume=pl.lit(1234.6))
        warehouse.replace("us", "market_data", [MON], frame)
        with connect(warehouse.url) as connection:
            row = connection.execute("SELECT close, volume FROM market_data").fetchone()
        assert row == (Decimal("700123.4568"), 1235)
        assert warehouse.replace("us", "market_data", [MON], frame).unchanged == 1

    def test_columns_left_out_keep_what_they_have(self, warehouse, make_market_data):
        frame = make_market_data([MON], ["AAA"]).with_columns(metadata=pl.lit('{"rules": "jump"}'))
        warehouse.replace("us", "market_data", [MON], frame)
        bare = make_market_data([MON], ["AAA"], close=12.0).drop("adjusted_close", "metadata")
        warehouse.replace("us", "market_data", [MON], bare)
        row = warehouse.query("SELECT close, adjusted_close, metadata->>'rules' AS rules FROM market_data")
        assert row.row(0) == (12.0, 10.0, "jump")

    def test_tickers_and_markets_are_data_never_sql(self, warehouse, make_market_data):
        evil = "x'); DROP TABLE market_data; --"
        frame = make_market_data([MON], [evil, 'quo"te', "back\\slash", "perc%ent", "naïve 株"])
        for close in (frame, frame.with_columns(source=pl.lit(evil))):
            warehouse.replace(evil, "market_data", [MON], close)
        assert warehouse.query("SELECT ticker FROM market_data")["ticker"].sort().to_list() == sorted(frame["ticker"])
        found = warehouse.query("SELECT ticker FROM market_data WHERE ticker = %(ticker)s", {"ticker": evil})
        assert found["ticker"].to_list() == [evil]
        assert warehouse.replace(evil, "market_data", [MON], make_market_data([])).deleted == 5

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            ({"high": pl.col("low") - 0.5}, "market_data_high_is_highest"),
            ({"low": pl.col("high")}, "market_data_low_is_lowest"),
            ({"open": pl.lit(-1.0)}, "market_data"),
            ({"close": pl.lit(0.00001)}, "market_data"),
            ({"volume": pl.lit(-1.0)}, "market_data_volume_not_negative"),
            ({"adjusted_close": pl.lit(0.0)}, "market_data_adjusted_close_positive"),
            ({"data_quality": pl.lit("fine")}, "market_data_quality_known"),
            ({"close": pl.lit(float("nan"))}, "no number"),
            ({"volume": pl.lit(float("inf"))}, "no number"),
            ({"high": pl.lit(1e8)}, "no number below 100,000,000, such as AAA on 2024-01-09"),
            ({"metadata": pl.lit("{not json")}, "not JSON"),
            ({"metadata": pl.lit("[1]")}, "not a JSON object"),
            ({"source": pl.lit(None, pl.String)}, "null in source"),
        ],
    )
    def test_rows_that_no_bar_can_be_are_refused_and_nothing_is_written(
        self, warehouse, make_market_data, spoil, message
    ):
        warehouse.replace("us", "market_data", [MON, TUE], make_market_data([MON, TUE]))
        bad = pl.concat([make_market_data([MON], close=20.0), make_market_data([TUE]).with_columns(**spoil)])
        with pytest.raises(SchemaMismatch, match=message) as caught:
            warehouse.replace("us", "market_data", [MON, TUE], bad)
        assert "\n" not in str(caught.value)
        assert closes(warehouse)[MON, "AAA"] == 10.0

    def test_a_ticker_that_two_markets_claim_is_refused(self, warehouse, make_market_data):
        warehouse.replace("us", "market_data", [MON], make_market_data([MON], ["BHP"]))
        with pytest.raises(SchemaMismatch, match="market_data_pkey"):
            warehouse.replace("asx", "market_data", [MON], make_market_data([MON], ["BHP"]))

    def test_rows_of_other_dates_and_unknown_tables_are_refused(self, warehouse, make_market_data, make_bars):
        with pytest.raises(InputRefused, match="other sessions"):
            warehouse.replace("us", "market_data", [TUE], make_market_data([MON]))
        with pytest.raises(UnknownName, match="market_data"):
            warehouse.replace("us", "daily_bars", [MON], make_bars([MON]))

    def test_concurrent_writers_end_with_exact_rows(self, warehouse, python):
        script = (
            "import sys; from pathlib import Path; from datetime import date; from pydantic import SecretStr\n"
            "import importlib.util as u\n"
            "spec = u.spec_from_file_location('helpers', sys.argv[2]); h = u.module_from_spec(spec)\n"
            "spec.loader.exec_module(h)\n"
            "from trading_pipeline.storage.warehouse import Warehouse\n"
            "w = Warehouse(SecretStr(sys.argv[1]))\n"
            "for close in range(5):\n"
            "    w.replace('us', 'market_data', h.WEEK, h.market_data_of(h.WEEK, close=10.0 + int(sys.argv[3])))\n"
        )
        helpers = __file__.replace("test_warehouse", "conftest")
        children = [python(script, warehouse.url.get_secret_value(), helpers, number) for number in range(3)]
        answers = [child.communicate(timeout=120)[1] for child in children]
        assert [child.returncode for child in children] == [0, 0, 0], answers
        found = closes(warehouse)
        assert len(found) == 10
        assert len({close for (_, ticker), close in found.items() if ticker == "AAA"}) == 1


class TestOtherTables:
    def test_issues_members_and_actions_come_back_as_they_were(self, warehouse):
        issue = pl.DataFrame(
            [(TUE, "us:A", "A", MON, "jump", "suspect", "moved 12 sigma", 1.0, 2.0, float("nan"), None, 5.0, None)],
            schema=BAR_ISSUES.schema,
            orient="row",
        )
        member = pl.DataFrame(
            [(TUE, "SPX500", "us:A", "A", None, "seed")], schema=UNIVERSE_MEMBERS.schema, orient="row"
        )
        action = pl.DataFrame(
            [(TUE, "us:A", "A", "split", 4.0, "USD", "yahoo", False, "", NOON, NOON, None)],
            schema=CORPORATE_ACTIONS.schema,
            orient="row",
        )
        for table, frame in ((BAR_ISSUES, issue), (UNIVERSE_MEMBERS, member), (CORPORATE_ACTIONS, action)):
            assert warehouse.replace("us", table, [TUE], frame).inserted == 1
            back = warehouse.query(f"SELECT {', '.join(table.names)} FROM {table.name}")
            assert back.equals(frame.cast(dict(back.schema)))
            assert warehouse.replace("us", table, [TUE], frame).unchanged == 1


class TestDecisions:
    def latest(self, warehouse: Warehouse) -> dict[str, float]:
        return dict(warehouse.query("SELECT ticker, price FROM dip_opportunities_latest").iter_rows())

    def test_every_version_stays_and_the_view_shows_the_latest(self, warehouse, make_dips):
        warehouse.publish("us", "dip_opportunities", [MON], make_dips(MON, {"AAA": 10.0, "BBB": 20.0}), NOON)
        later = NOON + timedelta(hours=1)
        report = warehouse.publish("us", "dip_opportunities", [MON], make_dips(MON, {"AAA": 11.0, "CCC": 30.0}), later)
        assert (report.added, report.revised, report.withdrawn) == (1, 1, 1)
        assert self.latest(warehouse) == {"AAA": 11.0, "CCC": 30.0}
        assert warehouse.query("SELECT count(*) AS n FROM dip_opportunities")["n"][0] == 5

    def test_saying_the_same_again_adds_nothing(self, warehouse, make_regime):
        warehouse.publish("us", "market_regime", [MON], make_regime(MON, 5), NOON)
        assert not warehouse.publish("us", "market_regime", [MON], make_regime(MON, 5), NOON).changed
        assert warehouse.query("SELECT score FROM market_regime_latest")["score"].to_list() == [5]

    def test_it_can_be_rebuilt_from_the_lake_version_by_version(self, warehouse, lake, make_dips):
        for hours, prices in enumerate([{"AAA": 10.0, "BBB": 20.0}, {"AAA": 11.0}, {"AAA": 11.0, "BBB": 21.0}]):
            moment = NOON + timedelta(hours=hours)
            lake.publish("us", "dip_opportunities", [MON], make_dips(MON, prices), moment)
        versions = lake.read_sessions("us", "dip_opportunities", [MON])
        assert warehouse.replace("us", "dip_opportunities", [MON], versions).inserted == 5
        assert not warehouse.replace("us", "dip_opportunities", [MON], versions).changed
        assert self.latest(warehouse) == {"AAA": 11.0, "BBB": 21.0}
        stored = warehouse.query("SELECT ticker, computed_at, withdrawn FROM dip_opportunities")
        assert set(stored.rows()) == set(versions.select("ticker", "computed_at", "withdrawn").rows())

    def test_only_decisions_are_published(self, warehouse):
        with pytest.raises(SchemaMismatch, match="not a decision table"):
            warehouse.publish("us", "bar_issues", [MON], BAR_ISSUES.empty(), NOON)


class TestAdjustedClose:
    def test_a_refresh_touches_the_rows_that_differ_and_nothing_else_of_them(self, warehouse, make_market_data, week):
        warehouse.replace("us", "market_data", week, make_market_data(week))
        before = stamps(warehouse)
        wanted = pl.DataFrame(
            {"ticker": ["AAA", "BBB", "ZZZ"], "date": [MON, MON, MON], "adjusted_close": [5.0, 11.0, 1.0]}
        )
        assert warehouse.refresh_adjusted_close("us", wanted) == 1
        assert warehouse.refresh_adjusted_close("us", wanted) == 0
        changed = warehouse.query("SELECT ticker, close, adjusted_close FROM market_data WHERE adjusted_close <> close")
        assert [row for row in changed.rows() if row[0] == "AAA"] == [("AAA", 10.0, 5.0)]
        after = stamps(warehouse)
        assert {key for key in after if after[key] != before[key]} == {(MON, "AAA")}


class TestQuery:
    def test_types_are_the_same_with_and_without_rows(self, warehouse, make_market_data):
        statement = "SELECT * FROM market_data WHERE market = %(market)s"
        empty = warehouse.query(statement, {"market": "us"})
        warehouse.replace("us", "market_data", [MON], make_market_data([MON]))
        assert warehouse.query(statement, {"market": "us"}).schema == empty.schema
        assert empty.schema["close"] == pl.Float64
        assert empty.schema["updated_at"] == pl.Datetime("us", "UTC")

    def test_a_failed_run_is_noted_once(self, warehouse):
        for error in ("first", "second"):
            warehouse.note_run_failure("run", "job", NOON, error)
        assert warehouse.query("SELECT error FROM run_failures")["error"].to_list() == ["first"]


class TestTrouble:
    def test_a_server_that_is_gone_is_named_without_its_password(self, make_market_data):
        from pydantic import SecretStr

        gone = Warehouse(SecretStr("postgresql://trader:s3cret@127.0.0.1:1/bars"))
        for call in (
            lambda: gone.replace("us", "market_data", [MON], make_market_data([MON])),
            lambda: gone.query("SELECT 1"),
            gone.migrate,
        ):
            with pytest.raises(StorageUnavailable, match=r"127\.0\.0\.1:1") as caught:
                call()
            assert "s3cret" not in str(caught.value)
        assert "s3cret" not in repr(gone)

    def test_a_schema_that_is_missing_is_reported_in_one_line(self, embedded_server, make_market_data):
        bare = Warehouse(embedded_server.create_database())
        with pytest.raises(StorageUnavailable, match="market_data") as caught:
            bare.replace("us", "market_data", [MON], make_market_data([MON]))
        assert "\n" not in str(caught.value)


class TestFirstLoad:
    """A large load into an empty table builds the indexes last; what stands afterwards is the same."""

    @pytest.fixture(autouse=True)
    def any_load_is_large(self, monkeypatch):
        monkeypatch.setattr("trading_pipeline.storage.warehouse._FIRST_LOAD_ROWS", 1)

    @staticmethod
    def indexes(warehouse: Warehouse) -> dict[str, tuple[int, str]]:
        """File and definition of every index of the table, by name, and of its constraints."""
        rows = warehouse.query(
            "SELECT relname, relfilenode::bigint, pg_get_indexdef(oid) FROM pg_class"
            " WHERE oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'market_data'::regclass)"
            " UNION ALL SELECT conname, 0, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = 'market_data'::regclass AND contype <> 'n'"
        )
        return {name: (file, definition) for name, file, definition in rows.iter_rows()}

    def test_rows_keys_and_indexes_are_those_of_an_ordinary_load(self, warehouse, make_market_data, week):
        before = self.indexes(warehouse)
        report = warehouse.replace("us", "market_data", week, make_market_data(week))
        assert (report.inserted, report.changed, report.sessions) == (10, True, week)
        assert len(closes(warehouse)) == 10
        after = self.indexes(warehouse)
        assert {name: text for name, (_, text) in after.items()} == {name: text for name, (_, text) in before.items()}
        assert after["market_data_ticker_date_desc"][0] != before["market_data_ticker_date_desc"][0]
        assert not warehouse.replace("us", "market_data", week, make_market_data(week)).changed

    def test_a_table_with_rows_of_another_market_keeps_its_indexes(self, warehouse, make_market_data, week):
        warehouse.replace("us", "market_data", week, make_market_data(week))
        before = self.indexes(warehouse)
        warehouse.replace("asx", "market_data", week, make_market_data(week, ["AAA.AX", "BBB.AX"]))
        assert self.indexes(warehouse) == before
        assert len(closes(warehouse)) == 20

    def test_a_refused_load_leaves_the_table_as_it_was(self, warehouse, make_market_data, week):
        before = self.indexes(warehouse)
        with pytest.raises(SchemaMismatch, match="market_data_adjusted_close_positive"):
            warehouse.replace("us", "market_data", week, make_market_data(week, close=-1.0))
        assert self.indexes(warehouse) == before
        assert closes(warehouse) == {}

    def test_somebody_who_reads_the_empty_table_keeps_it_as_it_is(self, warehouse, make_market_data, week):
        before = self.indexes(warehouse)
        with connect(warehouse.url) as reader:
            reader.execute("SELECT count(*) FROM market_data")
            assert warehouse.replace("us", "market_data", week, make_market_data(week)).inserted == 10
        assert self.indexes(warehouse) == before

    def test_a_view_that_hangs_on_the_key_keeps_it_where_it_is(self, warehouse, make_market_data, week):
        with connect(warehouse.url) as connection:
            connection.execute("CREATE VIEW keyed AS SELECT ticker, date, close FROM market_data GROUP BY ticker, date")
        before = self.indexes(warehouse)
        assert warehouse.replace("us", "market_data", week, make_market_data(week)).inserted == 10
        assert self.indexes(warehouse) == before
        assert warehouse.query("SELECT count(*) FROM keyed").item() == 10
