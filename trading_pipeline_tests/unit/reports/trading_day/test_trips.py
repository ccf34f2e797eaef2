"""What belongs to one trade: its fills, levels, signal, and the words below its chart."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl

from trading_pipeline.reports.trading_day.trips import trips
from trading_pipeline_tests.trading_days import trading_day


def test_every_trade_and_every_position_is_a_trip():
    day = trading_day()
    made = trips(day)
    assert [trip.ticker for trip in made] == ["Q00", "Q01", "Q02", "Q03", "Q04", "Q05", "Q06", "Q07"]
    assert [trip.trade is None for trip in made] == [False] * 6 + [True] * 2


def test_a_trade_has_its_own_fills_and_levels():
    day = trading_day()
    for trip in trips(day)[:6]:
        fills = day.fills.filter(pl.col("ticker") == trip.ticker).sort("at")
        assert [each.price for each in trip.executions] == fills["price"].to_list()
        assert [each.opening for each in trip.executions] == [True, True, False]
        assert trip.executions[-1].role == trip.trade["exit_reason"]
        sign = 1 if trip.side == "long" else -1
        assert sign * (trip.target - trip.entry_price) > 0 > sign * (trip.stop - trip.entry_price)
        assert trip.signal["ticker"] == trip.ticker


def test_two_trades_of_a_name_share_no_fill():
    day = trading_day(trades=2, held=0, carried=0, sides=("long",))
    one = {"ticker": pl.lit("Q00"), "instrument_id": pl.lit("us:Q00")}
    # The second trade opens in the very moment the first one ends.
    first, second = day.trades.sort("opened_at").iter_rows(named=True)
    shift = second["opened_at"] - first["closed_at"]
    later = pl.col("ticker") == "Q01"

    def moved(name: str) -> pl.Expr:
        return pl.when(later).then(pl.col(name) - shift).otherwise(pl.col(name)).alias(name)

    day = replace(
        day,
        trades=day.trades.with_columns(moved("opened_at"), moved("closed_at")).with_columns(**one),
        fills=day.fills.with_columns(moved("at")).with_columns(**one),
        orders=day.orders.with_columns(**one),
    )
    made = trips(day)
    assert made[0].closed_at == made[1].opened_at
    assert [len(trip.executions) for trip in made] == [3, 3]
    assert {each.role for each in made[0].executions} == {"entry", "stop"}
    assert {each.role for each in made[1].executions} == {"entry", "target"}


def test_what_is_said_below_a_chart():
    day = trading_day(sides=("long", "short"))
    long, short, *_, opened, carried = trips(day)
    assert long.caption(day).startswith("Bought 100 at 09:49 at ")
    assert ", target " in long.caption(day) and "; out by its stop at 10:01 at " in long.caption(day)
    assert long.caption(day).endswith(" R.")
    assert short.caption(day).startswith("Sold short 110 at 10:26")
    assert "out at its target" in short.caption(day)
    assert "Still held at the close, " in opened.caption(day) and "(stop " in opened.caption(day)
    assert carried.caption(day).startswith("Bought 120 before today at ")
    assert "stop" not in carried.caption(day)


def test_a_trade_without_risk_or_known_orders_is_told_without_them():
    day = trading_day(trades=1, held=0, carried=0)
    bare = replace(
        day,
        trades=day.trades.with_columns(r_multiple=pl.lit(None, pl.Float64)),
        orders=day.orders.clear(),
        trade_signals=day.trade_signals.clear(),
    )
    [trip] = trips(bare)
    assert " R." not in trip.caption(bare) and "(stop" not in trip.caption(bare)
    assert (trip.stop, trip.target, trip.signal) == (None, None, None)
    assert [each.opening for each in trip.executions] == [True, True, False]


def test_a_trade_that_was_opened_on_an_earlier_day_says_so():
    day = trading_day(trades=1, held=0, carried=0)
    old = day.trades.with_columns(pl.col("opened_at") - timedelta(days=1))
    [trip] = trips(replace(day, trades=old))
    assert " before today at " in trip.caption(day)


def test_dividends_are_named_as_part_of_a_trades_profit():
    [trip] = trips(trading_day(trades=1, held=0, carried=0, sides=("long",)))
    assert "dividends" not in trip.caption(trading_day())
    paid = replace(trip, trade=trip.trade | {"pnl": -10.0, "income": 24.25})
    assert "−$10.00, +$24.25 of it dividends, " in paid.caption(trading_day())
