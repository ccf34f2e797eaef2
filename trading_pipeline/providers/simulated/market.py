"""The simulated market itself: every session of every company, quarter by quarter from the first session.

What belongs here: what truly happened. What a provider says of it, faults and forming bars included, is in
`provider.py`; what tests may compare with is in `truth.py`.

A quarter follows from the seed, the market and the quarters before it, and from nothing else: not from the clock, the
horizon, or who is asked about. Panels are slots x sessions. A slot always holds a company: where one is delisted,
another lists in a later quarter. 120 companies over the 4,275 sessions to the end of 2026 take 0.25 s on one core,
500 take 1.2 s and 2,000 take 5 s (and 0.7 GB).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum
from functools import cache
from typing import Final

import numpy as np

from trading_pipeline.markets import Market
from trading_pipeline.providers.simulated import universes
from trading_pipeline.providers.simulated.companies import (
    BENCHMARK,
    PAIR,
    PAIR_HEDGE_RATIO,
    SECTORS,
    VOLATILITY_INDEX,
    Traits,
    draw_traits,
)
from trading_pipeline.providers.simulated.draws import WEEKDAYS, Draws, Flags, Floats, Ints, Stream, decaying
from trading_pipeline.providers.simulated.environment import TYPICAL_VOLATILITY, Environment, EnvironmentProcess
from trading_pipeline.providers.simulated.faults import neighbours, plant
from trading_pipeline.providers.simulated.lives import Lives, register_of

PAIR_REVERSION: Final = 0.93  # of the log spread, per session: a half-life of 9.6 sessions
PAIR_VOLATILITY: Final = 0.009
# Chances a quarter.
COMPANY_SHOCK_CHANCE: Final = 0.09
CAUSELESS_SHOCK_CHANCE: Final = 0.04
# Falls of shocks are shifted exponentials: least, mean beyond it, most.
COMPANY_FALL: Final = (0.07, 0.06, 0.4)
COMPANY_FALLS_SHARE: Final = 0.78  # of the companies' own shocks; the others are rises
CAUSELESS_FALL: Final = (0.05, 0.025, 0.2)
FAILING_TURBULENCE: Final = 2.0  # how much the moves of a failing company are magnified
BID_CALM: Final = 0.15  # what is left of a company's moves once a bid pins its price
# Share of a shock that is given back afterwards, with a half-life of 13.5 sessions.
MACRO_REBOUND: Final = 0.35
CAUSELESS_REBOUND: Final = 0.6
REBOUND_PERSISTENCE: Final = 0.95
SPLIT_RATIOS: Final = np.array([1.5, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 20.0])
REVERSE_SPLITS: Final = np.array([5.0, 8.0, 10.0, 20.0, 40.0])  # old shares per new one
REVERSE_BELOW: Final = 2.5
PENNY: Final = 0.1  # below it a price has too few cents to be told wrong in a recognisable way


class Cause(IntEnum):
    """Why a planted shock happened."""

    MACRO = 0
    SECTOR = 1
    COMPANY = 2
    EARNINGS = 3
    NONE = 4


@dataclass
class _Log:
    """Rows of a long table, kept as arrays per quarter."""

    parts: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def add(self, *columns: np.ndarray) -> None:
        self.parts.append(columns)

    def columns(self, count: int) -> list[np.ndarray]:
        if not self.parts:
            return [np.empty(0)] * count
        return [np.concatenate([part[place] for part in self.parts]) for place in range(count)]


@dataclass(frozen=True)
class _Quarter:
    """The quarter under way.

    block: what its draws are keyed by. columns: its sessions' places among its weekdays. span: their positions.
    """

    block: int
    columns: Ints
    span: slice
    environment: Environment
    lives: Lives

    @property
    def days(self) -> Ints:
        """Sessions of the quarter, counted from 0."""
        return np.arange(len(self.columns))


class SimulatedMarket:
    """All that happened on one market; grows to the quarter that is needed.

    Rows of the panels: one per slot, then the benchmark, then the volatility index. Prices are as traded, NaN where
    nothing traded. splits: cumulated product of the ratios of the row's company; payouts: cumulated sum of
    log(1 - dividend / close of the session before). market_factor, sector_factor (sectors x sessions): log returns
    of what all share, shocks not included.
    """

    def __init__(self, market: Market, seed: int, companies: int) -> None:
        self.market, self.seed, self.slots = market, seed, companies
        self.draws = Draws(seed, market.name)
        self.register = register_of(market, seed, companies)
        self.sessions, self.bounds = self.register.sessions, self.register.bounds
        self.benchmark_row, self.volatility_row = companies, companies + 1
        shape = (companies + 2, len(self.sessions))
        self.open, self.high, self.low, self.close, self.volume = (np.full(shape, np.nan) for _ in range(5))
        self.splits, self.payouts = np.ones(shape), np.zeros(shape)
        self.fault = np.zeros(shape, dtype=np.int8)

        self.quarters = 0
        self.memberships: list[dict[str, Flags]] = []
        self.regime = np.zeros(len(self.sessions), dtype=np.int64)
        self.market_volatility = np.full(len(self.sessions), np.nan)
        self.market_factor = np.zeros(len(self.sessions))
        self.sector_factor = np.zeros((len(SECTORS), len(self.sessions)))
        self.shocks, self.earnings, self.dividends, self.split_events = _Log(), _Log(), _Log(), _Log()

        self._lock = threading.Lock()
        self._free = ~np.isin(np.arange(companies), PAIR)  # the pair lives an undisturbed life
        self._environment = EnvironmentProcess(self.draws)
        self._traits = draw_traits(self.draws, 0, companies)
        self._generations: dict[int, Traits] = {}
        self._log_price = np.log(self._traits.price)
        self._log_shares = self._traits.log_shares.copy()
        self._log_volatility = np.zeros(companies)
        self._rebound = np.zeros(companies)
        self._dividend = self._first_dividend(np.arange(companies))
        self._split_product, self._payout_sum = np.ones(companies + 1), np.zeros(companies + 1)
        self._spread = 0.0
        self._benchmark_log_price = float(np.log(100.0))
        self._last_implied = float("nan")

    @property
    def horizon(self) -> int:
        """How many sessions are simulated so far."""
        return int(self.bounds[self.quarters])

    def position(self, day: date, *, after: bool = False) -> int:
        """`Register.position`."""
        return self.register.position(day, after=after)

    def reach(self, position: int) -> SimulatedMarket:
        """Simulate until the quarter that holds the session at `position`; what is there already stays."""
        with self._lock:
            while self.horizon <= min(position, len(self.sessions) - 1):
                self._simulate_quarter()
        return self

    def _simulate_quarter(self) -> None:
        quarter = self._next_quarter()
        span, days, lives, environment = quarter.span, quarter.days, quarter.lives, quarter.environment
        traits, rows = self._traits, np.arange(self.slots)

        memberships = universes.reconstitute(self._log_price + self._log_shares, lives.age >= 0)
        jumps, eventful, volatility_kicks, rebounds = self._shocks(quarter)
        volatility = self._volatility(quarter, volatility_kicks)
        diffusion = (
            traits.beta[:, None] * environment.market
            + traits.sector_beta[:, None] * environment.sector[traits.sector]
            + traits.drift[:, None]
            + volatility * self._shaken(quarter)
        )
        given_back = decaying(self._rebound, rebounds, REBOUND_PERSISTENCE)
        before = np.concatenate([self._rebound[:, None], given_back[:, :-1]], axis=1)
        diffusion += (1 - REBOUND_PERSISTENCE) * before
        self._rebound = given_back[:, -1]
        ended = (lives.announced[:, None] >= 0) & (days > lives.announced[:, None])
        pinned = ended & lives.acquired[:, None]
        # A bid pins the price; a failing company sinks in twice the turbulence.
        diffusion = np.where(
            ended,
            np.where(lives.acquired[:, None], BID_CALM * diffusion, FAILING_TURBULENCE * diffusion - 0.02),
            diffusion,
        )
        self._pair(quarter, diffusion, jumps)

        factor_risk = np.sqrt(
            (traits.beta[:, None] * environment.volatility) ** 2
            + (traits.sector_beta[:, None] * environment.sector_volatility) ** 2
        )
        calm = np.where(pinned, BID_CALM, 1.0)
        overnight = 0.25 * diffusion + 0.9 * jumps + 0.3 * calm * volatility * self._normal(Stream.OVERNIGHT, quarter)
        total = diffusion + jumps

        split_day, ratio = self._splits(quarter)
        path = np.cumsum(total, axis=1)
        listed_now = lives.listing >= 0
        self._log_price[listed_now] = (np.log(traits.price) - path[rows, lives.listing])[listed_now]
        log_price = self._log_price[:, None] + path
        whole = log_price.copy()  # no split taken out: for values of companies
        log_price -= np.where(days >= split_day[:, None], np.log(ratio)[:, None], 0.0)
        dividend_day, dividend, dividend_yield = self._dividends(quarter, split_day, ratio, log_price)
        paid = np.where(days >= dividend_day[:, None], np.log1p(-dividend_yield)[:, None], 0.0)
        log_price, whole = log_price + paid, whole + paid

        previous = log_price - total  # the close before, in the basis of the session
        risk = np.sqrt(factor_risk**2 + volatility**2) * calm
        self._write(quarter, log_price, previous + overnight, risk)
        self._write_volume(quarter, total, split_day, ratio)
        self._write_actions(quarter, split_day, ratio, dividend_day, dividend)
        self._write_benchmark(quarter, memberships[universes.SIM100], whole, total, overnight)
        self._write_volatility_index(quarter)
        spoilable = ~neighbours(eventful | (days == split_day[:, None]) | (days == dividend_day[:, None]))
        plant(
            self,
            quarter.block,
            quarter.columns,
            span,
            spoilable & lives.settled & (self.close[: self.slots, span] > PENNY),
        )

        self.regime[span], self.market_volatility[span] = environment.regime, environment.volatility
        self.market_factor[span], self.sector_factor[:, span] = environment.market, environment.sector
        self.memberships.append(memberships)
        self._log_price = np.where(lives.company >= 0, log_price[:, -1], self._log_price)
        self._log_shares += np.log(ratio)
        self.quarters += 1

    def _next_quarter(self) -> _Quarter:
        block = int(self.register.blocks[self.quarters])
        span = slice(int(self.bounds[self.quarters]), int(self.bounds[self.quarters + 1]))
        first = np.datetime64(f"{block // 4:04d}-{block % 4 * 3 + 1:02d}-01")
        columns = np.busday_count(first, self.sessions[span])
        lives = self.register.quarters[self.quarters]
        self._welcome(np.flatnonzero(lives.listing >= 0), lives)
        return _Quarter(block, columns, span, self._environment.advance(block, columns), lives)

    def _welcome(self, slots: Ints, lives: Lives) -> None:
        """Companies that list this quarter take over their slots."""
        for generation in np.unique(lives.generation[slots]).tolist():
            if generation not in self._generations:
                self._generations[generation] = draw_traits(self.draws, generation, self.slots)
            theirs = slots[lives.generation[slots] == generation]
            self._traits.replace(theirs, self._generations[generation])
        traits = self._traits
        self._log_price[slots], self._log_shares[slots] = np.log(traits.price[slots]), traits.log_shares[slots]
        self._dividend[slots] = self._first_dividend(slots)
        self._rebound[slots], self._split_product[slots], self._payout_sum[slots] = 0.0, 1.0, 0.0

    def _first_dividend(self, slots: Ints) -> Floats:
        return self._traits.dividend_yield[slots] * self._traits.price[slots] / 4

    def _normal(self, stream: Stream, quarter: _Quarter) -> Floats:
        """Standard normal draws, slots x sessions."""
        return self.draws.generator(stream, quarter.block).standard_normal((self.slots, WEEKDAYS))[:, quarter.columns]

    def _shaken(self, quarter: _Quarter) -> Floats:
        """Fat-tailed draws of unit variance for the companies' own moves, slots x sessions."""
        shape = (self.slots, WEEKDAYS)
        return self.draws.students(Stream.IDIOSYNCRATIC, quarter.block, shape, 4, 7)[:, quarter.columns]

    def _shocks(self, quarter: _Quarter) -> tuple[Floats, Flags, Floats, Floats]:
        """All slots x sessions: log jumps, where the company has one of its own, kicks to its log volatility from the
        session after, and what of a jump will be given back.
        """
        span, days, lives, environment = quarter.span, quarter.days, quarter.lives, quarter.environment
        traits, slots, count = self._traits, self.slots, len(quarter.days)
        uniform = self.draws.generator(Stream.EVENTS, quarter.block).random((slots, 6)).T
        size = self.draws.generator(Stream.EVENT_SIZES, quarter.block).standard_exponential((slots, 3)).T
        bid = lives.acquired[:, None] & (days > lives.announced[:, None])
        felt = np.where(lives.alive & (days > lives.listing[:, None]), np.where(bid, BID_CALM, 1.0), 0.0)
        if span.start == 0:
            felt[:, 0] = 0.0  # no close before to jump from
        macro = felt * traits.beta[:, None] * environment.macro
        sector = felt * traits.sector_beta[:, None] * environment.sector_shock[traits.sector]
        own = np.zeros((slots, count))
        kicks, rebounds = np.zeros((slots, count)), MACRO_REBOUND * -macro

        def hits(day: Ints, happens: Flags) -> Ints:
            """Slots where it happens while the company trades undisturbed, on the session before as well."""
            steady = lives.alive[np.arange(slots), day] & lives.alive[np.arange(slots), day - 1]
            return np.flatnonzero(happens & self._free & steady & (lives.announced < 0))

        def strike(cause: Cause, slot: Ints, day: Ints, log_size: Floats) -> None:
            own[slot, day] += log_size
            self.shocks.add(span.start + day, slot, np.full(len(slot), int(cause)), log_size)

        for cause, moves in ((Cause.MACRO, macro), (Cause.SECTOR, sector)):
            slot, day = np.nonzero(moves)
            self.shocks.add(span.start + day, slot, np.full(len(slot), int(cause)), moves[slot, day])

        day = 2 + (uniform[1] * (count - 6)).astype(np.int64)
        slot = hits(day, uniform[0] < COMPANY_SHOCK_CHANCE)
        least, beyond, most = COMPANY_FALL
        fall = np.minimum(least + beyond * size[0], most)
        moves = np.where(uniform[2] < COMPANY_FALLS_SHARE, -fall, 0.7 * fall)
        strike(Cause.COMPANY, slot, day[slot], moves[slot])
        kicks[slot, day[slot] + 1] += 0.5

        day = 2 + (uniform[4] * (count - 6)).astype(np.int64)
        slot = hits(day, uniform[3] < CAUSELESS_SHOCK_CHANCE)
        least, beyond, most = CAUSELESS_FALL
        moves = -np.minimum(least + beyond * size[1], most)
        strike(Cause.NONE, slot, day[slot], moves[slot])
        rebounds[slot, day[slot]] += CAUSELESS_REBOUND * -moves[slot]

        slot = np.flatnonzero(lives.announced >= 0)
        moves = np.where(lives.acquired, 0.12 + 0.2 * uniform[5], -0.35 - 0.5 * uniform[5])
        strike(Cause.COMPANY, slot, lives.announced[slot], moves[slot])

        surprise = self.draws.students(Stream.EARNINGS, quarter.block, (slots,), 5, 4)
        slot = hits(traits.earnings_day, np.ones(slots, dtype=bool))
        moves = surprise * traits.earnings_volatility
        strike(Cause.EARNINGS, slot, traits.earnings_day[slot], moves[slot])
        self.earnings.add(span.start + traits.earnings_day[slot], slot, moves[slot])
        kicks[slot, traits.earnings_day[slot] + 1] += 0.15
        return macro + sector + own, own != 0, kicks, rebounds

    def _volatility(self, quarter: _Quarter, kicks: Floats) -> Floats:
        """Idiosyncratic volatility: a log AR(1) that swells with the market's; daily, slots x sessions."""
        innovations = 0.08 * self._normal(Stream.VOLATILITY, quarter) + kicks
        log_volatility = decaying(self._log_volatility, innovations, 0.97)
        self._log_volatility = log_volatility[:, -1]
        swell = (quarter.environment.volatility / TYPICAL_VOLATILITY) ** 0.35
        return self._traits.volatility[:, None] * np.exp(np.clip(log_volatility, -1.2, 1.4) - 0.055) * swell

    def _pair(self, quarter: _Quarter, diffusion: Floats, jumps: Floats) -> None:
        """The second of the pair follows the first: log price = constant + ratio x log price + a reverting spread."""
        leader, follower = PAIR
        noise = self.draws.generator(Stream.PAIR, quarter.block).standard_normal(WEEKDAYS)[quarter.columns]
        spread = decaying(np.array([self._spread]), PAIR_VOLATILITY * noise[None], PAIR_REVERSION)[0]
        change = np.diff(spread, prepend=self._spread)
        self._spread = float(spread[-1])
        diffusion[follower] = PAIR_HEDGE_RATIO * diffusion[leader] + change
        jumps[follower] = PAIR_HEDGE_RATIO * jumps[leader]

    def _splits(self, quarter: _Quarter) -> tuple[Ints, Floats]:
        """Session of the quarter and new shares per old; a day beyond every quarter and 1 where there is none."""
        price = np.exp(self._log_price)
        steady = (quarter.lives.age > 0) & (quarter.lives.ending < 0)
        up = steady & (price > self._traits.split_above)
        aimed = np.searchsorted(SPLIT_RATIOS, price / self._traits.split_target, "right") - 1
        down = steady & (price < REVERSE_BELOW)
        needed = np.searchsorted(REVERSE_SPLITS, 12 / price)
        ratio = np.where(up, SPLIT_RATIOS[np.maximum(aimed, 0)], 1.0)
        ratio = np.where(down, 1 / REVERSE_SPLITS[np.minimum(needed, len(REVERSE_SPLITS) - 1)], ratio)
        day = np.where(up | down, 20 + (np.arange(self.slots) * 7 + self.quarters * 5) % 22, 1 << 20)
        return day, ratio

    def _dividends(
        self, quarter: _Quarter, split_day: Ints, ratio: Floats, log_price: Floats
    ) -> tuple[Ints, Floats, Floats]:
        """Ex-session of the quarter, amount per share as paid, and its share of the close before."""
        rows, traits, lives = np.arange(self.slots), self._traits, quarter.lives
        day = traits.dividend_day
        price = np.exp(self._log_price)
        target = traits.dividend_yield * price / 4
        # Boards raise once a year and cut only where the yield has become absurd.
        raises = (rows + self.quarters) % 4 == 0
        self._dividend = np.where(raises & (self._dividend < 1.2 * target), self._dividend * 1.06, self._dividend)
        self._dividend = np.where(self._dividend > 2.2 * target, 0.5 * self._dividend, self._dividend)
        amount = np.round(np.where(day >= split_day, self._dividend / ratio, self._dividend), 4)
        pays = (
            self._free
            & (traits.dividend_yield > 0)
            & (lives.age > 0)
            & (amount >= 0.0001)
            & (day != split_day)
            & lives.alive[rows, day]
            & lives.alive[rows, day - 1]
            & ((lives.announced < 0) | lives.acquired)
        )
        self._dividend /= ratio
        amount = np.where(pays, amount, 0.0)
        share = amount / np.exp(log_price[rows, day - 1])
        pays &= share < 0.2
        return np.where(pays, day, 1 << 20), np.where(pays, amount, 0.0), np.where(pays, share, 0.0)

    def _write(self, quarter: _Quarter, close: Floats, opening: Floats, risk: Floats) -> None:
        """Bars to the cent from the log prices of close and open; `risk` is the session's volatility."""
        above, below = (
            0.45 * risk * np.abs(self._normal(stream, quarter)) for stream in (Stream.RANGE, Stream.RANGE_BELOW)
        )
        cells = (slice(0, self.slots), quarter.span)
        for panel, log_price in (
            (self.open, opening),
            (self.close, close),
            (self.high, np.maximum(opening, close) + above),
            (self.low, np.minimum(opening, close) - below),
        ):
            # Rounding keeps the order, so that the four stay consistent.
            panel[cells] = np.where(quarter.lives.alive, np.maximum(np.round(np.exp(log_price), 2), 0.01), np.nan)

    def _write_volume(self, quarter: _Quarter, total: Floats, split_day: Ints, ratio: Floats) -> None:
        """Shares traded: more of them on moves, in turbulence and after a split."""
        shares = (self._log_shares + np.log(self._traits.turnover))[:, None]
        after_split = quarter.days >= split_day[:, None]
        stir = np.minimum(np.abs(total) / (self._traits.volatility[:, None] + 0.008), 8.0)
        log_volume = (
            shares
            + np.where(after_split, np.log(ratio)[:, None], 0.0)
            + 0.28 * self._normal(Stream.VOLUME, quarter)
            + 0.25 * stir
            + 0.3 * np.log(quarter.environment.volatility / TYPICAL_VOLATILITY)
        )
        volume = np.maximum(np.round(np.exp(log_volume)), 100)
        self.volume[: self.slots, quarter.span] = np.where(quarter.lives.alive, volume, np.nan)

    def _write_actions(
        self, quarter: _Quarter, split_day: Ints, ratio: Floats, dividend_day: Ints, dividend: Floats
    ) -> None:
        span, days = quarter.span, quarter.days
        splits = np.where(days >= split_day[:, None], ratio[:, None], 1.0) * self._split_product[:-1, None]
        self.splits[: self.slots, span] = splits
        self._split_product[:-1] = splits[:, -1]
        slot = np.flatnonzero(split_day < len(days))
        self.split_events.add(slot, span.start + split_day[slot], ratio[slot])

        slot = np.flatnonzero(dividend_day < len(days))
        position = span.start + dividend_day[slot]
        self.dividends.add(slot, position, dividend[slot])
        self._pay(slice(0, self.slots), span, slot, position, dividend[slot])

    def _pay(self, rows: slice, span: slice, row: Ints, position: Ints, amount: Floats) -> None:
        """Cumulate log(1 - dividend / close before) of the given rows over the span."""
        step = np.zeros((rows.stop - rows.start, span.stop - span.start))
        step[row - rows.start, position - span.start] = np.log1p(-amount / self.close[row, position - 1])
        summed = self._payout_sum[rows, None] + np.cumsum(step, axis=1)
        self.payouts[rows, span] = summed
        self._payout_sum[rows] = summed[:, -1]

    def _write_benchmark(
        self, quarter: _Quarter, members: Flags, whole: Floats, total: Floats, overnight: Floats
    ) -> None:
        """A fund of the index's members, weighted by the value of the session before; it pays out once a quarter."""
        row, span, days = self.benchmark_row, quarter.span, quarter.days
        before = np.concatenate([self._log_price[:, None], whole[:, :-1]], axis=1) + self._log_shares[:, None]
        held = members[:, None] & quarter.lives.alive
        weight = np.where(held, np.exp(before), 0.0)
        weight /= weight.sum(axis=0)
        growth = np.log1p((weight * np.expm1(np.where(held, total, 0.0))).sum(axis=0))
        gap = np.log1p((weight * np.expm1(np.where(held, overnight, 0.0))).sum(axis=0))
        close = self._benchmark_log_price + np.cumsum(growth)
        pay_day = len(days) - 9
        amount = np.round(0.0042 * np.exp(close[pay_day - 1]), 4)
        if span.start:
            close = close + np.where(days >= pay_day, np.log1p(-amount / np.exp(close[pay_day - 1])), 0.0)
        self._benchmark_log_price = float(close[-1])
        opening = close - growth + gap
        draws = self.draws.generator(Stream.BENCHMARK, quarter.block).standard_normal((3, WEEKDAYS))[:, quarter.columns]
        reach = 0.45 * np.abs(draws[:2]) * quarter.environment.volatility
        self.open[row, span], self.close[row, span] = np.round(np.exp(opening), 2), np.round(np.exp(close), 2)
        self.high[row, span] = np.round(np.exp(np.maximum(opening, close) + reach[0]), 2)
        self.low[row, span] = np.round(np.exp(np.minimum(opening, close) - reach[1]), 2)
        stir = np.minimum(np.abs(growth) / TYPICAL_VOLATILITY, 8.0)
        self.volume[row, span] = np.round(np.exp(np.log(4.5e7) + 0.2 * draws[2] + 0.25 * stir))
        if span.start:
            paid = np.array([row]), np.array([span.start + pay_day]), np.array([amount])
            self.dividends.add(*paid)
            self._pay(slice(row, row + 1), span, *paid)

    def _write_volatility_index(self, quarter: _Quarter) -> None:
        if self.market.volatility_index is None:
            return
        row, span, close = self.volatility_row, quarter.span, quarter.environment.implied
        generator = self.draws.generator(Stream.VOLATILITY_INDEX, quarter.block)
        noise = generator.standard_normal((3, WEEKDAYS))[:, quarter.columns]
        before = np.concatenate([[close[0] if span.start == 0 else self._last_implied], close[:-1]])
        opening = before * (close / before) ** 0.5 * np.exp(0.015 * noise[0])
        self.open[row, span], self.close[row, span] = np.round(opening, 2), np.round(close, 2)
        self.high[row, span] = np.round(np.maximum(opening, close) * np.exp(0.025 * np.abs(noise[1])), 2)
        self.low[row, span] = np.round(np.minimum(opening, close) * np.exp(-0.02 * np.abs(noise[2])), 2)
        self.volume[row, span] = 0.0
        self._last_implied = float(close[-1])

    def instruments_at(self, row: Ints, position: Ints) -> Ints:
        """What a row held at a position: the company's number, -1 the benchmark, -2 the volatility index."""
        companies = np.array(self.register.company_of_number, dtype=np.int64)
        number = self.register.number[np.minimum(row, self.slots - 1), position]
        return np.where(row < self.slots, companies[np.maximum(number, 0)], self.slots - 1 - row)

    @property
    def index_rows(self) -> tuple[int, ...]:
        """Rows of the benchmark and, where the market has one, of the volatility index."""
        rows = (self.benchmark_row, self.volatility_row)
        return rows if self.market.volatility_index else rows[:1]

    def name_of_row(self, row: int) -> str:
        """Symbol of the benchmark's or the volatility index's row."""
        return (BENCHMARK if row == self.benchmark_row else VOLATILITY_INDEX) + self.market.ticker_suffix


@cache
def simulated_market(market: Market, seed: int, companies: int) -> SimulatedMarket:
    """The one market of that seed and size in this process; callers let it `reach` the session they need."""
    return SimulatedMarket(market, seed, companies)
