"""The kill switch as a person throws and lifts it: what is said of what it does not reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from trading_pipeline.clock import system_clock
from trading_pipeline.live.execution import Execution
from trading_pipeline.live.halting import halt_trading
from trading_pipeline.live.loop import Beat
from trading_pipeline.markets import ASX, US
from trading_pipeline.settings import Settings
from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline_tests.live_sessions import SESSION, Day, lead

Throw = Callable[[str | None], str]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path, _env_file=None)


@pytest.fixture
def throw(settings: Settings, warehouse: Warehouse) -> Iterator[Throw]:
    """Throws the switch for a reason, or lifts it."""

    def switch(reason: str | None) -> str:
        return halt_trading(settings, warehouse, reason, system_clock())

    yield switch
    switch(None)


def die_with_an_entry_that_waits(warehouse: Warehouse, book: str) -> None:
    """Leads a session whose entries are far from the market, and dies with the first of them."""

    class Dead(BaseException):
        pass

    def beat(told: Beat) -> None:
        if told.orders:
            raise Dead

    with suppress(Dead):
        patient = replace(Execution(), slack=-0.5, minutes_open=60)
        day = Day.random(minutes=75, seed=17)
        lead(day, warehouse, book=book, execution=patient, heartbeat=beat, heartbeat_ticks=1)


def test_a_halt_says_whether_a_loop_is_there(throw: Throw, warehouse: Warehouse) -> None:
    assert throw("a bad feeling") == (
        "Trading is halted: a bad feeling. No loop leads a book, and no entry waits in any."
    )
    for market in (US, ASX):
        with LiveStore(warehouse, market.book).leading(SESSION):
            assert throw("again") == "Trading was halted already: a bad feeling."


def test_a_halt_says_in_which_markets_entries_wait_that_no_loop_cancels(throw: Throw, warehouse: Warehouse) -> None:
    die_with_an_entry_that_waits(warehouse, ASX.book)
    said = "No loop leads the book paper:asx, where 1 entry waits: cancel what waits at the broker on its own pages."
    assert throw("a bad feeling") == f"Trading is halted: a bad feeling. {said}"
    with LiveStore(warehouse, US.book).leading(SESSION):
        assert throw("again") == f"Trading was halted already: a bad feeling. {said}"
    with LiveStore(warehouse, ASX.book).leading(SESSION):
        assert throw("again") == "Trading was halted already: a bad feeling."


def test_a_halt_that_is_lifted_says_what_halts_still(throw: Throw, settings: Settings, warehouse: Warehouse) -> None:
    throw("a bad feeling")
    settings.halt_file.parent.mkdir(parents=True, exist_ok=True)
    settings.halt_file.write_text("stop it\n", encoding="utf-8")
    assert throw(None) == f"The halt is lifted, but {settings.halt_file} still halts: stop it."
    settings.halt_file.unlink()
    assert throw(None) == "Trading was not halted."
    by_setting = settings.model_copy(update={"trading_halted": True})
    assert "TRADING_HALTED still halts" in halt_trading(by_setting, warehouse, None, system_clock())
