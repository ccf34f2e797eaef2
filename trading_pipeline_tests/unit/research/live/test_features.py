"""Features of a session: what they measure, that they are a fold, and that they equal a recomputation."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.live import Minutes, recomputed
from trading_pipeline.research.live import Ignored, SessionFeatures, load_rules
from trading_pipeline.tables import LIVE_LOOP_LOGS
from trading_pipeline_tests.live_days import MINUTE, MOMENT, OPENS_AT, SNAPSHOTS, minutes, same_state, snapshot

RULES = load_rules()
NO_SNAPSHOTS = SNAPSHOTS.to_frame()
END = OPENS_AT + timedelta(hours=6.5)


def features_of(*ids: str, snapshots: pl.DataFrame = NO_SNAPSHOTS, **how: timedelta) -> SessionFeatures:
    return SessionFeatures(ids, snapshots, RULES, **how)


def wave(count: int, price: float = 100.0) -> list[float]:
    return [round(price + math.sin(number / 7) + 0.01 * (number % 5), 2) for number in range(count)]


# --- what is measured ---------------------------------------------------------------------------------------------


def test_the_rows_are_those_of_the_log_but_for_book_and_session():
    rows = features_of("us:A").advance(END, minutes("us:A", wave(30)))
    filed = rows.with_columns(book=pl.lit("paper"), session=pl.lit(OPENS_AT.date()))
    LIVE_LOOP_LOGS.conform(filed)
    assert rows.columns == [name for name in LIVE_LOOP_LOGS.names if name not in ("book", "session")]
    nothing = features_of("us:A").advance(END, minutes("us:A", wave(1)).clear())
    assert nothing.schema == rows.schema and nothing.is_empty()


def test_mean_sigma_and_z_are_those_of_the_closes_so_far():
    closes = wave(60)
    rows = features_of("us:A").advance(END, minutes("us:A", closes))
    assert rows["sigma"][0] is None and rows["z_session"][0] is None and rows["mean"][0] == closes[0]
    for last in (2, 20, 60):
        row = rows.row(last - 1, named=True)
        mean, sigma = statistics.fmean(closes[:last]), statistics.stdev(closes[:last])
        assert (row["mean"], row["sigma"]) == pytest.approx((mean, sigma), rel=1e-12)
        assert row["z_session"] == pytest.approx((closes[last - 1] - mean) / sigma, rel=1e-9)
    assert rows["z_rolling"][:19].null_count() == 19
    window = closes[40:60]
    expected = (closes[-1] - statistics.fmean(window)) / statistics.stdev(window)
    assert rows["z_rolling"][-1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("sigma", [5.0, 0.5, 0.05])
def test_sigma_is_exact_at_the_price_of_the_dearest_share(sigma):
    """About 700,000 the textbook sums of squares are wrong by 1e-6, 1e-3 and 1e-2 at these sigmas."""
    moves = np.random.default_rng(0).normal(0, sigma / 5, 390)
    closes = np.round(700_000 + np.cumsum(moves), 2)
    exact = [Fraction(float(close)) for close in closes]
    rows = features_of("us:A").advance(END, minutes("us:A", closes.tolist()))
    assert rows["sigma"][-1] == pytest.approx(statistics.stdev(exact), rel=1e-12)
    window = exact[-20:]
    z = (window[-1] - sum(window) / 20) / Fraction(statistics.stdev(window))
    assert rows["z_rolling"][-1] == pytest.approx(float(z), rel=1e-9)


def test_what_was_far_away_leaves_no_trace_in_the_window():
    """A rolling sum that adds and subtracts would keep the rounding of the price before the fall for ever."""
    rows = features_of("us:A").advance(END, minutes("us:A", [1e9] * RULES.features.window + wave(40)))
    alone = features_of("us:A").advance(END, minutes("us:A", wave(40)))
    assert rows["z_rolling"][-1] == alone["z_rolling"][-1]


def test_a_price_that_does_not_move_has_no_z_score():
    rows = features_of("us:A").advance(END, minutes("us:A", [33.33, *[100.1] * 25]))
    assert rows["z_rolling"][-1] is None and rows["z_session"][-1] > 0
    flat = features_of("us:A").advance(END, minutes("us:A", [100.1] * 25))
    assert flat["sigma"][-1] == 0 and flat["z_session"][-1] is None


def test_vwap_weighs_typical_prices_by_volume_and_passes_over_bars_that_tell_none():
    bars = minutes("us:A", [100.0, 102.0, 50.0, 104.0], volumes=[1.0, 3.0, None, 0.0], spread=0.0)
    rows = features_of("us:A").advance(END, bars)
    typical = [100.0, (102 + 100 + 102) / 3]
    expected = (typical[0] + 3 * typical[1]) / 4
    assert rows["vwap"].to_list() == pytest.approx([100.0, expected, expected, expected])
    assert rows["vwap_distance_pct"][-1] == pytest.approx(100 * (104 / expected - 1))
    assert rows["volume"].to_list() == [1.0, 3.0, None, 0.0]


@pytest.mark.parametrize("volumes", [[None] * 3, [0.0] * 3, [-5.0, math.nan, math.inf]])
def test_without_volume_there_is_no_vwap(volumes):
    rows = features_of("us:A").advance(END, minutes("us:A", wave(3), volumes=volumes))
    assert rows["vwap"].null_count() == rows["vwap_distance_pct"].null_count() == 3
    assert set(rows["volume"]) <= {None, 0.0}


@pytest.mark.parametrize(
    ("low", "high", "close", "band"),
    [
        (99.5, 100.5, 100.0, 0),
        (99.5, 101.0, 100.0, 1),
        (99.5, 102.9, 100.0, 2),
        (99.5, 107.0, 100.0, 3),
        (98.0, 100.5, 100.0, -2),
        (98.0, 101.5, 100.0, -2),
        (97.5, 102.5, 99.9, -2),
        (97.5, 102.5, 100.1, 2),
    ],
)
def test_the_band_is_the_outermost_one_touched_and_the_close_decides_between_two(low, high, close, band):
    bar = minutes("us:A", [close]).with_columns(low=pl.lit(low), high=pl.lit(high))
    rows = features_of("us:A", snapshots=snapshot("us:A", 100.0, 1.0)).advance(END, bar)
    assert rows["band"].to_list() == [band]


@pytest.mark.parametrize(("mean", "sigma"), [(None, None), (100.0, None), (100.0, 0.0), (math.nan, 1.0)])
def test_without_a_band_none_is_touched(mean, sigma):
    rows = features_of("us:A", snapshots=snapshot("us:A", mean, sigma)).advance(END, minutes("us:A", [200.0]))
    assert rows["band"].to_list() == [None]


# --- what is taken in -----------------------------------------------------------------------------------------------


def test_late_bars_are_ignored_and_counted():
    features, bars = features_of("us:A", "us:B"), minutes("us:A", wave(5))
    features.advance(END, bars[2:4])
    rows = features.advance(END, bars)
    assert rows["bar_started_at"].to_list() == [bars["started_at"][4]]
    assert features.ignored == Ignored(late=4)
    assert features.advance(END, bars).is_empty() and features.ignored == Ignored(late=5)


def test_of_two_versions_of_a_bar_in_one_call_the_one_on_more_volume_is_taken_in_any_order():
    partial = minutes("us:A", [100.0], volumes=[10.0])
    full = minutes("us:A", [101.0], volumes=[20.0])
    unknown = minutes("us:A", [102.0], volumes=[None])
    for order in ([partial, full, unknown], [unknown, full, partial], [full, unknown, partial]):
        features = features_of("us:A")
        rows = features.advance(END, pl.concat(order))
        assert rows["close"].to_list() == [101.0] and features.ignored == Ignored(duplicate=2)


def test_what_cannot_be_a_complete_bar_of_a_followed_name_is_ignored_and_counted():
    good = minutes("us:A", wave(4))
    bad = good.with_columns(close=pl.Series([math.nan, 0.0, -1.0, None]))
    forming = minutes("us:A", [100.0], opens_at=OPENS_AT + 10 * MINUTE)
    foreign = minutes("us:Z", wave(2))
    features = features_of("us:A")
    rows = features.advance(OPENS_AT + 10 * MINUTE, pl.concat([bad, forming, foreign]))
    assert rows.is_empty() and features.ignored == Ignored(unusable=5, unknown=2)
    assert features.advance(OPENS_AT + 10 * MINUTE, good).height == 4


def test_several_bars_of_a_name_in_one_call_are_folded_in_order():
    one, bars = features_of("us:A", "us:B"), pl.concat([minutes("us:A", wave(30)), minutes("us:B", wave(12))])
    rows = one.advance(END, bars.sample(fraction=1, shuffle=True, seed=1))
    many = features_of("us:B", "us:A")
    steps = [many.advance(END, part) for part in bars.sort("started_at").partition_by("started_at")]
    assert same_state(one, many) == []
    assert rows.equals(pl.concat(steps).sort("instrument_id", "bar_started_at"))


def test_a_hole_longer_than_a_pause_starts_the_unbroken_bars_anew():
    bars = minutes("us:A", wave(30))
    shorter, longer = (
        bars.filter(~pl.int_range(30).is_between(10, 13)),
        bars.filter(~pl.int_range(30).is_between(10, 14)),
    )
    features = features_of("us:A")
    features.advance(END, shorter)
    assert features.state.unbroken.tolist() == [26]
    features = features_of("us:A")
    features.advance(END, longer)
    assert features.state.unbroken.tolist() == [15]
    slow = features_of("us:A", bar_length=timedelta(minutes=5))
    slow.advance(END, minutes("us:A", wave(20), length=timedelta(minutes=5)))
    assert slow.state.unbroken.tolist() == [20]


def test_naive_moments_are_refused():
    features, bars = features_of("us:A"), minutes("us:A", wave(2))
    with pytest.raises(ValueError, match="naive moment"):
        features.advance(datetime(2025, 9, 17, 10, 0), bars)  # noqa: DTZ001 - the fault that is tested
    with pytest.raises(ValueError, match=r"started_at is Datetime.*zone-aware"):
        features.advance(END, bars.with_columns(pl.col("started_at").dt.replace_time_zone(None)))


def test_moments_of_any_zone_and_unit_are_the_same_moments():
    bars = minutes("us:A", wave(3))
    local = bars.with_columns(pl.col("started_at").dt.convert_time_zone("America/New_York").dt.cast_time_unit("ns"))
    rows = features_of("us:A").advance(END, local)
    assert rows.equals(features_of("us:A").advance(END, bars)) and rows.schema["bar_started_at"] == MOMENT


def test_an_instrument_named_twice_is_refused():
    with pytest.raises(ValueError, match="named twice"):
        features_of("us:A", "us:A")


# --- the fold -------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_split_of_the_bars_over_calls_and_any_resumption_leave_the_same_bits(data):
    day = Minutes.random(names=5, ticks=60, seed=data.draw(st.integers(0, 2**32 - 1)))
    bars = pl.concat(day.bars)
    whole = SessionFeatures(day.context.ids, day.snapshots, RULES)
    at_once = whole.advance(END, bars)

    # Every name has its own pace: how many of its bars each call brings.
    cuts = {each: sorted(data.draw(st.lists(st.integers(0, 60), max_size=8), label=each)) for each in day.context.ids}
    numbered = bars.with_columns(number=pl.int_range(pl.len()).over("instrument_id"))
    call = [
        sum(cut <= number for cut in cuts[each]) for each, number in numbered.select("instrument_id", "number").rows()
    ]
    parts = (
        numbered.drop("number").with_columns(call=pl.Series(call)).sort("call").partition_by("call", include_key=False)
    )
    resumed = data.draw(st.sets(st.integers(0, len(parts))))
    features, logs = SessionFeatures(day.context.ids, day.snapshots, RULES), []
    for number, part in enumerate(parts):
        if number in resumed and logs:
            features = SessionFeatures(day.context.ids, day.snapshots, RULES)
            features.resume(pl.concat(logs).sample(fraction=1, shuffle=True, seed=number))
        logs.append(features.advance(END, part))
    assert same_state(features, whole) == []
    assert pl.concat(logs).sort("instrument_id", "bar_started_at").equals(at_once)


@pytest.mark.parametrize("seed", [1, 2])
def test_it_equals_a_recomputation_from_the_bars_of_the_day(seed):
    day = Minutes.random(names=25, ticks=200, seed=seed)
    features = SessionFeatures(day.context.ids, day.snapshots, RULES)
    for tick, bars in enumerate(day.bars):
        rows = features.advance(day.tick_at(tick), bars)
        if tick % 33 and tick != 199:
            continue
        again = recomputed(pl.concat(day.bars[: tick + 1]), day.snapshots).with_columns(
            started=pl.col("started_at").dt.timestamp("us")
        )
        there = features.state.bars > 0
        assert again["instrument_id"].to_list() == [
            each for each, here in zip(day.context.ids, there, strict=True) if here
        ]
        compared = [name for name in features.state.__dataclass_fields__ if name in again.columns]
        assert len(compared) == 34
        for name in compared:
            ours, theirs = getattr(features.state, name)[there], again[name]
            np.testing.assert_allclose(
                ours.astype(float),
                theirs.cast(pl.Float64).to_numpy(),
                rtol=1e-9,
                atol=1e-9,
                err_msg=f"{name} at {tick}",
            )
        logged = again.filter(pl.col("instrument_id").is_in(rows["instrument_id"].implode()))
        for name in ("mean", "sigma", "z_session", "z_rolling", "vwap", "vwap_distance_pct", "band"):
            ours, theirs = (frame[name].cast(pl.Float64).to_numpy() for frame in (rows, logged))
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9, err_msg=name)


def test_a_resumed_state_follows_the_list_of_names_as_it_is_now():
    day = Minutes.random(names=4, ticks=30)
    before = SessionFeatures(day.context.ids, day.snapshots, RULES)
    logs = before.advance(END, pl.concat(day.bars))
    fewer = SessionFeatures(day.context.ids[:2], day.snapshots, RULES)
    fewer.resume(logs)
    assert fewer.ignored.unknown == logs.filter(~pl.col("instrument_id").is_in(day.context.ids[:2])).height > 0
    assert fewer.state.mean.tolist() == before.state.mean[:2].tolist()


def test_only_a_fresh_state_is_resumed_and_only_from_the_logs_of_one_session():
    day = Minutes.random(names=2, ticks=10)
    features = SessionFeatures(day.context.ids, day.snapshots, RULES)
    logs = features.advance(END, pl.concat(day.bars))
    with pytest.raises(ValueError, match="fresh state"):
        features.resume(logs)
    with pytest.raises(ValueError, match=r"not written by one loop of one session: Ignored.*duplicate="):
        SessionFeatures(day.context.ids, day.snapshots, RULES).resume(pl.concat([logs, logs]))
    with pytest.raises(ValueError, match="not written"):
        SessionFeatures(day.context.ids, day.snapshots, RULES).resume(logs.with_columns(close=pl.lit(-1.0)))


def test_another_window_is_another_measure():
    wider = replace(RULES, features=replace(RULES.features, window=30))
    rows = SessionFeatures(["us:A"], NO_SNAPSHOTS, wider).advance(END, minutes("us:A", wave(40)))
    assert rows["z_rolling"].null_count() == 29
