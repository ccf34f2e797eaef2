# ruff: noqa: DTZ001 - files hold naive moments
"""People's own files of bars: every usual way of writing them, and a clear answer to the rest."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime

import polars as pl
import pytest

from trading_pipeline.errors import InputRefused, UnknownName
from trading_pipeline.markets import ASX, US
from trading_pipeline.providers.base import BarProvider, SymbolRequest, UniverseProvider
from trading_pipeline.providers.errors import EmptyWindow, NotFound
from trading_pipeline.providers.files import Files

NOW = datetime(2024, 3, 8, 23, 0, tzinfo=UTC)
ALL_TIME = (date(2000, 1, 1), date(2100, 1, 1))
TWO_DAYS = [date(2024, 3, 4), date(2024, 3, 5)]


def table(ticker="AAPL", days=TWO_DAYS, **columns):
    prices = {name: [10.0 + number for number in range(len(days))] for name in ("open", "high", "low", "close")}
    return pl.DataFrame(
        {"date": days, "ticker": [ticker] * len(days), **prices, "volume": [100] * len(days), **columns}
    )


def ask(files, *symbols, first=ALL_TIME[0], last=ALL_TIME[1], now=NOW):
    return files.daily_bars([SymbolRequest(symbol, first, last) for symbol in symbols], now=now)


def csv(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def test_it_is_a_provider_with_a_universe_of_its_own(tmp_path):
    files: BarProvider = Files(tmp_path)
    assert isinstance(files, UniverseProvider) and files.universe_keys(US) == ("FILES",)


def test_a_parquet_file_of_many_tickers(tmp_path):
    pl.concat([table("MSFT"), table("AAPL")]).write_parquet(tmp_path / "bars.parquet")
    told = []
    batch = Files(tmp_path / "bars.parquet").daily_bars(
        [SymbolRequest(symbol, *ALL_TIME) for symbol in ("AAPL", "MSFT")],
        now=NOW,
        progress=lambda done, total: told.append((done, total)),
    )
    assert batch.bars.select("symbol", "session", "close", "adj_close", "currency").rows() == [
        (symbol, day, close, None, "USD")
        for symbol in ("AAPL", "MSFT")
        for day, close in zip(TWO_DAYS, (10.0, 11.0), strict=True)
    ]
    assert batch.basis == "split_adjusted" and batch.http_calls == 0 and told == [(2, 2)]


@pytest.mark.parametrize(
    "header",
    [
        "Date,Ticker,Open,High,Low,Close,Adj Close,Volume,Dividends,Stock Splits",
        "datetime,symbol,OPEN,HIGH,LOW,CLOSE,adj_close,VOLUME,dividend,splits",
        "timestamp,Symbol,open,high,low,close,AdjClose,vol,divCash,splitFactor",
    ],
)
def test_columns_by_their_usual_names(tmp_path, header):
    path = csv(
        tmp_path,
        "bars.csv",
        f"{header}\n2024-03-04,aapl,1,3,0.5,2,1.9,100,0,0\n2024-03-05,aapl,1,3,0.5,1,0.9,200,0.25,4\n",
    )
    batch = ask(Files(path), "AAPL")
    assert batch.bars.row(0) == ("AAPL", date(2024, 3, 4), 1.0, 3.0, 0.5, 2.0, 1.9, 100.0, "USD")
    assert batch.actions.rows() == [
        ("AAPL", date(2024, 3, 5), "dividend", 0.25, "USD"),
        ("AAPL", date(2024, 3, 5), "split", 4.0, "USD"),
    ]


def test_a_split_factor_of_one_is_no_split(tmp_path):
    table(splitFactor=[1.0, 1.0]).write_parquet(tmp_path / "bars.parquet")
    assert ask(Files(tmp_path), "AAPL").actions.is_empty()


def test_the_name_of_a_file_without_tickers_is_its_ticker(tmp_path):
    for symbol in ("AAPL", "bhp.ax"):
        table().drop("ticker").write_csv(tmp_path / f"{symbol}.csv")
    batch = ask(Files(tmp_path), "AAPL", "BHP.AX")
    assert batch.bars.select("symbol", "currency").unique().sort("symbol").rows() == [
        ("AAPL", "USD"),
        ("BHP.AX", "AUD"),
    ]


@pytest.mark.parametrize(
    "stamps",
    [
        ["2024-03-04", "2024-03-05"],
        ["2024-03-04 00:00:00-05:00", "2024-03-05 00:00:00-05:00"],
        ["2024-03-04T00:00:00+00:00", "2024-03-05T00:00:00Z"],
        ["2024-03-04 05:00:00+00:00", "2024-03-05 05:00:00+00:00"],
        ["20240304", "20240305"],
        [20240304, 20240305],
        [1709528400, 1709614800],
        [1709528400000, 1709614800000],
        [datetime(2024, 3, 4), datetime(2024, 3, 5, 16, 0)],
    ],
    ids=str,
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_dates_however_they_are_written(tmp_path, stamps, suffix):
    frame = table(days=TWO_DAYS).with_columns(date=pl.Series(stamps))
    path = tmp_path / f"bars.{suffix}"
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    assert ask(Files(path), "AAPL").bars["session"].to_list() == TWO_DAYS


@pytest.mark.parametrize("zone", ["America/New_York", "UTC", "Australia/Sydney"])
def test_zone_aware_midnights_keep_their_local_date(tmp_path, zone):
    local = pl.Series([datetime(2024, 3, 4), datetime(2024, 3, 5)]).dt.replace_time_zone(zone)
    table().with_columns(date=local).write_parquet(tmp_path / "bars.parquet")
    assert ask(Files(tmp_path), "AAPL").bars["session"].to_list() == TWO_DAYS


def test_midnight_in_sydney_written_in_utc_is_the_sydney_date(tmp_path):
    moments = pl.Series([datetime(2024, 3, 3, 13), datetime(2024, 3, 4, 13)]).dt.replace_time_zone("UTC")
    table("BHP.AX").with_columns(date=moments).write_parquet(tmp_path / "bars.parquet")
    assert ask(Files(tmp_path), "BHP.AX").bars["session"].to_list() == TWO_DAYS


def test_what_is_no_number_of_a_price_is_null_and_the_row_stays(tmp_path):
    text = "date,open,high,low,close,volume\n2024-03-04,null,,NaN,-,0\n2024-03-05,inf,1,1,1,1\n,,,,,\n"
    bars = ask(Files(csv(tmp_path, "NAN.csv", text)), "NAN").bars
    assert bars.select("open", "close", "volume").rows() == [(None, None, 0.0), (None, 1.0, 1.0)]


def test_a_ticker_called_nan_is_a_ticker(tmp_path):
    table("NAN").write_csv(tmp_path / "bars.csv")
    assert ask(Files(tmp_path), "NAN").bars.height == 2


def test_a_day_told_twice_is_one_bar_and_one_duplicate(tmp_path):
    pl.concat([table("BRK.B"), table("BRK-B", close=[99.0, 99.0])]).write_parquet(tmp_path / "bars.parquet")
    batch = ask(Files(tmp_path), "BRK/B")
    assert batch.bars["symbol"].unique().to_list() == ["BRK/B"]
    assert batch.bars["close"].to_list() == [10.0, 11.0] and batch.duplicates["close"].to_list() == [99.0, 99.0]


def test_a_symbol_asked_twice_is_answered_once_a_row(tmp_path):
    table().write_parquet(tmp_path / "bars.parquet")
    batch = ask(Files(tmp_path), "AAPL", "AAPL")
    assert batch.bars.height == 2 and batch.duplicates.is_empty()


def test_nobody_is_lost(tmp_path):
    table().write_parquet(tmp_path / "bars.parquet")
    batch = ask(Files(tmp_path), "AAPL", "NOPE", first=date(2025, 1, 1))
    assert [(failure.symbol, type(failure.error)) for failure in batch.failures] == [
        ("AAPL", EmptyWindow),
        ("NOPE", NotFound),
    ]


def test_the_window_cuts_bars_and_dividends_but_never_a_later_split(tmp_path):
    table(dividends=[0.5, 0.0], splits=[0.0, 2.0]).write_parquet(tmp_path / "bars.parquet")
    batch = ask(Files(tmp_path), "AAPL", last=TWO_DAYS[0])
    assert batch.bars["session"].to_list() == TWO_DAYS[:1]
    assert batch.actions.select("session", "kind").rows() == [(TWO_DAYS[0], "dividend"), (TWO_DAYS[1], "split")]


def test_no_bar_of_a_day_that_the_clock_has_not_reached(tmp_path):
    table().write_parquet(tmp_path / "bars.parquet")
    files = Files(tmp_path)
    monday_evening = datetime(2024, 3, 4, 23, 0, tzinfo=UTC)
    assert ask(files, "AAPL", now=monday_evening).bars["session"].to_list() == TWO_DAYS[:1]
    assert files.latest_session(US, monday_evening) == TWO_DAYS[0]


@pytest.mark.parametrize("given", [True, False], ids=["given", "found in the folder"])
def test_later_splits_come_from_a_file_beside(tmp_path, given):
    folder = tmp_path / "bars"
    folder.mkdir()
    table("NVDA").write_parquet(folder / "bars.parquet")
    beside = csv(tmp_path if given else folder, "later_splits.csv", "ticker,ex_date,ratio\nNVDA,2024-06-10,10\n")
    batch = ask(Files(folder, splits=beside if given else None), "NVDA", last=TWO_DAYS[0])
    assert batch.actions.rows() == [("NVDA", date(2024, 6, 10), "split", 10.0, "USD")]


def test_a_file_of_bars_may_have_split_in_its_name(tmp_path):
    table().write_csv(tmp_path / "split_adjusted.csv")
    assert ask(Files(tmp_path), "AAPL").bars.height == 2


def test_prices_may_be_as_traded(tmp_path):
    table().write_parquet(tmp_path / "bars.parquet")
    assert ask(Files(tmp_path, basis="as_traded"), "AAPL").basis == "as_traded"


def test_a_file_that_changed_is_read_again(tmp_path):
    path = tmp_path / "bars.parquet"
    table().write_parquet(path)
    files = Files(path)
    assert ask(files, "AAPL").bars.height == 2
    table(days=[*TWO_DAYS, date(2024, 3, 6)]).write_parquet(path)
    os.utime(path, ns=(1, 1))
    assert ask(files, "AAPL").bars.height == 3 and files.covers("AAPL") and not files.covers("IBM")


def test_members_are_those_with_bars_around_the_session(tmp_path):
    pl.concat([table("AAPL"), table("IBM", days=TWO_DAYS[1:]), table("^VIX"), table("BHP.AX")]).write_parquet(
        tmp_path / "bars.parquet"
    )
    files = Files(tmp_path)
    members = files.members(US, "FILES", [*TWO_DAYS, date(2024, 3, 6)])
    assert members.select("session", "ticker").rows() == [
        (TWO_DAYS[0], "AAPL"),
        (TWO_DAYS[1], "AAPL"),
        (TWO_DAYS[1], "IBM"),
    ]
    assert members.columns == ["session", "universe", "ticker", "sector", "source"]
    assert files.members(ASX, "FILES", TWO_DAYS)["ticker"].unique().to_list() == ["BHP.AX"]
    with pytest.raises(UnknownName, match="FILES"):
        files.members(US, "SPX500", TWO_DAYS)


def test_a_last_row_on_a_weekend_ends_with_the_session_before(tmp_path):
    table("BTC-USD", days=[date(2024, 3, 1), date(2024, 3, 2)]).write_parquet(tmp_path / "bars.parquet")
    assert Files(tmp_path).latest_session(US, NOW) == date(2024, 3, 1)


def test_a_market_without_bars_has_no_latest_session_and_no_members(tmp_path):
    table().write_parquet(tmp_path / "bars.parquet")
    files = Files(tmp_path)
    assert files.latest_session(ASX, NOW) is None and files.members(ASX, "FILES", TWO_DAYS).is_empty()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("A.csv", "date,open,high,low\n2024-03-04,1,1,1\n", "A.csv has no column for close and volume"),
        ("A.csv", "", "A.csv cannot be read as CSV"),
        (
            "A.csv",
            "date,open,high,low,close,volume\n2024-03-04,1,1,1,1\n2024-03-05,1,1,1,1,1,1,1,1\n",
            "A.csv cannot be read",
        ),
        ("A.csv", "date,open,high,low,close,volume\n2024-03-04,1,1,1,1 000,1\n", "A.csv: column close holds '1 000'"),
        ("A.csv", "date,open,high,low,close,volume\n03/04/2024,1,1,1,1,1\n", "A.csv: column date holds '03/04/2024'"),
        ("A.csv", "date,open,high,low,close,volume\n,1,1,1,1,1\n", "A.csv: column date holds None"),
        (
            "A.csv",
            "date,ticker,open,high,low,close,volume\n2024-03-04,,1,1,1,1,1\n",
            "A.csv: column ticker is empty in row 1",
        ),
        (
            "A.csv",
            "Date,datetime,open,high,low,close,volume\n2024-03-04,x,1,1,1,1,1\n",
            "columns Date and datetime both",
        ),
        ("A.parquet", "PAR1 but not really", "A.parquet cannot be read as Parquet"),
        ("splits.csv", "ticker,ratio\nNVDA,10\n", "splits.csv lacks columns of a splits file"),
        ("splits.csv", "ticker,ex_date,ratio\nNVDA,2024-06-10,0\n", "not above 0"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_column_in_one_line(tmp_path, name, content, said):
    table().write_parquet(tmp_path / "good.parquet")
    csv(tmp_path, name, content)
    with pytest.raises(InputRefused) as refusal:
        ask(Files(tmp_path), "AAPL")
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_column_of_another_type_is_named(tmp_path):
    table(close=[True, False]).write_parquet(tmp_path / "bars.parquet")
    with pytest.raises(InputRefused, match=r"bars\.parquet: column close is Boolean"):
        ask(Files(tmp_path), "AAPL")


def test_a_path_without_bars_is_said(tmp_path):
    with pytest.raises(InputRefused, match="holds no Parquet or CSV file"):
        ask(Files(tmp_path), "AAPL")
    with pytest.raises(InputRefused, match="cannot be read"):
        ask(Files(tmp_path / "nowhere.parquet"), "AAPL")


def test_making_the_provider_reads_nothing(tmp_path):
    Files(tmp_path / "nowhere.parquet", splits=tmp_path / "nothing.csv")
