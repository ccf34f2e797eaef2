"""A session with the analyst's desk behind it: the real SDK against a local server, answers or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from pydantic import SecretStr

from trading_pipeline.analyst.desk import Desk
from trading_pipeline.live.clocks import SimulatedClock
from trading_pipeline.live.loop import LoopSettings, SessionResult
from trading_pipeline.settings import Settings
from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.storage.model_calls import PostgresLedger
from trading_pipeline.tables.live import LLM_VALIDATIONS
from trading_pipeline_tests.claude import KEY, Api, failure, tag_of
from trading_pipeline_tests.live_questions import answering, verdict_of, view_of
from trading_pipeline_tests.live_sessions import MINUTE, SESSION, Day, lead

LOOK = LoopSettings(validation=True)


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.close()


@pytest.fixture(scope="module")
def day() -> Day:
    return Day.random(minutes=75, seed=17)


@dataclass
class Patient(SimulatedClock):
    """A clock that moves on once the desk has nothing under way: the minute between two ticks, in which it answers."""

    now: Any
    desk: Desk | None = None

    def sleep(self, seconds: float) -> None:
        """Wait for the desk, then move on."""
        until = time.monotonic() + 30
        while self.desk is not None and self.desk.open_questions and time.monotonic() < until:
            time.sleep(0.002)
        super().sleep(seconds)


def led(
    day: Day, warehouse: Any, api: Api, answer: Callable[[dict[str, Any]], Any], key: str | None = KEY
) -> SessionResult:
    api.answer = answer
    settings = Settings(
        anthropic_api_key=None if key is None else SecretStr(key), anthropic_base_url=api.url, _env_file=None
    )
    clock = Patient(day.inputs.context.opens_at)
    with Desk(settings, PostgresLedger(warehouse), clock) as desk:
        clock.desk = desk
        return lead(day, warehouse, clock=clock, desk=desk, settings=LOOK)


def saying(verdict: str) -> Callable[[dict[str, Any]], Any]:
    return answering(
        lambda request: view_of() if tag_of(request) == "market" else {**verdict_of(request), "verdict": verdict}
    )


def test_a_veto_keeps_a_signal_from_being_ordered(warehouse, day, api):
    result = led(day, warehouse, api, saying("veto"))
    verdicts = LiveStore(warehouse).read(LLM_VALIDATIONS, SESSION)
    assert result.signals.height == verdicts.height > 0
    # A signal of the last tick that may give one is decided when no entry may be made any more.
    in_time = result.signals.filter(pl.col("tick_at") < day.at(45))
    assert set(in_time["outcome"]) == {"validation"}
    assert set(verdicts["verdict"]) == {"veto"}
    assert result.orders.is_empty()
    assert result.market_analysis.filter(pl.col("source") == "claude").height > 0


def test_a_confirmed_signal_is_ordered_at_the_next_tick(warehouse, day, api):
    result = led(day, warehouse, api, saying("confirm"))
    entries = result.orders.filter(pl.col("role") == "entry").join(result.signals, on="signal_id")
    assert entries.height > 0
    assert (entries["created_at"] - entries["tick_at"]).unique().to_list() == [MINUTE]


@pytest.mark.parametrize("way", ["no key", "a server that fails"])
def test_without_answers_the_rules_hold_and_nothing_waits_longer(warehouse, day, api, way):
    alone = lead(day, warehouse, book="replay:alone", settings=LOOK)
    result = led(day, warehouse, api, lambda request: failure(500, "api_error"), key=None if way == "no key" else KEY)
    for name in ("orders", "fills", "trades", "signals"):
        assert getattr(result, name).equals(getattr(alone, name)), name
    assert set(LiveStore(warehouse).read(LLM_VALIDATIONS, SESSION)["verdict"]) == {"none"}
    assert set(result.market_analysis["source"]) == {"rules"}
