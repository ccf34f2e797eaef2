"""The end of a run in the terminal: the same numbers as the briefing, in a screenful.

What belongs here: choosing and arranging them. What does not: where the run prints it; Rich drops colours and widths by
itself where the output is no terminal.
"""

from __future__ import annotations

from typing import Literal

import polars as pl
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trading_pipeline.reports import decisions, wording
from trading_pipeline.reports.briefing import (
    BriefingInputs,
    issue_counts,
    regime_sentence,
    streak_sentence,
    threshold_counts,
)

TOP_DIPS = 10
TOP_LEADERS = 10
TOP_DESK = 10
RULES = 8
_COMPONENTS = ("Points", "Figures", "Trend", "Str.", "Sector", "Cat.")
_ENVIRONMENT_STYLES = {"A": "bold blue", "B": "bold cyan", "C": "bold yellow", "D": "bold magenta"}


def summary_renderable(inputs: BriefingInputs, *, briefing: str | None, ui_command: str = "make ui") -> Group:
    """What a run found: regime with reasons, leaders, dip desk, dips, quarantine, where to read on.

    briefing: path or URL of the page, None where none was written. Every text from the data is taken as it is: a ticker
    that looks like Rich markup is printed, not obeyed.
    """
    parts: list[RenderableType] = [
        *_header(inputs),
        *_regime(inputs),
        *_leaderboard(inputs),
        *_desk(inputs),
        *_dips(inputs),
        *_quarantine(inputs),
        _pointers(inputs, briefing, ui_command),
    ]
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


def _leaderboard(inputs: BriefingInputs) -> list[RenderableType]:
    leaders = inputs.leaders
    if leaders.is_empty():
        return [Text("\nLeaderboard: no scores were published for this session.")]
    table = _table({"": "right", "Ticker": "left", "Verdict": "left", **dict.fromkeys(_COMPONENTS, "right")})
    for row in leaders.head(TOP_LEADERS).iter_rows(named=True):
        table.add_row(
            str(row["rank"]),
            Text(row["ticker"]),
            f"{row['verdict']} {row['grade'] or ''}".strip(),
            wording.number(row["total"]),
            *(wording.number(row[column], 0) for column in decisions.COMPONENTS),
            Text(row["sector"] or "sector unknown", overflow="ellipsis", no_wrap=True),
        )
    found = dict(leaders["verdict"].value_counts().iter_rows())
    spoken = ", ".join(f"{found[name]} {name}" for name in decisions.VERDICTS if name in found)
    return [
        Text(f"\nLeaderboard: {wording.count(leaders.height, 'member')} judged: {spoken}."),
        Padding(table, (0, 0, 0, 2)),
    ]


def _desk(inputs: BriefingInputs) -> list[RenderableType]:
    desk = inputs.desk
    least = wording.plain(inputs.thresholds[0])
    if desk.is_empty():
        untold = inputs.dips.height and inputs.dips["on_desk"].is_null().all()
        why = "no causes were told for this session" if untold else f"no name on it is {least}% or more below its high"
        return [Text(f"\nDip desk: {why}.")]
    table = _table({"Ticker": "left", "Below high": "right", "Verdict": "left", "Cause": "left", "Do": "left"}, "Size")
    for row in desk.head(TOP_DESK).iter_rows(named=True):
        table.add_row(
            Text(row["ticker"]),
            f"{wording.number(row['dip_pct'])}%",
            f"{row['verdict'] or 'No verdict'} {row['grade'] or ''}".strip(),
            decisions.cause_name(row["cause"]),
            (row["action"] or wording.UNKNOWN).capitalize(),
            decisions.size(row, inputs.market.currency),
        )
    more = f" The first {TOP_DESK}, what may be bought first:" if desk.height > TOP_DESK else ""
    return [
        Text(f"\nDip desk: {wording.count(desk.height, 'name')} {least}% or more below the high.{more}"),
        Padding(table, (0, 0, 0, 2)),
    ]


def _table(columns: dict[str, Literal["left", "right"]], last: str = "") -> Table:
    """Numbers are never cut: where the terminal is narrow, the last column gives way."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name, justify in columns.items():
        table.add_column(name, justify=justify, min_width=len(name), no_wrap=True)
    table.add_column(last, overflow="ellipsis", max_width=28)
    return table


def _dips(inputs: BriefingInputs) -> list[RenderableType]:
    dips = inputs.deepest_first
    if dips.is_empty():
        return [Text(f"\nDips: no member is {wording.plain(inputs.thresholds[0])}% or more below its 52-week high.")]
    counts = ", ".join(
        f"{found} by {wording.plain(threshold)}% or more" for threshold, found in threshold_counts(inputs)
    )
    numbers = ("Below high", inputs.market.currency, "Sessions", "Market", "Sector", "Company")
    table = _table({"Ticker": "left", **dict.fromkeys(numbers, "right")})
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
