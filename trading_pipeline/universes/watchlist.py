"""The watchlist: a text file a person edits, kept as dated entries.

What belongs here: reading the file, what changed since the entries we have, and who was on the list on a session. What
does not: storing the entries (table `received_watchlist`) and reading the file from disk.

The file holds one ticker a line; `#` starts a comment. A ticker belongs to the market whose suffix it ends in (BHP.AX
to asx), every other one to the market without a suffix.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

import polars as pl

from trading_pipeline.errors import InputRefused
from trading_pipeline.instruments import Instruments, registry
from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import RECEIVED_WATCHLIST, UNIVERSE_MEMBERS

WATCHLIST: Final = "WATCHLIST"
_SOURCE = "watchlist file"
_TICKER = re.compile(r"\^?[A-Z0-9]{1,10}([.\-/=][A-Z0-9]{1,5}){0,2}")


def parse_watchlist(text: str, market: Market, name: str = "watchlist.txt") -> list[str]:
    """Tickers of `market` in our own spelling, in the file's order, each once.

    `InputRefused` names every malformed line of the file `name` and what is wrong with it.
    """
    tickers: list[str] = []
    faults: list[str] = []
    instruments = registry(market)
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        entry = line.split("#", 1)[0].strip()
        if not entry:
            continue
        if len(entry.split()) > 1 or "," in entry or ";" in entry:
            faults.append(f"line {number}: {entry[:40]!r} is more than one word")
        elif not _TICKER.fullmatch(entry.upper()):
            faults.append(f"line {number}: {entry[:40]!r} is not a ticker")
        elif _market_of(entry.upper()) == market.name:
            tickers.append(instruments.spelling(entry))
    if faults:
        raise InputRefused(f"{name}: {'; '.join(faults)}", "Write one ticker a line; # starts a comment")
    return list(dict.fromkeys(tickers))


def watchlist_changes(
    entries: pl.DataFrame, tickers: Sequence[str], market: Market, on: datetime, instruments: Instruments | None = None
) -> pl.DataFrame:
    """The rows of `received_watchlist` that turn the list as it was into `tickers`; empty when nothing changed.

    entries: all earlier rows. on: when the file was read, zone-aware. A change is in force from the first session that
    had not closed by then.
    """
    exchange = calendar(market.exchange)
    session = exchange.offset(exchange.latest_closed(on), 1)
    ids = (instruments or registry(market)).ids_of(tickers, exchange.local_date(on))
    wanted = pl.DataFrame(
        {"instrument_id": ids, "ticker": list(tickers)}, schema={"instrument_id": pl.String, "ticker": pl.String}
    ).unique("instrument_id", keep="first", maintain_order=True)
    latest = entries.sort("known_at").unique("instrument_id", keep="last").filter("listed")
    return (
        pl.concat(
            [
                wanted.join(latest, on="instrument_id", how="anti").with_columns(listed=pl.lit(value=True)),
                latest.join(wanted, on="instrument_id", how="anti")
                .select("instrument_id", "ticker")
                .with_columns(listed=pl.lit(value=False)),
            ]
        )
        .with_columns(session=pl.lit(session), known_at=pl.lit(on).cast(RECEIVED_WATCHLIST.schema["known_at"]))
        .select(RECEIVED_WATCHLIST.names)
        .sort("instrument_id")
    )


def watchlist_members(
    entries: pl.DataFrame, sessions: Sequence[date], market: Market, instruments: Instruments | None = None
) -> pl.DataFrame:
    """Who was on the watchlist on `sessions`: the columns of `universe_members`, sector null.

    The list in force on a session is what was known before its close; before the first entry there are no members.
    """
    when = pl.col("session")
    spans = (
        entries.sort("known_at")
        .unique(["instrument_id", "session"], keep="last", maintain_order=True)
        .sort("instrument_id", "session")
        .with_columns(until=when.shift(-1).over("instrument_id").fill_null(date.max))
        .filter("listed")
        .select("instrument_id", "until", since="session")
    )
    days = pl.DataFrame({"session": sorted(set(sessions))}, schema={"session": pl.Date})
    rows = days.join_where(spans, pl.col("session") >= pl.col("since"), pl.col("session") < pl.col("until"))
    return (
        (instruments or registry(market))
        .tickers_on(rows.select("session", "instrument_id"))
        .with_columns(universe=pl.lit(WATCHLIST), sector=pl.lit(None, pl.String), source=pl.lit(_SOURCE))
        .select(UNIVERSE_MEMBERS.names)
        .sort(UNIVERSE_MEMBERS.key)
    )


def _market_of(ticker: str) -> str:
    """Name of the market whose suffix the ticker ends in; the longest suffix wins, and none at all is the shortest."""
    fitting = [market for market in MARKETS.values() if ticker.endswith(market.ticker_suffix)]
    return max(fitting, key=lambda market: len(market.ticker_suffix)).name
