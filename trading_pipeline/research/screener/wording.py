"""Numbers as people read them, as expressions on whole columns.

What belongs here: formatting. What does not: sentences about a member (`reasons.py`).

A number in a sentence is looked up in a table of all the sentences there can be, since it is shown with one or two
decimals: a quarter of the time of formatting it (1.2 against 4.1 ms for 62,595 rows), and the bytes are copied once.
"""

from __future__ import annotations

from functools import lru_cache

import polars as pl

_STEPS = 10_000
"""Numbers a table holds on either side of 0. With one decimal it reaches to 999.9; beyond, it says so."""


def told(
    value: pl.Expr,
    before: str = "",
    after: str = "",
    *,
    scale: float = 1.0,
    digits: int = 1,
    signed: bool = False,
    beyond: str | None = None,
) -> pl.Expr:
    """`value` x `scale` with `digits` decimals between two texts; null where it is null.

    signed: + before what is not negative. beyond: said instead of the whole where it is infinite or outside the table;
    without it `above 999.9`.
    """
    table = pl.lit(_table(before, after, digits, signed, beyond))
    step = (value * (scale * 10**digits)).round(0).clip(-_STEPS, _STEPS).cast(pl.Int32)
    return table.gather(step + _STEPS)


def per_cent(value: pl.Expr, before: str = "", after: str = " %", *, digits: int = 1, signed: bool = False) -> pl.Expr:
    """A fraction in per cent, 12.5 % of 0.125, between two texts."""
    return told(value, before, after, scale=100.0, digits=digits, signed=signed)


def amount(value: pl.Expr) -> pl.Expr:
    """1.2 billion, 3.4 million, 5.6 thousand."""
    size = value.abs()
    return (
        pl.when(size >= 1e9).then(told(value, after=" billion", scale=1e-9))
        .when(size >= 1e6).then(told(value, after=" million", scale=1e-6))
        .otherwise(told(value, after=" thousand", scale=1e-3))
    )  # fmt: skip


def text(*parts: pl.Expr | str) -> pl.Expr:
    """The parts one after the other; null where one of them is."""
    return pl.concat_str([pl.lit(part) if isinstance(part, str) else part for part in parts])


def number_text(value: float, unit: str) -> str:
    """A limit of the rules in its unit: amount, fraction, ratio or count."""
    if unit == "amount":
        for scale, name in ((1e9, "billion"), (1e6, "million")):
            if abs(value) >= scale:
                return f"{value / scale:g} {name}"
        return f"{value / 1e3:g} thousand"
    return f"{value * 100:g} %" if unit == "fraction" else f"{value:g}"


@lru_cache(maxsize=256)
def _table(before: str, after: str, digits: int, signed: bool, beyond: str | None) -> pl.Series:
    """Every sentence from -_STEPS to _STEPS; the first and the last are what lies beyond."""
    form = f"{{:{'+' if signed else ''}.{digits}f}}"
    texts = [f"{before}{form.format(step / 10**digits)}{after}" for step in range(-_STEPS, _STEPS + 1)]
    reach = f"{(_STEPS - 1) / 10**digits:.{digits}f}"
    texts[0] = f"{before}below -{reach}{after}"
    texts[-1] = beyond or f"{before}above {reach}{after}"
    return pl.Series(texts)
