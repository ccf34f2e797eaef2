"""Whose dips are analysed: the members of the desk's universe, session by session."""

from __future__ import annotations

import polars as pl

TOO_BIG_TO_FAIL = "TOO_BIG_TO_FAIL"
ALL = "ALL"

LARGEST = 50
"""How many names by market capitalisation are too big to fail; with mega-caps and a watchlist about 150 in all."""

_ALWAYS = ("MEGA_CAP", "WATCHLIST")


def desk_members(members: pl.DataFrame, market_caps: pl.DataFrame, universe: str) -> pl.DataFrame:
    """[session, instrument_id] of the desk's members, once each, by session and instrument.

    members: [session, universe, instrument_id], every universe of the sessions asked about. market_caps: [session,
    instrument_id, market_cap] as known on each session, quote currency; may be empty, and a null, a NaN or a size that
    is not positive is no size. universe: `TOO_BIG_TO_FAIL` (the members of MEGA_CAP and of WATCHLIST, and the 50
    largest members by market capitalisation on the session; equal sizes by instrument id), `ALL`, or the key of a
    universe. A universe without members on a session, or one that the market does not have, gives none: each part
    stands alone. Every session is decided from its own rows.
    """
    everyone = members.select("session", "instrument_id").unique()
    if universe == ALL:
        chosen = everyone
    elif universe == TOO_BIG_TO_FAIL:
        named = members.filter(pl.col("universe").is_in(_ALWAYS)).select("session", "instrument_id")
        size = pl.col("market_cap")
        largest = (
            market_caps.filter(size.is_finite() & (size > 0))
            .join(everyone, on=["session", "instrument_id"], how="semi")
            .sort("session", "market_cap", "instrument_id", descending=[False, True, False])
            .group_by("session", maintain_order=True)
            .head(LARGEST)
            .select("session", "instrument_id")
        )
        chosen = pl.concat([named, largest])
    else:
        chosen = members.filter(pl.col("universe") == universe).select("session", "instrument_id")
    return chosen.unique().sort("session", "instrument_id")
