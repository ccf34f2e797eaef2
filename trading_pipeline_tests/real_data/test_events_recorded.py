"""Report dates recorded from Yahoo, a recorded news feed and a real earnings calendar, over loopback HTTP."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import polars as pl
import pytest
import yaml
from curl_cffi import requests as curl
from pydantic import SecretStr

from trading_pipeline.markets import US
from trading_pipeline.providers.finnhub import Finnhub
from trading_pipeline.providers.rss import Rss
from trading_pipeline.providers.throttle import TokenBucket
from trading_pipeline.providers.yahoo_events import YahooEvents
from trading_pipeline.research.earnings import earnings_calendar
from trading_pipeline.research.news import news
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import reference

pytestmark = pytest.mark.real_data

Answering = Callable[[str, dict[str, list[str]]], tuple[int, bytes, str]]


@pytest.fixture
def serving() -> Iterator[Callable[[Answering], str]]:
    """Starts a server that answers a path and query with (status, body, content type); its address."""
    servers = []

    def start(answering: Answering) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None: ...

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                status, content, kind = answering(unquote(parts.path), parse_qs(parts.query))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def decided(first: date, last: date) -> pl.DataFrame:
    exchange = calendar(US.exchange)
    days = exchange.between(first, last)
    moments = [exchange.close_at(day) + US.data_lag for day in days]
    return pl.DataFrame({"session": days, "decided_at": moments}, schema_overrides={"session": pl.Date})


@pytest.fixture
def recorded_events(real_data, serving):
    """Reports of symbols as recorded in a year, asked for at that time through the real yfinance client."""

    def ask(year: str, symbols: list[str], now: datetime):
        from yfinance.data import SingletonMeta

        SingletonMeta._instances.clear()

        def answering(path, query):
            file = real_data / "yahoo_http" / year / f"quoteSummary-calendarEvents-{path.rpartition('/')[2]}.json"
            if "quoteSummary" not in path or not file.exists():
                return 200, b"crumb", "text/plain"
            said = json.loads(file.read_text())["response"]
            return said["status"], json.dumps(said["bodyJson"]).encode(), "application/json"

        address = serving(answering)

        class Loopback(curl.Session):
            def request(self, method, url, **options):
                return super().request(method, re.sub(r"^https://[^/]+", address, url), **options)

        provider = YahooEvents(session=Loopback(impersonate="chrome"), throttle=TokenBucket(1000, 1000))
        return provider.earnings(US, symbols, date(2020, 1, 1), date(2026, 1, 1), now=now)

    return ask


def test_the_reports_of_spring_2025_are_estimates_two_months_before(recorded_events):
    now = datetime(2025, 2, 24, 10, tzinfo=UTC)
    batch = recorded_events("2025", ["AAPL", "AMZN", "GOOG", "OCDO.L", "QQQ", "BTC-USD", "EURUSD=X"], now)
    assert not batch.failures and len(batch.answered) == 7
    told = batch.rows.select("symbol", "report_date", "timing", "confirmed", "eps_estimate", "available_at").rows()
    assert told == [
        ("AAPL", date(2025, 4, 30), "unknown", False, 1.61696, now),
        ("AMZN", date(2025, 4, 28), "unknown", False, 1.35242, now),
        ("GOOG", date(2025, 4, 23), "unknown", False, 2.02391, now),
        # 7:00 in London is the small hours in New York.
        ("OCDO.L", date(2025, 2, 27), "bmo", True, None, now),
    ]


def test_the_dates_of_2021_are_days_without_an_hour(recorded_events):
    symbols = ["AAPL", "BABA", "SIX", "SPOT", "GOOG", "AFRAF", "ADH", "QQQ"]
    batch = recorded_events("2021", symbols, datetime(2021, 2, 19, 18, tzinfo=UTC))
    assert not batch.failures and batch.answered == tuple(symbols)
    assert batch.rows.select("symbol", "report_date", "timing", "confirmed").rows() == [
        ("AAPL", date(2021, 4, 28), "unknown", False),
        ("BABA", date(2021, 2, 2), "unknown", None),
        ("SIX", date(2021, 2, 24), "unknown", None),
        ("SPOT", date(2021, 4, 27), "unknown", False),
    ]


def test_a_recorded_google_feed_becomes_news_of_its_sessions(real_data, serving):
    name = "TestGoogleNewsClient.test_get_company_news_real.yaml"
    interaction = yaml.safe_load((real_data / "news" / name).read_text())["interactions"][0]
    body = interaction["response"]["body"]["string"].encode()
    address = serving(lambda path, query: (200, body, "application/xml; charset=utf-8"))
    now = datetime(2025, 8, 15, 6, 31, 41, tzinfo=UTC)
    provider = Rss([f"{address}/rss/search?q={{ticker}}&hl=en-US"], throttle=TokenBucket(1000, 1000))
    batch = provider.news(US, ["AAPL"], now - timedelta(days=3650), now, now=now)
    assert not batch.failures and batch.answered == ("AAPL",)
    rows = batch.rows
    assert rows.height == rows["article_id"].n_unique() == 100
    assert rows["url"].str.starts_with("https://news.google.com/rss/articles/").all()
    assert rows["publisher"].null_count() == 0 and (rows["available_at"] == rows["published_at"]).all()
    assert not rows["url"].str.contains("oc=").any()

    sessions = calendar(US.exchange).between(date(2025, 8, 1), date(2025, 8, 14))
    articles = rows.with_columns(
        instrument_id=pl.lit("us:AAPL"),
        published_on=pl.col("published_at").dt.date(),
        provider=pl.lit("rss"),
        known_at=pl.lit(now, pl.Datetime("us", "UTC")),
    )
    members = pl.DataFrame({"session": sessions, "instrument_id": "us:AAPL", "ticker": "AAPL"})
    told = reference.NEWS.conform(news(articles, members, sessions, decided(date(2025, 6, 1), date(2025, 8, 20))))
    assert told.height > 20 and set(told["sentiment_source"]) == {"lexicon"}
    first = told.filter(pl.col("title").str.starts_with("Apple Stock Is Gaining Momentum"))
    assert first["session"].to_list() == [date(2025, 8, 13)]


def test_a_real_week_of_reports_becomes_a_calendar(real_data, serving):
    listed = json.loads((real_data / "earnings" / "fmp_earnings_calendar_2025-05-09_15.json").read_text())
    rows = [
        {
            "date": row["date"],
            "symbol": row["symbol"],
            "hour": {"bmo": "bmo", "amc": "amc"}.get(row["time"], ""),
            "epsEstimate": row["epsEstimated"],
            "epsActual": row["eps"],
            "revenueEstimate": row["revenueEstimated"],
            "revenueActual": row["revenue"],
            "quarter": 1,
            "year": 2025,
        }
        for row in listed
    ]

    def answering(path, query):
        (first,), (last,) = query["from"], query["to"]
        within = [row for row in rows if first <= row["date"] <= last]
        return 200, json.dumps({"earningsCalendar": within}).encode(), "application/json"

    now = datetime(2025, 5, 12, 15, tzinfo=UTC)
    symbols = sorted({row["symbol"] for row in rows})
    provider = Finnhub(SecretStr("key"), base_url=serving(answering), throttle=TokenBucket(1000, 1000))
    batch = provider.earnings(US, symbols, date(2025, 5, 1), date(2025, 5, 20), now=now)
    assert not batch.failures and set(batch.rows["symbol"]) == set(symbols)
    assert dict(batch.rows["timing"].value_counts().iter_rows()) == {"bmo": 90, "amc": 51, "unknown": 2}

    ids = [f"us:{symbol}" for symbol in symbols]
    received = batch.rows.with_columns(
        instrument_id="us:" + pl.col("symbol"),
        provider=pl.lit("finnhub"),
        known_at=pl.lit(now, pl.Datetime("us", "UTC")),
        withdrawn=pl.lit(False),
    )
    session = date(2025, 5, 12)
    members = pl.DataFrame({"session": session, "instrument_id": ids, "ticker": symbols})
    nothing = {"session": pl.Date, "instrument_id": pl.String}
    told = earnings_calendar(
        received,
        pl.DataFrame(schema={**nothing, "kind": pl.String, "available_at": pl.Datetime("us", "UTC")}),
        members,
        pl.DataFrame(schema={**nothing, "excess_return": pl.Float64}),
        [session],
        decided(date(2022, 1, 3), date(2025, 9, 1)),
        ["finnhub"],
    )
    told = reference.EARNINGS_CALENDAR.conform(told)
    told = told.join(pl.DataFrame(rows).select(ticker="symbol", date="date", hour="hour", out="epsActual"), on="ticker")
    friday_evening = told.filter((pl.col("date") == "2025-05-09") & (pl.col("hour") == "amc"))
    assert friday_evening["last_report_session"].to_list() == [session]
    waits = dict(told.group_by("date", "hour").agg(pl.col("sessions_to_report").max()).select(
        pl.concat_str("date", "hour"), "sessions_to_report"
    ).iter_rows())  # fmt: skip
    assert waits["2025-05-12bmo"] == 0 and waits["2025-05-12amc"] == 1
    assert waits["2025-05-14bmo"] == 2 and waits["2025-05-14amc"] == 3 and waits["2025-05-09bmo"] is None
    results = [row for row in rows if row["epsActual"] is not None and row["epsEstimate"] is not None]
    assert told["reports"].sum() == len(results)
    beats = sum(row["epsActual"] > row["epsEstimate"] for row in results)
    assert told["beat_rate"].sum() == beats
