"""The analyst: other words for what the rules decided, and a second opinion that scales or vetoes, by Claude.

What belongs here: asking, checking and paying for answers. What does not: any decision. Actions, causes, biases and
signals come from `research/` and stay as they are; multipliers are clamped, a veto can only leave a signal out, and
without an answer in time the rules hold.
"""

from trading_pipeline.analyst.bias import write_bias_words
from trading_pipeline.analyst.desk import Asked, Desk, Told
from trading_pipeline.analyst.ledger import Ledger, ModelCall
from trading_pipeline.analyst.question import AnalystSettings
from trading_pipeline.analyst.words import write_words

__all__ = ["AnalystSettings", "Asked", "Desk", "Ledger", "ModelCall", "Told", "write_bias_words", "write_words"]
