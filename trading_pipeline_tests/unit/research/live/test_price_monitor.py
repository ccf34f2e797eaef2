"""The price monitor: falls of the day, each name told once, a fold of the features' rows."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.research.live import FALL_COLUMNS, PriceMonitor, SessionFeatures, load_rules
from trading_pipeline_tests.live_days import MINUTE, OPENS_AT, SNAPSHOTS, context, minutes

RULES = load_rules()
END = OPENS_AT + timedelta(hours=6.5)


def rows_of(bars: pl.DataFrame) -> pl.DataFrame:
    """What the features return of the bars."""
    ids = bars["instrument_id"].unique().to_list()
    return SessionFeatures(ids, SNAPSHOTS.to_frame(), RULES).advance(END, bars)


def falls(closes: list[float], **known: object) -> pl.DataFrame:
    return PriceMonitor(context(**known), RULES.monitor).advance(rows_of(minutes("us:A", closes, spread=0.0)))


def test_a_fall_from_yesterdays_close_is_told_at_the_first_bar_that_closes_there():
    found = falls([99.0, 96.0, 95.0, 90.0])
    assert found.schema == FALL_COLUMNS
    assert found.row(0, named=True) == {
        "session": OPENS_AT.date(), "instrument_id": "us:A", "ticker": "A", "tick_at": END,
        "bar_started_at": OPENS_AT + 2 * MINUTE, "price": 95.0,
        "reference": "previous_close", "reference_price": 100.0, "fall_pct": -5.0,
    }  # fmt: skip
    assert found.height == 1


def test_a_gap_down_is_told_at_the_first_bar():
    assert falls([80.0, 81.0])["bar_started_at"].to_list() == [OPENS_AT]


def test_a_fall_from_the_sessions_high_is_told_of_a_name_that_is_up():
    found = falls([104.0, 110.0, 104.5, 104.4])
    assert found.select("reference", "reference_price", "price").rows() == [("session_high", 110.0, 104.5)]
    assert falls([104.0, 110.0, 104.51]).is_empty()


def test_the_high_of_a_bar_counts_and_its_low_does_not():
    bars = minutes("us:A", [100.0, 99.0], spread=0.0).with_columns(low=pl.lit(50.0))
    assert PriceMonitor(context(), RULES.monitor).advance(rows_of(bars)).is_empty()
    spiked = bars.with_columns(high=pl.Series([104.3, 99.0]))
    found = PriceMonitor(context(), RULES.monitor).advance(rows_of(spiked))
    assert found["reference_price"].to_list() == [104.3]


def test_the_deeper_of_both_falls_is_told_and_yesterdays_close_where_they_are_alike():
    assert falls([102.0, 90.0])["reference"].to_list() == ["session_high"]
    assert falls([100.0, 90.0])["reference"].to_list() == ["previous_close"]


def test_yesterdays_close_is_the_one_handed_in_adjusted_for_splits():
    """Two for one overnight: at 49.9 the name has not lost half."""
    assert falls([49.9, 49.8], previous_close=50.0).is_empty()
    assert falls([49.9, 47.0], previous_close=50.0).height == 1


@pytest.mark.parametrize("unknown", [None, 0.0, float("nan")])
def test_without_yesterdays_close_the_sessions_high_alone_counts(unknown):
    assert falls([80.0, 79.0], previous_close=unknown).is_empty()
    assert falls([80.0, 76.0], previous_close=unknown)["reference"].to_list() == ["session_high"]


def test_a_name_is_told_once_a_session_and_names_do_not_share_their_highs():
    known = context(["us:A", "us:B"])
    monitor = PriceMonitor(known, RULES.monitor)
    rows = rows_of(pl.concat([minutes("us:A", [100, 94, 100, 94]), minutes("us:B", [120, 119, 118, 117])]))
    assert monitor.advance(rows)["ticker"].to_list() == ["A"]
    later = rows_of(pl.concat([minutes("us:A", [80.0]), minutes("us:B", [100.0])]))
    assert monitor.advance(later)["ticker"].to_list() == ["B"]
    assert monitor.advance(later).is_empty() and monitor.advance(later.clear()).is_empty()
    assert monitor.advance(rows_of(minutes("us:Z", [1.0, 0.5]))).is_empty()


def test_names_come_in_order():
    ids = ["us:C", "us:A", "us:B"]
    rows = rows_of(pl.concat([minutes(each, [90.0]) for each in ids]))
    assert PriceMonitor(context(ids), RULES.monitor).advance(rows)["ticker"].to_list() == ["A", "B", "C"]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_resumed_anywhere_it_tells_what_it_would_have_told(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    ids = [f"us:{letter}" for letter in "ABCDEF"]
    paths = 100 * np.exp(np.cumsum(rng.normal(-0.001, 0.012, (40, 6)), axis=0))
    rows = rows_of(pl.concat([minutes(each, paths[:, number].tolist()) for number, each in enumerate(ids)]))
    known = context(ids)
    at_once = PriceMonitor(known, RULES.monitor).advance(rows)
    cut = data.draw(st.integers(0, 40))
    before = pl.col("bar_started_at") < OPENS_AT + cut * MINUTE
    earlier, later = rows.filter(before), rows.filter(~before)

    told = PriceMonitor(known, RULES.monitor).advance(earlier)
    resumed = PriceMonitor(known, RULES.monitor)
    assert resumed.resume(earlier.sample(fraction=1, shuffle=True, seed=1)).equals(told)
    steps = [told, *(resumed.advance(part) for part in later.sort("bar_started_at").partition_by("bar_started_at"))]
    assert pl.concat(steps).sort("instrument_id").equals(at_once)
    for one in at_once.iter_rows(named=True):
        own = rows.filter(
            (pl.col("instrument_id") == one["instrument_id"]) & (pl.col("bar_started_at") <= one["bar_started_at"])
        )
        least = (
            own.with_columns(top=pl.col("high").cum_max())
            .select(pl.min_horizontal(pl.col("close") / pl.col("top"), pl.col("close") / 100.0))
            .to_series()
        )
        assert least[-1] <= 0.95 and (least[:-1] > 0.95 - 1e-12).all()
