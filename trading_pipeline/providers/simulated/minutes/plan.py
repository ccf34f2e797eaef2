"""What is planted inside a session, decided before a price is drawn: excursions, trends, halts, and a feed's failings.

Half of what moves a price for a moment is given back within minutes (it *reverts*), half of it *lasts*; at the minute
itself only its size and the volume that came with it tell them apart, and both overlap. Some sessions that end far from
where they opened get there evenly all day (a *trend*), others within an hour or two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from trading_pipeline.providers.simulated.draws import Draws, Flags, Floats, Ints, Stream

EXCURSION_CHANCE: Final = 0.35  # of a company's session
REVERTING_SHARE: Final = 0.55
# In moves of a typical minute of the session: least, and mean beyond it (exponential).
REVERTING_SIZE: Final = (6.0, 2.5)
LASTING_SIZE: Final = (5.0, 2.5)
# Log of how much more is traded than in other minutes: means, standard deviation.
REVERTING_SURGE: Final = 0.5
LASTING_SURGE: Final = 1.3
SURGE_DEVIATION: Final = 0.5
HALF_LIFE: Final = (2.0, 6.0)  # minutes in which half of a reverting excursion is given back: least, most
TREND_SHARE: Final = 0.5  # of the sessions that could be one

HALT_CHANCE: Final = 0.004  # of a company's session
HALT_MINUTES: Final = (5, 30)
STALE_CHANCE: Final = 0.006  # of a company's session
STALE_MINUTES: Final = (3, 15)
OUTAGE_CHANCE: Final = 0.03  # of a session, for everybody at once
OUTAGE_MINUTES: Final = (3, 8)
LATE_CHANCE: Final = 1e-4  # of a minute
LATE_MINUTES: Final = 4  # at most, after its end
SPOILED_CHANCE: Final = 1e-4  # of a minute
OFF_GRID_CHANCE: Final = 0.03  # of a symbol's session
STORM_CHANCE: Final = 0.02  # of half an hour in which is asked

REGULAR_MINUTES: Final = 390  # no regular session of these exchanges has more


class MinuteFault(IntEnum):
    """What the provider gets wrong about one minute's bar."""

    NULL_BAR = 1  # open, high, low and close are null, the volume is there
    DUPLICATE = 2  # the row comes twice


@dataclass(frozen=True)
class Plan:
    """One entry per row of the market's panels: slots, then the benchmark and the volatility index.

    Minutes count from the open. excursion: when, -1 where there is none. lasting, side (1 up, -1 down), size (in moves
    of a typical minute), surge (factor of the volume) and half_life (minutes) are the excursion's. trending: whether
    the session is to be a trend where it can be one. burst: when the move from open to close begins and how long it
    takes otherwise, as shares of the session. halt, stale: (first minute, minutes), -1 and 0 where there is none.
    late: rows x minutes, how many minutes after its end a bar is told, 0 at once. fault: rows x minutes, `MinuteFault`
    or 0. off_grid: whether the last row is a quote of this moment. gap: three uniform draws for the hours around.
    """

    excursion: Ints
    lasting: Flags
    side: Ints
    size: Floats
    surge: Floats
    half_life: Floats
    trending: Flags
    burst: Floats
    halt: Ints
    stale: Ints
    outage: tuple[int, int]
    late: Ints
    fault: Ints
    off_grid: Flags
    gap: Floats


def plan_of(draws: Draws, day: int, slots: int, minutes: int) -> Plan:
    """The plan of the session on the day of that ordinal, `minutes` long.

    Row by row: a market with more companies begins with the same ones.
    """
    uniform = _with_indices(draws.generator(Stream.MINUTE_PLAN, day << 1).random((slots, 24)).T)
    spoiled = draws.generator(Stream.MINUTE_FAULTS, day).random((slots, REGULAR_MINUTES))[:, :minutes]
    company = np.arange(slots + 2) < slots

    halted = company & (uniform[0] < HALT_CHANCE)
    halt = _stretch(halted, uniform[1], uniform[2], HALT_MINUTES, minutes)
    happens = company & ~halted & (uniform[3] < EXCURSION_CHANCE)
    lasting = uniform[4] >= REVERTING_SHARE
    least = np.where(lasting, LASTING_SIZE[0], REVERTING_SIZE[0])
    beyond = np.where(lasting, LASTING_SIZE[1], REVERTING_SIZE[1])
    # Box-Muller: a normal draw of two uniform ones.
    normal = np.sqrt(-2 * np.log1p(-uniform[8])) * np.cos(2 * np.pi * uniform[9])
    stale = _stretch(company & (uniform[12] < STALE_CHANCE), uniform[13], uniform[14], STALE_MINUTES, minutes)
    began = draws.generator(Stream.MINUTE_PLAN, day << 1 | 1).random(3)
    outage = _stretch(began[:1] < OUTAGE_CHANCE, began[1:2], began[2:], OUTAGE_MINUTES, minutes)[0]

    # The place inside the small chances picks what happens: one draw decides it all.
    is_late = spoiled < LATE_CHANCE
    late = np.where(is_late, 1 + (spoiled / LATE_CHANCE * LATE_MINUTES).astype(np.int64), 0)
    rest = (spoiled - LATE_CHANCE) / SPOILED_CHANCE
    fault = np.where(~is_late & (rest < 1), 1 + (rest * len(MinuteFault)).astype(np.int64), 0)
    return Plan(
        excursion=np.where(happens, (20 + uniform[5] * (minutes - 70)).astype(np.int64), -1),
        lasting=happens & lasting,
        side=np.where(uniform[6] < 0.5, -1, 1),
        size=least - beyond * np.log1p(-uniform[7]),
        surge=np.exp(np.where(lasting, LASTING_SURGE, REVERTING_SURGE) + SURGE_DEVIATION * normal),
        half_life=HALF_LIFE[0] + (HALF_LIFE[1] - HALF_LIFE[0]) * uniform[10],
        trending=company & ~halted & (uniform[11] < TREND_SHARE),
        burst=uniform[15:17].T,
        halt=halt,
        stale=stale,
        outage=(int(outage[0]), int(outage[1])),
        late=np.pad(late, ((0, 2), (0, 0))),
        fault=np.pad(fault, ((0, 2), (0, 0))),
        off_grid=uniform[17] < OFF_GRID_CHANCE,
        gap=uniform[18:21].T,
    )


def _with_indices(uniform: Floats) -> Floats:
    """Draws x slots, and columns for the two indices, to which nothing happens of their own."""
    return np.pad(uniform, ((0, 0), (0, 2)), constant_values=0.999)


def _stretch(happens: Flags, when: Floats, how_long: Floats, limits: tuple[int, int], minutes: int) -> Ints:
    """Rows x (first minute, minutes): -1 and 0 where it does not happen; neither at the open nor at the close."""
    least, most = limits
    length = least + (how_long * (most - least + 1)).astype(np.int64)
    first = 5 + (when * (minutes - 10 - length)).astype(np.int64)
    stretch: Ints = np.where(happens[:, None], np.stack([first, length], axis=1), [-1, 0])
    return stretch
