"""Two downloads of the same market, two and four years after its last bar, tell the same as-traded history."""

from datetime import UTC, date, datetime, time

import polars as pl
import pytest

from trading_pipeline.ingest import receive
from trading_pipeline.markets import US
from trading_pipeline.providers.files import Files
from trading_pipeline.research.bars.adjustment import adjust, unusable
from trading_pipeline.research.bars.as_traded import undo_splits
from trading_pipeline.research.bars.versions import changes, suspected_breaks

pytestmark = pytest.mark.real_data

LATER_SPLIT = {"NVDA": 10.0, "GE": 1.253, "CMG": 50.0, "DD": 2.39, "SMCI": 10.0, "AMCR": 0.2}
DOWNLOADED = {2024: date(2024, 3, 8), 2026: date(2026, 3, 14)}


def read(path):
    return pl.read_parquet(path).with_columns(
        pl.col("date").cast(pl.Date).alias("session"),
        pl.col("ticker").alias("symbol"),
        pl.col("ticker").alias("instrument_id"),
        pl.col("volume").cast(pl.Float64),
        provider=pl.lit("files"),
        provisional=pl.lit(False),
    )


def events(bars, column, kind):
    return bars.filter(pl.col(column) != 0).select(
        "symbol", "session", pl.lit(kind).alias("kind"), pl.col(column).alias("value")
    )


@pytest.fixture(scope="module")
def file_of_2026(real_data):
    return read(real_data / "daily" / "sp500_200_tickers_2016_2022.parquet")


@pytest.fixture(scope="module")
def file_of_2024(real_data, file_of_2026):
    bars = read(real_data / "daily" / "us_vintage_2024-03-08_52_tickers_to_2022-12-30.parquet")
    return bars.filter(pl.col("session") >= file_of_2026["session"].min())


@pytest.fixture(scope="module")
def splits(file_of_2026):
    return events(file_of_2026, "splits", "split")


@pytest.fixture(scope="module")
def later_splits(real_data):
    rows = pl.read_csv(real_data / "daily" / "splits_after_2022-12-30_6_tickers.csv", try_parse_dates=True)
    return rows.select(
        pl.col("ticker").alias("symbol"),
        pl.col("ex_date").alias("session"),
        pl.lit("split").alias("kind"),
        pl.col("ratio").cast(pl.Float64).alias("value"),
    )


def as_traded(bars, splits):
    traded, _, refused = undo_splits(bars, splits, "split_adjusted")
    assert refused.is_empty()
    return traded


def test_with_the_later_splits_both_vintages_are_one_history(file_of_2026, file_of_2024, splits, later_splits):
    known_in_2024 = later_splits.filter(pl.col("session") <= DOWNLOADED[2024])
    stored = as_traded(file_of_2026, pl.concat([splits, later_splits]))
    received = as_traded(file_of_2024, pl.concat([splits, known_in_2024]))
    assert received["instrument_id"].n_unique() == 50
    found = changes(received, stored)
    assert found.versions.is_empty()
    assert found.basis_breaks.is_empty()
    assert found.unchanged == received.height


@pytest.mark.parametrize("first_stored", ["2024", "2026"])
def test_without_them_each_of_the_six_is_one_basis_break(file_of_2026, file_of_2024, splits, first_stored):
    older, newer = as_traded(file_of_2024, splits), as_traded(file_of_2026, splits)
    common = newer.join(older.select("instrument_id").unique(), on="instrument_id", how="semi")
    found = changes(older, common) if first_stored == "2026" else changes(common, older)
    factors = dict(found.basis_breaks.select("instrument_id", "factor").iter_rows())
    sign = 1 if first_stored == "2026" else -1
    assert factors == {ticker: pytest.approx(factor**sign, rel=1e-6) for ticker, factor in LATER_SPLIT.items()}
    assert found.basis_breaks.height == 6
    assert found.versions.is_empty()
    assert found.basis_breaks["withheld"].sum() == 0


def test_ten_sessions_are_enough_to_suspect_the_six_and_nobody_else(file_of_2026, file_of_2024, splits):
    overlap = as_traded(file_of_2026, splits).filter(pl.col("session") >= date(2022, 12, 16))
    assert suspected_breaks(overlap, as_traded(file_of_2024, splits)) == sorted(LATER_SPLIT)


def test_adjusted_close_from_actions_is_yahoos(file_of_2026, splits, later_splits):
    dividends = events(file_of_2026, "dividends", "dividend")
    traded, actions, _ = undo_splits(file_of_2026, pl.concat([splits, later_splits, dividends]), "split_adjusted")
    actions = actions.rename({"symbol": "instrument_id"})
    assert unusable(traded, actions).is_empty()
    ours = adjust(traded, actions, "total_return").sort("instrument_id", "session")
    rebased = [pl.col(name) / pl.col(name).last().over("instrument_id") for name in ("close", "adj_close")]
    apart = ours.filter(((rebased[0] / rebased[1]) - 1).abs() > 1e-4)
    assert ours["instrument_id"].n_unique() == 199
    # Yahoo applied AMCR's dividend of 2017-09-01 a session late, on a frozen price.
    assert apart.select("instrument_id", "session").rows() == [("AMCR", date(2017, 9, 1))]


@pytest.fixture
def receive_vintage(real_data, file_of_2024, lake, splits, later_splits, tmp_path):
    """Receive one of the files into the lake, with the splits known by its download or only those before 2023."""

    def run(year, *, later):
        known = later_splits.filter((pl.col("session") <= DOWNLOADED[year]) & later)
        if year == 2024:
            known = pl.concat([splits, known])
        listed = tmp_path / f"splits_{year}_{later}.csv"
        known.select(ticker="symbol", ex_date="session", ratio="value").write_csv(listed)
        (bars,) = (real_data / "daily").glob("us_vintage*" if year == 2024 else "sp500_200*")
        return receive(
            Files(bars, splits=listed),
            US,
            {symbol: f"us:{symbol}" for symbol in file_of_2024["symbol"].unique()},
            lake,
            now=datetime.combine(DOWNLOADED[year], time(22), UTC),
            first=date(2016, 3, 14),
            everything=True,
        )

    return run


def test_received_one_after_the_other_the_second_vintage_adds_nothing(receive_vintage):
    first, second = receive_vintage(2024, later=True), receive_vintage(2026, later=True)
    assert first.new == 83_001
    assert (second.new, second.revised, second.unchanged, second.basis_breaks.height) == (0, 0, 83_001, 0)
    assert second.actions_withdrawn == 0


def test_received_without_the_later_splits_the_six_are_reported_and_what_is_stored_stays(receive_vintage, lake):
    receive_vintage(2024, later=False)
    before = lake.read("us", "received_bars").sort("instrument_id", "session")
    report = receive_vintage(2026, later=False)
    assert sorted(report.basis_breaks["instrument_id"]) == [f"us:{ticker}" for ticker in sorted(LATER_SPLIT)]
    assert (report.new, report.revised) == (0, 0)
    assert lake.read("us", "received_bars").sort("instrument_id", "session").equals(before)


def test_a_file_of_bars_alone_takes_back_no_dividend(receive_vintage, lake):
    receive_vintage(2026, later=True)
    stored = lake.read("us", "received_actions").height
    report = receive_vintage(2024, later=True)
    assert report.actions_withdrawn == 0
    assert report.withdrawals_doubted > 1_000
    assert lake.read("us", "received_actions").height == stored
