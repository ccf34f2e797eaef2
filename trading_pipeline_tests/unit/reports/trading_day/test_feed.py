"""The health of the feed, as the ticks tell it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl

from trading_pipeline.reports.trading_day.feed import MISSING, feed
from trading_pipeline_tests.trading_days import HALF_DAY, MINUTE, trading_day


def spans(day) -> list[tuple[int, int, str]]:
    """(first minute, last minute, why) of each span."""
    opens = day.hours[0]
    return [((span.start - opens) // MINUTE, (span.end - opens) // MINUTE, span.why) for span in feed(day).spans]


def test_stale_and_missing_ticks_are_spans_of_their_own_with_the_reason():
    day = trading_day(stale=(95, 103), missing=(200, 207))
    assert spans(day) == [
        (1, 15, "too soon after the open"),
        (95, 103, "the feed is stale"),
        (200, 207, MISSING),
        (361, 390, "the close is near"),
    ]
    health = feed(day)
    assert (health.ticks, health.expected, health.missing) == (383, 390, 7)
    # The newest bar is a minute older at each of the 8 stale ticks: at the first it is one minute old, which is fresh.
    assert health.stale == 7
    assert health.worst == health.symbols == 8
    assert health.worst_at == day.hours[0] + 95 * MINUTE


def test_a_good_day_is_quiet():
    day = trading_day(stale=(0, 0), missing=(0, 0))
    allowed = day.live_ticks.with_columns(entries_allowed=True, why_not=pl.lit(None, pl.String), fresh="symbols")
    health = feed(replace(day, live_ticks=allowed))
    assert health.spans == ()
    assert (health.missing, health.stale, health.worst, health.worst_at) == (0, 0, 0, None)
    assert health.usual == 15.0 and health.slowest == 18.0


def test_a_loop_that_began_late_and_ended_early_missed_both_ends():
    day = trading_day(stale=(0, 0), missing=(0, 0))
    middle = day.live_ticks.sort("tick_at").slice(30, 60)
    found = spans(replace(day, live_ticks=middle))
    assert found == [(1, 31, MISSING), (91, 390, MISSING)]


def test_a_half_day_expects_its_own_ticks():
    assert feed(trading_day(HALF_DAY, stale=(0, 0), missing=(0, 0), trades=3)).expected == 210


def test_other_grids_are_found_by_themselves():
    day = trading_day(stale=(95, 103), missing=(0, 0))
    coarse = day.live_ticks.sort("tick_at").gather_every(5, 4)
    day = replace(day, live_ticks=coarse)
    health = feed(day)
    assert day.step == timedelta(minutes=5)
    assert (health.ticks, health.expected, health.missing) == (78, 78, 0)
    assert health.stale == 10 - 5 * (coarse["tick_at"].is_in([day.hours[0] + 95 * MINUTE]).sum())


def test_no_tick_at_all():
    day = trading_day()
    health = feed(replace(day, live_ticks=day.live_ticks.clear()))
    assert (health.ticks, health.symbols, health.spans, health.usual) == (0, 0, (), None)
