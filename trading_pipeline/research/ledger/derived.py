"""What the journal comes to: positions, round trips, and the account at the end of each session.

What belongs here: adding up. What does not: the steps (`journal.py`), comparing with what others say (`reconcile.py`).

All sums are of whole millionths; floats appear in the last step, each the nearest to its exact amount. For any two
sessions: change of equity = realised + income - fees of the sessions between + change of unrealised. For a book that is
flat: the pnl of its trades is the change of its cash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from trading_pipeline.research.ledger.journal import journal as journal_of
from trading_pipeline.research.ledger.marks import last_prices, usable_actions
from trading_pipeline.research.money import MICROS, from_micros, micros, to_micros

SIGNALS = pl.Schema({"signal_id": pl.String(), "setup": pl.String()})


@dataclass(frozen=True)
class Ledger:
    """What fills, actions and last prices come to; each frame in the order of its key.

    positions, trades, accounts: the columns of the tables of the same names without `book`.
    """

    journal: pl.DataFrame
    positions: pl.DataFrame
    trades: pl.DataFrame
    accounts: pl.DataFrame


def ledger(
    orders: pl.DataFrame,
    fills: pl.DataFrame,
    prices: pl.DataFrame,
    sessions: Sequence[date],
    cash: float,
    actions: pl.DataFrame | None = None,
    signals: pl.DataFrame | None = None,
) -> Ledger:
    """Positions and accounts at the end of each of `sessions`, and the trades that were closed in them.

    orders, fills: rows of the tables, of one book, from its first fill on (later ones than the sessions change
    nothing). prices: [session, instrument_id, price], last prices as traded, of every session a name was held in; where
    one is missing the one before stands, split-adjusted, and before the first one what was paid. sessions: any, in any
    order; one that is not over yet comes to what its fills and prices so far come to. cash: at the start of the book.
    actions: see `journal`; prices before the sessions are needed where a split leaves fractions. signals: [signal_id,
    setup].

    Raises `ValueError` where `journal` does.
    """
    steps = journal_of(orders, fills, actions, prices)
    wanted = sorted(set(sessions))
    held = positions(steps, prices, wanted, actions)
    return Ledger(steps, held, trades(steps, orders, signals, wanted), accounts(steps, held, cash, wanted))


def positions(
    journal: pl.DataFrame, prices: pl.DataFrame, sessions: Sequence[date], actions: pl.DataFrame | None = None
) -> pl.DataFrame:
    """What is held at the end of each of `sessions` (ascending): the columns of the table without `book`.

    prices, actions: as for `ledger`.
    """
    axis = pl.Series("session", sessions, dtype=pl.Date)
    last = journal.group_by("instrument_id", "session", maintain_order=True).agg(
        pl.col("ticker", "shares", "cost").last()
    )
    # From the first of the sessions that sees it up to the one that sees what came next.
    last = last.with_columns(axis.search_sorted(last["session"], side="left").cast(pl.Int64).alias("first"))
    held = (
        last.with_columns(end=pl.col("first").shift(-1).over("instrument_id").fill_null(len(sessions)))
        .filter(pl.col("shares") != 0, pl.col("first") < pl.col("end"))
        .select("instrument_id", "ticker", "shares", "cost", place=pl.int_ranges("first", "end"))
        .explode("place")
    )
    held = held.with_columns(axis.gather(held["place"].cast(pl.UInt32)))
    marks = last_prices(held, prices, usable_actions(actions), before=False)
    return valued(held.join(marks, on=["session", "instrument_id"], how="left")).sort("session", "instrument_id")


def valued(held: pl.DataFrame) -> pl.DataFrame:
    """Rows of the table `positions` without `book`, of what is held, in its order.

    held: [session, instrument_id, ticker, shares, cost (millionths), price (units; null: unknown, valued at cost)].
    """
    value = pl.coalesce(pl.col("shares") * to_micros(pl.col("price")), "cost")
    average = pl.col("cost") / (pl.col("shares") * MICROS)
    return held.with_columns(value=value).select(
        "session",
        "instrument_id",
        "ticker",
        quantity=pl.col("shares"),
        average_price=average,
        market_price=pl.coalesce("price", average),
        market_value=from_micros(pl.col("value")),
        unrealised=from_micros(pl.col("value") - pl.col("cost")),
    )


def trades(
    journal: pl.DataFrame, orders: pl.DataFrame, signals: pl.DataFrame | None, sessions: Sequence[date]
) -> pl.DataFrame:
    """Round trips that were closed in one of `sessions`: the columns of the table without `book`.

    Prices and quantity are in the basis of the day it was closed, so that (exit - entry) x quantity is what the shares
    earned through splits too. session: the one it was closed in. r_multiple: pnl over the risk of the orders that
    opened it, of each the part that was filled; null where one of them has none. exit_reason: an entry that turned a
    position around, or a split that left less than a share, closed it by `close`. trade_id: the entry's order; where an
    order opened several trades (it went on filling after its stop was hit), `#2` and so on is added from the second on.
    """
    whole = ["instrument_id", "trade"]
    known = orders.select(
        "order_id", "role", "signal_id", ordered="quantity", order_risk=pl.col("risk").cast(pl.Float64)
    ).unique("order_id")
    moves = journal.join(known, on="order_id", how="left", maintain_order="left").with_columns(
        later=pl.col("ratio").last().over(whole) / pl.col("ratio")
    )
    opens = pl.col("opened") != 0
    closes = (pl.col("closed") != 0) | ((pl.col("kind") == "split") & (pl.col("money") != 0)) | (pl.col("shares") == 0)
    filled_risk = pl.col("order_risk") * pl.col("opened").abs() / pl.col("ordered")
    reason = pl.when(pl.col("role").is_in(["stop", "target"])).then("role").otherwise(pl.lit("close"))
    turned = (pl.col("opened").abs() * pl.col("later")).filter(opens).sum()
    found = moves.group_by(whole, maintain_order=True).agg(
        pl.col("order_id").first().alias("first_order"),
        pl.col("session").last(),
        pl.col("ticker").last(),
        pl.col("signal_id").first(),
        side=pl.when(pl.col("opened").first() > 0).then(pl.lit("long")).otherwise(pl.lit("short")),
        quantity=(pl.col("shares").abs() * pl.col("later")).max().round().cast(pl.Int64).clip(1),
        opened_at=pl.col("at").first(),
        closed_at=pl.col("at").last(),
        entry_price=pl.col("money").filter(opens).sum().abs() / (turned * MICROS),
        exit_price=pl.col("money").filter(closes & ~opens).sum().abs() / (turned * MICROS),
        fees=pl.col("fee").sum(),
        income=pl.col("income").sum(),
        pnl=(pl.col("money") + pl.col("income") - pl.col("fee")).sum(),
        risk=filled_risk.filter(opens).sum(),
        risk_known=filled_risk.filter(opens).is_not_null().all(),
        reasons=reason.filter(closes).unique(),
        left=pl.col("shares").last(),
    )
    order_count = pl.int_range(pl.len()).over("first_order") + 1
    setups = (signals if signals is not None else pl.DataFrame(schema=SIGNALS)).select("signal_id", "setup")
    pnl = from_micros(pl.col("pnl"))
    judged = pl.Series(sessions, dtype=pl.Date)
    return (
        found.with_columns(
            trade_id=pl.when(order_count == 1)
            .then("first_order")
            .otherwise(pl.format("{}#{}", "first_order", order_count))
        )
        .filter(pl.col("left") == 0, pl.col("session").is_in(judged.implode()))
        .join(setups.unique("signal_id"), on="signal_id", how="left")
        .select(
            "trade_id",
            "session",
            "instrument_id",
            "ticker",
            "setup",
            "side",
            "quantity",
            "opened_at",
            "closed_at",
            "entry_price",
            "exit_price",
            fees=from_micros(pl.col("fees")),
            income=from_micros(pl.col("income")),
            pnl=pnl,
            r_multiple=pl.when(pl.col("risk_known") & (pl.col("risk") > 0)).then(pnl / pl.col("risk")),
            exit_reason=pl.when(pl.col("reasons").list.len() == 1)
            .then(pl.col("reasons").list.first())
            .otherwise(pl.lit("several")),
        )
        .sort("trade_id")
    )


def accounts(journal: pl.DataFrame, positions: pl.DataFrame, cash: float, sessions: Sequence[date]) -> pl.DataFrame:
    """The account at the end of each of `sessions` (ascending): the columns of the table without `book`.

    positions: of those sessions. cash: at the start of the book. fees, realised, income: of the session itself; what a
    session that is not asked for moved is in `cash_before`.
    """
    axis = pl.Series("session", sessions, dtype=pl.Date)
    flow = pl.col("money") + pl.col("income") - pl.col("fee")
    days = journal.group_by("session").agg(pl.col("realised", "fee", "income").sum(), flow=flow.sum()).sort("session")
    so_far = pl.concat([pl.Series([0], dtype=pl.Int64), days["flow"].cum_sum().cast(pl.Int64)]) + micros(cash)
    before = so_far.gather(days["session"].search_sorted(axis, side="left")).alias("before")
    after = so_far.gather(days["session"].search_sorted(axis, side="right")).alias("after")
    value = positions.group_by("session").agg(
        market_value=to_micros(pl.col("market_value")).sum(), unrealised=to_micros(pl.col("unrealised")).sum()
    )
    table = axis.to_frame().join(days, on="session", how="left").join(value, on="session", how="left")
    known = pl.col("realised", "fee", "income", "market_value", "unrealised").fill_null(0)
    table = table.with_columns(known, before, after)
    return table.sort("session").select(
        "session",
        cash_before=from_micros(pl.col("before")),
        cash=from_micros(pl.col("after")),
        market_value=from_micros(pl.col("market_value")),
        equity=from_micros(pl.col("after") + pl.col("market_value")),
        realised=from_micros(pl.col("realised")),
        unrealised=from_micros(pl.col("unrealised")),
        fees=from_micros(pl.col("fee")),
        income=from_micros(pl.col("income")),
    )
