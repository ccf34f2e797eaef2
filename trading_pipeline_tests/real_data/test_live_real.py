"""The live functions on recorded minutes of 2025: whole days of three names, a half-day, and the index from Yahoo."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
import pytest

from benchmarks.live import recomputed
from trading_pipeline.research.live import SessionContext, load_rules
from trading_pipeline.sessions import calendar
from trading_pipeline_tests.live_days import BARS, MINUTE, MOMENT, Played, play, same_state

pytestmark = pytest.mark.real_data

NEW_YORK = "America/New_York"
FED_DAY, HALF_DAY = date(2025, 9, 17), date(2025, 11, 28)
CLOCK = calendar("XNYS")


@dataclass(frozen=True)
class Day:
    """The bars of a regular session, and what was known before it from the sessions before in the same file."""

    bars: pl.DataFrame
    known: SessionContext
    snapshots: pl.DataFrame

    @classmethod
    def of(cls, minutes: pl.DataFrame, session: date) -> Day:
        """minutes: `BARS`, several sessions of regular hours."""
        opens_at, closes_at = CLOCK.open_at(session), CLOCK.close_at(session)
        before = minutes.filter(pl.col("started_at") < opens_at).with_columns(
            session=pl.col("started_at").dt.convert_time_zone(NEW_YORK).dt.date()
        )
        key = ["instrument_id", "session"]
        daily = before.group_by(key).agg(pl.col("high").max(), pl.col("low").min(), pl.col("close").last()).sort(key)
        previous = pl.col("close").shift(1).over("instrument_id").fill_null(pl.col("close"))
        true_range = pl.max_horizontal(pl.col("high"), previous) - pl.min_horizontal(pl.col("low"), previous)
        names = daily.group_by("instrument_id").agg(
            atr_14=true_range.tail(14).mean(), previous_close=pl.col("close").last()
        )
        last = before.filter(pl.col("session") == pl.col("session").max(), pl.col("started_at").dt.minute() % 5 == 4)
        return cls(
            minutes.filter(pl.col("started_at").is_between(opens_at, closes_at, closed="left")),
            SessionContext(
                session=session,
                opens_at=opens_at,
                closes_at=closes_at,
                names=names.with_columns(
                    ticker=pl.col("instrument_id").str.strip_prefix("us:"),
                    sector=pl.lit(None, pl.String),
                    bias=pl.lit("neutral"),
                    confidence=pl.lit(0.5),
                ),
                regime="bull",
                environment="B",
                benchmark_id="us:SPY",
            ),
            last.group_by("instrument_id").agg(
                anchored_mean=pl.col("close").mean(), anchored_sigma=pl.col("close").std()
            ),
        )

    def played(self, **how: object) -> Played:
        """The day as the live loop runs it."""
        return play(self.bars, self.known, self.snapshots, **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def three_names(real_data):
    raw = pl.read_parquet(real_data / "intraday" / "1min_3_tickers_2025-09_2025-11.parquet")
    local = pl.col("datetime").dt.replace_time_zone(NEW_YORK)
    return raw.select(
        instrument_id="us:" + pl.col("ticker"),
        started_at=local.dt.convert_time_zone("UTC").cast(MOMENT),
        **{name: pl.col(name).cast(pl.Float64) for name in ("open", "high", "low", "close", "volume")},
    ).sort("started_at", "instrument_id")


@pytest.fixture(scope="module")
def index_minutes(real_data):
    """SPY as Yahoo tells it, pre- and post-market left out: the live features are of the regular session."""
    raw = pl.read_csv(real_data / "intraday" / "spy_yf_prepost" / "SPY_1min_20250708_20250714.csv")
    started = pl.col("Datetime").str.to_datetime(time_zone="UTC", time_unit="us")
    prices = {name: pl.col(name.capitalize()).cast(pl.Float64) for name in ("open", "high", "low", "close", "volume")}
    told = raw.select(instrument_id=pl.lit("us:SPY"), started_at=started, **prices).sort("started_at")
    clock = pl.col("started_at").dt.convert_time_zone(NEW_YORK).dt.time()
    return told.filter(clock.is_between(pl.time(9, 30), pl.time(16, 0), closed="left"))


@pytest.fixture(scope="module")
def fed_day(three_names):
    return Day.of(three_names, FED_DAY)


@pytest.fixture(scope="module")
def fed_played(fed_day):
    return fed_day.played()


def test_a_real_day_equals_its_recomputation(fed_day, fed_played):
    again = recomputed(fed_day.bars, fed_day.snapshots)
    state = fed_played.features.state
    assert fed_played.rows.height == fed_day.bars.height > 1150  # XLF has minutes without a trade
    for name in state.__dataclass_fields__:
        if name in again.columns:
            theirs = again[name].cast(pl.Float64).to_numpy()
            np.testing.assert_allclose(getattr(state, name).astype(float), theirs, rtol=1e-9, atol=1e-9, err_msg=name)


def test_a_real_day_resumed_is_the_day_that_ran_through(fed_day, fed_played):
    resumed = fed_day.played(resumed_before={23, 199, 271, 301})
    assert same_state(resumed.features, fed_played.features) == []
    assert resumed.signals.equals(fed_played.signals) and resumed.rows.equals(fed_played.rows)


def test_every_signal_of_real_days_is_one_that_could_be_traded(three_names):
    """The fall of 10 October, an ordinary day, and the rise that turned over on 20 November."""
    rules, found = load_rules(), []
    for session in (date(2025, 10, 10), date(2025, 10, 23), date(2025, 11, 20)):
        day = Day.of(three_names, session)
        played = day.played()
        found.append(played.signals)
        minutes_in = (played.signals["tick_at"] - day.known.opens_at).dt.total_minutes()
        assert minutes_in.is_between(20, 360).all()
        assert played.falls.is_empty() == (session not in _fallen(day))
    signals = pl.concat(found)
    long = signals["side"] == "long"
    risk = (signals["price"] - signals["stop"]) * pl.Series(np.where(long, 1, -1))
    reward = (signals["target"] - signals["price"]) * pl.Series(np.where(long, 1, -1))
    assert (risk > 0).all() and (reward / risk >= 1.5 - 1e-9).all()
    assert (risk / signals["price"] < 0.03).all()
    assert (signals["strength"] >= rules.timing.least_strength).all() and (signals["strength"] <= 1).all()
    assert "us:SPY" not in signals["instrument_id"], "the index is followed, not traded"
    # Neither silent nor noisy: two names, three days.
    assert 5 <= signals.height <= 40 and signals["signal_id"].is_unique().all()


def _fallen(day: Day) -> set[date]:
    """The session, if a name closed a minute 5 % below yesterday's close or the session's high."""
    closes = day.bars.join(day.known.names, on="instrument_id").with_columns(
        top=pl.col("high").cum_max().over("instrument_id")
    )
    fell = closes.filter(pl.col("close") <= 0.95 * pl.max_horizontal("top", "previous_close"))
    return set() if fell.is_empty() else {day.known.session}


def test_a_real_half_day_ends_at_one(three_names):
    day = Day.of(three_names, HALF_DAY)
    played = day.played()
    assert len(played.logs) == 210
    last = played.rows["bar_started_at"].max()
    assert last + MINUTE == day.known.closes_at and played.features.state.bars.max() == 210
    assert (played.signals["tick_at"] <= day.known.closes_at - 30 * MINUTE).all()


def test_the_index_from_yahoo_runs_through_a_day(index_minutes):
    """Its volume is real in regular hours, so it has a VWAP; it alone is no market to analyse."""
    assert index_minutes.schema == BARS
    day = Day.of(index_minutes, date(2025, 7, 11))
    played = day.played()
    rows = played.rows
    assert rows.height > 380 and rows["vwap"].null_count() == 0
    assert rows["z_rolling"].null_count() == 19
    assert (rows["vwap_distance_pct"].abs() < 1).all()
    assert {row["summary"].item() for row in played.analyses} == {
        "Too few names with a fresh bar to judge the market: 0 of 5 needed."
    }
