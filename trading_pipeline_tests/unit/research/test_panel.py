"""The panel: long frames and arrays, windows, splits and total returns."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from polars.testing import assert_frame_equal

from trading_pipeline.research.panel import (
    GAP,
    Moments,
    OwnBars,
    Panel,
    carried,
    cash_paid,
    count_in_span,
    decayed_sum,
    rows_since_max,
    split_cumulation,
    total_returns,
    window_max,
    window_sum,
)

DAYS = [date(2024, 1, 1) + timedelta(days=number) for number in range(400)]


def panel_of(rows, instruments=("A",)):
    return Panel(np.array(DAYS[:rows], dtype="datetime64[D]"), list(instruments))


def actions(*rows):
    return pl.DataFrame(
        list(rows),
        schema={"session": pl.Date, "instrument_id": pl.String, "kind": pl.String, "value": pl.Float64},
        orient="row",
    )


def column(*values):
    return np.array(values, dtype=float)[:, None]


def test_a_long_frame_comes_back_from_the_panel_unchanged_whatever_its_order():
    rng = np.random.default_rng(1)
    long = pl.DataFrame(
        {
            "session": [day for day in DAYS[:50] for _ in range(20)],
            "instrument_id": [f"us:{number}" for number in range(20)] * 50,
            "close": rng.random(1000),
        }
    ).sample(fraction=0.8, seed=2, shuffle=True)
    panel = Panel.of(long)
    close = panel.from_long(long, ["close"])["close"]
    assert np.isfinite(close).sum() == 800
    assert_frame_equal(panel.to_long(np.isfinite(close), {"close": close}), long.sort("session", "instrument_id"))


def test_rows_outside_the_panel_are_left_out_and_nulls_are_nan():
    panel = panel_of(2)
    long = pl.DataFrame(
        {"session": [DAYS[0], DAYS[5], DAYS[1]], "instrument_id": ["A", "A", "B"], "x": [None, 1.0, 2.0]}
    )
    assert_array_equal(panel.cells(long), [0, -1, -1])
    assert np.isnan(panel.from_long(long, ["x"])["x"]).all()


def test_two_versions_of_a_bar_are_refused():
    long = pl.DataFrame({"session": [DAYS[0]] * 2, "instrument_id": ["A"] * 2, "x": [1.0, 2.0]})
    with pytest.raises(ValueError, match="two rows share a session"):
        Panel.of(long).from_long(long, ["x"])


def test_splits_cumulate_from_the_ex_date_on_and_never_before():
    panel = panel_of(6)
    events = actions(
        (DAYS[2], "A", "split", 4.0), (DAYS[4], "A", "split", 0.5), (DAYS[9], "A", "split", 7.0),
        (DAYS[1], "A", "split", None), (DAYS[1], "A", "split", -2.0), (DAYS[1], "B", "split", 3.0),
    )  # fmt: skip
    assert_array_equal(split_cumulation(panel, events)[:, 0], [1, 1, 4, 4, 2, 2])


def test_an_ex_date_that_is_no_session_counts_from_the_next_one():
    sessions = np.array([DAYS[0], DAYS[1], DAYS[4]], dtype="datetime64[D]")
    events = actions((DAYS[3], "A", "split", 2.0))
    assert_array_equal(split_cumulation(Panel(sessions, ["A"]), events)[:, 0], [1, 1, 2])


def test_total_return_reinvests_what_is_paid_and_undoes_splits():
    """(110 x 2 + 5 x 2) / 200: a holder of one share has two on the ex-date, each paid 5."""
    panel, close = panel_of(3), column(200, 110, 121)
    events = actions((DAYS[1], "A", "split", 2.0), (DAYS[1], "A", "dividend", 5.0))
    got = total_returns(close, split_cumulation(panel, events), cash_paid(panel, events))
    assert_allclose(np.exp(got.change[1:, 0]), [1.15, 1.10], rtol=1e-12)
    assert_allclose(np.exp(got.level[2, 0] - got.level[0, 0]), 1.15 * 1.10, rtol=1e-12)


def test_what_became_ex_while_an_instrument_did_not_trade_counts_at_its_next_bar():
    panel, close = panel_of(4), column(100, np.nan, np.nan, 48)
    events = actions((DAYS[1], "A", "dividend", 3.0), (DAYS[2], "A", "split", 2.0))
    got = total_returns(close, split_cumulation(panel, events), cash_paid(panel, events))
    assert_allclose(np.exp(got.change[3, 0]), (48 * 2 + 3) / 100, rtol=1e-12)
    assert np.isnan(got.daily[3, 0]), "a change over three sessions is not a daily return"


def test_a_payment_that_is_not_below_the_close_before_it_is_not_believed():
    panel, close = panel_of(3), column(10, 10, 10)
    events = actions((DAYS[1], "A", "dividend", 50.0), (DAYS[2], "A", "capital_gain", 1.0))
    got = total_returns(close, split_cumulation(panel, events), cash_paid(panel, events))
    assert_allclose(np.exp(got.change[1:, 0]), [1.0, 1.1], rtol=1e-12)


def test_the_last_close_stands_for_twenty_sessions_without_a_bar():
    close = column(5.0, *[np.nan] * (GAP + 3))
    got = carried(close, np.isfinite(close))[:, 0]
    assert (got[: GAP + 1] == 5).all()
    assert np.isnan(got[GAP + 1 :]).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 120))
def test_window_sums_and_maxima_are_those_of_pandas(seed, length, rows):
    values = np.random.default_rng(seed).lognormal(3, 2, (rows, 3))
    rolling = pd.DataFrame(values).rolling(length, min_periods=1)
    sums = np.array([values[max(0, row - length + 1) : row + 1].sum(axis=0) for row in range(rows)])
    assert_allclose(window_sum(values, length), sums, rtol=1e-12)
    assert_array_equal(window_max(values, length), rolling.max().to_numpy())
    ages = rolling.apply(lambda window: len(window) - 1 - window.argmax(), raw=True).to_numpy()
    assert_array_equal(rows_since_max(values, length), ages)


def test_the_latest_of_equal_highs_counts_and_equal_is_up_to_rounding():
    values = column(3.0, 9.0, 9.0 * (1 - 1e-15), 2.0)
    assert rows_since_max(values, 4)[3, 0] == 1
    assert rows_since_max(column(3.0, 9.0, 8.999, 2.0), 4)[3, 0] == 2


def test_a_price_once_ten_million_times_higher_leaves_no_trace_in_a_window_sum():
    rng = np.random.default_rng(4)
    late = rng.random((50, 1))
    whole = window_sum(np.vstack([rng.random((300, 1)) * 1e7, late]), 20)[-30:]
    assert_array_equal(whole, window_sum(late, 20)[-30:])


@given(st.integers(0, 2**32 - 1), st.integers(1, 90))
def test_a_decayed_sum_is_the_sum_over_its_window_and_nothing_else(seed, length):
    rng = np.random.default_rng(seed)
    values, decay = rng.random((80, 2)), rng.uniform(0.5, 1.0)
    count = np.minimum(np.arange(1, 81), length)[:, None].repeat(2, axis=1)
    got = decayed_sum(values, decay, count)
    for row in (0, 5, 40, 79):
        weights = decay ** np.arange(count[row, 0])
        expected = (values[row - count[row, 0] + 1 : row + 1][::-1] * weights[:, None]).sum(axis=0)
        assert_allclose(got[row], expected, rtol=1e-10)


def test_own_bars_close_the_holes_and_know_how_far_they_reach():
    valid = np.array([[1, 0], [0, 1], [1, 1], [1, 0]], dtype=bool)
    own = OwnBars(valid)
    array = np.arange(8, dtype=float).reshape(4, 2)
    packed = own.pack(array)
    assert_array_equal(packed, [[0, 3], [4, 5], [6, np.nan]])
    assert_array_equal(own.unpack(packed), np.where(valid, array, np.nan))
    assert_array_equal(own.within(2)[:, 0], [1, 1, 2])
    assert_array_equal(own.follows, [[False, False], [True, True], [True, False]])


def test_a_change_across_a_long_halt_is_none():
    valid = np.zeros((GAP + 30, 1), dtype=bool)
    valid[[0, GAP, 2 * GAP + 1]] = True
    assert_array_equal(OwnBars(valid).follows[:, 0], [False, True, False])


def test_counts_are_of_the_span_alone():
    assert_array_equal(count_in_span(np.array([1, 1, 0, 1, 1], dtype=bool), 2), [1, 2, 1, 1, 2])
    assert_array_equal(count_in_span(np.array([1, 1], dtype=bool), 9), [1, 2])


def test_rolling_covariances_are_those_of_numpy_over_the_sessions_that_have_both():
    rng = np.random.default_rng(6)
    first, second = rng.normal(size=(2, 60, 1))
    first[50], second[[41, 45]] = np.nan, np.nan
    moments = Moments.of({"a": first, "b": second}, 30)
    both = np.isfinite(first[30:]) & np.isfinite(second[30:])
    expected = np.cov(first[30:][both], second[30:][both], bias=True)
    assert moments.count[59, 0] == 27
    assert_allclose(moments.covariance("b", "a")[59, 0], expected[0, 1], rtol=1e-12)
    assert_allclose(moments.covariance("a", "a")[59, 0], expected[0, 0], rtol=1e-12)


def test_a_series_that_does_not_move_has_no_variance():
    flat = np.full((40, 1), 0.1)
    assert np.isnan(Moments.of({"a": flat}, 30).covariance("a", "a")[35, 0])
