"""Each round trip of the day, and each position still held, with the orders and fills that made it.

What belongs here: putting rows of several tables together for one chart. What does not: drawing it (`drawing.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from trading_pipeline.reports import wording
from trading_pipeline.reports.trading_day.day import TradingDay

EXITS = {"stop": "by its stop", "target": "at its target", "close": "closed by the loop", "several": "in several ways"}


@dataclass(frozen=True)
class Execution:
    """A fill on a chart. opening: whether it made the position larger. role: that of its order."""

    at: datetime
    side: str
    quantity: int
    price: float
    opening: bool
    role: str


@dataclass(frozen=True)
class Trip:
    """A trade, or what is left of one at the end of the day.

    trade: the row of `trades`; None for a position that is still held. stop, target: of the last bracket; None where
    there is none. signal: the signal it came from. held: shares at the end, with their sign; 0 for a trade.
    """

    instrument_id: str
    ticker: str
    side: str
    opened_at: datetime | None
    closed_at: datetime | None
    executions: tuple[Execution, ...]
    stop: float | None
    target: float | None
    entry_price: float
    trade: dict[str, Any] | None = None
    signal: dict[str, Any] | None = None
    held: int = 0
    unrealised: float = 0.0

    def caption(self, day: TradingDay) -> str:
        """What happened, in a sentence or two."""
        zone, currency = day.timezone, day.market.currency
        verb = "Bought" if self.side == "long" else "Sold short"
        opens = day.hours[0]
        if self.opened_at is None or self.opened_at < opens:
            when = "before today"
        else:
            when = f"at {wording.clock(self.opened_at, zone)}"
        levels = [
            f"{name} {wording.price(level)}"
            for name, level in (("stop", self.stop), ("target", self.target))
            if level is not None
        ]
        shares = self.trade["quantity"] if self.trade else abs(self.held)
        entered = f"{verb} {wording.number(shares, 0)} {when} at {wording.price(self.entry_price)}"
        entered += f" ({', '.join(levels)})" if levels else ""
        if self.trade is None:
            gained = wording.cash(self.unrealised, currency, signed=True)
            return f"{entered}. Still held at the close, {gained} before fees."
        out = EXITS.get(self.trade["exit_reason"], self.trade["exit_reason"])
        multiple = self.trade["r_multiple"]
        worth = f", {wording.number(multiple, 2, signed=True)} R" if multiple is not None else ""
        gained = wording.cash(self.trade["pnl"], currency, signed=True)
        if income := self.trade["income"]:
            gained += f", {wording.cash(income, currency, signed=True)} of it dividends"
        left = f"{wording.clock(self.trade['closed_at'], zone)} at {wording.price(self.trade['exit_price'])}"
        return f"{entered}; out {out} at {left}: {gained}{worth}."


def trips(day: TradingDay) -> list[Trip]:
    """The day's trades by the time they were opened, then what is still held, by ticker."""
    orders = {row["order_id"]: row for row in day.orders.iter_rows(named=True)}
    signals = {row["signal_id"]: row for row in day.trade_signals.iter_rows(named=True)}
    fills: dict[str, list[dict[str, Any]]] = {}
    for fill in day.fills.sort("at", "fill_id").iter_rows(named=True):
        fills.setdefault(fill["instrument_id"], []).append(fill)
    closed = day.trades.sort("opened_at", "ticker", "trade_id").to_dicts()
    known = {trade["trade_id"] for trade in closed}

    def root(fill: dict[str, Any]) -> str | None:
        """The entry a fill belongs to; None where its order does not say."""
        order = orders.get(fill["order_id"])
        if order is None:
            return None
        entry: str | None = order["order_id"] if order["role"] == "entry" else order["parent_id"]
        return entry

    def execution(fill: dict[str, Any], side: str) -> Execution:
        opening = (fill["side"] == "buy") == (side == "long")
        role = orders[fill["order_id"]]["role"] if fill["order_id"] in orders else "entry" if opening else "close"
        return Execution(fill["at"], fill["side"], fill["quantity"], fill["price"], opening, role)

    def level(entry: str, role: str, column: str) -> float | None:
        return next((row[column] for row in orders.values() if row["parent_id"] == entry and row["role"] == role), None)

    found = []
    for trade in closed:
        id_, entry = trade["instrument_id"], trade["trade_id"]
        mine = [
            fill
            for fill in fills.get(id_, [])
            if trade["opened_at"] <= fill["at"] <= trade["closed_at"]
            and ((of := root(fill)) == entry or of is None or of not in known)
        ]
        order = orders.get(entry)
        found.append(
            Trip(
                id_, trade["ticker"], trade["side"], trade["opened_at"], trade["closed_at"],
                tuple(execution(fill, trade["side"]) for fill in mine),
                level(entry, "stop", "stop_price"), level(entry, "target", "limit_price"), trade["entry_price"],
                trade=trade, signal=signals.get(order["signal_id"] or "") if order else None,
            )
        )  # fmt: skip
    for held in day.positions.filter(pl.col("quantity") != 0).sort("ticker", "instrument_id").iter_rows(named=True):
        id_, side = held["instrument_id"], "long" if held["quantity"] > 0 else "short"
        over = max((trade["closed_at"] for trade in closed if trade["instrument_id"] == id_), default=None)
        mine = [
            fill
            for fill in fills.get(id_, [])
            if root(fill) not in known and (over is None or fill["at"] >= over)
        ]  # fmt: skip
        entries = [of for fill in mine if (of := root(fill)) in orders and of is not None]
        entry = entries[-1] if entries else None
        order = orders.get(entry) if entry else None
        found.append(
            Trip(
                id_, held["ticker"], side, mine[0]["at"] if mine else None, None,
                tuple(execution(fill, side) for fill in mine),
                level(entry, "stop", "stop_price") if entry else None,
                level(entry, "target", "limit_price") if entry else None,
                held["average_price"], signal=signals.get(order["signal_id"] or "") if order else None,
                held=held["quantity"], unrealised=held["unrealised"],
            )
        )  # fmt: skip
    return found
