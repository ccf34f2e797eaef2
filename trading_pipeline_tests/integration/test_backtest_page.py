"""The page of a configuration, gathered from a real lake and written by its asset."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from rich.console import Console

from trading_pipeline.assets.backtests import REPORTS, build, configurations
from trading_pipeline.assets.common import WORLD, key_of, world_resource
from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import US
from trading_pipeline.reports.backtests import backtest_page, gather, place_of, summary
from trading_pipeline.settings import Settings
from trading_pipeline.storage import files
from trading_pipeline.tables.backtests import (
    BACKTEST_EQUITY,
    BACKTEST_TRADES,
    BACKTESTS,
    MONTE_CARLO,
    MONTE_CARLO_BANDS,
    PARAMETER_SWEEPS,
    WALK_FORWARD,
    WALK_FORWARD_EQUITY,
)
from trading_pipeline.world import World
from trading_pipeline_tests.backtest_pages import TOML, backtest_inputs, configuration

MADE = backtest_inputs()
OTHER = backtest_inputs(seed=11, told=configuration(TOML.replace('"made-up"', '"another"')))
NOW = MADE.generated_at
RESULTS = {
    "equity": BACKTEST_EQUITY,
    "trades": BACKTEST_TRADES,
    "walk_forward": WALK_FORWARD,
    "walk_forward_equity": WALK_FORWARD_EQUITY,
    "monte_carlo": MONTE_CARLO,
    "monte_carlo_bands": MONTE_CARLO_BANDS,
    "parameter_sweeps": PARAMETER_SWEEPS,
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, embedded_server: Any) -> Settings:
    """A world of its own, whose user has the two made-up configurations."""
    state: Path = tmp_path_factory.mktemp("state")
    mine = Settings(state_dir=state, database_url=embedded_server.url(f"test_{uuid.uuid4().hex[:12]}"), _env_file=None)
    mine.backtests.mkdir(parents=True)
    for name in ("made-up", "another", "never-run"):
        (mine.backtests / f"{name}.toml").write_text(TOML.replace('"made-up"', f'"{name}"'), encoding="utf-8")
    return mine


@pytest.fixture(scope="module")
def world(settings: Settings) -> Iterator[World]:
    """The world with the results of two configurations, the older result of one beside its latest."""
    world = World(settings, clock=lambda: NOW)
    older = {**MADE.row, "session": MADE.days["session"][-2], "total_return": 9.0}
    for row in (older, MADE.row):
        rows = [row, OTHER.row] if row is MADE.row else [row]
        frame = pl.DataFrame(rows, schema=BACKTESTS.schema)
        world.lake.publish("us", BACKTESTS, [row["session"]], frame, NOW - timedelta(minutes=1))
    for inputs in (MADE, OTHER):
        owner = {"configuration": inputs.configuration.name}
        for name, table in RESULTS.items():
            world.lake.replace_result("us", table, owner, getattr(inputs, name))
    yield world
    world.close()


def shown(world: World, name: str | None = None) -> str:
    out = io.StringIO()
    Console(file=out, width=400).print(summary(world, US, name))
    return out.getvalue()


def test_what_was_stored_is_what_is_gathered(world: World) -> None:
    told = gather(world, US, MADE.configuration)
    assert told.row["session"] == MADE.row["session"]
    assert told.row["total_return"] == MADE.row["total_return"]
    for name in RESULTS:
        stored, made = getattr(told, name), getattr(MADE, name)
        assert stored.sort(stored.columns).equals(made.select(stored.columns).sort(stored.columns)), name
    assert not told.changed_since


def test_a_configuration_without_a_result_is_refused(world: World) -> None:
    never = configuration(TOML.replace('"made-up"', '"never-run"'))
    with pytest.raises(InputRefused, match="There is no backtest of never-run"):
        gather(world, US, never)


def test_the_asset_writes_the_page_of_its_partition_and_links_it(world: World, settings: Settings) -> None:
    assert "none was written" in shown(world) and "none was written" in shown(world, "made-up")
    instance = dg.DagsterInstance.ephemeral()
    partitions = configurations(US)
    assert partitions.name is not None
    instance.add_dynamic_partitions(partitions.name, ["made-up"])
    done = dg.materialize(
        build(US),
        selection=[key_of(US, REPORTS)],
        partition_key="made-up",
        instance=instance,
        resources={WORLD: world_resource(lambda: World(settings, clock=lambda: NOW))},
    )
    [event] = done.asset_materializations_for_node(f"us__{REPORTS}")
    assert event.metadata["page"].value == f"{settings.lake_root}/{place_of(US, 'made-up')}"
    text = files.text_of(settings, place_of(US, "made-up"))
    assert text == backtest_page(gather(world, US, MADE.configuration))
    assert event.metadata["bytes"].value == len(text.encode())
    assert files.names_in(settings, "us/reports/backtests") == ["made-up.html"]
    assert f"/{place_of(US, 'made-up')}" in shown(world, "made-up")
    assert "us/reports/backtests/ (made-up)" in shown(world)
    files.put_text(settings, place_of(US, "another"), "there")
    assert shown(world).rstrip().endswith("us/reports/backtests/")


def test_the_page_follows_what_it_is_made_of() -> None:
    [page] = [each for each in build(US) if each.key == key_of(US, REPORTS)]
    names = {key.path[-1] for key in page.asset_deps[page.key]}
    assert names == {"backtests", "walk_forward", "monte_carlo", "parameter_sweeps"}
