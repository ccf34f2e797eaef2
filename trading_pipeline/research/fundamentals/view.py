"""The snapshot that stood for each member on each session.

What belongs here: which version of which snapshot was the newest one that could be had. What does not: whether its
numbers hold (`rules.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

import numpy as np
import polars as pl

from trading_pipeline.research.fundamentals.rules import judge
from trading_pipeline.research.panel import Integers

MAX_AGE: Final = 63
"""Sessions a snapshot stands for: a quarter. An older one has missed a report, and says nothing about the company as it
is known to be today."""

LOOKBACK: Final = 68
"""Sessions before the judged one whose snapshots and indicators must be passed: `MAX_AGE`, and room for sessions on
which nothing traded."""

_MOMENT: Final = pl.Datetime("us", "UTC")
_NO_FACTS: Final = {
    "instrument_id", "symbol", "session", "currency", "financial_currency", "payload", "provider", "available_at",
    "known_at",
}  # fmt: skip


def fundamentals(
    snapshots: pl.DataFrame,
    members: pl.DataFrame,
    indicators: pl.DataFrame,
    sessions: Sequence[date],
    decided_at: pl.DataFrame,
) -> pl.DataFrame:
    """The columns of the table `fundamentals` for each member and session that has a snapshot, by session and member.

    snapshots: every version of every snapshot, the columns of `received_fundamentals` (`payload` and `symbol` may be
    left out), those of LOOKBACK sessions before the first judged one included. members: [session, instrument_id,
    ticker, …] of the judged sessions, a name once for each universe. indicators: [session, instrument_id, close,
    high_252, low_252, …] over the same sessions as the snapshots; its sessions are the ones ages are counted in.
    sessions: the judged ones, ascending. decided_at: [session, decided_at], the moment each judged session is decided
    at; `ValueError` where one is missing.

    Of the snapshots available at that moment the one of the latest session stands; of its versions the one available
    last, then known last; then the first provider by name. One older than MAX_AGE sessions stands for nothing: no row.
    Prices, per-share amounts and shares are in the basis of the snapshot's session. What a quality rule condemns is
    null, and the row says so (`rules.py`).
    """
    judged = pl.DataFrame({"session": list(sessions)}, schema={"session": pl.Date}).join(
        decided_at.select("session", pl.col("decided_at").cast(_MOMENT)), on="session", how="left"
    )
    if judged["decided_at"].null_count():
        raise ValueError(
            f"no decision moment is given for {judged.filter(pl.col('decided_at').is_null())['session'][0]}"
        )
    wanted = (
        members.select("session", "instrument_id", "ticker")
        .unique(["session", "instrument_id"], keep="first", maintain_order=True)
        .join(judged, on="session")
    )
    ordered = snapshots.sort(
        ["session", "available_at", "known_at", "provider"], descending=[False, False, False, True]
    ).with_row_index("place")
    chosen = _newest(ordered, wanted)
    ages = _ages(chosen["session"], chosen["snapshot_session"], indicators["session"])
    chosen = chosen.with_columns(age=pl.Series(ages, dtype=pl.Int32)).filter(pl.col("age").is_between(0, MAX_AGE))
    verdicts = judge(ordered.filter(pl.col("place").is_in(chosen["place"].unique().implode())), indicators)
    facts = [name for name in snapshots.columns if name not in _NO_FACTS]
    return (
        chosen.join(verdicts.drop("session", "instrument_id"), on="place", how="left")
        .sort("session", "instrument_id")
        .select(
            "session", "instrument_id", "ticker", "snapshot_session", "age", *facts, "currency", "provider",
            "data_quality", "rules",
        )
    )  # fmt: skip


def _newest(ordered: pl.DataFrame, wanted: pl.DataFrame) -> pl.DataFrame:
    """`wanted` [session, instrument_id, ticker, decided_at] with `place` and `snapshot_session` of the newest snapshot.

    ordered: snapshots from the oldest to the newest, `place` counting them. A revision of an old session may come after
    a newer session's snapshot: what stands at a moment is the highest place of all that was available by then.
    """
    arrivals = (
        ordered.select("instrument_id", pl.col("available_at").cast(_MOMENT), "place")
        .sort("available_at", "place")
        .with_columns(pl.col("place").cum_max().over("instrument_id"))
        .unique(["instrument_id", "available_at"], keep="last", maintain_order=True)
    )
    standing = wanted.sort("decided_at").join_asof(
        arrivals,
        left_on="decided_at",
        right_on="available_at",
        by="instrument_id",
        strategy="backward",
        check_sortedness=False,  # cannot be checked where a key comes by instrument; both are sorted above
    )
    sessions = ordered.select("place", snapshot_session="session")
    return standing.filter(pl.col("place").is_not_null()).join(sessions, on="place").drop("available_at", "decided_at")


def _ages(sessions: pl.Series, snapshot_sessions: pl.Series, traded: pl.Series) -> Integers:
    """Sessions after the snapshot's up to each session, that one included whether or not anything traded on it."""
    known = traded.unique().sort().to_numpy().astype("datetime64[D]")
    now, then = (series.to_numpy().astype("datetime64[D]") for series in (sessions, snapshot_sessions))
    upto = np.searchsorted(known, now, side="right")
    quiet = ~np.isin(now, known) & (now > then)
    return np.asarray(upto - np.searchsorted(known, then, side="right") + quiet, dtype=np.int64)
