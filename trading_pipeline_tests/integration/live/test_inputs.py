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
from trading_pipeline.tables import (
    CORPORATE_ACTIONS,
    DAILY_BARS,
    DAILY_BIAS,
    MARKET_REGIME,
    PREMARKET_SNAPSHOTS,
    SCREENER_SCORES,
    UNIVERSE_MEMBERS,
)
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


INDEX = "us:SPY"
MINUTE = timedelta(minutes=1)


def premarket_moment(session: date) -> datetime:
    return datetime.combine(session, US.premarket_at, XNYS.timezone).astimezone(UTC)


def tell_sectors(lake, session: date, sector: str, at: datetime) -> None:
    """What the screener says of the session before, and whoever is a member of something on `session` itself."""
    before = XNYS.offset(session, -1)
    scores = premarket_inputs().scores.with_columns(session=pl.lit(before), sector=pl.lit(sector))
    lake.publish("us", SCREENER_SCORES, [before], scores.select(SCREENER_SCORES.names), at)
    lake.replace("us", UNIVERSE_MEMBERS, [session], members(session, sector))


def members(session: date, sector: str) -> pl.DataFrame:
    names = premarket_inputs().scores.select("instrument_id", "ticker", session=pl.lit(session))
    rows = names.with_columns(universe=pl.lit("SPX500"), sector=pl.lit(sector), source=pl.lit("told"))
    return rows.select(UNIVERSE_MEMBERS.names)


def tell_index(lake, session: date, at: datetime | None = None) -> None:
    """40 bars of the index; the last close and a split of the session are told otherwise from `at` on."""
    days = XNYS.between(XNYS.offset(session, -40), XNYS.offset(session, -1))
    close = pl.Series([500.0 + day.day for day in days])
    bars = pl.DataFrame({"session": days, "close": close}).with_columns(
        instrument_id=pl.lit(INDEX), ticker=pl.lit("SPY"), open=pl.col("close"), high=pl.col("close") + 2,
        low=pl.col("close") - 2, volume=pl.lit(1e6), currency=pl.lit("USD"), provider=pl.lit("files"),
        provisional=pl.lit(False), data_quality=pl.lit("good"), rules=pl.lit(""),
        available_at=pl.Series([XNYS.close_at(day) for day in days]),
        known_at=pl.Series([XNYS.close_at(day) for day in days]),
        superseded_at=pl.lit(None, DAILY_BARS.schema["superseded_at"]),
    )  # fmt: skip
    if at is not None:
        told = bars.tail(1).with_columns(close=pl.lit(501.5), available_at=pl.lit(at), known_at=pl.lit(at))
        last = pl.col("session") == days[-1]
        bars = pl.concat(
            [bars.with_columns(superseded_at=pl.when(last).then(pl.lit(at))), told], how="vertical_relaxed"
        )
    lake.replace("us", DAILY_BARS, days, bars.select(DAILY_BARS.names))


def tell_split(lake, session: date, at: datetime) -> None:
    split = {
        "session": session, "instrument_id": INDEX, "ticker": "SPY", "kind": "split", "value": 2.0, "currency": "USD",
        "provider": "files", "withdrawn": False, "rules": "", "available_at": at, "known_at": at, "superseded_at": None,
    }  # fmt: skip
    lake.replace("us", CORPORATE_ACTIONS, [session], pl.DataFrame([split], schema=CORPORATE_ACTIONS.schema))


def test_sectors_and_the_index_are_as_known_at_the_premarket_moment(lake):
    session, _, _ = published(lake)
    moment = premarket_moment(session)
    tell_sectors(lake, session, "Energy", moment - MINUTE)
    tell_index(lake, session)
    first = read_inputs(lake, US, session, benchmark_id=INDEX).context.names
    index = first.filter(pl.col("instrument_id") == INDEX).row(0, named=True)
    assert index["previous_close"] == 500 + XNYS.offset(session, -1).day
    assert index["atr_14"] > 4
    assert first.filter(pl.col("instrument_id") != INDEX)["sector"].unique().to_list() == ["Energy"]

    tell_sectors(lake, session, "Utilities", moment + MINUTE)
    tell_index(lake, session, moment + MINUTE)
    tell_split(lake, session, moment + MINUTE)
    for as_of in (None, datetime(2026, 2, 1, tzinfo=UTC)):
        assert read_inputs(lake, US, session, benchmark_id=INDEX, as_of=as_of).context.names.equals(first)


def test_what_became_known_before_the_premarket_moment_counts(lake):
    session, _, _ = published(lake)
    moment = premarket_moment(session)
    tell_sectors(lake, session, "Energy", moment - 2 * MINUTE)
    tell_sectors(lake, session, "Utilities", moment - MINUTE)
    tell_index(lake, session, moment - MINUTE)
    names = read_inputs(lake, US, session, benchmark_id=INDEX).context.names
    index = pl.col("instrument_id") == INDEX
    assert names.filter(~index)["sector"].unique().to_list() == ["Utilities"]
    assert names.filter(index)["previous_close"].to_list() == [501.5]
    tell_split(lake, session, moment - MINUTE)
    inputs = read_inputs(lake, US, session, benchmark_id=INDEX)
    assert INDEX not in inputs.context.ids
    assert inputs.remarks[-1].startswith("No level of the index")


def test_sectors_that_nobody_screened_are_those_of_the_members_of_the_session_before(lake):
    session, levels, _ = published(lake)
    before, names = XNYS.offset(session, -1), levels.height
    lake.replace("us", UNIVERSE_MEMBERS, [session], members(session, "Materials"))
    assert read_inputs(lake, US, session).context.names["sector"].to_list() == ["Materials"] * names
    lake.replace("us", UNIVERSE_MEMBERS, [before], members(before, "Energy").tail(-1))
    assert sorted(read_inputs(lake, US, session).context.names["sector"]) == ["Energy"] * (names - 1) + ["Materials"]


def test_what_is_held_is_followed_beside_who_was_prepared_and_only_managed(lake):
    session, levels, _ = published(lake)
    known = levels.row(0, named=True)
    held = pl.DataFrame({"instrument_id": ["us:GONE", known["instrument_id"]], "ticker": ["GONE", known["ticker"]]})
    inputs = read_inputs(lake, US, session, held=held)
    assert inputs.context.ids == tuple(sorted([*levels["instrument_id"], "us:GONE"]))
    assert inputs.managed == {"us:GONE"}
    gone = inputs.context.names.filter(pl.col("instrument_id") == "us:GONE").row(0, named=True)
    assert (gone["bias"], gone["atr_14"], gone["previous_close"]) == (None, None, None)
    assert f"No snapshot of 1 of {levels.height + 1} names: GONE" in inputs.remarks


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
