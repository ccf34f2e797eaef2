"""One question to one model over the real client, and what came of it.

What belongs here: the SDK, its errors and its usage figures. What does not: whom to ask and whether (`asking.py`).

Answers are asked for with `messages.parse`. An answer that is no JSON, as a refusal is, makes it raise before anybody
sees what was paid: so the response is noted by a hook of the transport as it comes in, and usage and stop reason are
read from there.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from pydantic import SecretStr, ValidationError

from trading_pipeline.analyst.prices import price_of
from trading_pipeline.analyst.task import A, Task

if TYPE_CHECKING:
    import anthropic
    import httpx2


@dataclass(frozen=True)
class Reply(Generic[A]):
    """What came of a question.

    outcome: `answered`, `refused`, `truncated`, `invalid`, `overloaded`, `timeout`, `denied` (key or request not
    accepted) or `unreachable`. answer: unchecked but for its shape; None unless answered. Tokens are 0 where none were
    reported. cost: US dollars; the most it could be for a question that was sent and not answered: it may have been
    charged for all the same.
    """

    model: str
    outcome: str
    answer: A | None = None
    stop_reason: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost: float = 0.0


class Client:
    """Asks Claude. May be used by several threads at once; `close` it at the end.

    base_url: None for what ANTHROPIC_BASE_URL says, or Anthropic's own. Nothing is asked twice by the client itself: a
    busy model is not waited for.
    """

    def __init__(self, key: SecretStr, base_url: str | None) -> None:
        import anthropic

        self._seen = threading.local()
        self._client = anthropic.Anthropic(
            api_key=key.get_secret_value(),
            base_url=base_url,
            max_retries=0,
            http_client=anthropic.DefaultHttpxClient(event_hooks={"response": [self._note]}),
        )

    def __repr__(self) -> str:
        return "Client()"

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def ask(self, task: Task[A], model: str, question: str, seconds: float) -> Reply[A]:
        """One question; every failure is an outcome, none is raised.

        seconds: it may take; a body that drips in is cut off with the first piece that comes later.
        """
        import anthropic
        import httpx2

        self._seen.body = None
        self._seen.until = time.monotonic() + seconds
        try:
            message = self._client.messages.parse(
                model=model,
                max_tokens=task.most_tokens,
                system=task.system(),  # type: ignore[arg-type]
                messages=[{"role": "user", "content": question}],
                output_format=task.answer,
                timeout=httpx2.Timeout(seconds, connect=min(seconds, 5.0)),
            )
        except (ValidationError, ValueError):
            return self._reply(task, model, None)
        except anthropic.APIConnectionError as error:
            timed_out = isinstance(error, anthropic.APITimeoutError)
            unsent = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
            cost = 0.0 if isinstance(error.__cause__, unsent) else task.most_it_can_cost(model, question)
            return Reply(model, "timeout" if timed_out else "unreachable", cost=cost)
        except anthropic.APIStatusError as error:
            return Reply(model, _refused_by_status(error))
        except anthropic.AnthropicError:
            return self._reply(task, model, None)
        return self._reply(task, model, message.parsed_output)

    def _reply(self, task: Task[A], model: str, answer: A | None) -> Reply[A]:
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
        for_an_hour = counts["cache_write_tokens"] if task.kept == "1h" else 0
        stop = body.get("stop_reason")
        outcome = {"refusal": "refused", "max_tokens": "truncated", "model_context_window_exceeded": "truncated"}.get(
            str(stop), "answered" if answer is not None else "invalid"
        )
        return Reply(
            model,
            outcome,
            answer if outcome == "answered" else None,
            None if stop is None else str(stop),
            **counts,
            cost=price_of(model).cost(**counts, cache_write_hour_tokens=for_an_hour),
        )

    def _note(self, response: httpx2.Response) -> None:
        """Keeps the body of this thread's response."""
        response.stream = _bounded(response.stream, self._seen.until)
        response.read()
        try:
            self._seen.body = json.loads(response.content)
        except ValueError:
            self._seen.body = None


def _bounded(stream: Any, until: float) -> httpx2.SyncByteStream:
    """The body of a response, `ReadTimeout` once `until` (monotonic seconds) has passed.

    The transport's own limit holds for each piece of it: a body that drips in would never come to an end.
    """
    import httpx2

    class Bounded(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for piece in stream:
                yield piece
                if time.monotonic() > until:
                    raise httpx2.ReadTimeout("the answer was not whole in time")

        def close(self) -> None:
            stream.close()

    return Bounded()


def _count(usage: object, key: str) -> int:
    value = usage.get(key) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value >= 0 else 0


def _refused_by_status(error: anthropic.APIStatusError) -> str:
    """A busy or broken server may be well behind another model; a request it does not accept will not be."""
    status = error.status_code
    return "overloaded" if status in (408, 409, 429) or status >= 500 else "denied"
