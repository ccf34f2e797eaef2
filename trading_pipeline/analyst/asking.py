"""Asking one question: which model, whether the budget allows it, the fallback, and the book.

What belongs here: what is the same for whatever is asked. What does not: which questions there are, and when their
answers are used (`batch.py`, `desk.py`).

Where a model refuses or is busy, the fallback is asked once. A question that was settled before is not asked again: its
answer is used, so a rerun costs nothing and says the same. Every call is in the book: one that was sent and not
answered with the most it can have cost, one the book could not take until it can.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import SecretStr, ValidationError

from trading_pipeline.analyst.client import Client, Reply
from trading_pipeline.analyst.ledger import Ledger, ModelCall
from trading_pipeline.analyst.question import AnalystSettings, Question, Result
from trading_pipeline.analyst.task import A
from trading_pipeline.analyst.texts import Unusable
from trading_pipeline.clock import Clock
from trading_pipeline.errors import TradingPipelineError

CONCURRENCY = 4
SECONDS = 30.0
MOST_FAILURES = 3
"""Unanswered calls in a row after which nobody is asked any more, or for a while."""

_FALL_BACK = ("refused", "overloaded")
_SETTLED = (
    "answered", "refused", "truncated", "invalid", "out_of_range", "wrong_company", "wrong_action", "wrong_bias",
)  # fmt: skip
_UNHEALTHY = ("overloaded", "timeout", "unreachable", "denied")

_log = logging.getLogger(__name__)


Landing = Callable[[Result[A]], None]
"""Told an answer the moment it is there, before it is written down; raises `Unusable` where it comes too late."""


@dataclass
class _UnderWay:
    """A call that was made: `call` is what is booked if nothing more is heard of it."""

    call: ModelCall
    booked: bool = False


class Asker:
    """Asks questions, within the budget. May be used by several threads at once; `close` it at the end.

    key: not empty. seconds: how long an answer may take. share: of the daily budget that may be used up. rest: how
    long nobody is asked after too many failures; None: never again.
    """

    def __init__(
        self,
        settings: AnalystSettings,
        ledger: Ledger,
        clock: Clock,
        key: SecretStr,
        *,
        seconds: float = SECONDS,
        share: float = 1.0,
        rest: timedelta | None = None,
    ) -> None:
        self.settings = settings
        self._ledger, self._clock, self._key = ledger, clock, key
        self._seconds, self._share, self._rest = seconds, share, rest
        self._lock = threading.Lock()
        self._client_lock = threading.Lock()
        self._made: Client | None = None
        self._under_way: dict[object, _UnderWay] = {}
        self._unbooked: list[ModelCall] = []
        self._failures = 0
        self._stopped: tuple[str, datetime] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return "Asker()"

    def close(self) -> None:
        """Books what could not be booked before, as far as the book is there now, and closes the connections."""
        with self._lock:
            self._closed = True
            try:
                self._book_the_unbooked()
            except TradingPipelineError as error:
                lost = sum(call.cost for call in self._unbooked)
                _log.warning("%d calls of %.4f US dollars are in no book: %s", len(self._unbooked), lost, error)
        with self._client_lock:
            if self._made is not None:
                self._made.close()

    def abandon(self) -> None:
        """Books the calls that are under way at the most they can cost, and makes no more; what still comes is lost."""
        with self._lock:
            self._closed = True
            left = [each for each in self._under_way.values() if not each.booked]
            for each in left:
                each.booked = True
        for each in left:
            self._record(each.call)

    def settled(self, questions: Sequence[Question[A]]) -> dict[str, Result[A]]:
        """By prompt hash, what came of those that were settled before, checked as if it had just come in.

        `StorageUnavailable` where the book cannot be read.
        """
        by_hash = {question.prompt_hash(self.settings): question for question in questions}
        calls = self._ledger.settled(sorted(by_hash))
        return {hashed: _recalled(by_hash[hashed], call) for hashed, call in calls.items()}

    def ask(self, question: Question[A], until: datetime | None = None, landing: Landing[A] | None = None) -> Result[A]:
        """Asks, the fallback too where that helps. Never raises for a failure of model, network or ledger.

        until: after it nobody is asked any more, and no answer waited for; None: `seconds` alone bounds it.
        """
        models = list(dict.fromkeys((question.model(self.settings), self.settings.claude_fallback_model)))
        hashed = question.prompt_hash(self.settings)
        result: Result[A] = Result("failed")
        for place, model in enumerate(models):
            seconds, token = self._seconds_until(until), object()
            most = Reply[A](model, "stopped", cost=question.task.most_it_can_cost(model, question.text))
            why_not = "late" if seconds <= 0 else self._reserve(token, self._call(question, hashed, most))
            if why_not is not None:
                # What ends between the two still leaves the first one's reason, which says more.
                return result if place else Result(why_not)
            try:
                reply = self._client().ask(question.task, model, question.text, seconds)
                outcome, answer = self._landed(question, hashed, reply, result.cost or 0.0, landing)
                last = outcome not in _FALL_BACK or place == len(models) - 1
                call = self._call(question, hashed, replace(reply, outcome=outcome), answer)
                call = replace(call, settled=last and outcome in _SETTLED)
                self._book(token, call)
            finally:
                with self._lock:
                    self._under_way.pop(token, None)
            result = Result(outcome, answer, call, (result.cost or 0.0) + reply.cost)
            if last:
                break
        return result

    def warm_up(self) -> None:
        """Loads what the first question needs."""
        self._client()

    def _client(self) -> Client:
        with self._client_lock:
            if self._made is None:
                self._made = Client(self._key, self.settings.anthropic_base_url)
            return self._made

    def _seconds_until(self, until: datetime | None) -> float:
        return self._seconds if until is None else min(self._seconds, (until - self._clock()).total_seconds())

    def _landed(
        self, question: Question[A], hashed: str, reply: Reply[A], before: float, landing: Landing[A] | None
    ) -> tuple[str, A | None]:
        """The outcome of a reply, and the answer if it may be used; before: what was paid for the question so far."""
        if reply.answer is None:
            return reply.outcome, None
        try:
            answer = question.check(reply.answer)
            if landing is not None:
                landing(Result("answered", answer, self._call(question, hashed, reply, answer), before + reply.cost))
        except Unusable as unusable:
            _log.warning("An answer about %s is not used: %s", question.instrument_id, unusable)
            return unusable.reason, None
        return reply.outcome, answer

    def _call(self, question: Question[A], hashed: str, reply: Reply[A], answer: A | None = None) -> ModelCall:
        return ModelCall(
            called_at=self._clock(),
            session=question.session,
            instrument_id=question.instrument_id,
            prompt_hash=hashed,
            model=reply.model,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            cache_read_tokens=reply.cache_read_tokens,
            cache_write_tokens=reply.cache_write_tokens,
            cost=reply.cost,
            stop_reason=reply.stop_reason,
            outcome=reply.outcome,
            settled=False,
            answer=None if answer is None else json.dumps(answer.model_dump(), sort_keys=True, ensure_ascii=False),
        )

    def _reserve(self, token: object, most: ModelCall) -> str | None:
        """Sets the most a call can cost aside; why it must not be made otherwise."""
        with self._lock:
            if self._closed:
                return "stopped"
            if self._stopped is not None:
                reason, since = self._stopped
                if self._rest is None or self._clock() < since + self._rest:
                    return reason
                self._stopped, self._failures = None, 0
            try:
                self._book_the_unbooked()
                spent = self._ledger.spent_today(self._clock())
            except TradingPipelineError as error:
                _log.warning("Nobody is asked any more: %s", error)
                self._stopped = ("no_ledger", self._clock())
                return "no_ledger"
            reserved = sum(each.call.cost for each in self._under_way.values())
            if spent + reserved + most.cost > self.settings.claude_daily_budget * self._share:
                return "budget"
            self._under_way[token] = _UnderWay(most)
            return None

    def _book(self, token: object, call: ModelCall) -> None:
        """Writes the call down, unless it was abandoned meanwhile, and minds the health of the other side."""
        with self._lock:
            self._failures = self._failures + 1 if call.outcome in _UNHEALTHY else 0
            if self._stopped is None and (call.outcome == "denied" or self._failures >= MOST_FAILURES):
                self._stopped = ("stopped", self._clock())
            under_way = self._under_way[token]
            if under_way.booked:
                return
            under_way.booked = True
        self._record(call)

    def _record(self, call: ModelCall) -> None:
        try:
            self._ledger.record(call)
        except TradingPipelineError as error:
            _log.warning("A call could not be written down, nobody is asked any more: %s", error)
            with self._lock:
                self._unbooked.append(call)
                self._stopped = ("no_ledger", self._clock())

    def _book_the_unbooked(self) -> None:
        while self._unbooked:
            self._ledger.record(self._unbooked[0])
            del self._unbooked[0]


def _recalled(question: Question[A], call: ModelCall) -> Result[A]:
    """What a stored call makes of a question; what is stored is checked again, as if it had just come in."""
    if call.outcome != "answered" or call.answer is None:
        return Result(call.outcome, None, call, call.cost)
    try:
        answer = question.check(question.task.answer.model_validate_json(call.answer))
    except ValidationError:
        return Result("invalid", None, call, call.cost)
    except Unusable as unusable:
        return Result(unusable.reason, None, call, call.cost)
    return Result("answered", answer, call, call.cost)
