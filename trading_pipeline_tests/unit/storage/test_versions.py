"""What a write changes, decided on frames alone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from trading_pipeline.errors import InputRefused
from trading_pipeline.storage.versions import aware, compare, newest, next_versions, refuse_other_sessions
from trading_pipeline.tables import Column, Kind, Table

DAY = date(2024, 1, 8)
NEXT = date(2024, 1, 9)
NOON = datetime(2024, 1, 8, 12, tzinfo=UTC)
TABLE = Table(
    "verdicts",
    Kind.DECISION,
    "A small decision table.",
    ("session", "ticker"),
    (
        Column("session", pl.Date(), "Session"),
        Column("ticker", pl.String(), "Ticker"),
        Column("score", pl.Float64(), "Score", True),
        Column("grade", pl.String(), "Grade", True),
    ),
)


def rows(*values: tuple[str, float | None, str | None], session: date = DAY) -> pl.DataFrame:
    return pl.DataFrame([(session, *value) for value in values], schema=TABLE.schema, orient="row")


def nothing() -> pl.DataFrame:
    return pl.DataFrame(schema={**TABLE.schema, "computed_at": pl.Datetime("us", "UTC"), "withdrawn": pl.Boolean})


def published(*steps: pl.DataFrame) -> pl.DataFrame:
    """Every version after publishing the frames one after another, a minute apart."""
    versions = nothing()
    for minutes, step in enumerate(steps):
        fresh, _ = next_versions(TABLE, versions, step, NOON + timedelta(minutes=minutes))
        versions = pl.concat([versions, fresh])
    return versions


def says(versions: pl.DataFrame) -> dict[str, float | None]:
    standing = newest(versions, TABLE).filter(~pl.col("withdrawn"))
    return dict(standing.select("ticker", "score").iter_rows())


class TestNextVersions:
    def test_the_first_publication_adds_every_row(self):
        fresh, report = next_versions(TABLE, nothing(), rows(("A", 1.0, "x"), ("B", 2.0, "y")), NOON)
        assert (report.added, report.revised, report.withdrawn) == (2, 0, 0)
        assert fresh["computed_at"].unique().to_list() == [NOON]
        assert report.sessions == [DAY]

    def test_saying_the_same_again_adds_nothing(self):
        same = rows(("A", 1.0, "x"), ("B", None, None))
        fresh, report = next_versions(TABLE, published(same), same.reverse(), NOON + timedelta(hours=1))
        assert fresh.is_empty()
        assert not report.changed
        assert report.unchanged == 2

    @pytest.mark.parametrize(
        ("before", "after", "differs"),
        [
            (1.0, 1.0 + 1e-12, False),
            (1e9, 1e9 * (1 + 5e-10), False),
            (1e9, 1e9 * (1 + 5e-9), True),
            (0.0, 1e-13, False),
            (0.0, 1e-6, True),
            (None, 0.0, True),
            (0.0, None, True),
            (None, float("nan"), False),
            (float("inf"), float("inf"), False),
            (float("inf"), float("-inf"), True),
            (float("inf"), 1.0, True),
        ],
    )
    def test_numbers_differ_beyond_a_billionth(self, before, after, differs):
        _, report = next_versions(TABLE, published(rows(("A", before, "x"))), rows(("A", after, "x")), NOON)
        assert report.changed is differs

    def test_a_text_that_became_null_is_another_decision(self):
        _, report = next_versions(TABLE, published(rows(("A", 1.0, "x"))), rows(("A", 1.0, None)), NOON)
        assert report.revised == 1

    def test_what_vanished_is_withdrawn_with_its_last_values_and_can_come_back(self):
        versions = published(rows(("A", 1.0, "x"), ("B", 2.0, "y")), rows(("A", 1.0, "x")))
        gone = newest(versions, TABLE).filter(pl.col("withdrawn"))
        assert gone.select("ticker", "score", "grade").rows() == [("B", 2.0, "y")]
        back, report = next_versions(TABLE, versions, rows(("A", 1.0, "x"), ("B", 2.0, "y")), NOON + timedelta(hours=1))
        assert (report.added, back["ticker"].to_list()) == (1, ["B"])

    def test_what_is_withdrawn_already_is_not_withdrawn_again(self):
        versions = published(rows(("A", 1.0, "x")), TABLE.empty())
        fresh, _ = next_versions(TABLE, versions, TABLE.empty(), NOON + timedelta(hours=1))
        assert fresh.is_empty()

    def test_there_and_back_is_three_versions(self):
        versions = published(rows(("A", 1.0, "x")), rows(("A", 2.0, "x")), rows(("A", 1.0, "x")))
        assert versions.height == 3
        assert says(versions) == {"A": 1.0}

    @pytest.mark.parametrize("late", [timedelta(0), timedelta(hours=-5)])
    def test_a_clock_that_went_backwards_cannot_hide_the_new_version(self, late):
        versions = published(rows(("A", 1.0, "x")))
        fresh, _ = next_versions(TABLE, versions, rows(("A", 2.0, "x")), NOON + late)
        assert fresh["computed_at"][0] == NOON + timedelta(microseconds=1)
        assert says(pl.concat([versions, fresh])) == {"A": 2.0}


class TestCompare:
    def test_counts_what_came_changed_and_went(self):
        present = rows(("A", 1.0, "x"), ("B", 2.0, "y"), ("C", 3.0, "z"))
        report = compare(TABLE, present, rows(("A", 1.0, "x"), ("B", 9.0, "y"), ("D", 4.0, "z")))
        assert (report.inserted, report.updated, report.deleted, report.unchanged) == (1, 1, 1, 1)

    def test_names_only_the_sessions_that_differ(self):
        present = pl.concat([rows(("A", 1.0, "x")), rows(("A", 1.0, "x"), session=NEXT)])
        report = compare(TABLE, present, pl.concat([rows(("A", 1.0, "x")), rows(("A", 2.0, "x"), session=NEXT)]))
        assert report.sessions == [NEXT]

    def test_null_equals_null_and_nan_equals_nan(self):
        present = rows(("A", None, None), ("B", float("nan"), "y"))
        assert not compare(TABLE, present, present.clone()).changed
        changed = compare(TABLE, present, rows(("A", None, None), ("B", float("nan"), "z")))
        assert (changed.updated, changed.unchanged) == (1, 1)


def test_rows_of_other_sessions_are_refused():
    with pytest.raises(InputRefused, match="1 rows of other sessions, such as 2024-01-09"):
        refuse_other_sessions(TABLE, rows(("A", 1.0, "x"), session=NEXT), [DAY])


def test_a_moment_without_zone_is_refused():
    with pytest.raises(InputRefused, match="no time zone"):
        aware(NOON.replace(tzinfo=None))
