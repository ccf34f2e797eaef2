"""What to expect of a session before it opens: statistics, bands and levels of each watched name, and its bias.

What belongs here: what can be said at the premarket moment, from what was available then. What does not: phases,
resampling and volume by time of day (`research/intraday/`), signals while the market trades (`research/live/`).

No function of this package looks at a bar, an article or a daily row that came after the premarket moment of the
session judged, so one call over many sessions says of each what a call of that morning said.
"""

from trading_pipeline.research.premarket.bias import daily_bias
from trading_pipeline.research.premarket.mornings import (
    DAILY_LOOKBACK,
    INTRADAY_LOOKBACK,
    REFERENCE_LOOKBACK,
    by_the_open,
)
from trading_pipeline.research.premarket.rules import Rules, load_rules
from trading_pipeline.research.premarket.snapshots import snapshots

__all__ = [
    "DAILY_LOOKBACK",
    "INTRADAY_LOOKBACK",
    "REFERENCE_LOOKBACK",
    "Rules",
    "by_the_open",
    "daily_bias",
    "load_rules",
    "snapshots",
]
