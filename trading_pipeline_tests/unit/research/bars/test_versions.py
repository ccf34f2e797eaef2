from datetime import date, timedelta

import polars as pl
import pytest

from trading_pipeline.research.bars.versions import VALUES, changes, suspected_breaks

FIRST = date(2024, 1, 1)
PRICES = list(VALUES[:4])


def bars(closes, instrument="us:A", start=0, volume=1000.0, factor=1.0, provisional=False, provider="yahoo"):
    """As-traded bars of consecutive days from day `start`; the volume varies a little."""
    return pl.DataFrame(
        [
            {
                "instrument_id": instrument,
                "session": FIRST + timedelta(days=start + place),
                "provider": provider,
                "open": close and close * 0.99,
                "high": close and close * 1.02,
                "low": close and close * 0.98,
                "close": close,
                "volume": volume + place,
                "adj_close": close and close * 0.9,
                "received_close": close and close / factor,
                "split_factor": factor,
                "provisional": provisional,
            }
            for place, close in enumerate(closes)
        ],
        schema_overrides=dict.fromkeys((*VALUES, "adj_close", "received_close"), pl.Float64),
    )


def set_close(frame, day, close):
    at = pl.col("session") == FIRST + timedelta(days=day)
    return frame.with_columns(pl.when(at).then(pl.lit(close, pl.Float64)).otherwise("close").alias("close"))


def scaled(frame, factor):
    """The same history in another basis: prices times factor, volume against it."""
    return frame.with_columns(pl.col(*PRICES, "received_close") * factor, pl.col("volume") / factor)


HISTORY = [100.0, 101.0, 102.0, 99.0, 98.0, 97.5, 103.0, 104.0]


def sessions(frame):
    return [(session - FIRST).days for session in frame["session"]]


def test_the_same_again_adds_nothing_not_even_with_a_new_adjusted_close():
    again = bars(HISTORY).with_columns(pl.col("adj_close") * 0.98, pl.col("close") * (1 + 2e-7))
    found = changes(again, bars(HISTORY))
    assert found.versions.is_empty()
    assert found.unchanged == len(HISTORY)


def test_a_key_without_a_stored_version_is_new_and_providers_are_apart():
    found = changes(bars(HISTORY), bars(HISTORY[:6]))
    assert sessions(found.new) == [6, 7]
    assert changes(bars(HISTORY, provider="tiingo"), bars(HISTORY)).new.height == len(HISTORY)


@pytest.mark.parametrize("column", VALUES)
def test_a_difference_beyond_the_tolerance_is_a_revision(column):
    again = bars(HISTORY).with_columns(
        pl.when(pl.col("session") == FIRST + timedelta(days=3)).then(pl.col(column) * (1 + 1e-5)).otherwise(column)
    )
    found = changes(again, bars(HISTORY))
    assert sessions(found.revised) == [3]
    assert found.basis_breaks.is_empty()
    assert found.revised.columns == again.columns


def test_there_and_back_again_are_two_revisions():
    original, corrected = bars(HISTORY), set_close(bars(HISTORY), 3, 99.5)
    assert sessions(changes(corrected, original).revised) == [3]
    assert sessions(changes(original, corrected).revised) == [3]


def test_null_to_value_and_value_to_null_are_revisions():
    hole = set_close(bars(HISTORY), 3, None)
    assert sessions(changes(bars(HISTORY), hole).revised) == [3]
    assert sessions(changes(hole, bars(HISTORY)).revised) == [3]
    assert changes(hole, hole).unchanged == len(HISTORY)


def test_a_final_bar_after_a_provisional_one_is_a_version_even_when_it_says_the_same():
    forming = pl.concat([bars(HISTORY[:7]), bars(HISTORY[7:], start=7, volume=1007.0, provisional=True)])
    found = changes(bars(HISTORY), forming)
    assert sessions(found.settled) == [7]
    assert found.revised.is_empty()
    assert changes(forming, forming).versions.is_empty()
    later_look = set_close(forming, 7, 105.0)
    assert sessions(changes(later_look, forming).settled) == [7]


def test_the_rounding_of_volume_to_whole_shares_is_no_revision_across_split_factors():
    told_before = bars(HISTORY, volume=12_345.0)
    told_after = told_before.with_columns(split_factor=pl.lit(1.253), volume=(pl.col("volume") * 1.253).round() / 1.253)
    assert changes(told_after, told_before).versions.is_empty()
    a_share_more = told_before.with_columns(pl.col("volume") + 1)
    assert changes(a_share_more, told_before).revised.height == len(HISTORY)


@pytest.mark.parametrize("factor", [0.5, 10.0, 1.0253, 0.01])
def test_a_history_that_jumps_by_a_constant_is_one_break_and_nothing_of_it_is_taken(factor):
    found = changes(scaled(bars(HISTORY), factor), bars(HISTORY))
    assert found.versions.is_empty()
    assert found.basis_breaks.rows() == [
        ("us:A", "yahoo", pytest.approx(factor), FIRST, FIRST + timedelta(days=7), 8, 0, "prices")
    ]


def test_an_unchanged_volume_makes_it_no_less_a_break():
    moved = bars(HISTORY).with_columns(pl.col(*PRICES) * 2)
    assert changes(moved, bars(HISTORY)).basis_breaks["factor"].to_list() == pytest.approx([2.0])


def test_sessions_after_the_break_are_taken_in_the_new_basis_and_stay_unchanged_from_then_on():
    stored = bars(HISTORY)
    received = scaled(bars([*HISTORY, 105.0, 106.0]), 0.5)
    found = changes(received, stored)
    assert sessions(found.new) == [8, 9]
    assert found.new["close"].to_list() == [52.5, 53.0]
    after = changes(received, pl.concat([stored, found.new]))
    assert after.versions.is_empty()
    assert after.basis_breaks["last_session"].to_list() == [FIRST + timedelta(days=7)]
    assert after.unchanged == 2


def test_two_breaks_one_after_the_other_are_two():
    stored = pl.concat([bars(HISTORY), scaled(bars(HISTORY, start=8), 0.5)])
    received = scaled(pl.concat([scaled(bars(HISTORY), 0.5), scaled(bars(HISTORY, start=8), 0.5)]), 0.1)
    found = changes(received, stored)
    assert found.versions.is_empty()
    assert found.basis_breaks["factor"].to_list() == pytest.approx([0.05, 0.1])


def test_what_differs_besides_inside_a_break_is_counted_not_taken():
    long = [100.0 + place % 7 for place in range(40)]
    stored = bars(long).filter(pl.col("session") != FIRST + timedelta(days=30))
    received = set_close(scaled(bars(long), 0.5), 20, 77.0)
    found = changes(received, stored)
    assert found.versions.is_empty()
    assert found.basis_breaks.select("rows", "withheld").rows() == [(38, 2)]


def test_a_corrected_range_inside_the_history_is_revisions():
    wrong = bars(HISTORY).with_columns(
        pl.when(pl.col("session").is_between(FIRST + timedelta(days=3), FIRST + timedelta(days=6)))
        .then(pl.col(*PRICES) * 100)
        .otherwise(pl.col(*PRICES))
    )
    found = changes(bars(HISTORY), wrong)
    assert sessions(found.revised) == [3, 4, 5, 6]
    assert found.basis_breaks.is_empty()


def test_a_first_bar_alone_in_another_unit_was_corrected():
    wrong = bars(HISTORY).with_columns(
        pl.when(pl.col("session") == FIRST).then(pl.col(*PRICES) * 100).otherwise(pl.col(*PRICES))
    )
    assert sessions(changes(bars(HISTORY), wrong).revised) == [0]


def test_a_break_of_one_instrument_leaves_the_others_alone():
    both = pl.concat([bars(HISTORY), set_close(bars(HISTORY, "us:B"), 2, 111.0)])
    received = pl.concat([scaled(bars(HISTORY), 2.0), bars(HISTORY, "us:B")])
    found = changes(received, both)
    assert found.revised["instrument_id"].to_list() == ["us:B"]
    assert found.basis_breaks["instrument_id"].to_list() == ["us:A"]


def test_known_splits_that_changed_are_told_from_prices_that_moved():
    stored = bars(HISTORY)
    received = stored.with_columns(pl.col(*PRICES) * 4, volume=pl.col("volume") / 4, split_factor=pl.lit(4.0))
    assert changes(received, stored).basis_breaks["cause"].to_list() == ["splits"]


def test_a_rebased_instrument_takes_its_receipt_as_revisions():
    found = changes(scaled(bars(HISTORY), 0.5), bars(HISTORY), rebase=["us:A"])
    assert found.revised.height == len(HISTORY)
    assert found.basis_breaks.is_empty()


def test_prices_rounded_to_cents_still_make_one_break():
    received = bars(HISTORY).with_columns((pl.col(*PRICES) / 3).round(2), pl.col("volume") * 3)
    found = changes(received, bars(HISTORY))
    assert found.basis_breaks["factor"].to_list() == pytest.approx([1 / 3], rel=1e-3)
    assert found.versions.is_empty()


def test_an_overlap_suspects_a_break_by_its_earliest_bar():
    stored = bars(HISTORY)
    assert suspected_breaks(scaled(bars(HISTORY[5:], start=5, volume=1005.0), 0.5), stored) == ["us:A"]
    assert suspected_breaks(set_close(bars(HISTORY[5:], start=5, volume=1005.0), 5, 50.0), stored) == []
    assert suspected_breaks(bars(HISTORY), stored) == []


def test_empty_frames_pass():
    assert changes(bars(HISTORY), bars([0.0]).clear()).new.height == len(HISTORY)
    assert changes(bars([0.0]).clear(), bars(HISTORY)).versions.is_empty()
