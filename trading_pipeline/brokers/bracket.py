"""What orders are placed together: an entry with at most one stop and one target, a pair of exits, or one order.

What belongs here: telling brackets from what no broker can work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trading_pipeline.brokers.base import Order
from trading_pipeline.brokers.errors import OrderUnplaceable


@dataclass(frozen=True)
class BracketOrders:
    """The orders of a bracket by what they are for. lead: an entry or an order to close; None for a pair of exits."""

    lead: Order | None
    stop: Order | None
    target: Order | None

    @property
    def legs(self) -> tuple[Order, ...]:
        """The stop and the target, those there are."""
        return tuple(order for order in (self.stop, self.target) if order is not None)

    @property
    def orders(self) -> tuple[Order, ...]:
        """All of them, the lead first."""
        return (*((self.lead,) if self.lead is not None else ()), *self.legs)


def bracket_of(orders: Sequence[Order]) -> BracketOrders:
    """The bracket that `orders` are; `OrderUnplaceable` says what keeps them from being one."""
    by_role: dict[str, Order] = {}
    for order in orders:
        place = "lead" if order.role in ("entry", "close") else order.role
        if place in by_role:
            raise OrderUnplaceable(f"{order.order_id} is a second {order.role} in its bracket")
        by_role[place] = order
        _require_prices(order)
    bracket = BracketOrders(by_role.get("lead"), by_role.get("stop"), by_role.get("target"))
    if not bracket.orders:
        raise OrderUnplaceable("There is no order in the bracket")
    first = bracket.orders[0]
    exits = {order.side for order in bracket.legs}
    if len(exits) > 1 or (bracket.lead is not None and bracket.lead.side in exits):
        raise OrderUnplaceable(f"The legs of {first.order_id} do not close what it opens")
    if len({order.instrument_id for order in bracket.orders}) > 1:
        raise OrderUnplaceable(f"The orders of {first.order_id} are of different instruments")
    if bracket.lead is not None and any(leg.parent_id != bracket.lead.order_id for leg in bracket.legs):
        raise OrderUnplaceable(f"A leg of {first.order_id} names another entry")
    if bracket.stop is not None and bracket.target is not None:
        if bracket.stop.parent_id is None or bracket.stop.parent_id != bracket.target.parent_id:
            raise OrderUnplaceable(f"{bracket.stop.order_id} and {bracket.target.order_id} do not name the same entry")
        _require_apart(bracket.stop, bracket.target)
    return bracket


def _require_prices(order: Order) -> None:
    if order.quantity <= 0:
        raise OrderUnplaceable(f"{order.order_id} is for {order.quantity} shares")
    for kind, price in (("limit", order.limit_price), ("stop", order.stop_price)):
        if (order.order_type == kind) != (price is not None):
            raise OrderUnplaceable(f"{order.order_id}, a {order.order_type} order, has {kind} price {price}")
        if price is not None and not (math.isfinite(price) and price > 0):
            raise OrderUnplaceable(f"{order.order_id} has {kind} price {price}")


def _require_apart(stop: Order, target: Order) -> None:
    if stop.order_type != "stop" or target.order_type != "limit":
        raise OrderUnplaceable(f"The legs {stop.order_id} and {target.order_id} are no stop and no limit order")
    assert stop.stop_price is not None and target.limit_price is not None
    gap = target.limit_price - stop.stop_price
    if (gap if stop.side == "sell" else -gap) <= 0:
        raise OrderUnplaceable(f"The target {target.order_id} is not beyond the stop {stop.order_id}")
