"""What the adapters that ask over HTTP share: who pays for a request, how patient they are, what every answer means.

What belongs here: what each of them is given, and what an answer means wherever it comes from. What does not: the fetch
loop (`base.py`), what it means at one service (a refused key, an unknown symbol: the adapters).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, TypedDict, TypeVar, Unpack

from trading_pipeline.providers.base import Progress, Quota, RetryPolicy, Throttle, ask_each, retry_after
from trading_pipeline.providers.errors import ProviderDown, ProviderError, RateLimited, SchemaChanged
from trading_pipeline.providers.throttle import TokenBucket

Request = TypeVar("Request")
Answered = TypeVar("Answered")


class Options(TypedDict, total=False):
    """How a provider is asked, where it is not as usual.

    throttle: the bucket its requests are paid from; else one of this object alone. quota: what it allows. policy: how
    a failure is tried again. timeout: seconds a request may take.
    """

    throttle: Throttle | None
    quota: Quota
    policy: RetryPolicy
    timeout: float


class HttpProvider:
    """A provider that is asked over HTTP. name: its key in the settings, and that of the throttle it shares."""

    name: str
    usual_quota: ClassVar[Quota]
    usual_policy: ClassVar[RetryPolicy] = RetryPolicy()
    usual_timeout: ClassVar[float] = 20.0

    def __init__(self, **options: Unpack[Options]) -> None:
        self.quota = options.get("quota", self.usual_quota)
        self._throttle = options.get("throttle") or TokenBucket(self.quota.rate_per_second, self.quota.burst)
        self._policy = options.get("policy", self.usual_policy)
        self._timeout = options.get("timeout", self.usual_timeout)

    def _ask_each(
        self,
        requests: Sequence[Request],
        symbol_of: Callable[[Request], str],
        ask: Callable[[Request], Answered],
        progress: Progress | None = None,
    ) -> list[Answered | ProviderError]:
        """`ask_each` within the provider's quota, as patiently as its policy says."""
        concurrency = self.quota.concurrency
        return ask_each(requests, symbol_of, ask, concurrency=concurrency, policy=self._policy, progress=progress)


def too_many(problem: str, headers: Mapping[str, str], now: datetime) -> RateLimited:
    """HTTP 429, and for how long the service asks to be left alone."""
    return RateLimited(problem, retry_after=retry_after(headers.get("Retry-After"), now))


def unusual(answered: str, status: int) -> ProviderError:
    """A status that has no meaning of its own there: from 500 on the service is down. answered: who answered what."""
    return (ProviderDown if status >= 500 else SchemaChanged)(f"{answered} with HTTP {status}")


def json_of(content: bytes, answered: str) -> Any:
    """The body of a usable answer; `ProviderDown` where it is none. answered: who answered what."""
    try:
        return json.loads(content)
    except ValueError:
        raise ProviderDown(f"{answered} with a page or cut-off text instead of JSON") from None
