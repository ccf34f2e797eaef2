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

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from trading_pipeline.brokers import reconcile
from trading_pipeline.brokers.alpaca.client import AlpacaClient, Patience, Refused
from trading_pipeline.brokers.alpaca.guard import PAPER_URL, require_able, require_paper
from trading_pipeline.brokers.alpaca.protection import armed_again, leg_named
from trading_pipeline.brokers.alpaca.translation import (
    LONGEST_ID,
    Activity,
    Theirs,
    all_of,
    held_of,
    parts_of,
    request_of,
    symbol_of,
)
from trading_pipeline.brokers.alpaca.view import AccountView
from trading_pipeline.brokers.base import FINAL, Book, Fill, Holding, Order, OrderEvent, Status, Told, Working
from trading_pipeline.brokers.bracket import BracketOrders, bracket_of
from trading_pipeline.brokers.errors import OrderUnplaceable

_EXCHANGE_TIME = ZoneInfo("America/New_York")


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
                return Told([OrderEvent(order.order_id, at, "rejected", refusal.reason) for order in orders.orders])
        _require_same(orders, found)
        parts = parts_of(orders, found)
        if found.status == "rejected":
            return Told([_event(order, found, "rejected", "rejected by Alpaca") for order, _ in parts])
        return Told(
            [OrderEvent(order.order_id, it.submitted_at, "accepted", None, it.broker_order_id) for order, it in parts]
        )

    def cancel(self, orders: Sequence[Working], at: datetime) -> Told:
        """Cancel orders and wait, as `Patience` says, until they are over. What is not by then, `advance` tells.

        Cancelling one of a group cancels all of it there. `advance` arms again what should still be protected: the
        legs that are not in `orders`, and those whose end it has to tell, as long as their shares are held.
        """
        live = [item for item in orders if item.status not in FINAL]
        view = self._view(live)
        for item in sorted(live, key=lambda item: item.order.parent_id is not None):
            self._cancelled(view, item)
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
        late = [item for item in live if item.order.parent_id is None and book.over(item.order)]
        ended = [item for item in late if self._cancelled(view, item)]
        if ended:
            self._settle(view, ended)
            # Legs end with their entry there, so they have to be read again too.
            view = self._view(live)
        armed = armed_again(self._client, live, view, self._positions)
        told = self._told(live, view, armed, book.at, unknown="Alpaca does not know it any more")
        over = {item.order.order_id for item in ended}
        return replace(told, events=[_as_expired(event) if event.order_id in over else event for event in told.events])

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
            rearmed = leg_named(found.client_order_id)
            if own is None and rearmed in arming:
                # Armed before the loop stopped and not written down; `advance` finds it by its name.
                ours |= {leg.broker_order_id: rearmed for leg in found.legs}
                own = rearmed
            open_orders.append(
                reconcile.OpenOrder(
                    own or found.client_order_id, found.broker_order_id, found.ticker, found.side, found.quantity
                )
            )
        return reconcile.Theirs(tuple(open_orders), frozenset(ids), self._positions())

    # --- what there is -------------------------------------------------------------------------------------------

    def _view(self, live: Sequence[Working]) -> AccountView:
        listed: list[Theirs] = []
        if live:
            since = min(item.order.created_at for item in live)
            listed = self._client.orders_since(since, sorted({symbol_of(item.order.ticker) for item in live}))
        return AccountView(self._client, listed)

    def _positions(self) -> dict[str, int]:
        return {holding.ticker: holding.quantity for holding in self.holdings()}

    def _cancelled(self, view: AccountView, item: Working) -> bool:
        """Whether the order was open, and is asked to be cancelled."""
        found = view.of(item)
        if found is None or not found.open:
            return False
        self._client.cancel(found.broker_order_id)
        return True

    def _settle(self, view: AccountView, cancelled: Sequence[Working]) -> None:
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

    # --- what is told --------------------------------------------------------------------------------------------

    def _told(
        self, live: Sequence[Working], view: AccountView, armed: dict[str, Theirs | None], at: datetime, *, unknown: str
    ) -> Told:
        events: list[OrderEvent] = []
        fills: list[Fill] = []
        for item in live:
            order, new = item.order, view.new_fills(item)
            fills += [_fill(order, activity) for activity in new]
            still: Status = "partially_filled" if item.filled or new else "accepted"
            if order.order_id in armed:
                there = armed[order.order_id]
                if there is None:
                    events.append(OrderEvent(order.order_id, at, "cancelled", "the price was beyond the stop"))
                else:
                    reason = f"armed again as {there.client_order_id}"
                    events.append(OrderEvent(order.order_id, there.submitted_at, still, reason, there.broker_order_id))
                continue
            found = view.of(item)
            if found is None:
                events.append(OrderEvent(order.order_id, at, "cancelled", unknown))
                continue
            # An order that is over is never asked about again: all of its executions are told first.
            status = found.status if found.status in FINAL and view.complete(item) else still
            if status != item.status or found.broker_order_id != item.broker_order_id:
                events.append(_event(order, found, status, None))
        return Told(sorted(events, key=lambda event: event.at), sorted(fills, key=lambda fill: (fill.at, fill.fill_id)))


def _event(order: Order, found: Theirs, status: Status, reason: str | None) -> OrderEvent:
    if status == "cancelled" and reason is None:
        reason = "cancelled at Alpaca"
    return OrderEvent(order.order_id, found.changed_at, status, reason, found.broker_order_id)


def _as_expired(event: OrderEvent) -> OrderEvent:
    return replace(event, status="expired", reason="its day is over") if event.status == "cancelled" else event


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
