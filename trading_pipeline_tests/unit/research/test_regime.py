"""The market regime: each component by its thresholds, the grade, the reasons, blind to the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from trading_pipeline import tables
from trading_pipeline.research.indicators import indicators
from trading_pipeline.research.regime import LOOKBACK, market_regime

BENCHMARK, VOLATILITY = "us:SPY", "us:^VIX"
NO_ACTIONS = tables.CORPORATE_ACTIONS.empty().select("session", "instrument_id", "kind", "value")


def run(market, sessions, volatility_id=VOLATILITY):
    first = market.sessions[max(0, market.sessions.index(sessions[0]) - LOOKBACK)]
    seen = market.between(first, sessions[-1])
    measured = indicators(seen.bars, seen.actions, seen.members, BENCHMARK, sessions)
    return market_regime(seen.bars, seen.actions, seen.members, measured, BENCHMARK, volatility_id, sessions)


@pytest.fixture(scope="module")
def sessions(random_market):
    return random_market(1, sessions=300, tickers=1).sessions


@pytest.fixture
def judge(sessions, daily_bars):
    """The regime of the last of 300 sessions, from the closes (and volumes) of the index, the members and the VIX."""

    def judged(index=None, members=None, vix=None, volume=None, high_low=None):
        frames = []
        if index is not None:
            frames.append(
                daily_bars(
                    BENCHMARK, list(index), sessions, volume=[1000.0] * len(index) if volume is None else list(volume)
                )
            )
        for name, close in (members or {}).items():
            frames.append(daily_bars(name, list(close), sessions, **(high_low or {}).get(name, {})))
        if vix is not None:
            frames.append(daily_bars(VOLATILITY, [vix] * 300, sessions))
        bars = pl.concat(frames)
        listed = bars.filter(pl.col("instrument_id").is_in(list(members or {})))
        listed = listed.select("session", "instrument_id", universe=pl.lit("U"), sector=pl.lit(None, pl.String))
        last = sessions[len(index) - 1 if index is not None else -1 :][:1]
        measured = indicators(bars, NO_ACTIONS, listed, BENCHMARK, last)
        regime = market_regime(bars, NO_ACTIONS, listed, measured, BENCHMARK, VOLATILITY, last)
        return tables.MARKET_REGIME.conform(regime).row(0, named=True)

    return judged


def points(row, component):
    (line,) = [line for line in row["reasons"].split("\n") if line.startswith(component)]
    return int(line.removeprefix(component).split(":")[0])


RISE = 100 * 1.001 ** np.arange(300)
FALL = RISE[::-1]


@pytest.mark.parametrize(
    ("closes", "expected"),
    [
        (RISE, 2),
        (np.append(RISE[:-1], RISE[-51:-50]), 1),  # below the 50-session average, above the 200-session one, rising
        (np.append(RISE[:-1], RISE[100:101]), -1),  # below both, still rising
        (np.append(FALL[:-1], FALL[:1]), 1),  # above both, still falling
        (FALL, -2),
    ],
)
def test_trend_counts_what_is_up_of_index_and_averages(judge, closes, expected):
    assert points(judge(index=closes), "Trend") == expected


def test_trend_is_that_of_the_index(judge):
    row = judge(index=RISE)
    assert row["index_vs_sma_50"] == pytest.approx(RISE[-1] / RISE[-50:].mean() - 1)
    assert row["index_vs_sma_200"] == pytest.approx(RISE[-1] / RISE[-200:].mean() - 1)
    assert row["sma_200_slope_21"] == pytest.approx(RISE[-200:].mean() / RISE[-221:-21].mean() - 1)


@pytest.mark.parametrize(("rising", "expected"), [(10, 2), (6, 2), (5, 0), (4, 0), (3, -2), (0, -2)])
def test_breadth_is_judged_at_60_and_40_per_cent(judge, rising, expected):
    members = {f"us:{number}": RISE if number < rising else FALL for number in range(10)}
    row = judge(index=RISE, members=members)
    assert (row["breadth_50"], row["breadth_200"]) == (rising / 10, rising / 10)
    assert points(row, "Breadth") == expected
    assert row["members"] == 10


@pytest.mark.parametrize(
    ("highs", "lows", "expected"), [(5, 0, 2), (4, 0, 1), (1, 0, 1), (7, 7, 0), (0, 1, -1), (0, 4, -1), (2, 7, -2)]
)
def test_new_highs_less_new_lows_are_judged_at_1_and_5_per_cent_of_the_members(judge, highs, lows, expected):
    still = np.append(np.tile([100.0, 101.0], 149), [100.4, 100.5])
    paths = [RISE] * highs + [FALL] * lows + [still] * (100 - highs - lows)
    row = judge(index=RISE, members={f"us:{number:03d}": path for number, path in enumerate(paths)})
    assert (row["new_highs"], row["new_lows"]) == (highs, lows)
    assert points(row, "New highs and lows") == expected


@pytest.mark.parametrize(("vix", "expected"), [(14.9, 2), (15, 1), (19.9, 1), (20, 0), (25, -1), (29.9, -1), (30, -2)])
def test_implied_volatility_is_used_where_its_index_has_a_bar(judge, vix, expected):
    row = judge(index=RISE, vix=vix)
    assert (row["volatility"], row["volatility_source"]) == (vix / 100, "implied")
    assert points(row, "Volatility") == expected


@pytest.mark.parametrize(("daily", "expected"), [(0.006, 2), (0.009, 1), (0.012, 0), (0.017, -1), (0.018, -2)])
def test_realised_volatility_takes_its_place_with_lower_bounds(judge, daily, expected):
    zigzag = 100 * np.exp(np.cumsum(np.tile([daily, -daily], 150)))
    row = judge(index=zigzag)
    assert row["volatility_source"] == "realised"
    assert row["volatility"] == pytest.approx(np.std(np.tile([daily, -daily], 11)[:21], ddof=1) * np.sqrt(252))
    assert points(row, "Volatility") == expected


class TestDistribution:
    """Falls of 0.2 % or more on more volume than the session before, within 25 sessions."""

    def of(self, judge, falls, fall=-0.002, heavier=True, rise=1.0002, until=300):
        """`falls`: how many sessions before the last one each happened."""
        moves, volume = np.full(until, rise), np.full(until, 1000.0)
        for ago in falls:
            moves[until - 1 - ago] = 1 + fall
            volume[until - 1 - ago] = 1001.0 if heavier else 999.0
        return judge(index=100 * np.cumprod(moves), volume=volume)

    @pytest.mark.parametrize(("falls", "expected"), [(0, 2), (1, 2), (2, 1), (3, 1), (4, 0), (5, -1), (6, -2), (9, -2)])
    def test_their_number_makes_the_points(self, judge, falls, expected):
        row = self.of(judge, range(0, 2 * falls, 2))
        assert row["distribution_days"] == falls
        assert points(row, "Distribution") == expected

    def test_they_count_for_25_sessions(self, judge):
        assert self.of(judge, [24])["distribution_days"] == 1
        assert self.of(judge, [25])["distribution_days"] == 0

    def test_a_smaller_fall_or_a_lighter_volume_is_none(self, judge):
        assert self.of(judge, [3], fall=-0.00199)["distribution_days"] == 0
        assert self.of(judge, [3], heavier=False)["distribution_days"] == 0

    def test_the_index_5_per_cent_higher_erases_them(self, judge):
        assert self.of(judge, [10], rise=1.0048)["distribution_days"] == 1
        assert self.of(judge, [10], rise=1.0050)["distribution_days"] == 0

    def test_an_index_without_volume_leaves_them_unknown(self, judge):
        row = judge(index=RISE, volume=[0.0] * 300)
        assert row["distribution_days"] is None
        assert "Distribution unknown, 0 points: SPY has fewer than 26 sessions with volume." in row["reasons"]


def test_the_environment_is_the_sum_of_the_points(judge):
    members = {f"us:{number}": RISE for number in range(10)}
    best = judge(index=RISE, members=members, vix=12)
    assert (best["score"], best["environment"], best["regime"]) == (10, "A", "Bull")
    falling = {f"us:{number}": FALL for number in range(10)}
    heavy = np.append(np.full(274, 1000.0), 1000.0 + np.arange(26))
    worst = judge(index=FALL**3, members=falling, vix=35, volume=heavy)
    assert (worst["score"], worst["environment"], worst["regime"]) == (-10, "D", "Bear")


def test_a_rising_index_with_bad_breadth_is_neither_bull_nor_bear(judge):
    row = judge(index=RISE, members={f"us:{number}": FALL for number in range(10)}, vix=22)
    assert (row["score"], row["environment"], row["regime"]) == (0, "C", "Sideways")


def test_reasons_say_the_numbers_in_plain_words(judge):
    lines = judge(index=RISE, members={"us:A": RISE, "us:B": FALL}, vix=21.26)["reasons"].split("\n")
    assert lines == [
        "Trend +2: SPY is 2.5% above its 50-session average and 10.3% above its 200-session average, "
        "which rose 2.1% in 21 sessions.",
        "Breadth 0: 50% of the members trade above their 50-session average, 50% above their 200-session average.",
        "New highs and lows 0: members at a 52-week high 1, at a 52-week low 1, of 2 with a year of history.",
        "Volatility 0: 21.3% a year, what options imply for the next month.",
        "Distribution +2: on 0 of the last 25 sessions SPY fell 0.2% or more on rising volume; "
        "such days hint at large sellers.",
    ]


def test_without_the_benchmark_the_equal_weight_index_takes_its_place_and_says_so(judge):
    row = judge(members={"us:A": RISE, "us:B": RISE})
    assert row["benchmark"] == "equal_weight"
    assert row["index_vs_sma_50"] == pytest.approx(RISE[-1] / RISE[-50:].mean() - 1)
    assert row["distribution_days"] is None
    assert (
        "the equal-weight average of the members (the benchmark has no bar) has no volume of its own" in row["reasons"]
    )


def test_too_little_history_gives_no_points_and_says_so(judge):
    row = judge(index=RISE[:20], members={"us:A": RISE[:20]})
    assert (row["score"], row["environment"], row["regime"]) == (0, "C", "Sideways")
    assert row["index_vs_sma_200"] is None and row["breadth_200"] is None and row["volatility"] is None
    assert row["reasons"].count("unknown, 0 points") == 5


def test_fits_its_table_with_holes_and_all(random_market):
    market = random_market(8, sessions=700)
    result = tables.MARKET_REGIME.conform(run(market, market.sessions))
    with_bars = market.bars["session"].unique().sort()
    assert result["session"].equals(with_bars, check_names=False)
    without = set(with_bars) - set(market.bars.filter(instrument_id=BENCHMARK)["session"])
    assert set(result.filter(benchmark="equal_weight")["session"]) == without
    assert result["score"].is_between(-10, 10).all()
    assert not result["reasons"].str.contains("null|NaN").any()
    assert (result["reasons"].str.count_matches("\n") == 4).all()


@pytest.mark.parametrize("seed", [3, 4])
def test_a_range_gives_what_each_session_gives_alone(random_market, seed):
    market = random_market(seed, sessions=800, tickers=16)
    whole = run(market, market.sessions)
    lacking = whole.filter(benchmark="equal_weight")["session"].to_list()
    chosen = [market.sessions[position] for position in (0, 1, 30, 260, 519, 521, 599, 640, 799)] + lacking[-3:]
    for session in chosen:
        alone = run(market, [session])
        assert_frame_equal(
            alone, whole.filter(pl.col("session") == session), check_exact=False, rel_tol=1e-9, abs_tol=1e-9
        )


def test_a_range_gives_what_each_session_gives_alone_though_the_benchmark_trades_every_third_session(random_market):
    """200 of its bars take 600 sessions: more than any lookback, so their average is unknown in both."""
    market = random_market(6, sessions=900, tickers=8, holes=False)
    third = pl.col("session").is_in(market.sessions[::3])
    market = replace(market, bars=market.bars.filter(third | (pl.col("instrument_id") != BENCHMARK)))
    session = market.sessions[897]
    whole, alone = run(market, market.sessions), run(market, [session])
    assert_frame_equal(alone, whole.filter(session=session), check_exact=False, rel_tol=1e-9, abs_tol=1e-9)
    assert alone.select("benchmark", "index_vs_sma_200").row(0) == ("SPY", None)
    assert alone["index_vs_sma_50"].null_count() == 0


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), position=st.integers(30, 398))
def test_the_future_cut_or_mutated_changes_no_row_up_to_now(random_market, seed, position):
    market = random_market(seed, sessions=400, tickers=12)
    now = market.sessions[position]
    past, after = market.sessions[: position + 1], pl.col("session") > now

    def of(bars, actions, members):
        measured = indicators(bars, actions, members, BENCHMARK, past)
        return market_regime(bars, actions, members, measured, BENCHMARK, VOLATILITY, past)

    expected = run(market, market.sessions).filter(~after)
    cut = market.between(market.sessions[0], now)
    assert_frame_equal(of(cut.bars, cut.actions, cut.members), expected, abs_tol=1e-12)
    tenfold = [
        pl.when(after).then(pl.col(name) * 10).otherwise(name).alias(name)
        for name in ("high", "low", "close", "volume")
    ]
    split = pl.DataFrame(
        {"session": [market.sessions[position + 1]], "instrument_id": [BENCHMARK], "kind": ["split"], "value": [5.0]}
    )
    mutated = of(market.bars.with_columns(tenfold), market.actions.vstack(split), market.members.filter(~after))
    assert_frame_equal(mutated, expected, abs_tol=1e-12)
