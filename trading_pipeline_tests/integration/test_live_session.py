"""The session under way as Dagster leads it: one run, its heartbeats, and the promises of what is made tick by tick.

What the loop does is held in `integration/live/`; here it is a job on a site that was prepared like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from trading_pipeline.assets.live import TABLES
from trading_pipeline.automation import jobs, sensors
from trading_pipeline.definitions import build_definitions
from trading_pipeline.errors import InputRefused, LiveOnly
from trading_pipeline.live.inputs import read_inputs
from trading_pipeline.live.order_book import OWN, Unwritten
from trading_pipeline.markets import US
from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.tables import DAILY_BIAS, PREMARKET_SNAPSHOTS
from trading_pipeline.tables.live import LIVE_SESSIONS, LIVE_TABLES, LIVE_TICKS
from trading_pipeline.trading import LATE, PREMARKET_PATIENCE, trade
from trading_pipeline_tests.orders import bracket
from trading_pipeline_tests.promises import EVE, FIRST, XNYS, Site, Worker, differences, final_at

NewSite = Callable[[], Site]
LIVE = jobs.live_name(US)
OPENS = XNYS.open_at(FIRST)
UNREPEATED = ("run_id", "started_at", "heartbeat_at", "ended_at", "compute_ms")
"""What of a session no rerun repeats: who led it and how long it took."""


@pytest.fixture(scope="module")
def prepared(begun_site: NewSite) -> Site:
    """A site on which the session ahead was prepared before its open."""
    site = begun_site()
    site.run(jobs.end_of_day_name(US), EVE, EVE)
    site.run(jobs.premarket_name(US), FIRST, FIRST, now=OPENS - timedelta(minutes=50))
    return site


@pytest.fixture(scope="module")
def ready(prepared: Site, new_site: NewSite) -> NewSite:
    """Makes copies of it, on instances that remember everything."""
    return lambda: prepared.copy_to(new_site())


def rows(site: Site) -> dict[str, pl.DataFrame]:
    """What the paper book holds of the session, by table."""
    world = site.world(OPENS)
    try:
        store = LiveStore(world.warehouse, US.book)
        return {name: store.read(table, FIRST) for name, table in LIVE_TABLES.items()}
    finally:
        world.close()


def the_same(ours: dict[str, pl.DataFrame], theirs: dict[str, pl.DataFrame]) -> list[str]:
    return [
        line
        for name in ours
        for line in differences(
            name, ours[name].drop(UNREPEATED, strict=False), theirs[name].drop(UNREPEATED, strict=False)
        )
    ]


@pytest.fixture(scope="module")
def led(ready: NewSite) -> tuple[Site, dg.ExecuteInProcessResult]:
    """A site whose session was led from before the open to the close by one run."""
    site = ready()
    return site, site.run(LIVE, FIRST, FIRST)


@pytest.fixture(scope="module")
def whole(led: tuple[Site, dg.ExecuteInProcessResult]) -> dict[str, pl.DataFrame]:
    """What that session left."""
    return rows(led[0])


def test_one_run_makes_every_live_asset_and_its_checks_pass(led: tuple[Site, dg.ExecuteInProcessResult]) -> None:
    _, result = led
    made = {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}
    assert made == {table.name for table in TABLES}
    said = result.get_asset_check_evaluations()
    assert {each.asset_key.path[-1] for each in said} == made
    assert [f"{each.asset_key}: {each.description}" for each in said if not each.passed] == []


def test_there_is_something_to_compare(whole: dict[str, pl.DataFrame]) -> None:
    """An idle session would keep every promise."""
    assert whole["live_ticks"].height == 390
    for name in ("trade_signals", "orders", "order_events", "fills", "trades", "accounts", "market_analysis"):
        assert whole[name].height > 0, name
    assert whole["live_sessions"]["ended_why"].to_list() == ["closed"]


def test_heartbeats_are_observations_of_the_session(led: tuple[Site, dg.ExecuteInProcessResult]) -> None:
    site, _ = led
    found = site.instance.fetch_observations(dg.AssetKey([US.name, LIVE_SESSIONS.name]), limit=1000).records
    beats = [record.asset_observation for record in found]
    assert len(beats) > 10
    assert {beat.partition for beat in beats if beat} == {FIRST.isoformat()}
    latest = beats[0]
    assert latest is not None
    assert {"tick", "fresh", "entries", "signals", "orders", "fills", "equity"} <= set(latest.metadata)


def test_a_session_that_is_over_is_left_as_it_is(
    led: tuple[Site, dg.ExecuteInProcessResult], whole: dict[str, pl.DataFrame]
) -> None:
    site, _ = led
    site.run(LIVE, FIRST, FIRST)
    again = rows(site)
    assert all(again[name].equals(whole[name]) for name in whole)


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (OPENS + timedelta(hours=7), f"make replay SESSION={FIRST}"),
        (OPENS - timedelta(hours=3), "Start it from"),
    ],
)
def test_only_the_session_under_way_is_traded(prepared: Site, now: datetime, says: str) -> None:
    world = prepared.trading_world(now)
    try:
        with pytest.raises(LiveOnly, match=says):
            trade(world, US, FIRST)
    finally:
        world.close()


def test_a_premarket_that_is_late_is_waited_for_until_some_minutes_after_the_open(begun_site: NewSite) -> None:
    site = begun_site()
    site.run(jobs.end_of_day_name(US), EVE, EVE)
    world = site.trading_world(OPENS - timedelta(minutes=20))
    try:
        with pytest.raises(InputRefused, match="Nobody is prepared"):
            trade(world, US, FIRST)
        assert world.now() == OPENS + PREMARKET_PATIENCE
    finally:
        world.close()


def test_sessions_are_traded_one_by_one(prepared: Site) -> None:
    with pytest.raises(LiveOnly, match="one by one"):
        prepared.run(LIVE, FIRST, XNYS.offset(FIRST, 1), now=OPENS)


def test_a_killed_run_is_led_on_without_loss_or_double(ready: NewSite, whole: dict[str, pl.DataFrame]) -> None:
    """Killed after a tick was written and before its orders were placed, in the middle of one, and late in the day."""
    site = ready()
    worker = Worker(site, LIVE, FIRST)
    for ticks, after in ((45, True), (100, False), (120, True)):
        assert worker.start(die_at=ticks, after=after).end().exit_code == -9
    assert worker.start().end().complaint == ""
    worker.close()
    assert the_same(rows(site), whole) == []


def test_a_bias_that_is_made_anew_during_the_day_moves_nothing(ready: NewSite, whole: dict[str, pl.DataFrame]) -> None:
    """Killed after it was, a run goes on with what the day began with."""
    site, died = ready(), OPENS + timedelta(minutes=60)
    worker = Worker(site, LIVE, FIRST)
    assert worker.start(die_at=60, after=True).end().exit_code == -9
    world = site.world(died)
    began = LiveStore(world.warehouse, US.book).session_row(FIRST)
    assert began is not None
    other = {"long": "short", "short": "long", "neutral": "long"}
    rows_of_it = world.lake.latest(US.name, DAILY_BIAS, [FIRST])
    turned = rows_of_it.with_columns(pl.col("bias").replace_strict(other), confidence=pl.lit(1.0))
    assert world.lake.publish(US.name, DAILY_BIAS, [FIRST], turned, died).revised == turned.height
    now, then = (read_inputs(world.lake, US, FIRST, as_of=at).context.bias for at in (None, began.started_at))
    assert not (now == then).any()
    world.close()
    assert worker.start().end().complaint == ""
    worker.close()
    assert whole["trade_signals"].filter(pl.col("tick_at") > died).height > 0
    assert the_same(rows(site), whole) == []


LedOn = tuple[list[str], dict[str, pl.DataFrame]]


@pytest.fixture(scope="module")
def led_on(ready: NewSite) -> LedOn:
    """Two names that a book holds from the eve, one with its stop far away and one with it where the open gaps through
    it; and what a session left that is not prepared for them, killed in the middle and led on."""
    site = ready()
    world = site.world(OPENS - timedelta(minutes=30))
    gone = world.lake.latest(US.name, PREMARKET_SNAPSHOTS, [FIRST]).sort("instrument_id").tail(2)
    for table in (PREMARKET_SNAPSHOTS, DAILY_BIAS):
        left = world.lake.latest(US.name, table, [FIRST]).join(gone, on="instrument_id", how="anti")
        world.lake.publish(US.name, table, [FIRST], left, world.now())
    names = gone.select("instrument_id", "ticker", "previous_close").rows()
    with LiveStore(world.warehouse, US.book).leading(EVE) as book:
        at = XNYS.open_at(EVE) + timedelta(minutes=30)
        book.begin(run_id="", rules_version="", equity=100_000.0, now=at)
        book.commit_tick(tick_of(at), crashed([(*names[0], 0.5), (*names[1], 1.5)], at), at)
    world.close()
    worker = Worker(site, LIVE, FIRST)
    assert worker.start(die_at=100, after=True).end().exit_code == -9
    assert worker.start().end().complaint == ""
    worker.close()
    return [id_ for id_, _, _ in names], rows(site)


class TestHeldOver:
    """What a loop that crashed on the eve left in the book, in names that are not prepared for the session."""

    def test_it_is_closed_by_its_stop_or_by_the_loop(self, led_on: LedOn) -> None:
        (far, near), left = led_on
        assert left["positions"].is_empty()
        trades = left["trades"].filter(pl.col("instrument_id").is_in([far, near]))
        assert dict(trades.select("instrument_id", "exit_reason").iter_rows()) == {far: "close", near: "stop"}
        assert trades["closed_at"].max() < OPENS + timedelta(minutes=15)
        assert left["accounts"].height == 1

    def test_it_is_followed_to_the_end_and_never_entered(self, led_on: LedOn) -> None:
        names, left = led_on
        its = pl.col("instrument_id").is_in(names)
        assert left["trade_signals"].filter(its).is_empty()
        assert set(left["orders"].filter(its)["role"]) == {"close"}
        last = left["live_loop_logs"].filter(its).group_by("instrument_id").agg(pl.col("tick_at").max())
        assert last.height == len(names)
        assert last["tick_at"].min() > OPENS + timedelta(hours=6)


def tick_of(at: datetime) -> pl.DataFrame:
    """A tick at which nothing was seen."""
    own = {"session": EVE, "tick_at": at, "symbols": 0, "fresh": 0, "signals": 0, "orders": 0, "entries_allowed": True}
    return pl.DataFrame([own], schema=OWN[LIVE_TICKS])


def crashed(held: list[tuple[str, str, float, float]], at: datetime) -> dict[str, pl.DataFrame]:
    """Rows of brackets whose entries of 10 shares were filled and whose exits wait.

    held: instrument, ticker, price, and where the stop is as a multiple of it.
    """
    left = Unwritten()
    for id_, ticker, price, factor in held:
        legs = bracket(
            stop=round(price * factor, 2), target=round(price * 3, 2), order_id=ticker, session=EVE, created_at=at,
            instrument_id=id_, ticker=ticker, quantity=10, limit_price=round(price, 2), risk=1.0,
        )  # fmt: skip
        left.orders += legs
        for order in legs:
            said = ["pending", "accepted", *(["filled"] if order.parent_id is None else [])]
            left.events += [
                {"order_id": order.order_id, "sequence": step, "at": at, "status": status, "reason": None,
                 "broker_order_id": None}
                for step, status in enumerate(said)
            ]  # fmt: skip
        left.fills.append(
            {"fill_id": f"{ticker}-1", "order_id": ticker, "instrument_id": id_, "ticker": ticker, "at": at,
             "side": "buy", "quantity": 10, "price": round(price, 2), "fee": 0.0}
        )  # fmt: skip
    return left.frames(EVE)


def test_a_second_loop_is_refused_and_changes_nothing(ready: NewSite, whole: dict[str, pl.DataFrame]) -> None:
    site = ready()
    workers = [Worker(site, LIVE, FIRST) for _ in range(2)]
    for worker in workers:
        worker.start()
    fates = [worker.end() for worker in workers]
    for worker in workers:
        worker.close()
    refused = [fate.complaint for fate in fates if fate.exit_code]
    assert all("is led by another loop" in complaint for complaint in refused)
    assert len(refused) <= 1
    assert the_same(rows(site), whole) == []


class TestLeadingOn:
    """The sensor that begins a dead run of the session under way again."""

    NOON = OPENS + timedelta(hours=3)

    def tick(self, site: Site, now: datetime) -> dg.RunRequest | str:
        definitions = build_definitions(site.settings, open_world=lambda: site.world(now))
        sensor = sensors.live_again(US, lambda: site.world(now))
        context = dg.build_sensor_context(instance=site.instance, definitions=definitions)
        answer = sensor.evaluate_tick(context)
        if answer.run_requests:
            (request,) = answer.run_requests
            return request
        return str(answer.skip_message)

    def test_a_session_whose_run_died_is_requested_again(self, ready: NewSite) -> None:
        site = ready()
        worker = Worker(site, LIVE, FIRST)
        assert worker.start(die_at=30).end().exit_code == -9
        worker.close()
        request = self.tick(site, self.NOON)
        assert isinstance(request, dg.RunRequest)
        assert request.partition_key == FIRST.isoformat()

    def test_one_that_did_not_end_is_led_to_its_end_after_the_close(self, ready: NewSite) -> None:
        site = ready()
        worker = Worker(site, LIVE, FIRST)
        assert worker.start(die_at=30).end().exit_code == -9
        worker.close()
        after = XNYS.close_at(FIRST) + timedelta(hours=1)
        assert isinstance(self.tick(site, after), dg.RunRequest)
        assert self.tick(site, XNYS.close_at(FIRST) + LATE) == "XNYS is closed."
        world = site.trading_world(after)
        try:
            result = trade(world, US, FIRST)
        finally:
            world.close()
        assert (result.row.ended_why, result.ticks, result.accounts.height) == ("closed", 390, 1)
        assert self.tick(site, after) == "XNYS is closed."

    def test_it_is_asked_for_some_times_and_never_after_a_person_stopped_it(self, ready: NewSite) -> None:
        site = ready()
        worker = Worker(site, LIVE, FIRST)
        assert worker.start(die_at=5).end().exit_code == -9
        worker.close()
        request = self.tick(site, self.NOON)
        assert isinstance(request, dg.RunRequest)
        asked = {**request.tags, sensors.PARTITION: FIRST.isoformat()}

        def run(status: dg.DagsterRunStatus, tags: dict[str, str]) -> None:
            site.instance.create_run_for_job(dg.job(name=LIVE)(lambda: None), tags=tags, status=status)

        run(dg.DagsterRunStatus.CANCELED, {sensors.PARTITION: FIRST.isoformat()})
        assert "was cancelled" in str(self.tick(site, self.NOON))
        for led in range(1, sensors.LIVE_ATTEMPTS_A_DAY + 1):
            run(dg.DagsterRunStatus.FAILURE, asked)
            assert isinstance(self.tick(site, self.NOON), dg.RunRequest) == (led < sensors.LIVE_ATTEMPTS_A_DAY)
        assert "10 times and failed again" in str(self.tick(site, self.NOON))

    def test_one_that_nobody_began_is_left_to_the_schedule(self, prepared: Site) -> None:
        assert self.tick(prepared, self.NOON) == f"Nobody began to trade the session of {FIRST}."

    def test_one_that_is_over_is_not_begun_again(self, led: tuple[Site, dg.ExecuteInProcessResult]) -> None:
        assert self.tick(led[0], self.NOON) == f"The session of {FIRST} was ended: closed."
        assert self.tick(led[0], final_at(US, FIRST)) == "XNYS is closed."
