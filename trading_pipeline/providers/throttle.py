"""A token bucket inside one process, for use without a database (a notebook, a test).

Runs of the project share one quota through Postgres instead (`storage/rate_limits.py`, the same `acquire`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class TokenBucket:
    """`rate_per_second` tokens flow in, up to `burst` are saved; it starts full. Threads may share it.

    Requests are served in the order in which they ask: each takes its tokens at once, if need be before they are there,
    and sleeps outside the lock until they would be. monotonic, sleep: injectable, so that tests wait for nothing.
    """

    def __init__(
        self,
        rate_per_second: float,
        burst: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if rate_per_second <= 0 or burst <= 0:
            raise ValueError(f"a bucket of {burst} tokens at {rate_per_second} a second lets nothing through")
        self._rate = rate_per_second
        self._burst = burst
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._tokens = burst
        self._counted_at = monotonic()

    def acquire(self, cost: float = 1.0) -> None:
        """Wait until `cost` tokens are there, and take them. A cost above the burst is paid for in advance."""
        wait = self.reserve(cost)
        if wait > 0:
            self._sleep(wait)

    def reserve(self, cost: float = 1.0) -> float:
        """Take `cost` tokens at once, negative to give them back; the seconds to wait before using them."""
        with self._lock:
            now = self._monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._counted_at) * self._rate)
            self._counted_at = now
            self._tokens -= cost
            return max(0.0, -self._tokens / self._rate)
