"""Many questions at once, before the day begins: asked side by side, the most important first.

What belongs here: the order of a batch. What does not: asking one question (`asking.py`), and questions of a session
that runs (`desk.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from trading_pipeline.analyst.asking import CONCURRENCY, SECONDS, Asker
from trading_pipeline.analyst.ledger import Ledger
from trading_pipeline.analyst.question import AnalystSettings, Question, Result
from trading_pipeline.analyst.task import A
from trading_pipeline.clock import fixed_clock
from trading_pipeline.errors import TradingPipelineError

RECENT_DAYS = 7
"""Calendar days before `now` whose sessions may be asked about: a catch-up after a holiday, far from any cut-off."""

_log = logging.getLogger(__name__)


def ask_all(
    questions: Sequence[Question[A]],
    settings: AnalystSettings,
    ledger: Ledger,
    now: datetime,
    *,
    seconds: float = SECONDS,
    share: float = 1.0,
) -> list[Result[A]]:
    """What came of each question; the most important first: if the budget ends, it ends on the last.

    now: zone-aware; the day of the budget, and what the past is measured from. Sessions of the past are never asked
    about: a model may know what came after.
    """
    if now.tzinfo is None:
        raise ValueError(f"naive moment {now!r}: pass a zone-aware datetime")
    key = settings.anthropic_api_key
    if key is None or not key.get_secret_value():
        return [Result("no_key") for _ in questions]
    earliest = now.date() - timedelta(days=RECENT_DAYS)
    results: list[Result[A] | None] = [
        None if question.session >= earliest else Result("past_session") for question in questions
    ]
    asker = Asker(settings, ledger, fixed_clock(now), key, seconds=seconds, share=share)
    try:
        recent = [place for place, result in enumerate(results) if result is None]
        try:
            settled = asker.settled([questions[place] for place in recent])
        except TradingPipelineError as error:
            _log.warning("Nobody is asked: %s", error)
            return [result or Result("no_ledger") for result in results]
        for place in recent:
            results[place] = settled.get(questions[place].prompt_hash(settings))
        left = [place for place in recent if results[place] is None]
        # The first question of each model writes the prompt cache that the others read.
        heads = list({questions[place].model(settings): place for place in reversed(left)}.values())
        heads.sort()
        for place in heads:
            results[place] = asker.ask(questions[place])
        tails = [place for place in left if place not in heads]
        with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="analyst") as pool:
            for place, result in zip(tails, pool.map(lambda place: asker.ask(questions[place]), tails), strict=True):
                results[place] = result
    finally:
        asker.close()
    return [result or Result("failed") for result in results]
