"""The markets this project knows: one row a market, nothing else.

What belongs here: facts of a market that never change with a session. Which days it trades lives in `sessions.py`, who
is a member of what lives in the universe seeds. A third market is one more row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time, timedelta

from trading_pipeline.errors import UnknownName


@dataclass(frozen=True)
class Market:
    """A place where instruments trade.

    name: key prefix of every asset of the market (`us/daily_bars`).
    exchange: ISO 10383 code of the calendar (`XNYS`).
    currency: ISO 4217 code in which its bars are quoted.
    benchmark: ticker that relative strength and beta are measured against.
    volatility_index: ticker of the implied-volatility index, or None where none is quoted.
    universes: keys of the universes that belong to the market.
    ticker_suffix: what every ticker of the market ends in; keeps BHP in New York apart from BHP.AX.
    data_lag: how long after the close a daily bar is final at the providers.
    premarket_at: exchange time at which the session ahead is prepared.
    extended_hours: how long its shares trade before the open and after the close.
    macro: (key of a macro series, ticker) of every one that is followed; a key that starts with `yield_` is a yield in
        per cent a year, every other one an index.
    """

    name: str
    exchange: str
    currency: str
    benchmark: str
    volatility_index: str | None
    universes: tuple[str, ...]
    ticker_suffix: str
    data_lag: timedelta
    premarket_at: time
    extended_hours: tuple[timedelta, timedelta]
    macro: tuple[tuple[str, str], ...]

    @property
    def book(self) -> str:
        """The book that its sessions on paper are written into."""
        return "paper" if self.name == "us" else f"paper:{self.name}"


US = Market(
    name="us",
    exchange="XNYS",
    currency="USD",
    benchmark="SPY",
    volatility_index="^VIX",
    universes=("SPX500", "NASDAQ100", "MEGA_CAP"),
    ticker_suffix="",
    data_lag=timedelta(minutes=90),
    premarket_at=time(8, 30),
    extended_hours=(timedelta(hours=5, minutes=30), timedelta(hours=4)),
    macro=(
        ("benchmark", "SPY"),
        ("volatility_index", "^VIX"),
        ("sp_500", "^GSPC"),
        ("nasdaq_composite", "^IXIC"),
        ("yield_3_months", "^IRX"),
        ("yield_5_years", "^FVX"),
        ("yield_10_years", "^TNX"),
        ("yield_30_years", "^TYX"),
    ),
)
ASX = Market(
    name="asx",
    exchange="XASX",
    currency="AUD",
    benchmark="STW.AX",
    volatility_index=None,
    universes=("ASX200",),
    ticker_suffix=".AX",
    data_lag=timedelta(minutes=90),
    premarket_at=time(8, 30),
    # No trading before the open; the closing auction is at ten past four.
    extended_hours=(timedelta(0), timedelta(minutes=12)),
    macro=(("benchmark", "STW.AX"), ("volatility_index", "^AXVI"), ("asx_200", "^AXJO")),
)

MARKETS: dict[str, Market] = {market.name: market for market in (US, ASX)}


def market_named(name: str) -> Market:
    """The market of that name; `UnknownName` lists the known ones otherwise."""
    try:
        return MARKETS[name]
    except KeyError:
        raise UnknownName.of("market", name, MARKETS) from None
