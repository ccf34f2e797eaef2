"""Questions of a session that runs: asked in the background, answered by a deadline or not at all.

What belongs here: threads, the queue, deadlines. What does not: what is asked (`market.py`, `validation.py`), budget,
fallback and book (`asking.py`).

A tick calls `ask` and `answers_by`, which wait for nothing: no network, no database, no answer. Every question gets
exactly one result, at the latest at its deadline; what comes afterwards is booked as late and not used. Without a key,
and in a replay, no thread is started and every result is there at once: the same each time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Generic

from trading_pipeline.analyst.asking import CONCURRENCY, SECONDS, Asker
from trading_pipeline.analyst.ledger import Ledger
from trading_pipeline.analyst.question import AnalystSettings, Question, Result
from trading_pipeline.analyst.task import A
from trading_pipeline.analyst.texts import Unusable
from trading_pipeline.clock import Clock, system_clock
from trading_pipeline.errors import TradingPipelineError

PAPER = "paper"
"""The one book whose session runs now. Every other is a replay: a model may know what came after."""

MOST_WAITING = 64
"""Questions that may wait to be asked: about what four threads can ask between two ticks of a minute."""

REST = timedelta(minutes=10)
"""How long nobody is asked after too many failures: a provider's bad hour costs some twenty calls, not hundreds."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked(Generic[A]):
    """A question of a tick.

    about: what it is about, as its table needs it. asked_at: the tick. deadline: last moment an answer is used at. Both
    zone-aware.
    """

    question: Question[A]
    about: Mapping[str, Any]
    asked_at: datetime
    deadline: datetime


@dataclass(frozen=True)
class Told(Generic[A]):
    """What came of it. answered_at: when the answer came; None where there is none to be used."""

    asked: Asked[A]
    result: Result[A]
    answered_at: datetime | None


@dataclass
class _Ticket(Generic[A]):
    asked: Asked[A]
    result: Result[A] | None = None
    landed_at: datetime | None = None
    given: bool = False


class Desk:
    """Asks in the background. One thread calls `ask`, `answers_by` and `close`; close it at the end.

    clock: the one that ticks and deadlines are of. book: that of the session; for any but `paper` nobody is asked.
    seconds: how long one answer may take. most_waiting: from which on questions are turned away.
    """

    def __init__(
        self,
        settings: AnalystSettings,
        ledger: Ledger,
        clock: Clock = system_clock,
        *,
        book: str = PAPER,
        seconds: float = SECONDS,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._clock, self._most_waiting = clock, most_waiting
        self._lock = threading.Lock()
        self._tickets: list[_Ticket[Any]] = []
        self._waiting = 0
        self._futures: set[Future[None]] = set()
        self._asker: Asker | None = None
        key = settings.anthropic_api_key
        self._why_not = "replay" if book != PAPER else None if key and key.get_secret_value() else "no_key"
        if self._why_not is None and key is not None:
            self._asker = Asker(settings, ledger, clock, key, seconds=seconds, rest=REST)
            self._pool = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="analyst-desk")
            # Importing the SDK takes a second of computing, which no tick should share.
            self._pool.submit(self._asker.warm_up)

    def __repr__(self) -> str:
        return f"Desk({self._why_not or 'open'})"

    def __enter__(self) -> Desk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def open_questions(self) -> int:
        """How many questions have no result yet."""
        with self._lock:
            return sum(ticket.result is None for ticket in self._tickets)

    def ask(self, asked: Asked[Any]) -> None:
        """Hands a question in and returns at once."""
        ticket, future = _Ticket(asked), None
        with self._lock:
            self._tickets.append(ticket)
            if self._why_not is not None:
                ticket.result = Result(self._why_not)
            elif self._waiting >= self._most_waiting:
                ticket.result = Result("busy")
            else:
                self._waiting += 1
                future = self._pool.submit(self._work, ticket)
                self._futures.add(future)
        if future is not None:
            # Outside of the lock, which the callback takes: a future that is over calls back at once.
            future.add_done_callback(partial(self._done, ticket))

    def answers_by(self, tick_at: datetime) -> list[Told[Any]]:
        """What came of questions up to a tick, in the order they were asked; each is told once.

        Told are those whose answer was there by `tick_at`, those that will have none, and those whose deadline is over.
        """
        told, left = [], []
        with self._lock:
            for ticket in self._tickets:
                over = ticket.asked.deadline <= tick_at
                landed = ticket.result is not None and (ticket.landed_at is None or ticket.landed_at <= tick_at)
                if not (landed or over):
                    left.append(ticket)
                    continue
                ticket.given = True
                result = ticket.result or Result[Any]("late")
                told.append(Told(ticket.asked, result, ticket.landed_at if result.outcome == "answered" else None))
            self._tickets = left
        return told

    def close(self, patience: float | None = None) -> None:
        """Asks nobody any more, waits for the answers under way, and books them; their threads are then gone.

        patience: seconds to wait; None: as long as an answer may take. Calls still open after it are booked at the most
        they can cost, and their threads end by themselves when their answer's time is over. Questions without a
        result are `stopped`. Closing again changes nothing.
        """
        with self._lock:
            self._why_not = self._why_not or "stopped"
        if self._asker is None:
            return
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            under_way = set(self._futures)
        unfinished = wait(under_way, timeout=patience).not_done
        if unfinished:
            self._asker.abandon()
        else:
            self._pool.shutdown(wait=True)
        self._asker.close()
        with self._lock:
            for ticket in self._tickets:
                ticket.result = ticket.result or Result("stopped")

    def _work(self, ticket: _Ticket[A]) -> None:
        """What a thread does for one question."""
        with self._lock:
            self._waiting -= 1
        try:
            result = self._result(ticket)
        except Unusable as unusable:
            result = Result(unusable.reason)
        with self._lock:
            if ticket.result is None:
                ticket.result, ticket.landed_at = result, self._clock()

    def _done(self, ticket: _Ticket[Any], future: Future[None]) -> None:
        """Whatever went wrong in a thread, the tick goes on without an answer; the log says what broke."""
        error = None if future.cancelled() else future.exception()
        with self._lock:
            self._futures.discard(future)
            if error is not None and ticket.result is None:
                ticket.result, ticket.landed_at = Result("failed"), self._clock()
        if error is not None:
            _log.error("A question about %s failed", ticket.asked.question.instrument_id, exc_info=error)

    def _result(self, ticket: _Ticket[A]) -> Result[A]:
        asker, question = self._asker, ticket.asked.question
        assert asker is not None
        try:
            settled = asker.settled([question])
        except TradingPipelineError as error:
            _log.warning("Nobody is asked: %s", error)
            return Result("no_ledger")
        for result in settled.values():
            if result.outcome == "answered":
                self._land(ticket, result)
            return result
        return asker.ask(question, ticket.asked.deadline, lambda result: self._land(ticket, result))

    def _land(self, ticket: _Ticket[A], result: Result[A]) -> None:
        """Takes an answer in as of now; `Unusable` where its time is over."""
        with self._lock:
            now = self._clock()
            if ticket.given or ticket.result is not None or now > ticket.asked.deadline:
                raise Unusable("late", "it came after its deadline")
            ticket.result, ticket.landed_at = result, now
