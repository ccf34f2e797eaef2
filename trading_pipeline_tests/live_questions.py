"""What a live session asks Claude about: a market analysis by the rules, a signal, the biases of a morning."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from trading_pipeline.research.live.market import Measures, judged
from trading_pipeline.research.live.rules import load_rules
from trading_pipeline.research.live.signals import SIGNAL_COLUMNS
from trading_pipeline.tables import DAILY_BIAS, MARKET_ANALYSIS
from trading_pipeline_tests.claude import inputs_of, message

SESSION = date(2024, 3, 12)
TICK = datetime(2024, 3, 12, 14, 15, tzinfo=UTC)
NEXT = TICK + timedelta(minutes=1)
MORNING = datetime(2024, 3, 12, 12, 30, tzinfo=UTC)

TREND_DAY = Measures(
    names=40, above_vwap=0.92, move=2.1, move_pct=0.84, dispersion=0.9, volatility=1.1, index="SPY", regime="bull",
    environment="B",
)  # fmt: skip


class Hand:
    """A clock that stands where it is put."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def analysis_of(tick_at: datetime = TICK, measures: Measures = TREND_DAY) -> pl.DataFrame:
    """The rules' analysis of a trend day, as the loop hands it over: without a book."""
    multipliers, _ = judged(measures, load_rules().market)
    row = {
        "session": SESSION,
        "tick_at": tick_at,
        "source": "rules",
        **asdict(multipliers),
        "summary": "92 % of 40 names above VWAP, SPY +0.84 % since the open (+2.1 sigma): a trend day up.",
        "inputs": json.dumps(asdict(measures), sort_keys=True),
    }
    schema = {name: dtype for name, dtype in MARKET_ANALYSIS.schema.items() if name != "book"}
    return pl.DataFrame([row], schema=schema)


def view_of(**changed: Any) -> dict[str, Any]:
    """A good answer about the market."""
    return {
        "mean_reversion": 0.6,
        "trend_continuation": 1.75,
        "long": 1.25,
        "short": 0.75,
        "summary": "Most names are above VWAP and SPY is well up: a trend day.",
        **changed,
    }


def signals_of(*tickers: str, tick_at: datetime = TICK, **changed: Any) -> pl.DataFrame:
    """Signals of a tick, as they are decided before sizing."""
    rows = [
        {
            "signal_id": f"20240312-{ticker}-mean_reversion-{tick_at:%H%M%S}",
            "session": SESSION,
            "instrument_id": f"us:{ticker}",
            "ticker": ticker,
            "tick_at": tick_at,
            "setup": "mean_reversion",
            "side": "short",
            "price": 104.0,
            "stop": 105.0,
            "target": 102.0,
            "reward_to_risk": 2.0,
            "strength": 0.7,
            "multiplier": 0.6,
            "z_session": 2.4,
            "z_rolling": 2.6,
            "vwap_distance_pct": 1.8,
            "bias": "neutral",
            "environment": "B",
            "reasons": "2.4 sigma above the session's mean.",
            "edges": 2,
            "sector": "Technology",
            **changed,
        }
        for ticker in tickers or ("AAA",)
    ]
    return pl.DataFrame(rows, schema=SIGNAL_COLUMNS)


def verdict_of(request: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A good answer about a signal."""
    ticker = inputs_of(request)["signal"]["ticker"]
    return {"ticker": ticker, "verdict": "confirm", "reason": "The price is 2.4 sigma above the mean.", **changed}


def bias_of(ticker: str = "AAA", score: float = 0.4, session: date = SESSION, **changed: Any) -> dict[str, Any]:
    """A row of `daily_bias` as the rules write it."""
    return {
        "session": session,
        "instrument_id": f"us:{ticker}",
        "ticker": ticker,
        "decided_at": MORNING,
        "taken": "live",
        "bias": "long" if score > 0.2 else "short" if score < -0.2 else "neutral",
        "confidence": 0.8,
        "score": score,
        "news_count": 1,
        "events": "report after the close",
        "reasons": "Long: it trades 2.1 % above yesterday's close.\nShort: 1 article, mean tone −0.30.\n"
        "Careful: it reports after the close.",
        "source": "rules",
        "inputs": json.dumps({"ticker": ticker, "gap": {"gap_pct": 2.1}}),
        **changed,
    }


def biases_of(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=DAILY_BIAS.schema)


def bias_words_of(request: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A good answer about a bias."""
    inputs = inputs_of(request)
    reasons = [f"{line} Said so that a newcomer follows." for line in inputs["reasons"]]
    return {"ticker": inputs["ticker"], "bias": inputs["bias"], "reasons": reasons, **changed}


Wording = Callable[..., dict[str, Any]]


def answering(wording: Wording, **usage: int) -> Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]:
    """A server's answer to each request, in those words."""
    return lambda request: message(json.dumps(wording(request)), request["model"], **usage)
