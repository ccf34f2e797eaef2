"""The kill switch, as far as it is thrown by a setting or a file; its database flag is in `storage/live_store.py`.

What belongs here: asking whether trading is halted. What does not: what a halt does (`session.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from trading_pipeline.settings import Settings


def halted_by(settings: Settings) -> Callable[[], str | None]:
    """Why trading is halted, asked anew at each call; None where it is not.

    A setting holds for as long as the process that read it; the file for as long as it is there, and its first line is
    the reason. A file that cannot be read halts all the same.
    """

    def halted() -> str | None:
        if settings.trading_halted:
            return "TRADING_HALTED is set"
        file = settings.halt_file
        if not file.exists():
            return None
        try:
            said = file.read_text(encoding="utf-8").strip().splitlines()
        except (OSError, UnicodeDecodeError):
            said = []
        return said[0] if said else f"there is a file {file.name}"

    return halted
