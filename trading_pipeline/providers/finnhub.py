"""Earnings calendar from Finnhub through its own client, week by week for all names at once.

Traps of finnhub-python 2.4.29 and of the service, and what is done about each:

- The client puts the key into every URL, where logs and exceptions of the HTTP library show it: it is moved to the
  header Finnhub takes as well.
- An answer is cut at 1,500 rows without a word: a window that full is asked for again in halves.
- The free plan reaches about a month back: no more is asked for.
- `hour` may be empty, and coverage has holes: unknown timing, and other voices are asked (`earnings_voices.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Unpack

from pydantic import SecretStr

from trading_pipeline.markets import Market
from trading_pipeline.providers.base import CallMeter, Failure, Progress, Quota, RetryPolicy
from trading_pipeline.providers.errors import (
    AccessRefused,
    NotFound,
    ProviderDown,
    ProviderError,
    SchemaChanged,
)
from trading_pipeline.providers.http import HttpProvider, Options, too_many, unusual
from trading_pipeline.providers.reference import ReferenceBatch
from trading_pipeline.providers.report_rows import TIMINGS, earnings_frame, month_of, number

if TYPE_CHECKING:
    import finnhub

# 60 a minute on the free plan and 30 a second on every one: ten at once and fifty a minute pass neither, ever.
QUOTA = Quota(rate_per_second=50 / 60, burst=10.0, concurrency=2)
POLICY = RetryPolicy(attempts=3, first_wait=2.0, breaker=3)
WINDOW = timedelta(days=7)
HISTORY = timedelta(days=31)
MOST_ROWS = 1500

_FIELDS = ("date", "symbol", "hour", "epsEstimate", "epsActual", "revenueEstimate", "revenueActual", "quarter", "year")


class Finnhub(HttpProvider):
    """Finnhub's earnings calendar of US names.

    session: a requests session to use instead of the client's own. base_url: address of the API. history: how far back
    results are asked for.
    """

    name = "finnhub"
    usual_quota = QUOTA
    usual_policy = POLICY

    def __init__(
        self,
        key: SecretStr,
        *,
        session: Any = None,
        base_url: str | None = None,
        history: timedelta = HISTORY,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        self._key = key
        self._session = session
        self._base_url = base_url
        self._history = history

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
        """Reports of `symbols` from `first`, at most `history` before `now`, to `last`. See `EarningsProvider`.

        Where a week could not be had, the rows of the others are kept, no symbol counts as answered, and those without
        a row fail as that week did. Names outside the US are not found.
        """
        if market.name != "us":
            return ReferenceBatch(
                earnings_frame([], market, now),
                [Failure(each, NotFound(f"Finnhub's calendar has no {each}: it is of US names")) for each in symbols],
            )
        meter = CallMeter(self._throttle)
        client = self._client()
        weeks = _weeks(max(first, now.date() - self._history), last)
        try:
            answers = self._ask_each(
                weeks,
                lambda week: f"the week of {week[0]}",
                lambda week: self._told(client, week, meter, now),
                progress,
            )
        finally:
            client.close()
        wanted = set(symbols)
        rows = [
            row
            for answer in answers
            if not isinstance(answer, ProviderError)
            for row in answer
            if row["symbol"] in wanted
        ]
        frame = earnings_frame(rows, market, now)
        error = next((answer for answer in answers if isinstance(answer, ProviderError)), None)
        if error is None:
            return ReferenceBatch(frame, [], meter.calls, tuple(symbols))
        told = set(frame["symbol"])
        return ReferenceBatch(frame, [Failure(each, error) for each in symbols if each not in told], meter.calls)

    def _client(self) -> finnhub.Client:
        import finnhub

        client = finnhub.Client(api_key="")
        if self._session is not None:
            self._session.headers.update(client._session.headers)
            client._session = self._session
        if self._base_url is not None:
            client.API_URL = self._base_url
        client.DEFAULT_TIMEOUT = self._timeout
        client._session.params = {}
        client._session.headers["X-Finnhub-Token"] = self._key.get_secret_value()
        return client

    def _told(
        self, client: finnhub.Client, week: tuple[date, date], meter: CallMeter, now: datetime
    ) -> list[dict[str, Any]]:
        """Rows of one window, in halves where it is too full to be whole."""
        listed = self._asked(client, week, meter, now)
        if len(listed) < MOST_ROWS or week[0] == week[1]:
            return [_row(row) for row in listed]
        middle = week[0] + (week[1] - week[0]) // 2
        return [
            row
            for half in ((week[0], middle), (middle + timedelta(days=1), week[1]))
            for row in self._told(client, half, meter, now)
        ]

    def _asked(self, client: finnhub.Client, week: tuple[date, date], meter: CallMeter, now: datetime) -> list[Any]:
        meter.admit()
        # The client's exceptions hold the request with its headers: nothing of them is kept, not even as a context.
        body, error = _called(client, week, now)
        if error is not None:
            raise error
        listed = body.get("earningsCalendar") if isinstance(body, dict) else None
        if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
            raise SchemaChanged("Finnhub answered without an earningsCalendar")
        return listed


def _called(client: finnhub.Client, week: tuple[date, date], now: datetime) -> tuple[Any, ProviderError | None]:
    import requests
    from finnhub.exceptions import FinnhubAPIException, FinnhubRequestException

    window = f"the week of {week[0]}"
    try:
        return client.earnings_calendar(_from=f"{week[0]}", to=f"{week[1]}", symbol="", international=False), None
    except FinnhubAPIException as error:
        status = error.status_code
        if status == 429:
            return None, too_many(f"Finnhub refuses {window}: too many requests", error.response.headers, now)
        if status in (401, 403):
            return None, AccessRefused(
                f"Finnhub refuses the key (HTTP {status})", "Check FINNHUB_API_KEY and what its plan includes"
            )
        return None, unusual(f"Finnhub answered {window}", status)
    except FinnhubRequestException:
        return None, ProviderDown(f"Finnhub answered {window} with a page or cut-off text instead of JSON")
    except (requests.RequestException, OSError) as error:
        return None, ProviderDown(f"Finnhub could not be reached for {window} ({type(error).__name__})")


def _weeks(first: date, last: date) -> list[tuple[date, date]]:
    starts = [first + number * WINDOW for number in range(max(0, (last - first) // WINDOW + 1))]
    return [(start, min(last, start + WINDOW - timedelta(days=1))) for start in starts]


def _row(told: dict[str, Any]) -> dict[str, Any]:
    missing = [name for name in _FIELDS if name not in told]
    if missing:
        raise SchemaChanged(f"Finnhub's calendar lacks {', '.join(missing)}")
    try:
        day = date.fromisoformat(told["date"])
        quarter, year = told["quarter"], told["year"]
        return {
            "symbol": str(told["symbol"]),
            "report_date": day,
            "timing": told["hour"] if told["hour"] in TIMINGS else "unknown",
            "fiscal_period": f"{year:d}Q{quarter:d}" if quarter and year else month_of(day),
            "eps_estimate": number(told["epsEstimate"]),
            "eps_actual": number(told["epsActual"]),
            "revenue_estimate": number(told["revenueEstimate"]),
            "revenue_actual": number(told["revenueActual"]),
            "confirmed": None,
        }
    except (TypeError, ValueError):
        raise SchemaChanged("Finnhub's calendar holds what is no number or no date") from None
