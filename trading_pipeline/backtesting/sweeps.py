"""The sweep of a configuration: parts computed one by one, wherever they run, and put together.

What belongs here: which part is whose, and storing what they come to. What does not: computing a part
(`research/sweeps`).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import polars as pl

from trading_pipeline.backtesting.configurations import sweep_grid
from trading_pipeline.backtesting.inputs import read_panel
from trading_pipeline.backtesting.results import refused, store
from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import market_named
from trading_pipeline.tables.backtests import PARAMETER_SWEEPS, SWEEP_PAIRS
from trading_pipeline.world import World

if TYPE_CHECKING:
    from trading_pipeline.research.backtest import Configuration
    from trading_pipeline.research.sweeps import ParameterGrid

_PART = re.compile(r"(?P<name>.+)/(?P<number>[0-9]+)-of-(?P<of>[0-9]+)")


def parts_of(configuration: Configuration) -> list[str]:
    """Keys of the parts that the sweep of a configuration is computed in, such as `name/1-of-8`; none without one."""
    if not configuration.sweep:
        return []
    with refused(configuration):
        chunks = min(configuration.sweep_chunks, len(sweep_grid(configuration)))
    return [f"{configuration.name}/{number}-of-{chunks}" for number in range(1, chunks + 1)]


def part_named(key: str) -> tuple[str, int, int]:
    """Configuration, number from 1 and how many parts there are, of a part's key."""
    told = _PART.fullmatch(key)
    if told is None or not 1 <= int(told["number"]) <= int(told["of"]):
        raise InputRefused(f"{key!r} is no part of a sweep", "Name it as in momentum-cross/1-of-8")
    return told["name"], int(told["number"]), int(told["of"])


def publish_part(world: World, configuration: Configuration, number: int, of: int) -> pl.DataFrame:
    """Compute one part of a sweep and store it; once all are there, the summary over them too. Rows a set, of the part.

    `InputRefused` where the configuration has no sweep, or its results do not fit into memory.
    """
    from trading_pipeline.research.sweeps import ProportionalCosts, SweepTooLarge, sweep

    market = market_named(configuration.market)
    if not configuration.sweep:
        raise InputRefused(f"{configuration.name} has no [sweep]", "Give it ranges of parameters")
    with refused(configuration):
        panel = read_panel(world, market, configuration.universe, measured=False).panel
    task = f"{market.name}/parameter_sweeps {configuration.name} {number}-of-{of}"
    slippage = configuration.costs.slippage
    assert slippage.kind != "volume_share"  # refused with the file
    costs = ProportionalCosts(
        fees=configuration.costs.fees_bps / 1e4,
        slippage=slippage.bps / (2e4 if slippage.kind == "spread" else 1e4),
    )
    with refused(configuration):
        grid = sweep_grid(configuration)
        try:
            result = sweep(
                panel,
                grid,
                costs,
                carry_sessions=configuration.execution.carry_sessions,
                chunk=(number - 1, of),
                progress=lambda done, total: world.progress(task, done, total),
            )
        except SweepTooLarge as error:
            raise InputRefused(str(error), f"Set sweep_chunks to more than {of}") from error
    last = panel.axes.sessions[-1].astype(object)
    chunk = f"{number}-of-{of}"
    labels = [json.dumps(result.grid.combination(each), sort_keys=True) for each in range(len(result.grid))]
    frame = result.frame()
    pairs = frame.with_columns(
        configuration=pl.lit(configuration.name),
        chunk=pl.lit(chunk),
        configuration_hash=pl.lit(configuration.hash),
        instrument_id=pl.col("instrument_id").cast(pl.String),
        parameters=pl.Series(labels * len(panel.axes.instrument_ids), dtype=pl.String),
        last_session=pl.lit(last, pl.Date),
        trades=pl.col("trades").cast(pl.Int32),
    ).select(SWEEP_PAIRS.names)
    with world.lake.lock(market.name, PARAMETER_SWEEPS):
        store(world, market, SWEEP_PAIRS, {"configuration": configuration.name, "chunk": chunk}, pairs)
        stored = world.lake.read_result(market.name, SWEEP_PAIRS, {"configuration": configuration.name})
        whole = [f"{part}-of-{of}" for part in range(1, of + 1)]
        # Parts of an earlier configuration, or of an earlier night, wait for theirs.
        same = stored.filter(
            pl.col("chunk").is_in(whole)
            & (pl.col("last_session") == last)
            & (pl.col("configuration_hash") == configuration.hash)
        )
        if same["chunk"].n_unique() == of:
            summary = _summary(configuration, grid, same)
            store(world, market, PARAMETER_SWEEPS, {"configuration": configuration.name}, summary)
            for chunk_before in set(stored["chunk"]) - set(whole):
                gone = {"configuration": configuration.name, "chunk": chunk_before}
                store(world, market, SWEEP_PAIRS, gone, SWEEP_PAIRS.empty())
    return pairs


def _summary(configuration: Configuration, grid: ParameterGrid, pairs: pl.DataFrame) -> pl.DataFrame:
    """Rows of `parameter_sweeps`. Neighbours are told where two parameters vary."""
    from trading_pipeline.research.sweeps import by_parameter_set, stability_map

    labels = [json.dumps(grid.combination(each), sort_keys=True) for each in range(len(grid))]
    sets = grid.frame().with_columns(parameters=pl.Series(labels, dtype=pl.String))
    # By instrument and set, as one sweep would give them: a mean depends on the order of its sum.
    told = pairs.join(sets, on="parameters").sort("instrument_id", *grid.names)
    rows = by_parameter_set(told, grid).join(sets, on=list(grid.names))
    varying = [name for name in grid.names if sets[name].n_unique() > 1]
    if len(varying) == 2:
        first, second = varying
        around = stability_map(rows, first, second, "median_sharpe").select(
            *varying, "neighbourhood_mean", "neighbourhood_min", "is_plateau"
        )
        rows = rows.join(around, on=varying)
    else:
        rows = rows.with_columns(
            neighbourhood_mean=pl.lit(None, pl.Float64),
            neighbourhood_min=pl.lit(None, pl.Float64),
            is_plateau=pl.lit(value=False),
        )
    own = pl.all_horizontal(
        pl.lit(value=True), *(pl.col(name) == configuration.parameters[name] for name in grid.names)
    )
    return rows.with_columns(
        configured=own,
        configuration=pl.lit(configuration.name),
        last_session=pl.lit(pairs["last_session"].max(), pl.Date),
        instruments=pl.col("instruments").cast(pl.Int32),
        traded=pl.col("traded").cast(pl.Int32),
    ).select(PARAMETER_SWEEPS.names)
