"""No shares without their stop: legs that are gone while shares are held are armed again.

What belongs here: seeing that protection is missing, and putting it back under a name that is found again. What does
not: how orders are told (`broker.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from trading_pipeline.brokers.alpaca.client import AlpacaClient, Refused
from trading_pipeline.brokers.alpaca.translation import Theirs, parts_of, request_of
from trading_pipeline.brokers.alpaca.view import AccountView
from trading_pipeline.brokers.base import Order, Working
from trading_pipeline.brokers.bracket import BracketOrders, bracket_of
from trading_pipeline.brokers.errors import ProtectionMissing

_MARK = "~"
_MOST_ARMINGS = 50


def armed_again(
    client: AlpacaClient,
    live: Sequence[Working],
    view: AccountView,
    positions: Callable[[], Mapping[str, int]],
) -> dict[str, Theirs | None]:
    """By our order id, what stands for a leg from now on; None: nothing does, the order is over.

    live: the working orders. positions: shares by ticker at the broker; asked only where protection is missing, and
    never armed beyond. `ProtectionMissing` where Alpaca refuses.
    """
    brackets: dict[str, list[Working]] = {}
    for item in live:
        if item.order.parent_id is not None and item.order.role in ("stop", "target"):
            brackets.setdefault(item.order.parent_id, []).append(item)
    armed: dict[str, Theirs | None] = {}
    held_there: Mapping[str, int] | None = None
    for entry_id, legs in brackets.items():
        entry = next((item for item in live if item.order.order_id == entry_id), None)
        if not _gone(entry, legs, view):
            continue
        held_there = positions() if held_there is None else held_there
        order = legs[0].order
        there = held_there.get(order.ticker, 0) * (1 if order.side == "sell" else -1)
        held = _held(entry, legs, view)
        quantity = max(0, there if held is None else min(held, there))
        if quantity:
            armed |= _arm(client, [item.order for item in legs], quantity)
    return armed


def leg_named(client_order_id: str) -> str:
    """The order id of the leg that an order was armed for; empty where it was not armed again."""
    return client_order_id.rpartition(_MARK)[0]


def _gone(entry: Working | None, legs: Sequence[Working], view: AccountView) -> bool:
    """Whether the entry is over, and all legs went without closing the bracket and before their time."""
    if entry is not None and ((there := view.of(entry)) is None or there.open):
        return False
    for leg in legs:
        found = view.of(leg)
        if found is None or found.open or found.status == "filled":
            return False
        if found.status == "expired" and leg.order.time_in_force == "day":
            return False
    return all(view.complete(item) for item in (*legs, *((entry,) if entry is not None else ())))


def _held(entry: Working | None, legs: Sequence[Working], view: AccountView) -> int | None:
    """Shares that the bracket holds, executions that are not written down yet included; None: nobody counted."""
    counted = legs[0].held
    if counted is None and entry is not None:
        counted = entry.filled - sum(leg.filled for leg in legs)
    if counted is None:
        return None
    opened = sum(fill.shares for fill in view.new_fills(entry)) if entry is not None else 0
    return counted + opened - sum(fill.shares for leg in legs for fill in view.new_fills(leg))


def _arm(client: AlpacaClient, legs: Sequence[Order], quantity: int) -> dict[str, Theirs | None]:
    """Under the first name of `<order_id>~1`, `~2` … whose order is not over; one that is there is taken over."""
    pair = bracket_of(legs)
    name = (pair.target or pair.orders[0]).order_id
    for count in range(1, _MOST_ARMINGS + 1):
        client_order_id = f"{name}{_MARK}{count}"
        found = client.by_client_id(client_order_id)
        if found is not None and not found.open:
            continue
        if found is None:
            try:
                found = client.submit(request_of(pair, client_order_id, quantity))
            except Refused as refusal:
                if pair.stop is None or not _beyond_stop(refusal):
                    raise _missing(legs[0], quantity, refusal) from None
                return _sell_out(client, pair, f"{client_order_id}m", quantity)
        return {order.order_id: there for order, there in parts_of(pair, found)}
    raise ProtectionMissing(f"{quantity} shares of {legs[0].ticker} lost their stop {_MOST_ARMINGS} times")


def _sell_out(
    client: AlpacaClient, pair: BracketOrders, client_order_id: str, quantity: int
) -> dict[str, Theirs | None]:
    """The price is beyond the stop: do what the stop would have done."""
    assert pair.stop is not None
    out = replace(pair.stop, role="close", order_type="market", stop_price=None, time_in_force="day")
    try:
        found = client.submit(request_of(BracketOrders(out, None, None), client_order_id, quantity))
    except Refused as refusal:
        raise _missing(pair.stop, quantity, refusal) from None
    gone = dict.fromkeys(order.order_id for order in pair.legs)
    return {**gone, pair.stop.order_id: found}


def _beyond_stop(refusal: Refused) -> bool:
    return refusal.status == 422 and "stop price must be" in refusal.message.replace("_", " ")


def _missing(order: Order, quantity: int, refusal: Refused) -> ProtectionMissing:
    return ProtectionMissing(f"{quantity} shares of {order.ticker} are held without a stop ({refusal.reason})")
