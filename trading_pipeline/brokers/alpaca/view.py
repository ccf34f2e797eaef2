"""What the account has, as it was read for one call of the broker.

What belongs here: finding the orders that are ours, by whatever name they go there, and their executions. What does
not: deciding anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from trading_pipeline.brokers.alpaca.client import AlpacaClient
from trading_pipeline.brokers.alpaca.translation import Activity, Theirs, all_of
from trading_pipeline.brokers.base import Working


@dataclass
class AccountView:
    """The orders and executions of the account as they were read for one call."""

    client: AlpacaClient
    listed: Sequence[Theirs]
    _by_id: dict[str, Theirs] = field(default_factory=dict)
    _by_client_id: dict[str, Theirs | None] = field(default_factory=dict)
    _ids: dict[str, list[str]] = field(default_factory=dict)
    _activities: list[Activity] | None = None
    _first: datetime | None = None

    def __post_init__(self) -> None:
        self._take(self.listed)

    def of(self, item: Working) -> Theirs | None:
        """The order that is ours there, or that took its place; None where Alpaca knows none."""
        found = self._start_of(item)
        ids = []
        while found is not None:
            ids.append(found.broker_order_id)
            if found.replaced_by is None or found.replaced_by in ids:
                break
            found = self._get(found.replaced_by)
        self._ids[item.order.order_id] = ids
        return found

    def read_again(self, found: Theirs) -> None:
        """Ask for an order anew."""
        self._by_id.pop(found.broker_order_id, None)
        self._activities = None
        fresh = self.client.by_id(found.broker_order_id)
        self._take([fresh] if fresh is not None else [])

    def fills(self, item: Working) -> list[Activity]:
        """Executions of the order that Alpaca tells, those that are written down included."""
        found = self.of(item)
        if found is None or (found.filled == 0 and len(self._ids[item.order.order_id]) == 1):
            return []
        # By whichever clock is behind, ours or theirs.
        since = min(item.order.created_at, found.submitted_at)
        if self._activities is None or self._first is None or since < self._first:
            self._first = since if self._first is None else min(self._first, since)
            self._activities = self.client.fills_since(self._first)
        ids = set(self._ids[item.order.order_id])
        return [activity for activity in self._activities if activity.broker_order_id in ids]

    def new_fills(self, item: Working) -> list[Activity]:
        """Those that are not written down."""
        return [activity for activity in self.fills(item) if activity.activity_id not in item.fill_ids]

    def complete(self, item: Working) -> bool:
        """Whether every share that the order says is filled has its execution."""
        found = self.of(item)
        return found is None or sum(activity.shares for activity in self.fills(item)) >= found.filled

    def _start_of(self, item: Working) -> Theirs | None:
        if item.broker_order_id is not None:
            return self._get(item.broker_order_id)
        if item.order.parent_id is None:
            return self._named(item.order.order_id)
        parent = self._named(item.order.parent_id)
        leg = parent.leg(item.order.role) if parent is not None else None
        return None if leg is None else self._by_id.get(leg.broker_order_id, leg)

    def _get(self, broker_order_id: str) -> Theirs | None:
        if broker_order_id not in self._by_id:
            found = self.client.by_id(broker_order_id)
            self._take([found] if found is not None else [])
        return self._by_id.get(broker_order_id)

    def _named(self, client_order_id: str) -> Theirs | None:
        if client_order_id not in self._by_client_id:
            found = self.client.by_client_id(client_order_id)
            self._by_client_id[client_order_id] = found
            self._take([found] if found is not None else [])
        return self._by_client_id[client_order_id]

    def _take(self, orders: Iterable[Theirs]) -> None:
        for found in orders:
            self._by_id |= {part.broker_order_id: part for part in all_of([found])}
            self._by_client_id[found.client_order_id] = found
