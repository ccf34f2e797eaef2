"""The best view of a market's bars and actions: one provider's word for each, every version of it, judged.

What belongs here: putting `best_view` and the quality rules together. What does not: where the received rows come from,
and where the view is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import NamedTuple

import polars as pl

from trading_pipeline.research.bars import quality
from trading_pipeline.research.bars.best_view import best_view

BAR_KEY = ("instrument_id", "session")
ACTION_KEY = ("instrument_id", "session", "kind")
_BAR_COLUMNS = (
    *("session", "instrument_id", "ticker", "open", "high", "low", "close", "volume", "currency", "provider"),
    *("provisional", "data_quality", "rules", "available_at", "known_at", "superseded_at"),
)
_ACTION_COLUMNS = (
    *("session", "instrument_id", "ticker", "kind", "value", "currency", "provider"),
    *("withdrawn", "rules", "available_at", "known_at", "superseded_at"),
)


class DailyView(NamedTuple):
    """Rows of the judged sessions: `daily_bars`, `corporate_actions` and `bar_issues`, as the tables declare them."""

    bars: pl.DataFrame
    actions: pl.DataFrame
    issues: pl.DataFrame


def daily_view(
    received_bars: pl.DataFrame,
    received_actions: pl.DataFrame,
    *,
    expected: pl.DataFrame,
    sessions: Sequence[date],
    judged_from: date,
    known_by: datetime,
    priority: Sequence[str],
    tickers_on: Callable[[pl.DataFrame], pl.DataFrame],
) -> DailyView:
    """The view of the sessions from `judged_from` on, by what was received up to `known_by` (zone-aware).

    received_bars, received_actions: every version, of `sessions`. expected: [session, instrument_id, ticker] who should
    have a bar. sessions: ascending, `quality.LOOKBACK` of them before `judged_from`. priority: providers, the most
    trusted first. tickers_on: adds the ticker an instrument had on each row's session.

    A version that was superseded keeps the verdict of its own time: each generation of versions is judged beside what
    the other bars said by then. The issues are those of the versions in force.
    """
    known = pl.col("known_at") <= pl.lit(known_by, dtype=pl.Datetime("us", "UTC"))
    bars = tickers_on(best_view(received_bars.filter(known), BAR_KEY, priority, pl.col("close").is_not_null()))
    actions = tickers_on(best_view(received_actions.filter(known), ACTION_KEY, priority, ~pl.col("withdrawn")))
    happened = actions.filter(pl.col("superseded_at").is_null() & ~pl.col("withdrawn"))
    judged = [session for session in sessions if session >= judged_from]
    lookback = [session for session in sessions if session < judged_from]

    def assess(rows: pl.DataFrame) -> quality.Assessment:
        return quality.assess(rows, happened, expected, judged, lookback)

    in_force = pl.col("superseded_at").is_null()
    current = assess(bars.filter(in_force))
    views = [current.bars]
    # Numbering the versions costs as much as judging them, and most often nothing was superseded.
    if bars["superseded_at"].null_count() < bars.height:
        bars = bars.with_columns(
            pl.int_range(pl.len()).over(BAR_KEY).alias("_version"), (pl.len().over(BAR_KEY) - 1).alias("_last")
        )
        for generation in range(int(bars["_last"].max())):  # type: ignore[arg-type]
            then = bars.filter(pl.col("_version") == pl.min_horizontal(pl.lit(generation), pl.col("_last")))
            views.append(assess(then.drop("_version", "_last")).bars.filter(~in_force))
    from_judged = pl.col("session") >= judged_from
    marked = actions.filter(from_judged).join(
        current.actions, on=["session", "instrument_id", "kind"], how="left", maintain_order="left"
    )
    return DailyView(
        pl.concat([view.filter(from_judged).select(_BAR_COLUMNS) for view in views]),
        marked.with_columns(pl.col("rules").fill_null("")).select(_ACTION_COLUMNS),
        current.issues,
    )


def usable(bars: pl.DataFrame) -> pl.DataFrame:
    """The bars anything may be computed from: `bad` ones are excluded, `suspect` ones stay and are shown."""
    return bars.filter(pl.col("data_quality") != "bad")


def effective(actions: pl.DataFrame) -> pl.DataFrame:
    """The actions that happened, as far as is known: those a provider withdrew are left out."""
    return actions.filter(~pl.col("withdrawn"))
