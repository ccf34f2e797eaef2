"""What was known of each watched name at the premarket moment: the night, the news, yesterday, the events of the day.

What belongs here: finding and measuring the inputs of the bias. What does not: what they say (`bias.py`).

Of what is published once a session (indicators, regime, earnings calendar) the row of the session before the morning
counts: that of its own is made after the close. A dividend and a split count on their ex-date whenever they were
received, as quotes trade without the one and in the basis of the other from the first premarket trade on.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from trading_pipeline.research.intraday.phases import MOMENT
from trading_pipeline.research.panel import CASH
from trading_pipeline.research.premarket.mornings import Mornings

HEADLINES = 3
"""Headlines kept of a night, the strongest first."""

_UNSAID = 0.5
"""Relevance of an article whose provider does not say it, as in `screener/news.py`."""


def evidence(
    mornings: Mornings,
    snapshots: pl.DataFrame,
    actions: pl.DataFrame,
    intraday_bars: pl.DataFrame,
    indicators: pl.DataFrame,
    regime: pl.DataFrame,
    news: pl.DataFrame,
    earnings: pl.DataFrame,
    priority: Sequence[str],
) -> pl.DataFrame:
    """The watched names of the mornings with all that is measured of them, one row each; the frames of `daily_bias`.

    Null is what is not known. Events are true or false; `headlines` lists {id, sentiment, title}, or is null.
    """
    known = (
        mornings.watched.join(_snapshot(snapshots), on=["session", "instrument_id"], how="left", maintain_order="left")
        .join(_overnight(mornings, intraday_bars, priority), on="cell", how="left", maintain_order="left")
        .join(_articles(mornings, news), on="cell", how="left", maintain_order="left")
        .with_columns(pl.col("news_count").fill_null(0))
        .join(_anywhere(mornings, news), on="session", how="left", maintain_order="left")
    )
    known = _yesterday(mornings, known, indicators, regime, earnings)
    known = known.join(_actions(mornings, actions), on=["session", "instrument_id"], how="left", maintain_order="left")
    return known.with_columns(_measures()).with_columns(**_events())


def _snapshot(snapshots: pl.DataFrame) -> pl.DataFrame:
    return snapshots.select(
        "session", "instrument_id", "price", "previous_close", "gap_pct", "premarket_volume", "week_position",
        "month_position", "band", relative_volume="premarket_relative_volume",
    )  # fmt: skip


def _overnight(mornings: Mornings, intraday: pl.DataFrame, priority: Sequence[str]) -> pl.DataFrame:
    """[cell, night_high, night_low]: of the post-market of the session before and of the premarket."""
    return (
        mornings.seen(intraday, priority)
        .filter(pl.col("phase") != "regular")
        .group_by("cell", maintain_order=True)
        .agg(night_high=pl.col("high").max(), night_low=pl.col("low").min())
    )


def _since_the_close(mornings: Mornings, news: pl.DataFrame) -> pl.DataFrame:
    """`news` with `morning`, the judged session in whose night each article came; those of no such night left out."""
    nights = mornings.judged.select(morning="session", until="decided_at", after="closed_before").sort("until")
    return (
        news.with_columns(pl.col("available_at").cast(MOMENT))
        .sort("available_at")
        .join_asof(nights, left_on="available_at", right_on="until", strategy="forward")
        .filter(pl.col("available_at") > pl.col("after"))
    )


def _articles(mornings: Mornings, news: pl.DataFrame) -> pl.DataFrame:
    """[cell, news_count, news_score, headlines] of the names that had articles; the strongest headlines first."""
    told = (
        _since_the_close(mornings, news)
        .drop("session")
        .join(
            mornings.watched.select("cell", "instrument_id", morning="session"),
            on=["morning", "instrument_id"],
            how="inner",
        )
        .unique(["cell", "article_id"], keep="first", maintain_order=True)
        .with_columns(weight=pl.col("relevance").fill_null(_UNSAID))
        .sort("cell", -pl.col("sentiment").abs().round(9), "available_at", "article_id")
    )
    headline = pl.struct(id=pl.col("article_id"), sentiment=pl.col("sentiment").round(3) + 0.0, title=pl.col("title"))
    weight = pl.col("weight")
    return told.group_by("cell", maintain_order=True).agg(
        news_count=pl.len().cast(pl.Int32),
        news_score=pl.when(weight.sum() > 0).then((weight * pl.col("sentiment")).sum() / weight.sum()).clip(-1, 1),
        headlines=headline.head(HEADLINES),
    )


def _anywhere(mornings: Mornings, news: pl.DataFrame) -> pl.DataFrame:
    """[session, any_news]: whether anybody's article came that night."""
    heard = _since_the_close(mornings, news)["morning"].unique()
    return mornings.judged.select("session", any_news=pl.col("session").is_in(heard.implode()))


def _yesterday(
    mornings: Mornings,
    known: pl.DataFrame,
    indicators: pl.DataFrame,
    regime: pl.DataFrame,
    earnings: pl.DataFrame,
) -> pl.DataFrame:
    """`known` with what was published of the session before each morning."""
    days = pl.Series(mornings.panel.sessions, dtype=pl.Date)
    before = known.with_columns(before=days.gather(known["row"] - 1) if known.height else pl.lit(None, pl.Date))
    measured = indicators.select(
        "instrument_id", "atr_14", "sma_20", "sma_50", "sma_200", before="session", last_close="close"
    )
    calendar = earnings.select(
        "instrument_id", "next_report_date", "next_timing", "sessions_to_report", "next_ex_dividend_date",
        before="session", in_calendar=pl.lit(True),
    )  # fmt: skip
    graded = regime.select("environment", before="session", market_regime="regime")
    return (
        before.join(measured, on=["before", "instrument_id"], how="left", maintain_order="left")
        .join(calendar, on=["before", "instrument_id"], how="left", maintain_order="left")
        .join(graded, on="before", how="left", maintain_order="left")
    )


def _actions(mornings: Mornings, actions: pl.DataFrame) -> pl.DataFrame:
    """[session, instrument_id, paid, split] of the ex-dates among the judged sessions."""
    sound = actions.filter(
        pl.col("session").is_in(mornings.judged["session"].implode())
        & (pl.col("value") > 0)
        & pl.col("value").is_finite()
    )
    paid, split = pl.col("kind").is_in(CASH), pl.col("kind") == "split"
    return sound.group_by("session", "instrument_id", maintain_order=True).agg(
        paid=pl.when(paid.any()).then(pl.col("value").filter(paid).sum()),
        split=pl.when(split.any()).then(pl.col("value").filter(split).product()),
    )


def _measures() -> list[pl.Expr]:
    """What the inputs measure. A dividend not below the price is not believed."""
    close = pl.col("previous_close")
    dividend = pl.when(pl.col("paid") < close).then(pl.col("paid")).fill_null(0.0)
    night = pl.col("night_high") - pl.col("night_low")
    sides = [("last_close", "sma_20"), ("last_close", "sma_50"), ("last_close", "sma_200"), ("sma_50", "sma_200")]
    above = [(pl.col(left).round(9) > pl.col(right).round(9)).cast(pl.Float64) * 2 - 1 for left, right in sides]
    place = 2 * (pl.col("price") - pl.col("night_low")) / night - 1
    return [
        (100 * dividend / close).alias("dividend_pct"),
        (100 * (pl.col("price") + dividend) / close - 100).alias("earned_gap_pct"),
        (100 * pl.col("atr_14") / pl.col("last_close")).alias("range_pct"),
        (100 * night / close).alias("overnight_range_pct"),
        pl.when(night > 1e-9 * close).then(place).clip(-1, 1).alias("night_place"),
        pl.mean_horizontal(above).alias("trend_score"),
    ]


def _events() -> dict[str, pl.Expr]:
    """Events as columns; false where the calendar says nothing.

    The calendar is that of the session before: a report dated today, or one that today's session is the first to trade
    on. A report of an unknown hour may come at any of them.
    """
    today = pl.col("next_report_date") == pl.col("session")
    trades_on_it = pl.col("sessions_to_report") == 1
    timing = pl.col("next_timing").fill_null("unknown")
    events = {
        "report_before": trades_on_it & (timing == "bmo"),
        "report_during": today & (timing == "dmh"),
        "report_unknown": trades_on_it & (timing == "unknown"),
        "report_tonight": today & (timing == "amc"),
        "report_since": trades_on_it & (timing.is_in(["amc", "dmh"])) & ~today,
        "ex_dividend": (pl.col("next_ex_dividend_date") == pl.col("session")) | (pl.col("paid") > 0),
        "split_today": pl.col("split").is_not_null(),
    }
    return {name: event.fill_null(False) for name, event in events.items()}
