"""Tables of the group `dips`."""

from __future__ import annotations

import polars as pl

from trading_pipeline.tables.base import INSTRUMENT, SESSION, TICKER, Column, Kind, Table, number

DIP_OPPORTUNITIES = Table(
    "dip_opportunities",
    Kind.DECISION,
    "Members down from their 52-week high, with the fall split into market, sector and company parts.",
    ("session", "instrument_id"),
    (
        SESSION,
        INSTRUMENT,
        TICKER,
        Column("universes", pl.String(), "Universes it is a member of, comma-separated, sorted"),
        Column("sector", pl.String(), "Sector; null where unknown", True),
        number("price", "Close as traded"),
        number("high_252", "52-week high, split-adjusted as of the session"),
        number("dip_pct", "Per cent below the 52-week high, positive"),
        number("threshold_pct", "Largest configured threshold it has passed, per cent"),
        Column("sessions_since_high", pl.Int32(), "Sessions since the high"),
        number("drawdown_percentile", "Share of its own history with a shallower drawdown, 0 to 1", True),
        number("fall", "Log total return from the high's close to now", True),
        number("market_part", "Part of fall explained by beta to the benchmark", True),
        number("sector_part", "Part explained by beta to the sector beyond the market", True),
        number("company_part", "What remains: the company's own", True),
        number("beta_market", "Beta to the benchmark at the session", True),
        number("beta_sector", "Beta to the sector's excess over the market", True),
        Column("environment", pl.String(), "Environment of the session, A to D", True),
        Column("data_quality", pl.String(), "Quality of this session's bar: good or suspect"),
    ),
)
