"""Every rule finds what it names, and nothing is dropped unseen."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from trading_pipeline.research.intraday import RULES, as_bar_issues, assess, placed
from trading_pipeline.tables import BAR_ISSUES, MOMENT
from trading_pipeline_tests.mornings import NEW_YORK, XNYS, days_of

DAY = date(2025, 9, 17)
DAYS = days_of(XNYS.between(date(2025, 9, 10), date(2025, 9, 24)))
OPEN = XNYS.open_at(DAY)
LATER = datetime(2025, 9, 18, 1, tzinfo=UTC)


def bars(*rows: dict[str, object], start: datetime = OPEN, count: int = 30) -> pl.DataFrame:
    """Quiet 5-minute bars from `start` on; the first ones are changed as `rows` say."""
    quiet = {"instrument_id": "us:A", "provider": "files", "interval": "5m", "known_at": LATER} | {
        "open": 100.0, "high": 100.1, "low": 99.9, "close": 100.0, "volume": 1000.0,
    }  # fmt: skip
    told = [
        quiet | {"started_at": start + timedelta(minutes=5 * at)} | (rows[at] if at < len(rows) else {})
        for at in range(count)
    ]
    frame = pl.DataFrame(told, schema_overrides={"started_at": MOMENT, "known_at": MOMENT, "volume": pl.Float64})
    return placed(frame, DAYS, NEW_YORK)


def found(frame: pl.DataFrame) -> list[tuple[str, datetime]]:
    return assess(frame).issues.select("rule", "started_at").rows()


def test_quiet_bars_break_no_rule():
    told = assess(bars())
    assert_frame_equal(told.kept, bars())
    assert told.issues.is_empty()


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("null_bar", {"close": None}),
        ("null_bar", {"open": float("nan")}),
        ("non_positive_price", {"low": 0.0}),
        ("negative_volume", {"volume": -1.0}),
        ("ohlc_inconsistent", {"high": 99.95}),
        ("ohlc_inconsistent", {"low": 100.05, "open": 100.05, "high": 100.2}),
        ("not_a_session", {"started_at": datetime(2025, 9, 20, 14, tzinfo=UTC)}),
        ("outside_hours", {"started_at": datetime(2025, 9, 17, 7, 55, tzinfo=UTC)}),
        ("off_grid", {"started_at": OPEN + timedelta(minutes=2)}),
        ("off_grid", {"started_at": OPEN + timedelta(hours=6, minutes=30, seconds=30)}),
        ("off_grid", {"interval": "7m"}),
        ("not_begun", {"known_at": OPEN - timedelta(minutes=1)}),
    ],
)
def test_a_bar_that_cannot_be_is_rejected_and_told_with_its_figures(rule, fault):
    frame = bars({}, fault)
    told = assess(frame)
    row = told.issues.row(0, named=True)
    assert (told.issues.height, row["rule"], row["severity"]) == (1, rule, "rejected")
    assert row["detail"]
    assert told.kept.height == frame.height - 1
    figures = assess(frame).issues.select(pl.exclude("session", "rule", "severity", "detail"))
    assert_frame_equal(figures, frame[1].select(figures.columns))


def test_of_two_rows_the_fuller_is_kept_and_of_two_alike_the_later():
    same = {"started_at": OPEN, "volume": 900.0}
    fuller = {"started_at": OPEN, "volume": 2000.0, "close": 100.05}
    told = assess(bars(same, fuller, same | {"close": 99.95}, count=3))
    assert told.kept["close"].to_list() == [100.05]
    assert told.issues["rule"].to_list() == ["duplicate_row"] * 2
    alike = assess(bars(same, same | {"close": 99.95}, count=2))
    assert alike.kept["close"].to_list() == [99.95]


def test_versions_of_several_receipts_providers_or_lengths_are_no_duplicates():
    others = [{"known_at": LATER + timedelta(hours=1)}, {"provider": "yahoo"}, {"interval": "15m"}]
    assert found(bars({"started_at": OPEN}, *({"started_at": OPEN} | other for other in others), count=4)) == []


def test_a_stray_wick_is_shown_and_the_bar_is_kept():
    """As SPY of 2025-07-08 08:33: a low of 523 beside prices of 621."""
    early = OPEN - timedelta(hours=2)
    frame = bars({}, {"low": 84.0}, start=early, count=20)
    told = assess(frame)
    assert told.kept.height == 20
    assert told.issues.select("rule", "severity", "started_at").rows() == [
        ("stray_wick", "suspect", early + timedelta(minutes=5))
    ]
    assert "low 84.0" in told.issues["detail"][0]


def test_a_wild_night_and_regular_hours_have_no_stray_wicks():
    """Where the median bar spans 6 points, a wick of 13 is one of many; regular hours have no late prints."""
    wild = [{"low": 97.0, "high": 103.0} for _ in range(20)]
    assert found(bars(*wild, {"low": 87.0}, start=OPEN - timedelta(hours=2), count=21)) == []
    assert found(bars({}, {"low": 84.0}, count=20)) == []


def test_a_jump_without_volume_is_shown():
    jump = {"open": 103.0, "high": 103.1, "low": 102.9, "close": 103.0, "volume": 0.0}
    assert found(bars({}, jump, count=2)) == [("jump_without_volume", OPEN + timedelta(minutes=5))]
    assert found(bars({}, jump | {"volume": 5.0}, count=2)) == []
    assert found(bars({}, {"volume": 0.0}, count=2)) == [], "nothing moved"
    apart = jump | {"started_at": OPEN + timedelta(hours=2)}
    assert found(bars({}, apart, count=2)) == [], "two hours lie between them"


def test_the_running_total_of_the_day_in_one_bar_is_a_spike():
    """As SPY of 2025-07-10 12:03: a minute with 23,772,108 shares after 23,648,933."""
    usual = [{} for _ in range(25)]
    spike = OPEN + timedelta(minutes=125)
    assert found(bars(*usual, {"volume": 60000.0}, count=40)) == [("volume_spike", spike)]
    assert found(bars(*usual, {"volume": 20000.0}, count=40)) == []
    assert found(bars({}, {"volume": 60000.0}, count=40)) == [], "the first bars are lively"


def test_new_york_times_read_as_utc_are_seen_once_a_session():
    """The open at 05:30, the close at noon: most of the volume before the open."""
    shifted = bars(start=OPEN - timedelta(hours=4), count=78)
    assert found(shifted) == [("shifted_clock", OPEN - timedelta(hours=4))]
    live = shifted.with_columns(known_at=pl.col("started_at") + timedelta(minutes=5))
    assert found(live.filter(pl.col("started_at") <= OPEN)) == [], "the day has only begun"


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_nothing_is_dropped_unseen(data):
    """Every row is kept, or is in the issues with a rejecting rule; no row is both, whatever comes."""
    prices = st.one_of(st.none(), st.sampled_from([float("nan"), -1.0, 0.0, 99.0, 100.0, 101.0, 1e9]))
    row = st.fixed_dictionaries(
        {
            **dict.fromkeys(("open", "high", "low", "close", "volume"), prices),
            "started_at": st.sampled_from([OPEN + timedelta(minutes=minutes) for minutes in (-900, -300, 0, 1, 5, 10)]),
        }
    )
    rows = data.draw(st.lists(row, max_size=12))
    frame = bars(*rows, count=len(rows) + 2).with_row_index("line")
    told = assess(frame)
    rejected = told.issues.filter(pl.col("severity") == "rejected")
    assert told.kept.height + rejected.height == frame.height
    assert told.kept["line"].is_sorted() and told.kept["line"].is_unique().all()
    assert set(told.issues["rule"]) <= set(RULES)
    assert all(RULES[rule].severity == severity for rule, severity in told.issues.select("rule", "severity").rows())
    again = assess(told.kept)
    assert again.kept.height == told.kept.height


def test_issues_become_rows_of_the_tables_issues():
    """One a session, name and rule, with the first bar's figures and how many there were."""
    on_saturday = bars({"started_at": datetime(2025, 9, 20, 14, tzinfo=UTC)}, count=1)
    frame = pl.concat([bars({}, {"close": None}, {"close": None}), on_saturday])
    tickers = pl.DataFrame({"session": [DAY], "instrument_id": ["us:A"], "ticker": ["A"]})
    told = BAR_ISSUES.conform(as_bar_issues(assess(frame).issues, tickers))
    assert told.select("session", "rule", "severity", "bar_session").rows() == [(DAY, "null_bar", "rejected", DAY)]
    assert told["detail"][0] == "2 bars, the first of 5m at 13:35:00 UTC: a price is missing"


class TestBesideItsDailyBar:
    """99.5 to 100.5 as traded; the quiet bars close at 100."""

    DAILY = pl.DataFrame({"session": [DAY], "instrument_id": ["us:A"], "high": [100.5], "low": [99.5]})

    def judged(self, *rows: dict[str, object], count: int = 30, **prices: float) -> set[str]:
        frame = bars(*rows, count=count).with_columns(
            pl.col(name) * prices.get("factor", 1.0) for name in ("open", "high", "low", "close")
        )
        told = assess(frame, self.DAILY)
        assert told.kept.height + told.issues.filter(severity="rejected").height == frame.height
        return set(told.issues.filter(rule="unknown_basis")["instrument_id"])

    def test_bars_of_the_day_are_kept(self):
        assert self.judged() == set()

    @pytest.mark.parametrize("ratio", [1.02, 1.5, 2.0, 10.0, 0.1, 0.98])
    def test_a_session_in_another_basis_is_refused_as_a_whole(self, ratio):
        assert self.judged(factor=1 / ratio) == {"us:A"}

    def test_strays_of_a_session_do_not_refuse_it(self):
        stray = {"open": 50.0, "high": 50.0, "low": 50.0, "close": 50.0}
        assert self.judged(*[stray] * 14) == set()
        assert self.judged(*[stray] * 16) == {"us:A"}

    def test_its_extended_hours_go_with_it(self):
        both = pl.concat([bars(start=OPEN - timedelta(minutes=50), count=10), bars()]).with_columns(
            pl.col(name) / 2 for name in ("open", "high", "low", "close")
        )
        assert assess(both, self.DAILY).kept.is_empty()
        assert assess(both, self.DAILY).issues["detail"].unique().to_list() == [
            "closes around 50.0 beside a daily bar of 99.5 to 100.5"
        ]

    def test_without_a_daily_bar_nobody_can_say(self):
        half = bars().with_columns(pl.col(name) / 2 for name in ("open", "high", "low", "close"))
        assert assess(half, self.DAILY.clear()).issues.is_empty() and assess(half).issues.is_empty()
