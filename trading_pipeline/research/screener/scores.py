"""The screener's scores: each member judged on each session, in panels.

What belongs here: putting gates, components, DCF, peers, verdicts, sensitivity and reasons together. What does not: any
of those themselves.

Everything is judged within one session; only the tone of the news looks back. So sessions are judged in blocks of about
33,000 rows, whose arrays stay in the cache, and one session gives the same row alone as among ten years.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from trading_pipeline.research.panel import Floats
from trading_pipeline.research.screener import liquidity as liquidity_module
from trading_pipeline.research.screener import news as news_module
from trading_pipeline.research.screener.book import Book
from trading_pipeline.research.screener.components import Judged, judge
from trading_pipeline.research.screener.dcf import discounted_cash_flow
from trading_pipeline.research.screener.flags import VALUE_INPUTS, all_flags, flag_column, flag_summary
from trading_pipeline.research.screener.gates import gate_columns, gate_summary
from trading_pipeline.research.screener.measures import APPLICABLE, MEASURES
from trading_pipeline.research.screener.peers import (
    Groups,
    by_size,
    codes_of,
    known_mask,
    sector_measures,
    size_bucket,
    stocks_by_sector,
)
from trading_pipeline.research.screener.reasons import reasons
from trading_pipeline.research.screener.rules import COMPONENTS, Rules
from trading_pipeline.research.screener.sensitivity import as_json, gate_inputs, needed_inputs
from trading_pipeline.research.screener.verdicts import caps, held_back_by, verdict_columns

LOOKBACK = max(news_module.LOOKBACK, liquidity_module.LOOKBACK)
"""Sessions before the judged one that are enough for every input, the bars of `dollar_volume` included.

News alone needs `NEWS_LOOKBACK`, those bars `VOLUME_LOOKBACK`, all else the judged sessions and no more."""

BLOCK = 32_768

COLUMNS = (
    "session", "instrument_id", "ticker", "universes", "asset_type", "sector", "price", "market_cap",
    "gates_passed", "gates_failed", "gates",
    "fundamental", "technical", "relative_strength", "sector_score", "catalyst",
    "weight_fundamental", "weight_technical", "weight_relative_strength", "weight_sector", "weight_catalyst",
    "confidence", "total", "grade", "verdict", "flags", "dcf_value", "dcf_upside", "dcf_assumptions",
    "sector_percentile", "size_bucket", "size_percentile", "next_verdict", "points_to_next", "sensitivity",
    "reasons", "environment", "rules_version", "data_quality",
)  # fmt: skip

_NO_LIQUIDITY = pl.DataFrame(schema={"session": pl.Date, "instrument_id": pl.String, "dollar_volume_20": pl.Float64})


def screener_scores(
    members: pl.DataFrame,
    indicators: pl.DataFrame,
    market_regime: pl.DataFrame,
    fundamentals: pl.DataFrame,
    earnings_calendar: pl.DataFrame,
    news: pl.DataFrame,
    rules: Rules,
    sessions: Sequence[date],
    *,
    liquidity: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The columns of the table `screener_scores` for every member with a bar, by session and instrument.

    members: [session, universe, instrument_id, sector]; a member of several universes has one row. indicators,
    market_regime, fundamentals, earnings_calendar: rows of those tables of the judged sessions; the last two may be
    empty or partial. news: rows of the table `news`, from NEWS_LOOKBACK sessions before the first judged one, or none.
    rules: `load_rules()`. sessions: the judged ones, ascending. liquidity: [session, instrument_id, dollar_volume_20],
    from `dollar_volume`; without it the liquidity gate is unknown.

    What is not known lowers `confidence` and takes no part in the total: it is never zero and never average. `total` is
    the weighted mean of the known components, null below the least confidence of the rules. The weights shown are those
    of the rules; where a component is null the others hold its place. Scorers: etf and bond_etf by the asset type of
    the fundamentals (`fund` is judged as etf), stock for all others. `ValueError` where two rows share a key.
    """
    book = Book.of(
        members, indicators, market_regime, fundamentals, earnings_calendar, news,
        _NO_LIQUIDITY if liquidity is None else liquidity, rules, sessions,
    )  # fmt: skip
    says = _Expressions.of(rules)
    return pl.concat([_scored(book.part(rows, rules), rules, says) for rows in book.blocks(BLOCK)])


@dataclass(frozen=True)
class _Expressions:
    """What is said of each row, as expressions: built once, since building them costs as much as a small block."""

    raised: list[pl.Expr]
    verdict: list[list[pl.Expr]]
    held_back_by: pl.Expr
    texts: list[pl.Expr]

    @classmethod
    def of(cls, rules: Rules) -> _Expressions:
        flags = all_flags(rules)
        limits = caps(rules, flags)
        return cls(
            raised=[*gate_columns(rules), *(flag_column(flag) for flag in flags)],
            verdict=verdict_columns(rules, limits),
            held_back_by=held_back_by(limits).alias("held_back_by"),
            texts=[*gate_summary(rules), flag_summary(flags), reasons(rules, flags).alias("reasons")],
        )


def _scored(book: pl.DataFrame, rules: Rules, says: _Expressions) -> pl.DataFrame:
    sectors = stocks_by_sector(book)
    of_sector = sector_measures(book, sectors, rules.sectors.least)
    book = book.with_columns(pl.Series(name, values).fill_nan(None) for name, values in of_sector.items())
    measured = book.select(expression.cast(pl.Float64).alias(name) for name, expression in MEASURES.items())
    measures = {name: measured[name].fill_null(float("nan")).to_numpy() for name in measured.columns}
    judged = judge(book, measures, sectors, rules)

    book = book.with_columns(
        *(measured[name].alias(f"measure_{name}") for name in measured.columns),
        *_components(judged),
        *discounted_cash_flow(book, rules.dcf),
        pl.Series("value_points", _mean_points(judged)).fill_nan(None),
        APPLICABLE["last_surprise"].alias("judged_last_surprise"),
        size_bucket(pl.col("market_cap"), rules.sizes.mid, rules.sizes.large, rules.sizes.mega).alias("size_bucket"),
    )
    book = book.with_columns(says.raised)
    for step in says.verdict:
        book = book.with_columns(step)
    book = book.with_columns(says.held_back_by)

    by_points = book.select(
        pl.when(~pl.col("held_back")).then("points_to_next").otherwise(None).fill_null(float("nan"))
    ).to_series()
    needed = needed_inputs(judged, measures, by_points.to_numpy())
    for name, values in gate_inputs(book, rules).items():
        needed[name] = np.where(np.isfinite(values), values, needed[name]) if name in needed else values

    by_sector = Groups.of(codes_of(book["session"], book["sector"]))
    least = rules.peers.least
    return book.with_columns(
        *says.texts,
        _series("sector_percentile", by_sector.percentile(judged.total, least)),
        _series("size_percentile", by_size(book["session"], book["size_bucket"]).percentile(judged.total, least)),
        pl.when(pl.col("next_verdict").is_not_null()).then(as_json(needed)).alias("sensitivity"),
        pl.col("close").alias("price"),
        pl.lit(rules.version).alias("rules_version"),
        pl.col("bar_quality").alias("data_quality"),
    ).select(COLUMNS)


def _components(judged: Judged) -> list[pl.Series]:
    scores = [_series("sector_score" if name == "sector" else name, judged.scores[name]) for name in COMPONENTS]
    weights = [pl.Series(f"weight_{name}", judged.weights[name]) for name in COMPONENTS]
    return [*scores, *weights, pl.Series("confidence", judged.confidence), _series("total", judged.total)]


def _mean_points(judged: Judged) -> Floats:
    """Weighted mean of the points of the value inputs that are known."""
    total, weight = np.zeros(len(judged.total)), np.zeros(len(judged.total))
    for one in judged.points:
        if one.rule.name in VALUE_INPUTS:
            known = known_mask(one.points)
            total += np.where(known, one.points * one.weight, 0.0)
            weight += np.where(known, one.weight, 0.0)
    with np.errstate(invalid="ignore"):
        mean: Floats = total / weight
    return mean


def _series(name: str, values: Floats) -> pl.Series:
    return pl.Series(name, values).fill_nan(None)
