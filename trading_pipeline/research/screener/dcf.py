"""A two-stage discounted cash flow: what the free cash flow is worth if growth goes on for a while and then fades.

What belongs here: the model and its assumptions in words. What does not: a judgement of it; no component uses it.

Source: the two-stage model for free cash flow to equity of Damodaran (Investment Valuation, 3rd edition, chapter 14),
with a linear fade between the stages (his H model's remedy against a sudden stop), the Gordon growth formula for what
follows, and the cost of equity by the CAPM. Free cash flow as providers state it is after interest, thus the owners':
it is discounted at the cost of equity and no debt is taken off.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from trading_pipeline.research.panel import Floats
from trading_pipeline.research.screener.rules import Dcf
from trading_pipeline.research.screener.wording import per_cent, text


@np.errstate(divide="ignore", invalid="ignore")
def discounted_cash_flow(book: pl.DataFrame, rules: Dcf) -> pl.DataFrame:
    """`dcf_value` (per share, quote currency), `dcf_upside` and `dcf_assumptions` of every row of the book.

    The value per share is the close x value of all cash flows / market capitalisation: no count of shares is needed,
    so a split between snapshot and session is no trouble. Null where free cash flow is not positive, for sectors the
    rules exclude, for funds, and where free cash flow, market capitalisation, both growth rates or both betas are
    missing. Cash flow and capitalisation must be in one currency.
    """
    cash, cap, close = (_floats(book, name) for name in ("free_cash_flow", "market_cap", "close"))
    lower = np.fmin(_floats(book, "revenue_growth"), _floats(book, "earnings_growth"))
    growth = np.clip(lower, rules.growth_least, rules.growth_most)
    stated, measured = _floats(book, "beta"), _floats(book, "beta_252")
    beta = np.clip(np.where(np.isfinite(measured), measured, stated), rules.beta_least, rules.beta_most)
    rate = rules.risk_free + beta * rules.equity_premium
    value = cash * _present_value(growth, rate, rules)
    excluded = book.select(
        (pl.col("asset_type") != "stock") | pl.col("sector").is_in(rules.not_for).fill_null(False)
    ).to_series()
    judged = (cash > 0) & (cap > 0) & ~excluded.to_numpy() & np.isfinite(value)
    upside = np.where(judged, value / cap - 1, np.nan)
    frame = pl.DataFrame({"dcf_value": close * (1 + upside), "dcf_upside": upside, "growth": growth, "rate": rate})
    years, fade = rules.growth_years, rules.fade_years
    stages = f" % for {years} years, fading over {fade} to {rules.terminal_growth * 100:g} % for ever; "
    words = text(
        per_cent(pl.col("growth"), "growth ", stages), per_cent(pl.col("rate"), "discounted at the cost of equity, ")
    )
    return frame.fill_nan(None).select(
        "dcf_value", "dcf_upside", dcf_assumptions=pl.when(pl.col("dcf_upside").is_not_null()).then(words)
    )


def _present_value(growth: Floats, rate: Floats, rules: Dcf) -> Floats:
    """Present value of all cash flows to come of one that is 1 now."""
    flow, discount, total = np.ones(growth.shape), np.ones(growth.shape), np.zeros(growth.shape)
    years = rules.growth_years + rules.fade_years
    for year in range(1, years + 1):
        faded = max(year - rules.growth_years, 0) / (rules.fade_years + 1)
        flow = flow * (1 + growth + (rules.terminal_growth - growth) * faded)
        discount = discount / (1 + rate)
        total = total + flow * discount
    return total + flow * (1 + rules.terminal_growth) / (rate - rules.terminal_growth) * discount


def _floats(book: pl.DataFrame, name: str) -> Floats:
    return book[name].fill_null(float("nan")).to_numpy()
