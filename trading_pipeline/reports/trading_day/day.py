"""The frames of a trading day, and what every part of its page asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Literal
from zoneinfo import ZoneInfo

import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.reports.inputs import refuse_incomplete
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import (
    ACCOUNTS,
    FILLS,
    LIVE_SESSIONS,
    LIVE_TICKS,
    MARKET_ANALYSIS,
    MOMENT,
    ORDER_EVENTS,
    ORDERS,
    POSITIONS,
    TRADE_SIGNALS,
    TRADES,
)

MINUTES = pl.Schema(
    {
        "instrument_id": pl.String(),
        "tick_at": MOMENT,
        "bar_started_at": MOMENT,
        "close": pl.Float64(),
        "vwap": pl.Float64(),
    }
)
"""Bars as the loop took them in: see `live_loop_logs`."""
ACTIONS = pl.Schema({"session": pl.Date(), "instrument_id": pl.String(), "kind": pl.String(), "value": pl.Float64()})
"""Splits and payments by ex-date, as `research.ledger` takes them."""
BANDS = ("instrument_id", *(f"band_{side}_{width}" for side in ("lower", "upper") for width in (1, 2, 3)))
REPLAY = "replay"
CENT = 0.005
"""Half a cent: amounts that are nearer to each other are the same amount."""


@dataclass(frozen=True)
class TradingDay:
    """Everything a trading day's page tells: rows of one book and session in the columns of `tables/live.py`.

    carried: POSITIONS rows of the book at the end of its session before. actions: `ACTIONS` with an ex-date of the
    session, those that the book counts with: they have done nothing yet to what is carried. orders may hold those of
    earlier sessions whose trades were open on this one. accounts, live_sessions: one row, or none while the session is
    not accounted for, or was never begun. minutes: `MINUTES` of the names that were held or traded. bands: `BANDS` of
    them, from the premarket snapshots. premarket, tearsheets: relative addresses of the premarket page and of
    tearsheets by instrument id, of what exists. generated_at: zone-aware.
    """

    market: Market
    session: date
    book: str
    world: Literal["simulated", "real"]
    live_sessions: pl.DataFrame
    live_ticks: pl.DataFrame
    trade_signals: pl.DataFrame
    orders: pl.DataFrame
    order_events: pl.DataFrame
    fills: pl.DataFrame
    positions: pl.DataFrame
    carried: pl.DataFrame
    actions: pl.DataFrame
    trades: pl.DataFrame
    accounts: pl.DataFrame
    market_analysis: pl.DataFrame
    minutes: pl.DataFrame
    bands: pl.DataFrame
    generated_at: datetime
    premarket: str | None = None
    tearsheets: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frames = (
            ("live_sessions", self.live_sessions, LIVE_SESSIONS.names),
            ("live_ticks", self.live_ticks, LIVE_TICKS.names),
            ("trade_signals", self.trade_signals, TRADE_SIGNALS.names),
            ("orders", self.orders, ORDERS.names),
            ("order_events", self.order_events, ORDER_EVENTS.names),
            ("fills", self.fills, FILLS.names),
            ("positions", self.positions, POSITIONS.names),
            ("carried", self.carried, POSITIONS.names),
            ("actions", self.actions, ACTIONS.names()),
            ("trades", self.trades, TRADES.names),
            ("accounts", self.accounts, ACCOUNTS.names),
            ("market_analysis", self.market_analysis, MARKET_ANALYSIS.names),
            ("minutes", self.minutes, MINUTES.names()),
            ("bands", self.bands, BANDS),
        )
        refuse_incomplete("trading day", frames, {"generated_at": self.generated_at})
        for name, frame in (("accounts", self.accounts), ("live_sessions", self.live_sessions)):
            if frame.height > 1:
                raise ValueError(f"the trading day's {name} frame holds {frame.height} sessions; pass one")
        if others := set(self.actions["session"]) - {self.session}:
            raise ValueError(f"the trading day's actions are of {min(others)}; pass those of {self.session}")

    @property
    def simulated(self) -> bool:
        """Whether every ticker on the page is fictional."""
        return self.world == "simulated"

    @property
    def replayed(self) -> bool:
        """Whether recorded bars were played, rather than lived through."""
        return self.book.partition(":")[0] == REPLAY

    @property
    def timezone(self) -> ZoneInfo:
        """The exchange's."""
        return calendar(self.market.exchange).timezone

    @property
    def hours(self) -> tuple[datetime, datetime]:
        """Open and close of the session, UTC."""
        exchange = calendar(self.market.exchange)
        return exchange.open_at(self.session), exchange.close_at(self.session)

    @property
    def short(self) -> bool:
        """Whether the session is shorter than those before it."""
        exchange = calendar(self.market.exchange)
        opens, closes = self.hours
        before = exchange.between(exchange.offset(self.session, -5), self.session)
        return closes - opens < max(exchange.close_at(day) - exchange.open_at(day) for day in before)

    @property
    def loop(self) -> dict[str, Any] | None:
        """How the loop ran; None where it was never begun."""
        return self.live_sessions.row(0, named=True) if self.live_sessions.height else None

    @property
    def account(self) -> dict[str, Any] | None:
        """The account at the end; None where the session is not accounted for."""
        return self.accounts.row(0, named=True) if self.accounts.height else None

    @cached_property
    def step(self) -> timedelta:
        """The grid of the ticks: the smallest distance between two of them."""
        ticks = self.live_ticks["tick_at"].sort()
        return ticks.diff().drop_nulls().min() if ticks.len() > 1 else timedelta(minutes=1)  # type: ignore[return-value]

    @cached_property
    def placed(self) -> pl.DataFrame:
        """The orders of the session as they were made, with `status`, `reason` and `changed_at` of their last event."""
        last = (
            self.order_events.sort("order_id", "sequence")
            .group_by("order_id", maintain_order=True)
            .agg(pl.col("status", "reason").last(), changed_at=pl.col("at").last())
        )
        role = pl.col("role").replace_strict(
            {"entry": 0, "stop": 1, "target": 2, "close": 3}, default=4, return_dtype=pl.Int32
        )
        own = self.orders.filter(pl.col("session") == self.session)
        return own.join(last, on="order_id", how="left", maintain_order="left").sort(
            "created_at", "ticker", role, "order_id"
        )

    @cached_property
    def refused(self) -> pl.DataFrame:
        """The signals that became no order, by time."""
        return self.trade_signals.filter(pl.col("outcome") != "ordered").sort("tick_at", "ticker", "signal_id")
