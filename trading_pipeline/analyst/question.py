"""What may be asked, and what may come of it: the words that asker, batches and the live desk share.

What belongs here: questions, results, the reasons for having no answer. What does not: asking (`asking.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Generic, Protocol

from pydantic import SecretStr

from trading_pipeline.analyst.ledger import ModelCall
from trading_pipeline.analyst.task import A, Task

REASONS = {
    "no_key": "no key is set",
    "past_session": "a model may know what came after",
    "replay": "no model is asked in a replay",
    "budget": "the budget of the day is used up",
    "refused": "the model refused",
    "overloaded": "the model is overloaded",
    "timeout": "no answer in time",
    "late": "no answer in time",
    "busy": "too many questions are waiting",
    "unreachable": "the model cannot be reached",
    "denied": "the key or the request is not accepted",
    "truncated": "the answer was cut off",
    "invalid": "the answer has not the shape asked for",
    "out_of_range": "the answer has a number out of its range",
    "wrong_company": "the answer is about something else",
    "wrong_action": "the answer suggests another action",
    "wrong_bias": "the answer tells another bias",
    "no_ledger": "the book of calls cannot be reached",
    "stopped": "asking was stopped",
    "failed": "asking failed",
}
"""Why an answer is not used, in words, by outcome."""


class AnalystSettings(Protocol):
    """What of the settings concerns the analyst (`settings.Settings` has it all)."""

    @property
    def anthropic_api_key(self) -> SecretStr | None:
        """Key; None: the rules' words."""

    @property
    def anthropic_base_url(self) -> str | None:
        """Endpoint; None: Anthropic's own."""

    @property
    def claude_screen_model(self) -> str:
        """Model for what matters less."""

    @property
    def claude_finalist_model(self) -> str:
        """Model for what matters more."""

    @property
    def claude_fallback_model(self) -> str:
        """Model where the first refuses or is busy."""

    @property
    def claude_daily_budget(self) -> float:
        """US dollars a day, UTC."""


@dataclass(frozen=True)
class Question(Generic[A]):
    """What is asked: a task about one thing.

    session, instrument_id: what the book files it under. inputs: JSON, frozen. finalist: whether the better model is
    asked. check: the answer as it may be used, or `Unusable`; pure, because stored answers go through it again.
    """

    task: Task[A]
    session: date
    instrument_id: str
    inputs: str
    finalist: bool
    check: Callable[[A], A]

    @cached_property
    def text(self) -> str:
        """What is sent after the prefix."""
        return self.task.question(self.inputs)

    def model(self, settings: AnalystSettings) -> str:
        """The model that is asked first."""
        return settings.claude_finalist_model if self.finalist else settings.claude_screen_model

    def prompt_hash(self, settings: AnalystSettings) -> str:
        """What makes it the same question."""
        return self.task.prompt_hash(self.inputs, self.model(settings))


@dataclass(frozen=True)
class Result(Generic[A]):
    """What came of a question.

    outcome: `answered`, or a key of `REASONS`. answer: checked; None unless answered. call: the last one made for it,
    None where none was. cost: US dollars of all of them.
    """

    outcome: str
    answer: A | None = None
    call: ModelCall | None = None
    cost: float | None = None
