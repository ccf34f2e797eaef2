"""What the page of a trading day is made of: made-up days whose ledger adds up, of any shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import polars as pl

from trading_pipeline.markets import US
from trading_pipeline.reports.trading_day import TradingDay
from trading_pipeline.reports.trading_day.day import ACTIONS, BANDS, MINUTES
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import LIVE_TABLES

SESSION = date(2025, 9, 17)
HALF_DAY = date(2025, 11, 28)
BOOK = "replay:tuned"
MINUTE = timedelta(minutes=1)
START = 100_000.0
WHY_REFUSED = (
    ("risk", "Open heat of 4.2 % is over the limit of 4 %"),
    ("validation", "The model vetoed it: a report is due tonight"),
    ("feed", "The newest bar is 143 seconds old"),
)
ANALYSED = (
    "62 % of 40 names above VWAP, QINDEX +0.31 % since the open (+0.6 sigma), volatility 0.9 times normal: leaning up."
)


def trading_day(
    session: date = SESSION,
    *,
    trades: int = 6,
    held: int = 1,
    carried: int = 1,
    refused: int = 9,
    sides: Sequence[Literal["long", "short"]] = ("long", "short"),
    stale: tuple[int, int] = (95, 103),
    missing: tuple[int, int] = (200, 207),
    dividend: float = 0.0,
    split: Fraction = Fraction(1),
    seed: int = 5,
    **others: Any,
) -> TradingDay:
    """A day with `trades` round trips on as many names, `held` positions opened and kept, `carried` ones from before.

    stale, missing: minutes of the session in which the feed was stale, and in which no tick was made; neither where
    both ends are equal. dividend: that each share carried from before went without this morning; split: how many it
    became this morning, before it was paid. Keyword arguments replace any field.
    """
    exchange = calendar("XNYS")
    opens, closes = (moment.astimezone(UTC) for moment in (exchange.open_at(session), exchange.close_at(session)))
    length = (closes - opens) // MINUTE
    rng = np.random.default_rng(seed)
    names = [f"Q{number:02d}" for number in range(trades + held + carried)]
    steps = rng.normal(0, 0.0008, (length, len(names)))
    closing = np.round((40 + 35 * rng.random(len(names))) * np.exp(np.cumsum(steps, axis=0)), 2)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in LIVE_TABLES}
    for number, name in enumerate(names[: trades + held]):
        _trip(rows, session, opens, length, name, number, closing[:, number], sides[number % len(sides)],
              kept=number >= trades)  # fmt: skip
    before = [
        _position(session, name, 120, (float(closing[0, trades + held + number]) - 1.5) * float(split),
                  float(closing[0, -1]) * float(split))
        for number, name in enumerate(names[trades + held :])
    ]  # fmt: skip
    after_split = [_divided(session, row, split) for row in before]
    opening = [row for row, _, _ in after_split]
    settled, gained = (sum(each[place] for each in after_split) for place in (1, 2))
    for number in range(refused):
        at = opens + (20 + 7 * number) * MINUTE
        outcome, reason = WHY_REFUSED[number % len(WHY_REFUSED)]
        rows["trade_signals"].append(
            _signal(session, f"R{number:02d}", at, sides[number % len(sides)], 52.5, outcome, reason, 0)
        )
    after = _marked(session, rows["fills"], opening, {name: float(closing[-1, n]) for n, name in enumerate(names)})
    income = sum(_cents(Decimal(str(dividend)) * row["quantity"]) for row in opening)
    rows["positions"], rows["accounts"] = after, [_account(session, rows, after, income, settled, gained)]
    rows["live_ticks"] = _ticks(session, opens, length, len(names), stale, missing)
    rows["live_sessions"] = [
        {
            "book": BOOK,
            "session": session,
            "run_id": "",
            "rules_version": "a1b2c3d4",
            "equity": START + income + settled + sum(row["market_value"] for row in opening),
            "started_at": opens,
            "heartbeat_at": closes,
            "ended_at": closes,
            "ended_why": "closed",
        }
    ]
    rows["market_analysis"] = [_analysis(session, opens + at * MINUTE, at, length) for at in range(15, length, 15)]
    frames = {name: pl.DataFrame(rows[name], schema=table.schema) for name, table in LIVE_TABLES.items()}
    day = TradingDay(
        market=US,
        session=session,
        book=BOOK,
        world="simulated",
        **{name: frame for name, frame in frames.items() if name not in ("live_loop_logs", "llm_validations")},
        carried=pl.DataFrame(before, schema=LIVE_TABLES["positions"].schema),
        actions=_actions(session, [row["instrument_id"] for row in before], dividend, split),
        minutes=_minutes(names, opens, closing),
        bands=_bands(names, closing),
        generated_at=closes + timedelta(minutes=5),
    )
    return replace(day, **others)


def _trip(
    rows: dict[str, list[dict[str, Any]]],
    session: date,
    opens: datetime,
    length: int,
    name: str,
    number: int,
    closing: np.ndarray,
    side: str,
    *,
    kept: bool,
) -> None:
    """An entry in two fills, its legs, and unless it is kept the exit that one of them or the loop makes."""
    entered = 18 + (number * 37) % (length - 80)
    left = min(entered + 12 + (number * 23) % 60, length - 2)
    sign = 1 if side == "long" else -1
    buy, sell = ("buy", "sell") if sign > 0 else ("sell", "buy")
    role = ("stop", "target", "close")[number % 3]
    quantity, at = 100 + 10 * number, opens + (entered + 1) * MINUTE
    price = float(closing[entered])
    signal_id = f"{session:%Y%m%d}-{name}-mean_reversion"
    entry = f"{signal_id}-entry"
    stop, target = round(price - sign * 0.60, 2), round(price + sign * 1.10, 2)
    rows["trade_signals"].append(
        {**_signal(session, name, at, side, price, "ordered", "Sized to 0.5 % of equity", quantity), "stop": stop,
         "target": target, "signal_id": signal_id}
    )  # fmt: skip
    legs = (
        (entry, None, "entry", buy, "market", None, None, 0.60 * quantity),
        (f"{entry}-stop", entry, "stop", sell, "stop", None, stop, None),
        (f"{entry}-target", entry, "target", sell, "limit", target, None, None),
    )
    out = opens + (left + 1) * MINUTE
    if role == "close" and not kept:
        legs = (*legs, (f"{entry}-close", entry, "close", sell, "market", None, None, None))
    for order_id, parent, kind, way, order_type, limit, trigger, risk in legs:
        rows["orders"].append(
            {
                "book": BOOK,
                "order_id": order_id,
                "session": session,
                "instrument_id": f"us:{name}",
                "ticker": name,
                "signal_id": signal_id if kind == "entry" else None,
                "parent_id": parent,
                "role": kind,
                "side": way,
                "quantity": quantity,
                "order_type": order_type,
                "limit_price": limit,
                "stop_price": trigger,
                "time_in_force": "day",
                "created_at": out if kind == "close" else at,
                "risk": risk,
            }
        )
        done = kind == "entry" or (kind == role and not kept)
        told = [("pending", None), ("accepted", None), ("filled", None) if done else ("cancelled", "the other leg")]
        for sequence, (status, reason) in enumerate(told if not (kept and not done) else told[:2]):
            rows["order_events"].append(
                {"book": BOOK, "order_id": order_id, "sequence": sequence, "at": at, "status": status,
                 "reason": reason, "broker_order_id": None}
            )  # fmt: skip
    half = quantity // 2
    bought = [(at, half, price), (at + MINUTE, quantity - half, round(price + 0.02, 2))]
    for part, (moment, shares, paid) in enumerate(bought):
        rows["fills"].append(_fill(session, name, entry, part, moment, buy, shares, paid))
    if kept:
        return
    exit_price = {"stop": stop, "target": target}.get(role, float(closing[left]))
    rows["fills"].append(_fill(session, name, f"{entry}-{role}", 0, out, sell, quantity, exit_price))
    paid = sum(shares * each for _, shares, each in bought)
    fees = round(sum(fill["fee"] for fill in rows["fills"] if fill["ticker"] == name), 2)
    pnl = sign * (quantity * exit_price - paid) - fees
    rows["trades"].append(
        {
            "book": BOOK,
            "trade_id": entry,
            "session": session,
            "instrument_id": f"us:{name}",
            "ticker": name,
            "setup": "mean_reversion",
            "side": side,
            "quantity": quantity,
            "opened_at": at,
            "closed_at": out,
            "entry_price": paid / quantity,
            "exit_price": exit_price,
            "fees": fees,
            "income": 0.0,
            "pnl": pnl,
            "r_multiple": pnl / (0.60 * quantity),
            "exit_reason": role,
        }
    )


def _fill(session: date, name: str, order: str, part: int, at: datetime, side: str, quantity: int, price: float) -> Any:
    return {
        "book": BOOK,
        "fill_id": f"{order}-{part}",
        "order_id": order,
        "session": session,
        "instrument_id": f"us:{name}",
        "ticker": name,
        "at": at,
        "side": side,
        "quantity": quantity,
        "price": price,
        "fee": round(0.005 * quantity, 2),
    }


def _signal(
    session: date, name: str, at: datetime, side: str, price: float, outcome: str, reason: str, quantity: int
) -> dict[str, Any]:
    return {
        "book": BOOK,
        "signal_id": f"{session:%Y%m%d}-{name}-{at:%H%M%S}",
        "session": session,
        "instrument_id": f"us:{name}",
        "ticker": name,
        "tick_at": at,
        "setup": "mean_reversion" if quantity or at.minute % 2 else "trend_continuation",
        "side": side,
        "price": price,
        "stop": price * 0.99,
        "target": price * 1.02,
        "reward_to_risk": 2.0,
        "strength": 0.62,
        "multiplier": 1.19,
        "z_session": -2.4,
        "z_rolling": -2.1,
        "vwap_distance_pct": -0.8,
        "bias": "long",
        "environment": "B",
        "reasons": "turns back inside the rolling band after an over-extension\n2.4 sigma below the session's mean",
        "outcome": outcome,
        "outcome_reason": reason,
        "quantity": quantity,
    }


def _position(session: date, name: str, quantity: int, average: float, last: float) -> dict[str, Any]:
    return {
        "book": BOOK,
        "session": session,
        "instrument_id": f"us:{name}",
        "ticker": name,
        "quantity": quantity,
        "average_price": average,
        "market_price": last,
        "market_value": quantity * last,
        "unrealised": quantity * (last - average),
    }


def _divided(session: date, row: dict[str, Any], split: Fraction) -> tuple[dict[str, Any], float, float]:
    """The position after the split, what was paid for its fraction of a share, and what that gained over its cost."""
    shares = row["quantity"] * split
    whole, average, last = int(shares), row["average_price"] / float(split), row["market_price"] / float(split)
    fraction = float(shares - whole)
    paid = _cents(Decimal(fraction * last))
    return _position(session, row["ticker"], whole, average, last), paid, paid - fraction * average


def _cents(amount: Decimal) -> float:
    """To the cent, half a cent up."""
    return float(amount.quantize(Decimal("0.01"), ROUND_HALF_UP))


def _actions(session: date, names: list[str], dividend: float, split: Fraction) -> pl.DataFrame:
    told = [(session, name, "split", float(split)) for name in names if split != 1]
    told += [(session, name, "dividend", dividend) for name in names if dividend]
    return pl.DataFrame(told, schema=ACTIONS, orient="row")


def _marked(
    session: date, fills: list[dict[str, Any]], before: list[dict[str, Any]], last: dict[str, float]
) -> list[dict[str, Any]]:
    """What is held after the fills, at the last prices; every position here was opened by one entry."""
    found = [_position(session, row["ticker"], row["quantity"], row["average_price"], last[row["ticker"]])
             for row in before if row["quantity"]]  # fmt: skip
    for name in sorted({fill["ticker"] for fill in fills}):
        mine = [fill for fill in fills if fill["ticker"] == name]
        signed = [fill["quantity"] * (1 if fill["side"] == "buy" else -1) for fill in mine]
        if total := sum(signed):
            paid = sum(shares * fill["price"] for shares, fill in zip(signed, mine, strict=True))
            found.append(_position(session, name, total, paid / total, last[name]))
    return found


def _account(
    session: date,
    rows: dict[str, list[dict[str, Any]]],
    after: list[dict[str, Any]],
    income: float,
    settled: float,
    gained: float,
) -> dict[str, Any]:
    fees = round(sum(fill["fee"] for fill in rows["fills"]), 2)
    flow = sum((1 if fill["side"] == "sell" else -1) * fill["quantity"] * fill["price"] for fill in rows["fills"])
    worth = sum(row["market_value"] for row in after)
    cash = START + flow - fees + income + settled
    return {
        "book": BOOK,
        "session": session,
        "cash_before": START,
        "cash": cash,
        "market_value": worth,
        "equity": cash + worth,
        "realised": sum(trade["pnl"] + trade["fees"] for trade in rows["trades"]) + gained,
        "unrealised": sum(row["unrealised"] for row in after),
        "fees": fees,
        "income": income,
    }


def _ticks(
    session: date, opens: datetime, length: int, names: int, stale: tuple[int, int], missing: tuple[int, int]
) -> list[dict[str, Any]]:
    found = []
    for number in range(1, length + 1):
        if missing[0] <= number < missing[1]:
            continue
        at = opens + number * MINUTE
        behind = stale[0] <= number < stale[1]
        why = "the feed is stale" if behind else "the close is near" if number > length - 30 else None
        why = "too soon after the open" if number < 15 else why
        found.append(
            {
                "book": BOOK,
                "session": session,
                "tick_at": at,
                "symbols": names,
                "fresh": 0 if behind else max(names - (number % 50 == 0), 0),
                "newest_bar_at": opens + stale[0] * MINUTE - MINUTE if behind else at,
                "signals": 0,
                "orders": 0,
                "entries_allowed": why is None,
                "why_not": why,
                "compute_ms": 12.0 + number % 7,
            }
        )
    return found


def _analysis(session: date, at: datetime, minute: int, length: int) -> dict[str, Any]:
    tilt = 2 ** (0.8 * np.sin(minute / length * 6))
    return {
        "book": BOOK,
        "session": session,
        "tick_at": at,
        "source": "rules",
        "mean_reversion": float(1 / tilt),
        "trend_continuation": float(tilt),
        "long": float(tilt**0.6),
        "short": float(tilt**-0.6),
        "summary": ANALYSED,
        "model": None,
        "prompt_hash": None,
        "inputs": "{}",
        "cost": None,
    }


def _minutes(names: list[str], opens: datetime, closing: np.ndarray) -> pl.DataFrame:
    mean = np.cumsum(closing, axis=0) / np.arange(1, len(closing) + 1)[:, None]
    return pl.DataFrame(
        [
            (f"us:{name}", opens + (at + 1) * MINUTE, opens + at * MINUTE, float(closing[at, n]), float(mean[at, n]))
            for n, name in enumerate(names)
            for at in range(len(closing))
        ],
        schema=MINUTES,
        orient="row",
    )


def _bands(names: list[str], closing: np.ndarray) -> pl.DataFrame:
    sigma = [0.004 * float(price) for price in closing[0]] if names else []
    return pl.DataFrame(
        [
            {
                "instrument_id": f"us:{name}",
                **{
                    f"band_{side}_{width}": float(closing[0, n]) + sign * width * sigma[n]
                    for side, sign in (("lower", -1), ("upper", 1))
                    for width in (1, 2, 3)
                },
            }
            for n, name in enumerate(names)
        ],
        schema={name: pl.String if name == "instrument_id" else pl.Float64 for name in BANDS},
    )
