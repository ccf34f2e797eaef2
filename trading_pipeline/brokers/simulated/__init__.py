"""The simulated broker: working orders against the complete bars of a tick. It keeps nothing of its own.

What belongs here: which orders a tick works, and when they are over. How one bar is worked is in `matching.py`, what it
costs in `costs.py`. Everything it knows of its orders comes in `Book.working`, so a run can stop at any tick and go on
from the ledger, and the same book always gets the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.brokers.base import FINAL, Book, Holding, Order, OrderEvent, Side, Told, Working
from trading_pipeline.brokers.bracket import bracket_of
from trading_pipeline.brokers.errors import OrderUnplaceable
from trading_pipeline.brokers.simulated.costs import Costs
from trading_pipeline.brokers.simulated.matching import Bar, Bracket, Happened, State, match, meeting_prices
from trading_pipeline.brokers.ticks import US_TICKS, TickTable

__all__ = ["Costs", "SimulatedBroker"]

_PRICES = ("open", "high", "low", "close")


class SimulatedBroker:
    """A broker that fills from bars, with slippage, fees and partial fills. See `matching.py` for its rules.

    Working an order twice over the same bar fills it twice under the same `fill_id`: the caller passes each bar once.
    """

    name = "simulated"
    on_paper = True

    def __init__(self, costs: Costs | None = None, ticks: TickTable = US_TICKS) -> None:
        self._costs = costs or Costs()
        self._ticks = ticks

    def place(self, bracket: Sequence[Order], at: datetime) -> Told:
        """Accept the orders, as of the moment they were decided: a restart in between changes no row.

        `OrderUnplaceable` where they are no bracket, or an order lacks its price.
        """
        bracket_of(bracket)
        return Told(events=[OrderEvent(order.order_id, order.created_at, "accepted") for order in bracket])

    def cancel(self, orders: Sequence[Working], at: datetime) -> Told:
        """Cancel the orders at once. An entry that holds nothing leaves its legs to `advance`, which ends them."""
        live = [item for item in orders if item.status not in FINAL]
        return Told(events=[OrderEvent(item.order.order_id, at, "cancelled", "cancelled by us") for item in live])

    def advance(self, book: Book) -> Told:
        """Work the bars of the tick, then end what is over.

        A bar works the orders that were decided at or before its start, within the session's hours where the book says
        them. A symbol without bars (a halt) fills nothing. Unknown volume (null) does not limit a fill; a bar without
        volume (0) fills nothing. Orders end as expired when their day is over, or their instrument is delisted, and
        the legs of an entry that is over and filled nothing as cancelled. Pending orders, never placed, only expire.
        `OrderUnplaceable` where a leg's entry is over and nobody says what the bracket holds (`Working.held`).
        """
        by_instrument = _brackets(book.working)
        brackets = [bracket for own in by_instrument.values() for bracket in own]
        happened = Happened()
        for state in _states(brackets):
            if book.session is not None and state.order.session < book.session and book.over(state.order):
                happened.tell(state, book.opens_at or book.at, "expired", "its day is over")
        _end_orphans(brackets, book.at, happened)
        for instrument_id, bar in _bars_that_matter(book, _states(brackets), self._ticks):
            match(by_instrument[instrument_id], bar, self._costs, self._ticks, happened)
        end = book.at if book.closes_at is None else min(book.at, book.closes_at)
        for state in _states(brackets):
            if state.order.instrument_id in book.delisted:
                happened.tell(state, end, "expired", "delisted")
            elif book.over(state.order):
                happened.tell(state, end, "expired", "its day is over")
        _end_orphans(brackets, end, happened)
        return Told(
            events=sorted(happened.events, key=lambda event: event.at),
            fills=sorted(happened.fills, key=lambda fill: fill.at),
        )

    def holdings(self) -> Sequence[Holding] | None:
        """None: what is held follows from the fills."""
        return None


def _brackets(working: Sequence[Working]) -> dict[str, list[Bracket]]:
    """The brackets of each instrument, whatever the order in which `working` comes."""
    by_id: dict[str, tuple[str, Bracket]] = {}
    counted: dict[str, int] = {}
    for item in sorted(working, key=lambda item: (item.order.created_at, item.order.order_id)):
        if item.status in FINAL:
            continue
        order = item.order
        root = order.parent_id or order.order_id
        bracket = by_id.setdefault(root, (order.instrument_id, Bracket()))[1]
        # A stop that has filled at all was triggered before.
        state = State(order, item.status, item.filled, item.triggered or item.filled > 0)
        if order.parent_id is None:
            bracket.entry = state
        else:
            bracket.exits.append(state)
            if item.held is not None:
                counted[root] = item.held
    grouped: dict[str, list[Bracket]] = {}
    for root, (instrument_id, bracket) in by_id.items():
        if root in counted:
            bracket.held = counted[root]
        elif bracket.entry is not None:
            bracket.held = bracket.entry.filled - sum(state.filled for state in bracket.exits)
        else:
            raise OrderUnplaceable(
                f"{bracket.exits[0].order.order_id} has an entry that is over, and nobody says what it holds",
                "Fold the working orders from the ledger with brokers.working.working_orders",
            )
        grouped.setdefault(instrument_id, []).append(bracket)
    return grouped


def _states(brackets: Sequence[Bracket]) -> list[State]:
    """Every order that is not over, entries before their exits."""
    every = ((bracket.entry, *bracket.exits) for bracket in brackets)
    return [state for states in every for state in states if state is not None and state.status not in FINAL]


def _end_orphans(brackets: Sequence[Bracket], at: datetime, happened: Happened) -> None:
    for bracket in brackets:
        if bracket.entry_over and bracket.held <= 0:
            for state in _states([bracket]):
                happened.tell(state, at, "cancelled", "its bracket holds nothing")


def _bars_that_matter(book: Book, states: Sequence[State], ticks: TickTable) -> list[tuple[str, Bar]]:
    """The bars of the tick from the first on that an order of their instrument could meet, oldest first.

    One array pass over orders x bars of their instruments (500 bars x 180 orders: 2 ms, joined in polars: 10): most
    bars touch no order and are never looked at again. From the first touch on every bar counts: a triggered stop
    that is not filled at once fills in whatever bar comes.
    """
    if book.bars.is_empty() or not states:
        return []
    instruments = book.bars["instrument_id"].to_list()
    started = book.bars["started_at"].to_numpy()
    prices = np.column_stack([book.bars[name].cast(pl.Float64).to_numpy() for name in _PRICES])
    usable = np.isfinite(prices).all(axis=1) & (started < _moment(book.at))
    if book.opens_at is not None:
        usable &= started >= _moment(book.opens_at)
    if book.closes_at is not None:
        usable &= started < _moment(book.closes_at)
    codes = {name: code for code, name in enumerate(sorted({state.order.instrument_id for state in states}))}
    code = np.array([codes.get(name, -1) for name in instruments], dtype=np.int64)
    rows = np.flatnonzero(usable & (code >= 0))
    rows = rows[np.lexsort((started[rows], code[rows]))]

    of_order = np.array([codes[state.order.instrument_id] for state in states])
    begin, end = np.searchsorted(code[rows], of_order), np.searchsorted(code[rows], of_order, side="right")
    pairs = end - begin
    order = np.repeat(np.arange(len(states)), pairs)
    place = np.arange(pairs.sum()) - np.repeat(np.cumsum(pairs) - pairs, pairs) + begin[order]
    row = rows[place]
    met = started[row] >= np.array([_moment(state.order.created_at) for state in states])[order]
    met &= _met(
        [meeting_prices(state, ticks) for state in states], [state.order.side for state in states], order, prices[row]
    )

    first = np.full(len(codes), len(rows))
    np.minimum.at(first, of_order[order[met]], place[met])
    touched = rows[np.arange(len(rows)) >= first[code[rows]]]
    volume = book.bars["volume"].to_list()
    moments = book.bars["started_at"]
    found = []
    for index in touched.tolist():
        shares = volume[index]
        known = shares is not None and math.isfinite(shares)
        first_price, high, low, last = prices[index].tolist()
        bar = Bar(moments[index], first_price, high, low, last, float(shares) if known else None)
        found.append((bar.started_at, instruments[index], bar))
    return [(name, bar) for _, name, bar in sorted(found, key=lambda item: item[:2])]


def _met(
    meeting: Sequence[tuple[float | None, float | None]],
    sides: Sequence[Side],
    order: npt.NDArray[np.int64],
    prices: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    """Whether each pair's bar reaches the limit or the trigger of its order; an order without either meets any bar."""
    limit, stop = np.array(meeting, dtype=np.float64)[order].T
    buys = np.array([side == "buy" for side in sides])[order]
    high, low = prices[:, 1], prices[:, 2]
    met = np.where(buys, (low <= limit) | (high >= stop), (high >= limit) | (low <= stop))
    return np.asarray(met | (np.isnan(limit) & np.isnan(stop)))


def _moment(at: datetime) -> np.datetime64:
    return np.datetime64(at.astimezone(UTC).replace(tzinfo=None), "us")
