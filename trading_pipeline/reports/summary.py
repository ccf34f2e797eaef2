"""The end of a run in the terminal: the same numbers as the briefing, in a screenful.

What belongs here: choosing and arranging them. What does not: where the run prints it; Rich drops colours and widths by
itself where the output is no terminal.
"""

from __future__ import annotations

import polars as pl
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trading_pipeline.reports import wording
from trading_pipeline.reports.briefing import (
    BriefingInputs,
    issue_counts,
    regime_sentence,
    streak_sentence,
    threshold_counts,
)

TOP_DIPS = 10
RULES = 8
_ENVIRONMENT_STYLES = {"A": "bold blue", "B": "bold cyan", "C": "bold yellow", "D": "bold magenta"}


def summary_renderable(inputs: BriefingInputs, *, briefing: str | None, ui_command: str = "make ui") -> Group:
    """What a run found: regime with reasons, deepest dips, what was quarantined, where to read and look further.

    briefing: path or URL of the page, None where none was written. Every text from the data is taken as it is: a ticker
    that looks like Rich markup is printed, not obeyed.
    """
    parts: list[RenderableType] = [*_header(inputs), *_regime(inputs), *_dips(inputs), *_quarantine(inputs)]
    parts.append(_pointers(inputs, briefing, ui_command))
    return Group(*parts)


def _header(inputs: BriefingInputs) -> list[RenderableType]:
    market = inputs.market
    title = Text(f"{market.name.upper()} ({market.exchange}), {wording.day(inputs.session)}", style="bold")
    if not inputs.simulated:
        return [title]
    return [title, Text("SIMULATED: every company, price and number below is fictional.", style="bold yellow")]


def _regime(inputs: BriefingInputs) -> list[RenderableType]:
    today = inputs.today
    if today is None:
        return [Text("\nNo environment was published for this session.")]
    headline = Text("\n")
    headline.append(
        f"Environment {today['environment']}, {today['regime']}",
        style=_ENVIRONMENT_STYLES.get(today["environment"], "bold"),
    )
    headline.append(f": {regime_sentence(today)}")
    lines = [line.strip() for line in today["reasons"].splitlines() if line.strip()]
    streak = streak_sentence(inputs.regime, inputs.session)
    return [headline, _listed(lines), *([Text(f"  {streak}", style="dim")] if streak else [])]


def _dips(inputs: BriefingInputs) -> list[RenderableType]:
    dips = inputs.deepest_first
    if dips.is_empty():
        return [Text(f"\nDips: no member is {wording.plain(inputs.thresholds[0])}% or more below its 52-week high.")]
    counts = ", ".join(
        f"{found} by {wording.plain(threshold)}% or more" for threshold, found in threshold_counts(inputs)
    )
    # Numbers are never cut: where the terminal is narrow, the sector's name gives way.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("Ticker", "Below high", inputs.market.currency, "Sessions", "Market", "Sector", "Company"):
        table.add_column(name, justify="left" if name == "Ticker" else "right", min_width=len(name), no_wrap=True)
    table.add_column("", overflow="ellipsis", max_width=28)
    for dip in dips.head(TOP_DIPS).iter_rows(named=True):
        mark = "" if dip["data_quality"] == "good" else f"{dip['data_quality']}, "
        table.add_row(
            Text(dip["ticker"]),
            f"{wording.number(dip['dip_pct'])}%",
            wording.price(dip["price"]),
            wording.number(dip["sessions_since_high"], 0),
            *(wording.percent(dip[f"{part}_part"], signed=True) for part in ("market", "sector", "company")),
            Text(f"{mark}{dip['sector'] or 'sector unknown'}", overflow="ellipsis", no_wrap=True),
        )
    return [
        Text(f"\nDips below the 52-week high: {counts}."),
        Text(f"The {min(TOP_DIPS, dips.height)} deepest, the sessions since the high, and what explains the fall:"),
        Padding(table, (0, 0, 0, 2)),
    ]


def _quarantine(inputs: BriefingInputs) -> list[RenderableType]:
    if inputs.issues.is_empty():
        return [Text("\nQuarantine: every bar passed every rule.")]
    counts = issue_counts(inputs.issues)
    totals = counts.group_by("severity", maintain_order=True).agg(pl.col("issues").sum())
    spoken = ", ".join(f"{issues} {severity}" for severity, issues in totals.iter_rows())
    rules = [
        f"{rule}: {wording.number(issues, 0)} {severity}, {wording.count(instruments, 'ticker')}"
        for severity, rule, issues, instruments in counts.head(RULES).iter_rows()
    ]
    if counts.height > RULES:
        rules.append(f"and {wording.count(counts.height - RULES, 'more rule')}")
    return [
        Text(f"\nQuarantine: {wording.count(inputs.issues.height, 'issue')} ({spoken})."),
        _listed(rules),
    ]


def _listed(lines: list[str]) -> Table:
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row("  -", Text(line))
    return grid


def _pointers(inputs: BriefingInputs, briefing: str | None, ui_command: str) -> Text:
    text = Text("\n")
    text.append("Briefing  ", style="bold")
    text.append(briefing or "none was written")
    text.append("\nUI        ", style="bold")
    text.append(f"{ui_command}, then open what it prints")
    text.append("\nProvider  ", style="bold")
    text.append(f"{inputs.provider}, the {inputs.world} world")
    return text


__all__ = ["summary_renderable"]
