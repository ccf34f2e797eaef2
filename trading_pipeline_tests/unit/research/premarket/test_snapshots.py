"""Snapshots: every figure against its definition, on mornings that are hard."""

from __future__ import annotations

import statistics
from datetime import date, datetime, timedelta

import polars as pl
import pytest

from trading_pipeline.research.premarket import snapshots
from trading_pipeline.tables import CORPORATE_ACTIONS, INTRADAY_BARS, MOMENT, PREMARKET_SNAPSHOTS
from trading_pipeline_tests.mornings import XNYS, Desk, days_of, desk, intraday, moments

NAME = "us:A"
SESSIONS = XNYS.between(date(2024, 10, 1), date(2025, 12, 3))
DAYS = days_of(SESSIONS)
TODAY = SESSIONS[-1]
NO_ACTIONS = CORPORATE_ACTIONS.empty().select("session", "instrument_id", "kind", "value")
NO_INDICATORS = pl.DataFrame(schema={"session": pl.Date, "instrument_id": pl.String, "atr_14": pl.Float64})


def daily(closes: list[float], sessions: list[date] = SESSIONS) -> pl.DataFrame:
    """Bars of the last sessions before today, a point up and two down."""
    days = sessions[: sessions.index(TODAY)][-len(closes) :]
    return pl.DataFrame({"session": days, "close": closes}).select(
        "session",
        pl.lit(NAME).alias("instrument_id"),
        high=pl.col("close") + 1,
        low=pl.col("close") - 2,
        close="close",
    )


def fives(day: date, first: int, closes: list[float], **others: list[float]) -> pl.DataFrame:
    """5-minute bars of a session from so many minutes before its open on."""
    rows = pl.DataFrame({"close": closes}, schema={"close": pl.Float64}).with_columns(
        instrument_id=pl.lit(NAME),
        started_at=pl.Series(
            [XNYS.open_at(day) + timedelta(minutes=5 * step - first) for step in range(len(closes))], dtype=MOMENT
        ),
        **{name: pl.Series(others.get(name, closes), dtype=pl.Float64) for name in ("open", "high", "low")},
        volume=pl.Series(others.get("volume", [1000.0] * len(closes)), dtype=pl.Float64),
    )
    return intraday(rows, DAYS)


def take(
    bars: pl.DataFrame,
    intraday_bars: pl.DataFrame | None = None,
    actions: pl.DataFrame = NO_ACTIONS,
    indicators: pl.DataFrame = NO_INDICATORS,
    day: date = TODAY,
) -> dict[str, object] | None:
    watched = pl.DataFrame({"session": [day], "instrument_id": [NAME], "ticker": ["A"]})
    intraday_bars = INTRADAY_BARS.empty() if intraday_bars is None else intraday_bars
    told = PREMARKET_SNAPSHOTS.conform(
        snapshots(bars, actions, intraday_bars, indicators, watched, DAYS, moments([day], "live"))
    )
    return told.row(0, named=True) if told.height else None


def split(on: date, ratio: float) -> pl.DataFrame:
    return pl.DataFrame({"session": [on], "instrument_id": [NAME], "kind": ["split"], "value": [ratio]})


def test_levels_gap_and_premarket_of_a_plain_morning():
    early = fives(TODAY, 120, [101.0, 103.0, 102.0], high=[101.5, 103.5, 103.0], low=[100.5, 101.0, 101.5])
    row = take(daily([95.0, 100.0]), early)
    assert (row["previous_close"], row["previous_high"], row["previous_low"]) == (100.0, 101.0, 98.0)
    assert (row["price"], row["premarket_high"], row["premarket_low"]) == (102.0, 103.5, 100.5)
    assert row["gap_pct"] == pytest.approx(2.0)
    assert (row["taken"], row["decided_at"]) == ("live", XNYS.open_at(TODAY) - timedelta(hours=1))


def test_only_what_was_over_and_available_at_the_premarket_moment_counts():
    """The bar that begins at 08:25 is over at 08:30; the next is not."""
    bars = fives(TODAY, 70, [101.0, 102.0, 150.0])
    assert take(daily([100.0]), bars)["price"] == 102.0
    late = bars.with_columns(available_at=pl.col("available_at") + timedelta(minutes=1))
    assert take(daily([100.0]), late)["price"] == 101.0
    early = bars.with_columns(available_at=pl.col("started_at"))
    assert take(daily([100.0]), early)["price"] == 102.0, "no source knows a bar before it is over"


def test_a_name_without_trades_this_morning_has_no_price_but_its_levels():
    bars = fives(SESSIONS[-2], 0, [100.0, 101.0] * 39)
    row = take(daily([95.0] * 19 + [99.0, 100.0]), bars)
    unknown = ("price", "gap_pct", "premarket_high", "premarket_low", "premarket_volume", "premarket_relative_volume")
    assert [row[name] for name in unknown] == [None] * 6
    assert row["anchored_mean"] == 100.5
    assert row["day_position"] == pytest.approx((100 - 95) / 5), "of the last close"
    assert row["band"] == pytest.approx((100 - 100.5) / row["anchored_sigma"])


def test_yesterdays_post_market_is_no_price_of_this_morning():
    assert take(daily([100.0]), fives(SESSIONS[-2], -390, [111.0]))["price"] is None


def test_a_name_that_never_had_a_daily_bar_has_no_row():
    assert take(daily([100.0]).clear(), fives(TODAY, 120, [101.0])) is None
    long_ago = daily([100.0] * 60).filter(pl.col("session") < SESSIONS[-22])
    assert take(long_ago, fives(TODAY, 120, [101.0])) is None
    halted = daily([100.0] * 60).filter(pl.col("session") < SESSIONS[-10])
    assert take(halted)["previous_close"] == 100.0


class TestHigherTimeframes:
    def test_days_are_the_last_twenty_closes(self):
        closes = [10.0] * 30 + [100.0 + (step * 7) % 13 for step in range(20)]
        row = take(daily(closes), fives(TODAY, 120, [106.0]))
        last = closes[-20:]
        assert row["day_mean"] == pytest.approx(statistics.mean(last))
        assert row["day_sigma"] == pytest.approx(statistics.stdev(last))
        assert row["day_position"] == pytest.approx((106 - min(last)) / (max(last) - min(last)))

    @pytest.mark.parametrize("today", [date(2025, 12, 3), date(2025, 12, 1), date(2025, 11, 28), date(2025, 7, 7)])
    def test_weeks_and_months_are_those_before_the_ones_under_way(self, today):
        """By their last closes, holidays and half-days included; 2025-07-04 was a Friday without trading."""
        past = SESSIONS[: SESSIONS.index(today)]
        closes = {day: 100 + 30 * (number % 11) / 10 + number / 50 for number, day in enumerate(past)}
        frame = pl.DataFrame({"session": list(closes), "close": list(closes.values())}).select(
            "session", pl.lit(NAME).alias("instrument_id"), "close", high="close", low="close"
        )
        row = take(frame, day=today)
        by_week = {day.isocalendar()[:2]: close for day, close in closes.items()}
        by_week.pop(today.isocalendar()[:2], None)
        by_month = {(day.year, day.month): close for day, close in closes.items()}
        by_month.pop((today.year, today.month), None)
        price = list(closes.values())[-1]
        for span, told, count in (("week", by_week, 13), ("month", by_month, 12)):
            last = list(told.values())[-count:]
            if today == date(2025, 7, 7) and span == "month":
                last = list(told.values())
                assert len(last) == 9, "three quarters of the year are there"
            assert row[f"{span}_mean"] == pytest.approx(statistics.mean(last))
            assert row[f"{span}_sigma"] == pytest.approx(statistics.stdev(last))
            assert row[f"{span}_position"] == pytest.approx((price - min(last)) / (max(last) - min(last)))

    def test_too_little_history_is_null(self):
        row = take(daily([100.0 + step for step in range(14)]))
        assert [row[f"{span}_mean"] for span in ("day", "week", "month")] == [None] * 3
        assert take(daily([100.0 + step for step in range(15)]))["day_mean"] == 107.0

    def test_a_price_outside_is_below_zero_or_above_one_and_a_flat_name_has_no_position(self):
        closes = [100.0 + step % 3 for step in range(20)]
        assert take(daily(closes), fives(TODAY, 120, [104.0]))["day_position"] == pytest.approx(2.0)
        assert take(daily(closes), fives(TODAY, 120, [99.0]))["day_position"] == pytest.approx(-0.5)
        flat = take(daily([100.0] * 20))
        assert (flat["day_position"], flat["day_sigma"]) == (None, 0.0)


class TestBands:
    def test_are_around_the_mean_of_all_closes_since_yesterdays_open(self):
        """Premarket of yesterday is before the anchor; post-market and this morning are after it."""
        yesterday = SESSIONS[-2]
        before, open_, after = [500.0] * 6, [100.0 + step % 5 for step in range(78)], [103.0, 104.0]
        bars = pl.concat(
            [fives(yesterday, 30, before), fives(yesterday, 0, [*open_, *after]), fives(TODAY, 90, [105.0, 106.0])]
        )
        row = take(daily([100.0]), bars)
        closes = [*open_, *after, 105.0, 106.0]
        mean, sigma = statistics.mean(closes), statistics.stdev(closes)
        assert (row["anchored_mean"], row["anchored_sigma"]) == pytest.approx((mean, sigma))
        for width in (1, 2, 3):
            assert row[f"band_lower_{width}"] == pytest.approx(mean - width * sigma)
            assert row[f"band_upper_{width}"] == pytest.approx(mean + width * sigma)
        assert row["band"] == pytest.approx((106.0 - mean) / sigma)

    def test_the_half_days_yesterday_ends_early_and_the_clock_change_lies_between(self):
        """Sunday 2025-11-02 the clocks changed; Friday 2025-11-28 closed at 13:00."""
        for yesterday, today, count in (
            (date(2025, 10, 31), date(2025, 11, 3), 78),
            (date(2025, 11, 28), date(2025, 12, 1), 42),
        ):
            frame = daily([100.0] * 30, [*[day for day in SESSIONS if day < today], TODAY])
            bars = pl.concat([fives(yesterday, 0, [100.0, 102.0] * (count // 2)), fives(today, 65, [104.0])])
            row = take(frame, bars, day=today)
            assert row["price"] == 104.0
            assert row["anchored_mean"] == pytest.approx((101.0 * count + 104.0) / (count + 1))

    def test_too_few_bars_are_no_band(self):
        row = take(daily([100.0]), fives(TODAY, 180, [100.0 + step for step in range(19)]))
        assert (row["anchored_mean"], row["band"], row["band_upper_1"]) == (None, None, None)

    def test_minutes_make_them_where_there_are_no_five_minute_bars(self):
        start = XNYS.open_at(SESSIONS[-2])
        rows = pl.DataFrame({"number": range(200)}).select(
            pl.lit(NAME).alias("instrument_id"),
            started_at=pl.lit(start, MOMENT) + pl.duration(minutes="number"),
            **{name: 100.0 + pl.col("number") for name in ("open", "high", "low", "close")},
            volume=pl.lit(10.0),
        )
        row = take(daily([100.0]), intraday(rows, DAYS, "1m"))
        assert row["anchored_mean"] == pytest.approx(statistics.mean(104.0 + 5 * step for step in range(40)))


class TestSplits:
    def test_with_an_ex_date_today_yesterday_is_told_in_todays_shares(self):
        bars = pl.concat([fives(SESSIONS[-2], 0, [1000.0] * 78), fives(TODAY, 120, [101.0])])
        indicators = pl.DataFrame({"session": [SESSIONS[-2]], "instrument_id": [NAME], "atr_14": [20.0]})
        row = take(daily([990.0] * 20 + [1000.0]), bars, split(TODAY, 10.0), indicators)
        assert (row["previous_close"], row["previous_high"], row["previous_low"]) == pytest.approx((100, 100.1, 99.8))
        assert row["gap_pct"] == pytest.approx(1.0)
        assert row["day_mean"] == pytest.approx((99.0 * 19 + 100) / 20)
        assert row["anchored_mean"] == pytest.approx((78 * 100 + 101) / 79)
        assert row["atr_14"] == pytest.approx(2.0)

    def test_between_the_last_bar_and_today_count_too(self):
        """Halted since three sessions; the split went ex in between."""
        frame = daily([1000.0] * 10).filter(pl.col("session") < SESSIONS[-4])
        row = take(frame, fives(TODAY, 120, [202.0]), split(SESSIONS[-3], 5.0))
        assert (row["previous_close"], row["gap_pct"]) == pytest.approx((200.0, 1.0))

    def test_tomorrow_are_none_of_todays_business(self):
        later = XNYS.offset(TODAY, 1)
        assert take(daily([100.0]), fives(TODAY, 120, [101.0]), split(later, 10.0))["previous_close"] == 100.0


def test_a_trade_reported_late_is_no_premarket_low():
    """SPY of 2025-07-08 had a low of 523 at 08:33 between prices of 621."""
    closes = [621.0, 621.1, 621.2, 621.1, 621.1]
    low, high = [620.9, 523.1, 621.0, 621.0, 621.0], [621.2, 621.2, 700.0, 621.3, 621.2]
    bars = fives(TODAY, 120, closes, low=low, high=high)
    row = take(daily([620.0]), bars)
    assert (row["premarket_low"], row["premarket_high"]) == (620.9, 621.3)


def test_of_two_providers_the_first_voice_is_heard():
    mine = fives(TODAY, 120, [101.0, 102.0])
    other = fives(TODAY, 120, [201.0, 202.0, 203.0]).with_columns(provider=pl.lit("yahoo"))
    both = INTRADAY_BARS.conform(pl.concat([mine, other]))
    watched = pl.DataFrame({"session": [TODAY], "instrument_id": [NAME], "ticker": ["A"]})
    for priority, price in ((["yahoo"], 203.0), (["files"], 102.0), ([], 102.0)):
        told = snapshots(
            daily([100.0]), NO_ACTIONS, both, NO_INDICATORS, watched, DAYS, moments([TODAY]), priority=priority
        )
        assert told["price"].to_list() == [price]


@pytest.mark.parametrize("lacking", ["this morning", "on time", "5 minutes"])
@pytest.mark.parametrize("priority", [["first", "second"], []])
def test_a_voice_that_tells_nothing_of_the_morning_leaves_it_to_the_next(lacking, priority):
    """The first one tells yesterday; its premarket bars are missing or too late, or the next one's are of minutes."""
    yesterday = fives(SESSIONS[-2], 0, [100.0 + step % 3 for step in range(78)])
    silent = yesterday
    if lacking == "on time":
        late = fives(TODAY, 120, [111.0, 112.0]).with_columns(pl.col("available_at", "known_at") + timedelta(hours=1))
        silent = INTRADAY_BARS.conform(pl.concat([yesterday, late]))
    heard = fives(TODAY, 120, [101.0, 103.0], volume=[400.0, 600.0])
    if lacking == "5 minutes":
        heard = heard.with_columns(interval=pl.lit("1m"))
    told = [silent.with_columns(provider=pl.lit("first")), heard.with_columns(provider=pl.lit("second"))]
    watched = pl.DataFrame({"session": [TODAY], "instrument_id": [NAME], "ticker": ["A"]})
    for bars in (told, told[::-1]):
        [row] = snapshots(
            daily([100.0]), NO_ACTIONS, INTRADAY_BARS.conform(pl.concat(bars)), NO_INDICATORS, watched, DAYS,
            moments([TODAY]), priority=priority,
        ).iter_rows(named=True)  # fmt: skip
        assert (row["price"], row["premarket_high"], row["premarket_volume"]) == (103.0, 103.0, 1000.0)
        assert row["anchored_mean"] == pytest.approx((78 * 101.0 + 101.0 + 103.0) / 80), "with yesterday's first voice"


def test_a_forming_bar_is_not_looked_at_and_the_latest_version_counts():
    bars = fives(TODAY, 120, [101.0, 102.0])
    revised = bars[1:].with_columns(pl.col("close") + 1, known_at=pl.col("known_at") + timedelta(minutes=1))
    half = fives(TODAY, 75, [150.0]).with_columns(
        forming=pl.lit(True), known_at=pl.col("known_at") - timedelta(minutes=1)
    )
    assert take(daily([100.0]), INTRADAY_BARS.conform(pl.concat([bars, revised, half])))["price"] == 103.0


def test_days_that_lack_the_session_before_are_refused():
    watched = pl.DataFrame({"session": [TODAY], "instrument_id": [NAME], "ticker": ["A"]})
    few = DAYS.filter(pl.col("session") == TODAY)
    with pytest.raises(ValueError, match="the session before it"):
        snapshots(daily([100.0]), NO_ACTIONS, INTRADAY_BARS.empty(), NO_INDICATORS, watched, few, moments([TODAY]))
    twice = pl.concat([moments([TODAY])] * 2)
    with pytest.raises(ValueError, match="names one twice"):
        snapshots(daily([100.0]), NO_ACTIONS, INTRADAY_BARS.empty(), NO_INDICATORS, watched, DAYS, twice)


def test_nobody_watched_is_an_empty_table():
    told = desk(1, names=6)
    empty = snapshots(
        told.daily, told.actions, told.intraday, told.indicators, told.watched.clear(), told.days, told.judged([TODAY])
    )
    assert PREMARKET_SNAPSHOTS.conform(empty).is_empty()


@pytest.fixture(scope="module")
def hard() -> Desk:
    return desk(3, names=9)


def test_a_random_desk_is_what_its_definitions_say(hard):
    """Price, anchored mean and levels of every name and session, by plain loops over the rows."""
    sessions = hard.sessions[-12:]
    told = snapshots(
        hard.daily, hard.actions, hard.intraday, hard.indicators, hard.watched, hard.days, hard.judged(sessions)
    )
    decided = dict(hard.judged(sessions).select("session", "decided_at").iter_rows())
    ratios: dict[str, list[tuple[date, float]]] = {}
    for name, day, value in hard.actions.filter(kind="split").select("instrument_id", "session", "value").iter_rows():
        ratios.setdefault(name, []).append((day, value))

    def factor(name: str, since: date, until: date) -> float:
        out = 1.0
        for day, value in ratios.get(name, []):
            out /= value if since < day <= until else 1.0
        return out

    versions: dict[tuple[str, date], list[dict]] = {}
    for row in hard.intraday.filter(interval="5m", forming=False, provider="files").iter_rows(named=True):
        versions.setdefault((row["instrument_id"], row["session"]), []).append(row)
    seen_prices = 0
    for row in told.iter_rows(named=True):
        name, today = row["instrument_id"], row["session"]
        yesterday = XNYS.offset(today, -1)
        latest: dict[datetime, dict] = {}
        for day, phases in ((yesterday, ("regular", "post")), (today, ("pre",))):
            for bar in versions.get((name, day), []):
                if bar["phase"] in phases and bar["available_at"] <= decided[today]:
                    before = latest.get(bar["started_at"])
                    if before is None or before["available_at"] < bar["available_at"]:
                        latest[bar["started_at"]] = bar
        chosen = [latest[start] for start in sorted(latest)]
        closes = [bar["close"] * factor(name, bar["session"], today) for bar in chosen]
        mornings = [bar["close"] for bar in chosen if bar["session"] == today]
        assert row["price"] == (pytest.approx(mornings[-1]) if mornings else None)
        seen_prices += bool(mornings)
        if len(closes) >= 20:
            assert row["anchored_mean"] == pytest.approx(statistics.mean(closes))
            assert row["anchored_sigma"] == pytest.approx(statistics.stdev(closes))
        else:
            assert row["anchored_mean"] is None
        past = hard.daily.filter((pl.col("instrument_id") == name) & (pl.col("session") < today)).sort("session")
        last = past.row(-1, named=True)
        assert row["previous_close"] == pytest.approx(last["close"] * factor(name, last["session"], today))
    assert seen_prices > 60
