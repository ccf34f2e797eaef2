"""What becomes of minutes on their way into the lake: asked for once, placed, judged, every version kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from trading_pipeline.errors import LiveOnly
from trading_pipeline.ingest_intraday import receive
from trading_pipeline.markets import US
from trading_pipeline.providers.base import Quota
from trading_pipeline.providers.intraday import INTRADAY_SCHEMA, IntradayBatch
from trading_pipeline.sessions import calendar
from trading_pipeline.storage.lake import Lake
from trading_pipeline.tables import CORPORATE_ACTIONS, INTRADAY_BARS, INTRADAY_ISSUES, MOMENT

XNYS = calendar("XNYS")
DAY = date(2025, 4, 24)
OPENS, CLOSES = XNYS.open_at(DAY), XNYS.close_at(DAY)
EVENING = CLOSES + timedelta(hours=5)
IDS = {"AAA": "us:AAA"}
TICKERS = pl.DataFrame({"instrument_id": ["us:AAA"], "ticker": ["AAA"]})


class Minutes:
    """A provider that forgets after sixty days, and remembers what it was asked."""

    name, lag, quota = "minutes", timedelta(0), Quota(1e6, 1e6, 1)

    def __init__(self, basis: Any = "as_traded", spoil: pl.DataFrame | None = None) -> None:
        self.basis, self.spoil = basis, spoil
        self.asked: list[tuple[str, list[date], list[str]]] = []

    def covers(self, symbol: str) -> bool:
        return True

    def reach(self, interval: str) -> timedelta | None:
        return timedelta(days=60)

    def intraday_bars(
        self, market: Any, symbols: Sequence[str], sessions: Sequence[date], interval: Any, *, now: datetime, **_: Any
    ) -> IntradayBatch:
        self.asked.append((interval, list(sessions), list(symbols)))
        step = timedelta(minutes=int(interval[:-1]))
        rows = [
            (symbol, start, 10.0, 10.2, 9.9, 10.1, 100.0)
            for symbol in symbols
            for day in sessions
            for start in (XNYS.open_at(day) + step * count for count in range(int(timedelta(hours=6.5) / step)))
            if start < now
        ]
        bars = pl.DataFrame(rows, schema=INTRADAY_SCHEMA, orient="row")
        duplicates = bars.clear()
        if self.spoil is not None and interval == "1m":
            bars, duplicates = pl.concat([bars, self.spoil]).sort("symbol", "started_at"), bars.head(1)
        return IntradayBatch(bars, duplicates, basis=self.basis)


@pytest.fixture
def lake(warehouse, tmp_path):
    return Lake(str(tmp_path / "lake"), warehouse)


def ask(lake: Lake, provider: Any, now: datetime, sessions: Sequence[date] = (DAY,), ids: Any = IDS) -> Any:
    return receive(provider, US, ids, TICKERS, list(sessions), lake, now=now)


def whole(lake: Lake, interval: str, day: date = DAY) -> pl.DataFrame:
    """The latest version of each bar of a day."""
    rows = lake.read("us", INTRADAY_BARS, day, day).filter(pl.col("interval") == interval)
    return rows.sort("started_at", "known_at").unique("started_at", keep="last", maintain_order=True)


def test_what_is_stored_whole_is_not_asked_for_again(lake):
    provider = Minutes()
    first = ask(lake, provider, EVENING)
    assert (first.revised, whole(lake, "1m").height, whole(lake, "5m").height) == (0, 390, 78)
    provider.asked.clear()
    again = ask(lake, provider, EVENING + timedelta(hours=1))
    assert provider.asked == []
    assert (again.new, again.wanted) == (0, 0)


def test_a_day_that_was_received_half_is_made_whole_the_next_morning(lake):
    provider = Minutes()
    ask(lake, provider, OPENS + timedelta(hours=4, seconds=30))
    assert whole(lake, "1m").height == 241
    assert whole(lake, "1m")["forming"].to_list() == [False] * 240 + [True]
    after = XNYS.offset(DAY, 1)
    provider.asked.clear()
    ask(lake, provider, XNYS.open_at(after) - timedelta(hours=1), [after])
    assert [(interval, days) for interval, days, _ in provider.asked] == [("5m", [DAY, after]), ("1m", [DAY])]
    assert whole(lake, "1m").height == 390
    assert not whole(lake, "1m")["forming"].any()


def test_a_bar_counts_from_its_end_and_a_forming_one_from_its_receipt(lake):
    now = OPENS + timedelta(minutes=10, seconds=30)
    ask(lake, Minutes(), now)
    bars = whole(lake, "1m")
    assert bars["available_at"].to_list() == [
        *(OPENS + timedelta(minutes=count) for count in range(1, 11)),
        now,
    ]
    assert bars["exchange_time"][0] == "2025-04-24T09:30:00-04:00"
    assert set(bars["phase"]) == {"regular"}


def test_what_breaks_a_rule_is_quarantined_with_it_and_told_once(lake):
    sunday = datetime.combine(DAY + timedelta(days=3), OPENS.timetz())
    broken = pl.DataFrame(
        [("AAA", OPENS + timedelta(seconds=30), 10.0, 10.0, 10.0, 10.0, 1.0), ("AAA", sunday, 1.0, 1.0, 1.0, 1.0, 1.0)],
        schema=INTRADAY_SCHEMA,
        orient="row",
    )
    for _ in range(2):
        report = ask(lake, Minutes(spoil=broken), OPENS + timedelta(hours=1))
    issues = lake.read("us", INTRADAY_ISSUES, DAY, DAY)
    assert sorted(issues["rule"]) == ["duplicate_row", "off_grid"]
    assert dict(report.rules) == {"duplicate_row": 1, "off_grid": 1}
    assert whole(lake, "1m").filter(pl.col("started_at") == OPENS + timedelta(seconds=30)).is_empty()


def test_prices_that_a_later_split_divided_are_brought_back(lake):
    split = pl.DataFrame(
        {
            "session": [XNYS.offset(DAY, 1)], "instrument_id": ["us:AAA"], "ticker": ["AAA"], "kind": ["split"],
            "value": [4.0],
        }
    )  # fmt: skip
    known = XNYS.close_at(XNYS.offset(DAY, 1))
    rest = {name: pl.lit(None, dtype) for name, dtype in CORPORATE_ACTIONS.schema.items() if name not in split.columns}
    row = split.with_columns(**rest).with_columns(
        rules=pl.lit(""),
        currency=pl.lit("USD"), provider=pl.lit("minutes"), withdrawn=pl.lit(False),
        available_at=pl.lit(known, MOMENT), known_at=pl.lit(known, MOMENT),
    )  # fmt: skip
    lake.replace("us", "corporate_actions", [XNYS.offset(DAY, 1)], row.select(CORPORATE_ACTIONS.names))
    ask(lake, Minutes(basis="split_adjusted"), known + timedelta(hours=6))
    bars = whole(lake, "1m")
    assert (bars["close"][0], bars["volume"][0]) == pytest.approx((40.4, 25.0))


def test_a_market_of_which_nobody_is_told_is_silent(lake):
    provider = Minutes()
    report = ask(lake, provider, EVENING, ids={})
    assert report.silent == "minutes tells none of the watched names"
    assert provider.asked == []


def test_a_session_beyond_the_providers_reach_is_refused(lake):
    with pytest.raises(LiveOnly, match="tells no minutes of 2025-04-24 any more"):
        ask(lake, Minutes(), EVENING + timedelta(days=61))
