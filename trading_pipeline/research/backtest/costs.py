"""What costs take: the same signals at other costs.

What belongs here: rerunning a backtest at multiples of its costs. What does not: what a fill costs (`book.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from trading_pipeline.research.backtest.configuration import Configuration, Costs
from trading_pipeline.research.backtest.execution import run
from trading_pipeline.research.backtest.sizing import Allocator
from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import Floats
from trading_pipeline.research.strategies.base import SignalResult

MULTIPLES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)


def cost_sensitivity(
    panel: MarketPanel,
    signals: SignalResult,
    configuration: Configuration,
    allocator: Allocator | None = None,
    multiples: Sequence[float] = MULTIPLES,
    metrics: Mapping[str, Callable[[Floats], float]] | None = None,
) -> pl.DataFrame:
    """One row a multiple of fees, slippage and borrow, by which the backtest was run again.

    metrics: further columns by name, each from the returns of the sessions. Columns: multiple, total_return (share of
    the capital), fees, slippage, borrow, haircut (money), turnover (sum of the sessions'), trades, *metrics. The
    haircut of delisted holdings is no cost of trading, and stays. Raises what `run` raises; `ValueError` where a
    multiple is below 0 or makes a cost larger than it may be.
    """
    rows = []
    for multiple in multiples:
        at = configuration.model_copy(update={"costs": multiplied(configuration.costs, multiple)})
        record = run(panel, signals, at, allocator)
        sums = record.days.select("fees", "slippage", "borrow", "haircut", "turnover").sum().row(0, named=True)
        further = {name: metric(record.returns) for name, metric in (metrics or {}).items()}
        total = float(record.equity[-1] / record.capital - 1)
        rows.append({"multiple": multiple, "total_return": total, **sums, "trades": len(record.trades), **further})
    return pl.DataFrame(rows)


def multiplied(costs: Costs, multiple: float) -> Costs:
    """The costs of trading, so many times as high."""
    slippage = costs.slippage
    size = "impact" if slippage.kind == "volume_share" else "bps"
    return Costs.model_validate(
        {
            **costs.model_dump(),
            "fees_bps": costs.fees_bps * multiple,
            "borrow_rate": costs.borrow_rate * multiple,
            "slippage": {**slippage.model_dump(), size: getattr(slippage, size) * multiple},
        }
    )
