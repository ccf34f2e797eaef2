"""Which sessions have to be computed again because of what was received after they were.

What belongs here: finding those sessions in the lake, and laying out the runs that mend them. What does not: when the
lake is looked at and what is requested (`sensors.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl

from trading_pipeline.automation import jobs
from trading_pipeline.ingest import revised_sessions
from trading_pipeline.markets import Market
from trading_pipeline.sessions import calendar
from trading_pipeline.storage.lake import Lake
from trading_pipeline.tables import BAR_ISSUES, DAILY_BARS, MOMENT, RECEIVED_BARS


@dataclass(frozen=True)
class Step:
    """One run that is to be made: a job for the sessions from `first` to `last`."""

    job: str
    first: date
    last: date


def touched_sessions(
    lake: Lake, market: Market, since: datetime, judged: Sequence[date]
) -> tuple[list[date], datetime | None]:
    """Those of the sessions `judged` about which we learned something after `since`; ascending.

    Revised, settled and late bars and actions (`revised_sessions`), and bars of an instrument that had none when the
    session was judged: the history of a name that was put on the watchlist or joined an index, or a dropped file. Also
    the newest `known_at` of all that was received after `since`, None where nothing was.
    """
    revised, newest = revised_sessions(lake, market.name, since)
    if newest is None or not judged:
        return [], newest
    appeared = _appeared(lake, market, since, judged)
    return sorted((set(revised) | set(appeared)) & set(judged)), newest


def _appeared(lake: Lake, market: Market, since: datetime, judged: Sequence[date]) -> list[date]:
    """Sessions judged that lack an instrument of which a bar of theirs came after `since`."""
    key = ["instrument_id", "session"]
    fresh = (
        lake.scan(market.name, RECEIVED_BARS, min(judged), max(judged))
        .filter(pl.col("known_at") > pl.lit(since.astimezone(UTC), MOMENT))
        .select(key)
        .unique()
        .filter(pl.col("session").is_in(sorted(judged)))
        .collect()
    )
    if fresh.is_empty():
        return []
    low, high = fresh.select(pl.col("session").min().alias("low"), pl.col("session").max().alias("high")).row(0)
    seen = pl.concat(
        [
            lake.scan(market.name, DAILY_BARS, low, high).select(key),
            lake.scan(market.name, BAR_ISSUES, low).select("instrument_id", session="bar_session"),
        ]
    ).collect()
    return fresh.join(seen, on=key, how="anti")["session"].unique().sort().to_list()


def steps(market: Market, first: date, judged: Sequence[date], decided: Sequence[date]) -> list[Step]:
    """The runs that compute everything from session `first` on again, in the order in which they are to be made.

    judged: sessions of which there are bars; decided: those of which decisions were published. A decision is made
    again where one was made, and nowhere else: bars reach further back, for the lookbacks.
    """
    bars = [(span[0], span[-1]) for span in stretches(market, [day for day in judged if day >= first])]
    decisions = [(span[0], span[-1]) for span in stretches(market, [day for day in decided if day >= first])]
    if bars == decisions:
        return [Step(jobs.end_of_day_name(market), *span) for span in bars]
    return [
        *(Step(jobs.market_data_name(market), *span) for span in bars),
        *(Step(jobs.decisions_name(market), *span) for span in decisions),
    ]


def stretches(market: Market, sessions: Sequence[date]) -> list[list[date]]:
    """`sessions`, ascending, cut wherever the exchange had a session that is not among them."""
    exchange = calendar(market.exchange)
    found: list[list[date]] = []
    for session in sessions:
        if found and exchange.offset(found[-1][-1], 1) == session:
            found[-1].append(session)
        else:
            found.append([session])
    return found
