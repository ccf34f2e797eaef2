"""Stops and targets from true ranges, and the steps prices are quoted in."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.research.risk import atr_levels, load_limits
from trading_pipeline.research.risk.levels import on_tick


def test_levels_lie_on_either_side_of_the_entry():
    frame = pl.DataFrame({"entry": [100.0, 100.0], "atr": [1.5, 1.5], "side": ["long", "short"]})
    stop, target = atr_levels(pl.col("entry"), pl.col("atr"), pl.col("side"), 2.0, 3.0)
    assert frame.select(stop=stop, target=target).rows() == [(97.0, 104.5), (103.0, 95.5)]


@pytest.mark.parametrize(
    ("entry", "atr", "side"),
    [
        (100.0, None, "long"),
        (None, 1.0, "long"),
        (100.0, float("nan"), "long"),
        (100.0, 0.0, "short"),
        (-1.0, 1.0, "long"),
        (100.0, 1.0, "flat"),
        (100.0, 1.0, None),
    ],
)
def test_what_is_not_known_has_no_level(entry, atr, side):
    frame = pl.DataFrame({"entry": [entry], "atr": [atr], "side": [side]}, schema_overrides={"side": pl.String})
    found = frame.cast({"entry": pl.Float64, "atr": pl.Float64})
    stop, target = atr_levels(pl.col("entry"), pl.col("atr"), pl.col("side"), 2.0, 3.0)
    assert found.select(stop=stop, target=target).row(0) == (None, None)


def test_a_level_is_never_below_zero():
    frame = pl.DataFrame({"entry": [3.0], "atr": [2.0], "side": ["long"]})
    stop, target = atr_levels(pl.col("entry"), pl.col("atr"), pl.col("side"), 2.0, 3.0)
    assert frame.select(stop=stop, target=target).row(0) == (None, 9.0)


@given(
    prices=st.lists(st.integers(1, 10**10), min_size=1, max_size=20),
    up=st.booleans(),
    market=st.sampled_from(["us", "asx"]),
)
def test_a_rounded_price_is_quotable_and_on_the_safe_side(prices, up, market):
    ticks = load_limits(market).market.ticks
    given_prices = np.array(prices, dtype=np.int64)
    rounded = on_tick(given_prices, np.full(len(prices), up), ticks)
    for price, found in zip(prices, rounded.tolist(), strict=True):
        assert found >= price if up else found <= price
        step = next(Decimal(str(size)) for start, size in ticks if Decimal(found) / 10**6 >= Decimal(str(start)))
        assert Decimal(found) / 10**6 % step == 0
        assert abs(found - price) < next(size for start, size in ticks if price / 1e6 >= start) * 1e6
