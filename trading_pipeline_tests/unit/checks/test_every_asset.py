"""What every asset owes to whoever opens the UI: words, an owner, a schema and a check that can fail."""

from __future__ import annotations

import dagster as dg
import pytest

from trading_pipeline.checks.registry import CHECKS, RESULT_CHECKS
from trading_pipeline.definitions import build_definitions
from trading_pipeline.markets import MARKETS
from trading_pipeline.settings import load_settings
from trading_pipeline.tables import ALL_TABLES, MARKET_DATA, Table

TABLES: dict[str, Table] = {**ALL_TABLES, MARKET_DATA.name: MARKET_DATA}
WRITTEN_WITH_ANOTHER = {
    *("backtest_trades", "backtest_equity", "backtest_positions", "walk_forward_equity", "monte_carlo_bands"),
    "sweep_pairs",
}
"""Tables that an asset writes beside the one it is named after."""


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(load_settings())


@pytest.fixture(scope="module")
def specs(definitions: dg.Definitions) -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in definitions.resolve_all_asset_specs()}


@pytest.fixture(scope="module")
def checked(definitions: dg.Definitions) -> set[dg.AssetKey]:
    graph = definitions.resolve_asset_graph()
    return {check.asset_key for check in graph.asset_check_keys}


def lacking(specs: dict[dg.AssetKey, dg.AssetSpec], what: str) -> list[str]:
    """Keys of the assets whose spec says nothing under that name."""
    return [key.to_user_string() for key, spec in specs.items() if not getattr(spec, what)]


@pytest.mark.parametrize("what", ["description", "owners", "group_name", "kinds", "code_version"])
def test_every_asset_has(what: str, specs: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    assert lacking(specs, what) == []


def test_a_description_says_more_than_the_name(specs: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    short = [key.to_user_string() for key, spec in specs.items() if len((spec.description or "").split()) < 8]
    assert short == []


def test_every_asset_has_a_check(specs: dict[dg.AssetKey, dg.AssetSpec], checked: set[dg.AssetKey]) -> None:
    assert [key.to_user_string() for key in specs if key not in checked] == []


def test_every_table_shows_its_columns(specs: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    for market in MARKETS:
        assert {name for name in TABLES if dg.AssetKey([market, name]) not in specs} == WRITTEN_WITH_ANOTHER
        for name in TABLES.keys() - WRITTEN_WITH_ANOTHER:
            table = TABLES[name]
            schema = specs[dg.AssetKey([market, name])].metadata["dagster/column_schema"]
            assert [column.name for column in schema.columns] == table.names
            assert all(column.description for column in schema.columns)


def test_a_check_has_a_sentence_and_a_name_of_its_own() -> None:
    checks = (*CHECKS, *RESULT_CHECKS)
    names = [(check.asset, check.name) for check in checks]
    assert len(set(names)) == len(names)
    assert all(check.must.endswith(".") and check.look is not None for check in checks)


def test_the_markets_in_the_settings_are_switched_on() -> None:
    """The others are there to be switched on; upkeep always runs."""
    definitions = build_definitions(load_settings(markets="asx"))
    repository = definitions.get_repository_def()
    running = {each.name for each in repository.sensor_defs if each.default_status is dg.DefaultSensorStatus.RUNNING}
    mine = {"asx_catch_up", "asx_revisions", "asx_configurations"}
    assert running == {*mine, "alerts", "inbox", "reaper", "run_failures", "strategy_comparisons"}
    on_time = {
        each.name for each in repository.schedule_defs if each.default_status is dg.DefaultScheduleStatus.RUNNING
    }
    mine = {f"asx_{what}" for what in ("end_of_day", "premarket", "minutes", "market_week", "backtests", "sweeps")}
    assert on_time == {*mine, "lake_compaction"}
