"""Coarser bars are exactly what their parts say, and say whether anything is missing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from trading_pipeline.research.intraday import resample
from trading_pipeline_tests.mornings import XNYS, days_of, intraday

DAY = date(2025, 11, 28)
DAYS = days_of(XNYS.between(date(2025, 11, 24), date(2025, 12, 5)))
OPEN = XNYS.open_at(DAY)
PRICES = ["open", "high", "low", "close"]


def minutes(*numbers: int, start: datetime = OPEN, name: str = "us:A", volume: list[float | None] | None = None):
    """1-minute bars that many minutes after the start, with figures that tell them apart."""
    count = len(numbers)
    rows = pl.DataFrame(
        {
            "instrument_id": [name] * count,
            "started_at": [start + timedelta(minutes=number) for number in numbers],
            "open": [100.0 + number for number in numbers],
            "high": [101.5 + number for number in numbers],
            "low": [99.5 - number for number in numbers],
            "close": [100.5 + number for number in numbers],
            "volume": volume or [10.0 + number for number in numbers],
        },
        schema_overrides={"volume": pl.Float64},
    )
    return intraday(rows, DAYS, "1m")


def test_a_bar_is_first_highest_lowest_last_and_sum():
    bar = resample(minutes(0, 1, 2, 3, 4), "5m").row(0, named=True)
    assert (bar["open"], bar["high"], bar["low"], bar["close"], bar["volume"]) == (100.0, 105.5, 95.5, 104.5, 60.0)
    assert (bar["interval"], bar["parts"], bar["complete"], bar["forming"]) == ("5m", 5, True, False)
    assert (bar["started_at"], bar["exchange_time"]) == (OPEN, "2025-11-28T09:30:00-05:00")


def test_buckets_start_on_the_exchanges_clock_whichever_minute_comes_first():
    bars = resample(minutes(3, 4, 5), "5m")
    assert bars["started_at"].to_list() == [OPEN, OPEN + timedelta(minutes=5)]
    assert bars["exchange_time"].to_list() == ["2025-11-28T09:30:00-05:00", "2025-11-28T09:35:00-05:00"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), interval=st.sampled_from(["5m", "15m"]))
def test_it_is_what_a_loop_over_the_bars_says(seed, interval):
    """Of three names with holes, around the open, the early close and the night, shuffled."""
    rng = np.random.default_rng(seed)
    length = timedelta(minutes=int(interval[:-1]))
    parts = []
    for name in ("us:A", "us:B", "us:C"):
        numbers = [int(number) for number in np.flatnonzero(rng.random(320) < 0.6) - 60]
        volume = [None if rng.random() < 0.3 else float(rng.integers(0, 99)) for _ in numbers]
        parts.append(minutes(*numbers, name=name, volume=volume))
    bars = pl.concat(parts).sample(fraction=1.0, shuffle=True, seed=seed % 1000)
    expected: dict[tuple[str, str, datetime], list[dict[str, object]]] = {}
    for row in bars.sort("started_at").iter_rows(named=True):
        since = (row["started_at"] - OPEN) // length
        expected.setdefault((row["instrument_id"], row["phase"], OPEN + since * length), []).append(row)
    made = resample(bars, interval)
    found = {(row["instrument_id"], row["phase"], row["started_at"]): row for row in made.iter_rows(named=True)}
    assert found.keys() == expected.keys()
    for key, rows in expected.items():
        volumes = [row["volume"] for row in rows if row["volume"] is not None]
        told = found[key]
        assert told["open"] == rows[0]["open"] and told["close"] == rows[-1]["close"]
        assert told["high"] == max(row["high"] for row in rows) and told["low"] == min(row["low"] for row in rows)
        assert told["volume"] == (sum(volumes) if volumes else None)
        assert told["parts"] == len(rows)
        assert told["available_at"] >= told["started_at"] + length


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_two_steps_are_one(seed):
    numbers = np.flatnonzero(np.random.default_rng(seed).random(200) < 0.7)
    bars = minutes(*(int(number) for number in numbers))
    fives = resample(bars, "5m").drop("parts", "complete").with_columns(forming=pl.lit(False))
    columns = ["started_at", "phase", *PRICES, "volume"]
    assert_frame_equal(resample(fives, "15m").select(columns), resample(bars, "15m").select(columns))


def test_phases_are_never_mixed():
    """13:00 is the early close: the minute before is regular, the one at it is not."""
    close = XNYS.close_at(DAY)
    bars = minutes(-1, 0, 1, start=close)
    assert resample(bars, "15m").select("phase", "parts").rows() == [("post", 2), ("regular", 1)]
    odd = bars.with_columns(phase=pl.Series(["regular", "regular", "post"]))
    inside = resample(odd.filter(pl.col("started_at") >= close), "5m")
    assert inside.select("started_at", "phase", "parts").rows() == [(close, "post", 1), (close, "regular", 1)]


def test_volume_is_null_only_where_all_parts_are():
    bars = minutes(0, 1, 5, 6, volume=[None, 7.0, None, None])
    assert resample(bars, "5m")["volume"].to_list() == [7.0, None]


class TestComplete:
    def test_a_minute_without_trades_takes_nothing_away(self):
        """Minute 2 is absent, but the source went on after the bar."""
        bars = resample(minutes(0, 1, 3, 4, 5), "5m")
        assert bars.select("parts", "complete").rows() == [(4, True), (1, False)]

    def test_the_last_bar_is_complete_once_the_source_was_watched_to_its_end(self):
        bars = minutes(0, 1, 2, 3)
        assert resample(bars, "5m")["complete"].to_list() == [False]
        assert resample(bars, "5m", through=OPEN + timedelta(minutes=4, seconds=59))["complete"].to_list() == [False]
        assert resample(bars, "5m", through=OPEN + timedelta(minutes=5))["complete"].to_list() == [True]

    def test_another_name_or_another_day_is_no_witness(self):
        other = minutes(5, name="us:B")
        tomorrow = minutes(0, start=XNYS.open_at(date(2025, 12, 1)))
        bars = resample(pl.concat([minutes(0), other, tomorrow]), "5m")
        assert not bars["complete"].any()

    def test_a_forming_part_makes_a_forming_bar(self):
        bars = minutes(0, 1, 2, 3, 4).with_columns(forming=pl.Series([False] * 4 + [True]))
        told = resample(bars, "5m", through=OPEN + timedelta(hours=1)).row(0, named=True)
        assert (told["complete"], told["forming"]) == (False, True)

    def test_it_is_never_available_before_it_is_over(self):
        """Three minutes traded, two did not: that is known at the end only."""
        told = resample(minutes(0, 1, 2, 7), "5m").row(0, named=True)
        assert told["available_at"] == OPEN + timedelta(minutes=5)


def test_what_cannot_be_resampled_is_refused():
    bars = minutes(0, 1)
    with pytest.raises(ValueError, match="one interval"):
        resample(pl.concat([bars, bars.with_columns(interval=pl.lit("5m"))]), "15m")
    with pytest.raises(ValueError, match="cannot be made of 5m"):
        resample(bars.with_columns(interval=pl.lit("5m")), "5m")
    with pytest.raises(ValueError, match="share a bar"):
        resample(pl.concat([bars, bars]), "5m")
    assert resample(bars.clear(), "5m").is_empty()


def test_bars_as_a_provider_tells_them_are_resampled_too():
    """By symbol alone, before anything is known of sessions and phases."""
    bars = minutes(0, 1, 5).select("started_at", *PRICES, "volume", "interval", symbol=pl.lit("A"))
    told = resample(bars, "5m", through=datetime(2025, 12, 1, tzinfo=UTC))
    assert told.select("symbol", "parts", "complete").rows() == [("A", 2, True), ("A", 1, True)]
