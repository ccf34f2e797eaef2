"""Why prices truly fell, exactly, and how often the best finder could have known.

What belongs here: the examiner's answers about dips. No finder may read them.

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
    CAUSELESS_FALL,
    CAUSELESS_SHOCK_CHANCE,
    COMPANY_FALL,
    COMPANY_FALLS_SHARE,
    COMPANY_SHOCK_CHANCE,
    FAILING_TURBULENCE,
    MACRO_REBOUND,
    REBOUND_PERSISTENCE,
    Cause,
)
from trading_pipeline.providers.simulated.newsroom import ALARM_RATE, LATE, LATE_BY, MISATTRIBUTED, MISSING, Newsroom

CAUSES: Final = ("earnings", "company", "macro", "sector", "ex_dividend", "unknown")


@dataclass(frozen=True)
class Falls:
    """One element a dip: the company, the positions of the high's session and of the session judged."""

    company: Ints
    high: Ints
    now: Ints


def parts_of(newsroom: Newsroom, falls: Falls) -> tuple[Floats, Floats]:
    """(fall, parts in the order of `CAUSES` x dips); log, negative where the price was taken down; they add up."""
    books = newsroom.books
    market, traits, sector = books.market, books.character.traits, books.character.sector[falls.company]
    company, high, now = falls.company, falls.high, falls.now
    slot = books.character.slot[company]
    acquired = np.array([each.ending == "acquired" for each in market.register.companies])[company]
    announced = books.announced[company]
    magnified = np.where(acquired, BID_CALM, FAILING_TURBULENCE)

    def between(before: Floats, until: Floats, high_end: Floats, now_end: Floats) -> Floats:
        """What a sum rises by from the high to now; beyond an announced end moves are damped or magnified."""
        return np.asarray(until - before + magnified * (now_end - high_end))

    def diffused(factor: Floats, row: Ints | None) -> Floats:
        summed = np.cumsum(factor, axis=-1)

        def at(position: Ints) -> Floats:
            return np.asarray(summed[position] if row is None else summed[row, position])

        early = at(np.minimum(high, announced)), at(np.minimum(now, announced))
        late_high, late_now = (np.where(now > announced, np.maximum(each, announced), 0) for each in (high, now))
        return between(*early, at(late_high), at(late_now))

    jumps = {cause: _jumps(newsroom, cause, falls) for cause in Cause}
    macro = traits.beta[company] * diffused(market.market_factor[: market.horizon], None) + jumps[Cause.MACRO]
    macro += _given_back(newsroom, falls, announced, magnified)
    of_sector = traits.sector_beta[company] * diffused(market.sector_factor[:, : market.horizon], sector)
    of_sector += jumps[Cause.SECTOR]
    paid = market.payouts[slot, now] - market.payouts[slot, high]
    fall = np.log(market.close[slot, now] * market.splits[slot, now])
    fall -= np.log(market.close[slot, high] * market.splits[slot, high])
    known = jumps[Cause.EARNINGS], jumps[Cause.COMPANY], macro, of_sector, paid
    return fall, np.stack([*known, fall - np.sum(known, axis=0)])


def causes_of(parts: Floats) -> Ints:
    """Index into `CAUSES` of the part that took the most."""
    return np.asarray(np.argmin(parts, axis=0))


def reference_finder(newsroom: Newsroom, falls: Falls, parts: Floats) -> Ints:
    """The cause that the reference finder names, an index into `CAUSES`.

    It is given more than anybody could read from prices and the calendar: every part of the fall exactly (betas, the
    factors, diffusion apart from jumps), the sessions and sizes of all earnings jumps, and session and size of every
    other jump of the company's own. One thing it is not told: which of those jumps have a cause. For that it has
    their sizes, the rates of the generating model, and the articles that are told by the session judged: whether a
    headline names the company with an event of that direction from the jump's session to three sessions after it.
    It weighs every assignment of the jumps by its probability and names the cause that is most probably the largest.

    That is Bayes' rule on more than the told facts, so no finder is right more often over all dips, but for this: it
    does not search other companies' headlines, or the market's, for stories that were misattributed (5 % of the
    shocks of companies), and weighs shocks of one company in one quarter together only within the fall. A finder
    that favours a cause can beat it on that cause alone and pays on the others.
    """
    market, company = newsroom.books.market, falls.company
    jump = _own_jumps(newsroom)
    low = np.searchsorted(jump.key, company * jump.span + falls.high, "right")
    count = np.searchsorted(jump.key, company * jump.span + falls.now, "right") - low
    most = int(count.max(initial=0))
    index = np.minimum(low[:, None] + np.arange(most), max(len(jump.key) - 1, 0))
    there = np.arange(most) < count[:, None]
    size = np.where(there, jump.size[index], 0.0) if most else np.zeros((len(low), 0))
    chance = np.where(there, _chance_of_company(newsroom, falls, jump, index, there), 0.0) if most else size
    quarter = np.searchsorted(market.bounds, jump.position[index], "right") if most else np.zeros(size.shape)

    labels = (np.arange(1 << most)[:, None] >> np.arange(most)) & 1
    weight = np.ones((len(low), 1 << most))
    for each in range(most):
        weight *= np.where(labels[:, each], chance[:, each : each + 1], 1 - chance[:, each : each + 1])
        for other in range(each):
            # A quarter holds at most one shock of either kind per company.
            same = there[:, each] & there[:, other] & (quarter[:, each] == quarter[:, other])
            weight *= ~(same[:, None] & (labels[:, each] == labels[:, other]))
    of_company = size @ labels.T
    rest = parts[CAUSES.index("company")] + parts[CAUSES.index("unknown")]
    probability = np.zeros((len(CAUSES), len(low)))
    fixed = [parts[CAUSES.index(name)][:, None] for name in ("earnings", "macro", "sector", "ex_dividend")]
    shape = weight.shape
    stacked = [np.broadcast_to(each, shape) for each in (fixed[0], of_company, *fixed[1:], rest[:, None] - of_company)]
    leading = np.argmin(np.stack(stacked), axis=0)
    for cause in range(len(CAUSES)):
        probability[cause] = (weight * (leading == cause)).sum(axis=1)
    return np.asarray(np.argmax(probability, axis=0))


@dataclass(frozen=True)
class _OwnJumps:
    """Jumps with the cause company or none, by company and position; `key` is company x `span` + position."""

    key: Ints
    position: Ints
    size: Floats
    span: int


def _log(newsroom: Newsroom) -> tuple[Ints, Ints, Ints, Floats]:
    """Company, position, cause and log size of every planted shock."""
    position, slot, cause, size = newsroom.books.market.shocks.columns(4)
    position, slot = position.astype(np.int64), slot.astype(np.int64)
    return newsroom.books.company_at(slot, position), position, cause.astype(np.int64), size


def _jumps(newsroom: Newsroom, cause: Cause, falls: Falls) -> Floats:
    """Sum of the jumps of a cause after the high's session and up to now."""
    company, position, causes, size = _log(newsroom)
    span = len(newsroom.books.market.sessions)
    key = (company * span + position)[causes == cause]
    order = np.argsort(key, kind="stable")
    low, high = (np.searchsorted(key[order], falls.company * span + each, "right") for each in (falls.high, falls.now))
    return summed_runs(size[causes == cause][order], low, high)


def _given_back(newsroom: Newsroom, falls: Falls, announced: Ints, magnified: Floats) -> Floats:
    """What of the market's shocks came back between the high and now."""
    company, position, cause, size = _log(newsroom)
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


def _own_jumps(newsroom: Newsroom) -> _OwnJumps:
    company, position, cause, size = _log(newsroom)
    own = (cause == Cause.COMPANY) | (cause == Cause.NONE)
    span = len(newsroom.books.market.sessions)
    key = (company * span + position)[own]
    order = np.argsort(key, kind="stable")
    return _OwnJumps(key[order], position[own][order], size[own][order], span)


def _chance_of_company(newsroom: Newsroom, falls: Falls, jump: _OwnJumps, index: Ints, there: np.ndarray) -> Floats:
    """Probability, dips x jumps, that a jump has a cause, by its size and by what is told by the session judged."""
    position, size = jump.position[index], -jump.size[index]
    company_low, company_scale, _ = COMPANY_FALL
    causeless_low, causeless_scale, causeless_high = CAUSELESS_FALL
    caused = COMPANY_SHOCK_CHANCE * COMPANY_FALLS_SHARE * _density(size, company_low, company_scale)
    causeless = CAUSELESS_SHOCK_CHANCE * _density(size, causeless_low, causeless_scale)
    # Rises always have a cause, and nothing without one takes more than its limit.
    certain = (size < 0) | (size > causeless_high)

    since = np.clip(falls.now[:, None] - position, 0, LATE_BY)
    untold = MISSING + MISATTRIBUTED + LATE * (LATE_BY - since) / LATE_BY
    quiet = np.exp(-ALARM_RATE * (since + 1))
    heard = _heard(newsroom, falls, position, since, there)
    caused = caused * np.where(heard, 1 - untold * quiet, untold * quiet)
    causeless = causeless * np.where(heard, 1 - quiet, quiet)
    with np.errstate(invalid="ignore"):
        chance = caused / (caused + causeless)
    return np.where(certain, 1.0, np.nan_to_num(chance))


def _density(size: Floats, low: float, scale: float) -> Floats:
    return np.where(size >= low, np.exp(-(size - low) / scale) / scale, 0.0)


def _heard(newsroom: Newsroom, falls: Falls, position: Ints, since: Ints, there: np.ndarray) -> np.ndarray:
    """Whether a headline spoke of bad news of the company from a jump's session on, dips x jumps."""
    if not there.any():
        return np.zeros(there.shape, dtype=bool)
    span = len(newsroom.books.market.sessions)
    articles = newsroom.articles(int(position[there].min()), int(falls.now.max()))
    alarms = articles.filter((articles["alarm"] < 0) & articles["article_id"].is_not_null())
    key = np.sort(alarms["company"].to_numpy() * span + alarms["told"].to_numpy())
    at = falls.company[:, None] * span + position
    return np.asarray(np.searchsorted(key, at + since, "right") > np.searchsorted(key, at, "left"))
