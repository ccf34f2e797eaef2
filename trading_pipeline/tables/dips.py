"""Tables of the group `dips`."""

from __future__ import annotations

import polars as pl

from trading_pipeline.tables.base import INSTRUMENT, SESSION, TICKER, Column, Kind, Table, number

# What `dip_opportunities` says beyond the fall itself; null in versions published before causes were told.
CAUSE_COLUMNS: tuple[Column, ...] = (
    Column("on_desk", pl.Boolean(), "Member of the dip desk's universe on the session", True),
    Column("cause", pl.String(), "macro, sector, company, earnings, ex_dividend or unknown", True),
    number("cause_share", "Share of the fall that the cause explains, 0 to 1", True),
    Column("evidence", pl.String(), "What speaks for the cause, one line each", True),
    Column("news_ids", pl.String(), "Ids of the articles used, comma-separated; empty when none", True),
    Column("verdict", pl.String(), "The screener's verdict; null where it was not scored", True),
    number("total", "The screener's total, 0 to 100", True),
    Column("grade", pl.String(), "The screener's grade", True),
    Column("gates_failed", pl.String(), "Gates it fails, comma-separated; empty when none", True),
    Column("sessions_to_report", pl.Int32(), "Sessions until the next report trades", True),
)

DIP_OPPORTUNITIES = Table(
    "dip_opportunities",
    Kind.DECISION,
    "Members down from their 52-week high: the fall split into market, sector and company parts, cause and verdict.",
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
        *CAUSE_COLUMNS,
    ),
)

DIP_ANALYSIS = Table(
    "dip_analysis",
    Kind.DECISION,
    "Each dip on the desk in words: why, temporary or not, the play, the risks and the size.",
    ("session", "instrument_id"),
    (
        SESSION,
        INSTRUMENT,
        TICKER,
        number("dip_pct", "Per cent below the 52-week high, positive"),
        Column("cause", pl.String(), "Cause that the rules decided on"),
        Column("action", pl.String(), "buy, wait or avoid: decided by the rules alone"),
        Column("action_reasons", pl.String(), "Why that action, one line each"),
        number("size_low", "Least share of the portfolio, fraction; 0 unless the action is buy"),
        number("size_high", "Largest share of the portfolio, fraction; 0 unless the action is buy"),
        number("size_low_amount", "size_low in the market's currency for the configured portfolio"),
        number("size_high_amount", "size_high in the market's currency for the configured portfolio"),
        Column("why", pl.String(), "Why it dipped"),
        Column("outlook", pl.String(), "temporary, lasting or unclear"),
        Column("play", pl.String(), "What to do, in words"),
        Column("risks", pl.String(), "What could go wrong, one line each, the worst first"),
        Column("source", pl.String(), "claude or rules: whose words these are"),
        Column(
            "source_reason", pl.String(), "Why the words are the rules': no_key, budget, failed …; null otherwise", True
        ),
        Column("model", pl.String(), "Model that wrote the words", True),
        Column("prompt_hash", pl.String(), "Hash of prompt, schema and model"),
        Column("inputs", pl.String(), "JSON of everything the words were made from, frozen as of the session"),
        Column("input_tokens", pl.Int64(), "Tokens read, the cached ones not included", True),
        Column("output_tokens", pl.Int64(), "Tokens written", True),
        Column("cache_read_tokens", pl.Int64(), "Tokens read from the prompt cache", True),
        Column("cache_write_tokens", pl.Int64(), "Tokens written to the prompt cache", True),
        number("cost", "Cost of the words, US dollars", True),
    ),
)
