"""The sensor of configurations: what it registers, what it asks for, what it says of files at fault."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from trading_pipeline.backtesting import configurations
from trading_pipeline.definitions import build_definitions
from trading_pipeline.markets import US
from trading_pipeline_tests.backtest_desks import EARLY, Desk, cross
from trading_pipeline_tests.integration.backtesting.conftest import NewSite
from trading_pipeline_tests.promises import QUIET, final_at


class Sensor:
    """The sensor of a desk's configurations, tick by tick as the daemon evaluates it, a minute apart."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.cursor = desk, None
        home = desk.site.folder / "home"
        home.mkdir()
        self.instance = dg.DagsterInstance.local_temp(str(home))
        self.now = final_at(US, EARLY)
        self.definitions = build_definitions(desk.site.settings, open_world=lambda: desk.site.world(self.now))

    def tick(self) -> tuple[list[dg.RunRequest], str]:
        """The runs it asks for, and why it asks for none."""
        self.now += timedelta(minutes=1)
        # As the daemon does it: partitions of a request are looked up by the reference of the instance.
        repository = self.definitions.get_repository_def()
        context = dg.SensorEvaluationContext(
            instance_ref=self.instance.get_ref(),
            last_tick_completion_time=None,
            last_run_key=None,
            cursor=self.cursor,
            repository_name=repository.name,
            repository_def=repository,
            sensor_name="us_configurations",
        )
        data = repository.get_sensor_def("us_configurations").evaluate_tick(context)
        self.cursor = data.cursor
        return list(data.run_requests or []), data.skip_message or ""

    def asked(self) -> list[tuple[str | None, str | None]]:
        """Job and partition of each run it asks for."""
        return [(request.job_name, request.partition_key) for request in self.tick()[0]]

    def registered(self) -> tuple[set[str], set[str]]:
        """Configurations and parts of sweeps that are partitions."""
        names = ("us_backtest_configurations", "us_sweep_parts")
        configured, parts = (set(self.instance.get_dynamic_partitions(name)) for name in names)
        return configured, parts

    def remove(self, name: str) -> None:
        """Take the file of a configuration away."""
        (self.desk.site.settings.backtests / f"{name}.toml").unlink()


@pytest.fixture
def sensor(untouched: Desk, new_site: NewSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sensor:
    """Of a desk with bars; nothing is shipped with it."""
    monkeypatch.setattr(configurations, "SHIPPED", tmp_path)
    return Sensor(Desk(untouched.site.copy_to(new_site()), EARLY))


RUNS = [("us_sweeps", "one/1-of-2"), ("us_sweeps", "one/2-of-2"), ("us_backtests", "one")]


def test_what_is_new_or_changed_is_registered_and_asked_for_once(sensor: Sensor) -> None:
    assert sensor.tick() == ([], "No configuration is new or changed.")
    sensor.desk.keep(cross("one", chunks=2))
    requests, _ = sensor.tick()
    assert [(request.job_name, request.partition_key) for request in requests] == RUNS
    assert sensor.registered() == ({"one"}, {"one/1-of-2", "one/2-of-2"})
    assert sensor.asked() == []

    sensor.desk.keep(cross("two"))
    assert sensor.asked() == [("us_sweeps", "two/1-of-1"), ("us_backtests", "two")]
    sensor.desk.keep("# a remark\n" + cross("two"))
    assert sensor.asked() == []
    for changed in (cross("two", seed=3), cross("two", seed=3, more='title = "Two"')):
        sensor.desk.keep(changed)
        assert sensor.asked() == [("us_sweeps", "two/1-of-1"), ("us_backtests", "two")]
    sensor.desk.keep(cross("one", chunks=3))
    assert sensor.asked() == [*((RUNS[0][0], f"one/{number}-of-3") for number in (1, 2, 3)), RUNS[2]]
    assert sensor.registered()[1] == {"one/1-of-3", "one/2-of-3", "one/3-of-3", "two/1-of-1"}


def test_what_is_gone_is_no_partition_and_new_again_when_it_comes_back(sensor: Sensor) -> None:
    sensor.desk.keep(cross("one", chunks=2))
    sensor.desk.keep(cross("two"))
    sensor.tick()
    sensor.remove("one")
    assert sensor.asked() == []
    assert sensor.registered() == ({"two"}, {"two/1-of-1"})
    sensor.desk.keep(cross("one", chunks=2))
    assert sensor.asked() == RUNS


def test_a_request_may_be_made_again(sensor: Sensor) -> None:
    """Dagster drops a repeated run key for ever: that of a configuration changed there and back has to be another."""
    sensor.desk.keep(cross("one"))
    keys = {request.run_key for request in sensor.tick()[0]}
    sensor.desk.keep(cross("one", seed=1))
    sensor.tick()
    sensor.desk.keep(cross("one"))
    again = {request.run_key for request in sensor.tick()[0]}
    assert len(keys) == len(again) == 2 and not keys & again


def test_files_at_fault_are_told_and_keep_nobody_waiting(sensor: Sensor) -> None:
    sensor.desk.keep(cross("one", chunks=2))
    folder = sensor.desk.site.settings.backtests
    (folder / "torn.toml").write_text("name = ")
    (folder / "wide.toml").write_text(cross("wide").replace("fast = [3, 5, 8], slow", "slow"))
    (folder / "wild.toml").write_text(cross("wild").replace("[3, 5, 8]", "[300]"))
    assert sensor.asked() == [*RUNS, ("us_sweeps", "wide/1-of-1"), ("us_backtests", "wide")]
    requests, why = sensor.tick()
    assert requests == []
    assert why.startswith("No configuration is new or changed. 2 cannot be used: ")
    assert f"{folder / 'torn.toml'}: the configuration is no TOML" in why
    assert f"{folder / 'wild.toml'}: sweep of moving_average_cross: fast cannot be 300" in why
    assert "torn" not in sensor.registered()[0]
    sensor.desk.keep(cross("torn"))
    assert sensor.asked() == [("us_sweeps", "torn/1-of-1"), ("us_backtests", "torn")]


def test_nothing_is_asked_for_before_there_are_bars_enough(sensor: Sensor, new_site: NewSite) -> None:
    """Neither on a desk that never received any, nor of a strategy that looks back further than they reach."""
    empty = Sensor(Desk(new_site(), EARLY))
    empty.desk.keep(cross("one", chunks=2))
    requests, why = empty.tick()
    assert requests == [] and why.startswith("There are no bars yet to backtest on. Waiting: one: it needs 62 sessions")
    assert empty.registered() == (set(), set())

    sensor.desk.keep(cross("one").replace("slow = 20 }", "slow = 200 }"))
    assert sensor.tick() == (
        [], "No configuration is new or changed. Waiting: one: it needs 242 sessions of bars, there are 160."
    )  # fmt: skip
    assert sensor.registered() == (set(), set())
    sensor.desk.keep(cross("one", chunks=2))
    assert sensor.asked() == RUNS


def test_what_it_asks_for_can_be_run(sensor: Sensor) -> None:
    sensor.desk.keep(cross("one", chunks=2))
    for request in sensor.tick()[0][:2]:
        job = sensor.definitions.resolve_job_def(str(request.job_name))
        result = job.execute_in_process(instance=sensor.instance, tags=dict(request.tags), run_config=QUIET)
        assert result.success
    done = sensor.instance.get_materialized_partitions(dg.AssetKey(["us", "parameter_sweeps"]))
    assert done == {"one/1-of-2", "one/2-of-2"}
