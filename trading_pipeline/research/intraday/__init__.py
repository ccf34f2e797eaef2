"""Bars shorter than a session: when they were, what coarser bars they make, whether to believe them, how much traded.

What belongs here: phases, resampling, quality rules and volume by time of day. What does not: fetching bars, what they
say of the day to come (`research/premarket/`) and the live loop (`research/live/`).
"""

from trading_pipeline.research.intraday.phases import (
    INTERVALS,
    US_EXTENDED_HOURS,
    ExtendedHours,
    exchange_times,
    forming,
    placed,
)
from trading_pipeline.research.intraday.quality import (
    RULES,
    Assessment,
    IntradayRule,
    as_bar_issues,
    assess,
    believed_extremes,
)
from trading_pipeline.research.intraday.resample import resample
from trading_pipeline.research.intraday.volume import LOOKBACK, premarket_volume, told_volume

__all__ = [
    "INTERVALS",
    "LOOKBACK",
    "RULES",
    "US_EXTENDED_HOURS",
    "Assessment",
    "ExtendedHours",
    "IntradayRule",
    "as_bar_issues",
    "assess",
    "believed_extremes",
    "exchange_times",
    "forming",
    "placed",
    "premarket_volume",
    "resample",
    "told_volume",
]
