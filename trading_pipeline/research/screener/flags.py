"""Flags: what a trader should know beside the points.

What belongs here: when each flag is raised and its sentence. What does not: the limits (`rules.toml`).

A flag whose inputs are unknown is not raised; what is not known is said by `confidence` and the gates.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from trading_pipeline.research.screener.rules import Flag, Rules
from trading_pipeline.research.screener.wording import per_cent, told

VALUE_INPUTS = ("pe_trailing", "pe_forward", "price_to_book", "price_to_sales", "ev_to_ebitda", "free_cash_flow_yield")
"""Inputs whose mean points say how cheap a stock is."""


@dataclass(frozen=True)
class Raised:
    """A flag: its name, when it is raised, what it tells a newcomer, and the best verdict it allows (None: any)."""

    name: str
    when: pl.Expr
    sentence: pl.Expr
    cap: str | None = None


def all_flags(rules: Rules) -> list[Raised]:
    """Every flag, in the order they are shown, over the book, its measures and `value_points`, `confidence`."""
    flags = rules.flags

    def measure(name: str) -> pl.Expr:
        return pl.col(f"measure_{name}").round(9)

    soon = measure("days_to_report")
    ex_dividend = measure("days_to_ex_dividend")
    trap = (pl.col("value_points").round(9) >= flags.value_trap.limit) & (
        pl.sum_horizontal(sign.fill_null(False).cast(pl.Int32) for sign in _signs_of_a_trap())
        >= (flags.value_trap.signs or 1)
    )
    debt = measure("debt_to_equity")
    is_stock = pl.col("asset_type") == "stock"
    return [
        Raised(
            "value_trap",
            is_stock & trap,
            pl.lit("Cheap, but with signs that it deserves to be: a possible value trap."),
            flags.value_trap.cap,
        ),
        Raised(
            "earnings_soon",
            soon.is_between(0, flags.earnings_soon.limit),
            told(soon, "Reports in ", " days: the price may jump either way.", digits=0),
            flags.earnings_soon.cap,
        ),
        Raised(
            "ex_dividend_soon",
            ex_dividend.is_between(0, flags.ex_dividend_soon.limit),
            told(ex_dividend, "Ex-dividend in ", " days: the price falls by the dividend then.", digits=0),
            flags.ex_dividend_soon.cap,
        ),
        Raised(
            "high_short_interest",
            measure("short_share_of_float") >= flags.high_short_interest.limit,
            per_cent(pl.col("measure_short_share_of_float"), "", " % of the float is sold short."),
            flags.high_short_interest.cap,
        ),
        Raised(
            "over_extended",
            measure("trend_50") >= flags.over_extended.limit,
            per_cent(pl.col("measure_trend_50"), "", " % above its 50-session average: stretched."),
            flags.over_extended.cap,
        ),
        Raised(
            "overbought",
            measure("rsi_14") >= flags.overbought.limit,
            told(pl.col("measure_rsi_14"), "RSI of ", ": hardly a falling day in two weeks.", digits=0),
            flags.overbought.cap,
        ),
        Raised(
            "high_debt",
            is_stock & (debt >= _by_sector(flags.high_debt)),
            told(debt, "Debt is ", " times equity.", digits=2, beyond="Equity is negative, or hardly there."),
            flags.high_debt.cap,
        ),
        Raised(
            "negative_news",
            measure("news_sentiment") <= flags.negative_news.limit,
            pl.lit("The news of the last two weeks is clearly bad."),
            flags.negative_news.cap,
        ),
        Raised(
            "stale_fundamentals",
            measure("fundamentals_age") > flags.stale_fundamentals.limit,
            told(pl.col("measure_fundamentals_age"), "The figures are ", " sessions old.", digits=0),
            flags.stale_fundamentals.cap,
        ),
        Raised(
            "suspect_fundamentals",
            pl.col("fundamentals_quality") == "suspect",
            pl.lit("The figures broke a quality rule: check them."),
        ),
        Raised("suspect_bar", pl.col("bar_quality") != "good", pl.lit("This session's price is in doubt.")),
        Raised(
            "low_confidence",
            pl.col("confidence").round(9) < flags.low_confidence.limit,
            per_cent(pl.col("confidence"), "Only ", " % of the inputs are known.", digits=0),
            flags.low_confidence.cap,
        ),
        Raised(
            "unknown_environment",
            pl.col("environment").is_null(),
            pl.lit("The market's environment is not known: weights between B and C."),
        ),
    ]  # fmt: skip


def flag_column(flag: Raised) -> pl.Expr:
    """Whether the flag is raised, never null."""
    return flag.when.fill_null(False).alias(f"flag_{flag.name}")


def flag_summary(flags: list[Raised]) -> pl.Expr:
    """`flags` of the table: the names of those raised, comma-separated."""
    names = [pl.when(pl.col(f"flag_{flag.name}")).then(pl.lit(flag.name)) for flag in flags]
    return pl.concat_str(names, separator=",", ignore_nulls=True).alias("flags")


def _signs_of_a_trap() -> list[pl.Expr]:
    return [
        pl.col("measure_revenue_growth").round(9) < 0,
        pl.col("measure_earnings_growth").round(9) < 0,
        pl.col("measure_trend_200").round(9) <= -0.10,
        pl.col("measure_relative_strength_rank") <= 20,
        pl.col("measure_payout_ratio").round(9) > 1,
    ]


def _by_sector(flag: Flag) -> pl.Expr:
    if not flag.sectors:
        return pl.lit(flag.limit)
    return (
        pl.col("sector").replace_strict(flag.sectors, default=flag.limit, return_dtype=pl.Float64).fill_null(flag.limit)
    )
