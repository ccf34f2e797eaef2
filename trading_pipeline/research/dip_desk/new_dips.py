"""Which dips on the desk are news: a threshold passed that was not passed in the sessions before.

What belongs here: telling a new dip from one that was on the desk already. What does not: finding dips
(`research/dips.py`), who is on the desk (`members.py`), and telling anybody (`alerts/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

LOOKBACK = 5
"""Published sessions in a row that a name must be above a threshold before passing it is news again: a week. A name
that sits on a threshold crosses it every few sessions, and nobody wants to be told each time."""


def new_dips(dips: pl.DataFrame, published: Sequence[date], sessions: Sequence[date]) -> pl.DataFrame:
    """The rows of `dips` that are new on their session, with `previous_threshold_pct`; by session and instrument.

    dips: [session, instrument_id, threshold_pct (the largest passed), on_desk (null: not known, which is never new and
    counts as told)] and whatever else is to be kept, one row a session and instrument. published: the sessions that
    were published, ascending, from LOOKBACK of them before the first judged one; fewer where there are not as many.
    sessions: the judged ones, all of them in `published`.

    A row on the desk is new where its threshold is above every threshold that the name had passed on the desk in the
    LOOKBACK published sessions before: one row a name however many thresholds it fell through at once.
    `previous_threshold_pct` is the largest it had passed there; null: it was not on the desk. Where nothing was
    published before, nothing can be called new. A name without a bar, or off the desk, is above every threshold.
    """
    axis = pl.DataFrame({"session": list(published)}, schema={"session": pl.Date}).with_row_index("at")
    desk = (
        dips.filter(pl.col("on_desk").fill_null(True))
        .join(axis, on="session", how="inner")
        .sort("session", "instrument_id")
    )
    name = desk["instrument_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    at = desk["at"].cast(pl.Int64).to_numpy()
    threshold = desk["threshold_pct"].to_numpy()

    passed = np.zeros((LOOKBACK + axis.height, name.max(initial=-1) + 1))
    passed[LOOKBACK + at, name] = threshold
    windows = np.lib.stride_tricks.sliding_window_view(passed, LOOKBACK, axis=0)
    before = windows[at, name].max(axis=1, initial=0.0)

    new = pl.Series((threshold > before) & (at > 0), dtype=pl.Boolean)
    return (
        desk.drop("at")
        .with_columns(previous_threshold_pct=pl.when(pl.Series(before) > 0).then(pl.Series(before, dtype=pl.Float64)))
        .filter(new & pl.col("on_desk") & pl.col("session").is_in(list(sessions)))
    )
