"""Alerts of dips and falls, and the services they are sent to as real servers on this machine: for their tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from pydantic import SecretStr

from trading_pipeline.alerts.dips import DipAlert
from trading_pipeline.alerts.falls import FallAlert

FRIDAY = date(2024, 3, 15)
TOKEN = "tok3n-Of_the.webhook-nobody-may-see"
PASSWORD = "p4ssword-nobody-may-see"


def dip(ticker: str = "AAA", **changed: Any) -> DipAlert:
    """An alert of a share that fell by 12.3 %."""
    facts = {
        "world": "simulated",
        "market": "us",
        "session": FRIDAY,
        "instrument_id": f"us:{ticker}",
        "ticker": ticker,
        "sector": "Energy",
        "price": 87.7,
        "high_252": 100.0,
        "dip_pct": 12.3,
        "threshold_pct": 10.0,
        "previous_threshold_pct": None,
        "sessions_since_high": 21,
        "environment": "B",
        "data_quality": "good",
        "cause": "earnings",
        "cause_share": 0.71,
        "evidence": "Reported 2 sessions ago, 14% under the estimate\n3 articles name the report",
        "verdict": "Buy",
        "total": 74.2,
        "grade": "B",
        "gates_failed": "",
        "sessions_to_report": 58,
        "action": "buy",
        "size_low": 0.02,
        "size_high": 0.04,
        "size_low_amount": 2000.0,
        "size_high_amount": 4000.0,
        "why": "The report missed the estimates and the shares gave back two months.",
        "outlook": "temporary",
        "play": "Buy a first half now, the rest above the 50-day average.",
        "risks": "Margins keep shrinking\nThe sector is weak",
        "source": "rules",
        "model": None,
    }
    return DipAlert.model_validate({**facts, **changed})


def fall(ticker: str = "AAA", **changed: Any) -> FallAlert:
    """An alert of a share that fell by 6.2 % from its last close, of which all is known."""
    facts = {
        "world": "simulated",
        "market": "us",
        "session": FRIDAY,
        "instrument_id": f"us:{ticker}",
        "ticker": ticker,
        "tick_at": datetime(2024, 3, 15, 14, 31, tzinfo=UTC),
        "bar_started_at": datetime(2024, 3, 15, 14, 30, tzinfo=UTC),
        "price": 93.8,
        "reference": "previous_close",
        "reference_price": 100.0,
        "fall_pct": -6.2,
        "on_desk": True,
        "dip_pct": 12.34,
        "action": "buy",
        "watched": False,
        "bias": "long",
        "confidence": 0.62,
        "bias_reason": "Gap up on high volume",
    }
    return FallAlert.model_validate({**facts, **changed})


@dataclass
class Answer:
    """What the server says to one request."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds before it says it; a negative one: it hangs up without a word."""


class DiscordServer:
    """A webhook over HTTP. Answers as told, one after the other; after that it takes everything, as Discord does."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._guard = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def webhook(self) -> SecretStr:
        """Its address, as DISCORD_WEBHOOK_URL."""
        return SecretStr(f"http://127.0.0.1:{self._http.server_port}/api/webhooks/1234567890/{TOKEN}")

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The messages it was sent, whatever it said to them."""
        return [body for _, body in self.asked]

    def titles(self) -> list[str]:
        """Titles of every embed it was sent."""
        return [embed["title"] for body in self.bodies for embed in body["embeds"]]

    def close(self) -> None:
        """Stop listening."""
        self._http.shutdown()
        self._http.server_close()

    def _take(self, path: str, body: dict[str, Any]) -> Answer:
        with self._guard:
            self.asked.append((path, body))
            number = len(self.asked)
            return self.answers.pop(0) if self.answers else Answer(200, {"id": f"message-{number}"})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                answer = take(self.path, json.loads(sent))
                if answer.delay < 0:
                    self.close_connection = True
                    return
                threading.Event().wait(answer.delay)
                said = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
                content = b"" if answer.body is None else said.encode()
                self.send_response(answer.status)
                for name, value in {**answer.headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@contextmanager
def discord_server() -> Iterator[DiscordServer]:
    """A Discord server for the block."""
    server = DiscordServer()
    try:
        yield server
    finally:
        server.close()


@dataclass
class Mailbox:
    """What the server does: keeps the mails, and answers as told."""

    mails: list[EmailMessage] = field(default_factory=list)
    to: list[list[str]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    logins: list[tuple[str, str, bool]] = field(default_factory=list)
    farewell: str = "221 Bye"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        answer = self.answers.pop(0) if self.answers else "250 taken"
        if answer.startswith("250"):
            self.mails.append(message_from_bytes(envelope.content, policy=default))
            self.to.append(list(envelope.rcpt_tos))
        return answer

    async def handle_QUIT(self, server, session, envelope):
        return self.farewell

    def login(self, server, session, envelope, mechanism, data):
        self.logins.append((data.login.decode(), data.password.decode(), session.ssl is not None))
        return AuthResult(success=data.password.decode() == PASSWORD, handled=False)


class Running(Controller):
    """The server on a free port; TLS from the first byte where `tls` is given, after STARTTLS where `starttls` is."""

    def __init__(self, box, *, tls=None, starttls=None, login=False):
        self.box = box
        self.options = {
            "tls_context": starttls,
            "require_starttls": starttls is not None,
            "authenticator": box.login if login else None,
            "auth_required": login,
            "auth_require_tls": False,
        }
        super().__init__(box, hostname="127.0.0.1", port=0, ssl_context=tls)

    def factory(self):
        return SMTP(self.handler, **self.options)

    def _trigger_server(self):
        # The port is the system's choice: only known now.
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()
