"""How many shares of each wished entry the limits allow: one function for the live loop and for backtests.

What belongs here: sizes, limits, and which limit said no. What does not: which entries are wished, where their stops
lie (`levels.py`), placing orders.

*Size*: risk_per_trade x equity x factor of the environment x factor of the edges, divided by the distance from entry to
stop, and no more than the largest position, the wished share, the buying power, and what the day, the sector and the
open heat have left. A limit that has something left scales an entry down to it; an entry is refused where that is less
than a lot or than the smallest position. First come, first served: what an entry takes, those after it lack.

*Never flattering*: the stop is rounded to a tick away from the entry, the target towards it, and reward-to-risk is
judged on what comes out. A stop nearer than `least_stop_distance` counts as that far away; it is not refused for it, so
that a farther stop never means more shares. A held name's risk below 0, a stop that locks in a profit, counts as 0.
Names without a sector count as one sector.

*Exact*: all sums are of whole millionths of the currency, so that no limit is passed by rounding; the limits themselves
are rounded down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from trading_pipeline.research.money import MICROS, Money, micros
from trading_pipeline.research.panel import Floats, Integers, Mask
from trading_pipeline.research.risk.account import Account
from trading_pipeline.research.risk.allocation import SHARED, Allocation, Left, Wishes, allocate
from trading_pipeline.research.risk.checks import Prices, Words, nothing_said, number_words, prices_of, refusals, worded
from trading_pipeline.research.risk.entries import MOST, Column, Entries, entries_of
from trading_pipeline.research.risk.limits import Limits

_WORDS = {
    "risk_per_trade": "The risk of one trade",
    "largest_position": "The largest position",
    "wished_size": "The wished size",
    "buying_power": "The buying power",
    "risk_per_day": "The risk of the day",
    "risk_per_sector": "The risk of its sector",
    "open_heat": "The open heat",
}


def allowed_share(wished: pl.Expr, limits: Limits, *, with_stop: bool) -> pl.Expr:
    """The wished share of equity, no larger than the largest position that is allowed with (without) a protective stop.

    A missing wish is the largest. What the dip desk recommends passes through here; `sized` holds its arrays to the
    same limits.
    """
    position = limits.position
    return pl.min_horizontal(wished, position.largest_share if with_stop else position.largest_share_without_stop)


def sized(candidates: pl.DataFrame, account: Account, limits: Limits, by: Sequence[str] = ()) -> pl.DataFrame:
    """`candidates`, in their order, with what may be bought or sold short.

    candidates: one row an entry, the most wanted first: [instrument_id, side (long or short), entry, stop], and where
        there are any [*by, sector, target, environment (A to D), edges (independent edges that agree), strength (0 to
        1), size (wished share of equity)]. Prices as traded, in the market's currency. Null may be: sector, target,
        environment (as bad as weak), edges (one), size (no wish). Strength must be above 0, and does not scale: a
        signal is strong or weak by the environment already, which would count twice.
    account: see `Account`. by: columns that tell accounts or sessions apart; each group is sized for itself.

    Beside the columns of `candidates`: stop and target on ticks; quantity (0 where refused); risk, money lost where the
    stop holds, `least_stop_distance` at least; position_value; reward_to_risk, null without a target; limited_by, the
    shared limit that made an entry smaller than its own size, null where none did; refused_by, null where taken, else
    inputs, account, short_selling, held, environment, reward_to_risk, risk_per_trade, largest_position, wished_size,
    buying_power, risk_per_day, risk_per_sector or open_heat, the first that speaks against it; refused_because, one
    line.

    Raises `ValueError` where a column is missing or an account is there twice.
    """
    entries = entries_of(candidates, account, list(by))
    prices = prices_of(entries, limits)
    factor = _factor(entries, limits)
    refused, refused_by, refused_because = refusals(entries, prices, factor, limits)
    quantity, limited_by = np.zeros(candidates.height, dtype=np.int64), nothing_said(candidates.height)
    asked = np.flatnonzero(~refused)
    if len(asked):
        own = _own_limits(entries, prices, factor, asked, limits)
        allocation = _allocation(entries, prices, own, asked, limits)
        quantity[asked] = allocation.quantity
        limit = np.where(allocation.quantity > 0, allocation.limit, -1)
        limited_by[asked] = np.array([*SHARED, None], dtype=np.object_)[limit]
        refused_by[asked], refused_because[asked] = _want_of_shares(own, allocation)
    told = [
        _numbers("stop", np.where(prices.has_stop, prices.stop / MICROS, entries.stop.values), entries.stop.missing),
        _numbers(
            "target", np.where(prices.has_target, prices.target / MICROS, entries.target.values), entries.target.missing
        ),
        pl.Series("quantity", quantity),
        pl.Series("risk", quantity * prices.risk / MICROS),
        pl.Series("position_value", quantity * prices.entry / MICROS),
        pl.Series("reward_to_risk", prices.reward_to_risk, nan_to_null=True),
        *(
            pl.Series(name, words.tolist(), dtype=pl.String)
            for name, words in (
                ("limited_by", limited_by),
                ("refused_by", refused_by),
                ("refused_because", refused_because),
            )
        ),
    ]
    columns = {column.name: column for column in (*candidates.get_columns(), *told)}
    return pl.DataFrame(list(columns.values()))


def _numbers(name: str, values: Floats, missing: Mask) -> pl.Series:
    """A column, null where missing; NaN stays NaN."""
    column = pl.Series(name, values)
    return column.scatter(np.flatnonzero(missing), None) if missing.any() else column


def _factor(entries: Entries, limits: Limits) -> Floats:
    """What environment and edges leave of the risk of a trade, a factor; NaN where the environment is none."""
    factors, edges = limits.environment, entries.edges.values
    by_environment = np.where(entries.environment.missing, factors.unknown, np.nan)
    for side in ("long", "short"):
        of_side = entries.side.values == side
        for grade in "ABCD":
            graded = of_side & (entries.environment.values == grade)
            by_environment[graded] = getattr(factors, f"{side}_{grade.lower()}")
    by_edges = np.where(edges >= 2, limits.edges.two, limits.edges.one)
    return by_environment * np.where(edges >= 3, limits.edges.three, by_edges)


@dataclass(frozen=True)
class _OwnLimits:
    """What entries may have by themselves: shares, the limit that allows no more of them and what it leaves, in
    millionths, and the fewest shares that are worth taking.
    """

    shares: Integers
    tightest: Words
    money: Money
    least: Integers


def _own_limits(entries: Entries, prices: Prices, factor: Floats, asked: Integers, limits: Limits) -> _OwnLimits:
    """The limits of the entries at these places."""
    equity = entries.accounts.equity.values[entries.account[asked]].clip(0, MOST) * MICROS
    size, largest = entries.size.values[asked], limits.position.largest_share
    most_risk = np.floor(equity * limits.budget.risk_per_trade * factor[asked]).astype(np.int64)
    most_value = np.floor(equity * np.fmin(size, largest)).astype(np.int64)
    risk, value, lot = prices.risk[asked], prices.entry[asked], limits.market.lot
    by_risk, by_value = most_risk // risk, most_value // value
    parcels = -(-micros(limits.market.smallest_value) // (value * lot))
    return _OwnLimits(
        shares=np.minimum(by_risk, by_value),
        tightest=np.where(
            by_risk <= by_value, "risk_per_trade", np.where(size < largest, "wished_size", "largest_position")
        ).astype(np.object_),
        money=np.where(by_risk <= by_value, most_risk, most_value),
        least=np.maximum(parcels, 1) * lot,
    )


def _allocation(entries: Entries, prices: Prices, own: _OwnLimits, asked: Integers, limits: Limits) -> Allocation:
    """What each entry gets of those at these places, that nothing speaks against but want of money."""
    accounts, budget = entries.accounts, limits.budget

    def money(column: Column) -> Floats:
        return np.where(np.isfinite(column.values), column.values, 0.0).clip(0, MOST) * MICROS

    def whole(amount: Floats) -> Money:
        return np.floor(amount).astype(np.int64)

    equity, power = money(accounts.equity), money(accounts.buying_power)
    left = Left(
        buying_power=whole(power * budget.buying_power_used),
        risk_per_day=whole(equity * budget.risk_per_day) - np.ceil(money(accounts.day_risk)).astype(np.int64),
        risk_per_sector=whole(equity * budget.risk_per_sector)[entries.sector_account] - entries.sector_risk,
        open_heat=whole(equity * budget.open_heat) - accounts.heat,
        taken=entries.name_held,
    )
    wishes = Wishes(
        group=entries.account[asked],
        sector=entries.sector[asked],
        name=entries.name[asked],
        own=own.shares,
        least=own.least,
        risk=prices.risk[asked],
        value=prices.entry[asked],
    )
    return allocate(wishes, left, limits.market.lot)


def _want_of_shares(own: _OwnLimits, allocation: Allocation) -> tuple[Words, Words]:
    """refused_by and refused_because of the entries that get no shares; None of the others."""
    by, because = nothing_said(len(own.shares)), nothing_said(len(own.shares))
    by[allocation.taken], because[allocation.taken] = "held", "The name is taken by an entry before it."
    short = np.flatnonzero((allocation.quantity == 0) & ~allocation.taken)
    if len(short):
        shared = allocation.limit[short] >= 0
        by[short] = np.where(shared, np.array(SHARED, dtype=np.object_)[allocation.limit[short]], own.tightest[short])
        money = np.where(shared, allocation.left[short], own.money[short]) / MICROS
        because[short] = worded(
            "{} leaves {}: {} shares, and {} are the fewest.",
            [_WORDS[name] for name in by[short]],
            number_words(np.round(money, 2)),
            allocation.possible[short].tolist(),
            own.least[short].tolist(),
        )
    return by, because
