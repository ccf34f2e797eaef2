"""Orders and fills by hand and by chance."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from trading_pipeline.tables.live import FILLS, ORDER_EVENTS, ORDERS

SESSIONS = [date(2025, 9, 15) + timedelta(days=day) for day in range(5)]


class Day:
    """A book in the making: `buy`, `sell` and `event` note rows, `orders`, `fills` and `events` are their frames."""

    def __init__(self) -> None:
        self._orders: dict[str, dict] = {}
        self._fills: list[dict] = []
        self._events: list[dict] = []

    def order(self, order_id, side="buy", quantity=100, role="entry", name="us:A", parent=None, risk=None, signal=None):
        self._orders[order_id] = {
            "book": "paper", "order_id": order_id, "session": SESSIONS[0], "instrument_id": name,
            "ticker": name.removeprefix("us:"), "signal_id": signal, "parent_id": parent, "role": role, "side": side,
            "quantity": quantity, "order_type": "market", "limit_price": None, "stop_price": None,
            "time_in_force": "day", "created_at": moment(0), "risk": risk,
        }  # fmt: skip
        return self

    def fill(self, order_id, quantity, price, fee=0.0, session=0, minute=0, fill_id=None, **order):
        if order_id not in self._orders:
            self.order(order_id, quantity=quantity, **order)
        of = self._orders[order_id]
        self._fills.append(
            {
                "book": "paper",
                "fill_id": fill_id or f"{order_id}@{len(self._fills):04d}",
                "order_id": order_id,
                "session": SESSIONS[session],
                "instrument_id": of["instrument_id"],
                "ticker": of["ticker"],
                "at": moment(session, minute),
                "side": of["side"],
                "quantity": quantity,
                "price": price,
                "fee": fee,
            }
        )
        return self

    def events(self, order_id, *states):
        for sequence, state in enumerate(states):
            self._events.append(
                {
                    "book": "paper",
                    "order_id": order_id,
                    "sequence": sequence,
                    "at": moment(0, sequence),
                    "status": state,
                    "reason": None,
                    "broker_order_id": f"b-{order_id}" if sequence else None,
                }
            )
        return self

    @property
    def orders(self):
        return pl.DataFrame(list(self._orders.values()), schema=ORDERS.schema)

    @property
    def fills(self):
        return pl.DataFrame(self._fills, schema=FILLS.schema)

    @property
    def told(self):
        return pl.DataFrame(self._events, schema=ORDER_EVENTS.schema)


def moment(session, minute=0):
    return datetime.combine(SESSIONS[session], datetime.min.time(), UTC) + timedelta(hours=14, minutes=minute)


@pytest.fixture
def day():
    return Day()


def prices_of(*rows):
    """(session number, price) or (session number, price, instrument)."""
    return pl.DataFrame(
        [(SESSIONS[row[0]], row[2] if len(row) > 2 else "us:A", row[1]) for row in rows],
        schema={"session": pl.Date(), "instrument_id": pl.String(), "price": pl.Float64()},
        orient="row",
    )


def actions_of(*rows):
    """(session number, kind, value) or with an instrument."""
    return pl.DataFrame(
        [(SESSIONS[row[0]], row[3] if len(row) > 3 else "us:A", row[1], row[2]) for row in rows],
        schema={"session": pl.Date(), "instrument_id": pl.String(), "kind": pl.String(), "value": pl.Float64()},
        orient="row",
    )


@pytest.fixture
def prices():
    return prices_of


@pytest.fixture
def actions():
    return actions_of


@pytest.fixture
def sessions():
    return SESSIONS
