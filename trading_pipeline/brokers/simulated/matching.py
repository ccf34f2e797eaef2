"""One bar against the orders of its instrument: what fills, at what price, and what that does to the rest of a bracket.

Nobody knows the way a price took within a bar, only its open, high, low and close. So a bar is worked in three phases,
and where the order of events is open, the worse is assumed:

1. *At the open*, orders that the open itself satisfies: market orders, stops it gapped through (at the open: worse than
   the stop), limits it gapped through (at the open: better than the limit).
2. *Within the bar*, orders whose price lies between low and high: the stop of a bracket before its target, whichever
   came first in truth, then entries. The legs of an entry that filled at the open are worked too.
3. The stop of an entry that filled within the bar. Its target waits for the next bar: the high may have come before.

Market and stop orders take liquidity: they pay `Costs.slipped`. A limit that is met within the bar fills at the limit;
one that the open satisfies pays the slippage too, but never more than its limit. Every price is rounded to a tick
against us. All orders of an instrument share what `Costs.capacity` grants of the bar, exits first.

A bracket's exits share what the bracket holds. When its stop is triggered, its target is cancelled; when any exit fills
or the stop is triggered, the rest of its entry is cancelled; when nothing is held any more, the other exits are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from trading_pipeline.brokers.base import FINAL, TRIGGERED, Fill, Order, OrderEvent, Status
from trading_pipeline.brokers.simulated.costs import Costs
from trading_pipeline.brokers.ticks import TickTable

_RANK = {"stop": 0, "close": 1, "target": 2, "entry": 3}


@dataclass(frozen=True)
class Bar:
    """A complete bar; volume None where unknown."""

    started_at: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float | None


@dataclass
class State:
    """An order while a tick is worked."""

    order: Order
    status: Status
    filled: int
    triggered: bool

    @property
    def open(self) -> bool:
        """Whether it may fill: placed, and not over."""
        return self.status in ("accepted", "partially_filled")

    @property
    def priority(self) -> tuple[int, datetime, str]:
        """Who is served first: exits, then who came first."""
        return (_RANK[self.order.role], self.order.created_at, self.order.order_id)


@dataclass
class Bracket:
    """An entry with its exits, or an order that stands alone. held: shares the exits may close."""

    entry: State | None = None
    exits: list[State] = field(default_factory=list)
    held: int = 0

    @property
    def entry_over(self) -> bool:
        """Whether the entry fills no more."""
        return self.entry is None or self.entry.status in FINAL


@dataclass
class Happened:
    """Events and fills in the order in which they happened, and the moment the next one gets."""

    events: list[OrderEvent] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)

    def tell(self, state: State, at: datetime, status: Status, reason: str | None = None) -> None:
        """Move an order to `status`."""
        state.status = status
        self.events.append(OrderEvent(state.order.order_id, at, status, reason))


def meeting_prices(state: State, ticks: TickTable) -> tuple[float | None, float | None]:
    """(limit, trigger) of an order on the tick; both None where it is worked as a market order."""
    order = state.order
    if order.order_type == "limit":
        assert order.limit_price is not None
        return (ticks.down(order.limit_price) if order.side == "buy" else ticks.up(order.limit_price)), None
    if order.order_type == "stop" and not state.triggered:
        assert order.stop_price is not None
        return None, ticks.nearest(order.stop_price)
    return None, None


def match(brackets: Sequence[Bracket], bar: Bar, costs: Costs, ticks: TickTable, happened: Happened) -> None:
    """Work one bar, changing `brackets` and adding to `happened`. All of them are of the bar's instrument.

    An order that was decided after the bar began is not worked: it cannot fill on the bar it was decided on.
    """
    _Matching(brackets, bar, costs, ticks, happened).run()


class _Matching:
    def __init__(
        self, brackets: Sequence[Bracket], bar: Bar, costs: Costs, ticks: TickTable, happened: Happened
    ) -> None:
        self._brackets = brackets
        self._bar = bar
        self._costs = costs
        self._ticks = ticks
        self._happened = happened
        self._capacity = costs.capacity(bar.volume)
        self._steps = 0

    def run(self) -> None:
        protected = [bracket for bracket in self._brackets if bracket.held > 0]
        entries = [bracket for bracket in self._brackets if bracket.entry is not None]
        self._work(protected, entries, at_open=True)

        protected = [bracket for bracket in self._brackets if bracket.held > 0]
        before = {id(bracket): bracket.held for bracket in self._brackets}
        self._work(protected, entries, at_open=False)

        for bracket in self._brackets:
            if before[id(bracket)] == 0 and bracket.held > 0:
                for state in self._exits([bracket], "stop"):
                    self._attempt(bracket, state, at_open=False)

    def _work(self, protected: Sequence[Bracket], entries: Sequence[Bracket], *, at_open: bool) -> None:
        queue = [(state.priority, bracket, state) for bracket in protected for state in self._exits([bracket])]
        queue += [(bracket.entry.priority, bracket, bracket.entry) for bracket in entries if bracket.entry is not None]
        for _, bracket, state in sorted(queue, key=lambda item: item[0]):
            self._attempt(bracket, state, at_open=at_open)

    @staticmethod
    def _exits(brackets: Sequence[Bracket], role: str | None = None) -> list[State]:
        return [
            state for bracket in brackets for state in bracket.exits if state.open and role in (None, state.order.role)
        ]

    def _attempt(self, bracket: Bracket, state: State, *, at_open: bool) -> None:
        order = state.order
        if not state.open or order.created_at > self._bar.started_at:
            return
        reference = self._met(state, at_open)
        if reference is None:
            return
        newly = order.order_type == "stop" and not state.triggered
        if newly:
            state.triggered = True
            if order.role == "stop" and state is not bracket.entry:
                self._end_entry(bracket, "its stop was triggered")
                for other in self._exits([bracket], "target"):
                    self._happened.tell(
                        other, self._now(), "cancelled", "one cancels the other: the stop was triggered"
                    )
        self._fill(bracket, state, reference)
        if newly and state.open and state.filled == 0:
            self._happened.tell(state, self._now(), "accepted", TRIGGERED)

    def _met(self, state: State, at_open: bool) -> float | None:
        """The price at which the order meets the bar, slippage not included; None where it does not."""
        bar, buys = self._bar, state.order.side == "buy"
        limit, stop = meeting_prices(state, self._ticks)
        if stop is not None:
            reached = bar.open if at_open else (bar.high if buys else bar.low)
            if (reached >= stop) if buys else (reached <= stop):
                return max(stop, bar.open) if buys else min(stop, bar.open)
            return None
        if limit is not None:
            reached = bar.open if at_open else (bar.low if buys else bar.high)
            if (reached <= limit) if buys else (reached >= limit):
                return min(limit, bar.open) if buys else max(limit, bar.open)
            return None
        return bar.open

    def _fill(self, bracket: Bracket, state: State, reference: float) -> None:
        order = state.order
        quantity = order.quantity - state.filled
        is_exit = state is not bracket.entry
        if is_exit:
            quantity = min(quantity, bracket.held)
        if self._capacity is not None:
            quantity = min(quantity, self._capacity)
            self._capacity -= quantity
        if quantity <= 0:
            return
        price = self._price(state, reference, quantity)
        at = self._now()
        started = f"{self._bar.started_at:%Y%m%dT%H%M%S}"
        self._happened.fills.append(
            Fill(
                fill_id=f"{order.order_id}@{started}",
                order_id=order.order_id,
                at=at,
                side=order.side,
                quantity=quantity,
                price=price,
                fee=self._costs.fee(state.filled, quantity, price),
            )
        )
        state.filled += quantity
        bracket.held += -quantity if is_exit else quantity
        if is_exit:
            self._end_entry(bracket, "its bracket is being closed")
        done = state.filled == order.quantity or (is_exit and bracket.held == 0)
        self._happened.tell(state, at, "filled" if done else "partially_filled")
        if is_exit and bracket.held == 0:
            for other in self._exits([bracket]):
                self._happened.tell(other, self._now(), "cancelled", f"one cancels the other: the {order.role} filled")

    def _price(self, state: State, reference: float, quantity: int) -> float:
        order, volume = state.order, self._bar.volume
        buys = order.side == "buy"
        limit, _ = meeting_prices(state, self._ticks)
        if limit is not None and reference == limit:
            return limit
        slipped = self._costs.slipped(order.side, reference, quantity, volume)
        price = self._ticks.up(slipped) if buys else self._ticks.down(slipped)
        if limit is None:
            return price
        return min(limit, price) if buys else max(limit, price)

    def _end_entry(self, bracket: Bracket, reason: str) -> None:
        if bracket.entry is not None and bracket.entry.open:
            self._happened.tell(bracket.entry, self._now(), "cancelled", reason)

    def _now(self) -> datetime:
        """The bar's start, and a microsecond more for each thing that happened in it: its order stays known."""
        at = self._bar.started_at + timedelta(microseconds=self._steps)
        self._steps += 1
        return at
