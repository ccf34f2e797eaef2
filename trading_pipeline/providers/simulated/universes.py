"""Universes of the simulated market: everything listed, and two indices reconstituted at the start of each quarter.

An index holds the largest companies by market value at the last close of the quarter before; a member that is delisted
leaves with its last session and is not replaced before the next quarter, so the counts move as real ones do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from trading_pipeline.providers.simulated.companies import SECTORS
from trading_pipeline.providers.simulated.draws import Flags, Floats, Ints

if TYPE_CHECKING:
    from trading_pipeline.providers.simulated.market import SimulatedMarket

SIM_ALL: Final = "SIM_ALL"
SIM100: Final = "SIM100"
SIM_MEGA: Final = "SIM_MEGA"
UNIVERSES: Final = (SIM_ALL, SIM100, SIM_MEGA)
SOURCE: Final = "simulated"
MEMBERS_SCHEMA: Final = pl.Schema(
    {"session": pl.Date, "universe": pl.String, "ticker": pl.String, "sector": pl.String, "source": pl.String}
)


def index_sizes(companies: int) -> dict[str, int]:
    """How many companies each index holds when the market has room for `companies`: 100 and 10, fewer in small ones."""
    return {SIM100: min(100, companies * 5 // 6), SIM_MEGA: min(10, max(3, companies // 12))}


def reconstitute(log_value: Floats, listed: Flags) -> dict[str, Flags]:
    """Who is in each index for the quarter, one flag per slot; equal values are ranked by slot."""
    order = np.argsort(np.where(listed, -log_value, np.inf), kind="stable")
    members = {}
    for universe, size in index_sizes(len(log_value)).items():
        members[universe] = np.zeros(len(log_value), dtype=bool)
        members[universe][order[:size]] = True
        members[universe] &= listed
    return members


def members(market: SimulatedMarket, universe: str, positions: Ints) -> pl.DataFrame:
    """Members of a universe at session positions, by the symbol of the session; sorted by session and ticker."""
    register = market.register
    number = register.number[:, positions].T
    inside = number >= 0
    if universe != SIM_ALL:
        quarters = np.searchsorted(market.bounds, positions, "right") - 1
        inside = inside & np.array([market.memberships[quarter][universe] for quarter in quarters]).reshape(
            inside.shape
        )
    place, slot = np.nonzero(inside)
    numbers = number[place, slot].astype(np.int64)
    symbols = pl.Series([register.symbol_of_number(each) for each in range(len(register.company_of_number))])
    sectors = pl.Series([SECTORS[register.companies[each].sector] for each in register.company_of_number])
    return pl.DataFrame(
        {
            "session": pl.Series(market.sessions[positions][place], dtype=pl.Date),
            "universe": pl.repeat(universe, len(place), eager=True),
            "ticker": symbols.gather(numbers),
            "sector": sectors.gather(numbers),
            "source": pl.repeat(SOURCE, len(place), eager=True),
        },
        schema=MEMBERS_SCHEMA,
    ).sort("session", "ticker")
