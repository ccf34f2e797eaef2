"""News from RSS and Atom feeds: one feed a name (`{ticker}` in its address), or one feed for all, matched to names.

An article of a feed for all belongs to a name only where the headline or summary says so beyond doubt: a cashtag
(`$AAPL`), an exchange and ticker (`NASDAQ: AAPL`), a ticker in brackets, or the company's name, where it is known and
is no everyday word. A bare ticker proves nothing: ALL, IT and NOW are tickers.

A feed that cannot be read, or whose articles have no headlines or dates, is a failure, never an absence of news. A date
without a time zone is read as UTC, and the article counts as available when it was received: it cannot be known to be
older. Addresses may hold keys: failures name host and path alone.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import struct_time
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import quote, urljoin, urlsplit

from pydantic import SecretStr

from trading_pipeline.markets import Market
from trading_pipeline.providers.articles import article, news_frame, plain
from trading_pipeline.providers.base import CallMeter, Failure, Progress, Quota, RetryPolicy, shifted
from trading_pipeline.providers.errors import (
    AccessRefused,
    NotFound,
    ProviderDown,
    ProviderError,
    SchemaChanged,
)
from trading_pipeline.providers.http import HttpProvider, Options, too_many, unusual
from trading_pipeline.providers.reading import key_of
from trading_pipeline.providers.reference import ReferenceBatch

if TYPE_CHECKING:
    import httpx

# Publishers name no limit; two a second read 500 names' feeds in four minutes, and a feed for all in one request.
QUOTA = Quota(rate_per_second=2.0, burst=5.0, concurrency=2)
POLICY = RetryPolicy(attempts=3, first_wait=1.0, breaker=10)
TICKER = "{ticker}"

MOST_REDIRECTS = 5

# The zones feedparser knows; it takes a date with any other for UTC.
_ZONE = re.compile(r"(?:\bUTC?|\bGMT|\b[ECMP][SD]T|Z|[+-]\d{2}:?\d{2})\s*$")
_TICKER_WORD = r"([A-Z][A-Z0-9]{0,4}(?:[.-][A-Z])?)"
_CASHTAG = re.compile(rf"\$\b{_TICKER_WORD}\b")
_IN_BRACKETS = re.compile(rf"\({_TICKER_WORD}\)")
_LISTED = {
    "us": re.compile(rf"\b(?:NYSE(?: ?American| ?Arca)?|NASDAQ(?:GS|GM|CM)?|Nasdaq|AMEX|Cboe)\s*:\s*{_TICKER_WORD}\b"),
    "asx": re.compile(rf"\bASX\s*:\s*{_TICKER_WORD}\b"),
}
_ACRONYMS = """
    AI AR AUM CAGR CEO CFO COO CPI CRM CTO DC EPS ESG ETF EU EV FDA FOMC GAAP GDP IPO IRS IT KPI LNG ML MD NAV NYC OPEC
    OTC PC PE PPI PR QE REIT ROE ROI SEC SPAC TV UK UN US USA VP VR YOY
"""
"""What stands in brackets without being a ticker, though some of it is one."""

_LEGAL_WORDS = (
    r"(?:inc|incorporated|corp|corporation|co|company|companies|ltd|limited|plc|llc|lp|sa|nv|ag|se|group|holdings?)"
)
_LEGAL = re.compile(rf"(?:[,\s]+(?:the|class [a-c]|common stock|{_LEGAL_WORDS})\b\.?|\s*\(.*\))+$", re.IGNORECASE)
_EVERYDAY = """
    ball best block booking box carnival citizens constellation corning crown discover dollar dominion edison entity
    first fox gap general global host hub international key lamb lucid match monster national news on oracle paramount
    pool principal progressive public regions republic royal sealed select service shell simply snap southern splash
    square stride target toast trade travelers twist under unity universal united upstart visa vital waters western zoom
"""
"""Names that are words: they count only with their legal form (`Target Corp`)."""

_SHORTEST_NAME = 4


class Rss(HttpProvider):
    """Feeds by address.

    feeds: addresses, `{ticker}` standing for each name's symbol. names: company name by symbol, for feeds for all;
    without it they are matched by ticker alone.
    """

    name = "rss"
    usual_quota = QUOTA
    usual_policy = POLICY

    def __init__(
        self, feeds: Sequence[str], *, names: Mapping[str, str] | None = None, **options: Unpack[Options]
    ) -> None:
        super().__init__(**options)
        self.names = dict(names or {})
        self._feeds = tuple(SecretStr(feed) for feed in feeds)

    def news(
        self,
        market: Market,
        symbols: Sequence[str],
        since: datetime,
        until: datetime,
        *,
        now: datetime,
        progress: Progress | None = None,
    ) -> ReferenceBatch:
        """Articles about `symbols` published after `since` and not after `until`. See `NewsProvider`.

        A symbol fails where one of its own feeds does. A feed for all that fails is a failure under its own address,
        and of every symbol where nothing else was read for it.
        """
        meter = CallMeter(self._throttle)
        match = _Matcher(market, symbols, self.names)
        total = sum(len(symbols) if TICKER in feed.get_secret_value() else 1 for feed in self._feeds)
        rows: list[dict[str, Any]] = []
        failures: dict[str, ProviderError] = {}
        read: set[str] = set()
        done = 0
        for feed in self._feeds:
            address = feed.get_secret_value()
            own = TICKER in address
            asked = (
                [(symbol, address.replace(TICKER, quote(symbol, safe=""))) for symbol in symbols]
                if own
                else [(_place(address), address)]
            )
            answers = self._each(asked, meter, now, shifted(progress, done, total))
            done += len(asked)
            for (name, _), answer in zip(asked, answers, strict=True):
                if isinstance(answer, ProviderError):
                    failures.setdefault(name, answer)
                    continue
                read.update([name] if own else symbols)
                rows += [
                    entry.row(symbol, now) for entry in answer for symbol in ([name] if own else match.symbols(entry))
                ]
        if failures and not read:
            error = next(iter(failures.values()))
            failures |= {symbol: error for symbol in symbols if symbol not in failures}
        return ReferenceBatch(
            news_frame(rows, since, until),
            [Failure(name, error) for name, error in failures.items()],
            meter.calls,
            tuple(symbol for symbol in symbols if symbol in read and symbol not in failures),
        )

    def _each(
        self, asked: Sequence[tuple[str, str]], meter: CallMeter, now: datetime, progress: Progress | None
    ) -> list[list[_Entry] | ProviderError]:
        """The entries of each (name, address) of one feed; a feed that refuses does not cost the others theirs."""
        import httpx

        # A transport and no client: clients log whole addresses.
        with httpx.HTTPTransport() as wire:
            return self._ask_each(
                asked,
                lambda request: request[0],
                lambda request: _entries(self._got(wire, request[1], meter, now), _place(request[1])),
                progress,
            )

    def _got(self, wire: httpx.HTTPTransport, address: str, meter: CallMeter, now: datetime) -> bytes:
        """The body of a feed, redirects followed."""
        import httpx

        place = _place(address)
        headers = {"Accept": "application/rss+xml, application/atom+xml, application/xml, text/xml, */*;q=0.5"}
        timeout = {"timeout": httpx.Timeout(self._timeout).as_dict()}
        for _ in range(MOST_REDIRECTS + 1):
            meter.admit()
            try:
                response = wire.handle_request(httpx.Request("GET", address, headers=headers, extensions=timeout))
                try:
                    content = response.read()
                finally:
                    response.close()
            except (httpx.TransportError, httpx.DecodingError) as error:
                raise ProviderDown(f"The feed {place} could not be reached ({type(error).__name__})") from None
            except (httpx.InvalidURL, httpx.UnsupportedProtocol):
                raise NotFound(f"The feed {place} has no usable address", "Mend it in NEWS_FEEDS") from None
            if not response.is_redirect:
                _judge(response, place, now)
                return content
            address = urljoin(address, response.headers.get("Location", ""))
        raise ProviderDown(f"The feed {place} redirects without end")


def _judge(response: httpx.Response, place: str, now: datetime) -> None:
    status = response.status_code
    if status == 429:
        raise too_many(f"The feed {place} refuses: too many requests", response.headers, now)
    if status in (401, 403):
        raise AccessRefused(f"The feed {place} refuses (HTTP {status})", "Check its address in NEWS_FEEDS")
    if status in (404, 410):
        raise NotFound(f"There is no feed {place} (HTTP {status})", "Check its address in NEWS_FEEDS")
    if status != 200:
        raise unusual(f"The feed {place} answered", status)


@dataclass(frozen=True)
class _Entry:
    """An article of a feed. zoned: its date names a time zone."""

    title: str
    summary: str | None
    published_at: datetime
    zoned: bool
    url: str | None
    publisher: str | None

    def row(self, symbol: str, now: datetime) -> dict[str, Any]:
        """The row of `NEWS_SCHEMA` for one name."""
        return article(
            symbol,
            title=self.title,
            published_at=self.published_at,
            url=self.url,
            publisher=self.publisher,
            summary=self.summary,
            available_at=None if self.zoned else now,
            now=now,
        )


def _entries(content: bytes, place: str) -> list[_Entry]:
    """The articles of a feed; `SchemaChanged` where it is none, or where most articles lack a headline or a date."""
    import feedparser

    feed = feedparser.parse(content)
    if not feed.get("version") or (feed.bozo and not feed.entries):
        raise SchemaChanged(f"{place} is no feed that can be read")
    told = [_entry(entry, feed.feed) for entry in feed.entries]
    usable = [entry for entry in told if entry is not None]
    if len(usable) * 2 < len(told):
        raise SchemaChanged(f"Most articles of {place} have no headline or no date")
    return usable


def _entry(entry: Any, feed: Any) -> _Entry | None:
    # The plain dict: feedparser's own look-up warns while it lends one date to another.
    name = next((name for name in ("published", "updated", "created") if dict.get(entry, name)), None)
    stamp = str(dict.get(entry, name, ""))
    published, title = _moment(stamp, dict.get(entry, f"{name}_parsed")), plain(entry.get("title"))
    if published is None or title is None:
        return None
    summary = plain(entry.get("summary"))
    return _Entry(
        title=title,
        # Some feeds repeat the headline as a link where the summary belongs.
        summary=None if summary is None or summary.startswith(title.rpartition(" - ")[0] or title) else summary,
        published_at=published,
        zoned=bool(_ZONE.search(stamp)),
        url=entry.get("link"),
        publisher=plain((entry.get("source") or {}).get("title")) or plain(feed.get("title")),
    )


def _moment(stamp: str, parsed: struct_time | None) -> datetime | None:
    """The moment a date of a feed means, UTC where it names no zone; None where it is none.

    parsed: what feedparser made of it; it makes nothing of the commonest format without a zone.
    """
    if parsed is not None:
        return datetime.fromtimestamp(timegm(parsed), UTC)
    try:
        return parsedate_to_datetime(stamp).replace(tzinfo=UTC)
    except (TypeError, ValueError):
        return None


class _Matcher:
    """Which of the asked names an article of a feed for all is about."""

    def __init__(self, market: Market, symbols: Sequence[str], names: Mapping[str, str]) -> None:
        self._by_ticker = {key_of(symbol.upper().removesuffix(market.ticker_suffix)): symbol for symbol in symbols}
        self._listed = _LISTED.get(market.name)
        self._marks_are_ours = not market.ticker_suffix
        # Two classes of shares have one name.
        patterns: dict[str, list[str]] = {}
        for symbol in symbols:
            pattern = _name_pattern(names.get(symbol, ""))
            if pattern is not None:
                patterns.setdefault(pattern, []).append(symbol)
        ordered = sorted(patterns, key=lambda pattern: (-len(pattern), pattern))
        self._of_group = {f"n{number}": patterns[pattern] for number, pattern in enumerate(ordered)}
        joined = "|".join(f"(?P<n{number}>{pattern})" for number, pattern in enumerate(ordered))
        self._names = re.compile(rf"(?<!\w)(?:{joined})(?!\w)") if ordered else None

    def symbols(self, entry: _Entry) -> list[str]:
        """Sorted, each once."""
        text = f"{entry.title} {entry.summary or ''}"
        tickers: set[str] = set()
        if self._marks_are_ours:
            tickers.update(_CASHTAG.findall(text))
            tickers.update(word for word in _IN_BRACKETS.findall(text) if word not in _ACRONYMS.split())
        if self._listed is not None:
            tickers.update(self._listed.findall(text))
        found = {self._by_ticker[plain_] for word in tickers if (plain_ := key_of(word)) in self._by_ticker}
        if self._names is not None:
            for hit in self._names.finditer(entry.title):
                found.update(self._of_group[str(hit.lastgroup)])
        return sorted(found)


def _name_pattern(name: str) -> str | None:
    """The company's name as headlines spell it; with its legal form where it is an everyday word or short."""
    short = _LEGAL.sub("", name.strip()).strip(" ,.")
    if not short:
        return None
    pattern = r"\s+".join(re.escape(word) for word in short.split())
    if short.lower() in _EVERYDAY.split() or len(short) < _SHORTEST_NAME:
        return rf"{pattern}[,\s]+(?i:{_LEGAL_WORDS})\b"
    return pattern


def _place(address: str) -> str:
    """Host and path of an address: what may be shown of it."""
    try:
        parts = urlsplit(address)
        return f"{parts.hostname or '?'}{parts.path}"
    except ValueError:
        return "?"
