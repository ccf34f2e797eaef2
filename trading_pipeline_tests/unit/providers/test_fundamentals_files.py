"""Snapshots of fundamentals the way people bring them: their columns, their units, their dates, their faults."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import polars as pl
import pytest

from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import ASX, US
from trading_pipeline.providers.errors import NotFound
from trading_pipeline.providers.fundamentals_files import ALIASES, FundamentalsFiles
from trading_pipeline.providers.reference import FUNDAMENTALS_SCHEMA, FundamentalsProvider
from trading_pipeline.sessions import calendar

NOW = datetime(2024, 12, 31, tzinfo=UTC)
SESSIONS = calendar("XNYS").between(date(2024, 1, 1), date(2024, 12, 31))
FRIDAY = date(2024, 5, 3)


@pytest.fixture
def told(tmp_path):
    """What files of that text tell: `told(**{"a.csv": "…"}, symbols=…)`."""

    def of(files, symbols=("ABC",), market=US, sessions=SESSIONS, now=NOW, **options):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        return FundamentalsFiles(tmp_path, **options).fundamentals(market, symbols, sessions, now=now)

    return of


def csv(*rows, header="date,ticker,price,market_cap"):
    return "\n".join([header, *rows]) + "\n"


def many(header, values, day="2024-05-03"):
    """A file of one date and one column for tickers T000, T001 …"""
    return csv(*(f"{day},T{number:03d},{value}" for number, value in enumerate(values)), header=f"date,ticker,{header}")


def test_it_is_a_dated_provider_of_fundamentals(tmp_path):
    provider = FundamentalsFiles(tmp_path)
    assert isinstance(provider, FundamentalsProvider) and provider.dated


def test_a_row_is_a_typed_snapshot_and_what_no_column_knows_is_its_payload(told):
    text = csv(
        "2024-05-03,brk.b,Berkshire,400,880B,2.5%,,17,0x1",
        header="snapshot_date,Symbol,Short Name,Price,Market Cap,Dividend Yield,P/E,NumberOfAnalystOpinions,Commit",
    )
    batch = told({"a.csv": text}, symbols=["BRK-B"])
    assert batch.rows.schema == FUNDAMENTALS_SCHEMA and batch.answered == ("BRK-B",) and not batch.failures
    row = {name: value for name, value in batch.rows.row(0, named=True).items() if value is not None}
    assert row == {
        "symbol": "BRK-B",
        "session": FRIDAY,
        "asset_type": "stock",
        "name": "Berkshire",
        "price": 400.0,
        "market_cap": 880e9,
        "dividend_yield": 0.025,
        "analysts": 17,
        "currency": "USD",
        "payload": '{"Commit":"0x1"}',
        "available_at": datetime(2024, 5, 3, 20, 0, tzinfo=UTC),
    }


def test_parquet_is_read_as_csv_is_and_an_endless_ratio_is_kept_as_it_came(tmp_path):
    frame = pl.DataFrame(
        {"date": [FRIDAY], "ticker": ["ABC"], "pe": [float("inf")], "pb": [float("nan")], "eps": [1.5]}
    )
    frame.write_parquet(tmp_path / "a.parquet")
    rows = FundamentalsFiles(tmp_path / "a.parquet").fundamentals(US, ["ABC"], SESSIONS, now=NOW).rows
    row = rows.row(0, named=True)
    assert (row["pe_trailing"], row["price_to_book"], row["eps_trailing"]) == (None, None, 1.5)
    assert json.loads(row["payload"]) == {"pe": "inf"}


class TestClocks:
    @pytest.mark.parametrize(
        ("written", "session", "available_at"),
        [
            ("2024-05-03", FRIDAY, datetime(2024, 5, 3, 20, 0, tzinfo=UTC)),
            ("2024-05-04", FRIDAY, datetime(2024, 5, 5, 4, 0, tzinfo=UTC)),
            ("2024-05-05", FRIDAY, datetime(2024, 5, 6, 4, 0, tzinfo=UTC)),
            ("2024-07-04", date(2024, 7, 3), datetime(2024, 7, 5, 4, 0, tzinfo=UTC)),
            ("2024-07-03", date(2024, 7, 3), datetime(2024, 7, 3, 17, 0, tzinfo=UTC)),
        ],
    )
    def test_a_snapshot_speaks_of_the_last_session_not_after_its_date(self, told, written, session, available_at):
        rows = told({"a.csv": csv(f"{written},ABC,5,60B")}).rows
        assert rows.select("session", "available_at").rows() == [(session, available_at)]

    def test_an_australian_one_of_its_own_exchange(self, told):
        rows = told({"a.csv": csv("2024-04-25,BHP.AX,45,220B")}, symbols=["BHP.AX"], market=ASX).rows
        # Anzac Day: known at its end in Sydney, of the session before.
        assert rows.select("session", "available_at", "currency").rows() == [
            (date(2024, 4, 24), datetime(2024, 4, 25, 14, 0, tzinfo=UTC), "AUD")
        ]

    def test_the_date_may_be_in_the_name(self, told):
        text = csv("ABC,5,60B", header="ticker,price,market_cap")
        assert told({"of_2024-05-03.csv": text, "of_20240506.csv": text}).rows["session"].to_list() == [
            FRIDAY,
            date(2024, 5, 6),
        ]

    def test_several_dates_of_a_weekend_are_versions_of_one_session(self, told):
        rows = told({"a.csv": csv("2024-05-03,ABC,5,60B", "2024-05-05,ABC,5,61B", "2024-05-04,ABC,5,62B")}).rows
        assert rows["market_cap"].to_list() == [60e9, 62e9, 61e9] and set(rows["session"]) == {FRIDAY}

    def test_only_what_was_asked_and_available_is_told(self, told):
        files = {"a.csv": csv(*(f"2024-05-0{day},ABC,{day},60B" for day in (1, 2, 3)))}
        assert told(files, sessions=[date(2024, 5, 1), FRIDAY]).rows["price"].to_list() == [1.0, 3.0]
        close = calendar("XNYS").close_at(date(2024, 5, 2))
        assert told(files, now=close).rows["price"].to_list() == [1.0, 2.0]

    def test_a_name_without_a_snapshot_then_is_answered_and_one_never_mentioned_is_not_found(self, told):
        batch = told({"a.csv": csv("2024-05-03,ABC,5,60B")}, symbols=["ABC", "XYZ"], sessions=[date(2024, 1, 3)])
        assert batch.rows.is_empty() and batch.answered == ("ABC",)
        assert [(failure.symbol, type(failure.error)) for failure in batch.failures] == [("XYZ", NotFound)]

    def test_a_file_that_changes_is_read_again(self, told):
        assert told({"a.csv": csv("2024-05-03,ABC,5,60B")}).rows["price"].to_list() == [5.0]
        assert told({"a.csv": csv("2024-05-03,ABC,55,60B")}).rows["price"].to_list() == [55.0]


class TestUnits:
    T000 = ("T000",)

    @pytest.mark.parametrize(
        ("values", "first"),
        [
            ([5, *[14.0] * 30], 5e9),
            ([5_000, *[14_000] * 30], 5e9),
            ([5_000_000_000, *[14_000_000_000] * 30], 5e9),
            (["5B", *["14.1B"] * 5], 5e9),
            (["500M", *["1.2T"] * 5], 5e8),
        ],
    )
    def test_capitalisations_are_in_full_whatever_they_were_counted_in(self, told, values, first):
        rows = told({"a.csv": many("market cap", values)}, symbols=self.T000).rows
        assert rows["market_cap"].to_list() == [pytest.approx(first)]

    @pytest.mark.parametrize(
        ("column", "ours", "values", "first"),
        [
            ("dividend_yield", "dividend_yield", [0.3, *[0, 2.5] * 20], 0.003),
            ("dividend_yield", "dividend_yield", [0.003, *[0, 0.025] * 20], 0.003),
            ("dividend_yield", "dividend_yield", ["0.3%", "2.5%"], 0.003),
            ("debtToEquity", "debt_to_equity", [145, *[70] * 30], 1.45),
            ("debtToEquity", "debt_to_equity", [1.45, *[0.7] * 30], 1.45),
            ("ROE", "return_on_equity", [136, *[-20, 15] * 15], 1.36),
            ("ROE", "return_on_equity", [1.36, *[-0.2, 0.15] * 15], 1.36),
        ],
    )
    def test_fractions_are_fractions_whatever_they_were_counted_in(self, told, column, ours, values, first):
        rows = told({"a.csv": many(column, values)}, symbols=self.T000).rows
        assert rows[ours].to_list() == [pytest.approx(first)]

    def test_each_date_of_a_file_has_units_of_its_own(self, told):
        percent, fraction = ([value] * 30 for value in (2.0, 0.02))
        text = many("dividend_yield", percent, "2024-05-02") + many("dividend_yield", fraction).split("\n", 1)[1]
        assert told({"a.csv": text}, symbols=self.T000).rows["dividend_yield"].to_list() == [0.02, 0.02]

    def test_other_amounts_are_counted_as_the_capitalisation_and_a_zero_stays_one(self, told):
        rows = [f"2024-05-03,T{number:03d},14,{'0' if number else '2.5'}" for number in range(30)]
        text = csv(*rows, header="date,ticker,market_cap,ebitda")
        batch = told({"a.csv": text}, symbols=("T000", "T001"))
        assert batch.rows["ebitda"].to_list() == [2.5e9, 0.0]

    @pytest.mark.parametrize("unit", [1.0, 1e3, 1e6])
    def test_shares_are_counted_so_that_they_explain_the_capitalisation(self, told, unit):
        rows = [f"2024-05-03,T{number:03d},20,5e9,{2.5e8 / unit}" for number in range(30)]
        text = csv(*rows, header="date,ticker,price,market_cap,shares_outstanding")
        assert told({"a.csv": text}, symbols=self.T000).rows["shares_outstanding"].to_list() == [pytest.approx(2.5e8)]

    @pytest.mark.parametrize("column", ["market_cap", "dividend_yield", "debtToEquity"])
    def test_a_few_bare_numbers_do_not_tell_their_unit(self, told, column):
        with pytest.raises(InputRefused, match=r"a\.csv: the unit of column .* cannot be told from 3 values"):
            told({"a.csv": many(column, [1.5, 2.5, 3.5])})

    def test_who_knows_the_unit_may_say_it(self, told):
        text = csv("2024-05-03,ABC,2.5,1.5", header="date,ticker,dividend_yield,market_cap")
        rows = told({"a.csv": text}, units={"dividend_yield": "per_cent", "market_cap": "billions"}).rows
        assert rows.select("dividend_yield", "market_cap").rows() == [(0.025, 1.5e9)]


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("date,price\n2024-05-03,5\n", "bad.csv has no column for the ticker; it has date, price"),
            ("ticker,price\nABC,5\n", "bad.csv has no column for the date, and none in its name"),
            ("date,ticker,colour\n2024-05-03,ABC,red\n", "bad.csv has no column of fundamentals that is known"),
            (csv("2024-05-03,ABC,5,60B", "2024-05-03,DEF,five,60B"), "bad.csv: column price holds 'five' in row 2"),
            (csv("2024-05-03,ABC,5,60X"), "bad.csv: column market_cap holds '60X' in row 1"),
            (csv("2024-05-03,ABC,5,60B", "03/05/2024,DEF,5,60B"), "bad.csv: column date holds '03/05/2024' in row 2"),
            (csv("2024-05-03,ABC,5,60B", "2024-05-03,,5,60B"), "bad.csv: column ticker is empty in row 2"),
            (csv("1999-05-03,ABC,5,60B"), "bad.csv: column date holds 1999-05-03 in row 1, outside the table"),
            (
                csv("2024-05-03,BRK.B,5,60B", "2024-05-03,BRK-B,5,60B"),
                "bad.csv: row 2 is a second snapshot of BRK-B on 2024-05-03; the first is row 1 of bad.csv",
            ),
            (
                csv("2024-05-03,ABC,5,bond", header="date,ticker,price,asset_type"),
                "bad.csv: column asset_type holds 'bond' in row 1",
            ),
            ("date,ticker,pe,P/E\n2024-05-03,ABC,1,1\n", "columns pe and P/E both look like pe_trailing"),
        ],
    )
    def test_a_malformed_file_is_refused_by_its_name_column_and_row(self, told, text, why):
        with pytest.raises(InputRefused) as refused:
            told({"bad.csv": text})
        assert why in str(refused.value)

    def test_an_empty_folder_a_missing_file_and_a_broken_one_are_refused(self, tmp_path, told):
        with pytest.raises(InputRefused, match="holds no Parquet or CSV file"):
            told({})
        with pytest.raises(InputRefused, match="cannot be read"):
            FundamentalsFiles(tmp_path / "none.csv").fundamentals(US, ["ABC"], SESSIONS, now=NOW)
        (tmp_path / "a.parquet").write_bytes(b"no parquet")
        with pytest.raises(InputRefused, match=r"a\.parquet cannot be read as Parquet"):
            told({})


def test_every_column_has_a_spelling_and_no_spelling_two_columns():
    spellings = [spelling for names in ALIASES.values() for spelling in names]
    assert len(spellings) == len(set(spellings))
    assert set(FUNDAMENTALS_SCHEMA) - set(ALIASES) == {"payload", "available_at"}
    assert all(name.replace("_", "") in spellings for name, spellings in ALIASES.items())
