"""The earnings calendar: what was known of reports on each session, and how prices used to react."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from trading_pipeline.research import earnings as module
from trading_pipeline.research.earnings import AHEAD, LOOKBACK, earnings_calendar
from trading_pipeline.tables import reference

START = date(2020, 1, 1)
PRIORITY = ("finnhub", "yahoo")
REPORT = {
    "instrument_id": "us:A",
    "symbol": "A",
    "report_date": date(2024, 5, 1),
    "timing": "bmo",
    "fiscal_period": "2024Q1",
    "eps_estimate": None,
    "eps_actual": None,
    "revenue_estimate": None,
    "revenue_actual": None,
    "confirmed": None,
    "withdrawn": False,
    "provider": "finnhub",
    "available_at": None,
    "known_at": None,
}


def decided(session: date) -> datetime:
    return datetime.combine(session, time(22), UTC)


def weekdays(first: date, count: int) -> list[date]:
    days = np.arange(np.datetime64(first), np.datetime64(first) + count * 2)
    return days[np.is_busday(days)][:count].tolist()


CALENDAR = weekdays(START, 1500)
DECIDED = pl.DataFrame({"session": CALENDAR, "decided_at": [decided(day) for day in CALENDAR]})


def reports(*rows):
    full = []
    for row in rows:
        available = row.get("available_at", decided(START))
        full.append({**REPORT, **row, "available_at": available, "known_at": row.get("known_at", available)})
    return pl.DataFrame(full, schema=reference.RECEIVED_EARNINGS.schema)


def actions(*rows):
    schema = {
        "session": pl.Date,
        "instrument_id": pl.String,
        "kind": pl.String,
        "available_at": pl.Datetime("us", "UTC"),
    }
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def members_on(sessions, ids=("us:A",)):
    return pl.DataFrame(
        [
            (day, name, name.removeprefix("us:"), universe)
            for day in sessions
            for name in ids
            for universe in ("X", "Y")
        ],
        schema={"session": pl.Date, "instrument_id": pl.String, "ticker": pl.String, "universe": pl.String},
        orient="row",
    )


def returns_of(values):
    return pl.DataFrame(
        [(day, "us:A", value) for day, value in values.items()],
        schema={"session": pl.Date, "instrument_id": pl.String, "excess_return": pl.Float64},
        orient="row",
    )


def on(session, told, *, moves=None, paid=None, priority=PRIORITY):
    frame = earnings_calendar(
        told,
        actions() if paid is None else paid,
        members_on([session]),
        returns_of(moves or {}),
        [session],
        DECIDED,
        priority,
    )
    assert reference.EARNINGS_CALENDAR.conform(frame).height == 1
    return frame.row(0, named=True)


WEDNESDAY = date(2024, 5, 1)
TUESDAY, THURSDAY, FRIDAY = (WEDNESDAY + timedelta(days=days) for days in (-1, 1, 2))


@pytest.mark.parametrize(
    ("timing", "when", "to_report"),
    [
        ("bmo", WEDNESDAY, 1),
        ("dmh", WEDNESDAY, 1),
        ("amc", WEDNESDAY, 2),
        ("unknown", WEDNESDAY, 1),
        ("amc", FRIDAY, 4),
        ("bmo", date(2024, 5, 4), 4),
    ],
)
def test_sessions_are_counted_to_the_first_that_trades_on_the_report(timing, when, to_report):
    row = on(TUESDAY, reports({"timing": timing, "report_date": when}))
    assert (row["next_report_date"], row["next_timing"], row["sessions_to_report"]) == (when, timing, to_report)
    assert row["last_report_date"] is None and row["reports"] == 0


def test_of_a_report_too_far_ahead_only_the_date_is_told():
    place = CALENDAR.index(TUESDAY)
    near, far = CALENDAR[place + AHEAD], CALENDAR[place + AHEAD + 1]
    assert on(TUESDAY, reports({"report_date": near}))["sessions_to_report"] == AHEAD
    row = on(TUESDAY, reports({"report_date": far}))
    assert (row["next_report_date"], row["sessions_to_report"]) == (far, None)


def test_a_report_after_the_close_stays_next_until_a_session_traded_on_it():
    told = reports(
        {"timing": "amc", "eps_estimate": 1.0},
        {
            "timing": "amc",
            "eps_estimate": 1.0,
            "eps_actual": 1.2,
            "available_at": decided(WEDNESDAY) - timedelta(hours=1),
        },
    )
    row = on(WEDNESDAY, told, moves={WEDNESDAY: 0.5, THURSDAY: -0.08})
    assert row["sessions_to_report"] == 1 and row["last_reaction"] is None
    row = on(THURSDAY, told, moves={WEDNESDAY: 0.5, THURSDAY: -0.08})
    assert row["next_report_date"] is None
    assert (row["last_report_date"], row["last_report_session"]) == (WEDNESDAY, THURSDAY)
    assert row["last_reaction"] == -0.08 and row["last_surprise"] == pytest.approx(0.2)


def test_a_report_of_today_without_a_result_is_still_next_today_and_last_tomorrow():
    told = reports({"timing": "bmo"})
    row = on(WEDNESDAY, told)
    assert (row["sessions_to_report"], row["last_report_date"]) == (0, None)
    row = on(THURSDAY, told, moves={WEDNESDAY: 0.03})
    assert row["next_report_date"] is None and row["last_report_session"] == WEDNESDAY
    assert row["last_reaction"] == 0.03 and row["last_eps_actual"] is None and row["reports"] == 0


def test_the_first_voice_dates_the_report_and_the_others_are_kept():
    told = reports(
        {
            "provider": "yahoo",
            "report_date": THURSDAY,
            "timing": "amc",
            "fiscal_period": "2024-05",
            "eps_estimate": 1.5,
        },
        {"provider": "finnhub", "revenue_estimate": 10.0},
        {"provider": "other", "report_date": WEDNESDAY, "timing": "unknown"},
    )
    row = on(TUESDAY, told)
    assert (row["next_report_date"], row["next_timing"]) == (WEDNESDAY, "bmo")
    assert row["sources"] == "finnhub,yahoo,other" and row["disagreement"] == "yahoo: 2024-05-02 amc"
    assert (row["eps_estimate"], row["revenue_estimate"]) == (1.5, 10.0)
    row = on(TUESDAY, told, priority=("yahoo",))
    assert row["next_report_date"] == THURSDAY and row["sources"] == "yahoo,finnhub,other"
    assert row["disagreement"] == "finnhub: 2024-05-01 bmo; other: 2024-05-01 unknown"


def test_a_hole_in_the_first_voice_does_not_hide_a_report():
    told = reports({"report_date": date(2024, 8, 1), "fiscal_period": "2024Q2"}, {"provider": "yahoo"})
    row = on(TUESDAY, told)
    assert row["next_report_date"] == WEDNESDAY and row["disagreement"] == "finnhub: 2024-08-01 bmo"


def test_an_unknown_timing_is_taken_from_a_voice_that_names_the_same_date():
    told = reports({"timing": "unknown"}, {"provider": "yahoo", "timing": "amc"})
    row = on(TUESDAY, told)
    assert (row["next_timing"], row["sessions_to_report"], row["disagreement"]) == ("amc", 2, None)


def test_a_moved_and_a_withdrawn_date_hold_from_when_they_were_available():
    told = reports(
        {},
        {"report_date": FRIDAY, "available_at": decided(TUESDAY)},
        {"withdrawn": True, "available_at": decided(TUESDAY) + timedelta(seconds=1)},
    )
    monday = TUESDAY - timedelta(days=1)
    assert [on(day, told)["next_report_date"] for day in (monday, TUESDAY, WEDNESDAY)] == [WEDNESDAY, FRIDAY, None]


def test_a_past_report_is_told_by_the_first_voice_that_knows_its_result():
    told = reports(
        {"eps_estimate": 1.0},
        {
            "provider": "yahoo",
            "report_date": TUESDAY,
            "eps_estimate": 1.0,
            "eps_actual": 0.8,
            "fiscal_period": "2024-04",
        },
    )
    row = on(FRIDAY, told, moves={TUESDAY: -0.1, WEDNESDAY: 0.1})
    assert (row["last_report_date"], row["last_eps_actual"], row["last_reaction"]) == (TUESDAY, 0.8, -0.1)
    assert row["reports"] == 1 and row["beat_rate"] == 0 and row["average_move_after_miss"] == -0.1


def test_beat_rate_and_moves_are_those_of_the_last_twelve_results():
    days = [CALENDAR[-2 - 63 * k] for k in range(12)] + [CALENDAR[-2 - 63 * 11 - 20]]
    told = reports(
        *(
            {
                "report_date": day,
                "fiscal_period": str(k),
                "eps_estimate": 1.0,
                "eps_actual": [1.1, 0.9, 1.0][k % 3] if k < 12 else 9.0,
            }
            for k, day in enumerate(days)
        )
    )
    moves = {day: [0.04, -0.06, 0.01][k % 3] if k < 12 else 5.0 for k, day in enumerate(days)}
    row = on(CALENDAR[-2], told, moves=moves)
    assert row["reports"] == 12 and row["beat_rate"] == pytest.approx(1 / 3)
    assert row["average_move_after_beat"] == pytest.approx(0.04)
    assert row["average_move_after_miss"] == pytest.approx(-0.06)
    assert row["average_absolute_move"] == pytest.approx((0.04 + 0.06 + 0.01) / 3)


@pytest.mark.parametrize(("estimate", "surprise"), [(-1.0, 1.2), (0.005, None), (0.0, None), (None, None)])
def test_a_surprise_is_by_the_size_of_the_estimate_and_unknown_where_that_is_nothing(estimate, surprise):
    row = on(THURSDAY, reports({"eps_estimate": estimate, "eps_actual": 0.2}))
    assert row["last_surprise"] == (None if surprise is None else pytest.approx(surprise))
    assert row["reports"] == (0 if estimate is None else 1)
    assert row["beat_rate"] == (None if estimate is None else 1.0)


def test_a_report_older_than_the_lookback_is_forgotten():
    old = CALENDAR[-2 - LOOKBACK]
    told = reports({"report_date": old, "eps_estimate": 1.0, "eps_actual": 2.0})
    assert on(CALENDAR[-3], told)["last_report_date"] == old
    assert on(CALENDAR[-2], told)["last_report_date"] is None


def test_ex_dividend_dates_count_from_when_they_were_announced():
    paid = actions(
        (TUESDAY, "us:A", "dividend", decided(START)),
        (FRIDAY, "us:A", "dividend", decided(WEDNESDAY)),
        (WEDNESDAY, "us:A", "split", decided(START)),
    )
    seen = [on(day, reports(), paid=paid) for day in (TUESDAY - timedelta(days=1), TUESDAY, WEDNESDAY, FRIDAY)]
    assert [row["next_ex_dividend_date"] for row in seen] == [TUESDAY, None, FRIDAY, None]
    assert [row["last_ex_dividend_date"] for row in seen] == [None, TUESDAY, TUESDAY, FRIDAY]


def test_a_calendar_without_a_judged_session_is_refused():
    with pytest.raises(ValueError, match="no decision moment"):
        earnings_calendar(
            reports(), actions(), members_on([TUESDAY]), returns_of({}), [date(2035, 1, 1)], DECIDED, PRIORITY
        )


@pytest.mark.parametrize("around", [[TUESDAY], [TUESDAY, WEDNESDAY], [TUESDAY - timedelta(days=1), TUESDAY]])
def test_a_calendar_of_the_judged_sessions_alone_is_refused(around):
    moments = DECIDED.filter(pl.col("session").is_in(around))
    with pytest.raises(ValueError, match="LOOKBACK sessions before"):
        earnings_calendar(reports(), actions(), members_on([TUESDAY]), returns_of({}), [TUESDAY], moments, PRIORITY)


# --- properties on a random history -------------------------------------------------------------------------------

IDS = tuple(f"us:T{number}" for number in range(8))


@pytest.fixture(scope="module")
def history():
    """Reports of 8 names by three voices, dates moved, results late, some withdrawn; returns and dividends."""
    rng = np.random.default_rng(7)
    told, paid = [], []
    for name in IDS:
        for quarter in range(22):
            day = START + timedelta(days=int(20 + 91 * quarter + rng.integers(0, 12)))
            for provider in ("finnhub", "ninjas", "yahoo"):
                if rng.random() < 0.25:
                    continue
                row = {
                    "instrument_id": name,
                    "provider": provider,
                    "fiscal_period": str(quarter),
                    "timing": str(rng.choice(["bmo", "amc", "dmh", "unknown"])),
                    "report_date": day + timedelta(days=int(rng.integers(-3, 4))),
                    "eps_estimate": round(float(rng.normal(1, 0.5)), 2),
                }
                first = datetime.combine(
                    day - timedelta(days=int(rng.integers(5, 80))), time(int(rng.integers(0, 24))), UTC
                )
                told.append({**row, "available_at": first})
                if rng.random() < 0.5:
                    moved = first + timedelta(days=int(rng.integers(1, 30)), hours=3)
                    row["report_date"] = day
                    told.append({**row, "available_at": moved, "withdrawn": bool(rng.random() < 0.2)})
                if rng.random() < 0.8:
                    known = datetime.combine(row["report_date"], time(int(rng.integers(10, 24))), UTC)
                    actual = None if rng.random() < 0.1 else round(float(row["eps_estimate"] + rng.normal(0, 0.1)), 2)
                    told.append({**row, "eps_actual": actual, "revenue_actual": 1.0, "available_at": known})
            if rng.random() < 0.7:
                announced = datetime.combine(day + timedelta(days=int(rng.integers(-20, 20))), time(12), UTC)
                paid.append((day + timedelta(days=10), name, "dividend", announced))
    moves = pl.DataFrame(
        [(day, name, float(rng.normal(0, 0.03))) for day in CALENDAR for name in IDS if rng.random() < 0.97],
        schema={"session": pl.Date, "instrument_id": pl.String, "excess_return": pl.Float64},
        orient="row",
    )
    return reports(*told), actions(*paid), moves


def calendar_of(history, sessions, moment=None):
    told, paid, moves = history
    before = CALENDAR[max(0, CALENDAR.index(sessions[0]) - LOOKBACK)]
    if moment is not None:
        told, paid = (frame.filter(pl.col("available_at") <= moment) for frame in (told, paid))
    return earnings_calendar(
        told.filter(pl.col("report_date") >= before),
        paid.filter(pl.col("session") >= before),
        members_on(sessions, IDS),
        moves.filter(pl.col("session").is_between(before, sessions[-1])),
        list(sessions),
        DECIDED.filter(pl.col("session").is_between(before, CALENDAR[CALENDAR.index(sessions[-1]) + AHEAD])),
        ("finnhub", "ninjas", "yahoo"),
    )


JUDGED = CALENDAR[LOOKBACK : LOOKBACK + 500]
SAMPLE = range(0, len(JUDGED), 17)


def test_one_call_over_a_range_equals_a_call_a_session(history):
    whole = calendar_of(history, JUDGED)
    for place in SAMPLE:
        alone = calendar_of(history, JUDGED[place : place + 1])
        assert_frame_equal(whole.filter(pl.col("session") == JUDGED[place]), alone, abs_tol=1e-9, rel_tol=1e-9)


def test_nothing_after_the_decision_moment_changes_anything(history):
    whole = calendar_of(history, JUDGED)
    for place in SAMPLE:
        then = calendar_of(history, JUDGED[: place + 1], decided(JUDGED[place]))
        assert_frame_equal(whole.filter(pl.col("session") <= JUDGED[place]), then, abs_tol=1e-9, rel_tol=1e-9)


def test_it_equals_the_same_rules_applied_cell_by_cell(history):
    whole = calendar_of(history, JUDGED)
    assert (
        whole["next_report_date"].null_count() < whole.height / 2 and whole["disagreement"].null_count() < whole.height
    )
    for place in SAMPLE:
        for name in IDS:
            row = whole.row(
                by_predicate=(pl.col("session") == JUDGED[place]) & (pl.col("instrument_id") == name), named=True
            )
            expected = by_hand(history, JUDGED[place], name)
            assert {key: row[key] for key in expected} == pytest.approx(expected, nan_ok=True), (JUDGED[place], name)


def by_hand(history, session, name):
    """The calendar's row of one cell, by loops over the reports."""
    told, _, moves = history
    now, ranks = CALENDAR.index(session), {"finnhub": 0, "ninjas": 1, "yahoo": 2}
    latest = {}
    for row in told.sort("available_at", "known_at").iter_rows(named=True):
        if row["instrument_id"] == name and row["available_at"] <= decided(session):
            latest[row["provider"], row["fiscal_period"]] = row
    force = sorted((row for row in latest.values() if not row["withdrawn"]), key=lambda row: ranks[row["provider"]])
    for row in force:
        same = [other["timing"] for other in force if other["report_date"] == row["report_date"]]
        row["resolved"] = (
            next((t for t in same if t != "unknown"), "unknown") if row["timing"] == "unknown" else row["timing"]
        )
        after = row["resolved"] == "amc"
        row["row"] = sum(day <= row["report_date"] if after else day < row["report_date"] for day in CALENDAR)
        row["out"] = row["eps_actual"] is not None or row["revenue_actual"] is not None
    coming = [row for row in force if row["row"] > now or (row["row"] == now and not row["out"])]
    past = [row for row in force if row not in coming and now - row["row"] < LOOKBACK]
    expected = {"next_report_date": None, "sessions_to_report": None, "sources": None}
    if coming:
        own = {}
        for row in sorted(coming, key=lambda row: (row["row"], row["report_date"])):
            own.setdefault(row["provider"], row)
        earliest = min(row["report_date"] for row in own.values())
        chosen = min(
            (row for row in own.values() if (row["report_date"] - earliest).days <= module.SAME_REPORT_DAYS),
            key=lambda row: ranks[row["provider"]],
        )
        expected = {
            "next_report_date": chosen["report_date"],
            "next_timing": chosen["resolved"],
            "sessions_to_report": chosen["row"] - now if chosen["row"] - now <= AHEAD else None,
            "eps_estimate": chosen["eps_estimate"],
            "sources": ",".join(sorted(own, key=ranks.get)),
        }
    events = []
    for row in sorted(past, key=lambda row: row["report_date"]):
        if events and (row["report_date"] - events[-1][-1]["report_date"]).days <= module.SAME_REPORT_DAYS:
            events[-1].append(row)
        else:
            events.append([row])
    kept = [min(event, key=lambda row: (row["eps_actual"] is None, ranks[row["provider"]])) for event in events]
    kept.sort(key=lambda row: (row["row"], row["report_date"]), reverse=True)
    move = dict(moves.filter(pl.col("instrument_id") == name).select("session", "excess_return").iter_rows())
    results = [row for row in kept if row["eps_actual"] is not None][: module.REPORTS]
    beats = [row["eps_actual"] > row["eps_estimate"] for row in results]
    reactions = [abs(move[CALENDAR[row["row"]]]) for row in results if CALENDAR[row["row"]] in move]
    return {
        **expected,
        "last_report_date": kept[0]["report_date"] if kept else None,
        "last_eps_actual": kept[0]["eps_actual"] if kept else None,
        "last_reaction": move.get(CALENDAR[kept[0]["row"]]) if kept else None,
        "reports": len(results),
        "beat_rate": sum(beats) / len(beats) if beats else None,
        "average_absolute_move": sum(reactions) / len(reactions) if reactions else None,
    }
