"""What speaks for a cause, one line each, with numbers and dates.

What belongs here: wording of evidence. What does not: deciding anything.
"""

from __future__ import annotations

import polars as pl

from trading_pipeline.research.dip_desk.headlines import KEPT


def per_cent(value: pl.Expr, digits: int = 1) -> pl.Expr:
    """A fraction as per cent: `−8.3 %`; null stays null."""
    shown = (value * 100).round(9).round(digits)
    size = shown.abs() if digits else shown.abs().cast(pl.Int64)
    return pl.format("{}{} %", pl.when(shown < 0).then(pl.lit("−")).otherwise(pl.lit("")), size)


def _log(value: pl.Expr) -> pl.Expr:
    """Log points as per cent."""
    return per_cent(value.exp() - 1)


def told(decided: pl.DataFrame, heard: pl.DataFrame, earnings: pl.DataFrame) -> pl.DataFrame:
    """[dip, cause, cause_share, evidence, news_ids], in the order of `decided`."""
    articles = _articles(decided, heard)
    reports = _reports(decided, earnings)
    frame = decided.join(articles, on="dip", how="left", maintain_order="left").hstack(reports)
    lines = [
        _split(),
        pl.when(pl.col("cause") == "macro").then(_macro()),
        pl.when(pl.col("cause") == "sector").then(_sector()),
        pl.when((pl.col("report_worst") < 0) & (pl.col("cause").is_in(["earnings", "company", "unknown"]))).then(
            _report()
        ),
        *(
            pl.when((pl.col(f"own_{place}") < 0) & pl.col("cause").is_in(["company", "unknown"])).then(_shock(place))
            for place in (1, 2, 3)
        ),
        pl.when((pl.col("paid") > 0) & ((pl.col("cause") == "ex_dividend") | (pl.col("paid_share") >= 0.2))).then(
            _paid()
        ),
        pl.col("headlines"),
        pl.when(pl.col("cause") == "unknown").then(
            pl.lit("No report, dividend or fitting headline explains enough of it.")
        ),
    ]
    return frame.with_columns(
        evidence=pl.concat_str(lines, separator="\n", ignore_nulls=True), news_ids=pl.col("news_ids").fill_null("")
    ).select("dip", "cause", "cause_share", "evidence", "news_ids")


def _articles(decided: pl.DataFrame, heard: pl.DataFrame) -> pl.DataFrame:
    """[dip, headlines, news_ids] of the articles that support the cause decided on."""
    kept = (
        heard.join(decided.select("dip", "cause"), on="dip", how="inner")
        .filter(pl.col("supports") == pl.col("cause"))
        .sort("dip", "sentiment", "row", "article_id")
        .unique(["dip", "article_id"], keep="first", maintain_order=True)
        .group_by("dip", maintain_order=True)
        .head(KEPT)
        .sort("dip", "row", "sentiment", "article_id")
    )
    line = pl.format("“{}” ({})", pl.col("title").str.replace_all(r"\s+", " ").str.strip_chars(), pl.col("on"))
    return kept.group_by("dip", maintain_order=True).agg(
        headlines=line.str.join("\n"), news_ids=pl.col("article_id").str.join(",")
    )


def _reports(decided: pl.DataFrame, earnings: pl.DataFrame) -> pl.DataFrame:
    """[report_date, eps_actual, eps_estimate] of the worst report of each fall, as known on the dip's session."""
    said = earnings.filter(pl.col("last_report_session").is_not_null()).select(
        "instrument_id",
        "session",
        on_report_worst="last_report_session",
        report_date="last_report_date",
        eps_actual="last_eps_actual",
        eps_estimate="last_eps_estimate",
    )
    asked = decided.select("dip", "instrument_id", "session", "on_report_worst")
    found = (
        asked.sort("session")
        .join_asof(
            said.sort("session"),
            on="session",
            by=["instrument_id", "on_report_worst"],
            strategy="backward",
            check_sortedness=False,
        )
        .sort("dip")
    )
    return found.select("report_date", "eps_actual", "eps_estimate")


def _split() -> pl.Expr:
    parts = pl.format(
        "{} since the high of {}: with all shares {}, with its sector {}, by itself {}",
        _log(pl.col("fall")),
        pl.col("on_high"),
        _log(pl.col("market")),
        _log(pl.col("sector_move")),
        _log(pl.col("own")),
    )
    return pl.coalesce(parts, pl.format("{} % below the high of {}", pl.col("dip_pct").round(1), pl.col("on_high")))


def _macro() -> pl.Expr:
    worst = pl.format(
        "{}: shares fell {} on average, their worst session since the high",
        pl.col("on_index_worst"),
        per_cent((pl.col("index_worst").exp() - 1).abs()),
    )
    several = pl.format("; {} such shocks in all", pl.col("market_events"))
    return worst + pl.when(pl.col("market_events") > 1).then(several).otherwise(pl.lit(""))


def _sector() -> pl.Expr:
    return pl.format(
        "{}: {} with {} beyond the market, its worst session since the high",
        pl.col("on_sector_worst"),
        _log(pl.col("sector_worst")),
        pl.coalesce("sector", pl.lit("its sector")),
    )


def _report() -> pl.Expr:
    after_close = pl.col("report_date") < pl.col("on_report_worst")
    when = (
        pl.when(after_close)
        .then(pl.format("after the report of {}", pl.col("report_date")))
        .otherwise(pl.lit("after the report of that day"))
    )
    result = pl.format(
        ", earned {} a share against {} expected",
        pl.col("eps_actual").round(2),
        pl.col("eps_estimate").round(2),
    )
    move = _log(pl.col("report_worst"))
    return pl.format(
        "{}: {} beyond market and sector {}{}", pl.col("on_report_worst"), move, when, result.fill_null("")
    )


def _shock(place: int) -> pl.Expr:
    """A shock of the company's own, and whether anything was heard of it."""
    heard = pl.when(pl.col(f"fits_own_{place}")).then(pl.lit("")).otherwise(pl.lit(", no headline fits"))
    return pl.format(
        "{}: {} beyond market and sector{}", pl.col(f"on_own_{place}"), _log(pl.col(f"own_{place}")), heard
    )


def _paid() -> pl.Expr:
    return pl.format(
        "Paid {} a share since the high, {} of the distance to it; the largest part, {}, went ex on {}",
        pl.col("paid").round(4),
        per_cent(pl.col("paid_share"), 0),
        pl.col("paid_largest").round(4),
        pl.col("on_paid"),
    )
