"""The promises: a range says what its mornings said, and nothing that came after a morning changes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.research.premarket import (
    DAILY_LOOKBACK,
    INTRADAY_LOOKBACK,
    daily_bias,
    snapshots,
)
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import DAILY_BIAS, PREMARKET_SNAPSHOTS
from trading_pipeline_tests.mornings import Desk, desk

HISTORY = 330


def run(told: Desk, sessions) -> tuple[pl.DataFrame, pl.DataFrame]:
    judged = told.judged(sessions)
    levels = PREMARKET_SNAPSHOTS.conform(
        snapshots(told.daily, told.actions, told.intraday, told.indicators, told.watched, told.days, judged)
    )
    leaning = DAILY_BIAS.conform(
        daily_bias(
            levels, told.actions, told.intraday, told.indicators, told.regime, told.news, told.earnings, told.watched,
            told.days, judged,
        )
    )  # fmt: skip
    return levels, leaning


def of(frame: pl.DataFrame, session) -> pl.DataFrame:
    return frame.filter(pl.col("session") == session)


@pytest.fixture(scope="module", params=[11, 12])
def hard(request) -> Desk:
    return desk(request.param, names=8, history=HISTORY)


@pytest.fixture(scope="module")
def whole(hard):
    return run(hard, hard.sessions[-30:])


def test_the_desk_is_hard(hard, whole):
    """What follows means something only where the random desk has what it is to have."""
    levels, leaning = whole
    assert levels["price"].null_count() > 10 and levels["premarket_relative_volume"].null_count() > 30
    assert levels["month_mean"].null_count() > 0 and levels.height < leaning.height
    assert set(leaning["bias"]) == {"long", "short", "neutral"}
    assert leaning["events"].str.contains("split").any()
    assert hard.intraday["forming"].any() and hard.intraday.select("provider").n_unique() == 2


def test_a_volume_of_zero_is_known_to_be_none_and_a_price_contradicts_it(whole):
    levels, _ = whole
    volume, has_price = pl.col("premarket_volume"), pl.col("price").is_not_null()
    assert levels.filter(has_price & volume.is_null()).height and levels.filter(~has_price & (volume == 0)).height
    assert levels.filter(has_price)["premarket_volume"].min() > 0
    assert levels.filter(~has_price & (volume > 0)).is_empty()


def test_a_range_is_what_its_sessions_are_one_by_one(hard, whole):
    """Each run is handed what its lookbacks name and nothing else."""
    for session in hard.sessions[-30::3]:
        at = hard.sessions.index(session)
        part = hard.cut(hard.sessions[at - DAILY_LOOKBACK], hard.sessions[at - INTRADAY_LOOKBACK], session)
        for alone, together in zip(run(part, [session]), whole, strict=True):
            assert_frame_equal(alone, of(together, session), rel_tol=1e-9, abs_tol=1e-9)


def test_who_else_is_watched_on_other_days_changes_nothing(hard):
    """Watched on the first session: all; on the second: the one that never trades before the open, alone."""
    first, second = hard.sessions[-2:]
    quiet = "us:N002"
    chosen = (pl.col("session") == first) | (pl.col("instrument_id") == quiet)
    told = replace(hard, watched=hard.watched.filter(chosen))
    for together, alone in zip(run(told, [first, second]), run(told, [second]), strict=True):
        assert of(together, second)["instrument_id"].to_list() == [quiet]
        assert_frame_equal(of(together, second), alone)


def test_the_order_of_rows_and_a_set_of_sessions_with_holes_change_nothing(hard, whole):
    sessions = hard.sessions[-30::7]
    shuffled = replace(
        hard,
        **{
            name: getattr(hard, name).sample(fraction=1.0, shuffle=True, seed=3)
            for name in ("daily", "actions", "intraday", "indicators", "regime", "news", "earnings", "watched", "days")
        },
    )
    for alone, together in zip(run(shuffled, sessions), whole, strict=True):
        assert_frame_equal(alone, together.filter(pl.col("session").is_in(sessions)), rel_tol=1e-9, abs_tol=1e-9)


def test_nothing_that_came_after_the_premarket_moment_changes_it(hard, whole):
    """Later bars and articles, today's daily bar, indicators, regime and calendar: turned upside down, and gone."""
    for session in hard.sessions[-25::6]:
        moment = hard.judged([session])["decided_at"][0]
        late = (pl.col("available_at") > moment) | (pl.col("started_at") + timedelta(minutes=5) > moment)
        figures = ["open", "high", "low", "close", "volume"]
        today = pl.col("session") >= session

        def turned(frame: pl.DataFrame, when: pl.Expr, names: list[str]) -> pl.DataFrame:
            return frame.with_columns(
                pl.when(when).then(pl.col(name) * 3 + 1).otherwise(name).alias(name) for name in names
            )

        mutated = replace(
            hard,
            intraday=turned(hard.intraday, late, figures),
            daily=turned(hard.daily, today, ["high", "low", "close"]),
            indicators=turned(hard.indicators, today, ["close", "atr_14", "sma_20", "sma_50", "sma_200"]),
            regime=hard.regime.with_columns(environment=pl.when(today).then(pl.lit("D")).otherwise("environment")),
            news=hard.news.with_columns(
                sentiment=pl.when(pl.col("available_at") > moment).then(-1.0).otherwise("sentiment")
            ),
            earnings=hard.earnings.with_columns(
                next_report_date=pl.when(today).then(pl.lit(session)).otherwise("next_report_date"),
                sessions_to_report=pl.when(today).then(pl.lit(1, pl.Int32)).otherwise("sessions_to_report"),
            ),
            actions=turned(hard.actions, pl.col("session") > session, ["value"]),
        )
        gone = replace(
            hard,
            intraday=hard.intraday.filter(~late),
            daily=hard.daily.filter(~today),
            indicators=hard.indicators.filter(~today),
            regime=hard.regime.filter(~today),
            news=hard.news.filter(pl.col("available_at") <= moment),
            earnings=hard.earnings.filter(~today),
            actions=hard.actions.filter(pl.col("session") <= session),
        )
        for other in (mutated, gone):
            for after, before in zip(run(other, [session]), whole, strict=True):
                assert_frame_equal(after, of(before, session), rel_tol=1e-9, abs_tol=1e-9)


def test_what_came_before_the_moment_does_change_it(hard):
    """Or the test above could not fail."""
    session = hard.sessions[-4]
    moment = hard.judged([session])["decided_at"][0]
    early = (pl.col("available_at") <= moment) & (pl.col("session") == session)
    dearer = pl.when(early).then(pl.col("close") * 1.05).otherwise("close")
    moved = replace(hard, intraday=hard.intraday.with_columns(close=dearer))
    for after, before in zip(run(moved, [session]), run(hard, [session]), strict=True):
        assert not after.equals(before)


@pytest.mark.parametrize("exchange", ["XNYS", "XASX"])
def test_the_lookback_holds_twelve_whole_months_of_any_session(exchange):
    sessions = pl.DataFrame({"session": calendar(exchange).sessions.tolist()}).with_row_index("at")
    first = sessions.group_by(month=pl.col("session").dt.month_start()).agg(pl.col("at").min())
    needed = sessions.with_columns(month=pl.col("session").dt.month_start().dt.offset_by("-12mo")).join(
        first, on="month", suffix="_first"
    )
    assert needed.select((pl.col("at").cast(pl.Int64) - pl.col("at_first")).max()).item() <= DAILY_LOOKBACK
