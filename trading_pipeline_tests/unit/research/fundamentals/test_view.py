"""Which snapshot stands for a member on a session."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.research.fundamentals import LOOKBACK, MAX_AGE, fundamentals, market_caps
from trading_pipeline.research.indicators import indicators
from trading_pipeline.tables import FUNDAMENTALS, INDICATORS

DAYS = np.arange(np.datetime64("2024-01-01"), np.datetime64("2025-01-01"))
DAYS = [day.item() for day in DAYS[np.is_busday(DAYS)]]
A, B = "us:A", "us:B"


def at(day, hours=0.0):
    return datetime.combine(day, time(), UTC) + timedelta(hours=hours)


def members_of(*instrument_ids, sessions=DAYS):
    return pl.DataFrame(
        [(day, "WIDE", name, name[3:], None) for day in sessions for name in instrument_ids],
        schema={
            "session": pl.Date,
            "universe": pl.String,
            "instrument_id": pl.String,
            "ticker": pl.String,
            "sector": pl.String,
        },
        orient="row",
    )


@pytest.fixture(scope="module")
def quiet():
    """Indicators of a share that stands still at 10."""
    rows = [{"session": day, "instrument_id": A, "close": 10.0, "return_1": 0.0} for day in DAYS]
    return pl.DataFrame(rows, schema={name: INDICATORS.schema[name] for name in rows[0]}).with_columns(
        high_252=pl.lit(12.0), low_252=pl.lit(8.0)
    )


@pytest.fixture(scope="module")
def world(random_market, random_snapshots):
    market = random_market(11, sessions=480, tickers=8)
    measured = indicators(market.bars, market.actions, market.members, "us:SPY", market.sessions)
    return market, measured, random_snapshots(market.bars, 3)


class TestProperties:
    def test_the_frame_fits_its_table_and_every_rule_is_met(self, world, decided):
        market, measured, snapshots = world
        view = FUNDAMENTALS.conform(
            fundamentals(snapshots, market.members, measured, market.sessions, decided(market.sessions))
        )
        assert view.height > 1000 and set(view["data_quality"]) == {"good", "suspect", "bad"}
        assert view["age"].is_between(0, MAX_AGE).all()

    def test_a_range_says_what_each_session_says_with_its_own_lookback(self, world, decided):
        market, measured, snapshots = world
        judged = market.sessions[300:400]
        moments = decided(judged)
        members = market.between(judged[0], judged[-1]).members
        first = market.sessions[300 - LOOKBACK]
        recent = pl.col("session").is_between(first, judged[-1])
        whole = fundamentals(snapshots.filter(recent), members, measured.filter(recent), judged, moments)
        singly, caps = [], []
        for place, day in enumerate(judged):
            window = pl.col("session").is_between(market.sessions[300 + place - LOOKBACK], day)
            seen = measured.filter(window)
            rows = fundamentals(
                snapshots.filter(window), members.filter(pl.col("session") == day), seen, [day], moments
            )
            singly.append(rows)
            caps.append(market_caps(rows, seen))
        assert whole.height > 300
        assert_frame_equal(whole, pl.concat(singly), abs_tol=1e-9)
        assert_frame_equal(market_caps(whole, measured.filter(recent)), pl.concat(caps), abs_tol=1e-9, rel_tol=1e-9)

    def test_nothing_that_comes_later_changes_a_session(self, world, decided):
        market, measured, snapshots = world
        judged = market.sessions[250:330]
        last = judged[-1]
        moments = decided(judged)
        members = market.between(judged[0], last).members
        known = pl.col("available_at") <= moments["decided_at"][-1]
        whole = fundamentals(snapshots, members, measured, judged, moments)
        cut = fundamentals(
            snapshots.filter(known), members, measured.filter(pl.col("session") <= last), judged, moments
        )
        other = fundamentals(
            snapshots.with_columns(pe_trailing=pl.when(known).then("pe_trailing").otherwise(7.0)),
            members,
            measured.with_columns(close=pl.when(pl.col("session") > last).then(1.0).otherwise("close")),
            judged,
            moments,
        )
        assert_frame_equal(whole, cut)
        assert_frame_equal(whole, other)

    def test_the_order_of_the_rows_does_not_matter(self, world, decided):
        market, measured, snapshots = world
        judged = market.sessions[200:260]
        frames = [
            fundamentals(
                snapshots.sample(fraction=1.0, shuffle=True, seed=seed),
                market.members.sample(fraction=1.0, shuffle=True, seed=seed),
                measured.sample(fraction=1.0, shuffle=True, seed=seed),
                judged,
                decided(judged),
            )
            for seed in (1, 2)
        ]
        assert_frame_equal(*frames)


def standing(view, day):
    return view.filter(pl.col("session") == day).row(0, named=True)


def test_a_snapshot_stands_from_the_decision_it_was_out_for(received, snapshot, quiet, decided):
    in_time = snapshot(A, DAYS[10], at(DAYS[10], 22.5), beta=1.0)
    too_late = snapshot(A, DAYS[20], at(DAYS[20], 22.6), beta=2.0)
    view = fundamentals(received(in_time, too_late), members_of(A), quiet, DAYS[9:23], decided(DAYS[9:23]))
    assert view["session"][0] == DAYS[10]
    assert standing(view, DAYS[20])["beta"] == 1.0 and standing(view, DAYS[20])["age"] == 10
    assert standing(view, DAYS[21])["beta"] == 2.0 and standing(view, DAYS[21])["snapshot_session"] == DAYS[20]


def test_a_revision_of_an_older_session_does_not_replace_a_newer_snapshot(received, snapshot, quiet, decided):
    old, new = snapshot(A, DAYS[10], beta=1.0), snapshot(A, DAYS[11], beta=2.0)
    revision = snapshot(A, DAYS[10], at(DAYS[12], 12), beta=3.0)
    again = snapshot(A, DAYS[11], at(DAYS[13], 12), beta=4.0)
    view = fundamentals(received(again, revision, new, old), members_of(A), quiet, DAYS[10:14], decided(DAYS[10:14]))
    assert view["beta"].to_list() == [1.0, 2.0, 2.0, 4.0]


def test_of_two_providers_at_one_moment_the_first_by_name_stands(received, snapshot, quiet, decided):
    rows = [snapshot(A, DAYS[10], provider=provider, beta=beta) for provider, beta in (("yahoo", 2.0), ("files", 1.0))]
    view = fundamentals(received(*rows), members_of(A), quiet, DAYS[10:11], decided(DAYS[10:11]))
    assert view.select("provider", "beta").rows() == [("files", 1.0)]


def test_after_a_quarter_a_snapshot_stands_for_nothing(received, snapshot, quiet, decided):
    view = fundamentals(received(snapshot(A, DAYS[5])), members_of(A), quiet, DAYS, decided(DAYS))
    assert view["age"].to_list() == list(range(MAX_AGE + 1))


def test_a_session_on_which_nothing_traded_counts_for_itself_alone(received, snapshot, quiet, decided):
    traded = quiet.filter(pl.col("session") != DAYS[12])
    view = fundamentals(received(snapshot(A, DAYS[10])), members_of(A), traded, DAYS[10:15], decided(DAYS[10:15]))
    assert view["age"].to_list() == [0, 1, 2, 2, 3]


def test_a_name_in_two_universes_has_one_row_and_a_stranger_none(received, snapshot, quiet, decided):
    twice = pl.concat([members_of(A), members_of(A).with_columns(universe=pl.lit("NARROW"))])
    rows = received(snapshot(A, DAYS[10]), snapshot(B, DAYS[10]))
    view = fundamentals(rows, twice, quiet, DAYS[10:12], decided(DAYS[10:12]))
    assert view.select("session", "instrument_id", "ticker").rows() == [(DAYS[10], A, "A"), (DAYS[11], A, "A")]


def test_a_session_without_its_decision_moment_is_an_error(received, snapshot, quiet, decided):
    with pytest.raises(ValueError, match="no decision moment"):
        fundamentals(received(snapshot(A, DAYS[0])), members_of(A), quiet, DAYS[:2], decided(DAYS[:1]))


def test_nothing_received_is_no_rows(received, quiet, decided):
    assert FUNDAMENTALS.conform(fundamentals(received(), members_of(A), quiet, DAYS, decided(DAYS))).is_empty()


def test_neither_the_payload_nor_the_spelling_is_needed(world, decided):
    market, measured, snapshots = world
    judged = market.sessions[200:220]
    frames = [
        fundamentals(rows, market.members, measured, judged, decided(judged))
        for rows in (snapshots, snapshots.drop("payload", "symbol"))
    ]
    assert_frame_equal(*frames)
