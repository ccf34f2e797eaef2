"""Whole days, tick by tick: resumed anywhere, blind to the future, through half-days, halts and clock changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.live import Minutes
from trading_pipeline.research.live import Multipliers, SessionFeatures, load_rules, signals
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import MARKET_ANALYSIS
from trading_pipeline_tests.live_days import MINUTE, play, same_state

TICKS = 90
RULES = load_rules()
LAX = replace(
    RULES,
    timing=replace(RULES.timing, cooldown_minutes=6, reversal_minutes=3, least_strength=0.1, minutes_before_close=20),
    mean_reversion=replace(RULES.mean_reversion, z_session=1.5, z_rolling=1.5, least_reward=0.7),
    trend_continuation=replace(RULES.trend_continuation, held_bars=5, least_z=0.3, least_reward=1.0),
)
"""Rules by which random days have many signals."""


def day_of(seed: int, names: int = 30) -> tuple[Minutes, pl.DataFrame]:
    """A random day's first hours, each bar available up to five minutes late."""
    day = Minutes.random(names=names, ticks=TICKS, seed=seed)
    bars, rng = pl.concat(day.bars), np.random.default_rng(seed)
    delay = rng.choice([0, 0, 0, 0, 0, 0, 0, 0, 20, 70, 290], bars.height)
    return day, bars.with_columns(available_at=pl.col("started_at") + MINUTE + pl.duration(seconds=pl.Series(delay)))


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), stops=st.sets(st.integers(2, TICKS), min_size=1, max_size=12))
def test_a_day_resumed_at_any_ticks_is_the_day_that_ran_through(seed, stops):
    day, bars = day_of(seed)
    whole = play(bars, day.context, day.snapshots, rules=LAX, ticks=TICKS)
    resumed = play(bars, day.context, day.snapshots, rules=LAX, ticks=TICKS, resumed_before=stops)
    assert same_state(whole.features, resumed.features) == []
    assert whole.rows.equals(resumed.rows)
    assert whole.signals.equals(resumed.signals) and whole.falls.equals(resumed.falls)
    assert pl.concat(whole.analyses).equals(pl.concat(resumed.analyses))


def test_such_days_have_signals_of_every_kind_late_bars_and_analyses():
    """What the test above compares is not empty."""
    day, bars = day_of(1)
    played = play(bars, day.context, day.snapshots, rules=LAX, ticks=TICKS)
    assert played.signals.select("setup", "side").unique().height == 4
    assert played.signals["signal_id"].is_unique().all() and played.signals.height >= 30
    assert played.rows.height < bars.filter(pl.col("available_at") <= day.tick_at(TICKS - 1)).height
    assert len(played.analyses) == TICKS // 15
    MARKET_ANALYSIS.conform(pl.concat(played.analyses).with_columns(book=pl.lit("paper")))


def test_what_comes_after_a_tick_changes_nothing_before_it():
    day, bars = day_of(2)
    whole = play(bars, day.context, day.snapshots, rules=LAX, ticks=TICKS)
    rng = np.random.default_rng(0)
    for tick in (16, 60):
        at = day.tick_at(tick - 1)
        later = pl.col("available_at") > at
        factor = pl.Series(rng.uniform(0.2, 5, bars.height))
        mutated = bars.with_columns(
            pl.when(later).then(pl.col(name) * factor).otherwise(pl.col(name)).alias(name)
            for name in ("open", "high", "low", "close", "volume")
        )
        other = play(mutated, day.context, day.snapshots, rules=LAX, ticks=TICKS)
        cut = play(bars.filter(~later), day.context, day.snapshots, rules=LAX, ticks=TICKS)
        for name in ("rows", "signals", "falls"):
            before = getattr(whole, name).filter(pl.col("tick_at") <= at)
            assert before.equals(getattr(other, name).filter(pl.col("tick_at") <= at)), name
            assert before.equals(getattr(cut, name).filter(pl.col("tick_at") <= at)), name
        assert not whole.rows.equals(other.rows)


def test_a_tick_decided_again_decides_the_same():
    """After a crash between deciding and committing, or where its signals are stored already."""
    day, bars = day_of(3)
    whole = play(bars, day.context, day.snapshots, rules=LAX, ticks=TICKS)
    for tick in (40, 65, 88):
        at = day.tick_at(tick - 1)
        features = SessionFeatures(day.context.ids, day.snapshots, LAX)
        features.resume(whole.rows.filter(pl.col("tick_at") <= at))
        analysis = [each for each in whole.analyses if each["tick_at"].item() <= at][-1]
        tilt = Multipliers.of(analysis.row(0, named=True))
        again = signals(features, day.context, LAX, at, multipliers=tilt, given=whole.signals)
        assert again.equals(whole.signals.filter(pl.col("tick_at") == at))


def test_a_half_day_is_the_first_half_of_a_whole_one_with_an_earlier_end():
    day, bars = day_of(4)
    half = replace(day.context, closes_at=day.context.opens_at + timedelta(hours=1, minutes=30))
    whole, early = (play(bars, known, day.snapshots, rules=LAX, ticks=90) for known in (day.context, half))
    assert early.rows.equals(whole.rows)
    assert early.signals.equals(whole.signals.filter(pl.col("tick_at") <= half.closes_at - 20 * MINUTE))
    assert early.signals.height < whole.signals.height


def test_a_name_that_is_delisted_at_noon_ends_there_and_the_others_go_on():
    """Its bars stop; its last close is neither traded nor measured any more."""
    day, bars = day_of(5)
    gone, at = day.context.ids[7], day.tick_at(49)
    stopped = bars.filter((pl.col("instrument_id") != gone) | (pl.col("available_at") <= at))
    whole, without = (play(each, day.context, day.snapshots, rules=LAX, ticks=TICKS) for each in (bars, stopped))
    others = pl.col("instrument_id") != gone
    assert without.rows.filter(others).equals(whole.rows.filter(others))
    assert without.rows.filter(~others)["tick_at"].max() <= at
    assert without.signals.filter(~others & (pl.col("tick_at") > at)).is_empty()
    columns = ["signal_id", "strength"]
    by_then = pl.col("tick_at") <= at
    assert without.signals.filter(by_then).select(columns).equals(whole.signals.filter(by_then).select(columns))


def test_a_halt_gives_no_signal_until_the_price_is_found_again():
    day = Minutes.random(names=30, ticks=TICKS, seed=6)
    bars = pl.concat(day.bars)
    halted = pl.col("started_at").is_between(day.tick_at(49), day.tick_at(69), closed="left")
    played = play(bars.filter(~halted), day.context, day.snapshots, rules=LAX, ticks=TICKS)
    during = pl.col("tick_at").is_between(day.tick_at(50), day.tick_at(73))
    assert played.signals.filter(during).is_empty()
    assert not played.signals.filter(pl.col("tick_at") > day.tick_at(73)).is_empty()


@pytest.mark.parametrize(
    ("exchange", "session"),
    [("XNYS", date(2025, 3, 7)), ("XNYS", date(2025, 3, 10)), ("XNYS", date(2025, 11, 3)), ("XASX", date(2025, 10, 7))],
    ids=["winter", "summer", "winter again", "Sydney, summer"],
)
def test_clock_changes_move_the_day_and_nothing_else(exchange, session):
    """The same bars by the exchange's clock are other moments of UTC; Sydney's open is on the day before."""
    day, bars = day_of(7, names=8)
    clock = calendar(exchange)
    known = replace(
        day.context, session=session, opens_at=clock.open_at(session),
        closes_at=clock.open_at(session) + timedelta(hours=6.5),
    )  # fmt: skip
    shift = known.opens_at - day.context.opens_at
    moved = bars.with_columns(pl.col("started_at", "available_at") + shift)
    here, there = (
        play(each, to, day.snapshots, rules=LAX, ticks=90) for each, to in ((bars, day.context), (moved, known))
    )
    same = [name for name in here.signals.columns if name not in ("signal_id", "session", "tick_at")]
    assert here.signals.height > 5 and there.signals.select(same).equals(here.signals.select(same))
    assert (there.signals["tick_at"] - here.signals["tick_at"]).unique().to_list() == [shift]
    assert (there.signals["signal_id"].str.slice(0, 8) == f"{session:%Y%m%d}").all()
    assert there.signals["signal_id"].is_unique().all()
