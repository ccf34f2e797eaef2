"""Dips: who is down how far, and how much of it was the market, the sector, the company."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from polars.testing import assert_frame_equal

from trading_pipeline import tables
from trading_pipeline.research.dips import LEAST_PEERS, LOOKBACK, dip_opportunities
from trading_pipeline.research.indicators import indicators
from trading_pipeline.tables.dips import CAUSE_COLUMNS

BENCHMARK = "us:SPY"
THRESHOLDS = (5.0, 10.0, 15.0)
NO_ACTIONS = tables.CORPORATE_ACTIONS.empty().select("session", "instrument_id", "kind", "value")
FALLS = replace(
    tables.DIP_OPPORTUNITIES,
    columns=tuple(column for column in tables.DIP_OPPORTUNITIES.columns if column not in CAUSE_COLUMNS),
)
"""What the table says of the fall itself; the dip desk adds its cause."""
PARTS = ("market_part", "sector_part", "company_part")


def environment(sessions):
    """A regime that says C on every session but the first."""
    grades = pl.DataFrame({"session": sessions[1:]}, schema={"session": pl.Date})
    return grades.with_columns(environment=pl.lit("C"), regime=pl.lit("Sideways"))


def find(market, sessions, thresholds=THRESHOLDS):
    measured = indicators(market.bars, market.actions, market.members, BENCHMARK, sessions)
    result = dip_opportunities(
        market.bars,
        market.actions,
        market.members,
        measured,
        environment(market.sessions),
        BENCHMARK,
        thresholds,
        sessions,
    )
    return FALLS.conform(result)


def run(market, sessions):
    """As the pipeline runs it: no bar after the last judged session, none before the lookback of the first."""
    first = market.sessions[max(0, market.sessions.index(sessions[0]) - LOOKBACK)]
    return find(market.between(first, sessions[-1]), sessions)


@pytest.fixture(scope="module")
def calendar(random_market):
    return random_market(1, sessions=620, tickers=1).sessions


@pytest.fixture(scope="module")
def planted(random_market, calendar, daily_bars):
    """A market whose causes are planted.

    Four names in each of two sectors follow their sector, which follows the market; A0 has a beta of 1.5 to the market
    and of 0.8 to what its sector does beyond it. A rally ends on the session before the last 30; over these the market
    loses 10 %, the sector of A0 another 8 %, A0 itself another 20 %, as log returns.
    """
    rng = np.random.default_rng(9)
    market, energy, own = (rng.normal(0.0, scale, 620) for scale in (0.01, 0.006, 0.004))
    market[585:590], energy[585:590], own[585:590] = 0.05, 0.0, 0.0
    market[590:], energy[590:], own[590:] = -0.10 / 30, -0.08 / 30, -0.20 / 30
    moves = {f"us:A{number}": market + energy + rng.normal(0, 0.002, 620) for number in range(1, 5)}
    moves |= {f"us:B{number}": market + rng.normal(0, 0.006, 620) for number in range(4)}
    moves["us:A0"] = 1.5 * market + 0.8 * energy + own
    moves[BENCHMARK] = market
    bars = pl.concat(
        daily_bars(name, (100 * np.exp(np.cumsum(move))).tolist(), calendar) for name, move in moves.items()
    )
    members = bars.filter(pl.col("instrument_id") != BENCHMARK).select(
        "session",
        "instrument_id",
        universe=pl.lit("U"),
        sector=pl.when(pl.col("instrument_id").str.contains("A")).then(pl.lit("Energy")).otherwise(pl.lit("Banks")),
    )
    return replace(random_market(1, sessions=620, tickers=1), bars=bars, actions=NO_ACTIONS, members=members)


def test_the_planted_causes_of_a_fall_are_found(planted):
    """Within 0.02: betas are estimated from 252 sessions, 30 of which are the fall itself."""
    row = find(planted, planted.sessions[-1:]).filter(instrument_id="us:A0").row(0, named=True)
    assert row["sessions_since_high"] == 30
    assert row["fall"] == pytest.approx(1.5 * -0.10 + 0.8 * -0.08 - 0.20)
    assert row["market_part"] == pytest.approx(1.5 * -0.10, abs=0.02)
    assert row["sector_part"] == pytest.approx(0.8 * -0.08, abs=0.02)
    assert row["company_part"] == pytest.approx(-0.20, abs=0.02)
    assert row["beta_market"] == pytest.approx(1.5, abs=0.1)
    assert row["beta_sector"] == pytest.approx(0.8, abs=0.1)


def with_sector(market, instrument_id, sector):
    changed = pl.when(pl.col("instrument_id") == instrument_id).then(pl.lit(sector, pl.String)).otherwise("sector")
    return replace(market, members=market.members.with_columns(sector=changed))


def test_without_a_sector_the_company_part_is_all_that_the_market_does_not_explain(planted):
    row = (
        find(with_sector(planted, "us:A0", None), planted.sessions[-1:])
        .filter(instrument_id="us:A0")
        .row(0, named=True)
    )
    assert (row["sector"], row["sector_part"], row["beta_sector"]) == (None, None, None)
    assert row["market_part"] + row["company_part"] == pytest.approx(row["fall"], abs=1e-12)


def test_a_sector_of_few_explains_nothing_and_the_stock_is_no_peer_of_itself(planted):
    """Two others are left: with the stock itself they would be three."""
    few = planted
    for number in range(4, LEAST_PEERS - 1, -1):
        few = with_sector(few, f"us:A{number}", "Banks")
    row = find(few, planted.sessions[-1:]).filter(instrument_id="us:A0").row(0, named=True)
    assert (row["sector"], row["sector_part"]) == ("Energy", None)


def test_a_stock_that_changed_sectors_is_measured_against_the_one_it_has_now(planted):
    """Reclassified yesterday: the same split as if A0 had always been there."""
    past = pl.col("session") < planted.sessions[-2]
    a0 = pl.col("instrument_id") == "us:A0"
    moved = planted.members.with_columns(sector=pl.when(a0 & past).then(pl.lit("Banks")).otherwise("sector"))
    last = planted.sessions[-1:]
    assert_frame_equal(
        find(replace(planted, members=moved), last).filter(a0), find(planted, last).filter(a0), abs_tol=1e-12
    )


def test_without_a_bar_of_the_benchmark_the_equal_weight_index_takes_its_place(planted):
    without = replace(planted, bars=planted.bars.filter(pl.col("instrument_id") != BENCHMARK))
    row = find(without, planted.sessions[-1:]).filter(instrument_id="us:A0").row(0, named=True)
    assert row["beta_market"] == pytest.approx(1.4, abs=0.15)
    assert sum(row[name] for name in PARTS) == pytest.approx(row["fall"], abs=1e-12)


@pytest.fixture(scope="module")
def holey(random_market):
    return random_market(21, sessions=900, tickers=40)


@pytest.fixture(scope="module")
def holey_result(holey):
    return run(holey, holey.sessions)


def test_the_parts_add_up_to_the_fall(holey_result):
    known = holey_result.filter(pl.col("market_part").is_not_null())
    assert known.height > 1000
    gap = known.select(pl.col("fall") - pl.sum_horizontal(PARTS)).to_series()
    assert gap.abs().max() < 1e-9
    assert known["sector_part"].is_not_null().any()
    assert known["company_part"].null_count() == 0


def test_the_split_of_a_fall_is_that_of_two_regressions(holey, holey_result):
    """Independently: numpy's least squares on the sessions that stock, market and peers have in common."""
    bars = holey.bars.sort("session")
    with_bars = bars["session"].unique().sort().to_list()
    close = bars.pivot("instrument_id", index="session", values="close").sort("session")
    simple, logs = {}, {}
    for name in close.columns[1:]:
        price = close[name].to_numpy()
        own = holey.actions.filter(instrument_id=name)
        ratio, paid = np.ones(len(with_bars)), np.zeros(len(with_bars))
        for ex_date, kind, amount in own.select("session", "kind", "value").iter_rows():
            at = bisect_left(with_bars, ex_date)
            if kind == "split":
                ratio[at] *= amount
            else:
                paid[at] += amount
        with np.errstate(invalid="ignore"):
            now = (price + paid) * ratio
            simple[name] = np.append(np.nan, now[1:] / price[:-1] - 1)
        logs[name] = np.log1p(simple[name])
    sector_of = dict(holey.members.select("instrument_id", "sector").unique().iter_rows())
    listed = set(holey.members.select("session", "instrument_id").iter_rows())
    chosen = holey_result.filter(
        pl.col("sector_part").is_not_null()
        & pl.col("session").is_in(holey.bars.filter(instrument_id=BENCHMARK)["session"].implode())
    ).sample(15, seed=1)
    for row in chosen.iter_rows(named=True):
        end = with_bars.index(row["session"])
        year = np.arange(end - 251, end + 1)
        peers = np.full(len(with_bars), np.nan)
        for at in range(end - 251, end + 1):
            moves = [
                simple[name][at]
                for name, sector in sector_of.items()
                if sector == row["sector"] and name != row["instrument_id"] and (with_bars[at], name) in listed
            ]
            moves = [move for move in moves if np.isfinite(move)]
            peers[at] = np.log1p(np.mean(moves)) if len(moves) >= LEAST_PEERS else np.nan
        own, market = logs[row["instrument_id"]], logs[BENCHMARK]
        both = year[np.isfinite(own[year]) & np.isfinite(market[year])]
        beta = np.polyfit(market[both], own[both], 1)[0]
        all_three = both[np.isfinite(peers[both])]
        design = np.column_stack([np.ones(len(all_three)), market[all_three], peers[all_three]])
        beta_sector = np.linalg.lstsq(design, own[all_three], rcond=None)[0][2]
        assert_allclose([row["beta_market"], row["beta_sector"]], [beta, beta_sector], rtol=1e-7, atol=1e-9)


def test_thresholds_say_who_is_in_and_how_far(calendar, random_market, daily_bars):
    last = {"us:A": 95.1, "us:B": 95.0, "us:C": 90.01, "us:D": 90.0, "us:E": 85.0, "us:F": 40.0}
    bars = pl.concat(daily_bars(name, [100.0] * 299 + [price], calendar) for name, price in last.items())
    members = bars.select("session", "instrument_id", universe=pl.lit("U"), sector=pl.lit(None, pl.String))
    market = replace(random_market(1, sessions=620, tickers=1), bars=bars, actions=NO_ACTIONS, members=members)
    result = find(market, [calendar[299]])
    assert dict(result.select("instrument_id", "threshold_pct").iter_rows()) == {
        "us:B": 5, "us:C": 5, "us:D": 10, "us:E": 15, "us:F": 15,
    }  # fmt: skip
    assert result["dip_pct"].to_list() == pytest.approx([5.0, 9.99, 10.0, 15.0, 60.0])
    assert result["high_252"].to_list() == [100.0] * 5
    assert result["sessions_since_high"].to_list() == [1] * 5
    assert result["price"].to_list() == [95.0, 90.01, 90.0, 85.0, 40.0]
    assert find(market, [calendar[299]], (50.0,))["instrument_id"].to_list() == ["us:F"]


def test_members_alone_are_listed_with_all_their_universes(holey, holey_result):
    universes = dict(holey_result.select("instrument_id", "universes").unique().iter_rows())
    assert {BENCHMARK, "us:^VIX"}.isdisjoint(universes)
    assert set(universes.values()) == {"NARROW,WIDE", "WIDE"}
    assert all((name < "us:T010") == (listed == "NARROW,WIDE") for name, listed in universes.items())


def test_too_little_history_is_null_and_never_zero(holey, holey_result):
    """Of 900 sessions: a 52-week high from the 227th on, 126 earlier drawdowns from about the 353rd."""
    first = holey_result["session"].min()
    assert holey.sessions.index(first) >= 226
    early = holey_result.filter(pl.col("session") < holey.sessions[350])
    assert early.height > 100
    assert early["drawdown_percentile"].null_count() == early.height
    late = holey_result.filter(pl.col("session") > holey.sessions[600])
    assert late["drawdown_percentile"].null_count() < late.height / 3
    without = holey_result.filter(pl.col("beta_market").is_null())
    assert without.select(*PARTS, "beta_sector").null_count().row(0) == (without.height,) * 4


def test_the_percentile_is_the_share_of_the_years_drawdowns_that_were_shallower(calendar, random_market, daily_bars):
    """After a high, 200 sessions of drawdowns from 0.1 % to 20 %, then one of 15 %: deeper than 149 of them."""
    path = [100.0] * 300 + [100 - 0.1 * number for number in range(1, 201)] + [85.0]
    bars = daily_bars("us:A", path, calendar)
    members = bars.select("session", "instrument_id", universe=pl.lit("U"), sector=pl.lit(None, pl.String))
    market = replace(random_market(1, sessions=620, tickers=1), bars=bars, actions=NO_ACTIONS, members=members)
    row = find(market, [calendar[500]]).row(0, named=True)
    assert row["drawdown_percentile"] == pytest.approx((52 + 149) / 252), "the drawdown of 15 % itself is as deep"


def test_a_large_dividend_makes_a_dip_without_a_fall(calendar, random_market, daily_bars):
    bars = daily_bars("us:A", [100.0] * 400 + [40.0] * 20, calendar)
    members = bars.select("session", "instrument_id", universe=pl.lit("U"), sector=pl.lit(None, pl.String))
    paid = pl.DataFrame({"session": [calendar[400]], "instrument_id": ["us:A"], "kind": ["dividend"], "value": [60.0]})
    market = replace(random_market(1, sessions=620, tickers=1), bars=bars, actions=paid, members=members)
    row = find(market, [calendar[410]]).row(0, named=True)
    assert row["dip_pct"] == pytest.approx(60)
    assert row["fall"] == pytest.approx(0, abs=1e-12)


def test_the_environment_is_that_of_the_session_and_null_without_one(holey):
    sessions = [holey.sessions[position] for position in (400, 401)]
    measured = indicators(holey.bars, holey.actions, holey.members, BENCHMARK, sessions)
    regime = pl.DataFrame({"session": sessions[:1], "environment": ["B"]})
    result = dip_opportunities(
        holey.bars, holey.actions, holey.members, measured, regime, BENCHMARK, THRESHOLDS, sessions
    )
    assert set(result.select("session", "environment").unique().iter_rows()) == {
        (sessions[0], "B"),
        (sessions[1], None),
    }


def test_no_dip_is_an_empty_table(calendar, random_market, daily_bars):
    bars = daily_bars("us:A", [100.0] * 300, calendar)
    members = bars.select("session", "instrument_id", universe=pl.lit("U"), sector=pl.lit(None, pl.String))
    market = replace(random_market(1, sessions=620, tickers=1), bars=bars, actions=NO_ACTIONS, members=members)
    assert find(market, [calendar[299]]).is_empty()
    nothing = replace(market, bars=bars.clear(), members=members.clear())
    assert find(nothing, []).is_empty()


@pytest.mark.parametrize("position", [240, 300, 519, 521, 600, 676, 750, 899])
def test_a_range_gives_what_each_session_gives_alone(position, holey, holey_result):
    session = holey.sessions[position]
    expected = holey_result.filter(pl.col("session") == session)
    assert_frame_equal(run(holey, [session]), expected, check_exact=False, rel_tol=1e-9, abs_tol=1e-9)


def test_a_range_gives_what_each_session_gives_alone_where_the_benchmark_has_no_bar(holey, holey_result):
    with_index = holey.bars.filter(instrument_id=BENCHMARK)["session"].to_list()
    lacking = [day for day in holey_result["session"].unique().sort() if day not in with_index]
    assert len(lacking) > 3
    for session in lacking[-3:]:
        expected = holey_result.filter(pl.col("session") == session)
        assert_frame_equal(run(holey, [session]), expected, check_exact=False, rel_tol=1e-9, abs_tol=1e-9)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), position=st.integers(300, 548), factor=st.floats(0.01, 100))
def test_the_future_cut_or_mutated_changes_no_row_up_to_now(random_market, seed, position, factor):
    market = random_market(seed, sessions=550, tickers=16)
    now, past = market.sessions[position], market.sessions[: position + 1]
    after = pl.col("session") > now
    expected = find(market, market.sessions).filter(~after)
    assert_frame_equal(find(market.between(market.sessions[0], now), past), expected, abs_tol=1e-12)
    prices = [
        pl.when(after).then(pl.col(name) * factor).otherwise(name).alias(name) for name in ("high", "low", "close")
    ]
    split = pl.DataFrame(
        {"session": [market.sessions[position + 1]], "instrument_id": ["us:T003"], "kind": ["split"], "value": [factor]}
    )
    elsewhere = market.members.with_columns(sector=pl.when(after).then(pl.lit("Energy")).otherwise("sector"))
    mutated = replace(
        market, bars=market.bars.with_columns(prices), actions=market.actions.vstack(split), members=elsewhere
    )
    assert_frame_equal(find(mutated, past), expected, abs_tol=1e-12)
