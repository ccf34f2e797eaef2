"""The books of the fictional companies: consistent accounts per company and quarter, and when they are reported.

What belongs here: what is true of a company's business. What a provider says of it is in `fundamentals.py` and
`reports.py`. In calendar quarter q a company reports on the quarter before. Accounts follow from the company's
character, from the prices up to the end of the quarter before (prices run ahead of growth), from its shocks up to then,
and from the jump of its price on the report: a beat usually rises.

Arrays are companies x quarters; 185 companies over 68 quarters take 0.05 s and 6 MB.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Final

import numpy as np

from trading_pipeline.markets import Market
from trading_pipeline.providers.simulated.character import HABITS_OF_SECTORS, character_of
from trading_pipeline.providers.simulated.draws import Flags, Floats, Ints, Stream
from trading_pipeline.providers.simulated.market import Cause, SimulatedMarket, simulated_market

BACK: Final = 8
"""Quarters of accounts that a company brings along when it lists: two years, so that growth over a year is known."""

FLOWS: Final = ("revenue", "gross", "operating", "ebitda", "net", "operating_cash", "capex")
LEVELS: Final = ("equity", "debt", "cash", "assets", "current_ratio", "quick_ratio")
EXPECTED: Final = ("expected_revenue", "expected_net", "surprise_scale")
SURPRISE_OF_JUMP: Final = 0.06  # surprise of a jump of one standard deviation, by the size of the expected
SURPRISE_NOISE: Final = 0.025
TAX_LEFT: Final = 0.79
INTEREST: Final = 0.045  # a year
GROWTH_OF_PRICE: Final = 0.15  # of the log distance of the market value from the usual multiple, a year
USUAL_MARGIN: Final = 0.1


class Books:
    """The accounts of every company of one market, as far as it is simulated.

    flow(name), level(name): companies x (BACK + quarters); column BACK + q is what quarter q reports, the columns of a
    company before that are what it listed with, NaN where there is none. position: companies x quarters, the first
    session that trades on the report, -1 where none is due; held: whether it took place (a company whose end is
    announced reports no more). jump: log jump of the price on it, 0 for the pair. shares0: shares at the listing.
    """

    def __init__(self, market: SimulatedMarket) -> None:
        self.market = market
        register = market.register
        self.character = character_of(register, market.seed)
        count, quarters = len(register.companies), len(register.blocks)
        self.first = np.array([company.first for company in register.companies], dtype=np.int64)
        ends = [len(register.sessions) if each.last is None else each.last for each in register.companies]
        self.last = np.array(ends, dtype=np.int64)
        told = [len(register.sessions) if each.announced is None else each.announced for each in register.companies]
        self.announced = np.array(told, dtype=np.int64)
        self.first_quarter = np.searchsorted(register.bounds, self.first, "right") - 1
        self.shares0 = np.exp(self.character.traits.log_shares)
        self._columns = {name: np.full((count, BACK + quarters), np.nan) for name in (*FLOWS, *LEVELS, *EXPECTED)}
        self.jump = np.zeros((count, quarters))
        due = register.bounds[:-1] + self.character.traits.earnings_day[:, None]
        inside = (due > self.first[:, None]) & (due <= self.last[:, None])
        self.position: Ints = np.where(inside, due, -1)
        self.held: Flags = np.zeros((count, quarters), dtype=bool)
        self.quarters = 0
        self._deviation = np.zeros(count)
        self._lock = threading.Lock()

    def reach(self, position: int) -> Books:
        """Keep the books to the end of the quarter that holds the session at `position`."""
        self.market.reach(position)
        with self._lock:
            if self.quarters < self.market.quarters:
                shocks = self._company_shocks()
                for quarter in range(self.quarters, self.market.quarters):
                    self._keep(quarter, shocks)
                self.quarters = self.market.quarters
        return self

    def column(self, name: str) -> Floats:
        """One of FLOWS (a quarter's), LEVELS (at the quarter's end) or EXPECTED; currency or ratio."""
        return self._columns[name]

    def trailing(self, name: str) -> Floats:
        """Sum of a flow over the four quarters up to each."""
        values = self._columns[name]
        summed = np.full_like(values, np.nan)
        summed[:, 3:] = values[:, 3:] + values[:, 2:-1] + values[:, 1:-2] + values[:, :-3]
        return summed

    def company_at(self, slot: Ints, position: Ints) -> Ints:
        """Number of the company that the slot held; -1 where nobody was listed."""
        companies = np.array(self.market.register.company_of_number, dtype=np.int64)
        number = self.market.register.number[slot, position].astype(np.int64)
        return np.where(number >= 0, companies[np.maximum(number, 0)], -1)

    def published(self, company: Ints, position: Ints) -> Ints:
        """Column of the accounts that are known once the session at `position` has traded."""
        quarter = np.searchsorted(self.market.bounds, position, "right") - 1
        numbers = np.arange(self.held.shape[1])
        latest = np.maximum.accumulate(np.where(self.held, numbers, -1), axis=1)
        reported = self.held[company, quarter] & (self.position[company, quarter] <= position)
        earlier = np.where(quarter > 0, latest[company, np.maximum(quarter - 1, 0)], -1)
        column = np.where(reported, quarter, earlier)
        return BACK + np.where(column < 0, self.first_quarter[company] - 1, column)

    def shares(self, company: Ints, position: Ints) -> Floats:
        """Shares outstanding at the close of the session."""
        return np.asarray(self.shares0[company] * self.market.splits[self.character.slot[company], position])

    def _company_shocks(self) -> Floats:
        """Log sizes of the companies' own shocks, summed by company and quarter."""
        position, slot, cause, size = self.market.shocks.columns(4)
        own = cause == Cause.COMPANY
        position, slot = position[own].astype(np.int64), slot[own].astype(np.int64)
        summed = np.zeros(self.held.shape)
        quarter = np.searchsorted(self.market.bounds, position, "right") - 1
        np.add.at(summed, (self.company_at(slot, position), quarter), size[own])
        return summed

    def _keep(self, quarter: int, shocks: Floats) -> None:
        """Write the column of a quarter for everybody listed in it."""
        market, character = self.market, self.character
        start, end = int(market.bounds[quarter]), int(market.bounds[quarter + 1])
        listed = (self.first < end) & (self.last >= start)
        self._list(np.flatnonzero(listed & (self.first_quarter == quarter)), quarter)
        who = np.flatnonzero(listed)
        slot, sector = character.slot[who], character.sector[who]
        _, slots, size = market.earnings.parts[quarter]
        held = np.zeros(market.slots, dtype=bool)
        jump = np.zeros(market.slots)
        held[slots], jump[slots] = True, size
        due = self.position[who, quarter]
        mine = self.company_at(slot, np.maximum(due, 0)) == who
        self.held[who, quarter] = (due >= 0) & mine & (held[slot] | character.loner[who])
        self.jump[who, quarter] = np.where(self.held[who, quarter], jump[slot], 0.0)

        normal = market.draws.generator(Stream.ACCOUNTS, int(market.register.blocks[quarter]))
        noise = normal.standard_normal((market.slots, 8))[slot].T
        now, typical = BACK + quarter, HABITS_OF_SECTORS
        revenue = self._columns["revenue"]
        year = revenue[who, now - 4 : now].sum(axis=1)
        before = max(start - 1, 0)
        old = self.first[who] <= before
        value = market.close[slot, before] * self.shares0[who] * market.splits[slot, before]
        usual = character.sales_multiple[who] * year
        ahead = np.log(np.where(old & (value > 0), value, usual) / usual).clip(-1.2, 1.2)
        growth = character.revenue_growth[who] + GROWTH_OF_PRICE * ahead
        expected_revenue = revenue[who, now - 1] * np.exp(growth / 4)
        width = typical.margin[sector] / USUAL_MARGIN
        shock = shocks[who, quarter - 1].clip(-0.5, 0.3) if quarter else np.zeros(len(who))
        deviation = 0.9 * self._deviation[who] + 0.1 * width * shock
        margin = character.margin[who] + deviation
        expected = margin * expected_revenue
        scale = np.maximum(np.abs(margin), 0.3 * typical.margin[sector]) * expected_revenue
        struck = (self.jump[who, quarter] / character.traits.earnings_volatility[who]).clip(-4, 4)
        net = expected + scale * (SURPRISE_OF_JUMP * struck + SURPRISE_NOISE * noise[1])
        told = expected_revenue * np.exp(0.012 * noise[0] + 0.008 * struck)
        self._deviation[who] = deviation + 0.6 * (net / told - margin) + 0.006 * width * noise[2]
        for name, values in zip(EXPECTED, (expected_revenue, expected, scale), strict=True):
            self._columns[name][who, now] = values
        self._write(who, now, told, net, noise)

    def _list(self, who: Ints, quarter: int) -> None:
        """The two years of accounts that the companies listing in a quarter bring along."""
        character, typical = self.character, HABITS_OF_SECTORS
        sector, habits = character.sector[who], character.habits[who]
        year = character.traits.price[who] * self.shares0[who] / character.sales_multiple[who]
        width = typical.margin[sector] / USUAL_MARGIN
        self._deviation[who] = 0.016 * width * habits[:, 8]
        for ago in range(BACK, 0, -1):
            revenue = year / 4 * np.exp((2.5 - ago) * character.revenue_growth[who] / 4)
            wobble = 0.005 * width * habits[:, 8 + ago]
            net = (character.margin[who] + self._deviation[who] + wobble) * revenue
            self._write(who, BACK + quarter - ago, revenue, net, np.zeros((8, len(who))), year)

    def _write(
        self, who: Ints, column: int, revenue: Floats, net: Floats, noise: Floats, year: Floats | None = None
    ) -> None:
        """The statements of a quarter from its revenue and net income; `year`: revenue of a year, to begin with."""
        character, typical, columns = self.character, HABITS_OF_SECTORS, self._columns
        sector, quality, trap = character.sector[who], character.quality[who], character.trap[who]
        habits = character.habits[who].T
        begins = year is not None
        year = columns["revenue"][who, column - 3 : column].sum(axis=1) + revenue if year is None else year
        usual_equity = year / typical.turn[sector] * np.exp(0.25 * habits[3])
        usual_debt = usual_equity * typical.debt[sector] * np.exp(-0.35 * quality + 0.4 * habits[4])
        usual_debt *= np.where(trap, 2.2, 1.0)
        usual_cash = 0.12 * year * np.exp(0.4 * habits[5] + 0.25 * quality)

        depreciation = revenue * typical.depreciation[sector] * np.exp(0.25 * habits[1])
        capex = 1.05 * depreciation * np.exp(0.25 * habits[2])
        operating_cash = net + depreciation + revenue * (0.012 * quality + 0.02 * noise[3])
        if begins:
            equity, debt, cash = usual_equity, usual_debt, usual_cash
        else:
            equity, debt, cash = (columns[name][who, column - 1] for name in ("equity", "debt", "cash"))
            equity = equity + np.where(net > 0, 0.5, 1.0) * net + 0.06 * (usual_equity - equity)
            debt = debt + 0.1 * (usual_debt - debt)
            cash = 0.85 * cash + 0.15 * usual_cash + 0.15 * (operating_cash - capex)
            cash = np.maximum(cash, 0.01 * year)
        interest = INTEREST / 4 * debt
        operating = np.where(net > 0, net / TAX_LEFT, net) + interest
        overhead = typical.gross[sector] - typical.margin[sector] / TAX_LEFT + 0.05 * habits[0]
        gross = operating + np.maximum(overhead, 0.03) * revenue
        current = 1.5 * np.exp(0.17 * quality + 0.2 * habits[6] + 0.06 * noise[4] - np.where(trap, 0.35, 0.0))
        statement = {
            "revenue": revenue,
            "gross": np.minimum(gross, 0.95 * revenue),
            "operating": operating,
            "ebitda": operating + depreciation,
            "net": net,
            "operating_cash": operating_cash,
            "capex": capex,
            "equity": equity,
            "debt": debt,
            "cash": cash,
            "assets": np.maximum(equity, 0.05 * year) + debt + typical.other[sector] * usual_equity,
            "current_ratio": current,
            "quick_ratio": current * (0.6 + 0.15 * np.tanh(habits[7])),
        }
        for name, values in statement.items():
            columns[name][who, column] = values


@cache
def books_of(market: Market, seed: int, companies: int) -> Books:
    """The one set of books of that market, seed and size in this process."""
    return Books(simulated_market(market, seed, companies))
