"""Drawdowns, months and rolling Sharpe ratios, against walks through the sessions one by one."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.research.performance.drawdowns import (
    drawdowns,
    monthly_returns,
    monthly_table,
    rolling_sharpe,
    underwater,
    worst_drawdowns,
)
from trading_pipeline.research.performance.series import PerformanceError

SESSIONS = np.arange("2020-01-01", "2020-01-10", dtype="datetime64[D]")
#          100→ 110   99    110    105   84     90    120   96
RETURNS = np.array([0.1, -0.1, 1 / 9, -5 / 110, -0.2, 6 / 84, 1 / 3, -0.2, 0.0])


def walked(returns):
    """Every drawdown, one session after the other."""
    equity, high, found, now = 1.0, 1.0, [], None
    for row, gain in enumerate(returns):
        equity = max(equity * (1 + gain), 0.0)
        fall = equity / high - 1
        if fall < -1e-12:
            now = now or [row, row, -1, 0.0, 0]
            now[4] += 1
            if fall < now[3]:
                now[1], now[3] = row, fall
        elif now:
            found.append([now[0], now[1], row, now[3], now[4]])
            now = None
        high = max(high, equity)
    return found + ([now] if now else [])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([-1.0, -0.5, -0.1, -0.05, 0.0, 0.05, 0.1, 1.0, 3.0]), max_size=30))
def test_drawdowns_are_those_of_a_walk_through_the_sessions(returns):
    found = drawdowns(returns)
    walk = walked(returns)
    assert [list(row) for row in zip(found.start, found.end, found.sessions, strict=True)] == [
        [row[0], row[2], row[4]] for row in walk
    ]
    assert found.depth == pytest.approx(np.array([row[3] for row in walk]))
    assert underwater(returns)[found.trough] == pytest.approx(found.depth, abs=1e-15)


def test_the_worst_drawdowns_with_their_days():
    table = worst_drawdowns(RETURNS, SESSIONS, count=2)
    assert table.schema == pl.Schema(
        {
            "start": pl.Date,
            "trough": pl.Date,
            "end": pl.Date,
            "depth": pl.Float64,
            "sessions": pl.Int64,
            "sessions_to_trough": pl.Int64,
        }
    )
    assert table.drop("depth").rows() == [
        (date(2020, 1, 4), date(2020, 1, 5), date(2020, 1, 7), 3, 2),
        (date(2020, 1, 8), date(2020, 1, 8), None, 2, 1),
    ]
    assert table["depth"].to_list() == pytest.approx([84 / 110 - 1, -0.2])
    assert worst_drawdowns(RETURNS, SESSIONS).height == 3


def test_without_a_fall_there_is_no_row():
    assert worst_drawdowns([0.1, 0.0], SESSIONS[:2]).height == 0
    assert worst_drawdowns([], SESSIONS[:0]).schema["start"] == pl.Date


def test_a_way_down_and_up_again_regains_the_high_whatever_rounding_leaves():
    found = drawdowns([0.1, -0.3, 1 / 0.7 - 1, 0.0])
    assert found.end.tolist() == [2]


def test_later_sessions_change_no_drawdown_that_has_ended():
    random = np.random.Generator(np.random.PCG64(1))
    returns = 0.01 * random.standard_normal(400)
    whole, cut = drawdowns(returns), drawdowns(returns[:300])
    over = cut.end >= 0
    for name in ("start", "trough", "end", "depth", "sessions"):
        kept = getattr(cut, name)[over]
        assert (getattr(whole, name)[: len(kept)] == kept).all()


def test_months_compound_to_the_whole():
    days = np.arange("2019-11-15", "2021-03-10", dtype="datetime64[D]")
    returns = 0.01 * np.random.Generator(np.random.PCG64(2)).standard_normal(len(days))
    months = monthly_returns(returns, days)
    assert months.columns == ["year", "month", "return"]
    assert months.select("year", "month").row(0) == (2019, 11)
    assert months.height == 17
    assert (1 + months["return"]).product() == pytest.approx((1 + returns).prod())
    november = returns[days.astype("datetime64[M]") == np.datetime64("2020-11")]
    assert months.filter(year=2020, month=11)["return"].item() == pytest.approx((1 + november).prod() - 1)


def test_the_monthly_table_has_a_year_a_row():
    days = np.array(["2019-12-30", "2019-12-31", "2020-02-03"], dtype="datetime64[D]")
    table = monthly_table([0.1, 0.1, -0.5], days)
    assert table.columns[:2] == ["year", "jan"]
    assert table.columns[-2:] == ["dec", "total"]
    first, second = table.to_dicts()
    assert first["dec"] == first["total"] == pytest.approx(0.21)
    assert first["jan"] is second["jan"] is second["dec"] is None
    assert second["feb"] == second["total"] == -0.5


def test_the_rolling_sharpe_ratio_is_that_of_each_window():
    returns = 0.01 * np.random.Generator(np.random.PCG64(4)).standard_normal(300)
    series = pl.Series(returns)
    theirs = (series.rolling_mean(60) / series.rolling_std(60)) * np.sqrt(252)
    ours = rolling_sharpe(returns, 60)
    assert np.isnan(ours[:59]).all()
    assert ours[59:] == pytest.approx(theirs[59:].to_numpy())
    assert (rolling_sharpe(returns[:200], 60)[59:] == ours[59:200]).all(), "a truncated future changes nothing"
    assert np.isnan(rolling_sharpe(returns[:10], 60)).all()
    assert np.isnan(rolling_sharpe(np.full(20, 0.01), 5)).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: worst_drawdowns([0.1], SESSIONS), "9 sessions for 1 returns"),
        (lambda: monthly_returns([0.1, 0.2], SESSIONS[1::-1]), "ascend"),
        (lambda: rolling_sharpe([0.1], 1), "2 sessions or more"),
        (lambda: drawdowns([np.inf]), "session 0 is inf"),
    ],
)
def test_what_cannot_be_told_is_named(call, words):
    with pytest.raises(PerformanceError, match=words):
        call()
