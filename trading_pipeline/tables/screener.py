"""Tables of the group `screener`."""

from __future__ import annotations

import polars as pl

from trading_pipeline.tables.base import INSTRUMENT, SESSION, TICKER, Column, Kind, Table, number

SCREENER_SCORES = Table(
    "screener_scores",
    Kind.DECISION,
    "Each member judged: gates, component scores, total, grade, verdict, and what would change the verdict.",
    ("session", "instrument_id"),
    (
        SESSION,
        INSTRUMENT,
        TICKER,
        Column("universes", pl.String(), "Universes it is a member of, comma-separated, sorted"),
        Column("asset_type", pl.String(), "stock, etf or bond_etf: which scorer was used"),
        Column("sector", pl.String(), "Sector; null where unknown", True),
        number("price", "Close as traded"),
        number("market_cap", "Market capitalisation at the session's close", True),
        Column("gates_passed", pl.Boolean(), "Whether every gate that could be judged was passed"),
        Column("gates_failed", pl.String(), "Names of the failed gates, comma-separated; empty when none"),
        Column("gates", pl.String(), "Each gate on a line: name, passed, failed or unknown, value, limit, by how much"),
        number("fundamental", "Fundamental component, 0 to 100; null where nothing is known", True),
        number("technical", "Technical component, 0 to 100", True),
        number("relative_strength", "Relative strength component, 1 to 99", True),
        number("sector_score", "Sector component, 0 to 100", True),
        number("catalyst", "Catalyst component, 0 to 100", True),
        number("weight_fundamental", "Weight of the component in the total, fraction"),
        number("weight_technical", "Weight of the component in the total, fraction"),
        number("weight_relative_strength", "Weight of the component in the total, fraction"),
        number("weight_sector", "Weight of the component in the total, fraction"),
        number("weight_catalyst", "Weight of the component in the total, fraction"),
        number("confidence", "Weighted share of the inputs that were known, 0 to 1"),
        number("total", "Weighted mean of the known components, 0 to 100; null below the least confidence", True),
        Column("grade", pl.String(), "A to F; null where there is no total", True),
        Column("verdict", pl.String(), "Strong Buy, Buy, Hold or Avoid; No verdict where there is no total"),
        Column("flags", pl.String(), "value_trap, earnings_soon, high_short_interest …, comma-separated"),
        number("dcf_value", "Value per share by the two-stage DCF, quote currency", True),
        number("dcf_upside", "dcf_value over price - 1, fraction", True),
        Column("dcf_assumptions", pl.String(), "Growth, fade, discount rate and terminal growth used", True),
        number("sector_percentile", "Percentile of the total within its sector, 0 to 100", True),
        Column("size_bucket", pl.String(), "mega, large, mid, small or unknown"),
        number("size_percentile", "Percentile of the total within its size bucket, 0 to 100", True),
        Column("next_verdict", pl.String(), "The next better verdict; null at the best", True),
        number("points_to_next", "Points of total missing to it", True),
        Column("sensitivity", pl.String(), "JSON: per input what value would reach the next verdict, alone", True),
        Column("reasons", pl.String(), "Why, in plain language, one reason a line"),
        Column("environment", pl.String(), "Environment of the session, A to D", True),
        Column("rules_version", pl.String(), "Version of the rules the row was scored by"),
        Column("data_quality", pl.String(), "Quality of this session's bar: good or suspect"),
    ),
)
