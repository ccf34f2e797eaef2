"""What a receipt reported, read back from Dagster's metadata by the checks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import polars as pl
import pytest

from trading_pipeline.checks import receipts
from trading_pipeline.checks.factory import Finding, Sight
from trading_pipeline.ingest import IngestReport
from trading_pipeline.markets import US
from trading_pipeline.research.bars.versions import BREAKS_SCHEMA
from trading_pipeline.settings import load_settings
from trading_pipeline.world import World

DAY = date(2024, 3, 15)
KEY = dg.AssetKey(["us", "received_bars"])
EVERY = [
    receipts.no_basis_breaks,
    receipts.no_duplicates,
    receipts.every_ticker_answered,
    receipts.none_refused,
    receipts.none_doubted,
]

Look = Callable[[Sight], Finding]


def report(**found: Any) -> IngestReport:
    """The report of a receipt that found these."""
    return IngestReport("us", "vendor", DAY, DAY, datetime(2024, 3, 15, 22, tzinfo=UTC), wanted=2, **found)


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


@pytest.fixture
def sight(instance: dg.DagsterInstance) -> Sight:
    return Sight(World(load_settings()), US, [DAY], instance)


def tell(instance: dg.DagsterInstance, told: IngestReport, event: type = dg.AssetMaterialization) -> None:
    """Put a report where a run leaves it."""
    instance.report_runless_asset_event(event(KEY, metadata=told.metadata()))


@pytest.mark.parametrize("look", EVERY)
def test_a_receipt_without_trouble_passes(look: Look, instance: dg.DagsterInstance, sight: Sight) -> None:
    tell(instance, report())
    assert look(sight).passed


@pytest.mark.parametrize("look", EVERY)
def test_where_nothing_was_reported_nothing_was_looked_at(look: Look, sight: Sight) -> None:
    finding = look(sight)
    assert not finding.passed
    assert finding.says == "No report of a receipt was found."


SPLIT = {"symbol": "AAA", "session": DAY, "kind": "split", "value": -1.0, "reason": "not above 0"}
BREAK = {"instrument_id": "us:AAA", "first_session": DAY, "last_session": DAY, "factor": 0.5, "cause": "prices"}
TROUBLE = {
    receipts.no_basis_breaks: (
        {"basis_breaks": pl.DataFrame([BREAK], schema_overrides=BREAKS_SCHEMA)},
        "us:AAA x0.5 up to 2024-03-15 (prices)",
    ),
    receipts.no_duplicates: ({"duplicates": pl.DataFrame({"symbol": ["AAA"], "session": [DAY]})}, "AAA 2024-03-15"),
    receipts.every_ticker_answered: ({"failures": [("AAA", "not_found", "no AAA")]}, "(1 not_found): AAA: no AAA"),
    receipts.none_refused: ({"refused_actions": pl.DataFrame([SPLIT])}, "AAA 2024-03-15 split -1.0: not above 0"),
    receipts.none_doubted: ({"withdrawals_doubted": 7}, "7 stored ones"),
}


@pytest.mark.parametrize("look", EVERY)
def test_trouble_is_named(look: Look, instance: dg.DagsterInstance, sight: Sight) -> None:
    found, said = TROUBLE[look]
    tell(instance, report(**found))
    finding = look(sight)
    assert not finding.passed
    assert said in finding.says


def test_a_range_reports_by_an_observation(instance: dg.DagsterInstance, sight: Sight) -> None:
    """Its materializations, one for each session, say nothing of it."""
    tell(instance, report())
    tell(instance, report(withdrawals_doubted=7), dg.AssetObservation)
    instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=DAY.isoformat()))
    assert not receipts.none_doubted(sight).passed


def test_more_than_can_be_named_are_counted(instance: dg.DagsterInstance, sight: Sight) -> None:
    symbols = [f"A{number}" for number in range(30)]
    tell(instance, report(duplicates=pl.DataFrame({"symbol": symbols, "session": [DAY] * 30})))
    finding = receipts.no_duplicates(sight)
    assert finding.says.endswith("A4 2024-03-15 and 25 more.")
    assert finding.numbers == {"count": 30}
