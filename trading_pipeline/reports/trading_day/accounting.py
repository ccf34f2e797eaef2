"""The day's money as the page shows it: profit by tick, and the ledger added up again from its fills.

What belongs here: adding up what fills and actions say, to show it and to compare it. What does not: the ledger itself
(`research/ledger`), which made positions, trades and account; of it only the arithmetic of one split and one payment is
used, which rounds to the cent in one way everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from trading_pipeline.reports.trading_day.day import CENT, TradingDay
from trading_pipeline.research.ledger.holding import Holding, amount_a_share, split_ratio
from trading_pipeline.research.ledger.marks import usable_actions
from trading_pipeline.research.money import MICROS, micros

_OVERNIGHT = pl.Schema(
    {
        "instrument_id": pl.String(),
        "quantity": pl.Int64(),
        "market_price": pl.Float64(),
        "settled": pl.Float64(),
        "income": pl.Float64(),
    }
)


@dataclass(frozen=True)
class Check:
    """Two amounts that must be the same: what it is, what the fills give, what the ledger says, in `unit`."""

    what: str
    found: float
    said: float
    unit: str = "money"

    @property
    def holds(self) -> bool:
        """Whether they are, to the cent."""
        return abs(round(self.found - self.said, 9)) < CENT


def signed_fills(day: TradingDay) -> pl.DataFrame:
    """The fills with `signed`, shares that came (went: negative), and `paid`, money that came less the fee."""
    signed = pl.when(pl.col("side") == "buy").then(pl.col("quantity")).otherwise(-pl.col("quantity"))
    return day.fills.with_columns(signed=signed).with_columns(paid=-pl.col("signed") * pl.col("price") - pl.col("fee"))


def overnight(day: TradingDay) -> pl.DataFrame:
    """What was carried, as the day's actions left it before the open: a row a position, with those that became none.

    [instrument_id, quantity, market_price, settled, income]: shares and last price after the splits; settled: money
    that came for fractions of a share; income: dividends, on the shares after the splits; both negative where a short
    position paid them.
    """
    rows = []
    booked = usable_actions(day.actions).sort(pl.col("kind") != "split", "kind", "value")
    for row in day.carried.iter_rows(named=True):
        price, settled, income = row["market_price"], 0, 0
        held = Holding(row["quantity"], micros(row["quantity"] * row["average_price"]))
        mine = booked.filter(pl.col("instrument_id") == row["instrument_id"])
        for kind, value in mine.select("kind", "value").iter_rows():
            if kind == "split":
                ratio = split_ratio(value)
                moves = list(held.split(ratio, micros(price)))
                price /= float(ratio)
            else:
                moves = list(held.pay(amount_a_share(value)))
            settled += sum(move.money for move in moves)
            income += sum(move.income for move in moves)
        rows.append((row["instrument_id"], held.shares, price, settled / MICROS, income / MICROS))
    return pl.DataFrame(rows, schema=_OVERNIGHT, orient="row")


def profit_by_tick(day: TradingDay) -> pl.DataFrame:
    """[tick_at, total, closed]: profit since the start at each tick; of all, and of the round trips that were over.

    What is held is valued at the last close the loop had taken in by the tick, before that at the price of the evening
    before, after its splits, or of the first fill; at the last tick at the price the ledger values it at. A fill counts
    from the first tick at or after it on, one after the last tick at that one. Splits, and the money that dividends and
    fractions of shares bring, count from the first tick on, as prices are without them from the open on. Both lines are
    after fees.
    """
    ticks = day.live_ticks.select("tick_at").sort("tick_at")
    if ticks.is_empty():
        return pl.DataFrame(schema={"tick_at": ticks.schema["tick_at"], "total": pl.Float64, "closed": pl.Float64})
    fills, night = signed_fills(day).sort("at", "fill_id"), overnight(day)
    held = pl.concat([day.carried["instrument_id"], fills["instrument_id"]]).unique().sort()
    shape = (ticks.height, held.len())
    column = {id_: number for number, id_ in enumerate(held)}

    def rows_of(moments: pl.Series) -> np.ndarray:
        places = np.array([ticks["tick_at"].search_sorted(moment, side="left") for moment in moments], dtype=int)
        clipped: np.ndarray = np.minimum(places, shape[0] - 1)
        return clipped

    shares, money = np.zeros(shape), np.zeros(shape[0])
    row = rows_of(fills["at"])
    at = np.array([column[id_] for id_ in fills["instrument_id"]], dtype=int)
    np.add.at(shares, (row, at), fills["signed"].to_numpy())
    np.add.at(money, row, fills["paid"].to_numpy())
    money[0] += night.select(pl.col("settled") + pl.col("income")).sum().item()
    begun = dict(night.select("instrument_id", "quantity").iter_rows())
    start = np.array([begun.get(id_, 0) for id_ in held], dtype=np.float64)
    prices = _prices(day, ticks, held, fills, night)
    worth = float(day.carried["market_value"].sum())
    total = np.cumsum(money) + ((start + np.cumsum(shares, axis=0)) * prices).sum(axis=1) - worth
    closed = np.zeros(shape[0])
    np.add.at(closed, rows_of(day.trades["closed_at"]), day.trades["pnl"].to_numpy())
    return ticks.with_columns(total=total, closed=np.cumsum(closed))


def _prices(
    day: TradingDay, ticks: pl.DataFrame, held: pl.Series, fills: pl.DataFrame, night: pl.DataFrame
) -> np.ndarray:
    """Price of each of `held` at each tick, ticks by instruments. night: `overnight`."""
    if held.is_empty():
        return np.zeros((ticks.height, 0))
    first = {**dict(fills.select("instrument_id", "price").reverse().iter_rows())}
    first |= dict(night.select("instrument_id", "market_price").iter_rows())
    grid = ticks.join(held.to_frame("instrument_id"), how="cross").sort("tick_at", "instrument_id")
    closes = day.minutes.select("instrument_id", "tick_at", "close", "bar_started_at").sort("tick_at", "bar_started_at")
    known = grid.join_asof(closes, on="tick_at", by="instrument_id", check_sortedness=False).with_columns(
        pl.coalesce("close", pl.col("instrument_id").replace_strict(first, return_dtype=pl.Float64)).alias("close")
    )
    prices = known["close"].to_numpy().reshape(ticks.height, held.len()).copy()
    final = dict(day.positions.select("instrument_id", "market_price").iter_rows())
    for number, id_ in enumerate(held):
        prices[-1, number] = final.get(id_, prices[-1, number])
    return prices


def profit(day: TradingDay) -> float:
    """The day's profit after fees: what equity gained, or where there is no account yet, what the fills give."""
    account = day.account
    if account is not None:
        return float(account["equity"]) - equity_before(day)
    curve = profit_by_tick(day)
    return float(curve["total"][-1]) if curve.height else 0.0


def equity_before(day: TradingDay) -> float:
    """Equity at the start: cash, and what was carried at its last price."""
    account = day.account
    assert account is not None
    return float(account["cash_before"]) + float(day.carried["market_value"].sum())


def checks(day: TradingDay) -> list[Check]:
    """The ledger added up again; empty where the session is not accounted for."""
    account = day.account
    if account is None:
        return []
    fills, night = signed_fills(day), overnight(day)
    came = float(night.select(pl.col("settled") + pl.col("income")).sum().item())
    before, unrealised_before = equity_before(day), float(day.carried["unrealised"].sum())
    positions = day.positions
    worth = float((positions["quantity"] * positions["market_price"]).sum())
    left = account["cash_before"] + fills["paid"].sum() + came
    earned = account["realised"] - account["fees"] + account["income"]
    gained = earned + account["unrealised"] - unrealised_before
    found = [
        Check("Cash: what there was, what the fills left of it, dividends, fractions of shares", left, account["cash"]),
        Check("Fees of all fills", float(fills["fee"].sum()), account["fees"]),
        Check("Value of the positions, shares times last price", worth, account["market_value"]),
        Check("Equity: cash and positions", account["cash"] + account["market_value"], account["equity"]),
        Check("Profit: realised, less fees, dividends, and what is held gained", gained, account["equity"] - before),
        Check("Shares: those carried, split, bought and sold, that are not in the positions",
              _unmatched(day, fills, night), 0.0, "shares"),
    ]  # fmt: skip
    if (income := float(night["income"].sum())) or account["income"]:
        found.insert(1, Check("Dividends: what the shares carried were paid", income, account["income"]))
    if (loop := day.loop) is not None:
        # A loop begins with the day's actions booked.
        begun = account["cash_before"] + came + float((night["quantity"] * night["market_price"]).sum())
        found.insert(0, Check("Equity the loop began with", begun, loop["equity"]))
    if day.carried.is_empty() and positions.is_empty():
        found.append(Check("Profit: all trades together", float(day.trades["pnl"].sum()), account["equity"] - before))
    return found


def _unmatched(day: TradingDay, fills: pl.DataFrame, night: pl.DataFrame) -> float:
    """Shares by which positions differ from what was carried, split and filled, over all instruments."""
    parts = [
        night.select("instrument_id", shares="quantity"),
        fills.select("instrument_id", shares=pl.col("signed").cast(pl.Int64)),
        day.positions.select("instrument_id", shares=-pl.col("quantity")),
    ]
    left = pl.concat(parts).group_by("instrument_id").agg(pl.col("shares").sum())
    return float(left["shares"].abs().sum())
