"""Technical indicators of every instrument on every session, in one pass over the panel.

What belongs here: named indicators and their formulas. What does not: windows and total returns (`panel.py`), the
market's own series (`market_index.py`), decisions drawn from indicators.

Everything published for session T is in the price basis of T and depends on nothing after T: highs, lows and averages
are split-adjusted as of T. Two conventions, stated once:

- *Spans* (returns, 52-week high and low, beta, relative strength) cover sessions, so that every name is measured over
  the same days. A name that did not trade on the first session of a span counts at its last close, if that is at most
  20 sessions older. A 52-week extreme or a beta needs a bar on `SPAN_COVERAGE` of its 252 sessions, else it is null.
- *Bar windows* (moving averages, ATR, RSI, MACD, ADX, volatility, volume ratio) count the instrument's own bars, as
  charting packages do: a halted session is left out, not filled. All bars of a window lie within the last `WINDOW`
  sessions, and a change between two bars more than 20 sessions apart is no change. Fewer bars than the period: null.

Recursive indicators (exponential averages, Wilder's smoothing) are weighted means over that finite window, the weights
normalised, instead of recursions seeded somewhere: the same number whether one session is asked for or ten years. What
this leaves out of the recursion is its seed's weight: below 1e-8 for spans up to 50, 0.8 % for EMA 200.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import partial

import numpy as np
import polars as pl

from trading_pipeline.research.market_index import MarketIndex, market_index
from trading_pipeline.research.panel import (
    Floats,
    Integers,
    Mask,
    Moments,
    OwnBars,
    Panel,
    TotalReturns,
    cash_paid,
    count_in_span,
    decayed_sum,
    in_blocks,
    rows_since_max,
    shift,
    split_cumulation,
    total_returns,
    window_max,
    window_sum,
)

COLUMNS = (
    "close", "return_1", "return_5", "return_21", "return_63", "return_126", "return_252",
    "sma_20", "sma_50", "sma_200", "ema_20", "ema_50", "ema_200", "atr_14", "rsi_14",
    "macd", "macd_signal", "macd_histogram", "adx_14", "realised_volatility_21",
    "high_252", "low_252", "distance_from_high", "distance_from_low", "sessions_since_high", "volume_ratio_20",
    "relative_strength_63", "relative_strength_raw", "relative_strength_rank", "beta_252", "history",
)  # fmt: skip
_COUNTS = ("sessions_since_high", "relative_strength_rank", "history")
_PRICE_UNITS = (
    "sma_20", "sma_50", "sma_200", "ema_20", "ema_50", "ema_200", "atr_14", "macd", "macd_signal", "macd_histogram",
)  # fmt: skip

LOOKBACK = 520
"""Sessions before the judged one whose bars, actions and members must be passed."""

WINDOW = 480
"""Sessions a bar window spans at most. With the 20 of a gap it ends 20 short of LOOKBACK, which leaves room for
sessions on which nothing at all has a bar."""

MACD_WINDOW, SIGNAL_WINDOW = 380, 100
DIRECTION_WINDOW, ADX_WINDOW = 240, 240
"""Two smoothings in a row: their windows add up to WINDOW."""

REACH = 500
YEAR = 252
WILDER = 1 - 1 / 14
SPAN_COVERAGE = 0.9
RETURNS = (1, 5, 21, 63, 126, 252)

_NOTHING = 1e-12
"""Relative to the price: smoothed moves below it are rounding, and their ratio means nothing."""


@np.errstate(divide="ignore", invalid="ignore")
def indicators(
    bars: pl.DataFrame,
    actions: pl.DataFrame,
    members: pl.DataFrame,
    benchmark_id: str,
    sessions: Sequence[date],
) -> pl.DataFrame:
    """The columns of the table `indicators` for every bar of the judged sessions, by session and instrument.

    bars: [session, instrument_id, ticker, open, high, low, close, volume, data_quality] as traded, one version of each
    bar, bad ones left out, from LOOKBACK sessions before the first judged one. actions: [session, instrument_id, kind,
    value] by ex-date, over the same sessions. members: [session, universe, instrument_id, sector], of the judged
    sessions; of the lookback too, for the equal-weight index. benchmark_id: the index of relative strength and beta;
    on a session without a bar of it the equal-weight index of the members takes its place, as `market_regime` says in
    its column `benchmark`. sessions: the judged ones, ascending.

    Nulls mean too little history, never zero. Sources: averages, returns and extremes are plain definitions;
    the others name theirs at their function.
    """
    panel = Panel.of(bars)
    arrays = panel.from_long(bars, ["high", "low", "close", "volume"])
    valid = np.isfinite(arrays["high"]) & np.isfinite(arrays["low"]) & (arrays["close"] > 0)
    close = np.where(valid, arrays["close"], np.nan)
    rows = panel.rows(pl.Series(list(sessions), dtype=pl.Date))
    rows = rows[rows >= 0]
    judged = np.zeros(panel.shape, dtype=np.bool_)
    judged[rows] = valid[rows]

    cumulation = split_cumulation(panel, actions)
    returns = total_returns(close, cumulation, cash_paid(panel, actions))
    index = market_index(panel, valid, returns, members, benchmark_id)

    columns: dict[str, Floats] = {"close": close}
    columns |= _span_returns(returns, index, rows)
    columns |= in_blocks(
        bar_windows, valid, close, *(arrays[name] for name in ("high", "low", "volume")), cumulation, returns.change
    )
    columns |= in_blocks(extremes, arrays["high"], arrays["low"], close, valid, cumulation)
    columns["relative_strength_rank"] = _rank(columns["relative_strength_raw"], index.is_member, rows)
    columns["beta_252"] = _beta(returns.daily, index, rows)
    columns["history"] = count_in_span(valid, REACH).astype(np.float64)

    frame = panel.to_long(judged, columns)
    bar_of_cell = np.zeros(judged.size, dtype=np.int64)
    bar_of_cell[panel.cells(bars)] = np.arange(bars.height)
    text = bars.select("ticker", "data_quality")[bar_of_cell[np.flatnonzero(judged)]]
    return frame.hstack(text).select(
        "session",
        "instrument_id",
        "ticker",
        *(pl.col(name).cast(pl.Int32) if name in _COUNTS else pl.col(name) for name in COLUMNS),
        "data_quality",
    )


def extremes(high: Floats, low: Floats, close: Floats, valid: Mask, cumulation: Floats) -> dict[str, Floats]:
    """52-week high and low, split-adjusted as of each session, the distances from them, and the age of the high.

    The highest high and the lowest low of 252 sessions; NaN with bars on less than `SPAN_COVERAGE` of them. The age is
    that of the latest session that made the high.
    """
    seen = np.where(valid, high * cumulation, 0.0)
    top = window_max(seen, YEAR) / cumulation
    bottom = -window_max(np.where(valid, -low * cumulation, -np.inf), YEAR) / cumulation
    covered = valid & (count_in_span(valid, YEAR) >= SPAN_COVERAGE * YEAR)
    out = {
        "high_252": top,
        "low_252": bottom,
        "distance_from_high": np.minimum(close / top - 1, 0.0),
        "distance_from_low": np.maximum(close / bottom - 1, 0.0),
        "sessions_since_high": rows_since_max(seen, YEAR).astype(np.float64),
    }
    return {name: np.where(covered, array, np.nan) for name, array in out.items()}


def moving_average(own: OwnBars, packed: Floats, length: int, window: int = WINDOW) -> Floats:
    """Packed: simple average of the last `length` own bars, all within `window` sessions."""
    return np.where(own.within(window) >= length, window_sum(packed, length) / length, np.nan)


def volatility(own: OwnBars, change: Floats, length: int = 21) -> Floats:
    """Packed: sample standard deviation of the last `length` log returns x sqrt(252), a fraction a year.

    change: packed log returns between bars. All of them must be proper changes (`OwnBars.follows`).
    """
    proper = np.where(own.follows, change, 0.0)
    mean = window_sum(proper, length) / length
    squares = window_sum(proper**2, length) / length
    variance = np.maximum(squares - mean**2, 0.0) * length / (length - 1)
    enough = window_sum(own.follows.astype(np.float64), length) == length
    return np.where(enough, np.sqrt(variance * YEAR), np.nan)


def _span_returns(returns: TotalReturns, index: MarketIndex, rows: Integers) -> dict[str, Floats]:
    """Total returns over spans and relative strength.

    `relative_strength_raw` weighs the latest quarter double, the public reading of the relative strength rating of
    Investor's Business Daily (O'Neil): 0.4 r63 + 0.2 r126 + 0.2 r189 + 0.2 r252.
    """
    over = {length: np.expm1(returns.level - shift(returns.level, length)) for length in (*RETURNS, 189)}
    market = np.expm1(index.span_return(63, rows))[:, None]
    return {
        **{f"return_{length}": over[length] for length in RETURNS},
        "relative_strength_63": over[63] - market,
        "relative_strength_raw": 0.4 * over[63] + 0.2 * (over[126] + over[189] + over[252]),
    }


def bar_windows(
    valid: Mask, close: Floats, high: Floats, low: Floats, volume: Floats, cumulation: Floats, change: Floats
) -> dict[str, Floats]:
    """Indicators over own bars. change: log total return since the bar before.

    Wilder (New Concepts in Technical Trading Systems, 1978): true range, ATR, RSI, directional movement, DX, ADX, all
    smoothed with weight 1/14. Appel (The Moving Average Convergence-Divergence Method, 1979): MACD 12, 26, 9.
    Exponential averages: weight 2 / (span + 1).
    """
    own = OwnBars(valid)
    close, high, low = (own.pack(price * cumulation) for price in (close, high, low))
    volume = own.pack(volume / cumulation)
    count, follows = own.within(WINDOW), own.follows
    weight = follows.astype(np.float64)
    changes = decayed_sum(weight, 1.0, count)

    out = {f"sma_{length}": moving_average(own, close, length) for length in (20, 50, 200)}
    out |= {f"ema_{span}": _ema(close, span, count) for span in (20, 50, 200)}

    previous = shift(close, 1)
    true_range = np.where(follows, np.maximum(high, previous) - np.minimum(low, previous), 0.0)
    ranges = decayed_sum(true_range, WILDER, count) / decayed_sum(weight, WILDER, count)
    out["atr_14"] = np.where(changes >= 14, ranges, np.nan)

    move = np.where(follows, close - previous, 0.0)
    gain = decayed_sum(np.maximum(move, 0.0), WILDER, count)
    both = decayed_sum(np.abs(move), WILDER, count)
    out["rsi_14"] = np.where((changes >= 14) & (both > _NOTHING * close), 100 * gain / both, np.nan)

    within = own.within(MACD_WINDOW)
    line = _ema(close, 12, within, 26) - _ema(close, 26, within)
    signal = _smooth(line, 1 - 2 / (9 + 1), own.within(SIGNAL_WINDOW), 9)
    out |= {"macd": line, "macd_signal": signal, "macd_histogram": line - signal}

    up, down = high - shift(high, 1), shift(low, 1) - low
    # An even move in both directions counts for neither; two that are even but for rounding are even.
    tie = 1e-9 * close
    within = own.within(DIRECTION_WINDOW)
    plus = decayed_sum(np.where(follows & (up > down + tie) & (up > 0), up, 0.0), WILDER, within)
    minus = decayed_sum(np.where(follows & (down > up + tie) & (down > 0), down, 0.0), WILDER, within)
    directed = (plus + minus > _NOTHING * close) & (decayed_sum(weight, 1.0, within) >= 14)
    dx = np.where(directed, 100 * np.abs(plus - minus) / (plus + minus), np.nan)
    out["adx_14"] = _smooth(dx, WILDER, own.within(ADX_WINDOW), 14)

    out["realised_volatility_21"] = volatility(own, own.pack(change))
    mean_volume = shift(window_sum(volume, 20) / 20, 1)
    out["volume_ratio_20"] = np.where((count > 20) & (mean_volume > 0), volume / mean_volume, np.nan)
    return {
        name: own.unpack(packed) / cumulation if name in _PRICE_UNITS else own.unpack(packed)
        for name, packed in out.items()
    }


def _ema(packed: Floats, span: int, count: Integers, least: int | None = None) -> Floats:
    """Exponential average of the last `count` own bars, weights normalised; NaN with fewer than `least` (the span)."""
    decay = 1 - 2 / (span + 1)
    weights = (1 - decay ** np.arange(len(packed) + 1)) / (1 - decay)
    average = decayed_sum(packed, decay, count) / weights[np.maximum(count, 1)]
    return np.where(count >= (least or span), average, np.nan)


def _smooth(packed: Floats, decay: float, count: Integers, least: int) -> Floats:
    """Weighted mean of the values among the last `count` own bars; NaN with fewer than `least` of them."""
    known = np.isfinite(packed)
    weight = known.astype(np.float64)
    mean = decayed_sum(np.where(known, packed, 0.0), decay, count) / decayed_sum(weight, decay, count)
    return np.where(known & (decayed_sum(weight, 1.0, count) >= least), mean, np.nan)


def _rank(raw: Floats, is_member: Mask, rows: Integers) -> Floats:
    """Percentile rank among the session's members that have the history: 1 the weakest, 99 the strongest.

    Linear in the position, ties share their mean; NaN where a name stands alone.
    """
    from scipy.stats import rankdata  # scipy takes as long to import as Dagster

    out = np.full(raw.shape, np.nan)
    ranked = is_member[rows] & np.isfinite(raw[rows])
    position = rankdata(np.where(ranked, np.round(raw[rows], 9), np.inf), axis=1) if len(rows) else raw[rows]
    others = ranked.sum(axis=1, keepdims=True) - 1
    scaled = 1 + np.round(98 * (position - 1) / np.maximum(others, 1))
    out[rows] = np.where(ranked & (others > 0), scaled, np.nan)
    return out


def _beta(daily: Floats, index: MarketIndex, rows: Integers) -> Floats:
    """Slope of the daily log total returns on the index's over 252 sessions, of the sessions that have both."""
    out = np.full(daily.shape, np.nan)
    for series, where in index.kinds(rows):
        out[where] = in_blocks(partial(_slope, series.daily), daily)["beta"][where]
    return out


def _slope(market: Floats, own: Floats) -> dict[str, Floats]:
    moments = Moments.of({"own": own, "market": np.broadcast_to(market[:, None], own.shape)}, YEAR)
    beta = moments.covariance("own", "market") / moments.covariance("market", "market")
    return {"beta": np.where(moments.count >= SPAN_COVERAGE * YEAR, beta, np.nan)}
