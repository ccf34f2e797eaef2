"""What was asked, what it cost, what was answered: the book that budgets and reruns are kept by.

What belongs here: the record of a call and the protocol of the book. What does not: where it is kept
(`storage/model_calls.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol


@dataclass(frozen=True)
class ModelCall:
    """One call of a model.

    called_at: when it was sent, zone-aware. prompt_hash: of prompt, schema, inputs and the family of the model that was
    to answer first. model: who was asked. Tokens and cost (US dollars) are what the answer reported; where none came
    they are 0, but for a call that timed out: it may have been answered all the same, so its cost is the most it could
    have been. outcome: `answered`, or why its words are not used (`refused`, `overloaded`, `timeout` …). settled:
    asking the same again would bring nothing new. answer: the words as canonical JSON, null unless answered.
    """

    called_at: datetime
    session: date
    instrument_id: str
    prompt_hash: str
    model: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost: float
    stop_reason: str | None
    outcome: str
    settled: bool
    answer: str | None


class Ledger(Protocol):
    """Keeps the calls. May be used by several threads at once."""

    def spent_today(self, now: datetime) -> float:
        """US dollars that the calls of `now`'s day, UTC, have cost."""
        ...

    def settled(self, prompt_hashes: Sequence[str]) -> Mapping[str, ModelCall]:
        """For each hash that was settled, the latest call that settled it."""
        ...

    def record(self, call: ModelCall) -> None:
        """Writes the call down."""
        ...
