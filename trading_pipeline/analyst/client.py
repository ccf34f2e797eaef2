"""One question to one model over the real client, and what came of it.

What belongs here: the SDK, its errors and its usage figures. What does not: whom to ask (`words.py`).

Words are asked for with `messages.parse`. An answer that is no JSON, as a refusal is, makes it raise before anybody
sees what was paid: so the response is noted by a hook of the transport as it comes in, and usage and stop reason are
read from there.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError

from trading_pipeline.analyst.answer import Words
from trading_pipeline.analyst.prices import price_of
from trading_pipeline.analyst.prompt import prefix

if TYPE_CHECKING:
    import anthropic

MOST_TOKENS = 1500
"""Tokens an answer may have: the longest texts that are accepted need about 1,000."""

CHARACTERS_A_TOKEN = 3
"""Fewer than English has (about 4): what a call may cost is estimated too high rather than too low."""


@dataclass(frozen=True)
class Reply:
    """What came of a question.

    outcome: `answered`, `refused`, `truncated`, `invalid`, `overloaded`, `timeout`, `denied` (key or request not
    accepted) or `unreachable`. words: the answer, unchecked but for its shape; None unless answered. Tokens are 0 where
    none were reported.
    """

    model: str
    outcome: str
    words: Words | None = None
    stop_reason: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost: float = 0.0


def most_it_can_cost(model: str, question: str) -> float:
    """US dollars: everything written to the cache, and an answer as long as allowed."""
    tokens = (len(prefix()) + len(question)) // CHARACTERS_A_TOKEN + 1
    return price_of(model).cost(0, MOST_TOKENS, 0, tokens)


class Client:
    """Asks Claude. May be used by several threads at once; `close` it at the end.

    base_url: None for what ANTHROPIC_BASE_URL says, or Anthropic's own. seconds: how long an answer may take. Nothing
    is asked twice by the client itself: a busy model is not waited for.
    """

    def __init__(self, key: SecretStr, base_url: str | None, seconds: float) -> None:
        import anthropic
        import httpx2

        self._seen = threading.local()
        timeout = httpx2.Timeout(seconds, connect=min(seconds, 5.0))
        transport = anthropic.DefaultHttpxClient(timeout=timeout, event_hooks={"response": [self._note]})
        self._client = anthropic.Anthropic(
            api_key=key.get_secret_value(), base_url=base_url, timeout=timeout, max_retries=0, http_client=transport
        )

    def __repr__(self) -> str:
        return "Client()"

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def ask(self, model: str, question: str) -> Reply:
        """One question; every failure is an outcome, none is raised."""
        import anthropic

        self._seen.body = None
        try:
            message = self._client.messages.parse(
                model=model,
                max_tokens=MOST_TOKENS,
                system=[{"type": "text", "text": prefix(), "cache_control": {"type": "ephemeral"}}],
                messages=[{"role": "user", "content": question}],
                output_format=Words,
            )
        except (ValidationError, ValueError):
            return self._reply(model, None)
        except anthropic.APITimeoutError:
            return Reply(model, "timeout", cost=most_it_can_cost(model, question))
        except anthropic.APIConnectionError:
            return Reply(model, "unreachable")
        except anthropic.APIStatusError as error:
            return Reply(model, _refused_by_status(error))
        except anthropic.AnthropicError:
            return self._reply(model, None)
        return self._reply(model, message.parsed_output)

    def _reply(self, model: str, words: Words | None) -> Reply:
        body = self._seen.body if isinstance(self._seen.body, dict) else {}
        usage = body.get("usage")
        counts = {
            name: _count(usage, key)
            for name, key in (
                ("input_tokens", "input_tokens"),
                ("output_tokens", "output_tokens"),
                ("cache_read_tokens", "cache_read_input_tokens"),
                ("cache_write_tokens", "cache_creation_input_tokens"),
            )
        }
        stop = body.get("stop_reason")
        outcome = {"refusal": "refused", "max_tokens": "truncated", "model_context_window_exceeded": "truncated"}.get(
            str(stop), "answered" if words is not None else "invalid"
        )
        return Reply(
            model,
            outcome,
            words if outcome == "answered" else None,
            None if stop is None else str(stop),
            **counts,
            cost=price_of(model).cost(**counts),
        )

    def _note(self, response: Any) -> None:
        """Keeps the body of this thread's response."""
        response.read()
        try:
            self._seen.body = json.loads(response.content)
        except ValueError:
            self._seen.body = None


def _count(usage: object, key: str) -> int:
    value = usage.get(key) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value >= 0 else 0


def _refused_by_status(error: anthropic.APIStatusError) -> str:
    """A busy or broken server may be well behind another model; a request it does not accept will not be."""
    status = error.status_code
    return "overloaded" if status in (408, 409, 429) or status >= 500 else "denied"
