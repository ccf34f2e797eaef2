"""The one list of everything Dagster sees.

Nothing imports this module but Dagster, the command line and the tests. Both markets are always defined, so that no
setting decides which assets exist; the settings say which of them `run` brings up to date.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import dagster as dg

from trading_pipeline.assets import (
    backtests,
    dips,
    features,
    live,
    market_data,
    marts,
    premarket,
    reference,
    regime,
    reports,
    screener,
    tearsheets,
    universe,
)
from trading_pipeline.assets.common import SESSION_TABLES, WORLD, world_resource
from trading_pipeline.automation import backtest_runs, inbox, jobs, schedules, sensors
from trading_pipeline.checks.factory import asset_checks, at_configurations, at_sessions
from trading_pipeline.checks.registry import CHECKS, RESULT_CHECKS
from trading_pipeline.markets import MARKETS
from trading_pipeline.settings import Settings, load_settings
from trading_pipeline.storage.io_managers import session_table_io_manager
from trading_pipeline.world import World


def build_definitions(
    settings: Settings | None = None, *, open_world: Callable[[], World] | None = None
) -> dg.Definitions:
    """Assets, checks, jobs, schedules and sensors of every market, on the world that `settings` names.

    The schedules and sensors of the markets in the settings are switched on when an instance first sees them.

    open_world: opens the world of a run or a tick; by default a plain one on the system clock.
    """
    settings = settings or load_settings()
    open_world = open_world or partial(World, settings)
    markets = list(MARKETS.values())

    return dg.Definitions(
        assets=[
            *(
                asset
                for market in markets
                for asset in (
                    *universe.build(market),
                    *market_data.build(market, settings.market_data_provider),
                    *reference.build(market, settings.market_data_provider),
                    *features.build(market),
                    *regime.build(market),
                    *screener.build(market),
                    *dips.build(market),
                    *tearsheets.build(market),
                    *reports.build(market),
                    *premarket.build(market),
                    *live.build(market),
                    *backtests.build(market),
                )
            ),
            *marts.build(markets),
        ],
        asset_checks=[
            checks
            for market in markets
            for checks in (
                *asset_checks(market, CHECKS, at_sessions),
                *asset_checks(market, RESULT_CHECKS, at_configurations),
            )
        ],
        jobs=[
            *(job for market in markets for job in (*jobs.build(market), *backtest_runs.jobs(market))),
            jobs.lake_compaction,
            inbox.inbox_job,
        ],
        schedules=schedules.build(settings.markets),
        sensors=sensors.build(open_world, settings.markets),
        resources={WORLD: world_resource(open_world), SESSION_TABLES: session_table_io_manager},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads; built when it asks, so that importing this module costs nothing and reads no setting."""
    return build_definitions()
