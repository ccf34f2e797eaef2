"""Precision and recall of the received-history audit, per row and per file, over histories with published corrections.

    python benchmarks/quality_report.py FOLDER

FOLDER holds `X.csv` beside its correction `X-fixed.csv`; a file without a correction is taken to be right as it is.
Columns: the date or moment first, then Open, High, Low, Close, Adj Close, Volume, Dividends, Stock Splits and, where
given, Capital Gains, as yfinance writes them. A row is wrong if any of these differs from its correction.

Rows that contradict themselves (a close above the high) and rows of nulls are counted apart: the corrections leave
them as they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import polars as pl

from trading_pipeline.research.bars.quality import HistoryAssessment, assess_history

_NUMBERS = ["Open", "High", "Low", "Close", "Adj Close", "Volume", "Dividends", "Stock Splits"]
_ACTIONS = {"Dividends": "dividend", "Stock Splits": "split", "Capital Gains": "capital_gain"}
_SAME = 1e-5  # relative; the corrections carry 15 digits of what the files carry in 17


class Outcome(NamedTuple):
    """What the audit said of one file: counts of rows, and the rules it named."""

    file: str
    rows: int
    wrong: int
    flagged: int
    hits: int
    contradictory: int
    rules: tuple[str, ...]

    @property
    def precision(self) -> float | None:
        return self.hits / self.flagged if self.flagged else None

    @property
    def recall(self) -> float | None:
        return self.hits / self.wrong if self.wrong else None


def read_history(path: Path) -> pl.DataFrame:
    """The file with `session` (a date, or a moment in exchange time for intraday bars) and numeric columns."""
    raw = pl.read_csv(path, infer_schema=False)
    local = pl.col(raw.columns[0]).str.slice(0, 19)
    raw = raw.with_columns(
        pl.when(local.str.len_chars() == 10)
        .then(local + " 00:00:00")
        .otherwise(local)
        .str.to_datetime()
        .alias("session"),
        *(pl.col(name).cast(pl.Float64) for name in raw.columns if name in {*_NUMBERS, *_ACTIONS}),
    )
    daily = raw["session"].dt.time().n_unique() == 1
    return raw.with_columns(pl.col("session").dt.date()) if daily else raw


def audit(path: Path) -> HistoryAssessment:
    """The received-history audit of one file."""
    raw = read_history(path)
    bars = raw.select(
        pl.lit(path.stem).alias("instrument_id"),
        pl.lit(path.stem).alias("ticker"),
        "session",
        *(pl.col(name).alias(name.lower().replace(" ", "_")) for name in _NUMBERS[:6]),
        pl.lit("yahoo").alias("provider"),
    )
    actions = pl.concat(
        raw.filter(pl.col(column) != 0).select(
            pl.lit(path.stem).alias("instrument_id"),
            "session",
            pl.lit(kind).alias("kind"),
            pl.col(column).alias("value"),
        )
        for column, kind in _ACTIONS.items()
        if column in raw.columns
    )
    return assess_history(bars, actions)


def wrong_sessions(path: Path) -> set[object]:
    """Sessions whose row differs from the correction; empty where there is none."""
    fixed = path.with_name(f"{path.stem}-fixed.csv")
    if not fixed.exists():
        return set()
    both = read_history(path).join(read_history(fixed), on="session", how="full", coalesce=True, suffix=" fixed")
    differs = pl.any_horizontal(
        ((pl.col(name) - pl.col(f"{name} fixed")).abs() > _SAME * pl.col(f"{name} fixed").abs() + 1e-9)
        | (pl.col(name).is_null() != pl.col(f"{name} fixed").is_null())
        for name in _NUMBERS
    )
    return set(both.filter(differs)["session"])


def outcome(path: Path) -> Outcome:
    """Compare what the audit flags with what the correction changes."""
    found = audit(path).rows
    contradictory = set(found.filter(pl.col("part") == "row")["session"])
    blamed = found.filter(pl.col("part") != "row")
    flagged, wrong = set(blamed["session"]), wrong_sessions(path)
    rules = tuple(sorted(set(blamed["rule"])))
    return Outcome(
        path.stem, read_history(path).height, len(wrong), len(flagged), len(flagged & wrong), len(contradictory), rules
    )


def report(folder: Path) -> list[Outcome]:
    """One outcome per file, the corrections themselves included (nothing in them is wrong)."""
    return [outcome(path) for path in sorted(folder.glob("*.csv"))]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    outcomes = report(parser.parse_args().folder)
    print(f"{'file':34}{'rows':>6}{'wrong':>7}{'flagged':>9}{'precision':>11}{'recall':>8}{'self-contr.':>13}  rules")
    for one in outcomes:
        print(
            f"{one.file:34}{one.rows:6}{one.wrong:7}{one.flagged:9}{_share(one.precision):>11}{_share(one.recall):>8}"
            f"{one.contradictory:13}  {', '.join(one.rules)}"
        )
    received = [one for one in outcomes if not one.file.endswith("-fixed")]
    bad, good = [one for one in received if one.wrong], [one for one in received if not one.wrong]
    hits, flagged, wrong = (sum(getattr(one, name) for one in received) for name in ("hits", "flagged", "wrong"))
    print(f"bad files flagged: {sum(one.flagged > 0 for one in bad)} of {len(bad)}")
    print(f"good files flagged: {sum(one.flagged > 0 for one in good)} of {len(good)}")
    precision, recall = hits / flagged if flagged else None, hits / wrong if wrong else None
    print(f"rows: precision {_share(precision)}, recall {_share(recall)}")


if __name__ == "__main__":
    main()
