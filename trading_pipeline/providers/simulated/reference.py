"""What the simulated provider says beyond bars: fundamentals, statements, earnings, news.

What belongs here: whom a request means and what may be told by `now`. The facts are in `fundamentals.py`, `reports.py`
and `newsroom.py`. Every row carries the `available_at` it has always had and is told from then on, unchanged: a past
session is told today as it was told then, all versions of a report date included. The planted 429 storms and faults of
bars do not touch these answers; they have faults of their own. The indices have neither accounts nor news: they are
answered without rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.providers.base import Failure, Progress
from trading_pipeline.providers.reference import (
    EARNINGS_SCHEMA,
    FUNDAMENTALS_SCHEMA,
    NEWS_SCHEMA,
    STATEMENTS_SCHEMA,
    ReferenceBatch,
)
from trading_pipeline.providers.simulated import fundamentals, reports
from trading_pipeline.providers.simulated.accounts import Books, books_of
from trading_pipeline.providers.simulated.clock import Clock, clock_of
from trading_pipeline.providers.simulated.companies import BENCHMARK, VOLATILITY_INDEX
from trading_pipeline.providers.simulated.draws import Ints
from trading_pipeline.providers.simulated.lives import register_of
from trading_pipeline.providers.simulated.newsroom import newsroom_of
from trading_pipeline.sessions import calendar


class SimulatedReference:
    """The reference data of the simulated markets. Mixed into `SimulatedProvider`."""

    lag: timedelta
    dated = True
    seed: int
    companies: int

    def fundamentals(
        self,
        market: Market,
        symbols: Sequence[str],
        sessions: Sequence[date],
        *,
        now: datetime,
        progress: Progress | None = None,
    ) -> ReferenceBatch:
        """Snapshots of those of `sessions` that are over at `now` and brought news of a company, `FUNDAMENTALS_SCHEMA`.

        A company's snapshot is told about once a week, on reports and on splits (`fundamentals.py`); the one before
        stands in between. `available_at` is the session's close plus `lag`. `UnknownSession` for a date on which the
        exchange does not trade. 120 companies x 560 sessions: 14,200 rows in 0.1 s.
        """
        exchange = calendar(market.exchange)
        books, clock = self._books(market, now)
        asked, batch = self._asked(market, symbols, clock, pl.DataFrame(schema=FUNDAMENTALS_SCHEMA), progress)
        positions = sorted({books.market.position(exchange.require(day)) for day in sessions})
        over = np.array([each for each in positions if each <= clock.finished], dtype=np.int64)
        if asked and len(over):
            batch.rows = fundamentals.snapshots(books, _numbers(asked), list(asked), over, self.lag)
        return batch

    def statements(
        self, market: Market, symbols: Sequence[str], *, now: datetime, progress: Progress | None = None
    ) -> ReferenceBatch:
        """Every item filed by `now`, back to the first report, `STATEMENTS_SCHEMA`; quarterly and annual."""
        books, clock = self._books(market, now)
        asked, batch = self._asked(market, symbols, clock, pl.DataFrame(schema=STATEMENTS_SCHEMA), progress)
        if asked:
            batch.rows = fundamentals.statements(books, _numbers(asked), list(asked), clock.position, now)
        return batch

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
        """Reports that were ever dated from `first` to `last`, every version told by `now`, `EARNINGS_SCHEMA`."""
        books, clock = self._books(market, now)
        asked, batch = self._asked(market, symbols, clock, pl.DataFrame(schema=EARNINGS_SCHEMA), progress)
        if asked:
            batch.rows = reports.earnings(books, _numbers(asked), list(asked), first, last, now)
        return batch

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
        """Articles published after `since` and not after `until`, available by `now`, `NEWS_SCHEMA`.

        One row an article and company it is tagged with, by time of publication. 120 companies x 560 sessions: 10,000
        rows in 0.3 s the first time a process asks, 0.02 s after that.
        """
        books, clock = self._books(market, now)
        asked, batch = self._asked(market, symbols, clock, pl.DataFrame(schema=NEWS_SCHEMA), progress)
        if not asked:
            return batch
        simulated, latest = books.market, len(books.market.sessions) - 1
        # Tomorrow's news may be out tonight.
        low, high = simulated.position(since.date()) - 1, simulated.position(min(until, now).date()) + 1
        articles = newsroom_of(MARKETS[market.name], self.seed, self.companies).articles(low, min(high, latest))
        spelled = pl.DataFrame({"symbol": list(asked), "company": list(asked.values())})
        batch.rows = (
            articles.filter(
                (pl.col("published_at") > since) & (pl.col("published_at") <= until) & (pl.col("available_at") <= now)
            )
            .join(spelled, on="company", how="inner")
            .select(NEWS_SCHEMA.names())
            .sort("published_at", "article_id", "symbol")
        )
        return batch

    def _books(self, market: Market, now: datetime) -> tuple[Books, Clock]:
        clock = clock_of(register_of(MARKETS[market.name], self.seed, self.companies), now, self.lag)
        books = books_of(MARKETS[market.name], self.seed, self.companies)
        return books.reach(max(clock.position, 0)), clock

    def _asked(
        self,
        market: Market,
        symbols: Sequence[str],
        clock: Clock,
        nothing: pl.DataFrame,
        progress: Progress | None,
    ) -> tuple[dict[str, int], ReferenceBatch]:
        """(number of the company of each symbol that means one, the answer without its rows)."""
        register = register_of(MARKETS[market.name], self.seed, self.companies)
        indices = {f"{name}{market.ticker_suffix}" for name in (BENCHMARK, VOLATILITY_INDEX)}
        batch = ReferenceBatch(nothing, http_calls=len(symbols))
        meant: dict[str, int] = {}
        for symbol in dict.fromkeys(symbols):
            company = -1 if symbol in indices else register.asked(symbol, clock.position)
            if not isinstance(company, int):
                batch.failures.append(Failure(symbol, company))
            elif company >= 0:
                meant[symbol] = company
        failed = {failure.symbol for failure in batch.failures}
        batch.answered = tuple(symbol for symbol in dict.fromkeys(symbols) if symbol not in failed)
        if progress is not None:
            for done in range(1, len(symbols) + 1):
                progress(done, len(symbols))
        return meant, batch


def _numbers(asked: dict[str, int]) -> Ints:
    return np.array(list(asked.values()), dtype=np.int64)
