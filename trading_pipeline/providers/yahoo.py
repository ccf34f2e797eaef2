"""Daily bars from Yahoo Finance through the yfinance client, with the client's traps handled one by one.

What belongs here: days of the chart endpoint (`yahoo_chart.py` reads its answers, `yahoo_intraday.py` asks it for
minutes). What does not: the client's session and settings (`yahoo_client.py`), undoing splits (on receipt), deciding
which bar is still forming (the caller knows the clock), repairing prices (quality rules judge what was really said).

The traps of yfinance 1.7.0 around the chart, and what is done about each (`yahoo_client.py` has those of every
endpoint):

- `download()` swallows every error, 429 included: `Ticker.history` with `hide_exceptions=False` is used instead.
- An identical request for a window in the past is answered from a process-wide cache: it is cleared before each fetch.
- A first request for a ticker makes an extra call for its time zone, used only to turn dates into seconds. The window
  asked for is two days wider instead and cut by the exchange's own time zone, which comes with the answer.
- An event whose ex-date has no bar is moved to the session before, same-day dividends are added up across currencies,
  and a null volume becomes 0: events and nulls are read from the answer itself.
- Rows of nulls are made up for events outside the bars: only sessions that Yahoo listed are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.providers.base import (
    ACTIONS_SCHEMA,
    BARS_SCHEMA,
    CallMeter,
    DailyBarsBatch,
    Progress,
    SymbolHistory,
    SymbolRequest,
    fetch_each,
    no_bars,
)
from trading_pipeline.providers.yahoo_chart import ChartExchange
from trading_pipeline.providers.yahoo_client import NO_CURRENCY, YahooAdapter

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = {
    "open": "Open",
    "high": "High",
    "low": "Low",
    "close": "Close",
    "adj_close": "Adj Close",
    "volume": "Volume",
}
_EVENT_KINDS = {"dividends": "dividend", "splits": "split", "capitalGains": "capital_gain"}


class Yahoo(YahooAdapter):
    """Yahoo Finance: every market, prices and volumes divided by all splits known to date."""

    lag = timedelta(minutes=90)

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
        with self._batch() as wire:

            def fetch(request: SymbolRequest) -> SymbolHistory:
                exchange = ChartExchange(request.symbol, meter, now, no_bars(request))
                with wire.carrying(exchange):
                    return _history_of(_history(wire.session, request, self._timeout), exchange, request)

            return fetch_each(
                requests,
                fetch,
                concurrency=self.quota.concurrency,
                basis="split_adjusted",
                meter=meter,
                policy=self._policy,
                progress=progress,
            )


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


def _history_of(frame: pd.DataFrame, exchange: ChartExchange, request: SymbolRequest) -> SymbolHistory:
    result, meta = exchange.result, exchange.own_meta()
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
