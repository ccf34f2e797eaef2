"""Headlines that fit a fall: about the right one, no good news, and out when the price moved or soon after.

What belongs here: which articles are believed, and of what. What does not: sentiment and deduplication of articles.
"""

from __future__ import annotations

import polars as pl

from trading_pipeline.research.dip_desk.rules import CauseRules
from trading_pipeline.research.panel import Panel

KEPT = 5
"""Articles named for a fall's cause, the earliest and most negative first."""

_SHOCKS = {
    "own_1": ("company", "company"),
    "own_2": ("company", "company"),
    "own_3": ("company", "company"),
    "report_worst": ("company", "earnings"),
    "index_worst": ("market", "macro"),
    "sector_worst": ("sector", "sector"),
}
"""Which scope of articles may explain each shock, and the cause they support."""


def fitting(
    judgement: pl.DataFrame, panel: Panel, news: pl.DataFrame, members: pl.DataFrame, rules: CauseRules
) -> pl.DataFrame:
    """[dip, of, supports, row, article_id, title, on, sentiment]: the articles that fit a shock of a dip.

    judgement: what the path of each fall says, a row a dip. of: the shock (`own_1` …, `report_worst`, `index_worst`,
    `sector_worst`). Articles whose scope is unsaid count as about the company they are tagged with; those about the
    market count for everyone, those about a sector for all of its members, whoever they are tagged with.
    """
    told = news.filter(pl.col("sentiment").round(9) <= rules.headline_sentiment)
    told = told.select(
        "session", "instrument_id", "article_id", "title", "sentiment", pl.col("scope").fill_null("company")
    ).with_columns(row_news=pl.Series(panel.rows(told["session"])))
    told = told.filter(pl.col("row_news") >= 0)
    sectors = members.select("session", "instrument_id", "sector").drop_nulls()
    sectors = sectors.sort("session", "instrument_id", "sector").unique(["session", "instrument_id"], keep="first")
    article = ["article_id", "title", "sentiment", "row_news"]
    pools = {
        "company": told.filter(pl.col("scope") == "company").select(*article, who="instrument_id"),
        "market": told.filter(pl.col("scope") == "market")
        .sort("row_news", "article_id")
        .unique("article_id", keep="first", maintain_order=True)
        .select(*article, who=pl.lit("market")),
        "sector": told.filter(pl.col("scope") == "sector")
        .join(sectors, on=["session", "instrument_id"], how="inner")
        .sort("row_news", "article_id")
        .unique(["article_id", "sector"], keep="first", maintain_order=True)
        .select(*article, who="sector"),
    }
    numbered = judgement.with_row_index("dip")
    limits = {
        **{f"own_{place}": pl.lit(0.0) for place in (1, 2, 3)},
        "report_worst": pl.lit(0.0),
        "index_worst": -rules.market_event_sigmas * pl.col("index_sigma"),
        "sector_worst": pl.lit(0.0),
    }
    found = []
    for name, (scope, supports) in _SHOCKS.items():
        who = {"company": pl.col("instrument_id"), "market": pl.lit("market"), "sector": pl.col("sector")}[scope]
        shocks = numbered.filter((pl.col(name) < 0) & (pl.col(name).round(9) <= limits[name])).select(
            "dip", "row", who.alias("who"), shock=pl.col(f"row_{name}")
        )
        lags = pl.DataFrame({"lag": range(int(rules.headline_lag) + 1)}, schema={"lag": pl.Int64})
        pairs = shocks.join(lags, how="cross").with_columns(row_news=pl.col("shock") + pl.col("lag"))
        pairs = pairs.filter(pl.col("row_news") <= pl.col("row"))
        pairs = pairs.join(pools[scope], on=["who", "row_news"], how="inner")
        found.append(
            pairs.select(
                "dip",
                of=pl.lit(name),
                supports=pl.lit(supports),
                row="row_news",
                article_id="article_id",
                title="title",
                sentiment="sentiment",
            )
        )
    every = pl.concat(found).sort("dip", "of", "row", "sentiment", "article_id")
    days = pl.Series(panel.sessions, dtype=pl.Date)
    return every.with_columns(on=days.gather(every["row"]))
