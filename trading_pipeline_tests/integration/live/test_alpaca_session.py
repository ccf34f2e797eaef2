"""A short session on Alpaca's API: the real client over HTTP, an exchange that fills at the day's prices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from pydantic import SecretStr

from trading_pipeline.brokers.alpaca import AlpacaBroker, Patience
from trading_pipeline.live.clocks import SimulatedClock
from trading_pipeline.live.loop import Beat
from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.tables.live import LIVE_TICKS
from trading_pipeline_tests.alpaca import KEY, OPEN_STATES, SECRET, AlpacaServer
from trading_pipeline_tests.live_sessions import MINUTE, SESSION, Day, lead


class Exchange(SimulatedClock):
    """A clock that trades what was placed whenever it moves on: at the closes of the bars that have ended by then."""

    def __init__(self, day: Day, server: AlpacaServer) -> None:
        super().__init__(day.inputs.context.opens_at)
        self.server = server
        names = day.inputs.context.names
        self.closes = day.bars.join(names.select("instrument_id", "ticker"), on="instrument_id").sort("started_at")
        server.price = dict(names.select("ticker", "previous_close").iter_rows())
        server.now = self.now

    def sleep(self, seconds: float) -> None:
        """Move on, and trade."""
        super().sleep(seconds)
        server = self.server
        with server._lock:
            server.now = self.now - timedelta(seconds=1)
            ended = self.closes.filter(pl.col("available_at") <= self.now)
            server.price |= dict(ended.group_by("ticker").agg(pl.col("close").last()).iter_rows())
            for order in list(server.orders.values()):
                if order["status"] in OPEN_STATES and order["status"] != "held" and self._met(order):
                    server.fill(order)

    def _met(self, order: dict[str, Any]) -> bool:
        price, buys = self.server.price[order["symbol"]], order["side"] == "buy"
        if order["type"] == "market":
            return True
        if order["type"] == "limit":
            limit = float(order["limit_price"])
            return price <= limit if buys else price >= limit
        stop = float(order["stop_price"])
        return price >= stop if buys else price <= stop


@pytest.fixture
def server() -> Iterator[AlpacaServer]:
    with AlpacaServer().running() as running:
        yield running


def broker_at(server: AlpacaServer) -> AlpacaBroker:
    patience = Patience(sleep=lambda seconds: None, connect=2.0, read=2.0)
    return AlpacaBroker(SecretStr(KEY), SecretStr(SECRET), server.url, patience=patience)


def placed(server: AlpacaServer) -> list[str]:
    return sorted(order["client_order_id"] for order in server.orders.values() if order["parent"] is None)


def held(server: AlpacaServer) -> dict[str, int]:
    return {symbol: shares for symbol, (shares, _) in server.positions.items() if shares}


@pytest.fixture(scope="module")
def day() -> Day:
    return Day.random(minutes=75, seed=17)


def test_a_session_trades_there_and_its_ledger_is_the_account(warehouse, server, day):
    result = lead(day, warehouse, clock=Exchange(day, server), broker=broker_at(server))
    assert result.row.ended_why == "closed"
    entries = result.orders.filter(pl.col("role") == "entry")
    assert entries.height > 2
    assert set(entries["order_id"]) <= set(placed(server))
    assert result.fills.height == len(server.activities) > 0
    told = {activity["id"]: int(activity["qty"]) for activity in server.activities}
    assert dict(result.fills.select("fill_id", "quantity").iter_rows()) == told
    assert held(server) == {}
    assert result.positions.is_empty()
    spent = sum(
        (1 if each["side"] == "buy" else -1) * int(each["qty"]) * float(each["price"]) for each in server.activities
    )
    assert result.accounts["cash"].item() == pytest.approx(100_000 - spent, abs=0.005)
    last = result.order_events.sort("order_id", "sequence").group_by("order_id").last()
    assert set(last["status"]) <= {"filled", "cancelled", "expired", "rejected"}


def test_a_session_that_dies_after_placing_places_nothing_twice(warehouse, server, day):
    clock = Exchange(day, server)
    entry = lead(day, warehouse, book="replay:undisturbed").orders["created_at"].min()
    place = (entry - day.inputs.context.opens_at) // MINUTE  # type: ignore[operator]

    def dies(beat: Beat) -> None:
        if beat.tick >= place:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lead(day, warehouse, clock=clock, broker=broker_at(server), heartbeat=dies, heartbeat_ticks=1)
    before = placed(server)
    assert before
    waiting = [each for each in server.orders.values() if each["parent"] is None and each["status"] in OPEN_STATES]
    assert waiting == []
    result = lead(day, warehouse, clock=clock, broker=broker_at(server))
    assert len(set(placed(server))) == len(placed(server))
    assert set(before) <= set(placed(server))
    assert result.row.ended_why == "closed"
    assert held(server) == {}
    assert result.fills.height == len(server.activities)


def test_shares_that_nobody_ordered_stop_entries_and_are_left_alone(warehouse, server, day):
    server.positions["T05"] = (7, 10.0)
    result = lead(day, warehouse, clock=Exchange(day, server), broker=broker_at(server))
    said = LiveStore(warehouse).read(LIVE_TICKS, SESSION)["why_not"].unique().to_list()
    assert said == ["the broker and the ledger differ: T05: we have 0 shares, the broker has 7"]
    assert result.orders.is_empty()
    assert held(server) == {"T05": 7}
    assert set(result.signals["outcome"]) == {"halted"}


def test_the_kill_switch_cancels_there_too(warehouse, server, day):
    entry: datetime = lead(day, warehouse, book="replay:undisturbed").orders["created_at"].min()  # type: ignore[assignment]
    clock = Exchange(day, server)
    halted = lead(
        day, warehouse, clock=clock, broker=broker_at(server),
        halted=lambda: "enough" if clock.now > entry else None,
    )  # fmt: skip
    assert halted.row.ended_why == "halted"
    assert not [order for order in server.orders.values() if order["status"] in OPEN_STATES]
    assert held(server) == {}
