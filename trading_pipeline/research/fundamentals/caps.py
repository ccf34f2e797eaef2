"""Market capitalisation at a session's close, from a snapshot of an earlier session.

What belongs here: carrying a stated capitalisation forward with the price. What does not: counting shares anew; new
shares and buy-backs since the snapshot are unknown until the next one.
"""

from __future__ import annotations

from typing import Final

import polars as pl

DIVIDENDS: Final = 0.10
"""How far a price return over at most a quarter may fall behind the total return by dividends alone (as logarithms):
beyond it there was a split. The smallest common one, 3 for 2, is 0.41; a special dividend of a tenth is rare."""
PLAUSIBLE: Final = (0.5, 2.0)
"""Without a bar on the snapshot's session a split cannot be told: a close of half or double its price may be one."""


def market_caps(fundamentals: pl.DataFrame, indicators: pl.DataFrame) -> pl.DataFrame:
    """[session, instrument_id, market_cap] at each session's close, one row a row of `fundamentals`, in its order.

    fundamentals: rows of the table of that name. indicators: [session, instrument_id, close, return_1] of their
    sessions and back to the oldest snapshot's. market_cap: the stated capitalisation, or price x shares where none is
    stated, times the close over the snapshot's price. Where the price moved otherwise than the total return did, there
    was a split in between: the total return takes the place of the price's. Null where the row is bad, where it has no
    close, or where neither capitalisation nor shares are known.
    """
    level = indicators.sort("instrument_id", "session").select(
        "session",
        "instrument_id",
        "close",
        level=pl.col("return_1").log1p().fill_null(0.0).cum_sum().over("instrument_id"),
    )
    then = level.select(snapshot_session="session", instrument_id="instrument_id", before="close", base="level")
    price_return = (pl.col("close") / pl.col("before")).log()
    total_return = pl.col("level") - pl.col("base")
    growth = pl.when((price_return - total_return).abs() <= DIVIDENDS).then(price_return).otherwise(total_return).exp()
    since_price = pl.col("close") / pl.col("price")
    untold = pl.when(since_price.is_between(*PLAUSIBLE)).then(since_price)
    stated = pl.coalesce("market_cap", pl.col("price") * pl.col("shares_outstanding"))
    at_close = stated * (pl.col("before") / pl.col("price")).fill_null(1.0) * growth
    return (
        fundamentals.join(level, on=["session", "instrument_id"], how="left", maintain_order="left")
        .join(then, on=["snapshot_session", "instrument_id"], how="left", maintain_order="left")
        .select(
            "session",
            "instrument_id",
            market_cap=pl.when(pl.col("data_quality") != "bad").then(
                pl.when(pl.col("before").is_not_null()).then(at_close).otherwise(stated * untold)
            ),
        )
    )
