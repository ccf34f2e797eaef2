"""Report dates and news from Yahoo Finance through the yfinance client: the third voice on reports, the first on news.

What belongs here: the endpoints `calendarEvents` (quoteSummary) and the news stream. What does not: the client's common
traps (`yahoo_client.py`). The traps of these two in yfinance 1.7.0, and what is done about each:

- `Ticker.calendar` turns moments into dates of the machine's own time zone and drops whether a date is an estimate:
  the answer itself is read.
- An estimated date comes as the two ends of a range, at a made-up hour: the first end is taken, its timing unknown.
- A date without an hour comes as midnight UTC, which is the evening before in New York: it is read as a date.
- A fund or an index has no events and answers 404: it has none, which is no failure.
- News are the latest few whatever is asked; older ones are no longer told. Advertisements are among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from typing import Any, TypeVar

from trading_pipeline.markets import Market
from trading_pipeline.providers.articles import article, news_frame, plain
from trading_pipeline.providers.base import CallMeter, Progress
from trading_pipeline.providers.errors import NotFound, ProviderError, SchemaChanged
from trading_pipeline.providers.reference import ReferenceBatch, batch_of
from trading_pipeline.providers.report_rows import earnings_frame, month_of, number
from trading_pipeline.providers.yahoo_client import Exchange, YahooAdapter
from trading_pipeline.sessions import calendar

NEWS_COUNT = 50
"""Articles asked for per name: more than a busy name has between two runs a day."""

_Exchange = TypeVar("_Exchange", bound=Exchange)


class YahooEvents(YahooAdapter):
    """Yahoo's calendar events and news of any name it quotes."""

    def earnings(
        self,
        market: Market,
        symbols: Sequence[str],
        first: date,
        last: date,
        *,
        now: datetime,
        progress: Progress | None = None,
    ) -> ReferenceBatch:
        """The next report of `symbols` where it is dated from `first` to `last`. See `EarningsProvider`.

        Results are not told. `confirmed` is false where Yahoo calls the date an estimate.
        """
        meter = CallMeter(self._throttle)
        answers = self._each(symbols, lambda symbol: _Events(symbol, meter, now), _ask_for_events, progress)
        rows = [
            row
            for answer in answers
            if isinstance(answer, _Events)
            for row in answer.reports(market)
            if first <= row["report_date"] <= last
        ]
        return batch_of(symbols, answers, earnings_frame(rows, market, now), meter.calls)

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
        """The latest articles about `symbols`, those after `since` and not after `until`. See `NewsProvider`."""
        meter = CallMeter(self._throttle)
        answers = self._each(symbols, lambda symbol: _Stream(symbol, meter, now), _ask_for_news, progress)
        rows = [row for answer in answers if isinstance(answer, _Stream) for row in answer.articles or []]
        return batch_of(symbols, answers, news_frame(rows, since, until), meter.calls)

    def _each(
        self,
        symbols: Sequence[str],
        exchange_of: Callable[[str], _Exchange],
        ask: Callable[[Any, _Exchange], object],
        progress: Progress | None,
    ) -> list[_Exchange | ProviderError]:
        with self._batch() as wire:

            def one(symbol: str) -> _Exchange:
                exchange = exchange_of(symbol)
                with wire.carrying(exchange):
                    ask(wire.session, exchange)
                return exchange

            return self._ask_each(symbols, str, one, progress)


class _NothingTold(Exception):
    """The answer is read and says there is nothing: yfinance need not look at it."""


def _ask_for_events(session: Any, exchange: _Events) -> None:
    import yfinance

    with suppress(_NothingTold):
        yfinance.Ticker(exchange.symbol, session=session).get_calendar()
    if exchange.events is None:
        raise SchemaChanged(f"Yahoo sent yfinance elsewhere than to the events of {exchange.symbol}")


def _ask_for_news(session: Any, exchange: _Stream) -> None:
    import yfinance

    yfinance.Ticker(exchange.symbol, session=session).get_news(count=NEWS_COUNT)
    if exchange.articles is None:
        raise SchemaChanged(f"Yahoo sent yfinance elsewhere than to the news of {exchange.symbol}")


class _Events(Exchange):
    """One request of `calendarEvents`; `events` is its answer, empty where the name has none."""

    paths = ("/v10/finance/quoteSummary/",)
    events: dict[str, Any] | None = None

    def read(self, body: Any, status: int) -> None:
        """Keep the events; `NotFound` where Yahoo does not know the symbol."""
        self.events = {}
        summary = body.get("quoteSummary") if isinstance(body, dict) else None
        if not isinstance(summary, dict):
            raise SchemaChanged(f"Yahoo answered {self.symbol} with HTTP {status} and no quoteSummary")
        error = summary.get("error")
        if error:
            said = str(error.get("description"))
            if "No fundamentals data" in said:
                raise _NothingTold
            if error.get("code") == "Not Found":
                raise NotFound(f"Yahoo knows no {self.symbol} ({said})")
            raise SchemaChanged(f"Yahoo answered {self.symbol} with HTTP {status} ({said})")
        results = summary.get("result")
        events = results[0].get("calendarEvents") if results else None
        if not isinstance(events, dict):
            raise SchemaChanged(f"Yahoo's summary of {self.symbol} holds no calendarEvents")
        self.events = events

    def reports(self, market: Market) -> list[dict[str, Any]]:
        """The next report, if one is told: a row without its clock."""
        told = (self.events or {}).get("earnings") or {}
        moments = told.get("earningsDate") or []
        if not moments:
            return []
        estimated = bool(told.get("isEarningsDateEstimate", len(moments) > 1))
        moment = datetime.fromtimestamp(min(moments), UTC)
        dated_only = moment.time() == time(0)
        day = moment.date() if dated_only else calendar(market.exchange).local_date(moment)
        return [
            {
                "symbol": self.symbol,
                "report_date": day,
                "timing": "unknown" if estimated or dated_only else _timing(market, moment),
                "fiscal_period": month_of(day),
                "eps_estimate": number(told.get("earningsAverage")),
                "eps_actual": None,
                "revenue_estimate": number(told.get("revenueAverage")),
                "revenue_actual": None,
                "confirmed": not estimated if estimated or "isEarningsDateEstimate" in told else None,
            }
        ]


def _timing(market: Market, moment: datetime) -> str:
    """Where a moment lies in the exchange's day: bmo, dmh or amc; midnight is no hour at all."""
    exchange = calendar(market.exchange)
    local = moment.astimezone(exchange.timezone)
    day = local.date()
    if local.time() == time(0) or not exchange.is_session(day):
        return "unknown"
    if moment < exchange.open_at(day):
        return "bmo"
    return "amc" if moment >= exchange.close_at(day) else "dmh"


class _Stream(Exchange):
    """One request of the news stream; `articles` are rows of its answer."""

    paths = ("/xhr/ncp",)
    articles: list[dict[str, Any]] | None = None

    def read(self, body: Any, status: int) -> None:
        """Keep the articles; what has no headline or no time of publication is none."""
        data = body.get("data") if isinstance(body, dict) else None
        stream = (data.get("tickerStream") or {}).get("stream") if isinstance(data, dict) else None
        if not isinstance(stream, list):
            raise SchemaChanged(f"Yahoo answered {self.symbol} with HTTP {status} and no stream of news")
        listed = [item for item in stream if isinstance(item, dict) and not item.get("ad")]
        told = [self._row(item) for item in listed]
        self.articles = [row for row in told if row is not None]
        if listed and not self.articles:
            raise SchemaChanged(f"None of Yahoo's articles about {self.symbol} has a headline and a date")

    def _row(self, item: dict[str, Any]) -> dict[str, Any] | None:
        content = item.get("content") or {}
        title, stamp = plain(content.get("title")), content.get("pubDate") or content.get("displayTime")
        if title is None or not stamp:
            return None
        published = datetime.fromisoformat(stamp)
        link = content.get("canonicalUrl") or content.get("clickThroughUrl") or {}
        return article(
            self.symbol,
            title=title,
            published_at=published.astimezone(UTC) if published.tzinfo else published.replace(tzinfo=UTC),
            url=link.get("url"),
            publisher=plain((content.get("provider") or {}).get("displayName")),
            summary=plain(content.get("summary") or content.get("description")),
            now=self.now,
        )
