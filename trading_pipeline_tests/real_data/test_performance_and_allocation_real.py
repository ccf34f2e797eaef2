"""Weights and performance on real bars of 199 names, 2016 to 2022."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from trading_pipeline.research.allocation.covariance import without_stale
from trading_pipeline.research.allocation.rebalancing import rebalance_rows
from trading_pipeline.research.allocation.weights import weights
from trading_pipeline.research.performance.comparison import sharpe_differences
from trading_pipeline.research.performance.drawdowns import worst_drawdowns
from trading_pipeline.research.performance.metrics import metrics
from trading_pipeline.research.performance.walk_forward import Choice, walk_forward, walk_forward_windows

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def market(real_data):
    """Sessions, names, and total returns from adjusted closes; NaN where there is no bar."""
    bars = pl.read_parquet(real_data / "daily" / "sp500_200_tickers_2016_2022.parquet")
    wide = bars.sort("date").pivot(on="ticker", index="date", values="adj_close").sort("date")
    names = sorted(wide.columns[1:])
    close = wide.select(names).to_numpy()
    return wide["date"].to_numpy().astype("datetime64[D]"), names, close[1:] / close[:-1] - 1


@pytest.mark.parametrize(("year", "still"), [("2016", 0.93), ("2017", 0.80), ("2018", 0.50)])
def test_quotes_repeated_for_weeks_do_not_make_a_name_look_calm(market, year, still):
    """AMCR before it was listed in 2019: such a share of its returns are of a price repeated for a week or more."""
    sessions, names, returns = market
    inside = sessions[1:].astype("datetime64[Y]") == np.datetime64(year)
    known = np.isfinite(returns[inside]).all(axis=0)
    window, column = returns[inside][:, known], int(known[: names.index("AMCR")].sum())
    assert np.isnan(without_stale(window)[:, column]).mean() == pytest.approx(still, abs=0.01)
    naive = 1 / window.std(axis=0)
    assert naive[column] / naive.sum() > 1 / known.sum(), "as if it were calmer than most"
    for method in ("inverse_volatility", "hierarchical_risk_parity"):
        told = weights(method, window)
        assert told.sum() == pytest.approx(1)
        if year == "2018":
            assert told[column] < 1 / known.sum(), "its own sessions tell that it is not"
        else:
            assert told[column] == 0, "less than half of its sessions have a market"


@pytest.fixture(scope="module")
def held(market):
    """Returns of monthly portfolios, decided at a close on the 252 sessions before and held from the next close."""
    sessions, _, returns = market
    decisions = np.flatnonzero(rebalance_rows(sessions[1:], "monthly"))
    decisions = decisions[decisions >= 252]
    told = {}
    for method in ("equal_weight", "inverse_volatility", "minimum_variance", "hierarchical_risk_parity"):
        made = []
        for row, until in zip(decisions, [*decisions[1:], len(returns) - 1], strict=True):
            window = returns[row - 251 : row + 1]
            columns = np.flatnonzero(np.isfinite(window).all(axis=0))[::3]
            chosen = weights(method, window[:, columns], maximum_position=0.1)
            growth = np.cumprod(1 + np.nan_to_num(returns[row + 1 : until + 1][:, columns]), axis=0) @ chosen
            made.append(growth / np.concatenate([[1.0], growth[:-1]]) - 1)
        told[method] = np.concatenate(made)
    return sessions[1:][decisions[0] + 1 :], told


def test_methods_that_look_at_risk_had_less_of_it_out_of_sample(held):
    _, told = held
    volatility = {method: metrics(returns)["volatility"] for method, returns in told.items()}
    assert volatility["minimum_variance"] < volatility["inverse_volatility"] < volatility["equal_weight"]
    assert volatility["hierarchical_risk_parity"] < volatility["equal_weight"]


def test_the_pandemic_is_the_deepest_drawdown(held):
    sessions, told = held
    worst = worst_drawdowns(told["equal_weight"], sessions, 1).row(0, named=True)
    assert str(worst["trough"]) == "2020-03-23"
    assert -0.45 < worst["depth"] < -0.3


def test_seven_years_do_not_tell_sharpe_ratios_apart(held):
    _, told = held
    frame = sharpe_differences(told, seed=1, paths=500)
    assert frame.height == 6
    assert (frame["low"] < frame["difference"]).all()
    pair = frame.filter(first="equal_weight", second="hierarchical_risk_parity").row(0, named=True)
    assert pair["low"] < 0 < pair["high"]


def test_choosing_the_method_by_the_past_walks_forward(held):
    _, told = held
    windows = walk_forward_windows(len(told["equal_weight"]), training=252, test=126, purge=1)

    def choose(rows):
        scores = {method: metrics(returns[rows])["sharpe"] for method, returns in told.items()}
        best = max(scores, key=scores.get)
        return Choice(best, scores[best], len(scores))

    result = walk_forward(windows, choose, lambda method, rows: told[method][rows])
    assert len(result.returns) == len(told["equal_weight"]) - 252
    earned = metrics(result.returns, trials=4)
    assert earned["deflated_sharpe"] < earned["probabilistic_sharpe"]
    assert np.mean([choice.score for choice in result.choices]) > earned["sharpe"], "chosen for what cannot last"
