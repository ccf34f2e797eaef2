"""Alpaca's trading API through alpaca-py, made safe: bounded, retried without doubling, with typed errors.

What belongs here: HTTP, retries and reading answers. What an order means is in `translation.py`, what to do in
`broker.py`.

What the library does on its own, and what is done about it:

- It tries 429 and 504 again three times, 3 seconds apart, asleep inside the call; that is switched off. Retries are
  ours: bounded by `Patience`, and a submission that may have arrived is looked up by its `client_order_id` first.
- Its session waits for an answer without end; ours has a timeout.
- Its models refuse any value they do not know (a new order status took clients down more than once); raw answers are
  read instead, field by field.
- Its exceptions carry the request with the keys in its headers; none of them leaves this module, nor stays attached as
  the context of one of ours.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import tenacity
from alpaca.common.enums import Sort
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.requests import GetOrderByIdRequest, GetOrdersRequest, OrderRequest
from pydantic import SecretStr
from requests import JSONDecodeError, PreparedRequest, RequestException, Response
from requests.adapters import HTTPAdapter

from trading_pipeline.brokers.alpaca.translation import Activity, Theirs, activity_of, theirs_of
from trading_pipeline.brokers.errors import (
    BrokerAccessRefused,
    BrokerAnswerUnreadable,
    BrokerBusy,
    BrokerError,
    BrokerUnreachable,
)
from trading_pipeline.providers.base import retry_after

Answered = TypeVar("Answered")
Ask = Callable[[Callable[[], Any]], Any]
PAGE = 500
"""Orders a page; the most Alpaca gives."""
ACTIVITIES_PAGE = 100
"""Activities a page; the most Alpaca gives."""
_MARGIN = timedelta(minutes=5)
"""How far our clock may be ahead of Alpaca's before an order of ours is missed in a list."""


@dataclass(frozen=True)
class Patience:
    """How long an answer is waited for.

    attempts: requests for one answer, the first included. first_wait, longest_wait: seconds between two; they double,
    with full jitter; a Retry-After beyond longest_wait is not waited for. connect, read: seconds of one request.
    settle_polls, settle_wait: how often, and how many seconds apart, a cancelled order is looked at until it is over.
    sleep: injectable, so that tests wait for nothing.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 8.0
    connect: float = 3.0
    read: float = 10.0
    settle_polls: int = 10
    settle_wait: float = 0.3
    sleep: Callable[[float], None] = time.sleep


class Refused(Exception):
    """Alpaca answered that it will not do what was asked (4xx). It stays inside `alpaca/`.

    base_price: the market's price that the prices of a bracket were measured against, where it says so.
    """

    def __init__(self, status: int, message: str, base_price: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.base_price = base_price

    @property
    def reason(self) -> str:
        """What it said, for people."""
        measured = f" (the market is at {self.base_price})" if self.base_price else ""
        return f"Alpaca: {self.message}{measured}"

    @property
    def unknown(self) -> bool:
        """There is no such order."""
        return self.status == 404

    @property
    def is_there_already(self) -> bool:
        """An order of this id was submitted before; both spellings have been seen."""
        said = self.message.lower().replace("_", " ")
        return self.status == 422 and "client order id must be unique" in said


class AlpacaClient:
    """The calls we make. Every method raises `BrokerError`, or `Refused` where Alpaca declines."""

    def __init__(self, key: SecretStr, secret: SecretStr, url: str, *, paper: bool, patience: Patience) -> None:
        base = url.rstrip("/").removesuffix("/v2")
        self._secrets = (key.get_secret_value(), secret.get_secret_value())
        self._patience = patience
        self._sdk = TradingClient(*self._secrets, paper=paper, raw_data=True, url_override=base)
        self._sdk._retry = 0
        for prefix in ("http://", "https://"):
            self._sdk._session.mount(prefix, _Bounded(patience.connect, patience.read))

    def account(self) -> dict[str, Any]:
        """The account as Alpaca tells it."""
        return _mapping(self._asked(self._sdk.get_account))

    def submit(self, request: OrderRequest) -> Theirs:
        """The order that stands under the request's `client_order_id`: submitted now, or by an attempt before.

        A submission is repeated only under the same id, and where it may have arrived it is looked up first: Alpaca
        takes an id once. A refusal is believed only where the id is unknown: for an order that was sent before, it may
        be that the buying power is gone, or the position there, because of that very order.
        """
        client_order_id = str(request.client_order_id)
        may_be_there = False

        def attempt() -> Theirs:
            nonlocal may_be_there
            if may_be_there and (found := self._by_client_id(client_order_id, self._once)) is not None:
                return found
            may_be_there = True
            try:
                sent = theirs_of(_mapping(self._once(lambda: self._sdk.submit_order(request))))
                whole = bool(sent.legs) or request.order_class is None
                return sent if whole else (self._by_id(sent.broker_order_id, self._once) or sent)
            except Refused as refusal:
                said = refusal
            found = self._by_client_id(client_order_id, self._once)
            if found is not None:
                return found
            if said.is_there_already:
                raise BrokerAnswerUnreadable(f"Alpaca says that {client_order_id} was submitted before, and has it not")
            raise said

        return self._retried(attempt)

    def by_client_id(self, client_order_id: str) -> Theirs | None:
        """The order with its legs; None where Alpaca knows no such id."""
        return self._by_client_id(client_order_id, self._asked)

    def by_id(self, broker_order_id: str) -> Theirs | None:
        """The order with its legs; None where Alpaca knows no such id."""
        return self._by_id(broker_order_id, self._asked)

    def cancel(self, broker_order_id: str) -> None:
        """Ask for the order to be cancelled. One that is over, or unknown, is left: reading it tells how it ended."""
        try:
            self._asked(lambda: self._sdk.cancel_order_by_id(broker_order_id))
        except Refused as refusal:
            if refusal.status not in (404, 422):
                raise

    def orders_since(self, moment: datetime, symbols: Sequence[str] = ()) -> list[Theirs]:
        """Every order submitted since `moment`, in whatever state, parents with their legs; oldest first."""
        return list(self._orders(QueryOrderStatus.ALL, moment - _MARGIN, symbols))

    def open_orders(self) -> list[Theirs]:
        """Every order that is open now; legs of a filled entry come on their own."""
        return list(self._orders(QueryOrderStatus.OPEN, None, ()))

    def fills_since(self, moment: datetime) -> list[Activity]:
        """Executions since `moment`, oldest first."""
        params: dict[str, Any] = {
            "after": (moment - _MARGIN).astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "direction": "asc",
            "page_size": ACTIVITIES_PAGE,
        }
        found: dict[str, Activity] = {}
        while True:
            page = _list(self._asked(lambda: self._sdk.get("/account/activities/FILL", params)))
            read = [activity_of(_mapping(item)) for item in page]
            new = [item for item in read if item.activity_id not in found]
            found |= {item.activity_id: item for item in new}
            if len(page) < ACTIVITIES_PAGE or not new:
                return sorted(found.values(), key=lambda item: (item.at, item.activity_id))
            params["page_token"] = read[-1].activity_id

    def positions(self) -> list[dict[str, Any]]:
        """What is held, as Alpaca tells it."""
        return [_mapping(item) for item in _list(self._asked(self._sdk.get_all_positions))]

    def _orders(self, status: QueryOrderStatus, since: datetime | None, symbols: Sequence[str]) -> Iterator[Theirs]:
        seen: set[str] = set()
        while True:
            wanted = GetOrdersRequest(
                status=status,
                limit=PAGE,
                after=since,
                direction=Sort.ASC,
                nested=True,
                symbols=sorted(symbols) or None,
            )
            page = [theirs_of(_mapping(item)) for item in _list(self._asked(lambda: self._sdk.get_orders(wanted)))]  # noqa: B023
            new = [item for item in page if item.broker_order_id not in seen]
            yield from new
            seen |= {item.broker_order_id for item in new}
            if len(page) < PAGE or not new:
                return
            # `after` excludes its moment, and several orders may share it.
            since = page[-1].submitted_at - timedelta(microseconds=1)

    def _by_client_id(self, client_order_id: str, ask: Ask) -> Theirs | None:
        found = _found(ask, lambda: self._sdk.get_order_by_client_id(client_order_id))
        # That call leaves out the legs.
        return None if found is None else self._by_id(found.broker_order_id, ask)

    def _by_id(self, broker_order_id: str, ask: Ask) -> Theirs | None:
        return _found(ask, lambda: self._sdk.get_order_by_id(broker_order_id, GetOrderByIdRequest(nested=True)))

    def _asked(self, call: Callable[[], Any]) -> Any:
        """The answer to a call that may be made again."""
        return self._retried(lambda: self._once(call))

    def _retried(self, call: Callable[[], Answered]) -> Answered:
        backoff = tenacity.wait_random_exponential(self._patience.first_wait, self._patience.longest_wait)

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.wait if isinstance(error, _Busy) else None
            return backoff(state) if asked is None else asked

        def worth_it(error: BaseException) -> bool:
            if isinstance(error, _Busy) and (error.wait or 0) > self._patience.longest_wait:
                return False
            return isinstance(error, BrokerError) and error.transient

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(worth_it),
            wait=pause,
            stop=tenacity.stop_after_attempt(self._patience.attempts),
            sleep=self._patience.sleep,
            reraise=True,
        )
        return retrying(call)

    def _once(self, call: Callable[[], Any]) -> Any:
        """One request. Errors are raised outside the handlers: without the library's own, which holds the headers."""
        failure: Exception
        try:
            return call()
        except APIError as error:
            failure = self._failure_of(error.response, str(error))
        except JSONDecodeError:
            failure = BrokerAnswerUnreadable("Alpaca sent what is no JSON")
        except RequestException as error:
            failure = BrokerUnreachable(f"Alpaca was not reached ({type(error).__name__})")
        except (ValueError, TypeError) as error:
            failure = BrokerAnswerUnreadable(f"Alpaca's library cannot read the answer ({type(error).__name__})")
        raise failure

    def _failure_of(self, response: Response | None, said: str) -> Exception:
        status = response.status_code if response is not None else 0
        body = _json(said)
        message = self._masked(str(body.get("message", "")) or f"HTTP {status}")
        if status == 429:
            header = response.headers.get("Retry-After") if response is not None else None
            return _Busy("Alpaca allows no more requests for now", wait=retry_after(header, datetime.now(UTC)))
        if status >= 500 or status in (0, 408):
            return BrokerUnreachable(f"Alpaca answered with HTTP {status}")
        if status == 401 or (status == 403 and body.get("code") in (None, 40110000)):
            return BrokerAccessRefused(f"Alpaca refuses the key ({message})")
        base_price = body.get("base_price")
        return Refused(status, message, None if base_price is None else self._masked(str(base_price)))

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


class _Busy(BrokerBusy):
    """With the seconds Alpaca asks to wait; None where it does not say."""

    def __init__(self, problem: str, remedy: str | None = None, wait: float | None = None) -> None:
        super().__init__(problem, remedy)
        self.wait = wait


class _Bounded(HTTPAdapter):
    """Gives every request a timeout, since the library gives none."""

    def __init__(self, connect: float, read: float) -> None:
        super().__init__()
        self._bounds = (connect, read)

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        kwargs["timeout"] = kwargs.get("timeout") or self._bounds
        return super().send(request, *args, **kwargs)


def _found(ask: Ask, call: Callable[[], Any]) -> Theirs | None:
    try:
        return theirs_of(_mapping(ask(call)))
    except Refused as refusal:
        if refusal.unknown:
            return None
        raise


def _json(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _mapping(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise BrokerAnswerUnreadable(f"Alpaca sent a {type(answer).__name__} where an object was expected")
    return answer


def _list(answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise BrokerAnswerUnreadable(f"Alpaca sent a {type(answer).__name__} where a list was expected")
    return answer
