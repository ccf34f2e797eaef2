"""News with sentiment from Alpha Vantage's NEWS_SENTIMENT, for all names at once.

The free plan allows 25 requests a day and 5 a minute. Several names in one request mean articles that mention *all* of
them, so asking by name would reach 25 names a day. Instead the whole feed of a window is read, a thousand articles at a
time, the latest first, and each article is told of those names among its `ticker_sentiment` that were asked for.

The key has to be in the URL, which HTTP libraries log: it is put there below the layer that logs. Refusals come with
status 200 and a text that repeats the key: no such text is quoted. The day's budget is a bucket of its own, which
production keeps in the database, so that a restart does not fill it; a request is never waited for longer than a
minute: what the budget does not allow fails as rate limited.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Unpack

from pydantic import SecretStr

from trading_pipeline.markets import Market
from trading_pipeline.providers.articles import article, news_frame, plain
from trading_pipeline.providers.base import CallMeter, Failure, Progress, Quota, RetryPolicy, Throttle
from trading_pipeline.providers.errors import (
    AccessRefused,
    NotFound,
    ProviderDown,
    ProviderError,
    RateLimited,
    SchemaChanged,
)
from trading_pipeline.providers.http import HttpProvider, Options, json_of, unusual
from trading_pipeline.providers.reading import key_of
from trading_pipeline.providers.reference import ReferenceBatch
from trading_pipeline.providers.throttle import TokenBucket

if TYPE_CHECKING:
    import httpx

BASE_URL = "https://www.alphavantage.co"
QUOTA = Quota(rate_per_second=5 / 60, burst=1.0, concurrency=1)
# A bucket lets through its burst and, in the day after, what flows in: together never more than 25 in any 24 hours.
DAILY = Quota(rate_per_second=13 / 86_400, burst=12.0, concurrency=1)
POLICY = RetryPolicy(attempts=2, first_wait=5.0, longest_wait=60.0, breaker=1)
PAGE = 1000
MOST_PAGES = 6
"""Requests a batch makes at most: a quarter of a day's budget, some days of articles."""

_STAMP = "%Y%m%dT%H%M"
_MINUTE_UP = timedelta(seconds=59)
_USED_UP = ("rate limit", "call frequency", "requests per", "per day", "per minute", "spreading out", "higher volume")
_KEY_REFUSED = ("apikey", "api key", "premium")


class AlphaVantage(HttpProvider):
    """Alpha Vantage's news of US names with a score per name.

    throttle: the bucket of the minute; daily: that of the day.
    """

    name = "alpha_vantage"
    usual_quota = QUOTA
    usual_policy = POLICY
    usual_timeout = 30.0

    def __init__(
        self, key: SecretStr, *, daily: Throttle | None = None, base_url: str = BASE_URL, **options: Unpack[Options]
    ) -> None:
        super().__init__(**options)
        self._key = key
        self._daily = daily or TokenBucket(DAILY.rate_per_second, DAILY.burst)
        self._base_url = base_url.rstrip("/")

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

        The latest are read first; where the budget or the pages of a batch end before `since` is reached, what was read
        is kept and no symbol counts as answered. Where nothing could be read, every symbol fails. Names outside the US
        are not found.
        """
        if market.name != "us":
            missing = [
                Failure(each, NotFound(f"Alpha Vantage tells no news of {each}: not a US name")) for each in symbols
            ]
            return ReferenceBatch(news_frame([], since, until), missing)
        meter = CallMeter(self._throttle)
        rows, error, whole = self._read(symbols, since, until, meter, now, progress)
        frame = news_frame(rows, since, until)
        if error is not None and not rows:
            return ReferenceBatch(frame, [Failure(symbol, error) for symbol in symbols], meter.calls)
        return ReferenceBatch(frame, [], meter.calls, tuple(symbols) if whole else ())

    def _read(
        self,
        symbols: Sequence[str],
        since: datetime,
        until: datetime,
        meter: CallMeter,
        now: datetime,
        progress: Progress | None,
    ) -> tuple[list[dict[str, Any]], ProviderError | None, bool]:
        """(rows, what ended the reading early, whether `since` was reached)."""
        wanted = {key_of(symbol): symbol for symbol in symbols}
        rows: list[dict[str, Any]] = []
        to = until
        with self._client() as client:
            for page in range(MOST_PAGES):
                (told,) = self._ask_each(
                    [(since, to)],
                    lambda _: "the news feed",
                    lambda window: self._page(client, window, wanted, meter, now),
                )
                if isinstance(told, ProviderError):
                    return rows, told, False
                if progress is not None:
                    progress(page + 1, MOST_PAGES)
                rows += [row for _, of_article in told for row in of_article]
                oldest = min((moment for moment, _ in told), default=since)
                if len(told) < PAGE or oldest <= since:
                    return rows, None, True
                # Windows are whole minutes, both ends included: the next one ends in the minute this one began in.
                earliest = oldest.replace(second=0)
                to = earliest if earliest < to else earliest - timedelta(minutes=1)
        return rows, None, False

    def _client(self) -> httpx.Client:
        import httpx

        key = self._key

        class Signed(httpx.HTTPTransport):
            """Adds the key to the address below the layer that logs addresses."""

            def handle_request(self, request: httpx.Request) -> httpx.Response:
                signed = httpx.Request(
                    request.method,
                    request.url.copy_merge_params({"apikey": key.get_secret_value()}),
                    headers=request.headers,
                    extensions=request.extensions,
                )
                return super().handle_request(signed)

        return httpx.Client(base_url=self._base_url, timeout=self._timeout, transport=Signed())

    def _page(
        self,
        client: httpx.Client,
        window: tuple[datetime, datetime],
        wanted: dict[str, str],
        meter: CallMeter,
        now: datetime,
    ) -> list[tuple[datetime, list[dict[str, Any]]]]:
        """Each article of a window: when it was published, and its rows of the wanted names."""
        import httpx

        self._spend()
        meter.admit()
        since, to = (moment.astimezone(UTC).strftime(_STAMP) for moment in (window[0], window[1] + _MINUTE_UP))
        asked = {"function": "NEWS_SENTIMENT", "time_from": since, "time_to": to, "sort": "LATEST", "limit": f"{PAGE}"}
        try:
            response = client.get("/query", params=asked)
        except httpx.TransportError as error:
            raise ProviderDown(f"Alpha Vantage could not be reached ({type(error).__name__})") from error
        moments = [(_moment(item), item) for item in _feed(response)]
        return [(moment, _rows(item, moment, wanted, now)) for moment, item in moments]

    def _spend(self) -> None:
        """One request of the day's budget; `RateLimited` where there is none within the longest wait."""
        reserve = getattr(self._daily, "reserve", None)
        if reserve is None:
            self._daily.acquire()
            return
        wait = reserve(1.0)
        if wait > self._policy.longest_wait:
            reserve(-1.0)
            raise RateLimited("Alpha Vantage's requests of the day are used up", retry_after=float(math.ceil(wait)))
        if wait > 0:
            self._policy.sleep(wait)


def _feed(response: httpx.Response) -> list[dict[str, Any]]:
    status = response.status_code
    if status == 429:
        raise RateLimited("Alpha Vantage refuses the news feed: too many requests")
    if status in (401, 403):
        raise _refused()
    if status != 200:
        raise unusual("Alpha Vantage answered", status)
    body = json_of(response.content, "Alpha Vantage answered")
    if not isinstance(body, dict):
        raise SchemaChanged("Alpha Vantage answered with something else than a feed")
    said = " ".join(str(body[name]) for name in ("Note", "Information", "Error Message") if name in body).lower()
    if any(words in said for words in _USED_UP):
        wait = 60.0 if "per day" not in said else 3600.0
        raise RateLimited("Alpha Vantage refuses the news feed: the plan's requests are used up", retry_after=wait)
    if any(words in said for words in _KEY_REFUSED):
        raise _refused()
    if "no articles found" in said:
        return []
    feed = body.get("feed")
    if not isinstance(feed, list) or not all(isinstance(item, dict) for item in feed):
        raise SchemaChanged("Alpha Vantage answered without a feed")
    return feed


def _refused() -> AccessRefused:
    return AccessRefused(
        "Alpha Vantage refuses the key", "Check ALPHA_VANTAGE_API_KEY and whether its plan includes NEWS_SENTIMENT"
    )


def _moment(item: dict[str, Any]) -> datetime:
    try:
        return datetime.strptime(item["time_published"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except (KeyError, TypeError, ValueError):
        raise SchemaChanged("An article of Alpha Vantage's has no time_published like 20250507T133000") from None


def _rows(item: dict[str, Any], moment: datetime, wanted: dict[str, str], now: datetime) -> list[dict[str, Any]]:
    """A row for each wanted name the article is about."""
    title = plain(item.get("title"))
    told = item.get("ticker_sentiment")
    if title is None or not isinstance(told, list):
        raise SchemaChanged("An article of Alpha Vantage's lacks its title or its ticker_sentiment")
    rows = []
    for about in told:
        symbol = wanted.get(key_of(str(about.get("ticker"))))
        if symbol is None:
            continue
        try:
            relevance, score = float(about["relevance_score"]), float(about["ticker_sentiment_score"])
        except (KeyError, TypeError, ValueError):
            raise SchemaChanged(f"Alpha Vantage's sentiment of {symbol} holds no numbers") from None
        rows.append(
            article(
                symbol,
                title=title,
                published_at=moment,
                url=item.get("url"),
                publisher=plain(item.get("source")),
                summary=plain(item.get("summary")),
                relevance=min(1.0, max(0.0, relevance)),
                sentiment=min(1.0, max(-1.0, score)),
                now=now,
            )
        )
    return rows
