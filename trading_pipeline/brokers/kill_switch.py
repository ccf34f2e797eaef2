"""The kill switch: no entry is left waiting, and nothing that is held loses its protection.

What belongs here: cancelling entries. What does not: how the switch is thrown, and whether entries may be made.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from trading_pipeline.brokers.base import FINAL, Book, Broker, Told, Working
from trading_pipeline.brokers.working import after


def cancel_entries(broker: Broker, working: Sequence[Working], at: datetime) -> Told:
    """Cancel every entry that still waits, and the legs of those that filled nothing; exits and their orders stay.

    An entry that has filled in part keeps its stop and its target, for what it has filled: the broker is asked once
    more after the cancelling, since one that cancels the legs with the entry has to arm them again. Entries that were
    never placed are cancelled too. Running it again changes nothing.
    """
    live = [item for item in working if item.status not in FINAL]
    entries = {item.order.order_id: item for item in live if item.order.role == "entry"}
    if not entries:
        return Told()
    bare = [
        item for item in live if (entry := entries.get(item.order.parent_id or "")) is not None and entry.filled == 0
    ]
    told = broker.cancel(list(entries.values()), at)
    rest = after(live, told)
    filled = {fill.order_id for fill in told.fills}
    unneeded = {item.order.order_id for item in bare if item.order.parent_id not in filled}
    legs = [item for item in rest if item.order.order_id in unneeded and _over(item, rest)]
    told = _joined(told, broker.cancel(legs, at) if legs else Told())
    kept = [item for item in after(live, told) if item.status != "pending"]
    return _joined(told, broker.advance(Book(at=at, working=kept)))


def _over(leg: Working, rest: Sequence[Working]) -> bool:
    return all(item.order.order_id != leg.order.parent_id for item in rest)


def _joined(first: Told, then: Told) -> Told:
    return Told([*first.events, *then.events], [*first.fills, *then.fills])
