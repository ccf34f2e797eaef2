"""The trades of a backtest, arranged: the best and worst, why they ended, how their returns are spread."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from trading_pipeline.reports.backtests.inputs import BacktestInputs
from trading_pipeline.reports.backtests.words import REASONS

SHOWN = 6
"""Trades of each list; more open ones are folded away."""
BARS = 32
"""Bars of the distribution, about."""
TAIL = 0.01
"""Share of the trades on each side that the outer bars may gather, so that one of them does not flatten the rest."""


def lists(inputs: BacktestInputs) -> list[dict[str, Any]]:
    """The lists of trades: title, rows, whether they are still open. One trade stands in several where it belongs."""
    closed = inputs.closed
    by_profit = closed.sort(pl.col("profit").round(9), "number", descending=[True, False])
    won, lost = by_profit.filter(pl.col("profit") > 0), by_profit.filter(pl.col("profit") < 0)
    found = [
        ("The best", won.head(SHOWN)),
        ("The worst", lost.reverse().head(SHOWN)),
        ("The latest", closed.sort("exited_at", "number", descending=True).head(SHOWN)),
    ]
    return [{"title": title, "rows": rows.to_dicts()} for title, rows in found if rows.height]


def reasons(inputs: BacktestInputs) -> list[dict[str, Any]]:
    """How the trades ended: [label, trades, wins (share), profit, mean (return), held (sessions)], most first."""
    rows = (
        inputs.closed.group_by("reason")
        .agg(
            trades=pl.len(),
            wins=(pl.col("profit") > 0).mean(),
            profit=pl.col("profit").sum(),
            mean=pl.col("return").mean(),
            held=pl.col("held").mean(),
        )
        .sort("trades", "reason", descending=[True, False])
    )
    return [{**row, "label": REASONS.get(row["reason"], row["reason"])} for row in rows.iter_rows(named=True)]


def distribution(inputs: BacktestInputs) -> tuple[list[float], list[int]] | None:
    """(edges, counts) of the closed trades' returns, 0 an edge; None for fewer than 5 trades."""
    returns = inputs.closed["return"].to_numpy()
    if len(returns) < 5:
        return None
    low, high = np.quantile(returns, [TAIL, 1 - TAIL])
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    width = _round_up((high - low) / BARS)
    first, last = math.floor(low / width - 1e-9), max(math.ceil(high / width + 1e-9), 1)
    edges = np.arange(first, last + 1) * width
    places = np.clip(np.floor(np.round(returns / width, 9)).astype(int), first, last - 1)
    counts = np.bincount(places - first, minlength=last - first)
    return [round(float(edge), 9) for edge in edges], [int(count) for count in counts]


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5 and 5 times a power of ten."""
    if value <= 0:
        return 0.01
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= value * (1 - 1e-9))
