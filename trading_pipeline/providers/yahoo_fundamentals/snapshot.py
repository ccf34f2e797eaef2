"""What a quoteSummary says: every column of a snapshot from the field that states it, in our units.

What belongs here: which field of which module is which column, in which unit, and what is done with the rest. What does
not: requests, and judging the numbers.

The units, from the bodies recorded in 2021 and 2025:

- `debtToEquity` is per cent: Apple's 145 beside a debt of 96.8 billion on 66.7 billion of book value.
- `dividendYield` of `summaryDetail` is a fraction (0.0041 beside a rate of 1.00 on 245.55), while the quote endpoint
  has told per cent under the same name since 2025. The rate over the price decides which of the two it is.
  `trailingAnnualDividendYield`, margins, returns, growth, payout, fund yields and expense ratios are fractions;
  `fiveYearAvgDividendYield` is per cent, and stays in the payload.
- Two fields are called `forwardPE`: that of `summaryDetail` is the price over `forwardEps` (29.55 is 245.55 over 8.31),
  that of `defaultKeyStatistics` is of an older price.
- The capitalisation and the enterprise value of a share quoted in pence are in pounds (Ocado: 823 million shares at 309
  are 2.54 billion): they are multiplied, so that amounts are in the unit of the price. Ratios of its price to its
  accounts are as stated, though some are 100 times too large (a P/B of 185): the rule `currency_mismatch` is for them.
- `sharesOutstanding` is one class, `impliedSharesOutstanding` all of them, at some dates stale: the one whose value at
  the price is nearer to the capitalisation is taken (Alphabet: 12.1 billion, not 5.5).
- `totalNetAssets` of the fund profile is of another date and unit than `totalAssets`, and stays in the payload; so do
  the ratios of a fund's holdings, which were multiples in 2021 and their reciprocals in 2025.
- `us_government` among the bond ratings is a sector, not a rating: the other ratings add up to the whole.

A field that is absent, null, `{}`, "Infinity" or "NaN" is null here, never 0. The payload holds every field that is not
in a column exactly as it was received; what went into a column after a choice or a conversion that could be wrong is in
both.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

import polars as pl

from trading_pipeline.providers.errors import NotFound, SchemaChanged
from trading_pipeline.providers.reference import FUNDAMENTALS_SCHEMA
from trading_pipeline.providers.yahoo_client import NO_CURRENCY

MODULES: Final = (
    "price", "quoteType", "summaryDetail", "defaultKeyStatistics", "financialData", "summaryProfile", "fundProfile",
    "topHoldings", "fundPerformance",
)  # fmt: skip
"""What is asked for. Yahoo leaves out the modules it has nothing for; fundPerformance, which holds how closely a fund
tracks its category and index, is kept in the payload."""

Path = tuple[str, ...]

FIELDS: Final[dict[str, tuple[Path, ...]]] = {
    "name": (("price", "longName"), ("quoteType", "longName"), ("price", "shortName"), ("quoteType", "shortName")),
    "sector": (("summaryProfile", "sector"),),
    "industry": (("summaryProfile", "industry"),),
    "price": (("price", "regularMarketPrice"), ("financialData", "currentPrice")),
    "market_cap": (("price", "marketCap"), ("summaryDetail", "marketCap")),
    "enterprise_value": (("defaultKeyStatistics", "enterpriseValue"),),
    "pe_trailing": (("summaryDetail", "trailingPE"),),
    "pe_forward": (("summaryDetail", "forwardPE"), ("defaultKeyStatistics", "forwardPE")),
    "peg": (("defaultKeyStatistics", "pegRatio"),),
    "price_to_book": (("defaultKeyStatistics", "priceToBook"),),
    "price_to_sales": (("summaryDetail", "priceToSalesTrailing12Months"),),
    "ev_to_ebitda": (("defaultKeyStatistics", "enterpriseToEbitda"),),
    "return_on_equity": (("financialData", "returnOnEquity"),),
    "return_on_assets": (("financialData", "returnOnAssets"),),
    "gross_margin": (("financialData", "grossMargins"),),
    "operating_margin": (("financialData", "operatingMargins"),),
    "profit_margin": (("financialData", "profitMargins"), ("defaultKeyStatistics", "profitMargins")),
    "debt_to_equity": (("financialData", "debtToEquity"),),
    "current_ratio": (("financialData", "currentRatio"),),
    "quick_ratio": (("financialData", "quickRatio"),),
    "total_debt": (("financialData", "totalDebt"),),
    "total_cash": (("financialData", "totalCash"),),
    "revenue": (("financialData", "totalRevenue"),),
    "ebitda": (("financialData", "ebitda"),),
    "net_income": (("defaultKeyStatistics", "netIncomeToCommon"),),
    "operating_cash_flow": (("financialData", "operatingCashflow"),),
    "free_cash_flow": (("financialData", "freeCashflow"),),
    "eps_trailing": (("defaultKeyStatistics", "trailingEps"),),
    "eps_forward": (("defaultKeyStatistics", "forwardEps"),),
    "revenue_growth": (("financialData", "revenueGrowth"),),
    "earnings_growth": (("financialData", "earningsGrowth"),),
    "dividend_yield": (("summaryDetail", "dividendYield"), ("summaryDetail", "trailingAnnualDividendYield")),
    "payout_ratio": (("summaryDetail", "payoutRatio"),),
    "beta": (("summaryDetail", "beta"), ("defaultKeyStatistics", "beta"), ("defaultKeyStatistics", "beta3Year")),
    "short_share_of_float": (("defaultKeyStatistics", "shortPercentOfFloat"),),
    "target_mean_price": (("financialData", "targetMeanPrice"),),
    "recommendation_mean": (("financialData", "recommendationMean"),),
    "analysts": (("financialData", "numberOfAnalystOpinions"),),
    "high_52_weeks": (("summaryDetail", "fiftyTwoWeekHigh"),),
    "low_52_weeks": (("summaryDetail", "fiftyTwoWeekLow"),),
    "expense_ratio": (
        ("fundProfile", "feesExpensesInvestment", "annualReportExpenseRatio"),
        ("defaultKeyStatistics", "annualReportExpenseRatio"),
    ),
    "assets_under_management": (("summaryDetail", "totalAssets"), ("defaultKeyStatistics", "totalAssets")),
    "fund_yield": (("summaryDetail", "yield"), ("defaultKeyStatistics", "yield")),
    "duration": (("topHoldings", "bondHoldings", "duration"),),
    "currency": (("price", "currency"), ("summaryDetail", "currency")),
}
"""The fields that state a column, the preferred one first."""

SCALES: Final = {"debt_to_equity": 0.01}
"""What a field is multiplied by."""

MINOR_UNITS: Final = {"GBp": "GBP", "GBX": "GBP", "ZAc": "ZAR", "ILA": "ILS"}
"""Currencies that Yahoo quotes shares in by the hundredth, and the one it tells amounts in."""

_TEXTS: Final = ("name", "sector", "industry", "currency")
# The field stays in the payload too: the column was chosen or converted by evidence.
_JUDGED: Final = ("dividend_yield",)
_KINDS: Final = {
    "EQUITY": "stock", "ETF": "etf", "MUTUALFUND": "fund", "INDEX": "index", "CRYPTOCURRENCY": "crypto",
    "CURRENCY": "currency",
}  # fmt: skip
_BOND_CATEGORY: Final = re.compile(r"\bbond|\bgovernment\b|\bmuni\b|bank loan|target maturity", re.IGNORECASE)
_INVESTMENT_GRADE: Final = ("aaa", "aa", "a", "bbb")
_SECTOR_RATING: Final = "us_government"
_NOT_FINITE: Final = {"Infinity", "-Infinity", "NaN"}


def snapshot_of(
    symbol: str, modules: Mapping[str, Any], peg: float | None, *, session: date, available_at: datetime
) -> pl.DataFrame:
    """One row of `FUNDAMENTALS_SCHEMA`.

    modules: of a quoteSummary, by name. peg: the PEG ratio where it came from elsewhere. `NotFound` where the answer is
    about another symbol, `SchemaChanged` where a field is of another type than it was.
    """
    answered = _text(symbol, modules, ("price", "symbol")) or _text(symbol, modules, ("quoteType", "symbol"))
    if answered is None:
        raise SchemaChanged(f"Yahoo's summary of {symbol} has neither a price nor a quote type")
    if answered.upper() != symbol.upper():
        raise NotFound(f"Yahoo answered {symbol} with the fundamentals of {answered}")
    row: dict[str, Any] = dict.fromkeys(FUNDAMENTALS_SCHEMA.names())
    taken: set[Path] = set()
    for column, paths in FIELDS.items():
        read = _text if column in _TEXTS else _number
        for path in paths:
            value = read(symbol, modules, path)
            if value is not None:
                row[column] = value
                if column not in _JUDGED and not isinstance(_at(modules, path), dict):
                    taken.add(path)
                break
    for column, scale in SCALES.items():
        row[column] = None if row[column] is None else row[column] * scale
    row["peg"] = row["peg"] if row["peg"] is not None else peg
    row["currency"] = row["currency"] or NO_CURRENCY
    accounts = _text(symbol, modules, ("financialData", "financialCurrency"))
    if row["currency"] in MINOR_UNITS:
        for column in ("market_cap", "enterprise_value"):
            row[column] = None if row[column] is None else row[column] * 100.0
            taken -= set(FIELDS[column])
    row |= {
        "symbol": symbol,
        "session": session,
        "available_at": available_at,
        "asset_type": _asset_type(symbol, modules),
        "financial_currency": accounts if accounts != row["currency"] else None,
        "shares_outstanding": _shares(symbol, modules, row["market_cap"], row["price"]),
        "dividend_yield": _dividend_yield(symbol, modules, row["dividend_yield"], row["price"]),
        "nav_premium": _ratio(row["price"], _number(symbol, modules, ("summaryDetail", "navPrice")), -1.0),
        "credit_share_investment_grade": _investment_grade(symbol, modules),
        "holdings": _holdings(symbol, modules),
        "sector_weights": _sector_weights(symbol, modules),
    }
    if accounts == row["currency"]:
        row["free_cash_flow_yield"] = _ratio(row["free_cash_flow"], row["market_cap"])
    if row["analysts"] is not None:
        row["analysts"] = int(row["analysts"])
    row["payload"] = json.dumps(_rest(modules, taken), ensure_ascii=False, separators=(",", ":"))
    return pl.DataFrame([row], schema=FUNDAMENTALS_SCHEMA)


def _at(modules: Mapping[str, Any], path: Path) -> Any:
    """The value at `path`; None where any step of it is absent."""
    value: Any = modules
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _number(symbol: str, modules: Mapping[str, Any], path: Path) -> float | None:
    """The number at `path`, formatted or not; None for what says that there is none."""
    return _as_number(symbol, _at(modules, path), ".".join(path))


def _as_number(symbol: str, value: Any, what: str) -> float | None:
    if isinstance(value, Mapping):
        value = value.get("raw")
    if value is None or (isinstance(value, str) and value in _NOT_FINITE):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SchemaChanged(f"Yahoo's {what} of {symbol} is {value!r}, not a number")
    return float(value) if math.isfinite(value) else None


def _text(symbol: str, modules: Mapping[str, Any], path: Path) -> str | None:
    value = _at(modules, path)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise SchemaChanged(f"Yahoo's {'.'.join(path)} of {symbol} is {value!r}, not text")
    return value


def _ratio(over: float | None, under: float | None, plus: float = 0.0) -> float | None:
    return over / under + plus if over is not None and under else None


def _asset_type(symbol: str, modules: Mapping[str, Any]) -> str:
    """What it is: an ETF holds bonds where half its assets are, or where its category says so."""
    kind = _text(symbol, modules, ("quoteType", "quoteType")) or _text(symbol, modules, ("price", "quoteType"))
    if kind is None:
        raise SchemaChanged(f"Yahoo's summary of {symbol} does not say what it is")
    if kind == "ETF":
        category = _text(symbol, modules, ("fundProfile", "categoryName")) or _text(
            symbol, modules, ("defaultKeyStatistics", "category")
        )
        in_bonds = _number(symbol, modules, ("topHoldings", "bondPosition")) or 0.0
        if in_bonds >= 0.5 or _BOND_CATEGORY.search(category or ""):
            return "bond_etf"
    return _KINDS.get(kind, "other")


def _shares(symbol: str, modules: Mapping[str, Any], cap: float | None, price: float | None) -> float | None:
    """Shares outstanding: of one class, or of all where that explains the capitalisation better."""
    told = [
        shares
        for field in ("sharesOutstanding", "impliedSharesOutstanding")
        if (shares := _number(symbol, modules, ("defaultKeyStatistics", field))) is not None
    ]
    if len(told) < 2 or not cap or not price or min(told) <= 0 or cap / price <= 0:
        return told[0] if told else None
    return min(told, key=lambda shares: abs(math.log(shares * price / cap)))


def _dividend_yield(symbol: str, modules: Mapping[str, Any], stated: float | None, price: float | None) -> float | None:
    """The yield as a fraction: a hundredth of what is stated where that is nearer to the rate over the price."""
    rate = _number(symbol, modules, ("summaryDetail", "dividendRate"))
    told = _number(symbol, modules, ("summaryDetail", "dividendYield"))
    if told is None or not rate or not price or told <= 0:
        return stated
    by_rate = rate / price
    return min((told, told / 100), key=lambda value: abs(math.log(value / by_rate)))


def _investment_grade(symbol: str, modules: Mapping[str, Any]) -> float | None:
    """Share of the ratings that is BBB or better; None where nothing is rated."""
    ratings = _merged(symbol, modules, "bondRatings")
    shares = {grade: share for grade, share in ratings.items() if grade != _SECTOR_RATING and share is not None}
    total = sum(shares.values())
    return sum(shares.get(grade, 0.0) for grade in _INVESTMENT_GRADE) / total if total > 0 else None


def _holdings(symbol: str, modules: Mapping[str, Any]) -> str | None:
    held = _at(modules, ("topHoldings", "holdings"))
    if not held:
        return None
    if not isinstance(held, list) or not all(isinstance(each, Mapping) for each in held):
        raise SchemaChanged(f"Yahoo's holdings of {symbol} are no list of holdings")
    return json.dumps(
        [
            {
                "symbol": each.get("symbol"),
                "name": each.get("holdingName"),
                "weight": _as_number(symbol, each.get("holdingPercent"), "holdingPercent"),
            }
            for each in held
        ],
        ensure_ascii=False,
    )


def _sector_weights(symbol: str, modules: Mapping[str, Any]) -> str | None:
    weights = _merged(symbol, modules, "sectorWeightings")
    return json.dumps(weights) if any(weights.values()) else None


def _merged(symbol: str, modules: Mapping[str, Any], field: str) -> dict[str, float | None]:
    """One object of a list of objects with one number each."""
    told = _at(modules, ("topHoldings", field)) or []
    if not isinstance(told, list) or not all(isinstance(each, Mapping) for each in told):
        raise SchemaChanged(f"Yahoo's {field} of {symbol} are no list of shares")
    return {name: _as_number(symbol, share, f"{field}.{name}") for each in told for name, share in each.items()}


def _rest(modules: Mapping[str, Any], taken: set[Path], path: Path = ()) -> dict[str, Any]:
    """`modules` without the fields at the paths `taken`."""
    return {
        name: _rest(value, taken, (*path, name)) if isinstance(value, Mapping) else value
        for name, value in modules.items()
        if (*path, name) not in taken
    }
