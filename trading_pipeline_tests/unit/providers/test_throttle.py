import pytest

from trading_pipeline.providers.throttle import TokenBucket


def test_the_burst_is_free_and_then_tokens_come_at_the_rate(waits):
    bucket = TokenBucket(2.0, 3, monotonic=waits.monotonic, sleep=waits.sleep)
    for _ in range(3):
        bucket.acquire()
    assert waits.slept == []
    for _ in range(4):
        bucket.acquire()
    assert waits.now == pytest.approx(2.0)


def test_no_more_than_the_burst_is_saved_up(waits):
    bucket = TokenBucket(1.0, 2, monotonic=waits.monotonic, sleep=waits.sleep)
    waits.now = 1000.0
    for _ in range(3):
        bucket.acquire()
    assert waits.slept == [pytest.approx(1.0)]


def test_a_cost_above_the_burst_is_waited_for_and_not_refused(waits):
    bucket = TokenBucket(1.0, 2, monotonic=waits.monotonic, sleep=waits.sleep)
    bucket.acquire(5)
    assert waits.slept == [pytest.approx(3.0)]


def test_a_bucket_that_lets_nothing_through_is_refused():
    with pytest.raises(ValueError, match="nothing"):
        TokenBucket(0, 1)


def test_tokens_can_be_reserved_and_given_back(waits):
    bucket = TokenBucket(0.5, 1, monotonic=waits.monotonic, sleep=waits.sleep)
    assert [bucket.reserve(), bucket.reserve()] == [0.0, 2.0]
    assert bucket.reserve(-1.0) == 0.0 and bucket.reserve() == 2.0 and waits.slept == []
