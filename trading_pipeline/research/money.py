"""Exact money: whole millionths of the market's currency.

What belongs here: turning prices and amounts into integers and back. What does not: what they are added up to.

A millionth, not a cent: prices are quoted in steps down to 0.0001, and brokers average the parts of an execution to six
decimals. A sum of products of whole shares and such prices is exact in 64 bits up to nine million millions; a sum of
floats is off by a cent after some millions of them, and differs with their order.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

MICROS = 1_000_000
CENT = 10_000
"""A cent, in millionths."""

Money: TypeAlias = npt.NDArray[np.int64]


def micros(amount: float) -> int:
    """The nearest whole number of millionths."""
    return round(amount * MICROS)


def to_micros(amount: pl.Expr) -> pl.Expr:
    """The nearest whole number of millionths, Int64; null where `amount` is null, not finite, or too large for it."""
    whole = (amount.cast(pl.Float64) * MICROS).round()
    return pl.when(whole.abs() <= 9e18).then(whole).cast(pl.Int64)


def from_micros(whole: pl.Expr) -> pl.Expr:
    """Units of the currency, Float64: the float nearest to the exact amount.

    Rounded, because polars divides a column by a constant by multiplying with its reciprocal, which is off by the last
    bit for one value in twenty, and not for a column of one row.
    """
    return (whole.cast(pl.Float64) / MICROS).round(6)


def to_cents(numerator: int, denominator: int = 1) -> int:
    """`numerator / denominator` millionths to the nearest whole cent, in millionths.

    Half a cent goes away from zero, as on statements. denominator: positive.
    """
    size = (2 * abs(numerator) + CENT * denominator) // (2 * CENT * denominator) * CENT
    return size if numerator >= 0 else -size
