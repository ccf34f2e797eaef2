"""How a check is declared: a name, what must be true, and a function that looks.

A check sees the sessions of its run: Dagster gives a range one evaluation without a partition, so the sessions are read
from the run's own tags. Run on its own, it looks at the latest session that was materialized.

A check of results sees the configurations of its run; run on its own, all that were materialized.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import dagster as dg
import polars as pl

from trading_pipeline.assets.backtests import configurations
from trading_pipeline.assets.common import WORLD, key_of
from trading_pipeline.markets import Market
from trading_pipeline.research.bars.best_view import in_force
from trading_pipeline.research.ordering import sorted_by
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import BACKTESTS, Kind, Table
from trading_pipeline.world import World

if TYPE_CHECKING:
    from trading_pipeline.research.backtest import Configuration

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


@dataclass(frozen=True)
class Results:
    """What a check of results looks at: the world, the market and the names (ascending, at least one) of
    configurations."""

    world: World
    market: Market
    names: Sequence[str]

    def rows(self, table: Table, *columns: str) -> pl.DataFrame:
        """The columns named (default: all) of what the lake holds of the configurations, sorted by key.

        Of a decision table every version. Only these columns are read: a sweep may hold a million rows.
        """
        whose = pl.col("configuration").is_in(list(self.names))
        rows = self.world.lake.read(self.market.name, table, columns=columns or None, predicate=whose)
        return sorted_by(rows, [name for name in table.key_columns if name in rows.columns])

    @cached_property
    def latest(self) -> pl.DataFrame:
        """The row of `backtests` of each configuration's last session, by configuration."""
        from trading_pipeline.backtesting.results import latest_results

        rows = latest_results(self.world, self.market)
        return rows.filter(pl.col("configuration").is_in(list(self.names)))

    @cached_property
    def configured(self) -> "dict[str, Configuration]":
        """Every configuration of the market as its file is now, by name."""
        from trading_pipeline.backtesting.configurations import found

        return found(self.world.settings).of(self.market)


Seen = TypeVar("Seen")
Look = Callable[[Sight], Finding]
ResultLook = Callable[[Results], Finding]


@dataclass(frozen=True)
class Check(Generic[Seen]):
    """A check of one asset of every market, that looks at what `Seen` is."""

    asset: str
    name: str
    must: str
    look: Callable[[Seen], Finding]
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


def configurations_looked_at(run: dg.DagsterRun, instance: dg.DagsterInstance, market: Market, asset: str) -> list[str]:
    """Names of the configurations of the run; for a check that is run on its own, of all there are with a result.

    A partition is a configuration, or a part of its sweep. What has no partition is made of all backtests.
    """
    if PARTITION in run.tags:
        return [run.tags[PARTITION].partition("/")[0]]
    done = instance.get_materialized_partitions(key_of(market, asset))
    done = done or instance.get_materialized_partitions(key_of(market, BACKTESTS.name))
    there = instance.get_dynamic_partitions(str(configurations(market).name))
    return sorted({key.partition("/")[0] for key in done} & set(there))


@dataclass(frozen=True)
class Looked:
    """What is known of a run by whoever looks."""

    world: World
    market: Market
    asset: str
    run: dg.DagsterRun
    instance: dg.DagsterInstance


def at_sessions(looked: Looked) -> Sight | None:
    """What the checks of a run of sessions look at; None where nothing was materialized yet."""
    sessions = sessions_looked_at(looked.run, looked.instance, looked.market, looked.asset)
    if not sessions:
        return None
    return Sight(looked.world, looked.market, sessions, looked.instance, looked.run.run_id, looked.asset)


def at_configurations(looked: Looked) -> Results | None:
    """What the checks of a run of configurations look at; None where nothing was materialized yet."""
    names = configurations_looked_at(looked.run, looked.instance, looked.market, looked.asset)
    return Results(looked.world, looked.market, names) if names else None


def asset_checks(
    market: Market, checks: Sequence[Check[Seen]], seen: Callable[[Looked], Seen | None]
) -> list[dg.AssetChecksDefinition]:
    """The Dagster checks of one market: those of an asset in one step. `seen` says what they look at.

    A step costs about 0.15 s of events whatever it does, and 4,000 partition keys to be listed: a step a check took
    twice as long as the looking.
    """
    of_asset: dict[str, list[Check[Seen]]] = {}
    for check in checks:
        of_asset.setdefault(check.asset, []).append(check)
    return [_checks_of(market, asset, theirs, seen) for asset, theirs in of_asset.items()]


def _checks_of(
    market: Market, asset: str, checks: Sequence[Check[Seen]], seen: Callable[[Looked], Seen | None]
) -> dg.AssetChecksDefinition:
    key = key_of(market, asset)

    @dg.multi_asset_check(
        name=f"{market.name}__{asset}__checks",
        specs=[dg.AssetCheckSpec(check.name, asset=key, description=check.must) for check in checks],
        can_subset=True,
        required_resource_keys={WORLD},
    )
    def evaluate(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        world: World = context.op_execution_context.resources.world
        sight = seen(Looked(world, market, asset, context.run, context.instance))
        asked = {each.name for each in context.op_execution_context.selected_asset_check_keys}
        broken: list[Exception] = []
        for check in checks:
            if check.name not in asked:
                continue
            try:
                found = check.look(sight) if sight is not None else Finding(False, "Nothing was materialized yet.")
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
