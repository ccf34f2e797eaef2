"""What a session is given: from the tables of the morning, and what is said where they lack something."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from trading_pipeline.errors import InputRefused
from trading_pipeline.live.inputs import inputs_from_minutes, read_inputs
from trading_pipeline.markets import US
from trading_pipeline.providers.simulated import SimulatedProvider
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import DAILY_BIAS, MARKET_REGIME, PREMARKET_SNAPSHOTS
from trading_pipeline_tests.premarkets import morning, premarket_inputs

XNYS = calendar("XNYS")


def published(lake, *, without: str = "") -> tuple[date, pl.DataFrame, pl.DataFrame]:
    """A morning in the lake: its session, snapshots and biases, and the regime of the session before."""
    told, levels, leaning = morning()
    session = told.sessions[-1]
    before = XNYS.offset(session, -1)
    regime = premarket_inputs().regime.with_columns(session=pl.lit(before)).select(MARKET_REGIME.names)
    for table, day, rows in (
        (PREMARKET_SNAPSHOTS, session, levels),
        (DAILY_BIAS, session, leaning),
        (MARKET_REGIME, before, regime),
    ):
        if table.name != without:
            lake.publish("us", table, [day], rows, datetime(2026, 1, 1, tzinfo=UTC))
    return session, levels, leaning


def test_a_session_is_given_what_the_morning_decided(lake):
    session, levels, leaning = published(lake)
    inputs = read_inputs(lake, US, session)
    names = inputs.context.names
    assert names["instrument_id"].to_list() == sorted(levels["instrument_id"])
    assert names.select("instrument_id", "bias", "confidence").equals(
        leaning.sort("instrument_id").select("instrument_id", "bias", "confidence")
    )
    assert inputs.bands.sort("instrument_id").equals(
        levels.sort("instrument_id").select("instrument_id", "anchored_mean", "anchored_sigma")
    )
    assert (inputs.context.opens_at, inputs.context.closes_at) == (XNYS.open_at(session), XNYS.close_at(session))
    assert inputs.context.environment == "B"
    assert inputs.context.regime in ("bull", "bear", "sideways")
    assert inputs.facts[names["instrument_id"][0]]["bias"]["ticker"] == names["ticker"][0]
    assert inputs.remarks == ()


def test_what_is_missing_is_unknown_and_said(lake):
    session, levels, _ = published(lake, without=DAILY_BIAS.name)
    inputs = read_inputs(lake, US, session, benchmark_id="us:NONE")
    assert inputs.context.names["bias"].null_count() == levels.height
    assert inputs.remarks[0].startswith(f"No bias of {levels.height} of {levels.height} names: ")
    assert inputs.remarks[1].startswith("No level of the index")


def test_a_session_without_a_regime_is_ungraded(lake):
    session, _, _ = published(lake, without=MARKET_REGIME.name)
    inputs = read_inputs(lake, US, session)
    assert (inputs.context.regime, inputs.context.environment) == (None, None)
    assert inputs.remarks == (f"No regime of {XNYS.offset(session, -1)}: the market counts as ungraded",)


def test_names_can_be_chosen_and_versions_published_later_do_not_count(lake):
    session, levels, _ = published(lake)
    chosen = levels.head(2).select("instrument_id", "ticker", sector=pl.lit("Energy"))
    assert read_inputs(lake, US, session, followed=chosen).context.ids == tuple(sorted(chosen["instrument_id"]))
    with pytest.raises(InputRefused, match="Nobody is prepared"):
        read_inputs(lake, US, session, as_of=datetime(2025, 12, 31, tzinfo=UTC))


def test_inputs_of_minutes_alone_know_levels_and_say_what_they_lack():
    market = SimulatedProvider(1, 20)
    session = date(2025, 9, 17)
    members = market.members(US, market.universe_keys(US)[0], [session])
    ids = {symbol: f"us:{symbol}" for symbol in members["ticker"].unique().sort().to_list()[:3]}
    now = XNYS.close_at(session) + timedelta(hours=8)
    inputs = inputs_from_minutes(market.intraday, US, session, ids, now=now)
    names = inputs.context.names
    assert names["atr_14"].null_count() == 0
    assert names["bias"].null_count() == 3
    assert inputs.bands["anchored_sigma"].null_count() == 0
    assert inputs.remarks[0].startswith("Made of the minutes that simulated tells")
    earlier = inputs_from_minutes(market.intraday, US, session, ids, now=XNYS.open_at(session))
    assert earlier.bands.equals(inputs.bands)
    assert earlier.context.names.equals(names)
