"""Ours against theirs, at every start: what is told from what cannot be, and what is done about each difference.

- *unsent*: pending here, unknown there. We stopped between the commit and the placing: placed now, under its id.
- *adopted*: pending here, known there. We stopped before its answer: its id and its state are taken over.
- *lost*: accepted here, unknown there. The paper account was reset, or it is another account: marked cancelled, with
  the reason; entries wait for a person.
- *foreign*: open there, unknown here. Somebody else trades in the account: left alone; entries wait for a person.
- *position*: the shares held differ after all that: left alone; entries wait for a person.

What belongs here: the comparison and the start. What does not: the ledger and its cents (`research/ledger/`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

import polars as pl

from trading_pipeline.brokers.base import FINAL, Book, Broker, Order, OrderEvent, Side, Status, Told, Working
from trading_pipeline.brokers.errors import NotReconciled, OrderUnplaceable
from trading_pipeline.brokers.working import after

Kind = Literal["unsent", "adopted", "lost", "foreign", "position"]
_LOOKS = 2
"""How often positions are compared: an order may fill between the executions and the holdings."""
_BLOCKING: frozenset[Kind] = frozenset({"lost", "foreign", "position"})


@dataclass(frozen=True)
class OpenOrder:
    """An order that is open at the broker; `order_id` is ours, or what the broker calls it where it is not ours."""

    order_id: str
    broker_order_id: str
    ticker: str
    side: Side
    quantity: int


@dataclass(frozen=True)
class Ours:
    """What the ledger has: orders that are not over, and shares by ticker (negative: short; 0 or absent: none)."""

    working: Sequence[Working] = ()
    positions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Theirs:
    """What the broker has. known: ids of those of our orders that it knows, whatever became of them."""

    open_orders: Sequence[OpenOrder] = ()
    known: frozenset[str] = frozenset()
    positions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One difference. order_id: None for positions; ours, theirs: shares."""

    kind: Kind
    ticker: str
    order_id: str | None = None
    ours: int | None = None
    theirs: int | None = None

    @property
    def blocks(self) -> bool:
        """Whether no entry may be made until somebody has looked."""
        return self.kind in _BLOCKING

    @property
    def said(self) -> str:
        """The difference in words."""
        match self.kind:
            case "unsent":
                return f"{self.order_id} ({self.ticker}) was not sent yet; it is placed now"
            case "adopted":
                return f"{self.order_id} ({self.ticker}) was sent before; its state is taken over"
            case "lost":
                return f"{self.order_id} ({self.ticker}) is unknown to the broker; it is marked cancelled"
            case "foreign":
                return f"{self.order_id} ({self.ticker}) is open at the broker and not ours"
            case "position":
                return f"{self.ticker}: we have {self.ours} shares, the broker has {self.theirs}"


@dataclass(frozen=True)
class Report:
    """Every difference, by kind, ticker and order."""

    differences: tuple[Difference, ...] = ()

    @property
    def may_trade(self) -> bool:
        """Whether entries may be made; exits always may."""
        return not any(item.blocks for item in self.differences)

    @property
    def lines(self) -> list[str]:
        """The differences in words."""
        return [item.said for item in self.differences]

    def require(self) -> None:
        """`NotReconciled` with what keeps us from trading; nothing where nothing does."""
        blocking = [item.said for item in self.differences if item.blocks]
        if blocking:
            raise NotReconciled(f"The broker and the ledger differ ({'; '.join(blocking)})")


def reconcile(ours: Ours, theirs: Theirs) -> Report:
    """What differs. Pure: the order of the arguments' rows changes nothing."""
    found: list[Difference] = []
    for item in ours.working:
        order = item.order
        is_known = order.order_id in theirs.known
        if item.status == "pending":
            found.append(Difference("adopted" if is_known else "unsent", order.ticker, order.order_id))
        elif not is_known:
            found.append(Difference("lost", order.ticker, order.order_id))
    own = {item.order.order_id for item in ours.working}
    found += [
        Difference("foreign", item.ticker, item.order_id, theirs=item.quantity)
        for item in theirs.open_orders
        if item.order_id not in own
    ]
    return Report(_sorted([*found, *_positions(ours.positions, theirs.positions)]))


def _positions(ours: Mapping[str, int], theirs: Mapping[str, int]) -> list[Difference]:
    tickers = sorted({*ours, *theirs})
    pairs = [(ticker, ours.get(ticker, 0), theirs.get(ticker, 0)) for ticker in tickers]
    return [Difference("position", ticker, ours=mine, theirs=its) for ticker, mine, its in pairs if mine != its]


def _sorted(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    return tuple(sorted(differences, key=lambda item: (item.kind, item.ticker, item.order_id or "")))


@runtime_checkable
class KeepsBook(Protocol):
    """A broker that has a book of its own, to be reconciled with ours."""

    def known(self, working: Sequence[Working]) -> Theirs:
        """Its open orders, what it knows of ours, and what it holds."""
        ...


def start(
    broker: Broker,
    book: Book,
    positions: Mapping[str, int],
    unwanted: Callable[[Order], str | None] = lambda order: None,
) -> tuple[Told, Report]:
    """Bring a broker and the ledger together before the first tick: what was told on the way, and what differed.

    positions: shares by ticker, by the ledger. unwanted: why a pending entry that the broker never had is not placed
    any more; None: it is. Lost orders are marked; pending brackets are placed, are cancelled as unwanted, or expire
    where their day is over and the broker never had them; one that no broker can work is rejected. What happened while
    nobody looked is told. Positions are compared after that. Write what was told, then ask the report whether entries
    may be made. Running it again changes nothing.
    A broker that keeps no book of its own has nothing to compare: its pending orders are placed, and that is all.
    """
    theirs = broker.known(book.working) if isinstance(broker, KeepsBook) else None
    report = Report() if theirs is None else reconcile(Ours(book.working), replace(theirs, positions={}))
    lost = {item.order_id for item in report.differences if item.kind == "lost"}
    told = _Told(book.working)
    told.take(Told([OrderEvent(i, book.at, "cancelled", "unknown to the broker") for i in sorted(filter(None, lost))]))
    for bracket in _pending(told.working):
        known = theirs is not None and bracket[0].order_id in theirs.known
        if book.over(bracket[0]) and not known:
            told.take(_all_over(bracket, book.at, "expired", "its day is over"))
        elif not known and bracket[0].role == "entry" and (why := unwanted(bracket[0])) is not None:
            told.take(_all_over(bracket, book.at, "cancelled", why))
        else:
            try:
                told.take(broker.place(bracket, book.at))
            except OrderUnplaceable as error:
                told.take(_all_over(bracket, book.at, "rejected", error.problem))
    if theirs is None:
        return told.all, report
    differences: list[Difference] = []
    for _ in range(_LOOKS):
        told.take(broker.advance(replace(book, working=told.working, bars=pl.DataFrame())))
        held = {item.ticker: item.quantity for item in broker.holdings() or ()}
        differences = _positions(told.moved(positions), held)
        if not differences:
            break
    return told.all, Report(_sorted([*report.differences, *differences]))


def _all_over(bracket: Sequence[Order], at: datetime, status: Status, why: str) -> Told:
    return Told([OrderEvent(order.order_id, at, status, why) for order in bracket])


class _Told:
    """What was told so far, and the working orders after it."""

    def __init__(self, working: Sequence[Working]) -> None:
        self.working = tuple(item for item in working if item.status not in FINAL)
        self.all = Told()
        self._ticker_of = {item.order.order_id: item.order.ticker for item in working}
        self._counted = {fill_id for item in working for fill_id in item.fill_ids}

    def take(self, told: Told) -> None:
        self.working = after(self.working, told)
        self.all = Told([*self.all.events, *told.events], [*self.all.fills, *told.fills])

    def moved(self, positions: Mapping[str, int]) -> dict[str, int]:
        """`positions` after the fills that are new."""
        moved = dict(positions)
        fresh = {fill.fill_id: fill for fill in self.all.fills if fill.fill_id not in self._counted}
        for fill in fresh.values():
            ticker = self._ticker_of[fill.order_id]
            moved[ticker] = moved.get(ticker, 0) + (fill.quantity if fill.side == "buy" else -fill.quantity)
        return moved


def _pending(working: Sequence[Working]) -> list[list[Order]]:
    """Pending orders by bracket, the lead first; brackets in the order in which they were decided."""
    brackets: dict[str, list[Order]] = {}
    for order in sorted(
        (item.order for item in working if item.status == "pending"),
        key=lambda order: (order.created_at, order.parent_id is not None, order.order_id),
    ):
        brackets.setdefault(order.parent_id or order.order_id, []).append(order)
    return list(brackets.values())
