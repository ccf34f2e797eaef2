"""The live session: features bar by bar, signals, the market by rules, falls of the day.

What belongs here: decisions from bars and from what was known before the open. What does not: clocks, feeds, the loop,
sizes (`research/risk`), orders and their fills, and words by a language model.

`rules.toml` holds every number with its reason.
"""

from trading_pipeline.research.live.context import NAMES, SessionContext, live_names
from trading_pipeline.research.live.features import Ignored, SessionFeatures
from trading_pipeline.research.live.market import (
    Measures,
    Multipliers,
    is_due,
    market_analysis,
    market_measures,
)
from trading_pipeline.research.live.price_monitor import FALL_COLUMNS, PriceMonitor
from trading_pipeline.research.live.rules import Rules, load_rules
from trading_pipeline.research.live.signals import SETUPS, SIGNAL_COLUMNS, signals

__all__ = [
    "FALL_COLUMNS",
    "NAMES",
    "SETUPS",
    "SIGNAL_COLUMNS",
    "Ignored",
    "Measures",
    "Multipliers",
    "PriceMonitor",
    "Rules",
    "SessionContext",
    "SessionFeatures",
    "is_due",
    "live_names",
    "load_rules",
    "market_analysis",
    "market_measures",
    "signals",
]
