"""The premarket in the terminal: the same numbers as its page, in eight lines."""

from __future__ import annotations

import polars as pl
from rich.console import Group, RenderableType
from rich.text import Text

from trading_pipeline.reports import wording
from trading_pipeline.reports.premarket.inputs import PremarketInputs
from trading_pipeline.reports.premarket.words import market_line

NAMED = 5


def summary_renderable(inputs: PremarketInputs, *, page: str | None) -> Group:
    """What the morning says: the market, the strongest longs and shorts, the largest gaps, where the page is.

    page: its path or URL, None where none was written. Every text from the data is taken as it is.
    """
    market = inputs.market
    title = Text(f"\nPremarket of {wording.day(inputs.session)}, {market.name.upper()} ({market.exchange})", "bold")
    if inputs.watched.is_empty():
        return Group(title, Text("Nobody was prepared: no snapshot and no bias of this session is stored."))
    lines: list[RenderableType] = [title]
    if inputs.simulated:
        lines.append(Text("SIMULATED: every company, price and number below is fictional.", "bold yellow"))
    today = inputs.today
    grade = f"Environment {today['environment']}, {today['regime']}. " if today else "No environment. "
    lines += [
        Text(grade + market_line(inputs) + (" Rebuilt later." if inputs.taken == "rebuilt" else "")),
        _listed("Long", _leaning(inputs, "long"), "bold blue"),
        _listed("Short", _leaning(inputs, "short"), "bold magenta"),
        _listed("Gaps up", _gapping(inputs, up=True)),
        _listed("Gaps down", _gapping(inputs, up=False)),
        _listed("Page", page or "none was written"),
    ]
    return Group(*lines)


def _leaning(inputs: PremarketInputs, bias: str) -> str:
    rows = inputs.strongest(bias)
    shown = ", ".join(
        f"{ticker} {wording.percent(sure, 0)}"
        for ticker, sure in rows.select("ticker", "confidence").head(NAMED).iter_rows()
    )
    return f"{shown} sure{_and_more(rows)}" if shown else "none"


def _gapping(inputs: PremarketInputs, *, up: bool) -> str:
    rows = inputs.gaps(up)
    shown = ", ".join(
        f"{ticker} {wording.number(gap, 2, signed=True)}%"
        for ticker, gap in rows.select("ticker", "gap_pct").head(NAMED).iter_rows()
    )
    return f"{shown}{_and_more(rows)}" if shown else "none"


def _and_more(rows: pl.DataFrame) -> str:
    return f" and {rows.height - NAMED} more" if rows.height > NAMED else ""


def _listed(label: str, text: str, style: str = "bold") -> Text:
    return Text.assemble((f"{label:<10}", style), text)
