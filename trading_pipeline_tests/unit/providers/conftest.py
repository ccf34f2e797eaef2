"""A provider on the loopback interface: real HTTP, answers chosen by the test."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from trading_pipeline.providers.base import RetryPolicy


@dataclass
class Answer:
    """An HTTP answer; a body that is not text or bytes is sent as JSON."""

    body: Any = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: threading.Event | None = None
    cut_to: int | None = None

    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass
class Asked:
    """A request the server received."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


class LocalProvider:
    """Answers by path, `answers[path]` being an `Answer`, a list of them of which the last one stays, or a function.

    A function is given the request.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer | list[Answer] | Callable[[Asked], Answer]] = {}
        self.fallback = Answer("nothing here", 404)
        self.asked: list[Asked] = []
        self._lock = threading.Lock()
        local = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None: ...

            def do_GET(self) -> None:
                local.serve(self)

            do_POST = do_GET  # noqa: N815 - the name the base class looks for

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def paths(self, prefix: str = "/") -> list[str]:
        return [request.path for request in self.asked if request.path.startswith(prefix)]

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        path = unquote(parts.path)
        with self._lock:
            asked = Asked(path, parse_qs(parts.query), dict(handler.headers))
            self.asked.append(asked)
            answer = self.answers.get(path, self.fallback)
            if callable(answer):
                answer = answer(asked)
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if answer.delay is not None:
            answer.delay.wait(30)
        content = answer.content()
        try:
            handler.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content[: answer.cut_to])
        except OSError:
            return
        if answer.cut_to is not None:
            handler.close_connection = True


@pytest.fixture
def server() -> Iterator[LocalProvider]:
    local = LocalProvider()
    thread = threading.Thread(target=local.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield local
    local.server.shutdown()
    local.server.server_close()


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@dataclass
class Waits:
    """A clock that only moves when somebody sleeps."""

    slept: list[float] = field(default_factory=list)
    now: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def patient(waits: Waits) -> Callable[..., RetryPolicy]:
    """A retry policy that records its waits instead of waiting."""

    def make(**changes: Any) -> RetryPolicy:
        return RetryPolicy(sleep=waits.sleep, monotonic=waits.monotonic, **changes)

    return make


class Unlimited:
    """A throttle that counts what it let through."""

    def __init__(self) -> None:
        self.acquired = 0
        self._lock = threading.Lock()

    def acquire(self, cost: float = 1.0) -> None:
        with self._lock:
            self.acquired += 1


@pytest.fixture
def unlimited() -> Unlimited:
    return Unlimited()


@pytest.fixture
def redirected() -> Callable[..., Any]:
    """A session class of yfinance's HTTP library that sends every request to `url` instead of to Yahoo."""

    def make(base: type, url: str, **kwargs: Any) -> Any:
        class Redirected(base):  # type: ignore[misc, valid-type]
            def request(self, method: str, url_asked: str = "", **options: Any) -> Any:
                asked = url_asked or options.pop("url")
                return super().request(method, re.sub(r"^https://[^/]+", url, asked), **options)

        return Redirected(**kwargs)

    return make


def _midnight_opening(day: date, offset_hours: float) -> int:
    return int((datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=offset_hours)).timestamp())


@pytest.fixture
def chart() -> Callable[..., dict[str, Any]]:
    """The body of a Yahoo chart answer, days opening at 13:30 UTC unless told."""

    def make(
        symbol: str,
        days: list[date],
        closes: list[float | None],
        *,
        volumes: list[int | None] | None = None,
        events: dict[str, Any] | None = None,
        opens_at: float = 13.5,
        **meta: Any,
    ) -> dict[str, Any]:
        result: dict[str, Any] = {
            "meta": {
                "currency": "USD",
                "symbol": symbol,
                "instrumentType": "EQUITY",
                "exchangeTimezoneName": "America/New_York",
                "validRanges": ["1d", "max"],
                "priceHint": 2,
                **meta,
            },
            "timestamp": [_midnight_opening(day, opens_at) for day in days],
            "indicators": {
                "quote": [
                    {
                        "open": closes,
                        "high": closes,
                        "low": closes,
                        "close": closes,
                        "volume": volumes if volumes is not None else [100] * len(days),
                    }
                ],
                "adjclose": [{"adjclose": closes}],
            },
        }
        if events:
            result["events"] = events
        return {"chart": {"result": [result], "error": None}}

    return make
