"""Exchanges recorded from Yahoo, replayed over loopback HTTP through the real yfinance client."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from curl_cffi import requests as curl

from trading_pipeline.providers.base import DailyBarsBatch, SymbolRequest
from trading_pipeline.providers.errors import EmptyWindow, NotFound
from trading_pipeline.providers.throttle import TokenBucket
from trading_pipeline.providers.yahoo import Yahoo

pytestmark = pytest.mark.real_data

NEW_YEAR = (date(2020, 1, 1), date(2020, 1, 3))
NOW = datetime(2025, 2, 21, tzinfo=UTC)


@pytest.fixture
def recorded(real_data: Path) -> Callable[[str], tuple[int, bytes]]:
    """Status and body of a recorded exchange."""

    def read(name: str) -> tuple[int, bytes]:
        response = json.loads((real_data / "yahoo_http" / "2025" / name).read_text())["response"]
        return response["status"], json.dumps(response["bodyJson"]).encode()

    return read


@pytest.fixture
def ask(recorded: Callable[[str], tuple[int, bytes]]) -> Iterator[Callable[..., DailyBarsBatch]]:
    """Daily bars from a Yahoo that answers symbols with the recorded exchanges it is given."""
    answers: dict[str, tuple[int, bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None: ...

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            status, content = answers.get(path, (200, b"crumb"))
            self.send_response(status)
            self.send_header("Content-Type", "application/json;charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    class LoopbackSession(curl.Session):
        def request(self, method, url, **options):
            local = re.sub(r"^https://[^/]+", f"http://127.0.0.1:{server.server_port}", url)
            return super().request(method, local, **options)

    def daily_bars(exchanges: dict[str, str], first: date, last: date) -> DailyBarsBatch:
        answers.update({f"/v8/finance/chart/{symbol}": recorded(name) for symbol, name in exchanges.items()})
        provider = Yahoo(session=LoopbackSession(impersonate="chrome"), throttle=TokenBucket(1000, 1000))
        return provider.daily_bars([SymbolRequest(symbol, first, last) for symbol in exchanges], now=NOW)

    yield daily_bars
    server.shutdown()
    server.server_close()


def test_aapl_splits_four_for_one_on_31_august_2020_and_pays_on_6_november(ask):
    batch = ask({"AAPL": "chart-AAPL-2020-08-31-to-2020-11-07.json"}, date(2020, 8, 31), date(2020, 11, 6))
    assert batch.actions.rows() == [
        ("AAPL", date(2020, 8, 31), "split", 4.0, "USD"),
        ("AAPL", date(2020, 11, 6), "dividend", 0.205, "USD"),
    ]
    assert batch.bars.height == 49 and not batch.failures and batch.basis == "split_adjusted"
    first = batch.bars.row(0, named=True)
    assert first["session"] == date(2020, 8, 31)
    assert first["close"] == pytest.approx(129.04, abs=1e-4)
    assert first["adj_close"] < first["close"]
    assert first["volume"] == 225_702_700


def test_sessions_are_those_of_each_exchange(ask):
    batch = ask(
        {
            symbol: f"chart-{symbol}-2020-01-01-to-2020-01-03.json"
            for symbol in ("AAPL", "BTC-USD", "OCDO.L", "WSKT.JK", "QQQ", "EURUSD=X", "0P000071W8.TO")
        },
        *NEW_YEAR,
    )
    assert not batch.failures
    sessions = dict(batch.bars.group_by("symbol").agg("session").iter_rows())
    assert sessions["AAPL"] == sessions["OCDO.L"] == sessions["WSKT.JK"] == [date(2020, 1, 2)]
    assert sessions["BTC-USD"] == [date(2020, 1, day) for day in (1, 2, 3)]


def test_currencies_are_reported_as_yahoo_spells_them(ask):
    symbols = {"OCDO.L": "GBp", "WSKT.JK": "IDR", "BTC-USD": "USD", "0P000071W8.TO": "CAD"}
    batch = ask({symbol: f"chart-{symbol}-2020-01-01-to-2020-01-03.json" for symbol in symbols}, *NEW_YEAR)
    assert dict(batch.bars.select("symbol", "currency").unique().iter_rows()) == symbols


def test_a_404_body_of_yahoos_is_not_found_only_when_it_speaks_of_the_chart(ask):
    batch = ask({"WSKT.JK": "quoteSummary-assetProfile-WSKT.JK.json"}, *NEW_YEAR)
    (failure,) = batch.failures
    assert failure.error.kind == "schema_changed" and not isinstance(failure.error, NotFound)


def test_a_known_symbol_without_bars_in_the_window_is_an_empty_window(ask):
    name = "chart-AAPL-2025-02-01-to-2025-02-02-includePrePost-false-interval-1m.json"
    batch = ask({"AAPL": name}, date(2025, 2, 1), date(2025, 2, 1))
    (failure,) = batch.failures
    assert isinstance(failure.error, EmptyWindow)
