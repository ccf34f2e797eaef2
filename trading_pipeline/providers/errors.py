"""How a provider can fail: one class per kind of failure, so that callers can tell what is worth trying again.

What belongs here: the failures every adapter maps its library's exceptions to; none of theirs leaves `providers/`.
What does not: errors about our own settings or files (`trading_pipeline/errors.py`).
"""

from __future__ import annotations

from typing import ClassVar

from trading_pipeline.errors import TradingPipelineError


class ProviderError(TradingPipelineError):
    """A provider did not give what was asked. Raised through its subclasses.

    kind: the class of failure in reports and metadata (`rate_limited`).
    transient: the same request may succeed later, so it is worth a retry.
    concerns_all: no other symbol would fare better, so the rest of the batch is not asked.
    """

    kind: ClassVar[str] = "provider_error"
    transient: ClassVar[bool] = False
    concerns_all: ClassVar[bool] = False
    usual_remedy: ClassVar[str] = "See the provider's status page"

    def __init__(self, problem: str, remedy: str | None = None) -> None:
        super().__init__(problem, remedy or self.usual_remedy)


class RateLimited(ProviderError):
    """The quota is used up (HTTP 429). `retry_after`: seconds the provider asks us to wait; None where it is silent."""

    kind = "rate_limited"
    transient = True
    usual_remedy = "Run again later; what was answered is kept and is not asked again"

    def __init__(self, problem: str, remedy: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(problem, remedy)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type, tuple[str, str, float | None]]:  # type: ignore[override]
        return (type(self), (self.problem, self.remedy, self.retry_after))


class ProviderDown(ProviderError):
    """The provider cannot be reached, timed out, or answered with a server error or an error page."""

    kind = "provider_down"
    transient = True
    usual_remedy = "Check the connection and the provider's status page, then run again"


class NotFound(ProviderError):
    """The provider knows no such symbol. One such answer does not make a name delisted."""

    kind = "not_found"
    usual_remedy = "Check the spelling, or whether the symbol was renamed or delisted"


class EmptyWindow(ProviderError):
    """The provider knows the symbol but has no bar in the dates asked."""

    kind = "empty_window"
    usual_remedy = "Check the listing dates of the symbol against the dates asked"


class SchemaChanged(ProviderError):
    """The answer does not look as documented: a field is gone, mistyped or of another length."""

    kind = "schema_changed"
    usual_remedy = "The provider changed its format: update the adapter, or the library it uses"


class AccessRefused(ProviderError):
    """The key is missing, wrong, or its plan does not include what was asked (HTTP 401, 403)."""

    kind = "access_refused"
    concerns_all = True
    usual_remedy = "Check the provider's key in the environment or .env, and what its plan includes"
