"""What a backtest is computed from: the market panel of a universe, as the lake holds it.

What belongs here: reading tables and turning columns into measures. What does not: the arithmetic of the panel
(`research/market_panel.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from trading_pipeline.errors import InputRefused, UnknownName
from trading_pipeline.markets import Market
from trading_pipeline.research.bars.best_view import in_force
from trading_pipeline.research.bars.daily import effective
from trading_pipeline.research.market_panel import MarketPanel, market_panel
from trading_pipeline.storage import reader
from trading_pipeline.tables import (
    CORPORATE_ACTIONS,
    DAILY_BARS,
    INDICATORS,
    NEWS,
    SCREENER_SCORES,
    UNIVERSE_MEMBERS,
)
from trading_pipeline.world import World

ALL = "ALL"
"""The universe that everybody belongs to who is a member of any."""
VERDICTS = {"Avoid": 0.0, "Hold": 1.0, "Buy": 2.0, "Strong Buy": 3.0}
"""Codes of the measure `verdict`; without a verdict there is no code."""
_KEY = ("session", "instrument_id")


@dataclass(frozen=True)
class Inputs:
    """A panel, the tickers its instruments had last, `data_as_of`, and the name of who provides the bars."""

    panel: MarketPanel
    tickers: dict[str, str]
    data_as_of: datetime | None
    provider: str


def read_panel(world: World, market: Market, universe: str, *, measured: bool = True) -> Inputs:
    """The panel of everybody who was ever a member of the universe, over all sessions in the lake.

    Its measures: verdict (0 Avoid to 3 Strong Buy) and total (0 to 100) of the screener, dip_pct (per cent below the
    52-week high), sentiment (mean of the articles first readable that session, -1 to 1) and articles (how many), sector
    (a number for each, in the order of the alphabet). Where nothing was published there is none.

    measured: whether it has them. `UnknownName` lists the universes; `InputRefused` where the lake holds no bars of it,
    or none of the benchmark.
    """
    known, remedy = (ALL, *world.universes_of(market)), f"Bring the {market.name} market up to date"
    members = world.lake.read(market.name, UNIVERSE_MEMBERS)
    if universe != ALL:
        members = members.filter(pl.col("universe") == universe)
    if members.is_empty():
        if universe not in known:
            raise UnknownName.of("universe", universe, known)
        raise InputRefused(f"Nobody is known to belong to {universe} in the {market.name} market", remedy)
    sessions = world.lake.sessions(market.name, DAILY_BARS)
    members = members.filter(pl.col("session").is_in(sessions)).sort(UNIVERSE_MEMBERS.key)
    members = members.unique(_KEY, keep="first", maintain_order=True)
    benchmark = world.index_of(market).benchmark
    ids = [*members["instrument_id"].unique(), benchmark]
    bars = reader.bars(world.lake, market.name, sessions, as_of=world.as_of, instruments=ids)
    if bars.is_empty():
        raise InputRefused(f"There is no bar of {universe} in the {market.name} market", remedy)
    if benchmark not in bars["instrument_id"]:
        raise InputRefused(f"There is no bar of the benchmark {benchmark}", remedy)
    # A world may be asked as of a moment before the last sessions: who joined after it was nobody then.
    members = members.filter(pl.col("session").is_in(bars["session"].unique().to_list()))
    actions = effective(in_force(world.lake.read(market.name, CORPORATE_ACTIONS), world.as_of))
    measures = _measures(world, market, members) if measured else {}
    panel = market_panel(bars, actions, members, benchmark, measures)
    tickers = members.sort("session").unique("instrument_id", keep="last")
    return Inputs(
        panel,
        dict(tickers.select("instrument_id", "ticker").iter_rows()),
        data_as_of(world, market),
        world.provider.name,
    )


def data_as_of(world: World, market: Market) -> datetime | None:
    """When the newest fact became known, or the newest decision was published, that a backtest may rest on (UTC)."""
    clocks = {DAILY_BARS: "known_at", CORPORATE_ACTIONS: "known_at", NEWS: "known_at", SCREENER_SCORES: "computed_at"}
    newest = [
        world.lake.scan(market.name, table).select(pl.col(clock).max()).collect().item()
        for table, clock in clocks.items()
    ]
    return max((moment for moment in newest if moment is not None), default=None)


def _measures(world: World, market: Market, members: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """[session, instrument_id, value] of every measure."""

    def told(frame: pl.DataFrame, value: pl.Expr) -> pl.DataFrame:
        return frame.select(*_KEY, value.cast(pl.Float64).alias("value")).drop_nulls()

    scores = world.lake.latest(market.name, SCREENER_SCORES)
    indicators = world.lake.read(market.name, INDICATORS, columns=[*_KEY, "distance_from_high"])
    # In one order, so that a mean is the same to the last bit.
    news = world.lake.read(market.name, NEWS, columns=[*NEWS.key, "sentiment"]).sort(NEWS.key)
    articles = news.group_by(_KEY, maintain_order=True).agg(pl.col("sentiment").mean(), articles=pl.len())
    sectors = members["sector"].drop_nulls().unique().sort().to_list()
    codes = pl.col("sector").replace_strict(sectors, range(len(sectors)), default=None, return_dtype=pl.Float64)
    return {
        "verdict": told(scores, pl.col("verdict").replace_strict(VERDICTS, default=None, return_dtype=pl.Float64)),
        "total": told(scores, pl.col("total")),
        "dip_pct": told(indicators, -100 * pl.col("distance_from_high")),
        "sentiment": told(articles, pl.col("sentiment")),
        "articles": told(articles, pl.col("articles")),
        "sector": told(members, codes),
    }
