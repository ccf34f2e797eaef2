"""The lake's promises, on a folder and on an S3 endpoint alike."""

from __future__ import annotations

import dataclasses
import socket
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from trading_pipeline.errors import AlreadyRunning, InputRefused, SchemaMismatch, StorageUnavailable, UnknownName
from trading_pipeline.settings import Settings
from trading_pipeline.storage.lake import Lake, storage_options
from trading_pipeline.tables import ALL_TABLES, DAILY_BARS, DIP_OPPORTUNITIES, RECEIVED_ACTIONS, Column

NOON = datetime(2024, 1, 12, 12, tzinfo=UTC)
MON, TUE, WED, THU, FRI = (date(2024, 1, day) for day in (8, 9, 10, 11, 12))


@pytest.fixture
def lake(any_lake) -> Lake:
    return any_lake


def prices(frame: pl.DataFrame) -> dict[tuple[date, str], float]:
    return {(session, ticker): close for session, ticker, close in frame.select("session", "ticker", "close").rows()}


class TestReading:
    @pytest.mark.parametrize("table", ALL_TABLES)
    def test_a_table_never_written_is_empty_and_has_its_schema(self, lake, table):
        assert lake.read("us", table).schema == lake.schema(table)
        assert lake.read("us", table).is_empty()
        assert lake.version("us", table) is None
        assert lake.sessions("us", table) == []

    def test_what_was_written_is_read_back_as_it_was(self, lake, make_bars, week):
        frame = make_bars(week)
        lake.replace("us", "daily_bars", week, frame)
        back = lake.read("us", "daily_bars")
        assert back.schema == DAILY_BARS.schema
        assert back.sort(DAILY_BARS.key).equals(frame.sort(DAILY_BARS.key))

    def test_bounds_are_sessions_both_included_across_years(self, lake, make_bars):
        days = [date(2022, 12, 30), date(2023, 1, 3), date(2023, 12, 29), date(2024, 1, 2)]
        lake.replace("us", "daily_bars", days, make_bars(days, ["AAA"]))
        for first, last in [(days[0], days[0]), (days[1], days[2]), (days[0], days[3]), (days[3], date(2030, 1, 1))]:
            found = lake.read("us", "daily_bars", first, last)["session"].sort().to_list()
            assert found == [day for day in days if first <= day <= last]
        assert lake.sessions("us", "daily_bars") == days

    def test_other_years_files_are_not_read(self, lake, make_bars):
        days = [date(2022, 6, 1), date(2023, 6, 1), date(2024, 6, 3)]
        lake.replace("us", "daily_bars", days, make_bars(days))
        plan = lake.scan("us", "daily_bars", days[1], days[1]).explain()
        assert "year=2023" in plan
        assert "year=2022" not in plan
        assert "year=2024" not in plan

    def test_files_are_read_by_session_whatever_order_they_came_in(self, lake, make_bars, week):
        for day in (WED, MON, FRI):
            lake.replace("us", "daily_bars", [day], make_bars([day]))
        assert lake.read("us", "daily_bars").equals(make_bars([MON, WED, FRI]).sort(DAILY_BARS.key_columns))

    def test_texts_have_dictionaries_in_the_files_and_numbers_have_none(self, lake, make_bars, week):
        lake.replace("us", "daily_bars", week, make_bars(week))
        files = lake._open("us", DAILY_BARS).to_pyarrow_dataset()
        (fragment,) = files.get_fragments()
        group = fragment.metadata.row_group(0)
        columns = [group.column(at) for at in range(group.num_columns)]
        coded = {column.path_in_schema for column in columns if column.has_dictionary_page}
        numbers = {name for name, dtype in DAILY_BARS.schema.items() if dtype.is_float()}
        assert not coded & numbers
        assert {"instrument_id", "ticker", "provider"} <= coded

    def test_markets_do_not_mix(self, lake, make_bars):
        lake.replace("us", "daily_bars", [MON], make_bars([MON], ["AAA"]))
        lake.replace("asx", "daily_bars", [MON], make_bars([MON], ["BBB.AX"]))
        assert lake.read("us", "daily_bars")["ticker"].to_list() == ["AAA"]

    def test_a_column_declared_later_is_null_in_older_files(self, lake, make_bars):
        lake.replace("us", "daily_bars", [MON], make_bars([MON]))
        column = Column("venue", pl.String(), "Where it traded", nullable=True)
        later = dataclasses.replace(DAILY_BARS, columns=(*DAILY_BARS.columns, column))
        lake.replace("us", later, [TUE], make_bars([TUE]).with_columns(venue=pl.lit("XNYS")))
        found = lake.read("us", later).sort(later.key)
        assert found["venue"].to_list() == [None, None, "XNYS", "XNYS"]
        assert lake.replace("us", later, [MON], make_bars([MON]).with_columns(venue=pl.lit("XNAS"))).updated == 2
        assert lake.read("us", "daily_bars").columns == DAILY_BARS.names

    def test_an_unknown_table_lists_the_known_ones(self, lake):
        with pytest.raises(UnknownName, match="daily_bars"):
            lake.read("us", "dayly_bars")


class TestReplace:
    def test_it_replaces_exactly_the_sessions_given(self, lake, make_bars, week):
        lake.replace("us", "daily_bars", week, make_bars(week))
        report = lake.replace("us", "daily_bars", [TUE, THU], make_bars([TUE, THU], ["AAA", "CCC"], close=50.0))
        assert (report.inserted, report.updated, report.deleted) == (2, 2, 2)
        assert report.sessions == [TUE, THU]
        found = prices(lake.read("us", "daily_bars"))
        untouched = prices(make_bars([MON, WED, FRI]))
        assert found == untouched | prices(make_bars([TUE, THU], ["AAA", "CCC"], close=50.0))

    def test_the_same_rows_again_commit_nothing(self, lake, make_bars, week):
        lake.replace("us", "daily_bars", week, make_bars(week))
        version = lake.version("us", "daily_bars")
        report = lake.replace("us", "daily_bars", week, make_bars(week).reverse())
        assert not report.changed
        assert report.unchanged == 10
        assert lake.version("us", "daily_bars") == version

    def test_of_a_long_range_only_the_sessions_that_differ_are_rewritten(self, lake, make_bars, week):
        lake.replace("us", "daily_bars", week, make_bars(week))
        changed = pl.concat([make_bars([MON, TUE, THU, FRI]), make_bars([WED], close=99.0)])
        assert lake.replace("us", "daily_bars", week, changed).sessions == [WED]

    def test_a_frame_without_rows_clears_the_sessions(self, lake, make_bars, week):
        lake.replace("us", "daily_bars", week, make_bars(week))
        report = lake.replace("us", "daily_bars", [MON, FRI], make_bars([]))
        assert report.deleted == 4
        assert lake.sessions("us", "daily_bars") == [TUE, WED, THU]
        assert not lake.replace("us", "daily_bars", [MON, FRI], make_bars([])).changed

    def test_many_scattered_sessions_are_one_commit(self, lake, make_bars):
        days = [date(2023, 1, 1) + timedelta(days=n) for n in range(120)]
        lake.replace("us", "daily_bars", days, make_bars(days, ["AAA"]))
        version = lake.version("us", "daily_bars")
        odd = days[1::2]
        lake.replace("us", "daily_bars", odd, make_bars(odd, ["AAA"], close=77.0))
        assert lake.version("us", "daily_bars") == version + 1
        expected = prices(make_bars(days[::2], ["AAA"])) | prices(make_bars(odd, ["AAA"], close=77.0))
        assert prices(lake.read("us", "daily_bars")) == expected

    def test_quotes_in_text_stay_text(self, lake, make_bars):
        evil = "A'; DROP TABLE daily_bars; --"
        lake.replace("us", "daily_bars", [MON], make_bars([MON], [evil]))
        lake.replace("us", "daily_bars", [MON], make_bars([MON], [evil], close=11.0))
        assert prices(lake.read("us", "daily_bars")) == {(MON, evil): 11.0}

    @pytest.mark.parametrize(
        ("spoil", "error", "message"),
        [
            (lambda frame: frame.drop("close"), SchemaMismatch, "missing close"),
            (lambda frame: frame.with_columns(extra=1), SchemaMismatch, "unexpected extra"),
            (lambda frame: frame.with_columns(close=pl.lit(1)), SchemaMismatch, "close is Int32"),
            (lambda frame: frame.with_columns(close=pl.lit(None, pl.Float64)), SchemaMismatch, "null in close"),
            (lambda frame: pl.concat([frame, frame]), SchemaMismatch, "same session, instrument_id"),
            (lambda frame: frame.with_columns(session=pl.lit(TUE)), InputRefused, "other sessions, such as 2024-01-09"),
        ],
    )
    def test_a_frame_that_does_not_fit_changes_nothing(self, lake, make_bars, spoil, error, message):
        lake.replace("us", "daily_bars", [MON], make_bars([MON]))
        version = lake.version("us", "daily_bars")
        with pytest.raises(error, match=message):
            lake.replace("us", "daily_bars", [MON], spoil(make_bars([MON], close=99.0)))
        assert lake.version("us", "daily_bars") == version

    @pytest.mark.parametrize("table", ["received_bars", "dip_opportunities"])
    def test_tables_that_keep_what_they_hold_refuse_it(self, lake, table):
        with pytest.raises(InputRefused, match="keeps what it holds"):
            lake.replace("us", table, [MON], ALL_TABLES[table].empty())


class TestReceived:
    @staticmethod
    def actions(value: float, known_at: datetime, ticker: str = "AAA", session: date = MON) -> pl.DataFrame:
        return pl.DataFrame(
            [(f"us:{ticker}", ticker, session, "split", value, value, 1.0, "USD", "yahoo", False, known_at, known_at)],
            schema=RECEIVED_ACTIONS.schema,
            orient="row",
        )

    def test_versions_pile_up_and_the_newest_is_found(self, lake):
        for hours, value in enumerate([2.0, 3.0, 2.0]):
            lake.append("us", "received_actions", self.actions(value, NOON + timedelta(hours=hours)))
        lake.append("us", "received_actions", self.actions(4.0, NOON, "BBB", FRI))
        assert lake.read("us", "received_actions").height == 4
        newest = lake.latest_received("us", "received_actions")
        assert newest.select("instrument_id", "value").rows() == [("us:AAA", 2.0), ("us:BBB", 4.0)]
        before = lake.latest_received("us", "received_actions", ["us:AAA"], as_of=NOON + timedelta(hours=1))
        assert before["value"].to_list() == [3.0]
        assert lake.latest_received("us", "received_actions", first=TUE)["instrument_id"].to_list() == ["us:BBB"]

    def test_nothing_to_append_commits_nothing(self, lake):
        assert not lake.append("us", "received_actions", RECEIVED_ACTIONS.empty()).changed
        assert lake.version("us", "received_actions") is None


class TestDecisions:
    def test_every_version_stays_and_the_latest_is_shown(self, lake, make_dips):
        lake.publish("us", "dip_opportunities", [MON], make_dips(MON, {"AAA": 10.0, "BBB": 20.0}), NOON)
        later = NOON + timedelta(hours=1)
        report = lake.publish("us", "dip_opportunities", [MON], make_dips(MON, {"AAA": 11.0, "CCC": 30.0}), later)
        assert (report.added, report.revised, report.withdrawn, report.unchanged) == (1, 1, 1, 0)
        latest = lake.latest("us", "dip_opportunities")
        assert latest.schema == DIP_OPPORTUNITIES.schema
        assert dict(latest.select("ticker", "price").rows()) == {"AAA": 11.0, "CCC": 30.0}
        then = lake.latest("us", "dip_opportunities", [MON], as_of=NOON)
        assert dict(then.select("ticker", "price").rows()) == {"AAA": 10.0, "BBB": 20.0}
        assert lake.latest("us", "dip_opportunities", [TUE]).is_empty()
        assert lake.read("us", "dip_opportunities").height == 5

    def test_saying_the_same_again_commits_nothing(self, lake, make_dips):
        dips = make_dips(MON, {"AAA": 10.0})
        lake.publish("us", "dip_opportunities", [MON], dips, NOON)
        version = lake.version("us", "dip_opportunities")
        assert not lake.publish("us", "dip_opportunities", [MON], dips, NOON + timedelta(days=1)).changed
        assert lake.version("us", "dip_opportunities") == version

    def test_publishing_one_session_leaves_the_others(self, lake, make_dips):
        lake.publish("us", "dip_opportunities", [MON], make_dips(MON, {"AAA": 10.0}), NOON)
        lake.publish("us", "dip_opportunities", [TUE], make_dips(TUE, {}), NOON)
        assert lake.latest("us", "dip_opportunities")["session"].to_list() == [MON]

    def test_a_moment_without_zone_and_another_kind_of_table_are_refused(self, lake, make_dips, make_bars):
        with pytest.raises(InputRefused, match="no time zone"):
            lake.publish("us", "dip_opportunities", [MON], make_dips(MON, {"A": 1.0}), NOON.replace(tzinfo=None))
        with pytest.raises(InputRefused, match="not a decision table"):
            lake.publish("us", "daily_bars", [MON], make_bars([MON]), NOON)


class TestUpkeep:
    def test_compaction_joins_files_and_changes_no_row(self, lake, make_bars, week):
        for day in week:
            lake.replace("us", "daily_bars", [day], make_bars([day]))
        assert lake.files("us", "daily_bars") == 5
        before = lake.read("us", "daily_bars").sort(DAILY_BARS.key)
        assert lake.compact("us", "daily_bars") == 5
        assert lake.files("us", "daily_bars") == 1
        assert lake.read("us", "daily_bars").sort(DAILY_BARS.key).equals(before)
        assert lake.replace("us", "daily_bars", week, make_bars(week)).unchanged == 10

    def test_vacuum_spares_what_is_recent_and_drops_the_rest(self, lake, make_bars, week):
        for day in week:
            lake.replace("us", "daily_bars", [day], make_bars([day]))
        lake.compact("us", "daily_bars")
        assert lake.vacuum("us", "daily_bars") == 0
        assert lake.vacuum("us", "daily_bars", timedelta(0)) == 5
        assert lake.read("us", "daily_bars").height == 10

    def test_upkeep_of_a_table_never_written_is_nothing(self, lake):
        assert lake.compact("us", "daily_bars") == 0
        assert lake.vacuum("us", "daily_bars") == 0


class TestLock:
    def test_read_compare_and_write_are_one_under_it(self, lake, make_bars):
        with lake.lock("us", "daily_bars"), lake.lock("us", "daily_bars"):
            lake.replace("us", "daily_bars", [MON], make_bars([MON]))
        assert lake.read("us", "daily_bars").height == 2

    def test_another_process_is_kept_out(self, lake, warehouse, python):
        child = python(
            "import sys; from pydantic import SecretStr; from trading_pipeline.storage.lake import Lake;"
            "from trading_pipeline.storage.warehouse import Warehouse\n"
            "with Lake(sys.argv[2], Warehouse(SecretStr(sys.argv[1]))).lock('us', 'daily_bars'):\n"
            "    print('held', flush=True); sys.stdin.read()",
            warehouse.url.get_secret_value(),
            lake.root,
        )
        assert child.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunning, match="us/daily_bars"), lake.lock("us", "daily_bars", timeout=0.2):
            pass
        with lake.lock("us", "bar_issues", timeout=1):
            pass


class TestTrouble:
    def test_a_folder_that_cannot_be_written(self, warehouse, tmp_path, make_bars):
        (tmp_path / "file").write_text("not a folder")
        lake = Lake(f"file://{tmp_path / 'file'}", warehouse)
        with pytest.raises(StorageUnavailable, match="LAKE_URL") as caught:
            lake.replace("us", "daily_bars", [MON], make_bars([MON]))
        assert "\n" not in str(caught.value)

    def test_a_bucket_that_does_not_exist(self, warehouse, s3_endpoint, s3_settings, make_bars):
        lake = Lake.of(s3_settings(s3_endpoint, "no-such-bucket"), warehouse)
        with pytest.raises(StorageUnavailable, match="s3://no-such-bucket") as caught:
            lake.replace("us", "daily_bars", [MON], make_bars([MON]))
        assert "very-secret-key" not in str(caught.value)
        assert "AKIDEXAMPLE" not in str(caught.value)

    def test_a_bucket_that_does_not_exist_is_not_an_empty_table(self, warehouse, s3_endpoint, s3_settings):
        lake = Lake.of(s3_settings(s3_endpoint, "no-such-bucket"), warehouse)
        with pytest.raises(StorageUnavailable, match="s3://no-such-bucket"):
            lake.read("us", "daily_bars")

    def test_an_endpoint_where_nobody_listens(self, warehouse, s3_settings):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        lake = Lake.of(s3_settings(f"http://127.0.0.1:{port}", "lake"), warehouse)
        with pytest.raises(StorageUnavailable, match="s3://lake") as caught:
            lake.read("us", "daily_bars")
        assert "very-secret-key" not in str(caught.value)

    def test_a_damaged_log_says_so_and_nothing_is_taken_for_empty(self, warehouse, tmp_path, make_bars):
        lake = Lake(str(tmp_path), warehouse)
        lake.replace("us", "daily_bars", [MON], make_bars([MON]))
        for file in (tmp_path / "us" / "daily_bars" / "_delta_log").glob("*.json"):
            file.write_text("{ this is no commit")
        with pytest.raises(StorageUnavailable, match="us/daily_bars"):
            lake.read("us", "daily_bars")

    def test_a_data_file_that_is_gone_says_so(self, warehouse, tmp_path, make_bars):
        lake = Lake(str(tmp_path), warehouse)
        lake.replace("us", "daily_bars", [MON], make_bars([MON]))
        for file in Path(tmp_path).rglob("*.parquet"):
            file.unlink()
        with pytest.raises(StorageUnavailable, match="us/daily_bars"):
            lake.read("us", "daily_bars")


class TestStorageOptions:
    def test_a_folder_needs_none(self, tmp_path):
        assert storage_options(Settings(state_dir=tmp_path, _env_file=None)) == {}

    def test_plain_http_is_allowed_only_for_a_plain_http_endpoint(self, s3_settings):
        assert storage_options(s3_settings("http://127.0.0.1:9000", "b"))["aws_allow_http"] == "true"
        assert "aws_allow_http" not in storage_options(s3_settings("https://store.example", "b"))

    def test_unset_keys_leave_it_to_the_machines_role(self):
        options = storage_options(Settings(lake_url="s3://b/x", _env_file=None))
        assert "aws_secret_access_key" not in options
        assert options["aws_conditional_put"] == "etag"

    def test_secrets_are_not_shown(self, warehouse, s3_settings):
        lake = Lake.of(s3_settings("http://127.0.0.1:9000", "b"), warehouse)
        assert "secret" not in repr(lake)
