"""Gates: bounds a member must keep whatever its points, each with value, limit and by how much.

What belongs here: judging the bounds and saying so. What does not: what a failed gate does to the verdict
(`verdicts.py`), the bounds themselves (`rules.toml`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from trading_pipeline.research.screener.measures import APPLICABLE
from trading_pipeline.research.screener.rules import Gate, Rules
from trading_pipeline.research.screener.wording import amount, number_text, per_cent, text, told


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
    value, limit = pl.col(f"measure_{gate.measure}"), gate_limit(gate)
    judged = pl.col("asset_type").is_in(gate.scorers)
    if gate.not_for:
        judged &= ~pl.col("sector").is_in(gate.not_for).fill_null(False)
    if gate.measure in APPLICABLE:
        judged &= APPLICABLE[gate.measure]
    failed = value.round(9) < limit if gate.least is not None else value.round(9) > limit
    outcome = pl.when(failed).then(pl.lit(f"{gate.name}: failed, ")).otherwise(pl.lit(f"{gate.name}: passed, "))
    bound = "at least" if gate.least is not None else "at most"
    against = _by_sector(gate, {limit: f" against {bound} {number_text(limit, gate.unit)}" for limit in gate.limits})
    known = text(outcome, _shown(value, gate.unit), against, _gap(gate, value, limit))
    unknown = text(f"{gate.name}: unknown, no value", against)
    return [
        pl.when(judged).then(failed).alias(columns.failed),
        pl.when(judged).then(pl.coalesce(known, unknown)).alias(columns.line),
    ]


def gate_limit(gate: Gate) -> pl.Expr:
    """The bound of each row: its sector's own where there is one."""
    return _by_sector(gate, {limit: limit for limit in gate.limits})


def _by_sector(gate: Gate, of_limit: Mapping[float, float | str]) -> pl.Expr:
    """What belongs to the limit of each row."""
    chosen = pl.lit(of_limit[gate.limit])
    for sector, limit in gate.sectors.items():
        # Null is no sector of its own: the condition of an unknown sector is null, and the rest holds.
        chosen = pl.when(pl.col("sector") == sector).then(pl.lit(of_limit[limit])).otherwise(chosen)
    return chosen


def _gap(gate: Gate, value: pl.Expr, limit: pl.Expr) -> pl.Expr:
    """`, by 73 %` of the limit; absolute where the limit is 0."""
    gap = (value - limit).abs()
    if gate.limit == 0:
        return text(", by ", _shown(gap, gate.unit))
    return told(gap / limit.abs(), ", by ", " %", scale=100.0, digits=0, beyond=", beyond measure")


def _shown(value: pl.Expr, unit: str) -> pl.Expr:
    if unit == "amount":
        return amount(value)
    if unit == "fraction":
        return per_cent(value)
    return told(value, digits=0 if unit == "count" else 2, beyond="no positive base" if unit == "ratio" else None)


def gate_summary(rules: Rules) -> list[pl.Expr]:
    """`gates_passed`, `gates_failed`, `gates` of the table, over the gates' columns."""
    columns = [GateColumns(gate) for gate in rules.gates]
    failed = [pl.when(pl.col(one.failed)).then(pl.lit(one.gate.name)) for one in columns]
    return [
        (~pl.any_horizontal(pl.col(one.failed).fill_null(False) for one in columns)).alias("gates_passed"),
        pl.concat_str(failed, separator=",", ignore_nulls=True).alias("gates_failed"),
        pl.concat_str([pl.col(one.line) for one in columns], separator="\n", ignore_nulls=True).alias("gates"),
    ]
