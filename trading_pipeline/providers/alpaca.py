"""Bars of 1, 5 and 15 minutes of US shares from Alpaca's market data, as traded, pre- and post-market included.

What belongs here: the bars endpoint through the alpaca-py client. What does not: orders (`brokers/`), undoing splits
(there is nothing to undo), judging bars (`research/intraday/`).

The traps of alpaca-py 0.43 and of the endpoint, and what is done about each:

- The client tries 429 and 504 again three times, 3 s apart, unseen and unmetered: that is switched off, `RetryPolicy`
  decides alone. It sends requests without a time-out: they get one.
- It asks for page after page inside one call: each page is metered, and kept, so that a retry goes on where it failed.
  A page that names itself as the next one would be asked for without end: it is refused.
- A symbol that traded nothing and one that does not exist are both simply absent from the answer.
- One symbol it calls invalid fails the whole request: it is left out, and the others are asked for again.
- The free plan has no consolidated tape (SIP) of the last 15 minutes; the default feed is IEX, one exchange's share of
  the trading: minutes without a trade there are absent, and volumes are a few per cent of the market's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack

import polars as pl
from pydantic import SecretStr

from trading_pipeline.markets import US, Market
from trading_pipeline.providers.base import CallMeter, Failure, Progress, Quota, retry_after
from trading_pipeline.providers.errors import (
    AccessRefused,
    NotFound,
    ProviderDown,
    ProviderError,
    RateLimited,
    SchemaChanged,
)
from trading_pipeline.providers.http import HttpProvider, Options
from trading_pipeline.providers.intraday import INTRADAY_SCHEMA, MINUTES, Interval, IntradayBatch
from trading_pipeline.providers.intraday_answers import (
    Span,
    no_minutes,
    of_sessions,
    spans_of,
    told_once,
)
from trading_pipeline.providers.reading import market_of

if TYPE_CHECKING:
    from alpaca.common.exceptions import APIError
    from alpaca.data.historical.stock import StockHistoricalDataClient

Feed = Literal["iex", "sip", "delayed_sip"]

BASE_URL: Final = "https://data.alpaca.markets"
# The free plan allows 200 requests in any minute: 20 saved up and 180 flowing in stay below it.
QUOTA: Final = Quota(rate_per_second=3.0, burst=20.0, concurrency=2)
SYMBOLS_A_REQUEST: Final = 200  # about 1 KB of URL; a page holds 10,000 bars however many symbols share it

# BRK.B, BAC.PR.K, a unit, a warrant.
_SYMBOL: Final = re.compile(r"[A-Z]{1,6}(\.[A-Z]{1,3}){0,2}")
_COLUMNS: Final = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}


class _InvalidSymbol(NotFound):
    """The request was refused because of one symbol."""

    symbol: str = ""

    @classmethod
    def of(cls, symbol: str) -> _InvalidSymbol:
        """The error that names `symbol`."""
        error = cls(f"Alpaca calls {symbol} no valid symbol")
        error.symbol = symbol
        return error


@dataclass
class _Request:
    """Bars of some symbols. clients: one a span, each with the pages it was answered. invalid: who was left out."""

    symbols: list[str]
    spans: list[Span]
    clients: dict[Span, StockHistoricalDataClient] = field(default_factory=dict)
    invalid: dict[str, ProviderError] = field(default_factory=dict)

    @property
    def named(self) -> str:
        """Its symbols in few words."""
        return f"{self.symbols[0]} to {self.symbols[-1]} ({len(self.symbols)} symbols)"


class AlpacaBars(HttpProvider):
    """Alpaca's historical bars of US shares. `key` and `secret` travel in headers only; they are in no URL or error.

    feed: `iex` (every plan), `sip` (all exchanges; the last 15 minutes need a paid plan) or `delayed_sip`.
    """

    name = "alpaca"
    # Trades reported late still enter a bar for half a minute (the `updatedBars` of Alpaca's stream).
    lag = timedelta(seconds=30)
    usual_quota = QUOTA

    def __init__(
        self,
        key: SecretStr,
        secret: SecretStr,
        *,
        feed: Feed = "iex",
        base_url: str = BASE_URL,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        self.feed = feed
        self._key, self._secret = key, secret
        self._base_url = base_url.rstrip("/")

    def covers(self, symbol: str) -> bool:
        """Whether it is spelled like a US share or fund (`AAPL`, `BRK.B`), not an index, a pair or another exchange."""
        return bool(_SYMBOL.fullmatch(symbol)) and market_of(symbol) is US

    def reach(self, interval: Interval) -> timedelta | None:
        """None: as far as Alpaca has them, which is 2016."""
        return None

    def intraday_bars(
        self,
        market: Market,
        symbols: Sequence[str],
        sessions: Sequence[date],
        interval: Interval,
        *,
        now: datetime,
        since: datetime | None = None,
        progress: Progress | None = None,
    ) -> IntradayBatch:
        """Bars of `symbols` on `sessions`, as traded, 200 symbols a request. See `IntradayProvider.intraday_bars`.

        Volume is the feed's. `EmptyWindow` does not say whether Alpaca knows the symbol: it does not tell.
        """
        meter = CallMeter(self._throttle)
        distinct = list(dict.fromkeys(symbols))
        known = [symbol for symbol in distinct if market.name == US.name and self.covers(symbol)]
        spans = spans_of(market, sessions, now=now, since=since)
        requests = [_Request(list(some), spans) for some in _batched(known)]
        answers = self._ask_each(
            requests,
            lambda request: " and ".join(
                [request.symbols[0], *[f"{len(request.symbols) - 1} others"][: len(known) - 1]]
            ),
            lambda request: self._fetch(request, interval, meter, now),
            _of_symbols(progress, len(distinct)),
        )
        failed: dict[str, ProviderError] = {
            symbol: NotFound(f"{symbol!r} is not spelled like a US share or fund") for symbol in distinct
        }
        parts = [pl.DataFrame(schema=INTRADAY_SCHEMA)]
        for request, answer in zip(requests, answers, strict=True):
            silent = " that Alpaca tells" if isinstance(answer, pl.DataFrame) else ""
            for symbol in request.symbols:
                error = answer if isinstance(answer, ProviderError) else no_minutes(symbol, interval, sessions, silent)
                failed[symbol] = error
            failed |= request.invalid
            if isinstance(answer, pl.DataFrame):
                parts.append(answer)
        bars, again = told_once(
            of_sessions(pl.concat(parts), market, sessions, since).filter(pl.col("symbol").is_in(known))
        )
        for symbol in bars["symbol"].unique():
            failed.pop(symbol)
        return IntradayBatch(
            bars=bars,
            failures=[Failure(symbol, failed[symbol]) for symbol in distinct if symbol in failed],
            http_calls=meter.calls,
            basis="as_traded",
            duplicates=again,
        )

    def _fetch(self, request: _Request, interval: Interval, meter: CallMeter, now: datetime) -> pl.DataFrame:
        while request.symbols:
            try:
                return pl.concat(
                    [
                        pl.DataFrame(schema=INTRADAY_SCHEMA),
                        *(self._ask(request, span, interval, meter, now) for span in request.spans),
                    ]
                )
            except _InvalidSymbol as error:
                request.symbols.remove(error.symbol)
                request.invalid[error.symbol] = error
                request.clients.clear()
        return pl.DataFrame(schema=INTRADAY_SCHEMA)

    def _ask(self, request: _Request, span: Span, interval: Interval, meter: CallMeter, now: datetime) -> pl.DataFrame:
        from alpaca.data.enums import Adjustment, DataFeed
        from alpaca.data.requests import StockBarsRequest
        from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

        client = request.clients.setdefault(span, self._client(request.symbols, meter, now))
        told = client.get_stock_bars(
            StockBarsRequest(
                symbol_or_symbols=request.symbols,
                timeframe=TimeFrame(MINUTES[interval], TimeFrameUnit.Minute),  # type: ignore[arg-type]
                start=span.start,
                # Alpaca's `end` is included.
                end=span.end - timedelta(microseconds=1),
                adjustment=Adjustment.RAW,
                feed=DataFeed(self.feed),
            )
        )
        assert isinstance(told, dict)
        return _frame_of(told)

    def _client(self, symbols: Sequence[str], meter: CallMeter, now: datetime) -> StockHistoricalDataClient:
        key, secret = self._key.get_secret_value(), self._secret.get_secret_value()
        client: StockHistoricalDataClient = _metered_client()(
            key, secret, self._base_url, symbols, meter, now, self._timeout
        )
        return client


@cache
def _metered_client() -> type[Any]:
    """The client's class, made where it is used: importing the library takes a third of a second."""
    from alpaca.common.exceptions import APIError
    from alpaca.data.historical.stock import StockHistoricalDataClient
    from requests import RequestException, Session

    class TimedSession(Session):
        """A session whose requests end."""

        def __init__(self, timeout: float) -> None:
            super().__init__()
            self._timeout = timeout

        def request(self, *args: Any, **kwargs: Any) -> Any:
            kwargs.setdefault("timeout", self._timeout)
            return super().request(*args, **kwargs)

    class MeteredClient(StockHistoricalDataClient):
        """Asks for pages without retries of its own, and remembers those it was answered."""

        def __init__(
            self,
            key: str,
            secret: str,
            url: str,
            symbols: Sequence[str],
            meter: CallMeter,
            now: datetime,
            timeout: float,
        ) -> None:
            super().__init__(api_key=key, secret_key=secret, raw_data=True, url_override=url)
            self._retry = 0
            self._session = TimedSession(timeout)
            self._symbols, self._meter, self._now = list(symbols), meter, now
            self._pages: dict[str | None, dict[str, Any]] = {}

        def get(self, path: str, data: Any = None, **kwargs: Any) -> Any:
            token = data.get("page_token")
            if token not in self._pages:
                self._meter.admit()
                try:
                    page = _page_of(super().get(path, data, **kwargs))
                except APIError as error:
                    raise _meaning(error, self._symbols, self._now) from None
                except (RequestException, json.JSONDecodeError) as error:
                    raise ProviderDown(f"Alpaca could not be reached ({type(error).__name__})") from None
                if page["next_page_token"] is not None and page["next_page_token"] in {*self._pages, token}:
                    raise SchemaChanged("Alpaca's next page of bars is one it sent before")
                self._pages[token] = page
            return self._pages[token]

    return MeteredClient


def _page_of(body: Any) -> dict[str, Any]:
    """`bars` (rows by symbol) and `next_page_token` of an answer; it tells no bars as null or as nothing."""
    if not isinstance(body, dict) or "bars" not in body or not isinstance(body["bars"], dict | None):
        raise SchemaChanged("Alpaca answered with something else than bars")
    return {"bars": body["bars"] or {}, "next_page_token": body.get("next_page_token") or None}


def _meaning(error: APIError, symbols: Sequence[str], now: datetime) -> ProviderError:
    """What a refused request means; the answer's own words where they tell more than the status."""
    response, status = error.response, error.status_code or 0
    said = _message(response.text if response is not None else "")
    if status == 429:
        headers = response.headers if response is not None else {}
        return RateLimited("Alpaca refuses: too many requests (200 a minute)", retry_after=_asked_wait(headers, now))
    if status in (401, 403):
        if "subscription" in said:
            remedy = "Use the feed iex, whose bars of now are free, or a plan with the consolidated tape"
            return AccessRefused(f"Alpaca's plan does not include these bars ({said})", remedy)
        remedy = "Check ALPACA_API_KEY and ALPACA_SECRET_KEY, and what the plan includes"
        return AccessRefused(f"Alpaca refuses the key (HTTP {status})", remedy)
    if status >= 500:
        return ProviderDown(f"Alpaca answered with HTTP {status}")
    if status in (400, 422) and "symbol" in said.lower():
        words = set(re.split(r"[^A-Z.]+", said))
        named = [symbol for symbol in symbols if symbol in words]
        if named:
            return _InvalidSymbol.of(named[0])
    return SchemaChanged(f"Alpaca refuses the request (HTTP {status}: {said or 'no reason given'})")


def _message(text: str) -> str:
    """The message of an error's body, at most one line of it; a page instead of JSON says nothing."""
    try:
        body = json.loads(text)
    except ValueError:
        return ""
    said = str(body.get("message") or "") if isinstance(body, dict) else ""
    return next(iter(said.splitlines()), "")[:160]


def _asked_wait(headers: Any, now: datetime) -> float | None:
    """Seconds until the quota is fresh: Retry-After, or X-RateLimit-Reset (epoch seconds) by the server's own clock."""
    asked = retry_after(headers.get("Retry-After"), now)
    reset: str = headers.get("X-RateLimit-Reset", "")
    if asked is not None or not reset.isdigit():
        return asked
    there: datetime
    try:
        there = parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        there = now
    return max(0.0, float(reset) - there.timestamp())


def _frame_of(told: dict[str, list[dict[str, Any]]]) -> pl.DataFrame:
    """INTRADAY_SCHEMA of rows by symbol; `SchemaChanged` where they hold something else."""
    rows = [row for listed in told.values() for row in listed]
    missing = [name for name in ("t", *_COLUMNS.values()) if not all(name in row for row in rows)]
    if missing:
        raise SchemaChanged(f"Alpaca's bars lack {', '.join(missing)}")
    try:
        return pl.DataFrame(
            {
                "symbol": pl.Series([symbol for symbol, listed in told.items() for _ in listed], dtype=pl.String),
                "started_at": pl.Series([row["t"] for row in rows], dtype=pl.String).str.to_datetime(
                    "%+", time_unit="us", time_zone="UTC"
                ),
                **{
                    ours: pl.Series([row[theirs] for row in rows], dtype=pl.Float64)
                    for ours, theirs in _COLUMNS.items()
                },
            },
            schema=INTRADAY_SCHEMA,
        )
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise SchemaChanged("Alpaca's bars hold what is no number or no moment") from error


def _of_symbols(progress: Progress | None, total: int) -> Progress | None:
    """Progress in symbols, of progress in requests."""
    if progress is None:
        return None
    return lambda done, requests: progress(total if done == requests else done * SYMBOLS_A_REQUEST, total)


def _batched(symbols: list[str]) -> list[list[str]]:
    return [symbols[place : place + SYMBOLS_A_REQUEST] for place in range(0, len(symbols), SYMBOLS_A_REQUEST)]
