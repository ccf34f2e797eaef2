"""What must be true of the market's tables: one entry a check, each able to fail.

What belongs here: looking at rows that were written. What does not: the rules that judge a single bar
(`research/bars/quality.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import dagster as dg
import polars as pl

from trading_pipeline.checks.factory import Check, Finding
from trading_pipeline.markets import Market
from trading_pipeline.sessions import MINIMUM_DAYS_LEFT, calendar
from trading_pipeline.storage.io_managers import read_in_force
from trading_pipeline.tables import (
    BAR_ISSUES,
    CORPORATE_ACTIONS,
    DAILY_BARS,
    DIP_OPPORTUNITIES,
    INDICATORS,
    MARKET_REGIME,
    RECEIVED_BARS,
    UNIVERSE_MEMBERS,
    Table,
)
from trading_pipeline.universes import UNIVERSES, survivorship_coverage
from trading_pipeline.world import World

MOST_ISSUES = 0.02
WARN = dg.AssetCheckSeverity.WARN


def _rows(world: World, market: Market, table: Table, sessions: Sequence[date]) -> pl.DataFrame:
    return read_in_force(world, market, table, sessions[0], sessions[-1])


def _sane_member_counts(world: World, market: Market, sessions: Sequence[date]) -> Finding:
    counts = _rows(world, market, UNIVERSE_MEMBERS, sessions).group_by("universe", "session").len()
    strange = [
        f"{universe} has {count} members on {session}"
        for universe, session, count in counts.sort("session").iter_rows()
        if universe in UNIVERSES and not UNIVERSES[universe].lines[0] <= count <= UNIVERSES[universe].lines[1]
    ]
    return Finding(
        not strange and counts.height > 0,
        "; ".join(strange[:3]) or ("No universe has a member." if counts.is_empty() else "Every universe is of sane size."),
        {"universes": counts["universe"].n_unique(), "strange": len(strange)},
    )


def _expected_sessions(world: World, market: Market, sessions: Sequence[date]) -> Finding:
    have = set(_rows(world, market, DAILY_BARS, sessions)["session"].unique().to_list())
    absent = [session for session in sessions if session not in have]
    return Finding(
        not absent,
        f"No bar at all on {absent[0]}." if absent else f"All {len(sessions)} sessions have bars.",
        {"sessions": len(sessions), "without_bars": len(absent)},
    )


def _survivorship(world: World, market: Market, sessions: Sequence[date]) -> Finding:
    coverage = survivorship_coverage(
        _rows(world, market, UNIVERSE_MEMBERS, sessions),
        _rows(world, market, DAILY_BARS, sessions),
        world.coverage_thresholds(market),
    )
    lowest = coverage.group_by("universe").agg(pl.col("coverage").min(), pl.col("threshold").max()).sort("universe")
    short = [
        f"{universe} {share:.0%} (at least {needed:.0%})" for universe, share, needed in lowest.iter_rows() if share < needed
    ]
    return Finding(
        not short,
        f"Members without bars: {'; '.join(short)}." if short else "Enough members have bars in every universe.",
        {universe: round(share, 4) for universe, share, _ in lowest.iter_rows()},
    )


def _few_issues(world: World, market: Market, sessions: Sequence[date]) -> Finding:
    bars = _rows(world, market, DAILY_BARS, sessions)
    bad = bars.filter(pl.col("data_quality") == "bad").height
    rejected = (
        _rows(world, market, BAR_ISSUES, sessions)
        .filter(pl.col("severity") == "rejected")
        .select("instrument_id", "bar_session")
        .n_unique()
    )
    share = (bad + rejected) / max(bars.height + rejected, 1)
    return Finding(
        share <= MOST_ISSUES,
        f"{share:.2%} of the bars are bad or rejected; more than {MOST_ISSUES:.0%} is the provider's trouble, not a row's.",
        {"bars": bars.height, "bad": bad, "rejected": rejected},
    )


def _freshness(world: World, market: Market, sessions: Sequence[date]) -> Finding:
    latest = world.latest_session(market)
    return Finding(
        sessions[-1] >= latest or bool(_rows(world, market, DAILY_BARS, [latest]).height),
        f"The latest session with final bars is {latest}; the run reached {sessions[-1]}.",
        {"expected": latest.isoformat(), "reached": sessions[-1].isoformat()},
    )


def _calendar_reaches(world: World, market: Market, _sessions: Sequence[date]) -> Finding:
    left = calendar(market.exchange).days_left(world.now().date())
    return Finding(
        left >= MINIMUM_DAYS_LEFT,
        f"{left} days of the {market.exchange} session table remain; extend it below {MINIMUM_DAYS_LEFT}: "
        "python -m trading_pipeline.calendars.generate.",
        {"days_left": left},
    )


def _no_revisions(world: World, market: Market, sessions: Sequence[date]) -> Finding:
    rows = world.lake.read(market.name, RECEIVED_BARS.name, sessions[0], sessions[-1])
    again = rows.group_by("instrument_id", "session", "provider").agg(
        (~pl.col("provisional")).sum().alias("versions"), pl.col("known_at").max()
    )
    revised = again.filter(pl.col("versions") > 1)
    return Finding(
        revised.is_empty(),
        f"{revised.height} bars of {revised['instrument_id'].n_unique()} instruments were revised by the provider.",
        {"revised_bars": revised.height},
    )


def _warehouse_agrees(world: World, market: Market, sessions: Sequence[date]) -> Finding:
    ours = _rows(world, market, DAILY_BARS, sessions).select(pl.len(), pl.col("close").round(4).sum().alias("closes"))
    theirs = world.warehouse.query(
        "SELECT count(*) AS len, coalesce(sum(close), 0)::float8 AS closes FROM market_data "
        "WHERE market = %(market)s AND date BETWEEN %(first)s AND %(last)s",
        {"market": market.name, "first": sessions[0], "last": sessions[-1]},
    )
    rows, closes = ours.row(0)
    same = rows == theirs["len"][0] and abs((closes or 0.0) - theirs["closes"][0]) <= 1e-4 * max(rows, 1)
    return Finding(
        same, f"{rows} bars in the lake, {theirs['len'][0]} in market_data.", {"lake": rows, "warehouse": theirs["len"][0]}
    )


def _actions_make_sense(world: World, market: Market, sessions: Sequence[date]) -> Finding:
    actions = _rows(world, market, CORPORATE_ACTIONS, sessions).filter(~pl.col("withdrawn"))
    odd = actions.filter((pl.col("value") <= 0) | ((pl.col("kind") == "split") & (pl.col("value") == 1)))
    return Finding(odd.is_empty(), f"{odd.height} of {actions.height} actions have no effect or a negative one.")


def _issues_name_rules(world: World, market: Market, sessions: Sequence[date]) -> Finding:
    from trading_pipeline.research.bars.quality import RULES

    issues = _rows(world, market, BAR_ISSUES, sessions)
    unknown = sorted(set(issues["rule"].unique()) - set(RULES))
    later = issues.filter(pl.col("bar_session") > pl.col("session")).height
    return Finding(
        not unknown and not later,
        f"Unknown rules: {', '.join(unknown)}; {later} issues seen before their bar." if unknown or later else
        f"{issues.height} issues, each with a known rule and seen no earlier than its bar.",
        dict(issues.group_by("rule").len().sort("rule").iter_rows()),
    )


def _indicators_in_bounds(world: World, market: Market, sessions: Sequence[date]) -> Finding:
    frame = _rows(world, market, INDICATORS, sessions)
    bounds = {"rsi_14": (0, 100), "adx_14": (0, 100), "distance_from_high": (-1, 1e-9), "relative_strength_rank": (1, 99)}
    outside = {
        name: frame.filter(~pl.col(name).is_between(low, high)).height for name, (low, high) in bounds.items()
    }
    return Finding(
        frame.height > 0 and not any(outside.values()),
        f"{frame.height} rows; outside their bounds: {sum(outside.values())}.",
        outside,
    )


def _graded(world: World, market: Market, sessions: Sequence[date]) -> Finding:
    frame = _rows(world, market, MARKET_REGIME, sessions)
    ungraded = [session for session in sessions if session not in set(frame["session"].to_list())]
    return Finding(
        not ungraded,
        f"{ungraded[0]} has no grade." if ungraded else f"Every session is graded; the last is {frame['environment'][-1]}.",
    )


def _dips_add_up(world: World, market: Market, sessions: Sequence[date]) -> Finding:
    frame = _rows(world, market, DIP_OPPORTUNITIES, sessions)
    parts = pl.col("market_part") + pl.col("sector_part").fill_null(0.0) + pl.col("company_part")
    wrong = frame.filter((parts - pl.col("fall")).abs() > 1e-6).height
    shallow = frame.filter(pl.col("dip_pct") < min(world.settings.dip_thresholds)).height
    return Finding(
        not wrong and not shallow,
        f"{frame.height} dips; {wrong} do not add up, {shallow} are above the lowest threshold.",
        {"dips": frame.height},
    )


CHECKS: tuple[Check, ...] = (
    Check("universe_members", "sane_member_counts", "Each universe has a plausible number of members.", _sane_member_counts),
    Check("universe_members", "session_table_reaches", "At least 180 days of the session table remain.", _calendar_reaches, WARN),
    Check("received_bars", "no_revisions", "No bar was changed by the provider after it was final.", _no_revisions, WARN),
    Check("daily_bars", "expected_sessions", "Every session of the run has bars.", _expected_sessions),
    Check("daily_bars", "survivorship_coverage", "Enough of each universe's members have a bar.", _survivorship),
    Check("daily_bars", "freshness", "The latest session with final bars is here.", _freshness, WARN),
    Check("corporate_actions", "actions_make_sense", "Splits and amounts are positive and change something.", _actions_make_sense),
    Check("bar_issues", "few_issues", "At most 2 % of the bars are bad or rejected.", _few_issues),
    Check("bar_issues", "issues_name_rules", "Each issue names a known rule and is seen no earlier than its bar.", _issues_name_rules),
    Check("market_data", "warehouse_agrees", "The warehouse holds the lake's bars, row for row.", _warehouse_agrees),
    Check("indicators", "in_bounds", "Bounded indicators are inside their bounds.", _indicators_in_bounds),
    Check("market_regime", "every_session_graded", "Each session has an environment.", _graded),
    Check("dip_opportunities", "parts_add_up", "The parts of each fall sum to it; no dip is too shallow.", _dips_add_up),
)
