"""A kind of question: its stable prefix, the shape of its answers, and what makes two questions the same.

What belongs here: what all kinds share. What does not: the texts of one kind (`prompt.py`, `market.py` …), and sending
(`client.py`).

A prefix is the same to the byte for every question of its kind, so that the prompt cache holds it: no date, no name, no
setting is in it. What is asked about comes from outside in part (headlines): it travels as JSON inside a tag that it
cannot close, and the prefix says that it is data.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

from trading_pipeline.analyst.prices import price_of
from trading_pipeline.tables.base import Column

A = TypeVar("A", bound=BaseModel)

CHARACTERS_A_TOKEN = 3
"""Fewer than English has (about 4): what a call may cost is estimated too high rather than too low."""

_DATED = re.compile(r"-\d{8}$")


@dataclass(frozen=True)
class Task(Generic[A]):
    """A kind of question.

    tag: what the data stand in. prefix: the stable part, long enough for a cache (models cache nothing below a floor of
    up to 4,096 tokens). answer: the shape. most_tokens: an answer may have. kept: how long the cache keeps the prefix:
    an hour costs twice the input to write instead of 1.25 times, and pays where questions are minutes apart.
    """

    tag: str
    prefix: Callable[[], str]
    answer: type[A]
    most_tokens: int
    kept: Literal["5m", "1h"] = "5m"

    def system(self) -> list[dict[str, Any]]:
        """The prefix as the block that is cached."""
        lifetime = {} if self.kept == "5m" else {"ttl": self.kept}
        return [{"type": "text", "text": self.prefix(), "cache_control": {"type": "ephemeral", **lifetime}}]

    def question(self, inputs: str) -> str:
        """The part that differs: `inputs` as data, with < and > escaped: they cannot close the tag."""
        data = inputs.replace("<", "\\u003c").replace(">", "\\u003e")
        return f"<{self.tag}>\n{data}\n</{self.tag}>"

    def prompt_hash(self, inputs: str, model: str) -> str:
        """SHA-256 of prefix, schema, inputs and the family of `model`."""
        schema = json.dumps(self.answer.model_json_schema(), sort_keys=True)
        parts = (self.prefix(), schema, family(model), self.question(inputs))
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()

    def most_it_can_cost(self, model: str, question: str) -> float:
        """US dollars: everything written to the cache, and an answer as long as allowed."""
        tokens = (len(self.prefix()) + len(question)) // CHARACTERS_A_TOKEN + 1
        return price_of(model).cost(0, self.most_tokens, 0, tokens, tokens if self.kept == "1h" else 0)


def family(model: str) -> str:
    """A model's id without its date: the same model, released under two ids."""
    return _DATED.sub("", model)


def meanings(*columns: Iterable[Column]) -> str:
    """A line a column with what it means, by name; of two with one name, the first."""
    told: dict[str, Column] = {}
    for group in columns:
        for column in group:
            told.setdefault(column.name, column)
    return "\n".join(f"- {name}: {column.description}" for name, column in sorted(told.items()))


def rules_of(package: str) -> str:
    """The text of a package's `rules.toml`: each number with its reason."""
    return resources.files(package).joinpath("rules.toml").read_text(encoding="utf-8")


def explained(task: str, columns: Iterable[Iterable[Column]], package: str, examples: str) -> str:
    """A prefix: the task, what the columns mean, the rules of a package that decided, examples."""
    return "\n".join(
        (
            task,
            "What the fields mean, wherever they stand in the object:",
            meanings(*columns),
            "\nThe rules that decided, each number with its reason:",
            rules_of(package),
            examples,
        )
    )
