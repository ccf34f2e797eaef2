"""From new dips to the outbox, and from the outbox to the people.

What belongs here: when new dips are due, and what becomes of any alert when sending it fails. What does not: how it
looks and travels (`discord.py`, `mail.py`), and falls on their way to the outbox (`falls.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import TYPE_CHECKING

import polars as pl
from pydantic import ValidationError

from trading_pipeline.alerts.channel import Channel
from trading_pipeline.alerts.dips import dip_alerts
from trading_pipeline.alerts.errors import AddressClosed, MessageRefused, NotDelivered
from trading_pipeline.alerts.facts import AlertFacts
from trading_pipeline.alerts.kinds import KINDS
from trading_pipeline.markets import Market
from trading_pipeline.research.dip_desk.new_dips import LOOKBACK, new_dips
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import World

if TYPE_CHECKING:
    from trading_pipeline.storage.outbox import Batch, Outbox

NEWS_FOR = timedelta(days=3)
"""How long after it was due an alert of a dip is still worth sending: over a weekend."""
BUDGET_SECONDS = 15.0
"""How long one pass may go on beginning messages; what is left is due at the next. Dagster ends a tick after 60."""


@dataclass
class Delivered:
    """What one pass over a channel did, in numbers of alerts.

    problems: what went wrong, one line each. closed: how the address turned out to take nothing any more.
    """

    channel: str
    sent: int = 0
    postponed: int = 0
    given_up: int = 0
    problems: list[str] = field(default_factory=list)
    closed: AddressClosed | None = None


def due_at(market: Market, session: date, dip_desk_time: str, published_at: datetime) -> datetime:
    """When the dips of a session are told, UTC: when they are published, or at 09:30 on the exchange's clock on the
    next session; at once where that has passed.
    """
    if dip_desk_time == "close":
        return published_at
    exchange = calendar(market.exchange)
    local = datetime.combine(
        exchange.offset(session, 1), time_of_day.fromisoformat(dip_desk_time), tzinfo=exchange.timezone
    )
    return max(published_at, local.astimezone(UTC))


def is_news(market: Market, session: date, now: datetime) -> bool:
    """Whether a session is the last that closed or the one before it: older ones are history, and nobody is told."""
    exchange = calendar(market.exchange)
    return session >= exchange.offset(exchange.latest_closed(now), -1)


def enqueue_new_dips(
    outbox: Outbox,
    channels: Sequence[str],
    world: World,
    market: Market,
    dips: pl.DataFrame,
    analyses: pl.DataFrame,
    published: Sequence[date],
    *,
    now: datetime,
    dip_desk_time: str,
) -> int:
    """Write down the new dips of the last of the sessions `published`; how many alerts were not there yet.

    dips: `dip_opportunities` of the last LOOKBACK + 1 published sessions; analyses: `dip_analysis` of the last one.
    Nothing where that session is history. Doing it again changes nothing.
    """
    window = list(published)[-(LOOKBACK + 1) :]
    if not window or not is_news(market, window[-1], now):
        return 0
    session = window[-1]
    alerts = dip_alerts(world, market.name, new_dips(dips, window, [session]), analyses)
    due = due_at(market, session, dip_desk_time, now)
    return outbox.enqueue(
        [dip.alert() for dip in alerts],
        channels,
        now=now,
        due_at=due,
        expires_at=due + NEWS_FOR,
        quiet_since=window[0],
    )


def deliver(
    outbox: Outbox,
    channel: Channel,
    now: Callable[[], datetime],
    *,
    budget_seconds: float = BUDGET_SECONDS,
    monotonic: Callable[[], float] = time.monotonic,
) -> Delivered:
    """Send what is due on the channel until nothing is, the channel wants a pause, or the time is used up.

    Several processes may do so at once. Nothing is raised for a message that fails: it is tried again, or given up with
    the reason kept.
    """
    done = Delivered(channel.name)
    reason = outbox.closed(channel.name, channel.address)
    if reason is not None:
        done.problems = [reason]
        return done
    ends = monotonic() + budget_seconds
    while monotonic() < ends and (batch := outbox.claim(channel.name, now())) is not None:
        if not _deliver_batch(outbox, channel, batch, now, done, lambda: monotonic() < ends):
            break
    return done


def _deliver_batch(
    outbox: Outbox,
    channel: Channel,
    batch: Batch,
    now: Callable[[], datetime],
    done: Delivered,
    in_time: Callable[[], bool],
) -> bool:
    """Send one batch, message by message; False where nothing more is to be sent for now."""
    alerts, unreadable = _readable(batch)
    if unreadable:
        why = "It was written down by another version of the program and cannot be read."
        outbox.give_up(batch, unreadable, now(), why)
        done.given_up += len(unreadable)
        done.problems.append(why)
    keys_of = {id(alert): key for key, alert in alerts.items()}
    waiting = [[keys_of[id(alert)] for alert in message] for message in channel.messages(list(alerts.values()))]
    while waiting:
        keys = waiting.pop(0)
        left = [key for message in waiting for key in message]
        if not in_time():
            outbox.release(batch, [*keys, *left])
            return False
        # Whoever was slow enough to lose the claim leaves the message to its new owner.
        if not outbox.renew(batch, [*keys, *left]):
            done.problems.append("Another process took over what this one was too slow to send.")
            return False
        try:
            receipt = channel.send([alerts[key] for key in keys], batch.name, now())
        except NotDelivered as error:
            wait = None if error.retry_after is None else timedelta(seconds=error.retry_after)
            again = outbox.postpone(batch, keys, now(), str(error), wait)
            done.postponed += len(keys) if again else 0
            done.given_up += 0 if again else len(keys)
            done.problems.append(str(error))
            outbox.release(batch, left)
            if error.for_all and wait is not None:
                outbox.hold(channel.name, now() + wait)
            return False
        except MessageRefused as error:
            outbox.give_up(batch, keys, now(), str(error))
            done.given_up += len(keys)
            done.problems.append(str(error))
        except AddressClosed as error:
            outbox.close_address(channel.name, channel.address, now(), str(error))
            done.given_up += len(keys) + len(left)
            done.problems.append(str(error))
            done.closed = error
            return False
        else:
            outbox.sent(keys, now(), receipt.message_id, receipt.remark)
            done.sent += len(keys)
            if receipt.remark:
                done.problems.append(receipt.remark)
    return True


def _readable(batch: Batch) -> tuple[dict[str, AlertFacts], list[str]]:
    kind = KINDS.get(batch.kind)
    if kind is None:
        return {}, [item.dedup_key for item in batch.alerts]
    alerts, unreadable = {}, []
    for item in batch.alerts:
        try:
            alerts[item.dedup_key] = kind.model_validate(item.payload)
        except ValidationError:
            unreadable.append(item.dedup_key)
    return alerts, unreadable
