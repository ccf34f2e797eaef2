"""The book of one backtest: cash, positions, pending orders, the trades that they become.

What belongs here: what a fill, a stop or a debit does to the account, name by name in arrays. What does not: which
orders are wished (`sizing.py`, `execution.py`), the accounting that is checked against (`accounting.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.research.backtest.configuration import Costs, FixedSlippage, SpreadSlippage
from trading_pipeline.research.panel import Floats, Integers, Mask

REASONS = ("entry", "rebalance", "exit_signal", "stop", "left_universe", "delisted", "end")
ENTRY, REBALANCE, EXIT_SIGNAL, STOP, LEFT_UNIVERSE, DELISTED, END = range(len(REASONS))
CLOSING, OPENING, INTRADAY = range(3)
"""Phases of a session, in their order: what makes positions smaller at the open, what makes them larger, stops."""


@dataclass
class Orders:
    """Fills as they happen, one array a batch."""

    batches: list[dict[str, npt.NDArray[np.generic]]] = field(default_factory=list)

    def add(self, row: int, phase: int, **columns: npt.NDArray[np.generic]) -> None:
        """A batch of fills of one session and phase."""
        count = len(columns["column"])
        here = {"row": np.full(count, row, dtype=np.int64), "phase": np.full(count, phase, dtype=np.int64)}
        self.batches.append({**here, **columns})

    def frame(self) -> pl.DataFrame:
        """[row, phase, column, shares (signed), reference, price, fees, slippage, reason, decided], in time."""
        schema = {
            "row": pl.Int64, "phase": pl.Int64, "column": pl.Int64, "shares": pl.Float64, "reference": pl.Float64,
            "price": pl.Float64, "fees": pl.Float64, "slippage": pl.Float64, "reason": pl.Int64, "decided": pl.Int64,
        }  # fmt: skip
        return _stacked(self.batches, schema)


def _stacked(
    batches: list[dict[str, npt.NDArray[np.generic]]], schema: Mapping[str, type[pl.DataType]]
) -> pl.DataFrame:
    if not batches:
        return pl.DataFrame(schema=schema)
    return pl.DataFrame({name: np.concatenate([batch[name] for batch in batches]) for name in schema}, schema=schema)


def slippage_shares(costs: Costs, shares: Floats, volume: Floats) -> Floats:
    """By which share of its reference a fill is worse: shares and volume of the session, NaN: unknown, as if all."""
    told = costs.slippage
    if isinstance(told, FixedSlippage):
        return np.full(len(shares), told.bps / 1e4)
    if isinstance(told, SpreadSlippage):
        return np.full(len(shares), told.bps / 2e4)
    known = np.isfinite(volume) & (volume > 0)
    part = np.where(known, np.abs(shares) / np.where(known, volume, 1.0), 1.0)
    return np.asarray(told.impact * np.sqrt(part))


class Book:
    """One account; arrays have one element an instrument.

    shares: signed, whole. stop: price of the protective stop, NaN for none. since: row of the session in which the
    position was opened. target: shares that a pending order aims at, NaN for none; reason, decided, waited, opens: why,
    at which session's close, for how many sessions since, whether it makes the position larger or opens one.
    """

    def __init__(self, instruments: int, capital: float, costs: Costs) -> None:
        self.costs = costs
        self.cash = capital
        self.orders = Orders()
        self.trades: list[dict[str, npt.NDArray[np.generic]]] = []
        self.shares = np.zeros(instruments)
        self.stop = np.full(instruments, np.nan)
        self.distance = np.full(instruments, np.nan)
        self.since = np.full(instruments, -1, dtype=np.int64)
        self.opened, self.cost, self.closed, self.income, self.fees, self.debits = np.zeros((6, instruments))
        self.target = np.full(instruments, np.nan)
        self.reason = np.zeros(instruments, dtype=np.int64)
        self.decided, self.waited = np.full((2, instruments), -1, dtype=np.int64)
        self.entering = np.full(instruments, np.nan)
        """Stop distance of the entry that is pending."""

    # --- pending orders ---

    def order(self, columns: Integers, target: Floats, reason: Integers | int, row: int) -> None:
        """Pending orders to hold `target` shares, decided at the close of the row; they replace what was pending."""
        self.target[columns] = np.where(target == self.shares[columns], np.nan, target)
        self.reason[columns] = reason
        self.decided[columns] = row
        self.waited[columns] = 0

    def cancel(self, columns: Integers | Mask) -> None:
        """Nothing is pending there any more."""
        self.target[columns] = np.nan

    @property
    def pending(self) -> Mask:
        """Where an order waits."""
        return np.asarray(~np.isnan(self.target))

    @property
    def opening(self) -> Mask:
        """Where the waiting order makes a position larger, or opens one."""
        aims = np.where(self.pending, self.target, 0.0)
        return np.asarray(self.pending & ((np.abs(aims) > np.abs(self.shares)) | (aims * self.shares < 0)))

    # --- what happens ---

    def fill(
        self,
        row: int,
        phase: int,
        columns: Integers,
        shares: Floats,
        reference: Floats,
        slips: Floats,
        *,
        free: bool = False,
    ) -> None:
        """Fills at the reference price, worsened by `slips`; shares signed and not 0. free: without fees.

        A fill either makes positions smaller, to 0 at most, or makes them larger; it never turns one round.
        """
        price = reference * (1 + np.sign(shares) * slips)
        value = shares * price
        fees = np.abs(value) * (0.0 if free else self.costs.fees_bps / 1e4)
        self.cash -= float(value.sum() + fees.sum())
        self.fees[columns] += fees
        held = self.shares[columns]
        larger = held * shares >= 0
        # An entry on the other side is what a position that is closed for it is left by.
        reason = np.where(~larger & (self.reason[columns] == ENTRY), EXIT_SIGNAL, self.reason[columns])
        self._opened(row, columns[larger & (held == 0)], np.sign(shares), price, larger & (held == 0))
        self.opened[columns] += np.where(larger, np.abs(shares), 0.0)
        self.cost[columns] += np.where(larger, np.abs(value), 0.0)
        self.closed[columns] += np.where(larger, 0.0, np.abs(shares))
        self.income[columns] += np.where(larger, 0.0, np.abs(value))
        self.orders.add(
            row,
            phase,
            column=columns,
            shares=shares,
            reference=reference,
            price=price,
            fees=fees,
            slippage=np.abs(shares) * np.abs(price - reference),
            reason=reason,
            decided=self.decided[columns],
        )
        self.shares[columns] = held + shares
        flat = self.shares[columns] == 0
        if flat.any():
            self._ended(row, columns[flat], np.sign(held[flat]), reason[flat])

    def charge(self, columns: Integers | Mask, money: Floats) -> None:
        """A debit that is no fill, borne by the trades that are open there."""
        self.debits[columns] += money
        self.cash -= float(money.sum())

    def end(self, row: int, last: Floats) -> None:
        """What is open at the end becomes trades at the last close: nothing is sold, and nothing paid for it."""
        open_ = np.flatnonzero(self.shares)
        shares = np.abs(self.shares[open_])
        self.closed[open_] += shares
        self.income[open_] += shares * last[open_]
        self._ended(row, open_, np.sign(self.shares[open_]), np.full(len(open_), END))

    def trades_frame(self) -> pl.DataFrame:
        """[column, side (1, -1), entered, entry_price, exited, exit_price, shares, profit, fees, debits, return, …]."""
        schema = {
            "column": pl.Int64, "side": pl.Float64, "entered": pl.Int64, "entry_price": pl.Float64,
            "exited": pl.Int64, "exit_price": pl.Float64, "shares": pl.Float64, "profit": pl.Float64,
            "fees": pl.Float64, "debits": pl.Float64, "return": pl.Float64, "r_multiple": pl.Float64,
            "reason": pl.Int64,
        }  # fmt: skip
        return _stacked(self.trades, schema)

    def _opened(self, row: int, columns: Integers, sides: Floats, price: Floats, new: Mask) -> None:
        """New positions: when, and where their stops lie."""
        self.since[columns] = row
        self.distance[columns] = self.entering[columns]
        self.stop[columns] = price[new] * (1 - sides[new] * self.distance[columns])
        for sums in (self.opened, self.cost, self.closed, self.income, self.debits):
            sums[columns] = 0.0

    def _ended(self, row: int, columns: Integers, side: Floats, reason: Integers) -> None:
        cost, fees, debits = self.cost[columns], self.fees[columns], self.debits[columns]
        profit = side * (self.income[columns] - cost) - fees - debits
        self.trades.append(
            {
                "column": columns,
                "side": side,
                "entered": self.since[columns],
                "entry_price": cost / self.opened[columns],
                "exited": np.full(len(columns), row, dtype=np.int64),
                "exit_price": self.income[columns] / self.closed[columns],
                "shares": self.opened[columns],
                "profit": profit,
                "fees": fees,
                "debits": debits,
                "return": profit / cost,
                "r_multiple": profit / cost / self.distance[columns],
                "reason": reason,
            }
        )
        self.fees[columns] = 0.0
        self.stop[columns] = self.distance[columns] = np.nan
        self.since[columns] = -1
