"""New dips: told once, when a threshold is passed, and again only after a week above it."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from trading_pipeline.research.dip_desk.new_dips import LOOKBACK, new_dips

DAYS = [date(2024, 3, 1) + timedelta(days=number) for number in range(30)]
SCHEMA = {
    "session": pl.Date,
    "instrument_id": pl.String,
    "threshold_pct": pl.Float64,
    "on_desk": pl.Boolean,
    "ticker": pl.String,
}


def table(paths, off_desk=()):
    """Rows of dips: by name, the largest threshold passed on each of the days; 0 where it is no dip."""
    rows = [
        (day, f"us:{name}", float(passed), (name, number) not in off_desk, name)
        for name, path in paths.items()
        for number, (day, passed) in enumerate(zip(DAYS, path, strict=False))
        if passed
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").sort("session", "instrument_id")


def told(paths, off_desk=(), published=None):
    """(number of the day, name, threshold, threshold before) of every new dip of all days."""
    days = DAYS[: max(map(len, paths.values()))] if published is None else published
    found = new_dips(table(paths, off_desk), days, days)
    columns = ("session", "ticker", "threshold_pct", "previous_threshold_pct")
    return [(DAYS.index(day), *rest) for day, *rest in found.select(columns).iter_rows()]


def test_a_dip_is_told_once_while_it_lasts():
    assert told({"A": [0, 5, 5, 5, 5, 5, 5, 5, 5, 5]}) == [(1, "A", 5, None)]


def test_each_deeper_threshold_is_told_once_and_a_fall_through_several_as_one():
    assert told({"A": [0, 5, 10, 10, 15]}) == [(1, "A", 5, None), (2, "A", 10, 5), (4, "A", 15, 10)]
    assert told({"A": [0, 15, 15]}) == [(1, "A", 15, None)]


def test_a_shallower_dip_is_no_news():
    assert told({"A": [0, 15, 10, 10, 5, 5]}) == [(1, "A", 15, None)]


@pytest.mark.parametrize(("above", "again"), [(LOOKBACK - 1, False), (LOOKBACK, True)])
def test_a_threshold_is_news_again_after_a_week_above_it(above, again):
    assert told({"A": [0, 5, *[0] * above, 5]}) == [(1, "A", 5, None), *([(2 + above, "A", 5, None)] * again)]
    assert told({"A": [0, 10, *[5] * above, 10]}) == [(1, "A", 10, None), *([(2 + above, "A", 10, 5)] * again)]


def test_names_are_told_apart():
    assert told({"B": [0, 5, 5], "A": [0, 0, 5]}) == [(1, "B", 5, None), (2, "A", 5, None)]


def test_only_dips_on_the_desk_are_told_and_coming_onto_it_is_news():
    paths = {"A": [0, 10, 10, 10]}
    assert told(paths, off_desk={("A", 1), ("A", 2), ("A", 3)}) == []
    assert told(paths, off_desk={("A", 1), ("A", 2)}) == [(3, "A", 10, None)]


def test_what_may_have_been_on_the_desk_is_never_new_and_counts_as_told():
    dips = table({"A": [0, 10, 10, 15]}).with_columns(on_desk=pl.when(pl.col("session") != DAYS[1]).then("on_desk"))
    found = new_dips(dips, DAYS, DAYS)
    assert found.select("session", "threshold_pct", "previous_threshold_pct").rows() == [(DAYS[3], 15, 10)]


def test_nothing_is_new_on_the_first_session_ever_published():
    assert told({"A": [5, 5], "B": [0, 5]}) == [(1, "B", 5, None)]


def test_sessions_never_published_do_not_count():
    """Only two published sessions lie between: the name has not been above for a week of what was told."""
    published = [DAYS[0], DAYS[1], DAYS[6], DAYS[8], DAYS[9]]
    path = [0, 5, *[0] * 6, 0, 5]
    assert told({"A": path}, published=published) == [(1, "A", 5, None)]


def test_without_dips_nothing_is_new_and_every_column_is_kept():
    empty = new_dips(table({}), DAYS, DAYS)
    assert empty.schema == {**SCHEMA, "previous_threshold_pct": pl.Float64}
    assert empty.is_empty()


paths = st.dictionaries(
    st.sampled_from("ABCDEF"), st.lists(st.sampled_from([0, 0, 0, 5, 10, 15]), min_size=20, max_size=20), min_size=1
)


@given(paths=paths, unpublished=st.sets(st.sampled_from(range(20)), max_size=6), off=st.integers(0, 19))
@settings(max_examples=60, deadline=None)
def test_a_range_at_once_is_day_by_day_with_its_lookback(paths, unpublished, off):
    """And the future changes nothing: each day is judged on rows and sessions up to itself alone."""
    published = [day for number, day in enumerate(DAYS[:20]) if number not in unpublished]
    dips = table(paths, {(name, off) for name in paths})
    whole = new_dips(dips, published, published)
    daily = []
    for number, day in enumerate(published):
        window = published[max(0, number - LOOKBACK) : number + 1]
        daily.append(new_dips(dips.filter(pl.col("session").is_between(window[0], day)), window, [day]))
    assert_frame_equal(whole, pl.concat(daily))


@given(paths=paths)
@settings(max_examples=60, deadline=None)
def test_it_agrees_with_the_rule_told_name_by_name(paths):
    expected = []
    for name, path in paths.items():
        for number, passed in enumerate(path):
            last = path[max(0, number - LOOKBACK) : number]
            if number and passed > max(last):
                expected.append((number, name, passed, max(last) or None))
    assert told(paths) == sorted(expected)
