"""What must be true of a session that was traded: of its signals, orders, fills and ledger.

What belongs here: looking at the live tables of a market's paper book. What does not: replays, which are nobody's
asset.
"""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from trading_pipeline.checks.factory import Finding, Look, Sight
from trading_pipeline.checks.market_checks import say
from trading_pipeline.tables import CORPORATE_ACTIONS, Table
from trading_pipeline.tables.live import (
    ACCOUNTS,
    FILLS,
    LIVE_SESSIONS,
    MARKET_ANALYSIS,
    ORDER_EVENTS,
    ORDERS,
    POSITIONS,
    TRADE_SIGNALS,
    TRADES,
)

if TYPE_CHECKING:
    from trading_pipeline.research.ledger import Ledger
    from trading_pipeline.storage.live_store import LiveStore

_ENOUGH = 3
"""How many faults are told in words."""


def _store(sight: Sight) -> LiveStore:
    from trading_pipeline.storage.live_store import LiveStore

    return LiveStore(sight.world.warehouse, sight.market.book)


def _rows(sight: Sight, table: Table) -> pl.DataFrame:
    return _store(sight).read(table).filter(pl.col("session").is_in(list(sight.sessions)))


def _found(faults: list[str], sound: str, **numbers: int) -> Finding:
    return Finding(not faults, "; ".join(faults[:_ENOUGH]) if faults else sound, {"faults": len(faults), **numbers})


def ended_as_planned(sight: Sight) -> Finding:
    """Each session that was begun ended with the close or by the kill switch, and says so."""
    rows = _rows(sight, LIVE_SESSIONS)
    wrong = rows.filter(~pl.col("ended_why").is_in(["closed", "halted"]).fill_null(False))
    faults = [
        f"{row['session']}: {row['ended_why'] or 'it never ended'}"
        for row in wrong.sort("session").iter_rows(named=True)
    ]
    return _found(faults, f"All of {rows.height} ended as planned.", sessions=rows.height)


def outcomes_follow(sight: Sight) -> Finding:
    """A signal was ordered where an entry of its size exists, and refused for a reason where none does."""
    signals, orders = _rows(sight, TRADE_SIGNALS), _rows(sight, ORDERS)
    entries = orders.filter(pl.col("role") == "entry").group_by("signal_id").agg(ordered=pl.col("quantity").sum())
    both = signals.join(entries, on="signal_id", how="left").with_columns(pl.col("ordered").fill_null(0))
    taken = pl.col("outcome") == "ordered"
    wrong = both.filter(
        (taken != (pl.col("ordered") > 0))
        | (pl.col("quantity") != pl.col("ordered"))
        | (pl.col("outcome_reason") == "")
    )
    return Finding(
        wrong.is_empty(),
        say(f"All of {signals.height} signals have what they say.", "Outcome and orders differ", wrong["signal_id"]),
        {"signals": signals.height, "wrong": wrong.height},
    )


def multipliers_in_bounds(sight: Sight) -> Finding:
    """No analysis scales a signal by less than a half or more than two."""
    rows = _rows(sight, MARKET_ANALYSIS)
    names = ("mean_reversion", "trend_continuation", "long", "short")
    wrong = rows.filter(pl.any_horizontal(~pl.col(name).is_between(0.5, 2) for name in names))
    return Finding(wrong.is_empty(), f"{wrong.height} of {rows.height} are out of bounds.", {"rows": rows.height})


def states_follow(sight: Sight) -> Finding:
    """Each order went through states that follow one another, and was executed as it was placed."""
    from trading_pipeline.research.ledger import order_faults

    stored = _store(sight).read_all((ORDERS, ORDER_EVENTS, FILLS))
    orders, events, fills = stored.values()
    ours = orders.filter(pl.col("session").is_in(list(sight.sessions)))["order_id"]
    faults = order_faults(orders, events, fills).filter(pl.col("order_id").is_in(ours.implode()))
    return _found([f"{id_}: {fault}" for id_, fault in faults.iter_rows()], f"All of {len(ours)} do.", orders=len(ours))


def stops_protect(sight: Sight) -> Finding:
    """What was held when a session ended had a stop at the broker, over all of its shares.

    Held is what the fills came to, so that a session that was broken off is looked at as well; one that did not end, as
    it stands now.
    """
    from trading_pipeline.brokers.working import working_orders

    begun, orders, events, fills = _store(sight).read_all((LIVE_SESSIONS, ORDERS, ORDER_EVENTS, FILLS)).values()
    ends = dict(begun.filter(pl.col("session").is_in(list(sight.sessions))).select("session", "ended_at").iter_rows())
    held = _derived(sight, sorted(ends)).positions.sort("session", "ticker")
    faults = []
    for (session,), rows in held.group_by("session", maintain_order=True):
        told = events if ends[session] is None else events.filter(pl.col("at") <= ends[session])
        by_then = pl.col("session") <= session
        covered: Counter[tuple[str, str]] = Counter()
        for item in working_orders(orders.filter(by_then), told, fills.filter(by_then)):
            if item.order.role == "stop" and item.status != "pending":
                left = item.order.quantity - item.filled
                covered[item.order.instrument_id, item.order.side] += min(left, max(item.held or 0, 0))
        for id_, ticker, shares in rows.select("instrument_id", "ticker", "quantity").iter_rows():
            bare = abs(shares) - covered[id_, "sell" if shares > 0 else "buy"]
            if bare > 0:
                faults.append(f"{session}: {bare} of {abs(shares)} shares of {ticker} had no stop")
    return _found(faults, f"All of {held.height} positions held at the end of a session had one.", held=held.height)


def fees_and_prices(sight: Sight) -> Finding:
    """Each execution has a positive price and quantity, and no negative fee."""
    rows = _rows(sight, FILLS)
    wrong = rows.filter((pl.col("price") <= 0) | (pl.col("quantity") <= 0) | (pl.col("fee") < 0))
    return Finding(
        wrong.is_empty(),
        say(f"All of {rows.height} fills do.", "Not so", wrong["fill_id"]),
        {"fills": rows.height, "fees": round(float(rows["fee"].sum()), 2)},
    )


def reconciled(table: Table) -> Look:
    """Looks for what a table of the ledger says otherwise than the fills, by a cent or a share."""

    def look(sight: Sight) -> Finding:
        from trading_pipeline.research.ledger import reconcile

        stated, derived = _ledger(sight)
        rows = stated[table.name]
        compared: dict[str, Any] = {table.name: rows}
        found = reconcile(derived, **compared)
        return _found(
            found["says"].to_list(), f"{rows.height} rows follow from the fills to the cent.", rows=rows.height
        )

    return look


def _ledger(sight: Sight) -> tuple[dict[str, pl.DataFrame], Ledger]:
    """What positions, trades and accounts say of the sessions that ended, and what the fills come to."""
    stored = _store(sight).read_all((POSITIONS, TRADES, ACCOUNTS))
    ended = stored[ACCOUNTS.name].filter(pl.col("session").is_in(list(sight.sessions)))["session"].to_list()
    within = {name: rows.filter(pl.col("session").is_in(ended)) for name, rows in stored.items()}
    return within, _derived(sight, ended)


def _derived(sight: Sight, sessions: list[date]) -> Ledger:
    """What the fills of the book come to at the end of each of the sessions.

    With the actions that were known when the session began, as its loop counted with them: what became known later is
    in the books of the sessions that began after it. The journal is that of the last of the sessions.
    """
    from trading_pipeline.live.inputs import actions_known
    from trading_pipeline.research.ledger import Ledger, ledger

    stored = _store(sight).read_all((LIVE_SESSIONS, POSITIONS, TRADE_SIGNALS, ORDERS, FILLS))
    begun = stored[LIVE_SESSIONS.name].sort("session")
    prices = stored[POSITIONS.name].select("session", "instrument_id", price="market_price")
    cash = float(begun["equity"][0]) if begun.height else sight.world.settings.portfolio_value
    traded = pl.col("instrument_id").is_in(stored[FILLS.name]["instrument_id"].unique().implode())
    versions = sight.world.lake.read(sight.market.name, CORPORATE_ACTIONS, predicate=traded)
    began = dict(begun.select("session", "started_at").iter_rows())

    def of(span: list[date], actions: pl.DataFrame) -> Ledger:
        orders, fills, signals = (stored[table.name] for table in (ORDERS, FILLS, TRADE_SIGNALS))
        return ledger(orders, fills, prices, span, cash, actions, signals)

    # Sessions between which nothing became known are derived together.
    spans: list[tuple[list[date], pl.DataFrame]] = []
    for session in sorted(set(sessions)):
        actions = actions_known(versions, began[session]).sort(pl.all())
        if spans and spans[-1][1].equals(actions):
            spans[-1][0].append(session)
        else:
            spans.append(([session], actions))
    parts = [of(*span) for span in spans] or [of([], actions_known(versions))]
    return Ledger(
        parts[-1].journal,
        *(pl.concat([getattr(part, name) for part in parts]) for name in ("positions", "trades", "accounts")),
    )
