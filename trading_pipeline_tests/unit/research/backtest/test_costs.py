"""What costs take, and by how much three usual faults of backtests flatter the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trading_pipeline.research.backtest import BacktestRecord, Configuration, cost_sensitivity, run
from trading_pipeline.research.backtest.costs import multiplied
from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import Panel
from trading_pipeline.research.strategies.base import SignalResult, checked_signals, strategy

Maker = Callable[..., Any]

# Buys what has fallen, so that it also holds what goes on falling until it is delisted.
PARAMETERS = {"window": 10, "entry": 1.5, "exit": 0.0}


# Total returns over three years on the market of seed 2024, honest and with the fault. Mean reversion loses 9 %; free
# of costs it would earn 15 %, and on the survivors alone 38 %. The moving-average cross earns 84 %, and filled on the
# bar whose close decided 199 %.
EXPECTED = {"free": (-0.09, 0.15), "survivors": (-0.09, 0.38), "same_bar": (0.84, 1.99)}


@pytest.fixture(scope="module")
def market(drawn: Maker) -> MarketPanel:
    return drawn(2024, sessions=756, names=40)


@pytest.fixture(scope="module")
def configuration(configured: Maker) -> Configuration:
    return configured(
        'rebalance = "weekly"\nmaximum_position = 0.1',
        strategy="mean_reversion",
        parameters="\n".join(f"{name} = {value}" for name, value in PARAMETERS.items()),
        costs="fees_bps = 5.0\ndelisting_haircut = 0.3\nslippage = { kind = 'spread', bps = 20.0 }",
        capital="1_000_000.0",
    )


def signals_of(panel: MarketPanel) -> SignalResult:
    return checked_signals(strategy("mean_reversion", PARAMETERS), panel)


def total_return(record: BacktestRecord) -> float:
    return float(record.equity[-1] / record.capital - 1)


@pytest.fixture(scope="module")
def honest(market: MarketPanel, configuration: Configuration) -> float:
    return total_return(run(market, signals_of(market), configuration))


def test_free_trading_inflates_the_result(market: MarketPanel, configuration: Configuration, honest: float) -> None:
    free = configuration.model_copy(update={"costs": multiplied(configuration.costs, 0.0)})
    flattered = total_return(run(market, signals_of(market), free))
    assert (round(honest, 2), round(flattered, 2)) == EXPECTED["free"]
    assert flattered > honest + 0.1


def test_filling_on_the_bar_that_decided_inflates_the_result(market: MarketPanel, configuration: Configuration) -> None:
    told = checked_signals(strategy("moving_average_cross", {"fast": 5, "slow": 20}), market)
    honestly = total_return(run(market, told, configuration))
    # Signals moved one session earlier are filled at the open of the bar whose close they are made of.
    early = {name: np.roll(getattr(told, name), -1, axis=0) for name in ("entries", "exits")}
    for mask in early.values():
        mask[-1] = False
    flattered = total_return(run(market, replace(told, **early), configuration))
    assert (round(honestly, 2), round(flattered, 2)) == EXPECTED["same_bar"]
    assert flattered > honestly + 0.1


def test_trading_survivors_alone_inflates_the_result(
    market: MarketPanel, configuration: Configuration, honest: float
) -> None:
    lives = market.last_bars < 0
    only = replace(
        market,
        axes=Panel(market.axes.sessions, np.array(market.axes.instrument_ids)[lives].tolist()),
        **{name: getattr(market, name)[:, lives] for name in ("open", "high", "low", "close", "volume", "member")},
        last_bars=market.last_bars[lives],
    )  # fmt: skip
    flattered = total_return(run(only, signals_of(only), configuration))
    assert (round(honest, 2), round(flattered, 2)) == EXPECTED["survivors"]
    assert flattered > honest + 0.1


def test_each_multiple_of_the_costs_takes_more(market: MarketPanel, configuration: Configuration) -> None:
    signals = signals_of(market)
    told = cost_sensitivity(
        market, signals, configuration, multiples=(0.0, 1.0, 3.0), metrics={"worst": lambda returns: returns.min()}
    )
    assert told["multiple"].to_list() == [0.0, 1.0, 3.0]
    assert told["total_return"].to_list() == sorted(told["total_return"], reverse=True)
    assert told["total_return"][1] == total_return(run(market, signals, configuration))
    assert told.select("fees", "slippage").row(0) == (0.0, 0.0)
    assert told["fees"].is_sorted()
    assert (told["worst"] < 0).all()


def test_multiplied_costs_leave_the_haircut_and_their_kind(configured: Maker) -> None:
    costs = configured(costs='borrow_rate = 0.02\nslippage = { kind = "volume_share", impact = 0.01 }').costs
    twice = multiplied(costs, 2.0)
    assert (twice.fees_bps, twice.borrow_rate, twice.slippage.impact) == (2.0, 0.04, 0.02)  # type: ignore[union-attr]
    assert twice.delisting_haircut == costs.delisting_haircut
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        multiplied(costs, -1.0)
