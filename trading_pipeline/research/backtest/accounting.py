"""The accounting of a backtest by vectorbt's `Portfolio`, which the walk's own must equal.

What belongs here: handing fills to vectorbt and comparing. What does not: making fills (`execution.py`), statistics:
vectorbt's default year of 365 days inflates a Sharpe ratio by a fifth.

vectorbt knows neither borrow nor haircuts: those debits are subtracted from what it comes to. It takes one order a name
and row, so that a session has as many rows as phases that something was filled in; a price already holds its slippage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from trading_pipeline.research.backtest.book import INTRADAY
from trading_pipeline.research.backtest.record import Days
from trading_pipeline.research.panel import Floats, Integers

TOLERANCE = 1e-9
"""Largest difference between the two accounts, as a share of the equity."""

_PHASES = INTRADAY + 1


class AccountingError(RuntimeError):
    """vectorbt comes to another value than the walk: a fault of the backtest, never of what is told to it."""


@dataclass(frozen=True)
class Accounts:
    """Money at the close of each session from the start on, debits subtracted."""

    equity: Floats
    cash: Floats


def checked_by_vectorbt(orders: pl.DataFrame, last: Floats, days: Days, capital: float, start: int) -> Accounts:
    """The walk's accounts; `AccountingError` where vectorbt's of the same fills differ by more than TOLERANCE.

    The walk's, because vectorbt's last digits depend on what it is lent, and so on fills that are yet to come: a
    session that is added must not move those before it.

    orders: as `Orders.frame` tells them. last: sessions x instruments, what positions are valued at. start: row of the
    first session.
    """
    rows = len(last)
    debits = np.cumsum(days.borrow + days.haircut)
    if orders.is_empty():
        equity = cash = np.full(rows, capital)
    else:
        equity, cash = _vectorbt(orders, last, capital, start)
    told = Accounts(days.equity[start:], days.cash[start:])
    equity, cash = (equity - debits)[start:], (cash - debits)[start:]
    for name, theirs, ours in (("equity", equity, told.equity), ("cash", cash, told.cash)):
        off = np.abs(theirs - ours) / np.maximum(np.abs(told.equity), 1e-300)
        if not (off <= TOLERANCE).all():
            row = int(np.argmax(~(off <= TOLERANCE)))
            raise AccountingError(
                f"the {name} of the backtest is {ours[row]!r} and by vectorbt {theirs[row]!r}, {row} sessions after "
                f"its first: report it with the configuration and the data's as-of"
            )
    return told


def _vectorbt(orders: pl.DataFrame, last: Floats, capital: float, start: int) -> tuple[Floats, Floats]:
    """Value and cash by session, before debits, rows before `start` left at the capital."""
    import vectorbt

    moment = orders["row"].to_numpy() * _PHASES + orders["phase"].to_numpy()
    sessions = np.arange(start, len(last)) * _PHASES
    moments = np.union1d(moment, sessions)
    columns, place = np.unique(orders["column"].to_numpy(), return_inverse=True)
    at = np.searchsorted(moments, moment)
    size = np.full((len(moments), len(columns)), np.nan)
    size[at, place] = orders["shares"].to_numpy()
    price = np.full(size.shape, np.nan)
    price[at, place] = orders["price"].to_numpy()
    fees = np.zeros(size.shape)
    value = np.abs(orders["shares"].to_numpy() * orders["price"].to_numpy())
    fees[at, place] = orders["fees"].to_numpy() / value
    # Before a name's first bar nothing of it is held, and any price will do.
    close = np.nan_to_num(last[moments // _PHASES][:, columns], nan=1.0)
    credit = _credit(orders, at, capital)
    portfolio = vectorbt.Portfolio.from_orders(
        close,
        size=size,
        price=price,
        fees=fees,
        slippage=0.0,
        init_cash=capital + credit,
        cash_sharing=True,
        group_by=True,
        direction="both",
        freq="1D",
        engine="numba",
    )
    ends: Integers = np.searchsorted(moments, sessions + _PHASES) - 1
    equity, cash = np.full((2, len(last)), capital)
    equity[start:] = np.asarray(portfolio.value(), dtype=np.float64).ravel()[ends] - credit
    cash[start:] = np.asarray(portfolio.cash(), dtype=np.float64).ravel()[ends] - credit
    return equity, cash


def _credit(orders: pl.DataFrame, moment: Integers, capital: float) -> float:
    """What is lent to vectorbt, and taken off again: it fills only what its cash suffices for, order by order.

    Nothing where only long positions are held on the account's own money: there vectorbt itself proves that the cash
    sufficed. With shorts, purchases that cover may come before the sales that pay for them within one phase.
    """
    shares = orders.select(pl.col("shares").cum_sum().over("column"))["shares"].to_numpy()
    spent = orders.select(pl.col("shares") * pl.col("price") + pl.col("fees")).to_series().to_numpy()
    least = capital - float(np.cumsum(np.bincount(moment, weights=spent)).max())
    if least >= -TOLERANCE * capital and (shares >= 0).all():
        return 0.0
    bought = np.bincount(moment, weights=np.maximum(spent, 0.0))
    return 2 * (capital + max(-least, 0.0) + float(bought.max()))
