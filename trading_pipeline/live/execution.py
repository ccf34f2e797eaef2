"""From a sized signal to orders, and out of them again before the close.

What belongs here: which orders stand for a decision, when they are given up, and their numbers with the reasons. What
does not: sizes and limits (`research/risk`), filling orders (`brokers/`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from trading_pipeline.brokers.base import FINAL, Order, Side, Working
from trading_pipeline.brokers.ticks import TickTable


@dataclass(frozen=True)
class Execution:
    """How decisions become orders.

    slack: how far beyond the signal's price an entry may fill, as a share of the distance to the stop. A tenth: the bar
        after the signal opens elsewhere by a cent or two, and what is paid more is risked more and earned less; beyond
        a tenth of the risk a signal at the least reward (1.5) is none any more.
    minutes_open: how long an entry waits. After five one-minute bars the price has left, and the signal with it.
    flat_minutes: minutes before the close from which on everything held is sold. Signals end half an hour before; ten
        minutes are enough for a position of a tenth of each bar's volume, and leave out the imbalances of the auction.
    """

    slack: float = 0.1
    minutes_open: int = 5
    flat_minutes: int = 10

    @property
    def version(self) -> str:
        """The first 6 digits of a hash of the numbers."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:6]


def limits_of(price: pl.Series, stop: pl.Series, slack: float, ticks: TickTable) -> pl.Series:
    """The limit of each entry: `slack` of the distance to the stop beyond the price, on the tick nearer to it.

    It is the limit that is sized, not the signal's price: the limits on risk hold at the worst price that may be paid.
    """
    return pl.Series(
        "entry",
        [
            (ticks.down if at > exit_ else ticks.up)(at + slack * (at - exit_))
            for at, exit_ in zip(price.to_list(), stop.to_list(), strict=True)
        ],
        dtype=pl.Float64,
    )


def bracket(signal: Mapping[str, Any], tick_at: datetime) -> list[Order]:
    """Entry, stop and target of a signal that was sized.

    signal: [signal_id, session, instrument_id, ticker, side, entry, stop, target, quantity, risk], prices on ticks;
    entry: the limit, at which quantity and risk were reckoned. The entry is a limit order for the day; the exits last
    until they are cancelled, so that a loop that is not there at the close leaves nothing without a stop.
    """
    buys = signal["side"] == "long"
    entry_id = str(signal["signal_id"])
    shared: dict[str, Any] = {
        "session": signal["session"],
        "instrument_id": signal["instrument_id"],
        "ticker": signal["ticker"],
        "quantity": int(signal["quantity"]),
        "created_at": tick_at,
        "signal_id": entry_id,
    }
    enters: Side = "buy" if buys else "sell"
    leaves: Side = "sell" if buys else "buy"
    at: dict[str, Any] = {"order_type": "limit", "limit_price": float(signal["entry"]), "risk": float(signal["risk"])}
    legs: dict[str, Any] = {**shared, "side": leaves, "time_in_force": "gtc", "parent_id": entry_id}
    stop, target = float(signal["stop"]), float(signal["target"])
    return [
        Order(entry_id, role="entry", side=enters, **at, **shared),
        Order(f"{entry_id}-stop", role="stop", order_type="stop", stop_price=stop, **legs),
        Order(f"{entry_id}-target", role="target", order_type="limit", limit_price=target, **legs),
    ]


def closing(session: date, instrument_id: str, ticker: str, held: int, tick_at: datetime) -> Order:
    """The market order that closes what is held (negative: short)."""
    return Order(
        f"{session:%Y%m%d}-{ticker}-close-{tick_at:%H%M%S}",
        session=session,
        instrument_id=instrument_id,
        ticker=ticker,
        role="close",
        side="sell" if held > 0 else "buy",
        quantity=abs(held),
        order_type="market",
        created_at=tick_at,
    )


def given_up(working: Iterable[Working], tick_at: datetime, execution: Execution) -> list[Working]:
    """Entries that have waited long enough."""
    limit = tick_at - timedelta(minutes=execution.minutes_open)
    return [item for item in entries(working) if item.order.created_at <= limit]


def entries(working: Iterable[Working]) -> list[Working]:
    """The entries that are not over."""
    return [item for item in working if item.order.role == "entry" and item.status not in FINAL]


def with_legs(chosen: Sequence[Working], working: Iterable[Working]) -> list[Working]:
    """`chosen` entries and the orders of their brackets."""
    roots = {item.order.order_id for item in chosen}
    return [item for item in working if (item.order.parent_id or item.order.order_id) in roots]


def pending_brackets(working: Iterable[Working]) -> list[list[Order]]:
    """Orders that were never placed, by bracket, the lead first, in the order in which they were decided."""
    found: dict[str, list[Order]] = {}
    waiting = (item.order for item in working if item.status == "pending")
    for order in sorted(waiting, key=lambda order: (order.created_at, order.parent_id is not None, order.order_id)):
        found.setdefault(order.parent_id or order.order_id, []).append(order)
    return list(found.values())
