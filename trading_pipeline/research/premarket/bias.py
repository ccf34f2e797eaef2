"""Daily bias: which way each watched name leans before the open, how surely, and why.

What belongs here: what the rules make of the inputs. What does not: gathering them (`evidence.py`), the numbers of the
rules (`rules.toml`), the wording (`wording.py`), other words for the same decision.

*Score.* Each input says something between -1 (short) and 1 (long):

    gap        the gap in average true ranges, a dividend that goes ex today added back, cut at 1; then times a factor
               for volume much above or below normal
    trend      the mean of four comparisons of yesterday's close and its averages, each 1 or -1
    news       the mean tone of the articles since yesterday's close, by relevance, times n / (n + 1) of n articles
    overnight  where the price is between the night's lowest (-1) and highest (1)
    regime     the environment of the market at yesterday's close

The score is their mean by the weights of those that say something. long from the threshold on, short from its negative,
both only where those that say something have the least weight of the rules.

*Confidence* is four things multiplied: the most that a morning can have, which is below 1; the share of the inputs that
are known; how clear the case is (for long and short the score against the full one, for neutral the distance to the
threshold); factors for events that may turn it. It says how much is known and how clearly it points, not how often it
comes true. No article is knowledge where other names had some in the same hours, and ignorance where nobody had.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from trading_pipeline.research.premarket.evidence import evidence
from trading_pipeline.research.premarket.mornings import Mornings
from trading_pipeline.research.premarket.rules import Rules, load_rules
from trading_pipeline.research.premarket.wording import inputs, reasons

INPUTS = ("gap", "trend", "news", "overnight", "regime")
COLUMNS = (
    "session", "instrument_id", "ticker", "decided_at", "taken", "bias", "confidence", "score", "gap_pct",
    "overnight_range_pct", "trend_score", "relative_volume", "news_score", "news_count", "events", "reasons", "source",
    "inputs",
)  # fmt: skip


def daily_bias(
    snapshots: pl.DataFrame,
    actions: pl.DataFrame,
    intraday_bars: pl.DataFrame,
    indicators: pl.DataFrame,
    regime: pl.DataFrame,
    news: pl.DataFrame,
    earnings: pl.DataFrame,
    watched: pl.DataFrame,
    days: pl.DataFrame,
    judged: pl.DataFrame,
    rules: Rules | None = None,
    *,
    priority: Sequence[str] = (),
) -> pl.DataFrame:
    """The columns of the table `daily_bias`, one row a session and watched name, by these.

    snapshots: rows of `premarket_snapshots` of the judged sessions. actions, intraday_bars, watched, days, judged,
        priority: as for `snapshots`.
    indicators, regime, earnings: rows of `indicators`, `market_regime` and `earnings_calendar`, from REFERENCE_LOOKBACK
        sessions before the first judged one: those of the session before each morning count, those of its own never.
    news: rows as `research.news.news` makes them. Handed in with the premarket moments as its `decided_at`, a score
        that a copy brought after the moment is not in them. Placed by `available_at`: after the close of the session
        before and not after the premarket moment.
    rules: None for those beside the code.

    source is `rules`. events: of `report before the open`, `report during the session`, `report at an unknown hour`,
    `report after the close`, `report since the close`, `ex-dividend`, `split`. What is not known lowers the confidence
    and takes no part in the score; where nothing is known the bias is neutral with confidence 0.
    """
    rules = load_rules() if rules is None else rules
    mornings = Mornings.of(watched, actions, days, judged)
    known = evidence(mornings, snapshots, actions, intraday_bars, indicators, regime, news, earnings, priority)
    known = known.with_columns(_says(rules))
    known = known.with_columns(score=_score(rules)).with_columns(bias=_bias(rules))
    known = known.with_columns(known_share=_known_share(rules), clear=_clear(rules), **_factors(rules))
    sure = pl.col("known_share") * pl.col("clear") * pl.col("event_factor") * pl.col("doubt_factor")
    known = known.with_columns(
        confidence=rules.confidence.most * sure,
        events=_event_list(),
        source=pl.lit("rules"),
    )
    known = known.with_columns(reasons(known, rules))
    return known.with_columns(inputs(known, rules.version)).select(COLUMNS)


def _event_list() -> pl.Expr:
    names = {
        "report_since": "report since the close",
        "report_before": "report before the open",
        "report_during": "report during the session",
        "report_unknown": "report at an unknown hour",
        "report_tonight": "report after the close",
        "ex_dividend": "ex-dividend",
        "split_today": "split",
    }
    said = [pl.when(pl.col(column)).then(pl.lit(name)) for column, name in names.items()]
    return pl.concat_str(said, separator=",", ignore_nulls=True).fill_null("")


def _reported() -> pl.Expr:
    """Whether a report may have moved the price since the close."""
    return pl.any_horizontal("report_before", "report_since", "report_unknown")


def _says(rules: Rules) -> list[pl.Expr]:
    """`says_<input>`, -1 to 1, null where it says nothing; and `unexplained`, a gap that looks like an error."""
    gap, volume = pl.col("earned_gap_pct"), pl.col("relative_volume").round(9)
    unexplained = (gap.abs().round(9) >= rules.gap.unexplained_pct) & (pl.col("news_count") == 0) & ~_reported()
    unexplained = unexplained.fill_null(False)
    factor = (
        pl.when(volume >= rules.gap.loud_volume)
        .then(rules.gap.loud_factor)
        .when(volume <= rules.gap.quiet_volume)
        .then(rules.gap.quiet_factor)
        .otherwise(1.0)
    )
    ranges = pl.when(pl.col("range_pct") > 0).then(gap / pl.col("range_pct"))
    count = pl.col("news_count")
    environment = {grade.upper(): getattr(rules.environment, grade) for grade in "abcd"}
    trusted = ~unexplained
    return [
        unexplained.alias("unexplained"),
        pl.when(trusted).then((ranges / rules.gap.full_ranges).clip(-1, 1) * factor).clip(-1, 1).alias("says_gap"),
        pl.col("trend_score").alias("says_trend"),
        (
            (pl.col("news_score") / rules.news.full_sentiment).clip(-1, 1) * count / (count + rules.news.half_count)
        ).alias("says_news"),
        pl.when(trusted).then("night_place").alias("says_overnight"),
        pl.col("environment").replace_strict(environment, default=None, return_dtype=pl.Float64).alias("says_regime"),
    ]


def _said(rules: Rules) -> pl.Expr:
    """Weight of the inputs that say something."""
    return pl.sum_horizontal(
        pl.when(pl.col(f"says_{name}").is_not_null()).then(getattr(rules.weights, name)).otherwise(0.0)
        for name in INPUTS
    )


def _score(rules: Rules) -> pl.Expr:
    total = pl.sum_horizontal(pl.col(f"says_{name}") * getattr(rules.weights, name) for name in INPUTS)
    return pl.when(_said(rules) > 0).then(total / _said(rules)).otherwise(0.0) + 0.0


def _bias(rules: Rules) -> pl.Expr:
    score, enough = pl.col("score").round(9), _said(rules).round(9) >= rules.bias.least_weight
    return (
        pl.when(enough & (score >= rules.bias.threshold))
        .then(pl.lit("long"))
        .when(enough & (score <= -rules.bias.threshold))
        .then(pl.lit("short"))
        .otherwise(pl.lit("neutral"))
    )


def _known_share(rules: Rules) -> pl.Expr:
    """Share of the inputs that are known, by weight, the relative volume beside them; 0 where none says anything."""
    silence = pl.when(pl.col("says_news").is_null() & pl.col("any_news")).then(rules.weights.news).otherwise(0.0)
    volume = pl.when(pl.col("relative_volume").is_not_null()).then(1.0).otherwise(0.0)
    share = rules.confidence.volume_share
    known = (1 - share) * (_said(rules) + silence) + share * volume
    return pl.when(_said(rules) > 0).then(known).otherwise(0.0)


def _clear(rules: Rules) -> pl.Expr:
    size = pl.col("score").abs()
    return (
        pl.when(pl.col("bias") == "neutral")
        .then(1 - size / rules.bias.threshold)
        .otherwise(size / rules.bias.full)
        .clip(0, 1)
    )


def _factors(rules: Rules) -> dict[str, pl.Expr]:
    told = rules.confidence
    wide = (pl.col("overnight_range_pct") / pl.col("range_pct")).round(9) >= told.wide_ranges
    return {
        "event_factor": pl.when(pl.any_horizontal("report_during", "report_unknown"))
        .then(told.report_ahead)
        .when(pl.any_horizontal("report_before", "report_since"))
        .then(told.report_out)
        .when(pl.col("report_tonight"))
        .then(told.report_tonight)
        .otherwise(1.0),
        "wide_night": wide.fill_null(False),
        "doubt_factor": pl.when(wide.fill_null(False)).then(told.wide_factor).otherwise(1.0)
        * pl.when(pl.col("unexplained")).then(told.unexplained_factor).otherwise(1.0),
    }
