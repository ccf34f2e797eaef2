"""The named quality rules of a snapshot: what each one says, how grave it is, and which numbers it condemns.

What belongs here: what can be judged of one snapshot with the bars of its own session. What does not: choosing the
snapshot of a session (`view.py`).

Everything is judged as of the session the snapshot speaks of: its price against the close as traded that day, its range
against the highest high and lowest low of the 252 sessions up to it. A split between that session and the one that
reads the snapshot therefore does not disturb a rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final, Literal

import polars as pl

Severity = Literal["suspect", "bad"]

GOOD: Final = "good"
SEVERITIES: Final = ("suspect", "bad")

UNIT: Final = 100.0
UNIT_TOLERANCE: Final = 0.20
"""Pence for pounds, cents for dollars: a price within 20 % of 100 times the close, or of a hundredth of it."""
PRICE_TOLERANCE: Final = 0.25
"""The smallest common split is 3 for 2, which moves a price by a third; between the hour of a snapshot and its
session's close a share of an index moves by a quarter about once in ten thousand days."""
PRICE_APART: Final = 0.10
"""Beyond a tenth the snapshot is of another day than it says."""
RANGE_TOLERANCE: Final = 0.02
"""How far a price may lie outside its own range: a live price makes a new high before the range is refreshed. Of the
12,542 real snapshots of 2014 to 2017 three lie further outside; of the 2,000 of May to August 2013, 308."""
RANGE_APART: Final = 0.15
"""How far a stated 52-week high or low may be from ours: 52 weeks of the calendar and 252 sessions may differ by the
very day of an extreme, and some providers count closes alone."""
CAP_ABOVE: Final = 1.25
"""Price x shares over the stated capitalisation; buy-backs and new shares between two reports stay below it."""
CAP_BELOW: Final = 0.02
"""The shares of one class may be a small part of all: Alphabet's class C is under half, Berkshire's class A a quarter
of the capitalisation. A fiftieth is a unit, not a class."""

_RANGE: Final = ("high_52_weeks", "low_52_weeks")
_PER_SHARE: Final = ("eps_trailing", "eps_forward")
_WITH_ACCOUNTS: Final = (
    "pe_trailing", "pe_forward", "peg", "price_to_book", "price_to_sales", "ev_to_ebitda", "free_cash_flow_yield",
)  # fmt: skip
_ACCOUNTS: Final = (
    "total_debt", "total_cash", "revenue", "ebitda", "net_income", "operating_cash_flow", "free_cash_flow",
)  # fmt: skip
_OF_PRICE: Final = (
    "price", "market_cap", "shares_outstanding", "enterprise_value", *_WITH_ACCOUNTS, *_PER_SHARE, "dividend_yield",
    "target_mean_price", *_RANGE, "nav_premium",
)  # fmt: skip

BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "price": (1e-4, 1e7),
    "market_cap": (1.0, 1e16),
    "shares_outstanding": (1.0, 1e13),
    "enterprise_value": (-1e15, 1e16),
    "pe_trailing": (-1e4, 1e4),
    "pe_forward": (-1e4, 1e4),
    "peg": (-1e3, 1e3),
    "price_to_book": (-1e4, 1e4),
    "price_to_sales": (1e-6, 1e5),
    "ev_to_ebitda": (-1e4, 1e4),
    "return_on_equity": (-1e3, 1e3),
    "return_on_assets": (-1e2, 1e2),
    "gross_margin": (-1e3, 1.001),
    "operating_margin": (-1e4, 1e2),
    "profit_margin": (-1e4, 1e2),
    "debt_to_equity": (0.0, 1e4),
    "current_ratio": (0.0, 1e3),
    "quick_ratio": (0.0, 1e3),
    "total_debt": (0.0, 1e16),
    "free_cash_flow_yield": (-1e2, 1e2),
    "dividend_yield": (0.0, 0.6),
    "payout_ratio": (-1e3, 1e3),
    "beta": (-20.0, 20.0),
    "short_share_of_float": (0.0, 2.0),
    "target_mean_price": (1e-4, 1e7),
    "recommendation_mean": (1.0, 5.0),
    "analysts": (0.0, 500.0),
    "high_52_weeks": (1e-4, 1e7),
    "low_52_weeks": (1e-4, 1e7),
    "expense_ratio": (0.0, 0.25),
    "assets_under_management": (0.0, 1e14),
    "fund_yield": (0.0, 1.0),
    "nav_premium": (-0.9, 5.0),
    "duration": (-10.0, 60.0),
    "credit_share_investment_grade": (0.0, 1.01),
}
"""What a number can be at all; a loss has a negative P/E at some providers, negative equity a negative P/B."""


@dataclass(frozen=True)
class Rule:
    """A quality rule.

    severity: suspect (shown, without the numbers it condemns) or bad (the row's numbers are not used).
    condemns: the columns that become null; empty where none is wrong for certain, or where it depends on the row.
    reason: why the severity is what it is.
    """

    name: str
    severity: Severity
    condemns: tuple[str, ...]
    description: str
    reason: str


_ALL = (
    Rule(
        "price_unit",
        "bad",
        _OF_PRICE,
        "The price is 100 times the session's close or a hundredth of it, within 20 %",
        "The snapshot counts in another unit: every number with a price in it is off by a factor of 100",
    ),
    Rule(
        "price_mismatch",
        "bad",
        _OF_PRICE,
        "The price is more than 25 % from the close as traded on the snapshot's session",
        "Another share, another split basis or another date: no ratio made with that price holds",
    ),
    Rule(
        "price_apart",
        "suspect",
        (),
        "The price is 10 to 25 % from the close as traded on the snapshot's session",
        "A wild day looks the same as a snapshot of another day; ratios are off by no more than that",
    ),
    Rule(
        "range_swapped",
        "suspect",
        _RANGE,
        "The 52-week low is above the 52-week high",
        "Which of the two is right cannot be known from the row: both go, the rest is sound",
    ),
    Rule(
        "range_stale",
        "suspect",
        _RANGE,
        "The price lies more than 2 % outside the 52-week range, or an end of the range is more than 15 % from the "
        "high or low of our own 252 sessions",
        "The range was not refreshed, or is not adjusted for a split; the rest of the row may well be",
    ),
    Rule(
        "impossible_value",
        "suspect",
        (),
        "A number lies outside what it can be at all (`BOUNDS`): negative shares, a yield of 300 %; it alone goes",
        "One field in a wrong unit says nothing about the others",
    ),
    Rule(
        "cap_mismatch",
        "suspect",
        ("market_cap", "shares_outstanding", "enterprise_value", "free_cash_flow_yield"),
        "Price x shares is more than 1.25 times the capitalisation, or less than a fiftieth of it",
        "Either the shares or the capitalisation is wrong, and nothing says which; a second class explains only less",
    ),
    Rule(
        "currency_mismatch",
        "suspect",
        (*_WITH_ACCOUNTS, *_PER_SHARE, *_ACCOUNTS, "enterprise_value"),
        "The accounts are in another currency than the quote (pence and pounds count as two)",
        "Ratios of price to accounts mix the two (a P/B of 185 for 1.85), and amounts are not in the row's currency; "
        "ratios within the accounts hold",
    ),
)

RULES: dict[str, Rule] = {rule.name: rule for rule in _ALL}
"""Every rule by name, in the order in which names are joined in the `rules` column."""


def judge(snapshots: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """`snapshots` with `data_quality` and `rules`, and null for every number that a rule condemns.

    snapshots: [session, instrument_id, currency, financial_currency] and the facts, any of which may be absent; the
    session is the one the snapshot speaks of. bars: [session, instrument_id, close, high_252, low_252] of those
    sessions, as traded; where there is none, what needs it is not judged. Comparisons with nulls do not condemn.
    """
    facts = set(snapshots.columns)
    ours = bars.select("session", "instrument_id", _close="close", _high="high_252", _low="low_252")
    rows = snapshots.join(ours, on=["session", "instrument_id"], how="left", maintain_order="left")
    rows = rows.with_columns(
        pl.lit(None, pl.Float64).alias(name)
        for name in ("price", "high_52_weeks", "low_52_weeks", "market_cap", "shares_outstanding")
        if name not in facts
    )
    outside = {name: _outside(name) for name in BOUNDS if name in facts}
    of_price = _price_rules()
    # A price that is wrong itself says nothing against the range and the capitalisation.
    sound = ~(of_price["price_unit"] | of_price["price_mismatch"])
    of_range = _range_rules()
    broken = {
        **of_price,
        "range_swapped": of_range["range_swapped"],
        "range_stale": sound & of_range["range_stale"],
        "impossible_value": reduce(or_, outside.values(), pl.lit(False)),
        "cap_mismatch": sound & _cap_mismatch(),
        "currency_mismatch": (pl.col("currency") != pl.col("financial_currency")).fill_null(False),
    }
    rows = rows.with_columns(broken[name].alias(f"_{name}") for name in RULES)
    condemned = {
        column: [pl.col(f"_{rule.name}") for rule in RULES.values() if column in rule.condemns]
        for column in snapshots.columns
    }
    bad = pl.any_horizontal(f"_{name}" for name, rule in RULES.items() if rule.severity == "bad")
    suspect = pl.any_horizontal(f"_{name}" for name in RULES)
    return rows.select(
        *(
            pl.when(~reduce(or_, [*marks, *([outside[column]] if column in outside else [])])).then(pl.col(column))
            if marks or column in outside
            else pl.col(column)
            for column, marks in condemned.items()
        ),
        data_quality=pl.when(bad).then(pl.lit("bad")).when(suspect).then(pl.lit("suspect")).otherwise(pl.lit(GOOD)),
        rules=pl.concat_str(
            (pl.when(pl.col(f"_{name}")).then(pl.lit(name)) for name in RULES), separator=",", ignore_nulls=True
        ),
    )


def _price_rules() -> dict[str, pl.Expr]:
    ratio = pl.col("price") / pl.col("_close")
    known = (pl.col("price") > 0) & (pl.col("_close") > 0)
    factor = pl.max_horizontal(ratio, 1 / ratio)
    unit = known & factor.is_between(UNIT * (1 - UNIT_TOLERANCE), UNIT * (1 + UNIT_TOLERANCE))
    apart = (ratio - 1).abs().round(9)
    return {
        "price_unit": unit.fill_null(False),
        "price_mismatch": (known & ~unit & (apart > PRICE_TOLERANCE)).fill_null(False),
        "price_apart": (known & apart.is_between(PRICE_APART, PRICE_TOLERANCE, closed="right")).fill_null(False),
    }


def _range_rules() -> dict[str, pl.Expr]:
    high, low, price = pl.col("high_52_weeks"), pl.col("low_52_weeks"), pl.col("price")
    swapped = (low > high).fill_null(False)
    outside = ((price > high * (1 + RANGE_TOLERANCE)) | (price < low * (1 - RANGE_TOLERANCE))).fill_null(False)
    other = reduce(
        or_,
        (
            ((stated / ours - 1).abs().round(9) > RANGE_APART).fill_null(False)
            for stated, ours in ((high, pl.col("_high")), (low, pl.col("_low")))
        ),
    )
    return {"range_swapped": swapped, "range_stale": ~swapped & (outside | other)}


def _cap_mismatch() -> pl.Expr:
    ratio = (pl.col("price") * pl.col("shares_outstanding") / pl.col("market_cap")).round(9)
    positive = (pl.col("market_cap") > 0) & (pl.col("shares_outstanding") > 0)
    return (positive & ~ratio.is_between(CAP_BELOW, CAP_ABOVE)).fill_null(False)


def _outside(name: str) -> pl.Expr:
    low, high = BOUNDS[name]
    return (~pl.col(name).cast(pl.Float64).is_between(low, high)).fill_null(False)
