"""The market by Claude: the real SDK against a local server, from the tick that asks to the row it becomes."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import polars as pl
import pytest

from trading_pipeline.analyst import Desk, market
from trading_pipeline.analyst.market import MARKET, MULTIPLIERS
from trading_pipeline.analyst.prices import price_of
from trading_pipeline_tests.claude import failure, message
from trading_pipeline_tests.live_questions import NEXT, TICK, Hand, analysis_of, answering, view_of

RULES = analysis_of().row(0, named=True)


def rows_after(settings, ledger, **given) -> pl.DataFrame:
    """What the two ticks write: the one that asks, and the one that finds the answer."""
    with Desk(settings, ledger, Hand(TICK + timedelta(seconds=1)), **given) as desk:
        desk.ask(market.asked(analysis_of(), "us"))
        first = market.rows(desk.answers_by(TICK), TICK, "paper", analysis_of())
        while desk.open_questions:
            time.sleep(0.002)
        return pl.concat([first, market.rows(desk.answers_by(NEXT), NEXT, "paper")])


def stands_by_the_rules(row: dict) -> bool:
    return row["source"] == "rules" and all(row[name] == RULES[name] for name in MULTIPLIERS)


def test_an_answer_in_time_becomes_the_analysis_from_the_next_tick_on(api, settings, ledger):
    api.answer = answering(lambda request: view_of(long=2.5))
    asking, answered = rows_after(settings, ledger).to_dicts()
    assert stands_by_the_rules(asking) and asking["model"] is None
    assert [answered[name] for name in MULTIPLIERS] == [0.6, 1.75, 2.0, 0.75]
    assert (answered["source"], answered["model"], len(answered["prompt_hash"])) == ("claude", "claude-sonnet-5-5", 64)
    assert answered["summary"] == view_of()["summary"]
    assert answered["cost"] == pytest.approx(ledger.spent_today(TICK)) == pytest.approx((900 * 3 + 250 * 15) / 1e6)


UNUSABLE = {
    "out of range": (answering(lambda request: view_of(short=12.0)), "a number out of its range", 1),
    "no number": (answering(lambda request: view_of(long=float("nan"))), "a number out of its range", 1),
    "a word for a number": (answering(lambda request: view_of(long="high")), "not the shape", 1),
    "a number left out": (answering(lambda request: {"long": 1.0, "summary": "Up."}), "not the shape", 1),
    "cut off": (lambda request: message('{"mean_reversion": 1.', request["model"], "max_tokens"), "cut off", 1),
    "no JSON": (lambda request: message("The market is up.", request["model"]), "not the shape", 1),
    "refusal": (lambda request: message("No.", request["model"], "refusal"), "the model refused", 2),
    "overload": (lambda request: failure(529, "overloaded_error"), "overloaded", 2),
    "denied": (lambda request: failure(401, "authentication_error"), "not accepted", 1),
}


@pytest.mark.parametrize(("answer", "reason", "requests"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_answer_that_cannot_be_used_leaves_the_rules_multipliers_with_the_reason(
    api, settings, ledger, answer, reason, requests
):
    api.answer = answer
    row = rows_after(settings, ledger).row(1, named=True)
    assert stands_by_the_rules(row) and reason in row["summary"]
    assert (len(api.requests), row["cost"]) == (requests, pytest.approx(ledger.spent_today(TICK)))


def test_a_slow_model_leaves_the_rules_multipliers(api, settings, ledger):
    api.answer, api.delay = answering(lambda request: view_of()), 0.6
    row = rows_after(settings, ledger, seconds=0.15).row(1, named=True)
    assert stands_by_the_rules(row) and "no answer in time" in row["summary"]


def test_without_a_budget_the_tick_that_would_ask_says_so_at_the_next(api, settings, ledger):
    nothing = settings.model_copy(update={"claude_daily_budget": 0.0})
    row = rows_after(nothing, ledger).row(1, named=True)
    assert stands_by_the_rules(row) and "budget" in row["summary"]
    assert api.requests == []


@pytest.mark.parametrize(("given", "reason"), [({"book": "replay:x"}, "replay"), ({}, "no key")])
def test_where_nobody_may_be_asked_the_first_tick_has_the_reason(api, settings, ledger, given, reason):
    if not given:
        settings = settings.model_copy(update={"anthropic_api_key": None})
    rows = rows_after(settings, ledger, **given)
    assert rows.height == 1 and stands_by_the_rules(rows.row(0, named=True))
    assert reason in rows["summary"][0]
    assert api.requests == []


def test_the_prefix_is_one_block_kept_for_an_hour_and_the_market_is_data(api, settings, ledger):
    api.answer = answering(lambda request: view_of())
    asked = market.asked(analysis_of(), "us")
    rows_after(settings, ledger)
    (request,) = api.requests
    assert request["system"] == [
        {"type": "text", "text": MARKET.prefix(), "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ]
    assert request["messages"] == [{"role": "user", "content": f"<market>\n{asked.question.inputs}\n</market>"}]
    assert set(request["output_config"]["format"]["schema"]["required"]) == {*MULTIPLIERS, "summary"}


def test_what_the_cache_keeps_for_an_hour_costs_twice_to_write_and_a_tenth_to_read(api, settings, ledger):
    usages = iter(({"cache_creation_input_tokens": 4600}, {"cache_read_input_tokens": 4600}))
    api.answer = lambda request: message(json.dumps(view_of()), request["model"], **next(usages))
    costs = []
    for tick in (TICK, TICK + timedelta(minutes=15)):
        with Desk(settings, ledger, Hand(tick)) as desk:
            desk.ask(market.asked(analysis_of(tick), "us"))
            while desk.open_questions:
                time.sleep(0.002)
            (told,) = desk.answers_by(tick)
            costs.append(told.result.cost)
    price = price_of("claude-sonnet-5-5")
    rest = 900 * price.input / 1e6 + 250 * price.output / 1e6
    assert costs == pytest.approx([rest + 2 * 4600 * price.input / 1e6, rest + 0.1 * 4600 * price.input / 1e6])
    assert ledger.spent_today(TICK) == pytest.approx(sum(costs))
