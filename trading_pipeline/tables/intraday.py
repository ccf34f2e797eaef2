"""Tables of bars shorter than a session, and of what is said about a session before it opens."""

from __future__ import annotations

import polars as pl

from trading_pipeline.tables.base import (
    AVAILABLE,
    INSTRUMENT,
    KNOWN,
    MOMENT,
    PROVIDER,
    SESSION,
    TICKER,
    Column,
    Kind,
    Table,
    number,
)

TAKEN = Column("taken", pl.String(), "live: before the session opened; rebuilt: later, from stored bars")
DECIDED = Column("decided_at", MOMENT, "Moment up to which facts were used: the premarket moment of the session")

INTRADAY_BARS = Table(
    "intraday_bars",
    Kind.RECEIVED,
    "Bars of 1, 5 and 15 minutes with pre- and post-market, as received: every version, the forming one marked.",
    ("session", "instrument_id", "interval", "started_at", "provider"),
    (
        SESSION,
        INSTRUMENT,
        TICKER,
        PROVIDER,
        Column("interval", pl.String(), "1m, 5m or 15m"),
        Column("started_at", MOMENT, "First moment of the bar"),
        Column("exchange_time", pl.String(), "The same moment by the exchange's clock, ISO 8601 with its offset"),
        Column("phase", pl.String(), "pre, regular or post"),
        number("open", "First price as traded, in the market's currency"),
        number("high", "Highest price"),
        number("low", "Lowest price"),
        number("close", "Last price"),
        number("volume", "Shares; null where the provider tells none", True),
        Column("forming", pl.Boolean(), "Received before the bar was over: its figures may still change"),
        AVAILABLE,
        KNOWN,
    ),
)

INTRADAY_ISSUES = Table(
    "intraday_issues",
    Kind.RECEIVED,
    "Intraday bars that broke a quality rule, with the rule: rejected ones are here alone, suspect ones are kept too.",
    ("session", "instrument_id", "interval", "started_at", "provider", "rule"),
    (
        Column("session", pl.Date(), "Trading day, or the local date of a bar that belongs to none"),
        INSTRUMENT,
        TICKER,
        PROVIDER,
        Column("interval", pl.String(), "1m, 5m or 15m"),
        Column("started_at", MOMENT, "First moment of the bar"),
        Column("rule", pl.String(), "Rule it broke"),
        Column("severity", pl.String(), "rejected or suspect"),
        Column("detail", pl.String(), "What was seen"),
        number("open", "As received", True),
        number("high", "As received", True),
        number("low", "As received", True),
        number("close", "As received", True),
        number("volume", "As received", True),
        AVAILABLE,
        KNOWN,
    ),
)

DAILY_BIAS = Table(
    "daily_bias",
    Kind.DECISION,
    "Which way each watched name leans before the open, how surely, and why.",
    ("session", "instrument_id"),
    (
        SESSION,
        INSTRUMENT,
        TICKER,
        DECIDED,
        TAKEN,
        Column("bias", pl.String(), "long, short or neutral"),
        number("confidence", "0 to below 1: how much was known and how clearly it points; nothing is certain"),
        number("score", "What the rules added up to, -1 (short) to 1 (long)"),
        number("gap_pct", "Last premarket price against yesterday's close, split-adjusted, per cent", True),
        number("overnight_range_pct", "High to low since yesterday's close, per cent of that close", True),
        number("trend_score", "Higher-timeframe trend, -1 to 1", True),
        number("relative_volume", "Premarket volume against its own normal by that time of day", True),
        number("news_score", "Mean sentiment of the articles since yesterday's close, -1 to 1", True),
        Column("news_count", pl.Int32(), "Articles since yesterday's close"),
        Column("events", pl.String(), "Events of the day (report, ex-dividend), comma-separated; empty when none"),
        Column("reasons", pl.String(), "What speaks for and against it, one line each, the strongest first"),
        Column("source", pl.String(), "rules or claude: whose words `reasons` are; the bias is always the rules'"),
        Column("inputs", pl.String(), "JSON of everything it was decided on"),
    ),
)

PREMARKET_SNAPSHOTS = Table(
    "premarket_snapshots",
    Kind.DECISION,
    "What to expect of each watched name before the open: higher-timeframe statistics, bands, levels, volume.",
    ("session", "instrument_id"),
    (
        SESSION,
        INSTRUMENT,
        TICKER,
        DECIDED,
        TAKEN,
        number("price", "Last price before the premarket moment; null where there was none since yesterday", True),
        number("previous_close", "Yesterday's close, split-adjusted to this session"),
        number("previous_high", "Yesterday's high, split-adjusted"),
        number("previous_low", "Yesterday's low, split-adjusted"),
        number("gap_pct", "price against previous_close, per cent", True),
        number("premarket_high", "Highest price before the premarket moment", True),
        number("premarket_low", "Lowest price before it", True),
        number("premarket_volume", "Shares before it; null: not known; 0: known to be none", True),
        number("premarket_relative_volume", "premarket_volume against the mean of its last 20 sessions", True),
        *(
            number(f"{span}_{name}", f"{what} of the {count}", True)
            for span, count in (
                ("day", "20 daily closes"),
                ("week", "13 weekly closes"),
                ("month", "12 monthly closes"),
            )
            for name, what in (
                ("mean", "Mean"),
                ("sigma", "Standard deviation"),
                ("position", "Where the price is between lowest (0) and highest (1)"),
            )
        ),
        number("anchored_mean", "Mean of the 5-minute closes since yesterday's open", True),
        number("anchored_sigma", "Their standard deviation", True),
        *(
            number(
                f"band_{side}_{width}", f"anchored_mean {'plus' if side == 'upper' else 'minus'} {width} sigma", True
            )
            for side in ("lower", "upper")
            for width in (1, 2, 3)
        ),
        number("band", "How many sigmas the price is from the anchored mean", True),
        number("atr_14", "Average true range of 14 sessions up to yesterday, split-adjusted", True),
    ),
)
