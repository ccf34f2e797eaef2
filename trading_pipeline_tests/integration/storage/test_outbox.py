"""The outbox: told once, by one sender at a time, until it is told or there is no sense in it any more."""

from __future__ import annotations

import json
import threading
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from trading_pipeline.storage import outbox as outbox_module
from trading_pipeline.storage.outbox import ATTEMPTS, DIED, EXPIRED, Alert, Outbox, fingerprint
from trading_pipeline.storage.server import connect

NOW = datetime(2024, 3, 15, 22, tzinfo=UTC)
FRIDAY = date(2024, 3, 15)
MINUTE = timedelta(minutes=1)

# Claims everything that is due, says what, and waits to be killed.
SENDER = (
    "import sys, time; from datetime import datetime; from pydantic import SecretStr;"
    "from trading_pipeline.storage.warehouse import Warehouse; from trading_pipeline.storage.outbox import Outbox;"
    "batch = Outbox(Warehouse(SecretStr(sys.argv[1]))).claim('discord', datetime.fromisoformat(sys.argv[2]));"
    "print(len(batch.alerts), batch.name, flush=True); time.sleep(600)"
)


@pytest.fixture
def outbox(warehouse):
    return Outbox(warehouse)


def alert(ticker="AAA", session=FRIDAY, threshold=10.0, **payload):
    return Alert("dip", "us", session, f"us:{ticker}", ticker, {"ticker": ticker, **payload}, threshold)


def fall(ticker="AAA", session=FRIDAY, **payload):
    return Alert("fall", "us", session, f"us:{ticker}", ticker, {"ticker": ticker, **payload})


def put(outbox, *alerts, channels=("discord",), now=NOW, due_at=None, expires_at=None, quiet_since=None):
    return outbox.enqueue(
        alerts or [alert()],
        channels,
        now=now,
        due_at=due_at or now,
        expires_at=expires_at or now + timedelta(days=3),
        quiet_since=quiet_since,
    )


def keys(batch):
    return [item.dedup_key for item in batch.alerts]


def tickers(batch):
    return [item.payload["ticker"] for item in batch.alerts]


def row(warehouse, ticker="AAA"):
    return warehouse.query("SELECT * FROM alert_outbox WHERE ticker = %(ticker)s", {"ticker": ticker}).row(
        0, named=True
    )


def end_claims(warehouse):
    """As if every claim had been made long ago."""
    with connect(warehouse.url) as connection:
        connection.execute("UPDATE alert_outbox SET claimed_until = clock_timestamp() - interval '1 second'")


def test_an_alert_is_written_down_once_for_each_channel(outbox, warehouse):
    assert put(outbox, alert("AAA"), alert("BBB"), channels=("discord", "email")) == 4
    assert put(outbox, alert("AAA", why="other words"), alert("CCC"), channels=("discord", "email")) == 2
    kept = warehouse.query("SELECT dedup_key, payload FROM alert_outbox ORDER BY dedup_key")
    assert kept["dedup_key"].to_list()[:2] == [
        "dip/discord/us/2024-03-15/us:AAA/10",
        "dip/discord/us/2024-03-15/us:BBB/10",
    ]
    assert json.loads(kept["payload"][0]) == {"ticker": "AAA"}
    assert put(outbox, channels=()) == 0


def test_another_threshold_session_or_market_is_another_alert(outbox):
    other = Alert("dip", "asx", FRIDAY, "us:AAA", "AAA", {}, 10.0)
    assert put(outbox, alert(), alert(threshold=15), alert(session=date(2024, 3, 18)), other) == 4


def test_what_was_told_lately_is_not_told_again_at_a_later_session_unless_deeper(outbox):
    monday, week = date(2024, 3, 18), date(2024, 3, 11)
    put(outbox, alert(threshold=10))
    assert put(outbox, alert(session=monday, threshold=10), quiet_since=week) == 0
    assert put(outbox, alert(session=monday, threshold=5), quiet_since=week) == 0
    assert put(outbox, alert(session=monday, threshold=15), quiet_since=week) == 1
    assert put(outbox, alert("BBB", session=monday), quiet_since=week) == 1
    assert put(outbox, alert(session=monday, threshold=10), quiet_since=monday) == 1
    assert put(outbox, alert(session=monday), channels=("email",), quiet_since=week) == 1


def test_a_fall_is_written_down_once_a_session_however_deep_it_gets(outbox, warehouse):
    both = ("discord", "email")
    assert put(outbox, fall(price=93.0), channels=both) == 2
    assert put(outbox, fall(price=90.0), fall("BBB"), channels=both) == 2
    assert put(outbox, fall(session=date(2024, 3, 18)), channels=both) == 2
    first = warehouse.query("SELECT dedup_key, kind, threshold_pct, payload FROM alert_outbox ORDER BY 1").row(0)
    assert first[:3] == ("fall/discord/us/2024-03-15/us:AAA", "fall", None)
    assert json.loads(first[3])["price"] == 93.0


def test_kinds_keep_nothing_of_each_other_quiet(outbox):
    """A fall on Friday is no reason to be silent about Monday's dip, nor the other way round."""
    monday, week = date(2024, 3, 18), date(2024, 3, 11)
    deep = Alert("other", "us", FRIDAY, "us:AAA", "AAA", {}, 15.0)
    put(outbox, fall("AAA"), deep, alert("BBB", threshold=15))
    assert put(outbox, alert("AAA", session=monday, threshold=5), quiet_since=week) == 1
    assert put(outbox, fall("BBB", session=monday), quiet_since=week) == 1


def test_a_dip_without_its_threshold_is_refused(outbox):
    with pytest.raises(psycopg.errors.CheckViolation):
        put(outbox, alert(threshold=None))


def test_a_batch_is_of_one_kind(outbox):
    put(outbox, alert("AAA"), fall("AAA"), fall("BBB"))
    batches = [outbox.claim("discord", NOW) for _ in range(3)]
    assert {batch.kind: tickers(batch) for batch in batches[:2]} == {"dip": ["AAA"], "fall": ["AAA", "BBB"]}
    assert batches[2] is None


def test_several_are_written_down_together_or_not_at_all(outbox, warehouse):
    nameless = Alert("dip", "us", FRIDAY, None, "BBB", {}, 10.0)  # type: ignore[arg-type]
    with pytest.raises(psycopg.errors.NotNullViolation):
        put(outbox, alert("AAA"), nameless)
    assert warehouse.query("SELECT * FROM alert_outbox").is_empty()


def test_two_processes_that_write_down_the_same_end_with_one_of_each(outbox, warehouse):
    alerts = [alert(f"T{number:02d}") for number in range(30)]
    counts = []
    threads = [threading.Thread(target=lambda: counts.append(put(outbox, *alerts))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 30
    assert warehouse.query("SELECT count(*) AS n FROM alert_outbox")["n"].item() == 30


def test_nothing_is_due_before_its_time_nor_on_another_channel(outbox):
    put(outbox, due_at=NOW + MINUTE)
    assert outbox.claim("discord", NOW) is None
    assert outbox.claim("email", NOW + MINUTE) is None
    assert tickers(outbox.claim("discord", NOW + MINUTE)) == ["AAA"]


def test_a_batch_is_of_one_market_and_session_by_ticker(outbox):
    monday = date(2024, 3, 18)
    put(
        outbox, alert("BBB"), alert("AAA"), alert("CCC", session=monday), Alert("dip", "asx", FRIDAY, "x", "X", {}, 5.0)
    )
    batches = [outbox.claim("discord", NOW) for _ in range(4)]
    assert {(batch.market, batch.session) for batch in batches[:3]} == {("us", FRIDAY), ("us", monday), ("asx", FRIDAY)}
    assert [tickers(batch) for batch in batches[:3] if (batch.market, batch.session) == ("us", FRIDAY)] == [
        ["AAA", "BBB"]
    ]
    assert batches[3] is None


def test_what_one_sender_claimed_no_other_gets(outbox):
    put(outbox, *(alert(f"T{number:02d}") for number in range(40)))
    taken = []
    barrier = threading.Barrier(4)

    def send():
        barrier.wait()
        while (batch := outbox.claim("discord", NOW, limit=7)) is not None:
            taken.extend(tickers(batch))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [f"T{number:02d}" for number in range(40)]


def test_what_was_sent_is_never_claimed_again(outbox, warehouse):
    put(outbox)
    batch = outbox.claim("discord", NOW)
    outbox.sent(keys(batch), NOW, "123", remark="one recipient was refused")
    tomorrow = NOW + timedelta(days=1)
    assert outbox.claim("discord", tomorrow) is None
    found = row(warehouse)
    assert (found["sent_at"], found["message_id"], found["attempts"]) == (NOW, "123", 1)
    assert (found["last_error"], found["claim"]) == ("one recipient was refused", None)


def test_a_killed_senders_batch_is_sent_whole_by_the_next_once_its_claim_ended(outbox, warehouse, python):
    put(outbox, alert("AAA"), alert("BBB"))
    sender = python(SENDER, warehouse.url.get_secret_value(), NOW.isoformat())
    count, name = sender.stdout.readline().split()
    assert int(count) == 2
    sender.kill()
    sender.wait()
    put(outbox, alert("CCC"))
    assert tickers(outbox.claim("discord", NOW)) == ["CCC"], "the dead sender's claim still holds"
    end_claims(warehouse)
    again = {
        tuple(tickers(batch)): batch.name for batch in (outbox.claim("discord", NOW), outbox.claim("discord", NOW))
    }
    assert set(again) == {("AAA", "BBB"), ("CCC",)}, "a batch stays as it was made"
    assert again["AAA", "BBB"] == name


def test_a_claim_that_ended_is_not_renewed(outbox, warehouse):
    put(outbox)
    slow = outbox.claim("discord", NOW)
    assert outbox.renew(slow, keys(slow))
    end_claims(warehouse)
    assert not outbox.renew(slow, keys(slow))
    quick = outbox.claim("discord", NOW)
    assert not outbox.renew(slow, keys(slow))
    assert outbox.renew(quick, keys(quick))
    outbox.postpone(slow, keys(slow), NOW, "late word")
    outbox.give_up(slow, keys(slow), NOW, "late word")
    assert row(warehouse)["last_error"] is None
    outbox.sent(keys(slow), NOW, "1")
    assert row(warehouse)["sent_at"] == NOW, "what was sent was sent, whoever held the claim"


def test_waits_double_up_to_an_hour_and_the_last_failure_is_kept(outbox, warehouse):
    put(outbox, expires_at=NOW + timedelta(days=30))
    now, waits = NOW, []
    while (batch := outbox.claim("discord", now)) is not None:
        again = outbox.postpone(batch, keys(batch), now, f"failure {len(waits) + 1}")
        if again is None:
            break
        assert outbox.claim("discord", again - timedelta(seconds=1)) is None
        waits.append((again - now) // MINUTE)
        now = again
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    found = row(warehouse)
    assert (found["attempts"], found["last_error"], found["given_up_at"]) == (ATTEMPTS, "failure 12", now)
    assert outbox.claim("discord", now + timedelta(days=9)) is None


def test_a_wait_that_the_service_asks_for_is_kept(outbox):
    put(outbox)
    batch = outbox.claim("discord", NOW)
    assert outbox.postpone(batch, keys(batch), NOW, "busy", wait=timedelta(seconds=601)) == NOW + timedelta(seconds=601)


def test_what_was_claimed_and_not_tried_is_given_back_as_it_was(outbox, warehouse):
    put(outbox)
    batch = outbox.claim("discord", NOW)
    outbox.release(batch, keys(batch))
    assert row(warehouse)["attempts"] == 0
    assert outbox.claim("discord", NOW).name == batch.name


def test_a_pause_of_the_channel_holds_back_everything_on_it(outbox):
    put(outbox, alert("AAA"), channels=("discord", "email"))
    outbox.hold("discord", NOW + 5 * MINUTE)
    assert outbox.claim("discord", NOW + 4 * MINUTE) is None
    assert outbox.claim("email", NOW) is not None
    assert outbox.claim("discord", NOW + 5 * MINUTE) is not None


def test_an_alert_whose_senders_all_died_is_given_up(outbox, warehouse, monkeypatch):
    monkeypatch.setattr(outbox_module, "ATTEMPTS", 2)
    put(outbox)
    for _ in range(2):
        assert outbox.claim("discord", NOW) is not None
        end_claims(warehouse)
    assert outbox.claim("discord", NOW) is None
    assert (row(warehouse)["given_up_at"], row(warehouse)["last_error"]) == (NOW, DIED)


def test_what_is_no_news_any_more_is_given_up_and_keeps_its_last_error(outbox, warehouse):
    put(outbox, alert("AAA"), alert("BBB"), expires_at=NOW + MINUTE)
    batch = outbox.claim("discord", NOW)
    outbox.postpone(batch, keys(batch), NOW, "HTTP 503")
    put(outbox, alert("CCC"), expires_at=NOW + 2 * MINUTE)
    assert tickers(outbox.claim("discord", NOW + MINUTE)) == ["CCC"]
    assert row(warehouse)["last_error"] == f"{EXPIRED}; HTTP 503"
    assert row(warehouse)["given_up_at"] == NOW + MINUTE


def test_a_closed_address_takes_nothing_more_and_another_one_does(outbox, warehouse):
    put(outbox, alert("AAA"), alert("BBB"), channels=("discord", "email"))
    old, new = fingerprint("https://example.org/secret-token"), fingerprint("https://example.org/other")
    batch = outbox.claim("discord", NOW)
    outbox.close_address("discord", old, NOW, "gone")
    outbox.close_address("discord", old, NOW, "said twice")
    assert outbox.closed("discord", old) == "gone"
    assert outbox.closed("discord", new) is None
    assert outbox.closed("email", old) is None
    assert not outbox.renew(batch, keys(batch))
    ended = warehouse.query("SELECT channel, last_error FROM alert_outbox WHERE given_up_at IS NOT NULL")
    assert set(ended.iter_rows()) == {("discord", "gone")}
    assert outbox.claim("email", NOW) is not None
    assert "secret-token" not in str(warehouse.query("SELECT * FROM alert_addresses_closed").to_dicts())
