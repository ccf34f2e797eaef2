"""What a strategy is: typed parameters and signals, by name.

What belongs here: the protocol, the registry, and refusing signals that are none. What does not: any strategy (the
modules beside it), sizes (`allocation/`, `risk/`), prices of orders (`backtest/`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import Floats, Mask


class StrategyError(ValueError):
    """A strategy cannot be used: one line that names strategy, parameter or session, and what to do."""


class StrategyParameters(BaseModel):
    """Typed parameters of a strategy, each with its default and its bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class SignalResult:
    """Decisions at the close of each session, to be executed at the next open; arrays of the panel's shape.

    entries, exits: open and close a long position. short_entries, short_exits: a short one. confidence: 0 to 1, how
    clear an entry is. stop_distance: distance of the protective stop from the entry, a share of its price; NaN: none.
    weight: value of a position relative to the others opened on the session, 1 where nothing speaks for more; the
    second leg of a pair carries its hedge ratio. Where an entry and an exit meet, the exit holds.
    """

    entries: Mask
    exits: Mask
    short_entries: Mask
    short_exits: Mask
    confidence: Floats
    stop_distance: Floats
    weight: Floats

    @classmethod
    def of(
        cls,
        entries: Mask,
        exits: Mask,
        *,
        short_entries: Mask | None = None,
        short_exits: Mask | None = None,
        confidence: Floats | None = None,
        stop_distance: Floats | None = None,
        weight: Floats | None = None,
    ) -> SignalResult:
        """Signals with what is left out as it is by default: no shorts, full confidence, no stop, equal weights."""
        shape = entries.shape
        never = np.zeros(shape, dtype=np.bool_)
        return cls(
            entries,
            exits,
            never if short_entries is None else short_entries,
            never if short_exits is None else short_exits,
            np.ones(shape) if confidence is None else confidence,
            np.full(shape, np.nan) if stop_distance is None else stop_distance,
            np.ones(shape) if weight is None else weight,
        )


class Strategy(ABC):
    """A way to trade. It never sizes, never fetches, never sees past the session.

    A subclass sets `name`, `description`, `Parameters` and `needs`, and is registered by being defined.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    """One line a trader understands."""
    Parameters: ClassVar[type[StrategyParameters]]
    needs: ClassVar[tuple[str, ...]] = ()
    """Measures of the panel that it reads."""

    def __init__(self, parameters: StrategyParameters) -> None:
        self.parameters = parameters

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if cls.name in _STRATEGIES:
            raise TypeError(f"there are two strategies named {cls.name}")
        _STRATEGIES[cls.name] = cls

    @abstractmethod
    def signals(self, panel: MarketPanel) -> SignalResult:
        """Decisions at the close of each session, from nothing later."""

    @property
    def warm_up(self) -> int:
        """Sessions before the first that can have a signal."""
        return 0


_STRATEGIES: dict[str, type[Strategy]] = {}


def registered() -> Mapping[str, type[Strategy]]:
    """Every strategy by its name."""
    return dict(sorted(_STRATEGIES.items()))


def strategy(name: str, parameters: Mapping[str, Any] | None = None) -> Strategy:
    """The strategy of that name with those parameters; `StrategyError` names what is unknown or out of range."""
    known = registered()
    if name not in known:
        raise StrategyError(f"unknown strategy {name!r}: use one of {', '.join(known)}")
    kind = known[name]
    try:
        return kind(kind.Parameters.model_validate(dict(parameters or {})))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'together'}: {each['msg']}" for each in error.errors())
        raise StrategyError(f"strategy {name} cannot be used with these parameters: {faults}") from None


def checked_signals(chosen: Strategy, panel: MarketPanel) -> SignalResult:
    """The strategy's signals; `StrategyError` names strategy and session where they are none.

    Refused: a strategy that raises, a measure that is not there, arrays of another shape or type, a confidence outside
    0 to 1, a stop distance or a weight that is not above 0, an entry on a session without a bar.
    """
    lacking = [name for name in chosen.needs if name not in panel.measures]
    if lacking:
        raise StrategyError(f"strategy {chosen.name} needs {', '.join(lacking)}, which this market does not provide")
    try:
        result = chosen.signals(panel)
    except StrategyError:
        raise
    except Exception as error:
        raise StrategyError(f"strategy {chosen.name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(result, SignalResult):
        raise StrategyError(f"strategy {chosen.name} returned {type(result).__name__}: return a SignalResult")
    for name in ("entries", "exits", "short_entries", "short_exits", "confidence", "stop_distance", "weight"):
        array = getattr(result, name)
        wanted = np.bool_ if name in _MASKS else np.float64
        if not isinstance(array, np.ndarray) or array.shape != panel.shape or array.dtype != wanted:
            raise StrategyError(
                f"strategy {chosen.name}: {name} must be an array of {np.dtype(wanted).name} of "
                f"{panel.shape[0]} sessions x {panel.shape[1]} instruments"
            )
    opened = result.entries | result.short_entries
    _refuse(chosen, panel, opened & ~panel.traded, "an entry on a session without a bar")
    _refuse(
        chosen, panel, opened & ~((result.confidence >= 0) & (result.confidence <= 1)), "a confidence outside 0 to 1"
    )
    stop = result.stop_distance
    _refuse(chosen, panel, opened & ~np.isnan(stop) & ~((stop > 0) & np.isfinite(stop)), "a stop distance not above 0")
    _refuse(chosen, panel, opened & ~((result.weight > 0) & np.isfinite(result.weight)), "a weight not above 0")
    _refuse(chosen, panel, result.entries & result.short_entries, "a long and a short entry at once")
    return result


_MASKS = frozenset({"entries", "exits", "short_entries", "short_exits"})


def _refuse(chosen: Strategy, panel: MarketPanel, wrong: Mask, what: str) -> None:
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise StrategyError(
            f"strategy {chosen.name} signals {what}: {panel.axes.instrument_ids[column]} on "
            f"{panel.axes.sessions[row]}, {int(wrong.sum())} in all"
        )
