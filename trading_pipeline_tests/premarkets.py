"""What a premarket page is made of: the random mornings of `mornings.py`, judged by the real functions."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from typing import Any

import polars as pl

from trading_pipeline.markets import US
from trading_pipeline.reports.premarket import PremarketInputs
from trading_pipeline.research.premarket import daily_bias, snapshots
from trading_pipeline.tables import (
    DAILY_BIAS,
    DIP_ANALYSIS,
    DIP_OPPORTUNITIES,
    EARNINGS_CALENDAR,
    MARKET_REGIME,
    PREMARKET_SNAPSHOTS,
    SCREENER_SCORES,
)
from trading_pipeline_tests import briefings
from trading_pipeline_tests.mornings import XNYS, Desk, desk

SECTORS = ("Energy", "Financials", "Health Care")
NAMES = 16


@cache
def morning(names: int = NAMES, seed: int = 15) -> tuple[Desk, pl.DataFrame, pl.DataFrame]:
    """A random desk of real sessions, with the snapshots and biases of its last one."""
    told = desk(seed, names=names, judged_days=2)
    judged = told.judged(told.sessions[-1:])
    levels = PREMARKET_SNAPSHOTS.conform(
        snapshots(told.daily, told.actions, told.intraday, told.indicators, told.watched, told.days, judged)
    )
    leaning = DAILY_BIAS.conform(
        daily_bias(
            levels, told.actions, told.intraday, told.indicators, told.regime, told.news, told.earnings, told.watched,
            told.days, judged,
        )
    )  # fmt: skip
    return told, levels, leaning


def premarket_inputs(names: int = NAMES, *, taken: str = "rebuilt", **others: Any) -> PremarketInputs:
    """A full page: gaps both ways, names without a price or volume, events, dips on the desk. `others` replace fields.

    taken: `live` or `rebuilt`, of every name.
    """
    told, levels, leaning = morning(names)
    session, previous = told.sessions[-1], told.sessions[-2]
    levels, leaning = (frame.with_columns(taken=pl.lit(taken)) for frame in (levels, leaning))
    ids = leaning["instrument_id"].to_list()
    moment = leaning["decided_at"][0]
    dips = _dips(previous, ids)
    full = PremarketInputs(
        market=US,
        session=session,
        previous=previous,
        world="simulated",
        snapshots=levels,
        bias=leaning,
        members=pl.DataFrame(
            [(id_, id_[3:], SECTORS[n % 3] if n % 7 else None) for n, id_ in enumerate(ids)],
            schema=["instrument_id", "ticker", "sector"],
            orient="row",
        ),
        regime=briefings.regime_rows("B").with_columns(session=pl.lit(previous)),
        earnings=_earnings(previous, ids),
        scores=_scores(previous, ids),
        dips=dips,
        analysis=briefings.analysis_rows(dips).with_columns(session=pl.lit(previous)),
        names=pl.DataFrame({"instrument_id": ids[:-2], "name": [f"{id_[3:]} Holdings" for id_ in ids[:-2]]}),
        benchmark="us:SPY",
        provider="simulated",
        as_of=moment + timedelta(minutes=1),
        generated_at=moment + timedelta(minutes=1),
        tearsheets={ids[0]: f"../tearsheets/{previous}/{ids[0][3:]}.html"},
        briefing=f"../daily_briefing/{previous}.html",
    )
    assert full.session == XNYS.offset(previous, 1)
    return replace(full, **others)


def empty_inputs(**others: Any) -> PremarketInputs:
    """A session nobody prepared."""
    full = premarket_inputs()
    return replace(
        full, snapshots=PREMARKET_SNAPSHOTS.empty(), bias=DAILY_BIAS.empty(), regime=MARKET_REGIME.empty(),
        earnings=EARNINGS_CALENDAR.empty(), scores=SCREENER_SCORES.empty(), dips=DIP_OPPORTUNITIES.empty(),
        analysis=DIP_ANALYSIS.empty(), names=full.names.clear(), tearsheets={}, briefing=None, **others,
    )  # fmt: skip


def silent(snapshots: pl.DataFrame, volume: float | None) -> pl.DataFrame:
    """`snapshots` of a morning on which nobody traded: with a volume of 0 where that is known, null where it is not."""
    gone = ("price", "gap_pct", "premarket_high", "premarket_low", "premarket_relative_volume")
    return snapshots.with_columns(
        *(pl.lit(None, pl.Float64).alias(name) for name in gone), premarket_volume=pl.lit(volume, pl.Float64)
    )


def _dips(previous: date, ids: list[str]) -> pl.DataFrame:
    rows = briefings.dip_rows(len(ids) // 2)
    return rows.with_columns(
        session=pl.lit(previous),
        instrument_id=pl.Series(ids[: rows.height]),
        ticker=pl.Series([id_[3:] for id_ in ids[: rows.height]]),
        on_desk=pl.lit(True),
    )


def _scores(previous: date, ids: list[str]) -> pl.DataFrame:
    rows = [{**briefings.score(id_[3:], "Buy", 66.0), "session": previous} for id_ in ids]
    return pl.DataFrame(rows, schema=SCREENER_SCORES.schema)


def _earnings(previous: date, ids: list[str]) -> pl.DataFrame:
    """The first name reports before the open, and one that is not watched after the close."""
    day = XNYS.offset(previous, 1)
    told = [(ids[0], day, "bmo"), ("us:ELSE", day, "amc"), *((id_, day + timedelta(days=40), "amc") for id_ in ids[1:])]
    rows = [
        {
            **dict.fromkeys(EARNINGS_CALENDAR.names),
            "session": previous,
            "instrument_id": id_,
            "ticker": id_[3:],
            "next_report_date": date_,
            "next_timing": timing,
            "sessions_to_report": 1 if timing == "bmo" else 2,
            "reports": 9,
            "beat_rate": 0.78,
            "average_absolute_move": 0.052,
        }
        for id_, date_, timing in told
    ]
    return pl.DataFrame(rows, schema=EARNINGS_CALENDAR.schema)
