"""What the adapters of earnings calendars share: the clock of a report and the frame of an answer.

What belongs here: when a told report could be known, and the schema. What does not: anything of one provider.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.providers.reference import EARNINGS_SCHEMA
from trading_pipeline.sessions import calendar

TIMINGS: Final = ("bmo", "amc", "dmh", "unknown")

# Results after the close come within the hour; those before the open by the open; what is of unknown timing is not
# counted on before the day is over.
_OUT_BY: Final = {"bmo": time(9, 30), "dmh": time(16, 0), "amc": time(17, 0)}


def out_at(market: Market, day: date, timing: str) -> datetime:
    """When a report of that day was out, UTC: 9:30, 16:00 or 17:00 exchange time, midnight where timing is unknown."""
    zone = calendar(market.exchange).timezone
    if timing in _OUT_BY:
        return datetime.combine(day, _OUT_BY[timing], zone).astimezone(UTC)
    return datetime.combine(day + timedelta(days=1), time(0), zone).astimezone(UTC)


def month_of(day: date) -> str:
    """The fiscal period's name where a provider does not tell it: the month of the report, `2025-05`."""
    return f"{day:%Y-%m}"


def number(value: Any) -> float | None:
    """A number, or a string that holds one; None where there is none or it is not finite. `ValueError` otherwise."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{type(value).__name__} is no number")
    result = float(value)
    return result if math.isfinite(result) else None


def earnings_frame(rows: Sequence[dict[str, Any]], market: Market, now: datetime) -> pl.DataFrame:
    """`EARNINGS_SCHEMA` of rows that have its columns but `available_at`, one a symbol and fiscal period.

    A result was available when the report was out; a date or an estimate is as old as the answer that tells it.
    """
    for row in rows:
        known = row.get("eps_actual") is not None or row.get("revenue_actual") is not None
        row["available_at"] = min(now, out_at(market, row["report_date"], row["timing"])) if known else now
    frame = pl.DataFrame(list(rows), schema=EARNINGS_SCHEMA)
    # Where a provider lists a period twice, the row with a result stands, then the later date.
    return (
        frame.sort(
            "symbol", "fiscal_period", pl.col("eps_actual").is_null(), "report_date",
            descending=[False, False, False, True], maintain_order=True,
        )
        .unique(["symbol", "fiscal_period"], keep="first", maintain_order=True)
        .sort("symbol", "report_date", "fiscal_period")
    )  # fmt: skip
