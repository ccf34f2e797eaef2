"""The page of a trading day: what the live loop, or a replay of it, decided, ordered, earned and spent.

What belongs here: choosing and arranging the rows the loop committed. What does not: deciding and accounting
(`research/live`, `research/risk`, `research/ledger`), storing the page, what it shares with other pages (`pages.py`).
"""

from trading_pipeline.reports.trading_day.day import TradingDay
from trading_pipeline.reports.trading_day.gather import (
    NAME,
    gather,
    place_of,
    trading_day_summary,
)
from trading_pipeline.reports.trading_day.page import trading_day_page
from trading_pipeline.reports.trading_day.summary import summary_renderable

__all__ = [
    "NAME",
    "TradingDay",
    "gather",
    "place_of",
    "summary_renderable",
    "trading_day_page",
    "trading_day_summary",
]
