"""Fundamentals as they stood on each session: the newest snapshot that was out, and which of its numbers to believe.

What belongs here: pure functions from received snapshots to the view of each session. What does not: fetching them,
scoring with them, repairing anything (a number that a rule condemns is left empty, never mended).

`fundamentals` is the view, `market_caps` brings the capitalisation to a session's close, `RULES` says of each quality
rule how grave it is and why.
"""

from trading_pipeline.research.fundamentals.caps import market_caps
from trading_pipeline.research.fundamentals.rules import RULES, Rule, judge
from trading_pipeline.research.fundamentals.view import LOOKBACK, MAX_AGE, fundamentals

__all__ = ["LOOKBACK", "MAX_AGE", "RULES", "Rule", "fundamentals", "judge", "market_caps"]
