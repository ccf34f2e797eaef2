"""Reasons: why a member has its score, for someone who has never seen one, one reason a line.

What belongs here: sentences, built by expressions on whole columns. What does not: numbers' formats (`wording.py`),
the sentences of flags (`flags.py`).
"""

from __future__ import annotations

import polars as pl

from trading_pipeline.research.screener.flags import Raised
from trading_pipeline.research.screener.rules import Rules
from trading_pipeline.research.screener.wording import per_cent, plain


def reasons(rules: Rules, flags: list[Raised]) -> pl.Expr:
    """The lines, over the scored book: verdict, what holds it back, each component, flags, the next verdict."""
    lines = [
        _verdict(rules),
        _held_back(),
        _component("fundamental", "Fundamental", _fundamental()),
        _component("technical", "Technical", _technical()),
        _component("relative_strength", "Relative strength", _relative_strength()),
        _component("sector_score", "Sector", _sector()),
        _component("catalyst", "Catalyst", _catalyst()),
        *(pl.when(pl.col(f"flag_{flag.name}")).then(flag.sentence) for flag in flags),
        pl.when(pl.col("points_to_next") > 0).then(
            pl.format("{} points short of {}.", plain(pl.col("points_to_next"), 1), pl.col("next_verdict"))
        ),
    ]
    return pl.concat_str(lines, separator="\n", ignore_nulls=True)


def _measure(name: str) -> pl.Expr:
    return pl.col(f"measure_{name}")


def _verdict(rules: Rules) -> pl.Expr:
    known = per_cent(pl.col("confidence"), 0)
    judged = pl.format(
        "{}: {} of 100 points, grade {}, with {} of the inputs known.",
        pl.col("verdict"), plain(pl.col("total"), 1), pl.col("grade"), known,
    )  # fmt: skip
    thin = pl.format(
        f"No verdict: only {{}} of the inputs are known, {rules.confidence.least:.0%} are needed.".replace("%", " %"),
        known,
    )
    return pl.when(pl.col("total").is_null()).then(thin).otherwise(judged)


def _held_back() -> pl.Expr:
    """Only where the points alone would earn more."""
    return pl.when(pl.col("earned") > pl.col("level")).then(
        pl.format(
            "Held back from {} by: {}.",
            pl.col("next_verdict"),
            pl.col("held_back_by"),
        )
    )


def _component(column: str, name: str, parts: list[pl.Expr]) -> pl.Expr:
    """`Technical 64: …` with the parts that are known; `Technical unknown: …` where it has no score but a weight."""
    said = pl.concat_str(parts, separator="; ", ignore_nulls=True)
    weighs = pl.col(f"weight_{column.removesuffix('_score')}") > 0
    points = pl.format(f"{name} {{}} of 100", plain(pl.col(column), 0).str.strip_suffix(".0"))
    known = pl.when(said == "").then(points + pl.lit(".")).otherwise(pl.format("{}: {}.", points, said))
    return (
        pl.when(pl.col(column).is_not_null()).then(known)
        .when(weighs).then(pl.lit(f"{name} unknown: too few of its inputs are known."))
    )  # fmt: skip


def _fundamental() -> list[pl.Expr]:
    sentences = [
        pl.format("P/E {}", plain(_measure("pe_trailing"), 1)),
        pl.format("return on equity {}", per_cent(_measure("return_on_equity"))),
        pl.format("revenue {} in a year", _signed(_measure("revenue_growth"))),
        pl.format("debt {} times equity", plain(_measure("debt_to_equity"))),
        pl.format("free cash flow {} of the price", per_cent(_measure("free_cash_flow_yield"))),
        pl.format("discounted cash flow {} to the price", _signed(pl.col("dcf_upside"))),
    ]
    funds = [
        pl.format("costs {} a year", per_cent(_measure("expense_ratio"), 2)),
        pl.format("yield {}", per_cent(_measure("fund_yield"))),
        pl.format("duration {} years", plain(_measure("duration"), 1)),
    ]
    is_stock = pl.col("asset_type") == "stock"
    return [
        *(pl.when(is_stock).then(one) for one in sentences),
        *(pl.when(~is_stock).then(one) for one in funds),
    ]


def _technical() -> list[pl.Expr]:
    return [
        pl.format("price {} to its 200-session average", _signed(_measure("trend_200"))),
        pl.format("{} to its 52-week high", _signed(_measure("distance_from_high"))),
        pl.format("RSI {}", plain(_measure("rsi_14"), 0)),
    ]


def _relative_strength() -> list[pl.Expr]:
    return [
        pl.format(
            "did better over the last year than about {} of 100 members",
            _measure("relative_strength_rank").cast(pl.Int64, strict=False),
        )
    ]


def _sector() -> list[pl.Expr]:
    return [
        pl.format(
            "the rest of {} did {} in 63 sessions beyond all others",
            pl.col("sector"),
            _signed(_measure("sector_return_63")),
        ),
        pl.format("{} of it above the 50-session average", per_cent(_measure("sector_breadth_50"), 0)),
    ]


def _catalyst() -> list[pl.Expr]:
    return [
        pl.when(pl.col("judged_last_surprise")).then(
            pl.format("last earnings {} to what was expected", _signed(_measure("last_surprise")))
        ),
        pl.format("analysts' target {} to the price", _signed(_measure("target_upside"))),
        pl.format("news tone {} on a scale from -1 to 1", plain(_measure("news_sentiment"))),
    ]


def _signed(value: pl.Expr) -> pl.Expr:
    """+5.2 % or -3.1 %."""
    rounded = (value * 100).round(1) + 0.0
    return pl.when(value >= 0).then(pl.format("+{} %", rounded)).otherwise(pl.format("{} %", rounded))
