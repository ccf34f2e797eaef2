"""Bars served from PostgreSQL: the adjusted close follows what becomes known, and nothing else moves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

import polars as pl
import pytest

from trading_pipeline.clock import fixed_clock
from trading_pipeline.markets import US
from trading_pipeline.storage.market_data import serve_bars
from trading_pipeline.tables import CORPORATE_ACTIONS
from trading_pipeline.world import World

NOW = datetime(2024, 3, 1, tzinfo=UTC)
OPENED = datetime(2024, 1, 8, 14, 30, tzinfo=UTC)


@pytest.fixture
def world(server_settings) -> Iterator[World]:
    world = World(server_settings, fixed_clock(NOW))
    yield world
    world.close()


def act(world: World, ticker: str, kind: str, session: date, value: float) -> None:
    row = (session, f"us:{ticker}", ticker, kind, value, "USD", "yahoo", False, "", OPENED, OPENED, None)
    frame = pl.DataFrame([row], schema=CORPORATE_ACTIONS.schema, orient="row")
    world.lake.replace("us", "corporate_actions", [session], frame)


def serve(world: World, bars: pl.DataFrame, sessions: list[date]) -> None:
    """What two assets do of an evening: the lake first, then PostgreSQL."""
    rows = bars.filter(pl.col("session").is_in(sessions))
    world.lake.replace("us", "daily_bars", sessions, rows)
    serve_bars(world, US, sessions, rows)


def served(world: World, column: str, ticker: str) -> list:
    return world.warehouse.query(
        "SELECT * FROM market_data WHERE ticker = %(ticker)s ORDER BY date", {"ticker": ticker}
    )[column].to_list()


def test_a_split_moves_the_adjusted_close_of_earlier_rows_of_its_instrument_only(world, make_bars, week):
    bars = make_bars(week)
    serve(world, bars, week[:3])
    before = served(world, "updated_at", "BBB")
    assert served(world, "adjusted_close", "AAA") == [10.0, 10.0, 10.0]

    act(world, "AAA", "split", week[3], 2.0)
    serve(world, bars, week[3:])
    assert served(world, "adjusted_close", "AAA") == [5.0, 5.0, 5.0, 10.0, 10.0]
    assert served(world, "close", "AAA") == [10.0] * 5
    assert served(world, "adjusted_close", "BBB") == [11.0] * 5
    assert served(world, "updated_at", "BBB")[:3] == before


def test_sessions_served_again_know_the_actions_that_came_after_them(world, make_bars, week):
    bars = make_bars(week)
    serve(world, bars, week)
    act(world, "AAA", "dividend", week[4], 1.0)
    serve(world, bars, week[:2])
    assert served(world, "adjusted_close", "AAA") == [9.0, 9.0, 10.0, 10.0, 10.0]
    serve(world, bars, week[4:])
    assert served(world, "adjusted_close", "AAA") == [9.0, 9.0, 9.0, 9.0, 10.0]


def test_days_served_one_by_one_end_as_the_range_served_at_once(world, make_bars, week):
    bars = make_bars(week).with_columns(close=pl.col("close") + pl.col("session").dt.day() / 10)
    bars = bars.with_columns(open="close", high="close", low="close")
    act(world, "AAA", "split", week[1], 3.0)
    act(world, "BBB", "dividend", week[3], 0.5)
    for session in week:
        serve(world, bars, [session])
    one_by_one = [served(world, "adjusted_close", ticker) for ticker in ("AAA", "BBB")]
    serve(world, bars, week)
    assert one_by_one == [served(world, "adjusted_close", ticker) for ticker in ("AAA", "BBB")]
    assert one_by_one[0][0] == pytest.approx(bars["close"][0] / 3, abs=1e-4)


def test_serving_the_same_again_leaves_every_row_alone(world, make_bars, week):
    bars = make_bars(week)
    act(world, "AAA", "split", week[2], 2.0)
    serve(world, bars, week)
    before = served(world, "updated_at", "AAA")
    serve(world, bars, week[2:])
    assert served(world, "updated_at", "AAA") == before
