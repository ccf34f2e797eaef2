"""Earnings calendar from API Ninjas, ticker by ticker: the backup where the first voice fails or has a hole.

Coming reports belong to the paid plans; where the plan refuses them, results alone are asked for from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Unpack

from pydantic import SecretStr

from trading_pipeline.markets import Market
from trading_pipeline.providers.base import CallMeter, Progress, Quota, RetryPolicy
from trading_pipeline.providers.errors import AccessRefused, NotFound, ProviderDown, SchemaChanged
from trading_pipeline.providers.http import HttpProvider, Options, json_of, too_many, unusual
from trading_pipeline.providers.reference import ReferenceBatch, batch_of
from trading_pipeline.providers.report_rows import earnings_frame, month_of, number

if TYPE_CHECKING:
    import httpx

BASE_URL = "https://api.api-ninjas.com"
# Plans count by the month (10,000 on the free one) and publish no rate: one a second is what a polite reader asks.
QUOTA = Quota(rate_per_second=1.0, burst=5.0, concurrency=2)
POLICY = RetryPolicy(attempts=3, first_wait=2.0, breaker=3)

_PATH = "/v1/earningscalendar"
_TIMINGS = {"before_market": "bmo", "after_market": "amc", "during_market": "dmh"}
_NUMBERS = {
    "eps_estimate": "estimated_eps",
    "eps_actual": "actual_eps",
    "revenue_estimate": "estimated_revenue",
    "revenue_actual": "actual_revenue",
}


class ApiNinjas(HttpProvider):
    """API Ninjas' earnings calendar of US names. `key` travels in a header only."""

    name = "api_ninjas"
    usual_quota = QUOTA
    usual_policy = POLICY

    def __init__(self, key: SecretStr, *, base_url: str = BASE_URL, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self._key = key
        self._base_url = base_url.rstrip("/")
        self._tells_coming = True

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
        """Reports of `symbols` dated from `first` to `last`. See `EarningsProvider`. Names outside the US fail."""
        import httpx

        meter = CallMeter(self._throttle)
        headers = {"X-Api-Key": self._key.get_secret_value(), "Accept": "application/json"}
        with httpx.Client(base_url=self._base_url, headers=headers, timeout=self._timeout) as client:

            def ask(symbol: str) -> list[dict[str, Any]]:
                if market.name != "us":
                    raise NotFound(f"API Ninjas' calendar has no {symbol}: it is of US names")
                told = [_row(symbol, row) for row in self._listed(client, symbol, meter, now)]
                return [row for row in told if first <= row["report_date"] <= last]

            answers = self._ask_each(symbols, str, ask, progress)
        rows = [row for answer in answers if isinstance(answer, list) for row in answer]
        return batch_of(symbols, answers, earnings_frame(rows, market, now), meter.calls)

    def _listed(self, client: httpx.Client, symbol: str, meter: CallMeter, now: datetime) -> list[dict[str, Any]]:
        asked_coming = self._tells_coming
        response = self._get(client, symbol, meter, coming=asked_coming)
        if asked_coming and response.status_code in (400, 402, 403) and b"premium" in response.content.lower():
            self._tells_coming = False
            response = self._get(client, symbol, meter, coming=False)
        return _rows(response, symbol, now)

    def _get(self, client: httpx.Client, symbol: str, meter: CallMeter, *, coming: bool) -> httpx.Response:
        import httpx

        meter.admit()
        try:
            return client.get(_PATH, params={"ticker": symbol, **({"show_upcoming": "true"} if coming else {})})
        except httpx.TransportError as error:
            raise ProviderDown(f"API Ninjas could not be reached for {symbol} ({type(error).__name__})") from error


def _rows(response: httpx.Response, symbol: str, now: datetime) -> list[dict[str, Any]]:
    status = response.status_code
    if status == 429:
        raise too_many(f"API Ninjas refuses {symbol}: the plan's requests are used up", response.headers, now)
    if status in (401, 402, 403) or (status == 400 and b"api key" in response.content.lower()):
        raise AccessRefused(
            f"API Ninjas refuses the key (HTTP {status})", "Check API_NINJAS_KEY and what its plan includes"
        )
    if status != 200:
        raise unusual(f"API Ninjas answered {symbol}", status)
    body: list[dict[str, Any]] = json_of(response.content, f"API Ninjas answered {symbol}")
    if not isinstance(body, list) or not all(isinstance(row, dict) for row in body):
        raise SchemaChanged(f"API Ninjas answered {symbol} with something else than a list of reports")
    return body


def _row(symbol: str, told: dict[str, Any]) -> dict[str, Any]:
    missing = [name for name in ("date", "actual_eps", "estimated_eps") if name not in told]
    if missing:
        raise SchemaChanged(f"API Ninjas' reports of {symbol} lack {', '.join(missing)}")
    if str(told.get("ticker", symbol)).upper() != symbol.upper():
        raise SchemaChanged(f"API Ninjas answered {symbol} with reports of another name")
    try:
        day = date.fromisoformat(told["date"])
        return {
            "symbol": symbol,
            "report_date": day,
            "timing": _TIMINGS.get(told.get("earnings_timing") or "", "unknown"),
            "fiscal_period": month_of(day),
            **{ours: number(told.get(theirs)) for ours, theirs in _NUMBERS.items()},
            "confirmed": None,
        }
    except (TypeError, ValueError):
        raise SchemaChanged(f"API Ninjas' reports of {symbol} hold what is no number or no date") from None
