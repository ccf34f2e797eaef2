"""How often the true cause of a dip could have been found: the reference finder.

What belongs here: the examiner's own finder, which bounds all others. No finder may read it.

Of the news the reference finder sees what was told by the session judged and nothing else: for each jump of a company's
own, whether a headline named the company with bad news from the jump's session to three sessions after it. All else it
is given beyond what anybody could read: betas and volatilities of every company, the session and size of every jump
(earnings, and all others of the company's own), ex-dividend drops, and the rates and sizes by which shocks, their
articles, the mishaps of the press and its false alarms are drawn. It is not told which jumps of a company's own have a
cause: it weighs every assignment of them by Bayes' rule and names the cause that is most probably the largest part.

There are two of it, by what it knows of the factors:

- the *ceiling* reads the moves of market and sectors from the prices of the session: with true betas and volatilities,
  from all companies at once, their jumps taken out, by generalised least squares with Student weights. Nobody knows
  these inputs, and estimates from fewer of them are worse; that it takes the estimate for the truth instead of
  integrating over its error costs it at most some dips whose two largest parts are nearly equal;
- the *bound* is given the factors exactly. No finder is right more often over all dips.

Both leave out what stories told of other companies, or of the market, might say of a shock whose story was
misattributed (5 % of them), and weigh two jumps of one quarter together only within the fall. A finder that favours a
cause can beat either on that cause alone, and pays for it on the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from trading_pipeline.providers.simulated.causes import CAUSES, Falls, moved, shock_log
from trading_pipeline.providers.simulated.companies import SECTORS
from trading_pipeline.providers.simulated.draws import Floats, Ints
from trading_pipeline.providers.simulated.environment import SECTOR_VOLATILITY, TYPICAL_VOLATILITY
from trading_pipeline.providers.simulated.market import (
    CAUSELESS_FALL,
    CAUSELESS_SHOCK_CHANCE,
    COMPANY_FALL,
    COMPANY_FALLS_SHARE,
    COMPANY_SHOCK_CHANCE,
    Cause,
)
from trading_pipeline.providers.simulated.newsroom import ALARM_RATE, LATE, LATE_BY, MISATTRIBUTED, MISSING, Newsroom

_DEGREES: Final = 4.0  # of freedom, of the companies' own moves
_SECTOR_WIDTH: Final = 1.4
"""Standard deviation of a sector's move in the prior, in those of its daily draws: a sector also drifts for quarters.
Of 0.5 to 3 this gave the most right findings (90.9 %; 90.8 % at 1, 90.7 % at 2)."""
_PASSES: Final = 4  # of reweighting; the last one moves the estimates by 7e-5 on average


def readable_parts(newsroom: Newsroom, falls: Falls, parts: Floats) -> Floats:
    """`parts` with macro and sector as all prices together show them; what that moves goes to unknown."""
    macro, sector, unknown = (CAUSES.index(name) for name in ("macro", "sector", "unknown"))
    seen = parts.copy()
    seen[macro], seen[sector] = moved(newsroom, falls, *factors_read(newsroom))
    seen[unknown] -= seen[macro] - parts[macro] + seen[sector] - parts[sector]
    return seen


@np.errstate(divide="ignore", invalid="ignore")
def factors_read(newsroom: Newsroom) -> tuple[Floats, Floats]:
    """Moves of the market (sessions) and of the sectors (sectors x sessions), shocks included, read from all prices.

    On each session: return = beta x market + sector beta x sector + own, own with Student weights, the sector's move
    drawn towards 0 by its volatility. The market follows in closed form once the sectors are integrated out.
    """
    books, horizon = newsroom.books, newsroom.books.market.horizon
    market, character = books.market, books.character
    slots, sessions = np.arange(market.slots)[:, None], np.arange(horizon)
    company = books.company_at(slots, sessions[None, :])
    level = np.log(market.close[: market.slots, :horizon] * market.splits[: market.slots, :horizon])
    returns = np.diff(level - market.payouts[: market.slots, :horizon], axis=1, prepend=np.nan)
    whose, position, cause, size = shock_log(newsroom)
    own = (cause != Cause.MACRO) & (cause != Cause.SECTOR) & (position < horizon)
    np.subtract.at(returns, (character.slot[whose[own]], position[own]), size[own])
    known = np.isfinite(returns) & (company >= 0)
    known[:, 1:] &= company[:, 1:] == company[:, :-1]
    known &= sessions <= books.announced[company]
    returns = np.where(known, returns, 0.0)
    beta, sector_beta, volatility = (
        np.where(known, getattr(character.traits, name)[company], 1.0) for name in ("beta", "sector_beta", "volatility")
    )
    swing = market.market_volatility[:horizon]
    prior = (_SECTOR_WIDTH * SECTOR_VOLATILITY) ** 2 * swing / TYPICAL_VOLATILITY
    groups = [known & (character.sector[company] == sector) for sector in range(len(SECTORS))]

    def by_sector(values: Floats) -> Floats:
        return np.stack([np.where(group, values, 0.0).sum(axis=0) for group in groups])

    weight = np.where(known, 1 / volatility**2, 0.0)
    spread = np.broadcast_to(prior, (len(SECTORS), horizon))
    for _ in range(_PASSES):
        crossed, within = by_sector(weight * beta * sector_beta), by_sector(weight * sector_beta**2) + 1 / spread
        answer = by_sector(weight * sector_beta * returns)
        precision = by_sector(weight * beta**2) - crossed**2 / within
        of_market = (by_sector(weight * beta * returns) - crossed * answer / within).sum(axis=0) / precision.sum(axis=0)
        of_market = np.nan_to_num(of_market)
        of_sector = (answer - crossed * of_market) / within
        # A sector's shock is far outside its ordinary moves: it must not be drawn towards 0.
        spread = np.maximum(prior, of_sector**2)
        left = returns - beta * of_market - sector_beta * of_sector[character.sector[company], sessions]
        weight = np.where(known, (_DEGREES + 1) / (_DEGREES + (left / volatility) ** 2) / volatility**2, 0.0)
    return of_market, of_sector


def reference_finder(newsroom: Newsroom, falls: Falls, parts: Floats) -> Ints:
    """The most probable cause of each dip, an index into `CAUSES`; `parts` (as of `parts_of`) are what it believes.

    Which part holds the jumps of company and unknown is not read: their sum is, and each jump is assigned anew.
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


def _own_jumps(newsroom: Newsroom) -> _OwnJumps:
    company, position, cause, size = shock_log(newsroom)
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
