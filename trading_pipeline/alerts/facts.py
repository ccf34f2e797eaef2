"""What alerts of every kind have in common: the facts that the outbox keeps, and the words that a channel is given.

What belongs here: the shape of both. What does not: the facts and words of one kind (`dips.py`, `falls.py`), and how a
channel arranges words (`discord.py`, `mail.py`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict

from trading_pipeline.reports import wording
from trading_pipeline.settings import World
from trading_pipeline.storage.outbox import Alert


def _storable(value: object) -> object:
    """Without the one character that PostgreSQL keeps in no text."""
    return value.replace("\x00", "") if isinstance(value, str) else value


def _known(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


Number = Annotated[float | None, BeforeValidator(_known)]
Text = Annotated[str, BeforeValidator(_storable)]
Tone = Literal["good", "caution", "bad", "news"]
"""How an alert looks: an advice to buy, to wait or to stay away, or news without advice."""


@dataclass(frozen=True)
class Words:
    """An alert in plain words, none of them marked up, in the order of importance.

    headline: what happened. lead: short remarks to it. text: sentences. advice: what to do in a word, and in sentences;
    None: nothing is advised. facts: names and short values. lists: names and their lines. source: whose words these
    are.
    """

    headline: str
    tone: Tone
    lead: tuple[str, ...]
    text: str
    source: str
    advice: tuple[str, str] | None = None
    facts: tuple[tuple[str, str], ...] = ()
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()


class AlertFacts(BaseModel, ABC):
    """The facts of one alert, as they were when it was written down, and how they are put."""

    # JSON has no infinity, and PostgreSQL takes no other.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    kind: ClassVar[str]
    """As the outbox knows it."""

    world: World
    market: Text
    session: date
    instrument_id: Text
    ticker: Text

    def alert(self) -> Alert:
        """As the outbox keeps it."""
        payload = self.model_dump(mode="json")
        return Alert(self.kind, self.market, self.session, self.instrument_id, self.ticker, payload)

    @abstractmethod
    def words(self) -> Words:
        """The alert as any channel tells it."""

    @abstractmethod
    def summary(self, others: Sequence[Self]) -> str:
        """What a message of this alert and `others`, of one kind, market and session, is about."""

    @property
    def fictional(self) -> bool:
        """Whether the company is an invented one."""
        return self.world == "simulated"


def subject(alerts: Sequence[AlertFacts]) -> str:
    """What a message of these alerts, of one kind, market and session, is about: one line with the session."""
    first, *others = alerts
    marked = "SIMULATED: " if first.fictional else ""
    return " ".join(f"{marked}{first.summary(others)}, {wording.short_day(first.session)}".split())


def lines(text: str) -> tuple[str, ...]:
    """The lines of a text that say something."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())
