"""The dip desk: whose dips are analysed, why each one fell, what the rules make of it.

What belongs here: decisions by rules and their words. What does not: finding and splitting falls (`research/dips.py`),
scores, and words by a language model (`analyst/`).
"""

from trading_pipeline.research.dip_desk.analysis import ANALYSIS_COLUMNS, analysis
from trading_pipeline.research.dip_desk.causes import CAUSE_COLUMNS, CAUSES, LOOKBACK, REFERENCE_LOOKBACK, causes
from trading_pipeline.research.dip_desk.members import ALL, TOO_BIG_TO_FAIL, desk_members
from trading_pipeline.research.dip_desk.rules import Rules, load_rules

__all__ = [
    "ALL",
    "ANALYSIS_COLUMNS",
    "CAUSES",
    "CAUSE_COLUMNS",
    "LOOKBACK",
    "REFERENCE_LOOKBACK",
    "TOO_BIG_TO_FAIL",
    "Rules",
    "analysis",
    "causes",
    "desk_members",
    "load_rules",
]
