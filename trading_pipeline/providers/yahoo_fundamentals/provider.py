"""Who asks Yahoo for fundamentals: which endpoints, how many calls, and what their failures mean.

What belongs here: requests and failures. What does not: what the fields mean (`snapshot.py`, `statements.py`), the
client's session and settings (`yahoo_client.py`).

yfinance's own `Ticker.info` makes three calls and flattens the modules into one dictionary, in which the fields of one
overwrite those of another that share a name: `dividendYield` is a fraction in one and per cent in the other. Its
`funds_data` makes a call more. Here the client's transport (cookies, crumb, retries) carries one call for all modules,
each field known by its module. Calls per symbol: 1 for a snapshot, 2 for a share whose PEG ratio is no longer among the
modules (since 2024 it is only in the time series); 4 for statements (annual, quarterly, trailing, filings).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import polars as pl

from trading_pipeline.errors import LiveOnly
from trading_pipeline.markets import Market
from trading_pipeline.providers.base import CallMeter, Progress
from trading_pipeline.providers.errors import NotFound, ProviderDown, SchemaChanged
from trading_pipeline.providers.reference import FUNDAMENTALS_SCHEMA, STATEMENTS_SCHEMA, ReferenceBatch, batch_of
from trading_pipeline.providers.yahoo_client import Exchange, YahooAdapter
from trading_pipeline.providers.yahoo_fundamentals.snapshot import MODULES, snapshot_of
from trading_pipeline.providers.yahoo_fundamentals.statements import FREQUENCIES, filings_of, items, statements_of
from trading_pipeline.sessions import calendar

T = TypeVar("T")

_SUMMARY = "/v10/finance/quoteSummary/"
_SERIES = "/ws/fundamentals-timeseries/v1/finance/timeseries/"
_PEG = "trailingPegRatio"
_FIRST = datetime(2010, 1, 1, tzinfo=UTC)


class YahooFundamentals(YahooAdapter):
    """Yahoo's fundamentals of every market, as they are now, and its statements."""

    dated = False

    def fundamentals(
        self,
        market: Market,
        symbols: Sequence[str],
        sessions: Sequence[date],
        *,
        now: datetime,
        progress: Progress | None = None,
    ) -> ReferenceBatch:
        """A snapshot of each symbol as of `now`, told of the latest session that had begun.

        In the evening of the session it says what stood there at the close: it was available since the bars were final.

        `LiveOnly` where any other session is asked for. A symbol that Yahoo does not know is `NotFound`; one that it
        knows by its quote alone (a currency, a coin) is told with what there is.
        """
        live = _live_session(market, now)
        others = [day for day in sessions if day != live]
        if others:
            raise LiveOnly(
                f"Yahoo tells fundamentals as they are now, of {live}, not of {min(others)}",
                "Ask for that session alone; past ones can be brought as files (FUNDAMENTALS_FILES)",
            )
        if not sessions:
            return ReferenceBatch(pl.DataFrame(schema=FUNDAMENTALS_SCHEMA))

        def ask(symbol: str, get: _Get) -> pl.DataFrame:
            modules = get.summary(MODULES)
            peg = None if _states_peg(modules) else get.latest(_PEG, now)
            return snapshot_of(symbol, modules, peg, session=live, available_at=_available_at(market, live, now))

        return self._asked(symbols, ask, FUNDAMENTALS_SCHEMA, now, progress)

    def statements(
        self, market: Market, symbols: Sequence[str], *, now: datetime, progress: Progress | None = None
    ) -> ReferenceBatch:
        """Every item of every statement Yahoo holds, annual, quarterly and trailing; none where it holds none (a fund).

        See `statements_of` for when each one was available.
        """

        def ask(symbol: str, get: _Get) -> pl.DataFrame:
            series = [
                told for frequency in FREQUENCIES for told in get.series([frequency + item for item in items()], now)
            ]
            try:
                filings = filings_of(get.summary(("secFilings",)))
            except NotFound:
                filings = []
            return statements_of(symbol, series, filings, exchange=calendar(market.exchange), now=now)

        return self._asked(symbols, ask, STATEMENTS_SCHEMA, now, progress)

    def _asked(
        self,
        symbols: Sequence[str],
        ask: Callable[[str, _Get], pl.DataFrame],
        schema: pl.Schema,
        now: datetime,
        progress: Progress | None,
    ) -> ReferenceBatch:
        meter = CallMeter(self._throttle)
        wanted = list(dict.fromkeys(symbols))
        with self._batch() as wire:

            def one(symbol: str) -> pl.DataFrame:
                exchange = _Reading(symbol, meter, now)
                with wire.carrying(exchange):
                    return ask(symbol, _Get(wire.session, exchange, self._timeout))

            answers = self._ask_each(wanted, str, one, progress)
        told = [answer for answer in answers if isinstance(answer, pl.DataFrame)]
        return batch_of(wanted, answers, pl.concat([pl.DataFrame(schema=schema), *told]), meter.calls)


class _Reading(Exchange):
    """The requests for one symbol; `told` is what the latest one was answered."""

    paths = (_SUMMARY, _SERIES)

    def __init__(self, symbol: str, meter: CallMeter, now: datetime) -> None:
        super().__init__(symbol, meter, now)
        self.told: list[dict[str, Any]] | None = None

    def read(self, body: Any, status: int) -> None:
        """Keep the results of a quoteSummary or a time series; raise what any other body means."""
        told = None
        if isinstance(body, dict):
            told = next((body[key] for key in ("quoteSummary", "timeseries", "finance") if key in body), None)
        if not isinstance(told, dict):
            raise SchemaChanged(f"Yahoo answered {self.symbol} with HTTP {status} and no fundamentals")
        error = told.get("error")
        if error:
            said = f"{error.get('code')}: {error.get('description')}" if isinstance(error, dict) else str(error)
            if isinstance(error, dict) and error.get("code") == "Not Found":
                raise NotFound(f"Yahoo knows no fundamentals of {self.symbol} ({said})")
            raise SchemaChanged(f"Yahoo answered {self.symbol} with HTTP {status} ({said})")
        result = told.get("result")
        if status >= 400 or not isinstance(result, list) or not all(isinstance(each, dict) for each in result):
            raise SchemaChanged(f"Yahoo answered {self.symbol} with HTTP {status} and fundamentals without a result")
        self.told = result


class _Get:
    """The two endpoints, asked through yfinance's transport."""

    def __init__(self, session: Any, exchange: _Reading, timeout: float) -> None:
        from yfinance.data import YfData

        self._client = YfData(session=session)
        self._exchange = exchange
        self._timeout = timeout

    def summary(self, modules: Sequence[str]) -> dict[str, Any]:
        """The modules of a quoteSummary that Yahoo has for the symbol, by name."""
        told = self._get(
            _SUMMARY,
            {"modules": ",".join(modules), "corsDomain": "finance.yahoo.com", "formatted": "false"},
        )
        if len(told) != 1:
            raise SchemaChanged(f"Yahoo answered {self._exchange.symbol} with {len(told)} summaries instead of one")
        summary: dict[str, Any] = told[0]
        return summary

    def series(self, types: Sequence[str], now: datetime) -> list[dict[str, Any]]:
        """The time series of those types, one result each, empty ones included."""
        return self._get(
            _SERIES,
            {
                "type": ",".join(types),
                "period1": int(_FIRST.timestamp()),
                "period2": int((now + timedelta(days=1)).timestamp()),
            },
        )

    def latest(self, type_: str, now: datetime) -> float | None:
        """The latest value of one time series; None where it has none."""
        try:
            told = self.series([type_], now)
        except NotFound:
            return None
        points = [point for each in told for point in each.get(type_) or [] if point]
        return max((_dated(point) for point in points), default=("", None))[1]

    def _get(self, path: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        from yfinance.const import _BASE_URL_

        symbol = self._exchange.symbol
        self._exchange.told = None
        self._client.get(f"{_BASE_URL_}{path}{symbol}", params={"symbol": symbol, **params}, timeout=self._timeout)
        if self._exchange.told is None:
            raise ProviderDown(f"Yahoo led the request for {symbol} to another page")
        return self._exchange.told


def _available_at(market: Market, session: date, now: datetime) -> datetime:
    """When the public could have what is told of `session` at `now`.

    In the evening of the session: since its bars were final, like the bars themselves. During it, or on a later day
    (an analyst may have spoken since): now.
    """
    exchange = calendar(market.exchange)
    final = exchange.close_at(session) + market.data_lag
    return final if final <= now and exchange.local_date(now) == session else now


def _live_session(market: Market, now: datetime) -> date:
    """The latest session that had begun at `now`."""
    exchange = calendar(market.exchange)
    day = exchange.on_or_before(exchange.local_date(now))
    return day if exchange.open_at(day) <= now else exchange.offset(day, -1)


def _states_peg(modules: dict[str, Any]) -> bool:
    """Whether the modules say the PEG ratio, or are of something that has none."""
    quote = modules.get("quoteType") or modules.get("price") or {}
    return quote.get("quoteType") != "EQUITY" or (modules.get("defaultKeyStatistics") or {}).get("pegRatio") is not None


def _dated(point: dict[str, Any]) -> tuple[str, float]:
    return str(point["asOfDate"]), float(point["reportedValue"]["raw"])
