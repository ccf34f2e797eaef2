"""Buy before the report, or wait: from a name's own reactions."""

from __future__ import annotations

import pytest

from trading_pipeline.reports.tearsheets.timing import report_line, timing
from trading_pipeline_tests.briefings import report


def calendar(**told):
    return report("AAA", 7, **{"sessions_to_report": 5, **told})


def test_without_a_date_there_is_no_question():
    assert timing(None).answer == timing(report("AAA", None)).answer == "No report is announced"


def test_a_far_report_decides_nothing():
    assert timing(calendar(sessions_to_report=16)).answer == "The report is far off"
    assert "It trades on it in 16 sessions" in timing(calendar(sessions_to_report=16)).why
    assert timing(calendar(sessions_to_report=15)).answer != "The report is far off"


def test_few_reports_say_nothing_so_it_waits():
    thin = timing(calendar(reports=1))
    assert thin.answer == "Better wait"
    assert "Only 1 earlier report of it is known" in thin.why
    assert timing(calendar(beat_rate=None)).answer == "Better wait"


@pytest.mark.parametrize(
    ("beat", "after_beat", "after_miss", "answer"),
    [
        (0.9, 0.05, -0.04, "Leans to buying before"),
        (0.3, 0.02, -0.06, "Leans to waiting"),
        (0.5, 0.04, -0.04, "No edge either way"),
        (1.0, 0.05, None, "Leans to buying before"),
        (0.0, None, -0.05, "Leans to waiting"),
        (0.5, 0.04, None, "Better wait"),
    ],
)
def test_the_answer_follows_the_expected_move(beat, after_beat, after_miss, answer):
    told = calendar(
        beat_rate=beat,
        average_move_after_beat=after_beat,
        average_move_after_miss=after_miss,
        average_absolute_move=0.04,
    )
    assert timing(told).answer == answer


def test_the_habit_is_told_in_numbers():
    told = timing(calendar(beat_rate=0.9, average_move_after_beat=0.05, average_move_after_miss=-0.04))
    assert "On its last 10 reports the price moved by 4.1% either way" in told.why
    assert "+4.1% on average; 90% were beats" in told.why


def test_a_report_is_told_with_its_time_and_with_what_others_say():
    assert report_line(calendar()) == "Friday 12 July 2024, after the close"
    assert report_line(calendar(disagreement="yahoo: 2024-07-11 bmo")).endswith("; but yahoo: 2024-07-11 bmo")
    assert report_line(None) == "none announced"
