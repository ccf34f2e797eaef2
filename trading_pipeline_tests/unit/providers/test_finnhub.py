"""The real Finnhub client against a Finnhub on the loopback interface."""

from __future__ import annotations

import itertools
import logging
import pickle
from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import SecretStr

from trading_pipeline.markets import ASX, US
from trading_pipeline.providers.errors import AccessRefused, ProviderDown, RateLimited, SchemaChanged
from trading_pipeline.providers.finnhub import MOST_ROWS, Finnhub
from trading_pipeline.providers.reference import EARNINGS_SCHEMA, EarningsProvider

NOW = datetime(2025, 5, 7, 21, 0, tzinfo=UTC)
TODAY = NOW.date()
KEY = "very-secret-key"
PATH = "/api/v1//calendar/earnings"  # the client doubles the slash


def row(symbol, day, **changes):
    told = {
        "date": day,
        "epsActual": None,
        "epsEstimate": 1.5,
        "hour": "amc",
        "quarter": 1,
        "revenueActual": None,
        "revenueEstimate": 9.0e9,
        "symbol": symbol,
        "year": 2025,
    }
    return {**told, **changes}


@pytest.fixture
def ask(server, patient, unlimited):
    def earnings(*symbols, first=TODAY, last=TODAY + timedelta(days=6), market=US, **policy):
        provider = Finnhub(
            SecretStr(KEY),
            throttle=unlimited,
            base_url=f"{server.url}/api/v1",
            policy=patient(**{"attempts": 1, **policy}),
            timeout=5.0,
        )
        assert isinstance(provider, EarningsProvider)
        return provider.earnings(market, symbols, first, last, now=NOW)

    return earnings


def calendar_of(*rows):
    return {"earningsCalendar": list(rows)}


def test_reports_come_with_timing_period_and_clock(ask, server, answer, unlimited):
    server.answers[PATH] = answer(
        calendar_of(
            row("AAA", "2025-05-08"),
            row("BBB", "2025-05-07", hour="bmo", epsActual=1.7, revenueActual=8e9),
            row("CCC", "2025-05-09", hour="", epsEstimate=None, quarter=None),
            row("OTHER", "2025-05-09"),
        )
    )
    batch = ask("AAA", "BBB", "CCC", "QUIET")
    assert batch.rows.schema == EARNINGS_SCHEMA and not batch.failures
    assert batch.answered == ("AAA", "BBB", "CCC", "QUIET") and batch.http_calls == unlimited.acquired == 1
    assert batch.rows.select(
        "symbol", "report_date", "timing", "fiscal_period", "eps_actual", "available_at"
    ).rows() == [
        ("AAA", date(2025, 5, 8), "amc", "2025Q1", None, NOW),
        ("BBB", date(2025, 5, 7), "bmo", "2025Q1", 1.7, datetime(2025, 5, 7, 13, 30, tzinfo=UTC)),
        ("CCC", date(2025, 5, 9), "unknown", "2025-05", None, NOW),
    ]


def test_it_asks_week_by_week_and_not_further_back_than_the_plan_reaches(ask, server, answer):
    server.answers[PATH] = answer(calendar_of())
    ask("AAA", first=date(2022, 1, 1), last=TODAY + timedelta(days=90))
    windows = sorted((request.query["from"][0], request.query["to"][0]) for request in server.asked)
    days = [(date.fromisoformat(first), date.fromisoformat(last)) for first, last in windows]
    assert days[0][0] == TODAY - timedelta(days=31) and days[-1][1] == TODAY + timedelta(days=90)
    assert all(last - first <= timedelta(days=6) for first, last in days)
    assert all(after[0] - before[1] == timedelta(days=1) for before, after in itertools.pairwise(days))


def test_a_window_too_full_to_be_whole_is_asked_for_in_halves(ask, server, answer):
    full = calendar_of(*(row(f"S{number}", "2025-05-08") for number in range(MOST_ROWS)))
    server.answers[PATH] = [
        answer(full),
        answer(calendar_of(row("AAA", "2025-05-08"))),
        answer(calendar_of(row("BBB", "2025-05-12"))),
    ]
    assert ask("AAA", "BBB").rows["symbol"].to_list() == ["AAA", "BBB"]
    assert [request.query["from"][0] for request in server.asked] == ["2025-05-07", "2025-05-07", "2025-05-11"]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (({"error": "API limit reached."}, 429), RateLimited),
        (({"error": "Invalid API key"}, 401), AccessRefused),
        (({"error": "You don't have access to this resource."}, 403), AccessRefused),
        (("<html>Bad gateway</html>", 502), ProviderDown),
        (('{"earningsCalendar": [', 200), ProviderDown),
        (({"error": "no such path"}, 404), SchemaChanged),
        (({"calendar": []}, 200), SchemaChanged),
        (({"earningsCalendar": [{"date": "2025-05-08", "symbol": "AAA"}]}, 200), SchemaChanged),
        ((calendar_of(row("AAA", "soon")), 200), SchemaChanged),
        ((calendar_of(row("AAA", "2025-05-08", epsEstimate="much")), 200), SchemaChanged),
    ],
)
def test_every_answer_means_one_kind_of_failure(ask, server, answer, said, meant):
    server.answers[PATH] = answer(*said)
    batch = ask("AAA", "BBB")
    assert [failure.symbol for failure in batch.failures] == ["AAA", "BBB"] and batch.answered == ()
    assert {type(failure.error) for failure in batch.failures} == {meant}


def test_one_week_that_fails_leaves_the_rows_of_the_others(ask, server, answer):
    server.answers[PATH] = [answer(calendar_of(row("AAA", "2025-05-08"))), answer("", 500)]
    batch = ask("AAA", "BBB", last=TODAY + timedelta(days=13))
    assert batch.rows["symbol"].to_list() == ["AAA"] and batch.answered == ()
    assert [(failure.symbol, failure.error.kind) for failure in batch.failures] == [("BBB", "provider_down")]


def test_a_rate_limit_is_waited_out(ask, server, answer, waits):
    server.answers[PATH] = [
        answer({"error": "limit"}, 429, {"Retry-After": "7"}),
        answer(calendar_of(row("AAA", "2025-05-08"))),
    ]
    assert ask("AAA", attempts=2).rows.height == 1
    assert sum(waits.slept) >= 7


def test_the_key_is_in_a_header_and_in_no_url_log_or_failure(ask, server, answer, caplog):
    caplog.set_level(logging.DEBUG)
    server.answers[PATH] = answer({"error": f"Invalid key {KEY}"}, 401)
    batch = ask("AAA")
    (asked,) = server.asked
    assert asked.headers["X-Finnhub-Token"] == KEY and "token" not in asked.query
    assert KEY not in caplog.text
    error = batch.failures[0].error
    assert KEY.encode() not in pickle.dumps(batch.failures)
    assert error.__cause__ is None and error.__context__ is None


def test_an_unreachable_service_is_down_and_names_no_key(patient, unlimited):
    provider = Finnhub(SecretStr(KEY), throttle=unlimited, base_url="http://127.0.0.1:9", policy=patient(attempts=1))
    (failure,) = provider.earnings(US, ["AAA"], TODAY, TODAY, now=NOW).failures
    assert isinstance(failure.error, ProviderDown) and KEY not in f"{failure!r}{failure.error.__context__!r}"


def test_names_outside_the_us_are_not_found_and_not_asked(ask, server):
    batch = ask("BHP.AX", market=ASX)
    assert [failure.error.kind for failure in batch.failures] == ["not_found"] and server.asked == []
