"""What a backtest leaves behind: accounts, positions, trades, orders, refusals, and how far its data can be believed.

What belongs here: the shape of the result. What does not: metrics of it (`research/performance`), storing
or showing it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from trading_pipeline.research.backtest.book import END, INTRADAY, REASONS, Book
from trading_pipeline.research.backtest.configuration import Configuration
from trading_pipeline.research.market_panel import MarketPanel
from trading_pipeline.research.panel import Floats, Integers

if TYPE_CHECKING:
    from trading_pipeline.research.backtest.accounting import Accounts


class CoverageError(ValueError):
    """Too few members have prices, and the configuration refuses to backtest on that."""


@dataclass(frozen=True)
class BacktestRecord:
    """The result of one backtest; money in the market's currency, prices and shares in the panel's total-return basis.

    days: one row a session: [session, equity, cash, return (of the session), gross, net (positions' value, absolute and
        signed, share of equity), turnover (half of what was bought and sold, share of equity), fees, slippage, borrow,
        haircut (money), positions (how many), coverage (share of the members that have a bar)].
    positions: [session, instrument_id, shares, value] at each close.
    trades: from flat to flat: [instrument_id, side, entered_at, entry_price, exited_at, exit_price, shares, profit,
        fees, debits, return, r_multiple, reason]. Prices are averages over all its fills, shares all that were opened;
        profit is after fees and debits, so that profits of all trades are the change of equity; return: profit over
        what was opened; r_multiple: return over stop distance, null without a stop; reason: of its last fill, `end`
        where it is open at the end and valued at the last close.
    orders: every fill: [session, instrument_id, side, shares, reference_price, price, fees, slippage, reason, moment
        (open, intraday), decided_at (the session whose close decided it; for a stop the session it was hit)].
    refused: [session, instrument_id, side, refused_by, refused_because], entries that did not become positions.
    watermark: what must be said with every number of it, None where coverage is above the threshold.
    """

    configuration_hash: str
    strategy: str
    seed: int
    capital: float
    days: pl.DataFrame
    positions: pl.DataFrame
    trades: pl.DataFrame
    orders: pl.DataFrame
    refused: pl.DataFrame
    least_coverage: float
    watermark: str | None

    @property
    def equity(self) -> Floats:
        """Value of the account at each close; the first is the capital."""
        return self.days["equity"].to_numpy()

    @property
    def returns(self) -> Floats:
        """Change of equity on each session but the first."""
        return self.days["return"].to_numpy()[1:]


@dataclass
class Days:
    """What the walk notes at each close; shares: sessions x instruments."""

    equity: Floats
    cash: Floats
    borrow: Floats
    haircut: Floats
    shares: Floats

    @classmethod
    def empty(cls, rows: int, instruments: int) -> Days:
        """Nothing noted yet."""
        equity, cash, borrow, haircut = np.zeros((4, rows))
        return cls(equity, cash, borrow, haircut, np.zeros((rows, instruments)))


@dataclass
class Refusals:
    """Refused entries as they come."""

    batches: list[tuple[int, Integers, Floats, str, str]] = field(default_factory=list)

    def add(self, row: int, columns: Integers, side: Floats, code: str, words: str) -> None:
        """Entries of one session that were refused for one reason. side: 1 or -1."""
        self.batches.append((row, columns, side, code, words))

    def frame(self) -> pl.DataFrame:
        """[row, column, side, refused_by, refused_because]."""
        schema = {
            "row": pl.Int64, "column": pl.Int64, "side": pl.Float64, "refused_by": pl.String,
            "refused_because": pl.String,
        }  # fmt: skip
        if not self.batches:
            return pl.DataFrame(schema=schema)
        counts = [len(columns) for _, columns, *_ in self.batches]
        row, _, _, code, words = zip(*self.batches, strict=True)
        repeated = pl.DataFrame({"row": row, "refused_by": code, "refused_because": words, "count": counts})
        repeated = repeated.select(pl.all().exclude("count").repeat_by("count").explode())
        return repeated.with_columns(
            column=pl.Series(np.concatenate([batch[1] for batch in self.batches])),
            side=pl.Series(np.concatenate([batch[2] for batch in self.batches])),
        ).select(pl.col(name).cast(dtype) for name, dtype in schema.items())


@dataclass(frozen=True)
class SurvivorshipCoverage:
    """Share of the members that have a bar: by session from the start on, the least of them, and what must be said."""

    by_session: Floats
    least: float
    watermark: str | None


def coverage_of(panel: MarketPanel, configuration: Configuration, start: int) -> SurvivorshipCoverage:
    """How many of each session's members the data knows; `CoverageError` where that is too few and to be refused.

    Every session from row `start` on has members.
    """
    member = panel.member[start:]
    share = (member & panel.traded[start:]).sum(axis=1) / member.sum(axis=1)
    row = int(np.argmin(share))
    least, told = float(share[row]), configuration.coverage
    if least >= told.threshold:
        return SurvivorshipCoverage(share, least, None)
    low = int((share < told.threshold).sum())
    words = (
        f"only {least:.1%} of the members of {configuration.universe} have a bar on "
        f"{panel.axes.sessions[start + row]}, and fewer than {told.threshold:.1%} on {low} of {len(share)} sessions"
    )
    if told.on_low == "refuse":
        raise CoverageError(
            f"the backtest {configuration.name} is refused: {words}: load the missing bars, lower coverage.threshold, "
            f"or set coverage.on_low to watermark"
        )
    return SurvivorshipCoverage(share, least, f"Survivorship: {words}. Returns are those of the names that are known.")


def record_of(
    panel: MarketPanel,
    configuration: Configuration,
    start: int,
    book: Book,
    days: Days,
    refusals: Refusals,
    accounts: Accounts,
    coverage: SurvivorshipCoverage,
) -> BacktestRecord:
    """The record of a walk that ended, from its book and the checked accounts."""
    filled = book.orders.frame()
    return BacktestRecord(
        configuration_hash=configuration.hash,
        strategy=configuration.strategy,
        seed=configuration.monte_carlo.seed,
        capital=configuration.capital,
        days=_days(panel, start, filled, days, accounts, coverage),
        positions=_positions(panel, days),
        trades=_trades(panel, book.trades_frame()),
        orders=_orders(panel, filled),
        refused=_refused(panel, refusals.frame()),
        least_coverage=coverage.least,
        watermark=coverage.watermark,
    )


def _days(
    panel: MarketPanel, start: int, filled: pl.DataFrame, days: Days, accounts: Accounts, coverage: SurvivorshipCoverage
) -> pl.DataFrame:
    shares, rows = days.shares[start:], len(days.equity)
    value = shares * np.where(shares != 0, _last(panel)[start:], 0.0)
    row = filled["row"].to_numpy()

    def by_session(money: pl.Expr) -> Floats:
        told = filled.select(money.alias("money"))["money"].to_numpy()
        return np.asarray(np.bincount(row, weights=told, minlength=rows)[start:], dtype=np.float64)

    equity = accounts.equity
    traded = by_session((pl.col("shares") * pl.col("price")).abs())
    change = np.zeros(len(equity))
    change[1:] = equity[1:] / equity[:-1] - 1
    return pl.DataFrame(
        {
            "session": pl.Series(panel.axes.sessions[start:], dtype=pl.Date),
            "equity": equity,
            "cash": accounts.cash,
            "return": change,
            "gross": _summed(np.abs(value)) / equity,
            "net": _summed(value) / equity,
            "turnover": traded / 2 / equity,
            "fees": by_session(pl.col("fees")),
            "slippage": by_session(pl.col("slippage")),
            "borrow": days.borrow[start:],
            "haircut": days.haircut[start:],
            "positions": np.count_nonzero(shares, axis=1),
            "coverage": coverage.by_session,
        }
    )


def _summed(values: Floats) -> Floats:
    """The sum of each row, one name after the other: a name that comes later, and holds nothing, moves no digit."""
    return np.asarray(np.cumsum(values, axis=1)[:, -1])


def _positions(panel: MarketPanel, days: Days) -> pl.DataFrame:
    held = days.shares != 0
    value = days.shares * np.where(held, _last(panel), 0.0)
    return panel.axes.to_long(held, {"shares": days.shares, "value": value}).with_columns(
        pl.col("shares").cast(pl.Int64)
    )


def _trades(panel: MarketPanel, trades: pl.DataFrame) -> pl.DataFrame:
    # What is open comes last, so that a session more leaves those that ended in their places.
    return trades.sort("exited", pl.col("reason") == END, "entered", "column").select(
        _names(panel, "column"),
        _side("long", "short"),
        _session(panel, "entered").alias("entered_at"),
        "entry_price",
        _session(panel, "exited").alias("exited_at"),
        "exit_price",
        pl.col("shares").cast(pl.Int64),
        "profit",
        "fees",
        "debits",
        "return",
        pl.col("r_multiple").fill_nan(None),
        _reason(),
    )


def _orders(panel: MarketPanel, filled: pl.DataFrame) -> pl.DataFrame:
    return filled.sort("row", "phase", "column").select(
        _session(panel, "row").alias("session"),
        _names(panel, "column"),
        pl.when(pl.col("shares") > 0).then(pl.lit("buy")).otherwise(pl.lit("sell")).alias("side"),
        pl.col("shares").abs().cast(pl.Int64),
        pl.col("reference").alias("reference_price"),
        "price",
        "fees",
        "slippage",
        _reason(),
        pl.when(pl.col("phase") == INTRADAY).then(pl.lit("intraday")).otherwise(pl.lit("open")).alias("moment"),
        _session(panel, "decided").alias("decided_at"),
    )


def _refused(panel: MarketPanel, refused: pl.DataFrame) -> pl.DataFrame:
    return refused.sort("row", "column", maintain_order=True).select(
        _session(panel, "row").alias("session"),
        _names(panel, "column"),
        _side("long", "short"),
        "refused_by",
        "refused_because",
    )


def _last(panel: MarketPanel) -> Floats:
    """The last close there was: what a position is valued at on a session without a bar."""
    rows = np.maximum.accumulate(np.where(panel.traded, np.arange(len(panel.close))[:, None], 0), axis=0)
    return np.asarray(np.take_along_axis(panel.close, rows, axis=0))


def _session(panel: MarketPanel, column: str) -> pl.Expr:
    return pl.lit(pl.Series(panel.axes.sessions, dtype=pl.Date)).gather(pl.col(column))


def _names(panel: MarketPanel, column: str) -> pl.Expr:
    names = pl.Series(list(panel.axes.instrument_ids), dtype=pl.String)
    return pl.lit(names).gather(pl.col(column)).alias("instrument_id")


def _side(up: str, down: str) -> pl.Expr:
    return pl.when(pl.col("side") > 0).then(pl.lit(up)).otherwise(pl.lit(down)).alias("side")


def _reason() -> pl.Expr:
    return pl.lit(pl.Series(REASONS, dtype=pl.String)).gather(pl.col("reason")).alias("reason")
