"""What every way of telling an alert has in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from trading_pipeline.alerts.dips import DipAlert


@dataclass(frozen=True)
class Receipt:
    """What the service said of a message it took.

    message_id: its name of the message; None where it gave none. remark: what went wrong all the same.
    """

    message_id: str | None
    remark: str | None = None


class Channel(Protocol):
    """A way of telling people."""

    name: str
    """As the outbox knows it: `discord`, `email`."""

    @property
    def address(self) -> str:
        """What tells the place messages go to from any other, without telling what it is."""
        ...

    def messages(self, dips: Sequence[DipAlert]) -> list[list[DipAlert]]:
        """The dips of one batch as they go into one message each, in order."""
        ...

    def send(self, dips: Sequence[DipAlert], reference: str, now: datetime) -> Receipt:
        """Send one message. Raises `NotDelivered`, `MessageRefused` or `AddressClosed`.

        reference: the same at every attempt of the same batch. now: the message's date.
        """
        ...
