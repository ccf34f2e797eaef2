"""What `run` makes of the configurations there are: each its runs, each fault its line, nothing done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import ClassVar

import dagster as dg
import numpy as np
import pytest

from trading_pipeline import launch
from trading_pipeline.automation import backtest_runs
from trading_pipeline.backtesting import configurations, results
from trading_pipeline.errors import InputRefused, UnknownName
from trading_pipeline.markets import US
from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.strategies import base
from trading_pipeline.research.strategies.base import SignalResult, Strategy, StrategyParameters
from trading_pipeline.tables import BACKTESTS
from trading_pipeline_tests.backtest_desks import BARS_FROM, EARLY, Desk, cross
from trading_pipeline_tests.integration.backtesting.conftest import NewSite
from trading_pipeline_tests.promises import XNYS, final_at

DAY = timedelta(days=1)


class _Broken(Strategy):
    """What the strategies at fault share: only these tests register them, and for themselves alone."""

    name: ClassVar[str] = "at_fault"
    description: ClassVar[str] = "At fault."
    Parameters: ClassVar[type[StrategyParameters]] = StrategyParameters

    def __init_subclass__(cls, **keywords: object) -> None:
        """Not registered."""

    def signals(self, panel: MarketPanel) -> SignalResult:
        """Buys everything there is on the first session."""
        entries = np.zeros(panel.shape, dtype=np.bool_)
        entries[0] = panel.traded[0]
        return SignalResult.of(entries, np.zeros(panel.shape, dtype=np.bool_))


del base._STRATEGIES[_Broken.name]


class Raises(_Broken):
    name = "raises"

    def signals(self, panel: MarketPanel) -> SignalResult:
        return 1 / 0  # type: ignore[return-value]


class Misshapen(_Broken):
    name = "misshapen"

    def signals(self, panel: MarketPanel) -> SignalResult:
        return SignalResult.of(*np.zeros((2, panel.shape[0] - 1, panel.shape[1]), dtype=np.bool_))


class Undecided(_Broken):
    name = "undecided"

    def signals(self, panel: MarketPanel) -> SignalResult:
        told = super().signals(panel)
        return SignalResult.of(told.entries, told.exits, confidence=np.full(panel.shape, np.nan))


class Stopped(_Broken):
    name = "stopped"

    def signals(self, panel: MarketPanel) -> SignalResult:
        told = super().signals(panel)
        return SignalResult.of(told.entries, told.exits, stop_distance=np.zeros(panel.shape))


AT_FAULT = (Raises, Misshapen, Undecided, Stopped)
TEXT = """
name = "{name}"
strategy = "{strategy}"
market = "us"
universe = "{universe}"
allocation = {{ minimum_history = 2 }}
"""
SAID = {
    "raises": f"strategy raises failed: ZeroDivisionError: division by zero (sessions {BARS_FROM} to {EARLY})",
    "misshapen": "strategy misshapen: entries must be an array of bool of 160 sessions x",
    "undecided": f"strategy undecided signals a confidence outside 0 to 1: us:Q1001 on {BARS_FROM}, ",
    "stopped": f"strategy stopped signals a stop distance not above 0: us:Q1001 on {BARS_FROM}, ",
    "nowhere": "There is no universe named 'SPX500'. Known: ALL, SIM100, SIM_ALL, SIM_MEGA",
}


def sound(chunks: int = 2) -> str:
    """A configuration with nothing wrong, and one set of parameters to walk forward."""
    return cross("sound", chunks=chunks).replace(", parameters = { fast = [3, 5], slow = [15, 20] }", "")


@pytest.fixture(scope="module")
def shop(untouched: Desk, new_site: NewSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk with one sound configuration, five that fail, one that waits, and a file that is none; none is shipped."""
    desk = Desk(untouched.site.copy_to(new_site()), EARLY)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(configurations, "SHIPPED", tmp_path_factory.mktemp("none"))
        for kind in AT_FAULT:
            patched.setitem(base._STRATEGIES, kind.name, kind)
        desk.keep(sound())
        for kind in AT_FAULT:
            desk.keep(TEXT.format(name=kind.name, strategy=kind.name, universe="ALL"))
        desk.keep(TEXT.format(name="nowhere", strategy="raises", universe="SPX500"))
        desk.keep(cross("patient").replace("slow = 20 }", "slow = 200 }"))
        (desk.site.settings.backtests / "torn.toml").write_text("name = ")
        yield desk


class Till:
    """A site of the command line on a desk, and how often each partition was materialized."""

    def __init__(self, desk: Desk, instance: dg.DagsterInstance, later: timedelta = timedelta(0)) -> None:
        desk.site.settings.dagster_home.mkdir(parents=True, exist_ok=True)
        self.instance, self.desk, self.later = instance, desk, later

    def backtest(self, names: list[str] | None = None, *, compared: bool = False) -> list[str]:
        """The failures, each in its line. compared: whether the comparison and its marts are made, which takes dbt."""
        with self.desk.world(self.later) as world, pytest.MonkeyPatch.context() as patched:
            if not compared:
                patched.setattr(backtest_runs, "overdue", lambda *_: False)
            site = launch.Site(self.desk.site.settings, self.instance, world)
            return [str(failure) for failure in site.backtest(US, names)]

    def made(self) -> Counter[str]:
        """How often each asset was materialized, by asset and partition."""
        told: Counter[str] = Counter()
        for name in ("backtests", "walk_forward", "monte_carlo", "parameter_sweeps", "strategy_comparison"):
            key = dg.AssetKey(["us", name])
            for record in self.instance.fetch_materializations(key, limit=1000).records:
                told[f"{name} {record.partition_key or ''}".strip()] += 1
        return told


@pytest.fixture(scope="module")
def first(shop: Desk) -> tuple[Till, list[str]]:
    """The first `run` on it."""
    counter = Till(shop, dg.DagsterInstance.ephemeral())
    return counter, counter.backtest(compared=True)


def test_each_that_fails_is_one_line_that_names_it_and_the_others_are_computed(
    first: tuple[Till, list[str]], shop: Desk
) -> None:
    counter, failures = first
    assert all("\n" not in line for line in failures)
    for name, said in SAID.items():
        begin = f"us_backtests of {name} failed: us__backtests: {name} cannot be backtested: {said}"
        (line,) = (each for each in failures if each.startswith(begin))
        assert "Traceback" not in line
    (torn,) = (each for each in failures if "torn.toml" in each)
    assert "torn.toml: the configuration is no TOML" in torn
    assert len(failures) == len(SAID) + 1
    assert shop.rows(BACKTESTS)["configuration"].to_list() == ["sound"]
    assert counter.made() == Counter(
        ["backtests sound", "walk_forward sound", "monte_carlo sound", "strategy_comparison"]
        + [f"parameter_sweeps sound/{number}-of-2" for number in (1, 2)]
    )


def test_what_waits_for_bars_is_told_and_is_no_failure(first: tuple[Till, list[str]], shop: Desk) -> None:
    counter, failures = first
    assert not [line for line in failures if "patient" in line]
    with shop.world() as world:
        site = launch.Site(shop.site.settings, counter.instance, world)
        assert site.waiting(US) == "patient waits: it needs 242 sessions of bars, there are 160."
    assert "patient" not in counter.instance.get_dynamic_partitions("us_backtest_configurations")
    with pytest.raises(InputRefused, match="patient cannot be backtested: it needs 242 sessions of bars"):
        counter.backtest(["patient"])
    with pytest.raises(UnknownName, match=r"Known: .*sound"):
        counter.backtest(["unheard-of"])


def test_a_second_run_computes_what_failed_alone(first: tuple[Till, list[str]]) -> None:
    counter, failures = first
    before = counter.made()
    runs = counter.instance.get_runs_count()
    assert [line.partition(". Run ")[0] for line in counter.backtest()] == [
        line.partition(". Run ")[0] for line in failures
    ]
    assert counter.made() == before
    assert counter.instance.get_runs_count() - runs == len(SAID)


def test_names_are_computed_anew_and_what_failed_of_them_is_made_again_by_itself(
    first: tuple[Till, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backtest is up to date; its walk-forward was not, when it was asked for last. Nobody else's fault is told."""
    counter, _ = first

    def down(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(results, "publish_walk_forward", down)
        (failure,) = counter.backtest(["sound"])
        assert "us__walk_forward: " in failure and "No space left on device" in failure
    before = counter.made()
    counter.backtest()
    added = counter.made() - before
    assert {"backtests sound", "walk_forward sound", "monte_carlo sound"} <= set(added)
    assert not [name for name in added if name.startswith("parameter_sweeps")]


def test_the_title_the_parts_and_the_data_are_each_worth_a_new_result(
    first: tuple[Till, list[str]], shop: Desk
) -> None:
    counter, _ = first

    def added(at: timedelta = timedelta(0)) -> list[str]:
        before = counter.made()
        Till(shop, counter.instance, at).backtest()
        return sorted(name for name in counter.made() - before if "sound" in name)

    parts = [f"parameter_sweeps sound/{number}-of-2" for number in (1, 2)]
    everything = ["backtests sound", "monte_carlo sound", *parts, "walk_forward sound"]
    assert added(30 * DAY) == []
    shop.keep(sound() + 'title = "Another title"\n')
    assert added() == everything
    assert added() == []
    shop.keep(sound(chunks=3) + 'title = "Another title"\n')
    assert added() == [f"parameter_sweeps sound/{number}-of-3" for number in (1, 2, 3)]
    shop.revise(shop.instruments[0], XNYS.offset(EARLY, -3), 1.01, final_at(US, EARLY) + timedelta(hours=1))
    assert "backtests sound" in added(DAY)
    assert added(2 * DAY) == []
