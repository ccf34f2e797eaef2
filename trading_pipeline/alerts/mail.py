"""Alerts by e-mail: one digest of a session's batch, as HTML and as text.

What belongs here: the look of the digest and its SMTP. What does not: what is due, and when it is tried again.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import cache
from typing import TYPE_CHECKING, Literal

from pydantic import SecretStr

from trading_pipeline.alerts.channel import A, Receipt
from trading_pipeline.alerts.errors import MessageRefused, NotDelivered
from trading_pipeline.alerts.facts import AlertFacts, subject
from trading_pipeline.storage.outbox import fingerprint

if TYPE_CHECKING:
    from jinja2 import Environment

Security = Literal["starttls", "tls", "none"]


class Mail:
    """Mail by one SMTP server. timeout: seconds for each exchange with it.

    security: `starttls` and `tls` refuse a server that cannot prove its name. user, password: None for no login.
    tls: the certificates trusted; None: the machine's.
    """

    name = "email"

    def __init__(
        self,
        *,
        host: str,
        port: int,
        security: Security,
        sender: str,
        recipients: Sequence[str],
        user: str | None = None,
        password: SecretStr | None = None,
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._security = security
        self._sender = sender
        self._recipients = tuple(recipients)
        self._user = user
        self._password = password
        self._timeout = timeout
        self._tls = tls

    def __repr__(self) -> str:
        return f"Mail({self._host}:{self._port})"

    @property
    def address(self) -> str:
        """A fingerprint of the server, the login and the recipients."""
        secret = self._password.get_secret_value() if self._password else ""
        return fingerprint(self._host, str(self._port), self._user or "", secret, *self._recipients)

    def messages(self, alerts: Sequence[A]) -> list[list[A]]:
        """All of them in one."""
        return [list(alerts)] if alerts else []

    def send(self, alerts: Sequence[AlertFacts], reference: str, now: datetime) -> Receipt:
        """Send the digest of these alerts; some recipients may be refused, which the receipt remarks."""
        mail = digest(alerts, self._sender, self._recipients, reference, now)
        trouble: Exception
        try:
            server = self._connected()
            try:
                refused = server.send_message(mail)
                # The mail is accepted: a farewell that fails changes nothing about it.
                with suppress(smtplib.SMTPException, OSError):
                    server.quit()
            finally:
                server.close()
            return Receipt(mail["Message-ID"], self._remark(refused))
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            trouble = error
        # Raised out here: what a server answers may repeat what it was told, and an error carries its answer; that of a
        # password outside ASCII carries the password.
        raise self._failure(trouble)

    def _connected(self) -> smtplib.SMTP:
        if self._security == "tls":
            context = self._tls or ssl.create_default_context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout, context=context)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=self._timeout)
        try:
            if self._security == "starttls":
                server.starttls(context=self._tls or ssl.create_default_context())
            if self._user is not None and self._password is not None:
                server.login(self._user, self._password.get_secret_value())
        except BaseException:
            server.close()
            raise
        return server

    def _failure(self, error: Exception) -> NotDelivered | MessageRefused:
        """What a failure means: codes from 500 are for good, all else may pass."""
        place = f"The mail server {self._host}:{self._port}"
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            codes = {code for code, _ in error.recipients.values()}
            listed = ", ".join(map(str, sorted(codes)))
            if min(codes, default=0) >= 500:
                return MessageRefused(f"{place} refuses every recipient ({listed})", "Check ALERT_EMAIL_TO")
            return NotDelivered(f"{place} takes no recipient at the moment ({listed})", "It is tried again")
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return MessageRefused(
                f"{place} does not offer what the settings ask for", "Check SMTP_SECURITY, SMTP_PORT and SMTP_USER"
            )
        if isinstance(error, smtplib.SMTPAuthenticationError) and error.smtp_code >= 500:
            return MessageRefused(
                f"{place} refuses the login ({error.smtp_code})", "Check SMTP_USER, SMTP_PASSWORD and SMTP_SECURITY"
            )
        if isinstance(error, smtplib.SMTPResponseException):
            if error.smtp_code >= 500:
                return MessageRefused(
                    f"{place} refuses the message ({error.smtp_code})", "Check ALERT_EMAIL_FROM and what it allows"
                )
            return NotDelivered(f"{place} is busy ({error.smtp_code})", "It is tried again")
        if isinstance(error, UnicodeError):
            return MessageRefused(
                f"{place} cannot be told a login or an address outside ASCII",
                "Check SMTP_USER, SMTP_PASSWORD, ALERT_EMAIL_FROM and ALERT_EMAIL_TO",
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return NotDelivered(
                f"{place} has a certificate that is not trusted", "Check SMTP_HOST; it is tried again meanwhile"
            )
        return NotDelivered(f"{place} could not be reached ({type(error).__name__})", "It is tried again")

    def _remark(self, refused: dict[str, tuple[int, bytes]]) -> str | None:
        if not refused:
            return None
        listed = ", ".join(f"{recipient} ({code})" for recipient, (code, _) in sorted(refused.items()))
        return f"The mail server refused some recipients: {listed}"


def digest(
    alerts: Sequence[AlertFacts], sender: str, recipients: Sequence[str], reference: str, now: datetime
) -> EmailMessage:
    """The mail of these alerts, of one kind, market and session. Its Message-ID is made of `reference` alone."""
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = subject(alerts)
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{reference}@{parseaddr(sender)[1].rpartition('@')[2] or 'localhost'}>"
    mail["Auto-Submitted"] = "auto-generated"
    shown = {
        "alerts": [alert.words() for alert in alerts],
        "subject": subject(alerts),
        "fictional": alerts[0].fictional,
    }
    mail.set_content(_templates().get_template("digest.txt.j2").render(shown))
    mail.add_alternative(_templates().get_template("digest.html.j2").render(shown), subtype="html")
    return mail


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=PackageLoader("trading_pipeline.alerts"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
