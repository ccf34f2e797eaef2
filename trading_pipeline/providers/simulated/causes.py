"""Why prices truly fell, exactly.

What belongs here: the examiner's answers about dips; no finder may read them. How often they could have been found is
in `ceiling.py`.

The fall is the log change of the split-adjusted close since the high's session. It is the sum of

- macro: beta times the market's factor, its shocks and what is given back of them afterwards;
- sector: the same of the sector's factor, which is drawn beyond the market's;
- company, earnings: the jumps of these causes;
- ex_dividend: log(1 - dividend / close before) of the ex-dates;
- unknown: jumps without a cause, and what remains: the company's own diffusion and drift, the rounding to cents.

The cause is the part that took the most. Equal ones are decided in the order of `CAUSES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from trading_pipeline.providers.simulated.draws import Floats, Ints, summed_runs
from trading_pipeline.providers.simulated.market import (
    BID_CALM,
    FAILING_TURBULENCE,
    MACRO_REBOUND,
    REBOUND_PERSISTENCE,
    Cause,
)
from trading_pipeline.providers.simulated.newsroom import Newsroom

CAUSES: Final = ("earnings", "company", "macro", "sector", "ex_dividend", "unknown")


@dataclass(frozen=True)
class Falls:
    """One element a dip: the company, the positions of the high's session and of the session judged."""

    company: Ints
    high: Ints
    now: Ints


def parts_of(newsroom: Newsroom, falls: Falls) -> tuple[Floats, Floats]:
    """(fall, parts in the order of `CAUSES` x dips); log, negative where the price was taken down; they add up."""
    market, slot = newsroom.books.market, newsroom.books.character.slot[falls.company]
    high, now = falls.high, falls.now
    jumps = {cause: _jumps(newsroom, cause, falls) for cause in Cause}
    factors = market.market_factor[: market.horizon], market.sector_factor[:, : market.horizon]
    macro, of_sector = moved(newsroom, falls, *factors)
    macro += jumps[Cause.MACRO] + _given_back(newsroom, falls)
    of_sector += jumps[Cause.SECTOR]
    paid = market.payouts[slot, now] - market.payouts[slot, high]
    fall = np.log(market.close[slot, now] * market.splits[slot, now])
    fall -= np.log(market.close[slot, high] * market.splits[slot, high])
    known = jumps[Cause.EARNINGS], jumps[Cause.COMPANY], macro, of_sector, paid
    return fall, np.stack([*known, fall - np.sum(known, axis=0)])


def moved(newsroom: Newsroom, falls: Falls, market_factor: Floats, sector_factor: Floats) -> tuple[Floats, Floats]:
    """What the market's factor (sessions) and the sectors' (sectors x sessions) moved each price by, log."""
    character, company = newsroom.books.character, falls.company
    announced, magnified = _ends(newsroom, falls)

    def taken(factor: Floats, row: Ints | None) -> Floats:
        summed = np.cumsum(factor, axis=-1)

        def between(low: Ints, high: Ints) -> Floats:
            return np.asarray(summed[high] - summed[low] if row is None else summed[row, high] - summed[row, low])

        early = between(np.minimum(falls.high, announced), np.minimum(falls.now, announced))
        ending = falls.now > announced
        late = between(*(np.where(ending, np.maximum(each, announced), 0) for each in (falls.high, falls.now)))
        return early + magnified * late

    of_market = character.traits.beta[company] * taken(market_factor, None)
    return of_market, character.traits.sector_beta[company] * taken(sector_factor, character.sector[company])


def causes_of(parts: Floats) -> Ints:
    """Index into `CAUSES` of the part that took the most."""
    return np.asarray(np.argmin(parts, axis=0))


def shock_log(newsroom: Newsroom) -> tuple[Ints, Ints, Ints, Floats]:
    """Company, position, cause and log size of every planted shock."""
    position, slot, cause, size = newsroom.books.market.shocks.columns(4)
    position, slot = position.astype(np.int64), slot.astype(np.int64)
    return newsroom.books.company_at(slot, position), position, cause.astype(np.int64), size


def _jumps(newsroom: Newsroom, cause: Cause, falls: Falls) -> Floats:
    """Sum of the jumps of a cause after the high's session and up to now."""
    company, position, causes, size = shock_log(newsroom)
    span = len(newsroom.books.market.sessions)
    key = (company * span + position)[causes == cause]
    order = np.argsort(key, kind="stable")
    low, high = (np.searchsorted(key[order], falls.company * span + each, "right") for each in (falls.high, falls.now))
    return summed_runs(size[causes == cause][order], low, high)


def _given_back(newsroom: Newsroom, falls: Falls) -> Floats:
    """What of the market's shocks came back between the high and now."""
    company, position, cause, size = shock_log(newsroom)
    announced, magnified = _ends(newsroom, falls)
    total = np.zeros(len(falls.company))
    for shock in np.unique(position[cause == Cause.MACRO]).tolist():
        felt = np.zeros(len(newsroom.books.first))
        of_shock = (cause == Cause.MACRO) & (position == shock)
        felt[company[of_shock]] = size[of_shock]

        def returned(until: Ints, since: int = shock) -> Floats:
            return np.asarray(1 - REBOUND_PERSISTENCE ** np.maximum(until - since, 0))

        early = returned(np.minimum(falls.now, announced)) - returned(np.minimum(falls.high, announced))
        late = returned(np.maximum(falls.now, announced)) - returned(np.maximum(falls.high, announced))
        total -= MACRO_REBOUND * felt[falls.company] * (early + magnified * late)
    return total


def _ends(newsroom: Newsroom, falls: Falls) -> tuple[Ints, Floats]:
    """When the end of each company is announced, and by how much its moves are damped or magnified from then on."""
    acquired = np.array([each.ending == "acquired" for each in newsroom.books.market.register.companies])
    magnified = np.where(acquired[falls.company], BID_CALM, FAILING_TURBULENCE)
    return newsroom.books.announced[falls.company], magnified
