"""What all companies share: regimes, the market's volatility and return, sector factors, macro and sector shocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from trading_pipeline.providers.simulated.companies import SECTORS
from trading_pipeline.providers.simulated.draws import WEEKDAYS, Draws, Floats, Ints, Stream

REGIMES: Final = ("Bull", "Bear", "Sideways")
# Per session: log drift and volatility of the market's factor, and the chance that the regime ends.
REGIME_DRIFT: Final = np.array([0.00095, -0.0018, 0.0001])
REGIME_VOLATILITY: Final = np.array([0.0072, 0.0165, 0.0095])
REGIME_ENDS: Final = np.array([1 / 300, 1 / 70, 1 / 100])
# Where a regime goes when it ends; rows from, columns to.
REGIME_NEXT: Final = np.array([[0.0, 0.35, 0.65], [0.45, 0.0, 0.55], [0.72, 0.28, 0.0]])
# GARCH(1,1) of the variance relative to the regime's; persistence of daily equity indices is about 0.98.
GARCH_ALPHA: Final = 0.09
GARCH_BETA: Final = 0.89
MACRO_CHANCE: Final = 0.3  # a quarter
SECTOR_CHANCE: Final = 0.09  # a sector and quarter
TYPICAL_VOLATILITY: Final = 0.0095
SECTOR_VOLATILITY: Final = 0.0055
VOLATILITY_PREMIUM: Final = 1.35  # over the market factor's own: an index of few large companies moves more than it


@dataclass
class Environment:
    """A quarter of the whole market, one entry per session (sector, sector_shock: sectors x sessions).

    market, sector: log returns without the shocks; macro, sector_shock: log sizes of the shocks, 0 on other sessions.
    volatility: conditional volatility of the market's factor, daily. implied: level of the volatility index at the
    close, per cent a year.
    """

    regime: Ints
    volatility: Floats
    market: Floats
    macro: Floats
    sector_volatility: Floats
    sector: Floats
    sector_shock: Floats
    implied: Floats


class EnvironmentProcess:
    """Carries the state of the shared processes from quarter to quarter."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._regime = 0
        self._variance = 1.0
        self._log_implied = float(np.log(14.0))
        self._sector_drift = np.zeros(len(SECTORS))

    def advance(self, block: int, columns: Ints) -> Environment:
        """The next quarter; `columns` are its sessions' places among the quarter's weekdays."""
        draws, count = self._draws, len(columns)
        switches = draws.generator(Stream.REGIME, block).random((WEEKDAYS, 2))[columns]
        shocks = draws.students(Stream.MARKET, block, (WEEKDAYS,), 6, 6)[columns]
        macro = self._macro(block, columns)

        regime = np.empty(count, dtype=np.int64)
        volatility, market, target = np.empty(count), np.empty(count), np.empty(count)
        # One pass over the sessions of the quarter: regime and variance feed on themselves and have no closed form.
        for day in range(count):
            if switches[day, 0] < REGIME_ENDS[self._regime]:
                self._regime = int(np.searchsorted(np.cumsum(REGIME_NEXT[self._regime]), switches[day, 1], "right"))
            base = REGIME_VOLATILITY[self._regime]
            regime[day] = self._regime
            volatility[day] = base * np.sqrt(self._variance)
            move = volatility[day] * shocks[day]
            market[day] = REGIME_DRIFT[self._regime] + move
            surprise = min(((move + macro[day]) / base) ** 2, 40.0)
            self._variance = 1 - GARCH_ALPHA - GARCH_BETA + GARCH_ALPHA * surprise + GARCH_BETA * self._variance
            # Mean of the next 21 sessions' variance: 0.98 ** k averages 0.82.
            target[day] = base * np.sqrt(1 + 0.82 * (self._variance - 1))
        implied = self._implied(target, market + macro)
        sector_volatility = SECTOR_VOLATILITY * np.sqrt(volatility / TYPICAL_VOLATILITY)
        sector, sector_shock = self._sectors(block, columns, sector_volatility)
        return Environment(regime, volatility, market, macro, sector_volatility, sector, sector_shock, implied)

    def _macro(self, block: int, columns: Ints) -> Floats:
        happens, when, direction = self._draws.generator(Stream.MACRO_EVENTS, block).random(3)
        size = self._draws.generator(Stream.MACRO_SIZES, block).standard_exponential()
        macro = np.zeros(len(columns))
        if happens < MACRO_CHANCE:
            fall = min(0.026 + 0.016 * size, 0.09)
            macro[int(when * len(columns))] = -fall if direction < 0.8 else 0.8 * fall
        return macro

    def _sectors(self, block: int, columns: Ints, volatility: Floats) -> tuple[Floats, Floats]:
        draws, count = self._draws, len(columns)
        noise = draws.students(Stream.SECTOR, block, (len(SECTORS), WEEKDAYS), 5, 6)[:, columns]
        events = draws.generator(Stream.SECTOR_EVENTS, block)
        happens, when, direction = events.random((3, len(SECTORS)))
        fall = np.minimum(0.03 + 0.018 * events.standard_exponential(len(SECTORS)), 0.1)
        # Sector momentum: a drift that half carries over to the next quarter.
        self._sector_drift = 0.5 * self._sector_drift + 0.0003 * events.standard_normal(len(SECTORS))
        shock = np.zeros((len(SECTORS), count))
        hit = np.flatnonzero(happens < SECTOR_CHANCE)
        shock[hit, (when[hit] * count).astype(np.int64)] = np.where(direction[hit] < 0.8, -fall[hit], fall[hit])
        return noise * volatility + self._sector_drift[:, None], shock

    def _implied(self, target: Floats, moves: Floats) -> Floats:
        aim = np.log(target * np.sqrt(252) * 100 * VOLATILITY_PREMIUM)
        levels = np.empty(len(aim))
        for day in range(len(aim)):
            self._log_implied += 0.25 * (aim[day] - self._log_implied) - 4.0 * moves[day]
            levels[day] = self._log_implied
        return np.exp(np.clip(levels, np.log(8), np.log(95)))
