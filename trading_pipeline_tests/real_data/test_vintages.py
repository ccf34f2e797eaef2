"""Two downloads of the same market, two and four years after its last bar, tell the same as-traded history."""

from datetime import date

import polars as pl
import pytest

from trading_pipeline.research.bars.adjustment import adjust, unusable
from trading_pipeline.research.bars.as_traded import undo_splits
from trading_pipeline.research.bars.versions import changes, suspected_breaks

pytestmark = pytest.mark.real_data

LATER_SPLIT = {"NVDA": 10.0, "GE": 1.253, "CMG": 50.0, "DD": 2.39, "SMCI": 10.0, "AMCR": 0.2}
SECOND_DOWNLOAD = date(2024, 3, 8)


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
    known_in_2024 = later_splits.filter(pl.col("session") <= SECOND_DOWNLOAD)
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
