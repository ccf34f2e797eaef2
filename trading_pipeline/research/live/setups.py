"""The two setups: what must be true of a name's last bars, where the stop and the target lie, how good it is.

What belongs here: each setup as arrays over all names, for one side. What does not: environment, market and bias
(`signals.py`), except that bias and market decide which way a trend may be followed and how far a fade must reach.

*Mean reversion* fades an over-extension. Short-term moves without news reverse, as pay for those who trade against them
(Nagel, Evaporating Liquidity, Review of Financial Studies 2012; across half-hours Heston, Korajczyk and Sadka, Journal
of Finance 2010); VWAP is what large orders are measured by and pulled to (Berkowitz, Logue and Noser, Journal of
Finance 1988). A tag of the band is no signal in itself; the close back inside it is (Bollinger on Bollinger Bands,
2001). So: the bar before was beyond its threshold in sigmas of the session and of the rolling window, it or this one
touched a premarket band, this one closes back inside the rolling band and beyond the close before, and from there to
VWAP lies a reward worth the stop.

*Trend continuation* follows a session that moves. What the first hours do, the later ones continue on average (Gao,
Han, Li and Zhou, Market Intraday Momentum, Journal of Financial Economics 2018); breaks of a range are the classic
entry (Crabel, Day Trading with Short Term Price Patterns and Opening Range Breakout, 1990), the pull-back in a trend
the other one (Connors and Raschke, Street Smarts, 1995). So: on the right side of VWAP, the close away from the
session's mean but not exhausted, with the bias of the name or, where it has none, with the market; and either a close
beyond a high (low) of the session that had held for a while, or a close beyond the bar before after that one had
pulled back through the rolling mean while it held VWAP.

Where no volume is told, the session's mean takes the place of VWAP.

Stops: one sigma of the session, but never nearer or farther than shares of the average true range; a fade's also beyond
the extreme of its two bars. Comparisons are made on values rounded to 9 decimals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trading_pipeline.research.live.context import SessionContext
from trading_pipeline.research.live.features import BANDS, State
from trading_pipeline.research.live.rules import Rules, StopRules
from trading_pipeline.research.panel import Floats, Mask

MEAN_REVERSION, TREND_CONTINUATION = "mean_reversion", "trend_continuation"
STRAIGHT_LINE = 3**0.5
"""Sigmas that the end of a straight line lies from the mean of its values."""

_TINY = 1e-9


@dataclass(frozen=True)
class Found:
    """A setup on one side (1: long, -1: short), one element a name: where it holds, and what it would be.

    strength: 0.5 to 1, before tilts. special: whether its own extra edge is there (a deep band, a break on volume).
    extent: sigmas it rests on: extension of the bar before, or of the session. level: premarket band of a fade;
    1 for a break, 0 for a pull-back.
    """

    setup: str
    side: int
    holds: Mask
    stop: Floats
    target: Floats
    reward_to_risk: Floats
    strength: Floats
    special: Mask
    extent: Floats
    level: Floats


def rounded(values: Floats) -> Floats:
    """What is compared with thresholds."""
    return np.round(values, 9)


def mean_reversion(state: State, context: SessionContext, rules: Rules, side: int) -> Found:
    """Fades of falls (side 1) or rises (-1)."""
    own = rules.mean_reversion
    factor = _threshold_factor(context, rules, side)
    needed_session, needed_rolling = own.z_session * factor, own.z_rolling * factor
    extent = -side * state.previous_z_session
    band = np.fmax(-side * state.previous_band, -side * state.band)
    extended = (rounded(extent) >= rounded(needed_session)) & (
        rounded(-side * state.previous_z_rolling) >= rounded(needed_rolling)
    )
    inside = rounded(-side * state.z_rolling) < own.z_rolling
    turning = inside & (side * (state.close - state.previous_close) > 0)

    fair = _fair(state)
    extreme = np.fmin(state.low, state.previous_low) if side > 0 else np.fmax(state.high, state.previous_high)
    risk = np.fmax(_stop_distance(state, context, rules.stops), side * (state.close - extreme))
    ratio = side * (fair - state.close) / risk
    beyond = (extent - needed_session) / np.maximum(own.full_z - needed_session, _TINY)
    depth = (band - own.least_band) / max(BANDS[-1] - own.least_band, 1)
    return Found(
        setup=MEAN_REVERSION,
        side=side,
        holds=extended & turning & (band >= own.least_band) & (rounded(ratio) >= own.least_reward),
        stop=state.close - side * risk,
        target=fair,
        reward_to_risk=ratio,
        strength=0.5 + 0.25 * np.clip(beyond, 0, 1) + 0.25 * np.clip(depth, 0, 1),
        special=band >= own.deep_band,
        extent=extent,
        level=band,
    )


def trend_continuation(state: State, context: SessionContext, rules: Rules, side: int) -> Found:
    """Followed rises (side 1) or falls (-1)."""
    own = rules.trend_continuation
    extent, bias = side * state.z_session, side * context.bias
    agreed = (bias > 0) | ((bias == 0) & (side * context.direction > 0))
    fair = _fair(state)
    moving = (rounded(extent) >= own.least_z) & (side * (state.close - fair) > 0)
    exhausted = (rounded(extent) >= own.exhausted_z) | (side * state.band >= own.exhausted_band)

    held, edge, before = (
        (state.high_held, state.range_high, state.previous_high)
        if side > 0
        else (state.low_held, state.range_low, state.previous_low)
    )
    breaks = (held >= own.held_bars) & (side * (state.close - edge) > 0)
    pulled_back = (rounded(side * state.previous_z_rolling) <= own.pull_back_z) & (
        side * (state.previous_close - fair) > 0
    )
    resumes = pulled_back & (side * (state.close - before) > 0)

    risk = _stop_distance(state, context, rules.stops)
    start = state.session_low if side > 0 else state.session_high
    reach = side * (start - state.close) + own.range_atr * context.atr
    ratio = np.fmin(own.target_reward * risk, reach) / risk
    on_volume = rounded(state.volume) >= rounded(own.break_volume * state.shares / state.counted)
    steep = np.clip((extent - own.least_z) / (STRAIGHT_LINE - own.least_z), 0, 1)
    return Found(
        setup=TREND_CONTINUATION,
        side=side,
        holds=agreed & moving & ~exhausted & (breaks | resumes) & (rounded(ratio) >= own.least_reward),
        stop=state.close - side * risk,
        target=state.close + side * ratio * risk,
        reward_to_risk=ratio,
        strength=0.5 + 0.5 * steep,
        special=breaks & on_volume,
        extent=extent,
        level=breaks.astype(np.float64),
    )


def _fair(state: State) -> Floats:
    """VWAP, or the session's mean where no volume is told."""
    return np.where(np.isfinite(state.vwap), state.vwap, state.mean)


def _threshold_factor(context: SessionContext, rules: Rules, side: int) -> Floats:
    """Factor on the z-scores a fade needs: below 1 with the market and the name's bias, above 1 against them."""
    tilts = rules.tilts
    by_market = 1 - tilts.direction_threshold * side * context.direction
    return by_market * (1 - tilts.bias_threshold * side * context.bias)


def _stop_distance(state: State, context: SessionContext, stops: StopRules) -> Floats:
    """How far a stop is from the price, in currency; by sigma alone where no true range is known."""
    by_sigma = stops.sigmas * state.sigma
    return np.fmin(np.fmax(by_sigma, stops.least_atr * context.atr), stops.most_atr * context.atr)
