"""What the fictional companies are worth as businesses: planted quality, growth and cheapness, and sector habits.

What belongs here: what a company is like for good. What its accounts say of it, quarter by quarter, is in
`accounts.py`. Arrays have one entry per company of the register, over the whole calendar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from trading_pipeline.providers.simulated.companies import PAIR, SECTORS, Traits, draw_traits
from trading_pipeline.providers.simulated.draws import Draws, Flags, Floats, Ints, Stream
from trading_pipeline.providers.simulated.lives import Register

QUALITY_DRIFT: Final = 0.75  # correlation of planted quality with the drift of the price
TRAP_CHANCE: Final = 0.22  # of a company whose price drifts down by more than half a standard deviation
HABITS: Final = 24
"""Standard normals drawn per company for its habits; columns are used by position, so append, never reorder."""


@dataclass(frozen=True)
class SectorHabits:
    """Typical figures by sector, one entry each in the order of `SECTORS`; fractions and ratios of a year.

    margin: net income over revenue. depreciation: over revenue. sales_multiple: market value over revenue. debt: over
    equity. turn: revenue over equity. other: further liabilities over equity. growth: of revenue.
    """

    margin: Floats
    gross: Floats
    depreciation: Floats
    sales_multiple: Floats
    debt: Floats
    turn: Floats
    other: Floats
    growth: Floats


# In the neighbourhood of the medians of listed companies: P/E from 14 (lenders) to 28 (landlords).
HABITS_OF_SECTORS: Final = SectorHabits(
    margin=np.array([0.11, 0.06, 0.08, 0.08, 0.20, 0.12, 0.085, 0.16, 0.075, 0.18, 0.12]),
    gross=np.array([0.50, 0.36, 0.34, 0.38, 0.62, 0.55, 0.32, 0.58, 0.30, 0.60, 0.42]),
    depreciation=np.array([0.09, 0.04, 0.035, 0.10, 0.03, 0.05, 0.04, 0.06, 0.07, 0.18, 0.14]),
    sales_multiple=np.array([2.2, 1.3, 1.4, 1.2, 2.8, 2.6, 1.7, 4.2, 1.4, 5.0, 2.0]),
    debt=np.array([0.9, 0.9, 0.8, 0.6, 1.4, 0.6, 0.8, 0.4, 0.6, 1.1, 1.4]),
    turn=np.array([1.3, 2.2, 2.2, 1.4, 0.6, 1.4, 1.9, 1.4, 1.6, 0.45, 0.8]),
    other=np.array([0.6, 0.7, 0.6, 0.5, 6.0, 0.6, 0.7, 0.6, 0.5, 0.25, 0.6]),
    growth=np.array([0.04, 0.05, 0.03, 0.02, 0.04, 0.06, 0.04, 0.08, 0.03, 0.04, 0.03]),
)
FINANCIALS: Final = SECTORS.index("Financials")


@dataclass(frozen=True)
class Character:
    """One entry a company.

    slot, generation, sector: where and what it is. traits: what its price is like, by company. quality, value, growth:
    planted standard normals (value: high is cheap). trap: cheap for good reasons, shrinking and indebted. margin:
    net, fraction, that earnings return to. sales_multiple: market value over revenue that growth returns to.
    revenue_growth: a year. after_close: whether it reports after the close, else before the open. habits: companies x
    HABITS standard normals. loner: whether it belongs to the pair, which has no shocks of its own.
    """

    slot: Ints
    generation: Ints
    sector: Ints
    traits: Traits
    quality: Floats
    value: Floats
    growth: Floats
    trap: Flags
    margin: Floats
    sales_multiple: Floats
    revenue_growth: Floats
    after_close: Flags
    habits: Floats
    loner: Flags


def character_of(register: Register, seed: int) -> Character:
    """The character of every company of the register; a larger market begins with the same ones."""
    draws = Draws(seed, register.market.name)
    slot = np.array([company.slot for company in register.companies], dtype=np.int64)
    generation = np.array([company.generation for company in register.companies], dtype=np.int64)
    by_generation = [draw_traits(draws, each, register.slots) for each in range(int(generation.max()) + 1)]
    traits = Traits(
        **{
            name: np.stack([getattr(each, name) for each in by_generation])[generation, slot]
            for name in vars(by_generation[0])
        }
    )
    normal, uniform = (
        np.stack(parts)[generation, slot] for parts in zip(*_drawn(draws, register, len(by_generation)), strict=True)
    )
    sector = traits.sector
    typical = HABITS_OF_SECTORS
    drift = traits.drift / 0.0001
    quality = QUALITY_DRIFT * drift + np.sqrt(1 - QUALITY_DRIFT**2) * normal[:, 0]
    value, growth = normal[:, 1], 0.3 * quality + np.sqrt(1 - 0.3**2) * normal[:, 2]
    loner = np.isin(slot, PAIR) & (generation == 0)
    trap = (drift < -0.5) & (uniform[:, 0] < TRAP_CHANCE) & ~loner
    value = np.where(trap, 1.2 + 0.5 * np.abs(value), value)
    quality = np.where(trap, np.minimum(quality, -0.7), quality)
    growth = np.where(trap, -1.2 - 0.4 * np.abs(growth), growth)
    return Character(
        slot=slot,
        generation=generation,
        sector=sector,
        traits=traits,
        quality=quality,
        value=value,
        growth=growth,
        trap=trap,
        # Weak companies earn next to nothing, and some of them lose money for good.
        margin=typical.margin[sector] * np.where(trap, 0.62, 1 + 0.56 * quality + 0.3 * normal[:, 3]),
        sales_multiple=typical.sales_multiple[sector]
        * np.exp(-0.35 * value + 0.24 * quality + 0.12 * growth)
        * np.where(trap, 0.62, 1.0),
        revenue_growth=typical.growth[sector] + 0.05 * growth - np.where(trap, 0.05, 0.0),
        after_close=uniform[:, 1] < 0.55,
        habits=normal[:, 4:],
        loner=loner,
    )


def _drawn(draws: Draws, register: Register, generations: int) -> list[tuple[Floats, Floats]]:
    """Normals and uniforms of each generation, slots x draws."""
    return [
        (
            draws.generator(Stream.CHARACTER, each).standard_normal((register.slots, 4 + HABITS)),
            draws.generator(Stream.CHARACTER_UNIFORMS, each).random((register.slots, 8)),
        )
        for each in range(generations)
    ]
