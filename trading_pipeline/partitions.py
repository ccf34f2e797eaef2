"""Session partitions and lookbacks, derived from `sessions.py`.

One shared partitions definition per market: unequal definitions cannot share a job, and any change of the exclusions
changes the identity of every partition. Weekends are excluded by cron, holidays by date: with a `1-5` cron Friday's
window would run to Monday and Friday would stay unavailable all weekend. `end_offset=1` opens today's partition before
midnight; on a closed day it opens a future session instead (dagster issue 33551), hence the guards in `automation/`.
"""

from __future__ import annotations

import warnings
from datetime import date, datetime
from functools import cache

from dagster import BetaWarning, DailyPartitionsDefinition, TimeWindowPartitionMapping

from trading_pipeline.markets import Market
from trading_pipeline.sessions import calendar

# Parameters that Dagster still calls beta and that session assets cannot do without; the version is pinned and the
# tests show what they do.
warnings.filterwarnings(
    "ignore", "Parameter `(backfill_policy|allow_nonexistent_upstream_partitions|owners)`", category=BetaWarning
)


@cache
def session_partitions(market: Market) -> DailyPartitionsDefinition:
    """One partition per session of the market's exchange, keyed YYYY-MM-DD, today's included."""
    exchange = calendar(market.exchange)
    midnight = datetime.min.time()
    return DailyPartitionsDefinition(
        start_date=exchange.first_session.isoformat(),
        timezone=str(exchange.timezone),
        end_offset=1,
        exclusions=[
            "0 0 * * 0,6",
            *(datetime.combine(day, midnight, exchange.timezone) for day in sorted(exchange.holidays)),
        ],
    )


def lookback(sessions: int) -> TimeWindowPartitionMapping:
    """Reads this session and the `sessions` before it, clipped at the start of history; the lineage shows it."""
    return TimeWindowPartitionMapping(start_offset=-sessions, allow_nonexistent_upstream_partitions=True)


def before(sessions: int) -> TimeWindowPartitionMapping:
    """Reads the `sessions` before this one, and this one not: what is decided before the open knows no bar of it."""
    return TimeWindowPartitionMapping(start_offset=-sessions, end_offset=-1, allow_nonexistent_upstream_partitions=True)


def sessions_of(partition_keys: list[str]) -> list[date]:
    """The sessions named by partition keys, ascending."""
    return sorted(date.fromisoformat(key) for key in partition_keys)
