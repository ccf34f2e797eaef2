"""One token bucket a provider, shared by all processes."""

from __future__ import annotations

import time

import pytest

from trading_pipeline.storage.rate_limits import PostgresThrottle
from trading_pipeline.storage.server import connect

CALLER = (
    "import sys; from pydantic import SecretStr; from trading_pipeline.storage.warehouse import Warehouse;"
    "from trading_pipeline.storage.rate_limits import PostgresThrottle;"
    "throttle = PostgresThrottle(Warehouse(SecretStr(sys.argv[1])), 'yahoo', 0.01, 10);"
    "print([throttle.reserve() for _ in range(10)])"
)


def rewind(warehouse, seconds: float) -> None:
    """As if the bucket had been used that long ago."""
    with connect(warehouse.url) as connection:
        connection.execute("UPDATE rate_limits SET counted_at = counted_at - %s * interval '1 second'", [seconds])


def test_a_full_bucket_lets_the_burst_through_and_then_spaces_requests(warehouse):
    throttle = PostgresThrottle(warehouse, "yahoo", rate=0.1, burst=3)
    waits = [throttle.reserve() for _ in range(5)]
    assert waits[:3] == [0, 0, 0]
    assert waits[3:] == pytest.approx([10, 20], abs=2)


def test_time_refills_it_up_to_the_burst(warehouse):
    throttle = PostgresThrottle(warehouse, "yahoo", rate=1, burst=3)
    for _ in range(3):
        throttle.reserve()
    rewind(warehouse, 3600)
    assert [throttle.reserve() for _ in range(3)] == [0, 0, 0]
    assert throttle.reserve() > 0


def test_a_clock_that_went_backwards_refills_nothing_and_takes_nothing(warehouse):
    throttle = PostgresThrottle(warehouse, "yahoo", rate=1, burst=2)
    throttle.reserve()
    rewind(warehouse, -3600)
    assert throttle.reserve() == 0
    assert throttle.reserve() == pytest.approx(1, abs=0.2)


def test_processes_share_one_quota(warehouse, python):
    children = [python(CALLER, warehouse.url.get_secret_value()) for _ in range(3)]
    waits = [wait for child in children for wait in eval(child.communicate(timeout=60)[0])]
    assert sum(wait == 0 for wait in waits) == 10
    assert sorted(waits)[10:] == pytest.approx([100 * place for place in range(1, 21)], abs=60)


def test_providers_do_not_share(warehouse):
    PostgresThrottle(warehouse, "yahoo", rate=0.001, burst=1).reserve()
    assert PostgresThrottle(warehouse, "tiingo", rate=0.001, burst=1).reserve() == 0


def test_acquire_sleeps_for_as_long_as_it_was_told(warehouse):
    slept: list[float] = []
    throttle = PostgresThrottle(warehouse, "yahoo", rate=0.5, burst=1, sleep=slept.append)
    throttle.acquire()
    throttle.acquire(cost=2)
    assert slept == [pytest.approx(4, abs=0.5)]


def test_acquire_really_waits(warehouse):
    throttle = PostgresThrottle(warehouse, "yahoo", rate=10, burst=1)
    throttle.acquire()
    started = time.monotonic()
    throttle.acquire()
    assert time.monotonic() - started >= 0.05


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 0), (-1, 1)])
def test_a_bucket_that_lets_nothing_through_is_refused(warehouse, rate, burst):
    with pytest.raises(ValueError, match="lets nothing through"):
        PostgresThrottle(warehouse, "yahoo", rate=rate, burst=burst)
