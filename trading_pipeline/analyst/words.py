"""Who words which dip, for how much, and what happens when it goes wrong: the rules' words stand.

What belongs here: routing, and what an answer changes in a row. What does not: the question (`prompt.py`), the checks
of an answer (`answer.py`), budget, fallback and book (`asking.py`).

Rows the rules would buy come first and go to the better model, the others to the cheaper one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import polars as pl

from trading_pipeline.analyst.answer import Words, check
from trading_pipeline.analyst.asking import SECONDS
from trading_pipeline.analyst.batch import ask_all
from trading_pipeline.analyst.ledger import Ledger
from trading_pipeline.analyst.prompt import DIP
from trading_pipeline.analyst.question import AnalystSettings, Question, Result
from trading_pipeline.tables.dips import DIP_ANALYSIS


def write_words(
    rows: pl.DataFrame, settings: AnalystSettings, ledger: Ledger, now: datetime, *, seconds: float = SECONDS
) -> pl.DataFrame:
    """`rows` with Claude's words where they could be had; same rows, order and columns (those of `dip_analysis`).

    Where they could: why, outlook, play, risks, the size inside its bounds, source `claude`, model, prompt_hash, tokens
    and cost are Claude's. Where not: the row as it was, and source_reason says why, a key of `question.REASONS`. action
    and cause never change.

    now: zone-aware; the day of the budget, and what the past is measured from. seconds: how long an answer may take.
    Never raises for a failure of the model, the network or the ledger.
    """
    told = list(DIP_ANALYSIS.conform(rows).iter_rows(named=True))
    # The best first: if the budget ends, it ends on rows nobody buys.
    ordered = sorted(told, key=lambda row: (row["action"] != "buy", -row["session"].toordinal(), row["instrument_id"]))
    tickers = frozenset(row["ticker"] for row in told)
    results = ask_all([_question(row, tickers) for row in ordered], settings, ledger, now, seconds=seconds)
    changed = {_key(row): _changed(row, result) for row, result in zip(ordered, results, strict=True)}
    return pl.DataFrame([row | changed[_key(row)] for row in told], schema=DIP_ANALYSIS.schema)


def _key(row: Mapping[str, Any]) -> tuple[Any, str]:
    return row["session"], row["instrument_id"]


def _question(row: Mapping[str, Any], tickers: Collection[str]) -> Question[Words]:
    return Question(
        DIP,
        row["session"],
        row["instrument_id"],
        row["inputs"],
        finalist=row["action"] == "buy",
        check=partial(check, row=row, tickers=tickers),
    )


def _changed(row: Mapping[str, Any], result: Result[Words]) -> dict[str, Any]:
    """What changes in a row."""
    words, call = result.answer, result.call
    if words is None or call is None:
        return {"source_reason": result.outcome}
    value = json.loads(row["inputs"])["portfolio"]["value"]
    low, high = (min(max(size, row["size_low"]), row["size_high"]) for size in (words.size_low, words.size_high))
    return {
        "why": words.why,
        "outlook": words.outlook,
        "play": words.play,
        "risks": "\n".join(words.risks),
        "size_low": low,
        "size_high": high,
        "size_low_amount": round(low * value, 2),
        "size_high_amount": round(high * value, 2),
        "source": "claude",
        "source_reason": None,
        "model": call.model,
        "prompt_hash": call.prompt_hash,
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
        "cache_read_tokens": call.cache_read_tokens,
        "cache_write_tokens": call.cache_write_tokens,
        "cost": call.cost,
    }
