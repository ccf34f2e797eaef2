"""Gates: bounds a member must keep whatever its points, each with value, limit and by how much.

What belongs here: judging the bounds and saying so. What does not: what a failed gate does to the verdict
(`verdicts.py`), the bounds themselves (`rules.toml`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from trading_pipeline.research.screener.measures import APPLICABLE
from trading_pipeline.research.screener.rules import Gate, Rules
from trading_pipeline.research.screener.wording import amount, per_cent, plain


@dataclass(frozen=True)
class GateColumns:
    """Names of the columns that a gate adds to the book."""

    gate: Gate

    @property
    def failed(self) -> str:
        """True failed, false passed, null unknown or not judged."""
        return f"gate_{self.gate.name}_failed"

    @property
    def line(self) -> str:
        """The gate in words; null where it is not judged."""
        return f"gate_{self.gate.name}_line"


def gate_columns(rules: Rules) -> list[pl.Expr]:
    """For each gate whether it failed and the line that says so; over the columns of the book and its measures.

    A line reads `solvency_debt: failed, 5.20 against at most 3.00, by 73 %`: the distance is relative to the limit,
    absolute where the limit is 0, and the room that is left where the gate is passed. A gate that does not judge a
    sector or a kind of fund has no line.
    """
    return [expression for gate in rules.gates for expression in _gate(gate)]


def _gate(gate: Gate) -> list[pl.Expr]:
    columns = GateColumns(gate)
    value = pl.col(f"measure_{gate.measure}")
    limit = _limit(gate)
    judged = pl.col("asset_type").is_in(gate.scorers)
    if gate.not_for:
        judged &= ~pl.col("sector").is_in(gate.not_for).fill_null(False)
    if gate.measure in APPLICABLE:
        judged &= APPLICABLE[gate.measure]
    at_least = gate.least is not None
    failed = value.round(9) < limit if at_least else value.round(9) > limit
    bound = "at least" if at_least else "at most"
    shown = _SHOWN[gate.unit]
    gap = (value - limit).abs()
    by = (
        pl.when(value.is_infinite()).then(pl.lit("beyond measure"))
        .when(limit == 0).then(pl.format("by {}", shown(gap)))
        .otherwise(pl.format("by {} %", (gap / limit.abs() * 100).round(0).cast(pl.Int64, strict=False)))
    )  # fmt: skip
    outcome = pl.when(failed).then(pl.lit("failed")).otherwise(pl.lit("passed"))
    known = pl.format(f"{gate.name}: {{}}, {{}} against {bound} {{}}, {{}}", outcome, shown(value), shown(limit), by)
    unknown = pl.format(f"{gate.name}: unknown, no value against {bound} {{}}", shown(limit))
    return [
        pl.when(judged).then(failed).alias(columns.failed),
        pl.when(judged).then(pl.when(value.is_null()).then(unknown).otherwise(known)).alias(columns.line),
    ]


def _limit(gate: Gate) -> pl.Expr:
    if not gate.sectors:
        return pl.lit(gate.limit)
    return (
        pl.col("sector").replace_strict(gate.sectors, default=gate.limit, return_dtype=pl.Float64).fill_null(gate.limit)
    )


def _count(value: pl.Expr) -> pl.Expr:
    return value.round(0).cast(pl.Int64, strict=False).cast(pl.String)


_SHOWN: Mapping[str, Callable[[pl.Expr], pl.Expr]] = {
    "amount": amount,
    "fraction": per_cent,
    "ratio": plain,
    "count": _count,
}


def gate_summary(rules: Rules) -> list[pl.Expr]:
    """`gates_passed`, `gates_failed`, `gates` of the table, over the gates' columns."""
    columns = [GateColumns(gate) for gate in rules.gates]
    failed = [pl.when(pl.col(one.failed)).then(pl.lit(one.gate.name)) for one in columns]
    return [
        (~pl.any_horizontal(pl.col(one.failed).fill_null(False) for one in columns)).alias("gates_passed"),
        pl.concat_str(failed, separator=",", ignore_nulls=True).alias("gates_failed"),
        pl.concat_str([pl.col(one.line) for one in columns], separator="\n", ignore_nulls=True).alias("gates"),
    ]
