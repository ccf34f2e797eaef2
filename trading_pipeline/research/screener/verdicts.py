"""Verdicts: the grade of a total, the verdict it earns, the verdict that gates, confidence and flags leave.

What belongs here: thresholds and caps. What does not: points (`components.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from trading_pipeline.research.screener.flags import Raised
from trading_pipeline.research.screener.gates import GateColumns
from trading_pipeline.research.screener.rules import VERDICTS, Rules

NO_VERDICT = "No verdict"
_BEST = len(VERDICTS) - 1


@dataclass(frozen=True)
class Cap:
    """A best verdict (its place in VERDICTS) that holds where `when` does; `why` completes 'Held back by …'."""

    when: pl.Expr
    best: int
    why: str


def caps(rules: Rules, flags: list[Raised]) -> list[Cap]:
    """Everything that limits a verdict: failed gates, thin knowledge, flags with a cap."""
    confidence = pl.col("confidence").round(9)
    return [
        *(
            Cap(pl.col(GateColumns(gate).failed).fill_null(False), VERDICTS.index(gate.cap), gate.name)
            for gate in rules.gates
        ),
        Cap(confidence < rules.confidence.buy, VERDICTS.index("Hold"), "too few known inputs"),
        Cap(confidence < rules.confidence.strong_buy, VERDICTS.index("Buy"), "too few known inputs"),
        Cap(pl.col("fundamental").is_null(), VERDICTS.index(rules.confidence.without_fundamentals), "unknown figures"),
        *(
            Cap(pl.col(f"flag_{flag.name}"), VERDICTS.index(flag.cap), flag.name)  # type: ignore[arg-type]
            for flag in flags
            if flag.cap is not None
        ),
    ]


def verdict_columns(rules: Rules, limits: list[Cap]) -> list[list[pl.Expr]]:
    """Steps of expressions: grade, `level` (place in VERDICTS), `cap`, verdict, `next_verdict`, `points_to_next`.

    Decided on 9 decimals. `points_to_next` is 0 where the total suffices and a cap does not allow
    it; the next verdict is null at the best, and without a total.
    """
    total = pl.col("total")
    thresholds = [0.0, rules.verdicts.hold, rules.verdicts.buy, rules.verdicts.strong_buy]
    earned = pl.lit(0, pl.Int32)
    for place, bound in enumerate(thresholds[1:], start=1):
        earned = pl.when((total - bound).round(9) >= 0).then(pl.lit(place, pl.Int32)).otherwise(earned)
    cap = pl.min_horizontal(
        pl.when(limit.when).then(pl.lit(limit.best, pl.Int32)).otherwise(pl.lit(_BEST, pl.Int32)) for limit in limits
    )
    level = pl.min_horizontal("earned", "cap")
    following = pl.when(pl.col("total").is_not_null() & (pl.col("level") < _BEST)).then(pl.col("level") + 1)
    threshold = following.replace_strict(dict(enumerate(thresholds)), default=None, return_dtype=pl.Float64)
    return [
        [_grade(total, rules).alias("grade"), earned.alias("earned"), cap.alias("cap")],
        [pl.when(total.is_not_null()).then(level).alias("level")],
        [
            pl.col("level")
            .replace_strict(dict(enumerate(VERDICTS)), default=None, return_dtype=pl.String)
            .fill_null(NO_VERDICT)
            .alias("verdict"),
            following.replace_strict(dict(enumerate(VERDICTS)), default=None, return_dtype=pl.String).alias(
                "next_verdict"
            ),
            (threshold - pl.col("total")).clip(lower_bound=0).alias("points_to_next"),
            (pl.col("cap") < following).alias("held_back"),
        ],
    ]


def held_back_by(limits: list[Cap]) -> pl.Expr:
    """What does not allow the next verdict, comma-separated."""
    following = pl.col("level") + 1
    names: dict[str, pl.Expr] = {}
    for limit in limits:
        binds = limit.when & (pl.lit(limit.best, pl.Int32) < following)
        names[limit.why] = names[limit.why] | binds if limit.why in names else binds
    texts = [pl.when(binds).then(pl.lit(why)) for why, binds in names.items()]
    return pl.concat_str(texts, separator=", ", ignore_nulls=True)


def _grade(total: pl.Expr, rules: Rules) -> pl.Expr:
    grades = rules.grades
    grade = (
        pl.when((total - grades.a).round(9) >= 0).then(pl.lit("A"))
        .when((total - grades.b).round(9) >= 0).then(pl.lit("B"))
        .when((total - grades.c).round(9) >= 0).then(pl.lit("C"))
        .when((total - grades.d).round(9) >= 0).then(pl.lit("D"))
        .otherwise(pl.lit("F"))
    )  # fmt: skip
    return pl.when(total.is_not_null()).then(grade)
