"""Tables of the groups `universe` and `market_data`."""

from __future__ import annotations

import polars as pl

from trading_pipeline.tables.base import (
    AVAILABLE,
    CURRENCY,
    INSTRUMENT,
    KNOWN,
    PROVIDER,
    SESSION,
    SUPERSEDED,
    TICKER,
    Column,
    Kind,
    Table,
    number,
)

RECEIVED_WATCHLIST = Table(
    "received_watchlist",
    Kind.RECEIVED,
    "Every ticker put on or taken off the watchlist, when the file was read.",
    ("instrument_id", "session"),
    (
        Column("session", pl.Date(), "First session on which the change is in force: not yet closed at known_at"),
        INSTRUMENT,
        Column("ticker", pl.String(), "Ticker as written in the file, in our own spelling"),
        Column("listed", pl.Boolean(), "On the list from then on (true) or off it (false)"),
        KNOWN,
    ),
)

UNIVERSE_MEMBERS = Table(
    "universe_members",
    Kind.SESSION,
    "Who was a member of which universe on each session, with its sector.",
    ("session", "universe", "instrument_id"),
    (
        SESSION,
        Column("universe", pl.String(), "Key of the universe, such as SPX500"),
        INSTRUMENT,
        TICKER,
        Column("sector", pl.String(), "GICS sector, or the simulated market's own; null where unknown", True),
        Column("source", pl.String(), "Where the membership fact came from"),
    ),
)

RECEIVED_BARS = Table(
    "received_bars",
    Kind.RECEIVED,
    "Every daily bar as each provider said it, each version kept.",
    ("instrument_id", "session", "provider"),
    (
        INSTRUMENT,
        Column("symbol", pl.String(), "Spelling the provider was asked for"),
        SESSION,
        number("open", "Open as traded, in the quote currency", True),
        number("high", "High as traded", True),
        number("low", "Low as traded", True),
        number("close", "Close as traded", True),
        number("volume", "Shares as traded", True),
        number("received_close", "Close exactly as received, before splits were undone", True),
        number("split_factor", "As traded = received x factor (prices), received / factor (volume)"),
        number("adj_close", "The provider's own adjusted close; kept, never compared", True),
        CURRENCY,
        PROVIDER,
        Column("provisional", pl.Boolean(), "Received before the close plus the provider's lag: a forming bar"),
        AVAILABLE,
        KNOWN,
    ),
)

RECEIVED_ACTIONS = Table(
    "received_actions",
    Kind.RECEIVED,
    "Every split and dividend as each provider said it, each version kept.",
    ("instrument_id", "session", "kind", "provider"),
    (
        INSTRUMENT,
        Column("symbol", pl.String(), "Spelling the provider was asked for"),
        Column("session", pl.Date(), "Ex-date: the first session that trades without it"),
        Column("kind", pl.String(), "split, dividend or capital_gain"),
        number("value", "split: new shares per old; dividend, capital_gain: amount per share as paid"),
        number("received_value", "The value exactly as received (amounts divided by later splits at Yahoo)"),
        number("split_factor", "value = received_value x factor"),
        CURRENCY,
        PROVIDER,
        Column("withdrawn", pl.Boolean(), "The provider no longer reports it"),
        AVAILABLE,
        KNOWN,
    ),
)

DAILY_BARS = Table(
    "daily_bars",
    Kind.SESSION,
    "The best view of each bar, as traded, with every version it had and its quality.",
    ("session", "instrument_id", "known_at"),
    (
        SESSION,
        INSTRUMENT,
        TICKER,
        number("open", "Open as traded, in the quote currency"),
        number("high", "High as traded"),
        number("low", "Low as traded"),
        number("close", "Close as traded"),
        number("volume", "Shares as traded"),
        CURRENCY,
        PROVIDER,
        Column("provisional", pl.Boolean(), "A forming bar: not final yet"),
        Column("data_quality", pl.String(), "good, suspect (shown) or bad (excluded downstream)"),
        Column("rules", pl.String(), "Names of the quality rules it broke, comma-separated; empty when good"),
        AVAILABLE,
        KNOWN,
        SUPERSEDED,
    ),
)

CORPORATE_ACTIONS = Table(
    "corporate_actions",
    Kind.SESSION,
    "Splits, dividends and capital gains by ex-date, with every version they had.",
    ("session", "instrument_id", "kind", "known_at"),
    (
        Column("session", pl.Date(), "Ex-date: the first session that trades without it"),
        INSTRUMENT,
        TICKER,
        Column("kind", pl.String(), "split, dividend or capital_gain"),
        number("value", "split: new shares per old; dividend, capital_gain: amount per share as paid"),
        CURRENCY,
        PROVIDER,
        Column("withdrawn", pl.Boolean(), "The provider no longer reports it"),
        Column("rules", pl.String(), "Names of the quality rules it broke, comma-separated; empty when good"),
        AVAILABLE,
        KNOWN,
        SUPERSEDED,
    ),
)

BAR_ISSUES = Table(
    "bar_issues",
    Kind.SESSION,
    "What the quality rules found, by the session on which it could be seen.",
    ("session", "instrument_id", "bar_session", "rule"),
    (
        Column("session", pl.Date(), "Session on which the issue could first be seen"),
        INSTRUMENT,
        TICKER,
        Column("bar_session", pl.Date(), "Session of the bar at fault"),
        Column("rule", pl.String(), "Name of the rule it broke"),
        Column("severity", pl.String(), "suspect (shown), bad (excluded) or rejected (kept here only)"),
        Column("detail", pl.String(), "What was seen, with the numbers, in one line"),
        number("open", "Open as traded", True),
        number("high", "High as traded", True),
        number("low", "Low as traded", True),
        number("close", "Close as traded", True),
        number("volume", "Shares as traded", True),
        Column("provider", pl.String(), "Where the bar came from; null where the bar is absent", True),
    ),
)

MARKET_DATA = Table(
    "market_data",
    Kind.SESSION,
    "The bars in force, for showing and joining; in the warehouse alone, made from daily_bars.",
    ("ticker", "date"),
    (
        Column("ticker", pl.String(), "Symbol the instrument traded under on that date"),
        Column("date", pl.Date(), "Trading day of the exchange, by its local date"),
        number("open", "Open as traded, in the quote currency"),
        number("high", "High as traded"),
        number("low", "Low as traded"),
        number("close", "Close as traded"),
        number("volume", "Shares as traded"),
        number("adjusted_close", "Total-return close as of the last refresh; the one column that moves later", True),
        Column("source", pl.String(), "Provider the bar came from"),
        Column("data_quality", pl.String(), "good, suspect or bad"),
        INSTRUMENT,
        Column("metadata", pl.String(), "JSON object: whatever else is worth showing", True),
    ),
    session_column="date",
)
