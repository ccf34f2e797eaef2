"""Real minutes: files as people have them, and Yahoo's answers replayed through the real yfinance client."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import polars as pl
import pytest
from curl_cffi import requests as curl
from polars.testing import assert_frame_equal

from trading_pipeline.markets import US
from trading_pipeline.providers.errors import EmptyWindow, NotFound
from trading_pipeline.providers.intraday_files import IntradayFiles
from trading_pipeline.providers.throttle import TokenBucket
from trading_pipeline.providers.yahoo_intraday import YahooIntraday
from trading_pipeline.sessions import calendar

pytestmark = pytest.mark.real_data

LATER = datetime(2026, 1, 1, tzinfo=UTC)
PRICES = ["open", "high", "low", "close"]
ONE, FIVE = "1min_3_tickers_2025-09_2025-11.parquet", "5min_8_tickers_2025-05_2025-11.parquet"
SPY_ONE, SPY_FIFTEEN = "SPY_1min_20250708_20250714.csv", "SPY_15min_20250519_20250714.csv"


@pytest.fixture
def intraday(real_data: Path) -> Path:
    return real_data / "intraday"


def sessions(first: date, last: date) -> list[date]:
    return calendar("XNYS").between(first, last)


class TestFiles:
    @pytest.mark.parametrize(("name", "interval", "tickers"), [(ONE, "1m", 3), (FIVE, "5m", 8)])
    def test_every_bar_of_a_parquet_file_is_told_at_its_length(
        self, intraday: Path, name: str, interval: str, tickers: int
    ) -> None:
        raw = pl.read_parquet(intraday / name).sort("ticker", "datetime")
        symbols = raw["ticker"].unique().to_list()
        batch = IntradayFiles(intraday / name).intraday_bars(
            US, symbols, sessions(date(2025, 5, 1), date(2025, 11, 28)), interval, now=LATER
        )
        assert len(symbols) == tickers and not batch.failures and batch.duplicates.is_empty()
        expected = raw.select(
            symbol="ticker",
            started_at=pl.col("datetime").dt.replace_time_zone("America/New_York").dt.convert_time_zone("UTC"),
            **{price: pl.col(price) for price in PRICES},
            volume=pl.col("volume").cast(pl.Float64),
        )
        assert_frame_equal(batch.bars, expected, check_exact=True)

    def test_a_folder_holds_bars_of_both_lengths(self, intraday: Path) -> None:
        files = IntradayFiles(intraday)
        days = sessions(date(2025, 9, 15), date(2025, 11, 28))
        heights = {
            interval: files.intraday_bars(US, ["SPY"], days, interval, now=LATER).bars.height
            for interval in ("1m", "5m")
        }
        assert heights["1m"] > 20_000 and 4_000 < heights["5m"] < heights["1m"] / 4

    @pytest.mark.parametrize(("name", "interval"), [(SPY_ONE, "1m"), (SPY_FIFTEEN, "15m")])
    def test_a_download_with_offsets_and_no_ticker_column(self, intraday: Path, name: str, interval: str) -> None:
        path = intraday / "spy_yf_prepost" / name
        raw = pl.read_csv(path)
        batch = IntradayFiles(path).intraday_bars(
            US, ["SPY"], sessions(date(2025, 5, 19), date(2025, 7, 14)), interval, now=LATER
        )
        assert batch.bars.height == raw.height
        local = batch.bars["started_at"].dt.convert_time_zone("America/New_York")
        assert local.dt.strftime("%Y-%m-%d %H:%M:%S%:z").to_list() == raw["Datetime"].to_list()
        assert batch.bars["close"].to_list() == raw["Close"].to_list()

    def test_volume_is_unknown_exactly_where_a_half_day_or_the_extended_hours_have_zeros(self, intraday: Path) -> None:
        path = intraday / "spy_yf_prepost" / SPY_FIFTEEN
        days = sessions(date(2025, 5, 19), date(2025, 7, 14))
        bars = IntradayFiles(path).intraday_bars(US, ["SPY"], days, "15m", now=LATER).bars
        local = bars.with_columns(local=pl.col("started_at").dt.convert_time_zone("America/New_York"))
        unknown = local.filter(pl.col("volume").is_null())
        half_day = unknown.filter(pl.col("local").dt.date() == date(2025, 7, 3))
        assert half_day.filter(pl.col("local").dt.time().is_between(time(13), time(16), closed="left")).height == 12
        regular = local.filter(pl.col("local").dt.time().is_between(time(9, 30), time(12, 45)))
        assert regular["volume"].null_count() == 0 and (bars["volume"] != 0).all()


def body_of(rows: pl.DataFrame, symbol: str = "SPY") -> dict[str, Any]:
    """A chart's body as Yahoo writes it, of rows as yfinance saved them."""
    stamps = rows["Datetime"].str.to_datetime("%Y-%m-%d %H:%M:%S%z").dt.epoch("s").to_list()
    quote = {name.lower(): rows[name].to_list() for name in ("Open", "High", "Low", "Close", "Volume")}
    meta = {
        "currency": "USD",
        "symbol": symbol,
        "instrumentType": "ETF",
        "exchangeTimezoneName": "America/New_York",
        "validRanges": ["1d", "5d"],
        "priceHint": 2,
        "hasPrePostMarketData": True,
    }
    result = {"meta": meta, "timestamp": stamps, "indicators": {"quote": [quote]}}
    return {"chart": {"result": [result], "error": None}}


@pytest.fixture
def yahoo() -> Iterator[tuple[YahooIntraday, dict[str, Callable[[dict[str, list[str]]], tuple[int, Any]]]]]:
    """The provider, and what its Yahoo answers by symbol: functions of the query to a status and a body."""
    answers: dict[str, Callable[[dict[str, list[str]]], tuple[int, Any]]] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None: ...

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            found = answers.get(unquote(parts.path).removeprefix("/v8/finance/chart/"))
            status, body = found(parse_qs(parts.query)) if found else (200, "crumb")
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
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

    yield YahooIntraday(session=LoopbackSession(impersonate="chrome"), throttle=TokenBucket(1000, 1000)), answers
    server.shutdown()
    server.server_close()


class TestYahoo:
    def test_a_week_of_minutes_is_told_as_the_files_provider_tells_it(self, intraday: Path, yahoo) -> None:
        provider, answers = yahoo
        path = intraday / "spy_yf_prepost" / SPY_ONE
        raw = pl.read_csv(path)
        seconds = raw["Datetime"].str.to_datetime("%Y-%m-%d %H:%M:%S%z").dt.epoch("s")

        def within(query: dict[str, list[str]]) -> tuple[int, Any]:
            assert query["interval"] == ["1m"] and query["includePrePost"][0].lower() == "true"
            first, last = int(query["period1"][0]), int(query["period2"][0])
            assert last - first <= 8 * 86_400
            return 200, body_of(raw.filter((seconds >= first) & (seconds < last)))

        answers["SPY"] = within
        days = sessions(date(2025, 7, 8), date(2025, 7, 14))
        now = datetime(2025, 7, 15, 12, tzinfo=UTC)
        told = provider.intraday_bars(US, ["SPY"], days, "1m", now=now)
        of_files = IntradayFiles(path).intraday_bars(US, ["SPY"], days, "1m", now=now)
        assert_frame_equal(told.bars, of_files.bars)
        assert told.bars.height == 4_696 and told.bars["volume"].null_count() == 2_751 and not told.failures

    def test_a_session_under_way_ends_in_its_forming_bar(self, intraday: Path, yahoo) -> None:
        provider, answers = yahoo
        raw = pl.read_csv(intraday / "spy_yf_prepost" / SPY_ONE)
        now = datetime(2025, 7, 8, 15, 37, 23, tzinfo=UTC)
        begun = raw.filter(pl.col("Datetime").str.to_datetime("%Y-%m-%d %H:%M:%S%z") <= now)
        body = body_of(begun)
        result = body["chart"]["result"][0]
        result["timestamp"].append(int(now.timestamp()))
        for name, values in result["indicators"]["quote"][0].items():
            values.append(0 if name == "volume" else begun["Close"][-1])
        answers["SPY"] = lambda query: (200, body)
        bars = provider.intraday_bars(US, ["SPY"], [date(2025, 7, 8)], "1m", now=now).bars
        assert bars.height == begun.height
        assert bars["started_at"][-1] == now.replace(second=0) and bars["volume"][-1] > 0
        assert timedelta(0) < now - bars["started_at"][-1] < timedelta(minutes=1)

    def test_a_recorded_weekend_is_an_empty_window_and_a_recorded_stranger_is_not_found(
        self, real_data: Path, yahoo
    ) -> None:
        provider, answers = yahoo
        name = "chart-AAPL-2025-02-01-to-2025-02-02-includePrePost-false-interval-1m.json"
        recorded = json.loads((real_data / "yahoo_http" / "2025" / name).read_text())["response"]
        answers["AAPL"] = lambda query: (recorded["status"], recorded["bodyJson"])
        unknown = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
        answers["GONE"] = lambda query: (404, {"chart": {"result": None, "error": unknown}})
        batch = provider.intraday_bars(
            US, ["AAPL", "GONE"], [date(2025, 1, 31)], "1m", now=datetime(2025, 2, 2, tzinfo=UTC)
        )
        kinds = {failure.symbol: type(failure.error) for failure in batch.failures}
        assert kinds == {"AAPL": EmptyWindow, "GONE": NotFound} and batch.bars.is_empty()
