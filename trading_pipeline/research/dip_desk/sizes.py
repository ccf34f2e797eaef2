"""How much of the portfolio a dip deserves: a range by verdict, environment, volatility, sector and cause.

What belongs here: the size alone. What does not: whether to buy at all (`analysis.py`).
"""

from __future__ import annotations

import polars as pl

from trading_pipeline.research.dip_desk.rules import SizeRules
from trading_pipeline.research.risk import Limits, allowed_share, load_limits


def sizes(
    action: pl.Expr,
    verdict: pl.Expr,
    environment: pl.Expr,
    volatility: pl.Expr,
    sector_score: pl.Expr,
    cause: pl.Expr,
    rules: SizeRules,
    limits: Limits | None = None,
) -> tuple[pl.Expr, pl.Expr]:
    """Least and largest size, fractions of the portfolio in whole steps, never above `rules.largest`, nor above what
    the limits of risk allow a position without a stop; both 0 unless action is buy, or where the factors leave less
    than one step.

    The desk names no stop that an order would hold, and no account with positions: of the limits, the one on a
    position's share is all that applies to it. limits: None for those beside the code of `research/risk`.

    volatility: a year, fraction; null or not finite: unknown. Never larger for a larger volatility: the size is the
    calm one divided by how many times as volatile it is, so that the money at risk stays the same.
    """
    limits = load_limits() if limits is None else limits
    known = volatility.is_not_null() & volatility.is_finite() & (volatility >= 0)
    calm = pl.when(volatility > rules.calm_volatility).then(rules.calm_volatility / volatility).otherwise(1.0)
    by_volatility = pl.when(known).then(pl.max_horizontal(calm, rules.least_volatility_factor))
    environments = {"A": rules.environment_a, "B": rules.environment_b, "C": rules.environment_c}
    by_environment = environment.replace_strict(environments, default=0.0, return_dtype=pl.Float64)
    by_sector = (
        pl.when(sector_score >= rules.strong_sector_score)
        .then(rules.strong_sector_factor)
        .when(sector_score < rules.weak_sector_score)
        .then(rules.weak_sector_factor)
        .otherwise(1.0)
    )
    own = cause.is_in(["company", "earnings", "unknown"])
    by_cause = pl.when(own).then(rules.own_trouble_factor).otherwise(1.0)
    factor = by_environment * by_volatility.fill_null(rules.unknown_volatility_factor) * by_sector * by_cause
    buys = (action == "buy") & verdict.is_in(["Strong Buy", "Buy"])
    ends = []
    for strong, plain in ((rules.strong_buy_low, rules.buy_low), (rules.strong_buy_high, rules.buy_high)):
        whole = pl.when(verdict == "Strong Buy").then(strong).otherwise(plain)
        wished = pl.min_horizontal(whole * factor, pl.lit(rules.largest))
        bounded = allowed_share(wished, limits, with_stop=False)
        ends.append((bounded / rules.step).round(9).floor() * rules.step)
    low, high = ends
    high = pl.when(buys).then(high).otherwise(0.0).round(9)
    low = pl.when(high > 0).then(pl.max_horizontal(low, pl.lit(rules.step))).otherwise(0.0).round(9)
    return low, high
