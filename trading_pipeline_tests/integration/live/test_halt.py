"""The kill switch as a person throws and lifts it: what is said of what it does not reach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trading_pipeline.launch import halt_trading
from trading_pipeline.settings import Settings
from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline.world import World
from trading_pipeline_tests.live_sessions import SESSION


@pytest.fixture
def settings(tmp_path: Path, warehouse: Warehouse) -> Iterator[Settings]:
    settings = Settings(state_dir=tmp_path, database_url=warehouse.url, _env_file=None)
    yield settings
    halt_trading(settings, None)


def test_a_halt_says_where_no_loop_is_there_to_cancel_what_waits(settings: Settings) -> None:
    said = halt_trading(settings, "a bad feeling")
    assert said.startswith("Trading is halted: a bad feeling. No loop leads the book")
    world = World(settings)
    with LiveStore(world.warehouse).leading(SESSION):
        assert halt_trading(settings, "again") == "Trading was halted already: a bad feeling."
    world.close()


def test_a_halt_that_is_lifted_says_what_halts_still(settings: Settings) -> None:
    halt_trading(settings, "a bad feeling")
    settings.halt_file.parent.mkdir(parents=True, exist_ok=True)
    settings.halt_file.write_text("stop it\n", encoding="utf-8")
    assert halt_trading(settings, None) == f"The halt is lifted, but {settings.halt_file} still halts: stop it."
    settings.halt_file.unlink()
    assert halt_trading(settings, None) == "Trading was not halted."
    by_setting = settings.model_copy(update={"trading_halted": True})
    assert "TRADING_HALTED still halts" in halt_trading(by_setting, None)
