"""A table's frame is checked and put in order before anything is written."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.errors import SchemaMismatch
from trading_pipeline.research.ordering import in_order, sorted_by
from trading_pipeline.tables import UNIVERSE_MEMBERS

keys = st.lists(st.tuples(st.integers(0, 3), st.text("ab", max_size=2)), max_size=12)


def frame_of(rows: list[tuple[int, str]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"number": pl.Int64, "text": pl.String}, orient="row")


@given(keys)
def test_rows_are_in_order_where_each_is_above_the_one_before(rows):
    assert in_order(frame_of(rows), ["number", "text"]) == all(a < b for a, b in pairwise(rows))


@given(keys)
def test_rows_are_sorted_whatever_order_they_come_in(rows):
    assert sorted_by(frame_of(rows), ["number", "text"]).rows() == sorted(rows)


def test_nulls_are_never_in_order():
    assert not in_order(pl.DataFrame({"number": [1, None, 3]}), ["number"])


def members(*instruments: str) -> pl.DataFrame:
    day = date(2024, 1, 8)
    rows = [(day, "MEGA_CAP", name, name.removeprefix("us:"), None, "seed") for name in instruments]
    return pl.DataFrame(rows, schema=UNIVERSE_MEMBERS.schema, orient="row")


def test_a_frame_that_fits_comes_back_sorted_by_its_key():
    assert UNIVERSE_MEMBERS.conform(members("us:B", "us:C", "us:A"))["ticker"].to_list() == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        (members("us:A", "us:B", "us:A"), "two rows with the same session, universe, instrument_id"),
        (members("us:A").drop("ticker"), "missing ticker"),
        (members("us:A").with_columns(price=1.0), "unexpected price"),
        (members("us:A").with_columns(pl.lit(None, pl.String).alias("ticker")), "null in ticker"),
        (members("us:A").with_columns(session=datetime(2024, 1, 8, tzinfo=UTC)), "session is Datetime"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(frame, fault):
    with pytest.raises(SchemaMismatch, match=fault):
        UNIVERSE_MEMBERS.conform(frame)
