"""Write the committed session tables from exchange_calendars.

Run by hand, about once a year: `python -m trading_pipeline.calendars.generate`. Needs the development dependencies. The
first session is literal: a sliding first session would change the identity of every partition.
"""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

FIRST_SESSION = {"XNYS": date(2010, 1, 4), "XASX": date(2010, 1, 4)}
LAST_DAY = date(2028, 12, 31)


def rows(exchange: str) -> list[tuple[str, str, str]]:
    """Rows (date, kind, close) of the weekdays that are not a whole ordinary session, oldest first.

    kind is `holiday` (no session; close empty) or `half_day` (close: local HH:MM). Ordinary sessions are not listed.
    """
    import exchange_calendars
    import pandas as pd

    first = FIRST_SESSION[exchange]
    calendar = exchange_calendars.get_calendar(exchange, start=first.isoformat(), end=LAST_DAY.isoformat())
    sessions = {stamp.date() for stamp in calendar.sessions}
    result = [
        (day.date().isoformat(), "holiday", "") for day in pd.bdate_range(first, LAST_DAY) if day.date() not in sessions
    ]
    ordinary = max(calendar.close_times)[1]
    for stamp in calendar.sessions:
        close = calendar.session_close(stamp).tz_convert(calendar.tz)
        if close.time() != ordinary:
            result.append((stamp.date().isoformat(), "half_day", close.strftime("%H:%M")))
    return sorted(result)


def main() -> None:
    """Write one CSV per exchange beside this module."""
    for exchange in FIRST_SESSION:
        target = Path(__file__).parent / f"{exchange}.csv"
        with target.open("w", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(("date", "kind", "close"))
            writer.writerows(rows(exchange))
        print(f"{target.name}: {sum(1 for _ in target.open()) - 1} rows")


if __name__ == "__main__":
    main()
