"""Measures: what the gates, inputs and flags look at, from the columns of the book.

What belongs here: turning raw columns into measures, and when a measure does not apply. What does not: judging them.

Null is unknown. Infinite is known and worst: a price over earnings, book or EBITDA that are not positive, debt over
negative equity. A measure that does not apply (the payout of a company that pays nothing) is neither known nor missed.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

SURPRISE_DAYS = 95
"""Calendar days a surprise counts: a quarter and the days by which reports move."""

REPORT_SESSIONS = 21
"""Sessions before a report from which its expected reaction counts: a month."""

LEAST_REPORTS = 4
LEAST_ANALYSTS = 3

_WORST = float("inf")


def _multiple(name: str, basis: str) -> pl.Expr:
    """A price multiple; worst where it or what it divides by is known not to be positive."""
    value = pl.col(name)
    loss = pl.col(basis) <= 0
    return pl.when((value <= 0) | (value.is_null() & loss)).then(pl.lit(_WORST)).otherwise(value)


def _over(name: str, below: str) -> pl.Expr:
    return pl.when(pl.col(below) > 0).then(pl.col(name) / pl.col(below) - 1)


def _share_of(share: pl.Expr, move: str) -> pl.Expr:
    """The part of an expectation: 0 where it never happened, unknown where it did and its size is."""
    return pl.when(share == 0).then(0.0).otherwise(share * pl.col(move))


_ev = pl.col("ev_to_ebitda")
_days_since_report = (pl.col("session") - pl.col("last_report_date")).dt.total_days()
_by_reports = pl.when(pl.col("reports") >= LEAST_REPORTS)
_margin = pl.coalesce(
    pl.col("profit_margin"),
    pl.when(pl.col("revenue") > 0).then(pl.col("net_income") / pl.col("revenue")),
    pl.col("eps_trailing") / pl.col("price"),
    pl.when(pl.col("pe_trailing") != 0).then(1 / pl.col("pe_trailing")),
)

MEASURES: Mapping[str, pl.Expr] = {
    # gates
    "dollar_volume_20": pl.col("dollar_volume_20"),
    "history": pl.col("history"),
    "faulty_inputs": (pl.col("bar_quality") != "good").cast(pl.Float64)
    + (pl.col("fundamentals_quality") == "bad").fill_null(False).cast(pl.Float64),
    "current_ratio": pl.col("current_ratio"),
    "profit_margin": _margin,
    "cash_conversion": pl.when(pl.col("net_income") > 0).then(pl.col("operating_cash_flow") / pl.col("net_income")),
    # value, quality, growth, payout
    "pe_trailing": _multiple("pe_trailing", "eps_trailing"),
    "pe_forward": _multiple("pe_forward", "eps_forward"),
    "price_to_book": pl.when(pl.col("price_to_book") <= 0).then(pl.lit(_WORST)).otherwise(pl.col("price_to_book")),
    "price_to_sales": pl.when(pl.col("price_to_sales") > 0).then(pl.col("price_to_sales")),
    # A negative multiple is a company of negative value (cash exceeds it: cheap) only where EBITDA is known positive.
    "ev_to_ebitda": pl.when((pl.col("ebitda") <= 0) | ((_ev <= 0) & ~(pl.col("ebitda") > 0).fill_null(False)))
    .then(pl.lit(_WORST))
    .otherwise(_ev),
    "free_cash_flow_yield": pl.coalesce(
        "free_cash_flow_yield",
        pl.when(pl.col("snapshot_market_cap") > 0).then(pl.col("free_cash_flow") / pl.col("snapshot_market_cap")),
    ),
    "return_on_equity": pl.col("return_on_equity"),
    "return_on_assets": pl.col("return_on_assets"),
    "operating_margin": pl.col("operating_margin"),
    "debt_to_equity": pl.when(pl.col("debt_to_equity") < 0).then(pl.lit(_WORST)).otherwise(pl.col("debt_to_equity")),
    "revenue_growth": pl.col("revenue_growth"),
    "earnings_growth": pl.col("earnings_growth"),
    "payout_ratio": pl.col("payout_ratio"),
    "dividend_yield": pl.col("dividend_yield"),
    # price
    "trend_200": _over("close", "sma_200"),
    "trend_50": _over("close", "sma_50"),
    "averages": _over("sma_50", "sma_200"),
    "return_126": pl.col("return_126"),
    "macd_momentum": pl.col("macd_histogram") / pl.col("close"),
    "rsi_14": pl.col("rsi_14"),
    "distance_from_high": pl.col("distance_from_high"),
    "volume_thrust": (pl.col("volume_ratio_20") - 1).clip(lower_bound=0) * pl.col("return_1").sign(),
    "relative_strength_rank": pl.col("relative_strength_rank"),
    # sector: of the other members, `peers.sector_measures`
    "sector_return_63": pl.col("sector_return_63"),
    "sector_breadth_50": pl.col("sector_breadth_50"),
    # catalysts
    "last_surprise": pl.col("last_surprise"),
    "beat_rate": _by_reports.then(pl.col("beat_rate")),
    "expected_reaction": _by_reports.then(
        _share_of(pl.col("beat_rate"), "average_move_after_beat")
        + _share_of(1 - pl.col("beat_rate"), "average_move_after_miss")
    ),
    "news_sentiment": pl.col("news_sentiment"),
    "target_upside": pl.when(pl.col("analysts") >= LEAST_ANALYSTS).then(
        pl.col("target_mean_price") / pl.col("reference_price") - 1
    ),
    "recommendation_mean": pl.when(pl.col("recommendation_mean") > 0).then(pl.col("recommendation_mean")),
    # funds
    "expense_ratio": pl.col("expense_ratio"),
    "bond_expense_ratio": pl.col("expense_ratio"),
    "assets_under_management": pl.col("assets_under_management"),
    "tracking_gap": pl.col("nav_premium").abs(),
    "fund_yield": pl.col("fund_yield"),
    "duration": pl.col("duration"),
    "investment_grade": pl.col("credit_share_investment_grade"),
    # flags
    "short_share_of_float": pl.col("short_share_of_float"),
    "days_to_report": (pl.col("next_report_date") - pl.col("session")).dt.total_days(),
    "days_to_ex_dividend": (pl.col("next_ex_dividend_date") - pl.col("session")).dt.total_days(),
    "fundamentals_age": pl.col("age"),
}
"""Every measure by name, as an expression over the columns of the book (`book.py`)."""

_pays_nothing = (pl.col("dividend_yield").fill_null(0.0) == 0) & (
    (pl.col("dividend_yield") == 0) | (pl.col("payout_ratio") == 0)
)

APPLICABLE: Mapping[str, pl.Expr] = {
    "payout_ratio": ~_pays_nothing.fill_null(False),
    "dividend_yield": ~_pays_nothing.fill_null(False),
    "cash_conversion": ~(pl.col("net_income") <= 0).fill_null(False),
    "last_surprise": ~(_days_since_report > SURPRISE_DAYS).fill_null(False),
    "expected_reaction": ~(pl.col("sessions_to_report") > REPORT_SESSIONS).fill_null(False),
    "news_sentiment": ~(pl.col("news_sentiment").is_null() & pl.col("news_elsewhere")),
}
"""Where a measure applies at all; a measure not named here always does."""
