"""How many shares of what is wished: weights over all names, or each entry by its risk.

What belongs here: target shares from what is known at one close. What does not: how weights are found
(`research/allocation` provides an `Allocator`), the limits of one entry (`research/risk`), fills.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
import polars as pl

from trading_pipeline.research.allocation.limits import within_limits
from trading_pipeline.research.allocation.weights import weights
from trading_pipeline.research.backtest.configuration import Allocation
from trading_pipeline.research.panel import Floats, Integers, Mask
from trading_pipeline.research.risk import Account, Limits, sized

Allocator: TypeAlias = Callable[[Floats], Floats]
"""Weights of names from their trailing returns.

It gets sessions x names, the last row of the session that decides: close-to-close returns of the position that is
wished, so the negative ones of the price for a short, NaN where there was no bar, never all of a name. It returns one
weight a name: 0 or above, 1 in all at most.
"""


def allocator_of(limits: Allocation) -> Allocator:
    """The weights of `research/allocation` by the configured method.

    It is told the largest position, which mean-variance weights are optimal under; all limits are applied again to
    what the positions are wished to be (`target_weights`).
    """
    return partial(weights, limits.method, maximum_position=min(limits.maximum_position / limits.gross_exposure, 1.0))


def target_weights(
    allocator: Allocator, returns: Floats, wishes: Floats, limits: Allocation, available: float
) -> Floats:
    """Share of equity of each name: the allocator's weights times what each position is wished to be, within limits.

    returns: as an `Allocator` takes them. wishes: `SignalResult.weight` of each entry; they shift weight between names
    in their ratio, and where they ask for less in all than the allocator gave, the rest stays cash. available: share
    of equity for all of them. `ValueError` where the allocator's answer is none.
    """
    given = np.asarray(allocator(returns), dtype=np.float64)
    names = returns.shape[1]
    if given.shape != (names,) or not np.isfinite(given).all() or (given < 0).any() or given.sum() > 1 + 1e-6:
        raise ValueError(f"weights must be {names} finite numbers of 0 or more, 1 in all at most")
    wished = given * wishes
    gross = float(min(given.sum(), wished.sum())) * available
    return within_limits(wished, gross, limits.minimum_position, limits.maximum_position)


def within_turnover(held: Floats, target: Floats, last: Floats, equity: float, limit: float | None) -> Floats:
    """Targets in whole shares, as far from what is held towards what is wished as half of the trading may be.

    held, target: signed shares; last: prices; limit: share of equity, None for no limit.
    """
    traded = float((np.abs(target - held) * last).sum()) / 2 / equity
    if limit is None or traded <= limit:
        return target
    return held + np.trunc((target - held) * (limit / traded))


def sized_by_risk(
    names: Sequence[str],
    sides: Floats,
    last: Floats,
    distance: Floats,
    confidence: Floats,
    sectors: Floats | None,
    account: Account,
    limits: Limits,
) -> tuple[Floats, list[str | None], list[str | None]]:
    """Whole shares of each entry, 0 where refused, and by what and why it was refused.

    One element an entry: side (1 or -1), price, distance of its stop (NaN: none), confidence, code of its sector (NaN:
    unknown). The clearest entry comes first; of equally clear ones the first by id. Prices are those of the panel, so
    whole shares and ticks are those of its total-return basis.
    """
    order = np.lexsort((np.array(names), -confidence))
    unknown = np.full(len(order), np.nan)
    stop = last * (1 - sides * distance)
    candidates = pl.DataFrame(
        [
            pl.Series("instrument_id", [names[place] for place in order], dtype=pl.String),
            pl.Series("side", np.where(sides[order] > 0, "long", "short").tolist(), dtype=pl.String),
            pl.Series("entry", last[order]),
            pl.Series("stop", stop[order], nan_to_null=True),
            sector_names((unknown if sectors is None else sectors)[order]).alias("sector"),
            pl.Series("strength", confidence[order]),
        ]
    )
    told = sized(candidates, account, limits)
    back = np.argsort(order)
    quantity, by, because = (told[name].to_numpy()[back] for name in ("quantity", "refused_by", "refused_because"))
    return quantity.astype(np.float64), by.tolist(), because.tolist()


def account_of(
    names: Sequence[str],
    equity: float,
    buying_power: float,
    held: Integers,
    risk: Floats,
    sectors: Floats | None,
) -> Account:
    """The account as sizing sees it: held: columns of positions and open entries; risk: money lost at their stops."""
    codes = np.full(len(held), np.nan) if sectors is None else sectors[held]
    frame = pl.DataFrame(
        [
            pl.Series("instrument_id", [names[column] for column in held], dtype=pl.String),
            sector_names(codes).alias("sector"),
            pl.Series("risk", risk, dtype=pl.Float64),
        ]
    )
    return Account.of(equity, max(buying_power, 0.0), held=frame)


def sector_names(codes: Floats) -> pl.Series:
    """Codes as text; null where unknown: names without a sector count as one sector."""
    numbers = pl.Series(codes, dtype=pl.Float64, nan_to_null=True)
    return numbers.cast(pl.Int64).cast(pl.String)


def opening_shares(
    wished: Floats, mark: Floats, price: Floats, fees: float, budget: float, limit: float
) -> tuple[Floats, Mask]:
    """What of the wished openings the account can carry, whole shares, and which of them were cut.

    wished: signed shares; mark: open prices, which positions are valued at; price: what a share is filled at; budget:
    `limit` x equity less the gross exposure, before the fills. All are cut by the same factor, so that afterwards
    gross exposure is at most `limit` x equity, costs paid. With a limit of 1 and no shorts that is: the cash suffices.
    """
    need = mark + limit * (np.abs(price - mark) + price * fees)
    total = float((np.abs(wished) * need).sum())
    if total <= budget:
        return wished, np.zeros(len(wished), dtype=np.bool_)
    ratio = max(budget, 0.0) / total
    # A hair more, where that is affordable: rounding must not take a share from who can have exactly so many.
    possible = np.trunc(wished * ratio * (1 + 1e-12))
    if float((np.abs(possible) * need).sum()) > budget:
        possible = np.trunc(wished * ratio * (1 - 1e-12))
    return possible, possible != wished
