"""How telling an alert can fail: one class per consequence."""

from __future__ import annotations

from trading_pipeline.errors import TradingPipelineError


class AlertError(TradingPipelineError):
    """An alert was not delivered. Raised through its subclasses; no message of theirs holds a secret."""


class NotDelivered(AlertError):
    """The same message may be delivered later. `retry_after`: seconds that the service asks us to wait, or None.

    for_all: the pause concerns everything on the channel, not this message alone.
    """

    def __init__(self, problem: str, remedy: str, retry_after: float | None = None, for_all: bool = False) -> None:
        super().__init__(problem, remedy)
        self.retry_after = retry_after
        self.for_all = for_all

    def __reduce__(self) -> tuple[type, tuple[str, str, float | None, bool]]:  # type: ignore[override]
        return (type(self), (self.problem, self.remedy, self.retry_after, self.for_all))


class MessageRefused(AlertError):
    """The service will never take this message."""


class AddressClosed(AlertError):
    """The service will never take any message for this address: a webhook that was deleted, say."""
