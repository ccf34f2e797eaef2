"""A name's figures beside its peers', and what would change the verdict."""

from __future__ import annotations

import polars as pl
import pytest

from trading_pipeline.reports.tearsheets import figures
from trading_pipeline.tables import FUNDAMENTALS, SCREENER_SCORES
from trading_pipeline_tests.briefings import score
from trading_pipeline_tests.tearsheets import snapshot


def compared(pe: list[float | None], **told):
    tickers = [f"T{n}" for n in range(len(pe))]
    scores = pl.DataFrame([score(ticker, "Buy", 66.0) for ticker in tickers], schema=SCREENER_SCORES.schema)
    rows = [snapshot(ticker, pe_trailing=value, **told) for ticker, value in zip(tickers, pe, strict=True)]
    return figures.among_peers(scores, pl.DataFrame(rows, schema=FUNDAMENTALS.schema))


def test_less_is_better_of_a_multiple_and_more_of_a_return():
    told = compared([10.0, 20.0, 30.0, 40.0, 50.0])
    cheap, dear = told["us:T0"]["pe_trailing"], told["us:T4"]["pe_trailing"]
    assert (cheap["sector"], cheap["size"]) == (30.0, 30.0)
    assert (cheap["better"], dear["better"]) == (1.0, 0.0)
    assert told["us:T2"]["pe_trailing"]["better"] == pytest.approx(0.5)


def test_a_multiple_that_is_not_positive_is_unknown_and_worse_than_nobody():
    told = compared([10.0, 20.0, 30.0, 40.0, 50.0, -8.0])
    assert told["us:T5"]["pe_trailing"]["value"] is None
    assert told["us:T5"]["pe_trailing"]["better"] is None
    assert told["us:T0"]["pe_trailing"]["sector"] == 30.0


def test_too_few_peers_have_no_median():
    told = compared([10.0, 20.0, 30.0, 40.0])
    assert told["us:T0"]["pe_trailing"] == {"value": 10.0, "sector": None, "size": None, "better": None}


def test_a_bad_snapshot_gives_no_figure():
    assert compared([10.0] * 6, data_quality="bad")["us:T0"]["pe_trailing"]["value"] is None


def test_the_smallest_change_comes_first_with_the_price_of_a_multiple():
    now = {"pe_trailing": 18.0, "revenue_growth": 0.20, "rsi_14": None}
    told = '{"pe_trailing": 9.0, "revenue_growth": 0.21, "rsi_14": 58.4, "brand_new": 3.0}'
    rows = figures.sensitivity(told, now, 104.0)
    assert [(row["label"], row["now"], row["needed"], row["at"]) for row in rows] == [
        ("Revenue growth, a year", "20.0%", "21.0%", ""),
        ("Price / earnings", "18.0", "9.0", "52.00"),
        ("Brand new", "–", "3.00", ""),
        ("RSI", "–", "58", ""),
    ]
    assert figures.sensitivity(None, now, 104.0) == []


def test_inputs_stand_as_the_rows_tell_them():
    now = figures.inputs_now(
        {"pe_trailing": 18.0, "nav_premium": -0.002, "target_mean_price": 120.0, "expense_ratio": 0.001},
        {"close": 100.0, "sma_200": 80.0, "sma_50": None, "macd_histogram": 0.5, "rsi_14": 47.0},
        {"beat_rate": 0.7},
    )
    assert now["trend_200"] == pytest.approx(0.25)
    assert now["trend_50"] is None
    assert (now["target_upside"], now["macd_momentum"]) == (pytest.approx(0.2), pytest.approx(0.005))
    assert (now["tracking_gap"], now["bond_expense_ratio"], now["beat_rate"]) == (0.002, 0.001, 0.7)
    assert figures.inputs_now(None, None, None)["trend_200"] is None


def test_a_funds_holdings_that_cannot_be_read_are_none():
    assert figures.weights_of("not json", list) == []
    assert figures.weights_of('{"a": 1}', list) == []
    assert figures.weights_of(None, dict) == {}
    assert figures.weights_of('{"energy": 0.2}', dict) == {"energy": 0.2}
