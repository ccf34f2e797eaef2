"""Dips: members down from their 52-week high, and how much of each fall was the market, the sector, the company.

What belongs here: finding and splitting falls. What does not: why the company fell (news), what to do about it.

A fall is the log total return from the close of the high's session to now, so that parts add up:

    fall = beta_market x market + beta_sector x (sector - beta_sector_to_market x market) + company

market: the benchmark, or the equal-weight index where it has no bar (`market_index.py`). sector: equal weight of the
*other* members of the stock's sector, day by day of those that were members on the day; the stock itself is left out,
or a sector of few would explain it by itself. The sector is made orthogonal to the market, so no move counts twice.
All betas are slopes of daily log total returns over the 252 sessions up to the session judged: nothing later is used,
and the fall itself is inside the window, as it is for whoever looks at it that day.

A dip is measured on prices, as 52-week highs are quoted; a fall on total returns. A deep dip with no fall is a company
that paid its holders a large dividend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from trading_pipeline.research import indicators as indicators_module
from trading_pipeline.research.indicators import SPAN_COVERAGE, YEAR, extremes
from trading_pipeline.research.market_index import MarketIndex, market_index
from trading_pipeline.research.panel import (
    Floats,
    Integers,
    Moments,
    Panel,
    TotalReturns,
    cash_paid,
    count_in_span,
    in_blocks,
    split_cumulation,
    total_returns,
    values_at,
)

LOOKBACK = indicators_module.LOOKBACK
"""Sessions before the judged one whose bars, actions and members must be passed."""

DRAWDOWN_HISTORY = 252
"""Earlier sessions whose drawdowns the present one is ranked among; each has its own 52 weeks, 503 sessions in all."""

LEAST_DRAWDOWNS = 126
LEAST_PEERS = 3
"""Other members of a sector that must have a return for the sector to have one."""
LEAST_APART = 1e-6
"""Share of the sector's variance that the market must leave unexplained for a beta to it to mean anything."""

_COLUMNS = (
    "session", "instrument_id", "ticker", "universes", "sector", "price", "high_252", "dip_pct", "threshold_pct",
    "sessions_since_high", "drawdown_percentile", "fall", "market_part", "sector_part", "company_part",
    "beta_market", "beta_sector", "environment", "data_quality",
)  # fmt: skip


@np.errstate(divide="ignore", invalid="ignore")
def dip_opportunities(
    bars: pl.DataFrame,
    actions: pl.DataFrame,
    members: pl.DataFrame,
    indicators: pl.DataFrame,
    regime: pl.DataFrame,
    benchmark_id: str,
    thresholds: Sequence[float],
    sessions: Sequence[date],
) -> pl.DataFrame:
    """The columns of the table `dip_opportunities`, by session and instrument.

    bars, actions: as for `indicators`, from LOOKBACK sessions before the first judged one. members: [session, universe,
    instrument_id, sector], of the judged sessions and of the lookback (the peers of past days). indicators: rows of
    the judged sessions. regime: [session, environment] of them; no row, no environment. thresholds: per cent below the
    high, ascending; the smallest makes a dip. sessions: the judged ones, ascending.

    Too little history gives nulls, never zeros: no beta, no parts; fewer than 126 earlier drawdowns among the 252
    sessions before, no percentile. Where the sector is unknown, has fewer than 3 other members with returns on most of
    the year, or does not move apart from the market, `beta_sector` and `sector_part` are null and `company_part` is all
    that the market does not explain. The parts that are there always add up to `fall`.
    """
    judged = pl.Series("session", list(sessions), dtype=pl.Date)
    grid = Panel.of(bars)
    dips = _found(grid, members, indicators, thresholds, judged)
    if dips.is_empty():
        return _finished(dips.with_columns(_no_parts()), regime)

    arrays = grid.from_long(bars, ["high", "low", "close"])
    valid = np.isfinite(arrays["high"]) & np.isfinite(arrays["low"]) & (arrays["close"] > 0)
    close = np.where(valid, arrays["close"], np.nan)
    cumulation = split_cumulation(grid, actions)
    returns = total_returns(close, cumulation, cash_paid(grid, actions))
    index = market_index(grid, valid, returns, members, benchmark_id)
    drawdown = in_blocks(extremes, arrays["high"], arrays["low"], close, valid, cumulation)["distance_from_high"]

    cells = dips["cell"].to_numpy()
    percentile = _drawdown_percentile(drawdown, cells, cells // grid.shape[1])
    codes, names = sector_codes_of(grid, members)
    falls = _Falls(
        *np.divmod(cells, grid.shape[1]),
        age=dips["sessions_since_high"].cast(pl.Int64).to_numpy(),
        sector=dips["sector"].cast(pl.Enum(names)).to_physical().cast(pl.Int64).fill_null(-1).to_numpy(),
        beta_market=dips["beta_market"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
    )
    parts = _split(falls, returns, index, codes, len(names))
    found = values_at(np.arange(dips.height), {"drawdown_percentile": percentile, **parts})
    return _finished(dips.hstack(found), regime)


@dataclass(frozen=True)
class _Falls:
    """One element a dip: its row and column in the panel, sessions since the high, code of its sector (-1: unknown)."""

    row: Integers
    column: Integers
    age: Integers
    sector: Integers
    beta_market: Floats


def _found(
    grid: Panel, members: pl.DataFrame, indicators: pl.DataFrame, thresholds: Sequence[float], judged: pl.Series
) -> pl.DataFrame:
    """The dips with what `indicators` and `members` say of them, and their cell in the panel."""
    below = (
        indicators.filter(pl.col("session").is_in(judged.implode()))
        .with_columns(dip_pct=-100 * pl.col("distance_from_high"))
        .filter(pl.col("dip_pct").round(9) >= thresholds[0])
        .with_columns(threshold_pct=_largest_passed(thresholds))
        .select(
            "session", "instrument_id", "ticker", "high_252", "dip_pct", "threshold_pct", "sessions_since_high",
            "data_quality", price="close", beta_market="beta_252",
        )
    )  # fmt: skip
    below = below.with_columns(cell=pl.Series(grid.cells(below), dtype=pl.Int64))
    of_member = members.select("universe", "sector", cell=pl.Series(grid.cells(members), dtype=pl.Int64))
    member = (
        of_member.filter(pl.col("cell").is_in(below["cell"].implode()) & (pl.col("cell") >= 0))
        .sort("cell", "universe")
        .group_by("cell")
        .agg(pl.col("universe").unique(maintain_order=True).alias("universes"), pl.col("sector").drop_nulls().first())
        .with_columns(pl.col("universes").list.join(","))
    )
    return below.join(member, on="cell", how="inner").sort("session", "instrument_id")


def _largest_passed(thresholds: Sequence[float]) -> pl.Expr:
    passed = pl.lit(thresholds[0], dtype=pl.Float64)
    for threshold in thresholds[1:]:
        passed = pl.when(pl.col("dip_pct").round(9) >= threshold).then(pl.lit(threshold, pl.Float64)).otherwise(passed)
    return passed


def _no_parts() -> list[pl.Expr]:
    names = ("drawdown_percentile", "fall", "market_part", "sector_part", "company_part", "beta_sector")
    return [pl.lit(None, pl.Float64).alias(name) for name in names]


def _finished(dips: pl.DataFrame, regime: pl.DataFrame) -> pl.DataFrame:
    environment = regime.select("session", "environment")
    return dips.join(environment, on="session", how="left", maintain_order="left").select(_COLUMNS)


def _drawdown_percentile(drawdown: Floats, cells: Integers, rows: Integers) -> Floats:
    """Share of the drawdowns of the 252 sessions before that were shallower, decided on 9 decimals.

    Drawdowns are compared as whole billionths: half the time of comparing floats, and ties are ties.
    """
    known = np.isfinite(drawdown)
    billionths = np.where(known, np.round(drawdown * 1e9), -2e9).astype(np.int32)
    first, end = rows.min(), rows.max() + 1
    shallower = np.zeros((end - first, drawdown.shape[1]), dtype=np.int16)
    for lag in range(1, min(DRAWDOWN_HISTORY, end - 1) + 1):
        start = max(first, lag)
        shallower[start - first :] += billionths[start - lag : end - lag] > billionths[start:end]
    before = np.zeros_like(shallower)
    before[max(first, 1) - first :] = count_in_span(known, DRAWDOWN_HISTORY)[max(first, 1) - 1 : end - 1]
    share = np.where(before >= LEAST_DRAWDOWNS, shallower / before, np.nan)
    at_row, column = np.divmod(cells, drawdown.shape[1])
    return np.asarray(share[at_row - first, column])


def sector_codes_of(grid: Panel, members: pl.DataFrame) -> tuple[Integers, list[str]]:
    """Sessions x instruments: the code of each member's sector on the session, -1 where it has none; the names coded.

    Where universes disagree about a sector, the first one by name that knows it holds.
    """
    known = members.filter(pl.col("sector").is_not_null())
    if known["universe"].n_unique() > 1:
        known = known.sort("universe", descending=True, maintain_order=True)
    names = known["sector"].unique().sort().to_list()
    codes = np.full(grid.shape, -1, dtype=np.int64)
    cells = grid.cells(known)
    values = known["sector"].cast(pl.Enum(names)).to_physical().cast(pl.Int64).to_numpy()
    codes.ravel()[cells[cells >= 0]] = values[cells >= 0]
    return codes, names


def _split(
    falls: _Falls, returns: TotalReturns, index: MarketIndex, sector_codes: Integers, sectors: int
) -> dict[str, Floats]:
    """The fall of each dip and its parts.

    A stock that changed sectors is measured, over the whole window, against the sector it has on the session judged:
    so peers are computed for each pair of a stock and a sector, not for each stock.
    """
    high_row = falls.row - falls.age
    fall = returns.level[falls.row, falls.column] - returns.level[high_row, falls.column]
    market_part, beta_sector, sector_part = (np.full(len(fall), np.nan) for _ in range(3))

    has_sector = np.flatnonzero(falls.sector >= 0)
    pairs, pair = np.unique(falls.column[has_sector] * max(sectors, 1) + falls.sector[has_sector], return_inverse=True)
    columns, codes = np.divmod(pairs, max(sectors, 1))
    peers = peer_returns(returns.daily, sector_codes, columns, codes, sectors)
    peer_level = np.cumsum(np.nan_to_num(peers), axis=0)

    for series, judges in index.kinds(np.unique(falls.row)):
        here = judges[falls.row]
        market = series.level[falls.row] - series.level[high_row]
        market_part[here] = (falls.beta_market * market)[here]
        own = returns.daily[:, columns]
        betas = in_blocks(sector_betas, own, np.broadcast_to(series.daily[:, None], own.shape), peers)
        sector_to_market, beta = betas["sector_to_market"], betas["own_to_sector"]

        chosen = here[has_sector]
        dip, of_pair = has_sector[chosen], pair[chosen]
        row, start = falls.row[dip], high_row[dip]
        excess = peer_level[row, of_pair] - peer_level[start, of_pair] - sector_to_market[row, of_pair] * market[dip]
        beta_sector[dip] = beta[row, of_pair]
        sector_part[dip] = beta[row, of_pair] * excess

    # Without a market part there is nothing to be beyond: no part at all.
    sector_part[~np.isfinite(market_part)] = np.nan
    beta_sector[~np.isfinite(sector_part)] = np.nan
    company_part = fall - market_part - np.nan_to_num(sector_part)
    return {
        "fall": fall,
        "market_part": market_part,
        "sector_part": sector_part,
        "company_part": company_part,
        "beta_sector": beta_sector,
    }


def sector_betas(own: Floats, market: Floats, peers: Floats) -> dict[str, Floats]:
    """Rolling betas: of the peers to the market, and of the stock to what the peers do beyond the market.

    Daily log total returns, sessions x columns; the results have their shape.
    """
    moments = Moments.of({"own": own, "market": market, "sector": peers}, YEAR)
    market_variance = moments.covariance("market", "market")
    sector_to_market = moments.covariance("sector", "market") / market_variance
    sector_variance = moments.covariance("sector", "sector")
    apart = sector_variance - sector_to_market**2 * market_variance
    apart = np.where(apart > LEAST_APART * sector_variance, apart, np.nan)
    beta = (moments.covariance("own", "sector") - sector_to_market * moments.covariance("own", "market")) / apart
    enough = moments.count >= SPAN_COVERAGE * YEAR
    return {"sector_to_market": sector_to_market, "own_to_sector": np.where(enough, beta, np.nan)}


def peer_returns(daily: Floats, sector_codes: Integers, columns: Integers, codes: Integers, sectors: int) -> Floats:
    """Sessions x pairs: log of the mean simple return of each session's members of the sector but the stock itself."""
    known = np.isfinite(daily)
    simple = np.where(known, np.expm1(daily), 0.0)
    total, count = np.zeros((len(daily), sectors)), np.zeros((len(daily), sectors))
    for sector in range(sectors):
        of_sector = known & (sector_codes == sector)
        total[:, sector] = np.where(of_sector, simple, 0.0).sum(axis=1)
        count[:, sector] = of_sector.sum(axis=1)
    counted = known[:, columns] & (sector_codes[:, columns] == codes)
    peers = count[:, codes] - counted
    mean = (total[:, codes] - np.where(counted, simple[:, columns], 0.0)) / peers
    return np.where(peers >= LEAST_PEERS, np.log1p(mean), np.nan)
