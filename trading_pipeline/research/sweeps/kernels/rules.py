"""What a strategy is to a sweep.

What belongs here: the protocol of the modules that turn parameter sets into signals. What does not: any strategy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trading_pipeline.research.panel import Floats, Integers

if TYPE_CHECKING:
    from trading_pipeline.research.sweeps.kernels.accounting import InstrumentBars

Bits: TypeAlias = npt.NDArray[np.uint64]

ABOVE = 1 + 0.5e-9
"""Two numbers differ where their ratio less 1, rounded to 9 decimals, does: the strategies' own comparison."""


class Rule(ABC):
    """The signals of all parameter sets of a grid on one instrument after the other."""

    @abstractmethod
    def __init__(self, columns: Mapping[str, Floats | Integers]) -> None:
        """columns: values of each parameter, one a parameter set."""

    @abstractmethod
    def measured(self, bars: InstrumentBars) -> Any:
        """What the parameter sets share on an instrument, measured once."""

    @abstractmethod
    def signals(self, bars: InstrumentBars, measured: Any, start: int, stop: int) -> tuple[Bits, Bits]:
        """Bits of the entries and exits of the parameter sets from `start` to before `stop`, one row each.

        None is set on a bar whose decision is not filled (`InstrumentBars.enters`, `leaves`).
        """
