"""What a briefing is made of: made-up frames, shaped and sized like a real session's."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from trading_pipeline.markets import US
from trading_pipeline.reports.briefing import BriefingInputs
from trading_pipeline.research.week import market_week
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import (
    BAR_ISSUES,
    DIP_ANALYSIS,
    DIP_OPPORTUNITIES,
    EARNINGS_CALENDAR,
    MARKET_REGIME,
    SCREENER_SCORES,
)

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


CAUSES = ("macro", "earnings", "company", "sector", "unknown", "ex_dividend")
VERDICTS = (
    ("Buy", "B", 66.0),
    ("Hold", "C", 52.5),
    ("Strong Buy", "A", 78.2),
    ("Avoid", "D", 39.0),
    (None, None, None),
)


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
            "on_desk": [n % 2 == 0 for n in range(count)],
            "cause": [CAUSES[n % len(CAUSES)] for n in range(count)],
            "cause_share": [0.4 + n % 5 / 10 for n in range(count)],
            "evidence": ["−18.3 % since the high of 2024-04-02: market −2.1 %\n2024-05-03: −9.2 % after the report"]
            * count,
            "news_ids": [""] * count,
            "verdict": [VERDICTS[n % len(VERDICTS)][0] for n in range(count)],
            "total": [VERDICTS[n % len(VERDICTS)][2] for n in range(count)],
            "grade": [VERDICTS[n % len(VERDICTS)][1] for n in range(count)],
            "gates_failed": [""] * count,
            "sessions_to_report": [None] * count,
        },
        schema=DIP_OPPORTUNITIES.schema,
    )


GATES_PASSED = """liquidity: passed, 812.4 million against at least 5.0 million, by 16148 %
history: passed, 700 against at least 252, by 178 %"""
GATE_FAILED = """solvency_debt: failed, 5.2 against at most 2.5, by 108 %
earnings_profit: unknown, no value against at least 0.0 %"""


def score(ticker: str, verdict: str, total: float | None, **told: Any) -> dict[str, Any]:
    """A row of SCREENER_SCORES as the screener would write it; keyword arguments replace any column."""
    failed = told.get("gates_failed", "")
    return {
        "session": SESSION,
        "instrument_id": f"us:{ticker}",
        "ticker": ticker,
        "universes": "SPX500",
        "asset_type": "stock",
        "sector": "Industrials",
        "price": 104.2,
        "market_cap": 42.7e9,
        "gates_passed": not failed,
        "gates_failed": "",
        "gates": GATES_PASSED + ("\n" + GATE_FAILED if failed else ""),
        "fundamental": 71.3,
        "technical": 64.0,
        "relative_strength": 58.0,
        "sector_score": 44.9,
        "catalyst": None,
        "weight_fundamental": 0.35,
        "weight_technical": 0.25,
        "weight_relative_strength": 0.15,
        "weight_sector": 0.10,
        "weight_catalyst": 0.15,
        "confidence": 0.84 if total is not None else 0.22,
        "total": total,
        "grade": None if total is None else "A" if total >= 75 else "B" if total >= 62 else "C" if total >= 50 else "D",
        "verdict": verdict,
        "flags": "",
        "dcf_value": 121.5,
        "dcf_upside": 0.166,
        "dcf_assumptions": "Growth of 6.0 % for 5 years, fading over 5 to 2.5 %; discounted at 9.2 %.",
        "sector_percentile": 81.0,
        "size_bucket": "large",
        "size_percentile": 74.0,
        "next_verdict": {"Buy": "Strong Buy", "Hold": "Buy", "Avoid": "Hold"}.get(verdict),
        "points_to_next": 7.3 if verdict in ("Buy", "Hold", "Avoid") else None,
        "sensitivity": '{"pe_trailing": 9.1, "revenue_growth": 0.214, "rsi_14": 58.2}',
        "reasons": f"{verdict}: of 100 points.\nFundamental 71 of 100: P/E 18.4.",
        "environment": "B",
        "rules_version": "2026.1",
        "data_quality": "good",
        **told,
    }


def score_rows(count: int = 48) -> pl.DataFrame:
    """Scores of the members that dip and of some that do not: every verdict, a fund, a failed gate, a thin one."""
    rows = [
        score(
            "FUND",
            "Buy",
            70.4,
            asset_type="etf",
            sector=None,
            market_cap=None,
            sector_score=None,
            weight_sector=0.0,
            sector_percentile=None,
        ),
        score("TOPS", "Strong Buy", 81.6, catalyst=92.0, technical=88.5, price=512.0, market_cap=2.1e12),
        score("DEBT", "Hold", 79.9, gates_failed="solvency_debt", points_to_next=0.0, flags="high_debt,overbought"),
        score("THIN", "No verdict", None, fundamental=None, catalyst=None, technical=None, market_cap=None),
        score("TRAP", "Hold", 66.0, flags="value_trap", points_to_next=0.0),
    ]
    for n, dip in enumerate(dip_rows(count).iter_rows(named=True)):
        rows.append(
            score(
                dip["ticker"],
                dip["verdict"] or "No verdict",
                dip["total"],
                sector=dip["sector"],
                price=dip["price"],
                market_cap=5e9 * 1.17**n,
                size_bucket="large",
            )
        )
    return pl.DataFrame(rows, schema=SCREENER_SCORES.schema)


def analysis_rows(dips: pl.DataFrame) -> pl.DataFrame:
    """The words on the dips that are on the desk."""
    rows = []
    for dip in dips.filter("on_desk").iter_rows(named=True):
        action = {"Strong Buy": "buy", "Buy": "buy", "Hold": "wait"}.get(dip["verdict"], "avoid")
        low, high = (0.02, 0.04) if action == "buy" else (0.0, 0.0)
        rows.append(
            {
                "session": SESSION,
                "instrument_id": dip["instrument_id"],
                "ticker": dip["ticker"],
                "dip_pct": dip["dip_pct"],
                "cause": dip["cause"],
                "action": action,
                "action_reasons": "The screener's verdict is Buy with 66 of 100 points.\nNothing speaks for waiting.",
                "size_low": low,
                "size_high": high,
                "size_low_amount": low * 100_000,
                "size_high_amount": high * 100_000,
                "why": f"{dip['ticker']} is {dip['dip_pct']:.1f} % below its highest price: the whole market fell.",
                "outlook": "temporary" if action == "buy" else "unclear",
                "play": "Buy 2–4 % of the portfolio, $2,000–4,000, in two or three parts." if action == "buy"
                else "Do not buy yet, keep it on the list.",
                "risks": "A weak market takes good companies down with it.\nA dip can always go deeper.",
                "source": "claude" if dip["cause"] == "company" else "rules",
                "source_reason": None,
                "model": "claude-sonnet-5-5" if dip["cause"] == "company" else None,
                "prompt_hash": "0" * 64,
                "inputs": "{}",
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema=DIP_ANALYSIS.schema)


def report(ticker: str, days: int | None, **told: Any) -> dict[str, Any]:
    """A row of EARNINGS_CALENDAR with a report in so many days, none where null; keyword arguments replace any."""
    return {
        **dict.fromkeys(EARNINGS_CALENDAR.names),
        "session": SESSION,
        "instrument_id": f"us:{ticker}",
        "ticker": ticker,
        "next_report_date": None if days is None else SESSION + timedelta(days=days),
        "next_timing": "amc",
        "sessions_to_report": None if days is None else max(days * 5 // 7, 0),
        "eps_estimate": 1.42,
        "revenue_estimate": 3.1e9,
        "sources": "simulated",
        "last_report_date": date(2024, 4, 24),
        "last_report_session": date(2024, 4, 25),
        "last_eps_actual": 1.31,
        "last_eps_estimate": 1.25,
        "last_surprise": 0.048,
        "last_reaction": 0.031,
        "reports": 10,
        "beat_rate": 0.7,
        "average_move_after_beat": 0.034,
        "average_move_after_miss": -0.051,
        "average_absolute_move": 0.041,
        **told,
    }


def earnings_rows(dips: pl.DataFrame) -> pl.DataFrame:
    """The calendar of every member: reports this week, next week, later, and none."""
    days = (3, 11, 30, None, 7)
    rows = [report(ticker, days[n % len(days)]) for n, ticker in enumerate(dips["ticker"])]
    rows.append(report("TOPS", 3, next_timing="bmo", disagreement="yahoo: 2024-07-10 amc", beat_rate=1.0))
    rows.append(report("DEBT", 10, next_timing="unknown", reports=2, beat_rate=None))
    return pl.DataFrame(rows, schema=EARNINGS_CALENDAR.schema)


def name_rows() -> pl.DataFrame:
    """Names of some companies, one of them long."""
    return pl.DataFrame(
        {
            "instrument_id": ["us:TOPS", "us:QAL", "us:QIR"],
            "name": ["Topsail Instruments", "Quality Aluminium & Light Metals Holdings Company plc", None],
        }
    )


TEARSHEETS = {
    "": "../tearsheets/2024-07-05.html",
    "us:TOPS": "../tearsheets/2024-07-05/TOPS.html",
    "us:QAL": "../tearsheets/2024-07-05/QAL.html",
}


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
        scores=score_rows(),
        analysis=analysis_rows(dips),
        earnings=earnings_rows(dips),
        names=name_rows(),
        articles=128,
        tearsheets=TEARSHEETS,
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
        "scores": score_rows(0).clear(),
        "analysis": analysis_rows(dip_rows(0)),
        "earnings": earnings_rows(dip_rows(0)).clear(),
        "names": name_rows().clear(),
        "articles": 0,
        "tearsheets": {},
        "week": None,
        "world": "real",
    }
    return briefing_inputs(**{**quiet, **changes})
