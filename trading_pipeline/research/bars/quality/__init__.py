"""Quality rules: which bars and actions can be trusted, and by which named rule not.

What belongs here: pure functions from frames of bars and actions to verdicts. What does not: repairing anything (bad
rows are quarantined or marked, never mended), fetching, storage.

Two entry points. `assess` judges daily sessions point in time, on as-traded bars, with `LOOKBACK` sessions of history.
`assess_history` audits a history as a provider sent it, with its adjusted close; what it finds was known when it was
received. `RULES` says of each rule how grave it is, why, and which of the two judges it.
"""

from trading_pipeline.research.bars.quality.daily import ISSUE_SCHEMA, LOOKBACK, Assessment, assess
from trading_pipeline.research.bars.quality.history import HistoryAssessment, assess_history
from trading_pipeline.research.bars.quality.rules import RULES, Rule

__all__ = [
    "ISSUE_SCHEMA",
    "LOOKBACK",
    "RULES",
    "Assessment",
    "HistoryAssessment",
    "Rule",
    "assess",
    "assess_history",
]
