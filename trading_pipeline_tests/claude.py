"""A server that answers like Claude's API over real HTTP, and rows of the dip desk to ask it about.

Rows of the live session are in `live_questions.py`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import polars as pl

from trading_pipeline.tables.dips import DIP_ANALYSIS

KEY = "sk-ant-a-key-nobody-may-see"
NOW = datetime(2024, 3, 12, 22, tzinfo=UTC)
SESSION = date(2024, 3, 12)


def words_of(request: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Good words for what a request asks about."""
    inputs = inputs_of(request)
    decision = inputs["decision"]
    verb = {"buy": "Buy a little at a time.", "wait": "Wait for a week.", "avoid": "Leave it alone."}
    return {
        "ticker": inputs["ticker"],
        "why": f"{inputs['ticker']} fell with the market.",
        "outlook": "temporary",
        "play": verb[decision["action"]],
        "risks": ["The market may go on falling.", "The next report is near."],
        "size_low": decision["size_low"],
        "size_high": decision["size_high"],
        **changed,
    }


def inputs_of(request: dict[str, Any]) -> dict[str, Any]:
    return json.loads(request["messages"][0]["content"].partition("\n")[2].rpartition("\n")[0])


def tag_of(request: dict[str, Any]) -> str:
    return request["messages"][0]["content"].partition("\n")[0].strip("<>")


def message(text: str, model: str, stop_reason: str = "end_turn", **usage: int) -> tuple[int, dict[str, Any]]:
    """An answer of the API with that text."""
    counts = {"input_tokens": 900, "output_tokens": 250, "cache_read_input_tokens": 0} | usage
    return 200, {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"cache_creation_input_tokens": 0} | counts,
    }


def failure(status: int, kind: str) -> tuple[int, dict[str, Any]]:
    return status, {"type": "error", "error": {"type": kind, "message": "no"}, "request_id": "req_1"}


Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


class Api:
    """The server: `answer` says what it replies to a request; `requests` and `headers` are what it was sent.

    delay: seconds before it replies. open: it replies once that is set. drip: seconds between two pieces of a reply.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Answer = lambda request: message(json.dumps(words_of(request)), request["model"])
        self.delay = self.drip = 0.0
        self.open = threading.Event()
        self.open.set()
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                request = json.loads(self.rfile.read(length))
                with api._lock:
                    api.requests.append(request)
                    api.headers.append(dict(self.headers))
                    api.at_once += 1
                    api.most_at_once = max(api.most_at_once, api.at_once)
                time.sleep(api.delay)
                api.open.wait(60)
                status, body = api.answer(request)
                with api._lock:
                    api.at_once -= 1
                content = json.dumps(body).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    size = len(content) if api.drip == 0 else 40
                    for start in range(0, len(content), size):
                        self.wfile.write(content[start : start + size])
                        self.wfile.flush()
                        time.sleep(api.drip)
                except OSError:
                    pass

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def models(self) -> list[str]:
        return [request["model"] for request in self.requests]

    def close(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def row_of(ticker: str = "AAA", action: str = "buy", session: date = SESSION, **inputs: Any) -> dict[str, Any]:
    """A row of `dip_analysis` as the rules write it."""
    low, high = (0.02, 0.04) if action == "buy" else (0.0, 0.0)
    told = {
        "ticker": ticker,
        "session": session.isoformat(),
        "headlines": [],
        "portfolio": {"currency": "USD", "value": 100000.0},
        "decision": {"action": action, "size_low": low, "size_high": high},
    } | inputs
    return {
        "session": session,
        "instrument_id": f"us:{ticker}",
        "ticker": ticker,
        "dip_pct": 12.5,
        "cause": "macro",
        "action": action,
        "action_reasons": "The screener's verdict is Buy.",
        "size_low": low,
        "size_high": high,
        "size_low_amount": low * 100000,
        "size_high_amount": high * 100000,
        "why": "The rules' why.",
        "outlook": "unclear",
        "play": "The rules' play.",
        "risks": "The rules' risk.",
        "source": "rules",
        "prompt_hash": "0" * 64,
        "inputs": json.dumps(told, sort_keys=True),
    }


def rows_of(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=DIP_ANALYSIS.schema)
