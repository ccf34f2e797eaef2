"""Backtests that can be believed: next-open fills, whole shares, costs, delistings, and vectorbt's accounting.

What belongs here: what trading a strategy's signals would have made of a capital. What does not: strategies
(`research/strategies`), weights (`research/allocation`), statistics of results (`research/performance`), sweeps over
whole parameter grids (`research/sweeps`).
"""

from trading_pipeline.research.backtest.accounting import AccountingError
from trading_pipeline.research.backtest.audit import Finding, look_ahead, look_ahead_of_backtest
from trading_pipeline.research.backtest.configuration import Configuration, ConfigurationError, parse_configuration
from trading_pipeline.research.backtest.costs import cost_sensitivity
from trading_pipeline.research.backtest.execution import backtest, run
from trading_pipeline.research.backtest.record import BacktestRecord, CoverageError
from trading_pipeline.research.backtest.sizing import Allocator

__all__ = [
    "AccountingError",
    "Allocator",
    "BacktestRecord",
    "Configuration",
    "ConfigurationError",
    "CoverageError",
    "Finding",
    "backtest",
    "cost_sensitivity",
    "look_ahead",
    "look_ahead_of_backtest",
    "parse_configuration",
    "run",
]
