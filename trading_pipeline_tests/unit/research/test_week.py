"""The week of a market, from days whose answer is known by hand."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from trading_pipeline.research.week import market_week

BEFORE = date(2024, 6, 28)
WEEK = [date(2024, 7, day) for day in (1, 2, 3, 5)]  # Independence Day is a Thursday: four sessions


def daily_returns(**by_ticker: list[float | None]) -> pl.DataFrame:
    rows = [
        (session, f"us:{ticker}", ticker, value)
        for ticker, values in by_ticker.items()
        for session, value in zip(WEEK, values, strict=False)
    ]
    return pl.DataFrame(rows, schema=["session", "instrument_id", "ticker", "return_1"], orient="row").with_columns(
        pl.col("return_1").cast(pl.Float64)
    )


def membership(*rows: tuple[str, str | None, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [(WEEK[-1], universe, f"us:{ticker}", ticker, sector) for ticker, sector, universe in rows],
        schema={
            "session": pl.Date,
            "universe": pl.String,
            "instrument_id": pl.String,
            "ticker": pl.String,
            "sector": pl.String,
        },
        orient="row",
    )


def regimes(**by_day: str) -> pl.DataFrame:
    days = {"before": BEFORE, "last": WEEK[-1]}
    return pl.DataFrame(
        [(days[name], environment) for name, environment in by_day.items()],
        schema={"session": pl.Date, "environment": pl.String},
        orient="row",
    )


def dip_list(*rows: tuple[date, str, float, float]) -> pl.DataFrame:
    return pl.DataFrame(
        [(session, f"us:{ticker}", ticker, dip, threshold) for session, ticker, dip, threshold in rows],
        schema={
            "session": pl.Date,
            "instrument_id": pl.String,
            "ticker": pl.String,
            "dip_pct": pl.Float64,
            "threshold_pct": pl.Float64,
        },
        orient="row",
    )


RETURNS = daily_returns(
    SPY=[0.01, 0.01, 0.0, 0.0],
    AAA=[0.10, 0.0, 0.0, 0.10],
    BBB=[-0.05, 0.0, 0.0, 0.0],
    CCC=[0.02, None, 0.0, 0.0],
    DDD=[0.0, 0.0, 0.03, 0.0],
)
MEMBERS = membership(
    ("AAA", "Tech", "SPX500"),
    ("AAA", "Tech", "NASDAQ100"),
    ("BBB", "Tech", "SPX500"),
    ("CCC", "Energy", "SPX500"),
    ("DDD", None, "SPX500"),
)


@pytest.fixture
def week():
    return market_week(
        RETURNS,
        MEMBERS,
        regimes(before="B", last="C"),
        dip_list(
            (BEFORE, "AAA", 6.0, 5.0),
            (BEFORE, "DDD", 7.0, 5.0),
            (WEEK[-1], "BBB", 9.0, 5.0),
            (WEEK[-1], "CCC", 22.0, 15.0),
            (WEEK[-1], "DDD", 12.0, 10.0),
        ),
        benchmark_id="us:SPY",
        sessions=WEEK,
    )


def test_a_week_compounds_its_daily_returns(week):
    assert (week.first, week.last) == (WEEK[0], WEEK[-1])
    assert week.benchmark == "SPY"
    assert week.benchmark_return == pytest.approx(1.01**2 - 1)


def test_sectors_are_equal_weighted_over_members_counted_once(week):
    assert week.sectors.rows() == [
        ("Tech", 2, pytest.approx((0.21 - 0.05) / 2), 0.5),
        ("Unknown", 1, pytest.approx(0.03), 1.0),
    ]


def test_a_member_without_a_return_on_one_session_is_not_measured(week):
    assert (week.measured, week.members) == (3, 4)
    assert "CCC" not in [*week.gainers["ticker"], *week.losers["ticker"]]


def test_movers_are_sorted_by_the_size_of_their_move(week):
    assert week.gainers["ticker"].to_list() == ["AAA", "DDD"]
    assert week.losers["ticker"].to_list() == ["BBB"]


def test_dips_are_compared_with_the_last_session_before_the_week(week):
    assert week.since == BEFORE
    assert week.new_dips["ticker"].to_list() == ["CCC", "BBB"]
    assert week.deeper_dips["ticker"].to_list() == ["DDD"]
    assert week.recovered == ("AAA",)


def test_the_change_of_environment_is_told(week):
    assert week.regime_before["environment"] == "B"
    assert week.regime_after["environment"] == "C"


def test_a_first_week_is_compared_with_its_own_first_session():
    regime = pl.DataFrame({"session": [WEEK[0], WEEK[-1]], "environment": ["A", "A"]})
    dips = dip_list((WEEK[0], "AAA", 6.0, 5.0), (WEEK[-1], "AAA", 6.0, 5.0), (WEEK[-1], "BBB", 6.0, 5.0))
    week = market_week(RETURNS, MEMBERS, regime, dips, benchmark_id="us:SPY", sessions=WEEK)
    assert week.since == WEEK[0]
    assert week.new_dips["ticker"].to_list() == ["BBB"]


def test_without_an_index_the_mean_of_the_members_is_named_as_such():
    week = market_week(RETURNS, MEMBERS, regimes(last="C"), dip_list(), benchmark_id="us:NONE", sessions=WEEK)
    assert week.benchmark == "equal_weight"
    assert week.benchmark_return == pytest.approx((0.21 - 0.05 + 0.03) / 3)


def test_a_week_in_which_nothing_was_measured_has_no_numbers():
    week = market_week(RETURNS.clear(), MEMBERS.clear(), regimes(), dip_list(), benchmark_id="us:SPY", sessions=WEEK)
    assert week.benchmark_return is None
    assert (week.measured, week.members, week.sectors.height, week.new_dips.height) == (0, 0, 0, 0)
    assert week.regime_before is None
    assert week.regime_after is None


def test_a_week_without_sessions_is_refused():
    with pytest.raises(ValueError, match="at least one session"):
        market_week(RETURNS, MEMBERS, regimes(), dip_list(), benchmark_id="us:SPY", sessions=[])
