"""Every check of every market's assets."""

from __future__ import annotations

import dagster as dg

from trading_pipeline.checks import market_checks as tables
from trading_pipeline.checks import receipts
from trading_pipeline.checks.factory import Check
from trading_pipeline.storage.io_managers import SERVED
from trading_pipeline.tables import ALL_TABLES, RECEIVED_ACTIONS, RECEIVED_BARS

WARN = dg.AssetCheckSeverity.WARN

CHECKS: tuple[Check, ...] = (
    Check(
        "received_watchlist",
        "never_backdated",
        "Each name counts from a session that had not closed when the file was read.",
        tables.never_backdated,
    ),
    Check(
        "universe_members",
        "sane_member_counts",
        "Each universe has a plausible number of members.",
        tables.sane_member_counts,
    ),
    Check(
        "universe_members",
        "session_table_reaches",
        "At least 180 days of the session table remain.",
        tables.session_table_reaches,
        WARN,
    ),
    Check(
        "received_bars",
        "clocks_in_order",
        "No bar claims to have been available before its close, or before we knew it.",
        tables.clocks_in_order(RECEIVED_BARS),
    ),
    Check(
        "received_bars",
        "no_revisions",
        "No bar was changed by the provider after it was final.",
        tables.no_bar_revised,
        WARN,
    ),
    Check(
        "received_bars",
        "no_basis_breaks",
        "No history jumped by a constant that no known split explains.",
        receipts.no_basis_breaks,
        WARN,
    ),
    Check("received_bars", "no_duplicates", "No bar was received twice at once.", receipts.no_duplicates, WARN),
    Check(
        "received_bars",
        "every_ticker_answered",
        "Each ticker that was asked for answered; too few of them fail the run.",
        receipts.every_ticker_answered,
        WARN,
    ),
    Check(
        "received_actions",
        "clocks_in_order",
        "No split or payment claims to have been available before we knew it.",
        tables.clocks_in_order(RECEIVED_ACTIONS),
    ),
    Check(
        "received_actions",
        "no_revisions",
        "No split or payment was changed or taken back by the provider.",
        tables.no_action_revised,
        WARN,
    ),
    Check("received_actions", "none_refused", "No action had a value that cannot be.", receipts.none_refused, WARN),
    Check(
        "received_actions",
        "none_doubted",
        "The provider still tells the actions it told before.",
        receipts.none_doubted,
        WARN,
    ),
    Check("daily_bars", "expected_sessions", "Every session of the run has bars.", tables.expected_sessions),
    Check(
        "daily_bars", "survivorship_coverage", "Enough of each universe's members have a bar.", tables.enough_survive
    ),
    Check("daily_bars", "freshness", "The latest session with final bars is here.", tables.freshness, WARN),
    Check(
        "daily_bars",
        "everything_judged",
        "Every bar received was judged; else a re-run is due.",
        tables.everything_judged,
        WARN,
    ),
    Check(
        "daily_bars",
        "watched_names_have_bars",
        "Each name on the watchlist has a bar; else it is misspelt, or nobody quotes it.",
        tables.watched_names_have_bars,
        WARN,
    ),
    Check(
        "corporate_actions",
        "actions_make_sense",
        "Splits and amounts are of a known kind, positive, and change something.",
        tables.actions_make_sense,
    ),
    Check("bar_issues", "few_issues", "At most 2 % of the bars are bad or rejected.", tables.few_issues),
    Check(
        "bar_issues",
        "issues_name_rules",
        "Each issue names a known rule and is seen no earlier than its bar.",
        tables.issues_name_rules,
    ),
    Check(
        "market_data",
        "warehouse_agrees",
        "The warehouse holds the lake's bars: on each session as many, at the same prices.",
        tables.market_data_agrees,
    ),
    *(
        Check(
            name,
            "warehouse_agrees",
            "The warehouse holds as many rows of each session as the lake.",
            tables.warehouse_agrees(ALL_TABLES[name]),
        )
        for name in sorted(SERVED)
    ),
    Check("indicators", "in_bounds", "Bounded indicators are inside their bounds.", tables.in_bounds),
    Check("market_regime", "every_session_graded", "Each session has an environment.", tables.every_session_graded),
    Check(
        "dip_opportunities",
        "parts_add_up",
        "The parts of each fall sum to it; no dip is too shallow.",
        tables.parts_add_up,
    ),
    Check(
        "daily_briefing",
        "pages_are_whole",
        "Each session has its page; it is whole, fetches nothing and says what is simulated.",
        tables.pages_are_whole,
    ),
)
