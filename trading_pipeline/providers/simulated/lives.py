"""Which companies are listed when, under which symbol: listings, renames and ends, decided without looking at prices.

The register covers the whole calendar, so it is quick to ask who is called what; a quarter still follows from the seed
and the quarters before it alone. Symbols are numbered in the order of time and never used twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Final

import numpy as np

from trading_pipeline.markets import Market
from trading_pipeline.providers.errors import NotFound
from trading_pipeline.providers.simulated.companies import FIRST_NUMBER, PAIR, Company, company_name, sectors_of
from trading_pipeline.providers.simulated.draws import Draws, Flags, Ints, Stream
from trading_pipeline.sessions import calendar

VACANT_AT_FIRST: Final = 0.04
# Chances a quarter.
DELISTING_CHANCE: Final = 0.01
LISTING_CHANCE: Final = 0.7  # of a vacant slot
RENAME_CHANCE: Final = 0.004
ACQUIRED_SHARE: Final = 0.65  # of the delistings; the others fail


@dataclass(frozen=True)
class Lives:
    """A quarter's comings and goings: one entry a slot, sessions of the quarter, -1 where nothing happens.

    alive: slots x sessions. company: the number of who is listed at the start of the quarter or lists in it, -1 where
    nobody does. generation: how many companies the slot had before that one. age: quarters since it listed, -1 where
    nobody is listed at the start. ending: its last session. announced: when its end is announced. settled: slots x
    sessions that are not within three of a listing or an end.
    """

    alive: Flags
    settled: Flags
    company: Ints
    generation: Ints
    age: Ints
    listing: Ints
    ending: Ints
    announced: Ints
    acquired: Flags


class Register:
    """Everybody who is ever listed.

    number: panel slots x sessions of the number of the symbol, -1 where nobody is listed. bounds: positions at which
    quarters begin, and the end. blocks: what draws of a quarter are keyed by (year x 4 + quarter).
    """

    def __init__(self, market: Market, seed: int, slots: int) -> None:
        self.market, self.slots = market, slots
        draws = Draws(seed, market.name)
        self.sessions = calendar(market.exchange).sessions
        months = self.sessions.astype("datetime64[M]").astype(np.int64) + 1970 * 12
        self.blocks, starts = np.unique(months // 3, return_index=True)
        self.bounds = np.append(starts, len(self.sessions))
        self.companies: list[Company] = []
        self.company_of_number: list[int] = []
        self.number = np.full((slots, len(self.sessions)), -1, dtype=np.int16)

        self._company = np.full(slots, -1, dtype=np.int64)
        self._number = np.full(slots, -1, dtype=np.int64)
        self._generation = np.full(slots, -1, dtype=np.int64)
        self._age = np.full(slots, -1, dtype=np.int64)
        self._since = np.zeros(slots, dtype=np.int64)
        self._free = ~np.isin(np.arange(slots), PAIR)
        self.quarters = [self._live(draws, quarter) for quarter in range(len(self.blocks))]

    def _live(self, draws: Draws, quarter: int) -> Lives:
        """Decide who lists, is renamed or ends in the quarter."""
        start, stop = int(self.bounds[quarter]), int(self.bounds[quarter + 1])
        count, days, free = stop - start, np.arange(stop - start), self._free
        uniform = draws.generator(Stream.LIFE, int(self.blocks[quarter])).random((self.slots, 8)).T
        nothing = np.full(self.slots, -1, dtype=np.int64)
        if start == 0:
            for slot in np.flatnonzero(~free | (uniform[0] >= VACANT_AT_FIRST)).tolist():
                self._list(slot, 0)
        listed = self._company >= 0
        self._age = np.where(listed, self._age + 1, -1)

        ends = listed & free & (self._age > 3) & (uniform[1] < DELISTING_CHANCE)
        announced = np.where(ends, 3 + (uniform[2] * (count - 38)).astype(np.int64), nothing)
        ending = np.where(ends, count - 8 + (uniform[3] * 6).astype(np.int64), nothing)
        acquired = ends & (uniform[4] < ACQUIRED_SHARE)
        renamed = listed & free & ~ends & (self._age > 1) & (uniform[5] < RENAME_CHANCE)
        rename = np.where(renamed, 10 + (uniform[6] * (count - 20)).astype(np.int64), nothing)
        lists = ~listed & (start > 0) & (uniform[0] < LISTING_CHANCE)
        listing = np.where(lists, 5 + (uniform[7] * (count - 25)).astype(np.int64), nothing)

        lasts = np.where(ends, ending, count)[:, None]
        begins = np.where(lists, listing, 0)[:, None]
        alive = (listed | lists)[:, None] & (days >= begins) & (days <= lasts)
        self.number[:, start:stop] = np.where(alive, self._number[:, None], -1)
        changing = np.flatnonzero(renamed | lists)
        for slot in changing[np.argsort(np.maximum(rename, listing)[changing], kind="stable")].tolist():
            position = start + int(max(rename[slot], listing[slot]))
            if lists[slot]:
                self._list(slot, position)
            else:
                self._rename(slot, position)
            self.number[slot, position:stop] = self._number[slot]
        settled = alive & (days + start - self._since[:, None] > 3) & (days < lasts - 3)
        lives = Lives(
            alive,
            settled,
            self._company.copy(),
            self._generation.copy(),
            self._age,
            listing,
            ending,
            announced,
            acquired,
        )
        for slot in np.flatnonzero(ends).tolist():
            self.companies[self._company[slot]].announced = start + int(announced[slot])
            self._end(slot, start + int(ending[slot]), "acquired" if acquired[slot] else "failed")
        return lives

    def _list(self, slot: int, position: int) -> None:
        self._generation[slot] += 1
        number = len(self.companies)
        sector = int(sectors_of(int(self._generation[slot]), self.slots)[slot])
        self.companies.append(
            Company(slot, sector, company_name(sector, number), position, None, generation=int(self._generation[slot]))
        )
        self._company[slot], self._since[slot] = number, position
        self._call(slot, position)

    def _rename(self, slot: int, position: int) -> None:
        spans = self.companies[self._company[slot]].spans
        spans[-1] = (*spans[-1][:2], position - 1)
        self._call(slot, position)

    def _call(self, slot: int, position: int) -> None:
        """Give the slot's company the next symbol."""
        company = int(self._company[slot])
        self._number[slot] = len(self.company_of_number)
        self.company_of_number.append(company)
        self.companies[company].spans.append((self.symbol_of_number(int(self._number[slot])), position, None))

    def _end(self, slot: int, position: int, ending: str) -> None:
        company = self.companies[self._company[slot]]
        company.last, company.ending = position, ending
        company.spans[-1] = (*company.spans[-1][:2], position)
        self._company[slot] = -1

    def position(self, day: date, *, after: bool = False) -> int:
        """Index of the first session at or after `day` (`after`: of the first one later than it)."""
        return int(np.searchsorted(self.sessions, np.datetime64(day), "right" if after else "left"))

    def symbol_of_number(self, number: int) -> str:
        """The symbol of that number in the panel `number`."""
        return f"Q{FIRST_NUMBER + number:04d}{self.market.ticker_suffix}"

    def asked(self, symbol: str, told: int) -> int | NotFound:
        """Number of the company that trades as `symbol` at the position `told`, or did so last; why not otherwise."""
        number = self.company_named(symbol)
        if number is None:
            return NotFound(f"{symbol} is unknown to the simulated market")
        company = self.companies[number]
        if any(name == symbol and begin > told for name, begin, _ in company.spans):
            return NotFound(f"{symbol} is unknown to the simulated market")
        now_called = company.symbol_at(told)
        if now_called != symbol:
            return NotFound(
                f"{symbol} is not used any more: the company trades as {now_called}", f"Ask for {now_called}"
            )
        return number

    def company_named(self, symbol: str) -> int | None:
        """Number of the company that has, had or will have the symbol; None where there is none."""
        digits = symbol.removesuffix(self.market.ticker_suffix)[1:]
        number = int(digits) - FIRST_NUMBER if digits.isdecimal() and len(digits) == 4 else -1
        if not 0 <= number < len(self.company_of_number) or self.symbol_of_number(number) != symbol:
            return None
        return self.company_of_number[number]


@cache
def register_of(market: Market, seed: int, slots: int) -> Register:
    """The one register of that seed and size in this process; 120 slots take 0.02 s, 2,000 take 0.4 s."""
    return Register(market, seed, slots)
