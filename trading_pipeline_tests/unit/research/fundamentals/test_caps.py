"""Market capitalisation at a session's close."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from trading_pipeline.research.fundamentals import market_caps

THEN, NOW, A = date(2024, 5, 6), date(2024, 5, 8), "us:A"


def row(**facts):
    return pl.DataFrame(
        [{"session": NOW, "instrument_id": A, "snapshot_session": THEN, "data_quality": "good", **facts}],
        schema={
            "session": pl.Date,
            "instrument_id": pl.String,
            "snapshot_session": pl.Date,
            "data_quality": pl.String,
            "price": pl.Float64,
            "market_cap": pl.Float64,
            "shares_outstanding": pl.Float64,
        },
    )


def bars(closes, returns):
    days = [THEN, date(2024, 5, 7), NOW]
    return pl.DataFrame({"session": days, "instrument_id": A, "close": closes, "return_1": returns}).filter(
        pl.col("close").is_not_null()
    )


@pytest.mark.parametrize(
    ("facts", "closes", "returns", "cap"),
    [
        # The snapshot was taken at 102, the session closed at 100, and two sessions on at 110.
        ({"price": 102.0, "market_cap": 1020.0}, [100.0, 100.0, 110.0], [None, 0.0, 0.1], 1100.0),
        # A dividend of 4: the capitalisation falls with the price.
        ({"price": 100.0, "market_cap": 1000.0}, [100.0, 100.0, 96.0], [None, 0.0, 0.0], 960.0),
        # Two for one in between: the shares double, the capitalisation does not halve.
        ({"price": 100.0, "market_cap": 1000.0}, [100.0, 50.0, 55.0], [None, 0.0, 0.1], 1100.0),
        # A crash by half is no split.
        ({"price": 100.0, "market_cap": 1000.0}, [100.0, 50.0, 50.0], [None, -0.5, 0.0], 500.0),
        # Without a stated capitalisation: price x shares.
        ({"price": 100.0, "shares_outstanding": 7.0}, [100.0, 50.0, 55.0], [None, 0.0, 0.1], 770.0),
        ({"market_cap": 1000.0}, [100.0, 100.0, 110.0], [None, 0.0, 0.1], 1100.0),
        ({"price": 100.0, "market_cap": 1000.0}, [None, 100.0, 110.0], [None, 0.0, 0.1], 1100.0),
        ({"price": 100.0, "market_cap": 1000.0}, [None, 40.0, 40.0], [None, 0.0, 0.0], None),
        ({"price": 100.0}, [100.0, 100.0, 110.0], [None, 0.0, 0.1], None),
        ({"price": 100.0, "market_cap": 1000.0}, [100.0, 100.0, None], [None, 0.0, None], None),
        ({"price": 100.0, "market_cap": 1000.0, "data_quality": "bad"}, [100.0] * 3, [None, 0.0, 0.0], None),
    ],
)
def test_the_stated_capitalisation_moves_with_the_price_and_not_with_a_split(facts, closes, returns, cap):
    told = market_caps(row(**facts), bars(closes, returns))
    assert told.columns == ["session", "instrument_id", "market_cap"]
    assert told["market_cap"].to_list() == [cap if cap is None else pytest.approx(cap)]
