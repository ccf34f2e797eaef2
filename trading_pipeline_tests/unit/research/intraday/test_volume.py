"""Premarket volume against its own normal by the time of day: what counts, what is zero, what is unknown."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.research.intraday import LOOKBACK, premarket_volume
from trading_pipeline.tables import CORPORATE_ACTIONS, INTRADAY_BARS, MOMENT
from trading_pipeline_tests.mornings import XNYS, days_of, desk, intraday, moments

LAST = date(2025, 12, 3)
SESSIONS = XNYS.between(date(2025, 10, 1), LAST)
DAYS = days_of(SESSIONS)
NO_ACTIONS = CORPORATE_ACTIONS.empty().select("session", "instrument_id", "kind", "value")


def bar(name: str, day: date, before_open: int, volume: float | None, provider: str = "files") -> dict[str, object]:
    """A 5-minute bar that begins so many minutes before the open (after it, where negative)."""
    return {
        "instrument_id": name,
        "provider": provider,
        "started_at": XNYS.open_at(day) - timedelta(minutes=before_open),
        "open": 10.0,
        "high": 10.0,
        "low": 10.0,
        "close": 10.0,
        "volume": volume,
    }


def bars(rows: list[dict[str, object]], interval: str = "5m") -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema_overrides={"volume": pl.Float64, "started_at": MOMENT})
    return intraday(frame, DAYS, interval)


def of(frame: pl.DataFrame, name: str = "us:A", at: pl.DataFrame | None = None, actions=NO_ACTIONS, **options):
    told = premarket_volume(frame, actions, DAYS, moments([LAST]) if at is None else at, **options)
    return told.filter(instrument_id=name).row(0, named=True)


def usual(name: str = "us:A", days: list[date] = SESSIONS, volume: float | None = 100.0, **others) -> list[dict]:
    """Each day 100 shares at 08:00, 900 more at 09:00, and a regular bar."""
    return [
        row
        for day in days
        for row in (
            bar(name, day, 90, volume, **others),
            bar(name, day, 30, None if volume is None else 9 * volume, **others),
            bar(name, day, -60, 5000.0, **others),
        )
    ]


def test_volume_is_compared_with_the_same_time_of_the_sessions_before():
    """At 08:30 what trades at 09:00 counts on no day; the clock change and the half-day move nothing."""
    today = [bar("us:A", LAST, 90, 250.0), bar("us:A", LAST, 65, 50.0), bar("us:A", LAST, 30, 7777.0)]
    row = of(bars([*usual(days=SESSIONS[:-1]), *today]))
    assert (row["volume"], row["normal"], row["relative_volume"], row["known_sessions"]) == (300.0, 100.0, 3.0, 20)


def test_a_profile_is_the_same_question_at_many_times_of_the_day():
    times = [120, 85, 60, 25, 0]
    at = pl.DataFrame(
        {"session": [LAST] * 5, "decided_at": [XNYS.open_at(LAST) - timedelta(minutes=each) for each in times]}
    )
    told = premarket_volume(bars(usual()), NO_ACTIONS, DAYS, at)
    assert told["normal"].to_list() == [None, 100.0, 100.0, 1000.0, 1000.0], "by 07:30 the source told of nobody"
    assert told["relative_volume"].to_list() == [None, 1.0, 1.0, 1.0, 1.0]


def test_the_mean_is_of_the_20_sessions_before():
    """Session k before today has 100 x k shares: the mean of 1 to 20 is 10.5."""
    rows = [
        row for back, day in enumerate(reversed(SESSIONS)) for row in usual(days=[day], volume=100.0 * back or 700.0)
    ]
    row = of(bars(rows))
    assert (row["volume"], row["normal"]) == (700.0, pytest.approx(1050.0))
    assert LOOKBACK == 20


def test_where_a_provider_says_zero_before_the_open_volume_is_unknown_not_low():
    """As Yahoo does: the bars are there, their volume is always 0."""
    row = of(bars(usual(volume=0.0)))
    assert (row["volume"], row["normal"], row["relative_volume"], row["known_sessions"]) == (None, None, None, 0)


def test_a_zero_among_counts_is_no_count():
    rows = [*usual(), bar("us:A", LAST, 70, 0.0)]
    assert of(bars(rows))["volume"] == 100.0
    silent = [row for day in SESSIONS[-6:-1] for row in usual(days=[day], volume=0.0)]
    row = of(bars([*usual(days=SESSIONS[:-6]), *silent, *usual(days=[LAST])]))
    assert (row["normal"], row["known_sessions"]) == (100.0, 15), "five sessions are unknown, not zero"


class TestNoTradesBeforeTheOpen:
    def quiet(self, days: list[date] = SESSIONS) -> list[dict]:
        return [bar("us:Q", day, -60, 5000.0) for day in days]

    def test_are_zero_where_the_same_source_told_of_others(self):
        row = of(bars([*usual(), *self.quiet()]), "us:Q")
        assert (row["volume"], row["normal"], row["relative_volume"], row["known_sessions"]) == (0.0, 0.0, None, 20)

    def test_lower_the_normal_of_one_who_sometimes_trades(self):
        some = usual("us:Q", days=SESSIONS[-5:-1])
        row = of(bars([*usual(), *self.quiet(SESSIONS[:-5]), *some]), "us:Q")
        assert (row["normal"], row["known_sessions"]) == (100.0 * 4 / 20, 20)

    def test_are_not_what_a_bar_without_a_count_says(self):
        """A price was told this morning and its volume was not: unknown, though others' volume was told."""
        for volume in (0.0, None):
            row = of(bars([*usual(), *self.quiet(), bar("us:Q", LAST, 70, volume)]), "us:Q")
            assert (row["volume"], row["normal"], row["relative_volume"]) == (None, 0.0, None)

    def test_are_unknown_on_a_past_morning_whose_bars_had_no_count(self):
        some = [bar("us:Q", day, 70, 0.0) for day in SESSIONS[-6:-1]]
        row = of(bars([*usual(), *self.quiet(), *some]), "us:Q")
        assert (row["volume"], row["known_sessions"]) == (0.0, 15)

    def test_are_unknown_where_another_source_saw_one(self):
        """A single exchange saw nothing, and the consolidated feed a price without its volume."""
        row = of(bars([*usual(), *self.quiet(), bar("us:Q", LAST, 70, None, provider="whole")]), "us:Q")
        assert (row["volume"], row["relative_volume"]) == (None, None)
        counted = [*usual(), *self.quiet(), bar("us:Q", LAST, 70, 40.0, provider="whole")]
        assert of(bars(counted), "us:Q")["volume"] == 40.0

    def test_are_unknown_where_the_source_tells_no_one_before_the_open(self):
        row = of(bars([*usual(volume=0.0), *self.quiet()]), "us:Q")
        assert (row["volume"], row["known_sessions"]) == (None, 0)

    def test_are_unknown_where_the_name_was_not_told_at_all(self):
        row = of(bars([*usual(), *self.quiet(SESSIONS[:-10])]), "us:Q")
        assert (row["volume"], row["known_sessions"]) == (None, len(SESSIONS[-21:-10]))


def test_fewer_than_a_week_of_known_sessions_is_no_normal():
    assert of(bars(usual(days=SESSIONS[-5:])))["normal"] is None
    assert of(bars(usual(days=SESSIONS[-6:])))["normal"] == 100.0


def test_shares_are_those_of_the_session_after_a_split():
    split = pl.DataFrame({"session": [SESSIONS[-11], LAST], "value": [2.0, 5.0]}).with_columns(
        instrument_id=pl.lit("us:A"), kind=pl.lit("split")
    )
    row = of(bars(usual()), actions=split)
    assert row["volume"] == 100.0
    assert row["normal"] == pytest.approx((10 * 100 * 5 + 10 * 100 * 10) / 20)


class TestSources:
    """One exchange's own feed beside the consolidated one: a thirtieth of the volume."""

    def test_a_morning_is_compared_with_the_past_of_the_same_source(self):
        rows = [*usual(volume=3000.0, provider="whole"), *usual(volume=100.0, provider="exchange")]
        assert of(bars(rows))["normal"] == 100.0
        row = of(bars(rows), priority=["whole"])
        assert (row["volume"], row["relative_volume"]) == (3000.0, 1.0)

    def test_the_first_voice_that_knows_the_morning_speaks(self):
        rows = [*usual(days=SESSIONS[:-1], volume=3000.0, provider="whole"), *usual(volume=100.0, provider="exchange")]
        row = of(bars(rows), priority=["whole", "exchange"])
        assert (row["volume"], row["normal"]) == (100.0, 100.0)

    def test_intervals_are_not_added_up(self):
        both = pl.concat([bars(usual()), bars(usual(), "1m"), bars(usual(), "15m")])
        assert of(INTRADAY_BARS.conform(both))["volume"] == 100.0
        assert of(bars(usual(), "1m"))["relative_volume"] == 1.0


class TestVersions:
    """Session 10 before today is revised from 100 to 1100 shares, received at some moment."""

    def revised(self, available: datetime) -> pl.DataFrame:
        frame = bars(usual())
        day = SESSIONS[-11]
        chosen = frame.filter((pl.col("session") == day) & (pl.col("volume") == 100.0))
        later = chosen.with_columns(
            volume=pl.lit(1100.0), available_at=pl.lit(available, MOMENT), known_at=pl.lit(available, MOMENT)
        )
        return INTRADAY_BARS.conform(pl.concat([frame, later]))

    def test_the_latest_that_was_available_counts_once(self):
        moment = XNYS.open_at(LAST) - timedelta(hours=1)
        assert of(self.revised(moment))["normal"] == pytest.approx(150.0)
        assert of(self.revised(moment + timedelta(microseconds=1)))["normal"] == pytest.approx(100.0)

    def test_each_morning_of_a_range_sees_its_own(self):
        told = premarket_volume(self.revised(XNYS.open_at(SESSIONS[-3])), NO_ACTIONS, DAYS, moments(SESSIONS[-4:]))
        assert told["normal"].to_list() == pytest.approx([100.0, 100.0, 150.0, 150.0])

    def test_a_forming_bar_never_counts(self):
        frame = bars(usual())
        half = frame.filter((pl.col("session") == LAST) & (pl.col("volume") == 100.0)).with_columns(
            forming=pl.lit(True), volume=pl.lit(60.0), known_at=pl.col("known_at") - timedelta(minutes=2)
        )
        assert of(INTRADAY_BARS.conform(pl.concat([frame, half])))["volume"] == 100.0
        assert of(pl.concat([frame.filter(pl.col("session") < LAST), half]))["volume"] is None


def test_one_call_over_a_range_is_many_calls():
    told = desk(5)
    sessions = told.sessions[-6:]
    whole = premarket_volume(told.intraday, told.actions, told.days, told.judged(sessions))
    assert whole["relative_volume"].null_count() < whole.height / 2
    for session in sessions:
        first = told.sessions[told.sessions.index(session) - LOOKBACK]
        part = told.cut(first, first, session)
        alone = premarket_volume(part.intraday, part.actions, part.days, part.judged([session]))
        assert_frame_equal(alone, whole.filter(pl.col("session") == session), rel_tol=1e-12)


def test_nothing_that_came_after_the_moment_changes_it():
    told = desk(6)
    session = told.sessions[-2]
    moment = told.judged([session])["decided_at"][0]
    before = premarket_volume(told.intraday, told.actions, told.days, told.judged([session]))
    late = (pl.col("available_at") > moment) | (pl.col("started_at") + timedelta(minutes=5) > moment)
    mutated = told.intraday.with_columns(volume=pl.when(late).then(pl.col("volume") * 7 + 1).otherwise("volume"))
    assert mutated["volume"].sum() > told.intraday["volume"].sum()
    after = premarket_volume(mutated, told.actions, told.days, told.judged([session]))
    assert_frame_equal(before, after)
    cut = premarket_volume(told.intraday.filter(~late), told.actions, told.days, told.judged([session]))
    assert_frame_equal(before, cut)


def test_nothing_in_gives_nothing_out():
    empty = premarket_volume(INTRADAY_BARS.empty(), NO_ACTIONS, DAYS, moments([LAST]))
    assert empty.is_empty() and empty.columns[:3] == ["session", "decided_at", "instrument_id"]
    assert premarket_volume(bars(usual()), NO_ACTIONS, DAYS, moments([])).is_empty()
