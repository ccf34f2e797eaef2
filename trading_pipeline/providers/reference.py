"""What every provider of reference data promises: fundamentals, statements, earnings, news.

What belongs here: the protocols and the shape of the answers. Retries, quotas and typed failures are those of
`base.py`; ids and clocks of receipt are added by whoever stores the rows.

Every answer is a `ReferenceBatch`: a symbol that was asked for ends in the rows or in the failures, and an empty answer
that is an honest one (no news) is neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, Protocol, runtime_checkable

import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.providers.base import Failure, Progress
from trading_pipeline.providers.errors import ProviderError
from trading_pipeline.tables.base import Table
from trading_pipeline.tables.reference import (
    RECEIVED_EARNINGS,
    RECEIVED_FUNDAMENTALS,
    RECEIVED_NEWS,
    RECEIVED_STATEMENTS,
)

# Added on receipt.
_OF_RECEIPT: Final = ("instrument_id", "provider", "known_at", "withdrawn", "published_on")


def _told(table: Table) -> pl.Schema:
    return pl.Schema({name: dtype for name, dtype in table.schema.items() if name not in _OF_RECEIPT})


FUNDAMENTALS_SCHEMA: Final = _told(RECEIVED_FUNDAMENTALS)
STATEMENTS_SCHEMA: Final = _told(RECEIVED_STATEMENTS)
EARNINGS_SCHEMA: Final = _told(RECEIVED_EARNINGS)
NEWS_SCHEMA: Final = _told(RECEIVED_NEWS)


@dataclass
class ReferenceBatch:
    """What a provider answered: rows in one of the schemas above, what failed, and the HTTP calls it took.

    answered: symbols that were answered, rows or not; what was withdrawn can be told only for those.
    """

    rows: pl.DataFrame
    failures: list[Failure] = field(default_factory=list)
    http_calls: int = 0
    answered: tuple[str, ...] = ()


def batch_of(symbols: Sequence[str], answers: Sequence[object], rows: pl.DataFrame, http_calls: int) -> ReferenceBatch:
    """The batch of `rows` where each symbol was asked for alone, and answered unless its answer is a failure."""
    pairs = list(zip(symbols, answers, strict=True))
    return ReferenceBatch(
        rows,
        [Failure(symbol, answer) for symbol, answer in pairs if isinstance(answer, ProviderError)],
        http_calls,
        tuple(symbol for symbol, answer in pairs if not isinstance(answer, ProviderError)),
    )


@runtime_checkable
class FundamentalsProvider(Protocol):
    """Tells snapshots of fundamentals. `dated`: it can tell those of past sessions; the others tell today's alone."""

    name: str
    dated: bool

    def fundamentals(
        self,
        market: Market,
        symbols: Sequence[str],
        sessions: Sequence[date],
        *,
        now: datetime,
        progress: Progress | None = None,
    ) -> ReferenceBatch:
        """Snapshots of `symbols`, `FUNDAMENTALS_SCHEMA`: of each of `sessions` where dated, else of the last alone.

        Raises `LiveOnly` where a provider that is not dated is asked for a session that is over at `now` and
        has been followed by another one's open.
        """
        ...


@runtime_checkable
class StatementsProvider(Protocol):
    """Tells items of financial statements."""

    name: str

    def statements(
        self, market: Market, symbols: Sequence[str], *, now: datetime, progress: Progress | None = None
    ) -> ReferenceBatch:
        """Every item the provider holds of `symbols`, `STATEMENTS_SCHEMA`, nothing available later than `now`."""
        ...


@runtime_checkable
class EarningsProvider(Protocol):
    """Tells report dates, estimates and results."""

    name: str

    def earnings(
        self,
        market: Market,
        symbols: Sequence[str],
        first: date,
        last: date,
        *,
        now: datetime,
        progress: Progress | None = None,
    ) -> ReferenceBatch:
        """Reports of `symbols` dated from `first` to `last` (three months ahead, say), `EARNINGS_SCHEMA`."""
        ...


@runtime_checkable
class NewsProvider(Protocol):
    """Tells articles."""

    name: str

    def news(
        self,
        market: Market,
        symbols: Sequence[str],
        since: datetime,
        until: datetime,
        *,
        now: datetime,
        progress: Progress | None = None,
    ) -> ReferenceBatch:
        """Articles about `symbols` published after `since` and not after `until`, `NEWS_SCHEMA`."""
        ...
