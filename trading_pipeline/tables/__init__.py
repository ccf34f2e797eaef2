"""What every table holds: one declaration serves the lake, the warehouse, the assets' column schemas and the tests.

What belongs here: names, types, units and meaning of columns. What does not: how tables are written (`storage/`), how
rows are computed (`research/`).
"""

from trading_pipeline.tables.bars import (
    BAR_ISSUES,
    CORPORATE_ACTIONS,
    DAILY_BARS,
    MARKET_DATA,
    RECEIVED_ACTIONS,
    RECEIVED_BARS,
    RECEIVED_WATCHLIST,
    UNIVERSE_MEMBERS,
)
from trading_pipeline.tables.base import MOMENT, Column, Kind, Table
from trading_pipeline.tables.dips import DIP_OPPORTUNITIES
from trading_pipeline.tables.features import INDICATORS, MARKET_REGIME

ALL_TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        RECEIVED_BARS,
        RECEIVED_ACTIONS,
        RECEIVED_WATCHLIST,
        DAILY_BARS,
        CORPORATE_ACTIONS,
        BAR_ISSUES,
        UNIVERSE_MEMBERS,
        INDICATORS,
        MARKET_REGIME,
        DIP_OPPORTUNITIES,
    )
}

__all__ = [
    "ALL_TABLES",
    "BAR_ISSUES",
    "CORPORATE_ACTIONS",
    "DAILY_BARS",
    "DIP_OPPORTUNITIES",
    "INDICATORS",
    "MARKET_DATA",
    "MARKET_REGIME",
    "MOMENT",
    "RECEIVED_ACTIONS",
    "RECEIVED_BARS",
    "RECEIVED_WATCHLIST",
    "UNIVERSE_MEMBERS",
    "Column",
    "Kind",
    "Table",
]
