"""What every provider asked over HTTP is given, and what every answer means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trading_pipeline.providers.base import Quota, RetryPolicy
from trading_pipeline.providers.errors import ProviderDown, SchemaChanged
from trading_pipeline.providers.http import HttpProvider, json_of, too_many, unusual

NOW = datetime(2024, 6, 14, 22, 0, tzinfo=UTC)


class Slow(HttpProvider):
    name = "slow"
    usual_quota = Quota(rate_per_second=0.001, burst=2.0, concurrency=1)
    usual_policy = RetryPolicy(attempts=1)


def ask(provider: HttpProvider, answer) -> list[object]:
    return provider._ask_each(["AAA", "BBB"], str, answer)


def test_a_provider_is_asked_as_it_says_unless_told_otherwise(unlimited, patient):
    assert Slow().quota == Slow.usual_quota
    other = Quota(rate_per_second=9.0, burst=9.0, concurrency=3)
    assert Slow(quota=other).quota == other

    def down(symbol):
        asked.append(symbol)
        raise ProviderDown("down")

    asked: list[str] = []
    assert [type(answer) for answer in ask(Slow(throttle=unlimited), down)] == [ProviderDown, ProviderDown]
    assert asked == ["AAA", "BBB"]
    asked.clear()
    ask(Slow(throttle=unlimited, policy=patient(attempts=3)), down)
    assert asked == ["AAA"] * 3 + ["BBB"] * 3


def test_without_a_throttle_each_provider_pays_from_a_bucket_of_its_own_quota():
    first, second = Slow(), Slow(quota=Quota(rate_per_second=0.001, burst=3.0, concurrency=1))
    waits = [[provider._throttle.reserve() for _ in range(3)] for provider in (first, second)]
    assert [wait > 0 for wait in waits[0]] == [False, False, True]
    assert [wait > 0 for wait in waits[1]] == [False, False, False]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, None), ({"Retry-After": "30"}, 30.0), ({"Retry-After": "Fri, 14 Jun 2024 22:01:00 GMT"}, 60.0)],
)
def test_too_many_requests_say_for_how_long_to_wait(headers, seconds):
    error = too_many("It refuses", headers, NOW)
    assert (error.problem, error.retry_after, error.transient) == ("It refuses", seconds, True)


@pytest.mark.parametrize(("status", "kind"), [(500, ProviderDown), (503, ProviderDown), (400, SchemaChanged)])
def test_a_status_of_no_meaning_of_its_own_is_a_service_that_is_down_or_has_changed(status, kind):
    error = unusual("It answered AAA", status)
    assert type(error) is kind and error.problem == f"It answered AAA with HTTP {status}"


def test_what_is_no_json_is_a_service_that_is_down():
    assert json_of(b'[{"a": 1}]', "It answered") == [{"a": 1}]
    for content in (b"<html>", b'[{"a": 1', b""):
        with pytest.raises(ProviderDown, match="It answered with a page or cut-off text instead of JSON"):
            json_of(content, "It answered")
