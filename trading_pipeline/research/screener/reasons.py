"""Reasons: why a member has its score, for someone who has never seen one, one reason a line.

What belongs here: sentences, built by expressions on whole columns. What does not: numbers' formats (`wording.py`),
the sentences of flags (`flags.py`).
"""

from __future__ import annotations

import polars as pl

from trading_pipeline.research.screener.flags import Raised
from trading_pipeline.research.screener.rules import Rules
from trading_pipeline.research.screener.wording import per_cent, text, told


def reasons(rules: Rules, flags: list[Raised]) -> pl.Expr:
    """The lines, over the scored book: verdict, what holds it back, each component, flags, the next verdict.

    All pieces are joined at once: a line begins with its line break, an unknown piece is left out.
    """
    pieces = [
        _verdict(rules),
        _held_back(),
        *_component("fundamental", "Fundamental", _fundamental()),
        *_component("technical", "Technical", _technical()),
        *_component("relative_strength", "Relative strength", _relative_strength()),
        *_component("sector_score", "Sector", _sector()),
        *_component("catalyst", "Catalyst", _catalyst()),
        *(pl.when(pl.col(f"flag_{flag.name}")).then(text("\n", flag.sentence)) for flag in flags),
        pl.when(pl.col("points_to_next") > 0).then(
            text(told(pl.col("points_to_next"), "\n", " points short of "), pl.col("next_verdict"), ".")
        ),
    ]
    return pl.concat_str(pieces, ignore_nulls=True)


def _measure(name: str) -> pl.Expr:
    return pl.col(f"measure_{name}")


def _verdict(rules: Rules) -> pl.Expr:
    needed = f" % of the inputs are known, {rules.confidence.least * 100:g} % are needed."
    judged = text(
        pl.col("verdict"),
        told(pl.col("total"), ": ", " of 100 points, grade "),
        pl.col("grade"),
        per_cent(pl.col("confidence"), ", with ", " % of the inputs known.", digits=0),
    )
    return pl.coalesce(judged, per_cent(pl.col("confidence"), "No verdict: only ", needed, digits=0))


def _held_back() -> pl.Expr:
    """Only where the points alone would earn more."""
    return pl.when(pl.col("earned") > pl.col("level")).then(
        text("\nHeld back from ", pl.col("next_verdict"), " by: ", pl.col("held_back_by"), ".")
    )


def _component(column: str, name: str, sentences: list[pl.Expr]) -> list[pl.Expr]:
    """`Technical 64 of 100.` and the sentences that are known; `Technical unknown…` where it has a weight, no score."""
    is_known = pl.col(column).is_not_null()
    weighs = pl.col(f"weight_{column.removesuffix('_score')}") > 0
    unknown = pl.when(weighs).then(pl.lit(f"\n{name} unknown: too few of its inputs are known."))
    head = pl.coalesce(told(pl.col(column), f"\n{name} ", " of 100.", digits=0), unknown)
    return [head, *(pl.when(is_known).then(sentence) for sentence in sentences)]


def _fundamental() -> list[pl.Expr]:
    is_stock = pl.col("asset_type") == "stock"
    no_earnings = " No P/E below 1,000, or none at all: it hardly earns anything."
    no_equity = " Debt is more than 99.99 times equity, or equity is negative."
    stock = [
        told(_measure("pe_trailing"), " P/E ", ".", beyond=no_earnings),
        per_cent(_measure("return_on_equity"), " Return on equity ", " %."),
        per_cent(_measure("revenue_growth"), " Revenue ", " % in a year.", signed=True),
        told(_measure("debt_to_equity"), " Debt ", " times equity.", digits=2, beyond=no_equity),
        per_cent(_measure("free_cash_flow_yield"), " Free cash flow ", " % of the price."),
        per_cent(pl.col("dcf_upside"), " By discounted cash flow worth ", " % to the price.", signed=True),
    ]
    fund = [
        per_cent(_measure("expense_ratio"), " Costs ", " % a year.", digits=2),
        per_cent(_measure("fund_yield"), " Yields ", " %."),
        told(_measure("duration"), " Duration ", " years."),
    ]
    return [*(pl.when(is_stock).then(one) for one in stock), *(pl.when(~is_stock).then(one) for one in fund)]


def _technical() -> list[pl.Expr]:
    return [
        per_cent(_measure("trend_200"), " Price ", " % to its 200-session average.", signed=True),
        per_cent(_measure("distance_from_high"), " Price ", " % to its 52-week high.", signed=True),
        told(_measure("rsi_14"), " RSI ", ".", digits=0),
    ]


def _relative_strength() -> list[pl.Expr]:
    rank = _measure("relative_strength_rank")
    return [told(rank, " Stronger over the last year than about ", " % of members.", digits=0)]


def _sector() -> list[pl.Expr]:
    beyond = per_cent(_measure("sector_return_63"), " did ", " % in 63 sessions beyond all others.", signed=True)
    above = " % of it trade above their 50-session average."
    return [
        text(" The rest of ", pl.col("sector"), beyond),
        per_cent(_measure("sector_breadth_50"), " ", above, digits=0),
    ]


def _catalyst() -> list[pl.Expr]:
    surprise = per_cent(_measure("last_surprise"), " Last earnings ", " % to what was expected.", signed=True)
    return [
        pl.when(pl.col("judged_last_surprise")).then(surprise),
        per_cent(_measure("target_upside"), " Analysts' target ", " % to the price.", signed=True),
        told(_measure("news_sentiment"), " Tone of the news ", " from -1 to 1.", digits=2),
    ]
