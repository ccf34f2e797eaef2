"""From the outbox to Discord over real HTTP: once, at the pace it allows, until it ends one way or the other."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from trading_pipeline.alerts.delivery import deliver
from trading_pipeline.alerts.discord import Discord
from trading_pipeline.alerts.errors import AddressClosed, MessageRefused, NotDelivered
from trading_pipeline.storage.server import connect
from trading_pipeline_tests.dip_alerts import TOKEN, Answer, dip

NOW = datetime(2024, 3, 15, 22, tzinfo=UTC)

# Sends what is due from a process of its own.
SENDER = (
    "import sys; from datetime import datetime; from pydantic import SecretStr;"
    "from trading_pipeline.alerts.delivery import deliver; from trading_pipeline.alerts.discord import Discord;"
    "from trading_pipeline.storage.outbox import Outbox; from trading_pipeline.storage.warehouse import Warehouse;"
    "outbox = Outbox(Warehouse(SecretStr(sys.argv[1])));"
    "print(deliver(outbox, Discord(SecretStr(sys.argv[2])), lambda: datetime.fromisoformat(sys.argv[3])).sent)"
)


class Time:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.seconds = 1000.0
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.seconds += seconds

    def monotonic(self):
        return self.seconds

    def now(self):
        return NOW + timedelta(seconds=self.seconds - 1000.0)


@pytest.fixture
def clock():
    return Time()


@pytest.fixture
def channel(discord, clock):
    return Discord(discord.webhook, sleep=clock.sleep, monotonic=clock.monotonic, timeout=5)


def put(outbox, *tickers, **changed):
    alerts = [dip(ticker, **changed).alert() for ticker in tickers]
    return outbox.enqueue(alerts, ["discord"], now=NOW, due_at=NOW, expires_at=NOW + timedelta(days=3))


def rows(warehouse):
    return warehouse.query("SELECT * FROM alert_outbox ORDER BY ticker").to_dicts()


def test_new_dips_are_posted_once_and_discords_name_of_the_message_is_kept(discord, outbox, warehouse, channel):
    put(outbox, "BBB", "AAA")
    done = deliver(outbox, channel, lambda: NOW)
    assert (done.sent, done.postponed, done.given_up, done.problems) == (2, 0, 0, [])
    assert [path for path, _ in discord.asked] == [f"/api/webhooks/1234567890/{TOKEN}?wait=true"]
    assert discord.titles() == ["AAA: 12.3% below its 52-week high", "BBB: 12.3% below its 52-week high"]
    assert discord.bodies[0]["content"] == "**SIMULATED: 2 new dips on the US dip desk, 15 Mar 2024**"
    assert [(row["message_id"], row["sent_at"]) for row in rows(warehouse)] == [("message-1", NOW)] * 2
    assert put(outbox, "AAA", "BBB") == 0
    assert deliver(outbox, channel, lambda: NOW).sent == 0
    assert len(discord.asked) == 1


def test_a_thread_in_the_address_is_kept(discord, clock):
    webhook = type(discord.webhook)(f"{discord.webhook.get_secret_value()}?thread_id=77")
    Discord(webhook, sleep=clock.sleep, monotonic=clock.monotonic).send([dip()], "r", NOW)
    assert discord.asked[0][0].endswith("?thread_id=77&wait=true")


def test_many_dips_travel_in_messages_that_are_struck_off_one_by_one(discord, outbox, warehouse, channel):
    put(outbox, *(f"T{number:02d}" for number in range(25)))
    discord.answers = [Answer(200, {"id": "1"}), Answer(503)]
    done = deliver(outbox, channel, lambda: NOW)
    first, second = (len(body["embeds"]) for body in discord.bodies)
    assert (done.sent, done.postponed) == (first, second)
    assert sum(row["sent_at"] is not None for row in rows(warehouse)) == first
    untried = [row for row in rows(warehouse) if row["attempts"] == 0]
    assert len(untried) == 25 - first - second, "what was not tried has lost no attempt"
    later = NOW + timedelta(minutes=1)
    assert deliver(outbox, channel, lambda: later).sent == 25 - first
    told = discord.titles()
    assert sorted(told[:first] + told[first + second :]) == [
        f"T{n:02d}: 12.3% below its 52-week high" for n in range(25)
    ]


def test_two_processes_at_once_send_nothing_twice(discord, outbox, warehouse, sender):
    for number in range(12):
        put(outbox, f"T{number:02d}", session=dip().session - timedelta(days=number))
    given = (warehouse.url.get_secret_value(), discord.webhook.get_secret_value(), NOW.isoformat())
    children = [sender(SENDER, *given) for _ in range(2)]
    answers = [child.communicate(timeout=60) for child in children]
    assert sum(int(out) for out, _ in answers) == 12, answers
    assert sorted(title[:3] for title in discord.titles()) == [f"T{number:02d}" for number in range(12)]


def test_a_sender_killed_before_discord_took_it_leaves_it_to_the_next(discord, outbox, warehouse, channel, sender):
    put(outbox, "AAA", "BBB")
    discord.answers = [Answer(delay=30)]
    given = (warehouse.url.get_secret_value(), discord.webhook.get_secret_value(), NOW.isoformat())
    child = sender(SENDER, *given)
    for _ in range(3000):
        if discord.asked:
            break
        threading.Event().wait(0.01)
    child.kill()
    child.wait()
    assert deliver(outbox, channel, lambda: NOW).sent == 0, "it is still the dead sender's"
    with connect(warehouse.url) as connection:
        connection.execute("UPDATE alert_outbox SET claimed_until = clock_timestamp() - interval '1 second'")
    assert deliver(outbox, channel, lambda: NOW).sent == 2
    assert deliver(outbox, channel, lambda: NOW).sent == 0
    assert [row["attempts"] for row in rows(warehouse)] == [2, 2]


def test_a_sender_so_slow_that_another_took_over_sends_nothing_more(discord, outbox, warehouse, channel):
    put(outbox, *(f"T{number:02d}" for number in range(25)))
    plain, taken = channel.send, []

    def slow(*given):
        receipt = plain(*given)
        with connect(warehouse.url) as connection:
            connection.execute("UPDATE alert_outbox SET claimed_until = clock_timestamp() - interval '1 second'")
        taken.append(outbox.claim("discord", NOW))
        return receipt

    channel.send = slow
    done = deliver(outbox, channel, lambda: NOW)
    assert len(discord.asked) == 1
    assert (done.sent, len(taken[0].alerts)) == (25 - sum(row["sent_at"] is None for row in rows(warehouse)), 25)
    assert "too slow" in done.problems[0]


def test_a_short_pause_is_sat_out_and_the_message_posted_again(discord, outbox, channel, clock):
    put(outbox, "AAA")
    discord.answers = [
        Answer(
            429, {"message": "You are being rate limited.", "retry_after": 1.337, "global": False}, {"Retry-After": "1"}
        )
    ]
    assert deliver(outbox, channel, lambda: NOW).sent == 1
    assert clock.slept == [pytest.approx(1.337)]
    assert len(discord.asked) == 2


@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        ({"retry_after": 90.5, "global": True}, {"X-RateLimit-Global": "true"}, 90.5),
        ("<html>error 1015</html>", {"Retry-After": "120"}, 120),
        ({}, {"Retry-After": "Fri, 15 Mar 2024 22:03:00 GMT"}, 180),
        ("slow down", {}, 60),
        ({"retry_after": 2}, {"X-RateLimit-Reset-After": "75"}, 75),
    ],
)
def test_a_long_pause_holds_the_whole_channel_back(discord, outbox, warehouse, channel, clock, body, headers, seconds):
    put(outbox, "AAA")
    put(outbox, "BBB", session=dip().session - timedelta(days=1))
    discord.answers = [Answer(429, body, headers)]
    done = deliver(outbox, channel, lambda: NOW)
    assert (done.sent, done.postponed, clock.slept, len(discord.asked)) == (0, 1, [], 1)
    assert f"a pause of {seconds:.0f} s" in done.problems[0]
    assert {row["next_attempt_at"] for row in rows(warehouse)} == {NOW + timedelta(seconds=seconds)}
    clock.seconds += seconds
    assert deliver(outbox, channel, clock.now).sent == 2


def test_a_service_that_asks_for_short_pauses_without_end_is_left_alone(discord, outbox, channel, clock):
    put(outbox, "AAA")
    discord.answers = [Answer(429, {"retry_after": 0.5})] * 9
    assert deliver(outbox, channel, lambda: NOW).postponed == 1
    assert len(discord.asked) == 3


def test_a_used_up_quota_is_waited_for_before_the_next_message(discord, outbox, channel, clock):
    put(outbox, *(f"T{number:02d}" for number in range(15)))
    discord.answers = [Answer(200, {"id": "1"}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "2.5"})]
    assert deliver(outbox, channel, lambda: NOW).sent == 15
    assert clock.slept == [pytest.approx(2.5)]


@pytest.mark.parametrize("answer", [Answer(500), Answer(502, "<html>"), Answer(delay=-1)])
def test_a_failing_service_is_tried_again_later(discord, outbox, warehouse, channel, answer):
    put(outbox, "AAA")
    discord.answers = [answer]
    done = deliver(outbox, channel, lambda: NOW)
    assert (done.sent, done.postponed) == (0, 1)
    kept = rows(warehouse)[0]
    assert kept["next_attempt_at"] == NOW + timedelta(minutes=1)
    assert kept["last_error"] == done.problems[0]
    assert deliver(outbox, channel, lambda: NOW + timedelta(minutes=1)).sent == 1
    assert rows(warehouse)[0]["last_error"] is None


def test_a_service_that_is_not_there_and_one_that_never_answers(discord, outbox, clock):
    put(outbox, "AAA")
    discord.answers = [Answer(delay=2)]
    hasty = Discord(discord.webhook, timeout=0.2)
    assert "ReadTimeout" in deliver(outbox, hasty, lambda: NOW).problems[0]
    discord.close()
    done = deliver(outbox, Discord(discord.webhook), lambda: NOW + timedelta(minutes=1))
    assert done.problems == ["Discord could not be reached (ConnectError). It is tried again."]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"message": "Unknown Webhook", "code": 10015}),
        (401, {"message": "401: Unauthorized", "code": 0}),
        (403, {"message": "Missing Permissions", "code": 50013}),
        (404, "<html>"),
    ],
)
def test_a_webhook_that_is_gone_is_never_asked_again(discord, outbox, warehouse, channel, status, body):
    put(outbox, *(f"T{number:02d}" for number in range(15)))
    discord.answers = [Answer(status, body)]
    done = deliver(outbox, channel, lambda: NOW)
    assert isinstance(done.closed, AddressClosed)
    assert (done.sent, done.given_up) == (0, 15)
    assert f"HTTP {status}" in done.problems[0]
    assert "set DISCORD_WEBHOOK_URL" in done.problems[0]
    assert {row["last_error"] for row in rows(warehouse)} == {done.problems[0]}
    put(outbox, "ZZZ")
    again = deliver(outbox, channel, lambda: NOW + timedelta(days=1))
    assert (again.sent, again.problems, len(discord.asked)) == (0, done.problems, 1)
    other = type(discord.webhook)(discord.webhook.get_secret_value() + "-new")
    assert deliver(outbox, Discord(other), lambda: NOW).sent == 1, "another webhook is another address"


def test_a_block_before_discord_is_no_answer_of_discord(discord, outbox, warehouse, channel):
    put(outbox, "AAA")
    discord.answers = [Answer(403, "<html>Access denied</html>")]
    assert deliver(outbox, channel, lambda: NOW).closed is None
    assert rows(warehouse)[0]["next_attempt_at"] == NOW + timedelta(hours=1)


def test_a_message_that_is_refused_is_given_up_and_the_others_go_on(discord, outbox, warehouse, channel):
    put(outbox, *(f"T{number:02d}" for number in range(15)))
    discord.answers = [Answer(400, {"message": "Invalid Form Body\nembeds: too long", "code": 50035})]
    done = deliver(outbox, channel, lambda: NOW)
    refused = len(discord.bodies[0]["embeds"])
    assert (done.given_up, done.sent) == (refused, 15 - refused)
    assert rows(warehouse)[0]["last_error"].startswith(
        "Discord refuses the message (HTTP 400, Invalid Form Body embeds: too long)"
    )


def test_what_another_version_wrote_down_is_given_up_and_the_others_go_on(discord, outbox, warehouse, channel):
    put(outbox, "AAA", "BBB")
    with connect(warehouse.url) as connection:
        connection.execute("UPDATE alert_outbox SET payload = '{}' WHERE ticker = 'AAA'")
    done = deliver(outbox, channel, lambda: NOW)
    assert (done.sent, done.given_up) == (1, 1)
    assert "another version" in rows(warehouse)[0]["last_error"]


def test_a_pass_ends_when_its_time_is_used_up_and_the_next_goes_on(discord, outbox, channel, clock):
    put(outbox, *(f"T{number:02d}" for number in range(25)))
    discord.answers = [Answer(200, {"id": "1"}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "3"})] * 9
    first = deliver(outbox, channel, clock.now, budget_seconds=1, monotonic=clock.monotonic)
    rest = deliver(outbox, channel, clock.now, budget_seconds=60, monotonic=clock.monotonic)
    assert 0 < first.sent < 25
    assert first.sent + rest.sent == 25


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(404, {"message": f"no {TOKEN} here"}), AddressClosed),
        (Answer(400, {"message": f"/api/webhooks/1234567890/{TOKEN}?wait=true is odd"}), MessageRefused),
        (Answer(500, TOKEN), NotDelivered),
        (Answer(delay=-1), NotDelivered),
        (Answer(200, {"id": "1"}), None),
    ],
)
def test_the_address_is_in_no_log_no_error_and_no_row(
    discord, outbox, warehouse, channel, everything_logged, answer, kind
):
    """Not even in what the service says back, nor in what hangs on the error."""
    discord.answers = [answer, answer]
    if kind is not None:
        with pytest.raises(kind) as raised:
            channel.send([dip()], "reference", NOW)
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None
        assert TOKEN not in f"{raised.value!r} {raised.value.__dict__}"
    put(outbox, "AAA")
    deliver(outbox, channel, lambda: NOW)
    assert "HTTP Request: POST" in everything_logged.text or kind is NotDelivered, "httpx logs, or this shows nothing"
    assert TOKEN not in everything_logged.text
    closed = warehouse.query("SELECT * FROM alert_addresses_closed").to_dicts()
    assert TOKEN not in f"{rows(warehouse)} {closed} {channel!r}"
