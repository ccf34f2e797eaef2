"""Receipt of reference data: fundamentals, statements, earnings and news go into the lake as they were told.

What belongs here: which version of a fact is new, with its ids and clocks, and the report of a receipt. What does not:
what a provider says (`providers/`), how the facts are judged (`research/`), and bars (`ingest.py`).

A fact that says the same as the version in force at its `available_at` adds nothing. One that contradicts a stored
version of the same `available_at` is a revision: the public could have it from the moment we received it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import polars as pl

from trading_pipeline.providers.reference import ReferenceBatch
from trading_pipeline.storage.lake import Lake
from trading_pipeline.tables import MOMENT, RECEIVED_EARNINGS, Table

_CLOCKS = ("available_at", "known_at")
_NOT_COMPARED = (*_CLOCKS, "payload")
"""A payload holds the time of day it was made at: compared, every second look would be a revision."""
_SHOWN = 20


@dataclass
class ReferenceReport:
    """What one receipt of reference data asked, got and stored.

    wanted: instruments asked about, summed over providers. failures: (symbol, class of failure, message). withdrawn:
    facts a provider no longer tells. silent: why nothing was asked; empty where something was.
    """

    table: str
    providers: list[str] = field(default_factory=list)
    wanted: int = 0
    answered: int = 0
    http_calls: int = 0
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    new: int = 0
    revised: int = 0
    withdrawn: int = 0
    unchanged: int = 0
    seconds: float = 0.0
    silent: str = ""

    @property
    def coverage(self) -> float:
        """Share of what was asked that was answered; 1 where nothing was asked."""
        return self.answered / self.wanted if self.wanted else 1.0

    @property
    def failed(self) -> dict[str, int]:
        """How many symbols failed, by class of failure."""
        return dict(sorted(Counter(kind for _, kind, _ in self.failures).items()))

    def metadata(self) -> dict[str, Any]:
        """Plain values for a run's metadata; lists are cut to their first twenty."""
        return {
            "providers": self.providers,
            "tickers_wanted": self.wanted,
            "tickers_answered": self.answered,
            "coverage": round(self.coverage, 4),
            "failed": self.failed,
            "failures": [f"{symbol}: {message}" for symbol, _, message in self.failures[:_SHOWN]],
            "http_calls": self.http_calls,
            "rows_new": self.new,
            "rows_revised": self.revised,
            "rows_withdrawn": self.withdrawn,
            "rows_unchanged": self.unchanged,
            "seconds": round(self.seconds, 3),
            **({"not_asked": self.silent} if self.silent else {}),
        }


def store(
    report: ReferenceReport,
    batch: ReferenceBatch,
    *,
    lake: Lake,
    market: str,
    table: Table,
    provider: str,
    ids: Mapping[str, str],
    now: datetime,
    gone: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Append what is new in a provider's answer, and count it in `report`; the rows appended.

    ids: instrument id by the symbol that was asked for; rows of other symbols are not ours and are left out. gone:
    stored rows of the table that the provider was asked about and no longer tells; each gets a last version that is
    `withdrawn`. The table's lock is held around read, compare and append.
    """
    started = time.perf_counter()
    report.providers = sorted({*report.providers, provider})
    report.http_calls += batch.http_calls
    report.wanted += len(ids)
    failed = {failure.symbol for failure in batch.failures}
    report.answered += len([symbol for symbol in ids if symbol not in failed])
    report.failures += [(each.symbol, each.error.kind, each.error.problem) for each in batch.failures]
    told = _identified(batch.rows, table, provider, ids, now)
    with lake.lock(market, table.name):
        mine = pl.col("provider") == provider
        stored = lake.read(market, table.name, predicate=mine & pl.col("instrument_id").is_in(sorted(ids.values())))
        fresh, revised = versions_to_add(table, stored, told, now)
        if gone is not None and gone.height:
            last = gone.select(table.names).with_columns(
                withdrawn=pl.lit(True), available_at=pl.lit(now, MOMENT), known_at=pl.lit(now, MOMENT)
            )
            report.withdrawn += last.height
            fresh = pl.concat([fresh, last])
        lake.append(market, table.name, fresh)
    report.new += fresh.height - revised
    report.revised += revised
    report.unchanged += told.height - fresh.height
    report.seconds += time.perf_counter() - started
    return fresh


def versions_to_add(table: Table, stored: pl.DataFrame, told: pl.DataFrame, now: datetime) -> tuple[pl.DataFrame, int]:
    """(rows of `told` that say something new, how many of them revise a stored version).

    stored: every version held; told: rows of the same columns, received at `now`. A told row is dropped where the
    version in force at its `available_at` says the same; where a stored version of exactly that moment says otherwise,
    it becomes available at `now`.
    """
    if told.is_empty():
        return told, 0
    facts = [name for name in table.names if name not in _NOT_COMPARED and name not in table.key]
    key = list(table.key)
    said = pl.struct(facts).hash(seed=0)
    old = stored.select(*key, *_CLOCKS, said=said, told=pl.lit(False))
    new = told.with_row_index("row").with_columns(said=said, told=pl.lit(True))
    contradicted = (
        new.join(old.select(*key, "available_at", before="said"), on=[*key, "available_at"], how="left")
        .group_by("row")
        .agg(pl.col("before").is_not_null().any() & (pl.col("before") != pl.col("said")).all())
        .filter("before")["row"]
    )
    new = new.with_columns(
        available_at=pl.when(pl.col("row").is_in(contradicted.implode()))
        .then(pl.lit(now, MOMENT))
        .otherwise("available_at")
    )
    order = [*key, "available_at", "known_at", "told"]
    story = pl.concat([old.with_columns(row=pl.lit(None, pl.UInt32)), new.select(*old.columns, "row")]).sort(order)
    changes = story.with_columns(before=pl.col("said").shift(1).over(key)).filter(
        pl.col("told") & (pl.col("before").is_null() | (pl.col("before") != pl.col("said")))
    )
    kept = new.filter(pl.col("row").is_in(changes["row"].implode())).select(table.names)
    return kept, kept.join(stored, on=key, how="semi").height


def no_longer_told(
    stored: pl.DataFrame, told: pl.DataFrame, provider: str, answered: Sequence[str], today: date
) -> pl.DataFrame:
    """The versions in force of coming reports that a provider was asked about and does not tell any more.

    stored: every version of `received_earnings`, past dates included: a report may have been moved to a day that is
    over by now. told: the provider's answer. answered: instrument ids it answered for. today: exchange date.
    """
    in_force = (
        stored.filter((pl.col("provider") == provider) & pl.col("instrument_id").is_in(list(answered)))
        .sort("available_at", "known_at")
        .unique(RECEIVED_EARNINGS.key, keep="last", maintain_order=True)
    )
    coming = in_force.filter(~pl.col("withdrawn") & pl.col("eps_actual").is_null() & (pl.col("report_date") > today))
    return coming.join(told.select("symbol", "fiscal_period").unique(), on=["symbol", "fiscal_period"], how="anti")


def _identified(rows: pl.DataFrame, table: Table, provider: str, ids: Mapping[str, str], now: datetime) -> pl.DataFrame:
    """The answer's rows with the columns of the table; the first of equal keys and moments stands."""
    names = pl.DataFrame(
        {"symbol": list(ids), "instrument_id": list(ids.values())},
        schema={"symbol": pl.String, "instrument_id": pl.String},
    )
    known = rows.join(names, on="symbol", how="inner").with_columns(
        provider=pl.lit(provider), known_at=pl.lit(now, MOMENT)
    )
    if "published_on" in table.schema:
        known = known.with_columns(published_on=pl.col("published_at").dt.date())
    if "withdrawn" in table.schema:
        known = known.with_columns(withdrawn=pl.lit(False))
    return known.select(table.names).unique([*table.key, "available_at"], keep="first", maintain_order=True)
