"""The market's own series: the benchmark where it has a bar, the equal-weight index of the members where not."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.testing import assert_allclose, assert_array_equal

from trading_pipeline.research.market_index import market_index
from trading_pipeline.research.panel import Panel, total_returns

DAYS = [date(2024, 1, 1) + timedelta(days=number) for number in range(5)]
CLOSE = np.array([[10.0, 20, 100], [11, 18, 101], [np.nan, 27, np.nan], [12, 27, 105], [12, 54, 106]])


def index(member_rows, benchmark_id="SPY"):
    panel = Panel(np.array(DAYS, dtype="datetime64[D]"), ["A", "B", "SPY"])
    returns = total_returns(CLOSE, np.ones_like(CLOSE), np.zeros_like(CLOSE))
    members = pl.DataFrame(member_rows, schema={"session": pl.Date, "instrument_id": pl.String}, orient="row")
    return market_index(panel, np.isfinite(CLOSE), returns, members, benchmark_id)


EVERYONE = [(day, name) for day in DAYS for name in ("A", "B", "SPY")]


def test_the_equal_weight_index_is_the_chain_of_mean_returns_of_members_on_adjacent_sessions():
    """Day 2: (+10 % - 10 %) / 2. Day 3: B alone. Day 4: A has no bar the day before, so B alone. Day 5: both."""
    daily = np.expm1(index(EVERYONE).equal_weight.daily)
    assert_allclose(daily, [np.nan, 0.0, 0.5, 0.0, 0.5], atol=1e-12)


def test_the_benchmark_is_no_member_and_a_name_of_two_universes_counts_once():
    assert_array_equal(index(EVERYONE + EVERYONE).is_member[:, 2], [False] * 5)
    assert_allclose(index(EVERYONE + EVERYONE).equal_weight.daily, index(EVERYONE).equal_weight.daily)


def test_members_count_on_the_sessions_on_which_they_are_members():
    joined_late = [(day, "B") for day in DAYS] + [(DAYS[4], "A")]
    assert_allclose(np.expm1(index(joined_late).equal_weight.daily), [np.nan, -0.1, 0.5, 0.0, 0.5], atol=1e-12)


def test_each_session_is_judged_by_one_index_alone():
    got = index(EVERYONE)
    assert_array_equal(got.by_benchmark, [True, True, False, True, True])
    spans = got.span_return(1, np.arange(5))
    assert_allclose(np.expm1(spans), [np.nan, 0.01, 0.5, 105 / 101 - 1, 106 / 105 - 1], atol=1e-12)
    assert len(got.kinds(np.array([0, 1]))) == 1, "the equal-weight index is not computed where it is not needed"


def test_without_benchmark_and_members_there_is_no_index():
    got = index([], "QQQ")
    assert not got.by_benchmark.any()
    assert np.isnan(got.span_return(1, np.arange(5))).all()
