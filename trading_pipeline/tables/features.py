"""Tables of the groups `features` and `regime`."""

from __future__ import annotations

import polars as pl

from trading_pipeline.tables.base import INSTRUMENT, SESSION, TICKER, Column, Kind, Table, number

INDICATORS = Table(
    "indicators",
    Kind.SESSION,
    "Technical indicators of each instrument, in the price basis of the session itself.",
    ("session", "instrument_id"),
    (
        SESSION,
        INSTRUMENT,
        TICKER,
        number("close", "Close as traded"),
        number("return_1", "Total return over 1 session, fraction", True),
        number("return_5", "Total return over 5 sessions, fraction", True),
        number("return_21", "Total return over 21 sessions, fraction", True),
        number("return_63", "Total return over 63 sessions, fraction", True),
        number("return_126", "Total return over 126 sessions, fraction", True),
        number("return_252", "Total return over 252 sessions, fraction", True),
        number("sma_20", "Simple average of 20 closes", True),
        number("sma_50", "Simple average of 50 closes", True),
        number("sma_200", "Simple average of 200 closes", True),
        number("ema_20", "Exponential average, span 20, finite window", True),
        number("ema_50", "Exponential average, span 50, finite window", True),
        number("ema_200", "Exponential average, span 200, finite window", True),
        number("atr_14", "Average true range, Wilder 14, in price units", True),
        number("rsi_14", "Relative strength index, Wilder 14, 0 to 100", True),
        number("macd", "EMA 12 less EMA 26, in price units", True),
        number("macd_signal", "EMA 9 of macd", True),
        number("macd_histogram", "macd less macd_signal", True),
        number("adx_14", "Average directional index, Wilder 14, 0 to 100", True),
        number("realised_volatility_21", "Standard deviation of 21 log returns x sqrt(252), fraction a year", True),
        number("high_252", "Highest high of 252 sessions (52 weeks), split-adjusted as of the session", True),
        number("low_252", "Lowest low of 252 sessions, split-adjusted as of the session", True),
        number("distance_from_high", "close / high_252 - 1, fraction, never above 0", True),
        number("distance_from_low", "close / low_252 - 1, fraction, never below 0", True),
        Column("sessions_since_high", pl.Int32(), "Sessions since high_252 was made", True),
        number("volume_ratio_20", "Volume over the mean volume of the 20 sessions before", True),
        number("relative_strength_63", "Total return over 63 sessions less the benchmark's, fraction", True),
        number("relative_strength_raw", "0.4 r63 + 0.2 (r126 + r189 + r252), total returns", True),
        Column("relative_strength_rank", pl.Int32(), "Percentile rank of relative_strength_raw, 1 to 99", True),
        number("beta_252", "Beta to the benchmark over 252 sessions of total returns", True),
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
        SESSION,
        Column("regime", pl.String(), "Bull, Bear or Sideways"),
        Column("environment", pl.String(), "A (best) to D (worst)"),
        Column("score", pl.Int32(), "Sum of the five component points, -10 to 10"),
        Column("benchmark", pl.String(), "Ticker of the index used, or equal_weight where it has no bars"),
        number("index_vs_sma_50", "Index over its 50-session average - 1, fraction", True),
        number("index_vs_sma_200", "Index over its 200-session average - 1, fraction", True),
        number("sma_200_slope_21", "Change of the 200-session average over 21 sessions, fraction", True),
        number("breadth_50", "Share of members above their 50-session average", True),
        number("breadth_200", "Share of members above their 200-session average", True),
        Column("new_highs", pl.Int32(), "Members at a 52-week high"),
        Column("new_lows", pl.Int32(), "Members at a 52-week low"),
        number("volatility", "Volatility used, annualised, fraction", True),
        Column("volatility_source", pl.String(), "implied (the volatility index) or realised (of the index)"),
        Column("distribution_days", pl.Int32(), "Distribution days of the index in 25 sessions", True),
        Column("members", pl.Int32(), "Members with a bar on the session"),
        Column("reasons", pl.String(), "Why, one reason a line"),
    ),
)
