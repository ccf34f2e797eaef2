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
from trading_pipeline.research.premarket import INTRADAY_LOOKBACK
from trading_pipeline.sessions import calendar
from trading_pipeline.storage.lake import Lake
from trading_pipeline.tables import (
    CORPORATE_ACTIONS,
    DAILY_BARS,
    INTRADAY_BARS,
    INTRADAY_ISSUES,
    MOMENT,
    RECEIVED_ACTIONS,
    Table,
)

XNYS = calendar("XNYS")
DAY = date(2025, 4, 24)
OPENS, CLOSES = XNYS.open_at(DAY), XNYS.close_at(DAY)
EVENING = CLOSES + timedelta(hours=5)
IDS = {"AAA": "us:AAA"}
TICKERS = pl.DataFrame({"instrument_id": ["us:AAA"], "ticker": ["AAA"]})


class Minutes:
    """A provider that forgets after sixty days, and remembers what it was asked."""

    name, lag, quota = "minutes", timedelta(0), Quota(1e6, 1e6, 1)

    def __init__(
        self, basis: Any = "as_traded", spoil: pl.DataFrame | None = None, divided: tuple[date, float] | None = None
    ) -> None:
        """divided: an ex-date and a ratio by which, from that midnight on, all before is told divided."""
        self.basis, self.spoil, self.divided = basis, spoil, divided
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
        if self.divided is not None and XNYS.local_date(now) >= self.divided[0]:
            ex_date, ratio = self.divided
            before = pl.col("started_at") < XNYS.open_at(ex_date) - timedelta(hours=9)
            factor = pl.when(before).then(ratio).otherwise(1.0)
            bars = bars.with_columns(
                *(pl.col(name) / factor for name in ("open", "high", "low", "close")), pl.col("volume") * factor
            )
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


def rows_of(table: Table, known: datetime, **told: Any) -> pl.DataFrame:
    """A row of a table that tells this; the rest is null where that is allowed."""
    plain = {pl.String(): "", pl.Float64(): 1.0, pl.Boolean(): False, MOMENT: known}
    usual = {column.name: None if column.nullable else plain.get(column.dtype) for column in table.columns}
    return pl.DataFrame([usual | {"instrument_id": "us:AAA", "provider": "minutes"} | told], schema=table.schema)


def tell_split(lake: Lake, ex_date: date, known: datetime, value: float = 4.0, *, viewed: bool = True) -> None:
    """The split in the best view of actions, or only as received."""
    told = {"session": ex_date, "kind": "split", "value": value}
    if viewed:
        lake.replace("us", "corporate_actions", [ex_date], rows_of(CORPORATE_ACTIONS, known, ticker="AAA", **told))
    else:
        lake.append("us", "received_actions", rows_of(RECEIVED_ACTIONS, known, **told))


def tell_days(lake: Lake, days: Sequence[date], factor: float = 1.0) -> None:
    """Daily bars as traded, of what `Minutes` tells, each known in its evening."""
    prices = {name: price * factor for name, price in (("open", 10.0), ("high", 10.2), ("low", 9.9), ("close", 10.1))}
    bars = [
        rows_of(DAILY_BARS, XNYS.close_at(day) + timedelta(hours=2), session=day, data_quality="good", **prices)
        for day in days
    ]
    lake.replace("us", "daily_bars", list(days), pl.concat(bars))


def test_prices_that_a_later_split_divided_are_brought_back(lake):
    known = XNYS.close_at(XNYS.offset(DAY, 1))
    tell_split(lake, XNYS.offset(DAY, 1), known)
    ask(lake, Minutes(basis="split_adjusted"), known + timedelta(hours=6))
    bars = whole(lake, "1m")
    assert (bars["close"][0], bars["volume"][0]) == pytest.approx((40.4, 25.0))


class TestOnTheMorningOfASplit:
    """4 for 1, ex `DAY`: the past is told divided from its first hour on, and the split is told in its evening."""

    MORNING = OPENS - timedelta(hours=1)
    BEFORE = XNYS.offset(DAY, -1)
    PAST = XNYS.between(XNYS.offset(DAY, -INTRADAY_LOOKBACK), BEFORE)

    @pytest.fixture
    def provider(self) -> Minutes:
        return Minutes("split_adjusted", divided=(DAY, 4.0))

    def closes(self, lake: Lake, interval: str = "5m", last: date = BEFORE) -> list[float]:
        """What the latest versions of the past's bars close at, each told once."""
        rows = lake.read("us", INTRADAY_BARS, self.PAST[0], last).filter(pl.col("interval") == interval)
        latest = rows.sort("known_at").unique(["session", "started_at"], keep="last")
        return latest["close"].round(6).unique().sort().to_list()

    def test_a_past_that_is_fetched_then_for_the_first_time_is_quarantined_with_a_named_rule(self, lake, provider):
        tell_days(lake, self.PAST)
        report = ask(lake, provider, self.MORNING)
        assert self.closes(lake) == [] and self.closes(lake, "1m") == []
        assert dict(report.rules) == {"unknown_basis": 78 * len(self.PAST) + 390}
        issues = lake.read("us", INTRADAY_ISSUES, self.PAST[0], DAY)
        assert set(issues["rule"]) == {"unknown_basis"} and set(issues["severity"]) == {"rejected"}
        assert set(issues["detail"]) == {"closes around 2.525 beside a daily bar of 9.9 to 10.2"}

    def test_it_is_asked_for_again_and_stored_as_traded_once_the_split_is_told(self, lake, provider):
        tell_days(lake, self.PAST)
        ask(lake, provider, self.MORNING)
        tell_split(lake, DAY, CLOSES + timedelta(hours=2))
        tell_days(lake, [*self.PAST, DAY])
        report = ask(lake, provider, EVENING)
        assert not report.rules
        assert self.closes(lake) == self.closes(lake, "1m") == [10.1]
        assert whole(lake, "5m")["close"].unique().to_list() == [10.1], "the ex-date itself was never divided"
        provider.asked.clear()
        ask(lake, provider, EVENING + timedelta(hours=1))
        assert provider.asked == []

    @pytest.mark.parametrize("viewed", [True, False], ids=["in the best view", "as received"])
    def test_a_split_that_was_told_before_is_undone(self, lake, provider, viewed):
        tell_days(lake, self.PAST)
        tell_split(lake, DAY, XNYS.close_at(self.BEFORE), viewed=viewed)
        assert not ask(lake, provider, self.MORNING).rules
        assert self.closes(lake) == [10.1]

    def test_a_split_of_which_providers_tell_two_ratios_is_not_known(self, lake, provider):
        tell_days(lake, self.PAST)
        tell_split(lake, DAY, XNYS.close_at(self.BEFORE), 3.0, viewed=False)
        other = {"session": DAY, "kind": "split", "value": 4.0, "provider": "another"}
        lake.append("us", "received_actions", rows_of(RECEIVED_ACTIONS, XNYS.close_at(self.BEFORE), **other))
        assert set(ask(lake, provider, self.MORNING).rules) == {"unknown_basis"}

    def test_one_that_the_provider_has_not_made_yet_multiplies_nothing(self, lake):
        """Known ahead, and undone though the answer is as traded: it would be four times too dear."""
        tell_days(lake, self.PAST)
        tell_split(lake, DAY, XNYS.close_at(self.BEFORE))
        assert set(ask(lake, Minutes("split_adjusted"), self.MORNING).rules) == {"unknown_basis"}
        assert self.closes(lake) == []

    def test_one_that_goes_ex_tomorrow_is_not_undone_today(self, lake):
        tell_days(lake, self.PAST)
        tell_split(lake, XNYS.offset(DAY, 1), self.MORNING, viewed=False)
        assert not ask(lake, Minutes("split_adjusted"), self.MORNING).rules
        assert self.closes(lake) == [10.1]

    def test_what_was_stored_half_and_right_is_not_revised_by_it(self, lake, provider):
        tell_days(lake, self.PAST)
        ask(lake, provider, XNYS.open_at(self.BEFORE) + timedelta(hours=2), [self.BEFORE])
        before = lake.read("us", INTRADAY_BARS, self.PAST[0], self.BEFORE)
        ask(lake, provider, self.MORNING)
        assert lake.read("us", INTRADAY_BARS, self.PAST[0], self.BEFORE).height == before.height
        assert self.closes(lake) == [10.1]

    def test_a_past_without_a_daily_bar_is_not_whole_until_the_split_is_told(self, lake, provider):
        """There is nothing to compare it with: it is kept as told, and set right when the split is known."""
        ask(lake, provider, self.MORNING)
        assert self.closes(lake) == [2.525]
        tell_split(lake, DAY, CLOSES + timedelta(hours=2))
        provider.asked.clear()
        report = ask(lake, provider, EVENING)
        assert provider.asked[0] == ("5m", [*self.PAST, DAY], ["AAA"])
        assert report.revised == 78 * len(self.PAST) + 390
        assert self.closes(lake) == [10.1]
        provider.asked.clear()
        ask(lake, provider, EVENING + timedelta(hours=1))
        assert provider.asked == []

    def test_a_past_that_was_received_before_the_ex_date_is_not_asked_for_again(self, lake, provider):
        ask(lake, provider, XNYS.close_at(self.BEFORE) + timedelta(hours=5), [self.BEFORE])
        tell_split(lake, DAY, CLOSES + timedelta(hours=2))
        provider.asked.clear()
        ask(lake, provider, EVENING)
        assert provider.asked == [("5m", [DAY], ["AAA"]), ("1m", [DAY], ["AAA"])]

    def test_a_source_that_tells_what_was_traded_is_not_held_to_daily_bars(self, lake):
        tell_days(lake, self.PAST, factor=3.0)
        assert not ask(lake, Minutes("as_traded"), self.MORNING).rules
        assert self.closes(lake) == [10.1]

    def test_a_bad_daily_bar_and_one_of_the_session_under_way_judge_nothing(self, lake):
        tell_days(lake, [*self.PAST, DAY], factor=3.0)
        bad = lake.read("us", DAILY_BARS, self.PAST[0], self.BEFORE).with_columns(data_quality=pl.lit("bad"))
        lake.replace("us", "daily_bars", self.PAST, bad)
        assert not ask(lake, Minutes("split_adjusted"), EVENING).rules


def test_a_market_of_which_nobody_is_told_is_silent(lake):
    provider = Minutes()
    report = ask(lake, provider, EVENING, ids={})
    assert report.silent == "minutes tells none of the watched names"
    assert provider.asked == []


def test_a_session_beyond_the_providers_reach_is_refused(lake):
    with pytest.raises(LiveOnly, match="tells no minutes of 2025-04-24 any more"):
        ask(lake, Minutes(), EVENING + timedelta(days=61))
