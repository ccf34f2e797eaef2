"""The market's week in numbers: what the Sunday analysis tells.

What belongs here: the summary of sessions already judged. What does not: how returns, regimes and dips are found
(`indicators.py`, `regime.py`, `dips.py`) and how a week is laid out for reading (`reports/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

MOVERS = 5
UNKNOWN_SECTOR = "Unknown"


@dataclass(frozen=True)
class MarketWeek:
    """One week of one market; returns are total returns as fractions, null or None where they cannot be told.

    first, last: its first and last session. since: the published session the regime and the dips are compared with,
        the last one before the week, or the week's first where nothing was published before it.
    benchmark: ticker of the index, or `equal_weight` (mean of the members) where the index has no return.
    sectors: [sector, members, week_return, advancing], best first; `advancing` is the share of members that rose.
    gainers, losers: [instrument_id, ticker, sector, week_return], largest move first.
    regime_before, regime_after: rows of `market_regime` as dicts; None where the session was not published.
    new_dips: rows of `dip_opportunities` of the last session that were no dip at `since`, deepest first.
    deeper_dips: rows that passed a larger threshold than at `since`. recovered: tickers that are no dip any more.
    measured, members: members of the last session with a return for the whole week, and all of them.
    """

    first: date
    last: date
    since: date
    benchmark: str
    benchmark_return: float | None
    sectors: pl.DataFrame
    gainers: pl.DataFrame
    losers: pl.DataFrame
    regime_before: dict[str, object] | None
    regime_after: dict[str, object] | None
    new_dips: pl.DataFrame
    deeper_dips: pl.DataFrame
    recovered: tuple[str, ...]
    measured: int
    members: int


def market_week(
    indicators: pl.DataFrame,
    members: pl.DataFrame,
    regime: pl.DataFrame,
    dips: pl.DataFrame,
    *,
    benchmark_id: str,
    sessions: Sequence[date],
    movers: int = MOVERS,
) -> MarketWeek:
    """Sum up `sessions`, the sessions of one week in ascending order (four in a week with a holiday).

    indicators: [session, instrument_id, ticker, return_1] of those sessions; a week's return is the product of
        1 + return_1 over all of them, so an instrument that lacks one is not measured rather than half measured.
    members: [session, instrument_id, ticker, sector]; who belonged on the last session counts, once whatever the number
        of universes. regime, dips: columns of `market_regime` and `dip_opportunities`, of the week and of at least the
        last session published before it.

    Raises ValueError where `sessions` is empty.
    """
    if not sessions:
        raise ValueError("a week has at least one session")
    first, last = min(sessions), max(sessions)
    returns = _week_returns(indicators, sessions)
    of_last = (
        members.filter(pl.col("session") == last)
        .sort("instrument_id", "sector", nulls_last=True)
        .unique("instrument_id", keep="first", maintain_order=True)
        .select("instrument_id", "ticker", pl.col("sector").fill_null(UNKNOWN_SECTOR))
    )
    moved = of_last.join(returns, on="instrument_id", how="inner").filter(pl.col("week_return").is_not_null())

    published = regime.filter(pl.col("session") < first)["session"].max()
    since = published if isinstance(published, date) else first
    benchmark, benchmark_return = _benchmark(indicators, returns, moved, benchmark_id)
    new, deeper, recovered = _dip_changes(dips, since, last)
    return MarketWeek(
        first=first,
        last=last,
        since=since,
        benchmark=benchmark,
        benchmark_return=benchmark_return,
        sectors=_sectors(moved),
        gainers=_movers(moved, movers, up=True),
        losers=_movers(moved, movers, up=False),
        regime_before=_row(regime, since),
        regime_after=_row(regime, last),
        new_dips=new,
        deeper_dips=deeper,
        recovered=recovered,
        measured=moved.height,
        members=of_last.height,
    )


def _week_returns(indicators: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
    """[instrument_id, week_return]; null where any of the sessions has no return."""
    complete = (pl.len() == len(sessions)) & (pl.col("return_1").null_count() == 0)
    return (
        indicators.filter(pl.col("session").is_in(list(sessions)))
        .group_by("instrument_id", maintain_order=True)
        .agg(pl.when(complete).then((1 + pl.col("return_1")).product() - 1).round(12).alias("week_return"))
    )


def _benchmark(
    indicators: pl.DataFrame, returns: pl.DataFrame, moved: pl.DataFrame, benchmark_id: str
) -> tuple[str, float | None]:
    own = returns.filter((pl.col("instrument_id") == benchmark_id) & pl.col("week_return").is_not_null())
    if own.height:
        ticker = indicators.filter(pl.col("instrument_id") == benchmark_id).sort("session")["ticker"][-1]
        return str(ticker), float(own["week_return"][0])
    return "equal_weight", float(np.mean(moved["week_return"].to_numpy())) if moved.height else None


def _sectors(moved: pl.DataFrame) -> pl.DataFrame:
    return (
        moved.group_by("sector")
        .agg(
            pl.len().cast(pl.Int32).alias("members"),
            pl.col("week_return").mean().round(12),
            (pl.col("week_return") > 0).mean().alias("advancing"),
        )
        .sort(["week_return", "sector"], descending=[True, False])
    )


def _movers(moved: pl.DataFrame, count: int, *, up: bool) -> pl.DataFrame:
    side = moved.filter(pl.col("week_return") > 0) if up else moved.filter(pl.col("week_return") < 0)
    return side.sort(["week_return", "instrument_id"], descending=[up, False]).head(count)


def _row(regime: pl.DataFrame, session: date) -> dict[str, object] | None:
    row = regime.filter(pl.col("session") == session)
    return row.row(0, named=True) if row.height else None


def _dip_changes(dips: pl.DataFrame, since: date, last: date) -> tuple[pl.DataFrame, pl.DataFrame, tuple[str, ...]]:
    before = dips.filter(pl.col("session") == since).select("instrument_id", "ticker", before="threshold_pct")
    after = dips.filter(pl.col("session") == last).sort(["dip_pct", "instrument_id"], descending=[True, False])
    compared = after.join(before.drop("ticker"), on="instrument_id", how="left", maintain_order="left")
    new = compared.filter(pl.col("before").is_null()).drop("before")
    deeper = compared.filter(pl.col("threshold_pct") > pl.col("before")).drop("before")
    gone = before.join(after, on="instrument_id", how="anti").sort("ticker")["ticker"]
    return new, deeper, tuple(gone.to_list())
