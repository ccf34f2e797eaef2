"""What tearsheets are made of: made-up frames, shaped like a real session's, the easily forgotten cases among them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import polars as pl

from trading_pipeline.markets import US
from trading_pipeline.reports.decisions import selected
from trading_pipeline.reports.inputs import averaged
from trading_pipeline.reports.tearsheets import TearsheetInputs
from trading_pipeline.tables import FUNDAMENTALS, INDICATORS, NEWS, UNIVERSE_MEMBERS
from trading_pipeline_tests.briefings import (
    SESSION,
    SESSIONS,
    analysis_rows,
    dip_rows,
    earnings_rows,
    price_rows,
    regime_rows,
    score_rows,
)

LONG_NAME = "Quality Aluminium & Light Metals Holdings Company of the Northern Territories plc"


def snapshot(ticker: str, **told: Any) -> dict[str, Any]:
    """A row of FUNDAMENTALS; keyword arguments replace any column."""
    return {
        **dict.fromkeys(FUNDAMENTALS.names),
        "session": SESSION,
        "instrument_id": f"us:{ticker}",
        "ticker": ticker,
        "snapshot_session": SESSION - timedelta(days=1),
        "age": 1,
        "asset_type": "stock",
        "name": f"{ticker.title()} Works",
        "industry": "Machinery",
        "market_cap": 42.7e9,
        "pe_trailing": 18.4,
        "pe_forward": 16.2,
        "peg": 1.6,
        "price_to_book": 3.1,
        "price_to_sales": 1.9,
        "ev_to_ebitda": 11.3,
        "return_on_equity": 0.171,
        "return_on_assets": 0.071,
        "gross_margin": 0.41,
        "operating_margin": 0.162,
        "profit_margin": 0.104,
        "debt_to_equity": 0.62,
        "current_ratio": 1.4,
        "free_cash_flow_yield": 0.047,
        "revenue_growth": 0.082,
        "earnings_growth": 0.113,
        "dividend_yield": 0.014,
        "target_mean_price": 131.0,
        "currency": "USD",
        "provider": "simulated",
        "data_quality": "good",
        "rules": "",
        **told,
    }


def fundamental_rows() -> pl.DataFrame:
    """Snapshots of all but two members: a loss, a bad one, a long name, a fund among them."""
    rows = []
    for n, ticker in enumerate(dip_rows()["ticker"]):
        if ticker == "QEM":
            continue
        rows.append(snapshot(ticker, pe_trailing=9.0 + n, return_on_equity=0.3 - n / 200, revenue_growth=n / 100 - 0.1))
    special = {
        "QAL": {"name": LONG_NAME, "pe_trailing": -4.0},
        "QIL": {"data_quality": "bad", "rules": "range_swapped"},
    }
    rows = [{**row, **special.get(row["ticker"], {})} for row in rows]
    rows.append(snapshot("TOPS", name="Topsail Instruments", market_cap=2.1e12, pe_trailing=31.0))
    fund = {
        "asset_type": "etf",
        "name": "Broad Market Fund",
        "assets_under_management": 412e9,
        "expense_ratio": 0.0009,
        "fund_yield": 0.013,
        "nav_premium": -0.0004,
        "holdings": '[{"symbol": "TOPS", "name": "Topsail", "weight": 0.071}, {"symbol": "QAL", "weight": 0.04}]',
        "sector_weights": '{"industrials": 0.31, "health_care": 0.22}',
    }
    rows.append(snapshot("FUND", **fund))
    return pl.DataFrame(rows, schema=FUNDAMENTALS.schema)


def indicator_rows() -> pl.DataFrame:
    """Indicators of every member scored."""
    rows = [
        {
            **dict.fromkeys(INDICATORS.names),
            "session": SESSION,
            "instrument_id": row["instrument_id"],
            "ticker": row["ticker"],
            "close": row["price"],
            "sma_50": row["price"] * 1.02,
            "sma_200": row["price"] * 0.96,
            "return_126": 0.12,
            "rsi_14": 47.0,
            "realised_volatility_21": 0.46 if row["ticker"] == "QAL" else 0.24,
            "relative_strength_rank": 58,
            "beta_252": 1.13,
            "history": 700,
            "data_quality": "good",
        }
        for row in score_rows().iter_rows(named=True)
    ]
    return pl.DataFrame(rows, schema=INDICATORS.schema)


def article(ticker: str, n: int, **told: Any) -> dict[str, Any]:
    """A row of NEWS; keyword arguments replace any column."""
    published = datetime(2024, 7, 5, 13, 0, tzinfo=UTC) - timedelta(days=n)
    return {
        **dict.fromkeys(NEWS.names),
        "session": SESSION,
        "instrument_id": f"us:{ticker}",
        "ticker": ticker,
        "article_id": f"{ticker}{n}",
        "published_at": published,
        "title": f"{ticker.title()} Works cuts its outlook for the year",
        "url": f"https://news.example/{ticker}/{n}?a=1&b=2",
        "publisher": "The Daily Example",
        "scope": "company",
        "sentiment": -0.42,
        "sentiment_source": "lexicon",
        "copies": 1 + n,
        "providers": "simulated",
        "available_at": published,
        "known_at": published,
        **told,
    }


def news_rows() -> pl.DataFrame:
    """Some articles about some names; none about QAN."""
    rows = [article(ticker, n) for ticker in ("QAL", "TOPS", "QEN") for n in range(3)]
    return pl.DataFrame(rows, schema=NEWS.schema)


def member_rows() -> pl.DataFrame:
    """The watchlist: a name that was never scored, and one that leads anyway."""
    rows = [
        {
            "session": SESSION,
            "universe": "WATCHLIST",
            "instrument_id": f"us:{ticker}",
            "ticker": ticker,
            "sector": None,
            "source": "watchlist",
        }
        for ticker in ("TOPS", "WATCH", "THIN")
    ]
    return pl.DataFrame(rows, schema=UNIVERSE_MEMBERS.schema)


@cache
def _full() -> TearsheetInputs:
    dips, scores, members = dip_rows(), score_rows(), member_rows()
    tops = dips.head(1).with_columns(instrument_id=pl.lit("us:TOPS"), sessions_since_high=pl.lit(2, pl.Int32))
    prices = price_rows(pl.concat([dips, tops]))
    return TearsheetInputs(
        market=US,
        session=SESSION,
        world="simulated",
        scores=scores,
        fundamentals=fundamental_rows(),
        earnings=earnings_rows(dips),
        dips=dips,
        analysis=analysis_rows(dips),
        indicators=indicator_rows(),
        members=members,
        regime=regime_rows(),
        news=news_rows(),
        prices=averaged(prices, SESSIONS[-252]),
        chosen=tuple(selected(scores, dips, members, 20)),
        count=20,
        provider="simulated",
        as_of=datetime(2024, 7, 5, 22, 0, tzinfo=UTC),
        generated_at=datetime(2024, 7, 6, 1, 30, tzinfo=UTC),
    )


def tearsheet_inputs(**changes: Any) -> TearsheetInputs:
    """The inputs of a session's tearsheets; keyword arguments replace any of them."""
    return replace(_full(), **changes)
