"""Indicators: each against an independent implementation, in the price basis of the session, blind to the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import talib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from polars.testing import assert_frame_equal

from trading_pipeline import tables
from trading_pipeline.research import indicators as module
from trading_pipeline.research.indicators import LOOKBACK, WINDOW, indicators

BENCHMARK = "us:SPY"
FLOATS = [name for name, dtype in tables.INDICATORS.schema.items() if dtype == pl.Float64]


def run(market, sessions):
    """As the pipeline runs it: no bar after the last judged session, none before the lookback of the first."""
    first = market.sessions[max(0, market.sessions.index(sessions[0]) - LOOKBACK)]
    seen = market.between(first, sessions[-1])
    return indicators(seen.bars, seen.actions, seen.members, BENCHMARK, sessions)


@pytest.fixture(scope="module")
def dense(random_market):
    """Five years of names without holes or actions: what charting packages are made for."""
    market = random_market(11, sessions=1300, tickers=6, holes=False)
    return replace(market, actions=market.actions.clear())


@pytest.fixture(scope="module")
def dense_result(dense):
    return indicators(dense.bars, dense.actions, dense.members, BENCHMARK, dense.sessions[-300:])


@pytest.fixture(scope="module")
def holey(random_market):
    return random_market(5, sessions=900, tickers=24)


@pytest.fixture(scope="module")
def holey_result(holey):
    return run(holey, holey.sessions)


def one_name(frame, instrument_id, *columns):
    return frame.filter(pl.col("instrument_id") == instrument_id).sort("session").select(columns).to_numpy().T


def own_history(market, instrument_id, until, sessions=None):
    """Bars of one instrument up to a session, oldest first, in its price basis; within so many sessions if given."""
    with_bars = market.bars["session"].unique().sort().to_list()
    row = with_bars.index(until)
    first = with_bars[0 if sessions is None else max(0, row - sessions + 1)]
    bars = market.bars.filter(
        (pl.col("instrument_id") == instrument_id) & pl.col("session").is_between(first, until)
    ).sort("session")
    splits = market.actions.filter(
        (pl.col("instrument_id") == instrument_id) & (pl.col("kind") == "split") & (pl.col("session") <= until)
    )
    frame = bars.to_pandas().set_index("session")
    for ex_date, ratio in splits.select("session", "value").iter_rows():
        before = frame.index < pd.Timestamp(ex_date)
        frame.loc[before, ["open", "high", "low", "close"]] /= ratio
        frame.loc[before, "volume"] *= ratio
    return frame


# Where a recursion is compared, the tolerance is the weight that the finite window leaves out, times the size of what
# is averaged: (1 - alpha)^window. TA-Lib's own seed has decayed further than that by then.
TALIB = {
    "sma_20": (lambda o, h, lo, c: talib.SMA(c, 20), 1e-10),
    "sma_200": (lambda o, h, lo, c: talib.SMA(c, 200), 1e-10),
    "ema_20": (lambda o, h, lo, c: talib.EMA(c, 20), 1e-10),  # (19/21)^480 = 1e-21
    "ema_50": (
        lambda o, h, lo, c: talib.EMA(c, 50),
        1e-7,
    ),  # (49/51)^480 = 5e-9, of a price that may be 10 times today's
    "atr_14": (lambda o, h, lo, c: talib.ATR(h, lo, c, 14), 1e-10),  # (13/14)^480 = 4e-16
    "rsi_14": (lambda o, h, lo, c: talib.RSI(c, 14), 1e-10),
    "macd": (lambda o, h, lo, c: talib.MACD(c)[0], 1e-7),  # a small difference of averages: (25/27)^380 = 2e-13 of them
    "macd_signal": (lambda o, h, lo, c: talib.MACD(c)[1], 1e-7),  # (8/10)^100 = 2e-10
    "macd_histogram": (lambda o, h, lo, c: talib.MACD(c)[2], 1e-6),
    "adx_14": (lambda o, h, lo, c: talib.ADX(h, lo, c, 14), 1e-5),  # (13/14)^240 = 2e-8, of a ratio
    "high_252": (lambda o, h, lo, c: talib.MAX(h, 252), 1e-12),
    "low_252": (lambda o, h, lo, c: talib.MIN(lo, 252), 1e-12),
}


@pytest.mark.parametrize("name", TALIB)
def test_agrees_with_ta_lib_once_its_seed_has_decayed(name, dense, dense_result):
    oracle, tolerance = TALIB[name]
    for instrument_id in dense.bars["instrument_id"].unique():
        prices = one_name(dense.bars, instrument_id, "open", "high", "low", "close")
        (ours,) = one_name(dense_result, instrument_id, name)
        assert_allclose(ours, oracle(*prices)[-300:], rtol=tolerance, atol=tolerance)


def test_averages_are_those_of_pandas_over_the_window_with_holes_halts_and_splits(holey, holey_result):
    """EMA 200 too, which no seed lets TA-Lib agree with: the weights of `ewm(adjust=True)` over 480 sessions."""
    for row in holey_result.filter(pl.col("ema_200").is_not_null()).sample(25, seed=3).iter_rows(named=True):
        close = own_history(holey, row["instrument_id"], row["session"], WINDOW)["close"]
        for span in (20, 50, 200):
            assert_allclose(row[f"ema_{span}"], close.ewm(span=span).mean().iloc[-1], rtol=1e-10)
            assert_allclose(row[f"sma_{span}"], close.iloc[-span:].mean(), rtol=1e-10)
        line = close.ewm(span=12).mean() - close.ewm(span=26).mean()
        assert_allclose(row["macd"], line.iloc[-1], atol=1e-9 * close.max())


def test_wilders_averages_are_those_of_pandas_over_the_window_with_holes(holey, holey_result):
    rows = holey_result.filter((pl.col("history") > 400) & pl.col("rsi_14").is_not_null()).sample(25, seed=4)
    for row in rows.iter_rows(named=True):
        # The change of the window's first bar is measured against the bar before the window.
        bars = own_history(holey, row["instrument_id"], row["session"], WINDOW + 20)
        with_bars = holey.bars["session"].unique().sort().to_list()
        sessions = pd.Series([with_bars.index(day.date()) for day in bars.index], index=bars.index)
        near = sessions.diff() <= 20
        inside = sessions > sessions.iloc[-1] - WINDOW
        previous = bars["close"].shift()
        ranges = (np.maximum(bars["high"], previous) - np.minimum(bars["low"], previous)).where(near)[inside]
        weights = (13 / 14) ** np.arange(len(ranges))[::-1]
        atr = np.nansum(ranges * weights) / weights[ranges.notna()].sum()
        moves = bars["close"].diff().where(near, 0.0)[inside]
        rsi = 100 * (moves.clip(lower=0) * weights).sum() / (moves.abs() * weights).sum()
        assert_allclose([row["atr_14"], row["rsi_14"]], [atr, rsi], rtol=1e-9)


def test_volatility_and_volume_ratio_are_those_of_pandas(dense, dense_result):
    for instrument_id in ("us:T000", "us:T005"):
        close, volume = (pd.Series(values) for values in one_name(dense.bars, instrument_id, "close", "volume"))
        deviation = np.log(close).diff().rolling(21).std() * np.sqrt(252)
        ours = one_name(dense_result, instrument_id, "realised_volatility_21", "volume_ratio_20")
        assert_allclose(ours[0], deviation[-300:], rtol=1e-9)
        assert_allclose(ours[1], (volume / volume.shift().rolling(20).mean())[-300:], rtol=1e-9)


def test_returns_strength_and_beta_are_those_of_pandas(dense, dense_result):
    close = dense.bars.pivot("instrument_id", index="session", values="close").sort("session").to_pandas()
    close = close.set_index("session")
    logs = np.log(close).diff()
    over = {length: close / close.shift(length) - 1 for length in (1, 5, 21, 63, 126, 189, 252)}
    raw = 0.4 * over[63] + 0.2 * (over[126] + over[189] + over[252])
    for instrument_id in ("us:T001", "us:T004"):
        ours = dense_result.filter(instrument_id=instrument_id).sort("session")
        for length in (1, 5, 21, 63, 126, 252):
            assert_allclose(ours[f"return_{length}"], over[length][instrument_id][-300:], rtol=1e-9, atol=1e-12)
        assert_allclose(ours["relative_strength_raw"], raw[instrument_id][-300:], rtol=1e-9, atol=1e-12)
        strength = over[63][instrument_id] - over[63][BENCHMARK]
        assert_allclose(ours["relative_strength_63"], strength[-300:], rtol=1e-9, atol=1e-12)
        slope = logs[instrument_id].rolling(252).cov(logs[BENCHMARK]) / logs[BENCHMARK].rolling(252).var()
        assert_allclose(ours["beta_252"], slope[-300:], rtol=1e-8)


def test_the_benchmark_has_a_beta_of_one_and_no_strength_of_its_own(dense_result):
    beta, strength = one_name(dense_result, BENCHMARK, "beta_252", "relative_strength_63")
    assert_allclose(beta, 1, rtol=1e-9)
    assert_allclose(strength, 0, atol=1e-12)


def test_ranks_run_linearly_from_1_to_99_among_members_alone(dense_result):
    for _, session in dense_result.sort("relative_strength_raw").group_by("session"):
        ranked = session.filter(pl.col("relative_strength_rank").is_not_null())
        assert ranked["relative_strength_rank"].to_list() == [1, 21, 40, 60, 79, 99]
        assert BENCHMARK not in ranked["instrument_id"], "the benchmark is no member"


def test_equal_strength_shares_a_rank_and_a_name_alone_has_none(random_market, daily_bars):
    sessions = random_market(1, sessions=300, tickers=1).sessions
    rise = [100 * 1.001**number for number in range(300)]
    # B is A at another price: the same returns but for their last bits.
    paths = {"us:A": rise, "us:B": [price * 0.3 / 7 for price in rise], "us:C": rise[::-1]}
    bars = pl.concat(daily_bars(name, path, sessions) for name, path in paths.items())
    members = bars.select("session", "instrument_id", universe=pl.lit("U"), sector=pl.lit(None, pl.String))
    none = pl.DataFrame(schema={"session": pl.Date, "instrument_id": pl.String, "kind": pl.String, "value": pl.Float64})
    together = indicators(bars, none, members, BENCHMARK, sessions[-1:])
    assert together["relative_strength_rank"].to_list() == [75, 75, 1]
    alone = indicators(bars, none, members.filter(instrument_id="us:A"), BENCHMARK, sessions[-1:])
    assert alone["relative_strength_rank"].to_list() == [None, None, None]


class TestPriceBasis:
    """A name at 400 for 300 sessions, split 4 for 1, then 260 sessions at 90: the old high is 100."""

    @pytest.fixture
    def bars(self, random_market, daily_bars):
        self.sessions = random_market(1, sessions=560, tickers=1).sessions
        return daily_bars("us:A", [400.0] * 300 + [90.0] * 260, self.sessions)

    def at(self, bars, position, *events):
        actions = pl.DataFrame(
            list(events),
            schema={"session": pl.Date, "instrument_id": pl.String, "kind": pl.String, "value": pl.Float64},
            orient="row",
        )
        members = bars.select("session", "instrument_id", universe=pl.lit("U"), sector=pl.lit(None, pl.String))
        seen = bars.filter(pl.col("session") <= self.sessions[position])
        return indicators(seen, actions, members, BENCHMARK, [self.sessions[position]]).row(0, named=True)

    def test_the_high_is_adjusted_for_the_splits_up_to_the_session(self, bars):
        row = self.at(bars, 400, (self.sessions[300], "us:A", "split", 4.0))
        assert row["high_252"] == pytest.approx(100)
        assert row["distance_from_high"] == pytest.approx(-0.10)
        assert row["sessions_since_high"] == 101
        assert row["close"] == 90
        assert row["return_126"] == pytest.approx(-0.10)

    def test_a_split_still_to_come_changes_nothing(self, bars):
        split = (self.sessions[300], "us:A", "split", 4.0)
        assert self.at(bars, 299, split) == self.at(bars, 299)
        assert self.at(bars, 299, split)["high_252"] == 400

    def test_an_unadjusted_split_is_what_it_would_look_like(self, bars):
        assert self.at(bars, 400)["high_252"] == 400

    def test_the_high_leaves_after_252_sessions(self, bars):
        split = (self.sessions[300], "us:A", "split", 4.0)
        assert self.at(bars, 299 + 251, split)["high_252"] == pytest.approx(100)
        assert self.at(bars, 299 + 252, split)["high_252"] == pytest.approx(90)
        assert self.at(bars, 299 + 252, split)["sessions_since_high"] == 0

    def test_dividends_count_in_returns_and_not_in_the_high(self, bars):
        events = ((self.sessions[300], "us:A", "split", 4.0), (self.sessions[300], "us:A", "dividend", 10.0))
        row = self.at(bars, 300, *events)
        assert row["return_1"] == pytest.approx(0.0, abs=1e-12), "a dividend of 10 made up for the fall from 100 to 90"
        assert row["high_252"] == pytest.approx(100)


FIRST_BAR_OF = {
    "return_1": 2, "return_252": 253, "sma_20": 20, "sma_200": 200, "ema_20": 20, "ema_50": 50, "ema_200": 200,
    "atr_14": 15, "rsi_14": 15, "macd": 26, "macd_signal": 34, "adx_14": 28, "realised_volatility_21": 22,
    "high_252": 227, "low_252": 227, "sessions_since_high": 227, "volume_ratio_20": 21, "relative_strength_63": 64,
    "relative_strength_raw": 253, "relative_strength_rank": 253, "beta_252": 228,
}  # fmt: skip


def test_too_little_history_is_null_until_the_bar_that_completes_it(dense):
    """Periods as TA-Lib counts them; 52-week measures from 90 % of 252 sessions on."""
    start = dense.between(dense.sessions[0], dense.sessions[299])
    result = indicators(start.bars, start.actions, start.members, BENCHMARK, start.sessions[:300])
    for name, first in FIRST_BAR_OF.items():
        known = result.filter(instrument_id="us:T003").sort("session")[name].is_not_null().to_list()
        assert known == [False] * (first - 1) + [True] * (300 - first + 1), name


def test_ta_lib_starts_on_the_same_bars(dense):
    _, high, low, close = one_name(dense.bars, "us:T003", "open", "high", "low", "close")
    for name, theirs in {
        "rsi_14": talib.RSI(close, 14),
        "atr_14": talib.ATR(high, low, close, 14),
        "adx_14": talib.ADX(high, low, close, 14),
        "macd_signal": talib.MACD(close)[1], "ema_50": talib.EMA(close, 50),
    }.items():  # fmt: skip
        assert np.flatnonzero(np.isfinite(theirs))[0] + 1 == FIRST_BAR_OF[name], name


def test_a_halt_of_more_than_twenty_sessions_breaks_the_chain_of_changes(random_market, daily_bars):
    sessions = random_market(1, sessions=400, tickers=1).sessions
    rng = np.random.default_rng(2)
    whole = daily_bars("us:A", (50 * np.exp(np.cumsum(rng.normal(0, 0.01, 400)))).tolist(), sessions)
    other = daily_bars("us:B", [10.0] * 400, sessions)
    none = pl.DataFrame(schema={"session": pl.Date, "instrument_id": pl.String, "kind": pl.String, "value": pl.Float64})
    members = whole.select("session", "instrument_id", universe=pl.lit("U"), sector=pl.lit(None, pl.String))

    def last(halted):
        bars = pl.concat([whole.filter(~pl.col("session").is_in(sessions[360 : 360 + halted])), other])
        result = indicators(bars, none, members, BENCHMARK, [sessions[360 + halted]])
        return result.filter(instrument_id="us:A").row(0, named=True)

    short, long = last(19), last(26)
    assert short["return_5"] is not None, "the close of 19 sessions ago still stands"
    assert short["realised_volatility_21"] is not None
    assert long["return_5"] is None
    assert long["realised_volatility_21"] is None
    assert long["rsi_14"] is not None, "Wilder's averages leave the halt out"
    assert long["high_252"] is None, "26 of 252 sessions without a bar are too many"


def test_a_range_that_widens_evenly_has_no_direction_whatever_the_last_bits(random_market, daily_bars):
    """64.1 - 64.0 and 64.0 - 63.9 are not the same float: a plain comparison would call one larger."""
    sessions = random_market(1, sessions=60, tickers=1).sessions
    wider = np.arange(60) / 10
    bars = daily_bars("us:A", [64.0] * 60, sessions, high=(64 + wider).tolist(), low=(64 - wider).tolist())
    none = pl.DataFrame(schema={"session": pl.Date, "instrument_id": pl.String, "kind": pl.String, "value": pl.Float64})
    members = bars.select("session", "instrument_id", universe=pl.lit("U"), sector=pl.lit(None, pl.String))
    assert indicators(bars, none, members, BENCHMARK, sessions)["adx_14"].null_count() == 60


def test_a_name_that_does_not_move_has_no_rsi_and_no_beta(random_market, daily_bars):
    sessions = random_market(1, sessions=300, tickers=1).sessions
    bars = daily_bars("us:A", [7.0] * 300, sessions).vstack(daily_bars(BENCHMARK, [9.0] * 300, sessions))
    none = pl.DataFrame(schema={"session": pl.Date, "instrument_id": pl.String, "kind": pl.String, "value": pl.Float64})
    members = bars.select("session", "instrument_id", universe=pl.lit("U"), sector=pl.lit(None, pl.String))
    row = indicators(bars, none, members, BENCHMARK, sessions[-1:]).row(1, named=True)
    assert (row["rsi_14"], row["adx_14"], row["beta_252"]) == (None, None, None)
    assert (row["realised_volatility_21"], row["atr_14"]) == (0, 0)


def test_without_a_bar_of_the_benchmark_strength_is_measured_against_the_equal_weight_index(dense):
    bars = dense.bars.filter(pl.col("instrument_id") != BENCHMARK)
    last = dense.sessions[-1]
    result = indicators(bars, dense.actions, dense.members, BENCHMARK, [last])
    close = bars.filter(pl.col("instrument_id").str.starts_with("us:T")).pivot(
        "instrument_id", index="session", values="close"
    )
    prices = close.sort("session").drop("session").to_pandas()
    index = (1 + prices.pct_change().mean(axis=1)).cumprod()
    expected = prices.iloc[-1] / prices.iloc[-64] - index.iloc[-1] / index.iloc[-64]
    ours = result.filter(pl.col("instrument_id").str.starts_with("us:T")).sort("instrument_id")
    assert_allclose(ours["relative_strength_63"], expected.sort_index(), rtol=1e-9, atol=1e-12)
    market, own = np.log1p(prices.pct_change().mean(axis=1))[-252:], np.log(prices).diff()[-252:]
    slopes = [np.cov(own[name], market)[0, 1] / market.var() for name in sorted(prices)]
    assert_allclose(ours["beta_252"], slopes, rtol=1e-8)


def test_fits_its_table(holey_result):
    tables.INDICATORS.conform(holey_result)
    numbers = holey_result.select(FLOATS)
    assert not numbers.select(pl.any_horizontal((pl.all().is_nan() | pl.all().is_infinite()).any())).item()
    assert holey_result["distance_from_high"].max() <= 0 <= holey_result["distance_from_low"].min()
    assert holey_result["rsi_14"].is_between(0, 100).all()


def test_there_is_a_row_for_every_bar_of_the_judged_sessions_and_for_no_other(holey, holey_result):
    keys = holey.bars.select("session", "instrument_id").sort("session", "instrument_id")
    assert_frame_equal(holey_result.select("session", "instrument_id"), keys)


@pytest.mark.parametrize("position", [0, 1, 250, 519, 520, 521, 676, 700, 899])
def test_a_range_gives_what_each_session_gives_alone(position, holey, holey_result):
    """Prices of ±1e5 are compared relatively; everything else is of the order of 1."""
    session = holey.sessions[position]
    alone = run(holey, [session])
    assert_frame_equal(
        alone, holey_result.filter(pl.col("session") == session), check_exact=False, rel_tol=1e-9, abs_tol=1e-9
    )


def test_the_lookback_is_long_enough_and_only_just(holey, holey_result):
    """Cut to what the windows declare, nothing changes; cut by half, the property above would fail."""
    session = holey.sessions[899]
    expected = holey_result.filter(pl.col("session") == session)

    def with_history(sessions):
        seen = holey.between(holey.sessions[899 - sessions], session)
        return indicators(seen.bars, seen.actions, seen.members, BENCHMARK, [session])

    # One session of the year has no bar at all: rows, not calendar days, are what windows count.
    assert_frame_equal(with_history(module.REACH), expected, check_exact=False, rel_tol=1e-9, abs_tol=1e-9)
    with pytest.raises(AssertionError):
        assert_frame_equal(with_history(module.REACH // 2), expected, check_exact=False, rel_tol=1e-9, abs_tol=1e-9)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), position=st.integers(30, 398), factor=st.floats(0.01, 100))
def test_the_future_cut_or_mutated_changes_no_row_up_to_now(random_market, seed, position, factor):
    market = random_market(seed, sessions=400, tickers=12)
    now = market.sessions[position]
    past = market.sessions[: position + 1]
    after = pl.col("session") > now
    expected = indicators(market.bars, market.actions, market.members, BENCHMARK, market.sessions)
    expected = expected.filter(~after)

    cut = market.between(market.sessions[0], now)
    assert_frame_equal(indicators(cut.bars, cut.actions, cut.members, BENCHMARK, past), expected, abs_tol=1e-12)

    prices = [
        pl.when(after).then(pl.col(name) * factor).otherwise(name).alias(name)
        for name in ("high", "low", "close", "volume")
    ]
    more = pl.DataFrame(
        {"session": [market.sessions[position + 1]], "instrument_id": ["us:T003"], "kind": ["split"], "value": [factor]}
    )
    mutated = indicators(
        market.bars.with_columns(prices), market.actions.vstack(more), market.members.filter(~after), BENCHMARK, past
    )
    assert_frame_equal(mutated, expected, abs_tol=1e-12)


def test_nothing_in_nothing_out():
    bars = pl.DataFrame(schema={**tables.DAILY_BARS.schema})
    members = tables.UNIVERSE_MEMBERS.empty()
    actions = tables.CORPORATE_ACTIONS.empty()
    assert tables.INDICATORS.conform(indicators(bars, actions, members, BENCHMARK, [])).is_empty()


def test_a_session_without_any_bar_has_no_rows(holey):
    empty = holey.sessions[675]
    assert holey.bars.filter(pl.col("session") == empty).is_empty()
    assert run(holey, [empty]).is_empty()
