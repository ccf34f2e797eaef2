"""Snapshots of fundamentals and items of statements, as a provider would tell them of the simulated companies.

What belongs here: the told numbers, their gaps and their planted faults. What is true is in `accounts.py`.

A company's snapshot of a session is told only where a provider would change it materially: on its first session, once a
week (every fifth session, each company on its own), on the session that trades on a report and on the ex-date of a
split. The one told last stands until the next. It is made at the close from what is public then, and is available `lag`
later.

120 companies over 560 sessions: 14,200 snapshots in 0.1 s (5 MB); the statements of 15 years: 99,000 items in 0.1 s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final

import numpy as np
import polars as pl

from trading_pipeline.providers.reference import FUNDAMENTALS_SCHEMA, STATEMENTS_SCHEMA
from trading_pipeline.providers.simulated.accounts import BACK, Books
from trading_pipeline.providers.simulated.character import FINANCIALS
from trading_pipeline.providers.simulated.companies import SECTORS
from trading_pipeline.providers.simulated.draws import WEEKDAYS, Flags, Floats, Ints, Stream, summed_runs
from trading_pipeline.sessions import calendar

WEEK: Final = 5
YEAR: Final = 252
FAULT_CHANCE: Final = 0.008  # of a snapshot; a stale range that could not be told from a sound one is not planted
STALE_BY: Final = 60  # sessions
GAP_CHANCE: Final = 0.015  # of a field, company and quarter
# Fields that providers often lack: chance per company and quarter.
OFTEN_MISSING: Final[Mapping[str, float]] = {
    "peg": 0.35,
    "ev_to_ebitda": 0.05,
    "short_share_of_float": 0.12,
    "pe_forward": 0.08,
    "eps_forward": 0.08,
    "free_cash_flow": 0.05,
    "quick_ratio": 0.06,
    "earnings_growth": 0.08,
    "target_mean_price": 0.06,
    "recommendation_mean": 0.06,
}
_GAPPY: Final = (
    "enterprise_value", "pe_forward", "peg", "price_to_book", "price_to_sales", "ev_to_ebitda", "return_on_equity",
    "return_on_assets", "gross_margin", "operating_margin", "profit_margin", "debt_to_equity", "current_ratio",
    "quick_ratio", "total_debt", "total_cash", "revenue", "ebitda", "net_income", "operating_cash_flow",
    "free_cash_flow", "eps_forward", "revenue_growth", "earnings_growth", "payout_ratio", "beta",
    "short_share_of_float", "target_mean_price", "recommendation_mean",
)  # fmt: skip
# Lenders state no current assets and no EBITDA.
_NOT_OF_FINANCIALS: Final = ("current_ratio", "quick_ratio", "ebitda", "ev_to_ebitda", "gross_margin")


class SnapshotFault(IntEnum):
    """What the provider gets wrong about a snapshot."""

    RANGE_SWAPPED = 1  # 52-week high and low in each other's place
    RANGE_STALE = 2  # the range of sixty sessions ago, which the price has left
    CAP_IN_THOUSANDS = 3  # market capitalisation a thousandth of what it is
    DEBT_IN_PER_CENT = 4  # debt to equity times 100
    YIELD_IN_PER_CENT = 5  # dividend yield times 100


def told_cells(books: Books, companies: Ints, positions: Ints) -> tuple[Ints, Ints]:
    """(company, position) of the snapshots that are told of the companies at the session positions."""
    market, slot = books.market, books.character.slot[companies]
    company, position = companies[:, None], positions[None, :]
    listed = (books.first[company] <= position) & (position <= books.last[company])
    quarter = np.searchsorted(market.bounds, positions, "right") - 1
    due = np.where(books.held[companies], books.position[companies], -9)[:, quarter]
    before = np.maximum(positions - 1, 0)
    split_now = market.splits[slot[:, None], position] != market.splits[slot[:, None], before]
    told = ((position + company) % WEEK == 0) | (position == books.first[company]) | (position == due) | split_now
    which, where = np.nonzero(listed & told)
    return companies[which], positions[where]


def snapshots(books: Books, companies: Ints, symbols: Sequence[str], positions: Ints, lag: timedelta) -> pl.DataFrame:
    """`FUNDAMENTALS_SCHEMA`, by symbol and session; `symbols` are the spellings of `companies` that were asked for."""
    company, position = told_cells(books, companies, positions)
    if len(company) == 0:
        return pl.DataFrame(schema=FUNDAMENTALS_SCHEMA)
    told = _numbers(books, company, position)
    _spoil(books, company, position, told)
    _leave_gaps(books, company, position, told)
    market, character = books.market, books.character
    spelled = dict(zip(companies.tolist(), symbols, strict=True))
    names = pl.Series([each.name for each in market.register.companies])
    closes = calendar(market.market.exchange).closes(market.sessions[position])
    texts = {
        "symbol": pl.Series([spelled[each] for each in company.tolist()], dtype=pl.String),
        "session": pl.Series(market.sessions[position], dtype=pl.Date),
        "asset_type": pl.repeat("stock", len(company), eager=True),
        "name": names.gather(company),
        "sector": pl.Series(SECTORS).gather(character.sector[company]),
        "industry": names.str.split(" ").list.last().gather(company),
        "analysts": pl.Series(_analysts(books, company, position), dtype=pl.Int32),
        "currency": pl.repeat(market.market.currency, len(company), eager=True),
        "available_at": pl.Series(closes + np.timedelta64(lag)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    }
    frame = pl.DataFrame({**texts, **{name: pl.Series(values).fill_nan(None) for name, values in told.items()}})
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in FUNDAMENTALS_SCHEMA.items() if name not in frame]
    return frame.with_columns(missing).select(FUNDAMENTALS_SCHEMA.names()).sort("symbol", "session")


@np.errstate(divide="ignore", invalid="ignore")
def _numbers(books: Books, company: Ints, position: Ints) -> dict[str, Floats]:
    """The true numbers of each snapshot; NaN where there is none, as P/E of a loss."""
    market, character = books.market, books.character
    slot, column = character.slot[company], books.published(company, position)
    price, shares = market.close[slot, position], books.shares(company, position)
    cap = price * shares

    def year(name: str, ago: int = 0) -> Floats:
        return np.asarray(trailing[name][company, column - ago])

    trailing = {name: books.trailing(name) for name in ("revenue", "gross", "operating", "ebitda", "net")}
    trailing["operating_cash"] = books.trailing("operating_cash")
    trailing["free_cash"] = trailing["operating_cash"] - books.trailing("capex")
    level = {name: books.column(name)[company, column] for name in ("equity", "debt", "cash", "assets")}
    revenue, net, ebitda, free_cash = year("revenue"), year("net"), year("ebitda"), year("free_cash")
    noise = _opinions(books, company, position)
    growth = (character.revenue_growth[company] + 0.03 + 0.02 * noise[0]).clip(-0.15, 0.3)
    usual = np.maximum(np.abs(net), 0.3 * np.abs(character.margin[company]) * revenue)
    forward = (net + growth * usual) / shares
    earnings = net / shares
    dividend = _dividends(books, company, position)
    enterprise = cap + level["debt"] - level["cash"]
    positive_book = np.where(level["equity"] > 0, level["equity"], np.nan)
    high, low = _year_range(books, company, position)
    quality = character.quality[company]
    return {
        "price": price,
        "market_cap": cap,
        "shares_outstanding": shares,
        "enterprise_value": enterprise,
        "pe_trailing": np.where(earnings > 0, price / earnings, np.nan),
        "pe_forward": np.where(forward > 0, price / forward, np.nan),
        "peg": np.where((earnings > 0) & (growth > 0.01), price / earnings / (100 * growth), np.nan),
        "price_to_book": cap / positive_book,
        "price_to_sales": cap / revenue,
        "ev_to_ebitda": np.where(ebitda > 0, enterprise / ebitda, np.nan),
        "return_on_equity": net / positive_book,
        "return_on_assets": net / level["assets"],
        "gross_margin": year("gross") / revenue,
        "operating_margin": year("operating") / revenue,
        "profit_margin": net / revenue,
        "debt_to_equity": level["debt"] / positive_book,
        "current_ratio": books.column("current_ratio")[company, column],
        "quick_ratio": books.column("quick_ratio")[company, column],
        "total_debt": level["debt"],
        "total_cash": level["cash"],
        "revenue": revenue,
        "ebitda": ebitda,
        "net_income": net,
        "operating_cash_flow": year("operating_cash"),
        "free_cash_flow": free_cash,
        "free_cash_flow_yield": free_cash / cap,
        "eps_trailing": earnings,
        "eps_forward": forward,
        "revenue_growth": revenue / year("revenue", 4) - 1,
        "earnings_growth": np.where((year("net", 4) > 0), net / year("net", 4) - 1, np.nan),
        "dividend_yield": dividend / price,
        "payout_ratio": np.where(earnings > 0, dividend / earnings, np.nan),
        "beta": character.traits.beta[company] + 0.12 * noise[1],
        "short_share_of_float": np.exp(-3.5 - 0.35 * quality + 0.5 * noise[2]).clip(0.001, 0.4),
        "target_mean_price": np.round(_price_of_report(books, company, position) * _optimism(quality, noise[3]), 2),
        "recommendation_mean": np.round((2.4 - 0.3 * quality + 0.3 * noise[4]).clip(1, 5), 2),
        "high_52_weeks": high,
        "low_52_weeks": low,
    }


def _optimism(quality: Floats, noise: Floats) -> Floats:
    return (1.08 + 0.04 * quality + 0.07 * noise).clip(0.7, 1.6)


def _opinions(books: Books, company: Ints, position: Ints) -> Floats:
    """Standard normals of the analysts and of the provider, draws x snapshots; new ones each quarter."""
    market = books.market
    quarter = np.searchsorted(market.bounds, position, "right") - 1
    drawn = np.empty((5, len(company)))
    for each in np.unique(quarter).tolist():
        generator = market.draws.generator(Stream.OPINIONS, int(market.register.blocks[each]))
        here = quarter == each
        drawn[:, here] = generator.standard_normal((market.slots, 8))[books.character.slot[company[here]], :5].T
    return drawn


def _analysts(books: Books, company: Ints, position: Ints) -> Ints:
    """How many analysts follow it: more of them the larger it listed."""
    size = np.log(books.shares0[company] * books.character.traits.price[company] / 1e9)
    return np.asarray((4 + 5 * size + 2 * books.character.habits[company, 20]).clip(1, 45).astype(np.int64))


def _price_of_report(books: Books, company: Ints, position: Ints) -> Floats:
    """Close of the session that traded on the latest report (of the first session before any), in today's splits."""
    market, slot = books.market, books.character.slot[company]
    quarter = books.published(company, position) - BACK
    at = np.where(quarter >= 0, books.position[company, np.maximum(quarter, 0)], books.first[company])
    at = np.maximum(np.where(at < 0, books.first[company], at), books.first[company])
    return np.asarray(market.close[slot, at] * market.splits[slot, at] / market.splits[slot, position])


def _dividends(books: Books, company: Ints, position: Ints) -> Floats:
    """Dividends per share with an ex-date in the 252 sessions up to each, in today's splits; 0 where none."""
    market = books.market
    row, at, amount = market.dividends.columns(3)
    row, at = row.astype(np.int64), at.astype(np.int64)
    of_company = row < market.slots
    row, at, amount = row[of_company], at[of_company], amount[of_company]
    payer = books.company_at(row, at)
    span = len(market.sessions) + 1
    key = payer * span + at
    order = np.argsort(key, kind="stable")
    whole = (amount * market.splits[row, at])[order]
    upto = np.searchsorted(key[order], company * span + position, "right")
    since = np.searchsorted(key[order], company * span + np.maximum(position - YEAR, -1), "right")
    return np.asarray(summed_runs(whole, since, upto) / market.splits[books.character.slot[company], position])


def _year_range(books: Books, company: Ints, position: Ints) -> tuple[Floats, Floats]:
    """Highest high and lowest low of the 252 sessions up to each, in today's splits."""
    market, character = books.market, books.character
    low_end, end = max(int(position.min()) - YEAR + 1, 0), int(position.max()) + 1
    asked, row = np.unique(company, return_inverse=True)
    slot = character.slot[asked]
    days = np.arange(low_end, end)
    theirs = (days >= books.first[asked][:, None]) & (days <= books.last[asked][:, None])
    splits = market.splits[slot, low_end:end]
    high = np.where(theirs, market.high[slot, low_end:end] * splits, -np.inf)
    low = np.where(theirs, market.low[slot, low_end:end] * splits, np.inf)
    at, today = position - low_end, splits[row, position - low_end]
    return _rolling(high, np.maximum)[row, at] / today, _rolling(low, np.minimum)[row, at] / today


def _rolling(values: Floats, extreme: np.ufunc) -> Floats:
    """Extreme of the 252 columns up to each, fewer at the start: doubling windows, eight passes."""
    reached, width = values.copy(), 1
    while width < YEAR:
        step = min(width, YEAR - width)
        reached[:, step:] = extreme(reached[:, step:], reached[:, :-step].copy())
        width += step
    return reached


def planted_faults(books: Books, company: Ints, position: Ints) -> Ints:
    """The `SnapshotFault` of each snapshot, 0 for a sound one; a range is stale only where the price has left it."""
    market, slot = books.market, books.character.slot[company]
    quarter = np.searchsorted(market.bounds, position, "right") - 1
    drawn = np.empty(len(company))
    for each in np.unique(quarter).tolist():
        generator = market.draws.generator(Stream.FUNDAMENTAL_FAULTS, int(market.register.blocks[each]))
        here = quarter == each
        uniform = generator.random((market.slots, WEEKDAYS))
        drawn[here] = uniform[slot[here], position[here] - market.bounds[each]]
    # The place inside the small chance picks the kind: one draw decides both.
    kind = 1 + (drawn / FAULT_CHANCE * len(SnapshotFault)).astype(np.int64)
    fault = np.where(drawn < FAULT_CHANCE, kind, 0)
    stale = np.flatnonzero(fault == SnapshotFault.RANGE_STALE)
    if len(stale):
        old = position[stale] - STALE_BY
        known = old >= books.first[company[stale]]
        left = np.zeros(len(stale), dtype=bool)
        if known.any():
            left[known] = _left(books, company[stale[known]], position[stale[known]])
        fault[stale[~left]] = 0
    paid = _dividends(books, company, position)
    return np.where((fault == SnapshotFault.YIELD_IN_PER_CENT) & (paid <= 0), 0, fault)


def _stale_range(books: Books, company: Ints, position: Ints) -> tuple[Floats, Floats]:
    """The 52-week range of sixty sessions before, in today's splits."""
    market, slot = books.market, books.character.slot[company]
    high, low = _year_range(books, company, position - STALE_BY)
    since = market.splits[slot, position] / market.splits[slot, position - STALE_BY]
    return high / since, low / since


def _left(books: Books, company: Ints, position: Ints) -> Flags:
    high, low = _stale_range(books, company, position)
    price = books.market.close[books.character.slot[company], position]
    return np.asarray((price > 1.001 * high) | (price < 0.999 * low))


def _spoil(books: Books, company: Ints, position: Ints, told: dict[str, Floats]) -> None:
    """Put the planted faults into the told numbers."""
    fault = planted_faults(books, company, position)
    swapped = fault == SnapshotFault.RANGE_SWAPPED
    high, low = told["high_52_weeks"], told["low_52_weeks"]
    high[swapped], low[swapped] = low[swapped], high[swapped]
    stale = np.flatnonzero(fault == SnapshotFault.RANGE_STALE)
    if len(stale):
        high[stale], low[stale] = _stale_range(books, company[stale], position[stale])
    told["market_cap"][fault == SnapshotFault.CAP_IN_THOUSANDS] /= 1000
    told["debt_to_equity"][fault == SnapshotFault.DEBT_IN_PER_CENT] *= 100
    told["dividend_yield"][fault == SnapshotFault.YIELD_IN_PER_CENT] *= 100


def _leave_gaps(books: Books, company: Ints, position: Ints, told: dict[str, Floats]) -> None:
    """Fields that the provider lacks: by company and quarter, more often those that providers often lack."""
    market, character = books.market, books.character
    chance = np.array([OFTEN_MISSING.get(name, GAP_CHANCE) for name in _GAPPY])
    quarter = np.searchsorted(market.bounds, position, "right") - 1
    gap = np.empty((len(_GAPPY), len(company)), dtype=bool)
    for each in np.unique(quarter).tolist():
        generator = market.draws.generator(Stream.FUNDAMENTAL_GAPS, int(market.register.blocks[each]))
        missing = generator.random((market.slots, 40))[:, : len(_GAPPY)] < chance
        here = quarter == each
        gap[:, here] = missing[character.slot[company[here]]].T
    lender = character.sector[company] == FINANCIALS
    for row, name in enumerate(_GAPPY):
        absent = gap[row] | lender if name in _NOT_OF_FINANCIALS else gap[row]
        told[name][absent] = np.nan
    told["free_cash_flow_yield"][np.isnan(told["free_cash_flow"])] = np.nan


# Items of a statement: from which account, and whether it is a flow (summed over a year) or a level (its end).
_ITEMS: Final[Mapping[str, tuple[str, bool]]] = {
    "total_revenue": ("revenue", True),
    "gross_profit": ("gross", True),
    "operating_income": ("operating", True),
    "ebitda": ("ebitda", True),
    "net_income": ("net", True),
    "operating_cash_flow": ("operating_cash", True),
    "capital_expenditure": ("capex", True),
    "free_cash_flow": ("free_cash", True),
    "stockholders_equity": ("equity", False),
    "total_debt": ("debt", False),
    "cash_and_equivalents": ("cash", False),
    "total_assets": ("assets", False),
    "shares_outstanding": ("shares", False),
}


def statements(books: Books, companies: Ints, symbols: Sequence[str], told: int, now: datetime) -> pl.DataFrame:
    """`STATEMENTS_SCHEMA` of every report up to the position `told`, by symbol, period, frequency and item.

    A filing follows its report by 1 to 12 days and is public at 21:30 UTC of its day; nothing later than `now` is told.
    Amounts are in the market's currency, capital expenditure is negative, shares are those of the report's session.
    """
    market = books.market
    which, quarter = np.nonzero(books.held[companies] & (books.position[companies] <= told))
    company = companies[which]
    column, position = BACK + quarter, books.position[company, quarter]
    months = market.register.blocks[quarter] * 3 - 1970 * 12
    period_end = months.astype("datetime64[M]").astype("datetime64[D]") - 1
    drawn = np.empty(len(company))
    for each in np.unique(quarter).tolist():
        generator = market.draws.generator(Stream.FILINGS, int(market.register.blocks[each]))
        here = quarter == each
        drawn[here] = generator.random(market.slots)[books.character.slot[company[here]]]
    filed = market.sessions[position] + 1 + (12 * drawn).astype(np.int64)
    available = filed.astype("datetime64[us]") + np.timedelta64(21 * 60 + 30, "m")
    values = {name: books.column(name) for name, _ in _ITEMS.values() if name not in ("free_cash", "shares")}
    values["free_cash"] = values["operating_cash"] - values["capex"]
    values["capex"] = -values["capex"]
    year_end = market.register.blocks[quarter] % 4 == 0
    quarters_of = pl.Series(list(symbols), dtype=pl.String).gather(which)
    parts = []
    for frequency, rows in (("quarterly", np.ones(len(company), dtype=bool)), ("annual", year_end)):
        for item, (name, flow) in _ITEMS.items():
            if name == "shares":
                amount = books.shares(company, position)
            elif flow and frequency == "annual":
                amount = sum((values[name][company, column - ago] for ago in range(4)), start=np.zeros(len(company)))
            else:
                amount = values[name][company, column]
            parts.append(
                pl.DataFrame(
                    {
                        "symbol": quarters_of,
                        "period_end": pl.Series(period_end, dtype=pl.Date),
                        "value": amount,
                        "filed_on": pl.Series(filed, dtype=pl.Date),
                        "available_at": pl.Series(available).dt.replace_time_zone("UTC"),
                    }
                )
                .filter(pl.Series(rows))
                .with_columns(frequency=pl.lit(frequency), item=pl.lit(item), currency=pl.lit(market.market.currency))
            )
    return (
        pl.concat(parts)
        .filter(pl.col("available_at") <= now)
        .select(STATEMENTS_SCHEMA.names())
        .sort("symbol", "period_end", "frequency", "item")
    )
