"""Orders in Alpaca's words and in ours.

What belongs here: turning our brackets into requests, and answers into typed values. No HTTP, no decisions.

Alpaca's numbers are strings. It makes the ids of a bracket's legs itself: they are told apart by their type, a limit
order being the target and a stop order the stop. Legs inherit the time in force of the order they are placed with, so a
bracket whose legs are good till cancelled is sent as a whole as such; that its entry ends with the day is our part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from alpaca.trading.enums import OrderClass, OrderSide, TimeInForce
from alpaca.trading.requests import (
    LimitOrderRequest,
    MarketOrderRequest,
    OrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
)

from trading_pipeline.brokers.base import Order, Side, Status
from trading_pipeline.brokers.bracket import BracketOrders
from trading_pipeline.brokers.errors import BrokerAnswerUnreadable
from trading_pipeline.brokers.ticks import US_TICKS

_OPEN = frozenset(
    {
        "new", "partially_filled", "done_for_day", "accepted", "pending_new", "accepted_for_bidding", "held", "stopped",
        "suspended", "calculated", "pending_cancel", "pending_replace", "pending_review",
    }
)  # fmt: skip
_OVER: Mapping[str, Status] = {
    "filled": "filled",
    "canceled": "cancelled",
    "expired": "expired",
    "rejected": "rejected",
    "replaced": "cancelled",
}
_ENDED_AT: Mapping[Status, str] = {
    "filled": "filled_at",
    "cancelled": "canceled_at",
    "expired": "expired_at",
    "rejected": "failed_at",
}
LONGEST_ID = 128
"""Characters a `client_order_id` may have."""


@dataclass(frozen=True)
class Theirs:
    """An order as Alpaca has it, which may be a stranger's: by money instead of shares (quantity 0), or of fractions.

    status: in our words. replaced_by: the order that took the place of this one.
    """

    broker_order_id: str
    client_order_id: str
    ticker: str
    side: Side
    quantity: int
    filled: int
    kind: str
    status: Status
    submitted_at: datetime
    changed_at: datetime
    replaced_by: str | None
    legs: tuple[Theirs, ...]

    @property
    def open(self) -> bool:
        """Whether it may still fill, or wakes once its entry has."""
        return self.status in ("accepted", "partially_filled")

    def leg(self, role: str) -> Theirs | None:
        """The leg that is our stop or our target."""
        kinds = ("limit",) if role == "target" else ("stop", "stop_limit")
        return next((leg for leg in self.legs if leg.kind in kinds), None)


@dataclass(frozen=True)
class Activity:
    """An execution as Alpaca tells it."""

    activity_id: str
    broker_order_id: str
    at: datetime
    side: Side
    quantity: float
    price: float

    @property
    def shares(self) -> int:
        """The quantity of an order of ours, which is whole."""
        return round(self.quantity)


def request_of(bracket: BracketOrders, client_order_id: str, quantity: int | None = None) -> OrderRequest:
    """The request that places a bracket: bracket, one-triggers-other, one-cancels-other or a single order.

    quantity: shares, where not those of the orders. Whole shares, regular hours only.
    """
    first = bracket.orders[0]
    lasting = any(order.time_in_force == "gtc" for order in (bracket.legs or bracket.orders))
    shared: dict[str, Any] = {
        "symbol": symbol_of(first.ticker),
        "qty": quantity if quantity is not None else first.quantity,
        "side": OrderSide(first.side),
        "time_in_force": TimeInForce.GTC if lasting else TimeInForce.DAY,
        "client_order_id": client_order_id,
        "extended_hours": False,
    }
    if bracket.lead is None and len(bracket.legs) == 1:
        return _single(first, shared)
    if bracket.target is not None:
        shared["take_profit"] = TakeProfitRequest(limit_price=_price(bracket.target.limit_price))
    if bracket.stop is not None:
        shared["stop_loss"] = StopLossRequest(stop_price=_price(bracket.stop.stop_price))
    if bracket.lead is None:
        return LimitOrderRequest(order_class=OrderClass.OCO, **shared)
    if bracket.legs:
        shared["order_class"] = OrderClass.BRACKET if len(bracket.legs) == 2 else OrderClass.OTO
    return _single(bracket.lead, shared)


def _single(order: Order, shared: dict[str, Any]) -> OrderRequest:
    match order.order_type:
        case "market":
            return MarketOrderRequest(**shared)
        case "limit":
            return LimitOrderRequest(limit_price=_price(order.limit_price), **shared)
        case "stop":
            return StopOrderRequest(stop_price=_price(order.stop_price), **shared)


def _price(price: float | None) -> float:
    """The price without the noise of binary fractions: 9.050000190734863 is refused as a sub-penny price."""
    assert price is not None
    quoted = US_TICKS.nearest(price)
    return quoted if abs(quoted - price) < 1e-6 * max(price, 1.0) else price


def parts_of(bracket: BracketOrders, found: Theirs) -> list[tuple[Order, Theirs]]:
    """Each of our orders with the one it is there; of a pair of exits the target is the parent of the stop."""
    lead = bracket.lead or bracket.target or bracket.stop
    parts: list[tuple[Order, Theirs]] = []
    for order in bracket.orders:
        part = found if order is lead else found.leg(order.role)
        if part is None:
            raise BrokerAnswerUnreadable(f"Alpaca has {found.client_order_id} without its {order.role}")
        parts.append((order, part))
    return parts


def symbol_of(ticker: str) -> str:
    """Alpaca's spelling of a ticker: share classes after a dot (BRK.B)."""
    return ticker.replace("-", ".")


def ticker_of(symbol: str) -> str:
    """Our spelling of a symbol (BRK-B)."""
    return symbol.replace(".", "-")


def theirs_of(row: Mapping[str, Any]) -> Theirs:
    """An order of an answer, with its legs; `BrokerAnswerUnreadable` names the field that cannot be read."""
    status = str(_needed(row, "status"))
    filled = int(_number(row, "filled_qty"))
    if status in _OPEN:
        known: Status = "partially_filled" if filled else "accepted"
    elif status in _OVER:
        known = _OVER[status]
    else:
        raise BrokerAnswerUnreadable(f"Alpaca has an order in the state {status!r}, which nobody knows")
    submitted = _moment(row, "submitted_at" if row.get("submitted_at") else "created_at")
    return Theirs(
        broker_order_id=str(_needed(row, "id")),
        client_order_id=str(_needed(row, "client_order_id")),
        ticker=ticker_of(str(_needed(row, "symbol"))),
        side=_side(row),
        quantity=int(_number(row, "qty")) if row.get("qty") else 0,
        filled=filled,
        kind=str(row.get("type") or _needed(row, "order_type")),
        status=known,
        submitted_at=submitted,
        changed_at=_changed_at(row, known, submitted),
        replaced_by=str(row["replaced_by"]) if row.get("replaced_by") else None,
        legs=tuple(theirs_of(leg) for leg in row.get("legs") or ()),
    )


def activity_of(row: Mapping[str, Any]) -> Activity:
    """An execution of an answer; `BrokerAnswerUnreadable` names the field that cannot be read."""
    return Activity(
        activity_id=str(_needed(row, "id")),
        broker_order_id=str(_needed(row, "order_id")),
        at=_moment(row, "transaction_time"),
        side=_side(row),
        quantity=_number(row, "qty"),
        price=_number(row, "price"),
    )


def held_of(row: Mapping[str, Any]) -> tuple[str, int, float]:
    """(ticker, shares, negative for a short position, average price) of a position of an answer."""
    quantity = abs(_whole(row, "qty"))
    short = str(_needed(row, "side")) == "short"
    return ticker_of(str(_needed(row, "symbol"))), -quantity if short else quantity, _number(row, "avg_entry_price")


def all_of(orders: Sequence[Theirs]) -> list[Theirs]:
    """Orders and their legs, flat."""
    return [item for order in orders for item in (order, *all_of(order.legs))]


def _changed_at(row: Mapping[str, Any], status: Status, otherwise: datetime) -> datetime:
    """When the order came into its state."""
    ended = _ENDED_AT.get(status)
    moment = (row.get(ended) if ended else None) or row.get("updated_at")
    return _read_moment(moment) if moment else otherwise


def _needed(row: Mapping[str, Any], name: str) -> Any:
    value = row.get(name)
    if value is None or value == "":
        raise BrokerAnswerUnreadable(f"Alpaca sent an answer without {name}")
    return value


def _number(row: Mapping[str, Any], name: str) -> float:
    value = _needed(row, name)
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    raise BrokerAnswerUnreadable(f"Alpaca sent {name} as {value!r}, which is no number")


def _whole(row: Mapping[str, Any], name: str) -> int:
    number = _number(row, name)
    if not number.is_integer():
        raise BrokerAnswerUnreadable(
            f"Alpaca has {number:g} shares as {name} of {row.get('symbol')}",
            "We trade whole shares: close the fraction on its dashboard",
        )
    return int(number)


def _side(row: Mapping[str, Any]) -> Side:
    side = str(_needed(row, "side"))
    if side == "buy":
        return "buy"
    # Activities call a short sale by its own name.
    if side in ("sell", "sell_short"):
        return "sell"
    raise BrokerAnswerUnreadable(f"Alpaca sent the side {side!r}, which nobody knows")


def _moment(row: Mapping[str, Any], name: str) -> datetime:
    return _read_moment(_needed(row, name))


def _read_moment(text: Any) -> datetime:
    """RFC 3339 with up to nine decimals; ours keep six."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BrokerAnswerUnreadable(f"Alpaca sent {text!r} as a moment")
    return moment.astimezone(UTC)
