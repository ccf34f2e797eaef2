"""Alpaca's paper account, by its trading API: brackets, executions, holdings.

What belongs here: the adapter. `broker.py` decides, `client.py` talks, `translation.py` translates, `guard.py` keeps it
on paper.
"""

from __future__ import annotations

from trading_pipeline.brokers.alpaca.broker import AlpacaBroker
from trading_pipeline.brokers.alpaca.client import Patience
from trading_pipeline.brokers.alpaca.guard import PAPER_URL

__all__ = ["PAPER_URL", "AlpacaBroker", "Patience"]
