"""Named screens: each finds what it is for and leaves what it is not; a user's own; what is wrong is said."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from trading_pipeline import tables
from trading_pipeline.research.screener import (
    SCREENS_FILE,
    UnknownColumn,
    apply_screens,
    load_screens,
    screen_frame,
)
from trading_pipeline.research.screener.screens import BadScreen, Screen

SESSION = date(2024, 5, 15)
DIP = {"dip_pct": 12.0, "threshold_pct": 10.0}


def frame_of(case, dip=None):
    dips = tables.DIP_OPPORTUNITIES.empty()
    if dip is not None:
        row = {"session": SESSION, "instrument_id": "us:T00", **dip}
        dips = pl.DataFrame([{**dict.fromkeys(dips.columns), **row}], schema=dips.schema)
    return screen_frame(case.scores(), case.fundamentals, case.indicators, dips)


def screens_of(case, dip=None):
    found = apply_screens(frame_of(case, dip), load_screens())
    return set(found.filter(instrument_id="us:T00")["screen"])


GROWING = {"revenue_growth": 0.10, "earnings_growth": 0.10, "pe_forward": 25.0, "return_on_equity": 0.3}
STRONG = {"relative_strength_rank": 85, "sma_50": 99.0, "sma_200": 90.0, "distance_from_high": -0.10}


@pytest.mark.parametrize(
    ("screen", "inside", "outside", "dip"),
    [
        ("growth_at_a_fair_price", GROWING, {"revenue_growth": 0.099}, None),
        ("growth_at_a_fair_price", GROWING, {"earnings_growth": 0.099}, None),
        ("growth_at_a_fair_price", GROWING, {"pe_forward": 25.1}, None),
        ("growth_at_a_fair_price", GROWING, {"current_ratio": 0.1}, None),
        ("momentum", STRONG, {"relative_strength_rank": 84}, None),
        ("momentum", STRONG, {"sma_50": 100.0}, None),
        ("momentum", STRONG, {"sma_200": 99.0}, None),
        ("momentum", STRONG, {"distance_from_high": -0.101}, None),
        ("dip_opportunity", {}, {"current_ratio": 0.1}, DIP),
        ("dip_opportunity", {}, {"pe_trailing": 90.0, "pe_forward": 80.0, "return_on_equity": -0.1}, DIP),
        (
            "value_trap",
            {"pe_trailing": 6.0, "pe_forward": 6.0, "price_to_book": 0.7, "revenue_growth": -0.1, "payout_ratio": 2.0},
            {"payout_ratio": 0.5},
            None,
        ),
    ],
)
def test_each_screen_on_both_sides(sound, screen, inside, outside, dip):
    assert screen in screens_of(sound.but(**inside), dip)
    assert screen not in screens_of(sound.but(**(inside | outside)), dip)


def test_a_dip_of_less_than_10_per_cent_is_no_opportunity(sound):
    assert "dip_opportunity" not in screens_of(sound, DIP | {"dip_pct": 9.9})
    assert "dip_opportunity" not in screens_of(sound)


def test_momentum_needs_a_market_that_carries_it(sound):
    for environment, found in (("A", True), ("B", True), ("C", False), ("D", False)):
        regime = pl.DataFrame({"session": [SESSION], "environment": [environment]})
        assert ("momentum" in screens_of(sound.but(**STRONG, regime=regime))) == found


def test_strong_buy_is_the_verdict(sound):
    found = apply_screens(frame_of(sound), load_screens()).filter(screen="strong_buy")["instrument_id"]
    expected = sound.scores().filter(verdict="Strong Buy")["instrument_id"]
    assert found.to_list() == expected.to_list() == []
    best = sound.but(relative_strength_rank=99, sma_200=80.0, revenue_growth=0.4, earnings_growth=0.6, pe_trailing=7.0,
                     free_cash_flow_yield=0.12, return_on_equity=0.35, last_surprise=0.3, rsi_14=60.0)  # fmt: skip
    assert best.row()["verdict"] == "Strong Buy" and "strong_buy" in screens_of(best)


def test_a_user_adds_one_and_replaces_another(sound, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(
        '[cheap]\ntitle = "Cheap"\ndescription = "Low P/E."\nwhere = "pe_trailing < 10"\nreason = "Mine."\n'
        '[momentum]\ntitle = "M"\ndescription = "Any."\nwhere = "rsi_14 > 0"\nreason = "Mine."\n'
    )
    screens = load_screens(SCREENS_FILE, own)
    assert [screen.name for screen in screens].count("momentum") == 1 and screens[-1].name == "cheap"
    found = apply_screens(frame_of(sound.but(pe_trailing=9.0)), screens)
    assert found.filter(screen="cheap")["instrument_id"].to_list() == ["us:T00"]
    assert found.filter(screen="momentum").height == 16
    assert found.columns == ["session", "instrument_id", "screen"]
    assert found.equals(found.sort("session", "instrument_id", "screen"))


def screen(where):
    return [Screen(name="mine", title="Mine", description="Mine.", where=where, reason="Mine.")]


def test_an_unknown_column_is_named_with_the_known_ones(sound):
    with pytest.raises(UnknownColumn, match=r"Screen mine asks for pe_ratio, size; the columns are .*pe_trailing"):
        apply_screens(frame_of(sound), screen("pe_ratio < 10 AND size > 1 AND total > 50"))


@pytest.mark.parametrize(
    "where", ["total >", "total + 1", "DROP TABLE scores", "ticker > 5", "no_such_function(total)"]
)
def test_what_is_no_condition_is_refused(sound, where):
    with pytest.raises((BadScreen, UnknownColumn), match="Screen mine"):
        apply_screens(frame_of(sound), screen(where))


def test_a_file_that_is_no_screen_is_refused(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('cheap = "pe_trailing < 10"')
    with pytest.raises(BadScreen, match="cheap is no screen"):
        load_screens(path)
    path.write_text('[cheap]\nwhere = "pe_trailing < 10"')
    with pytest.raises(ValueError, match="description"):
        load_screens(path)


def test_unknown_is_not_passed_and_an_aggregate_is_the_sessions(sound):
    frame = frame_of(sound.but(pe_trailing=None))
    assert apply_screens(frame, screen("pe_trailing < 100")).height == 15
    assert apply_screens(frame, screen("NOT pe_trailing < 100")).is_empty()
    earlier = frame.with_columns(session=pl.lit(date(2024, 5, 14)), total=pl.col("total") + 30)
    both = apply_screens(pl.concat([earlier, frame]), screen("total >= AVG(total) - 0.5"))
    alone = apply_screens(frame, screen("total >= AVG(total) - 0.5"))
    assert both.filter(session=SESSION).equals(alone) and alone.height == 16


def test_the_first_table_holds_where_two_have_a_column(sound):
    frame = frame_of(sound.but(price=80.0))
    assert frame.filter(instrument_id="us:T00")["price"].to_list() == [100.0], "the score's, not the snapshot's"
