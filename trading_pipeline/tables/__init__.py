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
from trading_pipeline.tables.dips import DIP_ANALYSIS, DIP_OPPORTUNITIES
from trading_pipeline.tables.features import INDICATORS, MARKET_REGIME
from trading_pipeline.tables.intraday import DAILY_BIAS, INTRADAY_BARS, INTRADAY_ISSUES, PREMARKET_SNAPSHOTS
from trading_pipeline.tables.live import (
    ACCOUNTS,
    FILLS,
    LIVE_LOOP_LOGS,
    LIVE_SESSIONS,
    LIVE_TABLES,
    LIVE_TICKS,
    LLM_VALIDATIONS,
    MARKET_ANALYSIS,
    ORDER_EVENTS,
    ORDERS,
    POSITIONS,
    TRADE_SIGNALS,
    TRADES,
)
from trading_pipeline.tables.reference import (
    EARNINGS_CALENDAR,
    FUNDAMENTALS,
    MACRO_SERIES,
    NEWS,
    RECEIVED_EARNINGS,
    RECEIVED_FUNDAMENTALS,
    RECEIVED_NEWS,
    RECEIVED_STATEMENTS,
)
from trading_pipeline.tables.screener import SCREENER_SCORES

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
        RECEIVED_FUNDAMENTALS,
        RECEIVED_STATEMENTS,
        RECEIVED_EARNINGS,
        RECEIVED_NEWS,
        FUNDAMENTALS,
        EARNINGS_CALENDAR,
        NEWS,
        MACRO_SERIES,
        SCREENER_SCORES,
        DIP_OPPORTUNITIES,
        DIP_ANALYSIS,
        INTRADAY_BARS,
        INTRADAY_ISSUES,
        DAILY_BIAS,
        PREMARKET_SNAPSHOTS,
    )
}
"""Tables of the lake, by name; those of the live session are in `LIVE_TABLES`."""

__all__ = [
    "ACCOUNTS",
    "ALL_TABLES",
    "BAR_ISSUES",
    "CORPORATE_ACTIONS",
    "DAILY_BARS",
    "DAILY_BIAS",
    "DIP_ANALYSIS",
    "DIP_OPPORTUNITIES",
    "EARNINGS_CALENDAR",
    "FILLS",
    "FUNDAMENTALS",
    "INDICATORS",
    "INTRADAY_BARS",
    "INTRADAY_ISSUES",
    "LIVE_LOOP_LOGS",
    "LIVE_SESSIONS",
    "LIVE_TABLES",
    "LIVE_TICKS",
    "LLM_VALIDATIONS",
    "MACRO_SERIES",
    "MARKET_ANALYSIS",
    "MARKET_DATA",
    "MARKET_REGIME",
    "MOMENT",
    "NEWS",
    "ORDERS",
    "ORDER_EVENTS",
    "POSITIONS",
    "PREMARKET_SNAPSHOTS",
    "RECEIVED_ACTIONS",
    "RECEIVED_BARS",
    "RECEIVED_EARNINGS",
    "RECEIVED_FUNDAMENTALS",
    "RECEIVED_NEWS",
    "RECEIVED_STATEMENTS",
    "RECEIVED_WATCHLIST",
    "SCREENER_SCORES",
    "TRADES",
    "TRADE_SIGNALS",
    "UNIVERSE_MEMBERS",
    "Column",
    "Kind",
    "Table",
]
