"""The alerts' sensor: writes down the new dips of the latest published session, and sends what is due.

Falls during a session are written down by the live loop; they leave at the next tick here.

It needs no cursor: the outbox knows what was written down and what was sent, and asking it twice changes nothing.
"""

from collections.abc import Callable
from datetime import date, datetime

import dagster as dg

from trading_pipeline.alerts.channel import Channel, channels_of, closed_ones
from trading_pipeline.alerts.delivery import deliver, enqueue_new_dips
from trading_pipeline.alerts.errors import AddressClosed
from trading_pipeline.assets.common import key_of
from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.research.dip_desk.new_dips import LOOKBACK
from trading_pipeline.storage.outbox import Outbox
from trading_pipeline.world import World

NO_CHANNEL = "No channel is set: alerts go to DISCORD_WEBHOOK_URL, and by e-mail to ALERT_EMAIL_TO through SMTP_HOST."


def sensor(open_world: Callable[[], World]) -> dg.SensorDefinition:
    """Tells each new dip and each fall once on every channel that is set, and does nothing where none is."""
    from trading_pipeline.automation.sensors import materialized_sessions

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="To Discord and by e-mail, once: each new dip on the desk, as soon as it is published or at 09:30, "
        "and each name that falls during a session.",
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        world = open_world()
        try:
            channels = channels_of(world.settings)
            if not channels:
                return dg.SkipReason(NO_CHANNEL)
            published = {
                market: materialized_sessions(context.instance, key_of(market, "dip_analysis"))[-(LOOKBACK + 1) :]
                for market in MARKETS.values()
            }
            return dg.SkipReason(tell(world, channels, published))
        finally:
            world.close()

    return tick


def tell(world: World, channels: list[Channel], published: dict[Market, list[date]]) -> str:
    """Write down what is new and send what is due; what was done, in a line.

    published: the last LOOKBACK + 1 sessions of each market that have been published, ascending. `AddressClosed` where
    a channel turned out to be closed for good, after everything else was done.
    """
    outbox = Outbox(world.warehouse)
    closed = closed_ones(outbox, channels)
    open_ones = [channel for channel in channels if channel.name not in closed]
    names = [channel.name for channel in open_ones]
    now = world.now()
    new = sum(_written_down(world, outbox, names, market, sessions, now) for market, sessions in published.items())
    lines = [f"{new} new"] if new else []
    lines += [f"{name}: {reason}" for name, reason in closed.items()]
    closing: AddressClosed | None = None
    for channel in open_ones:
        done = deliver(outbox, channel, world.now)
        counts = {"sent": done.sent, "to be tried again": done.postponed, "given up": done.given_up}
        told = [f"{count} {what}" for what, count in counts.items() if count]
        if told or done.problems:
            lines.append(f"{channel.name}: {', '.join(told) or 'nothing sent'}{_because(done.problems)}")
        closing = closing or done.closed
    if closing is not None:
        raise closing
    return "; ".join(lines) + "." if lines else "Nothing is new and nothing is due."


def _because(problems: list[str]) -> str:
    return f" ({' '.join(dict.fromkeys(problems))})" if problems else ""


def _written_down(
    world: World, outbox: Outbox, channels: list[str], market: Market, published: list[date], now: datetime
) -> int:
    if not published or not channels:
        return 0
    return enqueue_new_dips(
        outbox,
        channels,
        world.name,
        market,
        world.lake.latest(market.name, "dip_opportunities", published),
        world.lake.latest(market.name, "dip_analysis", published[-1:]),
        published,
        now=now,
        dip_desk_time=world.settings.dip_desk_time,
    )
