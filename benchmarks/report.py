"""What a benchmark found, as rows of one table.

A row says what we took, what the baseline took, how the two compare and whether that is what was aimed at. Ratios and
sizes are compared with targets, never seconds of one machine alone unless the target itself is a time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Target:
    """A bound on a value: at least or at most `bound`, shown with `unit`."""

    bound: float
    unit: str
    at_least: bool = False

    def met_by(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}{self.unit}"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ours, baseline: as shown, with their units. ratio: None where only a size or a time is bounded. value: what the
    target is compared with (the ratio, unless said otherwise). note: what the baseline is and how both were had.
    """

    what: str
    ours: str
    baseline: str
    ratio: float | None
    note: str
    target: Target | None = None
    value: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        compared = self.ratio if self.value is None else self.value
        return None if self.target is None or compared is None else self.target.met_by(compared)


def table(rows: Sequence[Row], load_before: Sequence[float], load_after: Sequence[float]) -> RenderableType:
    """The table with one footnote for each distinct note, and the machine's load around the measurements."""
    notes = list(dict.fromkeys(row.note for row in rows))
    shown = Table(title="Ratios, each measured side by side in this run", title_justify="left", title_style="bold")
    shown.add_column("what")
    for name in ("ours", "baseline", "ratio", "target"):
        shown.add_column(name, justify="right")
    shown.add_column("met")
    for row in rows:
        met = {True: "yes", False: "no", None: "-"}[row.met]
        shown.add_row(
            Text(f"{row.what} [{notes.index(row.note) + 1}]"),
            row.ours,
            row.baseline,
            "-" if row.ratio is None else f"{_digits(row.ratio)} x",
            str(row.target or "-"),
            met,
        )
    footnotes = [Text(f"[{number}] {note}") for number, note in enumerate(notes, start=1)]
    cores = f"{os.cpu_count()} cores"
    loads = " and ".join(
        f"{' '.join(f'{value:.1f}' for value in load)} {when}"
        for load, when in ((load_before, "before"), (load_after, "after"))
    )
    return Group(shown, *footnotes, Text(f"Load average over 1, 5 and 15 minutes on {cores}: {loads}."))


def save(rows: Sequence[Row], load_before: Sequence[float], load_after: Sequence[float], path: Path) -> None:
    """The same as JSON."""
    kept = [{**asdict(row), "target": str(row.target) if row.target else None, "met": row.met} for row in rows]
    content = {"cores": os.cpu_count(), "load_before": list(load_before), "load_after": list(load_after), "rows": kept}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _digits(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"
