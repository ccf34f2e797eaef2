"""A recorded session once more, as fast as it goes: the same loop on a clock that stands still while it computes.

What belongs here: which book a replay writes, and whether it begins afresh. What does not: what the loop does.

Whatever was settled before is used, nothing is asked: no model, no provider, no kill switch. Two replays write the same
rows, and one that was stopped and resumed the same as one that ran through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import polars as pl

from trading_pipeline.brokers.base import Broker
from trading_pipeline.brokers.simulated import SimulatedBroker
from trading_pipeline.brokers.ticks import TICKS, US_TICKS
from trading_pipeline.errors import InputRefused
from trading_pipeline.live.clocks import SimulatedClock
from trading_pipeline.live.execution import Execution
from trading_pipeline.live.feed import MINUTE, RecordedFeed
from trading_pipeline.live.inputs import SessionInputs
from trading_pipeline.live.loop import HEARTBEAT_TICKS, Beat, LoopSettings, SessionResult, run_session
from trading_pipeline.research.live import Rules, SessionContext
from trading_pipeline.storage.live_store import REPLAY, LiveStore
from trading_pipeline.storage.locks import Database

_SHOWN = 5
"""How many names without minutes are told."""


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

    book: `replay:<market>:<session>` by default. resume: goes on where that book stopped; otherwise everything in it is
    deleted first. broker: the simulated one by default. The first of the result's remarks says how much of the session
    was recorded. `InputRefused` where no name of `inputs` has a bar of the session, or `book` is not that of a replay;
    `AlreadyRunning` where another replay writes it.
    """
    context = inputs.context
    name = book or book_of(inputs.market, context.session)
    if not name.startswith(REPLAY):
        raise InputRefused(f"A replay does not write the book {name}", f"Name it {REPLAY}<name>")
    bars = bars.filter(pl.col("instrument_id").is_in(context.ids))
    feed = RecordedFeed(bars, context.opens_at, context.closes_at)
    if feed.is_empty:
        raise InputRefused(
            f"There is no one-minute bar of {context.session} to replay for any of {len(context.ids)} names",
            "Receive intraday_bars of the session, or bring minutes in files (INTRADAY_FILES)",
        )
    inputs = replace(inputs, remarks=(recorded(context, bars), *inputs.remarks))
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


def book_of(market: str, session: date) -> str:
    """The book that a replay of a market's session writes where no other is named."""
    return f"{REPLAY}{market}:{session}"


def recorded(context: SessionContext, bars: pl.DataFrame) -> str:
    """In one line: how many names have minutes, for how much of the session, and how much of it nobody has.

    bars: [instrument_id, started_at] of names of the context, some of them inside the session. Half a recording shows
    in the minutes that nobody has; that a thin name lacks some is its nature, and shows in the median alone.
    """
    length = (context.closes_at - context.opens_at) // MINUTE
    inside = pl.col("started_at").is_between(context.opens_at, context.closes_at, closed="left")
    minutes = bars.filter(inside).select("instrument_id", pl.col("started_at").dt.truncate("1m")).unique()
    counts = minutes.group_by("instrument_id").len()["len"]
    without = context.names.join(minutes, on="instrument_id", how="anti")["ticker"].sort().to_list()
    silent = length - minutes["started_at"].n_unique()
    median = counts.median()
    assert isinstance(median, float)
    lacking = f" (not {', '.join(without[:_SHOWN])}{', …' if len(without) > _SHOWN else ''})" if without else ""
    return (
        f"{len(counts)} of {len(context.ids)} names have minutes{lacking}, half of them at least "
        f"{100 * median / length:.0f} % of the session's {length}; in {silent} of these no name has any"
    )
