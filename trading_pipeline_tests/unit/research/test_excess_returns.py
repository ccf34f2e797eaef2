"""What an instrument made beyond the market in one session."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from trading_pipeline.research.market_index import excess_returns

DAYS = [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)]
CLOSES = {"us:A": [100.0, 110.0, 55.0], "us:B": [50.0, None, 60.0], "us:SPY": [400.0, 404.0, 404.0]}
NO_ACTIONS = pl.DataFrame(
    schema={"session": pl.Date, "instrument_id": pl.String, "kind": pl.String, "value": pl.Float64}
)
MEMBERS = pl.DataFrame(
    [(day, name) for day in DAYS for name in ("us:A", "us:B")], ["session", "instrument_id"], orient="row"
)


def bars(closes=CLOSES):
    rows = [
        (day, name, close) for name, values in closes.items() for day, close in zip(DAYS, values, strict=True) if close
    ]
    return pl.DataFrame(rows, ["session", "instrument_id", "close"], orient="row")


def of(frame: pl.DataFrame, name: str, day: date) -> float | None:
    return frame.filter((pl.col("instrument_id") == name) & (pl.col("session") == day))["excess_return"].item()


def test_it_is_the_return_less_the_benchmarks():
    assert of(excess_returns(bars(), NO_ACTIONS, MEMBERS, "us:SPY"), "us:A", DAYS[1]) == pytest.approx(0.10 - 0.01)


def test_a_split_and_a_dividend_are_no_loss():
    actions = pl.DataFrame(
        [(DAYS[2], "us:A", "split", 2.0), (DAYS[2], "us:A", "dividend", 1.1)], NO_ACTIONS.schema, orient="row"
    )
    assert of(excess_returns(bars(), actions, MEMBERS, "us:SPY"), "us:A", DAYS[2]) == pytest.approx(0.02)


def test_nothing_is_told_across_a_session_without_a_bar():
    assert of(excess_returns(bars(), NO_ACTIONS, MEMBERS, "us:SPY"), "us:B", DAYS[2]) is None


def test_without_the_benchmark_the_members_are_the_market():
    found = excess_returns(
        bars({"us:A": [100.0, 110.0, 110.0], "us:B": [50.0, 50.0, 50.0]}), NO_ACTIONS, MEMBERS, "us:SPY"
    )
    assert of(found, "us:A", DAYS[1]) == pytest.approx(0.05)
