"""Every check of backtests passes on sound results, and fails on a fault planted in lake, warehouse or file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from trading_pipeline.automation import backtest_runs, jobs
from trading_pipeline.backtesting.configurations import found
from trading_pipeline.backtesting.results import latest_results
from trading_pipeline.backtesting.sweeps import parts_of
from trading_pipeline.checks.factory import Finding, Results
from trading_pipeline.checks.registry import RESULT_CHECKS
from trading_pipeline.checks.robustness_checks import FAR_BELOW
from trading_pipeline.definitions import build_definitions
from trading_pipeline.markets import US
from trading_pipeline.reports.backtests import place_of
from trading_pipeline.sessions import calendar
from trading_pipeline.storage import files
from trading_pipeline.storage.server import connect
from trading_pipeline.tables import Table
from trading_pipeline.tables.backtests import (
    BACKTEST_EQUITY,
    BACKTEST_POSITIONS,
    BACKTEST_TRADES,
    BACKTESTS,
    MONTE_CARLO,
    MONTE_CARLO_BANDS,
    PARAMETER_SWEEPS,
    STRATEGY_COMPARISON,
    SWEEP_PAIRS,
    WALK_FORWARD,
    WALK_FORWARD_EQUITY,
)
from trading_pipeline.world import World
from trading_pipeline_tests.promises import QUIET, Site, final_at, forgetful_instance

XNYS = calendar("XNYS")
DAY = date(2024, 3, 15)
BARS_FROM = XNYS.offset(DAY, -150)
CROSS, REVERSION = "short-cross", "short-reversion"
NAMES = [CROSS, REVERSION]

CONFIGURATIONS = {
    CROSS: """
name = "short-cross"
strategy = "moving_average_cross"
market = "us"
universe = "ALL"
sweep_chunks = 2
parameters = { fast = 5, slow = 20 }
allocation = { lookback = 20, minimum_history = 10, rebalance = "weekly" }
walk_forward = { training = 50, test = 20, parameters = { fast = [5, 8] } }
monte_carlo = { paths = 50 }
sweep = { fast = [3, 5, 8], slow = [15, 20, 30] }
""",
    REVERSION: """
name = "short-reversion"
strategy = "mean_reversion"
market = "us"
universe = "ALL"
parameters = { window = 10, entry = 1.5, stop = 0.08 }
risk = {}
walk_forward = { training = 50, test = 20 }
monte_carlo = { paths = 50 }
""",
}

NewSite = Callable[[], Site]


def execute(site: Site, job: str, partition: str | None = None, *, marts: bool = False) -> dg.ExecuteInProcessResult:
    """Run a backtest job of a site for one partition; the marts have tests of their own."""
    definitions = build_definitions(site.settings, open_world=lambda: site.world(final_at(US, DAY)))
    resolved = definitions.resolve_job_def(job)
    return resolved.execute_in_process(
        instance=site.instance,
        tags={"dagster/partition": partition} if partition else {},
        run_config=QUIET,
        asset_selection=[
            key for key in resolved.asset_layer.executable_asset_keys if marts or key.path[0] != jobs.MARTS
        ],
    )


@dataclass
class Sound:
    """The sound site, and what the checks of its runs said, the later run of a check last."""

    site: Site
    evaluations: list[Any]


@pytest.fixture(scope="module")
def sound(new_site: NewSite) -> Sound:
    """A site with seven months of bars, two configurations backtested, one of them swept in two parts."""
    site = new_site()
    replace(site, instance=forgetful_instance(), checked=False).run(jobs.market_data_name(US), BARS_FROM, DAY)
    for name, text in CONFIGURATIONS.items():
        file_of(site, name).parent.mkdir(exist_ok=True)
        file_of(site, name).write_text(text)
    told = found(site.settings)
    assert told.faults == []
    own = backtest_runs.registered(site.instance, US, told)
    runs = [execute(site, backtest_runs.backtests_name(US), name) for name in NAMES]
    runs += [execute(site, backtest_runs.sweeps_name(US), part) for part in parts_of(own[CROSS])]
    runs.append(execute(site, backtest_runs.comparison_name(US)))
    return Sound(site, [each for run in runs for each in run.get_asset_check_evaluations()])


def file_of(site: Site, name: str) -> Path:
    """Where the file of a configuration lies."""
    return Path(site.settings.backtests) / f"{name}.toml"


@pytest.fixture
def site(sound: Sound, new_site: NewSite) -> Site:
    """A copy of the sound site, to plant a fault in."""
    return sound.site.copy_to(new_site())


def look(world: World, name: str, *names: str) -> Finding:
    """What a check, named `asset/check`, sees of the configurations named (default: those of its asset)."""
    (check,) = (each for each in RESULT_CHECKS if f"{each.asset}/{each.name}" == name)
    own = [CROSS] if check.asset == PARAMETER_SWEEPS.name else NAMES
    return check.look(Results(world, US, names or own))


@pytest.fixture
def sound_world(sound: Sound) -> Iterator[World]:
    """The world of the sound site."""
    world = sound.site.world(final_at(US, DAY))
    yield world
    world.close()


def test_sound_results_pass_every_check(sound: Sound) -> None:
    said = {f"{each.asset_key.path[-1]}/{each.check_name}": each for each in sound.evaluations}
    assert set(said) == {f"{check.asset}/{check.name}" for check in RESULT_CHECKS}
    assert [f"{name}: {each.description}" for name, each in said.items() if not each.passed] == []


def test_something_was_there_to_look_at(sound_world: World) -> None:
    """No check passes for want of a trade, a window, a path, a swept set or a pair."""
    seen = {
        name: look(sound_world, name).numbers
        for name in (
            "backtests/accounts_add_up",
            "walk_forward/tested_after_training",
            "walk_forward/tests_join_up",
            "monte_carlo/quantiles_ascend",
            "parameter_sweeps/all_parts_there",
            "parameter_sweeps/configured_set_swept",
            "strategy_comparison/every_pair_compared",
        )
    }
    assert all(number for name, numbers in seen.items() for key, number in numbers.items() if key not in NOUGHT)
    assert seen["parameter_sweeps/configured_set_swept"]["sets"] == 9
    assert CROSS in look(sound_world, "parameter_sweeps/not_isolated").numbers
    assert seen["strategy_comparison/every_pair_compared"]["pairs"] == 1


NOUGHT = {"closes_apart", "out_of_order", "wrong", "incomplete", "without"}


def test_a_part_of_a_sweep_says_that_the_others_are_not_there_yet(sound: Sound) -> None:
    first, last = (each for each in sound.evaluations if each.check_name == "all_parts_there")
    assert (first.passed, first.severity, last.passed) == (False, dg.AssetCheckSeverity.WARN, True)
    assert f"{CROSS} lacks 1 of 2 parts" in str(first.description)


def test_a_check_looks_at_the_configurations_of_its_run(sound: Sound) -> None:
    mine = [each for each in sound.evaluations if each.check_name == "freshness"]
    assert [each.description for each in mine] == [f"1 results reach {DAY}, the last session with bars."] * 2


def test_a_check_run_on_its_own_looks_at_every_configuration_there_is(sound: Sound) -> None:
    """Not at one whose file is gone, whatever was computed of it."""
    gone = dg.AssetMaterialization(dg.AssetKey(["us", "backtests"]), partition="gone")
    sound.site.instance.report_runless_asset_event(gone)
    definitions = build_definitions(sound.site.settings, open_world=lambda: sound.site.world(final_at(US, DAY)))
    check = dg.AssetCheckKey(dg.AssetKey(["us", "backtests"]), "as_configured")
    job = dg.define_asset_job("checks_alone", selection=dg.AssetSelection.checks(check))
    resolved = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])).resolve_job_def("checks_alone")
    result = resolved.execute_in_process(instance=sound.site.instance, run_config=QUIET)
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.passed
    assert "2 results are of their configurations" in str(evaluation.description)


# --- faults -------------------------------------------------------------------------------------------------------

Plant = Callable[[World], None]
FAULTS: dict[Plant, tuple[str, ...]] = {}


def fault(*names: str) -> Callable[[Plant], Plant]:
    """Declare a fault that the checks named must find."""

    def declare(plant: Plant) -> Plant:
        FAULTS[plant] = names
        return plant

    return declare


def rewrite(world: World, table: Table, change: Callable[[pl.DataFrame], pl.DataFrame], **owner: str) -> None:
    """Write the rows of an owner (default: the moving-average cross) anew, changed, in the lake alone."""
    owner = owner or ({"configuration": CROSS} if table.owner else {})
    rows = world.lake.read_result("us", table, owner)
    changed = change(rows)
    assert not changed.equals(rows)
    world.lake.replace_result("us", table, owner, changed)


def publish(world: World, **changed: pl.Expr) -> None:
    """Publish the result of the moving-average cross once more, changed, in the lake alone."""
    rows = world.lake.latest("us", BACKTESTS, [DAY])
    own = pl.col("configuration") == CROSS
    changes = [pl.when(own).then(to).otherwise(pl.col(name)).alias(name) for name, to in changed.items()]
    later = final_at(US, DAY) + timedelta(hours=1)
    assert world.lake.publish("us", BACKTESTS, [DAY], rows.with_columns(changes), later).changed


def change_warehouse(world: World, statement: str) -> None:
    """Change the warehouse behind everybody's back."""
    with connect(world.warehouse.url, autocommit=True) as connection:
        assert connection.execute(statement.encode()).rowcount


def in_row(number: int, **changed: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Changes one row, counted from 0."""

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        here = pl.int_range(pl.len()) == number
        return rows.with_columns(
            pl.when(here).then(to).otherwise(pl.col(name)).alias(name) for name, to in changed.items()
        )

    return change


@fault("backtests/accounts_add_up")
def trade_two_cents_better(world: World) -> None:
    rewrite(world, BACKTEST_TRADES, in_row(0, profit=pl.col("profit") + 0.02))


@fault("backtests/accounts_add_up", "backtests/warehouse_agrees_on_backtest_trades")
def trade_forgotten(world: World) -> None:
    rewrite(world, BACKTEST_TRADES, lambda rows: rows.head(-1))


@fault("backtests/accounts_add_up")
def position_forgotten(world: World) -> None:
    rewrite(world, BACKTEST_POSITIONS, lambda rows: rows.head(-1))


@fault("backtests/accounts_add_up")
def account_of_another_night(world: World) -> None:
    rewrite(world, BACKTEST_EQUITY, lambda rows: rows.head(-1))


@fault("backtests/accounts_add_up")
def no_account(world: World) -> None:
    rewrite(world, BACKTEST_EQUITY, lambda rows: rows.clear())


@fault("backtests/accounts_add_up", "backtests/warehouse_agrees")
def result_better_than_its_trades(world: World) -> None:
    publish(world, equity=pl.col("equity") + 0.02)


@fault("backtests/no_revisions")
def revised_result(world: World) -> None:
    publish(world, revised_from=pl.col("first_session"))


@fault("backtests/enough_coverage")
def watermarked_result(world: World) -> None:
    publish(world, watermark=pl.lit("Survivorship: few are known."))


@fault("backtests/enough_coverage")
def low_coverage_unsaid(world: World) -> None:
    publish(world, least_coverage=pl.lit(0.5))


@fault("backtests/as_configured")
def file_changed(world: World) -> None:
    file = world.settings.backtests / f"{CROSS}.toml"
    file.write_text(file.read_text().replace("slow = 20 }", "slow = 25 }"))


@fault("backtests/as_configured")
def file_gone(world: World) -> None:
    (world.settings.backtests / f"{CROSS}.toml").unlink()


@fault("backtests/as_configured")
def file_that_cannot_be_used(world: World) -> None:
    (world.settings.backtests / f"{CROSS}.toml").write_text("name = ")


@fault("backtests/as_configured")
def result_of_other_code(world: World) -> None:
    publish(world, code_version=pl.lit("0"))


@fault("backtests/freshness")
def bars_of_a_later_session(world: World) -> None:
    bars = world.lake.read("us", "daily_bars", DAY, DAY)
    following = XNYS.offset(DAY, 1)
    world.lake.replace("us", "daily_bars", [following], bars.with_columns(session=pl.lit(following)))


@fault("walk_forward/tested_after_training")
def trained_on_the_test(world: World) -> None:
    rewrite(world, WALK_FORWARD, in_row(1, train_last=pl.col("test_first")))


@fault("walk_forward/tested_after_training")
def session_tested_twice(world: World) -> None:
    rewrite(world, WALK_FORWARD, in_row(1, test_first=pl.col("test_first").shift(1)))


@fault("walk_forward/tested_after_training", "walk_forward/tests_join_up", "walk_forward/warehouse_agrees")
def window_forgotten(world: World) -> None:
    rewrite(world, WALK_FORWARD, lambda rows: rows[1:])


@fault("walk_forward/tests_join_up")
def window_better_than_its_account(world: World) -> None:
    rewrite(world, WALK_FORWARD, in_row(0, test_return=pl.col("test_return") + 0.001))


@fault("walk_forward/tests_join_up")
def account_without_windows(world: World) -> None:
    rewrite(world, WALK_FORWARD, lambda rows: rows.clear())


@fault("walk_forward/tests_join_up")
def windows_without_an_account(world: World) -> None:
    rewrite(world, WALK_FORWARD_EQUITY, lambda rows: rows.clear())


@fault("monte_carlo/quantiles_ascend", "monte_carlo/warehouse_agrees")
def quantiles_crossed(world: World) -> None:
    rewrite(world, MONTE_CARLO, lambda rows: rows.with_columns(p25=pl.col("p75") + 1))


@fault("monte_carlo/quantiles_ascend")
def bands_crossed(world: World) -> None:
    rewrite(world, MONTE_CARLO_BANDS, in_row(9, p05=pl.col("p95") + 1))


@fault("monte_carlo/quantiles_ascend")
def loss_more_than_certain(world: World) -> None:
    loss = pl.col("measure") == "loss"
    rewrite(world, MONTE_CARLO, lambda rows: rows.with_columns(mean=pl.when(loss).then(1.01).otherwise(pl.col("mean"))))


@fault("monte_carlo/quantiles_ascend", "monte_carlo/resamples_the_result", "monte_carlo/median_within_bands")
def not_resampled(world: World) -> None:
    rewrite(world, MONTE_CARLO, lambda rows: rows.clear())


@fault("monte_carlo/median_within_bands")
def bands_of_another_capital(world: World) -> None:
    rewrite(world, MONTE_CARLO_BANDS, lambda rows: rows.with_columns(pl.selectors.float() * 2))


@fault("monte_carlo/median_within_bands")
def bands_cut_short(world: World) -> None:
    rewrite(world, MONTE_CARLO_BANDS, lambda rows: rows.head(-1))


@fault("monte_carlo/resamples_the_result")
def resampled_a_night_before(world: World) -> None:
    rewrite(world, MONTE_CARLO, lambda rows: rows.with_columns(last_session=pl.lit(XNYS.offset(DAY, -1))))


@fault("parameter_sweeps/all_parts_there")
def part_missing(world: World) -> None:
    rewrite(world, SWEEP_PAIRS, lambda rows: rows.clear(), configuration=CROSS, chunk="2-of-2")


@fault("parameter_sweeps/all_parts_there")
def part_of_a_night_before(world: World) -> None:
    before = pl.lit(XNYS.offset(DAY, -1))
    changed = {"configuration": CROSS, "chunk": "2-of-2"}
    rewrite(world, SWEEP_PAIRS, lambda rows: rows.with_columns(last_session=before), **changed)


@fault("parameter_sweeps/all_parts_there")
def part_of_another_configuration(world: World) -> None:
    changed = {"configuration": CROSS, "chunk": "1-of-2"}
    rewrite(world, SWEEP_PAIRS, lambda rows: rows.with_columns(configuration_hash=pl.lit("0" * 64)), **changed)


@fault("parameter_sweeps/all_parts_there", "parameter_sweeps/warehouse_agrees")
def not_summed_up(world: World) -> None:
    rewrite(world, PARAMETER_SWEEPS, lambda rows: rows.clear())


@fault("parameter_sweeps/configured_set_swept")
def another_set_traded(world: World) -> None:
    rewrite(world, PARAMETER_SWEEPS, lambda rows: rows.with_columns(configured=pl.lit(value=False)))


@fault("parameter_sweeps/not_isolated")
def lone_peak(world: World) -> None:
    below = pl.col("median_sharpe") - FAR_BELOW - 0.01
    rewrite(world, PARAMETER_SWEEPS, lambda rows: rows.with_columns(neighbourhood_min=below))


@fault("strategy_comparison/every_pair_compared", "strategy_comparison/warehouse_agrees")
def pair_missing(world: World) -> None:
    rewrite(world, STRATEGY_COMPARISON, lambda rows: rows.clear())


@fault("strategy_comparison/every_pair_compared")
def pair_without_a_result(world: World) -> None:
    rewrite(world, BACKTEST_EQUITY, lambda rows: rows.clear())


@fault("strategy_comparison/figures_in_bounds")
def correlation_above_one(world: World) -> None:
    rewrite(world, STRATEGY_COMPARISON, lambda rows: rows.with_columns(correlation=pl.lit(1.1)))


@fault("strategy_comparison/figures_in_bounds")
def interval_the_wrong_way_round(world: World) -> None:
    rewrite(world, STRATEGY_COMPARISON, lambda rows: rows.with_columns(low=pl.col("high"), high=pl.col("low")))


@fault("backtests/warehouse_agrees_on_backtest_trades")
def trade_changed_in_the_warehouse(world: World) -> None:
    change_warehouse(world, "UPDATE backtest_trades SET profit = profit + 1 WHERE number = 1")


def on_page(world: World, change: Callable[[str], str]) -> None:
    """Write the page of the moving-average cross anew, changed."""
    place = place_of(US, CROSS)
    page = files.text_of(world.settings, place)
    assert change(page) != page
    files.put_text(world.settings, place, change(page))


@fault("backtest_reports/page_is_whole")
def page_missing(world: World) -> None:
    Path(world.settings.lake_root.removeprefix("file://"), place_of(US, CROSS)).unlink()


@fault("backtest_reports/page_is_whole")
def page_cut_short(world: World) -> None:
    on_page(world, lambda page: page[: len(page) // 2])


@fault("backtest_reports/page_is_whole")
def page_that_fetches(world: World) -> None:
    on_page(world, lambda page: page.replace("</body>", '<script src="https://example.org/chart.js"></script></body>'))


@fault("backtest_reports/page_is_whole")
def page_not_marked(world: World) -> None:
    on_page(world, lambda page: page.replace("SIMULATED", "Real"))


@pytest.mark.parametrize("plant", FAULTS, ids=[plant.__name__ for plant in FAULTS])
def test_a_planted_fault_is_found(plant: Plant, site: Site) -> None:
    """And not held against the configuration that has none."""
    world = site.world(final_at(US, DAY))
    try:
        plant(world)
        said = {name: look(world, name) for name in FAULTS[plant]}
        assert {name: finding.says for name, finding in said.items() if finding.passed} == {}
        if plant not in OF_BOTH:
            said = {name: look(world, name, REVERSION) for name in FAULTS[plant] if name.startswith(OF_EACH)}
            assert {name: finding.says for name, finding in said.items() if not finding.passed} == {}
    finally:
        world.close()


OF_EACH = ("backtests/", "walk_forward/", "monte_carlo/", "backtest_reports/")
OF_BOTH = {bars_of_a_later_session, trade_changed_in_the_warehouse}


def test_every_check_has_a_fault_that_it_finds() -> None:
    """A check that cannot fail checks nothing."""
    assert {name for names in FAULTS.values() for name in names} == {
        f"{check.asset}/{check.name}" for check in RESULT_CHECKS
    }


def test_what_was_computed_is_ranked_by_the_run_that_compares_it(site: Site) -> None:
    execute(site, backtest_runs.comparison_name(US), marts=True)
    world = site.world(final_at(US, DAY))
    try:
        board = world.warehouse.query("SELECT * FROM marts.strategy_leaderboard ORDER BY strategy_rank")
        stored = latest_results(world, US).sort("deflated_sharpe", "sharpe", descending=True)
    finally:
        world.close()
    assert board["configuration"].to_list() == stored["configuration"].to_list()
    assert board["deflated_sharpe"].to_list() == stored["deflated_sharpe"].to_list()
    for name in ("walk_forward_mean_sharpe", "probability_of_loss", "drawdown_p05", "nearest_correlation"):
        assert board[name].null_count() == 0, name
    assert sorted(board["nearest_configuration"]) == NAMES
    assert board["is_current"].all()
