"""The dated snapshots of 2012 to 2025, read from their files and judged: the faults known to be there are found."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import polars as pl
import pytest

from trading_pipeline import tables
from trading_pipeline.markets import US
from trading_pipeline.providers.fundamentals_files import FundamentalsFiles
from trading_pipeline.research.bars.as_traded import undo_splits
from trading_pipeline.research.fundamentals import fundamentals, judge
from trading_pipeline.research.indicators import indicators
from trading_pipeline.sessions import calendar

pytestmark = pytest.mark.real_data

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SWAPPED = date(2018, 2, 8)
STALE = [date(2013, 5, 3), date(2013, 6, 7), date(2013, 6, 21), date(2013, 8, 2)]
# Names whose later splits the file of splits does not list: their bars are not as traded, and their snapshots say so.
SPLIT_LATER = {"BDX", "CTAS", "DD", "ETR", "FTV", "IR", "NFLX", "TSCO"}


def told(path) -> pl.DataFrame:
    provider = FundamentalsFiles(path)
    every = ["MMM", "AOS", "AAPL"]
    if path.is_file():
        # Spelled with a dot in some years and a hyphen in others: one name.
        every = sorted(pl.read_parquet(path)["symbol"].str.replace(".", "-", literal=True).unique())
    sessions = calendar("XNYS").between(date(2012, 1, 1), date(2026, 2, 27))
    return provider.fundamentals(US, every, sessions, now=NOW).rows


@pytest.fixture(scope="module")
def snapshots(real_data) -> pl.DataFrame:
    rows = told(real_data / "fundamentals" / "sp500_snapshots_2012_2025.parquet")
    return rows.with_columns(instrument_id="symbol", provider=pl.lit("files"), known_at=pl.lit(NOW)).cast(
        {"known_at": pl.Datetime("us", "UTC")}
    )


@pytest.fixture(scope="module")
def measured(real_data) -> pl.DataFrame:
    """Indicators of 199 names to February 2018, from bars as traded as far as the splits are known."""
    raw = pl.scan_parquet(real_data / "daily" / "sp500_200_tickers_2016_2022.parquet").collect()
    raw = raw.with_columns(session=pl.col("date").cast(pl.Date), volume=pl.col("volume").cast(pl.Float64))
    later = pl.read_csv(real_data / "daily" / "splits_after_2022-12-30_6_tickers.csv", try_parse_dates=True)
    splits = [
        raw.filter(pl.col("splits") != 0).select("session", symbol="ticker", value=pl.col("splits").cast(pl.Float64)),
        later.select(session="ex_date", symbol="ticker", value=pl.col("ratio").cast(pl.Float64)),
    ]
    events = pl.concat(splits).with_columns(kind=pl.lit("split")).select("session", "symbol", "kind", "value")
    bars, actions, _ = undo_splits(raw.rename({"ticker": "symbol"}), events, "split_adjusted")
    bars = bars.filter((pl.col("close") > 0) & (pl.col("session") < date(2018, 3, 1))).with_columns(
        instrument_id="symbol", ticker="symbol", data_quality=pl.lit("good")
    )
    members = bars.select("session", "instrument_id", universe=pl.lit("FILES"), sector=pl.lit("x"))
    return indicators(
        bars, actions.rename({"symbol": "instrument_id"}), members, "SPY", bars["session"].unique().sort().to_list()
    )


@pytest.fixture(scope="module")
def verdicts(snapshots, measured) -> pl.DataFrame:
    return judge(snapshots, measured)


def caught(verdicts: pl.DataFrame, rule: str) -> dict[date, int]:
    found = verdicts.filter(pl.col("rules").str.split(",").list.contains(rule))
    return dict(found.group_by("session").len().sort("session").iter_rows())


def test_every_row_of_the_files_is_told_once_in_full_units(real_data, snapshots):
    raw = pl.read_parquet(real_data / "fundamentals" / "sp500_snapshots_2012_2025.parquet")
    assert snapshots.height == raw.height == 21_574
    medians = snapshots.group_by("session").agg(
        pl.col("market_cap").median(), pl.col("dividend_yield").filter(pl.col("dividend_yield") > 0).median()
    )
    assert medians["market_cap"].is_between(1e10, 5e10).all(), "billions, suffixes and full amounts are one unit"
    assert medians["dividend_yield"].is_between(0.015, 0.03).all(), "per cent and fractions are one unit"
    apple = snapshots.filter((pl.col("symbol") == "AAPL") & (pl.col("session") == SWAPPED)).row(0, named=True)
    assert apple["price"] == 155.15 and apple["market_cap"] == 809508034020.0
    assert apple["dividend_yield"] == pytest.approx(0.015795412)


def test_no_number_is_lost_and_none_invented(real_data, snapshots):
    raw = pl.read_parquet(real_data / "fundamentals" / "sp500_snapshots_2012_2025.parquet")
    for theirs, ours in {
        "price": "price",
        "pb": "price_to_book",
        "ps": "price_to_sales",
        "eps": "eps_trailing",
    }.items():
        assert snapshots[ours].null_count() == raw[theirs].null_count()
        assert snapshots[ours].drop_nulls().sort().to_list() == raw[theirs].drop_nulls().sort().to_list()
    endless = raw.filter(pl.col("pe").is_infinite()).height
    assert endless and snapshots["pe_trailing"].null_count() == raw["pe"].null_count() + endless
    assert snapshots["payload"].str.contains('"pe": "inf"').sum() == endless
    books = [json.loads(payload)["book_value"] for payload in snapshots["payload"]]
    assert sum(book is None for book in books) == raw["book_value"].null_count()


def test_the_two_days_of_the_other_publisher_are_read_by_the_date_in_their_names(real_data):
    rows = told(real_data / "fundamentals" / "stonk")
    assert sorted(set(rows["session"])) == [date(2026, 1, 28), date(2026, 1, 30)] and rows.height == 6
    first = rows.filter((pl.col("symbol") == "MMM") & (pl.col("session") == date(2026, 1, 28))).row(0, named=True)
    assert (first["price"], first["pe_forward"], first["market_cap"]) == (155.94, 16.676754, 82839232512.0)
    assert first["debt_to_equity"] == pytest.approx(2.68991) and first["peg"] is None
    assert json.loads(first["payload"]) == {"averageVolume": "3121590"}
    assert first["available_at"] == calendar("XNYS").close_at(date(2026, 1, 28))


def test_all_505_swapped_ranges_of_8_february_2018_are_found_and_neither_end_is_kept(verdicts):
    assert caught(verdicts, "range_swapped")[SWAPPED] == 505
    assert sum(caught(verdicts, "range_swapped").values()) == 505 + 7, "LyondellBasell's seven times in 2013"
    day = verdicts.filter(pl.col("session") == SWAPPED)
    assert day["high_52_weeks"].null_count() == day["low_52_weeks"].null_count() == 505
    assert day.filter(pl.col("data_quality") == "suspect")["price"].null_count() == 0


def test_the_stale_ranges_of_may_to_august_2013_are_found(verdicts):
    found = caught(verdicts, "range_stale")
    assert [found[day] for day in STALE] == [65, 37, 18, 188]
    assert sum(count for day, count in found.items() if day not in STALE and day < date(2017, 1, 1)) <= 7


def test_few_others_are_flagged(verdicts, measured):
    sound = verdicts.filter(~pl.col("session").is_in([*STALE, SWAPPED]))
    judged_alone = sound.join(measured.select("session", "instrument_id"), on=["session", "instrument_id"], how="anti")
    assert judged_alone.height > 17_000
    assert (judged_alone["data_quality"] != "good").mean() < 0.004


def test_a_price_that_disagrees_with_the_bars_names_the_splits_nobody_told(verdicts):
    mismatched = verdicts.filter(pl.col("rules").str.contains("price_mismatch"))
    assert set(mismatched["symbol"]) == SPLIT_LATER
    assert set(mismatched["data_quality"]) == {"bad"} and mismatched["price_to_book"].null_count() == mismatched.height


def test_prices_of_the_day_before_a_crash_are_shown_to_be_apart(verdicts):
    """On 24 June 2016, after the British referendum, the snapshot still has the prices of the 23rd."""
    apart = verdicts.filter(pl.col("rules").str.contains("price_apart"))
    by_session = dict(apart.group_by("session").len().iter_rows())
    assert by_session[date(2016, 6, 24)] == max(by_session.values()) == 11
    assert {"UAL", "IVZ", "SCHW"} <= set(apart.filter(pl.col("session") == date(2016, 6, 24))["symbol"])


def test_the_view_of_two_months_fits_its_table_and_reads_only_what_was_out(snapshots, measured):
    sessions = calendar("XNYS").between(date(2016, 6, 1), date(2016, 7, 29))
    members = measured.filter(pl.col("session").is_in(sessions)).select("session", "instrument_id", "ticker")
    closes = pl.DataFrame({"session": sessions, "decided_at": calendar("XNYS").closes(sessions)}).with_columns(
        pl.col("decided_at").dt.replace_time_zone("UTC") + US.data_lag
    )
    view = tables.FUNDAMENTALS.conform(fundamentals(snapshots, members, measured, sessions, closes))
    apple = view.filter(pl.col("ticker") == "AAPL").select("session", "snapshot_session", "age", "price")
    assert apple.height == len(sessions), "a snapshot of February 2016 is not yet a quarter old"
    at = {row["session"]: row for row in apple.iter_rows(named=True)}
    assert at[date(2016, 6, 10)]["snapshot_session"] == date(2016, 2, 26), "dated Sunday the 12th: not out on Friday"
    assert at[date(2016, 6, 13)]["snapshot_session"] == date(2016, 6, 10) and at[date(2016, 6, 13)]["age"] == 1
    assert at[date(2016, 6, 24)]["age"] == 0
    assert at[date(2016, 7, 29)]["age"] == 15
