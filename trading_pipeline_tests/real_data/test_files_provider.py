"""Two real downloads of the same US market through the files provider."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from trading_pipeline.markets import US
from trading_pipeline.providers.base import SymbolRequest
from trading_pipeline.providers.files import Files
from trading_pipeline.sessions import calendar

pytestmark = pytest.mark.real_data

NOW = datetime(2026, 3, 14, tzinfo=UTC)
LAST = date(2022, 12, 30)


@pytest.fixture
def daily(real_data: Path) -> Path:
    return real_data / "daily"


def ask(files, symbols):
    return files.daily_bars([SymbolRequest(symbol, date(2016, 1, 1), NOW.date()) for symbol in symbols], now=NOW)


def test_all_199_tickers_come_in_one_answer_with_their_actions(daily):
    path = daily / "sp500_200_tickers_2016_2022.parquet"
    raw = pl.read_parquet(path)
    batch = ask(Files(path), raw["ticker"].unique().to_list())
    assert batch.bars["symbol"].n_unique() == 199 and batch.bars.height == raw.height == 324_493
    assert not batch.failures and batch.duplicates.is_empty()
    expected = raw.select("ticker", pl.col("date").cast(pl.Date), "close", pl.col("volume").cast(pl.Float64))
    assert batch.bars.select("symbol", "session", "close", "volume").rows() == expected.sort("ticker", "date").rows()
    counts = dict(batch.actions.group_by("kind").len().iter_rows())
    assert counts == {
        "dividend": raw.filter(pl.col("dividends") > 0).height,
        "split": raw.filter(pl.col("splits") > 0).height,
    }


def test_the_universe_is_what_the_file_holds_and_ends_with_it(daily):
    files = Files(daily / "sp500_200_tickers_2016_2022.parquet")
    sessions = calendar(US.exchange).between(date(2022, 12, 1), date(2023, 1, 31))
    members = files.members(US, "FILES", sessions)
    assert files.latest_session(US, NOW) == members["session"].max() == LAST
    assert members.filter(pl.col("session") == LAST).height == 199


def test_the_later_splits_are_told_with_the_bars_they_were_applied_to(daily):
    files = Files(daily / "sp500_200_tickers_2016_2022.parquet", splits=daily / "splits_after_2022-12-30_6_tickers.csv")
    actions = ask(files, ["NVDA", "GE", "AAPL"]).actions.filter(pl.col("session") > LAST)
    assert actions.rows() == [
        ("GE", date(2023, 1, 4), "split", 1.281, "USD"),
        ("GE", date(2024, 4, 2), "split", 1.253, "USD"),
        ("NVDA", date(2024, 6, 10), "split", 10.0, "USD"),
    ]


def test_a_vintage_with_dates_instead_of_moments_and_without_actions_is_read_alike(daily):
    path = daily / "us_vintage_2024-03-08_52_tickers_to_2022-12-30.parquet"
    symbols = pl.read_parquet(path)["ticker"].unique().to_list()
    batch = ask(Files(path), symbols)
    assert batch.bars["symbol"].n_unique() == 50 and batch.actions.is_empty()
    assert not batch.failures
    assert batch.bars["session"].max() == LAST


def test_two_vintages_in_one_folder_are_bars_and_duplicates_and_not_twice_the_bars(daily):
    batch = ask(Files(daily), ["AAPL", "NVDA"])
    first = ask(Files(daily / "sp500_200_tickers_2016_2022.parquet"), ["AAPL", "NVDA"])
    of_first = batch.bars.join(first.bars.select("symbol", "session"), on=["symbol", "session"])
    assert of_first.equals(first.bars)
    assert batch.duplicates.height == first.bars.height
    assert batch.actions.filter(pl.col("session") > LAST).height == 1
