"""Risk first: what may be lost decides how much is bought.

What belongs here: limits, sizes, stops and targets of one entry after the other. What does not: which entries are
wished (`research/live`, `research/dip_desk`), what became of them (`research/ledger`).

`limits.toml` holds every number with its reason.
"""

from trading_pipeline.research.risk.account import Account
from trading_pipeline.research.risk.levels import atr_levels
from trading_pipeline.research.risk.limits import Limits, load_limits
from trading_pipeline.research.risk.sizing import allowed_share, sized

__all__ = ["Account", "Limits", "allowed_share", "atr_levels", "load_limits", "sized"]
