"""What every way of telling an alert has in common, and which ways there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from trading_pipeline.alerts.facts import AlertFacts

if TYPE_CHECKING:
    from trading_pipeline.settings import Settings
    from trading_pipeline.storage.outbox import Outbox

A = TypeVar("A", bound=AlertFacts)


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

    def messages(self, alerts: Sequence[A]) -> list[list[A]]:
        """The alerts of one batch as they go into one message each, in order."""
        ...

    def send(self, alerts: Sequence[AlertFacts], reference: str, now: datetime) -> Receipt:
        """Send one message. Raises `NotDelivered`, `MessageRefused` or `AddressClosed`.

        reference: the same at every attempt of the same batch. now: the message's date.
        """
        ...


def channels_of(settings: Settings) -> list[Channel]:
    """The channels that the settings name; none is an empty list. `SettingsError` where one cannot be used."""
    from trading_pipeline.alerts.discord import Discord
    from trading_pipeline.alerts.mail import Mail

    channels: list[Channel] = []
    if settings.discord_webhook_url is not None:
        channels.append(Discord(settings.discord_webhook_url))
    if settings.smtp_host is not None and settings.alert_email_from is not None:
        channels.append(
            Mail(
                host=settings.smtp_host,
                port=settings.smtp_port,
                security=settings.smtp_security,
                sender=settings.alert_email_from,
                recipients=settings.alert_email_to,
                user=settings.smtp_user,
                password=settings.smtp_password,
            )
        )
    return channels


def closed_ones(outbox: Outbox, channels: Sequence[Channel]) -> dict[str, str]:
    """By name, the channels whose address takes nothing any more, each with the reason: nothing is written for them."""
    reasons = {channel.name: outbox.closed(channel.name, channel.address) for channel in channels}
    return {name: reason for name, reason in reasons.items() if reason is not None}
