"""Bars of 1, 5 and 15 minutes from Yahoo Finance through the yfinance client, with pre- and post-market.

What belongs here: minutes of the chart endpoint. What does not: the client's session and settings (`yahoo_client.py`),
the answers' errors (`yahoo_chart.py`), which bar is still forming and whether a bar is to be believed (the caller).

The traps of intraday charts in yfinance 1.7.0 and at Yahoo, and what is done about each:

- `Ticker.history` merges the last two rows, fills null volumes with 0, drops rows that come twice and the last one of a
  window: the request is its own, the answer itself is read.
- Yahoo appends the last trade as a row of its own, at the odd second it was traded at, flat and without volume. It is
  the quote, no bar, and what it says is in the bar it falls into: it is left out.
- Minutes without a trade are listed as nulls: they are no bars.
- Outside regular hours every volume is 0 (the closing auction's apart): it is unknown, not zero.
- One-minute bars are told for 30 days, and 8 days a request at most; others for 60 days. Both limits count from the
  moment of asking, so a day of margin is kept, and a request spans 7 days at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.providers.base import CallMeter, Failure, Progress
from trading_pipeline.providers.errors import EmptyWindow, ProviderError, SchemaChanged
from trading_pipeline.providers.intraday import INTRADAY_SCHEMA, Interval, IntradayBatch
from trading_pipeline.providers.intraday_answers import (
    PRICES,
    Span,
    no_minutes,
    of_sessions,
    off_grid,
    spans_of,
    told_once,
    traded,
    unknown_outside_hours,
    within_reach,
)
from trading_pipeline.providers.yahoo_chart import ChartExchange
from trading_pipeline.providers.yahoo_client import Wire, YahooAdapter

_REACH: Final[dict[Interval, timedelta]] = {
    "1m": timedelta(days=29),
    "5m": timedelta(days=59),
    "15m": timedelta(days=59),
}
_LONGEST: Final = timedelta(days=7)  # of a request for one-minute bars


@dataclass
class _Request:
    """The bars of one symbol; `told` keeps what spans were answered, so that a retry goes on where it failed."""

    symbol: str
    spans: list[Span]
    told: dict[Span, pl.DataFrame] = field(default_factory=dict)


class YahooIntraday(YahooAdapter):
    """Yahoo Finance: every market, prices and volumes divided by all splits known to date."""

    # The volume of a minute is still revised in the next one.
    lag = timedelta(minutes=1)

    def reach(self, interval: Interval) -> timedelta | None:
        """29 days for one-minute bars, 59 days for the others: a day less than Yahoo says."""
        return _REACH[interval]

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
        """Bars of `symbols` on `sessions`, one request a symbol, or one a week of one-minute bars.

        Volume is null outside regular hours but for the closing auction's. See `IntradayProvider.intraday_bars`.
        """
        within_reach("Yahoo", self.reach(interval), market, sessions, interval, now=now, since=since)
        spans = spans_of(market, sessions, now=now, since=since, longest=_LONGEST if interval == "1m" else None)
        meter = CallMeter(self._throttle)
        distinct = list(dict.fromkeys(symbols))
        with self._batch() as wire:

            def ask(request: _Request) -> pl.DataFrame:
                exchange = ChartExchange(request.symbol, meter, now, no_minutes(request.symbol, interval, sessions))
                return self._fetch(wire, request, exchange, interval)

            answers = self._ask_each(
                [_Request(symbol, spans) for symbol in distinct], lambda request: request.symbol, ask, progress
            )
        parts, failures = [pl.DataFrame(schema=INTRADAY_SCHEMA)], []
        for symbol, answer in zip(distinct, answers, strict=True):
            found = answer if isinstance(answer, ProviderError) else of_sessions(answer, market, sessions, since)
            if isinstance(found, pl.DataFrame) and found.is_empty():
                found = no_minutes(symbol, interval, sessions)
            if isinstance(found, ProviderError):
                failures.append(Failure(symbol, found))
            else:
                parts.append(found)
        bars, again = told_once(unknown_outside_hours(pl.concat(parts), market))
        return IntradayBatch(
            bars=bars, failures=failures, http_calls=meter.calls, basis="split_adjusted", duplicates=again
        )

    def _fetch(self, wire: Wire, request: _Request, exchange: ChartExchange, interval: Interval) -> pl.DataFrame:
        silent: EmptyWindow | None = None
        for span in request.spans:
            if span in request.told:
                continue
            try:
                with wire.carrying(exchange):
                    _ask(wire.session, request.symbol, span, interval, self._timeout)
                    request.told[span] = _bars_of(exchange, interval)
            except EmptyWindow as error:
                silent = error
        if not request.told:
            raise silent or exchange.empty
        return pl.concat(request.told.values())


def _ask(session: Any, symbol: str, span: Span, interval: Interval, timeout: float) -> None:
    """Make the request; its answer is kept by the exchange that the wire is carrying."""
    import yfinance
    from yfinance.data import YfData

    ticker = yfinance.Ticker(symbol, session=session)
    # Otherwise a request of its own finds it out; the moments are zone-aware, so that it is not used.
    ticker._tz = "UTC"
    YfData().cache_get.cache_clear()
    ticker.history(
        start=span.start,
        end=span.end,
        interval=interval,
        prepost=True,
        auto_adjust=False,
        keepna=True,
        timeout=timeout,
    )


def _bars_of(exchange: ChartExchange, interval: Interval) -> pl.DataFrame:
    """INTRADAY_SCHEMA of an answer, in the order it is told; `SchemaChanged` where a column is short."""
    exchange.own_meta()
    quote = exchange.result["indicators"]["quote"][0]
    try:
        rows = pl.DataFrame(
            {
                "symbol": pl.repeat(exchange.symbol, len(exchange.result["timestamp"]), eager=True),
                "started_at": pl.from_epoch(pl.Series(exchange.result["timestamp"], dtype=pl.Int64), "s")
                .dt.cast_time_unit("us")
                .dt.replace_time_zone("UTC"),
                **{name: pl.Series(quote[name], dtype=pl.Float64, strict=False) for name in (*PRICES, "volume")},
            },
            schema=INTRADAY_SCHEMA,
        )
    except pl.exceptions.PolarsError as error:
        raise SchemaChanged(f"Yahoo's bars of {exchange.symbol} are not of one length") from error
    rows = rows.with_columns(pl.when(pl.col(name).is_finite()).then(name).alias(name) for name in (*PRICES, "volume"))
    quotes = off_grid(interval) & (pl.col("volume").fill_null(0.0) == 0) & (pl.col("high") == pl.col("low"))
    last = pl.col("started_at") == pl.col("started_at").max()
    return traded(rows.filter(~(quotes & last).fill_null(value=False)))
