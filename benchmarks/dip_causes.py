"""Whether the causes that the rules find are those that were planted, beside the best any finder could do.

Simulated markets of several seeds, whose news are missing, late or misattributed and whose shocks meet: each is
received, judged and split by the project's own functions, and every dip of the last sessions gets a cause. The
simulator says what truly pulled the price down most, and how often a finder that knows how it draws could have told.

A dip lasts for weeks and its rows resemble each other, so the rows count dips by session, and the bounds are met or
missed by a few dozen independent falls a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table as Shown

from benchmarks import plain
from benchmarks.report import Row, Target
from benchmarks.workbench import own_settings, stop
from trading_pipeline.clock import fixed_clock
from trading_pipeline.markets import US
from trading_pipeline.providers.simulated import SimulatedProvider
from trading_pipeline.providers.simulated.truth import Truth
from trading_pipeline.research import news as news_science
from trading_pipeline.research.bars.daily import effective, usable
from trading_pipeline.research.dip_desk import CAUSES, causes
from trading_pipeline.research.dip_desk.causes import LOOKBACK, REFERENCE_LOOKBACK
from trading_pipeline.research.dips import dip_opportunities
from trading_pipeline.research.earnings import earnings_calendar
from trading_pipeline.research.indicators import indicators
from trading_pipeline.research.regime import market_regime
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import (
    CORPORATE_ACTIONS,
    DAILY_BARS,
    NEWS,
    RECEIVED_EARNINGS,
    RECEIVED_NEWS,
    SCREENER_SCORES,
    UNIVERSE_MEMBERS,
)
from trading_pipeline.tables.base import MOMENT
from trading_pipeline.world import World

LAST = date(2024, 3, 15)
SEEDS = (20160314, 1, 2, 3)
TICKERS = 120
JUDGED = 252
OF_CEILING = 0.9
AIMED_AT = ("macro", "company")
NOTE = (
    "Ours: share of the planted dips of that cause that the rules name. Baseline: the ceiling that the simulator "
    "publishes, for a finder that knows every part of every fall and how news are drawn. "
    "Simulated markets, all dips of the last year, missing, late and misattributed news included."
)


@dataclass(frozen=True)
class Frames:
    """What the rules are given about one market, and its dips."""

    dips: pl.DataFrame
    bars: pl.DataFrame
    actions: pl.DataFrame
    members: pl.DataFrame
    news: pl.DataFrame
    earnings: pl.DataFrame
    benchmark_id: str
    sessions: Sequence[date]


def frames_of(state_dir: Path, seed: int, tickers: int = TICKERS, judged: int = JUDGED) -> Frames:
    """The frames of a simulated market, received and judged as the assets do it."""
    exchange = calendar(US.exchange)
    settings = own_settings(state_dir, simulated_seed=seed, simulated_tickers=tickers)
    world = World(settings, fixed_clock(exchange.close_at(LAST) + 2 * US.data_lag))
    first = exchange.offset(LAST, 1 - judged)
    sessions = exchange.between(first, LAST)
    every = exchange.between(exchange.offset(first, -LOOKBACK), LAST)
    told = exchange.between(exchange.offset(first, -REFERENCE_LOOKBACK), LAST)

    world.receive_watchlist(US)
    plain.store(world, US, UNIVERSE_MEMBERS, every, world.universe_members(US, every))
    members = plain.load(world, US, UNIVERSE_MEMBERS, every)
    plain.bring_in(world, US, members, every, lambda part: None)
    world.receive_earnings(US, members, every)
    world.receive_news(US, members, every)

    moments = moments_of(exchange.between(every[0], exchange.offset(LAST, 130)))
    articles = world.received(US, RECEIVED_NEWS)
    returns = pl.DataFrame(schema={"session": pl.Date, "instrument_id": pl.String, "excess_return": pl.Float64})
    bars = usable(plain.load(world, US, DAILY_BARS, every))
    actions = effective(plain.load(world, US, CORPORATE_ACTIONS, every))
    benchmark_id, volatility_id = world.index_of(US).benchmark, world.index_of(US).volatility
    measured = indicators(bars, actions, members, benchmark_id, sessions)
    graded = market_regime(bars, actions, members, measured, benchmark_id, volatility_id, sessions)
    thresholds = settings.dip_thresholds
    return Frames(
        dip_opportunities(bars, actions, members, measured, graded, benchmark_id, thresholds, sessions),
        bars,
        actions,
        members,
        NEWS.conform(news_science.news(articles, members, told, moments)),
        earnings_calendar(
            world.received(US, RECEIVED_EARNINGS), actions, members, returns, told, moments, [world.provider.name]
        ),
        benchmark_id,
        sessions,
    )


def moments_of(sessions: Sequence[date]) -> pl.DataFrame:
    """[session, decided_at]: close and the market's lag."""
    closes = pl.Series("decided_at", calendar(US.exchange).closes(sessions)).dt.replace_time_zone("UTC")
    return pl.DataFrame(
        {"session": pl.Series(sessions, dtype=pl.Date), "decided_at": (closes + US.data_lag).cast(MOMENT)}
    )


def found_in(frames: Frames) -> pl.DataFrame:
    """The dips with the causes that the rules find."""
    return causes(
        frames.dips,
        frames.bars,
        frames.actions,
        frames.members,
        frames.news,
        frames.earnings,
        SCREENER_SCORES.empty(),
        frames.members,
        frames.benchmark_id,
        frames.sessions,
    )


def compared(frames: Frames, seed: int, tickers: int = TICKERS) -> tuple[pl.DataFrame, pl.DataFrame]:
    """[planted, found] of every dip that has a true cause, and the simulator's [cause, planted, ceiling]."""
    found = found_in(frames)
    truth = Truth(SimulatedProvider(seed, tickers), US, LAST)
    planted = truth.dip_causes(found)
    both = pl.DataFrame({"planted": planted["cause"], "found": found["cause"]}).drop_nulls()
    return both, truth.ceiling(found)


def confusion(both: pl.DataFrame, ceilings: pl.DataFrame) -> Shown:
    """Planted against found, a row a planted cause: counts, the share that is named right, and the ceiling."""
    shown = Shown(title="Causes of dips: planted (rows) against found", title_justify="left", title_style="bold")
    shown.add_column("planted")
    for name in (*CAUSES, "all", "right", "ceiling"):
        shown.add_column(name, justify="right")
    rates = ceilings.select("cause", pl.col("right") / pl.max_horizontal("planted", 1))
    ceiling = dict(rates.iter_rows())
    for name in CAUSES:
        of_cause = both.filter(planted=name)
        counts = [of_cause.filter(found=other).height for other in CAUSES]
        right = counts[CAUSES.index(name)] / of_cause.height if of_cause.height else None
        limit = ceiling.get(name) if of_cause.height else None
        cells = [f"{value:.3f}" if value is not None else "-" for value in (right, limit)]
        shown.add_row(name, *(f"{count:,}" for count in counts), f"{of_cause.height:,}", *cells)
    return shown


def pooled(ceilings: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """[cause, planted, right]: how many dips the reference finder named right, over all seeds."""
    right = (pl.col("ceiling").fill_null(0.0) * pl.col("planted")).round(0)
    return pl.concat(ceilings).group_by("cause", maintain_order=True).agg(pl.col("planted").sum(), right=right.sum())


def measure(folder: Path, seeds: Sequence[int] = SEEDS, tickers: int = TICKERS, judged: int = JUDGED) -> list[Row]:
    """One row for each cause that is aimed at, over all seeds; prints the confusion matrix."""
    parts, ceilings = [], []
    for seed in seeds:
        state_dir = folder / f"causes-{seed}"
        frames = frames_of(state_dir, seed, tickers, judged)
        stop(state_dir)
        both, ceiling = compared(frames, seed, tickers)
        parts.append(both)
        ceilings.append(ceiling)
    both, limits = pl.concat(parts), pooled(ceilings)
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(confusion(both, limits))
    rows = []
    for name in AIMED_AT:
        of_cause = both.filter(planted=name)
        limit = limits.filter(cause=name)
        if of_cause.is_empty() or not limit["right"].sum():
            continue
        ours = of_cause.filter(found=name).height / of_cause.height
        ceiling = limit["right"].sum() / limit["planted"].sum()
        rows.append(
            Row(
                f"{name} dips named, {len(seeds)} seeds",
                f"{ours:.3f}",
                f"{ceiling:.3f}",
                ours / ceiling,
                NOTE,
                Target(OF_CEILING, " x", at_least=True),
            )
        )
    return rows
