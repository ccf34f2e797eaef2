"""The market while it trades, by rules: who leads, how far it moved, how rough it is, and what that means for setups.

What belongs here: measuring the features of all names together, and turning that into multipliers. What does not: the
words and numbers of a language model (which read the same measures), and what one name deserves (`signals.py`).

Everything is measured in sigmas of the time gone by since the open, name by name, so that names of different volatility
count alike: an average true range is about 1.6 sigmas of a random walk's day, of whose variance four fifths fall into
the session, more of them early than late. Multipliers are powers of two, because their effects multiply.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from trading_pipeline.research.live.context import LONG, SessionContext
from trading_pipeline.research.live.features import MOMENT, SessionFeatures
from trading_pipeline.research.live.rules import MarketRules, Rules
from trading_pipeline.research.panel import Floats, Mask

LEAST, MOST = 0.5, 2.0
_ENVIRONMENTS = {"A": 1.0, "B": 0.5, "C": -0.5, "D": -1.0}
_ROUNDED = 9


@dataclass(frozen=True)
class Multipliers:
    """What the market analysis makes of setups and sides. Clamped to 0.5 … 2; `ValueError` for what is no number."""

    mean_reversion: float = 1.0
    trend_continuation: float = 1.0
    long: float = 1.0
    short: float = 1.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"the multiplier {each.name} is {value!r}, not a number from {LEAST} to {MOST}")
            object.__setattr__(self, each.name, min(max(float(value), LEAST), MOST))

    @classmethod
    def of(cls, row: Mapping[str, object]) -> Multipliers:
        """Of a row of `market_analysis`."""
        return cls(**{each.name: row[each.name] for each in fields(cls)})  # type: ignore[arg-type]

    def of_signal(self, setup: str, side: int) -> float:
        """The tilt of one signal: setup times side, clamped again."""
        value: float = getattr(self, setup) * (self.long if side == LONG else self.short)
        return min(max(value, LEAST), MOST)


@dataclass(frozen=True)
class Measures:
    """The market at a tick; None where it cannot be known. The index is never among the names.

    names: how many had a fresh bar. above_vwap: share of those with a VWAP that are above it. move: median since the
    open, or the index's own, in sigmas of the time gone by; move_pct: the same in per cent. dispersion: median distance
    of the names from that median, as a sigma, in sigmas. volatility: median of realised over normal volatility.
    """

    names: int
    above_vwap: float | None
    move: float | None
    move_pct: float | None
    dispersion: float | None
    volatility: float | None
    index: str | None
    regime: str | None
    environment: str | None


def is_due(tick_at: datetime, opens_at: datetime, last: datetime | None, rules: Rules) -> bool:
    """Whether an analysis is due: the first tick in each quarter of an hour from the first one's end on.

    last: tick of the latest analysis of the session; None: there is none yet.
    """
    length = timedelta(minutes=rules.market.every_minutes)
    quarter = (tick_at - opens_at) // length
    return quarter > 0 and (last is None or quarter > (last - opens_at) // length)


@np.errstate(divide="ignore", invalid="ignore")
def market_measures(features: SessionFeatures, context: SessionContext, rules: Rules, tick_at: datetime) -> Measures:
    """What all names together did up to the tick. Names whose last bar is stale (halted, delisted) are left out."""
    context.require(features)
    state, market = features.state, rules.market
    fresh = context.fresh(features, tick_at)
    elapsed = max((tick_at - context.opens_at) / context.usual_length, 0.0)
    day = context.atr / market.day_to_range / context.previous_close
    normal = day * math.sqrt(market.trading_share * elapsed**market.clock_power)
    change = state.close / state.session_open - 1
    moved = change / normal
    roughness = np.sqrt(state.moves) / normal
    names = fresh & ~context.is_benchmark
    index = fresh & context.is_benchmark
    led = index if np.isfinite(moved[index]).any() else names
    spread = np.abs(moved - _median(moved, names, math.nan)) * 1.4826
    told = names & np.isfinite(state.vwap)
    return Measures(
        names=int(names.sum()),
        above_vwap=_known(float((state.close[told] > state.vwap[told]).mean())) if told.any() else None,
        move=_known(_median(moved, led, math.nan)),
        move_pct=_known(100 * _median(change, led, math.nan)),
        dispersion=_known(_median(spread, names, math.nan)),
        volatility=_known(_median(roughness, names, math.nan)),
        index=context.names["ticker"].filter(pl.Series(context.is_benchmark)).item() if led is index else None,
        regime=context.regime,
        environment=context.environment,
    )


def market_analysis(
    features: SessionFeatures, context: SessionContext, rules: Rules, tick_at: datetime
) -> pl.DataFrame:
    """One row: the columns of `market_analysis` without book.

    A market leans where most names are on one side of VWAP and the index has moved that way by more than chance: fades
    are halved at most, continuation doubled at most, and its own side is lifted. A market on neither side is the other
    way round, a little. Wide dispersion, calm and storm, and the environment add their part; `rules.toml` says how much
    and why. With too few fresh names every multiplier is 1. Each is clamped to 0.5 … 2.
    """
    measures = market_measures(features, context, rules, tick_at)
    multipliers, lean = judged(measures, rules.market)
    row = {
        "session": context.session,
        "tick_at": tick_at,
        "source": "rules",
        **{name: round(value, _ROUNDED) for name, value in asdict(multipliers).items()},
        "summary": _summary(measures, lean, rules.market),
        "model": None,
        "prompt_hash": None,
        "inputs": json.dumps(asdict(measures), sort_keys=True),
        "cost": None,
    }
    schema = {
        **{name: pl.Float64() for name in (*asdict(multipliers), "cost")},
        **{name: pl.String() for name in ("source", "summary", "model", "prompt_hash", "inputs")},
        "session": pl.Date(),
        "tick_at": MOMENT,
    }
    return pl.DataFrame({name: pl.Series([value], dtype=schema[name]) for name, value in row.items()})


def judged(measures: Measures, rules: MarketRules) -> tuple[Multipliers, float]:
    """Multipliers from measures, and how the market leans: -1 (a full trend day down) to 1 (up)."""
    if measures.names < rules.least_names:
        return Multipliers(), 0.0
    above = 0.5 if measures.above_vwap is None else measures.above_vwap
    move = measures.move or 0.0
    one_sided = _ramp(abs(above - 0.5), rules.one_sided_from - 0.5, rules.one_sided_full - 0.5)
    moved = _ramp(abs(move), rules.move_from, rules.move_full)
    both = (above - 0.5) * move > 0
    lean = math.copysign((one_sided + moved) / 2, move) if both else 0.0
    trend_day = abs(lean)
    balanced = 1.0 if one_sided == 0 and moved == 0 else 0.0
    storm = _ramp(measures.volatility or 0.0, rules.storm_volatility, rules.storm_full)
    calm = 1.0 if measures.volatility is not None and measures.volatility < rules.calm_volatility else 0.0
    apart = 1.0 if (measures.dispersion or 0.0) >= rules.wide_dispersion else 0.0

    following = rules.trend_day_octaves * trend_day - rules.balance_octaves * balanced
    following += rules.dispersion_octaves * apart - rules.storm_octaves * storm
    fading = rules.balance_octaves * balanced - rules.trend_day_octaves * trend_day
    fading -= rules.dispersion_octaves * apart + rules.storm_octaves * storm
    side = rules.side_octaves * lean + rules.environment_octaves * _ENVIRONMENTS.get(measures.environment or "", 0.0)
    return Multipliers(
        mean_reversion=2**fading,
        trend_continuation=2 ** (following - rules.calm_octaves * calm),
        long=2**side,
        short=2**-side,
    ), lean


def _summary(measures: Measures, lean: float, rules: MarketRules) -> str:
    if measures.names < rules.least_names:
        return f"Too few names with a fresh bar to judge the market: {measures.names} of {rules.least_names} needed."
    leader = measures.index or "the median name"
    said = []
    if measures.above_vwap is not None:
        said.append(f"{100 * measures.above_vwap:.0f} % of {measures.names} names above VWAP")
    if measures.move is not None:
        said.append(f"{leader} {measures.move_pct:+.2f} % since the open ({measures.move:+.1f} sigma)")
    if measures.volatility is not None:
        said.append(f"volatility {measures.volatility:.1f} times normal")
    if measures.dispersion is not None and measures.dispersion >= rules.wide_dispersion:
        said.append("names moving apart")
    way = "up" if lean > 0 else "down"
    verdict = "a trend day" if abs(lean) >= 0.5 else "leaning"
    closing = f"{verdict} {way}" if lean else "no side leads"
    return f"{', '.join(said) or 'Nothing is known of its levels'}: {closing}."


def _ramp(value: float, start: float, full: float) -> float:
    """0 up to `start`, 1 from `full` on, a straight line between."""
    return min(max((round(value, _ROUNDED) - start) / (full - start), 0.0), 1.0)


def _median(values: Floats, where: Mask, otherwise: float) -> float:
    known = values[where & np.isfinite(values)]
    return float(np.median(known)) if len(known) else otherwise


def _known(value: float) -> float | None:
    return round(value, _ROUNDED) if math.isfinite(value) else None
