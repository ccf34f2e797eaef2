"""What a book holds while its session runs, and what the session comes to at its end.

What belongs here: bringing stored rows, fills and last prices to the functions that size, derive and reconcile. What
does not: those functions (`research/risk`, `research/ledger`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from math import fsum
from typing import Any

import polars as pl

from trading_pipeline.brokers.base import FINAL, Holding, Order, Working
from trading_pipeline.research.ledger import ledger, order_faults, reconcile
from trading_pipeline.research.live import SessionContext
from trading_pipeline.research.money import MICROS, micros
from trading_pipeline.research.risk import Account, Limits, sized
from trading_pipeline.research.risk.account import HELD
from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.tables.live import (
    ACCOUNTS,
    FILLS,
    LIVE_SESSIONS,
    ORDER_EVENTS,
    ORDERS,
    POSITIONS,
    TRADE_SIGNALS,
    TRADES,
)


@dataclass
class Bookkeeping:
    """The ledger of a book as of the session's last fill.

    orders, events, fills: stored rows of the whole book, as of the start. cash_at_start: of the book. actions: of
    corporations, that move what is held. held: shares by instrument. prices: last ones. left_behind: instruments held
    from earlier sessions and not flat since. entries: money at risk of the session's entries, by order.

    Cash and shares are counted on fill by fill, apart from `research.ledger`, which derives them from all fills at the
    end: the two must agree to the cent.
    """

    session: date
    orders: pl.DataFrame
    events: pl.DataFrame
    fills: pl.DataFrame
    actions: pl.DataFrame | None
    limits: Limits
    tickers: dict[str, str]
    sectors: Mapping[str, str | None]
    cash_at_start: float
    held: dict[str, int]
    prices: dict[str, float]
    left_behind: set[str]
    entries: dict[str, float]
    _cash: int
    _filled: set[str]
    _priced: set[str] = field(default_factory=set)

    @classmethod
    def of(
        cls,
        store: LiveStore,
        context: SessionContext,
        portfolio_value: float,
        limits: Limits,
        actions: pl.DataFrame | None = None,
    ) -> Bookkeeping:
        """The book as it is stored. portfolio_value: its cash where it is new. actions: as for `research.ledger`."""
        stored = store.read_all((LIVE_SESSIONS, POSITIONS, ORDERS, ORDER_EVENTS, FILLS))
        sessions, positions, orders, events, fills = stored.values()
        begun = sessions.sort("session")["equity"]
        cash = portfolio_value if begun.is_empty() else begun[0]
        known = _known_prices(positions, context.session)
        derived = ledger(orders, fills, known, [context.session], cash, actions)
        earlier = derived.journal.filter((pl.col("session") < context.session) | (pl.col("kind") != "fill"))
        last = earlier.group_by("instrument_id", maintain_order=True).agg(pl.col("shares").last())
        flat = derived.journal.filter((pl.col("session") == context.session) & (pl.col("shares") == 0))
        today = orders.filter((pl.col("session") == context.session) & (pl.col("role") == "entry"))
        return cls(
            session=context.session,
            orders=orders,
            events=events,
            fills=fills,
            actions=actions,
            limits=limits,
            tickers=dict(derived.journal.select("instrument_id", "ticker").iter_rows())
            | dict(context.names.select("instrument_id", "ticker").iter_rows()),
            sectors=dict(context.names.select("instrument_id", "sector").iter_rows()),
            cash_at_start=cash,
            held=dict(derived.positions.select("instrument_id", "quantity").iter_rows()),
            prices=dict(derived.positions.select("instrument_id", "market_price").iter_rows()),
            left_behind=set(last.filter(pl.col("shares") != 0)["instrument_id"]) - set(flat["instrument_id"]),
            entries=dict(today.select("order_id", "risk").iter_rows()),
            _cash=micros(derived.accounts["cash"].item()),
            _filled=set(fills["order_id"]),
        )

    @property
    def cash(self) -> float:
        """What fills and fees have left; counted in whole millionths, so that their order changes nothing."""
        return self._cash / MICROS

    @property
    def equity(self) -> float:
        """Cash and what is held at the last prices."""
        return fsum([self.cash, *(shares * self.prices[id_] for id_, shares in self.held.items() if shares)])

    @property
    def by_ticker(self) -> dict[str, int]:
        """Shares held, by ticker."""
        return {self.tickers[id_]: shares for id_, shares in self.held.items() if shares}

    def price(self, logs: pl.DataFrame) -> None:
        """Takes in the last closes. logs: [instrument_id, bar_started_at, close], any order."""
        last = logs.sort("bar_started_at", maintain_order=True)
        names = last["instrument_id"].to_list()
        self.prices.update(zip(names, last["close"].to_list(), strict=True))
        self._priced.update(names)

    def take(self, fills: Sequence[Mapping[str, Any]]) -> None:
        """Takes in new fills: rows of `fills` without book and session."""
        for row in fills:
            shares = row["quantity"] if row["side"] == "buy" else -row["quantity"]
            self.held[row["instrument_id"]] = self.held.get(row["instrument_id"], 0) + shares
            self._cash -= shares * micros(row["price"]) + micros(row["fee"])
            self._filled.add(row["order_id"])
            if self.held[row["instrument_id"]] == 0:
                self.left_behind.discard(row["instrument_id"])
            self.prices.setdefault(row["instrument_id"], row["price"])

    def order(self, orders: Sequence[Order]) -> None:
        """Takes in new orders."""
        self.entries |= {order.order_id: order.risk or 0.0 for order in orders if order.role == "entry"}

    def sized(self, wished: pl.DataFrame, working: Sequence[Working]) -> pl.DataFrame:
        """`research.risk.sized` of wished entries, by what the account is now.

        Buying power is equity less what is held, long or short, and less what open entries may still cost: nothing is
        borrowed. A position risks what it loses from its last price to its stop, all of its value where it has none.
        """
        open_entries = [item for item in working if item.order.role == "entry" and item.status not in FINAL]
        waiting = {item.order.order_id for item in open_entries}
        aside = fsum(
            (item.order.quantity - item.filled) * (item.order.limit_price or self.prices[item.order.instrument_id])
            for item in open_entries
        )
        value = {id_: abs(shares) * self.prices[id_] for id_, shares in self.held.items() if shares}
        stops = {item.order.instrument_id: item.order.stop_price for item in working if item.order.role == "stop"}
        held = [
            {"instrument_id": id_, "risk": self._at_risk(id_, stops.get(id_)), "sector": self.sectors.get(id_)}
            for id_ in value
        ] + [
            {
                "instrument_id": item.order.instrument_id,
                "risk": (item.order.risk or 0.0) * (1 - item.filled / item.order.quantity),
                "sector": self.sectors.get(item.order.instrument_id),
            }
            for item in open_entries
        ]
        day_risk = fsum(risk for id_, risk in self.entries.items() if id_ in waiting or id_ in self._filled)
        account = Account.of(
            self.equity,
            self.equity - fsum(value.values()) - aside,
            day_risk=day_risk,
            held=pl.DataFrame(held, schema=HELD),
        )
        return sized(wished, account, self.limits)

    def _at_risk(self, id_: str, stop: float | None) -> float:
        shares, price = self.held[id_], self.prices[id_]
        return abs(shares) * price if stop is None else max(shares * (price - stop), 0.0)

    def derived(
        self, store: LiveStore, told: Mapping[str, pl.DataFrame], holdings: Sequence[Holding] | None
    ) -> tuple[dict[str, pl.DataFrame], list[str]]:
        """`positions`, `trades` and `accounts` of the session, without the book, and what is off, in words.

        told: rows of `order_events` and `fills` that are not stored yet. holdings: what the broker says is held.
        Compared are the order of events, fills with their orders, the account with what was counted fill by fill, and
        the positions with the broker's, of names that the book ever ordered.
        """
        stored = store.read_all((POSITIONS, TRADE_SIGNALS, ORDERS, ORDER_EVENTS, FILLS))
        positions, signals, orders, events, fills = stored.values()
        fresh = {name: rows.with_columns(book=pl.lit(store.book)) for name, rows in told.items() if rows.height}
        if ORDER_EVENTS.name in fresh:
            events = pl.concat([events, fresh[ORDER_EVENTS.name].select(ORDER_EVENTS.names)])
        if FILLS.name in fresh:
            fills = pl.concat([fills, fresh[FILLS.name].select(FILLS.names)])
        ours = pl.DataFrame(
            {
                "session": self.session,
                "instrument_id": list(self._priced),
                "price": [self.prices[id_] for id_ in self._priced],
            },
            schema=_PRICES,
        )
        prices = pl.concat([_known_prices(positions, self.session), ours])
        came_to = ledger(orders, fills, prices, [self.session], self.cash_at_start, self.actions, signals)
        counted = pl.DataFrame({"session": [self.session], "cash": [self.cash], "equity": [self.equity]})
        held = None
        if holdings is not None:
            known = set(orders["ticker"])
            rows = [(each.ticker, each.quantity, each.average_price) for each in holdings if each.ticker in known]
            held = pl.DataFrame(rows, schema=_HOLDINGS, orient="row")
        said = order_faults(orders, events, fills)
        faults = [f"{order_id}: {fault}" for order_id, fault in said.iter_rows()]
        faults += reconcile(came_to, accounts=counted, holdings=held)["says"].to_list()
        frames = {
            table.name: frame.select(name for name in table.names if name != "book")
            for table, frame in ((POSITIONS, came_to.positions), (TRADES, came_to.trades), (ACCOUNTS, came_to.accounts))
        }
        return frames, faults


_PRICES = pl.Schema({"session": pl.Date(), "instrument_id": pl.String(), "price": pl.Float64()})
_HOLDINGS = pl.Schema({"ticker": pl.String(), "quantity": pl.Int64(), "average_price": pl.Float64()})


def _known_prices(positions: pl.DataFrame, session: date) -> pl.DataFrame:
    """Last prices of sessions before, of what was held at their end."""
    return positions.filter(pl.col("session") < session).select("session", "instrument_id", price="market_price")
