"""Numbers as people read them, built by expressions on whole columns.

What belongs here: formatting. What does not: sentences about a member (`reasons.py`).
"""

from __future__ import annotations

import polars as pl


def plain(value: pl.Expr, digits: int = 2) -> pl.Expr:
    """5.2, rounded to `digits`; `no multiple` where it is infinite (a loss, negative equity)."""
    shown = (value.round(digits) + 0.0).cast(pl.String)
    return pl.when(value.is_infinite()).then(pl.lit("no multiple")).otherwise(shown)


def per_cent(value: pl.Expr, digits: int = 1) -> pl.Expr:
    """12.5 % of the fraction 0.125."""
    shown = (value * 100).round(digits) + 0.0
    return pl.format("{} %", shown if digits else shown.cast(pl.Int64, strict=False))


def amount(value: pl.Expr) -> pl.Expr:
    """1.2 billion, 3.4 million, 5.6 thousand."""
    size = value.abs()

    def scaled(unit: float, name: str) -> pl.Expr:
        return pl.format(f"{{}} {name}", (value / unit).round(1))

    return (
        pl.when(size >= 1e9).then(scaled(1e9, "billion"))
        .when(size >= 1e6).then(scaled(1e6, "million"))
        .otherwise(scaled(1e3, "thousand"))
    )  # fmt: skip
