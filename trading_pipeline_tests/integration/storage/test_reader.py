"""Bars as of a moment: the versions visible then, adjusted by the actions visible then."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from trading_pipeline.errors import InputRefused
from trading_pipeline.storage.reader import bars
from trading_pipeline.tables import CORPORATE_ACTIONS, DAILY_BARS, MOMENT

MON, TUE, WED, THU, FRI = (date(2024, 1, day) for day in (8, 9, 10, 11, 12))
ALWAYS = datetime(2030, 1, 1, tzinfo=UTC)
REVISED_AT = datetime(2024, 1, 20, 12, tzinfo=UTC)


def close_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 22, 30, tzinfo=UTC)


@pytest.fixture
def filled(lake, make_bars, week):
    """Five sessions of two tickers, received late; AAA's Tuesday revised on the 20th, BBB's Wednesday bad."""
    received = datetime(2024, 1, 15, tzinfo=UTC)
    frame = make_bars(week).with_columns(
        available_at=pl.col("session").map_elements(close_of, return_dtype=MOMENT), known_at=pl.lit(received, MOMENT)
    )
    revised = (pl.col("ticker") == "AAA") & (pl.col("session") == TUE)
    moment = pl.lit(REVISED_AT, MOMENT)
    first = frame.with_columns(
        superseded_at=pl.when(revised).then(moment),
        data_quality=pl.when((pl.col("ticker") == "BBB") & (pl.col("session") == WED))
        .then(pl.lit("bad"))
        .otherwise(pl.lit("good")),
    )
    second = frame.filter(revised).with_columns(close=pl.lit(10.5), available_at=moment, known_at=moment)
    lake.replace("us", "daily_bars", week, pl.concat([first, second.select(DAILY_BARS.names)]))
    return lake


def act(lake, kind: str, session: date, value: float, known_at: datetime | None = None) -> None:
    opens = datetime(session.year, session.month, session.day, 14, 30, tzinfo=UTC)
    known = known_at or opens
    row = (session, "us:AAA", "AAA", kind, value, "USD", "yahoo", False, "", max(opens, known), known, None)
    frame = pl.DataFrame([row], schema=CORPORATE_ACTIONS.schema, orient="row")
    lake.replace("us", "corporate_actions", [session], frame)


def closes(frame: pl.DataFrame, ticker: str = "AAA") -> dict[date, float]:
    return dict(frame.filter(pl.col("ticker") == ticker).select("session", "close").sort("session").iter_rows())


def test_a_moment_shows_only_what_the_public_could_have(filled, week):
    seen = bars(filled, "us", week, as_of=close_of(WED))
    assert closes(seen) == {MON: 10.0, TUE: 10.0, WED: 10.0}
    assert closes(bars(filled, "us", week, as_of=close_of(WED) - timedelta(microseconds=1))) == {MON: 10.0, TUE: 10.0}


def test_a_revision_counts_from_the_moment_it_was_made(filled, week):
    before = bars(filled, "us", week, as_of=REVISED_AT - timedelta(microseconds=1))
    after = bars(filled, "us", week, as_of=REVISED_AT)
    assert closes(before)[TUE] == 10.0
    assert closes(after)[TUE] == 10.5
    assert after.select("session", "instrument_id").is_duplicated().any() is False


def test_the_known_clock_shows_what_we_had_received(filled, week):
    assert bars(filled, "us", week, as_of=close_of(FRI), clock="known").is_empty()
    assert len(closes(bars(filled, "us", week, as_of=datetime(2024, 1, 15, tzinfo=UTC), clock="known"))) == 5


def test_bad_bars_are_left_out_unless_asked_for(filled, week):
    assert WED not in closes(bars(filled, "us", week, as_of=ALWAYS), "BBB")
    assert WED in closes(bars(filled, "us", week, as_of=ALWAYS, include_bad=True), "BBB")


def test_only_the_sessions_and_instruments_asked_for(filled):
    found = bars(filled, "us", [MON, FRI], as_of=ALWAYS, instruments=["us:AAA", "us:NOBODY"])
    assert sorted(found["session"].to_list()) == [MON, FRI]
    assert found["ticker"].unique().to_list() == ["AAA"]
    assert found.schema == DAILY_BARS.schema
    assert bars(filled, "us", [], as_of=ALWAYS).schema == DAILY_BARS.schema


def test_a_split_moves_the_prices_before_it_and_nothing_stored(filled, week):
    act(filled, "split", THU, 2.0)
    adjusted = bars(filled, "us", week, as_of=REVISED_AT - timedelta(days=1), adjust="splits")
    assert closes(adjusted) == {MON: 5.0, TUE: 5.0, WED: 5.0, THU: 10.0, FRI: 10.0}
    volume = dict(adjusted.filter(pl.col("ticker") == "AAA").select("session", "volume").iter_rows())
    assert (volume[MON], volume[THU]) == (2_000.0, 1_000.0)
    assert closes(adjusted, "BBB")[MON] == 11.0
    assert closes(bars(filled, "us", week, as_of=ALWAYS))[MON] == 10.0


def test_a_split_that_nobody_knew_yet_moves_nothing(filled, week):
    act(filled, "split", THU, 2.0, known_at=REVISED_AT)
    assert closes(bars(filled, "us", week, as_of=close_of(FRI), adjust="splits"))[MON] == 10.0
    assert closes(bars(filled, "us", week, as_of=REVISED_AT, adjust="splits"))[MON] == 5.0


def test_a_split_after_the_range_moves_nothing(filled):
    act(filled, "split", THU, 2.0)
    assert closes(bars(filled, "us", [MON, TUE, WED], as_of=ALWAYS, adjust="splits"))[MON] == 10.0


def test_total_return_takes_dividends_out_too(filled, week):
    act(filled, "dividend", THU, 1.0)
    assert closes(bars(filled, "us", week, as_of=ALWAYS, adjust="splits"))[MON] == 10.0
    assert closes(bars(filled, "us", week, as_of=ALWAYS, adjust="total_return"))[MON] == pytest.approx(9.0)


@pytest.mark.parametrize(
    "wrong",
    [{"as_of": datetime(2024, 1, 12)}, {"clock": "wall"}, {"adjust": "backwards"}],  # noqa: DTZ001
)
def test_an_unclear_question_is_refused(filled, week, wrong):
    with pytest.raises(InputRefused):
        bars(filled, "us", week, **{"as_of": ALWAYS, **wrong})
