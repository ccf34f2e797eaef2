"""The page of a trading day, gathered from a real database into which the day was committed tick by tick."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import US
from trading_pipeline.reports import premarket, trading_day
from trading_pipeline.reports.trading_day import TradingDay, trading_day_page
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import Settings
from trading_pipeline.storage import files
from trading_pipeline.storage.live_store import OF_A_TICK, LiveStore
from trading_pipeline.tables import LIVE_LOOP_LOGS, PREMARKET_SNAPSHOTS, TRADES
from trading_pipeline.world import World
from trading_pipeline_tests.trading_days import BOOK, SESSION
from trading_pipeline_tests.trading_days import trading_day as made_up_day

DAY = made_up_day(trades=3, held=1, carried=1, missing=(0, 0))
BEFORE = calendar("XNYS").offset(SESSION, -1)
NOW = DAY.generated_at
FRAMES = ("live_ticks", "trade_signals", "orders", "order_events", "fills", "positions", "trades", "accounts")


def logs() -> pl.DataFrame:
    """The day's minutes as the loop keeps them, with a name that nobody traded."""
    other = DAY.minutes.filter(pl.col("instrument_id") == "us:Q00").with_columns(instrument_id=pl.lit("us:IDLE"))
    rows = pl.concat([DAY.minutes, other]).with_columns(
        session=pl.lit(SESSION), open="close", high="close", low="close", mean="vwap", volume=pl.lit(100.0)
    )
    lacking = [
        pl.lit(None, dtype).alias(name) for name, dtype in LIVE_LOOP_LOGS.schema.items() if name not in rows.columns
    ]
    return rows.with_columns(lacking).drop("book")


def live(store: LiveStore) -> None:
    """Commit the evening before, and the day: a transaction a tick, the ledger at the end."""

    def own(frame: pl.DataFrame, day: date = SESSION) -> pl.DataFrame:
        without = frame.drop("book")
        return without.with_columns(session=pl.lit(day)) if "session" in without.columns else without

    evening = {
        "positions": own(DAY.carried, BEFORE),
        "trades": own(TRADES.empty(), BEFORE),
        "accounts": own(DAY.accounts, BEFORE),
    }
    with store.leading(BEFORE) as book:
        book.begin(run_id="", rules_version="a", equity=1.0, now=NOW - timedelta(days=1))
        book.end("closed", NOW - timedelta(days=1), derived=evening)
    with store.leading(SESSION) as book:
        loop = DAY.live_sessions.row(0, named=True)
        book.begin(run_id="", rules_version="a1b2c3d4", equity=loop["equity"], now=loop["started_at"])
        ticks = own(DAY.live_ticks).sort("tick_at")
        minutes = logs().partition_by("tick_at", as_dict=True)
        first = {
            table.name: own(getattr(DAY, table.name))
            for table in OF_A_TICK
            if table.name in ("trade_signals", "orders", "order_events", "fills")
        }
        analysed = own(DAY.market_analysis).partition_by("tick_at", as_dict=True)
        for number in range(ticks.height):
            at = ticks["tick_at"][number]
            rows = first if number == 0 else {}
            rows = {**rows, "live_loop_logs": minutes[at,]}
            if (at,) in analysed:
                rows["market_analysis"] = analysed[at,]
            book.commit_tick(ticks[number], rows, at)
        derived = {name: own(getattr(DAY, name)) for name in ("positions", "trades", "accounts")}
        book.end("closed", loop["ended_at"], derived=derived)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, embedded_server: Any) -> Iterator[World]:
    url = embedded_server.url(f"test_{uuid.uuid4().hex[:12]}")
    settings = Settings(state_dir=tmp_path_factory.mktemp("state"), database_url=url, _env_file=None)
    world = World(settings, clock=lambda: NOW)
    live(LiveStore(world.warehouse, BOOK))
    levels = DAY.bands.with_columns(
        session=pl.lit(SESSION),
        ticker=pl.col("instrument_id").str.strip_prefix("us:"),
        decided_at=pl.lit(NOW - timedelta(hours=8), PREMARKET_SNAPSHOTS.schema["decided_at"]),
        taken=pl.lit("live"),
        **dict.fromkeys(("previous_close", "previous_high", "previous_low"), pl.lit(50.0)),
    )
    lacking = [
        pl.lit(None, dtype).alias(name)
        for name, dtype in PREMARKET_SNAPSHOTS.schema.items()
        if name not in levels.columns
    ]
    frame = PREMARKET_SNAPSHOTS.conform(levels.with_columns(lacking).select(PREMARKET_SNAPSHOTS.names))
    world.lake.publish("us", PREMARKET_SNAPSHOTS.name, [SESSION], frame, NOW)
    yield world
    world.close()


@pytest.fixture(scope="module")
def day(world: World) -> TradingDay:
    return trading_day.gather(world, US, SESSION, BOOK)


@pytest.mark.parametrize("name", FRAMES)
def test_what_was_committed_is_what_is_gathered(day: TradingDay, name: str) -> None:
    told, made = getattr(day, name), getattr(DAY, name)
    assert told.sort(told.columns).equals(made.select(told.columns).sort(told.columns))


def test_minutes_and_bands_are_those_of_the_names_that_were_held(day: TradingDay) -> None:
    names = {"us:Q00", "us:Q01", "us:Q02", "us:Q03", "us:Q04"}
    assert set(day.minutes["instrument_id"]) == set(day.bands["instrument_id"]) == names
    assert day.minutes.height == 5 * 390
    assert day.carried["session"].to_list() == [BEFORE]


def test_the_page_is_that_of_the_day_and_its_ledger_adds_up(world: World, day: TradingDay) -> None:
    page = trading_day_page(day)
    assert "It adds up to the cent." in page
    assert page.count("<figure>") == 5
    assert "<a " not in page
    address = f"us/reports/{premarket.NAME}/{SESSION}.html"
    files.put_text(world.settings, address, "there")
    linked = trading_day_page(trading_day.gather(world, US, SESSION, BOOK))
    [link] = re.findall(r'href="([^"]+)"', linked)
    folder = trading_day.place_of(US, SESSION, BOOK).split("/")[:-1]
    steps = link.count("../")
    assert "/".join([*folder[:-steps], *link.split("/")[steps:]]) == address


def test_another_book_and_another_session_hold_nothing_of_it(world: World) -> None:
    other = trading_day.gather(world, US, SESSION, "paper")
    assert other.loop is None and other.fills.is_empty() and other.minutes.is_empty()
    assert "The loop was never begun on this session." in trading_day_page(other)
    after = trading_day.gather(world, US, calendar("XNYS").offset(SESSION, 1), BOOK)
    assert after.carried["ticker"].to_list() == DAY.positions.sort("instrument_id")["ticker"].to_list()
    with pytest.raises(InputRefused):
        trading_day.gather(world, US, SESSION, "real money")


def test_the_terminal_says_what_came_of_it_and_where_the_page_is(world: World) -> None:
    out = io.StringIO()
    Console(file=out, width=300).print(trading_day.trading_day_summary(world, US, SESSION, BOOK))
    assert "adds up to the cent" in out.getvalue()
    assert out.getvalue().rstrip().endswith(f"us/reports/trading_day/replay-tuned/{SESSION}.html")
