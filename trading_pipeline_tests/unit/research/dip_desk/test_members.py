"""Who is on the desk."""

from __future__ import annotations

from datetime import date

import polars as pl

from trading_pipeline.research.dip_desk import ALL, TOO_BIG_TO_FAIL, desk_members
from trading_pipeline.research.dip_desk.members import LARGEST

MONDAY, TUESDAY = date(2024, 3, 11), date(2024, 3, 12)
NO_CAPS = pl.DataFrame(schema={"session": pl.Date, "instrument_id": pl.String, "market_cap": pl.Float64})


def members(**universes: list[str]) -> pl.DataFrame:
    rows = [
        (session, universe, f"us:{name}")
        for session in (MONDAY, TUESDAY)
        for universe, names in universes.items()
        for name in names
    ]
    return pl.DataFrame(
        rows, schema={"session": pl.Date, "universe": pl.String, "instrument_id": pl.String}, orient="row"
    )


def caps(session: date, **sizes: float | None) -> pl.DataFrame:
    rows = [(session, f"us:{name}", size) for name, size in sizes.items()]
    return pl.DataFrame(rows, schema=NO_CAPS.schema, orient="row")


def on(found: pl.DataFrame, session: date) -> set[str]:
    return {name.removeprefix("us:") for name in found.filter(session=session)["instrument_id"]}


def test_mega_caps_the_largest_and_the_watchlist_once_each():
    wide = [f"N{number:03d}" for number in range(80)]
    every = members(SPX500=wide, MEGA_CAP=["N070"], WATCHLIST=["N075", "N070", "OUT"])
    sizes = caps(MONDAY, **{name: 1000.0 - place for place, name in enumerate(wide)})
    found = desk_members(every, sizes, TOO_BIG_TO_FAIL)
    assert on(found, MONDAY) == {*wide[:LARGEST], "N070", "N075", "OUT"}
    assert found.is_duplicated().sum() == 0 and found.equals(found.sort("session", "instrument_id"))


def test_sizes_of_another_session_say_nothing():
    every = members(SPX500=["A", "B"])
    found = desk_members(every, caps(MONDAY, A=5.0), TOO_BIG_TO_FAIL)
    assert (on(found, MONDAY), on(found, TUESDAY)) == ({"A"}, set())


def test_without_sizes_mega_caps_and_the_watchlist_stand_alone():
    found = desk_members(members(SPX500=["A"], MEGA_CAP=["B"], WATCHLIST=["C"]), NO_CAPS, TOO_BIG_TO_FAIL)
    assert on(found, MONDAY) == {"B", "C"}


def test_without_mega_caps_the_others_stand_alone():
    found = desk_members(members(SIM_ALL=["A"], WATCHLIST=["C"]), caps(MONDAY, A=1.0, B=9.0), TOO_BIG_TO_FAIL)
    assert on(found, MONDAY) == {"A", "C"}, "B is no member of anything"


def test_a_size_that_is_none_is_no_size():
    strange = caps(MONDAY, A=None, B=float("nan"), C=0.0, D=-5.0, E=float("inf"), F=1.0)
    assert on(desk_members(members(SPX500=list("ABCDEF")), strange, TOO_BIG_TO_FAIL), MONDAY) == {"F"}


def test_equal_sizes_are_ranked_by_name():
    wide = [f"N{number:03d}" for number in range(60)]
    sizes = caps(MONDAY, **dict.fromkeys(reversed(wide), 7.0))
    assert on(desk_members(members(SPX500=wide), sizes, TOO_BIG_TO_FAIL), MONDAY) == set(wide[:LARGEST])


def test_a_universe_or_everybody():
    every = members(SPX500=["A", "B"], NASDAQ100=["B", "C"])
    assert on(desk_members(every, NO_CAPS, "NASDAQ100"), MONDAY) == {"B", "C"}
    assert on(desk_members(every, NO_CAPS, ALL), TUESDAY) == {"A", "B", "C"}
    assert desk_members(every, NO_CAPS, "NOBODY").is_empty()
