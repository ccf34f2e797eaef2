from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from trading_pipeline.research.bars.adjustment import adjust, adjustment_factors, factor_panel, unusable

DAYS = [date(2024, 1, 2) + timedelta(days=offset) for offset in range(5)]


def bars(closes, instrument="us:A", days=DAYS):
    return pl.DataFrame(
        {
            "instrument_id": [instrument] * len(closes),
            "session": days[: len(closes)],
            "open": closes,
            "high": closes,
            "low": closes,
            "close": closes,
            "volume": [100.0] * len(closes),
            "ticker": ["A"] * len(closes),
        },
        schema_overrides=dict.fromkeys(("open", "high", "low", "close"), pl.Float64),
    )


def actions(*rows):
    return pl.DataFrame(
        [dict(zip(("instrument_id", "session", "kind", "value"), row, strict=True)) for row in rows],
        schema={"instrument_id": pl.String, "session": pl.Date, "kind": pl.String, "value": pl.Float64},
    )


def test_a_split_divides_earlier_prices_and_multiplies_earlier_volume():
    adjusted = adjust(bars([100, 102, 51, 52]), actions(("us:A", DAYS[2], "split", 2.0)), "splits")
    assert adjusted["close"].to_list() == [50, 51, 51, 52]
    assert adjusted["open"].to_list() == [50, 51, 51, 52]
    assert adjusted["volume"].to_list() == [200, 200, 100, 100]
    assert adjusted.columns == bars([1]).columns


def test_a_dividend_takes_its_share_of_the_close_before():
    adjusted = adjust(bars([100, 100, 98, 99]), actions(("us:A", DAYS[2], "dividend", 2.0)), "total_return")
    assert adjusted["close"].to_list() == pytest.approx([98, 98, 98, 99])
    assert adjusted["volume"].to_list() == [100] * 4


def test_splits_alone_leave_dividends_in_and_none_changes_nothing():
    both = actions(("us:A", DAYS[2], "dividend", 2.0), ("us:A", DAYS[3], "split", 2.0))
    raw = bars([100, 100, 98, 49])
    assert adjust(raw, both, "splits")["close"].to_list() == [50, 50, 49, 49]
    assert adjust(raw, both, "none").equals(raw)


def test_a_dividend_that_goes_ex_with_a_split_is_per_share_after_it():
    both = actions(("us:A", DAYS[2], "dividend", 1.0), ("us:A", DAYS[2], "split", 2.0))
    adjusted = adjust(bars([100, 100, 49]), both, "total_return")
    assert adjusted["close"].to_list() == pytest.approx([49, 49, 49])


def test_dividend_and_capital_gain_of_one_ex_date_are_one_payment():
    both = actions(("us:A", DAYS[1], "dividend", 1.0), ("us:A", DAYS[1], "capital_gain", 9.0))
    assert adjust(bars([100, 90]), both, "total_return")["close"].to_list() == pytest.approx([90, 90])


def test_each_instrument_is_rebased_at_its_own_last_bar_and_later_actions_do_nothing():
    two = pl.concat([bars([100, 101], "us:GONE"), bars([100, 100, 50, 50])])
    later = actions(
        ("us:GONE", DAYS[3], "split", 7.0), ("us:A", DAYS[2], "split", 2.0), ("us:A", DAYS[4], "split", 3.0)
    )
    factors = adjustment_factors(two, later)
    assert factors["split_factor"].to_list() == [1, 1, 0.5, 0.5, 1, 1]


def test_order_of_rows_and_missing_sessions_do_not_matter():
    gappy = bars([100, None, 98, 49]).with_row_index("row").filter(pl.col("row") != 2)
    both = actions(("us:A", DAYS[2], "dividend", 2.0), ("us:A", DAYS[3], "split", 2.0))
    straight = adjust(gappy, both, "total_return")
    assert straight["close"].to_list() == pytest.approx([49, None, 49])
    shuffled = adjust(gappy.sample(fraction=1, shuffle=True, seed=3), both, "total_return").sort("row")
    assert shuffled.equals(straight)


def test_a_level_divided_by_the_factor_of_a_session_is_in_that_sessions_basis_whatever_came_later():
    raw = bars([100, 110, 55, 60, 20])
    splits = actions(("us:A", DAYS[2], "split", 2.0), ("us:A", DAYS[4], "split", 3.0))
    high = adjust(raw, splits, "splits")["close"].cum_max() / adjustment_factors(raw, splits)["split_factor"]
    until = raw.head(4)
    alone = adjust(until, splits, "splits")["close"].cum_max() / adjustment_factors(until, splits)["split_factor"]
    assert high.head(4).to_list() == pytest.approx(alone.to_list())
    assert high.to_list() == pytest.approx([100, 110, 55, 60, 20])


def test_what_has_no_factor_is_listed_and_leaves_prices_alone():
    bad = actions(
        ("us:A", DAYS[1], "dividend", 100.0),
        ("us:A", DAYS[2], "split", 0.0),
        ("us:A", DAYS[2], "dividend", None),
        ("us:A", DAYS[3], "dividend", 1.0),
        ("us:OTHER", DAYS[3], "split", -1.0),
    )
    raw = bars([100, 100, 100, 99])
    assert unusable(raw, bad).select("session", "kind").rows() == [
        (DAYS[1], "dividend"),
        (DAYS[2], "split"),
        (DAYS[2], "dividend"),
    ]
    assert adjust(raw, bad, "total_return")["close"].to_list() == pytest.approx([99, 99, 99, 99])


def test_a_withdrawn_action_does_nothing():
    gone = actions(("us:A", DAYS[1], "split", 2.0)).with_columns(withdrawn=True)
    assert adjust(bars([100, 100]), gone, "splits")["close"].to_list() == [100, 100]


def test_the_panel_form_agrees_with_the_long_form():
    rng = np.random.default_rng(7)
    close = rng.uniform(50, 150, (30, 4))
    close[5:9, 2] = np.nan
    days = np.arange(np.datetime64("2024-01-01"), np.datetime64("2024-01-31"))
    ids = ["us:A", "us:B", "us:C", "us:D"]
    some = actions(
        *(
            (str(rng.choice(ids)), day.item(), kind, value)
            for kind, value in (("split", 2.0), ("dividend", 1.5), ("split", 0.1))
            for day in rng.choice(days, 6, replace=False)
        )
    )
    long = pl.concat(
        [bars(close[:, i].tolist(), name, [day.item() for day in days]) for i, name in enumerate(ids)]
    ).with_columns(pl.col("close").fill_nan(None))
    split, total = factor_panel(close, days, ids, some)
    factors = adjustment_factors(long, some)
    assert factors["split_factor"].to_numpy() == pytest.approx(split.T.ravel())
    assert factors["total_return_factor"].to_numpy() == pytest.approx(total.T.ravel())


def test_empty_frames_pass_and_an_unknown_way_is_an_error():
    assert adjust(bars([]), actions(), "total_return").is_empty()
    assert adjust(bars([1.0]), actions(), "splits")["close"].to_list() == [1.0]
    assert adjust(bars([]), actions(("us:A", DAYS[1], "split", 2.0)), "splits").is_empty()
    with pytest.raises(ValueError, match="total_return"):
        adjust(bars([1.0]), actions(), "dividends")
