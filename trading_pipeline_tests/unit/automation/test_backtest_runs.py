"""When configurations are compared and ranked: after their results, and not while one is being computed."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent

from trading_pipeline.assets import backtests as assets
from trading_pipeline.automation import backtest_runs, jobs
from trading_pipeline.definitions import build_definitions
from trading_pipeline.markets import US
from trading_pipeline.settings import load_settings

BACKTESTS = dg.AssetKey(["us", "backtests"])
COMPARISON = dg.AssetKey(["us", "strategy_comparison"])
MODELS = {
    dg.AssetKey([jobs.MARTS, name])
    for name in ("stg_backtests", "stg_walk_forward", "stg_monte_carlo", "stg_strategy_comparison")
} | {backtest_runs.LEADERBOARD}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(load_settings())


@pytest.fixture
def instance() -> dg.DagsterInstance:
    """An instance that knows two configurations."""
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions(str(assets.configurations(US).name), ["one", "two"])
    return instance


class Night:
    """A night of backtests as the sensor sees it, tick by tick."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.definitions, self.instance = definitions, instance
        self.cursor: dg.AssetDaemonCursor | None = None  # type: ignore[name-defined]
        self.tick()

    def tick(self) -> set[dg.AssetKey]:
        """What is asked for now."""
        told = dg.evaluate_automation_conditions(
            defs=self.definitions,
            instance=self.instance,
            asset_selection=dg.AssetSelection.assets(COMPARISON) | jobs.backtest_marts(),
            cursor=self.cursor,
        )
        self.cursor = told.cursor
        return {each.key for each in told.results if told.get_num_requested(each.key)}

    def computed(self, name: str) -> None:
        """A result is there."""
        self.instance.report_runless_asset_event(dg.AssetMaterialization(BACKTESTS, partition=name))

    def begun(self, name: str) -> dg.DagsterRun:
        """A result is being computed."""
        run = dg.DagsterRun(job_name=backtest_runs.backtests_name(US), status=dg.DagsterRunStatus.STARTED)
        self.instance.add_run(run)
        planned = AssetMaterializationPlannedData(BACKTESTS, partition=name)
        event = DagsterEvent.build_asset_materialization_planned_event(run.job_name, "backtests", planned)
        self.instance.report_dagster_event(event, run.run_id)
        return run


def test_results_are_compared_and_ranked_in_one_run(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    night = Night(definitions, instance)
    assert night.tick() == set()
    night.computed("one")
    # Models of what is not new are left as they are: each is a view.
    assert night.tick() == {COMPARISON, *MODELS} - {
        dg.AssetKey([jobs.MARTS, "stg_walk_forward"]),
        dg.AssetKey([jobs.MARTS, "stg_monte_carlo"]),
    }
    assert night.tick() == set()


def test_nothing_is_compared_while_a_result_is_computed_and_nothing_is_forgotten(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    """The last run of the night fails: what the runs before it brought is compared all the same."""
    night = Night(definitions, instance)
    night.computed("one")
    last = night.begun("two")
    assert night.tick() == set()
    instance.report_run_failed(last)
    assert {COMPARISON, backtest_runs.LEADERBOARD} <= night.tick()


def test_the_models_of_backtests_are_in_no_run_of_a_session(definitions: dg.Definitions) -> None:
    made = {
        name: {key for key in definitions.resolve_job_def(name).asset_layer.executable_asset_keys if key in MODELS}
        for name in (jobs.end_of_day_name(US), jobs.decisions_name(US), backtest_runs.comparison_name(US))
    }
    assert made == {
        jobs.end_of_day_name(US): set(),
        jobs.decisions_name(US): set(),
        backtest_runs.comparison_name(US): MODELS,
    }


def test_every_other_mart_is_in_the_run_of_a_session(definitions: dg.Definitions) -> None:
    end_of_day = definitions.resolve_job_def(jobs.end_of_day_name(US)).asset_layer.executable_asset_keys
    marts = dg.AssetSelection.groups(jobs.MARTS).resolve(definitions.resolve_asset_graph())
    assert marts - MODELS <= set(end_of_day)
    assert len(marts - MODELS) > len(MODELS)


def test_a_ranking_is_overdue_until_it_is_newer_than_every_result(instance: dg.DagsterInstance) -> None:
    def made(key: dg.AssetKey, partition: str | None = None) -> bool:
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))
        return backtest_runs.overdue(instance, US)

    assert not backtest_runs.overdue(instance, US)
    assert made(BACKTESTS, "one")
    assert made(COMPARISON)
    assert not made(backtest_runs.LEADERBOARD)
    assert made(dg.AssetKey(["us", "monte_carlo"]), "one")
    assert made(backtest_runs.LEADERBOARD)
    assert not made(COMPARISON)
    assert not made(dg.AssetKey(["asx", "backtests"]), "one")
