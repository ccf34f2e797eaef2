"""Words for the bias of the day by Claude: the real SDK against a local server, the real ledger in PostgreSQL."""

from __future__ import annotations

import json
from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.analyst import write_bias_words
from trading_pipeline.analyst.bias import BIAS, SHARE
from trading_pipeline.settings import Settings
from trading_pipeline.tables import DAILY_BIAS
from trading_pipeline_tests.claude import failure, inputs_of, message
from trading_pipeline_tests.live_questions import MORNING, answering, bias_of, bias_words_of, biases_of

NOW = MORNING + timedelta(minutes=1)


@pytest.fixture(autouse=True)
def good_words(api):
    api.answer = answering(bias_words_of)


def test_the_reasons_are_in_other_words_and_everything_else_stays(settings, ledger):
    rows = biases_of(bias_of("AAA"), bias_of("BBB", -0.5), bias_of("CCC", 0.05))
    told = write_bias_words(rows, settings, ledger, NOW)
    assert_frame_equal(told.drop("reasons", "source"), rows.drop("reasons", "source"))
    assert told["source"].to_list() == ["claude"] * 3
    assert [line.partition(":")[0] for line in told["reasons"][0].split("\n")] == ["Long", "Short", "Careful"]
    assert "a newcomer follows" in told["reasons"][0]


WRONG = {
    "another bias": ({"bias": "short"}, "wrong_bias"),
    "another ticker": ({"ticker": "BBB"}, "wrong_company"),
    "a reason turned round": ({"reasons": ["Short: a.", "Short: b.", "Careful: c."]}, "wrong_bias"),
    "a caution left out": ({"reasons": ["Long: a.", "Short: b."]}, "wrong_bias"),
    "a reason made up": ({"reasons": ["Long: a.", "Short: b.", "Careful: c.", "Long: d."]}, "wrong_bias"),
    "another order": ({"reasons": ["Careful: c.", "Long: a.", "Short: b."]}, "wrong_bias"),
    "another company": ({"reasons": ["Long: as $TSLA.", "Short: b.", "Careful: c."]}, "wrong_company"),
    "a link": ({"reasons": ["Long: see https://example.org", "Short: b.", "Careful: c."]}, "invalid"),
    "two lines in one": ({"reasons": ["Long: a.\nLong: d.", "Short: b.", "Careful: c."]}, "invalid"),
    "an endless line": ({"reasons": ["Long: a" * 100, "Short: b.", "Careful: c."]}, "invalid"),
    "a score beside it": ({"score": 0.9}, "invalid"),
}


@pytest.mark.parametrize(("changed", "reason"), WRONG.values(), ids=WRONG)
def test_words_that_break_one_rule_are_not_used_but_paid_for(api, settings, ledger, warehouse, changed, reason):
    api.answer = answering(lambda request: bias_words_of(request, **changed))
    rows = biases_of(bias_of("AAA"))
    assert_frame_equal(write_bias_words(rows, settings, ledger, NOW), rows)
    assert warehouse.query("SELECT outcome FROM model_calls")["outcome"].to_list() == [reason]
    assert ledger.spent_today(NOW) > 0


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: failure(529, "overloaded_error"),
        lambda request: message("No.", request["model"], "refusal"),
        lambda request: message('{"ticker":', request["model"], "max_tokens"),
    ],
    ids=["overload", "refusal", "cut off"],
)
def test_without_an_answer_the_rules_words_stand(api, settings, ledger, answer):
    api.answer, rows = answer, biases_of(bias_of("AAA"))
    assert_frame_equal(write_bias_words(rows, settings, ledger, NOW), rows)


def test_without_a_key_nobody_is_asked(api, ledger):
    rows = biases_of(bias_of("AAA"))
    assert_frame_equal(write_bias_words(rows, Settings(_env_file=None), ledger, NOW), rows)
    assert api.requests == []


def test_the_past_and_what_is_rebuilt_keep_the_rules_words(api, settings, ledger):
    """A model may know what came after."""
    rows = biases_of(bias_of("AAA", session=date(2024, 3, 1)), bias_of("BBB", taken="rebuilt"), bias_of("CCC"))
    told = write_bias_words(rows, settings, ledger, NOW)
    assert dict(told.select("ticker", "source").iter_rows()) == {"AAA": "rules", "BBB": "rules", "CCC": "claude"}
    assert [inputs_of(request)["ticker"] for request in api.requests] == ["CCC"]


def test_a_second_run_asks_nothing_and_says_the_same(api, settings, ledger):
    rows = biases_of(bias_of("AAA"), bias_of("BBB", -0.6))
    first = write_bias_words(rows, settings, ledger, NOW)
    assert_frame_equal(write_bias_words(rows, settings, ledger, NOW + timedelta(minutes=5)), first)
    assert len(api.requests) == 2


def test_half_the_budget_is_left_to_the_session(api, settings, ledger):
    rows = biases_of(bias_of("AAA"))
    most = BIAS.most_it_can_cost("claude-haiku-5-5", BIAS.question("x" * 800))
    write_bias_words(rows, settings.model_copy(update={"claude_daily_budget": 0.9 * most / SHARE}), ledger, NOW)
    assert api.requests == []
    write_bias_words(rows, settings.model_copy(update={"claude_daily_budget": 1.1 * most / SHARE}), ledger, NOW)
    assert len(api.requests) == 1


def test_the_clearest_come_first(api, settings, ledger):
    scores = {f"A{number:02d}": number / 20 for number in range(12)}
    rows = biases_of(*(bias_of(ticker, score) for ticker, score in scores.items()))
    most = BIAS.most_it_can_cost("claude-haiku-5-5", BIAS.question("x" * 800))
    told = write_bias_words(rows, settings.model_copy(update={"claude_daily_budget": 1.5 * most / SHARE}), ledger, NOW)
    assert inputs_of(api.requests[0])["ticker"] == "A11"
    assert 1 <= told.filter(pl.col("source") == "claude").height < 12


def test_the_prefix_is_cached_and_the_same_for_every_name(api, settings, ledger):
    write_bias_words(biases_of(bias_of("AAA"), bias_of("BBB")), settings, ledger, NOW)
    block = {"type": "text", "text": BIAS.prefix(), "cache_control": {"type": "ephemeral"}}
    assert [request["system"] for request in api.requests] == [[block]] * 2
    assert set(api.models) == {"claude-haiku-5-5"}
    inputs = json.loads(bias_of("AAA")["inputs"])
    assert [inputs_of(request)["inputs"] for request in api.requests] == [inputs, inputs | {"ticker": "BBB"}]


def test_no_rows_are_no_work(api, settings, ledger):
    assert_frame_equal(write_bias_words(DAILY_BIAS.empty(), settings, ledger, NOW), DAILY_BIAS.empty())
    assert api.requests == []
