"""API Ninjas' adapter against an API Ninjas on the loopback interface."""

from __future__ import annotations

import logging
import pickle
import threading
from datetime import UTC, date, datetime

import pytest
from pydantic import SecretStr

from trading_pipeline.markets import ASX, US
from trading_pipeline.providers.api_ninjas import ApiNinjas
from trading_pipeline.providers.base import Quota
from trading_pipeline.providers.errors import AccessRefused, ProviderDown, RateLimited, SchemaChanged
from trading_pipeline.providers.reference import EarningsProvider

NOW = datetime(2025, 5, 7, 21, 0, tzinfo=UTC)
KEY = "very-secret-key"
PATH = "/v1/earningscalendar"


def row(day, ticker="AAA", **changes):
    return {
        "date": day,
        "ticker": ticker,
        "actual_eps": None,
        "estimated_eps": 1.5,
        "actual_revenue": None,
        "estimated_revenue": 9_000_000_000,
        "earnings_timing": "after_market",
        **changes,
    }


@pytest.fixture
def ask(server, patient, unlimited):
    def earnings(*symbols, market=US, timeout=5.0, **policy):
        provider = ApiNinjas(
            SecretStr(KEY),
            throttle=unlimited,
            base_url=server.url,
            quota=Quota(1.0, 1.0, concurrency=1),
            policy=patient(**{"attempts": 1, **policy}),
            timeout=timeout,
        )
        assert isinstance(provider, EarningsProvider)
        return provider.earnings(market, symbols, date(2025, 1, 1), date(2025, 8, 1), now=NOW)

    return earnings


def test_reports_inside_the_window_come_with_their_clock(ask, server, answer, unlimited):
    server.answers[PATH] = answer(
        [
            row("2025-07-30"),
            row("2025-05-01", actual_eps=1.65, actual_revenue=9.5e9),
            row("2025-02-01", earnings_timing=None, actual_eps="2.40"),
            row("2024-10-31", actual_eps=1.6),
        ]
    )
    batch = ask("AAA")
    assert batch.http_calls == unlimited.acquired == 1 and batch.answered == ("AAA",)
    assert batch.rows.select("report_date", "timing", "fiscal_period", "eps_actual", "available_at").rows() == [
        (date(2025, 2, 1), "unknown", "2025-02", 2.4, datetime(2025, 2, 2, 5, tzinfo=UTC)),
        (date(2025, 5, 1), "amc", "2025-05", 1.65, datetime(2025, 5, 1, 21, tzinfo=UTC)),
        (date(2025, 7, 30), "amc", "2025-07", None, NOW),
    ]


def test_a_name_without_reports_is_answered(ask, server, answer):
    server.answers[PATH] = answer([])
    batch = ask("AAA")
    assert batch.answered == ("AAA",) and batch.rows.is_empty() and not batch.failures


def test_where_the_plan_refuses_coming_reports_results_are_asked_for_from_then_on(ask, server, answer):
    refused = answer({"error": "The show_upcoming parameter is for premium users only."}, 400)
    server.answers[PATH] = [refused, answer([row("2025-05-01", actual_eps=1.0)])]
    batch = ask("AAA", "AAA", "AAA")
    assert not batch.failures
    coming = [request.query.get("show_upcoming") for request in server.asked]
    assert coming == [["true"], None, None, None]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (({"error": "slow down"}, 429), RateLimited),
        (({"error": "Invalid API Key."}, 400), AccessRefused),
        (({"message": "Forbidden"}, 403), AccessRefused),
        (("<html>", 503), ProviderDown),
        (("[{", 200), ProviderDown),
        (({"error": "strange"}, 418), SchemaChanged),
        (({"reports": []}, 200), SchemaChanged),
        (([{"ticker": "AAA"}], 200), SchemaChanged),
        (([row("soon")], 200), SchemaChanged),
        (([row("2025-05-01", estimated_eps="much")], 200), SchemaChanged),
        (([row("2025-05-01", ticker="ZZZ")], 200), SchemaChanged),
    ],
)
def test_every_answer_means_one_kind_of_failure(ask, server, answer, said, meant):
    server.answers[PATH] = answer(*said)
    batch = ask("AAA")
    assert [type(failure.error) for failure in batch.failures] == [meant] and batch.answered == ()


def test_a_time_out_means_the_provider_is_down(ask, server, answer):
    server.answers[PATH] = answer("", delay=threading.Event())
    assert ask("AAA", timeout=0.3).failures[0].error.kind == "provider_down"


def test_a_refused_key_is_tried_once_and_shown_nowhere(ask, server, answer, caplog):
    caplog.set_level(logging.DEBUG)
    server.answers[PATH] = answer({"message": f"Forbidden {KEY}"}, 403)
    batch = ask(*(f"S{number}" for number in range(9)), attempts=3)
    assert len(batch.failures) == 9 and len(server.asked) <= 2
    assert server.asked[0].headers["X-Api-Key"] == KEY and KEY not in caplog.text
    assert KEY.encode() not in pickle.dumps(batch.failures)


def test_names_outside_the_us_are_not_found_and_not_asked(ask, server):
    batch = ask("BHP.AX", market=ASX)
    assert [failure.error.kind for failure in batch.failures] == ["not_found"] and server.asked == []
