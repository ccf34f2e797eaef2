"""A token bucket per provider that all processes of a world share through PostgreSQL.

What belongs here: the shared bucket. What does not: how much a provider allows (its adapter says so) and what happens
when it refuses all the same.

The server's clock counts and a row lock keeps order, so machines whose clocks disagree still share one quota; the
bucket survives restarts.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from trading_pipeline.storage.locks import Database
from trading_pipeline.storage.server import connect

# Tokens may be taken before they are there: whoever asks next waits behind, so requests pass in the order they came.
# clock_timestamp() and not now(): a transaction that waited for the row's lock must count from when it got it.
_TAKE = """
INSERT INTO rate_limits AS bucket (name, tokens, counted_at)
VALUES (%(name)s, %(burst)s - %(cost)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET
    tokens = least(
        %(burst)s,
        bucket.tokens + %(rate)s * greatest(0, extract(epoch FROM clock_timestamp() - bucket.counted_at)::float8)
    ) - %(cost)s,
    counted_at = greatest(bucket.counted_at, clock_timestamp())
RETURNING tokens
"""


class PostgresThrottle:
    """`rate` tokens a second flow in, up to `burst` are saved; a bucket nobody used yet is full.

    name: the bucket, shared by all who name it. sleep: injectable, so that tests wait for nothing.
    """

    def __init__(
        self, database: Database, name: str, rate: float, burst: float, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if rate <= 0 or burst <= 0:
            raise ValueError(f"a bucket of {burst} tokens at {rate} a second lets nothing through")
        self._database = database
        self._name = name
        self._rate = rate
        self._burst = burst
        self._sleep = sleep

    def acquire(self, cost: float = 1.0) -> None:
        """Takes `cost` tokens and waits until they would be there. A cost above the burst is paid for in advance."""
        wait = self.reserve(cost)
        if wait > 0:
            self._sleep(wait)

    def reserve(self, cost: float = 1.0) -> float:
        """Takes `cost` tokens at once; the seconds to wait before using them."""
        with connect(self._database.url, autocommit=True) as connection:
            row = connection.execute(
                _TAKE, {"name": self._name, "rate": self._rate, "burst": self._burst, "cost": cost}
            ).fetchone()
        assert row is not None
        return max(0.0, -float(row[0]) / self._rate)
