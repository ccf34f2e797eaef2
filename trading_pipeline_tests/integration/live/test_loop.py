"""The live loop on a real database: what stops new entries, what is never stopped, and how a session ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from pydantic import SecretStr

from trading_pipeline.brokers.base import Book, Holding, Told
from trading_pipeline.brokers.errors import BrokerUnreachable, NotReconciled, OrderUnplaceable
from trading_pipeline.brokers.simulated import SimulatedBroker
from trading_pipeline.errors import AlreadyRunning
from trading_pipeline.live.execution import Execution
from trading_pipeline.live.feed import Fed, RecordedFeed
from trading_pipeline.live.loop import Beat, LoopSettings, SessionResult
from trading_pipeline.markets import ASX, US
from trading_pipeline.sessions import calendar
from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.storage.server import connect
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline.tables.live import ACCOUNTS, FILLS, LIVE_LOOP_LOGS, LIVE_TICKS, ORDER_EVENTS, ORDERS
from trading_pipeline_tests.live_sessions import MINUTE, SESSION, Day, Watch, lead


@pytest.fixture(scope="module")
def day() -> Day:
    return Day.random(minutes=75, seed=17)


def ticks(warehouse: Any, book: str = "paper") -> pl.DataFrame:
    return LiveStore(warehouse, book).read(LIVE_TICKS, SESSION)


@dataclass(frozen=True)
class Undisturbed:
    """What the day comes to when nothing happens to it. entry: when it orders for the first time; bought: its first
    fill."""

    result: SessionResult
    logs: pl.DataFrame

    @property
    def entry(self) -> datetime:
        return self.result.orders["created_at"].min()  # type: ignore[return-value]

    @property
    def bought(self) -> dict[str, Any]:
        return self.result.fills.sort("at").row(0, named=True)


@pytest.fixture(scope="module")
def undisturbed(migrated_database: SecretStr, day: Day) -> Undisturbed:
    warehouse = Warehouse(migrated_database)
    store = LiveStore(warehouse, "replay:undisturbed")
    store.delete()
    result = lead(day, warehouse, book=store.book)
    return Undisturbed(result, store.read(LIVE_LOOP_LOGS).drop("book"))


# --- what stops new entries -------------------------------------------------------------------------------------------


def test_every_tick_says_whether_entries_were_allowed_and_why_not(warehouse, day):
    lead(day, warehouse)
    said = ticks(warehouse)
    assert said.height == 75
    assert said.filter(pl.col("tick_at") < day.at(15))["why_not"].unique().to_list() == ["the first 15 minutes"]
    assert said.filter(pl.col("tick_at") > day.at(45))["why_not"].unique().to_list() == ["the last 30 minutes"]
    assert said.filter(pl.col("tick_at").is_between(day.at(15), day.at(45)))["entries_allowed"].all()


class Silent(RecordedFeed):
    """Tells nothing from a moment on, and says so."""

    def __init__(self, day: Day, since: datetime, until: datetime) -> None:
        super().__init__(day.bars, day.inputs.context.opens_at, day.inputs.context.closes_at)
        self.since, self.until = since, until

    def bars(self, tick_at: datetime, now: datetime) -> Fed:
        """Nothing while it is silent; afterwards everything that was held back."""
        if self.since < tick_at < self.until:
            return Fed(self._bars.clear(), "files: the line is dead")
        return super().bars(tick_at, now)


def test_a_stale_feed_stops_entries_and_says_why(warehouse, day):
    lead(day, warehouse, feed=Silent(day, day.at(20), day.at(30)))
    said = ticks(warehouse).filter(pl.col("tick_at").is_between(day.at(20), day.at(31)))
    allowed = dict(said.select("tick_at", "entries_allowed").iter_rows())
    # The bar that ended at minute 20 is 60 s old at minute 21, and 120 s at minute 22.
    assert [allowed[day.at(minute)] for minute in (20, 21, 22, 29, 30)] == [True, True, False, False, True]
    assert "stale feed: the newest bar is 120 s old (files: the line is dead)" in said["why_not"].to_list()


def test_missed_ticks_are_made_up_for_without_entries(warehouse, day, undisturbed):
    entry = undisturbed.entry
    late = entry + 5 * MINUTE
    result = lead(day, warehouse, clock=Watch(late))
    said = ticks(warehouse)
    assert said.height == 75
    made_up = said.filter(pl.col("tick_at") <= late - 90 * timedelta(seconds=1))
    assert not made_up["entries_allowed"].any()
    refused = result.signals.filter(pl.col("tick_at") == entry)
    assert refused["outcome"].to_list() == ["feed"] * refused.height
    assert "missed tick" in refused["outcome_reason"][0]
    assert result.orders["created_at"].min() > late - 2 * MINUTE
    assert LiveStore(warehouse).read(LIVE_LOOP_LOGS).drop("book").equals(undisturbed.logs)


@pytest.mark.parametrize("switch", ["setting or file", "database"])
def test_the_kill_switch_cancels_entries_and_keeps_what_is_held_protected(warehouse, day, undisturbed, switch):
    store, thrown = LiveStore(warehouse), undisturbed.entry + MINUTE
    clock = Watch(day.at(0))
    reason: list[str] = []
    clock.alarms[thrown] = lambda: (
        reason.append("a bad feeling") if switch != "database" else store.halt("a bad feeling", clock.now)
    )
    # Entries far from the market: they wait until somebody cancels them.
    day_of_waiting = replace(Execution(), slack=-0.5, minutes_open=60)
    result = lead(day, warehouse, clock=clock, execution=day_of_waiting, halted=lambda: reason[0] if reason else None)
    assert result.row.ended_why == "halted"
    ended = result.order_events.sort("order_id", "sequence").group_by("order_id").last()
    entries = result.orders.filter(pl.col("role") == "entry").join(ended, on="order_id")
    assert set(entries["status"]) <= {"cancelled", "filled"}
    assert result.row.ended_at is not None
    assert result.row.ended_at >= thrown
    said = ticks(warehouse).filter(pl.col("tick_at") >= thrown)["why_not"].unique().to_list()
    assert said == ["trading is halted: a bad feeling"]
    assert not any(result.positions["quantity"])
    assert not any("without a stop" in remark for remark in result.remarks)


def test_a_halted_session_watches_over_what_is_held_until_it_is_out(warehouse, day, undisturbed):
    whole = undisturbed.result.fills
    bought = undisturbed.bought["at"]
    clock = Watch(day.at(0))
    reason: list[str] = []
    clock.alarms[bought + 2 * MINUTE] = lambda: reason.append("enough")
    result = lead(day, warehouse, clock=clock, halted=lambda: reason[0] if reason else None)
    held = whole.filter(pl.col("order_id").str.starts_with(result.fills.sort("at")["order_id"][0]))
    assert result.fills.filter(pl.col("order_id").is_in(held["order_id"].implode())).height == held.height
    assert result.positions.is_empty()
    assert result.orders.filter(pl.col("created_at") > bought + 2 * MINUTE, pl.col("role") == "entry").is_empty()


def test_a_halt_that_is_lifted_lets_the_session_go_on(warehouse, day):
    store = LiveStore(warehouse)
    store.halt("for now", day.at(0))
    halted = lead(day, warehouse)
    assert (halted.row.ended_why, halted.ticks) == ("halted", 1)
    store.lift_halt(day.at(1))
    result = lead(day, warehouse)
    assert result.row.ended_why == "closed"
    assert result.signals.filter(pl.col("outcome") == "ordered").height > 0


# --- the market's own stops -------------------------------------------------------------------------------------------


def test_a_halted_symbol_fills_nothing_and_is_left_when_it_trades_again(warehouse, day, undisturbed):
    bought = undisturbed.bought
    name, since = bought["instrument_id"], bought["at"].replace(second=0, microsecond=0) + MINUTE
    silent = (pl.col("instrument_id") == name) & pl.col("started_at").is_between(since, day.at(69), closed="left")
    halted = Day(day.bars.filter(~silent), day.inputs)
    result = lead(halted, warehouse)
    its = result.fills.filter(pl.col("instrument_id") == name).sort("at")
    assert its["at"].to_list()[1:] >= [day.at(69)]
    assert result.positions.is_empty()


def test_what_cannot_be_left_is_held_overnight_and_left_the_next_morning(warehouse, day, undisturbed):
    bought = undisturbed.bought
    name, since = bought["instrument_id"], bought["at"].replace(second=0, microsecond=0) + MINUTE
    silent = (pl.col("instrument_id") == name) & (pl.col("started_at") >= since)
    result = lead(Day(day.bars.filter(~silent), day.inputs), warehouse)
    assert result.positions["instrument_id"].to_list() == [name]
    left = result.positions.row(0, named=True)
    assert f"{left['ticker']}: {left['quantity']} shares are held without a stop" in result.remarks
    account = result.accounts.row(0, named=True)
    assert account["equity"] == pytest.approx(account["cash"] + result.positions["market_value"].sum(), abs=0.005)

    tomorrow = date(2025, 9, 18)
    following = Day.random(minutes=75, seed=3, session=tomorrow, opens_at=datetime(2025, 9, 18, 13, 30, tzinfo=UTC))
    after = lead(following, warehouse)
    closing = after.orders.filter(pl.col("role") == "close", pl.col("instrument_id") == name)
    assert closing["created_at"].to_list()[0] == following.at(1)
    assert after.positions.is_empty()
    assert after.accounts["cash_before"].item() == account["cash"]
    assert after.row.equity == account["equity"]


def test_a_name_that_is_only_managed_is_never_entered(warehouse):
    """Without levels a range may still break, with a stop by sigma alone: who is held is not prepared for all that."""
    day = Day.random(minutes=75, seed=17)
    unknown = [pl.lit(None, pl.Float64).alias(name) for name in ("atr_14", "previous_close", "confidence")]
    context = replace(
        day.inputs.context, names=day.inputs.context.names.with_columns(*unknown, bias=pl.lit(None, pl.String))
    )
    bare = replace(day.inputs, context=context, bands=day.inputs.bands.clear())
    entered = lead(Day(day.bars, bare), warehouse, book="replay:entered")
    assert set(entered.signals["setup"]) == {"trend_continuation"}
    name = entered.signals["instrument_id"][0]
    result = lead(Day(day.bars, replace(bare, managed=frozenset({name}))), warehouse, book="replay:managed")
    assert set(result.signals["instrument_id"]) == set(entered.signals["instrument_id"]) - {name}
    assert name in set(LiveStore(warehouse, "replay:managed").read(LIVE_LOOP_LOGS)["instrument_id"])


def test_orders_of_a_delisted_name_are_over_and_none_is_made_to_leave_it(warehouse, day, undisturbed):
    bought = undisturbed.bought
    name = bought["instrument_id"]
    gone = Day(
        day.bars.filter((pl.col("instrument_id") != name) | (pl.col("started_at") <= bought["at"])),
        replace(day.inputs, delisted=frozenset({name})),
    )
    result = lead(gone, warehouse)
    its = result.orders.filter(pl.col("instrument_id") == name)
    ends = result.order_events.filter(
        pl.col("order_id").is_in(its["order_id"].implode()), pl.col("status") == "expired"
    )
    assert set(ends["reason"]) == {"delisted"}
    assert its.filter(pl.col("role") == "close").is_empty()


@pytest.mark.parametrize(
    ("market", "session", "last"),
    [
        (US, date(2025, 7, 3), datetime(2025, 7, 3, 17, tzinfo=UTC)),
        (US, date(2025, 3, 10), datetime(2025, 3, 10, 20, tzinfo=UTC)),
        (US, date(2025, 3, 7), datetime(2025, 3, 7, 21, tzinfo=UTC)),
        (ASX, date(2025, 10, 6), datetime(2025, 10, 6, 5, tzinfo=UTC)),
    ],
    ids=["half a day", "after the clocks changed", "before", "Sydney after they changed"],
)
def test_a_session_ends_at_its_own_close(warehouse, market, session, last):
    exchange = calendar(market.exchange)
    opens_at, closes_at = exchange.open_at(session), exchange.close_at(session)
    length = (closes_at - opens_at) // MINUTE
    day = Day.random(names=2, minutes=length, seed=1, session=session, opens_at=opens_at, regime=None)
    result = lead(day, warehouse, book=f"replay:{session}", settings=LoopSettings(tick_seconds=900))
    said = LiveStore(warehouse, f"replay:{session}").read(LIVE_TICKS)
    assert closes_at == last
    assert (said["tick_at"].min(), said["tick_at"].max()) == (opens_at + 15 * MINUTE, last)
    assert result.row.ended_at == last


def test_everything_is_closed_before_the_close_and_nothing_waits_after_it(warehouse, day):
    result = lead(day, warehouse)
    closing = result.orders.filter(pl.col("role") == "close")
    assert closing.filter(pl.col("created_at") < day.at(65)).is_empty()
    assert result.orders.filter(pl.col("role") == "entry", pl.col("created_at") > day.at(45)).is_empty()
    last = result.order_events.sort("order_id", "sequence").group_by("order_id").last()
    assert set(last["status"]) <= {"filled", "cancelled", "expired"}


# --- the broker -------------------------------------------------------------------------------------------------------


class Unreachable(SimulatedBroker):
    """Cannot be reached for a while."""

    def __init__(self, since: datetime, until: datetime) -> None:
        super().__init__()
        self.since, self.until = since, until

    def advance(self, book: Book) -> Told:
        """Fails while it cannot be reached."""
        if self.since <= book.at < self.until:
            raise BrokerUnreachable("The broker timed out")
        return super().advance(book)

    def place(self, bracket: Any, at: datetime) -> Told:
        """Fails while it cannot be reached."""
        if self.since <= at < self.until:
            raise BrokerUnreachable("The broker timed out")
        return super().place(bracket, at)


def test_a_broker_that_cannot_be_reached_is_asked_again(warehouse, day, undisturbed):
    entry = undisturbed.entry

    class OnPlacing(Unreachable):
        def advance(self, book: Book) -> Told:
            return SimulatedBroker.advance(self, book)

    result = lead(day, warehouse, broker=OnPlacing(entry, entry + MINUTE))
    first = result.order_events.join(result.orders.filter(pl.col("created_at") == entry), on="order_id")
    assert set(first.filter(pl.col("sequence") == 1)["status"]) == {"accepted"}

    down = lead(day, warehouse, book="replay:down", broker=Unreachable(entry, entry + 3 * MINUTE))
    assert down.signals.filter(pl.col("tick_at") == entry)["outcome"].unique().to_list() == ["halted"]
    assert "The broker timed out" in down.signals.filter(pl.col("tick_at") == entry)["outcome_reason"][0]


def test_a_bracket_that_no_broker_can_work_is_rejected_and_the_session_goes_on(warehouse, day):
    class Choosy(SimulatedBroker):
        def place(self, bracket: Any, at: datetime) -> Told:
            raise OrderUnplaceable(f"{bracket[0].order_id} is not to its taste")

    result = lead(day, warehouse, broker=Choosy())
    assert result.row.ended_why == "closed"
    ends = result.order_events.filter(pl.col("sequence") == 1)
    assert set(ends["status"]) == {"rejected"}
    assert "not to its taste" in ends["reason"][0]


def test_a_broker_that_tells_everything_twice_is_written_down_once(warehouse, day, undisturbed):
    class Forgetful(SimulatedBroker):
        def __init__(self) -> None:
            super().__init__()
            self.before = Told()

        def advance(self, book: Book) -> Told:
            told = super().advance(book)
            both = Told([*self.before.events, *told.events], [*self.before.fills, *told.fills])
            self.before = told
            return both

    twice = lead(day, warehouse, book="replay:twice", broker=Forgetful())
    for name in ("orders", "order_events", "fills", "trades"):
        assert getattr(twice, name).equals(getattr(undisturbed.result, name)), name


def test_a_broker_that_cannot_be_reached_at_the_start_is_asked_again(warehouse, day, undisturbed):
    """Stopped between the commit and the placing; what no broker can work does not end the next start either."""

    class Stopped(SimulatedBroker):
        def place(self, bracket: Any, at: datetime) -> Told:
            raise KeyboardInterrupt

    clock = Watch(day.at(0))
    with pytest.raises(KeyboardInterrupt):
        lead(day, warehouse, clock=clock, broker=Stopped())
    asked: list[datetime] = []

    class Choosy(SimulatedBroker):
        def place(self, bracket: Any, at: datetime) -> Told:
            asked.append(at)
            if len(asked) == 1:
                raise BrokerUnreachable("The broker timed out")
            if bracket[0].created_at == undisturbed.entry:
                raise OrderUnplaceable("not to its taste")
            return super().place(bracket, at)

    result = lead(day, warehouse, clock=clock, broker=Choosy())
    assert asked[1] - asked[0] == timedelta(seconds=10)
    first = result.orders.filter(pl.col("created_at") == undisturbed.entry)
    ends = result.order_events.join(first, on="order_id").filter(pl.col("sequence") == 1)
    assert set(ends["status"]) == {"rejected"}


class Holds(SimulatedBroker):
    """Says what it holds: what it has filled, and what `off` adds by ticker."""

    def __init__(self, off: Callable[[str], int] = lambda ticker: 0) -> None:
        super().__init__()
        self.off, self.shares, self.tickers = off, dict[str, int](), dict[str, str]()

    def advance(self, book: Book) -> Told:
        """Counts what is filled."""
        told = super().advance(book)
        self.tickers |= {item.order.order_id: item.order.ticker for item in book.working}
        for fill in told.fills:
            ticker = self.tickers[fill.order_id]
            moved = fill.quantity if fill.side == "buy" else -fill.quantity
            self.shares[ticker] = self.shares.get(ticker, 0) + moved
        return told

    def holdings(self) -> list[Holding]:
        """What is held by its own count."""
        return [Holding(ticker, shares + self.off(ticker), 1.0) for ticker, shares in self.shares.items()]


def test_what_is_left_is_no_more_than_the_broker_has(warehouse, day, undisturbed):
    """Selling what is not there would open a short position."""
    whole = undisturbed.result
    closed = whole.orders.filter(pl.col("role") == "close").row(0, named=True)
    gone = {closed["ticker"]: closed["quantity"] - 1 if closed["side"] == "sell" else 1 - closed["quantity"]}
    with pytest.raises(NotReconciled, match=closed["ticker"]):
        lead(day, warehouse, broker=Holds(lambda ticker: -gone.get(ticker, 0)))
    ours = LiveStore(warehouse).read(ORDERS).filter(pl.col("role") == "close")
    assert ours.filter(pl.col("ticker") == closed["ticker"])["quantity"].to_list()[0] == 1
    others = pl.col("ticker") != closed["ticker"]
    expected = whole.orders.filter(pl.col("role") == "close", others)
    assert ours.filter(others)["quantity"].to_list() == expected["quantity"].to_list()


def test_the_end_waits_for_a_broker_that_tells_its_holdings_late(warehouse, day):
    clock = Watch(day.at(0))
    late: list[datetime] = []

    class Late(Holds):
        def holdings(self) -> list[Holding]:
            if clock.now >= day.at(75) and len(late) < 2:
                late.append(clock.now)
                if len(late) == 1:
                    raise BrokerUnreachable("The broker timed out")
                return [Holding(ticker, 1, 1.0) for ticker in self.shares]
            return super().holdings()

    result = lead(day, warehouse, clock=clock, broker=Late())
    assert result.row.ended_why == "closed"
    assert len(late) == 2
    assert result.row.ended_at == day.at(75) + timedelta(seconds=20)


def test_an_end_that_fails_can_be_led_again_after_the_close(warehouse, day, undisturbed):
    class Down(Holds):
        def holdings(self) -> list[Holding]:
            if clock.now >= day.at(75):
                raise BrokerUnreachable("The broker timed out")
            return super().holdings()

    clock = Watch(day.at(0))
    with pytest.raises(BrokerUnreachable):
        lead(day, warehouse, clock=clock, broker=Down())
    row = LiveStore(warehouse).session_row(SESSION)
    assert row is not None
    assert row.ended_why == "interrupted"
    assert lead(day, warehouse, clock=Watch(day.at(180))).accounts.equals(undisturbed.result.accounts)


def test_ticks_made_up_for_after_the_close_send_no_order(warehouse, day, undisturbed):
    bought = undisturbed.bought["at"]

    def dies(beat: Beat) -> None:
        if beat.tick_at > bought:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lead(day, warehouse, heartbeat=dies, heartbeat_ticks=1)
    asked: list[Any] = []

    class Noting(SimulatedBroker):
        def place(self, bracket: Any, at: datetime) -> Told:
            asked.append(bracket)
            return super().place(bracket, at)

    result = lead(day, warehouse, clock=Watch(day.at(180)), broker=Noting())
    assert (result.row.ended_why, result.ticks, asked) == ("closed", 75, [])
    assert result.orders.filter(pl.col("created_at") > bought + 2 * MINUTE).is_empty()


def test_staleness_is_judged_when_the_feed_has_answered(warehouse, day, undisturbed):
    clock = Watch(day.at(0))

    class Slow(RecordedFeed):
        def bars(self, tick_at: datetime, now: datetime) -> Fed:
            fed = super().bars(tick_at, now)
            if tick_at == undisturbed.entry:
                clock.sleep(100)
            return fed

    feed = Slow(day.bars, day.inputs.context.opens_at, day.inputs.context.closes_at)
    result = lead(day, warehouse, clock=clock, feed=feed)
    its = result.signals.filter(pl.col("tick_at") == undisturbed.entry)
    assert its["outcome"].to_list() == ["feed"] * its.height
    assert "missed tick: 100 s late" in its["outcome_reason"][0]


# --- one loop, one ledger ---------------------------------------------------------------------------------------------


def test_two_loops_of_one_book_do_not_run_at_once(warehouse, day):
    def beat(told: Beat) -> None:
        with pytest.raises(AlreadyRunning, match="led by another loop"):
            lead(day, warehouse)

    assert lead(day, warehouse, heartbeat=beat, heartbeat_ticks=40).row.ended_why == "closed"


def test_a_cent_too_much_fails_the_session_in_words(warehouse, day):
    class Greedy(SimulatedBroker):
        """Tells one fill whose shares no order asked for."""

        def advance(self, book: Book) -> Told:
            told = super().advance(book)
            return Told(told.events, [replace(fill, quantity=fill.quantity + 1) for fill in told.fills])

    with pytest.raises(NotReconciled, match="off on 2025-09-17"):
        lead(day, warehouse, broker=Greedy())
    row = LiveStore(warehouse).session_row(SESSION)
    assert row is not None
    assert row.ended_why == "interrupted"
    assert LiveStore(warehouse).read(ACCOUNTS).is_empty()


def test_an_error_marks_the_session_as_interrupted_and_it_can_be_led_on(warehouse, day):
    class Broken(SimulatedBroker):
        def advance(self, book: Book) -> Told:
            if book.at == day.at(30):
                raise RuntimeError("something of the broker's")
            return super().advance(book)

    with pytest.raises(RuntimeError, match="the broker's"):
        lead(day, warehouse, broker=Broken())
    row = LiveStore(warehouse).session_row(SESSION)
    assert row is not None
    assert row.ended_why == "interrupted"
    assert lead(day, warehouse).row.ended_why == "closed"


# --- signs of life and what is told -----------------------------------------------------------------------------------


def test_heartbeats_tell_how_far_the_session_is(warehouse, day):
    beats: list[Beat] = []
    result = lead(day, warehouse, heartbeat=beats.append, heartbeat_ticks=20)
    assert [beat.tick for beat in beats] == [20, 40, 60, 75]
    assert beats[-1].orders == result.signals.filter(pl.col("outcome") == "ordered").height
    assert beats[-1].fills == result.fills.height
    assert beats[-1].equity == result.accounts["equity"].item()


def test_falls_are_told_once_each_and_again_to_a_loop_that_goes_on(warehouse, day):
    fallen = pl.col("instrument_id") == "us:T02"
    since = fallen & (pl.col("started_at") >= day.at(30))
    prices = [pl.col(name) * pl.when(since).then(0.93).otherwise(1.0) for name in ("open", "high", "low", "close")]
    falling = Day(day.bars.with_columns(prices), day.inputs)
    told: list[pl.DataFrame] = []

    def dies(beat: Beat) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lead(falling, warehouse, on_falls=told.append, heartbeat=dies, heartbeat_ticks=40)
    assert pl.concat(told)["instrument_id"].to_list() == ["us:T02"]
    again: list[pl.DataFrame] = []
    result = lead(falling, warehouse, on_falls=again.append)
    assert pl.concat(again).equals(pl.concat(told))
    assert result.falls.equals(pl.concat(told))


def test_alerts_and_heartbeats_that_fail_end_nothing_and_falls_are_told_again(warehouse, day):
    fallen = pl.col("instrument_id") == "us:T02"
    since = fallen & (pl.col("started_at") >= day.at(30))
    prices = [pl.col(name) * pl.when(since).then(0.93).otherwise(1.0) for name in ("open", "high", "low", "close")]
    tried: list[pl.DataFrame] = []

    def dead_line(falls: pl.DataFrame) -> None:
        tried.append(falls)
        if len(tried) < 3:
            raise OSError("the line is dead")

    def beat(told: Beat) -> None:
        raise RuntimeError("something of the caller's")

    falling = Day(day.bars.with_columns(prices), day.inputs)
    result = lead(falling, warehouse, on_falls=dead_line, heartbeat=beat)
    assert result.row.ended_why == "closed"
    assert len(tried) == 3
    assert tried[-1].equals(result.falls)


def test_logs_are_kept_for_so_many_days(warehouse, day):
    lead(day, warehouse)
    later = date(2025, 11, 17)
    next_month = Day.random(minutes=75, seed=3, session=later, opens_at=datetime(2025, 11, 17, 14, 30, tzinfo=UTC))
    lead(next_month, warehouse, settings=LoopSettings(log_days=30))
    logs = LiveStore(warehouse).read(LIVE_LOOP_LOGS)
    assert logs["session"].unique().to_list() == [later]
    assert LiveStore(warehouse).read(LIVE_TICKS)["session"].n_unique() == 2


def test_every_order_begins_pending_and_every_fill_has_its_order(warehouse, day):
    lead(day, warehouse)
    store = LiveStore(warehouse)
    orders, events, fills = store.read(ORDERS), store.read(ORDER_EVENTS), store.read(FILLS)
    begun = events.filter(pl.col("sequence") == 0)
    assert set(begun["order_id"]) == set(orders["order_id"])
    assert fills.join(orders, on="order_id", how="anti").is_empty()
    with connect(warehouse.url) as connection:
        row = connection.execute("SELECT count(*) FROM orders WHERE role = 'entry' AND risk IS NULL").fetchone()
    assert row == (0,)


def test_a_market_analysis_is_written_every_quarter_of_an_hour(warehouse, day):
    result = lead(day, warehouse)
    at = result.market_analysis["tick_at"].to_list()
    assert at == [day.at(minute) for minute in (15, 30, 45, 60, 75)]
    assert set(result.market_analysis["source"]) == {"rules"}
