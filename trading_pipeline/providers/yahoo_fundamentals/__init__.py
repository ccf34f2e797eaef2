"""Fundamentals and statements from Yahoo Finance through the yfinance client.

`provider` asks, `snapshot` reads what a quoteSummary says, `statements` reads the fundamentals time series.
"""

from trading_pipeline.providers.yahoo_fundamentals.provider import YahooFundamentals

__all__ = ["YahooFundamentals"]
