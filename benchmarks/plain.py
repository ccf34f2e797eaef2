"""The graph of session assets as plain function calls: the work, without Dagster.

What the assets and the IO manager do, in their order; `orchestration.py` proves that both leave the same rows. The
assets after the regime are left out: more work, not another kind of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import polars as pl

from trading_pipeline.markets import US, Market
from trading_pipeline.research import indicators, regime
from trading_pipeline.research.bars import quality
from trading_pipeline.research.bars.daily import DailyView, daily_view, effective, usable
from trading_pipeline.sessions import calendar
from trading_pipeline.storage.io_managers import SERVED, read_in_force
from trading_pipeline.storage.market_data import serve_bars
from trading_pipeline.tables import (
    BAR_ISSUES,
    CORPORATE_ACTIONS,
    DAILY_BARS,
    INDICATORS,
    MARKET_REGIME,
    RECEIVED_ACTIONS,
    RECEIVED_BARS,
    UNIVERSE_MEMBERS,
    Kind,
    Table,
)
from trading_pipeline.world import World

ASSETS = (
    *("received_watchlist", "universe_members", "received_bars", "received_actions", "daily_bars"),
    *("corporate_actions", "bar_issues", "market_data", "indicators", "market_regime"),
)

Lap = Callable[[str], None]


def load(world: World, market: Market, table: Table, sessions: Sequence[date], lookback: int = 0) -> pl.DataFrame:
    """The rows in force of `sessions` and of `lookback` sessions before them."""
    first = calendar(market.exchange).offset(sessions[0], -lookback)
    return read_in_force(world, market, table, first, sessions[-1])


def store(world: World, market: Market, table: Table, sessions: Sequence[date], frame: pl.DataFrame) -> None:
    """Makes the rows of `sessions` those of `frame`, in the lake and, where it is served, in PostgreSQL."""
    frame = table.conform(frame)
    if table.kind is Kind.DECISION:
        now = world.now()
        world.lake.publish(market.name, table, sessions, frame, now)
        if table.name in SERVED:
            world.warehouse.publish(market.name, table, sessions, frame, now)
        return
    world.lake.replace(market.name, table, sessions, frame)
    if table.name in SERVED:
        world.warehouse.replace(market.name, table, sessions, frame)


def judge(world: World, market: Market, members: pl.DataFrame, sessions: Sequence[date]) -> DailyView:
    """The best view of what was received, by every quality rule."""
    exchange = calendar(market.exchange)
    first = exchange.offset(sessions[0], -quality.LOOKBACK)
    return daily_view(
        world.lake.read(market.name, RECEIVED_BARS, first, sessions[-1]),
        world.lake.read(market.name, RECEIVED_ACTIONS, first, sessions[-1]),
        expected=members.select("session", "instrument_id", "ticker").unique(),
        sessions=exchange.between(first, sessions[-1]),
        judged_from=sessions[0],
        known_by=world.as_of,
        priority=[world.provider.name],
        tickers_on=world.instruments(market).tickers_on,
    )


def bring_in(world: World, market: Market, members: pl.DataFrame, sessions: Sequence[date], lap: Lap) -> None:
    """Receives, judges, writes the lake and serves the bars; `lap` is called with the name of each part done."""
    world.receive(market, members, sessions)
    lap("receive")
    view = judge(world, market, members, sessions)
    lap("judge")
    for table, frame in ((DAILY_BARS, view.bars), (CORPORATE_ACTIONS, view.actions), (BAR_ISSUES, view.issues)):
        store(world, market, table, sessions, frame)
    del view, frame
    lap("lake")
    serve_bars(world, market, sessions, load(world, market, DAILY_BARS, sessions))
    lap("market_data")


def decide(world: World, market: Market, sessions: Sequence[date]) -> None:
    """Indicators and the regime of `sessions`."""

    def bars_and_actions(lookback: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        return (
            usable(load(world, market, DAILY_BARS, sessions, lookback)),
            effective(load(world, market, CORPORATE_ACTIONS, sessions, lookback)),
            load(world, market, UNIVERSE_MEMBERS, sessions, lookback),
        )

    index = world.index_of(market)
    measured = indicators.indicators(*bars_and_actions(indicators.LOOKBACK), index.benchmark, sessions)
    store(world, market, INDICATORS, sessions, measured)
    measured = load(world, market, INDICATORS, sessions)
    graded = regime.market_regime(
        *bars_and_actions(regime.LOOKBACK), measured, index.benchmark, index.volatility, sessions
    )
    store(world, market, MARKET_REGIME, sessions, graded)


def run(world: World, sessions: Sequence[date], market: Market = US) -> None:
    """Every asset of `ASSETS` for `sessions`."""
    world.receive_watchlist(market)
    store(world, market, UNIVERSE_MEMBERS, sessions, world.universe_members(market, sessions))
    bring_in(world, market, load(world, market, UNIVERSE_MEMBERS, sessions), sessions, lambda part: None)
    decide(world, market, sessions)
