"""Leading a session of a world: today's on paper, or a recorded one once more.

What belongs here: handing the loop what the world holds (names, levels, minutes, broker, book, desk). What does not:
the loop (`live/`), and when it is started (`automation/`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from trading_pipeline.brokers.working import working_orders
from trading_pipeline.errors import InputRefused, LiveOnly
from trading_pipeline.live.inputs import SessionInputs, actions_up_to, inputs_from_minutes, read_inputs
from trading_pipeline.live.loop import Beat, LoopSettings, SessionResult, run_session
from trading_pipeline.markets import Market
from trading_pipeline.sessions import calendar
from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.tables import DAILY_BIAS, INTRADAY_BARS, PREMARKET_SNAPSHOTS
from trading_pipeline.tables.live import FILLS, ORDER_EVENTS, ORDERS, POSITIONS
from trading_pipeline.world import World

if TYPE_CHECKING:
    from trading_pipeline.providers.intraday import IntradayProvider

EARLY = timedelta(minutes=30)
"""How long before the open a loop may be started; it waits."""
PREMARKET_PATIENCE = timedelta(minutes=10)
"""How long after the open a loop still waits for the premarket: no entry is made in the first minutes anyway."""
BETWEEN_LOOKS = timedelta(seconds=30)
LATE = timedelta(hours=6)
"""How long after the close a session that was begun and did not end may be led to its end."""


def trade(
    world: World,
    market: Market,
    session: date,
    *,
    run_id: str = "",
    heartbeat: Callable[[Beat], None] = lambda beat: None,
) -> SessionResult:
    """Lead the session under way, or about to open, to its end: signals, orders and the ledger of the paper book.

    Followed are the names that were prepared and, to be managed, those that the book holds or has orders for from
    earlier sessions. One that was begun and did not end is led to its end for some hours after its close, without
    orders. `LiveOnly` where the session is over or more than half an hour ahead, `InputRefused` where nobody tells
    minutes, or the premarket is not there some minutes after the open and nothing is held. What else `run_session`
    raises is raised here.
    """
    from trading_pipeline.alerts.falls import enqueue_falls
    from trading_pipeline.analyst import Desk
    from trading_pipeline.brokers.registry import broker_named
    from trading_pipeline.live.feed import LiveFeed
    from trading_pipeline.live.halting import halted_by
    from trading_pipeline.storage.model_calls import PostgresLedger

    exchange, now = calendar(market.exchange), world.now()
    store = LiveStore(world.warehouse, market.book)
    opens_at, closes_at = exchange.open_at(session), exchange.close_at(session)
    if not opens_at - EARLY <= now < closes_at and not _unended(store, session, now, closes_at):
        raise LiveOnly(
            f"The session of {session} is not under way",
            f"make replay SESSION={session} goes through a recorded one"
            if now >= closes_at
            else f"Start it from {opens_at - EARLY:%H:%M} UTC on",
        )
    provider = _minutes(world, "Set INTRADAY_PROVIDER to who tells them")
    begun = store.session_row(session)
    if begun is None:
        _wait_for_premarket(world, market, session, opens_at + PREMARKET_PATIENCE)
    began = world.now() if begun is None else begun.started_at
    actions = actions_up_to(world.lake, market, session, began)
    inputs = read_inputs(
        world.lake,
        market,
        session,
        benchmark_id=world.index_of(market).benchmark,
        held=_held_over(market, store, session, began, actions),
        stale_after=timedelta(seconds=world.settings.live_stale_seconds),
        # What the day began with: levels and biases made anew since then would make other decisions of the same bars.
        as_of=None if begun is None else began,
        actions=actions,
    )
    ids = _symbols(world, market, provider, inputs.context.names)
    untold = inputs.context.names.filter(pl.col("instrument_id").is_in(sorted(inputs.managed - set(ids.values()))))
    remarks = [
        f"{ticker} is held or ordered, and {provider.name} tells no minutes of it" for ticker in untold["ticker"]
    ]
    inputs = replace(inputs, known_at=began, remarks=(*inputs.remarks, *remarks))
    desk = (
        Desk(world.settings, PostgresLedger(world.warehouse), world.clock)
        if world.settings.anthropic_api_key
        else nullcontext()
    )
    with desk as asked:
        return run_session(
            inputs,
            LiveFeed(provider, market, session, ids),
            broker_named(world.settings, market=market.name),
            store,
            LoopSettings.of(world.settings),
            run_id=run_id,
            clock=world.clock,
            sleep=world.sleep,
            desk=asked,
            halted=halted_by(world.settings),
            heartbeat=heartbeat,
            on_falls=lambda falls: enqueue_falls(world, market, session, falls),
        )


def _wait_for_premarket(world: World, market: Market, session: date, until: datetime) -> None:
    """Returns when the session's snapshots and biases are there, or at `until`: biases are published after them."""
    missing = [PREMARKET_SNAPSHOTS, DAILY_BIAS]
    while world.now() < until:
        missing = [table for table in missing if world.lake.latest(market.name, table, [session]).is_empty()]
        if not missing:
            return
        world.sleep(BETWEEN_LOOKS.total_seconds())


def _held_over(market: Market, store: LiveStore, session: date, began: datetime, actions: pl.DataFrame) -> pl.DataFrame:
    """[instrument_id, ticker] of what the book holds, or has orders for, from before `session`.

    began: when the session was, or is about to be, begun. actions: those that the session counts with. What was held
    or waited then is named for the rest of the session, whatever became of it since: a loop that goes on follows the
    names that it began with.
    """
    from trading_pipeline.research.ledger import ledger

    earlier = pl.col("session") < session
    positions, orders, events, fills = store.read_all((POSITIONS, ORDERS, ORDER_EVENTS, FILLS)).values()
    orders, filled = orders.filter(earlier), fills.filter(earlier)
    prices = positions.filter(earlier).select("session", "instrument_id", price="market_price")
    before = calendar(market.exchange).offset(session, -1)
    held = ledger(orders, filled, prices, [before], 0.0, actions).positions
    then = working_orders(orders, events.filter(pl.col("at") < began), filled)
    now = working_orders(orders, events, fills)
    rows = [(item.order.instrument_id, item.order.ticker) for item in (*then, *now)]
    named = pl.DataFrame(rows, schema=held.select("instrument_id", "ticker").schema, orient="row")
    return pl.concat([held.select("instrument_id", "ticker"), named]).unique("instrument_id", keep="first")


def _unended(store: LiveStore, session: date, now: datetime, closes_at: datetime) -> bool:
    """Whether the session is over, was begun, and did not end."""
    if not closes_at <= now < closes_at + LATE:
        return False
    row = store.session_row(session)
    return row is not None and row.ended_why not in ("closed", "halted")


def replay_session(
    world: World,
    market: Market,
    session: date,
    *,
    book: str | None = None,
    resume: bool = False,
    heartbeat: Callable[[Beat], None] = lambda beat: None,
) -> SessionResult:
    """Go through a recorded session with the live loop, into a book of its own.

    Levels and biases are those of the premarket where the session has one, else made of the minutes themselves. Minutes
    are those stored, else those that the provider tells still. A book that is resumed may hold what an earlier session
    left in it: that is followed too. `InputRefused` where there are no minutes.
    """
    from trading_pipeline.live.feed import bars_of_provider, recorded_bars
    from trading_pipeline.live.replay import book_of, replay

    opens_at = calendar(market.exchange).open_at(session)
    store = LiveStore(world.warehouse, book or book_of(market.name, session))
    actions = actions_up_to(world.lake, market, session)
    held = _held_over(market, store, session, opens_at, actions) if resume else None
    inputs, told = _replay_inputs(world, market, session, held, actions)
    stored = recorded_bars(world.lake.read(market.name, INTRADAY_BARS, session, session), world.intraday_priority)
    if stored.is_empty():
        provider = _minutes(world, "Receive intraday_bars of the session, or set INTRADAY_PROVIDER and INTRADAY_FILES")
        stored = bars_of_provider(provider, market, session, told, world.now())
    return replay(
        inputs,
        stored,
        world.warehouse,
        LoopSettings.of(world.settings),
        book=store.book,
        resume=resume,
        heartbeat=heartbeat,
    )


def _replay_inputs(
    world: World, market: Market, session: date, held: pl.DataFrame | None, actions: pl.DataFrame
) -> tuple[SessionInputs, dict[str, str]]:
    stale_after = timedelta(seconds=world.settings.live_stale_seconds)
    if world.lake.latest(market.name, PREMARKET_SNAPSHOTS, [session]).height:
        benchmark = world.index_of(market).benchmark
        inputs = read_inputs(
            world.lake, market, session, benchmark_id=benchmark, held=held, stale_after=stale_after, actions=actions
        )
        provider = world.intraday_provider
        return inputs, _symbols(world, market, provider, inputs.context.names) if provider else {}
    provider = _minutes(world, "Materialize the premarket of the session, or set INTRADAY_PROVIDER and INTRADAY_FILES")
    tickers = _told_by(world, provider)
    ids = dict(zip(tickers, world.instruments(market).ids_of(tickers, session), strict=True))
    inputs = inputs_from_minutes(provider, market, session, ids, now=world.now(), stale_after=stale_after)
    return inputs, ids


def _told_by(world: World, provider: IntradayProvider) -> list[str]:
    """The symbols that a provider of files holds, or those on the watchlist."""
    held = getattr(provider, "symbols", None)
    symbols = (
        list(held()) if callable(held) else [ticker for m in world.settings.markets for ticker in _watch(world, m)]
    )
    if not symbols:
        raise InputRefused(
            "Nobody is prepared for the session, and no name is known to follow",
            "Materialize its premarket, put names on the watchlist, or bring minutes in files (INTRADAY_FILES)",
        )
    return symbols


def _watch(world: World, name: str) -> list[str]:
    from trading_pipeline.markets import market_named

    return world.watched(market_named(name))


def _minutes(world: World, remedy: str) -> IntradayProvider:
    provider = world.intraday_provider
    if provider is None:
        raise InputRefused("No provider of intraday bars is set", remedy)
    return provider


def _symbols(world: World, market: Market, provider: IntradayProvider, names: pl.DataFrame) -> dict[str, str]:
    """Instrument id by the symbol `provider` knows it under, of those it covers."""
    ids = sorted(names["instrument_id"].to_list())
    today = calendar(market.exchange).local_date(world.now())
    symbols = world.instruments(market).provider_symbols(ids, provider.name, today)
    return {symbol: id_ for symbol, id_ in zip(symbols, ids, strict=True) if provider.covers(symbol)}
