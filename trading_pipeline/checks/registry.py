"""Every check of every market's assets."""

from __future__ import annotations

import dagster as dg

from trading_pipeline.assets.backtests import REPORTS
from trading_pipeline.checks import backtest_checks as backtests
from trading_pipeline.checks import judgement_checks as judgements
from trading_pipeline.checks import live_checks as live
from trading_pipeline.checks import market_checks as tables
from trading_pipeline.checks import premarket_checks as premarket
from trading_pipeline.checks import receipts
from trading_pipeline.checks import robustness_checks as robustness
from trading_pipeline.checks.factory import Check, Results, Sight
from trading_pipeline.reports.backtests.gather import place_of as backtest_place
from trading_pipeline.reports.daily import place_of as briefing_place
from trading_pipeline.reports.premarket.gather import place_of as premarket_place
from trading_pipeline.reports.tearsheets.places import index_place
from trading_pipeline.storage.io_managers import SERVED
from trading_pipeline.tables import (
    ALL_TABLES,
    INTRADAY_BARS,
    RECEIVED_ACTIONS,
    RECEIVED_BARS,
    RECEIVED_EARNINGS,
    RECEIVED_FUNDAMENTALS,
    RECEIVED_NEWS,
    RECEIVED_STATEMENTS,
)
from trading_pipeline.tables.backtests import (
    BACKTEST_TRADES,
    BACKTESTS,
    MONTE_CARLO,
    PARAMETER_SWEEPS,
    STRATEGY_COMPARISON,
    WALK_FORWARD,
)
from trading_pipeline.tables.live import ACCOUNTS, POSITIONS, TRADES

WARN = dg.AssetCheckSeverity.WARN

CHECKS: tuple[Check[Sight], ...] = (
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
    *(
        Check(
            table.name,
            "known_in_time",
            "No fact claims to have been available after we knew it.",
            judgements.known_in_time(table),
        )
        for table in (
            *(RECEIVED_FUNDAMENTALS, RECEIVED_STATEMENTS, RECEIVED_EARNINGS, RECEIVED_NEWS),
            INTRADAY_BARS,
        )
    ),
    *(
        Check(
            table.name,
            "every_ticker_answered",
            "Each ticker that was asked about was answered; what nobody answers lowers the confidence of its score.",
            receipts.every_ticker_answered,
            WARN,
        )
        for table in (RECEIVED_FUNDAMENTALS, RECEIVED_STATEMENTS, RECEIVED_EARNINGS, RECEIVED_NEWS)
    ),
    Check(
        "fundamentals",
        "few_condemned",
        "At most a tenth of the snapshots in use break a quality rule.",
        judgements.few_condemned,
    ),
    Check(
        "fundamentals",
        "members_are_told",
        "Each member has a snapshot; without one its score stands on prices alone.",
        judgements.members_are_told,
        WARN,
    ),
    Check(
        "earnings_calendar",
        "reports_lie_ahead",
        "No next report lies in the past, and no last one in the future.",
        judgements.reports_lie_ahead,
    ),
    Check(
        "earnings_calendar",
        "providers_agree",
        "Where several providers name the next report, they name the same date.",
        judgements.providers_agree,
        WARN,
    ),
    Check(
        "news",
        "sentiments_in_bounds",
        "Each article is told once an instrument, with a sentiment between -1 and 1.",
        judgements.sentiments_in_bounds,
    ),
    Check(
        "macro_series",
        "every_series_has_a_level",
        "Each series that the provider quotes has a level on each session.",
        judgements.every_series_has_a_level,
        WARN,
    ),
    Check(
        "screener_scores",
        "every_member_scored",
        "Each member with a bar has a row.",
        judgements.every_member_scored,
    ),
    Check(
        "screener_scores",
        "verdicts_follow",
        "Totals are within bounds, weights sum to 1, and no failed gate goes with a Buy.",
        judgements.verdicts_follow,
    ),
    Check(
        "dip_opportunities",
        "causes_are_known",
        "Each dip has one of the causes, with evidence.",
        judgements.causes_are_known,
    ),
    Check(
        "dip_analysis",
        "sizes_within_limits",
        "A size is 0 unless the action is buy, and none is over a tenth of the portfolio.",
        judgements.sizes_within_limits,
    ),
    Check("dip_analysis", "desk_is_worded", "Each dip on the desk has its words.", judgements.desk_is_worded),
    Check(
        "intraday_bars",
        "every_ticker_answered",
        "The minutes of each watched name were told; without them its premarket is unknown.",
        receipts.every_ticker_answered,
        WARN,
    ),
    Check(
        "intraday_issues",
        "few_broken_minutes",
        "At most 2 % of the minutes break a quality rule, and each names a known one.",
        premarket.few_broken_minutes,
        WARN,
    ),
    Check(
        "premarket_snapshots",
        "bands_in_order",
        "Bands rise from the lowest to the highest; yesterday's close lies within its range.",
        premarket.bands_in_order,
    ),
    Check(
        "daily_bias",
        "biases_follow",
        "A bias points where its score does; confidence and score are within bounds.",
        premarket.biases_follow,
    ),
    Check(
        "daily_bias",
        "prepared_names_lean",
        "Each name with a snapshot has a bias of the same moment.",
        premarket.prepared_names_lean,
    ),
    Check(
        "live_sessions",
        "ended_as_planned",
        "Each session that was begun ended with the close or by the kill switch.",
        live.ended_as_planned,
    ),
    Check(
        "trade_signals",
        "outcomes_follow",
        "A signal was ordered where an entry of its size exists, and refused for a reason where none does.",
        live.outcomes_follow,
    ),
    Check(
        "market_analysis",
        "multipliers_in_bounds",
        "No analysis scales a signal by less than a half or more than two.",
        live.multipliers_in_bounds,
    ),
    Check(
        "orders",
        "states_follow",
        "Each order went through states that follow one another, and was executed as it was placed.",
        live.states_follow,
    ),
    Check(
        "fills",
        "fees_and_prices",
        "Each execution has a positive price and quantity, and no negative fee.",
        live.fees_and_prices,
    ),
    Check(
        "positions",
        "stops_protect",
        "What was held when a session ended had a stop at the broker, over all of its shares.",
        live.stops_protect,
    ),
    *(
        Check(
            table.name,
            "reconciled",
            "What it says follows from the fills, to the cent and the share.",
            live.reconciled(table),
        )
        for table in (POSITIONS, TRADES, ACCOUNTS)
    ),
    *(
        Check(
            name,
            "pages_are_whole",
            "Each session has its page; it is whole, fetches nothing and says what is simulated.",
            tables.pages_are_whole(place_of),
        )
        for name, place_of in (
            ("daily_briefing", briefing_place),
            ("tearsheets", index_place),
            ("premarket_briefing", premarket_place),
        )
    ),
)

RESULT_CHECKS: tuple[Check[Results], ...] = (
    Check(
        BACKTESTS.name,
        "accounts_add_up",
        "Equity is the capital and all profits, and cash and positions at each close.",
        backtests.accounts_add_up,
    ),
    Check(
        BACKTESTS.name,
        "no_revisions",
        "No past session came to something else than the night before.",
        backtests.no_revisions,
        WARN,
    ),
    Check(
        BACKTESTS.name,
        "enough_coverage",
        "Enough of the members have a bar; else the result flatters, and its watermark says so.",
        backtests.enough_coverage,
        WARN,
    ),
    Check(
        BACKTESTS.name,
        "as_configured",
        "The result is of the configuration as its file is now.",
        backtests.as_configured,
        WARN,
    ),
    Check(BACKTESTS.name, "freshness", "The result reaches the last session with bars.", backtests.freshness, WARN),
    Check(
        WALK_FORWARD.name,
        "tested_after_training",
        "Windows are in order, each tested after its training, no session twice.",
        robustness.tested_after_training,
    ),
    Check(
        WALK_FORWARD.name,
        "tests_join_up",
        "The joined account is what the tests' returns come to.",
        robustness.tests_join_up,
    ),
    Check(
        MONTE_CARLO.name,
        "quantiles_ascend",
        "Quantiles and bands ascend, and probabilities are such.",
        robustness.quantiles_ascend,
    ),
    Check(
        MONTE_CARLO.name,
        "median_within_bands",
        "The bands end at the final returns, the median between the outer ones.",
        robustness.median_within_bands,
    ),
    Check(
        MONTE_CARLO.name,
        "resamples_the_result",
        "What is resampled is the stored result.",
        robustness.resamples_the_result,
        WARN,
    ),
    Check(
        PARAMETER_SWEEPS.name,
        "all_parts_there",
        "Each part of the sweep is there and summed up; the last run of a sweep completes it.",
        robustness.all_parts_there,
        WARN,
    ),
    Check(
        PARAMETER_SWEEPS.name,
        "configured_set_swept",
        "The parameters traded are among those swept.",
        robustness.configured_set_swept,
        WARN,
    ),
    Check(
        PARAMETER_SWEEPS.name,
        "not_isolated",
        "The parameters traded are no lone peak among their neighbours.",
        robustness.not_isolated,
        WARN,
    ),
    Check(
        STRATEGY_COMPARISON.name,
        "every_pair_compared",
        "Every two configurations with a result are compared.",
        robustness.every_pair_compared,
    ),
    Check(
        STRATEGY_COMPARISON.name,
        "figures_in_bounds",
        "Correlations and probabilities are such, and intervals begin at their low end.",
        robustness.figures_in_bounds,
    ),
    *(
        Check(
            asset,
            f"warehouse_agrees_on_{table.name}" if asset != table.name else "warehouse_agrees",
            "The warehouse holds the rows of the lake.",
            backtests.warehouse_agrees(table),
        )
        for asset, table in (
            (BACKTESTS.name, BACKTESTS),
            (BACKTESTS.name, BACKTEST_TRADES),
            *((each.name, each) for each in (WALK_FORWARD, MONTE_CARLO, PARAMETER_SWEEPS, STRATEGY_COMPARISON)),
        )
    ),
    Check(
        REPORTS,
        "page_is_whole",
        "Each configuration has its page; it is whole, fetches nothing and says what is simulated.",
        backtests.page_is_whole(backtest_place),
    ),
)
