"""Who was a member of which universe on each session, point in time.

What belongs here: membership as dated spans (`seeds/*.csv`, written by `generate.py` or kept by hand), the watchlist a
person edits, and how much of a universe has bars. What does not: universes that a provider brings (FILES, the simulated
ones), and the identity of instruments (`instruments/`).
"""

from trading_pipeline.universes.members import (
    UNIVERSES,
    Universe,
    known,
    known_sectors,
    members,
    reason_without_members,
    survivorship_coverage,
    universe_named,
)
from trading_pipeline.universes.watchlist import WATCHLIST, parse_watchlist, watchlist_changes, watchlist_members

__all__ = [
    "UNIVERSES",
    "WATCHLIST",
    "Universe",
    "known",
    "known_sectors",
    "members",
    "parse_watchlist",
    "reason_without_members",
    "survivorship_coverage",
    "universe_named",
    "watchlist_changes",
    "watchlist_members",
]
