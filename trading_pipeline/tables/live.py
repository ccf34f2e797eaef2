"""Tables of the live session and of paper execution. They live in Postgres alone: a tick is one transaction.

`book` keeps worlds of trading apart: `paper` for the live loop, `replay:<name>` for replays of recorded sessions.
Append-only: what a row says is never changed; the state of an order is its last event, positions and trades follow from
the fills.
"""

from __future__ import annotations

import polars as pl

from trading_pipeline.tables.base import INSTRUMENT, MOMENT, SESSION, TICKER, Column, Kind, Table, number

BOOK = Column("book", pl.String(), "paper, or replay:<name>")
SIGNAL = Column("signal_id", pl.String(), "Session, ticker, setup and tick: the same for the same signal in any rerun")
ORDER = Column("order_id", pl.String(), "Our id, sent to the broker as client_order_id")
TICK = Column("tick_at", MOMENT, "Moment the tick decides at")
_CALLS = (
    Column("model", pl.String(), "Model that was asked", True),
    Column("prompt_hash", pl.String(), "Hash of prompt, schema and model", True),
    Column("inputs", pl.String(), "JSON of what it was decided on"),
    number("cost", "US dollars", True),
)

LIVE_SESSIONS = Table(
    "live_sessions",
    Kind.LIVE,
    "Each day the live loop ran: from when to when, by which run, with which rules, and why it ended.",
    ("book", "session"),
    (
        BOOK,
        SESSION,
        Column("run_id", pl.String(), "Dagster run that leads it now; empty for a replay"),
        Column("rules_version", pl.String(), "Hash of the signal and risk rules in force"),
        number("equity", "Equity at the start, in the market's currency"),
        Column("started_at", MOMENT, "When it was first started"),
        Column("heartbeat_at", MOMENT, "When it last wrote"),
        Column("ended_at", MOMENT, "When it ended; null while it runs", True),
        Column("ended_why", pl.String(), "closed, halted or interrupted", True),
    ),
)

LIVE_TICKS = Table(
    "live_ticks",
    Kind.LIVE,
    "Each tick: how fresh the feed was, how long it took, and whether new entries were allowed.",
    ("book", "session", "tick_at"),
    (
        BOOK,
        SESSION,
        TICK,
        Column("symbols", pl.Int32(), "Symbols with a bar of this session"),
        Column("fresh", pl.Int32(), "Symbols whose last bar is not stale"),
        Column("newest_bar_at", MOMENT, "End of the newest bar; null before the first", True),
        Column("signals", pl.Int32(), "Signals decided"),
        Column("orders", pl.Int32(), "Entries placed"),
        Column("entries_allowed", pl.Boolean(), "Whether new entries were allowed"),
        Column("why_not", pl.String(), "Why not: stale feed, halted, near the close …; null where allowed", True),
        number("compute_ms", "Milliseconds of computing; what no replay repeats", True),
    ),
)

LIVE_LOOP_LOGS = Table(
    "live_loop_logs",
    Kind.LIVE,
    "Every complete bar at the tick that took it in, and what the loop made of it: the loop's state is their fold. "
    "Kept for a limited time.",
    ("book", "session", "instrument_id", "bar_started_at"),
    (
        BOOK,
        SESSION,
        TICK,
        INSTRUMENT,
        Column("bar_started_at", MOMENT, "Start of the bar"),
        number("open", "Its open"),
        number("high", "Its high"),
        number("low", "Its low"),
        number("close", "Its close"),
        number("volume", "Its volume in shares; null where unknown", True),
        number("mean", "Mean of the session's closes so far"),
        number("sigma", "Their standard deviation", True),
        number("z_session", "Close against them, in standard deviations", True),
        number("z_rolling", "Close against the last 20 bars, in standard deviations", True),
        number("vwap", "Volume-weighted average price of the session; null without volume", True),
        number("vwap_distance_pct", "Close against it, per cent", True),
        Column("band", pl.Int32(), "Premarket band touched, -3 to 3; 0 inside the first", True),
    ),
)

TRADE_SIGNALS = Table(
    "trade_signals",
    Kind.LIVE,
    "Each signal of the live loop, what became of it and why.",
    ("book", "signal_id"),
    (
        BOOK,
        SIGNAL,
        SESSION,
        INSTRUMENT,
        TICKER,
        TICK,
        Column("setup", pl.String(), "mean_reversion or trend_continuation"),
        Column("side", pl.String(), "long or short"),
        number("price", "Close the signal was decided at"),
        number("stop", "Protective stop"),
        number("target", "Profit target"),
        number("reward_to_risk", "Distance to target over distance to stop"),
        number("strength", "0 to 1, after the tilts"),
        number("multiplier", "Tilt of the market analysis in force, 0.5 to 2"),
        number("z_session", "Close in standard deviations of the session", True),
        number("z_rolling", "Close in standard deviations of the rolling window", True),
        number("vwap_distance_pct", "Close against VWAP, per cent", True),
        Column("bias", pl.String(), "Bias of the name before the open", True),
        Column("environment", pl.String(), "Environment of the session before, A to D", True),
        Column("reasons", pl.String(), "Why, one line each"),
        Column("outcome", pl.String(), "ordered, or refused by: risk, validation, feed, halted, close"),
        Column("outcome_reason", pl.String(), "In words"),
        Column("quantity", pl.Int64(), "Shares ordered; 0 where refused"),
    ),
)

LLM_VALIDATIONS = Table(
    "llm_validations",
    Kind.LIVE,
    "What the model said of a signal: it may veto one, never make one.",
    ("book", "signal_id"),
    (
        BOOK,
        SIGNAL,
        SESSION,
        Column("asked_at", MOMENT, "When it was asked"),
        Column("answered_at", MOMENT, "When the answer came; null: not in time", True),
        Column("verdict", pl.String(), "confirm, veto or none"),
        Column("reason", pl.String(), "In its words, or why there is none"),
        *_CALLS,
    ),
)

MARKET_ANALYSIS = Table(
    "market_analysis",
    Kind.LIVE,
    "The market every 15 minutes: multipliers between 0.5 and 2 for the setups, with the reason.",
    ("book", "session", "tick_at"),
    (
        BOOK,
        SESSION,
        TICK,
        Column("source", pl.String(), "rules or claude"),
        number("mean_reversion", "Multiplier of mean-reversion signals, 0.5 to 2"),
        number("trend_continuation", "Multiplier of trend-continuation signals, 0.5 to 2"),
        number("long", "Multiplier of long signals, 0.5 to 2"),
        number("short", "Multiplier of short signals, 0.5 to 2"),
        Column("summary", pl.String(), "In words"),
        *_CALLS,
    ),
)

ORDERS = Table(
    "orders",
    Kind.LIVE,
    "Each order as it was decided. What became of it is in its events.",
    ("book", "order_id"),
    (
        BOOK,
        ORDER,
        SESSION,
        INSTRUMENT,
        TICKER,
        Column("signal_id", pl.String(), "Signal it came from; null for one placed to close", True),
        Column("parent_id", pl.String(), "Entry whose leg it is; null for an entry", True),
        Column("role", pl.String(), "entry, stop, target or close"),
        Column("side", pl.String(), "buy or sell"),
        Column("quantity", pl.Int64(), "Shares"),
        Column("order_type", pl.String(), "market, limit or stop"),
        number("limit_price", "Limit; null unless a limit order", True),
        number("stop_price", "Trigger; null unless a stop order", True),
        Column("time_in_force", pl.String(), "day or gtc"),
        Column("created_at", MOMENT, "When it was decided"),
        number("risk", "Money lost where the stop holds; null for legs", True),
    ),
)

ORDER_EVENTS = Table(
    "order_events",
    Kind.LIVE,
    "What happened to each order, in order; the last event is its state.",
    ("book", "order_id", "sequence"),
    (
        BOOK,
        ORDER,
        Column("sequence", pl.Int32(), "0, 1, 2 … of the order"),
        Column("at", MOMENT, "When it happened"),
        Column(
            "status",
            pl.String(),
            "pending (not yet sent), accepted, partially_filled, filled, cancelled, rejected or expired",
        ),
        Column("reason", pl.String(), "Why, where there is a reason", True),
        Column("broker_order_id", pl.String(), "The broker's id, once it is known", True),
    ),
)

FILLS = Table(
    "fills",
    Kind.LIVE,
    "Each execution: what was bought or sold, at what price and fee.",
    ("book", "fill_id"),
    (
        BOOK,
        Column("fill_id", pl.String(), "The same for the same execution in any rerun"),
        ORDER,
        SESSION,
        INSTRUMENT,
        TICKER,
        Column("at", MOMENT, "When it was executed"),
        Column("side", pl.String(), "buy or sell"),
        Column("quantity", pl.Int64(), "Shares"),
        number("price", "Price a share, in whole ticks"),
        number("fee", "Fee, to the cent"),
    ),
)

POSITIONS = Table(
    "positions",
    Kind.LIVE,
    "What is held at the end of each session, derived from the fills and valued at the last price.",
    ("book", "session", "instrument_id"),
    (
        BOOK,
        SESSION,
        INSTRUMENT,
        TICKER,
        Column("quantity", pl.Int64(), "Shares, negative for a short position"),
        number("average_price", "Average price of what is held, fees not included"),
        number("market_price", "Last price of the session"),
        number("market_value", "quantity times market_price"),
        number("unrealised", "Profit if closed at market_price, fees not included"),
    ),
)

TRADES = Table(
    "trades",
    Kind.LIVE,
    "Each round trip, from flat to flat, derived from the fills.",
    ("book", "trade_id"),
    (
        BOOK,
        Column("trade_id", pl.String(), "Id of the entry order that opened it"),
        SESSION,
        INSTRUMENT,
        TICKER,
        Column("setup", pl.String(), "Setup of the signal; null where it was not ours", True),
        Column("side", pl.String(), "long or short"),
        Column("quantity", pl.Int64(), "Largest number of shares held"),
        Column("opened_at", MOMENT, "First fill"),
        Column("closed_at", MOMENT, "Last fill"),
        number("entry_price", "Average price of the opening fills"),
        number("exit_price", "Average price of the closing fills"),
        number("fees", "Fees of all its fills"),
        number("income", "Dividends received while it was open, less those paid on a short position"),
        number("pnl", "Profit after fees, income included"),
        number("r_multiple", "pnl over the money at risk when it was ordered; null where unknown", True),
        Column("exit_reason", pl.String(), "stop, target, close or several"),
    ),
)

ACCOUNTS = Table(
    "accounts",
    Kind.LIVE,
    "Cash and equity at the end of each session, reconciled to the cent.",
    ("book", "session"),
    (
        BOOK,
        SESSION,
        number("cash_before", "Cash at the start"),
        number("cash", "Cash at the end: what fills, fees and income left of it"),
        number("market_value", "Value of the positions"),
        number("equity", "Cash and market value"),
        number("realised", "Profit of the session's closing fills, fees not included"),
        number("unrealised", "Profit of what is held, against its average price"),
        number("fees", "Fees of the session"),
        number("income", "Dividends that went ex on the session, received less paid on short positions"),
    ),
)

LIVE_TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        LIVE_SESSIONS,
        LIVE_TICKS,
        LIVE_LOOP_LOGS,
        TRADE_SIGNALS,
        LLM_VALIDATIONS,
        MARKET_ANALYSIS,
        ORDERS,
        ORDER_EVENTS,
        FILLS,
        POSITIONS,
        TRADES,
        ACCOUNTS,
    )
}
