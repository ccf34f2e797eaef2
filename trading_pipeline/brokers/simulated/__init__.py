"""The simulated broker: working orders against the complete bars of a tick. It keeps nothing of its own.

What belongs here: which orders a tick works, and when they are over. How one bar is worked is in `matching.py`, what it
costs in `costs.py`. Everything it knows of its orders comes in `Book.working`, so a run can stop at any tick and go on
from the ledger, and the same book always gets the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from trading_pipeline.brokers.base import FINAL, Book, Holding, Order, OrderEvent, Told, Working
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
        state = State(order, item.status, item.filled, item.triggered)
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

    One pass over orders x bars; most bars touch no order and are never looked at again. From the first touch on every
    bar counts: a triggered stop that is not filled at once fills in whatever bar comes.
    """
    if book.bars.is_empty() or not states:
        return []
    within = pl.col("started_at") < book.at
    if book.opens_at is not None:
        within &= pl.col("started_at") >= book.opens_at
    if book.closes_at is not None:
        within &= pl.col("started_at") < book.closes_at
    bars = book.bars.filter(within, pl.all_horizontal(pl.col(name).is_finite() for name in _PRICES).fill_null(False))
    wanted = pl.DataFrame(
        [
            (
                state.order.instrument_id,
                state.order.created_at,
                state.order.side == "buy",
                *meeting_prices(state, ticks),
            )
            for state in states
        ],
        schema={
            "instrument_id": pl.String(),
            "created_at": bars.schema["started_at"],
            "buys": pl.Boolean(),
            "limit": pl.Float64(),
            "stop": pl.Float64(),
        },
        orient="row",
    )
    limit_met = pl.when("buys").then(pl.col("low") <= pl.col("limit")).otherwise(pl.col("high") >= pl.col("limit"))
    stop_met = pl.when("buys").then(pl.col("high") >= pl.col("stop")).otherwise(pl.col("low") <= pl.col("stop"))
    at_once = pl.col("limit").is_null() & pl.col("stop").is_null()
    first = (
        bars.join(wanted, on="instrument_id")
        .filter(pl.col("started_at") >= pl.col("created_at"), at_once | limit_met | stop_met)
        .group_by("instrument_id")
        .agg(first=pl.col("started_at").min())
    )
    met = (
        bars.join(first, on="instrument_id")
        .filter(pl.col("started_at") >= pl.col("first"))
        .sort("started_at", "instrument_id")
        .select("instrument_id", "started_at", *_PRICES, pl.col("volume").cast(pl.Float64).fill_nan(None))
    )
    return [(instrument_id, Bar(*bar)) for instrument_id, *bar in met.iter_rows()]
