"""What the adapters that ask over HTTP are made of: who pays for a request, how patient they are, how long they wait.

What belongs here: what each of them is given. What does not: the fetch loop (`base.py`), what an answer means (the
adapters: the same status means another thing at another service).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, TypedDict, TypeVar, Unpack

from trading_pipeline.providers.base import Progress, Quota, RetryPolicy, Throttle, ask_each
from trading_pipeline.providers.errors import ProviderError
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
