"""The kill switch: asking whether a setting or a file throws it, and throwing it in the database.

What belongs here: whether trading is halted, and what a person who halts it must know. What does not: what a halt does
(`session.py`), and its row in the database (`storage/live_store.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import polars as pl

from trading_pipeline.brokers.working import working_orders
from trading_pipeline.live.execution import entries
from trading_pipeline.markets import MARKETS
from trading_pipeline.settings import Settings
from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.storage.locks import Database, is_held
from trading_pipeline.tables.live import FILLS, ORDER_EVENTS, ORDERS


def halted_by(settings: Settings) -> Callable[[], str | None]:
    """Why trading is halted, asked anew at each call; None where it is not.

    A setting holds for as long as the process that read it; the file for as long as it is there, and its first line is
    the reason. A file that cannot be read halts all the same.
    """

    def halted() -> str | None:
        if settings.trading_halted:
            return "TRADING_HALTED is set"
        file = settings.halt_file
        if not file.exists():
            return None
        try:
            said = file.read_text(encoding="utf-8").strip().splitlines()
        except (OSError, UnicodeDecodeError):
            said = []
        return said[0] if said else f"there is a file {file.name}"

    return halted


def halt_trading(settings: Settings, database: Database, reason: str | None, now: datetime) -> str:
    """Sets the kill switch in the database, or lifts it where there is no `reason`; what was done, in words.

    Said too: in which markets' books entries wait that no loop is there to cancel; and, of a halt that is lifted, what
    else still halts trading.
    """
    store = LiveStore(database)
    if reason is None:
        lifted = store.lift_halt(now)
        if (still := halted_by(settings)()) is not None:
            where = "TRADING_HALTED" if settings.trading_halted else settings.halt_file
            return f"{'The halt is lifted' if lifted else 'No halt to lift'}, but {where} still halts: {still}."
        return "Trading goes on." if lifted else "Trading was not halted."
    halted = store.halt(reason, now)
    said = f"Trading is halted: {reason}." if halted else f"Trading was halted already: {store.halted()}."
    return " ".join([said, *_left_waiting(database)])


def _left_waiting(database: Database) -> list[str]:
    """A sentence on each market's paper book in which entries wait and that no loop leads; on all, where none is led.

    The ledger has an order before its broker does: what it does not know of waits nowhere.
    """
    unled = [
        store
        for store in (LiveStore(database, market.book) for market in MARKETS.values())
        if not is_held(database, store.lock_name)
    ]
    left = {store.book: len(entries(working_orders(*_orders(store)))) for store in unled}
    lines = [
        f"No loop leads the book {book}, where {count} {'entry waits' if count == 1 else 'entries wait'}: cancel what "
        "waits at the broker on its own pages."
        for book, count in left.items()
        if count
    ]
    return lines or (["No loop leads a book, and no entry waits in any."] if len(unled) == len(MARKETS) else [])


def _orders(store: LiveStore) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    orders, events, fills = store.read_all((ORDERS, ORDER_EVENTS, FILLS)).values()
    return orders, events, fills
