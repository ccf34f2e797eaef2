"""Daily bars of US shares and funds from Tiingo's end-of-day endpoint, as traded.

Tiingo sends raw prices beside adjusted ones, with the cash dividend and the split factor of each ex-date in the row.
Bars are ready about 17:30 New York time and may be corrected until 20:00; the overlap of the next fetch picks that up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import quote

import polars as pl
from pydantic import SecretStr

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
    fetch_each,
    no_bars,
)
from trading_pipeline.providers.errors import AccessRefused, NotFound, ProviderDown, RateLimited, SchemaChanged
from trading_pipeline.providers.http import HttpProvider, Options, json_of, too_many, unusual

if TYPE_CHECKING:
    import httpx

BASE_URL = "https://api.tiingo.com"
# The free plan: about 50 requests an hour, which may be spent at once.
QUOTA = Quota(rate_per_second=50 / 3600, burst=50.0, concurrency=2)
# An hourly quota that is used up stays so: trying on would only burn the next hour's.
POLICY = RetryPolicy(attempts=3, first_wait=2.0, breaker=2)
CURRENCY = "USD"

_SYMBOL = re.compile(r"[A-Z][A-Z0-9]{0,9}(-[A-Z0-9]{1,3}){0,2}", re.IGNORECASE)
_CURRENCY_PAIR = re.compile(r".*-(USD|EUR|GBP|JPY|BTC)", re.IGNORECASE)
_COLUMNS = {
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "adj_close": "adjClose",
    "volume": "volume",
    "dividend": "divCash",
    "split": "splitFactor",
}


class Tiingo(HttpProvider):
    """Tiingo end-of-day prices. `key` travels in a header only; it is in no URL, log or error."""

    name = "tiingo"
    lag = timedelta(minutes=90)
    usual_quota = QUOTA
    usual_policy = POLICY

    def __init__(self, key: SecretStr, *, base_url: str = BASE_URL, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self._key = key
        self._base_url = base_url.rstrip("/")

    def covers(self, symbol: str) -> bool:
        """Whether it is spelled like a US share or fund (`AAPL`, `BRK-B`), not an index, a pair or another exchange."""
        return bool(_SYMBOL.fullmatch(symbol)) and not _CURRENCY_PAIR.fullmatch(symbol)

    def latest_session(self, market: Market, now: datetime) -> date | None:
        """None: as far as the calendar allows."""
        return None

    def daily_bars(
        self, requests: Sequence[SymbolRequest], *, now: datetime, progress: Progress | None = None
    ) -> DailyBarsBatch:
        """Bars and actions of every request, as traded, in US dollars. See `BarProvider.daily_bars`."""
        import httpx

        meter = CallMeter(self._throttle)
        headers = {"Authorization": f"Token {self._key.get_secret_value()}", "Accept": "application/json"}
        with httpx.Client(base_url=self._base_url, headers=headers, timeout=self._timeout) as client:
            return fetch_each(
                requests,
                lambda request: self._fetch(client, request, meter, now),
                concurrency=self.quota.concurrency,
                basis="as_traded",
                meter=meter,
                policy=self._policy,
                progress=progress,
            )

    def _fetch(self, client: httpx.Client, request: SymbolRequest, meter: CallMeter, now: datetime) -> SymbolHistory:
        import httpx

        if not self.covers(request.symbol):
            raise NotFound(f"{request.symbol!r} is not spelled like a US share or fund")
        meter.admit()
        try:
            response = client.get(
                f"/tiingo/daily/{quote(request.symbol.lower(), safe='')}/prices",
                params={"startDate": request.first.isoformat(), "endDate": request.last.isoformat(), "format": "json"},
            )
        except httpx.TransportError as error:
            raise ProviderDown(f"Tiingo could not be reached for {request.symbol} ({type(error).__name__})") from error
        return _history_of(_rows(response, request, now), request)


def _rows(response: httpx.Response, request: SymbolRequest, now: datetime) -> list[dict[str, Any]]:
    """The rows of a usable answer; raises what any other means."""
    symbol, status = request.symbol, response.status_code
    if status == 429:
        raise too_many(f"Tiingo refuses {symbol}: the plan's requests are used up", response.headers, now)
    if status in (401, 403):
        raise AccessRefused(
            f"Tiingo refuses the key (HTTP {status})", "Check TIINGO_API_KEY and what its plan includes"
        )
    if status == 404:
        raise NotFound(f"Tiingo knows no {symbol}")
    if status != 200:
        raise unusual(f"Tiingo answered {symbol}", status)
    body = json_of(response.content, f"Tiingo answered {symbol}")
    # A used-up allowance has also been answered with status 200 and a message.
    if isinstance(body, dict) and "run over" in str(body.get("detail")):
        raise RateLimited(f"Tiingo refuses {symbol}: the plan's requests are used up")
    if not isinstance(body, list) or not all(isinstance(row, dict) for row in body):
        raise SchemaChanged(f"Tiingo answered {symbol} with something else than a list of bars")
    if not body:
        raise no_bars(request)
    return body


def _history_of(rows: list[dict[str, Any]], request: SymbolRequest) -> SymbolHistory:
    missing = [name for name in ("date", *_COLUMNS.values()) if not all(name in row for row in rows)]
    if missing:
        raise SchemaChanged(f"Tiingo's bars of {request.symbol} lack {', '.join(missing)}")
    try:
        told = pl.DataFrame(
            {
                "session": [date.fromisoformat(row["date"][:10]) for row in rows],
                **{
                    ours: pl.Series([row[theirs] for row in rows], dtype=pl.Float64, strict=True)
                    for ours, theirs in _COLUMNS.items()
                },
            }
        )
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise SchemaChanged(f"Tiingo's bars of {request.symbol} hold what is no number or no date") from error
    told = (
        told.with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in _COLUMNS)
        .with_columns(symbol=pl.lit(request.symbol), currency=pl.lit(CURRENCY))
        .filter(pl.col("session").is_between(request.first, request.last))
    )
    actions = pl.concat(
        told.filter(happened).select("symbol", "session", kind=pl.lit(kind), value=pl.col(kind), currency="currency")
        for kind, happened in (("split", pl.col("split") != 1), ("dividend", pl.col("dividend") > 0))
    )
    return SymbolHistory(told.select(BARS_SCHEMA.names()), actions.select(ACTIONS_SCHEMA.names()))
