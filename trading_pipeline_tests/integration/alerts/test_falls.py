"""From the live loop's price monitor to the people: each fall once, while it is news, whatever else goes wrong."""

from __future__ import annotations

import logging
from datetime import date, timedelta

import dagster as dg
import polars as pl
import pytest
from pydantic import SecretStr

from trading_pipeline.alerts.falls import NEWS_FOR, enqueue_falls
from trading_pipeline.automation import alert_sensor
from trading_pipeline.clock import fixed_clock
from trading_pipeline.errors import StorageUnavailable
from trading_pipeline.markets import US
from trading_pipeline.research.live import FALL_COLUMNS, PriceMonitor, SessionContext, load_rules
from trading_pipeline.research.live.context import NAMES
from trading_pipeline.sessions import calendar
from trading_pipeline.storage.outbox import EXPIRED
from trading_pipeline.tables import DAILY_BIAS, DIP_ANALYSIS, DIP_OPPORTUNITIES
from trading_pipeline.world import World
from trading_pipeline_tests.dip_alerts import Answer, dip
from trading_pipeline_tests.promises import final_at

XNYS = calendar("XNYS")
THURSDAY = date(2024, 3, 14)
FRIDAY = date(2024, 3, 15)
OPEN = XNYS.open_at(FRIDAY)
MINUTE = timedelta(minutes=1)
LOGS = pl.Schema(
    {
        "instrument_id": pl.String(),
        "tick_at": pl.Datetime("us", "UTC"),
        "bar_started_at": pl.Datetime("us", "UTC"),
        "high": pl.Float64(),
        "close": pl.Float64(),
    }
)


class Session:
    """A session of a world of its own: a real price monitor before a real outbox, and the sensor after it."""

    def __init__(self, settings):
        self.settings = settings
        self.instance = dg.DagsterInstance.ephemeral()
        self.ids = {f"us:{ticker}": ticker for ticker in ("AAA", "BBB", "CCC", "DDD", "EEE")}
        self.logs = pl.DataFrame(schema=LOGS)
        self.monitor = self.new_monitor()
        self.worlds = []

    def new_monitor(self):
        names = pl.DataFrame(
            [
                {"instrument_id": id_, "ticker": ticker, "sector": None, "bias": None, "confidence": None}
                | {"atr_14": 2.0, "previous_close": 100.0}
                for id_, ticker in self.ids.items()
            ],
            schema=NAMES,
        )
        context = SessionContext(FRIDAY, OPEN, XNYS.close_at(FRIDAY), names)
        return PriceMonitor(context, load_rules().monitor)

    def falls(self, minute, **closes):
        """What the monitor tells of the bars that the tick `minute` minutes after the open takes in."""
        rows = [
            {
                "instrument_id": f"us:{ticker}",
                "tick_at": OPEN + minute * MINUTE,
                "bar_started_at": OPEN + (minute - 1) * MINUTE,
                "high": close,
                "close": close,
            }
            for ticker, close in closes.items()
        ]
        logs = pl.DataFrame(rows, schema=LOGS)
        self.logs = pl.concat([self.logs, logs])
        return self.monitor.advance(logs)

    def world(self, now):
        world = World(self.settings, fixed_clock(now))
        self.worlds.append(world)
        return world

    def enqueue(self, falls, now):
        world = self.world(now)
        try:
            enqueue_falls(world, US, FRIDAY, falls)
        finally:
            world.close()

    def tick(self, minute, **closes):
        """A tick of the loop."""
        if (falls := self.falls(minute, **closes)).height:
            self.enqueue(falls, OPEN + minute * MINUTE)

    def go_on(self, minute):
        """The loop starts again and tells all of the session's falls."""
        self.monitor = self.new_monitor()
        self.enqueue(self.monitor.resume(self.logs), OPEN + minute * MINUTE)

    def send(self, minute):
        """The alerts' sensor, as the daemon runs it."""
        now = OPEN + minute * MINUTE
        found = alert_sensor.sensor(lambda: self.world(now))
        return found.evaluate_tick(dg.build_sensor_context(instance=self.instance)).skip_message

    def rows(self, sql="SELECT * FROM alert_outbox ORDER BY ticker, channel"):
        world = self.world(OPEN)
        try:
            return world.warehouse.query(sql).to_dicts()
        finally:
            world.close()

    def publish(self, table, session, rows):
        """Rows of a decision table; what they do not say is null, or empty where it must be there."""
        empty = {pl.String(): "", pl.Boolean(): True, pl.Datetime("us", "UTC"): OPEN}
        filled = [
            {c.name: row.get(c.name, None if c.nullable else empty.get(c.dtype, 1)) for c in table.columns}
            for row in rows
        ]
        world = self.world(final_at(US, THURSDAY))
        try:
            world.lake.publish(US.name, table, [session], pl.DataFrame(filled, schema=table.schema), world.now())
        finally:
            world.close()


@pytest.fixture
def settings(server_settings, discord, tmp_path):
    given = {"discord_webhook_url": discord.webhook, "watchlist_file": tmp_path / "watchlist.txt"}
    return server_settings.model_copy(update=given)


@pytest.fixture
def session(settings):
    return Session(settings)


def tickers(discord):
    return [title.partition(":")[0] for title in discord.titles()]


def told_of(discord, ticker):
    embed = next(e for body in discord.bodies for e in body["embeds"] if e["title"].startswith(f"{ticker}:"))
    return {field["name"]: field["value"] for field in embed["fields"]}


def test_a_fall_leaves_at_the_sensors_next_tick(session, discord):
    session.tick(1, AAA=99.0, BBB=100.0)
    assert session.send(1) == "Nothing is new and nothing is due."
    session.tick(2, AAA=94.0, BBB=100.0)
    assert session.send(3) == "discord: 1 sent."
    assert discord.titles() == ["AAA: down 6.0% from its last close"]
    assert (
        "94.00, last close 100.00 · Seen 15 Mar 2024, 09:32 EDT (13:32 UTC)"
        in (discord.bodies[0]["embeds"][0]["description"])
    )


def test_each_name_is_told_once_a_session_and_channel(session, settings, discord, serve, box):
    session.settings = settings.model_copy(
        update={
            "smtp_host": "127.0.0.1",
            "smtp_port": serve(),
            "smtp_security": "none",
            "alert_email_from": "desk@example.org",
            "alert_email_to": ("anna@example.org",),
        }
    )
    session.tick(1, AAA=94.0, BBB=100.0)
    assert session.send(1) == "discord: 1 sent; email: 1 sent."
    session.tick(2, AAA=80.0, BBB=94.9)
    session.go_on(3)
    session.go_on(4)
    assert session.send(4) == "discord: 1 sent; email: 1 sent."
    session.go_on(5)
    assert session.send(5) == "Nothing is new and nothing is due."
    assert tickers(discord) == ["AAA", "BBB"]
    assert [mail["Subject"] for mail in box.mails] == [
        "SIMULATED: AAA: down 6.0% from its last close, 15 Mar 2024",
        "SIMULATED: BBB: down 5.1% from its last close, 15 Mar 2024",
    ]
    assert [(row["ticker"], row["channel"]) for row in session.rows()] == [
        (ticker, channel) for ticker in ("AAA", "BBB") for channel in ("discord", "email")
    ]


def test_a_loop_killed_between_commit_and_alert_tells_it_when_it_goes_on(session, discord):
    session.falls(7, AAA=94.0)
    session.go_on(9)
    assert session.send(10) == "discord: 1 sent."
    assert "09:37 EDT" in discord.bodies[0]["embeds"][0]["description"], "when it was seen, not when it was told"


def test_a_fall_from_the_sessions_high(session, discord):
    session.tick(1, AAA=110.0)
    session.tick(2, AAA=104.0)
    session.send(2)
    assert discord.titles() == ["AAA: down 5.5% from the session's high"]


def test_a_service_that_fails_is_tried_again_while_it_is_news_and_then_given_up(session, discord):
    session.tick(1, AAA=94.0)
    discord.answers = [Answer(503), Answer(503)]
    assert session.send(1).startswith("discord: 1 to be tried again")
    session.tick(2, BBB=94.0)
    assert session.send(2).startswith("discord: 1 to be tried again")
    late = 1 + NEWS_FOR // MINUTE
    assert session.send(late) == "discord: 1 sent."
    assert tickers(discord)[-1] == "BBB"
    aaa, bbb = session.rows()
    assert aaa["last_error"].startswith(f"{EXPIRED}; Discord answered HTTP 503")
    assert (aaa["given_up_at"], bbb["given_up_at"]) == (OPEN + late * MINUTE, None)


def test_what_is_told_too_late_is_given_up_with_the_reason(session, discord):
    """A loop that goes on in the afternoon tells the morning's falls to nobody."""
    session.falls(1, AAA=94.0)
    session.falls(300, BBB=94.0)
    session.go_on(320)
    assert session.send(320) == "discord: 1 sent."
    assert tickers(discord) == ["BBB"]
    assert [(row["ticker"], row["last_error"]) for row in session.rows() if row["given_up_at"]] == [("AAA", EXPIRED)]


def test_without_a_channel_nothing_is_opened(server_settings):
    session = Session(server_settings)
    session.tick(1, AAA=94.0)
    assert "databases" not in session.worlds[-1].__dict__


def test_nothing_is_written_down_for_an_address_that_is_closed(session, discord):
    session.tick(1, AAA=94.0)
    discord.answers = [Answer(404, {"message": "Unknown Webhook", "code": 10015})]
    with pytest.raises(Exception, match="HTTP 404"):
        session.send(1)
    session.tick(2, BBB=94.0)
    assert [row["ticker"] for row in session.rows()] == ["AAA"]


def test_what_is_known_of_the_name_is_told_with_it(session, settings, discord):
    rows = [dip("AAA", session=THURSDAY), dip("BBB", session=THURSDAY), dip("CCC", session=THURSDAY, action="avoid")]
    rows = [each.model_dump() | {"on_desk": each.ticker != "BBB"} for each in rows]
    session.publish(DIP_OPPORTUNITIES, THURSDAY, rows)
    session.publish(DIP_ANALYSIS, THURSDAY, rows[::2])
    leaning = {"session": FRIDAY, "confidence": 0.62, "reasons": "Gap up on high volume\nNews is good"}
    biases = [("AAA", "long"), ("BBB", "short")]
    session.publish(
        DAILY_BIAS,
        FRIDAY,
        [{"instrument_id": f"us:{name}", "ticker": name, "bias": bias, **leaning} for name, bias in biases],
    )
    settings.watchlist_file.write_text("BBB\n")
    session.tick(1, AAA=94.0, BBB=94.0, CCC=94.0, DDD=94.0)
    session.send(1)
    desk = "On it, 12.3% below its 52-week high the session before"
    assert told_of(discord, "AAA") == {
        "Dip desk": f"{desk} (Buy)",
        "Watchlist": "Not on it",
        "Bias": "Long before the open, 62% sure: Gap up on high volume",
    }
    assert told_of(discord, "BBB") == {
        "Dip desk": "Not on it",
        "Watchlist": "On it",
        "Bias": "Short before the open, 62% sure: Gap up on high volume",
    }
    assert told_of(discord, "CCC") == {"Dip desk": f"{desk} (Avoid)", "Watchlist": "Not on it"}
    assert told_of(discord, "DDD") == {"Dip desk": "Not on it", "Watchlist": "Not on it"}


def test_what_is_known_of_the_name_may_be_missing_or_unreadable(session, settings, discord, caplog):
    session.publish(
        DAILY_BIAS, FRIDAY, [{"session": FRIDAY, "instrument_id": "us:AAA", "ticker": "AAA", "bias": "long"}]
    )
    (log,) = settings.state_dir.rglob("daily_bias/_delta_log/*.json")
    log.write_text("no JSON")
    settings.watchlist_file.write_bytes(b"\xff\xfe\x00")
    with caplog.at_level(logging.WARNING):
        session.tick(1, AAA=94.0)
    assert session.send(1) == "discord: 1 sent."
    assert told_of(discord, "AAA") == {}
    assert caplog.text.count("go without what is known") == 2
    assert "watchlist.txt" in caplog.text


def test_a_row_that_cannot_be_read_is_left_out_and_the_others_are_told(session, discord, caplog):
    falls = session.falls(1, AAA=94.0, BBB=94.0, CCC=94.0, DDD=94.0, EEE=94.0)
    spoilt = falls.with_columns(
        price=pl.when(pl.col("ticker") == "AAA").then(float("nan")).otherwise("price"),
        fall_pct=pl.when(pl.col("ticker") == "BBB").then(None).otherwise("fall_pct"),
        reference_price=pl.when(pl.col("ticker") == "CCC").then(float("inf")).otherwise("reference_price"),
        instrument_id=pl.when(pl.col("ticker") == "DDD").then(None).otherwise("instrument_id"),
    )
    with caplog.at_level(logging.WARNING):
        session.enqueue(spoilt, OPEN + MINUTE)
        session.enqueue(falls.drop("tick_at"), OPEN + MINUTE)
        session.enqueue(pl.DataFrame(schema=FALL_COLUMNS), OPEN + MINUTE)
    assert session.send(1) == "discord: 1 sent."
    assert tickers(discord) == ["EEE"]
    left_out = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert left_out[:4] == [
        "A fall of AAA is left out: price cannot be read",
        "A fall of BBB is left out: fall_pct cannot be read",
        "A fall of CCC is left out: reference_price cannot be read",
        "A fall of DDD is left out: instrument_id cannot be read",
    ]
    assert left_out[4:] == [f"A fall of {name} is left out: tick_at cannot be read" for name in session.ids.values()]


def test_settings_that_name_no_usable_channel_end_no_session(session, caplog):
    session.settings = session.settings.model_copy(update={"discord_webhook_url": SecretStr("nowhere")})
    with caplog.at_level(logging.WARNING):
        session.tick(1, AAA=94.0)
    assert "Falls are told to nobody: DISCORD_WEBHOOK_URL is not an address" in caplog.text
    assert session.rows() == []


def test_a_database_that_is_away_is_raised_so_that_the_session_is_led_on(session):
    session.settings = session.settings.model_copy(
        update={"database_url": SecretStr("postgresql://nobody@127.0.0.1:1/nothing")}
    )
    with pytest.raises(StorageUnavailable):
        session.tick(1, AAA=94.0)


def test_falls_and_dips_of_one_session_are_two_messages(session, discord):
    """And neither keeps the other quiet: the fall of the day is the dip of the evening."""
    session.tick(380, AAA=94.0)
    discord.answers = [Answer(503)]
    session.send(380)
    for day, names in ((THURSDAY, []), (FRIDAY, ["AAA"])):
        rows = [dip(name, session=day).model_dump() | {"on_desk": True} for name in names]
        session.publish(DIP_OPPORTUNITIES, day, rows)
        session.publish(DIP_ANALYSIS, day, rows)
        event = dg.AssetMaterialization(dg.AssetKey([US.name, "dip_analysis"]), partition=day.isoformat())
        session.instance.report_runless_asset_event(event)
    evening = (final_at(US, FRIDAY) - OPEN) // MINUTE
    assert session.send(evening) == "1 new; discord: 2 sent."
    assert sorted(body["content"] for body in discord.bodies[1:]) == [
        "**SIMULATED: 1 new dip on the US dip desk, 15 Mar 2024**",
        "**SIMULATED: AAA: down 6.0% from its last close, 15 Mar 2024**",
    ]


def test_a_fall_is_told_by_the_clock_of_the_tick_that_saw_it(session, discord):
    """Ticks that an outage made up for are not told as if they were now."""
    falls = session.falls(30, AAA=94.0)
    session.enqueue(falls, OPEN + 90 * MINUTE)
    (row,) = session.rows()
    assert row["next_attempt_at"] == OPEN + 90 * MINUTE
    assert row["expires_at"] == OPEN + 30 * MINUTE + NEWS_FOR
