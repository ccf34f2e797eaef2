"""The environment of the market on each session: five components, a grade, and the reasons in words.

What belongs here: grading what the index and the members did up to the session. What does not: forecasts, position
sizes.

Every component gives -2 to +2 points; what cannot be known (too little history, no volume) gives 0 and says so. All
comparisons are made on values rounded to 9 decimals.

- Trend: the index above its 50-session average, above its 200-session average, that average higher than 21 sessions
  before. All three +2, two +1, one -1, none -2.
- Breadth: the share of members above their 50-session and above their 200-session average. For each +1 from 60 %, -1
  below 40 %.
- New highs less new lows, as a share of the members with a year of history: +2 from 5 %, +1 from 1 %, -1 and -2 on the
  other side.
- Volatility, implied (realised): below 15 % (10) a year +2, below 20 (15) +1, below 25 (20) 0, below 30 (28) -1, from
  there -2.
- Distribution days in 25 sessions: up to 1 +2, up to 3 +1, 4 0, 5 -1, more -2.

Environment by total: A from 5, B from 1, C from -4, D below. Bull: index at or above its 200-session average and a
total of 1 or more. Bear: below it and -1 or less. Sideways: everything else, an unknown average included.

Sources. Trend: the 200-session rule of Faber (A Quantitative Approach to Tactical Asset Allocation, 2007) and the
rising average of Weinstein's stage 2 (Secrets for Profiting in Bull and Bear Markets, 1988). Distribution day:
Investor's Business Daily and O'Neil (How to Make Money in Stocks): the index falls 0.2 % or more on more volume than
the session before; it counts for 25 sessions or until the index closes 5 % above it; five or six warn of a top.
Volatility: the VIX has averaged about 19.5 since 1990 and 30 marks stress; realised volatility runs some points below
implied (Carr and Wu, Variance Risk Premiums, 2009). The bands of breadth and of new highs are our choice around the
even split: 60/40, so that a market that hovers about 50 % does not flip every day.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from trading_pipeline.research import indicators as indicators_module
from trading_pipeline.research.indicators import moving_average, volatility
from trading_pipeline.research.market_index import EQUAL_WEIGHT, market_index, membership
from trading_pipeline.research.panel import (
    Floats,
    Integers,
    OwnBars,
    Panel,
    cash_paid,
    shift,
    split_cumulation,
    total_returns,
    window_sum,
)

LOOKBACK = indicators_module.LOOKBACK
"""Sessions before the judged one whose bars, actions and members must be passed."""

WINDOW = 440
"""Sessions an average of the index spans at most, so that the one of 21 bars earlier still lies inside LOOKBACK."""

DISTRIBUTION_FALL = 0.002
DISTRIBUTION_SPAN = 25
DISTRIBUTION_RALLY = 1.05

_COLUMNS = (
    "session", "regime", "environment", "score", "benchmark", "index_vs_sma_50", "index_vs_sma_200", "sma_200_slope_21",
    "breadth_50", "breadth_200", "new_highs", "new_lows", "volatility", "volatility_source", "distribution_days",
    "members", "reasons",
)  # fmt: skip


@np.errstate(divide="ignore", invalid="ignore")
def market_regime(
    bars: pl.DataFrame,
    actions: pl.DataFrame,
    members: pl.DataFrame,
    indicators: pl.DataFrame,
    benchmark_id: str,
    volatility_id: str | None,
    sessions: Sequence[date],
) -> pl.DataFrame:
    """The columns of the table `market_regime` for every judged session on which anything has a bar.

    bars, actions: as for `indicators`, from LOOKBACK sessions before the first judged one. members: [session, universe,
    instrument_id], of the judged sessions, and of the lookback for the equal-weight index; each name counts once a
    session, the benchmark and the volatility index not at all. indicators: rows of the judged sessions. benchmark_id:
    the index; on a session without a bar of it the equal-weight index of the members (chain of their mean total
    returns) takes its place, `benchmark` says `equal_weight`, and distribution days are unknown: that index has no
    volume. volatility_id: the implied-volatility index in per cent (VIX), used on sessions that have a bar of it;
    otherwise the realised volatility of the index over 21 sessions. sessions: the judged ones, ascending.
    """
    grid = Panel.of(bars)
    rows = grid.rows(pl.Series(list(sessions), dtype=pl.Date))
    rows = np.unique(rows[rows >= 0])
    judged = grid.sessions[rows]
    index = _index_measures(grid, bars, actions, members, benchmark_id=benchmark_id, rows=rows)
    frame = pl.DataFrame({"session": pl.Series(judged, dtype=pl.Date), **index})

    at_session = bars.filter(pl.col("session").is_in(frame["session"].implode()))
    ticker = at_session.filter(pl.col("instrument_id") == benchmark_id).select("session", benchmark="ticker")
    implied = at_session.filter(pl.col("instrument_id") == (volatility_id or "")).select(
        "session", implied=pl.col("close") / 100
    )
    breadth = _breadth(grid, bars, members, indicators, [benchmark_id, volatility_id or ""])
    frame = (
        frame.join(ticker, on="session", how="left")
        .join(implied, on="session", how="left")
        .join(breadth, on="session", how="left")
        .sort("session")
        .with_columns(
            pl.col("benchmark").fill_null(EQUAL_WEIGHT),
            pl.col("members", "new_highs", "new_lows").fill_null(0).cast(pl.Int32),
            pl.col("distribution_days").cast(pl.Int32),
            volatility=pl.coalesce("implied", "realised"),
            volatility_source=pl.when(pl.col("implied").is_not_null())
            .then(pl.lit("implied"))
            .otherwise(pl.lit("realised")),
        )
    )
    return _graded(frame).select(_COLUMNS)


def _index_measures(
    grid: Panel, bars: pl.DataFrame, actions: pl.DataFrame, members: pl.DataFrame, *, benchmark_id: str, rows: Integers
) -> dict[str, pl.Series]:
    """What the index says on each of `rows`: the benchmark where it has a bar, the equal-weight index elsewhere."""
    alone = bars.filter(pl.col("instrument_id") == benchmark_id)
    axis = Panel(grid.sessions, [benchmark_id])
    arrays = axis.from_long(alone, ["close", "volume"])
    valid = arrays["close"] > 0
    close = np.where(valid, arrays["close"], np.nan)
    cumulation = split_cumulation(axis, actions)
    change = total_returns(close, cumulation, cash_paid(axis, actions)).change
    measures = _measures(close * cumulation, change, arrays["volume"] / cumulation)
    by_benchmark = valid[:, 0]
    if not by_benchmark[rows].all():
        every = grid.from_long(bars, ["high", "low", "close"])
        traded = np.isfinite(every["high"]) & np.isfinite(every["low"]) & (every["close"] > 0)
        prices = np.where(traded, every["close"], np.nan)
        returns = total_returns(prices, split_cumulation(grid, actions), cash_paid(grid, actions))
        series = market_index(grid, traded, returns, members, benchmark_id).equal_weight
        known = np.isfinite(series.daily)
        level = np.where(known, np.exp(series.level), np.nan)[:, None]
        equal = _measures(level, series.daily[:, None], np.full(level.shape, np.nan))
        measures = {name: np.where(by_benchmark, array, equal[name]) for name, array in measures.items()}
    return {name: pl.Series(array[rows]).fill_nan(None) for name, array in measures.items()}


def _measures(close: Floats, change: Floats, volume: Floats) -> dict[str, Floats]:
    """Trend, realised volatility and distribution days of one index; all arrays sessions x 1, NaN without a bar.

    close: split-adjusted, any basis. change: log total return since the bar before. volume: split-adjusted.
    """
    own = OwnBars(np.isfinite(close))
    price = own.pack(close)
    average = moving_average(own, price, 200, WINDOW)
    earlier = np.where(own.row - shift(own.row.astype(np.float64), 21) <= 2 * 21, shift(average, 21), np.nan)
    packed = {
        "index_vs_sma_50": price / moving_average(own, price, 50, WINDOW) - 1,
        "index_vs_sma_200": price / average - 1,
        "sma_200_slope_21": average / earlier - 1,
        "realised": volatility(own, own.pack(change)),
        "distribution_days": _distribution_days(own, price, own.pack(volume)),
    }
    return {name: own.unpack(array)[:, 0] for name, array in packed.items()}


def _distribution_days(own: OwnBars, price: Floats, volume: Floats) -> Floats:
    """Packed: falls of 0.2 % or more on rising volume among the last 25 bars, less those the index has since closed
    5 % above. NaN with fewer than 26 bars or without volume on all of them."""
    fall = np.round(price / shift(price, 1) - 1, 9) <= -DISTRIBUTION_FALL
    happened = fall & own.follows & (np.round(volume / shift(volume, 1) - 1, 9) > 0)
    count, best = np.zeros(price.shape), price
    for lag in range(DISTRIBUTION_SPAN):
        best = np.fmax(best, shift(price, lag))
        erased = np.round(best / shift(price, lag), 9) >= DISTRIBUTION_RALLY
        count += (shift(happened.astype(np.float64), lag, 0.0) > 0) & ~erased
    with_volume = window_sum((volume > 0).astype(np.float64), DISTRIBUTION_SPAN + 1) > DISTRIBUTION_SPAN
    return np.where(with_volume & (own.within(WINDOW) > DISTRIBUTION_SPAN), count, np.nan)


def _breadth(
    grid: Panel, bars: pl.DataFrame, members: pl.DataFrame, indicators: pl.DataFrame, apart: Sequence[str]
) -> pl.DataFrame:
    """[session, members, breadth_50, breadth_200, new_highs, new_lows, with_year] of the members with a bar."""
    is_member = membership(grid, members)
    is_member[:, [column for column, name in enumerate(grid.instrument_ids) if name in apart]] = False
    measures = indicators.select("session", "close", "sma_50", "sma_200", "high_252", "low_252")
    cells = grid.cells(indicators)
    counts = (cells >= 0) & is_member.ravel()[cells]
    prices = grid.from_long(bars, ["high", "low"])
    frame = measures.with_columns(**{name: pl.Series(array.ravel()[cells]) for name, array in prices.items()})
    return (
        frame.filter(pl.Series(counts, dtype=pl.Boolean))
        .group_by("session")
        .agg(
            members=pl.len(),
            breadth_50=((pl.col("close") / pl.col("sma_50")).round(9) > 1).mean(),
            breadth_200=((pl.col("close") / pl.col("sma_200")).round(9) > 1).mean(),
            new_highs=((pl.col("high") / pl.col("high_252")).round(9) >= 1).sum(),
            new_lows=((pl.col("low") / pl.col("low_252")).round(9) <= 1).sum(),
            with_year=pl.col("high_252").count(),
        )
    )


def _graded(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with points, score, environment, regime and reasons."""
    above_50, above_200, rising = (
        pl.col(name).round(9) >= 0 for name in ("index_vs_sma_50", "index_vs_sma_200", "sma_200_slope_21")
    )
    trend_known = pl.all_horizontal(pl.col("index_vs_sma_50", "index_vs_sma_200", "sma_200_slope_21").is_not_null())
    signs = above_50.cast(pl.Int32) + above_200.cast(pl.Int32) + rising.cast(pl.Int32)
    high_low = ((pl.col("new_highs") - pl.col("new_lows")) / pl.col("with_year")).round(9)
    graded = frame.with_columns(
        high_low=pl.when(pl.col("with_year") > 0).then(high_low),
    ).with_columns(
        trend_points=pl.when(trend_known).then(signs.replace_strict({0: -2, 1: -1, 2: 1, 3: 2}, return_dtype=pl.Int32)),
        breadth_points=_breadth_points("breadth_50") + _breadth_points("breadth_200"),
        high_low_points=_banded(-pl.col("high_low"), (-0.05, -0.01, 0.01, 0.05), (True, True, False, False)),
        volatility_points=pl.when(pl.col("volatility_source") == "implied")
        .then(_banded(pl.col("volatility").round(9), (0.15, 0.20, 0.25, 0.30)))
        .otherwise(_banded(pl.col("volatility").round(9), (0.10, 0.15, 0.20, 0.28))),
        distribution_points=_banded(pl.col("distribution_days"), (2, 4, 5, 6)),
    )
    points = [pl.col(f"{name}_points").fill_null(0) for name in _COMPONENTS]
    score = pl.sum_horizontal(points).cast(pl.Int32)
    graded = graded.with_columns(score=score)
    score = pl.col("score")
    return graded.with_columns(
        environment=pl.when(score >= 5).then(pl.lit("A"))
        .when(score >= 1).then(pl.lit("B"))
        .when(score >= -4).then(pl.lit("C"))
        .otherwise(pl.lit("D")),
        regime=pl.when(above_200 & (score >= 1)).then(pl.lit("Bull"))
        .when(~above_200 & (score <= -1)).then(pl.lit("Bear"))
        .otherwise(pl.lit("Sideways")),
    ).with_columns(reasons=_reasons())  # fmt: skip


_COMPONENTS = ("trend", "breadth", "high_low", "volatility", "distribution")


def _banded(value: pl.Expr, bounds: Sequence[float], closed: Sequence[bool] = (False,) * 4) -> pl.Expr:
    """+2 below the first bound, +1 below the second … -2 from the last on; `closed`: the bound itself is below."""
    points = pl.lit(-2, pl.Int32)
    for bound, includes, worth in zip(reversed(bounds), reversed(closed), (-1, 0, 1, 2), strict=True):
        inside = value <= bound if includes else value < bound
        points = pl.when(inside).then(pl.lit(worth, pl.Int32)).otherwise(points)
    return pl.when(value.is_not_null()).then(points)


def _breadth_points(name: str) -> pl.Expr:
    share = pl.col(name).round(9)
    worth = pl.when(share >= 0.6).then(1).when(share < 0.4).then(-1).otherwise(0).cast(pl.Int32)
    return pl.when(share.is_not_null()).then(worth)


def _per_cent(value: pl.Expr, digits: int = 1) -> pl.Expr:
    shown = (value * 100).round(9).round(digits)
    return pl.format("{}%", shown if digits else shown.cast(pl.Int64))


def _points(name: str) -> pl.Expr:
    value = pl.col(f"{name}_points").fill_null(0)
    return pl.when(value > 0).then(pl.format("+{}", value)).otherwise(value.cast(pl.String))


def _from_average(name: str) -> pl.Expr:
    side = pl.when(pl.col(name).round(9) >= 0).then(pl.lit("above")).otherwise(pl.lit("below"))
    return pl.format("{} {}", _per_cent(pl.col(name).abs()), side)


def _reasons() -> pl.Expr:
    """One line a component, for someone who has never seen one: points, what was measured, what it means."""
    index = (
        pl.when(pl.col("benchmark") == EQUAL_WEIGHT)
        .then(pl.lit("the equal-weight average of the members (the benchmark has no bar)"))
        .otherwise(pl.col("benchmark"))
    )
    slope = pl.col("sma_200_slope_21").round(9)
    trend = pl.format(
        "Trend {}: {} is {} its 50-session average and {} its 200-session average, which {} {} in 21 sessions.",
        _points("trend"),
        index,
        _from_average("index_vs_sma_50"),
        _from_average("index_vs_sma_200"),
        pl.when(slope >= 0).then(pl.lit("rose")).otherwise(pl.lit("fell")),
        _per_cent(slope.abs()),
    )
    breadth = pl.format(
        "Breadth {}: {} of the members trade above their 50-session average, {} above their 200-session average.",
        _points("breadth"),
        _per_cent(pl.col("breadth_50"), 0),
        _per_cent(pl.col("breadth_200"), 0),
    )
    high_low = pl.format(
        "New highs and lows {}: members at a 52-week high {}, at a 52-week low {}, of {} with a year of history.",
        _points("high_low"),
        pl.col("new_highs"),
        pl.col("new_lows"),
        pl.col("with_year"),
    )
    volatile = pl.format(
        "Volatility {}: {} a year, {}.",
        _points("volatility"),
        _per_cent(pl.col("volatility")),
        pl.when(pl.col("volatility_source") == "implied")
        .then(pl.lit("what options imply for the next month"))
        .otherwise(pl.format("as {} really moved over 21 sessions", index)),
    )
    distribution = pl.format(
        "Distribution {}: on {} of the last 25 sessions {} fell 0.2% or more on rising volume; "
        "such days hint at large sellers.",
        _points("distribution"),
        pl.col("distribution_days"),
        index,
    )
    unknown = pl.lit(" unknown, 0 points: ")
    lines = [
        pl.coalesce(trend, pl.lit("Trend") + unknown + index + pl.lit(" has fewer than 221 sessions of history.")),
        pl.coalesce(breadth, pl.lit("Breadth") + unknown + pl.lit("no member has 200 sessions of history.")),
        pl.coalesce(
            pl.when(pl.col("high_low").is_not_null()).then(high_low),
            pl.lit("New highs and lows") + unknown + pl.lit("no member has a year of history."),
        ),
        pl.coalesce(
            volatile, pl.lit("Volatility") + unknown + index + pl.lit(" has fewer than 22 sessions of history.")
        ),
        pl.coalesce(
            distribution,
            pl.lit("Distribution")
            + unknown
            + index
            + pl.when(pl.col("benchmark") == EQUAL_WEIGHT)
            .then(pl.lit(" has no volume of its own."))
            .otherwise(pl.lit(" has fewer than 26 sessions with volume.")),
        ),
    ]
    return pl.concat_str(lines, separator="\n")
