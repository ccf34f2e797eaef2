"""Parameter grids: which parameter sets of a strategy a sweep goes through.

What belongs here: the strategies that can be swept, their parameters, combining ranges, and splitting a grid. What does
not: signals and accounting (`kernels/`), running (`engine.py`).

A parameter means what it means to the strategy of that name, and is bounded by the same class: a set of the grid can be
given to `strategies.base.strategy` as it is. What the grid does not name has that class's default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field, ValidationError, model_validator

from trading_pipeline.research.panel import Floats, Integers
from trading_pipeline.research.strategies.base import StrategyError, StrategyParameters
from trading_pipeline.research.strategies.mean_reversion import MeanReversionParameters
from trading_pipeline.research.strategies.moving_average_cross import MovingAverageCrossParameters

if TYPE_CHECKING:
    from trading_pipeline.research.sweeps.kernels.rules import Rule

MOST_COMBINATIONS = 10_000_000
"""Of a grid, the invalid ones among them: beyond it a range is mistyped, and making the grid takes minutes."""


class TimeSeriesMomentumParameters(StrategyParameters):
    """In sessions. A stock is held while its return from `formation` to `skip` sessions ago is positive."""

    formation: int = Field(252, ge=2, le=1260)
    skip: int = Field(21, ge=0, le=252)

    @model_validator(mode="after")
    def _ordered(self) -> TimeSeriesMomentumParameters:
        if self.skip >= self.formation:
            raise ValueError(f"skip ({self.skip}) must be below formation ({self.formation})")
        return self


class Sweepable(NamedTuple):
    """parameters: the strategy's own. names: those that a kernel knows. rule: class in the kernels' module."""

    parameters: type[StrategyParameters]
    names: tuple[str, ...]
    rule: str


SWEEPABLE: Mapping[str, Sweepable] = {
    "mean_reversion": Sweepable(MeanReversionParameters, ("window", "entry", "exit", "most_sessions"), "MeanReversion"),
    "moving_average_cross": Sweepable(MovingAverageCrossParameters, ("fast", "slow"), "MovingAverageCross"),
    "time_series_momentum": Sweepable(TimeSeriesMomentumParameters, ("formation", "skip"), "TimeSeriesMomentum"),
}
"""Strategies that can be swept, by name: simple averages, long side, no stop."""


@dataclass(frozen=True)
class ParameterGrid:
    """The valid combinations of the ranges of a strategy's parameters.

    names: the parameters, in the strategy's order. columns: a value of each for every combination, integers or floats
    as the strategy types them; combinations ascend, the last parameter fastest. excluded: combinations that the
    strategy refuses (a fast average that is not below the slow one), left out.
    """

    strategy: str
    names: tuple[str, ...]
    columns: Mapping[str, Floats | Integers]
    excluded: int

    def __len__(self) -> int:
        return len(self.columns[self.names[0]])

    def combination(self, number: int) -> dict[str, int | float]:
        """One parameter set, as the strategy takes it."""
        return {name: self.columns[name][number].item() for name in self.names}

    def part(self, chunk: int, of: int) -> ParameterGrid:
        """The `chunk`-th (from 0) of `of` parts whose sizes differ by one at most; together they are the grid.

        Raises `StrategyError` where there is no such part.
        """
        if not 0 <= chunk < of <= len(self):
            raise StrategyError(
                f"sweep of {self.strategy}: there is no chunk {chunk} of {of} (from 0) of {len(self):,} parameter sets"
            )
        cut = slice(len(self) * chunk // of, len(self) * (chunk + 1) // of)
        return replace(self, columns={name: values[cut] for name, values in self.columns.items()})

    def frame(self) -> pl.DataFrame:
        """One row a parameter set, one column a parameter."""
        return pl.DataFrame(dict(self.columns))

    def rule(self) -> Rule:
        """What makes signals of it. Imports numba."""
        module = import_module(f"trading_pipeline.research.sweeps.kernels.{self.strategy}")
        made: Rule = getattr(module, SWEEPABLE[self.strategy].rule)(self.columns)
        return made


def parameter_grid(strategy: str, ranges: Mapping[str, Iterable[int | float] | int | float]) -> ParameterGrid:
    """Every valid combination of the ranges.

    ranges: values of each parameter by name, any order, repeated ones counted once; a single number fixes it. What is
    not named has the strategy's default.

    Raises `StrategyError`, naming strategy and parameter, where a strategy cannot be swept, a parameter is unknown, a
    range is empty, a value is of the wrong type or out of bounds, or no combination is valid.
    """
    if strategy not in SWEEPABLE:
        raise StrategyError(f"strategy {strategy!r} cannot be swept: use one of {', '.join(SWEEPABLE)}")
    kind, names, _ = SWEEPABLE[strategy]
    unknown = [name for name in ranges if name not in names]
    if unknown:
        raise StrategyError(
            f"sweep of {strategy}: unknown parameter {', '.join(map(repr, unknown))}: use {', '.join(names)}"
        )
    axes = {name: _values(strategy, kind, name, ranges[name]) for name in names if name in ranges}
    axes = {name: axes.get(name, [kind.model_fields[name].default]) for name in names}
    combinations = prod(map(len, axes.values()))
    if combinations > MOST_COMBINATIONS:
        raise StrategyError(
            f"sweep of {strategy}: {combinations:,} combinations are more than {MOST_COMBINATIONS:,}: "
            f"thin out {max(axes, key=lambda name: len(axes[name]))}"
        )
    named = (dict(zip(names, values, strict=True)) for values in product(*axes.values()))
    valid = [values for values in named if _fault(kind, values) is None]
    if not valid:
        example = dict(zip(names, (values[0] for values in axes.values()), strict=True))
        raise StrategyError(f"sweep of {strategy}: no combination is valid: {_fault(kind, example)}")
    columns: dict[str, Floats | Integers] = {}
    for name in names:
        whole = kind.model_fields[name].annotation is int
        told = [values[name] for values in valid]
        columns[name] = np.array(told, dtype=np.int64) if whole else np.array(told, dtype=np.float64)
    return ParameterGrid(strategy, names, columns, combinations - len(valid))


def _values(strategy: str, kind: type[StrategyParameters], name: str, told: object) -> list[Any]:
    """The values of one range, typed, ascending, each once; `StrategyError` where one is none."""
    listed = [told] if isinstance(told, str | bytes) or not isinstance(told, Iterable) else list(told)
    if not listed:
        raise StrategyError(f"sweep of {strategy}: the range of {name} is empty")
    values = set()
    for value in listed:
        plain: Any = value.item() if isinstance(value, np.generic) else value
        try:
            typed = getattr(kind.model_validate({name: plain}), name)
        except ValidationError as error:
            own = [fault["msg"] for fault in error.errors() if fault["loc"] == (name,)]
            if own:
                raise StrategyError(f"sweep of {strategy}: {name} cannot be {plain!r}: {own[0]}") from None
            typed = float(plain) if kind.model_fields[name].annotation is float else int(plain)
        values.add(typed)
    return sorted(values)


def _fault(kind: type[StrategyParameters], values: Mapping[str, Any]) -> str | None:
    """Why the strategy refuses the combination; None where it does not."""
    try:
        kind.model_validate(values)
    except ValidationError as error:
        return str(error.errors()[0]["msg"])
    return None
