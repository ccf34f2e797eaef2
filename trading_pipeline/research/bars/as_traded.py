"""As-traded bars and actions out of what a provider reports.

What belongs here: undoing the split adjustment a provider has already applied. What does not: fetching, comparing with
what was stored (`versions.py`), adjusting for a reader (`adjustment.py`).

Yahoo's "raw" prices are divided by every split it knows of, up to the moment of the download: the bar of session T by
all splits with an ex-date after T (the bar of the ex-date itself trades after the split already), its volume
multiplied. Payments are treated like the bar of their ex-date (MRK 2021-03-12 is reported as 0.620229 for the 0.65
paid, the spin-off ratio 1.048 of 2021-06-03 undone), so the amount of a payment that goes ex together with a split is
per share after that split. Spin-offs are reported as splits with odd ratios (GE 1.281) and undone alike.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import polars as pl

Basis: TypeAlias = Literal["split_adjusted", "as_traded"]

PRICES = ("open", "high", "low", "close")
SPLIT = "split"
_DAY_BITS = 32


class AsTraded(NamedTuple):
    """Bars and actions as traded, and the actions that cannot be what they claim.

    refused: rows of the actions received, with a column `reason`; they took no part in anything.
    """

    bars: pl.DataFrame
    actions: pl.DataFrame
    refused: pl.DataFrame


def undo_splits(bars: pl.DataFrame, actions: pl.DataFrame, basis: Basis) -> AsTraded:
    """Bars and payments in the basis in which they traded.

    bars: [symbol, session, open, high, low, close, adj_close, volume, ...] as received; gains `received_close` and
    `split_factor`: as traded = received x factor for prices, received / factor for volume, the factor being the product
    of the ratios of all splits of `actions` with an ex-date after the session. adj_close stays as received.
    actions: [symbol, session, kind, value, ...] as received, `session` the ex-date; gains `received_value` and
    `split_factor`, the value of payments multiplied by it. It must hold every split the provider has applied: all from
    the first session of the bars to the moment of the download.
    basis: `split_adjusted` (Yahoo), or `as_traded` where the provider adjusts nothing (all factors 1).

    A split whose ratio is null, zero, negative or infinite, a second split of the same ex-date and a payment that is
    null, not positive or infinite are returned in `refused` and not used. A repeated identical row counts once.
    """
    sound, refused = _sound(actions)
    splits = sound.filter(pl.col("kind") == SPLIT)
    if basis == "as_traded":
        splits = splits.clear()
    elif basis != "split_adjusted":
        raise ValueError(f"basis={basis!r}: use split_adjusted or as_traded")
    factor = pl.Series("split_factor", later_ratio(bars, splits))
    traded = bars.with_columns(pl.col("close").alias("received_close"), factor).with_columns(
        *(pl.col(name) * pl.col("split_factor") for name in PRICES), pl.col("volume") / pl.col("split_factor")
    )
    of_payment = pl.when(pl.col("kind") == SPLIT).then(1.0).otherwise(pl.Series(later_ratio(sound, splits)))
    paid = sound.with_columns(pl.col("value").alias("received_value"), of_payment.alias("split_factor")).with_columns(
        pl.col("value") * pl.col("split_factor")
    )
    return AsTraded(traded, paid, refused)


def later_ratio(rows: pl.DataFrame, splits: pl.DataFrame, by: str = "symbol") -> np.ndarray:
    """For each row of `rows` [by, session], the product of the ratios of its splits with an ex-date after its session.

    splits: [by, session, value], ratios positive. `by` holds text or small integers.
    """
    result = np.ones(rows.height)
    if splits.is_empty() or rows.is_empty():
        return result
    names = splits[by].unique().sort()
    ordered = (
        splits.select(_key(by, names).alias("key"), pl.col("value").cast(pl.Float64))
        .sort("key")
        .with_columns(pl.col("value").cum_prod(reverse=True).over(pl.col("key") // 2**_DAY_BITS))
    )
    key, product = ordered["key"].to_numpy(), ordered["value"].to_numpy()
    wanted = rows.select(_key(by, names))[by]
    touched = np.flatnonzero(wanted.is_not_null().to_numpy())
    sought = wanted.drop_nulls().to_numpy()
    at = np.searchsorted(key, sought, side="right")
    found = at < len(key)
    found[found] = key[at[found]] >> _DAY_BITS == sought[found] >> _DAY_BITS
    result[touched[found]] = product[at[found]]
    return result


def _key(by: str, names: pl.Series) -> pl.Expr:
    """One integer that orders by `by`, then session; null where `by` is none of `names`."""
    code = pl.col(by) if names.dtype.is_integer() else pl.col(by).cast(pl.Enum(names), strict=False).to_physical()
    day = pl.col("session").cast(pl.Date).to_physical().cast(pl.Int64) + 2 ** (_DAY_BITS - 1)
    key: pl.Expr = code.cast(pl.Int64) * 2**_DAY_BITS + day
    return key


def _sound(actions: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Actions that can be used, and those that cannot with the reason."""
    distinct = actions.unique(maintain_order=True)
    value = pl.col("value").cast(pl.Float64)
    is_split = pl.col("kind") == SPLIT
    several = pl.struct("symbol", "session", "kind").is_first_distinct().not_()
    judged = distinct.with_columns(
        pl.when(value.is_null() | value.is_nan())
        .then(pl.lit("no value"))
        .when((value <= 0) | value.is_infinite())
        .then(pl.when(is_split).then(pl.lit("not a ratio")).otherwise(pl.lit("not an amount")))
        .when(several)
        .then(pl.lit("a second value for the same ex-date"))
        .alias("reason")
    )
    return judged.filter(pl.col("reason").is_null()).drop("reason"), judged.filter(pl.col("reason").is_not_null())
