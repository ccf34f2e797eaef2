"""What the day's briefing and the terminal's summary are made of, gathered from the lake.

What belongs here: choosing the sessions and rows they need. What does not: computing (`research/`) and showing
(`briefing.py`, `summary.py`).
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from rich.console import RenderableType

from trading_pipeline import universes
from trading_pipeline.markets import Market
from trading_pipeline.reports.briefing import TOP_DIPS, BriefingInputs, render
from trading_pipeline.reports.inputs import averaged, year_of
from trading_pipeline.reports.summary import summary_renderable
from trading_pipeline.reports.tearsheets import links
from trading_pipeline.research.bars.daily import usable
from trading_pipeline.research.bars.quality import RULES
from trading_pipeline.research.week import MarketWeek, market_week
from trading_pipeline.sessions import calendar
from trading_pipeline.storage.io_managers import read_in_force
from trading_pipeline.storage.reader import bars
from trading_pipeline.tables import (
    BAR_ISSUES,
    DAILY_BARS,
    DIP_ANALYSIS,
    DIP_OPPORTUNITIES,
    EARNINGS_CALENDAR,
    FUNDAMENTALS,
    INDICATORS,
    MARKET_REGIME,
    NEWS,
    SCREENER_SCORES,
    UNIVERSE_MEMBERS,
)
from trading_pipeline.world import World

NAME = "daily_briefing"
WEEK = timedelta(days=6)


def place_of(market: Market, session: date) -> str:
    """Where the briefing of a session lies under the lake's root."""
    return f"{market.name}/reports/{NAME}/{session}.html"


def briefing_page(world: World, market: Market, session: date) -> str:
    """The briefing of a session as one HTML page."""
    return render(gather(world, market, session))


def summary(world: World, market: Market, session: date) -> RenderableType:
    """The briefing's headlines for a terminal: regime, top dips, quarantine, where the page is, how to open the UI."""
    address = f"{world.settings.lake_root}/{place_of(market, session)}"
    return summary_renderable(gather(world, market, session), briefing=address)


def gather(world: World, market: Market, session: date) -> BriefingInputs:
    """Everything the briefing of `session` tells, as of the world's moment."""
    exchange = calendar(market.exchange)
    year_ago, drawn = year_of(exchange, session)
    dips = read_in_force(world, market, DIP_OPPORTUNITIES, session, session)
    regime = read_in_force(world, market, MARKET_REGIME, year_ago, session)
    deepest = dips.sort("dip_pct", descending=True).head(TOP_DIPS)["instrument_id"].to_list()
    benchmark = world.index_of(market).benchmark
    prices = bars(
        world.lake, market.name, drawn, as_of=world.as_of, adjust="splits", instruments=[*deepest, benchmark]
    ).sort("instrument_id", "session")
    scores = read_in_force(world, market, SCREENER_SCORES, session, session)
    return BriefingInputs(
        market=market,
        session=session,
        world=world.name,
        regime=regime,
        dips=dips,
        benchmark=averaged(prices.filter(pl.col("instrument_id") == benchmark), year_ago),
        prices=prices.filter(pl.col("session") >= year_ago).select("session", "instrument_id", "close"),
        issues=read_in_force(world, market, BAR_ISSUES, session, session),
        coverage=_coverage(world, market, session),
        provider=world.provider.name,
        as_of=world.as_of,
        generated_at=world.now(),
        thresholds=world.settings.dip_thresholds,
        scores=scores,
        analysis=read_in_force(world, market, DIP_ANALYSIS, session, session),
        earnings=read_in_force(world, market, EARNINGS_CALENDAR, session, session),
        names=world.lake.read(market.name, FUNDAMENTALS, session, session, columns=["instrument_id", "name"]),
        articles=world.lake.read(market.name, NEWS, session - WEEK, session, columns=["article_id"]).n_unique(),
        tearsheets=links(world, market, session, scores, dips),
        week=_week(world, market, session),
        rules={name: rule.description for name, rule in RULES.items()},
    )


def _coverage(world: World, market: Market, session: date) -> pl.DataFrame:
    members = read_in_force(world, market, UNIVERSE_MEMBERS, session, session)
    priced = usable(read_in_force(world, market, DAILY_BARS, session, session))
    return universes.survivorship_coverage(members, priced, world.coverage_thresholds(market))


def _week(world: World, market: Market, session: date) -> MarketWeek | None:
    """The week that ends with `session`; None on any other day, or where not all of its sessions were published."""
    exchange = calendar(market.exchange)
    following = exchange.offset(session, 1)
    if following.isocalendar()[:2] == session.isocalendar()[:2]:
        return None
    monday = date.fromisocalendar(*session.isocalendar()[:2], 1)
    sessions = exchange.between(monday, session)
    since = exchange.offset(sessions[0], -1)
    indicators = read_in_force(world, market, INDICATORS, sessions[0], session)
    if indicators["session"].n_unique() < len(sessions):
        return None
    return market_week(
        indicators,
        read_in_force(world, market, UNIVERSE_MEMBERS, session, session),
        read_in_force(world, market, MARKET_REGIME, since, session),
        read_in_force(world, market, DIP_OPPORTUNITIES, since, session),
        benchmark_id=world.index_of(market).benchmark,
        sessions=sessions,
    )
