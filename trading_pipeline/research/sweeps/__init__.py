"""Parameter sweeps: every instrument under every parameter set, as summary metrics.

What belongs here: grids, the compiled sweep, and what is read out of it. What does not: the full record of one
strategy (`backtest/`), which the finalists of a sweep are rerun for, and a strategy's definition (`strategies/`).

Importing it is light; numba is imported by the first sweep.
"""

from trading_pipeline.research.sweeps.engine import (
    MEMORY_BUDGET,
    METRICS,
    Prices,
    ProportionalCosts,
    SweepResult,
    SweepTooLarge,
    bytes_needed,
    sweep,
    warm_up,
)
from trading_pipeline.research.sweeps.grid import SWEEPABLE, ParameterGrid, parameter_grid
from trading_pipeline.research.sweeps.stability import by_parameter_set, stability_map

__all__ = [
    "MEMORY_BUDGET",
    "METRICS",
    "SWEEPABLE",
    "ParameterGrid",
    "Prices",
    "ProportionalCosts",
    "SweepResult",
    "SweepTooLarge",
    "by_parameter_set",
    "bytes_needed",
    "parameter_grid",
    "stability_map",
    "sweep",
    "warm_up",
]
