"""A trading day in the terminal: the same numbers as its page, in eight lines."""

from __future__ import annotations

import polars as pl
from rich.console import Group, RenderableType
from rich.text import Text

from trading_pipeline.reports import wording
from trading_pipeline.reports.trading_day.accounting import checks, profit
from trading_pipeline.reports.trading_day.day import TradingDay
from trading_pipeline.reports.trading_day.feed import feed
from trading_pipeline.reports.trading_day.page import OUTCOMES, sentence
from trading_pipeline.reports.trading_day.trips import EXITS


def summary_renderable(day: TradingDay, *, page: str | None) -> Group:
    """What a day came to: signals, orders, fills, profit, fees, best and worst trade, the ledger, where the page is.

    page: its path or URL, None where none was written. Every text from the data is taken as it is.
    """
    market, currency = day.market, day.market.currency
    lines: list[RenderableType] = [
        Text(f"\n{'Replay' if day.replayed else 'Live'} of {wording.day(day.session)}, {market.name.upper()} "
             f"({market.exchange}), book {day.book}", "bold"),
    ]  # fmt: skip
    if day.simulated:
        lines.append(Text("SIMULATED: every company, price and number below is fictional.", "bold yellow"))
    gained, health = profit(day), feed(day)
    costs = f"{wording.cash(float(day.fills['fee'].sum()), currency)} fees"
    if income := (day.account or {}).get("income"):
        costs += f" and with {wording.cash(income, currency, signed=True)} of dividends"
    lines.append(_listed("Signals", _signals(day)))
    states = day.placed["status"].fill_null("pending").value_counts().sort("count", "status", descending=[True, False])
    told = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in states.iter_rows())
    lines.append(
        _listed(
            "Orders", f"{day.placed.height}{f' ({told})' if told else ''}, {wording.count(day.fills.height, 'fill')}"
        )
    )
    money = wording.cash(gained, currency, signed=True)
    style = "bold blue" if gained > 0 else "bold magenta" if gained < 0 else "bold"
    lines.append(Text.assemble(("P&L       ", "bold"), (money, style), f" after {costs}. {sentence(day)}"))
    lines += _extremes(day)
    if health.missing or health.stale:
        ill = [f"{wording.count(health.missing, 'tick')} missing"] if health.missing else []
        ill += [f"stale for {wording.count(health.stale, 'minute')}"] if health.stale else []
        lines.append(_listed("Feed", ", ".join(ill)))
    made = checks(day)
    broken = [check.what for check in made if not check.holds]
    ledger = f"does NOT add up: {'; '.join(broken)}" if broken else "adds up to the cent" if made else "not closed yet"
    lines += [_listed("Ledger", ledger, "bold red" if broken else "bold"), _listed("Page", page or "none was written")]
    return Group(*lines)


def _signals(day: TradingDay) -> str:
    total = day.trade_signals.height
    if not total:
        return "none"
    counts = day.trade_signals["outcome"].value_counts().sort("count", "outcome", descending=[True, False])
    ordered = dict(counts.iter_rows()).get("ordered", 0)
    refused = ", ".join(
        f"{count} {OUTCOMES.get(outcome, outcome)[0].lower()}{OUTCOMES.get(outcome, outcome)[1:]}"
        for outcome, count in counts.iter_rows()
        if outcome != "ordered"
    )
    return f"{total}, {ordered} ordered{f'; {refused}' if refused else ''}"


def _extremes(day: TradingDay) -> list[RenderableType]:
    """The best and the worst trade; one alone is named once."""
    rows = day.trades.sort(pl.col("pnl").round(9), "trade_id", descending=[True, False]).to_dicts()
    named = [("Best", rows[0])] if rows else []
    if len(rows) > 1:
        named.append(("Worst", rows[-1]))
    return [
        _listed(
            label,
            f"{row['ticker']} {row['side']} {wording.cash(row['pnl'], day.market.currency, signed=True)}"
            + (f", {wording.number(row['r_multiple'], 2, signed=True)} R" if row["r_multiple"] is not None else "")
            + f", out {EXITS.get(row['exit_reason'], row['exit_reason'])}",
        )
        for label, row in named
    ]


def _listed(label: str, text: str, style: str = "bold") -> Text:
    return Text.assemble((f"{label:<10}", style), text)
