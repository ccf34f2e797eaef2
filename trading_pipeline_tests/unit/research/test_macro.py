"""What is said of each index and yield on each session."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.markets import MARKETS
from trading_pipeline.research.macro import LOOKBACK, macro_series
from trading_pipeline.tables import MACRO_SERIES
from trading_pipeline_tests.unit.research.conftest import BENCHMARK, VOLATILITY

TNX = "us:^TNX"
SERIES = {BENCHMARK: ("benchmark", "index"), VOLATILITY: ("volatility_index", "yield")}
DAYS = np.arange(np.datetime64("2020-01-01"), np.datetime64("2022-01-01"))
DAYS = [day.item() for day in DAYS[np.is_busday(DAYS)]]


def series_of(bars: pl.DataFrame, kind: str, sessions: list[date]) -> pl.DataFrame:
    (name,) = bars["instrument_id"].unique()
    return macro_series(bars, {name: ("it", kind)}, sessions)


@pytest.fixture(scope="module")
def market(random_market):
    return random_market(5, sessions=420, tickers=3)


def test_the_frame_fits_its_table(market):
    told = macro_series(market.bars, SERIES, market.sessions)
    assert MACRO_SERIES.conform(told).height == market.bars.filter(pl.col("instrument_id").is_in(list(SERIES))).height


def test_a_range_says_what_each_session_says_with_its_own_lookback(market):
    judged = market.sessions[300:360]
    whole = macro_series(market.bars, SERIES, judged)
    singly = []
    for day in judged:
        first = market.sessions[market.sessions.index(day) - LOOKBACK]
        singly.append(macro_series(market.between(first, day).bars, SERIES, [day]))
    assert_frame_equal(whole, pl.concat(singly), abs_tol=1e-9)
    assert whole["percentile_252"].null_count() == 0


def test_nothing_after_a_session_changes_it(market):
    last = market.sessions[350]
    cut = macro_series(market.between(market.sessions[0], last).bars, SERIES, market.sessions[:351])
    later = market.bars.with_columns(
        close=pl.when(pl.col("session") > last).then(pl.col("close") * 7).otherwise("close")
    )
    mutated = macro_series(later, SERIES, market.sessions).filter(pl.col("session") <= last)
    assert_frame_equal(cut, mutated)


def test_an_index_changes_by_fractions_and_a_yield_by_points(daily_bars):
    bars = daily_bars(TNX, [2.0] * 21 + [4.0, 5.0], DAYS)
    index, points = (series_of(bars, kind, DAYS[:23]).tail(1).row(0, named=True) for kind in ("index", "yield"))
    assert (index["change_1"], index["change_21"]) == (0.25, 1.5)
    assert (points["change_1"], points["change_21"]) == (1.0, 3.0)
    assert index["value"] == points["value"] == 5.0


def test_a_change_needs_a_value_to_compare_with(daily_bars):
    bars = daily_bars(TNX, [2.0] * 22, DAYS)
    told = series_of(bars, "yield", DAYS[:22])
    assert told["change_1"].to_list() == [None, *[0.0] * 21]
    assert told["change_21"].to_list() == [*[None] * 21, 0.0]


@pytest.mark.parametrize(("hole", "change"), [(1, 1.0), (20, 1.0), (21, None)])
def test_a_session_without_a_value_counts_at_the_last_one_for_20_sessions(daily_bars, hole, change):
    others = daily_bars("us:A", [1.0] * 60, DAYS)
    bars = daily_bars(TNX, [2.0] * 30 + [3.0] * 30, DAYS)
    gap = DAYS[30 : 30 + hole + 1]
    told = macro_series(
        pl.concat([others, bars.filter(~pl.col("session").is_in(gap[:-1]))]), {TNX: ("it", "yield")}, [gap[-1]]
    )
    assert told["change_1"].to_list() == [change]


def test_the_percentile_is_the_share_of_the_year_before_that_was_lower(daily_bars):
    closes = [float(value) for value in range(252)]
    for value, share in ((1000.0, 1.0), (-1.0, 0.0), (126.0, 126 / 252)):
        told = series_of(daily_bars(TNX, [*closes, value], DAYS), "index", [DAYS[252]])
        assert told["percentile_252"].to_list() == [share]


def test_a_percentile_of_too_few_values_is_none(daily_bars):
    told = series_of(daily_bars(TNX, [float(value) for value in range(230)], DAYS), "index", DAYS[:230])
    assert told.filter(pl.col("percentile_252").is_not_null())["session"].to_list() == DAYS[227:230]


def test_what_has_no_bar_has_no_row(daily_bars):
    assert macro_series(daily_bars("us:A", [1.0], DAYS), SERIES, DAYS[:3]).is_empty()
    assert macro_series(daily_bars("us:A", [1.0], DAYS).clear(), SERIES, DAYS[:3]).is_empty()


def test_two_instruments_cannot_be_one_series(daily_bars):
    with pytest.raises(ValueError, match="one macro series"):
        macro_series(daily_bars(TNX, [1.0], DAYS), {"us:A": ("it", "index"), TNX: ("it", "index")}, DAYS[:1])


@pytest.mark.parametrize("market", MARKETS.values(), ids=lambda market: market.name)
def test_each_market_names_each_series_once_and_its_own_indices_among_them(market):
    keys = dict(market.macro)
    assert len(keys) == len(market.macro) == len({ticker for _, ticker in market.macro})
    assert keys["benchmark"] == market.benchmark
    assert market.volatility_index in (None, keys["volatility_index"])
