"""Ours against theirs: every difference of a cent or a share, in words.

What belongs here: comparing what the fills come to with what is stated. What does not: what is done about it.
"""

from __future__ import annotations

import polars as pl

from trading_pipeline.research.ledger.derived import Ledger

CENT = 0.01 - 1e-6
"""From this difference on two amounts are a cent apart; what lies below a millionth is noise of floats."""

DISCREPANCIES = pl.Schema(
    {
        "session": pl.Date(),
        "subject": pl.String(),
        "item": pl.String(),
        "ours": pl.Float64(),
        "theirs": pl.Float64(),
        "difference": pl.Float64(),
        "says": pl.String(),
    }
)
"""subject: account, the id of a trade, or a ticker; difference: ours less theirs, null where one side has none."""

_ACCOUNT = {
    "cash_before": "cash before",
    "cash": "cash",
    "market_value": "market value",
    "equity": "equity",
    "realised": "realised profit",
    "unrealised": "unrealised profit",
    "fees": "sum of fees",
    "income": "income",
}
_POSITION = {
    "quantity": "number of shares",
    "average_price": "average price",
    "market_price": "market price",
    "market_value": "market value",
    "unrealised": "unrealised profit",
}
_TRADE = {
    "quantity": "number of shares",
    "entry_price": "entry price",
    "exit_price": "exit price",
    "fees": "sum of fees",
    "pnl": "profit",
    "income": "income",
}


def reconcile(
    derived: Ledger,
    *,
    accounts: pl.DataFrame | None = None,
    positions: pl.DataFrame | None = None,
    trades: pl.DataFrame | None = None,
    holdings: pl.DataFrame | None = None,
    broker_cash: float | None = None,
) -> pl.DataFrame:
    """`DISCREPANCIES` of a cent or more, or of any share, by session, subject and item; no row: nothing differs.

    derived: from the fills. accounts, positions, trades: what is stated: rows of the tables, of the sessions of
    `derived` (a row that only one side has is a discrepancy; a column that only one side has is not compared).
    holdings: [ticker, quantity, average_price] that the broker has now, and broker_cash its cash: against the last
    session of `derived`. None: not compared. A number that is missing or no number differs from every other.
    """
    account = {"subject": pl.lit("account")}
    last = derived.accounts["session"].max()
    at_last = pl.col("session") == last
    found = []
    if accounts is not None:
        ours, theirs = (frame.with_columns(**account) for frame in (derived.accounts, accounts))
        found.append(_compared(ours, theirs, _ACCOUNT))
    if positions is not None:
        ours, theirs = (frame.with_columns(subject="ticker") for frame in (derived.positions, positions))
        found.append(_compared(ours, theirs, _POSITION))
    if trades is not None:
        ours, theirs = (frame.with_columns(subject="trade_id") for frame in (derived.trades, trades))
        found.append(_compared(ours, theirs, _TRADE))
    if holdings is not None:
        ours = derived.positions.filter(at_last).select("session", "quantity", "average_price", subject="ticker")
        theirs = holdings.filter(pl.col("quantity") != 0).select(
            pl.lit(last, pl.Date).alias("session"), "quantity", "average_price", subject="ticker"
        )
        found.append(_compared(ours, theirs, _POSITION))
    if broker_cash is not None:
        ours = derived.accounts.filter(at_last).select("session", "cash", **account)
        found.append(_compared(ours, ours.with_columns(cash=pl.lit(broker_cash)), _ACCOUNT))
    return pl.concat(found).sort("session", "subject", "item") if found else pl.DataFrame(schema=DISCREPANCIES)


def _compared(ours: pl.DataFrame, theirs: pl.DataFrame, items: dict[str, str]) -> pl.DataFrame:
    """`DISCREPANCIES` between two frames [session, subject, and any of `items`]."""
    shared = [name for name in items if name in ours.columns and name in theirs.columns]
    key = ["session", "subject"]

    def long(frame: pl.DataFrame, side: str) -> pl.DataFrame:
        amounts = frame.select(*key, pl.col(shared).cast(pl.Float64)).unpivot(shared, index=key, value_name=side)
        return amounts.with_columns(pl.lit(value=True).alias(f"in_{side}"))

    both = long(ours, "ours").join(
        long(theirs, "theirs"), on=[*key, "variable"], how="full", coalesce=True, nulls_equal=True
    )
    both = both.with_columns(
        difference=pl.col("ours") - pl.col("theirs"), item=pl.col("variable").replace_strict(items)
    )
    apart = ~(pl.col("difference").abs() < CENT).fill_null(value=False) | pl.col("difference").is_nan()
    here, there = pl.col("in_ours").is_not_null(), pl.col("in_theirs").is_not_null()
    amounts = [pl.col(side).round(6).cast(pl.String).fill_null("missing") for side in ("ours", "theirs")]
    says = (
        pl.when(here & there)
        .then(pl.format("{}, {}: the {} is {} by the fills, {} as told", *key, "item", *amounts))
        .when(here)
        .then(pl.format("{}, {}: by the fills the {} is {}, and nothing is told of it", *key, "item", amounts[0]))
        .otherwise(pl.format("{}, {}: the {} is told to be {}, and no fills make it", *key, "item", amounts[1]))
    )
    return (
        both.filter(apart)
        .with_columns(says=says)
        .select(pl.col(name).cast(kind) for name, kind in DISCREPANCIES.items())
    )
