"""Alpaca as a `Broker`: our order ids on its orders, its executions in our ledger, and no position without its stop.

What belongs here: what to ask, and what the answers mean for our orders. It keeps nothing between two calls but the
knowledge that the account may trade; a restart loses nothing.

How our brackets live there:

- An entry goes out under its `order_id` as `client_order_id`, with its legs. Alpaca gives the legs ids of its own: they
  are told as the `broker_order_id` of our legs, and found by it from then on.
- Alpaca wakes the legs once the entry has filled *completely*, and cancels the whole group when any of it is cancelled:
  an entry that is cut short leaves its shares without a stop. `advance` sees that shares are held and their legs are
  gone, and arms them again as a one-cancels-other pair (`<order_id>~1`, `~2` …) for what is held. The same mends good-
  till-cancelled legs that Alpaca cancels after 90 days. Where the price is beyond the stop by then, the stop has
  happened: the shares are sold at the market.
- Legs inherit the time in force, so a bracket with lasting legs is sent as good till cancelled, entry included. A day
  entry is therefore ended here: by `advance` at the close, or on the next session.
- An order is over for us once all of its executions are told; Alpaca's list of executions may lag its orders.
- Prices are never moved to make a bracket fit. One that the market has left behind (take profit and stop loss have to
  lie a cent beyond the live price) is told as rejected, with the price it was measured against: its size was computed
  from the prices it was decided with.
- Alpaca takes no commission, so fees of fills are 0; regulatory fees are booked by it once a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from trading_pipeline.brokers import reconcile
from trading_pipeline.brokers.alpaca.client import AlpacaClient, Patience, Refused
from trading_pipeline.brokers.alpaca.guard import PAPER_URL, require_able, require_paper
from trading_pipeline.brokers.alpaca.translation import (
    LONGEST_ID,
    Activity,
    Theirs,
    all_of,
    held_of,
    request_of,
    symbol_of,
)
from trading_pipeline.brokers.base import FINAL, Book, Fill, Holding, Order, OrderEvent, Status, Told, Working
from trading_pipeline.brokers.bracket import BracketOrders, bracket_of
from trading_pipeline.brokers.errors import BrokerAnswerUnreadable, OrderUnplaceable, ProtectionMissing

_EXCHANGE_TIME = ZoneInfo("America/New_York")
_REARMED = "~"
_MOST_ARMINGS = 50


class AlpacaBroker:
    """Alpaca's trading API, on paper unless `real_money` says the words. See the module for how brackets live there.

    Making one asks nothing of the network. `RealMoneyRefused` where key or address are not those of a paper account.
    """

    name = "alpaca"

    def __init__(
        self,
        key: SecretStr,
        secret: SecretStr,
        url: str = PAPER_URL,
        *,
        real_money: str = "no",
        patience: Patience | None = None,
    ) -> None:
        self.on_paper = require_paper(url, key, real_money)
        self._patience = patience or Patience()
        self._client = AlpacaClient(key, secret, url, paper=self.on_paper, patience=self._patience)
        self._able = False

    def __repr__(self) -> str:
        return f"AlpacaBroker({'paper' if self.on_paper else 'REAL MONEY'})"

    def place(self, bracket: Sequence[Order], at: datetime) -> Told:
        """Submit a bracket, or find it there. A refusal is told as rejected; a day entry of an earlier day expires.

        `AccountBlocked` or `RealMoneyRefused` where the account may not trade; `OrderUnplaceable` where the orders are
        no bracket, or their id stands for another order there.
        """
        orders = bracket_of(bracket)
        first = orders.orders[0]
        if len(first.order_id) > LONGEST_ID:
            raise OrderUnplaceable(f"{first.order_id[:32]}… is longer than the {LONGEST_ID} characters Alpaca takes")
        if self._too_late(orders, at):
            found = self._client.by_client_id(first.order_id)
            if found is None:
                return Told([OrderEvent(order.order_id, at, "expired", "its day is over") for order in orders.orders])
        else:
            self._require_able()
            # A pair of exits stands under the name of its target, like one that is armed again.
            name = (orders.lead or orders.target or first).order_id
            try:
                found = self._client.submit(request_of(orders, name))
            except Refused as refusal:
                if refusal.status == 403:
                    self._require_able(again=True)
                reason = _reason(refusal)
                return Told([OrderEvent(order.order_id, at, "rejected", reason) for order in orders.orders])
        _require_same(orders, found)
        parts = self._parts(orders, found)
        if found.status == "rejected":
            return Told([_event(order, found, "rejected", "rejected by Alpaca") for order, _ in parts])
        return Told(
            [OrderEvent(order.order_id, it.submitted_at, "accepted", None, it.broker_order_id) for order, it in parts]
        )

    def cancel(self, orders: Sequence[Working], at: datetime) -> Told:
        """Cancel orders and wait, as `Patience` says, until they are over. What is not by then, `advance` tells.

        Cancelling one of a group cancels all of it there; `advance` arms again what should still be protected.
        """
        live = [item for item in orders if item.status not in FINAL]
        view = self._view(live)
        for item in sorted(live, key=lambda item: item.order.parent_id is not None):
            found = view.of(item)
            if found is not None and found.open:
                self._client.cancel(found.broker_order_id)
        self._settle(view, live)
        return self._told(live, view, {}, at, unknown="it was never sent")

    def advance(self, book: Book) -> Told:
        """Read what became of the working orders, end the day of day orders, and protect what is held without a stop.

        Bars are not looked at. Pending orders are left to `place`. `ProtectionMissing` where Alpaca refuses a stop.
        """
        live = [item for item in book.working if item.status not in {*FINAL, "pending"}]
        if not live:
            return Told()
        view = self._view(live)
        ending = [
            item for item in live if book.over(item.order) and (found := view.of(item)) is not None and found.open
        ]
        leads = [item for item in ending if item.order.parent_id is None]
        for item in leads:
            found = view.of(item)
            assert found is not None
            self._client.cancel(found.broker_order_id)
        self._settle(view, leads)
        if leads:
            # Legs end with their entry there, so they have to be read again too.
            view = self._view(live)
        armed = self._protect(live, view)
        return self._told(live, view, armed, book.at, unknown="Alpaca does not know it any more")

    def holdings(self) -> Sequence[Holding]:
        """The positions of the account, by ticker."""
        return [
            Holding(*held_of(row)) for row in sorted(self._client.positions(), key=lambda row: str(row.get("symbol")))
        ]

    def known(self, working: Sequence[Working]) -> reconcile.Theirs:
        """What the account has, to be reconciled with ours: see `reconcile.start`."""
        live = [item for item in working if item.status not in FINAL]
        view = self._view(live)
        ids = {item.order.order_id: found for item in live if (found := view.of(item)) is not None}
        ours = {found.broker_order_id: order_id for order_id, found in ids.items()}
        arming = {item.order.order_id for item in live}
        open_orders = []
        for found in all_of(self._client.open_orders()):
            if not found.open:
                continue
            own = ours.get(found.broker_order_id)
            rearmed = found.client_order_id.rpartition(_REARMED)[0]
            if own is None and rearmed in arming:
                # Armed before the loop stopped and not written down; `advance` finds it by its name.
                ours |= {leg.broker_order_id: rearmed for leg in found.legs}
                own = rearmed
            open_orders.append(
                reconcile.OpenOrder(
                    own or found.client_order_id, found.broker_order_id, found.ticker, found.side, found.quantity
                )
            )
        held = {holding.ticker: holding.quantity for holding in self.holdings()}
        return reconcile.Theirs(tuple(open_orders), frozenset(ids), held)

    # --- what there is -------------------------------------------------------------------------------------------

    def _view(self, live: Sequence[Working]) -> _View:
        listed: list[Theirs] = []
        if live:
            since = min(item.order.created_at for item in live)
            listed = self._client.orders_since(since, sorted({symbol_of(item.order.ticker) for item in live}))
        return _View(self._client, listed)

    def _settle(self, view: _View, cancelled: Sequence[Working]) -> None:
        for item in cancelled:
            for _ in range(self._patience.settle_polls):
                found = view.of(item)
                if found is None or not found.open:
                    break
                self._patience.sleep(self._patience.settle_wait)
                view.read_again(found)

    def _require_able(self, *, again: bool = False) -> None:
        if again or not self._able:
            require_able(self._client.account(), paper=self.on_paper)
            self._able = True

    @staticmethod
    def _too_late(orders: BracketOrders, at: datetime) -> bool:
        lead = orders.lead
        return lead is not None and lead.time_in_force == "day" and at.astimezone(_EXCHANGE_TIME).date() > lead.session

    def _parts(self, orders: BracketOrders, found: Theirs) -> list[tuple[Order, Theirs]]:
        """Each of our orders with the one it is there."""
        if orders.legs and not found.legs and len(orders.orders) > 1:
            found = self._client.by_id(found.broker_order_id) or found
        parts: list[tuple[Order, Theirs]] = []
        for order in orders.orders:
            # Of a pair of exits the target is the parent of the stop.
            is_parent = order is orders.lead or (
                orders.lead is None and (order is orders.target or orders.target is None)
            )
            part = found if is_parent else found.leg(order.role)
            if part is None:
                raise BrokerAnswerUnreadable(f"Alpaca has {found.client_order_id} without its {order.role}")
            parts.append((order, part))
        return parts

    # --- protection ----------------------------------------------------------------------------------------------

    def _protect(self, live: Sequence[Working], view: _View) -> dict[str, Theirs | None]:
        """Arm again the legs that are gone while shares are held: by our order id what stands for it now.

        None: nothing does; the order is over.
        """
        armed: dict[str, Theirs | None] = {}
        brackets: dict[str, list[Working]] = {}
        for item in live:
            if item.order.parent_id is not None and item.order.role in ("stop", "target"):
                brackets.setdefault(item.order.parent_id, []).append(item)
        positions: dict[str, int] | None = None
        for entry_id, legs in brackets.items():
            entry = next((item for item in live if item.order.order_id == entry_id), None)
            if not self._gone(entry, legs, view):
                continue
            if positions is None:
                positions = {holding.ticker: holding.quantity for holding in self.holdings()}
            held = self._held(entry, legs, view)
            order = legs[0].order
            there = positions.get(order.ticker, 0) * (1 if order.side == "sell" else -1)
            quantity = max(0, there if held is None else min(held, there))
            if quantity:
                armed |= self._arm([item.order for item in legs], quantity)
        return armed

    @staticmethod
    def _gone(entry: Working | None, legs: Sequence[Working], view: _View) -> bool:
        """Whether the entry is over, and all legs went without filling and before their time."""
        if entry is not None and ((there := view.of(entry)) is None or there.open):
            return False
        for leg in legs:
            found = view.of(leg)
            if found is None or found.open or found.status == "filled":
                return False
            if found.status == "expired" and leg.order.time_in_force == "day":
                return False
        return all(view.complete(item) for item in (*legs, *((entry,) if entry is not None else ())))

    @staticmethod
    def _held(entry: Working | None, legs: Sequence[Working], view: _View) -> int | None:
        """Shares that the bracket holds, executions that are not written down yet included; None: nobody counted."""
        counted = legs[0].held
        if counted is None and entry is not None:
            counted = entry.filled - sum(leg.filled for leg in legs)
        if counted is None:
            return None
        opened = sum(item.shares for item in view.new_fills(entry)) if entry is not None else 0
        return counted + opened - sum(item.shares for leg in legs for item in view.new_fills(leg))

    def _arm(self, legs: Sequence[Order], quantity: int) -> dict[str, Theirs | None]:
        pair = bracket_of(legs)
        name = (pair.target or pair.orders[0]).order_id
        for count in range(1, _MOST_ARMINGS):
            client_order_id = f"{name}{_REARMED}{count}"
            found = self._client.by_client_id(client_order_id)
            if found is not None and not found.open:
                continue
            if found is None:
                try:
                    found = self._client.submit(request_of(pair, client_order_id, quantity))
                except Refused as refusal:
                    if pair.stop is None or not _beyond_stop(refusal):
                        raise _missing(legs[0], quantity, refusal) from None
                    return self._sell_out(pair, f"{client_order_id}m", quantity)
            return {order.order_id: there for order, there in self._parts(pair, found)}
        raise ProtectionMissing(f"{quantity} shares of {legs[0].ticker} lost their stop {_MOST_ARMINGS} times")

    def _sell_out(self, pair: BracketOrders, client_order_id: str, quantity: int) -> dict[str, Theirs | None]:
        """The price is beyond the stop: do what the stop would have done."""
        assert pair.stop is not None
        out = replace(pair.stop, role="close", order_type="market", stop_price=None, time_in_force="day")
        try:
            found = self._client.submit(request_of(BracketOrders(out, None, None), client_order_id, quantity))
        except Refused as refusal:
            raise _missing(pair.stop, quantity, refusal) from None
        gone = {order.order_id: None for order in pair.legs}
        return {**gone, pair.stop.order_id: found}

    # --- what is told --------------------------------------------------------------------------------------------

    def _told(
        self, live: Sequence[Working], view: _View, armed: dict[str, Theirs | None], at: datetime, *, unknown: str
    ) -> Told:
        events: list[OrderEvent] = []
        fills: list[Fill] = []
        for item in live:
            order = item.order
            fills += [_fill(order, activity) for activity in view.new_fills(item)]
            if order.order_id in armed:
                there = armed[order.order_id]
                if there is None:
                    events.append(OrderEvent(order.order_id, at, "cancelled", "the price was beyond the stop"))
                else:
                    reason = f"armed again as {there.client_order_id}"
                    state: Status = "partially_filled" if item.filled else "accepted"
                    events.append(OrderEvent(order.order_id, there.submitted_at, state, reason, there.broker_order_id))
                continue
            found = view.of(item)
            if found is None:
                events.append(OrderEvent(order.order_id, at, "cancelled", unknown))
                continue
            status = found.status
            if status in FINAL and not view.complete(item):
                status = "partially_filled"
            filled = item.filled + sum(activity.shares for activity in view.new_fills(item))
            if status in ("accepted", "partially_filled"):
                status = "partially_filled" if filled else "accepted"
            if status != item.status or found.broker_order_id != item.broker_order_id:
                events.append(_event(order, found, status, None))
        return Told(sorted(events, key=lambda event: event.at), sorted(fills, key=lambda fill: (fill.at, fill.fill_id)))


@dataclass
class _View:
    """The orders and executions of the account as they were read for one call."""

    client: AlpacaClient
    listed: Sequence[Theirs]
    _by_id: dict[str, Theirs] = field(default_factory=dict)
    _by_client_id: dict[str, Theirs | None] = field(default_factory=dict)
    _ids: dict[str, list[str]] = field(default_factory=dict)
    _activities: list[Activity] | None = None
    _first: datetime | None = None

    def __post_init__(self) -> None:
        self._take(self.listed)

    def of(self, item: Working) -> Theirs | None:
        """The order that is ours there, or that took its place; None where Alpaca knows none."""
        found = self._start_of(item)
        ids = []
        while found is not None:
            ids.append(found.broker_order_id)
            if found.replaced_by is None or found.replaced_by in ids:
                break
            found = self._get(found.replaced_by)
        self._ids[item.order.order_id] = ids
        return found

    def read_again(self, found: Theirs) -> None:
        """Ask for an order anew."""
        self._by_id.pop(found.broker_order_id, None)
        self._activities = None
        fresh = self.client.by_id(found.broker_order_id)
        self._take([fresh] if fresh is not None else [])

    def fills(self, item: Working) -> list[Activity]:
        """Executions of the order that Alpaca tells, those that are written down included."""
        found = self.of(item)
        if found is None or (found.filled == 0 and len(self._ids[item.order.order_id]) == 1):
            return []
        # By whichever clock is behind, ours or theirs.
        since = min(item.order.created_at, found.submitted_at)
        if self._activities is None or self._first is None or since < self._first:
            self._first = since if self._first is None else min(self._first, since)
            self._activities = self.client.fills_since(self._first)
        ids = set(self._ids[item.order.order_id])
        return [activity for activity in self._activities if activity.broker_order_id in ids]

    def new_fills(self, item: Working) -> list[Activity]:
        """Those that are not written down."""
        return [activity for activity in self.fills(item) if activity.activity_id not in item.fill_ids]

    def complete(self, item: Working) -> bool:
        """Whether every share that the order says is filled has its execution."""
        found = self.of(item)
        return found is None or sum(activity.shares for activity in self.fills(item)) >= found.filled

    def _start_of(self, item: Working) -> Theirs | None:
        if item.broker_order_id is not None:
            return self._get(item.broker_order_id)
        if item.order.parent_id is None:
            return self._named(item.order.order_id)
        parent = self._named(item.order.parent_id)
        return parent.leg(item.order.role) if parent is not None else None

    def _get(self, broker_order_id: str) -> Theirs | None:
        if broker_order_id not in self._by_id:
            found = self.client.by_id(broker_order_id)
            self._take([found] if found is not None else [])
        return self._by_id.get(broker_order_id)

    def _named(self, client_order_id: str) -> Theirs | None:
        if client_order_id not in self._by_client_id:
            found = self.client.by_client_id(client_order_id)
            self._by_client_id[client_order_id] = found
            self._take([found] if found is not None else [])
        return self._by_client_id[client_order_id]

    def _take(self, orders: Iterable[Theirs]) -> None:
        for found in orders:
            self._by_id |= {part.broker_order_id: part for part in all_of([found])}
            self._by_client_id[found.client_order_id] = found


def _event(order: Order, found: Theirs, status: Status, reason: str | None) -> OrderEvent:
    if status == "cancelled" and reason is None:
        reason = "cancelled at Alpaca"
    return OrderEvent(order.order_id, found.changed_at, status, reason, found.broker_order_id)


def _fill(order: Order, activity: Activity) -> Fill:
    return Fill(
        activity.activity_id, order.order_id, activity.at, activity.side, activity.shares, round(activity.price, 6), 0.0
    )


def _require_same(orders: BracketOrders, found: Theirs) -> None:
    first = orders.orders[0]
    if (first.ticker, first.side, first.quantity) != (found.ticker, found.side, found.quantity):
        raise OrderUnplaceable(
            f"{found.client_order_id} is {found.side} {found.quantity} {found.ticker} at Alpaca, "
            f"not {first.side} {first.quantity} {first.ticker}"
        )


def _reason(refusal: Refused) -> str:
    measured = f" (the market is at {refusal.base_price})" if refusal.base_price else ""
    return f"Alpaca: {refusal.message}{measured}"


def _beyond_stop(refusal: Refused) -> bool:
    return refusal.status == 422 and "stop price must be" in refusal.message.replace("_", " ")


def _missing(order: Order, quantity: int, refusal: Refused) -> ProtectionMissing:
    return ProtectionMissing(f"{quantity} shares of {order.ticker} are held without a stop ({_reason(refusal)})")
