from datetime import date

import polars as pl
import pytest

from trading_pipeline.research.bars.as_traded import undo_splits


def bars(symbol="AAPL", closes=((date(2020, 8, 28), 125.0), (date(2020, 8, 31), 129.0)), volume=400.0):
    return pl.DataFrame(
        [
            {
                "symbol": symbol,
                "session": session,
                "open": close,
                "high": close + 1,
                "low": close - 1,
                "close": close,
                "adj_close": close * 0.97,
                "volume": volume,
            }
            for session, close in closes
        ]
    )


def actions(*rows):
    return pl.DataFrame(
        [dict(zip(("symbol", "session", "kind", "value"), row, strict=True)) for row in rows],
        schema={"symbol": pl.String, "session": pl.Date, "kind": pl.String, "value": pl.Float64},
    )


def test_bars_before_the_ex_date_are_multiplied_and_the_ex_date_itself_is_not():
    traded, _, _ = undo_splits(bars(), actions(("AAPL", date(2020, 8, 31), "split", 4.0)), "split_adjusted")
    assert traded["close"].to_list() == [500.0, 129.0]
    assert traded["high"].to_list() == [504.0, 130.0]
    assert traded["volume"].to_list() == [100.0, 400.0]
    assert traded["split_factor"].to_list() == [4.0, 1.0]


def test_what_was_received_is_kept():
    traded, _, _ = undo_splits(bars(), actions(("AAPL", date(2020, 8, 31), "split", 4.0)), "split_adjusted")
    assert traded["received_close"].to_list() == [125.0, 129.0]
    assert traded["adj_close"].to_list() == bars()["adj_close"].to_list()


def test_several_splits_multiply_even_those_after_the_last_bar_and_on_holidays():
    splits = actions(
        ("GE", date(2024, 4, 2), "split", 1.253),
        ("GE", date(2023, 1, 4), "split", 1.281),
        ("GE", date(2021, 8, 2), "split", 0.125),
    )
    sessions = ((date(2021, 7, 30), 8.0), (date(2021, 8, 2), 8.0), (date(2023, 1, 4), 8.0), (date(2024, 4, 2), 8.0))
    traded, _, _ = undo_splits(bars("GE", sessions), splits, "split_adjusted")
    assert traded["split_factor"].to_list() == pytest.approx([0.125 * 1.281 * 1.253, 1.281 * 1.253, 1.253, 1.0])


def test_a_split_concerns_its_own_symbol_only():
    both = pl.concat([bars("AAPL"), bars("AAPLX"), bars("A")])
    traded, _, _ = undo_splits(both, actions(("AAPL", date(2020, 8, 31), "split", 4.0)), "split_adjusted")
    assert traded.filter(pl.col("symbol") != "AAPL")["split_factor"].to_list() == [1.0] * 4


def test_payments_are_undone_by_splits_after_their_ex_date_not_by_one_on_it():
    received = actions(
        ("AAPL", date(2020, 8, 7), "dividend", 0.205),
        ("AAPL", date(2020, 8, 31), "dividend", 0.205),
        ("AAPL", date(2020, 8, 31), "split", 4.0),
    )
    _, paid, _ = undo_splits(bars(), received, "split_adjusted")
    assert paid["value"].to_list() == pytest.approx([0.82, 0.205, 4.0])
    assert paid["received_value"].to_list() == [0.205, 0.205, 4.0]
    assert paid["split_factor"].to_list() == [4.0, 1.0, 1.0]


def test_a_provider_that_adjusts_nothing_is_taken_at_its_word():
    splits = actions(("AAPL", date(2020, 8, 31), "split", 4.0), ("AAPL", date(2020, 8, 7), "dividend", 0.82))
    traded, paid, _ = undo_splits(bars(), splits, "as_traded")
    assert traded["close"].to_list() == [125.0, 129.0]
    assert paid["value"].to_list() == [4.0, 0.82]


@pytest.mark.parametrize("ratio", [0.0, None, -2.0, float("inf"), float("nan")])
def test_a_split_that_is_no_ratio_is_refused_with_the_reason_and_moves_nothing(ratio):
    traded, sound, refused = undo_splits(bars(), actions(("AAPL", date(2020, 8, 31), "split", ratio)), "split_adjusted")
    assert traded["close"].to_list() == [125.0, 129.0]
    assert sound.is_empty()
    assert refused["reason"].to_list() in (["not a ratio"], ["no value"])


def test_a_contradiction_is_refused_and_a_repetition_counts_once():
    split = ("AAPL", date(2020, 8, 31), "split", 4.0)
    traded, sound, refused = undo_splits(bars(), actions(split, split, (*split[:3], 5.0)), "split_adjusted")
    assert traded["split_factor"].to_list() == [4.0, 1.0]
    assert sound["value"].to_list() == [4.0]
    assert refused["value"].to_list() == [5.0]


def test_nulls_stay_null_and_empty_frames_pass():
    hollow = bars().with_columns(pl.lit(None, pl.Float64).alias("close"))
    traded, _, _ = undo_splits(hollow, actions(("AAPL", date(2020, 8, 31), "split", 4.0)), "split_adjusted")
    assert traded["close"].null_count() == 2
    assert undo_splits(bars().clear(), actions(), "split_adjusted").bars.height == 0


def test_an_unknown_basis_is_an_error():
    with pytest.raises(ValueError, match="split_adjusted"):
        undo_splits(bars(), actions(), "adjusted")
