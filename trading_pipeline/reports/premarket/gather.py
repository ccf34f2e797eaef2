"""What the premarket page of a session is made of, gathered from the lake."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from rich.console import RenderableType

from trading_pipeline.markets import Market
from trading_pipeline.reports import daily
from trading_pipeline.reports.premarket.inputs import PremarketInputs
from trading_pipeline.reports.premarket.page import render
from trading_pipeline.reports.premarket.summary import summary_renderable
from trading_pipeline.reports.tearsheets import links
from trading_pipeline.sessions import calendar
from trading_pipeline.storage import files
from trading_pipeline.storage.io_managers import read_in_force
from trading_pipeline.tables import (
    DAILY_BIAS,
    DIP_ANALYSIS,
    DIP_OPPORTUNITIES,
    EARNINGS_CALENDAR,
    FUNDAMENTALS,
    MARKET_REGIME,
    PREMARKET_SNAPSHOTS,
    SCREENER_SCORES,
    UNIVERSE_MEMBERS,
)

if TYPE_CHECKING:
    from trading_pipeline.world import World

NAME = "premarket_briefing"


def place_of(market: Market, session: date) -> str:
    """Where the premarket page of a session lies under the lake's root."""
    return f"{market.name}/reports/{NAME}/{session}.html"


def premarket_page(world: World, market: Market, session: date) -> str:
    """The premarket page of a session as one HTML page that needs nothing else to be read."""
    return render(gather(world, market, session))


def premarket_summary(world: World, market: Market, session: date) -> RenderableType:
    """The headlines of the premarket for a terminal: strongest biases, largest gaps, where the page is."""
    address = f"{world.settings.lake_root}/{place_of(market, session)}"
    return summary_renderable(gather(world, market, session), page=address)


def gather(world: World, market: Market, session: date) -> PremarketInputs:
    """Everything the premarket page of `session` tells, in force at the world's moment."""
    previous = calendar(market.exchange).offset(session, -1)
    scores = read_in_force(world, market, SCREENER_SCORES, previous, previous)
    dips = read_in_force(world, market, DIP_OPPORTUNITIES, previous, previous)
    provider = world.intraday_provider
    briefing = daily.place_of(market, previous)
    return PremarketInputs(
        market=market,
        session=session,
        previous=previous,
        world=world.name,
        snapshots=read_in_force(world, market, PREMARKET_SNAPSHOTS, session, session),
        bias=read_in_force(world, market, DAILY_BIAS, session, session),
        members=read_in_force(world, market, UNIVERSE_MEMBERS, session, session),
        regime=read_in_force(world, market, MARKET_REGIME, previous, previous),
        earnings=read_in_force(world, market, EARNINGS_CALENDAR, previous, previous),
        scores=scores,
        dips=dips,
        analysis=read_in_force(world, market, DIP_ANALYSIS, previous, previous),
        names=world.lake.read(market.name, FUNDAMENTALS, previous, previous, columns=["instrument_id", "name"]),
        benchmark=world.index_of(market).benchmark,
        provider=provider.name if provider else None,
        as_of=world.as_of,
        generated_at=world.now(),
        tearsheets=links(world, market, previous, scores, dips),
        briefing=f"../{daily.NAME}/{previous}.html" if files.has_file(world.settings, briefing) else None,
    )
