"""Session partitions: one per session, nothing in between, the same identity tomorrow."""

from __future__ import annotations

from datetime import datetime

import pytest

from trading_pipeline.markets import MARKETS, US, Market
from trading_pipeline.partitions import lookback, session_partitions, sessions_of
from trading_pipeline.sessions import calendar


@pytest.mark.parametrize("market", MARKETS.values(), ids=lambda market: market.name)
def test_partitions_are_the_sessions(market: Market) -> None:
    exchange = calendar(market.exchange)
    now = datetime(2026, 11, 20, 18, 0, tzinfo=exchange.timezone)
    keys = session_partitions(market).get_partition_keys(current_time=now)
    assert sessions_of(keys) == exchange.between(exchange.first_session, now.date())


def test_on_a_closed_day_the_next_session_is_open_already_hence_the_guards() -> None:
    """With end_offset=1 a Saturday lists Monday: what the schedules must never ask for."""
    saturday = datetime(2026, 11, 21, 18, 0, tzinfo=calendar("XNYS").timezone)
    assert session_partitions(US).get_partition_keys(current_time=saturday)[-1] == "2026-11-23"


def test_one_definition_a_market_is_shared() -> None:
    assert session_partitions(US) is session_partitions(US)


def test_a_lookback_counts_sessions_over_weekends_and_holidays() -> None:
    """Two sessions before the Monday after Thanksgiving is the Wednesday before it."""
    partitions = session_partitions(US)
    now = datetime(2025, 12, 1, 18, 0, tzinfo=calendar("XNYS").timezone)
    upstream = lookback(2).get_upstream_mapped_partitions_result_for_partitions(
        partitions.subset_with_partition_keys(["2025-12-01"]), partitions, partitions, current_time=now
    )
    assert sorted(upstream.partitions_subset.get_partition_keys()) == ["2025-11-26", "2025-11-28", "2025-12-01"]
