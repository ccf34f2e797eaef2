"""What every source of daily bars looks like, and how many symbols are asked for without losing one.

What belongs here: the protocol, the frames of an answer, and the one fetch loop (concurrency, quota, retries, circuit
breaker) that the HTTP adapters share. What does not: anything of one provider.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal, Protocol, TypeVar, runtime_checkable

import polars as pl
import tenacity

from trading_pipeline.markets import Market
from trading_pipeline.providers.errors import EmptyWindow, ProviderError, RateLimited
from trading_pipeline.research.ordering import in_order

Basis = Literal["split_adjusted", "as_traded"]
Progress = Callable[[int, int], None]
Request = TypeVar("Request")
Answered = TypeVar("Answered")

BARS_SCHEMA = pl.Schema(
    {
        "symbol": pl.String,
        "session": pl.Date,
        "open": pl.Float64,
        "high": pl.Float64,
        "low": pl.Float64,
        "close": pl.Float64,
        "adj_close": pl.Float64,
        "volume": pl.Float64,
        "currency": pl.String,
    }
)
ACTIONS_SCHEMA = pl.Schema(
    {"symbol": pl.String, "session": pl.Date, "kind": pl.String, "value": pl.Float64, "currency": pl.String}
)


@dataclass(frozen=True)
class SymbolRequest:
    """Daily bars of one symbol, in the provider's spelling, from session `first` to `last`, both included."""

    symbol: str
    first: date
    last: date


@dataclass(frozen=True)
class Failure:
    """A symbol that was asked for and not answered, and why."""

    symbol: str
    error: ProviderError


@dataclass(frozen=True)
class Quota:
    """What a provider allows: tokens a second, how many may be saved up, and how many requests may be under way."""

    rate_per_second: float
    burst: float
    concurrency: int


class Throttle(Protocol):
    """A token bucket: `acquire` waits until `cost` tokens are there, and takes them."""

    def acquire(self, cost: float = 1.0) -> None:
        """Wait for `cost` tokens and take them."""
        ...


def _empty_bars() -> pl.DataFrame:
    return pl.DataFrame(schema=BARS_SCHEMA)


def _empty_actions() -> pl.DataFrame:
    return pl.DataFrame(schema=ACTIONS_SCHEMA)


@dataclass
class DailyBarsBatch:
    """What a provider said to a batch of requests. Every symbol asked for is in `bars` or in `failures`.

    bars: `BARS_SCHEMA`, at most one row per symbol and session, sorted by them; prices in units of `currency` (as the
        provider spells it, `GBp` included), volume in shares; null where the provider said nothing. A bar of a session
        that is not over is included: the caller knows the clock and marks it provisional.
    actions: `ACTIONS_SCHEMA`; kind split (value: new shares per old), dividend or capital_gain (amount per share, in
        the row's own currency); session is the ex-date.
    duplicates: `BARS_SCHEMA`, further rows of a symbol and session that `bars` already holds; never dropped unseen.
    basis: `split_adjusted` where prices, volumes and amounts are divided by every split the provider knows of,
        `as_traded` where they are what was printed that day.
    """

    bars: pl.DataFrame = field(default_factory=_empty_bars)
    actions: pl.DataFrame = field(default_factory=_empty_actions)
    failures: list[Failure] = field(default_factory=list)
    http_calls: int = 0
    basis: Basis = "split_adjusted"
    duplicates: pl.DataFrame = field(default_factory=_empty_bars)


class BarProvider(Protocol):
    """A source of daily bars.

    name: its key in the settings and in the `provider` column.
    lag: how long after the close its bar of that session is final.
    quota: what it allows; the throttle and the concurrency follow it.
    """

    name: str
    lag: timedelta
    quota: Quota

    def covers(self, symbol: str) -> bool:
        """Whether this provider is the one to ask for `symbol`."""
        ...

    def daily_bars(
        self, requests: Sequence[SymbolRequest], *, now: datetime, progress: Progress | None = None
    ) -> DailyBarsBatch:
        """Bars and actions of every request; `now` is the caller's clock, zone-aware.

        A failing symbol becomes a `Failure`, never an exception, so that one cannot cost the others their answer.
        `progress(done, total)` is called after each symbol.
        """
        ...

    def latest_session(self, market: Market, now: datetime) -> date | None:
        """The last session it can tell of; None: as far as the calendar allows."""
        ...


@runtime_checkable
class UniverseProvider(Protocol):
    """A provider that brings universes of its own."""

    def universe_keys(self, market: Market) -> tuple[str, ...]:
        """Keys of its universes in that market."""
        ...

    def members(self, market: Market, universe: str, sessions: Sequence[date]) -> pl.DataFrame:
        """Members on each of `sessions`: columns session, universe, ticker, sector, source."""
        ...


@dataclass(frozen=True)
class SymbolHistory:
    """One symbol's answer: frames of `BARS_SCHEMA` and `ACTIONS_SCHEMA`."""

    bars: pl.DataFrame
    actions: pl.DataFrame


class CallMeter:
    """Passes every HTTP request of one batch: waits for the quota, then counts it."""

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        self._lock = threading.Lock()
        self.calls = 0

    def admit(self, cost: float = 1.0) -> None:
        """Wait until one more request may be made, and count it."""
        self._throttle.acquire(cost)
        with self._lock:
            self.calls += 1


@dataclass(frozen=True)
class RetryPolicy:
    """How a transient failure is tried again. Permanent ones never are.

    attempts: requests per symbol, the first included.
    first_wait, longest_wait: seconds; waits double from the first with full jitter. A provider that asks for more than
        `longest_wait` (Retry-After) is not waited for: this symbol and the rest fail as rate limited.
    breaker: after so many symbols in a row failed transiently, the rest fail at once as the last one did.
    sleep, monotonic: injectable, so that tests wait for nothing.
    """

    attempts: int = 4
    first_wait: float = 1.0
    longest_wait: float = 60.0
    breaker: int = 5
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic


class _Breaker:
    """What the threads of one batch know together: whether to go on, and from when on."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._not_before = 0.0
        self.opened_by: ProviderError | None = None

    def hold(self, seconds: float) -> None:
        """The provider asked for silence: no thread makes a request before it is over."""
        with self._lock:
            self._not_before = max(self._not_before, self._policy.monotonic() + seconds)

    def wait(self) -> None:
        """Sleep until requests are welcome again."""
        with self._lock:
            seconds = self._not_before - self._policy.monotonic()
        if seconds > 0:
            self._policy.sleep(seconds)

    def answered(self) -> None:
        """The provider answered, whatever it said: it is up."""
        with self._lock:
            self._in_a_row = 0

    def failed(self, error: ProviderError) -> None:
        """A symbol was given up; opens the breaker at the limit, or where asking on is pointless."""
        with self._lock:
            self._in_a_row += 1
            pointless = error.concerns_all or _asked_to_wait(error) > self._policy.longest_wait
            if pointless or self._in_a_row >= self._policy.breaker:
                self.opened_by = self.opened_by or error


def fetch_each(
    requests: Sequence[SymbolRequest],
    fetch: Callable[[SymbolRequest], SymbolHistory],
    *,
    concurrency: int,
    basis: Basis,
    meter: CallMeter,
    policy: RetryPolicy | None = None,
    progress: Progress | None = None,
) -> DailyBarsBatch:
    """Ask for every symbol with at most `concurrency` at a time; each one ends in the bars or in the failures.

    `fetch` gets one request and returns its history or raises a `ProviderError`; it passes `meter` before each HTTP
    request. An answer without bars is an `EmptyWindow`; its actions are kept all the same. What `fetch` raises beyond
    `ProviderError` (a bug, an unreachable throttle) ends the batch. `progress` is called in the caller's thread.
    """
    answers = ask_each(
        requests, lambda request: request.symbol, fetch, concurrency=concurrency, policy=policy, progress=progress
    )
    return _assemble(requests, answers, basis, meter)


def ask_each(
    requests: Sequence[Request],
    symbol_of: Callable[[Request], str],
    ask: Callable[[Request], Answered],
    *,
    concurrency: int,
    policy: RetryPolicy | None = None,
    progress: Progress | None = None,
) -> list[Answered | ProviderError]:
    """What `ask` answers to each request, in their order, or the failure it ended in: at most `concurrency` at a time.

    Retries, waits and the breaker are those of `policy`; the rest is as in `fetch_each`, for answers of any kind.
    """
    policy = policy or RetryPolicy()
    breaker = _Breaker(policy)

    def one(request: Request) -> Answered | ProviderError:
        if breaker.opened_by is not None:
            return _not_asked(symbol_of(request), breaker.opened_by)
        try:
            answer = _with_retries(request, ask, breaker, policy)
        except ProviderError as error:
            if error.transient or error.concerns_all:
                breaker.failed(error)
            else:
                breaker.answered()
            return error
        breaker.answered()
        return answer

    answers: dict[int, Answered | ProviderError] = {}
    with ThreadPoolExecutor(max(1, concurrency), thread_name_prefix="fetch") as pool:
        places: dict[Future[Answered | ProviderError], int] = {
            pool.submit(one, request): place for place, request in enumerate(requests)
        }
        pending = set(places)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    answers[places[future]] = future.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
                if progress is not None:
                    progress(len(answers), len(requests))
    return [answers[place] for place in range(len(requests))]


def _with_retries(
    request: Request, ask: Callable[[Request], Answered], breaker: _Breaker, policy: RetryPolicy
) -> Answered:
    backoff = tenacity.wait_random_exponential(multiplier=policy.first_wait, max=policy.longest_wait)

    def worth_it(error: BaseException) -> bool:
        if not isinstance(error, ProviderError) or not error.transient or breaker.opened_by is not None:
            return False
        return _asked_to_wait(error) <= policy.longest_wait

    def pause(state: tenacity.RetryCallState) -> float:
        asked = _asked_to_wait(state.outcome.exception() if state.outcome else None)
        if not asked:
            return backoff(state)
        breaker.hold(asked)
        # Jitter on top of what was asked: otherwise every thread and process comes back in the same instant.
        return asked + backoff(state) / 10

    def attempt() -> Answered:
        breaker.wait()
        return ask(request)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(worth_it),
        wait=pause,
        stop=tenacity.stop_after_attempt(policy.attempts),
        sleep=policy.sleep,
        reraise=True,
    )
    return retrying(attempt)


def _asked_to_wait(error: BaseException | None) -> float:
    return (error.retry_after or 0.0) if isinstance(error, RateLimited) else 0.0


def _not_asked(symbol: str, cause: ProviderError) -> ProviderError:
    problem = f"{symbol} was not asked for, because the requests before it failed: {cause.problem}"
    if isinstance(cause, RateLimited):
        return RateLimited(problem, cause.remedy, cause.retry_after)
    return type(cause)(problem, cause.remedy)


def _assemble(
    requests: Sequence[SymbolRequest],
    answers: Sequence[SymbolHistory | ProviderError],
    basis: Basis,
    meter: CallMeter,
) -> DailyBarsBatch:
    bars, actions, failures = [_empty_bars()], [_empty_actions()], []
    for request, answer in zip(requests, answers, strict=True):
        if isinstance(answer, ProviderError):
            failures.append(Failure(request.symbol, answer))
            continue
        bars.append(answer.bars)
        actions.append(answer.actions)
        if answer.bars.is_empty():
            failures.append(Failure(request.symbol, no_bars(request)))
    unique, duplicates = split_duplicates(pl.concat(bars))
    return DailyBarsBatch(
        bars=unique,
        actions=pl.concat(actions).unique(maintain_order=True).sort("symbol", "session", "kind"),
        failures=failures,
        http_calls=meter.calls,
        basis=basis,
        duplicates=duplicates,
    )


def no_bars(request: SymbolRequest) -> EmptyWindow:
    """The failure of a request that was answered without a single bar."""
    return EmptyWindow(f"{request.symbol} has no bar from {request.first} to {request.last}")


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds to wait that a Retry-After header asks for, given in seconds or as a date; None where it says nothing."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Progress of one batch of several: `before` of all `total` requests were done when it began."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)


def split_duplicates(bars: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(first row of each symbol and session, sorted by them; the further rows), both of `BARS_SCHEMA`."""
    if in_order(bars, ["symbol", "session"]):
        return bars, bars.clear()
    bars = bars.sort("symbol", "session", maintain_order=True)
    first = bars.select(pl.struct("symbol", "session").is_first_distinct()).to_series()
    return bars.filter(first), bars.filter(~first)
