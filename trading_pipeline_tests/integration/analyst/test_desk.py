"""The desk behind a running session: no tick waits, no answer is used after its time, no cost is lost.

The real SDK against a local server, the real ledger in PostgreSQL.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from pydantic import SecretStr

from trading_pipeline.analyst import Desk, Told, market, validation, write_words
from trading_pipeline.analyst.desk import PAPER, REST
from trading_pipeline.analyst.market import MARKET
from trading_pipeline.clock import system_clock
from trading_pipeline.errors import StorageUnavailable
from trading_pipeline.settings import Settings
from trading_pipeline.storage.model_calls import PostgresLedger
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline_tests.claude import KEY, failure, message, row_of, rows_of, tag_of, words_of
from trading_pipeline_tests.live_questions import (
    NEXT,
    TICK,
    Hand,
    analysis_of,
    answering,
    signals_of,
    verdict_of,
    view_of,
)

SECOND = timedelta(seconds=1)
MARKET_COST = (900 * 3 + 250 * 15) / 1e6
"""US dollars of one answer of the server by the better model."""


@pytest.fixture(autouse=True)
def no_thread_stays_behind() -> Iterator[None]:
    yield
    assert desk_threads() == []


@pytest.fixture
def clock() -> Hand:
    return Hand(TICK + SECOND)


@pytest.fixture
def desk(api, settings, ledger, clock) -> Iterator[Desk]:
    api.answer = answering(lambda request: view_of() if tag_of(request) == "market" else verdict_of(request))
    with Desk(settings, ledger, clock) as desk:
        yield desk


def desk_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("analyst")]


def soon(there: Callable[[], bool]) -> None:
    """Waits until something that happens in the background has."""
    until = time.monotonic() + 60
    while not there():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.002)


def settle(desk: Desk) -> None:
    soon(lambda: desk.open_questions == 0)


def booked(warehouse: Warehouse, calls: int = 1) -> list[dict]:
    """The calls in the book, once there are that many."""
    soon(lambda: warehouse.query("SELECT count(*) AS calls FROM model_calls")["calls"][0] >= calls)
    return warehouse.query("SELECT * FROM model_calls ORDER BY id").to_dicts()


def only(told: list[Told]) -> Told:
    assert len(told) == 1
    return told[0]


def ask_market(desk: Desk, tick_at=TICK, within=timedelta(seconds=90)) -> None:
    desk.ask(market.asked(analysis_of(tick_at), "us", within))


def ask_about(desk: Desk, *tickers: str, deadline=NEXT) -> None:
    for asked in validation.asked(signals_of(*tickers), {}, deadline):
        desk.ask(asked)


def test_an_answer_is_told_once_at_the_first_tick_after_it_came(desk, warehouse):
    ask_market(desk)
    assert desk.answers_by(TICK) == []
    call = only(booked(warehouse))
    told = only(desk.answers_by(NEXT))
    assert (told.result.outcome, told.answered_at) == ("answered", TICK + SECOND)
    assert told.result.answer.trend_continuation == 1.75
    assert desk.answers_by(NEXT + timedelta(minutes=1)) == []
    assert (call["session"], call["instrument_id"], call["outcome"]) == (TICK.date(), "us:*", "answered")
    assert call["cost"] == told.result.cost == pytest.approx(MARKET_COST)


def test_an_answer_that_came_after_the_moment_a_tick_stands_for_is_the_next_ones(desk, clock, warehouse):
    clock.now = NEXT + 3 * SECOND
    ask_market(desk)
    booked(warehouse)
    assert desk.answers_by(NEXT) == []
    assert only(desk.answers_by(NEXT + timedelta(minutes=1))).answered_at == NEXT + 3 * SECOND


def test_nothing_waits_for_a_model_that_does_not_answer(desk, api):
    api.open.clear()
    ask_market(desk)
    soon(lambda: len(api.requests) == 1)
    questions = validation.asked(signals_of(*(f"A{number:02d}" for number in range(50))), {}, NEXT)
    began = time.perf_counter()
    for question in questions:
        desk.ask(question)
    assert desk.answers_by(TICK) == []
    late = desk.answers_by(NEXT)
    # About a tenth of a millisecond on a quiet machine; if one of them waited, it would be seconds.
    assert time.perf_counter() - began < 0.5
    assert {told.result.outcome for told in late} == {"late"} and len(late) == 50
    api.open.set()


def test_what_comes_after_its_deadline_is_booked_as_late_and_not_used(desk, api, clock, warehouse):
    api.open.clear()
    ask_market(desk, within=timedelta(seconds=30))
    soon(lambda: len(api.requests) == 1)
    clock.now = NEXT
    told = only(desk.answers_by(NEXT))
    assert (told.result.outcome, told.result.answer, told.answered_at) == ("late", None, None)
    api.open.set()
    call = only(booked(warehouse))
    assert (call["outcome"], call["answer"], call["settled"]) == ("late", None, False)
    assert call["cost"] == pytest.approx(MARKET_COST)
    assert desk.answers_by(NEXT + timedelta(hours=1)) == []


def test_what_was_told_to_be_late_stays_late_whatever_the_clock_says(desk, api, warehouse):
    api.open.clear()
    ask_market(desk)
    soon(lambda: len(api.requests) == 1)
    assert only(desk.answers_by(TICK + timedelta(seconds=90))).result.outcome == "late"
    api.open.set()
    assert only(booked(warehouse))["outcome"] == "late"


def test_late_is_late_even_where_nobody_has_looked_yet(desk, api, clock, warehouse):
    api.open.clear()
    ask_market(desk, within=timedelta(seconds=30))
    soon(lambda: len(api.requests) == 1)
    clock.now = TICK + timedelta(seconds=31)
    api.open.set()
    settle(desk)
    assert only(booked(warehouse))["outcome"] == "late"
    told = only(desk.answers_by(NEXT))
    assert (told.result.outcome, told.answered_at) == ("late", None)
    assert told.result.cost == pytest.approx(MARKET_COST)


def test_what_has_no_time_left_is_not_asked(desk, api, clock):
    clock.now = NEXT + SECOND
    ask_about(desk)
    settle(desk)
    assert only(desk.answers_by(NEXT)).result.outcome == "late"
    assert api.requests == []


def test_results_come_in_the_order_of_asking(desk, warehouse):
    ask_about(desk, "CCC", "AAA", "BBB")
    booked(warehouse, 3)
    told = desk.answers_by(NEXT)
    assert [each.asked.question.instrument_id for each in told] == ["us:CCC", "us:AAA", "us:BBB"]


def test_without_a_key_no_thread_is_started_and_every_day_is_the_same(api, ledger, clock):
    days = []
    for _ in range(2):
        desk = Desk(Settings(_env_file=None), ledger, clock)
        ask_market(desk)
        ask_about(desk, "AAA", "BBB")
        assert desk_threads() == []
        days.append([(told.result.outcome, told.result.cost, told.answered_at) for told in desk.answers_by(TICK)])
        desk.close()
    assert days[0] == days[1] == [("no_key", None, None)] * 3
    assert api.requests == []


@pytest.mark.parametrize("book", ["replay:2024-03-12", "replay:again", ""])
def test_in_a_replay_nobody_is_asked(api, settings, ledger, clock, book):
    """A model may know what came after."""
    with Desk(settings, ledger, clock, book=book) as desk:
        ask_market(desk)
        assert desk_threads() == []
        assert only(desk.answers_by(TICK)).result.outcome == "replay"
    assert api.requests == []


def test_a_session_of_the_past_is_not_asked_about_even_by_mistake(api, settings, ledger):
    """By the present's clock, every deadline of a recorded day is over."""
    with Desk(settings, ledger, system_clock, book=PAPER) as desk:
        ask_market(desk)
        ask_about(desk, "AAA")
        settle(desk)
        assert [told.result.outcome for told in desk.answers_by(NEXT + timedelta(hours=1))] == ["late", "late"]
    assert api.requests == []


def test_too_many_questions_are_turned_away_at_once(api, settings, ledger, clock):
    api.open.clear()
    api.answer = answering(verdict_of)
    with Desk(settings, ledger, clock, most_waiting=3) as desk:
        for under_way, ticker in enumerate(("AAA", "BBB", "CCC", "DDD"), start=1):
            ask_about(desk, ticker)
            soon(lambda under_way=under_way: len(api.requests) == under_way)
        ask_about(desk, "EEE", "FFF", "GGG", "HHH", "III")
        busy = desk.answers_by(TICK)
        assert [told.asked.question.instrument_id for told in busy] == ["us:HHH", "us:III"]
        assert {told.result.outcome for told in busy} == {"busy"}
        api.open.set()
    assert len(desk.answers_by(NEXT)) == 7


def test_an_answer_that_does_not_begin_in_time_ends_its_call(api, settings, ledger, clock, warehouse):
    api.answer, api.delay = answering(lambda request: view_of()), 0.8
    asked = market.asked(analysis_of(), "us")
    with Desk(settings, ledger, clock, seconds=0.2) as desk:
        desk.ask(asked)
        settle(desk)
        assert only(desk.answers_by(NEXT)).result.outcome == "timeout"
    call = only(booked(warehouse))
    most = MARKET.most_it_can_cost("claude-sonnet-5-5", asked.question.text)
    assert (call["outcome"], call["cost"]) == ("timeout", pytest.approx(most))


def test_an_answer_that_drips_in_ends_too(api, settings, ledger, clock, warehouse):
    """The transport's limit is one of each piece: by that alone this one would take as long as it likes."""
    api.answer, api.drip = answering(lambda request: view_of(summary="slow " * 80)), 0.05
    with Desk(settings, ledger, clock, seconds=0.2) as desk:
        began = time.monotonic()
        ask_market(desk)
        assert only(booked(warehouse))["outcome"] == "timeout"
        assert time.monotonic() - began < 0.8


def test_closing_waits_for_what_is_under_way_and_books_it(api, settings, ledger, clock, warehouse):
    api.answer, api.delay = answering(verdict_of), 0.2
    desk = Desk(settings, ledger, clock)
    ask_about(desk, *(f"A{number:02d}" for number in range(9)))
    soon(lambda: len(api.requests) == 4)
    desk.close()
    assert desk_threads() == []
    told = desk.answers_by(NEXT)
    assert [each.result.outcome for each in told] == ["answered"] * 4 + ["stopped"] * 5
    assert [call["outcome"] for call in booked(warehouse, 4)] == ["answered"] * 4
    assert len(api.requests) == 4
    ask_about(desk, "ZZZ")
    assert only(desk.answers_by(TICK)).result.outcome == "stopped"
    desk.close()


def test_closing_at_once_books_what_is_open_at_the_most_it_can_cost_and_only_once(
    api, settings, ledger, clock, warehouse
):
    api.open.clear()
    api.answer = lambda request: failure(529, "overloaded_error")
    asked = market.asked(analysis_of(), "us")
    desk = Desk(settings, ledger, clock)
    desk.ask(asked)
    soon(lambda: len(api.requests) == 1)
    desk.close(patience=0.05)
    call = only(booked(warehouse))
    most = MARKET.most_it_can_cost("claude-sonnet-5-5", asked.question.text)
    assert (call["outcome"], call["cost"]) == ("stopped", pytest.approx(most))
    api.open.set()
    soon(lambda: desk_threads() == [])
    # What is over is over: the fallback is not asked, and nothing is booked twice.
    assert len(api.requests) == len(booked(warehouse)) == 1
    assert only(desk.answers_by(NEXT)).result.outcome == "stopped"


def test_a_session_that_resumes_gets_the_answer_it_had_without_asking_again(desk, api, settings, ledger, warehouse):
    ask_market(desk)
    booked(warehouse)
    first = only(desk.answers_by(NEXT)).result
    with Desk(settings, ledger, Hand(TICK + SECOND)) as resumed:
        ask_market(resumed)
        settle(resumed)
        again = only(resumed.answers_by(NEXT))
    assert (again.result.answer, again.result.cost) == (first.answer, first.cost)
    assert len(api.requests) == len(booked(warehouse)) == 1


@pytest.mark.parametrize(
    "said", [failure(529, "overloaded_error"), message("No.", "claude-sonnet-5-5", "refusal")], ids=["busy", "refusal"]
)
def test_where_the_model_is_busy_or_refuses_the_fallback_answers(desk, api, warehouse, said):
    good = api.answer
    api.answer = lambda request: said if "sonnet" in request["model"] else good(request)
    ask_market(desk)
    calls = booked(warehouse, 2)
    told = only(desk.answers_by(NEXT))
    assert api.models == ["claude-sonnet-5-5", "claude-haiku-5-5"]
    assert (told.result.outcome, told.result.call.model) == ("answered", "claude-haiku-5-5")
    assert told.result.cost == pytest.approx(sum(call["cost"] for call in calls))


def test_after_three_failures_nobody_is_asked_for_a_while(desk, api, clock, warehouse):
    good = api.answer
    api.answer = lambda request: failure(503, "api_error")
    ask_market(desk)
    booked(warehouse, 2)
    ask_market(desk, TICK + SECOND)
    booked(warehouse, 3)
    settle(desk)
    asked = len(api.requests)
    ask_market(desk, TICK + 2 * SECOND)
    settle(desk)
    assert [told.result.outcome for told in desk.answers_by(NEXT)] == ["overloaded", "overloaded", "stopped"]
    assert len(api.requests) == asked
    api.answer, clock.now = good, clock.now + REST
    ask_market(desk, clock.now)
    booked(warehouse, 1 + asked)
    assert only(desk.answers_by(clock.now + SECOND)).result.outcome == "answered"


def test_the_budget_is_one_with_the_dip_desks(api, settings, ledger, clock, warehouse):
    api.answer = answering(lambda request: words_of(request) if tag_of(request) == "dip" else view_of())
    most = MARKET.most_it_can_cost("claude-sonnet-5-5", market.asked(analysis_of(), "us").question.text)
    write_words(rows_of(row_of()), settings, ledger, TICK)
    spent = ledger.spent_today(TICK)
    for left, outcome in ((0.99 * most, "budget"), (1.01 * most, "answered")):
        tight = settings.model_copy(update={"claude_daily_budget": spent + left})
        with Desk(tight, ledger, clock) as desk:
            ask_market(desk)
            settle(desk)
            assert only(desk.answers_by(NEXT)).result.outcome == outcome
    assert ledger.spent_today(TICK) == pytest.approx(spent + MARKET_COST)


def test_questions_side_by_side_stay_within_the_budget_together(api, settings, ledger, clock):
    api.answer, api.delay = answering(verdict_of), 0.05
    asked = validation.asked(signals_of(*(f"A{number:02d}" for number in range(12))), {}, NEXT)
    most = asked[0].question.task.most_it_can_cost("claude-sonnet-5-5", asked[0].question.text)
    tight = settings.model_copy(update={"claude_daily_budget": 2.5 * most})
    with Desk(tight, ledger, clock) as desk:
        for each in asked:
            desk.ask(each)
        settle(desk)
        outcomes = [told.result.outcome for told in desk.answers_by(NEXT)]
    assert api.most_at_once <= 2
    assert set(outcomes) == {"answered", "budget"}
    assert ledger.spent_today(TICK) <= tight.claude_daily_budget


def test_a_book_that_cannot_be_reached_asks_nobody(api, settings, embedded_server, clock):
    lost = PostgresLedger(Warehouse(embedded_server.url("no_such_database")))
    with Desk(settings, lost, clock) as desk:
        ask_market(desk)
        settle(desk)
        assert only(desk.answers_by(NEXT)).result.outcome == "no_ledger"
    assert api.requests == []


class TornBook(PostgresLedger):
    """A book that takes nothing while it is torn."""

    torn = True

    def record(self, call):
        if self.torn:
            raise StorageUnavailable("The book is torn", "Mend it")
        super().record(call)


def test_a_call_the_book_could_not_take_is_booked_as_soon_as_it_can(api, settings, warehouse, clock):
    api.answer = answering(lambda request: view_of())
    book = TornBook(warehouse)
    desk = Desk(settings, book, clock)
    ask_market(desk)
    soon(lambda: len(desk._asker._unbooked) == 1)
    assert only(desk.answers_by(NEXT)).result.outcome == "answered"
    # Nobody is asked while what was spent is written nowhere.
    ask_market(desk, TICK + SECOND)
    settle(desk)
    assert only(desk.answers_by(NEXT)).result.outcome == "no_ledger"
    book.torn = False
    desk.close()
    assert [call["cost"] for call in booked(warehouse)] == [pytest.approx(MARKET_COST)]


def test_whatever_breaks_behind_the_desk_the_tick_gets_a_result(settings, ledger, clock, caplog):
    broken = settings.model_copy(update={"anthropic_base_url": "http://[::1"})
    with Desk(broken, ledger, clock) as desk:
        ask_market(desk)
        settle(desk)
        assert only(desk.answers_by(NEXT)).result.outcome == "failed"
    assert "A question about us:* failed" in caplog.text
    assert KEY not in caplog.text


def test_the_key_appears_nowhere(api, settings, warehouse, clock, caplog):
    answers = iter((failure(401, "authentication_error"), failure(500, "api_error"), message("{", "claude-haiku-5-5")))
    api.answer = lambda request: next(answers)
    caplog.set_level(logging.DEBUG)
    seen = []
    for name in ("claude-sonnet-5-5", "claude-haiku-5-5"):
        other = settings.model_copy(update={"claude_finalist_model": name})
        with Desk(other, PostgresLedger(warehouse), clock) as own:
            ask_market(own)
            settle(own)
            seen += [repr(own), repr(own.answers_by(NEXT)), repr(own._asker), repr(own._asker._made)]
    assert len(api.requests) == 2
    assert all(KEY in json.dumps(headers) for headers in api.headers)
    book = warehouse.query("SELECT * FROM model_calls").write_json()
    assert KEY not in caplog.text + "".join(seen) + book + json.dumps(api.requests)


def test_a_blank_key_is_none(ledger, clock, api):
    with Desk(Settings(anthropic_api_key=SecretStr(""), _env_file=None), ledger, clock) as desk:
        ask_market(desk)
        assert only(desk.answers_by(TICK)).result.outcome == "no_key"
