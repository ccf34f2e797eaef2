"""Sensitivity: what each input would have to be, alone, for the next better verdict.

What belongs here: going back from missing points to inputs. What does not: the curves and their inverse (`curves.py`).

The total is linear in the points of an input as long as the same inputs are known, so the points an input would need
are its own plus the missing points of the total over its share in it, and the input is the inverse of its curve there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from trading_pipeline.research.panel import Floats
from trading_pipeline.research.screener.components import Judged
from trading_pipeline.research.screener.gates import gate_limit
from trading_pipeline.research.screener.rules import Rules


def needed_inputs(judged: Judged, measures: Mapping[str, Floats], missing: Floats) -> dict[str, Floats]:
    """For each input the value that adds `missing` points to the total, alone; NaN where no value does.

    missing: points to the next verdict; NaN where there is none to reach by points. Inputs in the units of their
    measure.
    """
    found = {}
    for one in judged.points:
        value = measures[one.rule.name]
        needed = np.full(len(missing), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            # A hair more than what is missing: what is shown must reach it after rounding.
            points = one.points + (missing + 1e-9) / judged.share(one)
        for where, worth in one.parts:
            with np.errstate(invalid="ignore"):
                rows = np.flatnonzero(where & (missing > 0) & (points <= worth.best))
            if len(rows):
                needed[rows] = worth.at(rows).needed(value[rows], points[rows])
        found[one.rule.name] = needed
    return found


def as_json(needed: Mapping[str, Floats]) -> pl.Series:
    """One JSON object a row: the inputs that can reach the next verdict alone, with the value they need.

    An input that is not in it cannot, whatever its value: it is null for whoever looks it up.
    """
    known = {name: np.isfinite(values) for name, values in needed.items()}
    rows = np.flatnonzero(np.logical_or.reduce(list(known.values())))
    # Few rows have any, and each of those few inputs: the others are not formatted at all.
    frame = pl.DataFrame({name: values[rows] for name, values in needed.items() if known[name].any()}).fill_nan(None)
    pairs = [pl.format(f'"{name}": {{}}', pl.col(name)) for name in frame.columns]
    inside = pl.concat_str(pairs or [pl.lit("")], separator=", ", ignore_nulls=True)
    written = frame.select(pl.lit("{") + inside + pl.lit("}")).to_series() if pairs else pl.Series([], dtype=pl.String)
    place = np.zeros(len(next(iter(known.values()))), dtype=np.int64)
    place[rows] = np.arange(1, len(rows) + 1)
    return pl.concat([pl.Series(["{}"]), written]).gather(place).alias("sensitivity")


def gate_inputs(book: pl.DataFrame, rules: Rules) -> dict[str, Floats]:
    """For rows that one failed gate alone holds back: the limit of its measure, which lets the verdict through."""
    found: dict[str, Floats] = {}
    alone = pl.col("held_back") & (pl.col("points_to_next") == 0)
    for gate in rules.gates:
        only = alone & (pl.col("held_back_by") == gate.name)
        found[gate.measure] = (
            book.select(pl.when(only).then(gate_limit(gate)).otherwise(float("nan"))).to_series().to_numpy()
        )
    return found
