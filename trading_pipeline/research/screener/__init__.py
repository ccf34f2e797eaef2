"""The screener: gates, component scores, grade, verdict, flags, and what would change the verdict.

What belongs here: judging a member on a session from what was available then. What does not: where the inputs come
from, and what to do about a dip.

`rules.toml` holds every number with its reason, `screens.toml` the named screens.
"""

from trading_pipeline.research.screener.liquidity import LOOKBACK as VOLUME_LOOKBACK
from trading_pipeline.research.screener.liquidity import dollar_volume
from trading_pipeline.research.screener.news import LOOKBACK as NEWS_LOOKBACK
from trading_pipeline.research.screener.rules import RULES_FILE, Rules, load_rules
from trading_pipeline.research.screener.scores import COLUMNS, LOOKBACK, screener_scores
from trading_pipeline.research.screener.screens import (
    SCREENS_FILE,
    Screen,
    UnknownColumn,
    apply_screens,
    load_screens,
    screen_frame,
)

__all__ = [
    "COLUMNS",
    "LOOKBACK",
    "NEWS_LOOKBACK",
    "RULES_FILE",
    "SCREENS_FILE",
    "VOLUME_LOOKBACK",
    "Rules",
    "Screen",
    "UnknownColumn",
    "apply_screens",
    "dollar_volume",
    "load_rules",
    "load_screens",
    "screen_frame",
    "screener_scores",
]
