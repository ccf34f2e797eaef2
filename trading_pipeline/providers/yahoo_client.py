"""The yfinance client as every adapter of Yahoo's uses it: metered, judged, and kept from its traps.

What belongs here: what the adapters are made of, the session between yfinance and the wire, what a status means, the
client's settings. What does not: any endpoint (`yahoo.py` asks for bars, `yahoo_fundamentals/` for facts).

The traps of yfinance 1.7.0 that concern every endpoint, and what is done about each:

- Any status of 400 and above is tried again at once with other cookies, up to seven requests for one throttled ticker:
  answers are judged as they arrive, and only 401 and 403, which other cookies can mend, are left to that.
- Errors are guessed at ("possibly delisted"): they are told from the status and the body here. A 404 that is not
  Yahoo's own JSON does not make a symbol unknown.
- One session object is shared by the whole process, and so are its settings: one batch runs at a time (`_ONE_BATCH`).
- SQLite caches are written below the home folder: they are moved to a temporary folder of this process.
- Symbols are put into the URL unquoted, and what looks like an ISIN is searched for on the web: neither is let in.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, Unpack
from urllib.parse import urlsplit

from trading_pipeline.providers.base import CallMeter, Quota
from trading_pipeline.providers.errors import NotFound, ProviderDown, RateLimited, SchemaChanged
from trading_pipeline.providers.http import HttpProvider, Options, too_many, unusual

# Yahoo publishes no limit. Two requests a second take four minutes for 500 tickers, once a day; four at a time hide the
# round trips (about half a second each) without looking like a burst.
QUOTA = Quota(rate_per_second=2.0, burst=5.0, concurrency=4)
NO_CURRENCY = "XXX"
_ONE_BATCH = threading.Lock()  # held for as long as a batch uses the client

_SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9.^=&_-]{0,31}", re.IGNORECASE)
_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]", re.IGNORECASE)
_QUERY = re.compile(r"\?\S+")
_COOKIE_HOSTS = {"fc.yahoo.com", "guce.yahoo.com"}
_REFUSALS = (401, 403)


class YahooAdapter(HttpProvider):
    """What an adapter of Yahoo's is made of; the quota is Yahoo's, which all of them share through one throttle.

    session: a curl_cffi or requests session (or a subclass); its `request` is metered from then on. Default: yfinance's
        own, which looks like a browser.
    """

    name = "yahoo"
    usual_quota = QUOTA

    def __init__(self, *, session: Any = None, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self._session = session
        self._wire: Wire | None = None

    def covers(self, symbol: str) -> bool:
        """Whether Yahoo could know such a symbol: `AAPL`, `BRK-B`, `BHP.AX`, `^VIX`, `BTC-USD`, `EURUSD=X`."""
        return _is_symbol(symbol)

    @contextmanager
    def _batch(self) -> Iterator[Wire]:
        """The wire, for as long as no other batch uses the client."""
        with _ONE_BATCH, _configured_client():
            self._wire = self._wire or Wire(self._session, self._timeout)
            self._wire.forget_cookies()
            yield self._wire


def _is_symbol(symbol: str) -> bool:
    return bool(_SYMBOL.fullmatch(symbol)) and not _ISIN.fullmatch(symbol)


class Exchange(ABC):
    """The requests made for one symbol: each is metered, and each answer of the endpoints in `paths` is judged.

    A subclass says which endpoints it asks, and what their answers mean. `NotFound` for what is no symbol of Yahoo's.
    """

    paths: ClassVar[tuple[str, ...]]

    def __init__(self, symbol: str, meter: CallMeter, now: datetime) -> None:
        if not _is_symbol(symbol):
            raise NotFound(f"{symbol!r} is not spelled like a symbol of Yahoo's")
        self.symbol = symbol
        self.meter = meter
        self.now = now
        self._refused = False

    @abstractmethod
    def read(self, body: Any, status: int) -> None:
        """Keep what a JSON answer says; raise what it means otherwise."""

    def judge(self, response: Any) -> None:
        """Read a usable answer; raise what any other means. A refused client gets one try with other cookies."""
        symbol, status = self.symbol, response.status_code
        if status == 429:
            raise too_many(f"Yahoo refuses {symbol}: too many requests", response.headers, self.now)
        if status >= 500:
            raise unusual(f"Yahoo answered {symbol}", status)
        if status in _REFUSALS:
            if self._refused:
                raise ProviderDown(f"Yahoo refuses this client with HTTP {status}, with every kind of cookie")
            self._refused = True
            return
        try:
            # NaN and Infinity are no JSON, but have been sent: kept as the words they are.
            body = json.loads(response.content, parse_constant=str)
        except ValueError:
            if status >= 400:
                raise SchemaChanged(f"Yahoo answered {symbol} with HTTP {status} and no JSON") from None
            raise ProviderDown(f"Yahoo answered {symbol} with a page or cut-off text instead of JSON") from None
        self.read(body, status)


class Wire:
    """Stands between yfinance and its session: meters every request and judges every answer of its endpoints.

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
    def carrying(self, exchange: Exchange) -> Iterator[None]:
        """Requests of this thread are `exchange`'s for as long as the block, and its failures are errors of ours."""
        self._threads.exchange = exchange
        try:
            with _typed_errors(exchange.symbol):
                yield
        finally:
            self._threads.exchange = None

    def forget_cookies(self) -> None:
        """Ask the cookie host again."""
        self._cookie_answers.clear()

    def _request(self, method: str, url: str, **kwargs: Any) -> Any:
        exchange: Exchange | None = getattr(self._threads, "exchange", None)
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
        if any(path in str(response.url) for path in exchange.paths):
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
def _typed_errors(symbol: str) -> Iterator[None]:
    """What yfinance, its HTTP library and its parsers raise, as errors of ours; a bug elsewhere stays what it is."""
    from curl_cffi import CurlError
    from yfinance.exceptions import YFDataException, YFException, YFRateLimitError

    try:
        yield
    except YFRateLimitError as error:
        raise RateLimited(f"Yahoo refuses {symbol}: too many requests") from error
    except (YFDataException, OSError, CurlError, json.JSONDecodeError) as error:
        raise ProviderDown(f"Yahoo could not be reached for {symbol} ({_named(error)})") from error
    except (YFException, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise SchemaChanged(f"Yahoo's answer for {symbol} cannot be read ({_named(error)})") from error


def _named(error: Exception) -> str:
    """Class and first line of an error, without the query of a URL, which carries the session's crumb."""
    first_line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {_QUERY.sub('', first_line)[:160]}"
