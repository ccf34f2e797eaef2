"""A recorded session once more, as fast as it goes: the same loop on a clock that stands still while it computes.

What belongs here: which book a replay writes, and whether it begins afresh. What does not: what the loop does.

Whatever was settled before is used, nothing is asked: no model, no provider, no kill switch. Two replays write the same
rows, and one that was stopped and resumed the same as one that ran through.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from trading_pipeline.brokers.base import Broker
from trading_pipeline.brokers.simulated import SimulatedBroker
from trading_pipeline.brokers.ticks import TICKS, US_TICKS
from trading_pipeline.errors import InputRefused
from trading_pipeline.live.clocks import SimulatedClock
from trading_pipeline.live.execution import Execution
from trading_pipeline.live.feed import RecordedFeed
from trading_pipeline.live.inputs import SessionInputs
from trading_pipeline.live.loop import HEARTBEAT_TICKS, Beat, LoopSettings, SessionResult, run_session
from trading_pipeline.research.live import Rules
from trading_pipeline.storage.live_store import REPLAY, LiveStore
from trading_pipeline.storage.locks import Database


def replay(
    inputs: SessionInputs,
    bars: pl.DataFrame,
    database: Database,
    settings: LoopSettings,
    *,
    book: str | None = None,
    resume: bool = False,
    broker: Broker | None = None,
    heartbeat: Callable[[Beat], None] = lambda beat: None,
    heartbeat_ticks: int = HEARTBEAT_TICKS,
    rules: Rules | None = None,
    execution: Execution | None = None,
) -> SessionResult:
    """Replays the session of `inputs` over `bars` (`feed.FEED_BARS`; see `recorded_bars`, `bars_of_provider`).

    book: `replay:<session>` by default. resume: goes on where that book stopped; otherwise everything in it is deleted
    first. broker: the simulated one by default. `InputRefused` where there is no bar of the session, or `book` is not
    that of a replay; `AlreadyRunning` where another replay writes it.
    """
    context = inputs.context
    name = book or f"{REPLAY}{context.session}"
    if not name.startswith(REPLAY):
        raise InputRefused(f"A replay does not write the book {name}", f"Name it {REPLAY}<name>")
    feed = RecordedFeed(bars, context.opens_at, context.closes_at)
    if feed.is_empty:
        raise InputRefused(
            f"There is no one-minute bar of {context.session} to replay",
            "Receive intraday_bars of the session, or bring minutes in files (INTRADAY_FILES)",
        )
    store = LiveStore(database, name)
    if not resume:
        store.delete()
    clock = SimulatedClock(store.last_tick(context.session) or context.opens_at)
    return run_session(
        inputs,
        feed,
        broker or SimulatedBroker(ticks=TICKS.get(inputs.market, US_TICKS)),
        store,
        settings,
        clock=clock,
        sleep=clock.sleep,
        heartbeat=heartbeat,
        heartbeat_ticks=heartbeat_ticks,
        rules=rules,
        execution=execution,
    )
