"""The kill switch by setting and by file, and the settings of the loop."""

from __future__ import annotations

from pathlib import Path

from trading_pipeline.live.halting import halted_by
from trading_pipeline.live.loop import LoopSettings
from trading_pipeline.settings import Settings


def test_a_file_halts_for_as_long_as_it_is_there(tmp_path: Path):
    settings = Settings(state_dir=tmp_path, _env_file=None)
    halted = halted_by(settings)
    assert halted() is None
    settings.halt_file.parent.mkdir(parents=True)
    settings.halt_file.touch()
    assert halted() == "there is a file HALT"
    settings.halt_file.write_text("the data looks odd\nmore of it\n")
    assert halted() == "the data looks odd"
    settings.halt_file.write_bytes(b"\xff\xfe\xff")
    assert halted() == "there is a file HALT"
    settings.halt_file.unlink()
    assert halted() is None


def test_a_setting_halts(tmp_path: Path):
    assert halted_by(Settings(state_dir=tmp_path, trading_halted=True, _env_file=None))() == "TRADING_HALTED is set"


def test_the_loop_follows_the_settings():
    settings = Settings(
        live_tick_seconds=30, live_stale_seconds=120, live_log_days=7, portfolio_value=5000, live_validation="claude",
        _env_file=None,
    )  # fmt: skip
    assert LoopSettings.of(settings) == LoopSettings(30, 120, 7, 5000.0, validation=True)
    assert LoopSettings.of(Settings(_env_file=None)) == LoopSettings()
