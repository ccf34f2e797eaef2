"""Who words which row, for how much, and what happens when it goes wrong: the rules' words stand.

What belongs here: routing, the budget, reuse of answers. What does not: the question (`prompt.py`), the checks of an
answer (`answer.py`), the client (`client.py`).

Rows the rules would buy come first and go to the better model, the others to the cheaper one. Where a model refuses or
is busy, the fallback is asked once. A question that was settled before is not asked again: its answer is used, so a
rerun costs nothing and says the same. Sessions of the past are never asked about: a model may know what came after.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, Protocol

import polars as pl
from pydantic import SecretStr, ValidationError

from trading_pipeline.analyst.answer import Unusable, Words, check
from trading_pipeline.analyst.client import Client, Reply, most_it_can_cost
from trading_pipeline.analyst.ledger import Ledger, ModelCall
from trading_pipeline.analyst.prompt import prompt_hash, question
from trading_pipeline.errors import TradingPipelineError
from trading_pipeline.tables.dips import DIP_ANALYSIS

RECENT_DAYS = 7
"""Calendar days before `now` whose sessions may be asked about: a catch-up after a holiday, far from any cut-off."""

CONCURRENCY = 4
SECONDS = 30.0
MOST_FAILURES = 3
"""Unanswered calls in a row after which nobody is asked any more in this run."""

_FALL_BACK = ("refused", "overloaded")
_SETTLED = ("answered", "refused", "truncated", "invalid", "out_of_range", "wrong_company", "wrong_action")
_UNHEALTHY = ("overloaded", "timeout", "unreachable", "denied")

_log = logging.getLogger(__name__)


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
        """Model for rows that are not bought."""

    @property
    def claude_finalist_model(self) -> str:
        """Model for rows that are."""

    @property
    def claude_fallback_model(self) -> str:
        """Model where the first refuses or is busy."""

    @property
    def claude_daily_budget(self) -> float:
        """US dollars a day, UTC."""


def write_words(
    rows: pl.DataFrame, settings: AnalystSettings, ledger: Ledger, now: datetime, *, seconds: float = SECONDS
) -> pl.DataFrame:
    """`rows` with Claude's words where they could be had; same rows, order and columns (those of `dip_analysis`).

    Where they could: why, outlook, play, risks, the size inside its bounds, source `claude`, model, prompt_hash, tokens
    and cost are Claude's. Where not: the row as it was, and source_reason says why: `no_key`, `past_session`, `budget`,
    `refused`, `overloaded`, `timeout`, `unreachable`, `denied`, `truncated`, `invalid`, `out_of_range`,
    `wrong_company`, `wrong_action`, `no_ledger`, or `stopped` after too many failures. action and cause never change.

    now: zone-aware; the day of the budget, and what the past is measured from. seconds: how long an answer may take.
    Never raises for a failure of the model, the network or the ledger.
    """
    if now.tzinfo is None:
        raise ValueError(f"naive moment {now!r}: pass a zone-aware datetime")
    rows = DIP_ANALYSIS.conform(rows)
    key = settings.anthropic_api_key
    if key is None or not key.get_secret_value():
        return rows.with_columns(source_reason=pl.lit("no_key"))
    earliest = now.date() - timedelta(days=RECENT_DAYS)
    told = list(rows.iter_rows(named=True))
    desk = _Desk(settings, ledger, now, frozenset(row["ticker"] for row in told))
    recent = [row for row in told if row["session"] >= earliest]
    written = desk.write(recent, key, seconds)
    past = {"source_reason": "past_session"}
    merged = [row | written.get((row["session"], row["instrument_id"]), past) for row in told]
    return pl.DataFrame(merged, schema=DIP_ANALYSIS.schema)


class _Desk:
    """The work on one batch of rows."""

    def __init__(self, settings: AnalystSettings, ledger: Ledger, now: datetime, tickers: frozenset[str]) -> None:
        self._settings, self._ledger, self._now, self._tickers = settings, ledger, now, tickers
        self._lock = threading.Lock()
        self._reserved = 0.0
        self._failures = 0
        self._stopped: str | None = None

    def write(
        self, rows: list[dict[str, Any]], key: SecretStr, seconds: float
    ) -> dict[tuple[Any, str], dict[str, Any]]:
        """What changes in each row, by session and instrument."""
        hashes = {self._key(row): prompt_hash(row["inputs"], self._model(row)) for row in rows}
        done: dict[tuple[Any, str], dict[str, Any]] = {}
        try:
            settled = self._ledger.settled(sorted(set(hashes.values())))
        except TradingPipelineError as error:
            _log.warning("Nobody is asked for words: %s", error)
            return {place: {"source_reason": "no_ledger"} for place in hashes}
        for row in rows:
            call = settled.get(hashes[self._key(row)])
            if call is not None:
                done[self._key(row)] = self._from_call(row, call)
        open_rows = [row for row in rows if self._key(row) not in done]
        if not open_rows:
            return done
        # The best first: if the budget ends, it ends on rows nobody buys.
        open_rows.sort(key=lambda row: (row["action"] != "buy", -row["session"].toordinal(), row["instrument_id"]))
        client = Client(key, self._settings.anthropic_base_url, seconds)
        try:
            # The first question of each model writes the prompt cache that the others read.
            first = {self._model(row): row for row in reversed(open_rows)}
            heads = [row for row in open_rows if first[self._model(row)] is row]
            tails = [row for row in open_rows if first[self._model(row)] is not row]
            for row in heads:
                done[self._key(row)] = self._word(client, row, hashes[self._key(row)])
            with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="analyst") as pool:
                answers = pool.map(lambda row: self._word(client, row, hashes[self._key(row)]), tails)
                done.update(zip((self._key(row) for row in tails), answers, strict=True))
        finally:
            client.close()
        return done

    @staticmethod
    def _key(row: Mapping[str, Any]) -> tuple[Any, str]:
        return row["session"], row["instrument_id"]

    def _model(self, row: Mapping[str, Any]) -> str:
        buys = row["action"] == "buy"
        return self._settings.claude_finalist_model if buys else self._settings.claude_screen_model

    def _word(self, client: Client, row: dict[str, Any], hashed: str) -> dict[str, Any]:
        """Asks about one row, the fallback too where that helps."""
        models = [self._model(row)]
        if self._settings.claude_fallback_model not in models:
            models.append(self._settings.claude_fallback_model)
        asked = question(row["inputs"])
        changed: dict[str, Any] = {"source_reason": "failed"}
        for place, model in enumerate(models):
            reserved = most_it_can_cost(model, asked)
            reason = self._reserve(reserved)
            if reason is not None:
                # A budget that ends between the two still leaves the first one's reason, which says more.
                return changed if place else {"source_reason": reason}
            try:
                reply = client.ask(model, asked)
                words, outcome = self._checked(reply, row)
                last = outcome not in _FALL_BACK or place == len(models) - 1
                changed = self._book(reply, words, outcome, row, hashed, settled=last and outcome in _SETTLED)
            finally:
                self._release(reserved)
            if last:
                break
        return changed

    def _checked(self, reply: Reply, row: Mapping[str, Any]) -> tuple[Words | None, str]:
        if reply.words is None:
            return None, reply.outcome
        try:
            return check(reply.words, row, self._tickers), "answered"
        except Unusable as unusable:
            _log.warning("Words for %s are not used: %s", row["ticker"], unusable)
            return None, unusable.reason

    def _reserve(self, cost: float) -> str | None:
        """Sets the most a call can cost aside; why it must not be made otherwise."""
        with self._lock:
            if self._stopped is not None:
                return self._stopped
            try:
                spent = self._ledger.spent_today(self._now)
            except TradingPipelineError as error:
                _log.warning("Nobody is asked for words any more: %s", error)
                self._stopped = "no_ledger"
                return self._stopped
            if spent + self._reserved + cost > self._settings.claude_daily_budget:
                return "budget"
            self._reserved += cost
            return None

    def _release(self, cost: float) -> None:
        with self._lock:
            self._reserved -= cost

    def _book(
        self, reply: Reply, words: Words | None, outcome: str, row: dict[str, Any], hashed: str, *, settled: bool
    ) -> dict[str, Any]:
        """Writes the call down and says what changes in the row."""
        answer = None if words is None else json.dumps(words.model_dump(), sort_keys=True, ensure_ascii=False)
        call = ModelCall(
            called_at=self._now,
            session=row["session"],
            instrument_id=row["instrument_id"],
            prompt_hash=hashed,
            model=reply.model,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            cache_read_tokens=reply.cache_read_tokens,
            cache_write_tokens=reply.cache_write_tokens,
            cost=reply.cost,
            stop_reason=reply.stop_reason,
            outcome=outcome,
            settled=settled,
            answer=answer,
        )
        with self._lock:
            self._failures = self._failures + 1 if outcome in _UNHEALTHY else 0
            if outcome == "denied" or self._failures >= MOST_FAILURES:
                self._stopped = self._stopped or "stopped"
        try:
            self._ledger.record(call)
        except TradingPipelineError as error:
            _log.warning("A call could not be written down, nobody is asked any more: %s", error)
            with self._lock:
                self._stopped = "no_ledger"
        return self._from_call(row, call)

    def _from_call(self, row: dict[str, Any], call: ModelCall) -> dict[str, Any]:
        """What a call makes of a row; what is stored is checked again, as if it had just come in."""
        if call.outcome != "answered" or call.answer is None:
            return {"source_reason": call.outcome}
        try:
            words = check(Words.model_validate_json(call.answer), row, self._tickers)
        except ValidationError:
            return {"source_reason": "invalid"}
        except Unusable as unusable:
            return {"source_reason": unusable.reason}
        value = json.loads(row["inputs"])["portfolio"]["value"]
        low, high = (min(max(size, row["size_low"]), row["size_high"]) for size in (words.size_low, words.size_high))
        return {
            "why": words.why,
            "outlook": words.outlook,
            "play": words.play,
            "risks": "\n".join(words.risks),
            "size_low": low,
            "size_high": high,
            "size_low_amount": round(low * value, 2),
            "size_high_amount": round(high * value, 2),
            "source": "claude",
            "source_reason": None,
            "model": call.model,
            "prompt_hash": call.prompt_hash,
            "input_tokens": call.input_tokens,
            "output_tokens": call.output_tokens,
            "cache_read_tokens": call.cache_read_tokens,
            "cache_write_tokens": call.cache_write_tokens,
            "cost": call.cost,
        }
