"""Metrics: as vectorbt and scipy compute them, by hand where these do not, and undefined where there is nothing."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trading_pipeline.research.performance.measures import METRICS, METRICS_SCHEMA
from trading_pipeline.research.performance.metrics import metrics, metrics_frame
from trading_pipeline.research.performance.series import PerformanceError

RANDOM = np.random.Generator(np.random.PCG64(11))
BENCHMARK = 0.0003 + 0.01 * RANDOM.standard_normal(1_000)
RETURNS = 0.0004 + 0.8 * BENCHMARK + 0.006 * RANDOM.standard_t(4, 1_000)
NOTHING = pl.DataFrame(schema={"profit": pl.Float64, "return": pl.Float64})


@pytest.fixture(scope="module")
def told():
    return metrics(RETURNS, benchmark=BENCHMARK)


VECTORBT = """
import json, sys
import numpy as np
from vectorbt.returns import nb

returns, benchmark = (np.array(each) for each in json.load(sys.stdin))
print(json.dumps({
    "total_return": nb.cum_returns_final_1d_nb(returns, 0.0),
    "cagr": nb.annualized_return_1d_nb(returns, 252.0),
    "volatility": nb.annualized_volatility_1d_nb(returns, 252.0),
    "sharpe": nb.sharpe_ratio_1d_nb(returns, 252.0),
    "sortino": nb.sortino_ratio_1d_nb(returns, 252.0),
    "calmar": nb.calmar_ratio_1d_nb(returns, 252.0),
    "omega": nb.omega_ratio_1d_nb(returns, 252.0),
    "maximum_drawdown": nb.max_drawdown_1d_nb(returns),
    "tail_ratio": nb.tail_ratio_1d_nb(returns),
    "value_at_risk_95": nb.value_at_risk_1d_nb(returns),
    "conditional_value_at_risk_95": nb.cond_value_at_risk_1d_nb(returns),
    "beta": nb.beta_1d_nb(returns, benchmark),
    "information_ratio": nb.information_ratio_1d_nb(returns, benchmark) * 252**0.5,
}))
"""


def test_as_vectorbt_computes_them_with_252_sessions_a_year(told):
    """vectorbt's functions as plain Python, in a process of their own: compiling them takes longer than all else."""
    answer = subprocess.run(
        [sys.executable, "-c", VECTORBT],
        input=json.dumps([RETURNS.tolist(), BENCHMARK.tolist()]),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(answer.stdout)
    assert len(theirs) == 13
    assert {name: told[name] for name in theirs} == pytest.approx(theirs, rel=1e-10)


def test_alpha_is_the_intercept_of_the_regression_on_the_benchmark_a_year(told):
    from scipy.stats import linregress

    fitted = linregress(BENCHMARK, RETURNS)
    assert told["alpha"] == pytest.approx(fitted.intercept * 252, rel=1e-9)
    free = 1.03 ** (1 / 252) - 1
    fitted = linregress(BENCHMARK - free, RETURNS - free)
    assert metrics(RETURNS, benchmark=BENCHMARK, risk_free=0.03)["alpha"] == pytest.approx(fitted.intercept * 252)


def test_skew_and_kurtosis_as_scipy_computes_them(told):
    from scipy.stats import kurtosis, skew

    assert told["skew"] == pytest.approx(skew(RETURNS), rel=1e-10)
    assert told["kurtosis"] == pytest.approx(kurtosis(RETURNS, fisher=False), rel=1e-10)


def test_the_risk_free_rate_is_a_year_and_lowers_what_is_measured_beyond_it(told):
    free = 1.05 ** (1 / 252) - 1
    dearer = metrics(RETURNS, risk_free=0.05)
    excess = RETURNS - free
    assert dearer["sharpe"] == pytest.approx(excess.mean() / excess.std(ddof=1) * math.sqrt(252))
    assert dearer["omega"] < told["omega"]
    assert dearer["sortino"] < told["sortino"]
    assert dearer["probabilistic_sharpe"] < told["probabilistic_sharpe"]
    assert dearer["cagr"] == told["cagr"]


def test_a_year_of_365_sessions_would_inflate_sharpe_by_a_fifth(told):
    assert metrics(RETURNS, sessions_a_year=365)["sharpe"] / told["sharpe"] == pytest.approx(math.sqrt(365 / 252))


def test_trades_by_hand():
    trades = pl.DataFrame({"profit": [30.0, -10.0, 50.0, 0.0, None], "return": [0.3, -0.1, 0.5, 0.0, None]})
    told = metrics([0.0, 0.01], trades)
    assert told["trades"] == 4, "the one still open does not count"
    assert told["win_rate"] == 0.5
    assert told["profit_factor"] == 8.0
    assert told["expectancy"] == 17.5
    assert told["average_win"] == 40.0
    assert told["average_loss"] == -10.0
    assert told["average_trade_return"] == pytest.approx(0.175)


def test_exposure_and_turnover():
    told = metrics([0.0, 0.01, 0.0, 0.0], exposure=[0.0, 0.5, 1.5, 0.0], turnover=[0.25, 0.5, 0.75, 0.0])
    assert told["exposure"] == 0.5
    assert told["time_in_market"] == 0.5
    assert told["turnover"] == pytest.approx(0.375 * 252)


def test_the_deepest_drawdown_with_its_rows():
    #                    1.1  0.99  1.089  1.188  0.594   0.891  0.891
    told = metrics([0.1, -0.1, 0.1, 1 / 11, -0.5, 0.5, 0.0])
    assert told["maximum_drawdown"] == pytest.approx(-0.5)
    assert told["maximum_drawdown_start_row"] == 4
    assert told["maximum_drawdown_trough_row"] == 4
    assert told["maximum_drawdown_end_row"] is None
    assert told["maximum_drawdown_sessions"] == 3
    assert told["longest_drawdown_sessions"] == 3


def test_a_drawdown_may_begin_with_the_first_session_and_ends_where_the_high_is_regained():
    told = metrics([-0.2, 0.0, 0.25, 0.1])
    assert told["maximum_drawdown"] == pytest.approx(-0.2)
    rows = [told[f"maximum_drawdown_{each}_row"] for each in ("start", "trough", "end")]
    assert rows == [0, 0, 2]
    assert told["maximum_drawdown_sessions"] == 2


def test_losing_everything_is_the_end():
    told = metrics([0.1, -1.0, 0.5, 0.5])
    assert told["total_return"] == told["cagr"] == told["maximum_drawdown"] == -1.0
    assert told["maximum_drawdown_end_row"] is None
    assert metrics([0.1, -1.7, 0.5])["total_return"] == -1.0, "a short position may lose more than there is"


def test_what_is_not_defined_is_none():
    flat = metrics(np.zeros(300), NOTHING, benchmark=np.zeros(300))
    assert flat["total_return"] == flat["maximum_drawdown"] == flat["volatility"] == flat["trades"] == 0
    undefined = ["sharpe", "sortino", "calmar", "omega", "skew", "kurtosis", "tail_ratio", "win_rate", "profit_factor"]
    undefined += ["expectancy", "alpha", "beta", "information_ratio", "deflated_sharpe", "exposure", "turnover"]
    assert {name: flat[name] for name in undefined} == dict.fromkeys(undefined)
    only_gains = metrics([0.01, 0.02], pl.DataFrame({"profit": [1.0], "return": [0.1]}))
    assert only_gains["omega"] is only_gains["sortino"] is only_gains["profit_factor"] is None
    assert only_gains["calmar"] is only_gains["average_loss"] is None
    nothing = metrics([])
    assert nothing["sessions"] == 0
    assert nothing["trials"] == 1
    assert {value for name, value in nothing.items() if name not in {"sessions", "trials"}} == {None}


def test_a_constant_gain_has_no_sharpe_though_rounding_makes_it_vary():
    told = metrics(np.full(500, 0.0007))
    assert told["sharpe"] is told["deflated_sharpe"] is told["skew"] is None


def test_sessions_without_a_benchmark_are_left_out_of_what_compares_with_it(told):
    holes = BENCHMARK.copy()
    holes[::7] = np.nan
    kept = np.isfinite(holes)
    again = metrics(RETURNS, benchmark=holes)
    assert again["beta"] == pytest.approx(metrics(RETURNS[kept], benchmark=BENCHMARK[kept])["beta"])
    assert again["sharpe"] == told["sharpe"]


def test_more_trials_deflate_the_sharpe_ratio_and_nothing_else(told):
    many = metrics(RETURNS, benchmark=BENCHMARK, trials=1_000)
    assert many["deflated_sharpe"] < told["deflated_sharpe"] == told["probabilistic_sharpe"]
    changed = {name for name in told if told[name] != many[name]}
    assert changed == {"trials", "deflated_sharpe"}
    wider = metrics(RETURNS, benchmark=BENCHMARK, trials=1_000, trial_variance=0.01)
    assert wider["deflated_sharpe"] < many["deflated_sharpe"]


@settings(max_examples=80, deadline=None)
@given(
    returns=hnp.arrays(np.float64, st.integers(0, 40), elements=st.floats(-2, 1e6, allow_nan=False)),
    profits=st.lists(st.floats(-1e9, 1e9), max_size=5),
    trials=st.integers(1, 10**6),
)
def test_never_a_number_that_is_none(returns, profits, trials):
    trades = pl.DataFrame({"profit": profits, "return": profits}, schema=NOTHING.schema)
    told = metrics(returns, trades, benchmark=returns[::-1], trials=trials)
    assert list(told) == [metric.name for metric in METRICS]
    assert all(value is None or math.isfinite(value) for value in told.values())
    if told["maximum_drawdown"] is not None:
        assert -1 <= told["maximum_drawdown"] <= 0
    for name in ("deflated_sharpe", "probabilistic_sharpe", "win_rate"):
        assert told[name] is None or 0 <= told[name] <= 1


def test_a_frame_of_metrics_has_the_declared_types(told):
    frame = metrics_frame({"momentum": told, "nothing": metrics([])})
    assert frame.schema == pl.Schema({"strategy": pl.String, **METRICS_SCHEMA})
    assert frame["strategy"].to_list() == ["momentum", "nothing"]
    assert frame["sharpe"].to_list() == [told["sharpe"], None]


def test_the_declaration_names_each_metric_once_with_unit_and_formula():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert len({metric.title for metric in METRICS}) == len(names)
    assert all(metric.description.endswith(".") and metric.formula for metric in METRICS)
    whole = {name for name, kind in METRICS_SCHEMA.items() if kind == pl.Int64}
    assert "trades" in whole
    assert "sharpe" not in whole


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"returns": [0.1, np.nan]}, "returns of session 1 is nan"),
        ({"returns": [[0.1]]}, "one number a session"),
        ({"returns": [0.1], "exposure": [0.1, 0.2]}, "exposure must be one number a session"),
        ({"returns": [0.1], "benchmark": [0.1, 0.2]}, "benchmark must be one number a session"),
        ({"returns": [0.1], "trades": pl.DataFrame({"profit": [1.0]})}, "trades lack the column return"),
        ({"returns": [0.1], "trades": pl.DataFrame({"profit": [np.inf], "return": [0.1]})}, "not finite"),
        ({"returns": [0.1], "trials": 0}, "number of trials"),
        ({"returns": [0.1], "risk_free": -1.0}, "risk-free rate"),
        ({"returns": [0.1], "sessions_a_year": 0}, "a year must have a session"),
    ],
)
def test_what_cannot_be_used_is_named(arguments, words):
    with pytest.raises(PerformanceError, match=words):
        metrics(**arguments)
