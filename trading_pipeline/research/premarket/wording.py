"""The bias in words a newcomer follows, and the frozen inputs it was decided on.

What belongs here: sentences and JSON. What does not: deciding anything.
"""

from __future__ import annotations

import polars as pl

from trading_pipeline.research.premarket.rules import Rules

_AVERAGES = {"sma_20": "20", "sma_50": "50", "sma_200": "200"}

_GROUPS: dict[str, tuple[str, ...]] = {
    "decision": ("bias", "clear", "confidence", "doubt_factor", "event_factor", "events", "known_share", "score"),
    "earnings": ("next_ex_dividend_date", "next_report_date", "next_timing", "sessions_to_report"),
    "gap": ("dividend_pct", "earned_gap_pct", "gap_pct", "previous_close", "price", "split", "unexplained"),
    "indicators": ("atr_14", "last_close", "range_pct", "sma_20", "sma_200", "sma_50", "trend_score"),
    "market": ("environment", "market_regime"),
    "news": ("any_news", "headlines", "news_count", "news_score"),
    "overnight": ("night_high", "night_low", "night_place", "overnight_range_pct"),
    "says": ("says_gap", "says_news", "says_overnight", "says_regime", "says_trend"),
    "snapshot": ("band", "month_position", "week_position"),
    "volume": ("premarket_volume", "relative_volume"),
}


def reasons(known: pl.DataFrame, rules: Rules) -> pl.Series:
    """One line a thing that speaks for or against it, what weighs most first; then events and what is not known."""
    numbered = known.with_row_index("_row")
    lines = [
        numbered.select(
            "_row",
            _rank=-(pl.col(f"says_{name}") * getattr(rules.weights, name)).abs().round(9),
            _place=pl.lit(place),
            _line=sentence(),
        )
        for place, (name, sentence) in enumerate(_ARGUMENTS.items())
    ]
    caveats = [
        numbered.select("_row", _rank=pl.lit(1.0), _place=pl.lit(place), _line=sentence)
        for place, sentence in enumerate(_caveats())
    ]
    told = (
        pl.concat([*lines, *caveats])
        .filter(pl.col("_line").is_not_null())
        .sort("_row", "_rank", "_place", nulls_last=True)
        .group_by("_row", maintain_order=True)
        .agg(pl.col("_line").str.join("\n"))
    )
    joined = numbered.select("_row").join(told, on="_row", how="left", maintain_order="left")
    return joined["_line"].fill_null("Nothing speaks for or against it.").alias("reasons")


def inputs(known: pl.DataFrame, version: str) -> pl.Series:
    """Canonical JSON of each row: keys in alphabetical order at every level, floats rounded to six decimals."""

    def plain(name: str) -> pl.Expr:
        value, dtype = pl.col(name), known.schema[name]
        if dtype.is_float():
            value = pl.when(value.is_finite()).then(value).round(6) + 0.0
        elif dtype == pl.Date:
            value = value.cast(pl.String)
        return value.alias(name)

    parts = {group: pl.struct(plain(name) for name in sorted(names)) for group, names in _GROUPS.items()}
    parts |= {
        "decided_at": pl.col("decided_at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "rules": pl.lit(version),
        "session": pl.col("session").cast(pl.String),
        "taken": pl.col("taken"),
        "ticker": pl.col("ticker"),
    }
    whole = pl.struct(parts[name].alias(name) for name in sorted(parts))
    return known.select(inputs=whole.struct.json_encode())["inputs"]


def _number(value: pl.Expr, digits: int = 1) -> pl.Expr:
    """`−1.3`, with a proper minus sign; null stays null."""
    shown = value.round(9).round(digits)
    return pl.format("{}{}", pl.when(shown < 0).then(pl.lit("−")).otherwise(pl.lit("")), shown.abs())


def _speaks(column: str) -> pl.Expr:
    """How a line begins: for long, for short, or neither."""
    return (
        pl.when(pl.col(column).round(9) > 0)
        .then(pl.lit("Long: "))
        .when(pl.col(column).round(9) < 0)
        .then(pl.lit("Short: "))
        .otherwise(pl.lit("Neither way: "))
    )


def _up_or_down(value: pl.Expr) -> pl.Expr:
    return pl.when(value.round(9) < 0).then(pl.lit("below")).otherwise(pl.lit("above"))


def _gap() -> pl.Expr:
    gap = pl.col("gap_pct")
    dividend = pl.when(pl.col("dividend_pct") > 0).then(
        pl.format(" ({} % of it is the dividend it trades without from today)", _number(pl.col("dividend_pct"), 2))
    )
    ranges = (pl.col("earned_gap_pct") / pl.col("range_pct")).abs()
    volume = pl.when(pl.col("relative_volume").is_not_null()).then(
        pl.format(", on {} times its normal volume by this hour", _number(pl.col("relative_volume")))
    )
    told = pl.concat_str(
        _speaks("says_gap"),
        pl.format("it trades {} % {} yesterday's close", _number(gap.abs(), 2), _up_or_down(gap)),
        dividend.fill_null(""),
        pl.format(", {} of an average day's range", pl.format("{} %", (100 * ranges).round(0).cast(pl.Int64))),
        volume.fill_null(""),
        pl.lit("."),
    )
    return pl.when(pl.col("says_gap").is_not_null()).then(told)


def _trend() -> pl.Expr:
    def beside(side: str, above: bool) -> pl.Expr:
        """`above its 20- and 50-session averages`, null where there is none."""
        chosen = [
            pl.when((pl.col("last_close").round(9) > pl.col(name).round(9)) == above).then(pl.lit(f"{length}-"))
            for name, length in _AVERAGES.items()
        ]
        listed = pl.concat_str(chosen, separator=", ", ignore_nulls=True)
        lengths = listed.str.replace(", ([^,]+)$", " and ${1}")
        noun = pl.when(listed.str.contains(",")).then(pl.lit("averages")).otherwise(pl.lit("average"))
        return pl.when(listed != "").then(pl.format(f"{side} its {{}}session {{}}", lengths, noun))

    closed = pl.concat_str(beside("above", True), beside("below", False), separator=", ", ignore_nulls=True)
    crossed = pl.format(
        "; the 50-session average is {} the 200-session one", _up_or_down(pl.col("sma_50") - pl.col("sma_200"))
    )
    told = pl.concat_str(
        _speaks("says_trend"), pl.lit("yesterday it closed "), closed, crossed.fill_null(""), pl.lit(".")
    )
    return pl.when(pl.col("says_trend").is_not_null()).then(told)


def _news() -> pl.Expr:
    count = pl.col("news_count")
    articles = pl.when(count == 1).then(pl.lit("1 article")).otherwise(pl.format("{} articles", count))
    title = pl.col("headlines").list.first().struct.field("title")
    told = pl.concat_str(
        _speaks("says_news"),
        articles,
        pl.format(" since yesterday's close, mean tone {} from −1 to 1", _number(pl.col("news_score"), 2)),
        pl.format(": “{}”", title.str.replace_all(r"\s+", " ")).fill_null(""),
        pl.lit("."),
    )
    return pl.when(pl.col("says_news").is_not_null()).then(told)


def _overnight() -> pl.Expr:
    place = ((pl.col("night_place") + 1) * 50).round(0).cast(pl.Int64)
    told = pl.concat_str(
        _speaks("says_overnight"),
        pl.format(
            "it trades at {} % of the way from the lowest to the highest price since yesterday's close, which are {} % "
            "apart.",
            place,
            _number(pl.col("overnight_range_pct"), 2),
        ),
    )
    return pl.when(pl.col("says_overnight").is_not_null()).then(told)


def _regime() -> pl.Expr:
    told = pl.concat_str(
        _speaks("says_regime"),
        pl.format(
            "the market's environment was {} at yesterday's close, on a scale from A (best) to D.", "environment"
        ),
    )
    return pl.when(pl.col("says_regime").is_not_null()).then(told)


_ARGUMENTS = {"gap": _gap, "trend": _trend, "news": _news, "overnight": _overnight, "regime": _regime}


def _caveats() -> list[pl.Expr]:
    """Lines after the arguments: what lowers the confidence."""
    missing = pl.concat_str(
        [
            pl.when(pl.col("price").is_null()).then(pl.lit("a price of this morning")),
            pl.when(pl.col("price").is_not_null() & pl.col("relative_volume").is_null()).then(
                pl.lit("the volume before the open against its normal")
            ),
            pl.when(pl.col("says_trend").is_null()).then(pl.lit("the trend up to yesterday")),
            pl.when(pl.col("news_score").is_null() & ~pl.col("any_news")).then(pl.lit("news of the night")),
            pl.when(pl.col("says_regime").is_null()).then(pl.lit("the market's environment")),
            pl.when(pl.col("in_calendar").is_null()).then(pl.lit("the earnings calendar")),
        ],
        separator=", ",
        ignore_nulls=True,
    )
    return [
        pl.when(pl.col("unexplained")).then(
            pl.format(
                "Doubt: a gap of {} % without an article or a report looks like a split not told yet or a wrong price; "
                "it is not counted.",
                _number(pl.col("gap_pct"), 1),
            )
        ),
        pl.when(pl.col("report_unknown")).then(
            pl.lit("Careful: it reports today or has just reported, at an hour nobody knows; that can turn everything.")
        ),
        pl.when(pl.col("report_during")).then(
            pl.lit("Careful: it reports during the session; that can turn everything.")
        ),
        pl.when(pl.col("report_before")).then(
            pl.lit("Careful: it reports before the open; the first moves often reverse.")
        ),
        pl.when(pl.col("report_since")).then(
            pl.lit("Careful: it reported since the last close; the first moves often reverse.")
        ),
        pl.when(pl.col("report_tonight")).then(
            pl.lit("Careful: it reports after the close; what is held overnight meets the report.")
        ),
        pl.when(pl.col("ex_dividend") & (pl.col("dividend_pct").fill_null(0) == 0)).then(
            pl.lit("Careful: it trades without its dividend from today, and the amount is not known: the gap holds it.")
        ),
        pl.when(pl.col("split_today")).then(
            pl.format(
                "Its shares were split, {} new for 1 old: yesterday's prices are shown in today's shares.", "split"
            )
        ),
        pl.when(pl.col("wide_night")).then(
            pl.lit("Careful: the night's prices already span more than an ordinary day's range.")
        ),
        pl.when(missing != "").then(pl.format("Not known: {}.", missing)),
    ]
