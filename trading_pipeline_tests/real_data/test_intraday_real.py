"""Real bars of 1, 5 and 15 minutes: what resampling gives against the provider's own, and the traps the rules find.

*Yahoo, SPY, a week of 1 and 15 minutes with extended hours.* All 315 quarters have the open, high, low and close of the
provider's own quarter, to the last bit, the 19 that lack a minute or more included. Volume is equal in 275: in all
185 outside regular hours (0, but for the first minute after the close) and in 90 of 130 inside. 39 differ by 207 shares
or fewer, since Yahoo corrected its minutes after making the quarters; one holds the running total of the day in a
single minute.

*Files, three names over 52 sessions of 1 and 5 minutes.* The six pairs after the early close of 2025-11-28 are equal.
Of the 12,528 in regular hours 27 have the same prices and none the volume: the 1-minute file is one exchange's own
feed, with 2 to 5 % of the volume, the 5-minute one the consolidated tape. What resampling must give there is a bar
inside the consolidated one, near it; 12,483 are, and 45 stand out by 0.05 % at most.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from trading_pipeline.research.intraday import assess, placed, premarket_volume, resample, told_volume
from trading_pipeline.tables import CORPORATE_ACTIONS
from trading_pipeline_tests.mornings import NEW_YORK, XNYS, days_of, intraday, moments

pytestmark = pytest.mark.real_data

PRICES = ("open", "high", "low", "close")
SESSIONS = XNYS.between(date(2025, 5, 1), date(2025, 11, 28))
DAYS = days_of(SESSIONS)
RECEIVED = datetime(2025, 12, 1, 12, tzinfo=UTC)


def from_file(path, interval: str, timezone: str = NEW_YORK) -> pl.DataFrame:
    """Bars whose times are naive, by the clock of `timezone`."""
    told = pl.read_parquet(path)
    return ready(
        told.select(
            instrument_id="ticker",
            started_at=pl.col("datetime").dt.replace_time_zone(timezone).dt.convert_time_zone("UTC"),
            **{name: pl.col(name) for name in PRICES},
            volume=pl.col("volume").cast(pl.Float64),
        ),
        interval,
    )


def from_yahoo(path, interval: str) -> pl.DataFrame:
    told = pl.read_csv(path)
    start = pl.col("Datetime").str.to_datetime("%Y-%m-%d %H:%M:%S%z", time_zone="UTC").dt.cast_time_unit("us")
    return ready(
        told.select(
            pl.lit("SPY").alias("instrument_id"),
            started_at=start,
            **{name: pl.col(name.title()) for name in PRICES},
            volume=pl.col("Volume").cast(pl.Float64),
            repaired=pl.col("Repaired?"),
        ),
        interval,
    )


def ready(bars: pl.DataFrame, interval: str) -> pl.DataFrame:
    clocks = {"known_at": pl.lit(RECEIVED), "provider": pl.lit("files"), "interval": pl.lit(interval)}
    return placed(bars.with_columns(**clocks), DAYS, NEW_YORK)


@pytest.fixture(scope="module")
def minutes(real_data):
    return from_yahoo(real_data / "intraday/spy_yf_prepost/SPY_1min_20250708_20250714.csv", "1m")


@pytest.fixture(scope="module")
def quarters(real_data):
    return from_yahoo(real_data / "intraday/spy_yf_prepost/SPY_15min_20250519_20250714.csv", "15m")


@pytest.fixture(scope="module")
def ones(real_data):
    return from_file(real_data / "intraday/1min_3_tickers_2025-09_2025-11.parquet", "1m")


@pytest.fixture(scope="module")
def fives(real_data):
    return from_file(real_data / "intraday/5min_8_tickers_2025-05_2025-11.parquet", "5m")


def pairs(made: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    return made.join(own, on=["instrument_id", "started_at", "phase"], how="inner", suffix="_own").with_columns(
        same_prices=pl.all_horizontal(pl.col(name) == pl.col(f"{name}_own") for name in PRICES),
        volume_off=pl.col("volume") - pl.col("volume_own"),
    )


def test_quarters_made_of_yahoos_minutes_are_yahoos_quarters(minutes, quarters):
    made = resample(minutes.drop("repaired"), "15m")
    told = pairs(made, quarters)
    assert (made.height, told.height) == (315, 315)
    assert told["same_prices"].all()
    assert told["complete"].sum() == 315 and (told["parts"] < 15).sum() == 19
    extended, regular = (told.filter((pl.col("phase") == "regular") == inside) for inside in (False, True))
    assert (extended.height, (extended["volume_off"] == 0).sum()) == (185, 185)
    assert (regular.height, (regular["volume_off"] == 0).sum()) == (130, 90)
    off = regular.filter(pl.col("volume_off") != 0)["volume_off"].sort()
    assert off[-1] == 23_648_689 and off[:-1].max() <= 207 and off.min() > 0


def test_yahoos_repaired_rows_agree_too(minutes, quarters):
    """`repair=True` marks every extended-hours row for its zero volume and moves none of these prices."""
    told = pairs(resample(minutes.drop("repaired"), "15m"), quarters).filter("repaired")
    assert told.height == 185 and set(told["phase"]) == {"pre", "post"}
    assert told["same_prices"].all()


def test_fives_made_of_one_exchanges_minutes_lie_inside_those_of_the_tape(ones, fives):
    told = pairs(resample(ones, "5m"), fives)
    assert told.height == 12_534
    after = told.filter(pl.col("phase") == "post")
    assert after.height == 6 and after["same_prices"].all() and (after["volume_off"] == 0).all()
    inside = told.filter(pl.col("phase") == "regular")
    assert (inside["volume_off"] < 0).all()
    assert 0.02 < (inside["volume"] / inside["volume_own"]).median() < 0.06
    assert inside["same_prices"].sum() == 27
    within = (inside["high"] <= inside["high_own"]) & (inside["low"] >= inside["low_own"])
    assert within.sum() == 12_483
    assert (inside["high"] / inside["high_own"]).max() < 1.0006 and (inside["low"] / inside["low_own"]).min() > 0.9994
    assert (inside["close"] / inside["close_own"] - 1).abs().max() < 0.002


def test_the_phases_of_real_files_are_all_known_and_half_days_end_at_one(minutes, quarters, ones, fives):
    for bars in (minutes, quarters, ones, fives):
        assert bars["phase"].null_count() == 0
    early = [date(2025, 7, 3), date(2025, 11, 28)]
    last = pl.concat([quarters.drop("repaired"), fives]).filter(
        pl.col("session").is_in(early) & (pl.col("phase") == "regular")
    )
    assert last["exchange_time"].str.slice(11, 5).max() == "12:55"
    post = quarters.filter((pl.col("session") == early[0]) & (pl.col("phase") == "post"))
    assert post["exchange_time"].str.slice(11, 5).to_list()[-1] == "16:45"


def test_rules_reject_nothing_of_these_files_and_find_what_is_wrong_in_them(minutes, quarters, ones, fives):
    found = {}
    for name, bars in (("minutes", minutes), ("quarters", quarters), ("ones", ones), ("fives", fives)):
        told = assess(bars)
        assert told.kept.height == bars.height
        found |= {(name, rule): count for rule, count in told.issues["rule"].value_counts().iter_rows()}
    assert found == {
        ("minutes", "stray_wick"): 11,
        ("minutes", "volume_spike"): 1,
        ("quarters", "stray_wick"): 80,
        ("fives", "stray_wick"): 1,
    }
    lowest = assess(minutes).issues.filter(pl.col("rule") == "stray_wick").sort("low").row(0, named=True)
    assert (lowest["low"], lowest["started_at"]) == (523.12, datetime(2025, 7, 8, 12, 33, tzinfo=UTC))


def test_new_york_times_read_as_utc_are_noticed(real_data):
    """Of 1,120 sessions of 8 names 1,053 have most of their volume before what is taken for the open."""
    wrong = from_file(real_data / "intraday/5min_8_tickers_2025-05_2025-11.parquet", "5m", timezone="UTC")
    rules = dict(assess(wrong).issues["rule"].value_counts().iter_rows())
    assert rules["shifted_clock"] > 0.9 * wrong.select("session", "instrument_id").n_unique()
    assert rules["outside_hours"] > 0


def test_yahoos_zero_volume_before_the_open_is_unknown(minutes):
    day = date(2025, 7, 14)
    table = intraday(minutes.select("instrument_id", "started_at", *PRICES, "volume"), DAYS, "1m")
    extended = table.filter(pl.col("phase") != "regular")
    assert (extended["volume"] == 0).mean() > 0.99
    assert extended.select(told_volume().is_not_null().sum()).item() == 5, "the closing auction of each day"
    nothing = CORPORATE_ACTIONS.empty()
    told = premarket_volume(table, nothing, DAYS, moments([day])).row(0, named=True)
    assert (told["volume"], told["normal"], told["known_sessions"]) == (None, None, 0)


def test_premarket_volume_of_real_files_has_a_normal(fives):
    """The file tells premarket bars from 2025-09-15 on; 20 sessions later there is a normal for those that trade."""
    day = date(2025, 10, 15)
    table = intraday(fives.select("instrument_id", "started_at", *PRICES, "volume"), DAYS)
    told = premarket_volume(table, CORPORATE_ACTIONS.empty(), DAYS, moments([day]))
    by_name = {row["instrument_id"]: row for row in told.iter_rows(named=True)}
    spy = by_name["SPY"]
    before = fives.filter(
        (pl.col("instrument_id") == "SPY")
        & (pl.col("phase") == "pre")
        & (pl.col("exchange_time").str.slice(11, 5) <= "08:25")
        & pl.col("session").is_between(XNYS.offset(day, -20), XNYS.offset(day, -1))
    )
    assert spy["normal"] == pytest.approx(before["volume"].sum() / spy["known_sessions"])
    assert before.height > 5 and spy["known_sessions"] >= 5
    earlier = premarket_volume(table, CORPORATE_ACTIONS.empty(), DAYS, moments([date(2025, 9, 2)]))
    assert earlier["volume"].null_count() == earlier.height, "nobody's premarket was told then"
