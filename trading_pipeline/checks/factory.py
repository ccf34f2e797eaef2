"""How a check is declared: a name, what must be true, and a function that looks.

A check sees the sessions of its run: Dagster gives a range one evaluation without a partition, so the sessions are read
from the run's own tags. Run on its own, it looks at the latest session that was materialized.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import dagster as dg
import polars as pl

from trading_pipeline.assets.common import WORLD, key_of
from trading_pipeline.markets import Market
from trading_pipeline.research.bars.best_view import in_force
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import Kind, Table
from trading_pipeline.world import World

PARTITION = "dagster/partition"
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
RECEIPTS_LOOKED_AT = 5
RECEIPT_MARK = "tickers_wanted"
"""Metadata that only the report of a receipt has."""


@dataclass(frozen=True)
class Finding:
    """What a check saw: whether it passed, one line for a person, and the numbers behind it."""

    passed: bool
    says: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sight:
    """What a check looks at: the world, the market and the sessions (ascending, at least one) of its run."""

    world: World
    market: Market
    sessions: Sequence[date]
    instance: dg.DagsterInstance
    run_id: str | None = None
    asset: str = "received_bars"

    def rows(self, table: Table, *columns: str) -> pl.DataFrame:
        """The columns named (default: all) of the sessions' rows in force, in no particular order.

        Of a received table every version, of a decision table the latest one. Only these columns are read: a range may
        hold a million rows.
        """
        lake, first, last = self.world.lake, self.sessions[0], self.sessions[-1]
        if table.kind is Kind.DECISION:
            return lake.latest(self.market.name, table.name, self.sessions).select(columns or pl.all())
        if "superseded_at" not in table.schema:
            return lake.read(self.market.name, table.name, first, last, columns=columns or None)
        wanted = dict.fromkeys([*(columns or table.names), "available_at", "superseded_at"])
        rows = lake.read(self.market.name, table.name, first, last, columns=list(wanted))
        return in_force(rows, self.world.as_of).select(columns or pl.all())

    @cached_property
    def receipt(self) -> Mapping[str, Any]:
        """What the run reported of the asset's receipt (`IngestReport.metadata`, `ReferenceReport.metadata`), or the
        latest report; empty without one.

        It is on the materialization of a single session, and on an observation of a range.
        """
        key = key_of(self.market, self.asset)
        records = [
            *self.instance.fetch_materializations(key, limit=RECEIPTS_LOOKED_AT).records,
            *self.instance.fetch_observations(key, limit=RECEIPTS_LOOKED_AT).records,
        ]
        told = []
        for record in records:
            event = record.asset_materialization or record.asset_observation
            if event is not None and RECEIPT_MARK in event.metadata:
                mine = record.run_id == self.run_id
                told.append((mine, record.storage_id, {name: value.value for name, value in event.metadata.items()}))
        return max(told, key=lambda each: each[:2])[2] if told else {}


Look = Callable[[Sight], Finding]


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


def asset_checks(market: Market, checks: Sequence[Check]) -> list[dg.AssetChecksDefinition]:
    """The Dagster checks of one market: those of an asset in one step.

    A step costs about 0.15 s of events whatever it does, and 4,000 partition keys to be listed: a step a check took
    twice as long as the looking.
    """
    of_asset: dict[str, list[Check]] = {}
    for check in checks:
        of_asset.setdefault(check.asset, []).append(check)
    return [_checks_of(market, asset, theirs) for asset, theirs in of_asset.items()]


def _checks_of(market: Market, asset: str, checks: Sequence[Check]) -> dg.AssetChecksDefinition:
    key = key_of(market, asset)

    @dg.multi_asset_check(
        name=f"{market.name}__{asset}__checks",
        specs=[dg.AssetCheckSpec(check.name, asset=key, description=check.must) for check in checks],
        can_subset=True,
        required_resource_keys={WORLD},
    )
    def evaluate(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        sessions = sessions_looked_at(context.run, context.instance, market, asset)
        asked = {each.name for each in context.op_execution_context.selected_asset_check_keys}
        broken: list[Exception] = []
        for check in checks:
            if check.name not in asked:
                continue
            try:
                if sessions:
                    world: World = context.op_execution_context.resources.world
                    found = check.look(Sight(world, market, sessions, context.instance, context.run.run_id, asset))
                else:
                    found = Finding(False, "Nothing was materialized yet.")
            except Exception as error:  # noqa: BLE001 - raised below, after the other checks had their say
                error.add_note(f"while looking whether: {check.must}")
                broken.append(error)
                continue
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=check.name,
                passed=found.passed,
                severity=check.severity,
                description=found.says,
                metadata=dict(found.numbers),
            )
        if len(broken) == 1:
            raise broken[0]
        if broken:
            raise ExceptionGroup(f"{len(broken)} checks of {key.to_user_string()} could not be made", broken)

    return evaluate
