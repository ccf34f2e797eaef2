"""What a briefing is made of: made-up frames, shaped and sized like a real session's."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from trading_pipeline.markets import US
from trading_pipeline.reports.briefing import BriefingInputs
from trading_pipeline.research.week import market_week
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import BAR_ISSUES, DIP_OPPORTUNITIES, MARKET_REGIME

SESSION = date(2024, 7, 5)
SECTORS = ("Industrials", "Information Technology", "Energy", "Health Care", "Financials", "Consumer Discretionary")
SESSIONS = [day for day in calendar("XNYS").sessions.tolist() if day <= SESSION][-300:]


def regime_rows(environments: str = "CCCCCBBBBBBBBBBB" * 2 + "AABBBBBBBB") -> pl.DataFrame:
    days = SESSIONS[-len(environments) :]
    breadth = np.linspace(0.41, 0.62, len(days)) + 0.04 * np.sin(np.arange(len(days)) / 3)
    rows = [
        {
            "session": day,
            "regime": {"A": "Bull", "B": "Bull", "C": "Sideways", "D": "Bear"}[environment],
            "environment": environment,
            "score": {"A": 8, "B": 4, "C": -1, "D": -7}[environment],
            "benchmark": "SPY",
            "index_vs_sma_50": 0.0214,
            "index_vs_sma_200": 0.0832,
            "sma_200_slope_21": 0.0191,
            "breadth_50": float(breadth[n]),
            "breadth_200": float(breadth[n] + 0.06),
            "new_highs": 34,
            "new_lows": 8,
            "volatility": 0.1423,
            "volatility_source": "implied",
            "distribution_days": 3,
            "members": 503,
            "reasons": "SPY is 8.3% above a rising 200-session average (+2)\n68% of members are above theirs (+1)\n"
            "34 new highs against 8 new lows (+1)\nImplied volatility of 14.2% is calm (+1)\n"
            "3 distribution days in 25 sessions (-1)",
        }
        for n, (day, environment) in enumerate(zip(days, environments, strict=True))
    ]
    return pl.DataFrame(rows, schema=MARKET_REGIME.schema)


def dip_rows(count: int = 48, seed: int = 7) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    tickers = [f"{a}{b}{c}" for a in "QXZ" for b in "AEIOU" for c in "LMNRT"][:count]
    depth = np.sort(rng.gamma(2.2, 5.0, count) + 5)[::-1].clip(max=71)
    since = rng.integers(3, 240, count)
    fall = np.log1p(-depth / 100)
    market = 0.25 * fall * rng.uniform(-0.6, 1.6, count)
    sector = 0.3 * fall * rng.uniform(-0.8, 1.8, count)
    price = rng.uniform(8, 640, count).round(2)
    return pl.DataFrame(
        {
            "session": [SESSION] * count,
            "instrument_id": [f"us:{ticker}" for ticker in tickers],
            "ticker": tickers,
            "universes": ["SPX500"] * count,
            "sector": [SECTORS[n % len(SECTORS)] if n % 11 else None for n in range(count)],
            "price": price,
            "high_252": price / (1 - depth / 100),
            "dip_pct": depth,
            "threshold_pct": np.select([depth >= 15, depth >= 10], [15.0, 10.0], 5.0),
            "sessions_since_high": since,
            "drawdown_percentile": rng.uniform(0.4, 1.0, count),
            "fall": fall,
            "market_part": [None if n % 13 == 12 else float(value) for n, value in enumerate(market)],
            "sector_part": [None if n % 13 == 12 else float(value) for n, value in enumerate(sector)],
            "company_part": [None if n % 13 == 12 else float(value) for n, value in enumerate(fall - market - sector)],
            "beta_market": [1.1] * count,
            "beta_sector": [0.8] * count,
            "environment": ["B"] * count,
            "data_quality": ["suspect" if n == 4 else "good" for n in range(count)],
        },
        schema=DIP_OPPORTUNITIES.schema,
    )


def price_rows(dips: pl.DataFrame, seed: int = 3) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    days = SESSIONS[-252:]
    frames = []
    for dip in dips.iter_rows(named=True):
        high = len(days) - 1 - dip["sessions_since_high"]
        up = np.linspace(0.8, 1.0, high + 1) if high > 0 else np.ones(high + 1)
        down = np.linspace(1.0, 1 - dip["dip_pct"] / 100, len(days) - high)[1:]
        shape = np.concatenate([up, down]) * np.exp(rng.normal(0, 0.012, len(days)))
        frames.append(
            pl.DataFrame({"session": days, "instrument_id": dip["instrument_id"], "close": shape * dip["high_252"]})
        )
    return (
        pl.concat(frames)
        if frames
        else pl.DataFrame(schema={"session": pl.Date, "instrument_id": pl.String, "close": pl.Float64})
    )


def benchmark_rows(seed: int = 11) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = 430 * np.cumprod(1 + rng.normal(0.0008, 0.008, len(SESSIONS)))
    return pl.DataFrame({"session": SESSIONS, "close": close}).with_columns(
        sma_50=pl.col("close").rolling_mean(50), sma_200=pl.col("close").rolling_mean(200)
    )


def issue_rows() -> pl.DataFrame:
    def issue(day: date, ticker: str, bar_day: date, rule: str, severity: str, detail: str) -> dict[str, Any]:
        return {
            "session": day,
            "instrument_id": f"us:{ticker}",
            "ticker": ticker,
            "bar_session": bar_day,
            "rule": rule,
            "severity": severity,
            "detail": detail,
            "provider": "simulated",
        }

    days = SESSIONS[-4:]
    rows = [
        issue(days[-1], "QAL", days[-1], "unit_error", "bad", "close 12,340.00 is 100.2 x the day before (123.14)"),
        issue(days[-1], "QEN", days[-1], "frozen_bar", "suspect", "open = high = low = close = 41.20 for 4 sessions"),
        issue(days[-1], "QIR", days[-1], "frozen_bar", "suspect", "open = high = low = close = 9.87 for 3 sessions"),
        issue(days[0], "QOT", days[0], "ohlc_inconsistent", "rejected", "high 20.10 is under the close 20.44"),
        issue(days[2], "XAL", days[1], "missing_session", "suspect", "no row; halted or vendor null"),
    ]
    return pl.DataFrame(rows, schema=BAR_ISSUES.schema)


def coverage_rows() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "universe": ["SPX500", "NASDAQ100", "MEGA_CAP"],
            "members": [503, 101, 30],
            "with_bar": [498, 101, 22],
            "threshold": [0.95, 0.95, 0.8],
        }
    )


def week_of(dips: pl.DataFrame, regime: pl.DataFrame, seed: int = 5) -> Any:
    rng = np.random.default_rng(seed)
    days = [day for day in SESSIONS if day >= date(2024, 7, 1)]
    tickers = [*(f"{a}{b}Y" for a in "BCDFGHJKLM" for b in "AEIOU"), "SPY"]
    indicators = pl.DataFrame(
        [(day, f"us:{ticker}", ticker, float(rng.normal(0.001, 0.012))) for ticker in tickers for day in days],
        schema=["session", "instrument_id", "ticker", "return_1"],
        orient="row",
    )
    members = pl.DataFrame(
        [(days[-1], f"us:{ticker}", ticker, SECTORS[n % len(SECTORS)]) for n, ticker in enumerate(tickers[:-1])],
        schema=["session", "instrument_id", "ticker", "sector"],
        orient="row",
    )
    before = dips.head(30).with_columns(session=pl.lit(SESSIONS[-5]), threshold_pct=pl.lit(5.0))
    return market_week(indicators, members, regime, pl.concat([before, dips]), benchmark_id="us:SPY", sessions=days)


@cache
def _full() -> BriefingInputs:
    dips, regime = dip_rows(), regime_rows()
    return BriefingInputs(
        market=US,
        session=SESSION,
        world="simulated",
        regime=regime,
        dips=dips.sample(fraction=1.0, shuffle=True, seed=1),
        benchmark=benchmark_rows(),
        prices=price_rows(dips),
        issues=issue_rows(),
        coverage=coverage_rows(),
        provider="simulated",
        as_of=datetime(2024, 7, 5, 22, 0, tzinfo=UTC),
        generated_at=datetime(2024, 7, 6, 1, 30, tzinfo=UTC),
        thresholds=(5.0, 10.0, 15.0),
        week=week_of(dips, regime),
        rules={"unit_error": "A price 100 times too large or small", "frozen_bar": "The same bar day after day"},
    )


def briefing_inputs(**changes: Any) -> BriefingInputs:
    """A full briefing's inputs; keyword arguments replace any of them."""
    return replace(_full(), **changes)


def quiet_inputs(**changes: Any) -> BriefingInputs:
    """A session on which there is nothing to tell: no dip, no index, no issue, no week, one day of regime."""
    quiet = {
        "regime": regime_rows("C").with_columns(benchmark=pl.lit("equal_weight")),
        "dips": dip_rows(0),
        "benchmark": benchmark_rows().clear(),
        "prices": price_rows(dip_rows(0)),
        "issues": issue_rows().clear(),
        "coverage": coverage_rows().clear(),
        "week": None,
        "world": "real",
    }
    return briefing_inputs(**{**quiet, **changes})
