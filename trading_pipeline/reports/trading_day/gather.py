"""What the page of a trading day is made of, gathered from Postgres and the lake."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING

import polars as pl
from rich.console import RenderableType

from trading_pipeline.live.inputs import actions_known
from trading_pipeline.markets import Market
from trading_pipeline.reports import premarket
from trading_pipeline.reports.tearsheets import links
from trading_pipeline.reports.tearsheets.places import INDEX, file_name
from trading_pipeline.reports.trading_day.day import BANDS, MINUTES, TradingDay
from trading_pipeline.reports.trading_day.summary import summary_renderable
from trading_pipeline.research.ledger import ledger
from trading_pipeline.sessions import calendar
from trading_pipeline.storage import files
from trading_pipeline.storage.io_managers import read_in_force
from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.tables import (
    ACCOUNTS,
    CORPORATE_ACTIONS,
    DIP_OPPORTUNITIES,
    FILLS,
    LIVE_SESSIONS,
    LIVE_TABLES,
    ORDERS,
    POSITIONS,
    PREMARKET_SNAPSHOTS,
    SCREENER_SCORES,
)

if TYPE_CHECKING:
    from trading_pipeline.world import World

NAME = "trading_day"


def place_of(market: Market, session: date, book: str) -> str:
    """Where the page of a session of a book lies under the lake's root: `…/replay-tuned/2025-09-17.html`."""
    kind, _, name = book.partition(":")
    folder = f"{kind}-{file_name(name).removesuffix('.html')}" if name else kind
    return f"{market.name}/reports/{NAME}/{folder}/{session}.html"


def trading_day_summary(world: World, market: Market, session: date, book: str) -> RenderableType:
    """The headlines of a trading day for a terminal: signals, orders, fills, profit, where the page is."""
    address = f"{world.settings.lake_root}/{place_of(market, session, book)}"
    return summary_renderable(gather(world, market, session, book), page=address)


def gather(world: World, market: Market, session: date, book: str) -> TradingDay:
    """Everything the page of a session of `book` tells. `InputRefused` for a name that no book can have."""
    store = LiveStore(world.warehouse, book)
    exchange = calendar(market.exchange)
    ever = store.read_all([ACCOUNTS, ORDERS])
    own = store.read_all([table for table in LIVE_TABLES.values() if table not in (ACCOUNTS, ORDERS)], session)
    accounts, orders, of_day = ever["accounts"], ever["orders"], pl.col("session") == session
    carried, actions = _carried(world, market, store, session)
    fills, positions, trades = own["fills"], own["positions"], own["trades"]
    filled = orders.filter(pl.col("order_id").is_in(fills["order_id"].implode()))
    entries = pl.concat([trades["trade_id"], filled["order_id"], filled["parent_id"].drop_nulls()]).unique().implode()
    orders = orders.filter(of_day | pl.col("order_id").is_in(entries) | pl.col("parent_id").is_in(entries))
    touched = pl.concat([each["instrument_id"] for each in (fills, positions, carried)]).unique().implode()
    levels = read_in_force(world, market, PREMARKET_SNAPSHOTS, session, session)
    previous = exchange.offset(session, -1)
    prepared = premarket.place_of(market, session)
    return TradingDay(
        market=market,
        session=session,
        book=book,
        world=world.name,
        live_sessions=own["live_sessions"],
        live_ticks=own["live_ticks"],
        trade_signals=own["trade_signals"],
        orders=orders,
        order_events=own["order_events"],
        fills=fills,
        positions=positions,
        carried=carried.filter(pl.col("quantity") != 0),
        actions=actions,
        trades=trades,
        accounts=accounts.filter(of_day),
        market_analysis=own["market_analysis"],
        minutes=own["live_loop_logs"].select(MINUTES.names()).filter(pl.col("instrument_id").is_in(touched)),
        bands=levels.select(BANDS).filter(pl.col("instrument_id").is_in(touched)),
        generated_at=world.now(),
        premarket=f"../../{premarket.NAME}/{session}.html" if files.has_file(world.settings, prepared) else None,
        tearsheets=_tearsheets(world, market, previous),
    )


def _carried(world: World, market: Market, store: LiveStore, session: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`TradingDay.carried` and `.actions`, as the book counts from the start of the session on.

    Positions are those that the session before ended with. Where a split of that time became known only later, or came
    between the two, they are derived anew with it, as the loop of this session did.
    """
    ended, begun, orders = store.read_all((ACCOUNTS, LIVE_SESSIONS, ORDERS)).values()
    before = ended.filter(pl.col("session") < session)["session"].max()
    traded = pl.col("instrument_id").is_in(orders["instrument_id"].unique().implode())
    versions = world.lake.read(market.name, CORPORATE_ACTIONS, last=session, predicate=traded)
    # A replay counts with all that is known, at whichever time it plays.
    began = {} if store.is_replay else dict(begun.select("session", "started_at").iter_rows())
    actions = actions_known(versions, began.get(session))
    today = actions.filter(pl.col("session") == session)
    if not isinstance(before, date):
        return POSITIONS.empty(), today
    earlier = actions.filter(pl.col("session") < session)
    counted = actions_known(versions, began.get(before)).filter(pl.col("session") <= before)
    if _splits(earlier).equals(_splits(counted)):
        return store.read(POSITIONS, before), today
    positions, fills = store.read_all((POSITIONS, FILLS)).values()
    prices = positions.filter(pl.col("session") < session).select("session", "instrument_id", price="market_price")
    eve = calendar(market.exchange).offset(session, -1)
    held = ledger(orders, fills.filter(pl.col("session") < session), prices, [eve], 0.0, earlier).positions
    return held.with_columns(book=pl.lit(store.book)).select(POSITIONS.names), today


def _splits(actions: pl.DataFrame) -> pl.DataFrame:
    return actions.filter(pl.col("kind") == "split").sort(pl.all())


def _tearsheets(world: World, market: Market, previous: date) -> Mapping[str, str]:
    """Tearsheets of the session before by instrument id: this page lies a folder deeper than the others."""
    scores = read_in_force(world, market, SCREENER_SCORES, previous, previous)
    dips = read_in_force(world, market, DIP_OPPORTUNITIES, previous, previous)
    found = links(world, market, previous, scores, dips)
    return {id_: re.sub(r"^\.\./", "../../", address) for id_, address in found.items() if id_ != INDEX}
