"""Results under fire: killed at any write, and computed by two processes at once.

What is there can always be read, a rerun converges to what an undisturbed run comes to, and two runs end as one.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pytest

from trading_pipeline.automation import backtest_runs
from trading_pipeline.markets import US
from trading_pipeline.tables import BACKTEST_TABLES
from trading_pipeline_tests.backtest_desks import EARLY, Desk, cross
from trading_pipeline_tests.integration.backtesting.conftest import NewSite
from trading_pipeline_tests.promises import CLOCKS, Worker

ONLY = ("backtests", "walk_forward", "monte_carlo")
TEXT = cross("cross")


@pytest.fixture(scope="module")
def attacked(untouched: Desk, new_site: NewSite) -> Desk:
    """A desk without results, whose first ones are fought for."""
    desk = Desk(untouched.site.copy_to(new_site()), EARLY)
    desk.keep(TEXT)
    return desk


@pytest.fixture(scope="module")
def workers(attacked: Desk) -> Iterator[tuple[Worker, Worker]]:
    """Two processes that are ready to compute its results."""
    job = backtest_runs.backtests_name(US)
    made = tuple(Worker(attacked.site, job, EARLY, only=ONLY, partition="cross") for _ in range(2))
    yield made
    for worker in made:
        worker.close()


def contents(desk: Desk) -> dict[str, pl.DataFrame]:
    """What lake and warehouse hold of the configuration, without the clocks of writing, in a fixed order."""
    told = {}
    with desk.world() as world:
        for table in BACKTEST_TABLES:
            if "sweep" not in table.name:
                rows = world.lake.read("us", table)
                told[table.name] = rows.filter(pl.col("configuration") == "cross")
            if table.name in (*ONLY, "backtest_trades"):
                told[f"warehouse {table.name}"] = world.warehouse.query(
                    f"SELECT * FROM {table.name} WHERE configuration = 'cross'"
                )
    return {
        name: rows.drop(column for column in CLOCKS if column in rows.columns).sort(
            [column for column in rows.columns if column not in CLOCKS]
        )
        for name, rows in told.items()
    }


def test_killed_at_any_write_what_is_there_can_be_read_and_a_rerun_converges(
    attacked: Desk, workers: tuple[Worker, Worker], early: Desk
) -> None:
    worker = workers[0]
    for write in range(1, 30):
        fate = worker.start(die_at=write, after=write % 2 == 0).end()
        contents(attacked)
        if fate.exit_code == 0:
            assert write > 6 and fate.writes < write
            break
        assert fate.exit_code == -9, fate.complaint
    else:
        raise AssertionError("it never came to an end")
    ours, theirs = contents(attacked), contents(early)
    assert [name for name in theirs if not ours[name].equals(theirs[name])] == []
    assert [name for name, rows in theirs.items() if rows.is_empty()] == ["strategy_comparison"]


def test_two_runs_at_once_end_as_one(attacked: Desk, workers: tuple[Worker, Worker], early: Desk) -> None:
    """Of a configuration that was changed meanwhile, so that both have everything to write."""
    text = TEXT.replace("fast = 5,", "fast = 4,")
    for desk in (attacked, early):
        desk.keep(text)
    fates = [worker.end() for worker in [each.start() for each in workers]]
    assert [fate.exit_code for fate in fates] == [0, 0], [fate.complaint for fate in fates]
    told = contents(attacked)
    assert told["backtests"]["configuration_hash"].n_unique() == 2
    assert told["backtests"].height == told["warehouse backtests"].height == 2

    before = attacked.everything()
    attacked.publish(text)
    after = attacked.everything()
    assert {name: told for name, told in before.items() if "sweep" not in name} == {
        name: told for name, told in after.items() if "sweep" not in name
    }
