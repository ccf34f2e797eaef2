"""What backtests came to, for a terminal and as a page a configuration.

What belongs here: words, tables and charts of stored results. What does not: any number that is not in the tables.
"""

from trading_pipeline.reports.backtests.summary import summary

__all__ = ["summary"]
