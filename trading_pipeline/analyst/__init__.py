"""The analyst: other words for what the rules decided, by Claude.

What belongs here: asking, checking and paying for words. What does not: any decision; the action, the cause and the
bounds of a size come from `research/dip_desk` and stay as they are.
"""

from trading_pipeline.analyst.asking import AnalystSettings
from trading_pipeline.analyst.ledger import Ledger, ModelCall
from trading_pipeline.analyst.words import write_words

__all__ = ["AnalystSettings", "Ledger", "ModelCall", "write_words"]
