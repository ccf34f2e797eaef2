"""Scores on real bars and snapshots: what is known of those names, and what the scores were worth, printed."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from benchmarks.score_report import HORIZONS, SCORES, History, Mean, history, judged, report, shown
from trading_pipeline import tables

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def past(real_data) -> History:
    return history(real_data)


def test_the_rank_correlations_whatever_they_are(past):
    """Printed for the record (`pytest -s`). Prices alone rank returns by a few hundredths: more would be a leak."""
    found = report(past)
    Console(width=180).print(shown(found))
    assert found.height == len(SCORES) * len(HORIZONS)
    price = found.filter(pl.col("score").is_in(["total", "technical", "relative_strength", "sector_score"]))
    assert price.filter(pl.col("horizon") == 21)["dates"].min() >= 60
    assert price["correlation"].abs().max() < 0.15
    figures = found.filter(pl.col("score") == "fundamental")
    assert figures["dates"].to_list() == [4, 3], "snapshots overlap the bars on a handful of independent dates"
    assert (found["correlation_low"] < found["correlation"]).all()


def test_the_measure_finds_what_is_there(past):
    """A score that is the return to come correlates by 1, its opposite by -1; one of chance by nothing."""
    rng = np.random.default_rng(1)
    known = past.scores.join(past.ahead, on=["session", "instrument_id"], how="left")
    for score, expected in ((pl.col("ahead_21"), 1.0), (-pl.col("ahead_21"), -1.0)):
        oracle = History(known.with_columns(total=score).select(past.scores.columns), past.ahead, past.sessions)
        assert judged(oracle, "total", 21)["correlation"].mean() == pytest.approx(expected)
    chance = past.scores.with_columns(total=pl.Series(rng.random(past.scores.height)))
    found = Mean.of(judged(History(chance, past.ahead, past.sessions), "total", 21)["correlation"].to_numpy())
    assert found.student[0] < 0.03 and found.student[1] > -0.03


@pytest.mark.parametrize("horizon", HORIZONS)
def test_dates_are_as_far_apart_as_the_returns_are_long(past, horizon):
    rows = [past.sessions.index(day) for day in judged(past, "technical", horizon)["session"]]
    assert min(np.diff(rows)) >= horizon


def test_returns_ahead_are_those_that_followed(past, real_data):
    """From the provider's own adjusted closes, which reinvest a dividend a little otherwise."""
    raw = pl.read_parquet(real_data / "daily" / "sp500_200_tickers_2016_2022.parquet")
    day = past.sessions[800]
    end = past.sessions[863]
    closes = raw.filter(pl.col("ticker").is_in(["AAPL", "SPY"])).with_columns(pl.col("date").cast(pl.Date))

    def grown(ticker):
        own = closes.filter(pl.col("ticker") == ticker)
        return own.filter(pl.col("date") == end)["adj_close"][0] / own.filter(pl.col("date") == day)["adj_close"][0] - 1

    told = past.ahead.filter((pl.col("session") == day) & (pl.col("instrument_id") == "AAPL"))["ahead_63"][0]
    assert told == pytest.approx(grown("AAPL") - grown("SPY"), abs=2e-4)


def test_the_rows_fit_the_table_and_are_mostly_judged(past):
    scores = tables.SCREENER_SCORES.conform(past.scores)
    with_a_year = scores.filter(pl.col("session") >= past.sessions[252])
    assert with_a_year["total"].is_not_null().mean() > 0.95
    assert scores.filter(pl.col("total").is_not_null())["total"].is_between(0, 100).all()
    bought = scores.filter(pl.col("verdict").is_in(["Buy", "Strong Buy"]))
    assert bought.height > 0 and bought["fundamental"].null_count() == 0, "nothing is bought on prices alone"
    assert scores["catalyst"].null_count() == scores.height


def test_figures_of_a_snapshot_are_used_from_the_session_after_it(past):
    """The snapshot of 2018-02-08 has Apple at a capitalisation of about 800 billion."""
    told = past.scores.filter(pl.col("instrument_id") == "AAPL").select("session", "market_cap", "fundamental")
    on_the_day = told.filter(pl.col("session") == date(2018, 2, 8))
    after = told.filter(pl.col("session") == date(2018, 2, 9))
    assert on_the_day.is_empty() or on_the_day["market_cap"][0] is None
    assert 7.5e11 < after["market_cap"][0] < 8.5e11
    assert after["fundamental"][0] is not None
    stale = told.filter(pl.col("session") > date(2018, 2, 8) + timedelta(days=30))
    assert stale["market_cap"].null_count() == stale.height


def test_the_pandemics_low_was_an_environment_of_its_own(past):
    low = past.scores.filter(pl.col("session").is_between(date(2020, 3, 1), date(2020, 4, 15)))
    assert set(low["environment"]) <= {"C", "D"} and low.height > 150
    assert low["technical"].median() < 30
