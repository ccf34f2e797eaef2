"""A replay: the same each time, and the same however often it is stopped on the way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading_pipeline.brokers.base import Told
from trading_pipeline.brokers.simulated import SimulatedBroker
from trading_pipeline.errors import AlreadyRunning, InputRefused
from trading_pipeline.live.clocks import SimulatedClock
from trading_pipeline.live.execution import Execution
from trading_pipeline.live.loop import LoopSettings, run_session
from trading_pipeline.live.replay import replay
from trading_pipeline.storage.live_store import LiveStore, OpenBook
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline_tests.live_sessions import MINUTE, SESSION, SETTINGS, Day, differences, lead, written

MINUTES = 75
WAYS = ("before the commit", "after the commit", "while placing", "after placing")


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Death:
    """Dies at a tick, in one of `WAYS`."""

    tick_at: datetime
    way: str


class DyingStore(LiveStore):
    """A store whose process dies: nothing is tidied up behind it."""

    def __init__(self, database: Warehouse, book: str, death: Death) -> None:
        super().__init__(database, book)
        self.death = death

    @contextmanager
    def leading(self, session: date) -> Iterator[OpenBook]:
        """The book, which is written until death."""
        with super().leading(session) as book:
            yield _DyingBook(book, self.death)


class _DyingBook(OpenBook):
    def __init__(self, book: OpenBook, death: Death) -> None:
        super().__init__(book.store, book.session, book._connection)
        self._death = death

    def commit_tick(self, tick: pl.DataFrame, rows: Mapping[str, pl.DataFrame], heartbeat_at: datetime) -> bool:
        mine = tick["tick_at"].item() == self._death.tick_at
        if mine and self._death.way == "before the commit":
            raise Killed
        done = super().commit_tick(tick, rows, heartbeat_at)
        if mine and self._death.way == "after the commit":
            raise Killed
        return done

    def end(self, why: str, now: datetime, **what: Any) -> None:
        if why != "interrupted":
            super().end(why, now, **what)


class DyingBroker(SimulatedBroker):
    """Places orders, and dies after the first bracket of a tick (or after all of them)."""

    def __init__(self, death: Death) -> None:
        super().__init__()
        self.death = death

    def place(self, bracket: Any, at: datetime) -> Told:
        """Accepts, unless it is time to die."""
        told = super().place(bracket, at)
        if at >= self.death.tick_at and self.death.way == "while placing":
            raise Killed
        return told


def led_on(day: Day, warehouse: Warehouse, book: str, deaths: list[tuple[int, str]], settings: LoopSettings) -> int:
    """Leads the day under those deaths, one after the other, then to its end; how many it died."""
    died = 0
    for minute, way in sorted(deaths):
        death = Death(day.at(minute), way)

        def beat(told: Any, death: Death = death) -> None:
            if told.tick_at >= death.tick_at and death.way == "after placing":
                raise Killed

        clock = SimulatedClock(day.inputs.context.opens_at)
        try:
            run_session(
                day.inputs, day.feed, DyingBroker(death), DyingStore(warehouse, book, death), settings,
                clock=clock, sleep=clock.sleep, heartbeat=beat, heartbeat_ticks=1,
            )  # fmt: skip
        except Killed:
            died += 1
    lead(day, warehouse, book=book, settings=settings)
    return died


@pytest.fixture(scope="module")
def day() -> Day:
    return Day.random(minutes=MINUTES, seed=17)


def test_a_replay_trades_and_closes_everything_it_opened(warehouse, day):
    result = replay(day.inputs, day.bars, warehouse, SETTINGS)
    assert result.book == f"replay:us:{SESSION}"
    assert (result.row.ended_why, result.ticks) == ("closed", MINUTES)
    assert {"ordered"} <= set(result.signals["outcome"])
    assert result.fills.height >= 4
    assert result.positions.is_empty()
    assert (
        result.trades.height
        == result.orders.join(result.fills.select("order_id").unique(), on="order_id")
        .filter(pl.col("role") == "entry")
        .height
    )
    account = result.accounts.row(0, named=True)
    assert account["cash_before"] == 100_000
    assert account["cash"] == pytest.approx(100_000 + result.trades["pnl"].sum(), abs=0.005)


def test_two_replays_write_the_same(warehouse, day):
    for book in ("replay:one", "replay:two"):
        replay(day.inputs, day.bars, warehouse, SETTINGS, book=book)
    assert differences(written(warehouse, "replay:one"), written(warehouse, "replay:two")) == []


def test_a_replay_begins_afresh_unless_it_is_resumed(warehouse, day):
    first = replay(day.inputs, day.bars, warehouse, SETTINGS)
    again = replay(day.inputs, day.bars, warehouse, SETTINGS)
    assert again.signals.equals(first.signals)
    assert len(again.compute_ms) == MINUTES
    resumed = replay(day.inputs, day.bars, warehouse, SETTINGS, resume=True)
    assert resumed.signals.equals(first.signals)
    assert resumed.compute_ms == ()
    with pytest.raises(InputRefused, match="rules"):
        replay(day.inputs, day.bars, warehouse, SETTINGS, resume=True, execution=Execution(slack=0.2))


def test_a_replay_decides_what_the_day_itself_did(warehouse, day):
    lived = lead(day, warehouse)
    again = replay(day.inputs, day.bars, warehouse, SETTINGS)
    for name in ("signals", "orders", "order_events", "fills", "trades", "accounts", "market_analysis"):
        assert getattr(again, name).equals(getattr(lived, name)), name


def test_replays_of_one_day_in_two_markets_keep_apart(warehouse, day):
    first = replay(day.inputs, day.bars, warehouse, SETTINGS)
    other = replay(replace(day.inputs, market="asx"), day.bars, warehouse, SETTINGS)
    assert (first.book, other.book) == (f"replay:us:{SESSION}", f"replay:asx:{SESSION}")
    assert written(warehouse, first.book)["live_ticks"].height == MINUTES


def test_a_replay_says_how_much_of_the_session_was_recorded(warehouse, day):
    def says(bars: pl.DataFrame) -> str:
        return replay(day.inputs, bars, warehouse, LoopSettings(tick_seconds=900)).remarks[0]

    each = day.bars.group_by("instrument_id").len()["len"].median()
    share = f"{100 * each / MINUTES:.0f} %"
    assert says(day.bars) == (
        f"10 of 10 names have minutes, half of them at least {share} of the session's 75; in 0 of these no name has any"
    )
    half = day.bars.filter(pl.col("started_at") < day.at(30), ~pl.col("instrument_id").is_in(["us:T03", "us:T07"]))
    counts = half.group_by("instrument_id").len()["len"]
    assert says(half) == (
        f"8 of 10 names have minutes (not T03, T07), half of them at least {100 * counts.median() / MINUTES:.0f} % of "
        "the session's 75; in 45 of these no name has any"
    )


def test_bars_that_come_late_are_taken_in_when_they_come(warehouse, day):
    late = day.bars.with_columns(
        available_at=pl.when(pl.col("instrument_id") == "us:T01")
        .then(pl.col("available_at") + 3 * MINUTE)
        .otherwise("available_at")
    )
    replay(day.inputs, late, warehouse, SETTINGS)
    logs = written(warehouse, f"replay:us:{SESSION}")["live_loop_logs"]
    delay = logs.filter(pl.col("instrument_id") == "us:T01").select(pl.col("tick_at") - pl.col("bar_started_at"))
    assert delay.to_series().unique().to_list() == [4 * MINUTE]


@pytest.mark.parametrize("validation", [False, True], ids=["at once", "after a second look"])
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(deaths=st.dictionaries(st.integers(1, MINUTES), st.sampled_from(WAYS), min_size=1, max_size=3).map(dict.items))
def test_a_session_that_dies_and_is_led_on_is_one_that_ran_through(warehouse, day, deaths, validation):
    with_look, deaths = LoopSettings(validation=validation), sorted(deaths)
    store = LiveStore(warehouse, "replay:whole")
    if store.session_row(SESSION) is None or store.session_row(SESSION).ended_why != "closed":
        lead(day, warehouse, book="replay:whole", settings=with_look)
    LiveStore(warehouse, "replay:died").delete()
    died = led_on(day, warehouse, "replay:died", deaths, with_look)
    # Nobody dies while placing where nothing is placed any more.
    assert died == len(deaths) or any(way == "while placing" for _, way in deaths)
    assert differences(written(warehouse, "replay:whole"), written(warehouse, "replay:died")) == []


def test_dying_at_every_tick_with_an_order_changes_nothing(warehouse, day):
    lead(day, warehouse, book="replay:whole")
    whole = written(warehouse, "replay:whole")
    ordered = whole["live_ticks"].filter(pl.col("orders") > 0)["tick_at"]
    minutes = [(at - day.inputs.context.opens_at) // MINUTE for at in ordered]
    assert minutes
    for way in ("after the commit", "while placing"):
        LiveStore(warehouse, "replay:died").delete()
        assert led_on(day, warehouse, "replay:died", [(minute, way) for minute in minutes], SETTINGS) == len(minutes)
        assert differences(whole, written(warehouse, "replay:died")) == []


CHILD = """
import sys
from pydantic import SecretStr
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline_tests.live_sessions import Day, lead
def beat(told):
    print(told.tick, flush=True)
    sys.stdin.readline()
lead(Day.random(minutes=75, seed=17), Warehouse(SecretStr(sys.argv[1])), book="replay:died", heartbeat=beat,
     heartbeat_ticks=1)
"""


def test_a_process_that_is_killed_leaves_a_session_that_goes_on(warehouse, day):
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, warehouse.url.get_secret_value()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdin is not None
        for line in child.stdout:
            if int(line) == 40:
                break
            child.stdin.write("on\n")
            child.stdin.flush()
        with pytest.raises(AlreadyRunning):
            lead(day, warehouse, book="replay:died")
        child.kill()
    lead(day, warehouse, book="replay:whole")
    resumed = lead(day, warehouse, book="replay:died")
    assert 0 < len(resumed.compute_ms) < MINUTES
    assert differences(written(warehouse, "replay:whole"), written(warehouse, "replay:died")) == []


def test_what_cannot_be_replayed(warehouse, day):
    with pytest.raises(InputRefused, match="no one-minute bar"):
        replay(day.inputs, day.bars.clear(), warehouse, SETTINGS)
    with pytest.raises(InputRefused, match="for any of 10 names"):
        strangers = pl.lit("us:X") + pl.col("instrument_id")
        replay(day.inputs, day.bars.with_columns(instrument_id=strangers), warehouse, SETTINGS)
    with pytest.raises(InputRefused, match="does not write the book paper"):
        replay(day.inputs, day.bars, warehouse, SETTINGS, book="paper")
