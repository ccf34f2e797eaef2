"""The order of rows: telling whether they are sorted, and sorting them where they are not.

What belongs here: what frames of millions of rows need to be checked and put in order cheaply. What does not: what the
rows mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def in_order(frame: pl.DataFrame, columns: Sequence[str]) -> bool:
    """Whether the rows ascend strictly by `columns`: sorted, without nulls, and no two alike.

    A tenth of the time of sorting and of looking for duplicates, both of which it saves.
    """
    ascends = pl.lit(False)
    for name in reversed(columns):
        here, before = pl.col(name), pl.col(name).shift(1)
        ascends = (here > before) | ((here == before) & ascends)
    return frame.height < 2 or frame.select(ascends.slice(1).all(ignore_nulls=False)).item() is True


def sorted_by(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """`frame` sorted by `columns`; itself where it is.

    Bars are mostly in order by all columns but the first: from one file a year, or turned from sessions of instruments
    to instruments of sessions. Then a stable sort by the first is enough, half the time of sorting by all (1.18 M bars:
    85 ms instead of 165 to 190).
    """
    if in_order(frame, columns):
        return frame
    first = frame[columns[0]]
    # Codes of few texts sort faster than the texts.
    by = first.cast(pl.Enum(first.drop_nulls().unique().sort())).to_physical() if first.dtype == pl.String else first
    turned = frame.sort(by, maintain_order=True)
    return turned if in_order(turned, columns) else frame.sort(columns)
