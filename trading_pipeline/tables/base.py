"""How a table is declared, and the columns that many tables share. The tables themselves are in the modules beside it.

Clocks on facts: `available_at` is when the public could have had the row, `known_at` when we received it; a version is
in force until `superseded_at` (null: still). All moments are UTC with microseconds. Prices of bars are as traded unless
a column says otherwise. The lake adds `year`, the partition column, itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from trading_pipeline.errors import SchemaMismatch
from trading_pipeline.research.ordering import in_order, sorted_by

MOMENT = pl.Datetime("us", "UTC")


class Kind(StrEnum):
    """How a table is written.

    received: append-only facts, several versions a key. session: the rows of a session are replaced as a whole.
    decision: every version published is kept, by session and `computed_at`; what vanishes is `withdrawn`. live: rows
    are added tick by tick, in Postgres alone. result: the rows of an owner, such as a backtest's configuration, are
    replaced as a whole.
    """

    RECEIVED = "received"
    SESSION = "session"
    DECISION = "decision"
    LIVE = "live"
    RESULT = "result"


@dataclass(frozen=True)
class Column:
    """A column: its polars type, what it means (with unit), and whether it may be null."""

    name: str
    dtype: pl.DataType | type[pl.DataType]
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A table: its columns in order, the key that is unique within one version, and how it is written.

    session_column: the column that places a row on the session axis. owner: of a result table, the columns that say
    whose rows are replaced together.
    """

    name: str
    kind: Kind
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    session_column: str = "session"
    owner: tuple[str, ...] = ()

    @property
    def schema(self) -> pl.Schema:
        """Column names and polars types, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def names(self) -> list[str]:
        """Column names, in order."""
        return [column.name for column in self.columns]

    def empty(self) -> pl.DataFrame:
        """A frame without rows that has the table's schema."""
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` with the declared columns in order, sorted by key; `SchemaMismatch` names what does not fit.

        That is what is missing, mistyped, null or there twice, and what is not declared: nothing is dropped in silence.
        """
        missing = [name for name in self.names if name not in frame.columns]
        extra = [name for name in frame.columns if name not in self.schema]
        wrong = [
            f"{name} is {frame.schema[name]}, not {dtype}"
            for name, dtype in self.schema.items()
            if name in frame.columns and frame.schema[name] != dtype
        ]
        nulls = [
            column.name
            for column in self.columns
            if not column.nullable and column.name in frame.columns and frame[column.name].null_count()
        ]
        faults = [
            *(f"missing {name}" for name in missing),
            *(f"unexpected {name}" for name in extra),
            *wrong,
            *(f"null in {name}" for name in nulls),
        ]
        if faults:
            raise SchemaMismatch(
                f"A frame for {self.name} does not fit its table: {'; '.join(faults)}",
                "Return exactly the columns declared in tables/",
            )
        rows = sorted_by(frame.select(self.names), self.key_columns)
        # Nulls are never in order, so that a key that holds them is looked through.
        if not in_order(rows, self.key_columns) and rows.select(self.key_columns).is_duplicated().any():
            raise SchemaMismatch(
                f"A frame for {self.name} holds two rows with the same {', '.join(self.key_columns)}",
                "Return one row per key",
            )
        return rows

    @property
    def key_columns(self) -> list[str]:
        """What is unique among all rows: the key, with the version's clocks where versions are kept.

        A provider that tells dated facts may tell several versions of one in one answer: `available_at` sets them
        apart.
        """
        clocks = ["available_at", "known_at"] if self.kind is Kind.RECEIVED else []
        return [*self.key, *(name for name in clocks if name in self.schema and name not in self.key)]


SESSION = Column("session", pl.Date(), "Trading day of the exchange, by its local date")
INSTRUMENT = Column("instrument_id", pl.String(), "Permanent id of the instrument, the same across renames")
TICKER = Column("ticker", pl.String(), "Symbol the instrument traded under on that session")
CURRENCY = Column("currency", pl.String(), "ISO 4217 code of the quote")
PROVIDER = Column("provider", pl.String(), "Where the row came from")
AVAILABLE = Column("available_at", MOMENT, "When the public could first have it")
KNOWN = Column("known_at", MOMENT, "When we received it")
SUPERSEDED = Column("superseded_at", MOMENT, "When a later version took its place; null while in force", True)


def number(name: str, what: str, nullable: bool = False) -> Column:
    """A column of floats."""
    return Column(name, pl.Float64(), what, nullable)
