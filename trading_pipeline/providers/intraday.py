"""What every source of bars shorter than a session promises.

What belongs here: the protocol and the frame of an answer. What does not: resampling and phases
(`research/intraday/`), and anything of one provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal, Protocol

import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.providers.base import Failure, Progress, Quota
from trading_pipeline.tables import MOMENT

Interval = Literal["1m", "5m", "15m"]
MINUTES: dict[Interval, int] = {"1m": 1, "5m": 5, "15m": 15}

_PRICES = ("open", "high", "low", "close", "volume")
INTRADAY_SCHEMA = pl.Schema(
    [("symbol", pl.String()), ("started_at", MOMENT), *((name, pl.Float64()) for name in _PRICES)]
)


@dataclass
class IntradayBatch:
    """What a provider said. Every symbol asked for is in `bars` or in `failures`.

    bars: `INTRADAY_SCHEMA`, one row per symbol and start, sorted by them, pre- and post-market included; prices as the
        provider tells them now (split-adjusted where `basis` says so), volume in shares, null where it tells none. A
        bar that has not ended at `now` is included: the caller knows the clock and marks it as forming. So is what a
        provider gets wrong: a bar whose prices are null, one that begins off the grid of its interval. What a provider
        lists for a minute without a trade (nulls all along) is no bar.
    duplicates: `INTRADAY_SCHEMA`, further rows of a symbol and start that `bars` already holds; never dropped unseen.
    """

    bars: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=INTRADAY_SCHEMA))
    duplicates: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=INTRADAY_SCHEMA))
    failures: list[Failure] = field(default_factory=list)
    http_calls: int = 0
    basis: Literal["split_adjusted", "as_traded"] = "split_adjusted"


class IntradayProvider(Protocol):
    """A source of intraday bars.

    name: its key in the settings. lag: how long after its end a bar is final. quota: what it allows.
    """

    name: str
    lag: timedelta
    quota: Quota

    def covers(self, symbol: str) -> bool:
        """Whether this provider is the one to ask for `symbol`."""
        ...

    def reach(self, interval: Interval) -> timedelta | None:
        """How far back from now it tells bars of this interval; None: without limit, as far as it has them."""
        ...

    def intraday_bars(
        self,
        market: Market,
        symbols: Sequence[str],
        sessions: Sequence[date],
        interval: Interval,
        *,
        now: datetime,
        since: datetime | None = None,
        progress: Progress | None = None,
    ) -> IntradayBatch:
        """Bars of `symbols` on `sessions`, pre- and post-market included, up to `now`, from `since` on where given.

        A failing symbol becomes a `Failure`, never an exception. `LiveOnly` where `sessions` are beyond its reach.
        """
        ...
