"""What the page of a configuration is made of, gathered from the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from trading_pipeline.backtesting.results import latest_results
from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import Market
from trading_pipeline.reports.backtests.inputs import BacktestInputs
from trading_pipeline.tables.backtests import (
    BACKTEST_EQUITY,
    BACKTEST_TRADES,
    MONTE_CARLO,
    MONTE_CARLO_BANDS,
    PARAMETER_SWEEPS,
    WALK_FORWARD,
    WALK_FORWARD_EQUITY,
)

if TYPE_CHECKING:
    from trading_pipeline.research.backtest import Configuration
    from trading_pipeline.world import World

NAME = "backtests"


def place_of(market: Market, name: str) -> str:
    """Where the page of the configuration of that name lies under the lake's root; its names are safe as they are."""
    return f"{folder_of(market)}/{name}.html"


def folder_of(market: Market) -> str:
    """The folder of these pages under the lake's root."""
    return f"{market.name}/reports/{NAME}"


def gather(world: World, market: Market, configuration: Configuration) -> BacktestInputs:
    """Everything the page of a configuration tells, of its latest result. `InputRefused` where there is none."""
    owner = {"configuration": configuration.name}
    results = latest_results(world, market).filter(pl.col("configuration") == configuration.name)
    equity = world.lake.read_result(market.name, BACKTEST_EQUITY, owner)
    if results.is_empty() or equity.is_empty():
        raise InputRefused(f"There is no backtest of {configuration.name}", "Materialize backtests first")
    return BacktestInputs(
        market=market,
        world=world.name,
        configuration=configuration,
        row=results.row(0, named=True),
        equity=equity,
        trades=world.lake.read_result(market.name, BACKTEST_TRADES, owner),
        walk_forward=world.lake.read_result(market.name, WALK_FORWARD, owner),
        walk_forward_equity=world.lake.read_result(market.name, WALK_FORWARD_EQUITY, owner),
        monte_carlo=world.lake.read_result(market.name, MONTE_CARLO, owner),
        monte_carlo_bands=world.lake.read_result(market.name, MONTE_CARLO_BANDS, owner),
        parameter_sweeps=world.lake.read_result(market.name, PARAMETER_SWEEPS, owner),
        benchmark=world.index_tickers(market)[0],
        generated_at=world.now(),
    )
