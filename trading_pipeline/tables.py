"""What every table holds: one declaration serves the lake, the warehouse, the assets' column schemas and the tests.

What belongs here: names, types, units and meaning of columns. What does not: how tables are written (`storage/`), how
rows are computed (`research/`).

Clocks on facts: `available_at` is when the public could have had the row, `known_at` when we received it; a version is
in force until `superseded_at` (null: still). All moments are UTC with microseconds. Prices of bars are as traded unless
a column says otherwise. The lake adds `year`, the partition column, itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from trading_pipeline.errors import SchemaMismatch

MOMENT = pl.Datetime("us", "UTC")


class Kind(StrEnum):
    """How a table is written.

    received: append-only facts, several versions a key. session: the rows of a session are replaced as a whole.
    decision: every version published is kept, by session and `computed_at`; what vanishes is `withdrawn`.
    """

    RECEIVED = "received"
    SESSION = "session"
    DECISION = "decision"


@dataclass(frozen=True)
class Column:
    """A column: its polars type, what it means (with unit), and whether it may be null."""

    name: str
    dtype: pl.DataType | type[pl.DataType]
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A table: its columns in order, the key that is unique within one version, and how it is written.

    session_column: the column that places a row on the session axis.
    """

    name: str
    kind: Kind
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    session_column: str = "session"

    @property
    def schema(self) -> pl.Schema:
        """Column names and polars types, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def names(self) -> list[str]:
        """Column names, in order."""
        return [column.name for column in self.columns]

    def empty(self) -> pl.DataFrame:
        """A frame without rows that has the table's schema."""
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` with the declared columns in order; `SchemaMismatch` names what is missing, mistyped or null.

        Columns the table does not declare are an error too: nothing is dropped in silence.
        """
        missing = [name for name in self.names if name not in frame.columns]
        extra = [name for name in frame.columns if name not in self.schema]
        wrong = [
            f"{name} is {frame.schema[name]}, not {dtype}"
            for name, dtype in self.schema.items()
            if name in frame.columns and frame.schema[name] != dtype
        ]
        nulls = [
            column.name
            for column in self.columns
            if not column.nullable and column.name in frame.columns and frame[column.name].null_count()
        ]
        faults = [
            *(f"missing {name}" for name in missing),
            *(f"unexpected {name}" for name in extra),
            *wrong,
            *(f"null in {name}" for name in nulls),
        ]
        if faults:
            raise SchemaMismatch(
                f"A frame for {self.name} does not fit its table: {'; '.join(faults)}",
                "Return exactly the columns declared in tables.py",
            )
        if frame.select(self.key_columns).is_duplicated().any():
            raise SchemaMismatch(
                f"A frame for {self.name} holds two rows with the same {', '.join(self.key_columns)}",
                "Return one row per key",
            )
        return frame.select(self.names)

    @property
    def key_columns(self) -> list[str]:
        """What is unique among all rows: the key, with the version's clock where versions are kept."""
        clock = {Kind.RECEIVED: ["known_at"], Kind.DECISION: [], Kind.SESSION: []}[self.kind]
        return [*self.key, *(name for name in clock if name in self.schema and name not in self.key)]


_SESSION = Column("session", pl.Date(), "Trading day of the exchange, by its local date")
_INSTRUMENT = Column("instrument_id", pl.String(), "Permanent id of the instrument, the same across renames")
_TICKER = Column("ticker", pl.String(), "Symbol the instrument traded under on that session")
_CURRENCY = Column("currency", pl.String(), "ISO 4217 code of the quote")
_PROVIDER = Column("provider", pl.String(), "Where the row came from")
_AVAILABLE = Column("available_at", MOMENT, "When the public could first have it")
_KNOWN = Column("known_at", MOMENT, "When we received it")
_SUPERSEDED = Column("superseded_at", MOMENT, "When a later version took its place; null while in force", True)


def _price(name: str, what: str, nullable: bool = False) -> Column:
    return Column(name, pl.Float64(), what, nullable)


RECEIVED_BARS = Table(
    "received_bars",
    Kind.RECEIVED,
    "Every daily bar as each provider said it, each version kept.",
    ("instrument_id", "session", "provider"),
    (
        _INSTRUMENT,
        Column("symbol", pl.String(), "Spelling the provider was asked for"),
        _SESSION,
        _price("open", "Open as traded, in the quote currency", True),
        _price("high", "High as traded", True),
        _price("low", "Low as traded", True),
        _price("close", "Close as traded", True),
        _price("volume", "Shares as traded", True),
        _price("received_close", "Close exactly as received, before splits were undone", True),
        _price("split_factor", "As traded = received x factor (prices), received / factor (volume)"),
        _price("adj_close", "The provider's own adjusted close; kept, never compared", True),
        _CURRENCY,
        _PROVIDER,
        Column("provisional", pl.Boolean(), "Received before the close plus the provider's lag: a forming bar"),
        _AVAILABLE,
        _KNOWN,
    ),
)

RECEIVED_ACTIONS = Table(
    "received_actions",
    Kind.RECEIVED,
    "Every split and dividend as each provider said it, each version kept.",
    ("instrument_id", "session", "kind", "provider"),
    (
        _INSTRUMENT,
        Column("symbol", pl.String(), "Spelling the provider was asked for"),
        Column("session", pl.Date(), "Ex-date: the first session that trades without it"),
        Column("kind", pl.String(), "split, dividend or capital_gain"),
        _price("value", "split: new shares per old; dividend, capital_gain: amount per share as paid"),
        _price("received_value", "The value exactly as received (amounts divided by later splits at Yahoo)"),
        _price("split_factor", "value = received_value x factor"),
        _CURRENCY,
        _PROVIDER,
        Column("withdrawn", pl.Boolean(), "The provider no longer reports it"),
        _AVAILABLE,
        _KNOWN,
    ),
)

RECEIVED_WATCHLIST = Table(
    "received_watchlist",
    Kind.RECEIVED,
    "Every ticker put on or taken off the watchlist, when the file was read.",
    ("instrument_id", "session"),
    (
        Column("session", pl.Date(), "First session on which the change is in force: not yet closed at known_at"),
        _INSTRUMENT,
        Column("ticker", pl.String(), "Ticker as written in the file, in our own spelling"),
        Column("listed", pl.Boolean(), "On the list from then on (true) or off it (false)"),
        _KNOWN,
    ),
)

DAILY_BARS = Table(
    "daily_bars",
    Kind.SESSION,
    "The best view of each bar, as traded, with every version it had and its quality.",
    ("session", "instrument_id", "known_at"),
    (
        _SESSION,
        _INSTRUMENT,
        _TICKER,
        _price("open", "Open as traded, in the quote currency"),
        _price("high", "High as traded"),
        _price("low", "Low as traded"),
        _price("close", "Close as traded"),
        _price("volume", "Shares as traded"),
        _CURRENCY,
        _PROVIDER,
        Column("provisional", pl.Boolean(), "A forming bar: not final yet"),
        Column("data_quality", pl.String(), "good, suspect (shown) or bad (excluded downstream)"),
        Column("rules", pl.String(), "Names of the quality rules it broke, comma-separated; empty when good"),
        _AVAILABLE,
        _KNOWN,
        _SUPERSEDED,
    ),
)

CORPORATE_ACTIONS = Table(
    "corporate_actions",
    Kind.SESSION,
    "Splits, dividends and capital gains by ex-date, with every version they had.",
    ("session", "instrument_id", "kind", "known_at"),
    (
        Column("session", pl.Date(), "Ex-date: the first session that trades without it"),
        _INSTRUMENT,
        _TICKER,
        Column("kind", pl.String(), "split, dividend or capital_gain"),
        _price("value", "split: new shares per old; dividend, capital_gain: amount per share as paid"),
        _CURRENCY,
        _PROVIDER,
        Column("withdrawn", pl.Boolean(), "The provider no longer reports it"),
        Column("rules", pl.String(), "Names of the quality rules it broke, comma-separated; empty when good"),
        _AVAILABLE,
        _KNOWN,
        _SUPERSEDED,
    ),
)

BAR_ISSUES = Table(
    "bar_issues",
    Kind.SESSION,
    "What the quality rules found, by the session on which it could be seen.",
    ("session", "instrument_id", "bar_session", "rule"),
    (
        Column("session", pl.Date(), "Session on which the issue could first be seen"),
        _INSTRUMENT,
        _TICKER,
        Column("bar_session", pl.Date(), "Session of the bar at fault"),
        Column("rule", pl.String(), "Name of the rule it broke"),
        Column("severity", pl.String(), "suspect (shown), bad (excluded) or rejected (kept here only)"),
        Column("detail", pl.String(), "What was seen, with the numbers, in one line"),
        _price("open", "Open as traded", True),
        _price("high", "High as traded", True),
        _price("low", "Low as traded", True),
        _price("close", "Close as traded", True),
        _price("volume", "Shares as traded", True),
        Column("provider", pl.String(), "Where the bar came from; null where the bar is absent", True),
    ),
)

UNIVERSE_MEMBERS = Table(
    "universe_members",
    Kind.SESSION,
    "Who was a member of which universe on each session, with its sector.",
    ("session", "universe", "instrument_id"),
    (
        _SESSION,
        Column("universe", pl.String(), "Key of the universe, such as SPX500"),
        _INSTRUMENT,
        _TICKER,
        Column("sector", pl.String(), "GICS sector, or the simulated market's own; null where unknown", True),
        Column("source", pl.String(), "Where the membership fact came from"),
    ),
)

INDICATORS = Table(
    "indicators",
    Kind.SESSION,
    "Technical indicators of each instrument, in the price basis of the session itself.",
    ("session", "instrument_id"),
    (
        _SESSION,
        _INSTRUMENT,
        _TICKER,
        _price("close", "Close as traded"),
        _price("return_1", "Total return over 1 session, fraction", True),
        _price("return_5", "Total return over 5 sessions, fraction", True),
        _price("return_21", "Total return over 21 sessions, fraction", True),
        _price("return_63", "Total return over 63 sessions, fraction", True),
        _price("return_126", "Total return over 126 sessions, fraction", True),
        _price("return_252", "Total return over 252 sessions, fraction", True),
        _price("sma_20", "Simple average of 20 closes", True),
        _price("sma_50", "Simple average of 50 closes", True),
        _price("sma_200", "Simple average of 200 closes", True),
        _price("ema_20", "Exponential average, span 20, finite window", True),
        _price("ema_50", "Exponential average, span 50, finite window", True),
        _price("ema_200", "Exponential average, span 200, finite window", True),
        _price("atr_14", "Average true range, Wilder 14, in price units", True),
        _price("rsi_14", "Relative strength index, Wilder 14, 0 to 100", True),
        _price("macd", "EMA 12 less EMA 26, in price units", True),
        _price("macd_signal", "EMA 9 of macd", True),
        _price("macd_histogram", "macd less macd_signal", True),
        _price("adx_14", "Average directional index, Wilder 14, 0 to 100", True),
        _price("realised_volatility_21", "Standard deviation of 21 log returns x sqrt(252), fraction a year", True),
        _price("high_252", "Highest high of 252 sessions (52 weeks), split-adjusted as of the session", True),
        _price("low_252", "Lowest low of 252 sessions, split-adjusted as of the session", True),
        _price("distance_from_high", "close / high_252 - 1, fraction, never above 0", True),
        _price("distance_from_low", "close / low_252 - 1, fraction, never below 0", True),
        Column("sessions_since_high", pl.Int32(), "Sessions since high_252 was made", True),
        _price("volume_ratio_20", "Volume over the mean volume of the 20 sessions before", True),
        _price("relative_strength_63", "Total return over 63 sessions less the benchmark's, fraction", True),
        _price("relative_strength_raw", "0.4 r63 + 0.2 (r126 + r189 + r252), total returns", True),
        Column("relative_strength_rank", pl.Int32(), "Percentile rank of relative_strength_raw, 1 to 99", True),
        _price("beta_252", "Beta to the benchmark over 252 sessions of total returns", True),
        Column("history", pl.Int32(), "Sessions with a bar inside the lookback, this one included"),
        Column("data_quality", pl.String(), "Quality of this session's bar: good or suspect"),
    ),
)

MARKET_REGIME = Table(
    "market_regime",
    Kind.DECISION,
    "The environment of the market: trend, breadth, new highs, volatility, distribution, graded with reasons.",
    ("session",),
    (
        _SESSION,
        Column("regime", pl.String(), "Bull, Bear or Sideways"),
        Column("environment", pl.String(), "A (best) to D (worst)"),
        Column("score", pl.Int32(), "Sum of the five component points, -10 to 10"),
        Column("benchmark", pl.String(), "Ticker of the index used, or equal_weight where it has no bars"),
        _price("index_vs_sma_50", "Index over its 50-session average - 1, fraction", True),
        _price("index_vs_sma_200", "Index over its 200-session average - 1, fraction", True),
        _price("sma_200_slope_21", "Change of the 200-session average over 21 sessions, fraction", True),
        _price("breadth_50", "Share of members above their 50-session average", True),
        _price("breadth_200", "Share of members above their 200-session average", True),
        Column("new_highs", pl.Int32(), "Members at a 52-week high"),
        Column("new_lows", pl.Int32(), "Members at a 52-week low"),
        _price("volatility", "Volatility used, annualised, fraction", True),
        Column("volatility_source", pl.String(), "implied (the volatility index) or realised (of the index)"),
        Column("distribution_days", pl.Int32(), "Distribution days of the index in 25 sessions", True),
        Column("members", pl.Int32(), "Members with a bar on the session"),
        Column("reasons", pl.String(), "Why, one reason a line"),
    ),
)

DIP_OPPORTUNITIES = Table(
    "dip_opportunities",
    Kind.DECISION,
    "Members down from their 52-week high, with the fall split into market, sector and company parts.",
    ("session", "instrument_id"),
    (
        _SESSION,
        _INSTRUMENT,
        _TICKER,
        Column("universes", pl.String(), "Universes it is a member of, comma-separated, sorted"),
        Column("sector", pl.String(), "Sector; null where unknown", True),
        _price("price", "Close as traded"),
        _price("high_252", "52-week high, split-adjusted as of the session"),
        _price("dip_pct", "Per cent below the 52-week high, positive"),
        _price("threshold_pct", "Largest configured threshold it has passed, per cent"),
        Column("sessions_since_high", pl.Int32(), "Sessions since the high"),
        _price("drawdown_percentile", "Share of its own history with a shallower drawdown, 0 to 1", True),
        _price("fall", "Log total return from the high's close to now", True),
        _price("market_part", "Part of fall explained by beta to the benchmark", True),
        _price("sector_part", "Part explained by beta to the sector beyond the market", True),
        _price("company_part", "What remains: the company's own", True),
        _price("beta_market", "Beta to the benchmark at the session", True),
        _price("beta_sector", "Beta to the sector's excess over the market", True),
        Column("environment", pl.String(), "Environment of the session, A to D", True),
        Column("data_quality", pl.String(), "Quality of this session's bar: good or suspect"),
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
        _price("open", "Open as traded, in the quote currency"),
        _price("high", "High as traded"),
        _price("low", "Low as traded"),
        _price("close", "Close as traded"),
        _price("volume", "Shares as traded"),
        _price("adjusted_close", "Total-return close as of the last refresh; the one column that moves later", True),
        Column("source", pl.String(), "Provider the bar came from"),
        Column("data_quality", pl.String(), "good, suspect or bad"),
        _INSTRUMENT,
        Column("metadata", pl.String(), "JSON object: whatever else is worth showing", True),
    ),
    session_column="date",
)

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
