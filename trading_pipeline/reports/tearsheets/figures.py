"""A name's figures among its peers, and what would have to change for a better verdict.

What belongs here: labels, units, medians and places among the peers of one session. What does not: the points that the
screener gives for a figure (`research/screener/`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from trading_pipeline.reports import wording

LEAST_PEERS = 5
"""Values from which a median says something: of fewer, one decides it."""

Unit = Literal["times", "percent", "fine", "number", "whole", "large"]
_SHOWN: Mapping[Unit, Callable[[float | None], str]] = {
    "times": wording.times,
    "percent": wording.percent,
    "fine": lambda value: wording.percent(value, 2),
    "number": lambda value: wording.number(value, 2),
    "whole": lambda value: wording.number(value, 0),
    "large": wording.large,
}


@dataclass(frozen=True)
class Figure:
    """A figure of a company: its column in FUNDAMENTALS, what it is, and whether less or more of it is better."""

    column: str
    label: str
    unit: Unit
    better: Literal["less", "more"] | None = None

    def shown(self, value: float | None) -> str:
        """The value as a reader sees it."""
        return _SHOWN[self.unit](value)


VALUE = (
    Figure("pe_trailing", "Price / earnings", "times", "less"),
    Figure("pe_forward", "Price / expected earnings", "times", "less"),
    Figure("peg", "P/E over growth (PEG)", "times", "less"),
    Figure("price_to_book", "Price / book value", "times", "less"),
    Figure("price_to_sales", "Price / sales", "times", "less"),
    Figure("ev_to_ebitda", "Enterprise value / EBITDA", "times", "less"),
    Figure("free_cash_flow_yield", "Free cash flow yield", "percent", "more"),
    Figure("dividend_yield", "Dividend yield", "percent", "more"),
)
BUSINESS = (
    Figure("return_on_equity", "Return on equity", "percent", "more"),
    Figure("return_on_assets", "Return on assets", "percent", "more"),
    Figure("gross_margin", "Gross margin", "percent", "more"),
    Figure("operating_margin", "Operating margin", "percent", "more"),
    Figure("profit_margin", "Profit margin", "percent", "more"),
    Figure("revenue_growth", "Revenue growth, a year", "percent", "more"),
    Figure("earnings_growth", "Earnings growth, a year", "percent", "more"),
    Figure("debt_to_equity", "Debt / equity", "number", "less"),
    Figure("current_ratio", "Current assets / liabilities", "number", "more"),
)
CORE = (
    Figure("market_cap", "Market value", "large"),
    Figure("pe_trailing", "Price / earnings", "times"),
    Figure("free_cash_flow_yield", "Free cash flow yield", "percent"),
    Figure("return_on_equity", "Return on equity", "percent"),
    Figure("revenue_growth", "Revenue growth", "percent"),
    Figure("debt_to_equity", "Debt / equity", "number"),
)
FUND = (
    Figure("assets_under_management", "Assets", "large"),
    Figure("expense_ratio", "Costs a year", "fine"),
    Figure("fund_yield", "Yield", "percent"),
    Figure("nav_premium", "Price over assets", "fine"),
    Figure("duration", "Duration, years", "number"),
    Figure("credit_share_investment_grade", "Investment grade", "percent"),
)

INPUTS = {
    figure.column: figure
    for figure in (
        *VALUE,
        *BUSINESS,
        *FUND,
        Figure("payout_ratio", "Dividends / earnings", "percent"),
        Figure("trend_200", "Price to its 200-session average", "percent"),
        Figure("trend_50", "Price to its 50-session average", "percent"),
        Figure("averages", "50- to 200-session average", "percent"),
        Figure("return_126", "Return over 126 sessions", "percent"),
        Figure("macd_momentum", "MACD histogram / price", "percent"),
        Figure("rsi_14", "RSI", "whole"),
        Figure("distance_from_high", "Distance from the 52-week high", "percent"),
        Figure("volume_thrust", "Volume beyond its average", "number"),
        Figure("relative_strength_rank", "Relative strength, 1 to 99", "whole"),
        Figure("sector_return_63", "Sector's return beyond all others'", "percent"),
        Figure("sector_breadth_50", "Sector above its 50-session average", "percent"),
        Figure("last_surprise", "Last earnings surprise", "percent"),
        Figure("beat_rate", "Reports above the estimate", "percent"),
        Figure("expected_reaction", "Expected reaction to the report", "percent"),
        Figure("news_sentiment", "Tone of the news, -1 to 1", "number"),
        Figure("target_upside", "Analysts' target to the price", "percent"),
        Figure("recommendation_mean", "Analysts' rating, 1 (buy) to 5", "number"),
        Figure("bond_expense_ratio", "Costs a year", "fine"),
        Figure("tracking_gap", "Price off its assets", "fine"),
        Figure("investment_grade", "Investment grade", "percent"),
        Figure("dollar_volume_20", "Traded a day", "large"),
        Figure("history", "Sessions of history", "whole"),
        Figure("cash_conversion", "Operating cash flow / profit", "number"),
    )
}
"""The screener's inputs and what its gates measure, by name; one that is not named here is shown by its name."""

_MULTIPLES = ("pe_trailing", "pe_forward", "price_to_book", "price_to_sales")


def among_peers(scores: pl.DataFrame, fundamentals: pl.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """For each stock (by instrument id) and figure of VALUE and BUSINESS: value, sector, size, better.

    scores, fundamentals: rows of one session. value: the figure; null for a multiple that is not positive, and where
    the snapshot is bad. sector, size: medians of its sector and its size bucket, itself included, where LEAST_PEERS are
    known. better: share of its sector's others whose value is worse, fraction.
    """
    stocks = scores.filter(pl.col("asset_type") == "stock").select("instrument_id", "sector", "size_bucket")
    figures = (*VALUE, *BUSINESS)
    known = fundamentals.filter(pl.col("data_quality") != "bad").select(
        "instrument_id",
        *(
            pl.when((pl.col(figure.column) > 0) | (figure.unit != "times")).then(pl.col(figure.column).round(9))
            for figure in figures
        ),
    )
    rows = stocks.join(known, on="instrument_id", how="left", maintain_order="left")
    expressions = []
    for figure in figures:
        value = pl.col(figure.column)
        worse = value if figure.better == "more" else -value
        others = value.count().over("sector") - 1
        below = (worse.rank("min").over("sector") - 1) / others
        enough = pl.col("sector").is_not_null() & (others >= LEAST_PEERS - 1)
        expressions += [
            pl.when(enough).then(value.median().over("sector")).alias(f"{figure.column}/sector"),
            pl.when((value.count().over("size_bucket") >= LEAST_PEERS) & (pl.col("size_bucket") != "unknown"))
            .then(value.median().over("size_bucket"))
            .alias(f"{figure.column}/size"),
            pl.when(enough).then(below).alias(f"{figure.column}/better"),
        ]
    told = rows.with_columns(expressions)
    return {
        row["instrument_id"]: {
            figure.column: {
                "value": row[figure.column],
                **{what: row[f"{figure.column}/{what}"] for what in ("sector", "size", "better")},
            }
            for figure in figures
        }
        for row in told.iter_rows(named=True)
    }


def inputs_now(
    fundamentals: Mapping[str, Any] | None, indicators: Mapping[str, Any] | None, calendar: Mapping[str, Any] | None
) -> dict[str, float | None]:
    """The screener's inputs as they stand, as far as the rows of the session tell them."""
    told = {**(indicators or {}), **(calendar or {}), **(fundamentals or {})}

    def ratio(over: str, below: str) -> float | None:
        top, bottom = told.get(over), told.get(below)
        return None if top is None or not bottom else top / bottom - 1

    premium, histogram, close = (told.get(name) for name in ("nav_premium", "macd_histogram", "close"))
    return {
        **{name: told[name] for name in INPUTS if isinstance(told.get(name), int | float)},
        "trend_200": ratio("close", "sma_200"),
        "trend_50": ratio("close", "sma_50"),
        "averages": ratio("sma_50", "sma_200"),
        "target_upside": ratio("target_mean_price", "close"),
        "macd_momentum": histogram / close if histogram is not None and close else None,
        "tracking_gap": None if premium is None else abs(premium),
        "bond_expense_ratio": told.get("expense_ratio"),
        "investment_grade": told.get("credit_share_investment_grade"),
    }


def sensitivity(told: str | None, now: Mapping[str, float | None], price: float | None) -> list[dict[str, Any]]:
    """What each input would have to be, alone, for the next verdict; the smallest change first.

    told: SCREENER_SCORES.sensitivity. now: `inputs_now`. Each row: label, now, needed (as shown), at: the price at
    which a multiple is there if nothing else changes, as shown or empty.
    """
    rows = []
    for name, needed in json.loads(told or "{}").items():
        if not isinstance(needed, int | float):
            continue
        figure = INPUTS.get(name) or Figure(name, name.replace("_", " ").capitalize(), "number")
        value = now.get(name)
        # Relative to the present value, so that figures of all units can be put in one order.
        change = None if value is None else round(abs(needed - value) / max(abs(value), 1e-9), 6)
        at = price * needed / value if name in _MULTIPLES and price and value and value > 0 and needed > 0 else None
        row = {
            "label": figure.label,
            "now": figure.shown(value),
            "needed": figure.shown(needed),
            "up": value is not None and needed > value,
            "at": "" if at is None else wording.price(at),
        }
        # A change too small to be seen is the gap of a total that is almost there.
        rows.append((change is None, change or 0.0, name, row))
    return [row for *_, row in sorted(rows, key=lambda item: item[:3])]


def weights_of(told: str | None, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
    """A fund's holdings or sector weights as the provider gave them; empty where it gave none that can be read."""
    try:
        found = json.loads(told or "null")
    except ValueError:
        return kind()
    return found if isinstance(found, kind) else kind()
