"""What a fundamentals time series says: items of statements, with the end of their period and when they were out.

What belongs here: which items there are, how they are read, and the moment the public could have them. What does not:
requests.

Yahoo tells the end of a period and never the filing. Where its list of SEC filings names the period's own 10-Q or 10-K
(the main document is called after the day the period ended: `aapl-20241228.htm`), the figures were available on the day
of that filing; the list is not complete, and the filing after a period's end may be a late one of the period before,
so nothing else counts as one. Without it a default lag is used: the last day the SEC allows the smallest companies to
file, 45 days after a quarter and 90 after a year (17 CFR 249.308a and 249.310). A fourth quarter comes with the year.

Either way the figures count from the close of the first session on or after that day: a document dated by the SEC was
accepted by 17:30 New York time, at the latest when decisions are made on that close. What Yahoo tells now was out by
now, whatever the lag says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, Final

import polars as pl

from trading_pipeline.providers.errors import SchemaChanged
from trading_pipeline.providers.reference import STATEMENTS_SCHEMA
from trading_pipeline.providers.yahoo_client import NO_CURRENCY
from trading_pipeline.sessions import ExchangeCalendar

FREQUENCIES: Final = ("annual", "quarterly", "trailing")
QUARTERLY_LAG: Final = timedelta(days=45)
ANNUAL_LAG: Final = timedelta(days=90)
SAME_PERIOD: Final = timedelta(days=10)
"""Yahoo rounds the end of a period to the month's; companies that count in weeks end it up to a week apart."""

_ANNUAL_FORMS: Final = ("10-K", "20-F", "40-F")
_FORMS: Final = (*_ANNUAL_FORMS, "10-Q")
_PERIOD_IN_NAME: Final = re.compile(r"-(\d{4})(\d{2})(\d{2})\.html?$", re.IGNORECASE)
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class Filing:
    """A periodic report: its form (10-Q, 10-K …), the day it was filed, and the last day of the period it is about."""

    form: str
    filed_on: date
    period_end: date


@cache
def items() -> tuple[str, ...]:
    """Every item of income statements, balance sheets and cash flows that yfinance knows of, as Yahoo spells them."""
    from yfinance.const import fundamentals_keys

    return tuple(dict.fromkeys(item for statement in fundamentals_keys.values() for item in statement))


def item_name(item: str) -> str:
    """Our spelling of Yahoo's: `NetIncome` is `net_income`, `BasicEPS` is `basic_eps`."""
    return _WORDS.sub("_", item).lower()


def filings_of(modules: Mapping[str, Any]) -> list[Filing]:
    """The periodic reports of the module secFilings whose period is known, oldest first."""
    told = (modules.get("secFilings") or {}).get("filings") or []
    found = []
    for filing in told:
        if filing.get("type") not in _FORMS:
            continue
        documents = [each.get("url") or "" for each in filing.get("exhibits") or [] if each["type"] == filing["type"]]
        for match in (_PERIOD_IN_NAME.search(url) for url in documents):
            if match is not None:
                year, month, day = (int(part) for part in match.groups())
                found.append(Filing(filing["type"], date.fromisoformat(filing["date"]), date(year, month, day)))
                break
    return sorted(found, key=lambda filing: (filing.filed_on, filing.period_end))


def statements_of(
    symbol: str,
    series: Sequence[Mapping[str, Any]],
    filings: Sequence[Filing],
    *,
    exchange: ExchangeCalendar,
    now: datetime,
) -> pl.DataFrame:
    """Rows of `STATEMENTS_SCHEMA`, by period, frequency and item; none where the series are empty.

    A point that is null, or has no number, is no fact and no row. `SchemaChanged` where a point has no date, or two
    points of an item are of the same period.
    """
    points = [point for told in series for point in _points(symbol, told)]
    rows = pl.DataFrame(
        points,
        schema={
            "frequency": pl.String,
            "item": pl.String,
            "period_end": pl.Date,
            "value": pl.Float64,
            "currency": pl.String,
        },
        orient="row",
    )
    if rows.select("frequency", "item", "period_end").is_duplicated().any():
        raise SchemaChanged(f"Yahoo's statements of {symbol} tell an item twice for one period")
    ends_of_years = set(rows.filter(pl.col("frequency") == "annual")["period_end"])
    periods = rows.select("frequency", "period_end").unique()
    clocks = []
    for frequency, end in periods.iter_rows():
        filed = _filed(frequency, end, filings)
        lag = ANNUAL_LAG if frequency == "annual" or end in ends_of_years else QUARTERLY_LAG
        clocks.append((frequency, end, filed, min(_close_from(exchange, filed or end + lag), now)))
    out = pl.DataFrame(
        clocks,
        schema={
            "frequency": pl.String,
            "period_end": pl.Date,
            "filed_on": pl.Date,
            "available_at": STATEMENTS_SCHEMA["available_at"],
        },
        orient="row",
    )
    return (
        rows.join(out, on=["frequency", "period_end"])
        .with_columns(symbol=pl.lit(symbol, pl.String))
        .sort("period_end", "frequency", "item")
        .select(STATEMENTS_SCHEMA.names())
    )


def _points(symbol: str, told: Mapping[str, Any]) -> list[tuple[str, str, date, float, str]]:
    """(frequency, item, end of the period, value, currency) of one series."""
    found = []
    for name, points in told.items():
        frequency = next((each for each in FREQUENCIES if name.startswith(each)), None)
        if frequency is None or not isinstance(points, list):
            continue
        for point in points:
            value = ((point or {}).get("reportedValue") or {}).get("raw")
            if value is None or isinstance(value, str):
                continue
            try:
                end = date.fromisoformat(point["asOfDate"])
            except (KeyError, TypeError, ValueError):
                raise SchemaChanged(f"Yahoo's {name} of {symbol} has a value without a date") from None
            currency = point.get("currencyCode") or NO_CURRENCY
            found.append((frequency, item_name(name.removeprefix(frequency)), end, float(value), currency))
    return found


def _filed(frequency: str, end: date, filings: Sequence[Filing]) -> date | None:
    """Day of the first report about that period; a year's figures come with an annual one."""
    forms = _ANNUAL_FORMS if frequency == "annual" else _FORMS
    return next(
        (
            filing.filed_on
            for filing in filings
            if filing.form in forms and abs(filing.period_end - end) <= SAME_PERIOD and filing.filed_on > end
        ),
        None,
    )


def _close_from(exchange: ExchangeCalendar, day: date) -> datetime:
    """Close of the first session on or after `day`, within the table of sessions."""
    day = min(max(day, exchange.first_session), exchange.last_session)
    session = exchange.on_or_before(day)
    return exchange.close_at(session if session == day else exchange.offset(session, 1))
