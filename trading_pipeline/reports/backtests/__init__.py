"""What backtests came to, for a terminal and as a page a configuration.

What belongs here: words, tables and charts of stored results. What does not: any number that neither stands in the
tables nor comes out of them by `research/performance`.
"""

from trading_pipeline.reports.backtests.gather import NAME, gather, place_of
from trading_pipeline.reports.backtests.inputs import BacktestInputs
from trading_pipeline.reports.backtests.page import backtest_page
from trading_pipeline.reports.backtests.summary import summary

__all__ = ["NAME", "BacktestInputs", "backtest_page", "gather", "place_of", "summary"]
