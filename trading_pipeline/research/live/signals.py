"""Signals of a tick: where a setup holds, how strong it is with environment, market, bias and market analysis in view.

What belongs here: when a signal may be given at all, its strength, its id, its words. What does not: the setups
themselves (`setups.py`), sizes and limits (`research/risk`), validation and orders.

A signal is decided on a bar that this very tick took in: the same bar decides once. Everything it depends on is the
features' state, the context and the signals stored before: a loop that resumes decides what an unbroken one would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import polars as pl

from trading_pipeline.research.live.context import LONG, SHORT, SessionContext
from trading_pipeline.research.live.features import MOMENT, SessionFeatures, micros, moments
from trading_pipeline.research.live.market import Multipliers
from trading_pipeline.research.live.rules import Rules
from trading_pipeline.research.live.setups import (
    MEAN_REVERSION,
    TREND_CONTINUATION,
    Found,
    mean_reversion,
    rounded,
    trend_continuation,
)
from trading_pipeline.research.panel import Floats, Integers, Mask

SETUPS = (MEAN_REVERSION, TREND_CONTINUATION)
SIGNAL_COLUMNS = pl.Schema(
    {
        "signal_id": pl.String(),
        "session": pl.Date(),
        "instrument_id": pl.String(),
        "ticker": pl.String(),
        "tick_at": MOMENT,
        "setup": pl.String(),
        "side": pl.String(),
        "price": pl.Float64(),
        "stop": pl.Float64(),
        "target": pl.Float64(),
        "reward_to_risk": pl.Float64(),
        "strength": pl.Float64(),
        "multiplier": pl.Float64(),
        "z_session": pl.Float64(),
        "z_rolling": pl.Float64(),
        "vwap_distance_pct": pl.Float64(),
        "bias": pl.String(),
        "environment": pl.String(),
        "reasons": pl.String(),
        "edges": pl.Int32(),
        "sector": pl.String(),
    }
)
"""The columns of `trade_signals` that are decided before sizing, and what sizing needs beside them: edges, sector."""

NO_SIGNALS = pl.DataFrame(schema=SIGNAL_COLUMNS)

_SETUPS = (mean_reversion, trend_continuation)
_MINUTE = 60_000_000
_NEVER = -(2**62)


@np.errstate(divide="ignore", invalid="ignore")
def signals(
    features: SessionFeatures,
    context: SessionContext,
    rules: Rules,
    tick_at: datetime,
    *,
    multipliers: Multipliers | None = None,
    given: pl.DataFrame = NO_SIGNALS,
) -> pl.DataFrame:
    """`SIGNAL_COLUMNS` of the signals decided at the tick, the strongest first, then by ticker.

    features: advanced to `tick_at`. multipliers: of the market analysis in force; None: there is none. given: the
    signals of this session so far [instrument_id, setup, side, tick_at], whatever became of them; those of this tick
    and later are not looked at, so that a tick decided again decides the same.

    None is given outside the times of `rules.timing`, for a name without a new bar, with a stale one, with too few
    bars, just after a halt, or in its cooldown; none against the side of the name's last signal for a while; none of
    the index. Where both setups hold for a name, the stronger one is given; where they disagree on the side, neither.

    edges: how many things speak for it: the setup; bias; market direction; a deep band (fades) or a break on volume
    (continuations); a multiplier above 1.
    """
    context.require(features)
    if not context.entries_may_open(tick_at, rules):
        return NO_SIGNALS
    ready = _ready(features, context, rules, tick_at)
    if not ready.any():
        return NO_SIGNALS
    tilt = multipliers or Multipliers()
    free = _free(given, context, rules, tick_at)
    found = [setup(features.state, context, rules, side) for setup in _SETUPS for side in (LONG, SHORT)]
    strength = np.stack([_strength(each, context, rules, tilt) for each in found])
    may = np.stack([each.holds & ready & free[each.setup, each.side] for each in found])
    may &= strength >= rules.timing.least_strength
    sides = np.array([each.side for each in found])
    disagree = may[sides == LONG].any(axis=0) & may[sides == SHORT].any(axis=0)
    names = np.flatnonzero(may.any(axis=0) & ~disagree)
    if not len(names):
        return NO_SIGNALS
    best = np.where(may, strength, -1.0)[:, names].argmax(axis=0)
    return _signals(found, best, names, strength[best, names], features, context, tilt, tick_at)


def _ready(features: SessionFeatures, context: SessionContext, rules: Rules, tick_at: datetime) -> Mask:
    """Names that may be judged at this tick."""
    state, timing = features.state, rules.timing
    ready: Mask = (
        (state.taken_at == micros(tick_at))
        & context.fresh(features, tick_at)
        & (state.bars >= timing.warm_up_bars)
        & (state.unbroken >= timing.bars_after_halt)
        & (state.sigma > 0)
        & ~context.is_benchmark
    )
    return ready


def _free(given: pl.DataFrame, context: SessionContext, rules: Rules, tick_at: datetime) -> dict[tuple[str, int], Mask]:
    """Names that by the signals before may be given one now, by setup and side."""
    timing, now = rules.timing, micros(tick_at)
    names = len(context.ids)
    last = {setup: np.full(names, _NEVER, dtype=np.int64) for setup in SETUPS}
    last_at, last_side = np.full(names, _NEVER, dtype=np.int64), np.zeros(names, dtype=np.int64)
    if given.height:
        at = moments(given["tick_at"])
        longest = int(max(timing.cooldown_minutes, timing.reversal_minutes) * _MINUTE)
        recent = np.flatnonzero((at < now) & (at >= now - longest))
        recent = recent[np.argsort(at[recent], kind="stable")]
        name = context.positions.of(given["instrument_id"].gather(recent))
        setup, side = given["setup"].gather(recent), given["side"].gather(recent)
        recent, followed = at[recent], name >= 0
        # Ascending by time, so that the last one of a name stays.
        for each, times in last.items():
            own = followed & (setup == each).to_numpy()
            times[name[own]] = recent[own]
        last_at[name[followed]] = recent[followed]
        last_side[name[followed]] = np.where((side == "long").to_numpy(), LONG, SHORT)[followed]
    waiting = now - last_at < timing.reversal_minutes * _MINUTE
    return {
        (setup, side): (now - last[setup] >= timing.cooldown_minutes * _MINUTE) & ~(waiting & (last_side == -side))
        for setup in SETUPS
        for side in (LONG, SHORT)
    }


def _strength(found: Found, context: SessionContext, rules: Rules, tilt: Multipliers) -> Floats:
    """Strength after the tilts, 0 to 1."""
    tilts, side = rules.tilts, found.side
    by_market = context.strength_of(side, tilts) * (1 + tilts.direction_strength * side * context.direction)
    by_bias = 1 + tilts.bias_strength * side * context.bias
    strength = found.strength * by_market * by_bias * tilt.of_signal(found.setup, side)
    return rounded(np.clip(strength, 0.0, 1.0))


def _signals(
    found: Sequence[Found],
    best: Integers,
    names: Integers,
    strength: Floats,
    features: SessionFeatures,
    context: SessionContext,
    tilt: Multipliers,
    tick_at: datetime,
) -> pl.DataFrame:
    """The rows of the signals; `best`: which of `found` each of `names` is given."""
    state = features.state

    def of(attribute: str) -> Floats:
        return np.asarray(np.stack([getattr(each, attribute) for each in found])[best, names])

    side = np.array([each.side for each in found])[best]
    multiplier = np.array([tilt.of_signal(each.setup, each.side) for each in found])[best]
    agrees = (side * context.bias[names] > 0).astype(np.int64) + (side * context.direction > 0)
    edges = 1 + agrees + of("special") + (multiplier > 1)
    numbers = {
        "price": state.close[names],
        **{each: of(each) for each in ("stop", "target", "reward_to_risk")},
        "strength": strength,
        "multiplier": multiplier,
        **{each: getattr(state, each)[names] for each in ("z_session", "z_rolling", "vwap_distance_pct")},
        **{each: of(each) for each in ("extent", "level")},
    }
    tick = tick_at.astimezone(UTC)
    return (
        context.names[names]
        .lazy()
        .with_columns(
            *(pl.Series(name, values, nan_to_null=True) for name, values in numbers.items()),
            pl.Series("setup", np.array([each.setup for each in found])[best]),
            pl.Series("side", np.where(side == LONG, "long", "short")),
            pl.Series("edges", edges, dtype=pl.Int32),
            session=pl.lit(context.session),
            tick_at=pl.lit(tick, dtype=MOMENT),
            environment=pl.lit(context.environment, dtype=pl.String),
        )
        .with_columns(
            signal_id=pl.format(f"{context.session:%Y%m%d}-{{}}-{{}}-{tick:%H%M%S}", "ticker", "setup"),
            reasons=_reasons(context),
        )
        .sort("strength", "ticker", descending=[True, False])
        .select(SIGNAL_COLUMNS.names())
        .collect()
    )


def _reasons(context: SessionContext) -> pl.Expr:
    """Why, one line each: the setup, its room, the bias, the market, the analysis where it tilts."""
    fades, long = pl.col("setup") == MEAN_REVERSION, pl.col("side") == "long"
    under = pl.when(fades == long).then(pl.lit("below")).otherwise(pl.lit("above"))
    vwap = pl.when(long).then(pl.lit("above")).otherwise(pl.lit("below"))
    band = pl.when(long).then(-pl.col("level")).otherwise(pl.col("level")).cast(pl.Int32)
    at_the_bar = pl.when(fades).then(pl.lit(" at the bar before")).otherwise(pl.lit(""))
    reward = _text("reward_to_risk", 1)
    setup = (
        pl.when(fades)
        .then(pl.lit("turns back inside the rolling band after an over-extension"))
        .when(pl.col("level") > 0)
        .then(pl.format("breaks the range of the session, {} VWAP", vwap))
        .otherwise(pl.format("resumes after a pull-back that stayed {} VWAP", vwap))
    )
    bias = pl.col("bias").fill_null("unknown")
    speaks = pl.when(bias == pl.col("side")).then(pl.lit("for")).otherwise(pl.lit("against"))
    lines = [
        setup,
        pl.format("{} sigma {} the session's mean{}", _text("extent", 1), under, at_the_bar),
        pl.when(fades).then(pl.format("premarket band {} touched", band)),
        pl.format("{} times the risk to the target", reward),
        pl.when(bias.is_in(["long", "short"]))
        .then(pl.format("bias {} ({}) speaks {} it", bias, _text("confidence", 2), speaks))
        .otherwise(pl.format("bias {}", bias)),
        pl.lit(f"environment {context.environment or 'unknown'}, market {context.regime or 'unknown'}"),
        pl.when(pl.col("multiplier") != 1).then(pl.format("market analysis: times {}", _text("multiplier", 2))),
    ]
    return pl.concat_str(lines, separator="\n", ignore_nulls=True)


def _text(column: str, decimals: int) -> pl.Expr:
    return pl.col(column).fill_null(0.0).round(decimals).cast(pl.String)
