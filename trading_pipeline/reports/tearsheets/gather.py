"""What the tearsheets of a session are made of, gathered from the lake once for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal

import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.reports.decisions import selected
from trading_pipeline.reports.inputs import averaged, year_of
from trading_pipeline.reports.tearsheets.page import Session, index_page, sheet_page
from trading_pipeline.reports.tearsheets.places import index_place, place_of
from trading_pipeline.sessions import calendar
from trading_pipeline.storage.io_managers import read_in_force
from trading_pipeline.storage.reader import bars
from trading_pipeline.tables import (
    DIP_ANALYSIS,
    DIP_OPPORTUNITIES,
    EARNINGS_CALENDAR,
    FUNDAMENTALS,
    INDICATORS,
    MARKET_REGIME,
    NEWS,
    SCREENER_SCORES,
    UNIVERSE_MEMBERS,
    Table,
)

if TYPE_CHECKING:
    from trading_pipeline.world import World

NEWS_SESSIONS = 21
"""A month of articles: what is older is in the price."""


@dataclass(frozen=True)
class TearsheetInputs:
    """Everything the tearsheets of a session tell, in the columns of `tables/`.

    scores, fundamentals, earnings, dips, analysis, indicators, members, regime: rows of `session`. news: rows of the
    month to `session`. prices: [session, instrument_id, close, sma_50, sma_200] of the chosen names, adjusted for
    splits, a year of them. chosen: instrument ids, in the order of the index. count: how many leaders were asked for.
    as_of: the moment whose knowledge the numbers hold; generated_at: when the pages were made; both zone-aware.
    """

    market: Market
    session: date
    world: Literal["simulated", "real"]
    scores: pl.DataFrame
    fundamentals: pl.DataFrame
    earnings: pl.DataFrame
    dips: pl.DataFrame
    analysis: pl.DataFrame
    indicators: pl.DataFrame
    members: pl.DataFrame
    regime: pl.DataFrame
    news: pl.DataFrame
    prices: pl.DataFrame
    chosen: tuple[str, ...]
    count: int
    provider: str
    as_of: datetime
    generated_at: datetime

    @property
    def simulated(self) -> bool:
        """Whether every ticker on the pages is fictional."""
        return self.world == "simulated"


def tearsheet_pages(world: World, market: Market, session: date) -> dict[str, str]:
    """The session's tearsheets as self-contained HTML pages, by their place under the lake's root.

    The index comes last: written in this order, it names no page that is not there.
    """
    return render_all(gather(world, market, session))


def render_all(inputs: TearsheetInputs) -> dict[str, str]:
    """The page of each chosen ticker and the index, by place; one ticker is one page, its first instrument's."""
    prepared = Session(inputs)
    pages = {
        place_of(inputs.market, inputs.session, ticker): sheet_page(prepared, id_)
        for ticker, id_ in prepared.sheets.items()
    }
    return {**pages, index_place(inputs.market, inputs.session): index_page(prepared)}


def gather(world: World, market: Market, session: date) -> TearsheetInputs:
    """Everything the tearsheets of `session` tell, as of the world's moment."""
    exchange = calendar(market.exchange)

    def rows(table: Table) -> pl.DataFrame:
        return read_in_force(world, market, table, session, session)

    scores, dips, members = rows(SCREENER_SCORES), rows(DIP_OPPORTUNITIES), rows(UNIVERSE_MEMBERS)
    count = world.settings.tearsheet_count
    chosen = selected(scores, dips, members, count)
    year_ago, drawn = year_of(exchange, session)
    news = world.lake.read(
        market.name,
        NEWS,
        exchange.offset(session, 1 - NEWS_SESSIONS),
        session,
        predicate=pl.col("instrument_id").is_in(chosen),
    )
    return TearsheetInputs(
        market=market,
        session=session,
        world=world.name,
        scores=scores,
        fundamentals=rows(FUNDAMENTALS),
        earnings=rows(EARNINGS_CALENDAR),
        dips=dips,
        analysis=rows(DIP_ANALYSIS),
        indicators=rows(INDICATORS),
        members=members,
        regime=rows(MARKET_REGIME),
        news=news,
        prices=averaged(
            bars(world.lake, market.name, drawn, as_of=world.as_of, adjust="splits", instruments=chosen), year_ago
        ),
        chosen=tuple(chosen),
        count=count,
        provider=world.provider.name,
        as_of=world.as_of,
        generated_at=world.now(),
    )
