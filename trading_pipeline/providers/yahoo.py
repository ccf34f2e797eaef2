"""Daily bars from Yahoo Finance through the yfinance client, with the client's traps handled one by one.

What belongs here: everything that is Yahoo's or yfinance's. What does not: undoing splits (on receipt), deciding which
bar is still forming (the caller knows the clock), repairing prices (quality rules judge what was really said).

The traps of yfinance 1.7.0, and what is done about each:

- `download()` swallows every error, 429 included: `Ticker.history` with `hide_exceptions=False` is used instead.
- An identical request for a window in the past is answered from a process-wide cache: it is cleared before each fetch.
- A first request for a ticker makes an extra call for its time zone, used only to turn dates into seconds. The window
  asked for is two days wider instead and cut by the exchange's own time zone, which comes with the answer.
- Any status of 400 and above is tried again at once with other cookies, up to seven requests for one throttled ticker:
  answers are judged as they arrive, and only 401 and 403, which other cookies can mend, are left to that.
- Errors are guessed at ("possibly delisted"): they are told from the status and the body here. A 404 that is not
  Yahoo's own JSON does not make a symbol unknown.
- An event whose ex-date has no bar is moved to the session before, same-day dividends are added up across currencies,
  and a null volume becomes 0: events and nulls are read from the answer itself.
- Rows of nulls are made up for events outside the bars: only sessions that Yahoo listed are kept.
- One session object is shared by the whole process, and so are its settings: one batch runs at a time.
- SQLite caches are written below the home folder: they are moved to a temporary folder of this process.
- Symbols are put into the URL unquoted, and what looks like an ISIN is searched for on the web: neither is let in.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.providers.base import (
    ACTIONS_SCHEMA,
    BARS_SCHEMA,
    CallMeter,
    DailyBarsBatch,
    Progress,
    Quota,
    RetryPolicy,
    SymbolHistory,
    SymbolRequest,
    Throttle,
    fetch_each,
    no_bars,
    retry_after,
)
from trading_pipeline.providers.errors import NotFound, ProviderDown, ProviderError, RateLimited, SchemaChanged
from trading_pipeline.providers.throttle import TokenBucket

if TYPE_CHECKING:
    import pandas as pd

# Yahoo publishes no limit. Two requests a second take four minutes for 500 tickers, once a day; four at a time hide the
# round trips (about half a second each) without looking like a burst.
QUOTA = Quota(rate_per_second=2.0, burst=5.0, concurrency=4)
NO_CURRENCY = "XXX"

_SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9.^=&_-]{0,31}", re.IGNORECASE)
_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]", re.IGNORECASE)
_QUERY = re.compile(r"\?\S+")
_CHART_PATH = "/v8/finance/chart/"
_COOKIE_HOSTS = {"fc.yahoo.com", "guce.yahoo.com"}
_REFUSALS = (401, 403)
_ONE_BATCH = threading.Lock()
_COLUMNS = {
    "open": "Open",
    "high": "High",
    "low": "Low",
    "close": "Close",
    "adj_close": "Adj Close",
    "volume": "Volume",
}
_EVENT_KINDS = {"dividends": "dividend", "splits": "split", "capitalGains": "capital_gain"}


class Yahoo:
    """Yahoo Finance: every market, prices and volumes divided by all splits known to date.

    session: a curl_cffi or requests session (or a subclass); its `request` is metered from then on. Default: yfinance's
        own, which looks like a browser.
    timeout: seconds a request may take.
    """

    name = "yahoo"
    lag = timedelta(minutes=90)

    def __init__(
        self,
        *,
        throttle: Throttle | None = None,
        session: Any = None,
        quota: Quota = QUOTA,
        policy: RetryPolicy | None = None,
        timeout: float = 20.0,
    ) -> None:
        self.quota = quota
        self._throttle = throttle or TokenBucket(quota.rate_per_second, quota.burst)
        self._policy = policy or RetryPolicy()
        self._timeout = timeout
        self._session = session
        self._wire: _Wire | None = None

    def covers(self, symbol: str) -> bool:
        """Whether Yahoo could know such a symbol: `AAPL`, `BRK-B`, `BHP.AX`, `^VIX`, `BTC-USD`, `EURUSD=X`."""
        return bool(_SYMBOL.fullmatch(symbol)) and not _ISIN.fullmatch(symbol)

    def latest_session(self, market: Market, now: datetime) -> date | None:
        """None: as far as the calendar allows."""
        return None

    def daily_bars(
        self, requests: Sequence[SymbolRequest], *, now: datetime, progress: Progress | None = None
    ) -> DailyBarsBatch:
        """Bars and actions of every request, today's forming bar included. See `BarProvider.daily_bars`.

        `adj_close` is Yahoo's, adjusted for every dividend it knows of. `currency` is spelled as Yahoo does (`GBp`:
        pence), `XXX` where it names none; a dividend may be in a currency of its own.
        """
        meter = CallMeter(self._throttle)

        def fetch(request: SymbolRequest) -> SymbolHistory:
            return self._fetch(_Exchange(request, meter, now))

        with _ONE_BATCH, _configured_client():
            self._wire = self._wire or _Wire(self._session, self._timeout)
            self._wire.forget_cookies()
            return fetch_each(
                requests,
                fetch,
                concurrency=self.quota.concurrency,
                basis="split_adjusted",
                meter=meter,
                policy=self._policy,
                progress=progress,
            )

    def _fetch(self, exchange: _Exchange) -> SymbolHistory:
        request = exchange.request
        if not self.covers(request.symbol):
            raise NotFound(f"{request.symbol!r} is not spelled like a symbol of Yahoo's")
        assert self._wire is not None
        with self._wire.carrying(exchange), _typed_errors(request):
            return _history_of(_history(self._wire.session, request, self._timeout), exchange.result, request)


def _history(session: Any, request: SymbolRequest, timeout: float) -> pd.DataFrame:
    import yfinance
    from yfinance.data import YfData

    ticker = yfinance.Ticker(request.symbol, session=session)
    ticker._tz = "UTC"
    YfData().cache_get.cache_clear()
    frame: pd.DataFrame = ticker.history(
        start=request.first - timedelta(days=1),
        end=request.last + timedelta(days=2),
        interval="1d",
        auto_adjust=False,
        actions=True,
        keepna=True,
        timeout=timeout,
    )
    return frame


class _Exchange:
    """The requests made for one symbol: each is metered, and each answer of the chart endpoint is judged."""

    def __init__(self, request: SymbolRequest, meter: CallMeter, now: datetime) -> None:
        self.request = request
        self.meter = meter
        self.now = now
        self.result: dict[str, Any] = {}
        self._refused = False

    def judge(self, response: Any) -> None:
        """Keep a usable answer; raise what any other means. A refused client gets one try with other cookies."""
        symbol, status = self.request.symbol, response.status_code
        if status == 429:
            wait = retry_after(response.headers.get("Retry-After"), self.now)
            raise RateLimited(f"Yahoo refuses {symbol}: too many requests", retry_after=wait)
        if status >= 500:
            raise ProviderDown(f"Yahoo answered {symbol} with HTTP {status}")
        if status in _REFUSALS:
            if self._refused:
                raise ProviderDown(f"Yahoo refuses this client with HTTP {status}, with every kind of cookie")
            self._refused = True
            return
        try:
            body = json.loads(response.content)
        except ValueError:
            if status >= 400:
                raise SchemaChanged(f"Yahoo answered {symbol} with HTTP {status} and no JSON") from None
            raise ProviderDown(f"Yahoo answered {symbol} with a page or cut-off text instead of JSON") from None
        chart = body.get("chart") if isinstance(body, dict) else None
        if not isinstance(chart, dict):
            raise SchemaChanged(f"Yahoo answered {symbol} with HTTP {status} and no chart")
        if chart.get("error"):
            raise self._stated(chart["error"], status)
        results = chart.get("result")
        if not results or not results[0].get("timestamp"):
            raise no_bars(self.request)
        self.result = results[0]

    def _stated(self, error: dict[str, Any], status: int) -> ProviderError:
        symbol, said = self.request.symbol, f"{error.get('code')}: {error.get('description')}"
        if "Data doesn't exist" in said:
            return no_bars(self.request)
        if error.get("code") == "Not Found" or "No data found" in said:
            return NotFound(f"Yahoo knows no {symbol} ({said})")
        return SchemaChanged(f"Yahoo answered {symbol} with HTTP {status} ({said})")


class _Wire:
    """Stands between yfinance and its session: meters every request and judges every answer of the chart endpoint.

    Answers of the cookie host are remembered for one batch. Otherwise yfinance asks it before every ticker when it sets
    no cookie it can keep, and where a filter drops it, every ticker waits for the time-out.
    """

    def __init__(self, session: Any, timeout: float) -> None:
        from yfinance._http import new_session

        self.session = session if session is not None else new_session()
        self._plain = self.session.request
        self._timeout = timeout
        self._threads = threading.local()
        self._cookie_answers: dict[str, Any] = {}
        self.session.request = self._request

    @contextmanager
    def carrying(self, exchange: _Exchange) -> Iterator[None]:
        """Requests of this thread are `exchange`'s for as long as the block."""
        self._threads.exchange = exchange
        try:
            yield
        finally:
            self._threads.exchange = None

    def forget_cookies(self) -> None:
        """Ask the cookie host again."""
        self._cookie_answers.clear()

    def _request(self, method: str, url: str, **kwargs: Any) -> Any:
        exchange: _Exchange | None = getattr(self._threads, "exchange", None)
        if exchange is None:
            return self._plain(method=method, url=url, **kwargs)
        is_cookie = urlsplit(url).hostname in _COOKIE_HOSTS
        known = self._cookie_answers.get(url) if is_cookie else None
        if isinstance(known, OSError):
            raise known
        if known is not None:
            return known
        exchange.meter.admit()
        # Cookies and crumbs come with a time-out of 30 seconds of their own, once per strategy.
        kwargs["timeout"] = min(kwargs.get("timeout") or self._timeout, self._timeout)
        try:
            response = self._plain(method=method, url=url, **kwargs)
        except OSError as error:
            if is_cookie:
                self._cookie_answers[url] = error
            raise
        if is_cookie:
            self._cookie_answers[url] = response
        if _CHART_PATH in str(response.url):
            if response.status_code in _REFUSALS:
                self.forget_cookies()
            exchange.judge(response)
        return response


@cache
def _cache_folder() -> tempfile.TemporaryDirectory[str]:
    """The folder of yfinance's SQLite caches, one per process, removed with it."""
    return tempfile.TemporaryDirectory(prefix="yfinance-", ignore_cleanup_errors=True)


@contextmanager
def _configured_client() -> Iterator[None]:
    """yfinance with its caches in our folder, its errors raised, and its use of deprecated pandas calls kept quiet."""
    import yfinance

    if not _cache_folder.cache_info().currsize:
        yfinance.set_tz_cache_location(_cache_folder().name)
    hidden = yfinance.config.debug.hide_exceptions
    yfinance.config.debug.hide_exceptions = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        yfinance.config.debug.hide_exceptions = hidden


@contextmanager
def _typed_errors(request: SymbolRequest) -> Iterator[None]:
    """What yfinance, its HTTP library and its parsers raise, as errors of ours; a bug elsewhere stays what it is."""
    from curl_cffi import CurlError
    from yfinance.exceptions import YFDataException, YFException, YFRateLimitError

    try:
        yield
    except YFRateLimitError as error:
        raise RateLimited(f"Yahoo refuses {request.symbol}: too many requests") from error
    except (YFDataException, OSError, CurlError, json.JSONDecodeError) as error:
        raise ProviderDown(f"Yahoo could not be reached for {request.symbol} ({_named(error)})") from error
    except (YFException, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise SchemaChanged(f"Yahoo's answer for {request.symbol} cannot be read ({_named(error)})") from error


def _named(error: Exception) -> str:
    """Class and first line of an error, without the query of a URL, which carries the session's crumb."""
    first_line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {_QUERY.sub('', first_line)[:160]}"


def _history_of(frame: pd.DataFrame, result: dict[str, Any], request: SymbolRequest) -> SymbolHistory:
    meta = result["meta"]
    if meta.get("symbol", request.symbol).upper() != request.symbol.upper():
        raise NotFound(f"Yahoo answered {request.symbol} with the bars of {meta['symbol']}")
    currency = meta.get("currency") or NO_CURRENCY
    inside = pl.col("session").is_between(request.first, request.last)
    listed = _listed_sessions(result, meta["exchangeTimezoneName"])
    bars = (
        pl.DataFrame(
            {
                "session": frame.index.tz_localize(None).to_numpy().astype("datetime64[D]"),  # type: ignore[attr-defined]
                **{ours: frame[theirs].to_numpy(dtype="float64") for ours, theirs in _COLUMNS.items()},
            }
        )
        .join(listed, on="session", how="inner", maintain_order="left")
        .filter(inside)
        .with_columns(pl.when("volume_stated").then("volume").alias("volume"))
        .with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in _COLUMNS)
        .with_columns(symbol=pl.lit(request.symbol), currency=pl.lit(currency))
        .select(BARS_SCHEMA.names())
    )
    actions = _actions(result, request.symbol, currency, meta["exchangeTimezoneName"]).filter(inside)
    return SymbolHistory(bars, actions)


def _listed_sessions(result: dict[str, Any], timezone: str) -> pl.DataFrame:
    """session, volume_stated: the days Yahoo lists a bar for, the last word where it lists one twice."""
    stated = [volume is not None for volume in result["indicators"]["quote"][0]["volume"]]
    local = pl.col("moment").dt.convert_time_zone(timezone)
    # As yfinance does: around some daylight-saving changes midnight comes an hour or two early.
    early = (local.dt.minute() == 0) & local.dt.hour().is_in([22, 23])
    return (
        pl.DataFrame({"moment": _moments(result["timestamp"]), "volume_stated": stated})
        .sort("moment", maintain_order=True)
        .select(
            session=pl.when(early).then(local.dt.offset_by("2h")).otherwise(local).dt.date(),
            volume_stated="volume_stated",
        )
        .unique("session", keep="last")
    )


def _actions(result: dict[str, Any], symbol: str, currency: str, timezone: str) -> pl.DataFrame:
    events = [(kind, event) for key, kind in _EVENT_KINDS.items() for event in _listed(result, key)]
    local = _moments([event["date"] for _, event in events]).dt.convert_time_zone(timezone)
    return pl.DataFrame(
        {
            "symbol": pl.Series([symbol] * len(events), dtype=pl.String),
            "session": local.dt.date(),
            "kind": pl.Series([kind for kind, _ in events], dtype=pl.String),
            "value": pl.Series([_value(kind, event) for kind, event in events], dtype=pl.Float64),
            "currency": pl.Series([event.get("currency") or currency for _, event in events], dtype=pl.String),
        },
        schema=ACTIONS_SCHEMA,
    )


def _listed(result: dict[str, Any], key: str) -> list[dict[str, Any]]:
    return list(((result.get("events") or {}).get(key) or {}).values())


def _value(kind: str, event: dict[str, Any]) -> float:
    return float(event["numerator"] / event["denominator"] if kind == "split" else event["amount"])


def _moments(seconds: list[int]) -> pl.Series:
    return pl.from_epoch(pl.Series("moment", seconds, dtype=pl.Int64), "s").dt.replace_time_zone(str(UTC))
