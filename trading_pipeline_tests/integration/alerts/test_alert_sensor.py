"""The sensor: new dips of the latest published session alone, each once, on every channel that is set."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info
from pydantic import SecretStr

from trading_pipeline.alerts.errors import AddressClosed
from trading_pipeline.automation import alert_sensor
from trading_pipeline.automation.alert_sensor import NO_CHANNEL
from trading_pipeline.clock import fixed_clock
from trading_pipeline.markets import ASX, US
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import ALL_TABLES
from trading_pipeline.tables.dips import DIP_ANALYSIS
from trading_pipeline.world import World
from trading_pipeline_tests.dip_alerts import TOKEN, Answer, dip
from trading_pipeline_tests.promises import final_at

XNYS = calendar("XNYS")
THURSDAY = date(2024, 3, 14)
FRIDAY = date(2024, 3, 15)
MONDAY = date(2024, 3, 18)


class Desk:
    """A world with a lake and a warehouse of its own, whose dips are published as the test says."""

    def __init__(self, settings):
        self.settings = settings
        self.instance = dg.DagsterInstance.ephemeral()
        self.worlds = []

    def publish(self, session, dips, market=US, *, analysed=True):
        """The dips of a session: largest threshold passed by ticker; `analysed`: their words as well."""
        rows = [dip(name, session=session, threshold_pct=float(passed)).model_dump() for name, passed in dips.items()]
        world = self.open(final_at(market, session))
        tables = [ALL_TABLES["dip_opportunities"], *([DIP_ANALYSIS] if analysed else [])]
        for table in tables:
            frame = pl.DataFrame(
                {name: [self.value(table, name, row) for row in rows] for name in table.names}, schema=table.schema
            )
            world.lake.publish(market.name, table, [session], frame, world.now())
            key = dg.AssetKey([market.name, table.name])
            event = dg.AssetMaterialization(key, partition=session.isoformat())
            self.instance.report_runless_asset_event(event)
        world.close()

    @staticmethod
    def value(table, name, row):
        """What the row holds in a column; something of the right type where the alert does not tell it."""
        if name in row:
            return row[name]
        column = next(column for column in table.columns if column.name == name)
        if name == "on_desk":
            return True
        return None if column.nullable else "" if column.dtype == pl.String() else 1

    def open(self, now):
        world = World(self.settings, fixed_clock(now))
        self.worlds.append(world)
        return world

    def tick(self, now):
        """Evaluate the sensor as the daemon does; why it asked for no run."""
        found = alert_sensor.sensor(lambda: self.open(now))
        data = found.evaluate_tick(dg.build_sensor_context(instance=self.instance))
        assert not data.run_requests
        return data.skip_message

    def rows(self):
        world = self.open(final_at(US, MONDAY))
        try:
            return world.warehouse.query("SELECT * FROM alert_outbox ORDER BY session, ticker").to_dicts()
        finally:
            world.close()


@pytest.fixture
def settings(server_settings, discord):
    return server_settings.model_copy(update={"discord_webhook_url": discord.webhook})


@pytest.fixture
def desk(settings):
    made = Desk(settings)
    made.publish(THURSDAY, {"OLD": 10})
    return made


def tickers(discord):
    return [title.partition(":")[0] for title in discord.titles()]


def test_without_a_channel_nothing_is_opened(server_settings):
    desk = Desk(server_settings)
    assert desk.tick(final_at(US, FRIDAY)) == NO_CHANNEL
    assert "databases" not in desk.worlds[-1].__dict__


def test_each_new_dip_is_told_once(desk, discord):
    desk.publish(FRIDAY, {"OLD": 10, "NEW": 5, "DEEP": 15})
    now = final_at(US, FRIDAY)
    assert desk.tick(now) == "2 new; discord: 2 sent."
    assert tickers(discord) == ["DEEP", "NEW"]
    for later in (0, 1, 60 * 24):
        assert desk.tick(now + timedelta(minutes=later)) == "Nothing is new and nothing is due."
    desk.publish(MONDAY, {"OLD": 15, "NEW": 5})
    assert desk.tick(final_at(US, MONDAY)) == "1 new; discord: 1 sent."
    assert tickers(discord)[2:] == ["OLD"]
    assert discord.bodies[1]["embeds"][0]["description"].startswith("Passed 15%, was past 10%")


def test_before_the_words_are_there_nothing_is_told(desk, discord):
    desk.publish(FRIDAY, {"NEW": 5}, analysed=False)
    assert desk.tick(final_at(US, FRIDAY)) == "Nothing is new and nothing is due."
    desk.publish(FRIDAY, {"NEW": 5})
    desk.tick(final_at(US, FRIDAY))
    assert tickers(discord) == ["NEW"]


def test_a_dip_that_a_revision_took_back_and_brought_again_is_told_once(desk, discord):
    desk.publish(FRIDAY, {"NEW": 10})
    desk.tick(final_at(US, FRIDAY))
    desk.publish(FRIDAY, {})
    desk.publish(MONDAY, {"NEW": 10})
    desk.tick(final_at(US, MONDAY))
    assert tickers(discord) == ["NEW"]


@pytest.mark.parametrize("later", [timedelta(days=5), timedelta(days=800)])
def test_history_is_never_told(desk, discord, later):
    desk.publish(FRIDAY, {"NEW": 10})
    assert desk.tick(final_at(US, FRIDAY) + later) == "Nothing is new and nothing is due."
    assert discord.asked == []


def test_a_backfill_behind_the_latest_session_tells_nothing(desk, discord):
    desk.publish(FRIDAY, {"OLD": 10})
    desk.tick(final_at(US, FRIDAY))
    for session in XNYS.between(date(2024, 2, 12), date(2024, 2, 15)):
        desk.publish(session, {f"X{session.day}": 15})
    assert desk.tick(final_at(US, FRIDAY)) == "Nothing is new and nothing is due."


def test_the_first_session_ever_published_has_nothing_to_be_new_against(settings, discord):
    desk = Desk(settings)
    desk.publish(FRIDAY, {"NEW": 10})
    assert desk.tick(final_at(US, FRIDAY)) == "Nothing is new and nothing is due."


def test_markets_are_told_apart(desk, discord):
    desk.publish(FRIDAY, {"NEW": 5})
    desk.publish(THURSDAY, {}, ASX)
    desk.publish(FRIDAY, {"OZ": 5}, ASX)
    desk.tick(final_at(US, FRIDAY))
    assert sorted(body["content"] for body in discord.bodies) == [
        "**SIMULATED: 1 new dip on the ASX dip desk, 15 Mar 2024**",
        "**SIMULATED: 1 new dip on the US dip desk, 15 Mar 2024**",
    ]


def test_at_half_past_nine_means_the_next_sessions_morning(settings, discord):
    desk = Desk(settings.model_copy(update={"dip_desk_time": "09:30"}))
    desk.publish(date(2024, 3, 7), {})
    desk.publish(date(2024, 3, 8), {"NEW": 5})
    assert desk.tick(final_at(US, date(2024, 3, 8))) == "1 new."
    # The clocks change on Sunday: 09:30 in New York is 13:30 UTC on Monday.
    opening = datetime.fromisoformat("2024-03-11T13:30:00+00:00")
    assert desk.tick(opening - timedelta(seconds=1)) == "Nothing is new and nothing is due."
    assert desk.tick(opening) == "discord: 1 sent."


def test_a_service_that_fails_is_told_of_and_tried_again(desk, discord):
    desk.publish(FRIDAY, {"NEW": 5})
    discord.answers = [Answer(503)]
    now = final_at(US, FRIDAY)
    said = desk.tick(now)
    assert said.startswith("1 new; discord: 1 to be tried again (Discord answered HTTP 503.")
    assert desk.tick(now + timedelta(minutes=1)) == "discord: 1 sent."


def test_a_webhook_that_is_gone_fails_one_tick_and_is_left_alone_after_it(desk, discord):
    desk.publish(FRIDAY, {"NEW": 5})
    discord.answers = [Answer(404, {"message": "Unknown Webhook", "code": 10015})]
    now = final_at(US, FRIDAY)
    with pytest.raises(AddressClosed, match="HTTP 404") as raised:
        desk.tick(now)
    assert TOKEN not in repr(serializable_error_info_from_exc_info((raised.type, raised.value, raised.tb)))
    said = desk.tick(now + timedelta(minutes=1))
    assert "HTTP 404" in said
    assert "set DISCORD_WEBHOOK_URL" in said
    desk.publish(MONDAY, {"NEXT": 5})
    desk.tick(final_at(US, MONDAY))
    assert len(discord.asked) == 1
    assert [row["ticker"] for row in desk.rows()] == ["NEW"], "nothing is written down for a closed address"
    desk.settings = desk.settings.model_copy(
        update={"discord_webhook_url": SecretStr(discord.webhook.get_secret_value() + "-new")}
    )
    assert desk.tick(final_at(US, MONDAY)) == "1 new; discord: 1 sent."
    assert tickers(discord)[1:] == ["NEXT"]


def test_two_sensors_at_once_tell_it_once(desk, discord):
    """As when two daemons run by mistake, or a tick overtakes a slow one."""
    from concurrent.futures import ThreadPoolExecutor

    desk.publish(FRIDAY, {f"N{number}": 5 for number in range(8)})
    channels = alert_sensor.channels_of(desk.settings)
    published = {US: [THURSDAY, FRIDAY]}

    def tell(_):
        world = desk.open(final_at(US, FRIDAY))
        try:
            return alert_sensor.tell(world, channels, published)
        finally:
            world.close()

    tell_once = desk.open(final_at(US, FRIDAY))
    tell_once.warehouse.migrate()
    tell_once.close()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tell, range(4)))
    assert sorted(tickers(discord)) == [f"N{number}" for number in range(8)]
