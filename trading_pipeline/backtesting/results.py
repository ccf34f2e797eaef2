"""Computing the result of a configuration and storing it: backtest, walk-forward, Monte Carlo.

What belongs here: from a configuration to rows of `tables/backtests.py`, and the order of writes. What does not: how
any number is computed (`research/`), sweeps (`sweeps.py`).

A result depends on the configuration's hash, the code's version and the data alone: computed again on the same, it is
the same to the last bit and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from trading_pipeline.backtesting import CODE_VERSION
from trading_pipeline.backtesting.inputs import ALL, Inputs, read_panel
from trading_pipeline.errors import InputRefused, UnknownName
from trading_pipeline.markets import Market, market_named
from trading_pipeline.providers.files import UNIVERSE as FILES
from trading_pipeline.tables import Table
from trading_pipeline.tables.backtests import (
    BACKTEST_EQUITY,
    BACKTEST_POSITIONS,
    BACKTEST_TRADES,
    BACKTESTS,
    MONTE_CARLO,
    MONTE_CARLO_BANDS,
    PARAMETER_SWEEPS,
    STRATEGY_COMPARISON,
    WALK_FORWARD,
    WALK_FORWARD_EQUITY,
)
from trading_pipeline.universes import WATCHLIST
from trading_pipeline.world import World

if TYPE_CHECKING:
    from trading_pipeline.research.backtest import BacktestRecord, Configuration
    from trading_pipeline.research.panel import Floats, Integers
    from trading_pipeline.research.performance.monte_carlo import MonteCarlo
    from trading_pipeline.research.performance.walk_forward import Choice

SERVED = frozenset(
    table.name for table in (BACKTEST_TRADES, WALK_FORWARD, MONTE_CARLO, PARAMETER_SWEEPS, STRATEGY_COMPARISON)
)
"""Result tables that the warehouse has too; the others are read from the lake."""
SEED = 20160314
"""Of the bootstrap that compares strategies, which belong to no one configuration."""


@dataclass(frozen=True)
class Published:
    """A result that was stored: its row of `backtests`, and what the account was on each session."""

    row: dict[str, Any]
    equity: pl.DataFrame
    trades: int

    @property
    def metrics(self) -> dict[str, Any]:
        """The row without what is null."""
        return {name: value for name, value in self.row.items() if value is not None}


def store(world: World, market: Market, table: Table, owner: Mapping[str, str], rows: pl.DataFrame) -> bool:
    """Make the owner's rows of a result table these, in the lake and then in the warehouse; whether any changed."""
    with world.lake.lock(market.name, table):
        written = world.lake.replace_result(market.name, table, owner, rows)
        if table.name in SERVED:
            world.warehouse.replace_result(market.name, table, owner, rows)
    return written.changed


def publish_backtest(world: World, configuration: Configuration) -> Published:
    """Backtest a configuration over all sessions of its market, and store the result.

    `InputRefused` says in one line why it cannot be backtested. Where the account differs on a session that the same
    configuration was computed for before, the row says from which on.
    """
    market = market_named(configuration.market)
    inputs, record = _record(world, market, configuration)
    days = record.days.with_columns(_benchmark(inputs), pl.col("positions").cast(pl.Int32))
    equity = _owned(configuration, BACKTEST_EQUITY, days)
    owner = {"configuration": configuration.name}
    before = _own_results(world, market, configuration)
    if before.is_empty():
        # Before the row is published by which what is stored would be taken for its account, were this to break off.
        store(world, market, BACKTEST_EQUITY, owner, BACKTEST_EQUITY.empty())
    stored = world.lake.read_result(market.name, BACKTEST_EQUITY, owner)
    row = _row(configuration, inputs, record, equity) | {"revised_from": _revised_from(before, stored, equity)}
    _publish_row(world, market, row)
    trades = record.trades.with_row_index("number", 1).with_columns(
        pl.col("number").cast(pl.Int32), pl.col("instrument_id").replace_strict(inputs.tickers).alias("ticker")
    )
    store(world, market, BACKTEST_TRADES, owner, _owned(configuration, BACKTEST_TRADES, trades))
    store(world, market, BACKTEST_POSITIONS, owner, _owned(configuration, BACKTEST_POSITIONS, record.positions))
    # The account comes last: by it the next result tells what it revised, and a crash before leaves that to be told.
    store(world, market, BACKTEST_EQUITY, owner, equity)
    return Published(row, equity, record.trades.height)


def publish_walk_forward(world: World, configuration: Configuration) -> tuple[pl.DataFrame, str | None]:
    """Choose the parameters on each training window, test them on the one after it, and store both.

    Rows a window; and why there are none, where the history is too short for a training and a test.

    The sets tried are those of `[walk_forward] parameters`. Each is run once over all sessions, which is causal: what
    it earned in a training window is what somebody at its end had seen. A test begins in cash.
    """
    from trading_pipeline.research.backtest import backtest
    from trading_pipeline.research.performance.series import SESSIONS_A_YEAR, PerformanceError, sharpe_ratio
    from trading_pipeline.research.performance.walk_forward import Choice, walk_forward, walk_forward_windows

    market, told = market_named(configuration.market), configuration.walk_forward
    with refused(configuration):
        panel = read_panel(world, market, configuration.universe).panel
    sets = _parameter_sets(configuration)
    started = 0
    if configuration.first_session is not None:
        started = int(np.searchsorted(panel.axes.sessions, np.datetime64(configuration.first_session, "D")))
    started = max(started, *(tried.built().warm_up for tried in sets))
    sessions = len(panel.axes.sessions) - started
    task = f"{market.name}/walk_forward {configuration.name}"
    owner = {"configuration": configuration.name}
    why = None
    try:
        windows = walk_forward_windows(
            sessions,
            training=told.training,
            test=told.test,
            anchored=told.anchored,
            purge=told.purge,
            embargo=told.embargo,
        )
    except PerformanceError as error:
        windows, why = (), f"{max(sessions, 0)} sessions after the warm-up: {error}"
    if not windows:
        store(world, market, WALK_FORWARD, owner, WALK_FORWARD.empty())
        store(world, market, WALK_FORWARD_EQUITY, owner, WALK_FORWARD_EQUITY.empty())
        return WALK_FORWARD.empty(), why
    earned, steps = [], len(sets) + len(windows)
    for done, tried in enumerate(sets, start=1):
        with refused(tried):
            record = backtest(panel, tried)
        returns = np.zeros(len(panel.axes.sessions))
        returns[-record.days.height :] = record.days["return"].to_numpy()
        earned.append(returns[started:])
        world.progress(task, done, steps)

    def ratio(returns: Floats) -> float:
        return float(sharpe_ratio(returns)) * float(np.sqrt(SESSIONS_A_YEAR))

    def choose(rows: Integers) -> Choice[Configuration]:
        ratios = [ratio(returns[rows]) for returns in earned]
        best = int(np.argmax(np.nan_to_num(ratios, nan=-np.inf)))
        return Choice(sets[best], ratios[best], len(sets))

    def test(chosen: Configuration, rows: Integers) -> Floats:
        first, last = int(rows[0]) + started, int(rows[-1]) + started
        # One session before the first, so that what its close decides is filled on it.
        begin = panel.axes.sessions[first - 1].astype(object) if first else panel.axes.sessions[0].astype(object)
        with refused(chosen):
            record = backtest(panel.until(last + 1), chosen.model_copy(update={"first_session": begin}))
        world.progress(task, len(sets) + sum(last >= window.test[-1] + started for window in windows), steps)
        return record.days["return"].to_numpy()[-len(rows) :]

    walked = walk_forward(windows, choose, test)
    days = [panel.axes.sessions[started + row].astype(object) for row in range(sessions)]
    rows = []
    for window, choice in zip(windows, walked.choices, strict=True):
        tested = walked.returns[walked.window == window.number]
        rows.append(
            {
                "configuration": configuration.name,
                "window": window.number + 1,
                "train_first": days[window.training[0]],
                "train_last": days[window.training[-1]],
                "test_first": days[window.test[0]],
                "test_last": days[window.test[-1]],
                "parameters": json.dumps(choice.parameters.parameters, sort_keys=True),
                "tried": choice.trials,
                "train_sharpe": _defined(choice.score),
                "test_sharpe": _defined(ratio(tested)),
                "test_return": float(np.prod(1 + tested) - 1),
            }
        )
    told_windows = pl.DataFrame(rows, schema=WALK_FORWARD.schema)
    joined = pl.DataFrame(
        {
            "configuration": configuration.name,
            "session": pl.Series([days[row] for row in walked.rows], dtype=pl.Date),
            "equity": configuration.capital * np.cumprod(1 + walked.returns),
        }
    )
    store(world, market, WALK_FORWARD, owner, told_windows)
    store(world, market, WALK_FORWARD_EQUITY, owner, joined)
    return told_windows, None


def publish_monte_carlo(world: World, configuration: Configuration) -> pl.DataFrame:
    """Resample the stored result of a configuration, and store quantiles and bands; rows a method and measure.

    blocks: its returns, drawn anew in blocks. trades: its closed trades, drawn anew one by one, each by its profit over
    the equity before its entry. `InputRefused` where there is no result yet, or it is shorter than a block.
    """
    from trading_pipeline.research.performance.monte_carlo import bootstrap_returns, reshuffle_trades

    market, told = market_named(configuration.market), configuration.monte_carlo
    owner = {"configuration": configuration.name}
    equity = world.lake.read_result(market.name, BACKTEST_EQUITY, owner)
    if equity.is_empty():
        raise InputRefused(f"There is no backtest of {configuration.name} to resample", "Materialize backtests first")
    trades = world.lake.read_result(market.name, BACKTEST_TRADES, owner).filter(pl.col("reason") != "end")
    before = equity.select(pl.col("session").alias("entered_at"), pl.col("equity").shift(1).alias("before"))
    gains = trades.join(before, on="entered_at", maintain_order="left").select(pl.col("profit") / pl.col("before"))
    how: dict[str, Any] = {"seed": told.seed, "paths": told.paths}
    with refused(configuration):
        drawn = {"blocks": bootstrap_returns(equity["return"].to_numpy()[1:], block=told.block, **how)}
        if gains.height > 1:
            drawn["trades"] = reshuffle_trades(gains.to_series().to_numpy(), replace=True, **how)
    last = equity["session"].max()
    rows = [_quantiles(configuration, method, simulated, last) for method, simulated in drawn.items()]
    bands = _bands(configuration, equity, "blocks", drawn["blocks"])
    summary = pl.concat(rows).select(MONTE_CARLO.names)
    store(world, market, MONTE_CARLO, owner, summary)
    store(world, market, MONTE_CARLO_BANDS, owner, bands.select(MONTE_CARLO_BANDS.names))
    return summary


def publish_comparison(world: World, market: Market, names: list[str]) -> pl.DataFrame:
    """Compare the stored results of the named configurations, two by two, and store that; rows a pair."""
    from trading_pipeline.research.performance.comparison import correlations, sharpe_differences

    stored = world.lake.read_result(market.name, BACKTEST_EQUITY, {}).filter(pl.col("configuration").is_in(names))
    # What there was at the close of the first session was earned by nobody.
    stored = stored.filter(pl.col("session") > pl.col("session").min().over("configuration"))
    table = STRATEGY_COMPARISON.empty()
    if stored["configuration"].n_unique() > 1:
        # Named as no configuration can be.
        day = "(session)"
        wide = stored.rename({"session": day}).pivot("configuration", index=day, values="return").sort(day)
        returns = {name: wide[name].fill_null(float("nan")).to_numpy() for name in sorted(set(wide.columns) - {day})}
        table = (
            correlations(returns)
            .join(sharpe_differences(returns, seed=SEED).drop("sessions"), on=["first", "second"])
            .select(
                pl.col("first").alias("configuration"),
                pl.col("second").alias("other"),
                pl.lit(wide[day].max(), pl.Date).alias("last_session"),
                pl.col("sessions").cast(pl.Int32),
                "correlation",
                pl.col("difference").alias("sharpe_difference"),
                "low",
                "high",
                "p_value",
            )
        )
    store(world, market, STRATEGY_COMPARISON, {}, table)
    return table


def latest_results(world: World, market: Market) -> pl.DataFrame:
    """The row of `backtests` of each configuration's last session, by configuration."""
    rows = world.lake.latest(market.name, BACKTESTS)
    return rows.sort("session").unique("configuration", keep="last").sort("configuration")


def up_to_date(row: Mapping[str, Any], configuration: Configuration, last: date, data_as_of: object) -> bool:
    """Whether a row of `backtests` is the configuration's result by this code on the data there are."""
    told = (row["configuration_hash"], row["code_version"], row["session"], row["data_as_of"], row["title"])
    return told == (configuration.hash, CODE_VERSION, last, data_as_of, configuration.title)


class refused:  # noqa: N801 - reads as a phrase: with refused(configuration)
    """Turns what the science or the inputs refuse into one line for a person, with the configuration's name."""

    def __init__(self, configuration: Configuration) -> None:
        self._name = configuration.name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        from trading_pipeline.research.backtest import AccountingError, CoverageError
        from trading_pipeline.research.performance.series import PerformanceError
        from trading_pipeline.research.strategies.base import StrategyError

        why = f"{self._name} cannot be backtested"
        if isinstance(error, InputRefused | UnknownName):
            raise InputRefused(f"{why}: {error.problem}", error.remedy) from error
        if isinstance(error, StrategyError | CoverageError | AccountingError | PerformanceError):
            raise InputRefused(f"{why}: {error}", "Mend the configuration, the strategy or the data") from error


def _record(world: World, market: Market, configuration: Configuration) -> tuple[Inputs, BacktestRecord]:
    from trading_pipeline.research.backtest import backtest

    with refused(configuration):
        inputs = read_panel(world, market, configuration.universe)
        return inputs, backtest(inputs.panel, configuration)


def _benchmark(inputs: Inputs) -> pl.Expr:
    """The benchmark's level on the sessions of a frame that ends with the panel."""
    told = pl.DataFrame(
        {
            "session": pl.Series(inputs.panel.axes.sessions, dtype=pl.Date),
            "level": pl.Series(inputs.panel.benchmark).fill_nan(None),
        }
    )
    return pl.col("session").replace_strict(told["session"], told["level"]).alias("benchmark")


def _owned(configuration: Configuration, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(configuration=pl.lit(configuration.name)).select(table.names)


def _row(configuration: Configuration, inputs: Inputs, record: BacktestRecord, equity: pl.DataFrame) -> dict[str, Any]:
    """A row of `backtests`, but for what was revised."""
    from trading_pipeline.research.performance.metrics import metrics

    days = record.days
    level = equity["benchmark"].fill_null(float("nan")).to_numpy()
    closed = record.trades.filter(pl.col("reason") != "end")
    trials = len(_parameter_sets(configuration))
    told = metrics(
        record.returns,
        closed.select("profit", "return"),
        days["gross"].to_numpy()[1:],
        days["turnover"].to_numpy()[1:],
        level[1:] / level[:-1] - 1,
        trials=trials,
    )
    return {
        "session": days["session"][-1],
        "configuration": configuration.name,
        "title": configuration.title,
        "strategy": configuration.strategy,
        "universe": configuration.universe,
        "parameters": json.dumps(configuration.parameters, sort_keys=True),
        "sized_by": configuration.allocation.method if configuration.allocation else "risk",
        "configuration_hash": configuration.hash,
        "code_version": CODE_VERSION,
        "data_as_of": inputs.data_as_of,
        "seed": record.seed,
        "first_session": days["session"][0],
        "capital": configuration.capital,
        "equity": days["equity"][-1],
        "debits": float(days["borrow"].sum()) + float(days["haircut"].sum()),
        "fees": days["fees"].sum(),
        "slippage": days["slippage"].sum(),
        **told,
        "coverage": days["coverage"].mean(),
        "least_coverage": record.least_coverage,
        "watermark": " ".join(filter(None, [_chosen(inputs.provider, configuration.universe), record.watermark]))
        or None,
    }


def _chosen(provider: str, universe: str) -> str | None:
    """What must be said of a universe that somebody chose: coverage cannot tell who is missing from it."""
    if universe == WATCHLIST or (universe in (ALL, FILES) and provider == "files"):
        return (
            f"The universe {universe} holds names that somebody chose, after the fact where it is a file's: who failed "
            "before is likely not among them, and returns flatter."
        )
    return None


def _own_results(world: World, market: Market, configuration: Configuration) -> pl.DataFrame:
    """Rows of `backtests`, every version, since there was another configuration of that name or another code."""
    rows = world.lake.read(market.name, BACKTESTS, predicate=pl.col("configuration") == configuration.name)
    rows = rows.sort("computed_at", "session")
    own = (rows["configuration_hash"] == configuration.hash) & (rows["code_version"] == CODE_VERSION)
    return rows.filter(own.reverse().cum_min().reverse())


def _revised_from(before: pl.DataFrame, stored: pl.DataFrame, equity: pl.DataFrame) -> date | None:
    """First session whose account differs from the stored one; what was told of it before.

    before: as `_own_results` tells them, `stored` is their account.
    """
    both = stored.join(equity, on="session", how="left", suffix="_now")
    told = both.filter(pl.col("equity").ne_missing(pl.col("equity_now")))["session"].to_list()
    # Computed once more on the same sessions: what was told of revisions then still holds.
    known = before.filter((pl.col("session") == equity["session"][-1]) & ~pl.col("withdrawn"))
    told += known["revised_from"][-1:].drop_nulls().to_list()
    return min(told, default=None)


def _publish_row(world: World, market: Market, row: dict[str, Any]) -> None:
    """Publish a row of `backtests` beside those of the other configurations of its session."""
    session = row["session"]
    with world.lake.lock(market.name, BACKTESTS):
        others = world.lake.latest(market.name, BACKTESTS, [session]).filter(
            pl.col("configuration") != row["configuration"]
        )
        rows = pl.concat([others, pl.DataFrame([row], schema=BACKTESTS.schema)])
        world.lake.publish(market.name, BACKTESTS, [session], rows, world.now())
        versions = world.lake.read_sessions(market.name, BACKTESTS, [session])
        world.warehouse.replace(market.name, BACKTESTS, [session], versions)


def _parameter_sets(configuration: Configuration) -> list[Configuration]:
    """The configuration under every set of parameters that its walk-forward tries; itself alone where it names none."""
    from trading_pipeline.research.strategies.base import StrategyError

    ranges = configuration.walk_forward.parameters
    sets: list[Configuration] = []
    for values in product(*ranges.values()):
        try:
            sets.append(configuration.with_parameters(**dict(zip(ranges, values, strict=True))))
        except StrategyError:
            continue  # fast averages that are not below slow ones, and the like
    if not sets:
        raise InputRefused(
            f"No combination of [walk_forward] parameters of {configuration.name} is valid", "Mend the ranges"
        )
    return sets


def _quantiles(configuration: Configuration, method: str, simulated: MonteCarlo, last: object) -> pl.DataFrame:
    told = simulated.summary().rename({"p5": "p05"})
    chances = pl.DataFrame(
        {"measure": ["loss", "ruin"], "mean": [simulated.loss, simulated.ruin]}, schema_overrides={"mean": pl.Float64}
    )
    return pl.concat([told, chances], how="diagonal").with_columns(
        configuration=pl.lit(configuration.name),
        method=pl.lit(method),
        last_session=pl.lit(last, pl.Date),
        paths=pl.lit(len(simulated.final_return), pl.Int32),
        seed=pl.lit(simulated.seed, pl.Int64),
    )


def _bands(configuration: Configuration, equity: pl.DataFrame, method: str, simulated: MonteCarlo) -> pl.DataFrame:
    told = simulated.band_frame().rename({"p5": "p05"})
    quantiles = [name for name in told.columns if name != "step"]
    start = equity["equity"][0]
    return told.select(
        pl.lit(configuration.name).alias("configuration"),
        pl.lit(method).alias("method"),
        pl.lit(equity["session"]).gather(pl.col("step")).alias("session"),
        *(pl.col(name) * start for name in quantiles),
    )


def _defined(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
