"""Last prices: what is held is valued at, and fractions of a share are paid out at.

What belongs here: the last price up to a session, in the basis of its shares. What does not: which prices are known.
"""

from __future__ import annotations

import polars as pl

from trading_pipeline.research.ledger.holding import split_ratio

CASH_KINDS = ("dividend", "capital_gain")
_KEY = ["session", "instrument_id"]


def usable_actions(actions: pl.DataFrame | None) -> pl.DataFrame:
    """[session, instrument_id, kind, value] of the actions that can be booked; splits by the ratio that was meant."""
    if actions is None:
        schema = {"session": pl.Date(), "instrument_id": pl.String(), "kind": pl.String(), "value": pl.Float64()}
        return pl.DataFrame(schema=schema)
    kept = pl.col("kind").is_in(["split", *CASH_KINDS]) & (pl.col("value") > 0) & pl.col("value").is_finite()
    if "withdrawn" in actions.columns:
        kept &= ~pl.col("withdrawn")
    usable = actions.filter(kept).select(*_KEY, "kind", pl.col("value").cast(pl.Float64))
    ratios = usable.filter(pl.col("kind") == "split")["value"].unique().to_list()
    meant = pl.col("value").replace(ratios, [float(split_ratio(value)) for value in ratios])
    return usable.with_columns(value=pl.when(pl.col("kind") == "split").then(meant).otherwise("value"))


def last_prices(keys: pl.DataFrame, prices: pl.DataFrame, actions: pl.DataFrame, *, before: bool) -> pl.DataFrame:
    """[session, instrument_id, price] of each of `keys`: the last price up to the session, null where there is none.

    prices: [session, instrument_id, price], as traded. actions: `usable_actions`. The price is in the basis of the
    session's shares; before: in that of the session before, prices of the session itself do not count.
    """
    known = (pl.col("price") > 0) & pl.col("price").is_finite()
    quotes = prices.filter(known).select(*_KEY, "price", quoted="session").sort("session")
    keys = keys.select(_KEY).unique().sort("session")
    found = _asof(keys, quotes, "session", exact=not before)
    splits = actions.filter(pl.col("kind") == "split").sort("session")
    if splits.is_empty():
        return found.select(*_KEY, "price")
    factor = splits.select(*_KEY, factor=pl.col("value").cum_prod().over("instrument_id"))
    then = factor.rename({"session": "quoted", "factor": "then"})
    found = _asof(found, factor, "session", exact=not before)
    quoted = _asof(found.drop_nulls("quoted").sort("quoted"), then, "quoted", exact=True)
    found = found.drop("price").join(quoted.select(*_KEY, "price", "then"), on=_KEY, how="left")
    return found.select(*_KEY, price=pl.col("price") * pl.col("then").fill_null(1.0) / pl.col("factor").fill_null(1.0))


def _asof(left: pl.DataFrame, right: pl.DataFrame, on: str, *, exact: bool) -> pl.DataFrame:
    return left.join_asof(
        right,
        on=on,
        by="instrument_id",
        strategy="backward",
        allow_exact_matches=exact,
        check_sortedness=False,  # sorted by `on`; within groups it cannot be checked, and polars warns
    )
