"""What a write changes: comparing the rows a table holds with the rows it should hold.

What belongs here: pure comparisons shared by the lake and the warehouse, and the reports of writes. What does not:
reading and writing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import polars as pl

from trading_pipeline.errors import InputRefused
from trading_pipeline.tables import MOMENT, Kind, Table

VERSION_COLUMNS = {"computed_at": MOMENT, "withdrawn": pl.Boolean()}

# Values closer than this (relative) are the same decision: a range run and day-by-day runs add up in other orders.
_RELATIVE_TOLERANCE = 1e-9
_ABSOLUTE_TOLERANCE = 1e-12


@dataclass(frozen=True)
class WriteReport:
    """What a write did, in rows. `sessions` are those whose rows changed, ascending; empty: nothing was written."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    sessions: list[date] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.inserted or self.updated or self.deleted)

    def __str__(self) -> str:
        return (
            f"{self.inserted} inserted, {self.updated} updated, {self.deleted} deleted, {self.unchanged} unchanged"
            f" in {len(self.sessions)} sessions"
        )


@dataclass(frozen=True)
class PublishReport:
    """What a publication added: new keys, new versions of known keys, withdrawals; the rest said the same as before."""

    added: int = 0
    revised: int = 0
    withdrawn: int = 0
    unchanged: int = 0
    sessions: list[date] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.added or self.revised or self.withdrawn)

    def __str__(self) -> str:
        return (
            f"{self.added} added, {self.revised} revised, {self.withdrawn} withdrawn, {self.unchanged} unchanged"
            f" in {len(self.sessions)} sessions"
        )


def newest(versions: pl.DataFrame, declared: Table) -> pl.DataFrame:
    """The last version of each key by `computed_at`, withdrawn ones included, sorted by key."""
    key = list(declared.key)
    return versions.sort([*key, "computed_at"]).unique(key, keep="last", maintain_order=True)


def compare(declared: Table, present: pl.DataFrame, rows: pl.DataFrame) -> WriteReport:
    """What making `present` into `rows` changes; null equals null and NaN equals NaN. Both sorted alike."""
    if present.is_empty():
        return WriteReport(inserted=rows.height, sessions=sessions_in(declared, rows))
    if present.equals(rows):
        return WriteReport(unchanged=rows.height)
    key = declared.key_columns
    new = rows.join(present, on=declared.names, how="anti", nulls_equal=True)
    old = present.join(rows, on=declared.names, how="anti", nulls_equal=True)
    updated = new.join(old, on=key, how="semi", nulls_equal=True).height
    return WriteReport(
        inserted=new.height - updated,
        updated=updated,
        deleted=old.height - updated,
        unchanged=rows.height - new.height,
        sessions=sessions_in(declared, pl.concat([new, old])),
    )


def next_versions(
    declared: Table, versions: pl.DataFrame, rows: pl.DataFrame, computed_at: datetime
) -> tuple[pl.DataFrame, PublishReport]:
    """The versions to append so that the latest ones say what `rows` say, and what they are.

    versions: everything published so far for the sessions of `rows`. Floats within 1e-9 (relative) are the same. Keys
    that vanished get a withdrawn version with their last values. A new version is later than the one it follows: where
    the clock went backwards all new ones are stamped a microsecond after it.
    """
    key = list(declared.key)
    before = newest(versions, declared)
    standing = before.filter(~pl.col("withdrawn"))
    differing = _differing(declared, standing, rows)
    gone = standing.join(rows, on=key, how="anti")
    fresh = pl.concat(
        [
            differing.with_columns(withdrawn=pl.lit(False)).select(*declared.names, "withdrawn"),
            gone.with_columns(withdrawn=pl.lit(True)).select(*declared.names, "withdrawn"),
        ]
    )
    last = before.join(fresh, on=key, how="semi")["computed_at"].max()
    if isinstance(last, datetime) and last >= computed_at:
        computed_at = last + timedelta(microseconds=1)
    revised = differing.join(standing, on=key, how="semi").height
    report = PublishReport(
        added=differing.height - revised,
        revised=revised,
        withdrawn=gone.height,
        unchanged=rows.height - differing.height,
        sessions=sessions_in(declared, fresh),
    )
    stamped = fresh.with_columns(computed_at=pl.lit(computed_at, MOMENT))
    return stamped.select(*declared.names, *VERSION_COLUMNS).sort(key), report


def _differing(declared: Table, standing: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that say something other than the standing version of their key, or have none."""
    if standing.is_empty():
        return rows
    suffix = "__standing"
    joined = rows.join(
        standing.select(declared.names).with_columns(pl.lit(True).alias(f"known{suffix}")),
        on=list(declared.key),
        how="left",
        suffix=suffix,
    )
    differs = pl.col(f"known{suffix}").is_null()
    for name, dtype in declared.schema.items():
        if name in declared.key:
            continue
        new, old = pl.col(name), pl.col(f"{name}{suffix}")
        if dtype.is_float():
            new, old = new.fill_nan(None), old.fill_nan(None)
            allowed = _RELATIVE_TOLERANCE * pl.max_horizontal(new.abs(), old.abs()) + _ABSOLUTE_TOLERANCE
            close = new.is_finite() & old.is_finite() & ((new - old).abs() <= allowed)
            differs |= new.ne_missing(old) & close.fill_null(False).not_()
        else:
            differs |= new.ne_missing(old)
    return joined.filter(differs).select(declared.names)


def sessions_in(declared: Table, rows: pl.DataFrame) -> list[date]:
    """The sessions of the rows, ascending."""
    return rows[declared.session_column].unique().sort().to_list()


def refuse_other_sessions(declared: Table, rows: pl.DataFrame, sessions: Sequence[date]) -> None:
    """`InputRefused` where `rows` hold a session that is not one of `sessions`."""
    column = rows[declared.session_column]
    strange = set(column.unique()) - set(sessions)
    if strange:
        others = rows.filter(column.is_in(sorted(strange)))
        raise InputRefused(
            f"A frame for {declared.name} holds {others.height} rows of other sessions, such as"
            f" {others[declared.session_column][0]}",
            "Return only the sessions that were asked for",
        )


def result_table(declared: Table) -> Table:
    """The table, if it is one whose rows belong to owners; `InputRefused` otherwise."""
    if declared.kind is not Kind.RESULT:
        raise InputRefused(
            f"{declared.name} has no owners whose rows are replaced", "Use `replace` or `publish` for it"
        )
    return declared


def refuse_other_owners(declared: Table, rows: pl.DataFrame, owner: Mapping[str, str]) -> None:
    """`InputRefused` where `owner` does not name every owner column, or `rows` belong to somebody else."""
    if set(owner) != set(declared.owner):
        raise InputRefused(
            f"The rows of {declared.name} belong to {', '.join(declared.owner)}, not {', '.join(owner) or 'nobody'}",
            "Name a value for each of them",
        )
    strange = rows.filter(pl.any_horizontal(pl.lit(False), *(pl.col(name) != value for name, value in owner.items())))
    if strange.height:
        raise InputRefused(
            f"A frame for {declared.name} holds {strange.height} rows of others than {', '.join(owner.values())}",
            "Return only the owner's own rows",
        )


def aware(moment: datetime) -> datetime:
    """`moment`, or `InputRefused` where it has no time zone."""
    if moment.tzinfo is None:
        raise InputRefused(
            f"The moment {moment.isoformat()} has no time zone", "Pass a zone-aware datetime, best in UTC"
        )
    return moment
