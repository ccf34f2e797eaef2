"""The ledger: what orders, their events and their fills come to, to the cent.

What belongs here: states of orders, positions, round trips, accounts, and where they differ from what others say. What
does not: deciding orders (`research/risk`, `research/live`), asking brokers, storing.
"""

from trading_pipeline.research.ledger.derived import Ledger, accounts, ledger, positions, trades
from trading_pipeline.research.ledger.exposure import Exposure, LateFill
from trading_pipeline.research.ledger.journal import JOURNAL, journal
from trading_pipeline.research.ledger.orders import order_faults, order_states
from trading_pipeline.research.ledger.reconcile import DISCREPANCIES, reconcile

__all__ = [
    "DISCREPANCIES",
    "JOURNAL",
    "Exposure",
    "LateFill",
    "Ledger",
    "accounts",
    "journal",
    "ledger",
    "order_faults",
    "order_states",
    "positions",
    "reconcile",
    "trades",
]
