"""What the page of a configuration is made of: made-up results that agree with themselves, of any length and shape."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from trading_pipeline.markets import US
from trading_pipeline.reports.backtests import BacktestInputs
from trading_pipeline.research.backtest.configuration import Configuration, parse_configuration
from trading_pipeline.research.performance.metrics import metrics
from trading_pipeline.research.performance.monte_carlo import bootstrap_returns, reshuffle_trades
from trading_pipeline.sessions import calendar
from trading_pipeline.tables.backtests import (
    BACKTEST_EQUITY,
    BACKTEST_TRADES,
    MONTE_CARLO,
    MONTE_CARLO_BANDS,
    PARAMETER_SWEEPS,
    WALK_FORWARD,
    WALK_FORWARD_EQUITY,
)

LAST = date(2025, 9, 17)
CAPITAL = 100_000.0
TOML = """
name = "made-up"
title = "A made-up cross"
strategy = "moving_average_cross"
market = "us"
universe = "ALL"
capital = 100_000

[parameters]
fast = 20
slow = 100

[allocation]
method = "equal_weight"
rebalance = "monthly"

[walk_forward]
training = 252
test = 63
parameters = { fast = [10, 20], slow = [50, 100] }

[sweep]
fast = [5, 10, 20, 40]
slow = [50, 100, 150, 200, 250]
"""


def configuration(text: str = TOML) -> Configuration:
    """The configuration of the made-up results."""
    return parse_configuration(text)


def backtest_inputs(
    sessions: int = 760,
    *,
    trades: int = 40,
    open_trades: int = 3,
    windows: int = 4,
    swept: bool = True,
    drawn: bool = True,
    short: bool = False,
    drift: float = 0.0006,
    seed: int = 7,
    told: Configuration | None = None,
    row: dict[str, Any] | None = None,
    **others: Any,
) -> BacktestInputs:
    """A result of `sessions` sessions up to `LAST`.

    trades, open_trades: round trips that were over, and those that are not. windows: of the walk-forward. drawn:
    whether it was resampled. short: whether there are short positions. row: values put in place of those of the row of
    BACKTESTS. Keyword arguments replace any field.
    """
    told = told or configuration()
    exchange = calendar("XNYS")
    days = list(exchange.between(exchange.offset(LAST, 1 - sessions), LAST))
    random = np.random.default_rng(seed)
    idle = trades + open_trades == 0
    returns = np.zeros(sessions) if idle else random.normal(drift, 0.008, sessions)
    returns[0] = 0.0
    equity = CAPITAL * np.cumprod(1 + returns)
    level = 200 * np.cumprod(1 + random.normal(0.0004, 0.01, sessions))
    account = _account(told, days, equity, returns, level, idle=idle, short=short)
    made = _trades(told, days, trades, open_trades, random, short=short)
    closed = made.filter(pl.col("reason") != "end")
    tried = 4 if told.walk_forward.parameters else 1
    numbers = metrics(
        returns[1:],
        closed.select("profit", "return"),
        account["gross"].to_numpy()[1:],
        account["turnover"].to_numpy()[1:],
        level[1:] / level[:-1] - 1,
        trials=tried,
    )
    result = {
        "session": days[-1],
        "configuration": told.name,
        "title": told.title,
        "strategy": told.strategy,
        "universe": told.universe,
        "parameters": json.dumps(told.parameters, sort_keys=True),
        "sized_by": told.allocation.method if told.allocation else "risk",
        "configuration_hash": told.hash,
        "code_version": "1",
        "data_as_of": datetime(2025, 9, 17, 22, 30, tzinfo=UTC),
        "seed": told.monte_carlo.seed,
        "first_session": days[0],
        "capital": CAPITAL,
        "equity": float(equity[-1]),
        "debits": float(account["borrow"].sum()) + float(account["haircut"].sum()),
        "fees": float(account["fees"].sum()),
        "slippage": float(account["slippage"].sum()),
        **numbers,
        "coverage": float(account["coverage"].mean() or 0.0),  # type: ignore[arg-type]
        "least_coverage": float(account["coverage"].min() or 0.0),  # type: ignore[arg-type]
        "watermark": None,
        "revised_from": None,
        **(row or {}),
    }
    summary, bands = MONTE_CARLO.empty(), MONTE_CARLO_BANDS.empty()
    if drawn:
        summary, bands = _chances(told, days, returns, closed)
    walked, joined = _walked(told, days, windows, random)
    inputs = BacktestInputs(
        market=US,
        world="simulated",
        configuration=told,
        row=result,
        equity=account,
        trades=made,
        walk_forward=walked,
        walk_forward_equity=joined,
        monte_carlo=summary,
        monte_carlo_bands=bands,
        parameter_sweeps=swept_sets(told, days[-1]) if swept else PARAMETER_SWEEPS.empty(),
        benchmark="QINDEX",
        generated_at=datetime(2025, 9, 18, 1, 0, tzinfo=UTC),
    )
    return replace(inputs, **others)


def swept_sets(
    told: Configuration, last: date, sharpe: Sequence[float | None] | None = None, **values: Sequence[Any]
) -> pl.DataFrame:
    """Rows of PARAMETER_SWEEPS of all combinations of `values` (default: those of the sweep), each of `sharpe`."""
    ranges = values or told.sweep
    sets = [dict(zip(ranges, each, strict=True)) for each in product(*ranges.values())]
    given = sharpe or [round(0.6 - 0.05 * abs(place - 11), 3) for place in range(len(sets))]
    own = [all(told.parameters.get(name) == value for name, value in each.items()) for each in sets]
    return pl.DataFrame(
        {
            "configuration": told.name,
            "parameters": [json.dumps(each, sort_keys=True) for each in sets],
            "last_session": last,
            "instruments": 120,
            "traded": 110,
            "share_profitable": 0.55,
            "median_sharpe": given,
            "mean_sharpe": given,
            "median_total_return": 0.1,
            "median_max_drawdown": -0.2,
            "mean_exposure": 0.5,
            "mean_trades": 6.5,
            "neighbourhood_mean": given,
            "neighbourhood_min": given,
            "is_plateau": [place == len(sets) // 2 for place in range(len(sets))],
            "configured": own,
        },
        schema_overrides=PARAMETER_SWEEPS.schema,
    ).select(PARAMETER_SWEEPS.names)


def _account(
    told: Configuration,
    days: list[date],
    equity: np.ndarray,
    returns: np.ndarray,
    level: np.ndarray,
    *,
    idle: bool,
    short: bool,
) -> pl.DataFrame:
    count = len(days)
    gross = np.zeros(count) if idle else 0.6 + 0.3 * np.sin(np.arange(count) / 40)
    cost = np.zeros(count) if idle else np.where(np.arange(count) % 21 == 5, 12.0, 0.0)
    return pl.DataFrame(
        {
            "configuration": told.name,
            "session": days,
            "equity": equity,
            "cash": equity * (1 - gross),
            "return": returns,
            "gross": gross,
            "net": gross - (0.3 if short else 0.0) * (gross > 0),
            "turnover": cost / 100,
            "fees": cost,
            "slippage": 3 * cost,
            "borrow": cost / 2 if short else np.zeros(count),
            "haircut": np.where(np.arange(count) == count // 2, 250.0 * (not idle), 0.0),
            "positions": np.full(count, 0 if idle else 12),
            "coverage": np.where(np.arange(count) % 50 == 7, 0.97, 1.0),
            "benchmark": level,
        },
        schema_overrides=BACKTEST_EQUITY.schema,
    ).select(BACKTEST_EQUITY.names)


def _trades(
    told: Configuration, days: list[date], closed: int, kept: int, random: np.random.Generator, *, short: bool
) -> pl.DataFrame:
    rows = []
    reasons = ("exit_signal", "stop", "rebalance", "left_universe", "delisted")
    for number in range(closed + kept):
        is_open = number >= closed
        entered = (number * 17) % max(len(days) - 12, 1)
        exited = len(days) - 1 if is_open else entered + 1 + number % 10
        made = float(random.normal(0.01, 0.06))
        price = 20.0 + 3 * number
        rows.append(
            {
                "configuration": told.name,
                "number": number + 1,
                "instrument_id": f"us:Q{number:03d}",
                "ticker": f"Q{number:03d}",
                "side": "short" if short and number % 3 == 0 else "long",
                "entered_at": days[entered],
                "entry_price": price,
                "exited_at": days[exited],
                "exit_price": price * (1 + made),
                "shares": 100,
                "profit": 100 * price * made,
                "fees": 0.5,
                "debits": 0.0,
                "return": made,
                "r_multiple": made / 0.08 if number % 2 else None,
                "reason": "end" if is_open else reasons[number % len(reasons)],
            }
        )
    return pl.DataFrame(rows, schema=BACKTEST_TRADES.schema)


def _walked(
    told: Configuration, days: list[date], windows: int, random: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    training, test = 252, 63
    rows, returns, tested = [], [], []
    for number in range(windows):
        begin = len(days) - (windows - number) * test
        part = random.normal(0.0003, 0.008, test)
        returns.append(part)
        tested += days[begin : begin + test]
        rows.append(
            {
                "configuration": told.name,
                "window": number + 1,
                "train_first": days[max(begin - training, 0)],
                "train_last": days[begin - 6],
                "test_first": days[begin],
                "test_last": days[begin + test - 1],
                "parameters": json.dumps({**told.parameters, "fast": 10 * (1 + number % 2)}, sort_keys=True),
                "tried": 4,
                "train_sharpe": 1.4 - 0.1 * number,
                "test_sharpe": None if number == 2 else float(part.mean() / part.std(ddof=1) * np.sqrt(252)),
                "test_return": float(np.prod(1 + part) - 1),
            }
        )
    joined = pl.DataFrame(
        {
            "configuration": [told.name] * len(tested),
            "session": tested,
            "equity": CAPITAL * np.cumprod(1 + np.concatenate(returns)) if returns else [],
        },
        schema=WALK_FORWARD_EQUITY.schema,
    )
    return pl.DataFrame(rows, schema=WALK_FORWARD.schema), joined


def _chances(
    told: Configuration, days: list[date], returns: np.ndarray, closed: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    simulated = {"blocks": bootstrap_returns(returns[1:], seed=told.monte_carlo.seed, paths=200, block=10)}
    if closed.height > 1:
        profits = (closed["profit"] / CAPITAL).to_numpy()
        simulated["trades"] = reshuffle_trades(profits, seed=told.monte_carlo.seed, paths=200, replace=True)
    parts = []
    for method, each in simulated.items():
        chances = pl.DataFrame({"measure": ["loss", "ruin"], "mean": [each.loss, each.ruin]})
        summary = pl.concat([each.summary().rename({"p5": "p05"}), chances], how="diagonal")
        parts.append(
            summary.with_columns(
                configuration=pl.lit(told.name),
                method=pl.lit(method),
                last_session=pl.lit(days[-1]),
                paths=pl.lit(200, pl.Int32),
                seed=pl.lit(told.monte_carlo.seed, pl.Int64),
            ).select(MONTE_CARLO.names)
        )
    bands = (
        simulated["blocks"]
        .band_frame()
        .rename({"p5": "p05"})
        .select(
            pl.lit(told.name).alias("configuration"),
            pl.lit("blocks").alias("method"),
            pl.lit(pl.Series(days)).gather(pl.col("step")).alias("session"),
            *(pl.col(name) * CAPITAL for name in ("p05", "p25", "p50", "p75", "p95")),
        )
    )
    return pl.concat(parts), bands.select(MONTE_CARLO_BANDS.names)
