"""From every version every provider sent to one line of versions per bar or action.

What belongs here: which provider's word counts, and from when to when each of its versions was in force. What does not:
whether a bar is any good (`quality.py`), and adjustment (`adjustment.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from trading_pipeline.research.ordering import sorted_by


def best_view(received: pl.DataFrame, key: Sequence[str], priority: Sequence[str], usable: pl.Expr) -> pl.DataFrame:
    """One provider's versions per key, each with the moment it was superseded.

    received: rows with `key` columns, `provider`, `known_at` and whatever else; several versions a key.
    priority: providers, the most trusted first; those not named come last, by name.
    usable: true on rows that say something. A provider without a usable row for a key yields to one that has; where
    nobody has, the first provider's rows stay, so that what is missing is seen.
    Returns the rows kept plus `superseded_at` (null on the version in force), sorted by key and `known_at`.
    """
    key = list(key)
    rows = sorted_by(received, [*key, "provider", "known_at"])
    if rows["provider"].n_unique() > 1:
        order = [*priority, *sorted(set(rows["provider"].unique()) - set(priority))]
        rank = pl.col("provider").replace_strict(order, list(range(len(order))), return_dtype=pl.Int32)
        said = usable.any().over([*key, "provider"])
        rows = (
            rows.with_columns((rank + pl.when(said).then(0).otherwise(len(order))).alias("_choice"))
            .filter(pl.col("_choice") == pl.col("_choice").min().over(key))
            .drop("_choice")
        )
    same_key = pl.all_horizontal(pl.col(name) == pl.col(name).shift(-1) for name in key)
    return rows.with_columns(
        pl.when(same_key).then(pl.col("known_at").shift(-1)).otherwise(None).alias("superseded_at")
    )


def in_force(versions: pl.DataFrame, as_of: object = None, clock: str = "available_at") -> pl.DataFrame:
    """The version of each row in force at `as_of` (zone-aware; None: the latest) on the clock column named `clock`.

    `clock` is `available_at` (what the public could know) or `known_at` (what we knew).
    """
    if as_of is None:
        return versions.filter(pl.col("superseded_at").is_null())
    moment = pl.lit(as_of, dtype=pl.Datetime("us", "UTC"))
    return versions.filter(
        (pl.col(clock) <= moment) & (pl.col("superseded_at").is_null() | (pl.col("superseded_at") > moment))
    )
