"""How a check is declared: a name, what must be true, and a function that looks.

A check sees the sessions of its run: Dagster gives a range one evaluation without a partition, so the sessions are read
from the run's own tags. Run on its own, it looks at the latest session that was materialized.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg

from trading_pipeline.assets.common import WORLD, key_of
from trading_pipeline.markets import Market
from trading_pipeline.sessions import calendar
from trading_pipeline.world import World

PARTITION = "dagster/partition"
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


@dataclass(frozen=True)
class Finding:
    """What a check saw: whether it passed, one line for a person, and the numbers behind it."""

    passed: bool
    says: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


Look = Callable[[World, Market, Sequence[date]], Finding]


@dataclass(frozen=True)
class Check:
    """A check of one asset of every market."""

    asset: str
    name: str
    must: str
    look: Look
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


def sessions_looked_at(run: dg.DagsterRun, instance: dg.DagsterInstance, market: Market, asset: str) -> list[date]:
    """The sessions of the run, or the latest materialized one for a check that is run on its own."""
    exchange = calendar(market.exchange)
    if RANGE_START in run.tags:
        return exchange.between(date.fromisoformat(run.tags[RANGE_START]), date.fromisoformat(run.tags[RANGE_END]))
    if PARTITION in run.tags:
        return [date.fromisoformat(run.tags[PARTITION])]
    done = instance.get_materialized_partitions(key_of(market, asset))
    return [date.fromisoformat(max(done))] if done else []


def asset_check(market: Market, check: Check) -> dg.AssetChecksDefinition:
    """The Dagster check for one market."""

    @dg.asset_check(
        asset=key_of(market, check.asset),
        name=check.name,
        description=check.must,
        required_resource_keys={WORLD},
    )
    def evaluate(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        sessions = sessions_looked_at(context.run, context.instance, market, check.asset)
        if not sessions:
            finding = Finding(False, "Nothing was materialized yet.")
        else:
            world: World = context.op_execution_context.resources.world
            finding = check.look(world, market, sessions)
        return dg.AssetCheckResult(
            passed=finding.passed, severity=check.severity, description=finding.says, metadata=dict(finding.numbers)
        )

    return evaluate
