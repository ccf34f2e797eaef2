"""The fetch loop the HTTP adapters share: nobody is lost, the quota holds, and it knows when to stop."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime

import polars as pl
import pytest

from trading_pipeline.errors import StorageUnavailable
from trading_pipeline.providers.base import (
    ACTIONS_SCHEMA,
    BARS_SCHEMA,
    CallMeter,
    SymbolHistory,
    SymbolRequest,
    ask_each,
    fetch_each,
    retry_after,
)
from trading_pipeline.providers.errors import AccessRefused, NotFound, ProviderDown, RateLimited

DAY = date(2024, 3, 4)


def requests_for(*symbols):
    return [SymbolRequest(symbol, DAY, DAY) for symbol in symbols]


def history(symbol, closes=(1.0,)):
    row = {"symbol": symbol, "session": DAY, "currency": "USD"}
    rows = [row | dict.fromkeys(("open", "high", "low", "close", "adj_close", "volume"), close) for close in closes]
    return SymbolHistory(pl.DataFrame(rows, schema=BARS_SCHEMA), pl.DataFrame(schema=ACTIONS_SCHEMA))


@pytest.fixture
def run(unlimited, patient):
    def fetch_all(symbols, answer, *, concurrency=1, progress=None, **policy):
        meter = CallMeter(unlimited)

        def fetch(request):
            meter.admit()
            said = answer(request.symbol)
            if isinstance(said, Exception):
                raise said
            return said

        return fetch_each(
            requests_for(*symbols),
            fetch,
            concurrency=concurrency,
            basis="as_traded",
            meter=meter,
            policy=patient(**policy),
            progress=progress,
        )

    return fetch_all


def scripted(*said):
    remaining = list(said)
    return lambda symbol: remaining.pop(0)


def test_every_symbol_is_in_the_bars_or_in_the_failures(run):
    answers = {"A": history("A"), "B": NotFound("no B"), "C": history("C", ()), "D": ProviderDown("down")}
    batch = run(answers, answers.get, concurrency=3, attempts=1)
    assert batch.bars["symbol"].to_list() == ["A"]
    assert [(failure.symbol, failure.error.kind) for failure in batch.failures] == [
        ("B", "not_found"),
        ("C", "empty_window"),
        ("D", "provider_down"),
    ]
    assert batch.http_calls == 4


def test_a_transient_failure_is_tried_again_with_growing_jittered_waits(run, waits):
    batch = run(["A"], scripted(ProviderDown("x"), RateLimited("x"), history("A")), attempts=3)
    assert batch.bars.height == 1 and batch.http_calls == 3
    assert len(waits.slept) == 2 and 0 <= waits.slept[0] <= 1 and 0 <= waits.slept[1] <= 2


def test_a_permanent_failure_is_not_tried_again(run, waits):
    batch = run(["A"], scripted(NotFound("no A")), attempts=5)
    assert batch.http_calls == 1 and waits.slept == []


def test_what_the_provider_asks_to_wait_is_waited(run, waits):
    run(["A"], scripted(RateLimited("x", retry_after=30.0), history("A")))
    assert 30 <= waits.now <= 31


def test_a_wait_that_is_too_long_ends_the_batch_instead(run, waits):
    batch = run(["A", "B", "C"], lambda symbol: RateLimited("x", retry_after=3600.0), longest_wait=60)
    assert waits.slept == [] and batch.http_calls == 1
    assert [failure.error.retry_after for failure in batch.failures] == [3600.0] * 3


def test_after_so_many_failures_in_a_row_the_rest_fail_at_once_as_the_last_did(run):
    batch = run(["A", "B", "C", "D"], lambda symbol: ProviderDown("down"), attempts=1, breaker=2)
    assert batch.http_calls == 2
    assert [failure.error.kind for failure in batch.failures] == ["provider_down"] * 4
    assert "was not asked" in batch.failures[-1].error.problem


def test_an_answer_in_between_starts_the_count_again(run):
    down = ProviderDown("down")
    batch = run("ABCDE", scripted(down, NotFound("no B"), down, history("D"), down), attempts=1, breaker=2)
    assert batch.http_calls == 5


def test_a_refused_key_ends_the_batch_at_once(run):
    batch = run("ABC", lambda symbol: AccessRefused("key refused"), attempts=3)
    assert batch.http_calls == 1 and {failure.error.kind for failure in batch.failures} == {"access_refused"}


def test_a_bar_said_twice_is_kept_apart_and_not_lost(run):
    batch = run(["A"], lambda symbol: history("A", (1.0, 2.0)))
    assert batch.bars["close"].to_list() == [1.0] and batch.duplicates["close"].to_list() == [2.0]


def test_what_is_not_a_failure_of_the_provider_is_not_swallowed(run):
    with pytest.raises(StorageUnavailable):
        run("AB", lambda symbol: StorageUnavailable("no throttle", "start it"))


def test_no_more_requests_run_at_a_time_than_the_quota_says(run):
    together = threading.Barrier(3, timeout=10)
    running, most, lock = [], [], threading.Lock()

    def answer(symbol):
        with lock:
            running.append(symbol)
            most.append(len(running))
        together.wait()
        with lock:
            running.remove(symbol)
        return history(symbol)

    run("ABCDEF", answer, concurrency=3)
    assert max(most) == 3


def test_progress_counts_every_symbol_once(run):
    told = []
    run("ABC", history, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_nothing_asked_is_an_empty_answer_of_the_right_shape(run):
    batch = run("", history)
    assert batch.bars.schema == BARS_SCHEMA and batch.actions.schema == ACTIONS_SCHEMA and batch.failures == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("Fri, 08 Mar 2024 12:00:30 GMT", 30.0),
        ("Fri, 08 Mar 2024 11:00:00 GMT", 0.0),
        ("soon", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header, seconds):
    assert retry_after(header, datetime(2024, 3, 8, 12, 0, tzinfo=UTC)) == seconds


def test_answers_of_any_kind_come_back_in_the_order_of_the_requests(patient):
    def ask(number):
        if number % 3 == 0:
            raise NotFound(f"no {number}")
        return number * 10

    seen = []
    answers = ask_each(
        [4, 3, 2, 1],
        str,
        ask,
        concurrency=3,
        policy=patient(attempts=1),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [answers[0], *answers[2:]] == [40, 20, 10] and isinstance(answers[1], NotFound)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_what_was_not_asked_for_is_named_by_its_symbol(patient):
    def ask(number):
        raise AccessRefused("the key is wrong")

    answers = ask_each([1, 2], lambda number: f"T{number}", ask, concurrency=1, policy=patient(attempts=1))
    assert [type(answer) for answer in answers] == [AccessRefused, AccessRefused]
    assert answers[1].problem.startswith("T2 was not asked for")
